"""What is in two splits, and may not be: groups, recordings, identical audio. Filter, mix, verify and audit use it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.core import frame as frames
from pipeline.core.row import Drop

if TYPE_CHECKING:
    from pandas import DataFrame

SPLITS = ("train", "dev", "test")  # least protected first: where two share something, the later one keeps it


def in_two_splits(frame: DataFrame, by: str) -> NDArray[np.bool_]:
    """bool [rows]: where the row's value of this column is in another split too. Null is in none.

    frame: with the columns `split` and `by`. A value of `group` counts within its corpus alone, and needs `corpus` too.
    """
    values, splits = _values(frame, by), frames.codes(frame["split"])[0]
    count = int(values.max(initial=-1)) + 1
    lowest, highest = np.full(count, len(frame)), np.full(count, -1)
    np.minimum.at(lowest, values, splits)
    np.maximum.at(highest, values, splits)
    return np.asarray((lowest < highest)[values] & frames.present(frame, by))


def apart(frame: DataFrame, by: str, stage: str) -> tuple[NDArray[np.bool_], DataFrame]:
    """(bool [rows]: which rows stay so that no value of this column is in two splits, drops of the others).

    frame: needs id, corpus, split and the column. A value stays in its most protected split: test before dev before
    train.
    """
    values, (splits, names) = _values(frame, by), frames.codes(frame["split"])
    rank = np.array([SPLITS.index(name) for name in names] or [0], dtype=np.int64)[splits]
    highest = np.zeros(int(values.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(highest, values, rank)
    lost = (rank < highest[values]) & frames.present(frame, by)
    reason, what = ("group_in_two_splits", "group") if by == "group" else ("audio_in_two_splits", "identical audio")
    drops = [
        Drop(row_id, stage, reason, f"its {what} is in {SPLITS[split]} too, where it stays")
        for row_id, split in zip(frames.each(frame["id"][lost]), highest[values[lost]], strict=True)
    ]
    return ~lost, frames.from_rows(drops, Drop)


def _values(frame: DataFrame, by: str) -> NDArray[np.int64]:
    """int64 [rows]: a number for each value of the column."""
    values = frame[by].factorize(use_na_sentinel=False)[0].astype(np.int64)
    if by != "group":
        return values
    corpora, names = frames.codes(frame["corpus"])
    return values * max(1, len(names)) + corpora
