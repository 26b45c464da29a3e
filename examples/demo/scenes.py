"""Scenes made by arithmetic: coloured noise, hums, blows, chirps and voices, in layers.

They differ to the ear; none is a recording.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from pipeline.demo.voices import RATE_HZ, TEST_VOICES, Chance, Samples, phrases, spoken

from pipeline.audio import dsp

SMALL_TALK = frozenset(
    {"감사합니다", "사람이 참 많네요", "안녕하세요", "여기 앉으세요", "오늘 날씨가 좋네요", "커피 한 잔 주세요"}
)
Layer = Callable[[Chance, int], Samples]
"""Given chance and a number of frames, float32 [frames] at RATE_HZ, about 1 at its loudest."""


def band(low_hz: float, high_hz: float, sway_hz: float = 0.0) -> Layer:
    """Noise between two frequencies, falling by 3 dB an octave; with `sway_hz` it swells and fades about that often."""

    def make(rng: Chance, frames: int) -> Samples:
        bins = np.arange(round(low_hz * frames / RATE_HZ), min(round(high_hz * frames / RATE_HZ), frames // 2))
        spectrum = np.zeros(frames // 2 + 1, np.complex64)
        spectrum[bins] = (rng.standard_normal(len(bins)) + 1j * rng.standard_normal(len(bins))) / np.sqrt(bins + 1.0)
        return _loudest_1(np.fft.irfft(spectrum, frames) * _sway(rng, frames, sway_hz))

    return make


def hum(base_hz: float, harmonics: int = 6) -> Layer:
    """A machine: harmonics that fall off, its pitch drifting by a few per cent."""

    def make(rng: Chance, frames: int) -> Samples:
        drift = 1.0 + 0.03 * np.interp(np.arange(frames), np.linspace(0, frames, 6), rng.standard_normal(6))
        phase = np.cumsum(2 * np.pi * base_hz * rng.uniform(0.9, 1.1) / RATE_HZ * drift)
        weights = rng.uniform(0.3, 1.0, harmonics) / np.arange(1, harmonics + 1)
        return _loudest_1(sum(weight * np.sin(n * phase) for n, weight in enumerate(weights, 1)))

    return make


def blows(per_s: float, hz: float, decay_s: float) -> Layer:
    """Things struck, at any time: plates, keys, drops. Each rings at about `hz` and dies away."""
    return _events(per_s, lambda rng: _ring(rng, hz * rng.uniform(0.6, 1.6), decay_s), even=False)


def steps(per_s: float, hz: float, decay_s: float) -> Layer:
    """Things struck evenly: feet, rails."""
    return _events(per_s, lambda rng: _ring(rng, hz, decay_s), even=True)


def chirps(per_s: float, low_hz: float, high_hz: float) -> Layer:
    """Short whistles that glide: birds."""

    def one(rng: Chance) -> Samples:
        frames = round(rng.uniform(0.05, 0.2) * RATE_HZ)
        start_hz, end_hz = rng.uniform(low_hz, high_hz, 2)
        glide = np.linspace(start_hz, end_hz, frames)
        return _loudest_1(np.sin(np.cumsum(2 * np.pi * glide / RATE_HZ)) * np.hanning(frames))

    return _events(per_s, one, even=False)


def chime(high_hz: float, low_hz: float) -> Layer:
    """Two notes, one after the other, somewhere: doors, announcements."""

    def one(rng: Chance) -> Samples:
        time_s = np.arange(RATE_HZ) / RATE_HZ
        notes = [np.sin(2 * np.pi * hz * time_s) * np.exp(-4 * time_s) for hz in (high_hz, low_hz)]
        return _loudest_1(np.concatenate([notes[0][: RATE_HZ // 2], notes[1]]))

    return _events(0.12, one, even=False)


def babble(talkers: int) -> Layer:
    """That many people talking at once, from the phrases that are no calls and in the voices of the training split."""

    def make(rng: Chance, frames: int) -> Samples:
        wave = np.zeros(frames, np.float32)
        for _ in range(talkers):
            at = -int(rng.integers(RATE_HZ))
            while at < frames:
                at += _add(wave, _word(rng), at) + int(rng.integers(RATE_HZ // 2))
        return _loudest_1(wave)

    return make


def _events(per_s: float, one: Callable[[Chance], Samples], even: bool) -> Layer:
    def make(rng: Chance, frames: int) -> Samples:
        wave = np.zeros(frames, np.float32)
        count = max(1, round(per_s * frames / RATE_HZ))
        at = (np.arange(count) + rng.uniform(0, 0.5)) * frames / count if even else rng.uniform(0, frames, count)
        for start in at.astype(int):
            _add(wave, one(rng) * np.float32(rng.uniform(0.4, 1.0)), int(start))
        return wave

    return make


def _ring(rng: Chance, hz: float, decay_s: float) -> Samples:
    """A blow: a burst of noise over a tone, both dying away."""
    time_s = np.arange(round(6 * decay_s * RATE_HZ)) / RATE_HZ
    body = np.sin(2 * np.pi * hz * time_s) + 0.5 * np.sin(2 * np.pi * 2.76 * hz * time_s)
    click = rng.standard_normal(len(time_s)) * np.exp(-time_s / (0.1 * decay_s))
    return _loudest_1((body + click) * np.exp(-time_s / decay_s))


def _word(rng: Chance) -> Samples:
    known = [phrase for phrase in phrases() if phrase.voice not in TEST_VOICES and phrase.text in SMALL_TALK]
    return spoken(known[int(rng.integers(len(known)))]) * np.float32(rng.uniform(0.4, 1.0))


def _add(wave: Samples, sound: Samples, at: int) -> int:
    """Adds as much of the sound as lies within the wave; returns the sound's length."""
    first, last = max(at, 0), min(at + len(sound), len(wave))
    if first < last:
        wave[first:last] += sound[first - at : last - at]
    return len(sound)


def _sway(rng: Chance, frames: int, sway_hz: float) -> NDArray[np.float64]:
    if not sway_hz:
        return np.ones(frames)
    knots = max(3, round(sway_hz * frames / RATE_HZ * 2))
    return np.interp(np.arange(frames), np.linspace(0, frames, knots), rng.uniform(0.15, 1.0, knots))


def _loudest_1(wave: NDArray[np.floating]) -> Samples:
    return np.asarray(wave / max(float(np.abs(wave).max()), 1e-9), dtype=np.float32)


SCENES: dict[str, tuple[tuple[float, Layer], ...]] = {
    "Bus": ((1.0, band(30, 300, 0.3)), (0.5, hum(38, 12)), (0.15, babble(2)), (0.2, chime(880, 660))),
    "Cafe": ((0.8, babble(5)), (0.3, band(200, 5000)), (0.25, blows(1.5, 3500, 0.05))),
    "Car": ((1.0, band(20, 160)), (0.35, hum(85, 5)), (0.15, band(500, 6000, 0.2))),
    "CrowdedIndoor": ((1.0, babble(12)), (0.3, band(100, 2000))),
    "Elevator": ((0.7, hum(118, 8)), (0.2, band(100, 1500)), (0.5, chime(1320, 1320))),
    "Kitchen": ((0.5, band(3500, 12000, 2.0)), (0.04, hum(50, 3)), (0.7, blows(2.5, 2600, 0.09))),
    "Park": ((0.4, band(60, 900, 0.15)), (0.6, chirps(2.5, 2500, 5500)), (0.1, steps(1.8, 400, 0.03))),
    "ResidentialArea": ((0.6, band(40, 500, 0.1)), (0.2, chirps(0.5, 3000, 4500)), (0.3, blows(0.2, 180, 0.15))),
    "Restaurant": ((0.8, babble(8)), (0.6, blows(3.5, 4200, 0.07)), (0.2, band(150, 3000))),
    "Restroom": ((0.8, band(900, 9000, 1.0)), (0.05, hum(60, 4)), (0.3, blows(1.0, 1500, 0.02))),
    "Street": (
        (1.0, band(50, 2500, 0.25)),
        (0.3, steps(2.0, 700, 0.02)),
        (0.25, blows(0.15, 440, 0.4)),
        (0.1, babble(1)),
    ),
    "Subway": (
        (1.0, band(40, 700, 0.5)),
        (0.5, steps(2.6, 120, 0.06)),
        (0.2, hum(230, 9)),
        (0.15, band(2500, 4500, 0.3)),
    ),
    "SubwayStation": (
        (0.6, babble(4)),
        (0.6, band(30, 400, 0.12)),
        (0.5, chime(784, 587)),
        (0.15, steps(2.2, 900, 0.02)),
    ),
    "AirConditioner": ((1.0, band(80, 1800)), (0.3, hum(100, 4))),
    "Babble": ((1.0, babble(7)),),
    "Munching": ((0.6, blows(6.0, 1800, 0.015)), (0.1, band(200, 4000))),
    "NeighborSpeaking": ((1.0, babble(1)), (0.05, band(50, 800))),
    "ShuttingDoor": ((1.0, blows(0.6, 110, 0.12)), (0.05, band(50, 1000))),
    "Typing": ((0.7, blows(7.0, 3200, 0.012)), (0.08, band(60, 3000))),
}


def scene(rng: Chance, name: str, seconds: float) -> Samples:
    """Its layers at drawn levels, float32 [frames] at RATE_HZ, peak 0.1 to 0.6."""
    frames = round(seconds * RATE_HZ)
    wave = 1e-4 * rng.standard_normal(frames, dtype=np.float32)
    for level, layer in SCENES[name]:
        wave += np.float32(level * rng.uniform(0.7, 1.3)) * layer(rng, frames)
    return wave * np.float32(rng.uniform(0.1, 0.6) / max(dsp.peak(wave), 1e-6))
