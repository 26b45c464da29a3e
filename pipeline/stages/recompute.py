"""Recompute: a mixture made again from its row: speech from its recording, rebuilt noise, the gains of the row."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from pipeline.audio import render
from pipeline.audio.codec import pcm_hash
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Row
from pipeline.stages import Job, resample
from pipeline.stages.rebuild import DIFFERENT, resampled
from pipeline.stages.store import Store

NAME = "recompute"
VERSION = 1
PLANNED: frozenset[str] = frozenset()
DEPENDS = (
    *("id", "source_pcm_hash", "rate_hz", "noise_id", "noise_pcm_hash"),
    *("noise_start", "gain_db", "noise_gain_db", "pcm_hash"),
)
READS = (
    *resample.READS,
    *("speech_id", "speech_pcm_hash", "rate_hz", "noise_start", "gain_db", "noise_gain_db", "pcm_hash"),
)
FILLS = ("shard", "offset", "bytes")


class Options(resample.Options):
    """How the speech is resampled, and whether mixtures are stored."""

    virtual: bool = Field(False, description="store no audio, only prove that it comes out the same")


def stores(options: Options) -> bool:
    """Recompute stores audio, unless the mixtures are virtual."""
    return not options.virtual


def work(job: Job, options: Options, store: Store) -> Row:
    """The mixture, stored. CorruptMember where it comes out with other samples."""
    row, noise = job.row, job.noise
    if noise is None or row.rate_hz is None:
        raise ValueError(f"{row.id}: the plan does not say where its noise lies")
    speech = store.once(row.speech_id or "", lambda: resampled(row, job.place, options, store))
    try:
        pcm = render.mixture(row, speech, store.stored(noise.shard, noise.offset, noise.bytes))
    except ValueError:
        pcm = None
    if pcm is None or pcm_hash(pcm, row.rate_hz) != row.pcm_hash:
        if pcm_hash(speech, row.rate_hz) != row.speech_pcm_hash:
            why = f"its speech {row.speech_id} at {row.rate_hz} Hz has other samples than in the set"
        else:
            columns = "noise_start, gain_db and noise_gain_db"
            why = f"speech and noise are those of the set, their sum is not: check {columns} of its row"
        raise CorruptMember(DIFFERENT, f"{row.id}: {why}")
    if options.virtual:
        return replace(row, shard=None, offset=None, bytes=None)
    shard, offset, size = store.put(row.id, pcm, row.rate_hz)
    return replace(row, shard=shard, offset=offset, bytes=size)
