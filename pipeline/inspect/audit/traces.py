"""What a recording chain leaves in a clip, whatever sounds before the microphone: length, floor, band, DC, steps, zeros.

None of it is a feature of speech: the floor and the band are read in the clip's quietest moments, where nobody speaks. Clipping is
read in the recording itself, by ingest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

GROUPS = {  # name: (what it is, its traces)
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
NAMES = tuple(name for _, traces in GROUPS.values() for name in traces)
FRAME_S, QUIETEST, LEAST_FRAMES = 0.032, 0.1, 4
_LOWEST_DB = -120.0
_EDGE_DB = 30.0  # how far below the strongest half kHz the band is called cut off


def traces(pcm: NDArray[np.int16], rate_hz: int) -> NDArray[np.float64]:
    """float64 [NAMES] of a clip."""
    samples = pcm.astype(np.float32)
    mean = float(samples.mean()) if samples.size else 0.0
    floor, shape = _quiet(samples - np.float32(mean), rate_hz)
    count = max(1, len(pcm))
    return np.array(
        [
            np.log(count / rate_hz),
            floor,
            *shape,
            np.arcsinh(_offset(samples, rate_hz)),
            _coarse(pcm),
            _silence(pcm, rate_hz),
        ]
    )


def _silence(pcm: NDArray[np.int16], rate_hz: int) -> float:
    """Share of the 10 ms blocks that hold nothing but zeros; single zeros are what any soft sound has."""
    size = rate_hz // 100
    blocks = pcm[: len(pcm) // size * size].reshape(-1, size)
    return float((~blocks.any(axis=1)).mean()) if len(blocks) else 0.0


def _coarse(pcm: NDArray[np.int16]) -> float:
    """Share of multiples of 16 among the samples that are not small: near 1 where 8 or 12 bits were stored as 16, and 0 here where
    no more of them are than chance gives."""
    large = pcm[(pcm >= 64) | (pcm <= -64)]
    share = np.count_nonzero(large & 15 == 0) / len(large) if len(large) > 100 else 0.0
    return share if share > 0.2 else 0.0


def _offset(samples: NDArray[np.float32], rate_hz: int) -> float:
    """The DC in units of a 16-bit step: the mean of half seconds where they agree on one, 0 where they do not, as in rumble."""
    size = rate_hz // 2
    means = samples[: len(samples) // size * size].reshape(-1, size).mean(axis=1)
    if len(means) < 2:
        return 0.0
    middle = float(np.median(means))
    return middle if abs(middle) > 3 * float(np.median(np.abs(means - middle))) and abs(middle) > 0.5 else 0.0


def _quiet(samples: NDArray[np.float32], rate_hz: int) -> tuple[float, tuple[float, ...]]:
    """(level of the quietest frames that are not digital silence, dBFS; low cut, tilt, upper band, top band in dB, edge in kHz)."""
    size = round(FRAME_S * rate_hz)
    frames = samples[: len(samples) // size * size].reshape(-1, size)
    energy = np.einsum("ij,ij->i", frames, frames)
    sounding = np.flatnonzero(energy > 0)
    if not len(sounding):
        return _LOWEST_DB, (0.0,) * 5
    chosen = sounding[np.argsort(energy[sounding], kind="stable")[: max(LEAST_FRAMES, round(QUIETEST * len(sounding)))]]
    level = 10 * np.log10(float(energy[chosen].mean()) / size) - 20 * np.log10(2.0**15)
    spectrum = np.fft.rfft(frames[chosen] * np.hanning(size).astype(np.float32))
    power = (spectrum.real**2 + spectrum.imag**2).mean(axis=0)
    return float(level), _shape(power, np.fft.rfftfreq(size, 1 / rate_hz))


def _shape(power: NDArray[np.float32], hz: NDArray[np.floating[Any]]) -> tuple[float, ...]:
    def level(low: float, high: float) -> float:
        inside = power[(hz >= low) & (hz < high)]
        return float(10 * np.log10(inside.mean() + 1e-3)) if inside.size else _LOWEST_DB

    top = float(hz[-1])
    halves = np.array([level(low, low + 500) for low in np.arange(0.0, top, 500.0)])
    edge = 0.5 * (1 + int(np.flatnonzero(halves > halves.max() - _EDGE_DB)[-1]))
    middle = level(300, 1_000)
    bands = (
        level(0, 100) - middle,
        level(1_000, 3_000) - middle,
        level(4_000, 6_000) - middle,
        level(0.9 * top, 0.98 * top) - middle,
    )
    return *bands, edge
