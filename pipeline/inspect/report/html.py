"""One HTML file from a template and values: everything escaped and embedded, the same bytes from the same values.

The glyphs of a page are cut out of NanumGothic (SIL Open Font License) and embedded: Korean needs no font installed.
"""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]  # carries no types
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.core.errors import PrepError, to_install
from pipeline.inspect.audit import counted
from pipeline.inspect.report.facts import SPLITS

FOLDER = Path(__file__).parent / "templates"
FAMILY = "NanumGothic"  # the charts name it too
HANGUL = f"{FAMILY} Hangul"  # Hangul alone, to stand before a font without it: after one, Chromium draws boxes
CARRIER = "koreanize-matplotlib"  # brings the font files; never imported: it changes matplotlib's settings
WEIGHTS = {"400": "NanumGothic.ttf", "700": "NanumGothicBold.ttf"}
ALWAYS = "".join(map(chr, range(0x20, 0x7F))) + "·–×−…←→°±"  # letters that every page has
DOUBLE = '"'
_FACES = "/* faces */"  # the first words of style.css, where the fonts go


def page(template: str, values: Mapping[str, Any], folder: Path = FOLDER) -> str:
    """The template filled in, with styles, script and the glyphs of the font embedded.

    folder: of the template. jinja2.UndefinedError where the template names a value that is missing.
    """
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (  # under which the page can fetch nothing and run no script but this one
        "default-src 'none'; img-src data:; media-src data:; font-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    embedded = {"style": Markup(style), "script": Markup(script), "policy": policy}
    text = _environment(folder).get_template(template).render(**values, **embedded)
    return text.replace(_FACES, font_faces(text), 1)


@cache
def _environment(folder: Path) -> Environment:
    """What reads and keeps the templates of a folder."""
    environment = Environment(
        loader=FileSystemLoader([folder, FOLDER]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {one.__name__: one for one in (count, counted, find, hours, number, percent, plain, signed)}
    environment.globals |= {"SPLITS": SPLITS, "lang": lang}
    return environment


def font_faces(text: str) -> str:
    """CSS @font-face rules with the glyphs of these letters, each weight as a WOFF2 data URI; same text, same bytes."""
    wanted = sorted({ord(letter) for letter in text + ALWAYS})
    korean = [letter for letter in wanted if 0xAC00 <= letter <= 0xD7A3 or 0x3130 <= letter <= 0x318F]
    faces = [(FAMILY, weight, wanted, "") for weight in WEIGHTS]
    faces += [(HANGUL, "400", korean, "unicode-range:U+3130-318F,U+AC00-D7A3;")] if korean else []
    rules = []
    for family, weight, letters, letters_range in faces:
        data = base64.b64encode(glyphs(font_path(WEIGHTS[weight]), tuple(letters))).decode()
        source = f"url(data:font/woff2;base64,{data}) format('woff2')"
        rules.append(
            f"@font-face{{font-family:'{family}';font-weight:{weight};font-style:normal;{letters_range}src:{source}}}"
        )
    return "\n".join(rules)


@cache
def font_path(name: str) -> Path:
    """Where a font file of the carrier lies. PrepError where the carrier is not installed."""
    try:
        carried = files(CARRIER) or []
    except PackageNotFoundError:
        carried = []
    for file in carried:
        if file.name == name:
            return Path(str(file.locate()))
    raise PrepError(f"{name} is not there: the page's Korean font comes with {CARRIER}: {to_install('report')}")


@cache
def glyphs(font: Path, wanted: tuple[int, ...]) -> bytes:
    """WOFF2 of the font with these code points alone; those that the font lacks are passed over."""
    options = Options(
        flavor="woff2", layout_features=["ccmp"], hinting=False, name_IDs=[0, 1, 2, 13, 14], notdef_outline=True
    )
    # kerning takes a second to read; the rest are sources of the hints
    options.drop_tables += ["kern", "TSI0", "TSI1", "TSI2", "TSI3", "TSI5"]
    subsetter = Subsetter(options)
    subsetter.populate(unicodes=list(wanted))
    out = io.BytesIO()
    with TTFont(font, lazy=True, recalcTimestamp=False) as open_font:
        subsetter.subset(open_font)
        open_font.flavor = "woff2"
        open_font.save(out)
    return out.getvalue()


# ---- how templates write values


def lang(text: str) -> Markup:
    """The attribute by which a screen reader reads Korean text as Korean."""
    return Markup(' lang="ko"') if any("가" <= letter <= "힣" for letter in text) else Markup("")


def count(value: int) -> str:
    """`1,389`."""
    return f"{value:,}"


def find(value: str, key: str) -> str:
    """What finds the rows whose column has this value, in the search of a page's table of rows: `scene:"Bus"`."""
    return f'{key}:"{value.replace(DOUBLE, 2 * DOUBLE)}"'


def hours(value: float, most: float | None = None) -> str:
    """Hours with as many digits as make sense: `186`, `18.4`, `1.55`, `0.012`. most: the largest value of the table."""
    most = value if most is None else most
    digits = 0 if most >= 1000 else 1 if most >= 10 else 2 if most >= 0.1 or not most else 3
    return f"{value:,.{digits}f}"


def number(value: float | None, digits: int = 1) -> str:
    """A number with a true minus, or a dash where there is none."""
    return "–" if value is None else f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 0) -> str:
    """`+12`, `−3`, `0`."""
    return "–" if value is None else "0" if not value else f"{value:+,.{digits}f}".replace("-", "−")


def percent(value: float | None, digits: int = 1) -> str:
    """A share as `12.3 %`."""
    return "–" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"


def plain(value: Any) -> str:
    """An option's value for a person: `20, 10, 0:10`, `copies 1, virtual no`; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return ", ".join(plain(item) for item in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
