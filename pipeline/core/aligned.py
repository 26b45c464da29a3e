"""Text in columns for a terminal: as wide as they need to be, Hangul counted as two cells wide."""

from __future__ import annotations

from collections.abc import Sequence
from unicodedata import east_asian_width


def widths(lines: Sequence[Sequence[str]]) -> list[int]:
    """Cells that each column takes."""
    return [max(map(_width, column)) for column in zip(*lines, strict=True)]


def aligned(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    """The lines with their columns one below the other. right: whether a column stands to the right."""
    wide = widths(lines)
    return ["  ".join(_padded(*cell) for cell in zip(line, wide, right, strict=True)).rstrip() for line in lines]


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)


def _padded(text: str, width: int, right: bool) -> str:
    space = " " * (width - _width(text))
    return space + text if right else text + space
