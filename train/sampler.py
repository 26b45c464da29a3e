"""Which examples make up which batch, and which stretch of each clip the model hears.

Every draw is named by the row and the epoch, so nothing depends on workers, processes or other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core import keys
from train.examples import Example
from train.features import longest, window_of
from train.options import Options
from train.text import NOISE


@dataclass(frozen=True, slots=True, eq=False)
class Epoch:
    """The plan of an epoch. stretches: int64 [examples, 2], first sample and samples; batches: indices of examples."""

    number: int
    stretches: NDArray[np.int64]
    batches: list[list[int]]


def shuffled(examples: Sequence[Example], epoch: int, options: Options) -> Epoch:
    """The epoch of a training run: batches in a drawn order.

    Batches are not made of clips of one window: noise and speech differ in length, and a batch of noise alone would
    teach the head to answer noise.
    """
    chance = keys.draws(options.seed, f"order {epoch}", [example.row.id for example in examples])[:, 0]
    drawn = _balanced(examples, chance) if options.balance else np.argsort(chance, kind="stable")
    batches = [drawn[start : start + options.batch].tolist() for start in range(0, len(drawn), options.batch)]
    return Epoch(epoch, stretches(examples, epoch, options), batches)


def by_window(examples: Sequence[Example], epoch: int, options: Options) -> Epoch:
    """The epoch in which examples are scored: whole clips in batches of one window, as `evaluate` has them."""
    frames = _frames(examples, options)
    windows = [window_of(count, options.window) for count in frames.tolist()]
    batches = []
    for members in alike(windows):
        batches += [members[start : start + options.batch] for start in range(0, len(members), options.batch)]
    return Epoch(epoch, np.stack([np.zeros_like(frames), frames], axis=1), batches)


def alike(windows: Sequence[int]) -> list[list[int]]:
    """The places of equal windows together, the shortest window first.

    A clip beside a longer one would be padded beyond its window: the model would then hear silence, learn from it and
    answer otherwise than on the clip alone.
    """
    places: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        places.setdefault(window, []).append(place)
    return [places[window] for window in sorted(places)]


def _balanced(examples: Sequence[Example], chance: NDArray[np.float64]) -> NDArray[np.int64]:
    """As many indices as examples, shared evenly among the labels; each clip of a label is equally frequent."""
    labels = np.array([example.label for example in examples])
    names = sorted(set(labels.tolist()))
    places = np.arange(len(examples))
    drawn = np.empty(len(examples), np.int64)
    for turn, label in enumerate(names):
        members = np.flatnonzero(labels == label)
        own = places[places % len(names) == turn]
        drawn[own] = np.resize(members[np.argsort(chance[members], kind="stable")], len(own))
    return drawn


def stretches(examples: Sequence[Example], epoch: int, options: Options) -> NDArray[np.int64]:
    """The stretch that the model hears of each clip in this epoch, int64 [examples, 2]: first sample, samples.

    It is the whole clip, as far as it is in the window. With crop_noise it is a stretch of each noise clip as long as
    some utterance; place and length are drawn by row and epoch.
    """
    frames = _frames(examples, options)
    whole = np.stack([np.zeros_like(frames), frames], axis=1)
    noise = np.array([example.row.noise_label == NOISE for example in examples])
    if options.crop_noise and noise.any() and not noise.all():
        chance = keys.draws(options.seed, f"crop {epoch}", [example.row.id for example in examples])[noise]
        drawn = frames[~noise][(chance[:, 0] * (~noise).sum()).astype(np.int64)]
        length = np.minimum(frames[noise], drawn)
        whole[noise] = np.stack([np.floor(chance[:, 1] * (frames[noise] - length + 1)), length], axis=1)
    return whole


def _frames(examples: Sequence[Example], options: Options) -> NDArray[np.int64]:
    """How many samples of each example the network hears."""
    return np.minimum([example.frames for example in examples], longest(options.window)).astype(np.int64)
