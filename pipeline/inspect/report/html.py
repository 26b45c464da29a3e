"""From a template and values to one HTML file: everything escaped, everything inside, the same values the same bytes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.inspect.report import fonts

FOLDER = Path(__file__).parent / "templates"
_FACES = "/* faces */"  # in style.css, the first thing on the page
SPLITS = ("train", "dev", "test")


def page(template: str, values: Mapping[str, Any], folder: Path = FOLDER) -> str:
    """The template filled in, with styles, script and the font's glyphs inside. folder: of the template, if it is not of ours."""
    script = (FOLDER / "page.js").read_text(encoding="utf-8")
    style = (FOLDER / "style.css").read_text(encoding="utf-8")
    told = {"style": Markup(style), "script": Markup(script), "policy": policy(script)}
    text = environment(folder).get_template(template).render(**values, **told)
    return text.replace(_FACES, fonts.faces(text), 1)


def policy(script: str) -> str:
    """A Content-Security-Policy under which the page can fetch nothing and run no script but this one."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        "default-src 'none'; img-src data:; media-src data:; font-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )


def environment(folder: Path) -> Environment:
    """Templates of a folder and of ours, with every value escaped, and an error for any that is missing."""
    places = FileSystemLoader([folder, FOLDER])
    made = Environment(loader=places, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {one.__name__: one for one in (count, counted, hours, number, percent, plain, signed)}
    made.globals |= {"SPLITS": SPLITS, "lang": lang}
    return made


def lang(text: str) -> Markup:
    """The attribute by which a screen reader says Korean text in Korean."""
    return Markup(' lang="ko"') if any("가" <= letter <= "힣" for letter in text) else Markup("")


def count(value: int) -> str:
    """`1,389`."""
    return f"{value:,}"


def counted(value: int, what: str) -> str:
    """`1 row`, `1,389 rows`."""
    return f"{value:,} {what}{'' if value == 1 else 's'}"


def hours(value: float, most: float | None = None) -> str:
    """Hours with as many digits as tell something: `186`, `18.4`, `1.55`, `0.012`; in a table, as its largest value has."""
    most = value if most is None else most
    digits = 0 if most >= 1000 else 1 if most >= 10 else 2 if most >= 0.1 or not most else 3
    return f"{value:,.{digits}f}"


def number(value: float | None, digits: int = 1) -> str:
    """A number with a true minus, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 0) -> str:
    """`+12`, `−3`, `0`."""
    return "–" if value is None else "0" if not value else f"{value:+,.{digits}f}".replace("-", "−")


def plain(value: Any) -> str:
    """An option's value for a person: `20, 10, 0:10`, `copies 1, virtual no`; a dash for none."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {plain(item)}" for name, item in value.items() if item is not None)
    return (
        ", ".join(plain(item) for item in value)
        if isinstance(value, list | tuple)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def percent(value: float | None, digits: int = 1) -> str:
    """A share as `12.3 %`."""
    return "–" if value is None else f"{100 * value:.{digits}f}\N{NO-BREAK SPACE}%"
