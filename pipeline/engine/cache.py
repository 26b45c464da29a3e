"""Commits: the outcome of one shard, rows and drops together, in one file that is whole or absent."""

from __future__ import annotations

import zlib
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.core import parquet
from pipeline.core.errors import ManifestError
from pipeline.core.row import Drop
from pipeline.core.table import Table
from pipeline.stages.store import WORK_FOLDER

_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """made: the columns that a stage fills, for the jobs that ended well. drops: the others."""

    made: Table
    drops: Table


def commit_path(folder: Path, shard: str) -> Path:
    """Where the commit of a shard lies."""
    return folder / WORK_FOLDER / f"{shard}.parquet"


def audio_path(folder: Path, shard: str) -> Path:
    """Where the audio of a shard lies."""
    return folder / AUDIO_FOLDER / f"{shard}.tar"


@dataclass(frozen=True, slots=True)
class Effort:
    """What a shard took: stage, options of the work, seconds of audio, seconds of work. For plans and estimates."""

    stage: str
    options: dict[str, Any]
    audio_s: float
    work_s: float


def write(folder: Path, shard: str, outcome: Outcome, crc: int | None, effort: Effort, settled: bool) -> None:
    """Commits a shard. Its audio, if it has any, lies in place already, and crc is the audio's.

    settled: whether the outcome holds for the next run too, or some recordings could not be read this time.
    """
    audio = audio_path(folder, shard)
    made, drops = outcome.made, outcome.drops
    seal: dict[str, Any] = {
        "made": made.digest(),
        "drops": drops.digest(),
        "effort": asdict(effort),
        "settled": settled,
    }
    if crc is not None:
        seal |= {"crc": str(crc), "bytes": str(audio.stat().st_size), "stamp": str(audio.stat().st_mtime_ns)}
    parquet.write(commit_path(folder, shard), made.either(drops), seal)


def read(folder: Path, shard: str, made: type, settled: bool = False) -> Outcome | None:
    """The outcome of a shard; None where it is not committed, or where it or its audio was damaged since.

    settled: None also where some recordings could not be read when it was made.

    Audio is trusted by size and time of change; where the time differs (a copied folder) its checksum decides.
    """
    path = commit_path(folder, shard)
    if not path.exists():
        return None
    try:
        table, seal = parquet.read(path)
    except ManifestError:
        return None
    if settled and not seal.get("settled"):
        return None
    dropped = table.present("reason")
    outcome = Outcome(table.where(~dropped).as_kind(made), table.where(dropped).as_kind(Drop))
    if seal.get("made") != outcome.made.digest() or seal.get("drops") != outcome.drops.digest():
        return None
    return outcome if "crc" not in seal or _whole(audio_path(folder, shard), seal) else None


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
        table, _ = parquet.read(commit_path(folder, shard))
    except ManifestError:
        return []
    return [str(row_id) for row_id in table.column("id")]


def _whole(audio: Path, seal: dict[str, Any]) -> bool:
    if not audio.exists() or audio.stat().st_size != int(seal["bytes"]):
        return False
    return audio.stat().st_mtime_ns == int(seal["stamp"]) or checksum(audio) == int(seal["crc"])


def checksum(path: Path) -> int:
    """CRC-32 of a file."""
    crc = 0
    with open(path, "rb") as file:
        while block := file.read(_READ_BYTES):
            crc = zlib.crc32(block, crc)
    return crc


def completed(plan: Table, outcome: Outcome) -> Table:
    """The plan's lines that ended well, as rows of the manifest: carried columns from the plan, made ones from the work."""
    if len(outcome.made) == len(plan):
        return plan.beside(outcome.made).as_rows()
    kept = np.isin(
        np.asarray(plan.column("id"), dtype=object).astype(str),
        np.asarray(outcome.made.column("id"), dtype=object).astype(str),
    )
    return plan.where(kept).beside(outcome.made).as_rows()
