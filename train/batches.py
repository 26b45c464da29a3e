"""Examples to batches: in which order, in which parts, and the tensors of a step. Nothing depends on workers or processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.core import keys
from pipeline.core.errors import PrepError
from train import data
from train.augment import Waves, spans
from train.data import Sounds
from train.examples import UNTAUGHT, Example
from train.features import RATE_HZ, window_of
from train.keywords import NOISE
from train.options import Options
from train.remix import Remix
from train.text import Texts


def stretches(examples: Sequence[Example], epoch: int, options: Options) -> NDArray[np.int64]:
    """What is heard of each clip in this epoch, int64 [examples, 2]: first sample, samples (at most 30 s).

    With crop_noise, a stretch of each noise clip as long as an utterance, both drawn by (row, epoch); else all of it.
    """
    frames = np.array([example.frames for example in examples], np.int64)
    found = np.stack([np.zeros_like(frames), frames], axis=1)
    noise = np.array([example.row.noise_label == NOISE for example in examples])
    if options.crop_noise and noise.any() and not noise.all():
        chance = keys.draws(options.seed, f"crop {epoch}", [example.row.id for example in examples])[noise]
        drawn = frames[~noise][(chance[:, 0] * (~noise).sum()).astype(np.int64)]
        length = np.minimum(frames[noise], drawn)
        found[noise] = np.stack([np.floor(chance[:, 1] * (frames[noise] - length + 1)), length], axis=1)
    return found


def order(examples: Sequence[Example], epoch: int, options: Options) -> list[list[int]]:
    """The epoch's batches as indices into the examples, drawn by name."""
    chance = keys.draws(options.seed, f"order {epoch}", [example.row.id for example in examples])[:, 0]
    drawn = _balanced(examples, chance) if options.balance else np.argsort(chance, kind="stable")
    return [drawn[start : start + options.batch].tolist() for start in range(0, len(drawn), options.batch)]


def parted(windows: Sequence[int], part_cost_s: float) -> list[list[int]]:
    """The places of a batch's clips in parts of like length, so that the least is padded: each part is a pass of its own.

    windows: samples each clip needs. A part costs its clips times its longest window, and part_cost_s seconds of audio
    besides, for a pass costs something of itself. Batches are not made of like clips instead, for noise and speech differ
    in length, and a batch of noise alone would teach the head to say noise.
    """
    by_length = sorted(range(len(windows)), key=lambda place: (windows[place], place))
    best: list[tuple[float, int]] = [(0.0, 0)]  # cheapest cost of the first clips, and where their last part begins
    for end in range(1, len(by_length) + 1):
        longest = windows[by_length[end - 1]] / RATE_HZ
        best.append(min((best[start][0] + part_cost_s + (end - start) * longest, start) for start in range(end)))
    parts, end = [], len(by_length)
    while end:
        parts.append(sorted(by_length[best[end][1] : end]))
        end = best[end][1]
    return parts[::-1]


def _balanced(examples: Sequence[Example], chance: NDArray[np.float64]) -> NDArray[np.int64]:
    """As many places as there are examples, shared evenly among the labels; within one, each clip comes up equally often."""
    labels = np.array([example.label for example in examples])
    known = sorted(set(labels.tolist()))
    places = np.arange(len(examples))
    drawn = np.empty(len(examples), np.int64)
    for turn, label in enumerate(known):
        members = np.flatnonzero(labels == label)
        mine = places[places % len(known) == turn]
        drawn[mine] = np.resize(members[np.argsort(chance[members], kind="stable")], len(mine))
    return drawn


@dataclass(frozen=True, slots=True)
class Whole:
    """What the parts and shares of a step have in common. clips, tokens: how many it teaches, what its losses are means over."""

    step: int
    epoch: int
    clips: int
    tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One process's share of a part of a step.

    samples: float32 [clips, window]; sizes: int64 [clips], samples of each clip; noise_class: int64 [clips].
    spoken: int64 [said], the clips that have targets; inputs, labels: int64 [said, tokens] (UNTAUGHT where padded).
    spans: int64 [clips, n, 4] for SpecAugment. heard: clips in the part, over all processes. A process without a share gets
    a clip that teaches nothing.
    """

    whole: Whole
    heard: int
    samples: Tensor
    sizes: Tensor
    noise_class: Tensor
    spoken: Tensor
    inputs: Tensor
    labels: Tensor
    spans: Tensor

    def to(self, device: torch.device) -> Batch:
        """On another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """In memory that a GPU reads directly; the DataLoader calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, act: Any) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: act(value) for name, value in tensors.items() if isinstance(value, Tensor)})


@dataclass
class Steps(Dataset["list[Batch] | PrepError"]):
    """Step number -> the parts of its batch, the same whoever asks and whenever.

    bands: of the log-mel. rank, world: which share of each part this process takes. part_cost_s: see `parted`. A fault of
    the data is handed over as a value, for an exception loses its message on the way out of a worker.
    """

    examples: Sequence[Example]
    sounds: Sounds
    texts: Texts
    options: Options
    bands: int
    rank: int = 0
    world: int = 1
    remix: Remix | None = None
    waves: Waves | None = None
    part_cost_s: float = 2.0

    def __post_init__(self) -> None:
        self._plan = _Epoch(-1, np.zeros((0, 2), np.int64), [])

    @property
    def per_epoch(self) -> int:
        """Steps in an epoch."""
        return -(-len(self.examples) // self.options.batch)

    def __getitem__(self, step: int) -> list[Batch] | PrepError:
        try:
            return self.parts(step)
        except PrepError as error:
            return error

    def parts(self, step: int) -> list[Batch]:
        """This process's share of the step, part by part."""
        epoch, place = divmod(step, self.per_epoch)
        if self._plan.number != epoch:
            heard = stretches(self.examples, epoch, self.options)
            self._plan = _Epoch(epoch, heard, order(self.examples, epoch, self.options))
        whole = _turns(self._plan.batches[place])
        windows = [window_of(int(self._plan.heard[index, 1]), self.options.window) for index, _ in whole]
        clips = sum(self.examples[index].noise_class != UNTAUGHT for index, _ in whole)
        tokens = sum(len(self.examples[index].targets or ()) for index, _ in whole)
        for_all = Whole(step, epoch, clips, tokens)
        return [self._batch([whole[n] for n in part], for_all) for part in parted(windows, self.part_cost_s)]

    def _batch(self, part: Sequence[tuple[int, int]], whole: Whole) -> Batch:
        own = part[self.rank :: self.world]
        shares = [self._share(index, turn) for index, turn in own or part[:1]]
        idle = replace(self.examples[part[0][0]], targets=None, noise_class=UNTAUGHT)
        return Batch(
            whole,
            heard=len(part),
            spans=torch.from_numpy(np.stack([masks for _, masks in shares])),
            **_padded([wave for wave, _ in shares], self.options.window),
            **_taught([self.examples[index] for index, _ in own] or [idle], self.texts),
        )

    def _share(self, index: int, turn: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(samples of a clip, what SpecAugment masks in them); turn: how often it came before in the same step."""
        row, options, epoch = self.examples[index].row, self.options, self._plan.number
        pcm = self.remix.pcm(row, epoch) if self.remix is not None and row.kind == "mixture" else None
        start, frames = self._plan.heard[index].tolist()
        wave = data.samples((self.sounds.pcm(row) if pcm is None else pcm)[start : start + frames])
        if self.waves is not None:
            wave = self.waves.changed(wave, options.seed, row.id, epoch, turn)
        if not options.spec_augment:
            return wave, np.zeros((0, 4), np.int64)
        return wave, spans(frames, self.bands, options.seed, row.id, epoch, turn)


@dataclass(frozen=True, slots=True, eq=False)
class _Epoch:
    """An epoch's plan: what is heard of each clip, and the batches."""

    number: int
    heard: NDArray[np.int64]
    batches: list[list[int]]


def _turns(whole: Sequence[int]) -> list[tuple[int, int]]:
    """Each index with how often it came before in this step: a balanced step may hold a rare clip twice."""
    seen = Counter[int]()
    found = []
    for index in whole:
        found.append((index, seen[index]))
        seen[index] += 1
    return found


def _padded(waves: Sequence[NDArray[np.float32]], window: str) -> dict[str, Tensor]:
    """Samples and sizes of a Batch."""
    length = window_of(max(len(wave) for wave in waves), window)
    samples = np.zeros((len(waves), length), np.float32)
    for row, wave in zip(samples, waves, strict=True):
        row[: len(wave)] = wave
    return {"samples": torch.from_numpy(samples), "sizes": torch.tensor([len(wave) for wave in waves])}


def _taught(examples: Sequence[Example], texts: Texts) -> dict[str, Tensor]:
    """noise_class, spoken, inputs and labels of a Batch; inputs are the labels moved on by one behind the start token."""
    spoken = [index for index, example in enumerate(examples) if example.targets is not None]
    targets = [examples[index].targets or () for index in spoken]
    shape = max(1, len(targets)), max((len(target) for target in targets), default=1)
    labels, inputs = torch.full(shape, UNTAUGHT), torch.full(shape, texts.end)
    inputs[:, 0] = texts.prompt[0]
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.tensor(target)
        inputs[row, 1 : len(target)] = torch.tensor(target[:-1])
    noise_class = torch.tensor([example.noise_class for example in examples])
    return {"noise_class": noise_class, "spoken": torch.tensor(spoken or [0]), "inputs": inputs, "labels": labels}


def loader(steps: Steps, numbers: range, workers: int, pinned: bool) -> Iterator[list[Batch]]:
    """The parts of these steps, in order, made ahead by workers. PrepError where the data has a fault."""
    made: Any = DataLoader(steps, batch_size=None, sampler=numbers, num_workers=workers, pin_memory=pinned)
    for parts in made:
        if isinstance(parts, PrepError):
            raise parts
        yield parts
