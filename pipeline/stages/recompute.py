"""Recompute: a mixture made again from its row: the speech from its recording, the noise as it was rebuilt, the gains that are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import Field

from pipeline.audio import dsp
from pipeline.audio.codec import pcm_hash
from pipeline.audio.dsp import Pcm16
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Place
from pipeline.core.table import Table
from pipeline.stages import resample
from pipeline.stages.places import places
from pipeline.stages.rebuild import DIFFERENT, known_sound
from pipeline.stages.resample import Known
from pipeline.stages.store import Store

NAME = "recompute"
VERSION = 1
PLANNED: set[str] = set()
DEPENDS = (
    "id",
    "source_pcm_hash",
    "rate_hz",
    "noise_id",
    "noise_pcm_hash",
    "noise_start",
    "gain_db",
    "noise_gain_db",
    "pcm_hash",
)


class Options(resample.Options):
    """How the speech is resampled, and whether mixtures are stored."""

    virtual: bool = Field(False, description="store no audio, only prove that it comes out the same")


@dataclass(frozen=True, slots=True)
class Mixture:
    """How a mixture was made, as its row says, and where its noise lies, as it was rebuilt."""

    id: str
    speech_id: str
    speech_pcm_hash: str
    noise_id: str
    rate_hz: int
    noise_start: int
    gain_db: float
    noise_gain_db: float
    pcm_hash: str
    at_noise_shard: str
    at_noise_offset: int
    at_noise_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """One mixture to make."""

    mixture: Mixture
    known: Known
    place: Place

    @property
    def id(self) -> str:
        """Id of the mixture."""
        return self.mixture.id


@dataclass(frozen=True, slots=True)
class Made:
    """Where the audio lies now; nowhere for a virtual mixture."""

    id: str
    shard: str | None
    offset: int | None
    bytes: int | None


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return not options.virtual


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    for mixture, known, place in zip(plan.rows(Mixture), plan.rows(Known), places(plan), strict=True):
        yield Job(mixture, known, place)


def work(job: Job, options: Options, store: Store) -> Made:
    """The mixture, stored. CorruptMember where it comes out with other samples."""
    mixture = job.mixture
    speech = store.once(mixture.speech_id, lambda: known_sound(job.known, job.place, options, store))
    noise = store.stored(mixture.at_noise_shard, mixture.at_noise_offset, mixture.at_noise_bytes)
    pcm = summed(mixture, speech, noise)
    if pcm is None or pcm_hash(pcm, mixture.rate_hz) != mixture.pcm_hash:
        raise CorruptMember(DIFFERENT, f"{mixture.id}: {_where(mixture, speech)}")
    if options.virtual:
        return Made(job.id, None, None, None)
    return Made(job.id, *store.put(job.id, pcm, mixture.rate_hz))


def summed(mixture: Mixture, speech: Pcm16, noise: Pcm16) -> Pcm16 | None:
    """Speech and noise at the row's gains, from the row's start; None where the row cannot be that of these sounds."""
    try:
        crop = dsp.crop(noise, mixture.noise_start, len(speech), mixture.rate_hz)
        return dsp.mix(speech, crop, mixture.gain_db, mixture.noise_gain_db)
    except ValueError:
        return None


def _where(mixture: Mixture, speech: Pcm16) -> str:
    if pcm_hash(speech, mixture.rate_hz) != mixture.speech_pcm_hash:
        return f"its speech {mixture.speech_id} at {mixture.rate_hz} Hz has other samples than in the set"
    return "speech and noise are those of the set, their sum is not: check noise_start, gain_db and noise_gain_db of its row"
