"""NeMo: one JSON line a clip for each split, audio as FLAC beside it; `offset` and `duration` in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.core.table import Table
from pipeline.export._job import Job, each, file_name, seconds, stored_bytes

SAYS = "<split>.jsonl of audio_filepath, offset, duration, text and labels; audio as loose FLAC"
SOUND = True
LINKS = False


def size(rows: Table, links: bool) -> int:
    """Every clip is copied out of its shard."""
    return stored_bytes(rows)


def write(job: Job) -> None:
    """`<split>.jsonl` and `audio/`."""
    for split, rows in job.splits():
        job.lines(f"{split}.jsonl", _lines(job, rows))


def _lines(job: Job, rows: Table) -> Iterator[dict[str, Any]]:
    """NeMo's own keys first. A path is relative, and NeMo reads it from the manifest's folder; `text` is never missing."""
    for row, told in each(rows):
        path = file_name(row.id, ".flac")
        job.put(path, job.reader.packed(row))
        job.advance(1)
        del told["split"]
        own = {
            "audio_filepath": path,
            "offset": 0.0,
            "duration": seconds(row),
            "text": told.pop("transcript", ""),
            "speaker": row.group,
        }
        yield own | told


def card(job: Job) -> str:
    """How NeMo is told of it."""
    first = next(job.splits())[0]
    return f"""# {job.name}: {len(job.rows):,} clips for NeMo

One line a clip: `audio_filepath` (from this folder), `offset` and `duration` in seconds, `text` (empty where none is known),
`speaker`, and what else the manifest says (`id`, `keyword`, `noise_label`, `snr_db`, `label.<key>`, ...). Every clip is a file
of its own, so every offset is 0.

    model.train_ds.manifest_filepath={first}.jsonl

```python
import json
import soundfile
with open("{first}.jsonl", encoding="utf-8") as lines:
    for told in map(json.loads, lines):
        pcm, rate_hz = soundfile.read(told["audio_filepath"], dtype="int16")
```
"""
