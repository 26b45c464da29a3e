"""Resampling, levels, noise crops, mixing: arrays in, arrays and numbers out. Never files, never chance.

Samples are float32 in [-1, 1), or integers of full scale 2**15 (int16) or 2**31 (int32); levels are dB relative to full
scale, where 0 dBFS is an RMS of 1.0 (a full-scale sine is -3.01 dBFS). Levels are taken after the mean (DC) is removed.
Sums are taken in float64, where those over 16-bit samples are exact: a level is the same on every machine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

Samples = NDArray[np.float32]
Pcm16 = NDArray[np.int16]

FULL_SCALE = 32_768
CEILING = 10 ** (-0.1 / 20)  # no mixture peaks above full scale minus 0.1 dB
DB_DIGITS = 4  # decimals kept of a level, so that the last bit of a libm does not change a manifest
SHARE_DIGITS = 6
PLATEAU = 3  # equal samples in a row at the extreme of a recording are more than chance
SLOW_S = 0.05  # what varies more slowly than blocks of this length is no sound: under about 9 Hz
FADE_S = 0.020  # equal-power crossfade where short noise is looped

# ITU-T P.56 (12/2011), method B
P56_SMOOTHING_S = 0.03
P56_HANGOVER_S = 0.2
P56_MARGIN_DB = 15.9
P56_LOWEST_EXPONENT, P56_HIGHEST_EXPONENT = -15, -1  # thresholds 2**k of full scale, as 16-bit meters have
_BLOCK = 16  # samples for one value of the envelope: 1 kHz at 16 kHz, where P.56 requires at least 600 Hz
_GROUP = 64  # blocks a group
_CHUNK = 16_384  # samples summed at a time: what fits the cache
_WINDOWS, _GROUPS = 4096, 4096  # that are measured at once: 4 minutes or more, in some MB
_ONES = np.ones(_CHUNK)


@dataclass(frozen=True, slots=True)
class ActiveLevel:
    """level_dbfs: level while active, dB. activity: share of the time that is active, (0, 1]."""

    level_dbfs: float
    activity: float


def resample(samples: Samples, rate_hz: int, to_hz: int, quality: str = "HQ") -> Samples:
    """The samples at another rate, float32 [frames * to_hz / rate_hz, rounded]. quality: QQ LQ MQ HQ or VHQ of soxr."""
    if rate_hz == to_hz:
        return samples
    return np.asarray(soxr.resample(samples, rate_hz, to_hz, quality=quality), dtype=np.float32)


def highpass(samples: Samples, rate_hz: int, cut_hz: float) -> Samples:
    """The samples without what lies under cut_hz, float32 [frames]; nothing is delayed.

    What a windowed sinc (Blackman, three periods of cut_hz to each side) lets through is taken away: 6 dB less at
    cut_hz, over 60 dB at half of it, under 0.01 dB above one and a half of it. The ends are continued as they begin,
    turned about their first sample, so that DC is no step.
    """
    if not len(samples):
        return samples
    half = round(3 * rate_hz / cut_hz)
    low = np.sinc(2 * cut_hz / rate_hz * np.arange(-half, half + 1)) * np.blackman(2 * half + 1)
    padded = np.pad(samples.astype(np.float64), half, mode="reflect", reflect_type="odd")
    size = 1 << (8 * half).bit_length()  # of a transform: blocks overlap by the length of the filter
    spectrum, step = np.fft.rfft(low / low.sum(), size), size - 2 * half
    rest = np.empty_like(samples)
    for start in range(0, len(samples), step):
        slow_part = np.fft.irfft(np.fft.rfft(padded[start : start + size], size) * spectrum, size)[2 * half :]
        rest[start : start + step] = samples[start : start + step] - slow_part[: len(samples) - start]
    return rest


class Resampler:
    """Resamples a recording that comes in blocks; the blocks together are what `resample` makes of the whole."""

    def __init__(self, rate_hz: int, to_hz: int, quality: str = "HQ") -> None:
        self._stream = None if rate_hz == to_hz else soxr.ResampleStream(rate_hz, to_hz, 1, "float32", quality)

    def push(self, samples: Samples, is_last: bool = False) -> Samples:
        """The samples at the new rate that the blocks so far determine, float32; is_last: no block follows."""
        if self._stream is None:
            return samples
        return np.asarray(self._stream.resample_chunk(np.ascontiguousarray(samples), last=is_last))


def mono(samples: NDArray[np.float32]) -> Samples:
    """The mean of the channels: float32 [frames, channels] to [frames]."""
    if samples.shape[1] == 1:
        return samples[:, 0]
    if samples.shape[1] == 2:  # ten times as fast as a mean along the short axis
        return np.asarray((samples[:, 0] + samples[:, 1]) * np.float32(0.5))
    return np.asarray(samples.mean(axis=1, dtype=np.float32))


def frames_at(frames: NDArray[np.int64], rate_hz: NDArray[np.int64], to_hz: int) -> NDArray[np.int64]:
    """How many frames `resample` makes of so many, int64 [clips]: frames * to_hz / rate_hz, halves rounded up."""
    return (2 * frames * to_hz + rate_hz) // (2 * rate_hz)


def fits(samples: Samples) -> bool:
    """Whether float samples can be quantised as they are."""
    return not samples.size or bool(samples.max() < 1 - 0.5 / FULL_SCALE and samples.min() >= -1)


def quantised(samples: Samples) -> Pcm16:
    """int16 [frames], rounded to nearest, no dither; the samples must fit, or they wrap."""
    whole = np.empty(samples.shape, np.int16)
    for start in range(0, len(samples), _CHUNK):
        scaled = samples[start : start + _CHUNK] * np.float32(FULL_SCALE)
        whole[start : start + _CHUNK] = np.rint(scaled, out=scaled)
    return whole


def full_scale(samples: NDArray[Any]) -> float:
    """Full scale of samples of this type."""
    return 1.0 if samples.dtype.kind == "f" else float(-np.iinfo(samples.dtype).min)


def peak(samples: NDArray[Any]) -> float:
    """Largest magnitude, linear, full scale 1.0; 0.0 for no samples."""
    return max(float(samples.max()), -float(samples.min())) / full_scale(samples) if samples.size else 0.0


def moments(samples: NDArray[Any]) -> tuple[float, float]:
    """(sum, sum of squares) of the samples as they are, [frames]; exact for int16 up to 2**23 frames."""
    total = squares = 0.0
    chunk = np.empty(min(_CHUNK, samples.size))
    for start in range(0, samples.size, _CHUNK):
        part = chunk[: min(_CHUNK, samples.size - start)]
        np.copyto(part, samples[start : start + _CHUNK])
        total += float(np.dot(part, _ONES[: part.size]))
        squares += float(np.dot(part, part))
    return total, squares


def clipped(channels: NDArray[Any]) -> int:
    """How many samples [channels, frames] were cut off: PLATEAU or more in a row at an extreme value of their channel.

    So the height does not matter: a recording that was clipped and made quieter is clipped, a loud one is not.
    """
    count = 0
    for channel in channels:
        for extreme in {channel.max(), channel.min()}:
            at = channel == extreme
            if np.count_nonzero(at) < PLATEAU:
                continue
            where = np.flatnonzero(at)
            runs = np.diff(np.flatnonzero(np.diff(where) != 1), prepend=-1, append=len(where) - 1)
            count += int(runs[runs >= PLATEAU].sum())
    return count


def slow(channels: NDArray[Any], rate_hz: int) -> float:
    """Mean square of the means of blocks of SLOW_S, [channels, frames], full scale 1.0: of DC and of what nobody hears.

    At 5 Hz it is 0.9 dB less than the whole, at 9 Hz 3 dB, of white noise at 16 kHz 29 dB.
    """
    size = max(1, round(SLOW_S * rate_hz))
    frames = channels.shape[1]
    starts = np.arange(0, max(frames - size, 0) + 1, size)
    lengths = np.diff(starts, append=frames)
    kind = np.float64 if channels.dtype.kind == "f" else np.int64
    parts = []
    for first in range(0, len(starts), _WINDOWS):  # numpy takes memory for all samples of one call in the wider type
        some = starts[first : first + _WINDOWS]
        stop = starts[first + _WINDOWS] if first + _WINDOWS < len(starts) else frames
        parts.append(np.add.reduceat(channels[:, some[0] : stop], some - some[0], axis=1, dtype=kind))
    sums = np.concatenate(parts, axis=1)
    return float(((sums / full_scale(channels)) ** 2 / lengths).sum() / channels.size)


def power(samples: NDArray[Any], sums: tuple[float, float] | None = None, scale: float | None = None) -> float:
    """Mean square after the mean is removed (the variance), linear, full scale 1.0; 0.0 for no samples.

    sums: their moments, where they are known. scale: full scale, where it is not that of their type.
    """
    if not samples.size:
        return 0.0
    total, squares = sums or moments(samples)
    return max(0.0, (squares - total * total / samples.size) / samples.size) / (scale or full_scale(samples)) ** 2


def db(ratio: float) -> float:
    """10 log10 of a power ratio. ValueError for 0 or less: silence has no level."""
    return 10.0 * math.log10(ratio)


def decibels(power: float) -> float | None:
    """dB of a power, rounded as columns are; None for silence."""
    return round(db(power), DB_DIGITS) if power > 0.0 else None


def attenuation_db(peak: float) -> float:
    """The gain in dB that brings this peak just under the ceiling; rounded down, so that it never lies above."""
    scale = 10.0**DB_DIGITS
    return math.floor(db((CEILING / peak) ** 2) * scale) / scale


def gain(level_db: float) -> float:
    """Linear amplitude factor of a gain in dB."""
    return float(10.0 ** (level_db / 20.0))


def active_level(samples: NDArray[Any], rate_hz: int, sums: tuple[float, float] | None = None) -> ActiveLevel | None:
    """Active speech level by ITU-T P.56, method B, of samples [frames]; None where nothing is active.

    The magnitude is smoothed twice (0.03 s), a moment is active at threshold c if the envelope was at or above c
    within the last 0.2 s, and the level is where energy / active time lies 15.9 dB above the threshold, between
    thresholds 6.02 dB apart interpolated in dB. sums: the moments of the samples, where they are known.
    """
    if not samples.size:
        return None
    total, squares = sums or moments(samples)
    scale = full_scale(samples)
    energy = (squares - total * total / samples.size) / scale**2
    if energy <= 0.0:
        return None
    envelope = _envelope(samples, total / samples.size, rate_hz) / scale
    level_db = _crossing(envelope, energy / _BLOCK, math.ceil(P56_HANGOVER_S * rate_hz / _BLOCK))
    if level_db is None:
        return None
    return ActiveLevel(level_db, min(1.0, energy / samples.size / 10 ** (level_db / 10)))


def active_span(samples: NDArray[Any], rate_hz: int, level_dbfs: float) -> tuple[int, int]:
    """(first frame, frame after the last) between which samples [frames] of this active level are active.

    Active is what P.56 calls so: its envelope lies at most 15.9 dB below the active level. All of it where nothing is.
    """
    envelope = _envelope(samples, float(np.mean(samples)), rate_hz) / full_scale(samples)
    above = np.flatnonzero(envelope >= gain(level_dbfs - P56_MARGIN_DB))
    if not above.size:
        return 0, len(samples)
    return int(above[0]) * _BLOCK, min(len(samples), (int(above[-1]) + 1) * _BLOCK)


def _crossing(envelope: NDArray[np.float64], energy: float, hangover: int) -> float | None:
    """Level (dB) at which the active level passes P56_MARGIN_DB above the threshold; energy is per envelope value."""
    floor_db = db(energy / len(envelope))  # no active level is lower, so no threshold below it less the margin matters
    step_db = db(4.0)
    first = max(P56_LOWEST_EXPONENT, math.floor((floor_db - P56_MARGIN_DB) / step_db) - 1)
    below: tuple[float, float] | None = None
    for exponent in range(first, P56_HIGHEST_EXPONENT + 1):
        active = _active_values(envelope, 2.0**exponent, hangover)
        if not active:
            return None
        level = db(energy / active)
        excess = level - exponent * step_db - P56_MARGIN_DB
        if excess <= 0.0:
            if below is None:
                return level if excess == 0.0 else None
            share = below[1] / (below[1] - excess)
            return below[0] + share * (level - below[0])
        below = level, excess
    return None


def _active_values(envelope: NDArray[np.float64], threshold: float, hangover: int) -> int:
    """How many values are at or above the threshold, or at most `hangover` values after one that is."""
    above = np.flatnonzero(envelope >= threshold)
    if not above.size:
        return 0
    gaps = np.minimum(np.diff(above), hangover + 1)
    return int(gaps.sum()) + 1 + min(hangover, len(envelope) - 1 - int(above[-1]))


def _envelope(samples: NDArray[Any], mean: float, rate_hz: int) -> NDArray[np.float64]:
    """The distance from the mean, smoothed twice, at the end of each block of _BLOCK samples; float64 [blocks].

    Exact, not an approximation by decimation: two first-order filters in a row have a state of two numbers, so a
    block's end is a linear function of the state before it and of its samples. The recursion then runs over groups
    of blocks by the same trick, and over the groups in plain Python (16 steps a second of audio).
    """
    smooth = _smoothing(rate_hz)
    blocks = -(-len(samples) // _BLOCK)
    groups = -(-blocks // _GROUP)
    parts = []
    for start in range(0, groups, _GROUPS):
        padded = np.zeros(min(_GROUPS, groups - start) * _GROUP * _BLOCK)
        some = samples[start * _GROUP * _BLOCK :][: len(padded)]
        magnitude = padded[: len(some)]
        np.subtract(some, mean, out=magnitude)
        np.abs(magnitude, out=magnitude)
        parts.append((padded.reshape(-1, _BLOCK) @ smooth.block).reshape(-1, 2 * _GROUP))
    driven = np.concatenate(parts)
    ends = driven @ smooth.group
    states = np.empty((groups, 2))
    once = twice = 0.0
    (keep, leak), tail = smooth.step, ends[:, -2:].tolist()
    for index, (driven_once, driven_twice) in enumerate(tail):
        states[index] = once, twice
        once, twice = keep * once + driven_once, keep * twice + leak * once + driven_twice
    return np.asarray((ends[:, :_GROUP] + states @ smooth.carry).ravel()[:blocks])


@dataclass(frozen=True, slots=True, eq=False)
class _Smoothing:
    """Matrices of two equal first-order low-pass filters in a row, whose state is (once, twice) smoothed.

    block: [_BLOCK, 2], from the samples of a block to what they add to the state at its end. group: [2 * _GROUP, _GROUP
    + 2], from those to `twice` at the end of each block, and to the state at the end of the group. carry: [2, _GROUP],
    from the state before a group to `twice` at the end of each block. step: decay of the state over a group, its own
    and of `once` into `twice`.
    """

    block: NDArray[np.float64]
    group: NDArray[np.float64]
    carry: NDArray[np.float64]
    step: tuple[float, float]


@lru_cache(maxsize=8)
def _smoothing(rate_hz: int) -> _Smoothing:
    """The matrices for a sample rate: powers of g = exp(-1 / (0.03 rate))."""
    g = math.exp(-1 / (P56_SMOOTHING_S * rate_hz))
    age = np.arange(_BLOCK - 1, -1, -1)
    block = np.stack([(1 - g) * g**age, (1 - g) ** 2 * (age + 1) * g**age], axis=1)
    blocks = np.arange(1, _GROUP + 1)
    keep, leak = g ** (_BLOCK * blocks), (1 - g) * _BLOCK * blocks * g ** (_BLOCK * blocks)
    group = np.zeros((2 * _GROUP, _GROUP + 2))
    for source in range(_GROUP):
        later = np.arange(_GROUP - source)
        decay = g ** (_BLOCK * later)
        group[2 * source, source:_GROUP] = (1 - g) * _BLOCK * later * decay
        group[2 * source + 1, source:_GROUP] = decay
        group[2 * source, _GROUP] = decay[-1]
        group[2 * source : 2 * source + 2, _GROUP + 1] = group[2 * source : 2 * source + 2, _GROUP - 1]
    return _Smoothing(block, group, np.stack([leak, keep]), (float(keep[-1]), float(leak[-1])))


def crop(noise: Pcm16, start: int, frames: int, rate_hz: int) -> Pcm16:
    """`frames` samples of the noise from `start` on, int16; where it ends, it goes on from its beginning.

    The seam is an equal-power crossfade of 20 ms: the end of each pass overlaps the beginning of the next, so a pass is
    20 ms shorter than the noise. ValueError for noise too short to loop or a start outside it.
    """
    if not 0 <= start < max(len(noise), 1):
        raise ValueError(f"start {start} lies outside the {len(noise)} frames of noise")
    if start + frames <= len(noise):
        return noise[start : start + frames]
    loop = looped(noise, rate_hz)
    return np.resize(np.roll(loop, -(start % len(loop))), frames)


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A stretch of noise: where it begins, its samples, int16 [frames], and their level."""

    start: int
    pcm: Pcm16
    level_dbfs: float


def first_audible(noise: Pcm16, starts: Iterable[int], frames: int, rate_hz: int, floor_dbfs: float) -> Crop | None:
    """The crop from the first of these starts that is not below the floor; None where all are. ValueError as `crop`."""
    for start in starts:
        pcm = crop(noise, start, frames, rate_hz)
        square = power(pcm)
        if square > 0.0 and db(square) >= floor_dbfs:
            return Crop(start, pcm, db(square))
    return None


def looped(noise: Pcm16, rate_hz: int) -> Pcm16:
    """The noise as one period of an endless loop, int16 [frames - fade]: its last 20 ms faded into its first."""
    fade = round(FADE_S * rate_hz)
    if len(noise) < 2 * fade:
        raise ValueError(f"{len(noise)} frames of noise are too few to loop: at least {2 * fade}")
    angle = (np.arange(fade, dtype=np.float32) + np.float32(0.5)) * np.float32(math.pi / 2 / fade)
    seam = noise[:fade] * np.sin(angle) + noise[-fade:] * np.cos(angle)
    loop = noise[:-fade].copy()
    loop[:fade] = np.clip(np.rint(seam), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)
    return loop


def mix(speech: Pcm16, noise: Pcm16, gain_db: float, noise_gain_db: float) -> Pcm16:
    """round(gain * speech + noise_gain * noise), int16 [frames]: all that a mixture is.

    Element by element in float32, so the same inputs give the same samples on any machine. ValueError where a sample
    would pass full scale.
    """
    return _rounded(_weighted_sum(speech, noise, gain_db, noise_gain_db))


def mix_at_snr(
    speech: Pcm16, noise: Pcm16, speech_db: float, noise_db: float, snr_db: float
) -> tuple[Pcm16, float, float]:
    """(samples of the mixture at this SNR, int16 [frames]; gain of the speech in dB; gain of the noise in dB).

    speech_db, noise_db: levels of the two, by the definition that the SNR is meant in. The speech keeps its level,
    unless the sum would peak above full scale minus 0.1 dB: then speech and noise are attenuated alike.
    """
    noise_gain_db = round(speech_db - noise_db - snr_db, DB_DIGITS)
    total = _weighted_sum(speech, noise, 0.0, noise_gain_db)
    loudest = peak(total) / FULL_SCALE
    if loudest <= CEILING:
        return _rounded(total), 0.0, noise_gain_db
    gain_db = attenuation_db(loudest)
    noise_gain_db = round(noise_gain_db + gain_db, DB_DIGITS)
    return mix(speech, noise, gain_db, noise_gain_db), gain_db, noise_gain_db


def _weighted_sum(speech: Pcm16, noise: Pcm16, gain_db: float, noise_gain_db: float) -> Samples:
    """gain * speech + noise_gain * noise, float32 [frames], full scale 2**15."""
    total = noise * np.float32(gain(noise_gain_db))
    total += speech * np.float32(gain(gain_db)) if gain_db else speech
    return total


def _rounded(total: Samples) -> Pcm16:
    """int16 of a weighted sum, rounded to nearest. ValueError where a sample would pass full scale."""
    whole = np.rint(total)
    if whole.size and (whole.max() > FULL_SCALE - 1 or whole.min() < -FULL_SCALE):
        raise ValueError("the mixture passes full scale: attenuate speech and noise alike")
    return whole.astype(np.int16)
