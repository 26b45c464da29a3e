"""`prep report`: its numbers counted again in SQL, what it leaves out, what it escapes, that nothing is outside it."""

from __future__ import annotations

import base64
import io
import itertools
import json
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import duckdb
import numpy as np
import pytest
import soundfile as sf
from command import Ended, done, prep
from conftest import ROOTS, Built
from fontTools.ttLib import TTFont

from pipeline import api
from pipeline.audio.shards import Reader
from pipeline.core import manifest, measures
from pipeline.core.frame import from_rows
from pipeline.core.manifest import Provenance
from pipeline.core.measures import Measures
from pipeline.core.row import Drop, Row
from pipeline.corpora import rights
from pipeline.inspect.report import charts, facts

RATE_HZ = 16_000
EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """Every start tag with its attributes, and every table's body as (caption, [[cell, ...], ...])."""

    def __init__(self, text: str, stderr: str = "") -> None:
        super().__init__()
        self.text, self.stderr = text, stderr
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self._caption, self._row, self._cell, self._body = "", list[str](), "", False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag in ("caption", "td", "th"):
            self._cell = ""
        elif tag == "tr":
            self._row = []
        elif tag == "tbody":
            self._body = True

    def handle_data(self, data: str) -> None:
        self._cell += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "caption":
            self._caption = " ".join(self._cell.split())
        elif tag in ("td", "th"):
            self._row.append(" ".join(self._cell.split()))
        elif tag == "tr" and self._body:
            self.tables.setdefault(self._caption, []).append(self._row)
        elif tag == "tbody":
            self._body = False

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of every such tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture(scope="module")
def reported(built: Built) -> dict[str, Any]:
    """The page of the mixed set as licences let it be, and its numbers."""
    return done(built.folder, "report", "manifests/mixed.parquet", "--out", "mixed.html", "--json").json()


@pytest.fixture(scope="module")
def page(built: Built, reported: dict[str, Any]) -> Page:
    return Page((built.folder / "mixed.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def loud(built: Built) -> Page:
    """The same with everything on it."""
    ended = done(built.folder, "report", "manifests/mixed.parquet", "--out", "loud.html", "--with-audio")
    return Page((built.folder / "loud.html").read_text(encoding="utf-8"), ended.err)


def sql(path: Path, statement: str) -> list[tuple[Any, ...]]:
    """Asked of the Parquet file itself, without any code of ours."""
    return duckdb.execute(statement.replace("ROWS", f"read_parquet('{path}')")).fetchall()


@pytest.mark.parametrize(
    ("caption", "column"),
    {
        "corpus": "corpus",
        "scenario": "scenario",
        "scene": "scene",
        "kind": "kind",
        "label": "CASE WHEN keyword IS NOT NULL THEN keyword ELSE noise_label END",
    }.items(),
)
def test_counts_and_hours_are_those_of_the_file(
    built: Built, page: Page, loud: Page, caption: str, column: str
) -> None:
    page = loud if caption in ("scenario", "scene") else page  # of which licences keep some back
    wanted = sql(
        built.path("mixed"),
        f"SELECT {column} AS v, count(*), sum(frames / rate_hz) / 3600, sum((split = 'train')::INT),"
        " sum((split = 'dev')::INT), sum((split = 'test')::INT) FROM ROWS WHERE v IS NOT NULL GROUP BY v",
    )
    shown = {row[0]: row[1:6] for row in page.tables[f"Rows and hours by {caption}"]}
    assert len(wanted) == len(shown) > 1
    for value, rows, hours, *splits in wanted:
        assert shown[value][0] == f"{rows:,}"
        assert float(shown[value][1].replace(",", "")) == pytest.approx(hours, abs=0.006)
        assert shown[value][2:] == [f"{n:,}" for n in splits]


def test_the_first_screen_says_rows_hours_and_splits(built: Built, page: Page) -> None:
    rows, hours = sql(built.path("mixed"), "SELECT count(*), sum(frames / rate_hz) / 3600 FROM ROWS")[0]
    plain = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page.text[page.text.index("<h1>") : page.text.index("<nav")]))
    assert f"Rows {rows:,}" in plain
    shown = re.search(r"Rows [\d,]+ ([\d.]+) hours", plain)
    assert shown
    assert float(shown[1]) == pytest.approx(hours, rel=0.05)
    for split, count, groups in sql(
        built.path("mixed"),
        'SELECT split, count(*), count(DISTINCT concat(corpus, chr(0), "group")) FROM ROWS GROUP BY 1',
    ):
        assert re.search(rf"{split} {count:,} rows, [\d.]+ h, {groups:,} groups", plain)


def test_the_heat_map_counts_every_mixture_once(built: Built, page: Page, reported: dict[str, Any]) -> None:
    heat = reported["heat"]
    parts = {snr: (20.0, 25.0) if snr == "20 to 25" else tuple(map(float, snr.split(" to "))) for snr in heat["snrs"]}
    shown = {
        row[0]: [int(cell.replace(",", "")) for cell in row[1:]]
        for row in page.tables["SNR in dB across, and in it the keyword; scenes down"]
    }
    total = 0
    for scene, counts in shown.items():
        for n, count in enumerate(counts):
            low, high = parts[heat["snrs"][n // len(heat["keywords"])]]
            keyword = heat["keywords"][n % len(heat["keywords"])]
            where = f"scene = '{scene}' AND keyword = '{keyword}' AND snr_db >= {low} AND snr_db < {high}"
            assert (
                count == sql(built.path("mixed"), f"SELECT count(*) FROM ROWS WHERE kind = 'mixture' AND {where}")[0][0]
            )
            total += count
    assert total == sql(built.path("mixed"), "SELECT count(*) FROM ROWS WHERE kind = 'mixture'")[0][0]


def test_realised_snrs_are_those_of_the_file_under_both_definitions(built: Built, reported: dict[str, Any]) -> None:
    snr = reported["snr"]
    assert sum(part["rows"] for part in snr["parts"]) == reported["falls"]["mix"]["mixtures"]
    active, full, off = sql(
        built.path("mixed"),
        "SELECT min(snr_active_db), max(snr_full_db), max(abs(snr_active_db - snr_db)) FROM ROWS"
        " WHERE snr_db IS NOT NULL",
    )[0]
    assert min(part["active_min"] for part in snr["parts"]) == active
    assert max(part["full_max"] for part in snr["parts"]) == full
    assert snr["off"] == pytest.approx(off)


def test_the_waterfall_is_what_each_stage_answered(built: Built, reported: dict[str, Any]) -> None:
    falls = {stage["stage"]: stage for stage in reported["falls"]["stages"]}
    ingests = [built.answers[name] for name in ROOTS]
    assert falls["ingest"]["in"] == reported["falls"]["clips"] == sum(answer["in"] for answer in ingests)
    assert falls["ingest"]["dropped"] == sum(answer["dropped"] for answer in ingests)
    for stage, name in (("filter", "filtered"), ("resample", "resampled")):
        answer = built.answers[name]
        assert (falls[stage]["in"], falls[stage]["dropped"], falls[stage]["kept"]) == (
            answer["in"],
            answer["dropped"],
            answer["kept"],
        )
        assert {reason["reason"]: reason["rows"] for reason in falls[stage]["reasons"]} == answer["reasons"]
    assert reported["falls"]["mix"]["clips"] == built.answers["resampled"]["kept"]
    assert reported["falls"]["mix"]["in"] == built.answers["mixed"]["in"]
    assert reported["missing"] == []


def test_drops_that_are_not_there_are_said_and_not_taken_for_none(built: Built, tmp_path: Path) -> None:
    shutil.copy(built.path("mixed"), tmp_path)
    answer = done(tmp_path, "report", "mixed.parquet", "--json").json()
    assert answer["missing"] == ["mixed.drops.parquet", "resampled.parquet"]
    assert answer["falls"]["stages"] == []
    assert "not counted here: mixed.drops.parquet, resampled.parquet" in (tmp_path / "mixed.html").read_text(
        encoding="utf-8"
    )


def test_by_default_nothing_that_a_licence_forbids_is_on_the_page(
    built: Built, page: Page, reported: dict[str, Any]
) -> None:
    closed = "corpus IN ('aihub', 'recordings')"
    body = page.text[page.text.index("</style>") :]
    for (transcript,) in sql(
        built.path("mixed"), f"SELECT DISTINCT transcript FROM ROWS WHERE transcript IS NOT NULL AND {closed}"
    ):
        assert transcript not in body
    for (source,) in sql(built.path("mixed"), f"SELECT DISTINCT source FROM ROWS WHERE {closed}"):
        assert source not in body
    played = {attributes["aria-label"].removeprefix("Play ") for attributes in page.named("audio")}
    assert played
    assert not {row_id for row_id in played if row_id.startswith(("aihub/", "recordings/"))}
    assert {
        attributes["alt"].split(",")[0].removeprefix("Spectrogram of ") for attributes in page.named("img")
    } >= played
    assert not [a for a in page.named("img") if "aihub/" in a["alt"]]
    assert reported["left_out"]["audio"] == ["aihub", "recordings"]
    assert "NIA terms of use" in body


def test_the_audio_of_stand_ins_is_played_and_nothing_else_of_the_corpus_is_shown(built: Built, tmp_path: Path) -> None:
    mixed = manifest.read(built.path("mixed"))
    stated = {"licence": "CC0", "title": "Robots", "attribution": "nobody", "share_audio": True}
    ingest = {**mixed.provenance.recipe["ingest"], "stand_ins": {"aihub": stated}}
    made = replace(mixed.provenance, recipe={**mixed.provenance.recipe, "ingest": ingest})
    shutil.copytree(built.folder, tmp_path, dirs_exist_ok=True)
    manifest.write(tmp_path / "manifests/standing.parquet", mixed.frame, from_rows([], Drop), made)
    answer = done(tmp_path, "report", "manifests/standing.parquet", "--out", "standing.html", "--json").json()
    page = Page((tmp_path / "standing.html").read_text(encoding="utf-8"))
    assert answer["left_out"]["audio"] == ["recordings"]
    assert [a for a in page.named("audio") if "aihub/" in a["aria-label"]]
    assert not [a for a in page.named("audio") if "recordings/" in a["aria-label"]]
    assert "The recordings of aihub here are stand-ins, not that corpus, as corpus.toml" in page.text
    body = page.text[page.text.index("</style>") :]
    for (transcript,) in sql(built.path("mixed"), "SELECT DISTINCT transcript FROM ROWS WHERE corpus = 'aihub'"):
        assert transcript not in body
    exported = prep(tmp_path, "export", "manifests/standing.parquet", "--to", "webdataset", "--shareable", "--json")
    assert exported.json()["rows"] == int(rights.shareable_audio(mixed.frame).sum())  # a page alone plays them
    true, both = mixed, manifest.Manifest(mixed.frame, made, mixed.path)
    assert "stand_ins" in api._after([both, both], {}, {})[0]["ingest"]
    assert "stand_ins" not in api._after([both, true], {}, {})[0]["ingest"]


def test_what_lies_beside_the_recordings_of_a_corpus_makes_them_stand_ins(built: Built, tmp_path: Path) -> None:
    root = tmp_path / "copy"
    shutil.copytree(built.corpora / ROOTS["ms-snsd"], root)
    (root / "corpus.toml").write_text('licence = "CC0"\nshare_audio = true\n')
    done(tmp_path, "ingest", "ms-snsd", root, "--limit", 2, "--jobs", 1)
    recipe = manifest.provenance(tmp_path / "manifests/ms-snsd.parquet").recipe
    assert recipe["ingest"]["stand_ins"] == {"ms-snsd": {"licence": "CC0", "share_audio": True}}
    assert "[corpora" not in (tmp_path / "prep.toml").read_text()  # what is true of this folder is true of no other
    (root / "corpus.toml").write_text("share_audio = true\n")
    assert "share_audio needs a licence" in prep(tmp_path, "ingest", "ms-snsd", root, "--limit", 2).err


def test_audio_that_was_asked_for_comes_with_a_warning_that_names_the_licence(built: Built, loud: Page) -> None:
    assert [a for a in loud.named("audio") if "aihub/" in a["aria-label"]]
    warning = loud.text[loud.text.index('class="warning"') : loud.text.index("<nav")]
    assert "may not be passed on" in warning
    assert "NIA terms of use (AI-Hub)" in warning
    assert any(
        transcript in loud.text
        for (transcript,) in sql(built.path("mixed"), "SELECT DISTINCT transcript FROM ROWS WHERE keyword = 'saveme'")
    )
    assert "loud.html holds what the licence of aihub forbids to pass on" in loud.stderr


def test_redacted_no_clip_is_heard_or_seen_whatever_its_licence(built: Built) -> None:
    done(built.folder, "report", "manifests/mixed.parquet", "--out", "redacted.html", "--redact")
    text = (built.folder / "redacted.html").read_text(encoding="utf-8")
    assert not Page(text).named("audio") + Page(text).named("img")
    assert "data:audio" not in text


@pytest.mark.parametrize("virtual", [False, True])
def test_a_player_holds_the_samples_of_its_row(built: Built, loud: Page, tmp_path: Path, virtual: bool) -> None:
    text, path = loud, built.path("mixed")
    if virtual:
        shutil.copytree(built.folder / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".work"))
        path = tmp_path / "manifests/virtual.parquet"
        done(tmp_path, "mix", "--snr", 20, "--virtual", "--jobs", 1, "--limit", 8, "--out", path)
        done(tmp_path, "report", path, "--out", tmp_path / "v.html", "--with-audio")
        text = Page((tmp_path / "v.html").read_text(encoding="utf-8"))
    rows, reader = {row.id: row for row in manifest.read(path).rows()}, Reader(path.parent)
    assert len(text.named("audio")) >= 6
    for player in text.named("audio"):
        row = rows[player["aria-label"].removeprefix("Play ")]
        pcm, rate_hz = sf.read(
            io.BytesIO(base64.b64decode(player["src"].removeprefix("data:audio/flac;base64,"))), dtype="int16"
        )
        assert rate_hz == RATE_HZ
        assert np.array_equal(pcm, reader.pcm(row)[: 5 * RATE_HZ])


def test_the_same_set_gives_the_same_bytes_wherever_it_lies(built: Built, page: Page, tmp_path: Path) -> None:
    shutil.copytree(built.folder / "manifests", tmp_path / "else", ignore=shutil.ignore_patterns(".work"))
    done(tmp_path, "report", tmp_path / "else/mixed.parquet")
    assert (tmp_path / "else/mixed.html").read_text(encoding="utf-8") == page.text
    assert str(tmp_path) not in page.text


def test_a_page_is_one_file_under_5_mb_that_may_fetch_nothing(loud: Page) -> None:
    assert len(loud.text.encode()) < 5_000_000
    for tag, attributes in loud.tags:
        for name in ("src", "href", "xlink:href", "data", "action", "poster", "srcset"):
            value = attributes.get(name, "data:")
            assert value.startswith(("data:", "#")) or (tag, attributes.get("rel")) == ("a", "noreferrer"), (tag, value)
    policy = next(a["content"] for a in loud.named("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; img-src data:; media-src data:; font-src data:;")
    assert "unsafe-inline" not in policy.split("script-src")[1]
    assert not re.search(r"url\((?!data:|#)", loud.text)


def test_every_letter_shown_is_in_the_embedded_font(loud: Page) -> None:
    fonts = re.findall(r"font-family:'NanumGothic';font-weight:(\d+);[^}]*base64,([A-Za-z0-9+/=]+)\)", loud.text)
    assert [weight for weight, _ in fonts] == ["400", "700"]
    hangul = {ord(letter) for letter in loud.text if "가" <= letter <= "힣"}
    assert len(hangul) > 30
    for _, data in fonts:
        glyphs = set(TTFont(io.BytesIO(base64.b64decode(data))).getBestCmap())
        assert hangul | set(range(0x20, 0x7F)) <= glyphs
        assert len(glyphs) < 600  # the whole font has 18,000


def test_what_a_screen_reader_needs_is_there(loud: Page) -> None:
    levels = [int(tag[1]) for tag, _ in loud.tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert {"header", "nav", "main", "footer"} <= {tag for tag, _ in loud.tags}
    assert all(a.get("alt") for a in loud.named("img"))
    assert all(a.get("role") == "img" and a.get("aria-label") for a in loud.named("svg"))
    assert all(a.get("aria-label") for a in loud.named("audio"))
    assert all(a.get("scope") for a in loud.named("th") if a)
    assert len(loud.named("caption")) == len(loud.named("table"))
    ids = [a["id"] for _, a in loud.tags if "id" in a and not re.fullmatch(r"[a-z][0-9a-f]{10,}", a["id"])]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a in loud.named("a") if a["href"].startswith("#")} <= set(ids)


def hostile() -> Iterator[Row]:
    """Public speech whose every text would be markup, were it not escaped."""
    for n, text in enumerate(
        (
            EVIL,
            "'\"><img src=x onerror=alert(1)>",
            "살려주세요 & <b>도와줘</b>",
            "{{ 7 * 7 }}",
            "</style><script>alert(2)</script>",
        )
    ):
        quoted = f"cochlscene/a\"b'c<i>{n}"
        usual = Row(
            quoted,
            "cochlscene",
            "train",
            f"g{n}",
            "speech",
            f"@cochlscene/{quoted}",
            text,
            "saveme",
            text,
            text,
            "speech",
        )
        yield replace(
            usual,
            labels={text: text},
            rate_hz=RATE_HZ,
            frames=RATE_HZ,
            level_full_dbfs=-20.0,
            peak_dbfs=-3.0,
            source_rate_hz=44_100,
        )


def test_text_from_labels_and_file_names_stays_text(tmp_path: Path) -> None:
    made = Provenance("filter", {"filter": {"where": f"transcript = '{EVIL}'"}, EVIL: {EVIL: [EVIL]}}, 0)
    drops = [Drop(f"cochlscene/{EVIL}", "filter", EVIL, EVIL)]
    path = tmp_path / 'it\'s "quoted" <b>.parquet'
    manifest.write(path, from_rows(list(hostile()), Row), from_rows(drops, Drop), made)
    done(tmp_path, "report", path, "--out", "hostile.html", "--with-audio")
    page = Page((tmp_path / "hostile.html").read_text(encoding="utf-8"))
    assert len(page.named("script")) == 1
    assert not page.named("img")
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert "49" not in [row[0] for row in page.tables["Rows and hours by scenario"]]
    assert {row[0] for row in page.tables["Rows and hours by scenario"]} == {
        " ".join(str(row.scenario).split()) for row in hostile()
    }
    finds = {a["data-find"] for a in page.named("a") if "data-find" in a}
    doubled = {str(row.scenario).replace('"', '""') for row in hostile()}
    assert finds >= {f'scenario:"{text}"' for text in doubled} | {f'scene:"{text}"' for text in doubled}
    assert EVIL in {row[5] for row in page.tables["Rows of the set"]}
    assert "<title>it&#39;s &#34;quoted&#34; &lt;b&gt;.parquet" in page.text


def test_a_chart_shows_its_names_as_they_are_spelt() -> None:
    name = '<script>alert(1)</script> & $x^2$ "갇힘"'
    line = charts.Line(name, [0.0, 1.0], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5])
    axis, point = charts.Axis(name, 0, 3, [name]), charts.Point(name, 0.5, 1.0)
    for chart in (
        charts.lines([line], name, axis, name, [point], is_stepped=True),
        charts.intervals([name], [[(1.0, 0.0, 2.0)]], name, axis, name),
        charts.histograms({name: (name, np.arange(9.0))}, name, name, 0),
    ):
        tree = ElementTree.fromstring(f"<div>{chart}</div>")
        assert len([text for text in tree.itertext() if text in (name, f"{name}, {name}")]) >= 2
        assert {node.tag for node in tree.iter()} <= set(re.findall("[a-z]+", "div p b i u s a dl dt dd span svg path"))


def test_a_histogram_counts_every_clip_once_and_one_clip_fills_no_bar() -> None:
    values = {"a": np.array([0.0, 0.1, 0.1, 0.30, 5.0, np.nan]), "b": np.array([2.0])}
    chart = charts.histograms({name: (f'kind:"{name}" x:', each) for name, each in values.items()}, "x", "s", 1)
    bins = re.findall(r'data-at="([^"]*)" title="(\d+) clips?, [^"]*" style="--h:(\d+)"', chart)
    assert sum(int(count) for _, count, _ in bins) == 6
    assert bins[0] == ("..0.2", "3", "60")  # ends of bars are round numbers
    assert bins[-1][2] == "20"
    assert not charts.histograms({"a": ("", np.array([np.nan]))}, "x", "s", 1)


def test_the_table_of_rows_has_them_all_or_says_how_many(
    built: Built, page: Page, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = page.tables["Rows of the set"]
    wanted = sql(built.path("mixed"), "SELECT round(frames / rate_hz, 2) FROM ROWS WHERE kind = 'noise'")
    assert len(rows) == sql(built.path("mixed"), "SELECT count(*) FROM ROWS")[0][0]
    assert f"All {len(rows):,} rows of the set." in page.text
    column = [a.get("data-key") for a in page.named("th") if "data-key" in a].index("duration")
    durations = sorted(float(row[column]) for row in rows if "noise" in row[2])
    assert durations == pytest.approx(sorted(value for (value,) in wanted))
    monkeypatch.setattr(facts, "ROWS", 40)
    done(built.folder, "report", "manifests/mixed.parquet", "--out", tmp_path / "few.html")
    few = Page((tmp_path / "few.html").read_text(encoding="utf-8"))
    assert f"40 of the {len(rows):,} rows of the set: a fixed choice" in few.text
    assert {row[3] for row in few.tables["Rows of the set"]} == {row[3] for row in rows}  # every label is there


def test_checks_that_were_not_run_are_said_to_be_so(page: Page) -> None:
    assert re.findall(r'"pill">not run</span> <b>(\w+)</b>', page.text) == ["near", "chain"]
    assert "near and chain not run" in page.text


def test_what_changed_since_the_baseline_is_told_without_what_may_not_be(built: Built, tmp_path: Path) -> None:
    before = manifest.read(built.path("filtered"))
    rows = [
        replace(row, transcript="아무 말", level_full_dbfs=-1.0) if row.corpus == "aihub" else row
        for row in before.rows()
    ]
    made = replace(before.provenance, seed=7, inputs={})
    manifest.write(tmp_path / "after.parquet", from_rows(rows[1:], Row), from_rows([], Drop), made)
    done(tmp_path, "report", "after.parquet", "--baseline", built.path("filtered"))
    page = Page((tmp_path / "after.html").read_text(encoding="utf-8"))
    changed = {row[0]: row[1:] for row in page.tables["Columns that changed"]}
    spoken = sum(row.corpus == "aihub" for row in rows[1:])
    assert changed["level_full_dbfs"][0] == f"{spoken:,}"
    assert "values left out" in changed["transcript"][-1]
    assert "아무 말" not in page.text[page.text.index("</style>") :]
    assert ["seed", "0", "7"] in page.tables["Made differently"]
    assert "1</b> removed" in page.text


def test_a_set_without_audio_says_so_and_shows_the_rest(built: Built, tmp_path: Path) -> None:
    done(tmp_path, "report", built.path("filtered"), "--out", "f.html")
    assert "has no stored audio yet: run prep resample" in (tmp_path / "f.html").read_text(encoding="utf-8")
    manifest.write(tmp_path / "none.parquet", from_rows([], Row), from_rows([], Drop), Provenance("filter", {}, 0))
    assert done(tmp_path, "report", "none.parquet", "--json").json()["totals"] == {"rows": 0, "hours": 0, "splits": []}


def test_a_pack_is_shown_with_what_it_left_out(built: Built, tmp_path: Path) -> None:
    done(built.folder, "pack", "manifests/mixed.parquet", "--out", tmp_path / "mixed.pack.parquet")
    answer = done(tmp_path, "report", "mixed.pack.parquet", "--json").json()
    assert answer["totals"]["rows"] == len(manifest.read(built.path("mixed")))
    assert {"corpus": "aihub", "column": "transcript"} in [
        {"corpus": o["corpus"], "column": o["column"]} for o in answer["left_out"]["columns"]
    ]


def test_without_the_extra_it_says_what_to_install(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pipeline.inspect.report")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "jinja2", None)
    ended: Ended = prep(built.folder, "report", "manifests/mixed.parquet", "--out", "no.html")
    assert ended.code == 1
    assert "needs the package jinja2: pip install '.[report]'" in ended.err
    assert not (built.folder / "no.html").exists()


def test_a_condition_that_may_quote_a_transcript_is_withheld(built: Built, tmp_path: Path) -> None:
    before = manifest.read(built.path("filtered"))
    for name, words in {"one": "살려주세요", "two": "도와주세요"}.items():
        recipe = {**before.provenance.recipe, "filter": {"where": f"transcript = '{words}'"}}
        manifest.write(
            tmp_path / f"{name}.parquet",
            before.frame,
            from_rows([], Drop),
            replace(before.provenance, recipe=recipe, inputs={}),
        )
    for other in ("two.parquet", built.path("aihub")):
        done(tmp_path, "report", "one.parquet", "--baseline", other)
        text = (tmp_path / "one.html").read_text(encoding="utf-8")
        assert "left out: it may quote transcripts" in text
        assert not [words for words in ("살려주세요", "도와주세요") if words in text]


def test_a_page_never_takes_the_place_of_a_manifest(built: Built) -> None:
    before = built.path("mixed").read_bytes()
    ended = prep(built.folder, "report", "manifests/mixed.parquet", "--out", "manifests/mixed.parquet")
    assert (ended.code, "expected a name such as mixed.html" in ended.err) == (1, True)
    assert built.path("mixed").read_bytes() == before


def test_what_is_no_manifest_is_one_message(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text(json.dumps({}))
    for name, message in {"gone.parquet": "no such manifest", "x.parquet": "x.parquet: "}.items():
        ended = prep(tmp_path, "report", name)
        assert (ended.code, message in ended.err) == (1, True), ended.err
    assert not list(tmp_path.glob("*.html"))


def test_a_page_that_cannot_be_written_is_said_to_be_absent(
    built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    ended = prep(built.folder, "report", "manifests/mixed.parquet", "--out", tmp_path / "x.html")
    assert ended.code == 1
    assert f"{tmp_path / 'x.html'}: No space left on device; the page was not written" in ended.err
    assert not list(tmp_path.iterdir())


def test_a_clip_shown_twice_says_where_its_player_is(loud: Page) -> None:
    pictures, players = len(loud.named("img")), len(loud.named("audio"))
    assert loud.text.count("its player is above") == pictures - players


def test_one_is_not_said_in_the_plural(built: Built, tmp_path: Path) -> None:
    done(
        built.folder,
        "ingest",
        "cochlscene",
        built.corpora / ROOTS["cochlscene"],
        "--limit",
        1,
        "--out",
        tmp_path / "one.parquet",
    )
    done(built.folder, "report", tmp_path / "one.parquet")
    page = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert "From 1 clip found to 1 row<" in page
    assert "1 row, " in page
    assert not re.search(r"\b1 (rows|clips|groups)\b", page)


def test_a_note_of_the_baseline_names_files_and_no_letters(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.folder / "manifests", tmp_path / "manifests")
    done(tmp_path, "mix", "--snr", 7, "--out", "manifests/other.parquet", "--virtual")
    done(tmp_path, "report", "manifests/mixed.parquet", "--baseline", "manifests/other.parquet", "--out", "x.html")
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    notes = re.findall(r'<p class="note">([^<]*of the rows removed[^<]*)</p>', page)
    assert notes
    assert all("mixed.parquet" in note and not re.search(r"\b[AB]\b", note) for note in notes)


def test_what_prep_measure_measured_is_on_the_page_source_by_source(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.folder / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".work", "audio"))
    path = tmp_path / "manifests/resampled.parquet"
    rows = list(manifest.read(path).rows())
    pitches = {row.id: 100.0 + n for n, row in enumerate(rows) if row.kind == "speech"}
    table = from_rows([Measures(row.id, str(row.pcm_hash), pitch_hz=pitches.get(row.id)) for row in rows], Measures)
    before = done(tmp_path, "report", path, "--json").json()
    measures.write(path, table, {})
    after = done(tmp_path, "report", path, "--json").json()
    assert "pitch" not in before["measured"][0]["quantiles"]
    quantiles = {part["source"]: part["quantiles"]["pitch"] for part in after["measured"]}
    own = [pitches[row.id] for row in rows if (row.corpus, row.kind) == ("aihub", "speech")]
    assert quantiles["aihub · speech"] == pytest.approx(np.quantile(own, [0.05, 0.5, 0.95]))
    assert quantiles["cochlscene · noise"] is None
    assert "Pitch, Hz" in (tmp_path / "manifests/resampled.html").read_text(encoding="utf-8")
