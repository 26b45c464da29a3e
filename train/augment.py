"""Keyed changes to a clip that keep its labels true: audiomentations on the waveform, SpecAugment on the log-mel."""

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

TIME_SPANS, TIME_FRAMES = 2, 40  # SpecAugment: at most two stretches, each at most 0.4 s and a tenth of the clip
BAND_SPANS, BANDS = 2, 10


class Waves:
    """Transforms of audiomentations by name, each applied to half of the clips: gain, filter (a microphone's), room."""

    def __init__(self, names: tuple[str, ...], rooms: str | None) -> None:
        """rooms: folder of impulse responses. PrepError where a transform cannot be had."""
        try:
            am: Any = import_module("audiomentations")  # here, because this option alone needs it
        except ModuleNotFoundError:
            raise PrepError("--augment needs audiomentations: pip install audiomentations") from None
        transforms = []
        for name in names:
            if name == "gain":
                transforms.append(am.Gain(-12.0, 0.0, p=0.5))
            elif name == "filter":
                transforms.append(am.SevenBandParametricEQ(-8.0, 8.0, p=0.5))
            else:
                folder = Path(rooms or "")
                if not any(path.suffix.lower() in (".wav", ".flac") for path in folder.rglob("*")):
                    raise PrepError(
                        f"{folder}: no folder with WAV or FLAC files; --augment room needs impulse responses there"
                    )
                transforms.append(am.ApplyImpulseResponse(str(folder), leave_length_unchanged=True, p=0.5))
        self._chain = am.Compose(transforms)

    def changed(self, samples: NDArray[np.float32], seed: int, *names: object) -> NDArray[np.float32]:
        """The samples changed as these names draw, float32 [frames], at most full scale."""
        draw = int(keys.fingerprint(seed, "augment", *names)[:8], 16)
        random.seed(draw)
        np.random.seed(draw)  # noqa: TID251 - as above
        wave = np.asarray(self._chain(samples, RATE_HZ), np.float32)
        peak = float(np.abs(wave).max(initial=0.0))
        return wave / np.float32(peak) if peak > 1.0 else wave


def spans(samples: int, bands: int, seed: int, *names: object) -> NDArray[np.int64]:
    """What SpecAugment masks in a clip of so many samples: int64 [4, 4] of first frame, frames, first band, bands."""
    chance = keys.rng(seed, "spec_augment", *names)
    frames = max(1, samples // HOP)
    longest = min(TIME_FRAMES, frames // 10)
    masks = np.zeros((TIME_SPANS + BAND_SPANS, 4), np.int64)
    for row in masks[:TIME_SPANS]:
        row[1] = chance.integers(longest + 1)
        row[0] = chance.integers(frames - row[1] + 1)
    for row in masks[TIME_SPANS:]:
        row[3] = chance.integers(BANDS + 1)
        row[2] = chance.integers(bands - row[3] + 1)
    return masks
