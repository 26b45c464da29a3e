"""What a check of an audit ends in: a finding, nothing found, or not possible."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found. check: `group`, `near`, ... fails: whether the audit fails by it. rows: how many rows it concerns.

    detail: sentences: what was found, what it means, what to do. examples: a few cases by name. figures: the same for machines.
    """

    check: str
    fails: bool
    rows: int
    detail: str
    examples: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clear:
    """A check that was done and found nothing; detail: what was looked at."""

    check: str
    detail: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unable:
    """A check that could not be done, and why."""

    check: str
    detail: str


Outcome = Finding | Clear | Unable
SPLITS = ("train", "dev", "test")


def rank(split: str) -> tuple[int, str]:
    """By which splits are sorted: train, dev, test, then others by name."""
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), split)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `1,200 rows`.

    >>> counted(2, "copy", "copies")
    '2 copies'
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
