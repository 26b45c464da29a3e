"""NeMo: one JSON line a clip for each split, audio as FLAC beside it; `offset` and `duration` in seconds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from pipeline.core import frame
from pipeline.core.row import Row
from pipeline.export._base import Job, facts, file_name, seconds, stored_bytes

SOUND = True
LINKS = False


def size(rows: pd.DataFrame, links: bool) -> int:
    """Every clip is copied out of its shard."""
    return stored_bytes(rows)


def write(job: Job) -> str:
    """`<split>.jsonl` and `audio/`."""
    for split, rows in job.splits():
        job.put_lines(f"{split}.jsonl", _lines(job, rows))
    return job.card("nemo")


def _lines(job: Job, rows: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """NeMo's own keys come first. NeMo takes a relative path from the manifest's folder; `text` is never missing."""
    for row in frame.rows(rows, Row):
        path = file_name(row.id, ".flac")
        job.put(path, job.reader.packed(row))
        job.advance(1)
        line = {
            "audio_filepath": path,
            "offset": 0.0,
            "duration": seconds(row),
            "text": row.transcript or "",
            "speaker": row.group,
        }
        yield line | {name: value for name, value in facts(row).items() if name not in ("split", "transcript")}
