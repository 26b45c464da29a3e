"""Hugging Face: Parquet with the FLAC bytes in it and an `Audio` feature, in files of some 500 MB, splits named on the card."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from pipeline.core import parquet
from pipeline.core.row import Row
from pipeline.core.table import UNHASHED, Table, schema
from pipeline.export._job import Job, file_name, stored_bytes

SAYS = "data/<split>-00000-of-0000N.parquet with the audio in it; datasets.load_dataset(DIR)"
SOUND = True
LINKS = False
FILE_BYTES = 500_000_000
_ROWS_A_GROUP = 100  # read together: `datasets` streams and shuffles by row groups
_TYPES = {"string": "string", "int64": "int64", "double": "float64"}


def size(rows: Table, links: bool) -> int:
    """Every clip is copied out of its shard."""
    return stored_bytes(rows)


def write(job: Job) -> None:
    """`data/`: a set of files for each split, all with the same columns."""
    names = [name for name in job.rows.without_empty().names if name not in UNHASHED]
    metadata = {"huggingface": json.dumps({"info": {"features": _features(job.rows, names)}})}
    for split, rows in job.splits():
        starts = _starts(rows)
        for n, (start, stop) in enumerate(zip(starts, [*starts[1:], len(rows)], strict=True)):
            path = job.folder / f"data/{split}-{n:05d}-of-{len(starts):05d}.parquet"
            parquet.write_parts(path, _groups(job, rows.part(start, stop), names), metadata)


def _starts(rows: Table) -> list[int]:
    """Where each file begins: a new one where FILE_BYTES are passed."""
    size = np.where(rows.present("shard"), rows.numbers("bytes"), rows.numbers("frames") * 1.25)
    number = (np.cumsum(size) - size) // FILE_BYTES
    return [int(at) for at in np.flatnonzero(np.diff(number, prepend=-1))]


def _groups(job: Job, rows: Table, names: list[str]) -> Iterator[Table]:
    for part in rows.parts(_ROWS_A_GROUP):
        held = list(part.rows(Row))
        data = [job.reader.packed(row) for row in held]
        yield part.only(names).with_files("audio", data, [file_name(row.id, ".flac") for row in held])
        job.advance(len(part))


def _features(rows: Table, names: list[str]) -> dict[str, Any]:
    """The columns as `datasets` names them in a Parquet file's metadata, so that `audio` is known to be sound."""
    rates = {row[0] for row in rows.query("SELECT DISTINCT rate_hz FROM rows")}
    sound: dict[str, Any] = {"_type": "Audio"} | ({"sampling_rate": int(rates.pop())} if len(rates) == 1 else {})
    text = {"dtype": "string", "_type": "Value"}
    known = {
        name: {"dtype": _TYPES[str(schema(Row).field(name).type)], "_type": "Value"}
        for name in names
        if name != "labels"
    }
    return {"audio": sound} | {name: known.get(name, [{"key": text, "value": text}]) for name in names}


def card(job: Job) -> str:
    """A dataset card: its head tells `datasets` which file is of which split, under our names for them."""
    splits = [name for name, _ in job.splits()]
    files = "\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name in splits)
    return f"""---
configs:
- config_name: default
  data_files:
{files}
---
# {job.name}: {len(job.rows):,} clips for Hugging Face datasets

```python
import os
from datasets import load_dataset
clips = load_dataset(os.getcwd(), split="{splits[0]}")  # or the path of this folder
```

`audio` is decoded by `datasets` (from version 4 on with torchcodec: `pip install torchcodec`, and FFmpeg). Without it:

```python
import io
import soundfile
from datasets import Audio
for clip in clips.cast_column("audio", Audio(decode=False)):
    pcm, rate_hz = soundfile.read(io.BytesIO(clip["audio"]["bytes"]), dtype="int16")
```
"""
