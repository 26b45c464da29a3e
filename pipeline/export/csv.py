"""CSV: one table of every column, no audio. UTF-8 with a byte order mark, so that Excel reads Korean too."""

from __future__ import annotations

from codecs import BOM_UTF8

import numpy as np
import pandas as pd

from pipeline.core import frame, parquet, sql
from pipeline.export._base import Job

SOUND = False
LINKS = False
_KEYS = "SELECT DISTINCT unnest(map_keys(map_from_entries(labels))) AS key FROM rows ORDER BY key"
_ROWS_AT_A_TIME = 10_000


def size(rows: pd.DataFrame, links: bool) -> int:
    """No audio is written."""
    return 0


def write(job: Job) -> str:
    """`NAME.csv`: columns without any value left out, labels as columns `label.<key>`; null is an empty cell."""
    names = [name for name in job.rows.columns if name != "labels" and frame.present(job.rows, name).any()]
    keys = [key for (key,) in sql.query(job.rows, _KEYS)]
    with open(job.folder / f"{job.name}.csv", "wb") as file:
        file.write(BOM_UTF8)
        for start in range(0, len(job.rows), _ROWS_AT_A_TIME):
            part = frame.pick(job.rows, np.arange(start, min(start + _ROWS_AT_A_TIME, len(job.rows))))
            labels = frame.values(part["labels"])
            columns = {f"label.{key}": [pairs.get(key) for pairs in labels] for key in keys}
            parquet.write_csv(file, frame.with_columns(part[names], **columns), heading=start == 0)
            job.advance(len(part))
    return job.card("csv")
