"""Seek: what recording lies at each place. Decodes and hashes, measures nothing, and never goes by a name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from pipeline.audio.codec import Recording, pcm_crc, pcm_hash
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Drop, Place
from pipeline.core.table import Table
from pipeline.stages import Options as StageOptions
from pipeline.stages.places import located, places
from pipeline.stages.store import Store

NAME = "seek"
VERSION = 1
PLANNED: set[str] = set()
DEPENDS = ("id", "content")


class Options(StageOptions):
    """There is nothing to choose."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A line of the plan: a file, and `content`, which tells changed bytes."""

    id: str
    corpus: str
    kind: str
    source: str
    content: str
    split: str = ""
    group: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One file to open."""

    id: str
    place: Place


@dataclass(frozen=True, slots=True)
class Made:
    """What was found there."""

    id: str
    rate_hz: int
    frames: int
    source_rate_hz: int
    source_channels: int
    source_frames: int
    source_format: str
    source_pcm_hash: str
    source_pcm_crc: int


def spot(place: Place) -> str:
    """The name of a place on this machine: its root, the container there, and where in it."""
    return f"{place.root}/{place.container}/{place.offset}" + (
        f"/{place.begin_s}-{place.end_s}" if place.is_piece else ""
    )


def plan(where: Iterable[Place]) -> Table:
    """One job a file."""
    held = list(where)
    spots = [
        Spot(spot(p), p.root, NAME, f"{p.root}/{p.container}/{p.offset:015d}", f"{p.size} {p.crc} {p.stamp}")
        for p in held
    ]
    return located(Table.of(spots, Spot), held)


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return False


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    for row_id, place in zip(plan.strings("id"), places(plan), strict=True):
        yield Job(row_id, place)


def work(job: Job, options: Options, store: Store) -> Made | Drop:
    """Whose samples these are. A file that cannot be decoded is an answer too, and holds until the file changes."""
    try:
        return seen(job.id, store.recording(job.place))
    except CorruptMember as error:
        return Drop(job.id, NAME, error.reason, error.detail)


def seen(name: str, recording: Recording) -> Made:
    """The columns of a decoded recording."""
    frames, channels = recording.pcm.shape
    rate_hz = recording.rate_hz
    return Made(
        name,
        rate_hz,
        frames,
        rate_hz,
        channels,
        frames,
        recording.format,
        pcm_hash(recording.pcm, rate_hz),
        pcm_crc(recording.pcm),
    )
