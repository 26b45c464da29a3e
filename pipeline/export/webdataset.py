"""WebDataset: the shards as they are, with a list of what is said of each clip; or new ones with the labels in them."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from pipeline.audio.shards import member_name
from pipeline.core.errors import PrepError
from pipeline.core.table import Table
from pipeline.export._job import AT_A_TIME, Job, each, stored_bytes
from pipeline.export._job import told as told_of

SAYS = "labels.jsonl for the shards where they lie; with --audio copy, tars of .flac and .json for each split"
SOUND = True
LINKS = True
SHARD_CLIPS = 1000


def size(rows: Table, links: bool) -> int:
    """Nothing, where the shards are read as they are."""
    if links and rows.present("noise_shard").any():
        raise PrepError(
            "mixtures that are virtual are in no shard: --audio copy renders them into new ones, or run prep mix without --virtual"
        )
    return 0 if links else stored_bytes(rows)


def write(job: Job) -> None:
    """`labels.jsonl`, or `<split>-000000.tar`, ..."""
    if job.links:
        job.lines("labels.jsonl", _linked(job))
        return
    for split, rows in job.splits():
        for n, part in enumerate(rows.parts(SHARD_CLIPS)):
            with open(job.folder / _tar(split, n), "wb") as file:
                _fill(job, part, file)


def _linked(job: Job) -> Iterator[dict[str, Any]]:
    """`__key__` and `__shard__` are WebDataset's; where the shards are is told from the export's own folder."""
    audio = Path(os.path.relpath(job.reader.folder.resolve(), job.home.resolve())).as_posix()
    for part in job.rows.parts(AT_A_TIME):
        for told, shard in zip(told_of(part), part.strings("shard"), strict=True):
            yield {"__key__": key(told["id"]), "__shard__": f"{audio}/{shard}"} | told
        job.advance(len(part))


def key(row_id: str) -> str:
    """What WebDataset calls a member: its name up to the first dot."""
    return member_name(row_id).removesuffix(".flac")


def _fill(job: Job, rows: Table, file: BinaryIO) -> None:
    for row, told in each(rows):
        _member(file, f"{key(row.id)}.flac", job.reader.packed(row))
        _member(file, f"{key(row.id)}.json", orjson.dumps(told))
        job.advance(1)
    file.write(bytes(2 * tarfile.BLOCKSIZE))


def _member(file: BinaryIO, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    file.write(info.tobuf(tarfile.PAX_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE))


def _tar(split: str, n: int) -> str:
    return f"{split}-{n:06d}.tar"


def card(job: Job) -> str:
    """How WebDataset streams it."""
    split, rows = next(job.splits())
    if job.links:
        return f"""# {job.name}: {len(job.rows):,} clips for WebDataset, in the shards where they lie

No audio is here. `labels.jsonl` says of each clip which shard it is in (`__shard__`, from this folder), under which key
(`__key__`), and its labels. A shard may hold clips of several splits, and clips that are not in the manifest.

```python
import json
import webdataset
with open("labels.jsonl", encoding="utf-8") as lines:
    labels = {{told["__key__"]: told for told in map(json.loads, lines) if told["split"] == "{split}"}}
shards = sorted({{told["__shard__"] for told in labels.values()}})
clips = (
    webdataset.WebDataset(shards, shardshuffle=False)
    .select(lambda clip: clip["__key__"] in labels)
    .map(lambda clip: {{**clip, "json": labels[clip["__key__"]]}})
)
```

`prep export --to webdataset --audio copy` makes tars of one split each, with the labels inside.
"""
    last = (len(rows) - 1) // SHARD_CLIPS
    return f"""# {job.name}: {len(job.rows):,} clips for WebDataset

Tars of at most {SHARD_CLIPS:,} clips of one split, `<key>.flac` and `<key>.json` (its labels) for each.

```python
import webdataset
clips = webdataset.WebDataset("{split}-{{000000..{last:06d}}}.tar", shardshuffle=False)
```
"""
