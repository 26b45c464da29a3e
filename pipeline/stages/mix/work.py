"""One mixture made: speech and noise added at the SNR that the plan names, and what came out measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.audio.codec import pcm_hash
from pipeline.audio.dsp import DB_DIGITS, SHARE_DIGITS, decibels
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Drop, Place
from pipeline.core.table import Table
from pipeline.stages import resample
from pipeline.stages.mix.options import Options
from pipeline.stages.mix.plan import NAME, TRIES, Rendering
from pipeline.stages.places import places
from pipeline.stages.resample import Known, Sound
from pipeline.stages.store import Store

VERSION = 1
PLANNED: set[str] = {"snr_db", "copies", "noise", "definition", "keep"}
DEPENDS = (
    "id",
    "rate_hz",
    "source_pcm_hash",
    "resampled",
    "noise_id",
    "noise_pcm_hash",
    "starts",
    "snr_db",
    "snr_definition",
)
TOLERANCE_DB = 0.1  # a mixture whose realised SNR is further from the request is a Drop


@dataclass(frozen=True, slots=True)
class Mixture:
    """A line of the plan: the decisions, and where the noise lies."""

    id: str
    speech_id: str
    rate_hz: int
    frames: int
    noise_id: str
    snr_db: float
    snr_definition: str
    starts: tuple[int, ...]
    at_pool: str
    at_noise: int
    at_noise_frames: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Speech that resample stored, and its levels."""

    shard: str
    offset: int
    bytes: int
    pcm_hash: str
    gain_db: float | None
    level_full_dbfs: float | None
    level_active_dbfs: float | None
    activity: float | None

    def sound(self, store: Store) -> tuple[Sound, str]:
        """The speech, decoded, and its hash."""
        pcm = store.stored(self.shard, self.offset, self.bytes)
        return Sound(
            pcm, self.gain_db or 0.0, self.level_full_dbfs, self.level_active_dbfs, self.activity
        ), self.pcm_hash


@dataclass(frozen=True, slots=True)
class Unstored:
    """Speech that is resampled as it is mixed: the same samples, without a copy of its own on disk."""

    known: Known
    place: Place
    options: resample.Options

    def sound(self, store: Store) -> tuple[Sound, str]:
        """The speech, straight from its source, and its hash."""
        sound = resample.rendered(self.known, store.recording(self.place), self.options)
        return sound, pcm_hash(sound.pcm, self.options.rate_hz)


@dataclass(frozen=True, slots=True)
class Job:
    """One mixture to make."""

    mixture: Mixture
    speech: Stored | Unstored

    @property
    def id(self) -> str:
        """Id of the mixture."""
        return self.mixture.id


@dataclass(frozen=True, slots=True)
class Made:
    """The columns that mix fills. Levels are of the mixture (full, peak) and of the speech in it (active, activity)."""

    id: str
    shard: str | None
    offset: int | None
    bytes: int | None
    pcm_hash: str
    speech_pcm_hash: str
    noise_start: int
    gain_db: float
    noise_gain_db: float
    level_full_dbfs: float | None
    level_active_dbfs: float | None
    activity: float | None
    peak_dbfs: float | None
    snr_active_db: float | None
    snr_full_db: float | None


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return not options.virtual


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    if "at_container" not in plan.names:
        for mixture, stored in zip(plan.rows(Mixture), plan.rows(Stored), strict=True):
            yield Job(mixture, stored)
        return
    chosen: dict[Rendering, resample.Options] = {}
    for mixture, known, place, told in zip(
        plan.rows(Mixture), plan.rows(Known), places(plan), plan.rows(Rendering), strict=True
    ):
        options = chosen.setdefault(told, resample.Options(rate_hz=mixture.rate_hz, quality=told.at_quality))  # type: ignore[arg-type]
        yield Job(mixture, Unstored(known, place, options))


def work(job: Job, options: Options, store: Store) -> Made | Drop:
    """The mixture stored, and its levels and both SNRs measured on the samples as stored."""
    mixture = job.mixture
    speech, speech_hash = store.once(mixture.speech_id, lambda: _heard(job, store))
    if speech.level_active_dbfs is None:
        return Drop(mixture.id, NAME, "no_speech", "nothing in it is active by ITU-T P.56")
    pool = store.pool(mixture.at_pool)[mixture.at_noise : mixture.at_noise + mixture.at_noise_frames]
    found = _audible(pool, mixture, options.floor_dbfs)
    if found is None:
        return Drop(
            mixture.id,
            NAME,
            "silent_noise",
            f"{TRIES} crops of {mixture.noise_id} were all below {options.floor_dbfs} dBFS",
        )
    start, noise, noise_db = found
    pcm, gain_db, noise_gain_db = mixed(mixture, speech, noise, noise_db)
    made = _measured(mixture, speech, pcm, gain_db, noise_gain_db, start, speech_hash)
    realised = made.snr_active_db if mixture.snr_definition == "active" else made.snr_full_db
    if realised is None or abs(realised - mixture.snr_db) > TOLERANCE_DB:
        return Drop(
            mixture.id,
            NAME,
            "snr_off",
            f"{mixture.snr_db} dB asked for, {realised} dB came out in 16 bits with {mixture.noise_id}",
        )
    return made if options.virtual else _stored(made, pcm, mixture.rate_hz, store)


def _heard(job: Job, store: Store) -> tuple[Sound, str]:
    """The speech and its hash, once for all the mixtures of an utterance."""
    sound, digest = job.speech.sound(store)
    if len(sound.pcm) != job.mixture.frames:
        raise CorruptMember(
            "changed",
            f"{job.mixture.speech_id} has {len(sound.pcm)} frames, {job.mixture.frames} were planned: ingest again",
        )
    return sound, digest


def _audible(
    pool: NDArray[np.int16], mixture: Mixture, floor_dbfs: float
) -> tuple[int, NDArray[np.int16], float] | None:
    """(start, noise, its level in dBFS) of the first crop above the floor."""
    for start in mixture.starts:
        noise = dsp.crop(pool, start, mixture.frames, mixture.rate_hz)
        square = dsp.power(noise)
        if square > 0.0 and dsp.db(square) >= floor_dbfs:
            return start, noise, dsp.db(square)
    return None


def mixed(
    mixture: Mixture, speech: Sound, noise: NDArray[np.int16], noise_db: float
) -> tuple[NDArray[np.int16], float, float]:
    """(samples of the mixture at the requested SNR, int16 [frames]; gains in dB of the speech and of the noise).

    noise: int16 [frames], and its level. Both are attenuated alike where their sum would peak above full scale minus 0.1 dB.
    """
    level_db = speech.level_active_dbfs if mixture.snr_definition == "active" else speech.level_full_dbfs
    if level_db is None:
        raise ValueError(f"{mixture.id} has no level to mix at")
    return dsp.mix_at_snr(speech.pcm, noise, level_db, noise_db, mixture.snr_db)


def _measured(
    mixture: Mixture,
    speech: Sound,
    pcm: NDArray[np.int16],
    gain_db: float,
    noise_gain_db: float,
    start: int,
    speech_hash: str,
) -> Made:
    """What the mixture holds beside the speech is noise, quantisation included."""
    active_db, activity, full_db = speech.level_active_dbfs, speech.activity, speech.level_full_dbfs
    left: NDArray[np.int32] | NDArray[np.float64]
    if not gain_db:
        left = np.subtract(pcm, speech.pcm, dtype=np.int32)
    else:
        part = speech.pcm * dsp.gain(gain_db)
        left = pcm - part
        active = dsp.active_level(
            part / dsp.FULL_SCALE, mixture.rate_hz
        )  # a scaled signal against the same thresholds: hundredths of a dB off
        active_db, activity = (
            (round(active.level_dbfs, DB_DIGITS), round(active.activity, SHARE_DIGITS)) if active else (None, None)
        )
        full_db = decibels(dsp.power(part / dsp.FULL_SCALE))
    noise_db = decibels(_variance(left))
    return Made(
        id=mixture.id,
        shard=None,
        offset=None,
        bytes=None,
        pcm_hash=pcm_hash(pcm, mixture.rate_hz),
        speech_pcm_hash=speech_hash,
        noise_start=start,
        gain_db=gain_db,
        noise_gain_db=noise_gain_db,
        level_full_dbfs=decibels(dsp.power(pcm)),
        level_active_dbfs=active_db,
        activity=activity,
        peak_dbfs=decibels(dsp.peak(pcm) ** 2),
        snr_active_db=_difference(active_db, noise_db),
        snr_full_db=_difference(full_db, noise_db),
    )


def _variance(samples: NDArray[np.int32] | NDArray[np.float64]) -> float:
    """Power of samples in units of 16-bit steps, linear, full scale 1.0."""
    total, squares = dsp.moments(samples)
    return max(0.0, (squares - total * total / samples.size) / samples.size) / dsp.FULL_SCALE**2


def _difference(speech_db: float | None, noise_db: float | None) -> float | None:
    return None if speech_db is None or noise_db is None else round(speech_db - noise_db, DB_DIGITS)


def _stored(made: Made, pcm: NDArray[np.int16], rate_hz: int, store: Store) -> Made:
    shard, offset, size = store.put(made.id, pcm, rate_hz)
    return replace(made, shard=shard, offset=offset, bytes=size)
