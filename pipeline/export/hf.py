"""Hugging Face: Parquet files of about 500 MB with FLAC bytes in an `Audio` feature; the card names the splits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core import frame, parquet, sql
from pipeline.core.frame import UNHASHED
from pipeline.core.row import Row
from pipeline.export._base import Job, file_name, stored_bytes

SOUND = True
LINKS = False
FILE_BYTES = 500_000_000
_ROWS_A_GROUP = 100  # read together: `datasets` streams and shuffles by row groups
_TYPES = {"string": "string", "int64": "int64", "double": "float64"}


def size(rows: pd.DataFrame, links: bool) -> int:
    """Every clip is copied out of its shard."""
    return stored_bytes(rows)


def write(job: Job) -> str:
    """`data/<split>-00000-of-0000N.parquet`: a set of files for each split, all with the same columns."""
    names = [name for name in job.rows.columns if name not in UNHASHED and frame.present(job.rows, name).any()]
    metadata = {"huggingface": json.dumps({"info": {"features": _features(job.rows, names)}})}
    for split, rows in job.splits():
        stored = frame.numbers(rows["bytes"]), frame.numbers(rows["frames"]) * 1.25
        bytes_ = np.where(frame.present(rows, "shard"), *stored)
        number = (np.cumsum(bytes_) - bytes_) // FILE_BYTES  # of the file: a new one where FILE_BYTES are passed
        starts = np.flatnonzero(np.diff(number, prepend=-1))
        for n, places in enumerate(np.split(np.arange(len(rows)), starts[1:])):
            path = job.folder / f"data/{split}-{n:05d}-of-{len(starts):05d}.parquet"
            parquet.write_parts(path, _groups(job, frame.pick(rows, places), names), metadata)
    splits = [name for name, _ in job.splits()]
    return job.card("hf", files="\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name in splits))


def _groups(job: Job, rows: pd.DataFrame, names: list[str]) -> Iterator[pd.DataFrame]:
    for start in range(0, len(rows), _ROWS_A_GROUP):
        part = frame.pick(rows, np.arange(start, min(start + _ROWS_A_GROUP, len(rows))))
        audio = [{"bytes": job.reader.packed(row), "path": file_name(row.id, ".flac")} for row in frame.rows(part, Row)]
        yield frame.with_columns(part, audio=audio)[["audio", *names]]
        job.advance(len(part))


def _features(rows: pd.DataFrame, names: list[str]) -> dict[str, Any]:
    """The columns as `datasets` names them in a Parquet file's metadata, so that `audio` is known to be sound."""
    rates = [rate for (rate,) in sql.query(rows, "SELECT DISTINCT rate_hz FROM rows")]
    sound: dict[str, Any] = {"_type": "Audio"} | ({"sampling_rate": int(rates[0])} if len(rates) == 1 else {})
    text = {"dtype": "string", "_type": "Value"}
    columns: dict[str, Any] = {"audio": sound}
    for name in names:
        kind = str(frame.schema(Row).field(name).type)
        columns[name] = (
            [{"key": text, "value": text}] if name == "labels" else {"dtype": _TYPES[kind], "_type": "Value"}
        )
    return columns
