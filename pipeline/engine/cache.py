"""Commits: what the work made of one shard, rows and drops, in one file that is whole or absent.

A commit holds the columns that the stage fills (FILLS) and nothing else of its rows. Its name says all that they depend
on.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.core import frame as frames
from pipeline.core import parquet
from pipeline.core.errors import ManifestError
from pipeline.core.row import Drop, Row
from pipeline.stages import Stage
from pipeline.stages.store import WORK_FOLDER

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Commit:
    """What the jobs of a shard ended as, Arrow tables. fills: of the rows, `id` and the columns that it fills."""

    fills: Any
    drops: Any


@dataclass(frozen=True, slots=True)
class Effort:
    """What a shard took: stage, options of the work, seconds of audio, seconds of work. For plans and estimates."""

    stage: str
    options: dict[str, Any]
    audio_s: float
    work_s: float


def commit_path(folder: Path, shard: str) -> Path:
    """Where the commit of a shard lies."""
    return folder / WORK_FOLDER / f"{shard}.parquet"


def audio_path(folder: Path, shard: str) -> Path:
    """Where the audio of a shard lies."""
    return folder / AUDIO_FOLDER / f"{shard}.tar"


def write(
    folder: Path,
    shard: str,
    stage: Stage,
    results: Sequence[Row | Drop],
    crc: int | None,
    effort: Effort,
    settled: bool,
) -> None:
    """Commits a shard. Its audio, if it has any, lies in place already, and crc is the checksum of that file.

    settled: whether these results hold for the next run too, or some recordings could not be read this time.
    """
    fills = frames.table_of([row for row in results if isinstance(row, Row)], Row, ("id", *stage.FILLS))
    drops = frames.table_of([drop for drop in results if isinstance(drop, Drop)], Drop)
    seal: dict[str, Any] = {
        "made": frames.logical_hash(fills),
        "drops": frames.logical_hash(drops),
        "effort": asdict(effort),
        "settled": settled,
    }
    if crc is not None:
        audio = audio_path(folder, shard).stat()
        seal |= {"crc": str(crc), "bytes": str(audio.st_size), "stamp": str(audio.st_mtime_ns)}
    parquet.write(commit_path(folder, shard), frames.stacked([fills, drops]), seal)


def read(folder: Path, shard: str, stage: Stage, settled: bool = False) -> Commit | None:
    """The commit of a shard; None where there is none, or where it or its audio was damaged since.

    settled: None also where some recordings could not be read when it was made. Audio is trusted by its size and time
    of change; where the time differs (a copied folder), its checksum decides.
    """
    path = commit_path(folder, shard)
    if not path.exists():
        return None
    try:
        table, seal = parquet.read_arrow(path)
    except ManifestError:
        return None
    if settled and not seal.get("settled"):
        return None
    reason = table.column("reason")
    fills = table.filter(reason.is_null()).select(["id", *stage.FILLS])
    drops = table.filter(reason.is_valid()).select(frames.schema(Drop).names)
    if seal.get("made") != frames.logical_hash(fills) or seal.get("drops") != frames.logical_hash(drops):
        return None
    if "crc" in seal:
        audio = audio_path(folder, shard)
        if not audio.exists() or audio.stat().st_size != int(seal["bytes"]):
            return None
        if audio.stat().st_mtime_ns != int(seal["stamp"]) and checksum(audio) != int(seal["crc"]):
            return None
    return Commit(fills, drops)


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


def committed(folder: Path) -> list[str]:
    """Names of all shards that are committed in the folder."""
    return sorted(path.stem for path in (folder / WORK_FOLDER).glob("*.parquet") if not path.name.startswith("."))


def effort(folder: Path, shard: str) -> Effort | None:
    """What a committed shard took; None where its commit cannot be read."""
    try:
        return Effort(**parquet.metadata(commit_path(folder, shard))["effort"])
    except (ManifestError, KeyError, TypeError):
        return None


def ids(folder: Path, shard: str) -> list[str]:
    """Ids of the jobs of a committed shard; empty where its commit cannot be read."""
    try:
        table, _ = parquet.read_arrow(commit_path(folder, shard))
    except ManifestError:
        return []
    return [str(row_id) for row_id in table.column("id").to_pylist()]
