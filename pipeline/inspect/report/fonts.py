"""The letters that a page shows, cut out of NanumGothic (SIL Open Font License) and embedded: Korean needs no font installed."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from fontTools.subset import Options, Subsetter  # type: ignore[import-untyped]  # carries no types
from fontTools.ttLib import TTFont  # type: ignore[import-untyped]

from pipeline.core.errors import PrepError, to_install

FAMILY = "NanumGothic"  # as the charts name it too
CARRIER = "koreanize-matplotlib"  # brings the font files; never imported: it changes matplotlib's settings
WEIGHTS = {"400": "NanumGothic.ttf", "700": "NanumGothicBold.ttf"}
HANGUL = f"{FAMILY} Hangul"  # Hangul alone, to stand before a font without it: after one, Chromium draws boxes
ALWAYS = "".join(map(chr, range(0x20, 0x7F))) + "·–×−…←→°±"


@cache
def path(name: str) -> Path:
    """Where a font file of the carrier lies. PrepError where it is not installed."""
    try:
        held = files(CARRIER) or []
    except PackageNotFoundError:
        held = []
    for file in held:
        if file.name == name:
            return Path(str(file.locate()))
    raise PrepError(f"{name} is not there: the page's Korean font comes with {CARRIER}: {to_install('report')}")


def faces(text: str) -> str:
    """CSS @font-face rules that hold the glyphs of these characters, each weight as a WOFF2 data URI; same text, same bytes."""
    wanted = sorted({ord(letter) for letter in text} | {ord(letter) for letter in ALWAYS})
    rules = [_face(FAMILY, weight, subset(path(name), wanted)) for weight, name in WEIGHTS.items()]
    korean = [letter for letter in wanted if 0xAC00 <= letter <= 0xD7A3 or 0x3130 <= letter <= 0x318F]
    if korean:
        rules.append(
            _face(HANGUL, "400", subset(path(WEIGHTS["400"]), korean), "unicode-range:U+3130-318F,U+AC00-D7A3;")
        )
    return "\n".join(rules)


def subset(font: Path, wanted: Iterable[int]) -> bytes:
    """WOFF2 of the font with these code points alone; those that it lacks are passed over."""
    options = Options(
        flavor="woff2", layout_features=["kern", "ccmp"], hinting=False, name_IDs=[0, 1, 2, 13, 14], notdef_outline=True
    )
    options.drop_tables += ["TSI0", "TSI1", "TSI2", "TSI3", "TSI5"]  # sources of the hints
    cutter = Subsetter(options)
    cutter.populate(unicodes=list(wanted))
    out = io.BytesIO()
    with TTFont(font, lazy=True, recalcTimestamp=False) as held:
        cutter.subset(held)
        held.flavor = "woff2"
        held.save(out)
    return out.getvalue()


def _face(family: str, weight: str, data: bytes, span: str = "") -> str:
    source = f"url(data:font/woff2;base64,{base64.b64encode(data).decode()}) format('woff2')"
    return f"@font-face{{font-family:'{family}';font-weight:{weight};font-style:normal;{span}src:{source}}}"
