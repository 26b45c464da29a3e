"""Rebuild: a row's recording stored again as resample stored it, where the same samples come out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.audio.codec import pcm_hash
from pipeline.audio.dsp import Pcm16
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Place
from pipeline.core.table import Table
from pipeline.stages import resample
from pipeline.stages.places import places
from pipeline.stages.resample import Known, Options
from pipeline.stages.store import Store

__all__ = ["DEPENDS", "NAME", "PLANNED", "VERSION", "Job", "Made", "Options", "jobs", "known_sound", "stores", "work"]

NAME = "rebuild"
VERSION = 1
PLANNED: set[str] = set()
DEPENDS = ("id", "source_pcm_hash", "rate_hz", "pcm_hash")
DIFFERENT = "rendered_differently"


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to store, and the hash that its samples should have at the new rate."""

    id: str
    known: Known
    place: Place
    pcm_hash: str


@dataclass(frozen=True, slots=True)
class Made:
    """Where the audio lies now; all else is in the row already."""

    id: str
    shard: str
    offset: int
    bytes: int


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return True


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    for known, place, digest in zip(plan.rows(Known), places(plan), plan.strings("pcm_hash"), strict=True):
        yield Job(known.id, known, place, digest)


def work(job: Job, options: Options, store: Store) -> Made:
    """The recording stored at the new rate. CorruptMember where it comes out with other samples."""
    pcm = known_sound(job.known, job.place, options, store)
    found = pcm_hash(pcm, options.rate_hz)
    if found != job.pcm_hash:
        raise CorruptMember(
            DIFFERENT, f"{job.known.source} at {options.rate_hz} Hz has the hash {found}, in the set {job.pcm_hash}"
        )
    return Made(job.id, *store.put(job.id, pcm, options.rate_hz))


def known_sound(known: Known, place: Place, options: resample.Options, store: Store) -> Pcm16:
    """A recording at the new rate, whatever container and encoding it lies in here; int16 [frames].

    CorruptMember where it has other samples than the row's.
    """
    recording = store.recording(place)
    return resample.unmeasured(replace(known, source_format=recording.format), recording, options)[0]
