"""Fingerprints of sound: the same for the same recording at another level, offset, rate or sample format; and how alike two sounds are.

After Haitsma and Kalker (ISMIR 2002), for clips of seconds: the sign of how the energy difference of neighbouring bands changes
in time, 32 bits every 16 ms. A gain cancels, an offset shifts them, a rate or a sample format leaves most of them as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp

RATE_HZ = 4_000  # what lies above 2 kHz is not looked at, so a telephone's copy is found as well
WINDOW, HOP = 1_536, 64  # 384 ms every 16 ms: frames that fall half a hop apart have most bits alike
BANDS, LOWEST_HZ, HIGHEST_HZ = 33, 300.0, 1_900.0
STEP = 6  # frames between which the change is taken, 96 ms
QUIET = 1e-4  # frames 40 dB below the loudest say nothing
EMPHASIS = 0.9  # low tones alone make no two sounds alike
LEAST = RATE_HZ // 2  # an overlap that is shorter says nothing
STEADY = 0.95  # a tone is as like itself a period later: nothing can be said of two hums
FINER = 4  # steps of the alignment to a sample at 4 kHz


def lowered(samples: NDArray[np.float32], rate_hz: int) -> NDArray[np.float32]:
    """The samples at 4 kHz, float32 [frames]."""
    return dsp.resample(samples, rate_hz, RATE_HZ, "LQ")


def prints(low: NDArray[np.float32]) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """(fingerprints, the frame each is of), both [prints], of samples at 4 kHz; none of what is shorter than a second half."""
    if len(low) < WINDOW + STEP * HOP:
        return np.zeros(0, np.uint32), np.zeros(0, np.int32)
    window, bands = _shapes()
    frames = np.lib.stride_tricks.sliding_window_view(low, WINDOW)[::HOP] * window
    spectrum = np.fft.rfft(frames)
    energy = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bands
    slope = energy[:, :-1] - energy[:, 1:]
    rising = slope[STEP:] > slope[:-STEP]
    total = energy.sum(axis=1)[STEP:]
    loud = np.flatnonzero(total > QUIET * total.max())
    words = np.packbits(rising[loud], axis=1).view(">u4")[:, 0].astype(np.uint32)
    return words, loud.astype(np.int32)


@cache
def _shapes() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(window [WINDOW], which bins each band sums [WINDOW / 2 + 1, BANDS])."""
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    inside = (bins[:, None] >= edges[:-1]) & (bins[:, None] < edges[1:])
    return np.hanning(WINDOW).astype(np.float32), inside.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Alike:
    """How alike two sounds are where they overlap. agreement: normalised cross-correlation, -1 to 1; 0 where nothing
    can be said. seconds: of the overlap.

    offset_s: how much later the second begins in the first. gain_db: level of the second less that of the first.
    """

    agreement: float
    seconds: float
    offset_s: float
    gain_db: float


def alike(one: NDArray[np.float32], other: NDArray[np.float32], lag: int) -> Alike:
    """How alike two sounds at 4 kHz are, where the second begins about `lag` samples later in the first."""
    one, other = _emphasised(one), _emphasised(other)
    for _ in range(2):  # the second time on the overlap that the first found
        a, b = _overlap(one, other, lag)
        energies = float(np.dot(a, a)), float(np.dot(b, b))
        if len(a) < LEAST or min(energies) <= 0.0:
            return Alike(0.0, len(a) / RATE_HZ, lag / RATE_HZ, 0.0)
        shift, peak, second = _peak(a, b)
        lag += round(shift)
    if second > STEADY * peak:
        return Alike(0.0, len(a) / RATE_HZ, lag / RATE_HZ, 0.0)
    agreement = peak / float(np.sqrt(energies[0] * energies[1]))
    return Alike(agreement, len(a) / RATE_HZ, lag / RATE_HZ, dsp.db(energies[1] / energies[0]))


def _emphasised(low: NDArray[np.float32]) -> NDArray[np.float32]:
    return low[1:] - np.float32(EMPHASIS) * low[:-1]


def _overlap(
    one: NDArray[np.float32], other: NDArray[np.float32], lag: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    a, b = one[max(0, lag) :], other[max(0, -lag) :]
    both = max(0, min(len(a), len(b)))
    return a[:both], b[:both]


def _peak(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[float, float, float]:
    """(by how many samples a is later than b, at most two hops; the cross-correlation there; the next highest, 2 ms or more away).

    To a quarter of a sample.
    """
    size = 1 << (2 * len(a) - 1).bit_length()
    cross = np.fft.rfft(a, size) * np.conj(np.fft.rfft(b, size))
    cross[-1] *= 0.5  # the bin at half the rate stands for two once zeros follow it
    whole = np.fft.irfft(cross, FINER * size) * FINER
    reach = FINER * 2 * HOP
    near = np.concatenate([whole[-reach:], whole[: reach + 1]])
    best = int(near.argmax())
    apart = FINER * RATE_HZ // 500
    others = np.concatenate([near[: max(0, best - apart)], near[best + apart :]])
    return (best - reach) / FINER, float(near[best]), float(others.max())
