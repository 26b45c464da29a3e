"""What older manifests need to be read as today's: a step for each schema version that is no longer the newest.

A column that a later schema adds needs no step: in an older manifest it is null. A step is for a column that was
renamed, or whose values mean something else now. Beside it goes a manifest of the old version into tests/data, which a
test opens for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


# (schema version, `rows` or `drops`) -> the step to the next version; version 2 added dc_dbfs, and needs none
STEPS: Mapping[tuple[int, str], Callable[[pd.DataFrame], pd.DataFrame]] = {}


def raised(frame: pd.DataFrame, part: str, since: int, until: int) -> pd.DataFrame:
    """The frame of schema version `since` as one of version `until`, but for columns that were added. part: `rows` or
    `drops`."""
    for version in range(since, until):
        if step := STEPS.get((version, part)):
            frame = step(frame)
    return frame
