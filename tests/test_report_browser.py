"""Pages in a real browser: no error, nothing fetched, players, tables that sort, Korean letters, narrow and dark."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from command import done
from conftest import Built

playwright = pytest.importorskip("playwright.sync_api", reason="drives the browser")
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PROGRAM = next((path for name in NAMES if (path := shutil.which(name))), None)
pytestmark = pytest.mark.skipif(PROGRAM is None, reason=f"no browser is installed: looked for {', '.join(NAMES)}")
VIEWS = [(width, scheme) for width in (1400, 400) for scheme in ("light", "dark")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def file(built: Built) -> Path:
    """The page of the mixed set with everything on it."""
    done(built.folder, "report", "manifests/mixed.parquet", "--out", "browser.html", "--with-audio")
    return built.folder / "browser.html"


class Tab:
    """A page that was opened, what it complained of and what it asked for."""

    def __init__(self, browser: Any, file: Path, width: int = 1400, scheme: str = "light", **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requested: list[str] = []
        self.blocked: list[tuple[str, str]] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("requestfailed", lambda request: self.blocked.append((request.url, request.failure)))
        self.page.goto(file.as_uri(), wait_until="load")

    def __enter__(self) -> Tab:
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_it_opens_without_complaint_fetches_nothing_and_never_scrolls_sideways(
    browser: Any, file: Path, width: int, scheme: str
) -> None:
    with Tab(browser, file, width, scheme) as tab:
        assert tab.complaints == []
        assert [url for url in tab.requested if not url.startswith("data:")] == [file.as_uri()]
        assert tab.page.evaluate("document.documentElement.scrollWidth") <= width
        back, ink = (
            tab.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        assert (brightness(back) > brightness(ink)) == (scheme == "light")


def brightness(colour: str) -> int:
    """Of `rgb(20, 24, 27)`."""
    return sum(int(part) for part in colour[4:-1].split(","))


def test_every_player_loads_and_knows_its_length(browser: Any, file: Path) -> None:
    with Tab(browser, file) as tab:
        ready = "[...document.querySelectorAll('audio')].every(a => a.readyState >= 1)"
        tab.page.wait_for_function(ready)
        lengths = tab.page.evaluate("[...document.querySelectorAll('audio')].map(a => a.duration)")
        assert len(lengths) >= 12
        assert all(0.2 < length <= 5.01 for length in lengths)
        assert tab.page.evaluate("[...document.querySelectorAll('img')].every(i => i.complete && i.naturalWidth > 0)")


def test_tables_sort_by_keyboard_and_say_so(browser: Any, file: Path) -> None:
    with Tab(browser, file) as tab:
        table = tab.page.locator("table.sortable", has=tab.page.locator("caption", has_text="Rows and hours by scene"))
        hours = table.get_by_role("button", name="Hours")
        column = "rows => rows.map(row => Number(row.cells[2].dataset.v))"
        for key, direction in (("Enter", "descending"), ("Space", "ascending")):
            hours.press(key)
            assert table.locator("thead th").nth(2).get_attribute("aria-sort") == direction
            shown = table.locator("tbody tr").evaluate_all(column)
            assert len(shown) > 5
            assert shown == sorted(shown, reverse=direction == "descending")
        table.get_by_role("button", name="Scene").click()
        names = table.locator("tbody th").all_inner_texts()
        assert names == sorted(names, key=str.lower)
        assert table.locator("thead th[aria-sort]").count() == 1


def test_korean_is_drawn_with_letters_of_its_own_in_text_and_in_charts(browser: Any, file: Path) -> None:
    drawn = """() => {
        const drawn = letter => {
            const canvas = document.createElement("canvas"); canvas.width = canvas.height = 40;
            const pen = canvas.getContext("2d"); pen.font = "32px NanumGothic"; pen.fillText(letter, 2, 34);
            return pen.getImageData(0, 0, 40, 40).data.join();
        };
        return new Set([..."살려주세요도와"].map(drawn)).size;
    }"""
    with Tab(browser, file) as tab:
        tab.page.evaluate("document.fonts.ready")
        loaded = (
            "[...document.fonts].filter(face => face.family.includes('NanumGothic') && face.status == 'loaded').length"
        )
        assert tab.page.evaluate(loaded) >= 2
        assert tab.page.evaluate(drawn) == 7  # a font without them draws the same box for each
        family = tab.page.evaluate("getComputedStyle(document.querySelector('.hist dt')).fontFamily")
        assert "NanumGothic" in family


def test_without_script_everything_is_there_but_sorting(browser: Any, file: Path) -> None:
    with Tab(browser, file, java_script_enabled=False) as tab, Tab(browser, file) as other:
        assert tab.page.locator("th button").count() == 0
        assert tab.page.locator("tbody tr").count() == other.page.locator("tbody tr").count() > 50
        assert tab.page.locator("audio").count() == other.page.locator("audio").count()


def test_a_bar_shows_its_clips_in_the_table_of_rows(browser: Any, file: Path) -> None:
    with Tab(browser, file) as tab:
        clicked = """[...document.querySelectorAll('.bins a, .bar a[data-find*=scene], th a')].flatMap((bar, n) => {
            if (n % 23) return [];
            bar.click();
            return [[bar.title, document.querySelectorAll('#table tbody tr:not([hidden])').length]];
        })"""
        counts, whole = tab.page.evaluate(clicked), tab.page.locator("#table tbody tr").count()
        assert len([title for title, _ in counts if title]) > 8
        for title, count in counts:
            assert 0 < count < whole
            assert not title or title.startswith((f"{count} clip", f"{count} row")), title
        assert tab.page.locator("output").inner_text() == f"{counts[-1][1]} of {whole} shown"
        search = tab.page.locator("#search")
        for typed, fits in {
            'kind:"noise" split:test': lambda cells: "noise" in cells and "test" in cells,
            "duration:..0": lambda cells: False,
            'nokey:1 "': lambda cells: False,
            "": lambda cells: True,
        }.items():
            search.fill(typed)
            rows = tab.page.locator("#table tbody tr")
            cells = rows.evaluate_all("rows => rows.map(r => [r.hidden, [...r.cells].map(c => c.textContent)])")
            assert [hidden for hidden, _ in cells] == [not fits(texts) for _, texts in cells], typed
        tab.page.get_by_label("kind", exact=True).select_option("noise")
        assert search.input_value() == 'kind:"noise"'
        assert tab.complaints == []


def test_the_keyboard_reaches_the_content_first_and_sees_where_it_is(browser: Any, file: Path) -> None:
    with Tab(browser, file) as tab:
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.activeElement.textContent") == "Skip to the content"
        assert tab.page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0
        tab.page.keyboard.press("Enter")
        tab.page.keyboard.press("Tab")
        assert tab.page.evaluate("document.querySelector('main').contains(document.activeElement)")
        assert tab.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_what_a_label_says_never_runs(browser: Any, file: Path, tmp_path: Path) -> None:
    """The page's policy lets no script run but its own, even one that came into the file by another way."""
    hurt = tmp_path / "hurt.html"
    evil = "<script>document.title = 'ran'</script>"
    evil += "<img src='https://example.org/x.png' onerror=\"document.title = 'ran'\">"
    hurt.write_text(file.read_text(encoding="utf-8").replace("</main>", f"{evil}</main>"), encoding="utf-8")
    with Tab(browser, hurt) as tab:
        assert tab.page.title() != "ran"
        assert len(tab.complaints) >= 2
        assert tab.blocked == [("https://example.org/x.png", "csp")]


def test_no_cell_of_a_table_runs_into_the_next(browser: Any, file: Path) -> None:
    over = """[...document.querySelectorAll('th, td')]
        .filter(cell => cell.scrollWidth > cell.clientWidth + 1).map(cell => cell.innerText)"""
    for width in (400, 800, 1000, 1400):
        with Tab(browser, file, width) as tab:
            assert tab.page.evaluate(over) == []


def test_a_korean_file_name_is_drawn_in_a_font_that_has_its_letters(browser: Any, file: Path, tmp_path: Path) -> None:
    named = tmp_path / "named.html"
    named.write_text(
        file.read_text(encoding="utf-8").replace('<code class="id">', '<code class="id">살려주세요 ', 1),
        encoding="utf-8",
    )
    with Tab(browser, named) as tab:
        tab.page.evaluate("document.fonts.ready")
        session = tab.context.new_cdp_session(tab.page)
        session.send("DOM.enable")
        session.send("CSS.enable")
        root = session.send("DOM.getDocument")["root"]["nodeId"]
        node = session.send("DOM.querySelector", {"nodeId": root, "selector": "code.id"})["nodeId"]
        fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node})["fonts"]
        first = tab.page.evaluate("getComputedStyle(document.querySelector('code.id')).fontFamily.split(',')[0]")
        assert (
            first == '"NanumGothic Hangul"'
        )  # behind another font it depends on what is loaded first whether Chromium asks it
        assert {"NanumGothic": 5}.items() <= {
            font["familyName"]: font["glyphCount"] for font in fonts if font["isCustomFont"]
        }.items()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_on_the_shades_of_the_heat_map_can_be_read(browser: Any, file: Path, scheme: str) -> None:
    """WCAG 2.2, 1.4.3: a contrast of 4.5 at least, the darkest shade over the page's colour."""
    with Tab(browser, file, 1400, scheme) as tab:
        colours = """[getComputedStyle(document.body).backgroundColor,
            ...[...document.querySelectorAll('table.heat td[style]')].flatMap(
            cell => [getComputedStyle(cell).color, getComputedStyle(cell).backgroundColor])]"""
        page, *cells = [parts(colour) for colour in tab.page.evaluate(colours)]
        assert len(cells) > 50
        for ink, shade in zip(cells[::2], cells[1::2], strict=True):
            behind = [part * shade[3] + under * (1 - shade[3]) for part, under in zip(shade[:3], page[:3], strict=True)]
            dark, light = sorted((luminance(ink[:3]), luminance(behind)))
            assert (light + 0.05) / (dark + 0.05) >= 4.5


def parts(colour: str) -> list[float]:
    """Red, green, blue and opacity of `rgba(90, 180, 210, 0.5)` or `rgb(20, 24, 27)`."""
    numbers = [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")]
    return numbers if len(numbers) == 4 else [*numbers, 1.0]


def luminance(colour: list[float]) -> float:
    """Relative luminance, as WCAG 2.2 defines it."""
    linear = [part / 255 / 12.92 if part / 255 <= 0.04045 else ((part / 255 + 0.055) / 1.055) ** 2.4 for part in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_on_paper_it_is_light_and_keeps_its_shades(browser: Any, file: Path) -> None:
    with Tab(browser, file, 794, "dark") as tab:
        tab.page.emulate_media(media="print", color_scheme="dark")
        assert brightness(tab.page.evaluate("getComputedStyle(document.body).backgroundColor")) == 3 * 255
        assert tab.page.evaluate("getComputedStyle(document.querySelector('.bar i')).printColorAdjust") == "exact"
