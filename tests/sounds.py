"""Sounds and small corpora made on the spot."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import soundfile as sf
from numpy.typing import NDArray
from scipy.signal import lfilter

Sound = NDArray[np.float32]


def hiss(seconds: float, rate_hz: int = 16_000, seed: int = 0, level_dbfs: float = -30.0) -> Sound:
    """Stationary noise with most of its power below 2 kHz; float32 [frames], RMS at the level."""
    white = np.random.default_rng(seed).standard_normal(round(seconds * rate_hz))
    return _at(lfilter([1.0], [1.0, -0.7], white), level_dbfs)


def voice(
    seconds: float, rate_hz: int = 16_000, seed: int = 0, level_dbfs: float = -26.0, active: float = 0.6
) -> Sound:
    """Something like speech: syllables of uneven strength in phrases, pauses between them; RMS of the whole at the
    level."""
    rng = np.random.default_rng(seed)
    frames = round(seconds * rate_hz)
    syllables = np.zeros(frames)
    at = 0
    while at < frames:
        length = round(rng.uniform(0.12, 0.3) * rate_hz)
        if rng.uniform() < active:
            shape = np.hanning(length)[: frames - at] * rng.uniform(0.2, 1.0)
            syllables[at : at + len(shape)] = shape
        at += length
    pitch = np.sign(np.sin(2 * np.pi * rng.uniform(100, 250) * np.arange(frames) / rate_hz))
    rough = lfilter([1.0], [1.0, -0.8], rng.standard_normal(frames))
    return _at(syllables * (pitch + 0.3 * rough) + 1e-5 * rng.standard_normal(frames), level_dbfs)


def _at(samples: NDArray[np.float64], level_dbfs: float) -> Sound:
    return np.asarray(samples * 10 ** (level_dbfs / 20) / samples.std(), np.float32)


def encoded(
    samples: NDArray[np.floating], rate_hz: int = 16_000, subtype: str = "PCM_16", container: str = "WAV"
) -> bytes:
    """File bytes of samples [frames] or [frames, channels]."""
    out = io.BytesIO()
    sf.write(out, samples, rate_hz, subtype=subtype, format=container)
    return out.getvalue()


def corpus(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Files under a folder, which comes back; those that were there stay. Named as MS-SNSD names them,
    `clean_test/a.wav` is
    speech and `noise_test/Hum_1.wav` noise, in any format."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
