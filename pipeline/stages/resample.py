"""Resample: 16 kHz mono, 16 bits, FLAC in shards, straight from the archives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from pydantic import Field

from pipeline.audio import dsp, render
from pipeline.audio.codec import Recording, pcm_hash
from pipeline.audio.dsp import DB_DIGITS, SHARE_DIGITS, decibels
from pipeline.core.errors import PrepError
from pipeline.core.row import Drop, Place
from pipeline.core.table import Table
from pipeline.stages import Options as StageOptions
from pipeline.stages.places import located, places
from pipeline.stages.store import Store

NAME = "resample"
VERSION = 1
PLANNED: set[str] = set()
DEPENDS = ("id", "source_pcm_hash", "source_rate_hz", "source_channels", "source_frames", "source_format")


class Options(StageOptions):
    """Rate and quality of the stored audio."""

    rate_hz: int = Field(
        16_000, ge=8_000, le=48_000, description="rate of the stored audio, Hz", json_schema_extra={"flag": "--rate"}
    )
    quality: Literal["QQ", "LQ", "MQ", "HQ", "VHQ"] = Field("HQ", description="soxr quality")


@dataclass(frozen=True, slots=True)
class Known:
    """What ingest saw of a recording."""

    id: str
    source: str
    source_rate_hz: int | None
    source_channels: int | None
    source_frames: int | None
    source_format: str | None
    source_pcm_crc: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to store at the new rate."""

    id: str
    known: Known
    place: Place


@dataclass(frozen=True, slots=True)
class Made:
    """The columns that resample fills."""

    id: str
    shard: str
    offset: int
    bytes: int
    rate_hz: int
    frames: int
    pcm_hash: str
    level_full_dbfs: float | None
    level_active_dbfs: float | None
    activity: float | None
    peak_dbfs: float | None
    gain_db: float


def plan(rows: Table, where: Mapping[str, Place]) -> tuple[Table, Table]:
    """(one job a row whose recording was found, drops of those whose was not); where: Row.source -> place."""
    if rows.equal("kind", "mixture").any():
        raise PrepError(
            "these are mixtures already: resample takes what prep filter wrote (manifests/filtered.parquet)"
        )
    rows = rows.ordered()
    sources = rows.column("source")
    found = np.array([source in where for source in sources], dtype=np.bool_)
    lost = rows.where(~found)
    drops = [
        Drop(
            row_id,
            NAME,
            "not_found",
            f"{source} is nowhere under its root any more: was the corpus moved or changed since ingest?",
        )
        for row_id, source in zip(lost.column("id"), lost.column("source"), strict=True)
    ]
    return located(rows.where(found), [where[source] for source in sources if source in where]), Table.of(drops, Drop)


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return True


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    for known, place in zip(plan.rows(Known), places(plan), strict=True):
        yield Job(known.id, known, place)


def work(job: Job, options: Options, store: Store) -> Made | Drop:
    """The recording stored at the new rate, and measured as stored."""
    sound = rendered(job.known, store.recording(job.place), options)
    shard, offset, size = store.put(job.id, sound.pcm, options.rate_hz)
    return Made(
        id=job.id,
        shard=shard,
        offset=offset,
        bytes=size,
        rate_hz=options.rate_hz,
        frames=len(sound.pcm),
        pcm_hash=pcm_hash(sound.pcm, options.rate_hz),
        level_full_dbfs=sound.level_full_dbfs,
        level_active_dbfs=sound.level_active_dbfs,
        activity=sound.activity,
        peak_dbfs=decibels(dsp.peak(sound.pcm) ** 2),
        gain_db=sound.gain_db,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Sound:
    """A recording at the new rate: samples int16 [frames], and their levels."""

    pcm: dsp.Pcm16
    gain_db: float
    level_full_dbfs: float | None
    level_active_dbfs: float | None
    activity: float | None


def rendered(known: Known, recording: Recording, options: Options) -> Sound:
    """A decoded recording at the new rate. CorruptMember where it is not the one that ingest saw.

    One that would pass full scale on its way (resampling overshoots) is attenuated to full scale minus 0.1 dB.
    """
    pcm, gain_db = unmeasured(known, recording, options)
    moments = dsp.moments(pcm)
    active = dsp.active_level(pcm, options.rate_hz, moments)
    return Sound(
        pcm,
        gain_db,
        decibels(dsp.power(pcm, moments)),
        round(active.level_dbfs, DB_DIGITS) if active else None,
        round(active.activity, SHARE_DIGITS) if active else None,
    )


def unmeasured(known: Known, recording: Recording, options: Options) -> tuple[dsp.Pcm16, float]:
    """(samples of a decoded recording at the new rate, their gain in dB): what `rendered` gives, before its levels are taken."""
    return render.speech(known, recording, options.rate_hz, options.quality)  # type: ignore[arg-type]
