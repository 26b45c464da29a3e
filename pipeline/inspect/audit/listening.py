"""What an audit measures of sound: fingerprints, how alike two sounds are, traces of the recording chain.

The functions that run in workers are here, so nothing here handles frames. Fingerprints are after Haitsma and Kalker
(ISMIR 2002), for clips of seconds: the sign of how the energy difference of neighbouring bands changes in time, 32 bits
every 16 ms. A gain cancels, an offset shifts them, another rate or sample format leaves most of them as they were.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp, render
from pipeline.audio.shards import Reader
from pipeline.core.row import Row

Samples = NDArray[np.float32]

RATE_HZ = 4_000  # what lies above 2 kHz is ignored, so that a copy from a telephone is found as well
WINDOW, HOP = 1_536, 64  # 384 ms every 16 ms: frames that fall half a hop apart have most bits in common
BANDS, LOWEST_HZ, HIGHEST_HZ = 33, 300.0, 1_900.0
STEP = 6  # frames between which the change is taken, 96 ms
QUIET = 1e-4  # frames 40 dB below the loudest say nothing
EMPHASIS = 0.9  # low tones alone make no two sounds alike
LEAST = RATE_HZ // 2  # a shorter overlap says nothing
STEADY = 0.95  # a tone is as like itself a period later: nothing can be said of two hums
FINER = 4  # steps of the alignment to a sample at 4 kHz

TRACES = {  # group of traces: (what it is, its traces)
    "length": ("duration of the clip", ("log_seconds",)),
    "floor": ("level of its quietest tenth", ("floor_db",)),
    "band": (
        "low cut, high cut and tilt of its quietest tenth",
        ("low_cut_db", "tilt_db", "upper_db", "top_db", "edge_khz"),
    ),
    "dc": ("mean of the samples, where it is the same throughout", ("dc",)),
    "steps": ("how coarse the sample values are", ("coarse_share",)),
    "zeros": ("share of time in digital silence, 10 ms and more", ("zero_share",)),
}
TRACE_NAMES = tuple(name for _, names in TRACES.values() for name in names)
FRAME_S, QUIETEST, LEAST_FRAMES = 0.032, 0.1, 4
LOWEST_DB = -120.0
EDGE_DB = 30.0  # a band ends where it is so far below the strongest half kHz


def sounds(rows: Iterable[Row], folder: Path) -> Iterator[tuple[Row, Samples]]:
    """Each row and the samples of its recording alone, float32 [frames], full scale 2**15.

    A mixture gives its speech: that of a virtual one is stored; out of another the noise is taken, where `noise_shard`
    says that it is stored (exact to one part in 2**16). folder: of the manifest. ManifestError where a shard is missing
    or damaged.
    """
    reader = Reader(folder)
    place, noise = ("", 0), np.zeros(0, np.int16)  # rows with the same noise follow each other
    for row in rows:
        if row.kind == "mixture" and row.shard is None and row.speech_shard is not None:
            yield row, reader.stored(row.speech_shard, row.speech_offset or 0, row.speech_bytes or 0).astype(np.float32)
        elif row.kind == "mixture" and row.noise_shard is not None:
            if place != (row.noise_shard, row.noise_offset):
                place = row.noise_shard, row.noise_offset or 0
                noise = reader.stored(*place, row.noise_bytes or 0)
            yield row, render.unmixed(row, reader.pcm(row), noise)
        else:
            yield row, reader.pcm(row).astype(np.float32)


def fingerprints(rows: Sequence[Row], folder: Path, sieve: int) -> list[tuple[NDArray[np.uint32], NDArray[np.int32]]]:
    """The `fingerprint` of each recording, of its prints those that `sieve` divides: the same in all recordings."""
    prints = []
    for row, samples in sounds(rows, folder):
        words, frames = fingerprint(lowered(samples, row.rate_hz or 0))
        kept = words % sieve == 0
        prints.append((words[kept], frames[kept]))
    return prints


def overlaps(pairs: Sequence[tuple[Row, Row, int]], folder: Path) -> list[Overlap]:
    """The `overlap` of each pair of recordings; the third value is the lag in samples at 4 kHz."""
    rows = {row.id: row for one, other, _ in pairs for row in (one, other)}
    order = sorted(rows.values(), key=lambda row: (row.noise_shard or "", row.noise_offset or 0))
    low = {row.id: lowered(samples, row.rate_hz or 0) for row, samples in sounds(order, folder)}
    return [overlap(low[one.id], low[other.id], lag) for one, other, lag in pairs]


def traces_of(rows: Sequence[Row], folder: Path) -> list[NDArray[np.float64]]:
    """The `traces` of each clip as it is stored."""
    reader = Reader(folder)
    return [traces(reader.pcm(row), row.rate_hz or 0) for row in rows]


def lowered(samples: Samples, rate_hz: int) -> Samples:
    """The samples at 4 kHz, float32 [frames]."""
    return dsp.resample(samples, rate_hz, RATE_HZ, "LQ")


def fingerprint(low: Samples) -> tuple[NDArray[np.uint32], NDArray[np.int32]]:
    """(prints, the frame that each is of), both [prints], of samples at 4 kHz; no prints of less than half a second."""
    if len(low) < WINDOW + STEP * HOP:
        return np.zeros(0, np.uint32), np.zeros(0, np.int32)
    window, bands = _window_and_bands()
    spectrum = np.fft.rfft(np.lib.stride_tricks.sliding_window_view(low, WINDOW)[::HOP] * window)
    energy = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ bands
    slope = energy[:, :-1] - energy[:, 1:]
    rising = slope[STEP:] > slope[:-STEP]
    total = energy.sum(axis=1)[STEP:]
    loud = np.flatnonzero(total > QUIET * total.max())
    words = np.packbits(rising[loud], axis=1).view(">u4")[:, 0].astype(np.uint32)
    return words, loud.astype(np.int32)


@cache
def _window_and_bands() -> tuple[Samples, Samples]:
    """(window [WINDOW], the bins that each band sums [WINDOW / 2 + 1, BANDS])."""
    edges = np.geomspace(LOWEST_HZ, HIGHEST_HZ, BANDS + 1)
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE_HZ)
    inside = (bins[:, None] >= edges[:-1]) & (bins[:, None] < edges[1:])
    return np.hanning(WINDOW).astype(np.float32), inside.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Overlap:
    """How alike two sounds are where they overlap.

    agreement: normalised cross-correlation, -1 to 1; 0 where nothing can be said. seconds: length of the overlap.
    offset_s: how much later the second begins in the first. gain_db: level of the second minus that of the first.
    """

    agreement: float
    seconds: float
    offset_s: float
    gain_db: float


def overlap(one: Samples, other: Samples, lag: int) -> Overlap:
    """How alike two sounds at 4 kHz are, where the second begins about `lag` samples later in the first."""
    one, other = (low[1:] - np.float32(EMPHASIS) * low[:-1] for low in (one, other))
    for _ in range(2):  # the second time on the overlap that the first time gave
        a, b = one[max(0, lag) :], other[max(0, -lag) :]
        a, b = a[: len(b)], b[: len(a)]
        energies = float(np.dot(a, a)), float(np.dot(b, b))
        if len(a) < LEAST or min(energies) <= 0.0:
            return Overlap(0.0, len(a) / RATE_HZ, lag / RATE_HZ, 0.0)
        shift, peak, second = _peak(a, b)
        lag += round(shift)
    if second > STEADY * peak:
        return Overlap(0.0, len(a) / RATE_HZ, lag / RATE_HZ, 0.0)
    agreement = peak / float(np.sqrt(energies[0] * energies[1]))
    return Overlap(agreement, len(a) / RATE_HZ, lag / RATE_HZ, dsp.db(energies[1] / energies[0]))


def _peak(a: Samples, b: Samples) -> tuple[float, float, float]:
    """(by how many samples a is later than b, at most two hops; the cross-correlation there; the next highest).

    The lag is exact to a quarter of a sample; the next highest is at least 2 ms away.
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


def traces(pcm: NDArray[np.int16], rate_hz: int) -> NDArray[np.float64]:
    """What a recording chain leaves in a clip, whatever sounds before the microphone: float64 [TRACE_NAMES].

    None of it is a feature of speech: floor and band are read in the clip's quietest moments, where nobody speaks.
    """
    samples = pcm.astype(np.float32)
    blocks = pcm[: len(pcm) // (rate_hz // 100) * (rate_hz // 100)].reshape(-1, rate_hz // 100)
    zero_share = float((~blocks.any(axis=1)).mean()) if len(blocks) else 0.0  # any soft sound has single zeros

    # multiples of 16 among larger samples: all of them where 8 or 12 bits were stored as 16, 1 in 16 by chance
    large = pcm[(pcm >= 64) | (pcm <= -64)]
    coarse_share = np.count_nonzero(large & 15 == 0) / len(large) if len(large) > 100 else 0.0
    coarse_share = coarse_share if coarse_share > 0.2 else 0.0

    # DC in steps of 16 bits, where half seconds agree on one; in rumble they do not
    means = samples[: len(samples) // (rate_hz // 2) * (rate_hz // 2)].reshape(-1, rate_hz // 2).mean(axis=1)
    dc = float(np.median(means)) if len(means) >= 2 else 0.0
    if abs(dc) <= 0.5 or abs(dc) <= 3 * float(np.median(np.abs(means - dc))):
        dc = 0.0

    mean = samples.mean() if samples.size else np.float32(0)
    quiet = _of_quietest(samples - mean, rate_hz)
    return np.array([np.log(max(1, len(pcm)) / rate_hz), *quiet, np.arcsinh(dc), coarse_share, zero_share])


def _of_quietest(samples: Samples, rate_hz: int) -> tuple[float, ...]:
    """Of the quietest frames that are not digital silence: level in dBFS; four bands in dB; upper edge in kHz.

    The bands are low cut, tilt, upper and top band, each against 300 to 1,000 Hz.
    """
    size = round(FRAME_S * rate_hz)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    energy = np.einsum("ij,ij->i", frames, frames)
    sounding = np.flatnonzero(energy > 0)
    if not len(sounding):
        return (LOWEST_DB, *(0.0,) * 5)
    count = max(LEAST_FRAMES, round(QUIETEST * len(sounding)))
    chosen = sounding[np.argsort(energy[sounding], kind="stable")[:count]]
    spectrum = np.fft.rfft(frames[chosen] * np.hanning(size).astype(np.float32))
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
    hz = np.fft.rfftfreq(size, 1 / rate_hz)

    def level(low: float, high: float) -> float:
        inside = power[(hz >= low) & (hz < high)]
        return float(10 * np.log10(inside.mean() + 1e-3)) if inside.size else LOWEST_DB

    top = float(hz[-1])
    halves = np.array([level(low, low + 500) for low in np.arange(0.0, top, 500.0)])
    edge_khz = 0.5 * (1 + int(np.flatnonzero(halves > halves.max() - EDGE_DB)[-1]))
    middle = level(300, 1_000)
    edges = ((0, 100), (1_000, 3_000), (4_000, 6_000), (0.9 * top, 0.98 * top))
    bands = [level(low, high) - middle for low, high in edges]
    floor_db = 10 * np.log10(float(energy[chosen].mean()) / size) - 20 * np.log10(2.0**15)
    return (float(floor_db), *bands, edge_khz)
