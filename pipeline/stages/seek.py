"""Seek: what recording lies at each place. Decodes and hashes, measures nothing, and never goes by a name."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pipeline.audio.codec import Recording, pcm_crc, pcm_hash
from pipeline.core import frame as frames
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Drop, Place, Row
from pipeline.stages import Job, Plan, with_places
from pipeline.stages import Options as StageOptions
from pipeline.stages.store import Store

NAME = "seek"
VERSION = 1
PLANNED: frozenset[str] = frozenset()
DEPENDS = ("id", "content")
READS = ("id",)
FILLS = (
    *("rate_hz", "frames", "source_rate_hz", "source_channels", "source_frames"),
    *("source_format", "source_pcm_hash", "source_pcm_crc"),
)


class Options(StageOptions):
    """There is nothing to choose."""


def spot(place: Place) -> str:
    """The name of a place on this machine: its root, the container there, and where in it."""
    return f"{place.root}/{place.container}/{place.offset}/{place.piece}".rstrip("/")


def plan(places: Iterable[Place]) -> Plan:
    """One job a file."""
    files = list(places)
    rows = [Row(spot(p), p.root, "", "", NAME, f"{p.root}/{p.container}/{p.offset:015d}") for p in files]
    content = [f"{p.size} {p.crc} {p.stamp}" for p in files]
    return Plan(with_places(frames.with_columns(frames.from_rows(rows, Row), content=content), files))


def stores(options: Options) -> bool:
    """Seek stores no audio."""
    return False


def work(job: Job, options: Options, store: Store) -> Row | Drop:
    """Whose samples these are. A file that cannot be decoded is an answer too, and holds until the file changes."""
    if job.place is None:
        raise ValueError(f"{job.row.id}: the plan does not say where it lies")
    try:
        return with_recording(job.row, store.recording(job.place))
    except CorruptMember as error:
        return Drop(job.row.id, NAME, error.reason, error.detail)


def with_recording(row: Row, recording: Recording) -> Row:
    """The row with the columns that say what a decoded recording is."""
    count, channels = recording.pcm.shape
    return replace(
        row,
        rate_hz=recording.rate_hz,
        frames=count,
        source_rate_hz=recording.rate_hz,
        source_channels=channels,
        source_frames=count,
        source_format=recording.format,
        source_pcm_hash=pcm_hash(recording.pcm, recording.rate_hz),
        source_pcm_crc=pcm_crc(recording.pcm),
    )
