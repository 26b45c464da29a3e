"""Changes to a clip that its labels survive: audiomentations on the waveform, SpecAugment on the log-mel. All keyed."""

from __future__ import annotations

import random  # noqa: TID251 - audiomentations draws from the global generators; they are seeded by name just before
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import keys
from pipeline.core.errors import PrepError
from train.features import HOP, RATE_HZ

TIME_SPANS, TIME_FRAMES = (
    2,
    40,
)  # SpecAugment: at most two stretches of at most 0.4 s, and at most a tenth of the clip each
BAND_SPANS, BANDS = 2, 10


class Waves:
    """audiomentations by name, each applied to half of the clips: gain, filter (a microphone's response), room."""

    def __init__(self, names: tuple[str, ...], rooms: str | None) -> None:
        try:
            am = import_module("audiomentations")  # here, for this option alone needs it
        except ModuleNotFoundError:
            raise PrepError("--augment needs audiomentations: pip install audiomentations") from None
        made: dict[str, Any] = {
            "gain": lambda: am.Gain(-12.0, 0.0, p=0.5),
            "filter": lambda: am.SevenBandParametricEQ(-8.0, 8.0, p=0.5),
        }
        if rooms is not None:
            made["room"] = lambda: am.ApplyImpulseResponse(
                str(_impulses(Path(rooms))), leave_length_unchanged=True, p=0.5
            )
        self._chain = am.Compose([made[name]() for name in names])

    def changed(self, samples: NDArray[np.float32], seed: int, *names: object) -> NDArray[np.float32]:
        """The samples, changed as these names draw; float32 [frames], at most full scale."""
        draw = int(keys.fingerprint(seed, "augment", *names)[:8], 16)
        random.seed(draw)
        np.random.seed(draw)  # noqa: TID251 - as above
        wave = np.asarray(self._chain(samples, RATE_HZ), np.float32)
        peak = float(np.abs(wave).max(initial=0.0))
        return wave / np.float32(peak) if peak > 1.0 else wave


def _impulses(folder: Path) -> Path:
    if not folder.is_dir() or not any(path.suffix.lower() in (".wav", ".flac") for path in folder.rglob("*")):
        raise PrepError(f"{folder}: no folder with WAV or FLAC files; --augment room needs impulse responses there")
    return folder


def spans(samples: int, bands: int, seed: int, *names: object) -> NDArray[np.int64]:
    """What SpecAugment masks in a clip of so many samples: int64 [4, 4], rows of first frame, frames, first band, bands."""
    chance = keys.rng(seed, "spec_augment", *names)
    frames = max(1, samples // HOP)
    longest = min(TIME_FRAMES, frames // 10)
    found = np.zeros((TIME_SPANS + BAND_SPANS, 4), np.int64)
    for row in found[:TIME_SPANS]:
        row[1] = chance.integers(longest + 1)
        row[0] = chance.integers(frames - row[1] + 1)
    for row in found[TIME_SPANS:]:
        row[3] = chance.integers(BANDS + 1)
        row[2] = chance.integers(bands - row[3] + 1)
    return found
