"""Resample: 16 kHz mono, 16 bits, FLAC in shards, straight from the archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer

from pipeline.audio import dsp, render
from pipeline.audio.codec import Recording, pcm_hash
from pipeline.core import frame as frames
from pipeline.core.errors import PrepError
from pipeline.core.row import Drop, Place, Row
from pipeline.stages import Job, Plan, with_places
from pipeline.stages import Options as StageOptions
from pipeline.stages.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

NAME = "resample"
VERSION = 1
PLANNED: frozenset[str] = frozenset()
MOST_LOST_DB = 30.0  # of the level of a recording, in the downmix and above the new rate's half
_RECORDING = ("source_rate_hz", "source_channels", "source_frames", "source_format")
DEPENDS = ("id", "source_pcm_hash", *_RECORDING)
READS = (
    "id",
    "source",
    "source_pcm_crc",
    "level_full_dbfs",
    *_RECORDING,
)  # source is for messages; the crc and the level are of the same samples as the hash
FILLS = (
    "shard", "offset", "bytes", "rate_hz", "frames", "pcm_hash",
    "level_full_dbfs", "level_active_dbfs", "activity", "peak_dbfs", "gain_db",
)  # fmt: skip


class Options(StageOptions):
    """Rate and quality of the stored audio."""

    rate_hz: int = Field(
        16_000, ge=8_000, le=48_000, description="rate of the stored audio, Hz", json_schema_extra={"flag": "--rate"}
    )
    quality: Literal["QQ", "LQ", "MQ", "HQ", "VHQ"] = Field("HQ", description="soxr quality")
    highpass_hz: float | None = Field(
        None,
        ge=5,
        le=300,
        description="remove what lies under so many Hz, such as 20: DC, hum and wind that nobody hears",
        json_schema_extra={"flag": "--highpass"},
    )

    @model_serializer(mode="wrap")
    def _without_default(self, serialised: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Recipes and shards of audio that was not filtered have the names that they had without the option."""
        values: dict[str, Any] = serialised(self)
        return {name: value for name, value in values.items() if name != "highpass_hz" or value is not None}


def plan(rows: DataFrame, places: Mapping[str, Place]) -> Plan:
    """One job for each row whose recording is there, a drop for each other. places: source -> where it lies here."""
    if frames.equal(rows["kind"], "mixture").any():
        raise PrepError(
            "these are mixtures already: resample takes what prep filter wrote (manifests/filtered.parquet)"
        )
    rows = frames.ordered(rows)
    is_there = np.fromiter((source in places for source in frames.each(rows["source"])), np.bool_, len(rows))
    missing = frames.pick(rows[["id", "source"]], ~is_there)
    detail = "is nowhere under its root any more: was the corpus moved or changed since ingest?"
    drops = [
        Drop(row_id, NAME, "not_found", f"{source} {detail}")
        for row_id, source in zip(frames.each(missing["id"]), frames.each(missing["source"]), strict=True)
    ]
    there = frames.pick(rows, is_there)
    jobs = with_places(there, [places[source] for source in frames.each(there["source"])])
    return Plan(jobs, drops=frames.from_rows(drops, Drop))


def expected(rows: DataFrame, options: Options, places: Mapping[str, Place]) -> DataFrame:
    """Rows of speech as resample would leave them, without its work: they are to be resampled as they are mixed.

    rows: as ingest or filter left them. Those whose recording is not there are left out.
    """
    is_there = np.fromiter((source in places for source in frames.each(rows["source"])), np.bool_, len(rows))
    rows = frames.pick(rows, is_there)
    ends = dsp.frames_at(frames.integers(rows["frames"]), frames.integers(rows["rate_hz"]), options.rate_hz)
    how = {"at_quality": options.quality, "at_highpass": options.highpass_hz or 0.0}
    rows = frames.with_columns(rows, frames=ends, rate_hz=options.rate_hz, **how)
    return with_places(rows, [places[source] for source in frames.each(rows["source"])])


def stores(options: Options) -> bool:
    """Resample stores audio."""
    return True


def work(job: Job, options: Options, store: Store) -> Row | Drop:
    """The row of the recording stored at the new rate, and measured as stored.

    A drop where little of it is left: channels that cancel each other out, or sound above the new rate's half.
    """
    if job.place is None:
        raise ValueError(f"{job.row.id}: the plan does not say where its recording lies")
    pcm, row = rendered(job.row, store.again(job.row, job.place), options.rate_hz, options.quality, options.highpass_hz)
    made, why = f"as mono at {options.rate_hz} Hz it is", "its channels cancel out, or it lies above that rate's half"
    if options.highpass_hz is not None:
        why += f", or under --highpass {options.highpass_hz:g}"
    if row.level_full_dbfs is None:
        return Drop(row.id, NAME, "silent", f"{made} silence: {why}")
    lost_db = (job.row.level_full_dbfs or 0.0) - (row.level_full_dbfs - (row.gain_db or 0.0))
    if job.row.level_full_dbfs is not None and lost_db > MOST_LOST_DB:
        what = f"{made} at {row.level_full_dbfs:.1f} dBFS, {lost_db:.1f} dB under the recording: {why}"
        return Drop(row.id, NAME, "cancelled", what)
    shard, offset, size = store.put(row.id, pcm, options.rate_hz)
    return replace(row, shard=shard, offset=offset, bytes=size)


def rendered(
    row: Row, recording: Recording, rate_hz: int, quality: str, highpass_hz: float | None
) -> tuple[dsp.Pcm16, Row]:
    """(a recording at this rate, int16 [frames]; the row with what is true of these samples).

    CorruptMember where it is not the recording that ingest opened.
    """
    pcm, gain_db = render.speech(row, recording, rate_hz, quality, highpass_hz)
    moments = dsp.moments(pcm)
    active = dsp.active_level(pcm, rate_hz, moments)
    return pcm, replace(
        row,
        rate_hz=rate_hz,
        frames=len(pcm),
        pcm_hash=pcm_hash(pcm, rate_hz),
        level_full_dbfs=dsp.decibels(dsp.power(pcm, moments)),
        level_active_dbfs=round(active.level_dbfs, dsp.DB_DIGITS) if active else None,
        activity=round(active.activity, dsp.SHARE_DIGITS) if active else None,
        peak_dbfs=dsp.decibels(dsp.peak(pcm) ** 2),
        gain_db=gain_db,
    )
