"""The nouns of a difference: what changed, what cannot be compared, what moved, by what the two were made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """One change of a value, and how many rows have the same one."""

    id: str
    old: Any
    new: Any
    rows: int


@dataclass(frozen=True, slots=True)
class Changed:
    """A column in which rows differ."""

    column: str
    rows: int
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Blind:
    """A column that cannot be compared in some rows, because a pack (of this name) does not hold it there, and why."""

    column: str
    rows: int
    pack: str
    why: str


@dataclass(frozen=True, slots=True)
class Option:
    """What the two were made by differently: `recipe.mix.snr_db`, `seed`, `versions.numpy`, `inputs.aihub`. None: not told there."""

    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Moved:
    """Rows that one holds and the other dropped. to: `dropped` or `kept`, seen from the first."""

    to: str
    stage: str
    reason: str
    rows: int
    example: str
    detail: str


@dataclass(frozen=True, slots=True)
class Difference:
    """All of it. added, removed, changed, same: numbers of rows, seen from the first set."""

    a: str
    b: str
    rows_a: int
    rows_b: int
    added: int
    removed: int
    changed: int
    same: int
    examples_added: tuple[str, ...] = ()
    examples_removed: tuple[str, ...] = ()
    columns: tuple[Changed, ...] = ()
    swapped: int = 0
    examples_swapped: tuple[tuple[str, str], ...] = ()
    not_comparable: tuple[Blind, ...] = ()
    options: tuple[Option, ...] = ()
    moved: tuple[Moved, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def alike(self) -> bool:
        """Whether the rows are the same, as far as they can be compared."""
        return not (self.added or self.removed or self.changed)
