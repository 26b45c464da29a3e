"""What older manifests need to be read as today's: a step for each schema version that is no longer the newest.

A column that a later schema adds needs no step: in an older manifest it is null. A step is for a column that was renamed,
or whose values mean something else now. Beside it goes a manifest of the old version into tests/data, which a test opens
for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipeline.core.table import Table


def unchanged(table: Table) -> Table:
    """The table as it is."""
    return table


@dataclass(frozen=True, slots=True)
class Step:
    """What makes rows, and drops, of one schema version those of the next."""

    rows: Callable[[Table], Table] = unchanged
    drops: Callable[[Table], Table] = unchanged


STEPS: Mapping[int, Step] = {}  # schema version -> the step to the next one; version 1 is the first and the newest


def raised(table: Table, part: str, since: int, until: int) -> Table:
    """The table of schema version `since` as one of version `until`, but for columns that were added. part: `rows` or `drops`."""
    for version in range(since, until):
        step = STEPS.get(version, Step())
        table = {"rows": step.rows, "drops": step.drops}[part](table)
    return table
