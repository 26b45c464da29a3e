"""What is in more than one split: the one check that filter, verify and audit share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pandas import DataFrame


def in_two_splits(frame: DataFrame, by: str) -> NDArray[np.bool_]:
    """bool [rows]: where the row's value of this column is in another split too. Null is in none.

    frame: with the columns `split` and `by`. A value of `group` counts within its corpus alone, so there it needs `corpus` too.
    """
    numbers, _ = frame[by].array.factorize()  # -1 for null
    if by == "group":
        corpora, names = frame["corpus"].array.factorize()
        numbers = numbers * len(names) + corpora
    is_known = numbers >= 0
    known = numbers[is_known]
    splits = frame["split"].array.factorize()[0][is_known]
    one_split = np.zeros(int(known.max()) + 1 if len(known) else 0, dtype=np.int64)
    one_split[known] = splits  # one of the splits of each value, whichever
    in_two = np.zeros(len(one_split), dtype=np.bool_)
    in_two[known[one_split[known] != splits]] = True
    answer = np.zeros(len(frame), dtype=np.bool_)
    answer[is_known] = in_two[known]
    return answer
