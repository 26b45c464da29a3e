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

from pipeline.errors import PrepError

FAMILY = "NanumGothic"  # as the charts name it too
CARRIER = "koreanize-matplotlib"  # brings the font files; never imported: it changes matplotlib's settings
WEIGHTS = {"400": "NanumGothic.ttf", "700": "NanumGothicBold.ttf"}
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
    raise PrepError(f"{name} is not there: the page's Korean font comes with {CARRIER}: pip install 'call-for-help-prep[report]'")


def faces(text: str) -> str:
    """CSS @font-face rules that hold the glyphs of these characters, each weight as a WOFF2 data URI; same text, same bytes."""
    wanted = sorted({ord(letter) for letter in text} | {ord(letter) for letter in ALWAYS})
    return "\n".join(_face(weight, subset(path(name), wanted)) for weight, name in WEIGHTS.items())


def subset(font: Path, wanted: Iterable[int]) -> bytes:
    """WOFF2 of the font with these code points alone; those that it lacks are passed over."""
    options = Options(flavor="woff2", layout_features=["kern", "ccmp"], hinting=False, name_IDs=[0, 1, 2, 13, 14], notdef_outline=True)
    options.drop_tables += ["TSI0", "TSI1", "TSI2", "TSI3", "TSI5"]  # sources of the hints
    cutter = Subsetter(options)
    cutter.populate(unicodes=list(wanted))
    out = io.BytesIO()
    with TTFont(font, lazy=True, recalcTimestamp=False) as held:
        cutter.subset(held)
        held.flavor = "woff2"
        held.save(out)
    return out.getvalue()


def _face(weight: str, data: bytes) -> str:
    source = f"url(data:font/woff2;base64,{base64.b64encode(data).decode()}) format('woff2')"
    return f"@font-face{{font-family:{FAMILY};font-weight:{weight};font-style:normal;src:{source}}}"
