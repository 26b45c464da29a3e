"""Lhotse: a CutSet for each split. Virtual mixtures become MixedCuts of speech and noise; everything else MonoCuts.

Lhotse scales noise to an SNR over the whole of both signals: power is the mean square of the samples, without removing
the mean. The `snr` written here is that of the speech and the crop at the gains of the manifest, so Lhotse mixes what
the manifest holds, up to rounding: it gives float32 that was never rounded to 16 bits.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import orjson
import pandas as pd

from pipeline.audio import dsp
from pipeline.audio.codec import flac
from pipeline.core import frame, sql
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row
from pipeline.export._base import Job, facts, file_name, seconds, stored_bytes

SOUND = True
LINKS = False
_NOISE_IN_MEMORY = 64  # decoded recordings of noise
_LEVEL = 6  # of gzip
_PARTS = """SELECT coalesce(sum(bytes), 0) FROM (
  SELECT speech_shard AS shard, speech_offset AS at, any_value(speech_bytes) AS bytes FROM rows GROUP BY ALL
  UNION ALL
  SELECT noise_shard, noise_offset, any_value(noise_bytes) FROM rows GROUP BY ALL) WHERE shard IS NOT NULL"""


def size(rows: pd.DataFrame, links: bool) -> int:
    """Every stored clip and every part of a virtual mixture once; crops of noise that is too short come on top."""
    stored = stored_bytes(frame.pick(rows, frame.present(rows, "shard")))
    return stored + int(sql.query(rows, _PARTS)[0][0])


def write(job: Job) -> str:
    """`cuts_<split>.jsonl.gz` and `audio/`."""
    cuts = _Cuts(job)
    for split, rows in job.splits():
        path = job.folder / f"cuts_{split}.jsonl.gz"
        with open(path, "wb") as raw, gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as file:
            for row in frame.rows(rows, Row):
                cut = cuts.mono(row) if row.shard is not None else cuts.mixed(row)
                file.write(orjson.dumps(cut, option=orjson.OPT_APPEND_NEWLINE))
                job.advance(1)
    return job.card("lhotse")


class _Cuts:
    """Cuts of rows, and the files that they read, each written once."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._written: set[str] = set()
        self._noise = lru_cache(maxsize=_NOISE_IN_MEMORY)(job.reader.stored)

    def mono(self, row: Row) -> dict[str, Any]:
        """A clip that is stored as it is."""
        recording = self._recording(row.id, row, row.frames or 0, lambda: self.job.reader.packed(row))
        return _cut(row.id, recording, 0, row, with_labels=True)

    def mixed(self, row: Row) -> dict[str, Any]:
        """A virtual mixture: two tracks. The gain of the speech, where it has one, is a transform of its recording."""
        at: Any = (row.speech_shard, row.speech_offset, row.speech_bytes)
        noise_at: Any = (row.noise_shard, row.noise_offset, row.noise_bytes)
        needed: Any = (row.speech_id, row.noise_id, row.noise_start, row.rate_hz)
        name, noise_name, start, rate_hz = needed
        if None in (*at, *noise_at, *needed):
            raise ManifestError(f"{row.id}: lacks columns that say where its parts lie: run prep mix --virtual again")
        speech, noise, read = self.job.reader.stored(*at), self._noise(*noise_at), self.job.reader.stored_bytes
        crop = dsp.crop(noise, start, len(speech), rate_hz)
        gain, noise_gain = (np.float32(dsp.gain(db or 0.0)) for db in (row.gain_db, row.noise_gain_db))
        first = self._recording(name, row, len(speech), lambda: read(*at))
        if row.gain_db:
            first["transforms"] = [{"name": "Volume", "kwargs": {"factor": float(gain)}}]
        if start + len(crop) <= len(noise):
            second = self._recording(noise_name, row, len(noise), lambda: read(*noise_at))
        else:  # it goes round, over a crossfade: no stretch of a recording says that, so the crop is a file of its own
            second, start = self._recording(f"{row.id}_noise", row, len(crop), lambda: flac(crop, rate_hz)), 0
        # What Lhotse means by SNR, of these samples at these gains.
        powers = [
            float(np.mean(np.square(pcm, dtype=np.float64))) * float(g) ** 2
            for pcm, g in ((speech, gain), (crop, noise_gain))
        ]
        snr_db = 10.0 * math.log10(powers[0] / powers[1])
        tracks = [
            _track(_cut(name, first, 0, row, with_labels=True)),
            _track(_cut(noise_name, second, start, row, with_labels=False)) | {"snr": snr_db, "tag": "noise"},
        ]
        return {"id": row.id, "tracks": tracks, "type": "MixedCut"}

    def _recording(self, name: str, row: Row, frames: int, data: Callable[[], bytes]) -> dict[str, Any]:
        """A recording of its name, whose file is written if it is the first of that name."""
        path, rate_hz = file_name(name, ".flac"), row.rate_hz or 0
        if path not in self._written:
            self._written.add(path)
            self.job.put(path, data())
        source = {"type": "file", "channels": [0], "source": path}
        length = {"sampling_rate": rate_hz, "num_samples": frames, "duration": frames / rate_hz}
        return {"id": name, "sources": [source]} | length | {"channel_ids": [0]}


def _cut(name: str, recording: dict[str, Any], start: int, row: Row, with_labels: bool) -> dict[str, Any]:
    """A MonoCut as long as the row. start: in frames. with_labels: with what is spoken in it, and the row's facts."""
    custom = facts(row)
    text = custom.pop("transcript", None)
    spoken: dict[str, Any] = {"id": row.id, "recording_id": row.speech_id if row.shard is None else row.id}
    spoken |= {"start": 0.0, "duration": seconds(row), "channel": 0, "speaker": row.group}
    has_speech = with_labels and (row.kind != "noise" or text is not None)
    cut = {
        "id": name,
        "start": start / (row.rate_hz or 1),
        "duration": seconds(row),
        "channel": 0,
        "supervisions": [spoken | ({} if text is None else {"text": text})] if has_speech else [],
        "recording": recording,
    }
    return cut | ({"custom": custom} if with_labels else {}) | {"type": "MonoCut"}


def _track(cut: dict[str, Any]) -> dict[str, Any]:
    return {"cut": cut, "type": cut.pop("type"), "offset": 0.0}
