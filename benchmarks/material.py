"""Made-up corpora to measure on: speech-like bursts and noise at 44.1 kHz, wav files in folders."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import soundfile as sf

RATE_HZ = 44_100


def speech_like(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Harmonics under a syllable-like envelope, pauses between: FLAC and P.56 find in it about what they find in
    speech."""
    n = int(seconds * RATE_HZ)
    t = np.arange(n) / RATE_HZ
    pitch = rng.uniform(100, 250) * (1 + 0.05 * np.sin(2 * np.pi * rng.uniform(0.3, 1) * t))
    phase = np.cumsum(pitch) * 2 * np.pi / RATE_HZ
    voice = sum(np.sin(k * phase) / k**1.2 for k in range(1, 12))
    syllables = (
        np.clip(np.sin(2 * np.pi * rng.uniform(2, 4) * t), 0, 1)
        * np.repeat(rng.random(n // RATE_HZ + 1) > 0.3, RATE_HZ)[:n]
    )
    wave = voice * syllables * 0.15 + rng.normal(0, 3e-4, n)
    return (wave * rng.uniform(0.2, 0.9) / max(np.abs(wave).max(), 1e-9)).astype("f4")


def noise_like(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Noise that falls with frequency, as rooms and streets do."""
    n = int(seconds * RATE_HZ)
    spectrum = np.fft.rfft(rng.normal(0, 1, n)) / np.maximum(np.fft.rfftfreq(n, 1 / RATE_HZ), 50) ** 0.8
    wave = np.fft.irfft(spectrum, n)
    return (wave * rng.uniform(0.05, 0.5) / np.abs(wave).max()).astype("f4")


def recordings(folder: Path, speech: int, noise: int, seed: int = 0) -> None:
    """A folder for the `recordings` adapter: `speech` clips of 3 to 8 s and `noise` of 10 s, with metadata.csv."""
    rng = np.random.default_rng(seed)
    (folder / "wav").mkdir(parents=True, exist_ok=True)
    voices, rooms = [speech_like(rng, 8.5) for _ in range(24)], [noise_like(rng, 11) for _ in range(12)]
    rows = []
    for n in range(speech + noise):
        long = int((rng.uniform(3, 8) if n < speech else 10.0) * RATE_HZ)
        held = (voices if n < speech else rooms)[n % (24 if n < speech else 12)]
        start = int(rng.integers(len(held) - long + 1))
        name = f"wav/{n:06d}.wav"
        wave = held[start : start + long] * float(rng.uniform(0.5, 1))
        sf.write(folder / name, wave, RATE_HZ, subtype="PCM_16")
        text, label, kind = ("살려주세요", "saveme", "speech") if n < speech else ("", "noise", "noise")
        rows.append({"file": name, "transcript": text, "label": label, "kind": kind, "split": "train"})
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
