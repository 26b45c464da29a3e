"""Ingest: opens each recording once and writes down what is true of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.audio import dsp
from pipeline.audio.codec import Recording, pcm_crc, pcm_hash
from pipeline.audio.dsp import SHARE_DIGITS, decibels
from pipeline.core.row import Clip, Place
from pipeline.core.table import Table
from pipeline.stages import Options as StageOptions
from pipeline.stages.places import located, places
from pipeline.stages.store import Store

NAME = "ingest"
VERSION = 1
PLANNED: set[str] = set()
DEPENDS = ("id", "corpus", "group", "content", "labels")


class Options(StageOptions):
    """Ingest has nothing to choose: it writes down what is there."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A line of the plan: what the corpus says of a recording, and `content`, which tells changed bytes."""

    id: str
    corpus: str
    split: str
    group: str | None
    kind: str
    source: str
    content: str
    transcript: str | None = None
    scenario: str | None = None
    scene: str | None = None
    noise_label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Job:
    """One recording to measure."""

    id: str
    corpus: str
    group: str | None
    labels: Mapping[str, str]
    place: Place


@dataclass(frozen=True, slots=True)
class Made:
    """The columns that ingest fills."""

    id: str
    group: str
    labels: Mapping[str, str]
    rate_hz: int
    frames: int
    source_rate_hz: int
    source_channels: int
    source_frames: int
    source_format: str
    source_pcm_hash: str
    source_pcm_crc: int
    level_full_dbfs: float | None
    peak_dbfs: float | None
    clipped_share: float
    zero_share: float


def plan(corpus: str, clips: Sequence[Clip]) -> Table:
    """One job a clip of the corpus, in the order of manifests."""
    claims = [_claim(corpus, clip) for clip in clips]
    return located(Table.of(claims, Claim), [clip.place for clip in clips]).ordered()


def _claim(corpus: str, clip: Clip) -> Claim:
    place = clip.place
    # The time counts even where there is a checksum: that is what the archive states, in a damaged copy as in a whole one.
    content = f"{place.size} {place.crc} {place.stamp}" + (f" {place.begin_s} {place.end_s}" if place.is_piece else "")
    return Claim(
        f"{corpus}/{clip.key}",
        corpus,
        clip.split,
        clip.group,
        clip.kind,
        clip.source,
        content,
        clip.text,
        clip.scenario,
        clip.scene,
        "noise" if clip.kind == "noise" else "speech",
        clip.labels,
    )


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return False


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    columns = (plan.column(name) for name in ("id", "corpus", "group"))
    for row_id, corpus, group, labels, place in zip(*columns, plan.labels(), places(plan), strict=True):
        yield Job(row_id, corpus, group, labels, place)


def work(job: Job, options: Options, store: Store) -> Made:
    """What is true of one recording, measured over all its channels."""
    return measured(job, store.recording(job.place))


def measured(job: Job, recording: Recording) -> Made:
    """The columns of a decoded recording."""
    frames, channels = recording.pcm.shape
    digest = pcm_hash(recording.pcm, recording.rate_hz)
    flat = recording.pcm.reshape(-1)
    low, high = flat.min(), flat.max()
    return Made(
        id=job.id,
        group=job.group or digest,  # no speaker is known: clips with identical samples share a group
        labels={**job.labels, **corpora.find(job.corpus).flags(job.labels, frames, recording.rate_hz)},
        rate_hz=recording.rate_hz,
        frames=frames,
        source_rate_hz=recording.rate_hz,
        source_channels=channels,
        source_frames=frames,
        source_format=recording.format,
        source_pcm_hash=digest,
        source_pcm_crc=pcm_crc(recording.pcm),
        level_full_dbfs=decibels(dsp.power(flat)),
        peak_dbfs=decibels((max(float(high), -float(low)) / dsp.full_scale(flat)) ** 2),
        clipped_share=round(_clipped(flat, low, high) / flat.size, SHARE_DIGITS),
        zero_share=round((flat.size - int(np.count_nonzero(flat))) / flat.size, SHARE_DIGITS),
    )


def _clipped(flat: NDArray[Any], least: Any, most: Any) -> int:
    """How many samples lie at full scale, where a recording that was too loud was cut off. least, most: of the samples."""
    low, high = _full_scale(flat)
    if most < high and least > low:
        return 0
    return int(np.count_nonzero(flat >= high) + np.count_nonzero(flat <= low))


def _full_scale(flat: NDArray[Any]) -> tuple[float, float]:
    if flat.dtype == np.float32:
        return -1.0, 1.0
    if flat.dtype == np.int16:
        return -(2**15), 2**15 - 1
    return -(2**31), 2**31 - 256  # 24 bits lie in the upper three bytes
