"""Ingest: opens each recording once and writes down what is true of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from pydantic import Field

from pipeline import corpora
from pipeline.audio import dsp
from pipeline.audio.codec import Recording, pcm_crc, pcm_hash
from pipeline.core import frame as frames
from pipeline.core.row import Clip, Row
from pipeline.stages import Job, Plan, with_places
from pipeline.stages import Options as StageOptions
from pipeline.stages.store import Store

NAME = "ingest"
VERSION = 2
PLANNED: frozenset[str] = frozenset()
DEPENDS = ("id", "corpus", "group", "content", "labels")
READS = ("id", "corpus", "group", "labels")
FILLS = (
    "group", "labels", "rate_hz", "frames",
    "source_rate_hz", "source_channels", "source_frames", "source_format", "source_pcm_hash", "source_pcm_crc",
    "level_full_dbfs", "peak_dbfs", "clipped_share", "zero_share", "dc_dbfs",
)  # fmt: skip


CLIPPED_FROM = 0.01  # of full scale: under it a plateau is the step of the quantisation
DC_DIGITS = 1


class Options(StageOptions):
    """Ingest writes down what is there, of whatever fits into memory."""

    max_mb: int = Field(400, ge=1, description="largest recording, MB of its file and of its samples; others are drops")


def plan(corpus: str, clips: Sequence[Clip]) -> Plan:
    """One job for each clip of the corpus; its column `content` changes when the bytes of the recording do.

    It also changes with an adapter from outside the package whose flags are among the labels.
    """
    rows = [
        Row(
            id=f"{corpus}/{clip.key}",
            corpus=corpus,
            split=clip.split,
            group=clip.group,  # type: ignore[arg-type]  # None until ingest has filled it
            kind=clip.kind,
            source=clip.source,
            transcript=clip.text,
            scenario=clip.scenario,
            scene=clip.scene,
            noise_label="noise" if clip.kind == "noise" else "speech",
            labels=clip.labels,
        )
        for clip in clips
    ]
    places = [clip.place for clip in clips]
    adapter = corpora.identity(corpus)
    # The time counts even where there is a checksum: a damaged archive states the same checksum as a whole one.
    contents = [f"{place.size} {place.crc} {place.stamp} {place.piece}".rstrip() for place in places]
    rates = [f" {place.pcm_rate_hz} Hz" if place.pcm_rate_hz else "" for place in places]
    content = [f"{text}{rate} {adapter}".rstrip() for text, rate in zip(contents, rates, strict=True)]
    claims = frames.with_columns(frames.from_rows(rows, Row), content=content)
    return Plan(frames.ordered(with_places(claims, places)))


def stores(options: Options) -> bool:
    """Ingest stores no audio."""
    return False


def work(job: Job, options: Options, store: Store) -> Row:
    """The row with what is true of its recording, measured over all channels."""
    if job.place is None:
        raise ValueError(f"{job.row.id}: the plan does not say where its recording lies")
    return measured(job.row, store.recording(job.place, options.max_mb * 10**6))


def measured(row: Row, recording: Recording) -> Row:
    """The row with what is true of this recording, measured over all channels."""
    frames, channels = recording.pcm.shape
    digest = pcm_hash(recording.pcm, recording.rate_hz)
    flat = recording.pcm.reshape(-1)
    low, high = flat.min(), flat.max()
    largest = max(float(high), -float(low)) / dsp.full_scale(flat)
    by_channel = np.ascontiguousarray(recording.pcm.T)  # three times as fast to go through as samples side by side
    slow = dsp.slow(by_channel, recording.rate_hz)
    return replace(
        row,
        group=row.group or digest,  # no speaker is known: clips with identical samples share a group
        labels={**row.labels, **corpora.find(row.corpus).flags(row.labels, frames, recording.rate_hz)},
        rate_hz=recording.rate_hz,
        frames=frames,
        source_rate_hz=recording.rate_hz,
        source_channels=channels,
        source_frames=frames,
        source_format=recording.format,
        source_pcm_hash=digest,
        source_pcm_crc=pcm_crc(recording.pcm),
        level_full_dbfs=dsp.decibels(dsp.power(flat)),
        peak_dbfs=dsp.decibels(largest**2),
        clipped_share=round(dsp.clipped(by_channel) / flat.size if largest >= CLIPPED_FROM else 0.0, dsp.SHARE_DIGITS),
        zero_share=round((flat.size - int(np.count_nonzero(flat))) / flat.size, dsp.SHARE_DIGITS),
        dc_dbfs=round(dsp.db(slow), DC_DIGITS) if slow else None,
    )
