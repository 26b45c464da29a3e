"""Which examples make up which batch, and which stretch of each clip the model hears.

Every draw is named by the row and the epoch, so nothing depends on workers, processes or other rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core import keys
from pipeline.core.row import Row
from train.examples import UNTAUGHT, Example
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
    teach the head to answer noise. A hard negative comes several times, each at a place of its own.
    """
    turns = [turn for example in examples for turn in range(example.times)]
    places = np.repeat(np.arange(len(examples)), [example.times for example in examples])
    names = [examples[place].row.id + f"\n{turn}" * (turn > 0) for place, turn in zip(places, turns, strict=True)]
    chance = keys.draws(options.seed, f"order {epoch}", names)[:, 0]
    order = np.argsort(chance, kind="stable")
    drawn = places[_balanced([examples[place] for place in places], chance) if options.balance else order]
    batches = [drawn[start : start + options.batch].tolist() for start in range(0, len(drawn), options.batch)]
    return Epoch(epoch, stretches(examples, epoch, options), batches)


def by_window(examples: Sequence[Example], epoch: int, options: Options) -> Epoch:
    """The epoch in which examples are scored: in batches of one window, each clip as `evaluate` hears it."""
    heard = stretches(examples, 0, options)
    windows = [window_of(count, options.window) for count in heard[:, 1].tolist()]
    batches = []
    for members in alike(windows):
        batches += [members[start : start + options.batch] for start in range(0, len(members), options.batch)]
    return Epoch(epoch, heard, batches)


def alike(windows: Sequence[int]) -> list[list[int]]:
    """The places of equal windows together, the shortest window first.

    A clip beside a longer one would be padded beyond its window: the model would then hear silence, learn from it and
    answer otherwise than on the clip alone.
    """
    places: dict[int, list[int]] = {}
    for place, window in enumerate(windows):
        places.setdefault(window, []).append(place)
    return [places[window] for window in sorted(places)]


def parts(windows: Sequence[int], overhead: int) -> list[list[int]]:
    """The places in parts of like windows, the shortest first, so that the samples that are computed are fewest.

    A part takes its clips at its longest window and `overhead` samples more, for the work that a pass costs however
    little is in it; with 0 every window is a part. For networks that look at no padding.
    """
    each = alike(windows)
    lengths = [windows[part[0]] for part in each]
    best: list[tuple[int, int]] = [(0, 0)]  # of the first so many windows: cost, where its last part begins
    for end in range(1, len(each) + 1):
        costs = [
            (best[start][0] + overhead + lengths[end - 1] * sum(len(part) for part in each[start:end]), start)
            for start in range(end)
        ]
        best.append(min(costs, key=lambda cost: (cost[0], -cost[1])))
    joined, end = [], len(each)
    while end:
        start = best[end][1]
        joined.append([place for part in each[start:end] for place in part])
        end = start
    return joined[::-1]


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
    whole = _whole(examples, options.window)
    return _cropped(whole, examples, epoch, options.seed) if options.crop_noise else whole


def crops(rows: Sequence[Row], window: str, seed: int) -> dict[str, tuple[int, int]]:
    """(first sample, samples) by id of the noise clips among rows that are scored: each as long as some utterance."""
    examples = [Example(row, None, UNTAUGHT) for row in rows]
    each = _cropped(_whole(examples, window), examples, 0, seed).tolist()
    return {row.id: (start, count) for row, (start, count) in zip(rows, each, strict=True) if row.noise_label == NOISE}


def _whole(examples: Sequence[Example], window: str) -> NDArray[np.int64]:
    """The stretches of whole clips, as far as they are in the window."""
    frames = np.minimum([example.frames for example in examples], longest(window)).astype(np.int64)
    return np.stack([np.zeros_like(frames), frames], axis=1)


def _cropped(whole: NDArray[np.int64], examples: Sequence[Example], epoch: int, seed: int) -> NDArray[np.int64]:
    """The stretches with those of noise as long as some utterance, place and length drawn by row and epoch."""
    noise, frames = np.array([example.row.noise_label == NOISE for example in examples]), whole[:, 1]
    if not noise.any() or noise.all():
        return whole
    chance = keys.draws(seed, f"crop {epoch}", [example.row.id for example in examples])[noise]
    drawn = frames[~noise][(chance[:, 0] * (~noise).sum()).astype(np.int64)]
    length = np.minimum(frames[noise], drawn)
    cropped = whole.copy()
    cropped[noise] = np.stack([np.floor(chance[:, 1] * (frames[noise] - length + 1)), length], axis=1)
    return cropped
