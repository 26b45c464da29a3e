"""The arithmetic of the design written a second time, slowly and plainly: what the tests compare the pipeline with."""

from __future__ import annotations

import io
import math
import tarfile
from functools import cache
from pathlib import Path

import numpy as np
import soundfile as sf
import soxr
from numpy.typing import NDArray
from scipy.signal import lfilter

from pipeline.core.row import Row

FULL_SCALE = 32_768


def p56(samples: NDArray[np.float64], rate_hz: int) -> tuple[float, float]:
    """(active level in dBFS, activity) by ITU-T P.56 method B, sample by sample; (-inf, 0) where nothing is active.

    Two first-order filters of 0.03 s, thresholds 2**-15 ... 2**-1 of full scale, a hangover of ceil(0.2 rate) samples
    that begins after the last sample at or above the threshold, a margin of 15.9 dB, interpolation in dB.
    """
    centred = np.asarray(samples, np.float64) - np.mean(samples, dtype=np.float64)
    energy = float(np.sum(centred**2))
    smooth = math.exp(-1 / (0.03 * rate_hz))
    envelope = np.abs(centred)
    for _ in range(2):
        envelope = lfilter([1 - smooth], [1, -smooth], envelope)
    above: tuple[float, float] | None = (
        None  # level and threshold (dB) of the last exponent with the level above the margin
    )
    for exponent in range(-15, 0):
        active = _active_samples(envelope >= 2.0**exponent, math.ceil(0.2 * rate_hz))
        if not active:
            break
        level, threshold = 10 * math.log10(energy / active), 20 * math.log10(2.0**exponent)
        if level - threshold <= 15.9:
            if above is None:
                break
            here, before = level - threshold - 15.9, above[0] - above[1] - 15.9
            found = above[0] + (level - above[0]) * before / (before - here)
            return found, energy / len(centred) / 10 ** (found / 10)
        above = level, threshold
    return -math.inf, 0.0


def _active_samples(loud: NDArray[np.bool_], hangover: int) -> int:
    """How many samples are loud, or at most `hangover` samples after one that is."""
    at = np.arange(len(loud))
    latest = np.maximum.accumulate(np.where(loud, at, -len(loud) - hangover - 1))
    return int(np.count_nonzero(at - latest <= hangover))


def rms_db(samples: NDArray[np.float64]) -> float:
    """RMS level without DC, dB relative to 1.0."""
    return 10 * math.log10(float(np.var(np.asarray(samples, np.float64))))


def resampled(data: bytes, to_hz: int = 16_000, quality: str = "HQ") -> NDArray[np.int16]:
    """The 16-bit mono samples that a recording's bytes are stored as: channel mean, soxr, attenuated where it would
    pass full scale."""
    samples, rate_hz = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    mono = np.asarray(samples.astype(np.float64).mean(axis=1), np.float32)
    if rate_hz != to_hz:
        mono = soxr.resample(mono, rate_hz, to_hz, quality=quality)
    peak = float(np.abs(mono).max())
    if peak > 1 - 1 / FULL_SCALE:
        mono = mono * np.float32(10 ** (_attenuation_db(peak) / 20))
    return np.rint(mono * np.float32(FULL_SCALE)).astype(np.int16)


def _attenuation_db(peak: float) -> float:
    """To full scale minus 0.1 dB, rounded down to 0.0001 dB."""
    return math.floor((-0.1 - 20 * math.log10(peak)) * 10_000) / 10_000


def cropped(noise: NDArray[np.int16], start: int, frames: int, rate_hz: int) -> NDArray[np.int16]:
    """`frames` samples from `start`; past the end, the noise goes on from its beginning over an equal-power crossfade
    of 20 ms."""
    if start + frames <= len(noise):
        return noise[start : start + frames]
    fade = round(0.020 * rate_hz)
    period = noise[: len(noise) - fade].astype(np.float64)
    for n in range(fade):
        angle = (n + 0.5) * math.pi / 2 / fade
        period[n] = noise[n] * math.sin(angle) + noise[len(noise) - fade + n] * math.cos(angle)
    loop = np.clip(np.rint(period), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return loop[(start + np.arange(frames)) % len(loop)]


def mixture(row: Row, speech: NDArray[np.int16], noise: NDArray[np.int16]) -> NDArray[np.int16]:
    """The samples that a mixture's row says: its gains, its crop of the noise."""
    assert row.gain_db is not None
    assert row.noise_gain_db is not None
    assert row.noise_start is not None
    crop = cropped(noise, row.noise_start, len(speech), row.rate_hz or 0)
    total = speech * np.float32(10 ** (row.gain_db / 20)) + crop * np.float32(10 ** (row.noise_gain_db / 20))
    return np.rint(total).astype(np.int16)


def stored(manifest: Path, row: Row) -> NDArray[np.int16]:
    """A row's samples by nothing but tarfile and soundfile, found by the member's name; shape [frames]."""
    assert row.shard is not None
    samples, rate_hz = sf.read(
        io.BytesIO(_members(manifest.parent / "audio" / row.shard)[member(row.id)]), dtype="int16"
    )
    assert rate_hz == row.rate_hz
    return np.asarray(samples)


def member(row_id: str) -> str:
    """The member that holds a row's audio: WebDataset's key is what stands before the first dot."""
    return row_id.replace("%", "%25").replace(".", "%2E") + ".flac"


@cache
def _members(shard: Path) -> dict[str, bytes]:
    with tarfile.open(shard, "r:") as tar:
        return {item.name: tar.extractfile(item).read() for item in tar}  # type: ignore[union-attr]
