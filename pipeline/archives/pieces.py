"""Pieces of one file, `NAME.zip.part<number>`: their order, and whether any is missing."""

from __future__ import annotations

from itertools import accumulate

from pipeline.archives.names import base
from pipeline.archives.spans import Spans, joined
from pipeline.core.errors import SourceError

LARGEST_INDEX = 9_999  # a number above this counts bytes, not pieces


def in_order(whole: str, found: dict[int, Spans]) -> Spans:
    """The whole file out of its pieces, by number. The numbers are byte offsets, or indices from 0 or 1.

    SourceError: a piece is missing, too short or too long.
    """
    numbers = sorted(found)
    ordered = [found[number] for number in numbers]
    if not _are_indices(numbers):
        _check_offsets(whole, numbers, [piece.size for piece in ordered])
    return joined(ordered)


def _are_indices(numbers: list[int]) -> bool:
    return numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1)))


def _check_offsets(whole: str, numbers: list[int], sizes: list[int]) -> None:
    """Every piece starts where the one before it ends, and the first at 0."""
    if len(numbers) > 1 and numbers[-1] <= LARGEST_INDEX and min(sizes[:-1]) > numbers[-1]:
        missing = next(n for n in range(numbers[0] > 0, numbers[-1]) if n not in numbers)
        raise SourceError(f"piece {missing} of {numbers[-1]} is missing. Download it again, beside the others.")
    for number, expected in zip(numbers, accumulate(sizes[:-1], initial=0), strict=True):
        if number > expected:
            raise SourceError(
                f"the piece at byte {expected:,} is missing (no {base(whole)}.part{expected}; the next one found is "
                f".part{number}). Download the missing piece, or the one before it if that was cut short."
            )
        if number < expected:
            raise SourceError(
                f".part{number} starts before the piece ahead of it ends (at byte {expected:,}): the pieces are not from one "
                "download. Delete all of them and download again."
            )
