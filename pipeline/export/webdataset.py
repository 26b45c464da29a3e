"""WebDataset: the shards as they are, with a list of the labels of each clip; or new tars with the labels in them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pandas as pd

from pipeline.audio.shards import member_name
from pipeline.core import frame
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.export._base import Job, facts, stored_bytes

SOUND = True
LINKS = True
SHARD_CLIPS = 1000


def size(rows: pd.DataFrame, links: bool) -> int:
    """Nothing, where the shards are read as they are. PrepError where mixtures are in none."""
    if links and frame.present(rows, "noise_shard").any():
        remedy = "--audio copy renders them into new ones, or run prep mix without --virtual"
        raise PrepError(f"mixtures that are virtual are in no shard: {remedy}")
    return 0 if links else stored_bytes(rows)


def write(job: Job) -> str:
    """`labels.jsonl`, or `<split>-000000.tar`, ..."""
    if job.links:
        job.put_lines("labels.jsonl", _labels(job))
        return job.card("webdataset_linked")
    last = 0
    for number, (split, rows) in enumerate(job.splits()):
        starts = range(0, len(rows), SHARD_CLIPS)
        for n, start in enumerate(starts):
            part = frame.pick(rows, np.arange(start, min(start + SHARD_CLIPS, len(rows))))
            _write_tar(job, job.folder / f"{split}-{n:06d}.tar", part)
        last = len(starts) - 1 if number == 0 else last  # the card has the first split for its example
    return job.card("webdataset", clips=f"{SHARD_CLIPS:,}", last=f"{last:06d}")


def _labels(job: Job) -> Iterator[dict[str, Any]]:
    """`__key__` and `__shard__` are WebDataset's; the path of a shard counts from the export's own folder."""
    audio = Path(os.path.relpath(job.reader.folder.resolve(), job.home.resolve())).as_posix()
    for row in frame.rows(job.rows, Row):
        yield {"__key__": key(row.id), "__shard__": f"{audio}/{row.shard}"} | facts(row)
        job.advance(1)


def key(row_id: str) -> str:
    """What WebDataset calls a member: its name up to the first dot."""
    return member_name(row_id).removesuffix(".flac")


def _write_tar(job: Job, path: Path, rows: pd.DataFrame) -> None:
    with open(path, "wb") as file:
        for row in frame.rows(rows, Row):
            for suffix, data in (("flac", job.reader.packed(row)), ("json", orjson.dumps(facts(row)))):
                info = tarfile.TarInfo(f"{key(row.id)}.{suffix}")
                info.size = len(data)
                file.write(info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE))
            job.advance(1)
        file.write(bytes(2 * tarfile.BLOCKSIZE))
