"""Rebuild: a row's recording stored again as resample stored it, where the same samples come out."""

from __future__ import annotations

from dataclasses import replace

from pipeline.audio import render
from pipeline.audio.codec import pcm_hash
from pipeline.audio.dsp import Pcm16
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Place, Row
from pipeline.stages import Job, resample
from pipeline.stages.resample import Options
from pipeline.stages.store import Store

__all__ = ["DEPENDS", "FILLS", "NAME", "PLANNED", "READS", "VERSION", "Options", "resampled", "stores", "work"]

NAME = "rebuild"
VERSION = 1
PLANNED: frozenset[str] = frozenset()
DEPENDS = ("id", "source_pcm_hash", "rate_hz", "pcm_hash")
READS = (*resample.READS, "pcm_hash")
FILLS = ("shard", "offset", "bytes")
DIFFERENT = "rendered_differently"


def stores(options: Options) -> bool:
    """Rebuild stores audio."""
    return True


def work(job: Job, options: Options, store: Store) -> Row:
    """The recording stored at the new rate. CorruptMember where it comes out with other samples."""
    row = job.row
    pcm = resampled(row, job.place, options, store)
    digest = pcm_hash(pcm, options.rate_hz)
    if digest != row.pcm_hash:
        raise CorruptMember(
            DIFFERENT, f"{row.source} at {options.rate_hz} Hz has the hash {digest}, in the set {row.pcm_hash}"
        )
    shard, offset, size = store.put(row.id, pcm, options.rate_hz)
    return replace(row, shard=shard, offset=offset, bytes=size)


def resampled(row: Row, place: Place | None, options: resample.Options, store: Store) -> Pcm16:
    """A recording at the new rate, whatever container and encoding it lies in here; int16 [frames].

    CorruptMember where it has other samples than the row's.
    """
    if place is None:
        raise ValueError(f"{row.id}: the plan does not say where its recording lies")
    recording = store.again(row, place)
    row, how = replace(row, source_format=recording.format), (options.rate_hz, options.quality, options.highpass_hz)
    return render.speech(row, recording, *how)[0]
