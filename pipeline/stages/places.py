"""Places as columns of a plan: where each recording lies on this machine, beside what it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.core.row import Place
from pipeline.core.table import Table


@dataclass(frozen=True, slots=True)
class At:
    """The columns."""

    at_root: str
    at_container: str
    at_offset: int
    at_packed: int
    at_size: int
    at_method: int
    at_crc: int | None
    at_stamp: int
    at_begin_s: float | None
    at_end_s: float | None


def located(plan: Table, places: Sequence[Place]) -> Table:
    """The plan with the columns of At, one place a row."""
    held = [
        At(p.root, p.container, p.offset, p.packed, p.size, p.method, p.crc, p.stamp, p.begin_s, p.end_s)
        for p in places
    ]
    return plan.beside(Table.of(held, At))


def places(plan: Table) -> Iterator[Place]:
    """The places back."""
    for at in plan.rows(At):
        lies = at.at_root, at.at_container, at.at_offset, at.at_packed, at.at_size, at.at_method, at.at_crc, at.at_stamp
        yield Place(*lies, at.at_begin_s, at.at_end_s)
