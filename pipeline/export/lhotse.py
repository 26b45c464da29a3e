"""Lhotse: a CutSet for each split. Virtual mixtures become MixedCuts of speech and noise; everything else MonoCuts.

Lhotse scales noise to an SNR over the whole of both signals: power is the mean square of the samples, the mean not removed. The
`snr` written here is that of the speech and the crop at the gains of the manifest, so what Lhotse mixes is what the manifest
holds, up to rounding: Lhotse gives float32 that was never rounded to 16 bits.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, cast

import numpy as np
import orjson
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.audio.codec import flac
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.export._job import Job, each, file_name, seconds, stored_bytes

SAYS = "cuts_<split>.jsonl.gz, virtual mixtures as MixedCut; audio as loose FLAC"
SOUND = True
LINKS = False
_NOISE_HELD = 64  # decoded recordings of noise
_LEVEL = 6  # of gzip
_PARTS = """SELECT coalesce(sum(bytes), 0) FROM (
  SELECT speech_shard AS shard, speech_offset AS at, any_value(speech_bytes) AS bytes FROM rows WHERE speech_shard IS NOT NULL GROUP BY ALL
  UNION ALL
  SELECT noise_shard, noise_offset, any_value(noise_bytes) FROM rows WHERE noise_shard IS NOT NULL GROUP BY ALL)"""


def size(rows: Table, links: bool) -> int:
    """Every stored clip and every part of a virtual mixture once; crops of noise that is too short come on top."""
    return stored_bytes(rows.where(rows.present("shard"))) + int(rows.query(_PARTS)[0][0])


def write(job: Job) -> None:
    """`cuts_<split>.jsonl.gz` and `audio/`."""
    cuts = _Cuts(job)
    for split, rows in job.splits():
        with (
            open(job.folder / f"cuts_{split}.jsonl.gz", "wb") as raw,
            gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as file,
        ):
            for row, told in each(rows):
                cut = cuts.mono(row, told) if row.shard is not None else cuts.mixed(row, told)
                file.write(orjson.dumps(cut, option=orjson.OPT_APPEND_NEWLINE))
                job.advance(1)


class _Cuts:
    """Cuts of rows, and the files that they read, each written once."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._there: set[str] = set()
        self._noise = lru_cache(maxsize=_NOISE_HELD)(job.reader.stored)

    def mono(self, row: Row, told: dict[str, Any]) -> dict[str, Any]:
        """A clip that is stored as it is."""
        path = self._file(row.id, lambda: self.job.reader.packed(row))
        return _cut(row.id, _recording(row.id, path, row, row.frames or 0), 0, row, _supervisions(row, told), told)

    def mixed(self, row: Row, told: dict[str, Any]) -> dict[str, Any]:
        """A virtual mixture: two tracks. The gain of the speech, where it has one, is a transform of its recording."""
        at, noise_at = _place(row)
        speech, noise = self.job.reader.stored(*at), self._noise(*noise_at)
        start = row.noise_start or 0
        crop = dsp.crop(noise, start, len(speech), row.rate_hz or 0)
        name, noise_name = row.speech_id or "", row.noise_id or ""
        spoken = _recording(name, self._file(name, lambda: self.job.reader.stored_bytes(*at)), row, len(speech))
        gains = np.float32(dsp.gain(row.gain_db or 0.0)), np.float32(dsp.gain(row.noise_gain_db or 0.0))
        if row.gain_db:
            spoken["transforms"] = [{"name": "Volume", "kwargs": {"factor": float(gains[0])}}]
        if start + len(crop) <= len(noise):
            path = self._file(noise_name, lambda: self.job.reader.stored_bytes(*noise_at))
            heard = _recording(noise_name, path, row, len(noise))
        else:  # it goes round, over a crossfade: no stretch of a recording says that, so the crop is a file of its own
            own, start = f"{row.id}_noise", 0
            heard = _recording(own, self._file(own, lambda: flac(crop, row.rate_hz or 0)), row, len(crop))
        tracks = [
            _track(_cut(name, spoken, 0, row, _supervisions(row, told), told)),
            _track(_cut(noise_name, heard, start, row, [], None))
            | {"snr": _snr_db(speech, crop, gains), "tag": "noise"},
        ]
        return {"id": row.id, "tracks": tracks, "type": "MixedCut"}

    def _file(self, name: str, made: Callable[[], bytes]) -> str:
        path = file_name(name, ".flac")
        if path not in self._there:
            self._there.add(path)
            self.job.put(path, made())
        return path


def _place(row: Row) -> tuple[tuple[str, int, int], tuple[str, int, int]]:
    """Shard, offset and bytes of the speech of a virtual mixture, and of its noise."""
    told = row.speech_shard, row.speech_offset, row.speech_bytes, row.noise_shard, row.noise_offset, row.noise_bytes
    if None in told:
        raise ManifestError(f"{row.id}: lacks columns that say where its parts lie: run prep mix --virtual again")
    shard, offset, size, noise_shard, noise_offset, noise_size = cast("tuple[str, int, int, str, int, int]", told)
    return (shard, offset, size), (noise_shard, noise_offset, noise_size)


def _snr_db(speech: NDArray[np.int16], crop: NDArray[np.int16], gains: tuple[np.float32, np.float32]) -> float:
    """What Lhotse means by SNR, of these samples at these gains, dB."""
    powers = [
        float(np.mean(np.square(pcm, dtype=np.float64))) * float(g) ** 2
        for pcm, g in zip((speech, crop), gains, strict=True)
    ]
    return 10.0 * math.log10(powers[0] / powers[1])


def _recording(name: str, path: str, row: Row, frames: int) -> dict[str, Any]:
    rate_hz = row.rate_hz or 0
    source = {"type": "file", "channels": [0], "source": path}
    length = {"sampling_rate": rate_hz, "num_samples": frames, "duration": frames / rate_hz}
    return {"id": name, "sources": [source]} | length | {"channel_ids": [0]}


def _supervisions(row: Row, told: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said in the clip; noise says nothing."""
    text = told.pop("transcript", None)
    if row.kind == "noise" and text is None:
        return []
    held = {
        "id": row.id,
        "recording_id": row.speech_id if row.shard is None else row.id,
        "start": 0.0,
        "duration": seconds(row),
    }
    return [held | {"channel": 0, "speaker": row.group} | ({} if text is None else {"text": text})]


def _cut(
    name: str,
    recording: dict[str, Any],
    start: int,
    row: Row,
    supervisions: list[dict[str, Any]],
    custom: dict[str, Any] | None,
) -> dict[str, Any]:
    """A MonoCut as long as the row. start: in frames."""
    held = {
        "id": name,
        "start": start / (row.rate_hz or 1),
        "duration": seconds(row),
        "channel": 0,
        "supervisions": supervisions,
    }
    return held | {"recording": recording} | ({"custom": custom} if custom else {}) | {"type": "MonoCut"}


def _track(cut: dict[str, Any]) -> dict[str, Any]:
    return {"cut": cut, "type": cut.pop("type"), "offset": 0.0}


def card(job: Job) -> str:
    """How Lhotse loads it."""
    first = next(job.splits())[0]
    return f"""# {job.name}: {len(job.rows):,} clips for Lhotse

A CutSet for each split, its audio in `audio/`, paths from this folder. The text is in the supervision, what else the
manifest says in `cut.custom` (`split`, `keyword`, `noise_label`, `snr_active_db`, `label.<key>`, ...).

```python
from lhotse import CutSet
cuts = CutSet.from_file("cuts_{first}.jsonl.gz").with_recording_path_prefix(".")
for cut in cuts:
    samples = cut.load_audio()
```

Elsewhere, give the path of this folder in place of `"."`. A virtual mixture is a `MixedCut`: its `snr` is Lhotse's (mean squares
over the whole of both signals), computed so that Lhotse mixes what the manifest says; `snr_active_db` and `snr_full_db` in
`custom` are those of the manifest. Lhotse gives float32 that nobody rounded; rounded to 16 bits they are the manifest's
samples, about ten in a million off by one. Noise that went round (shorter than the speech) is stored as it was heard.
"""
