"""Examples to tensors: the dataset whose items are the batches of a run, and its loader."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.core.errors import PrepError
from train import data, sampler
from train.augment import Waves, spans
from train.data import Sounds
from train.examples import UNTAUGHT, Example
from train.features import window_of
from train.options import BATCH_NORMS, SPEECH, Options
from train.remix import Remix
from train.sampler import Epoch
from train.text import Tokenizer

if TYPE_CHECKING:
    from train.cached import Means


@dataclass(frozen=True, slots=True)
class Totals:
    """What the parts and shares of a step have in common.

    clips, tokens: clips of the step with a noise class, and its target tokens. Losses are means over them.
    """

    step: int
    epoch: int
    clips: int
    tokens: int

    def count(self, loss: str) -> int:
        """What the loss of this name is a mean over."""
        return self.tokens if loss == "text" else self.clips


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """The share of one process in one part of a step.

    samples: float32 [clips, window], or the means of a frozen encoder, [clips, layers, width]; sizes: int64 [clips],
    samples of each clip; noise_class: int64 [clips]. text_index: int64 [texts], the clips with targets; inputs, labels:
    int64 [texts, tokens], UNTAUGHT where padded. spans: int64 [clips, n, 4] for SpecAugment. clips: how many clips the
    part has over all processes. A process without a share gets a clip that teaches nothing.
    """

    totals: Totals
    clips: int
    samples: Tensor
    sizes: Tensor
    noise_class: Tensor
    text_index: Tensor
    inputs: Tensor
    labels: Tensor
    spans: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in memory that a GPU reads directly; the DataLoader calls this."""
        return self._each(Tensor.pin_memory)

    def _each(self, act: Any) -> Batch:
        tensors = {f.name: getattr(self, f.name) for f in fields(self)}
        return replace(self, **{name: act(value) for name, value in tensors.items() if isinstance(value, Tensor)})


@dataclass
class Batches(Dataset["list[Batch] | PrepError"]):
    """The number of a step -> the parts of its batch, the same for every caller and at any time.

    Each part holds the clips of one window, so that no clip depends on its neighbours; a network that normalises over a
    batch takes a step in one part. plan: `sampler.shuffled` or
    `sampler.by_window`. bands: of the log-mel. rank, world: the share of each part that this process takes. means: of a
    frozen encoder, in place of samples; a step is then one part. overhead: samples that a pass of a network on samples
    costs beside its own, see `sampler.parts`. A fault of the data is an item, because an exception
    loses its message on the way out of a worker.
    """

    examples: Sequence[Example]
    sounds: Sounds
    tokenizer: Tokenizer | None
    options: Options
    bands: int
    plan: Callable[[Sequence[Example], int, Options], Epoch] = sampler.shuffled
    rank: int = 0
    world: int = 1
    remix: Remix | None = None
    waves: Waves | None = None
    means: Means | None = None
    overhead: int = 0

    def __post_init__(self) -> None:
        self._epoch = self.plan(self.examples, 0, self.options)
        self.per_epoch = len(self._epoch.batches)  # steps

    def __getitem__(self, step: int) -> list[Batch] | PrepError:
        try:
            return self.parts(step)
        except PrepError as error:
            return error

    def parts(self, step: int) -> list[Batch]:
        """The share of this process in the step, part by part."""
        epoch, place = divmod(step, self.per_epoch)
        if self._epoch.number != epoch:
            self._epoch = self.plan(self.examples, epoch, self.options)
        members, earlier = [], Counter[int]()
        for index in self._epoch.batches[place]:  # a balanced step may hold a rare clip twice
            members.append((index, earlier[index]))
            earlier[index] += 1
        clips = sum(self.examples[index].noise_class != UNTAUGHT for index, _ in members)
        tokens = sum(len(self.examples[index].targets or ()) for index, _ in members)
        totals = Totals(step, epoch, clips, tokens)
        windows = [window_of(int(self._epoch.stretches[index, 1]), self.options.window) for index, _ in members]
        if self.means is not None:
            return [self._of_means([index for index, _ in members], self.means, totals)]
        if self.options.arch in BATCH_NORMS:
            each = [list(range(len(members)))]
        else:
            each = sampler.parts(windows, self.overhead) if self.options.arch in SPEECH else sampler.alike(windows)
        return [self._batch([members[n] for n in part], totals) for part in each]

    def _of_means(self, members: Sequence[int], means: Means, totals: Totals) -> Batch:
        """The share of this process in a step on the means of its clips."""
        own = members[self.rank :: self.world]
        idle = replace(self.examples[members[0]], noise_class=UNTAUGHT)
        return Batch(
            totals,
            clips=len(members),
            samples=torch.from_numpy(means[own or members[:1]]),
            sizes=torch.tensor([self.examples[index].frames for index in own or members[:1]]),
            spans=torch.zeros(1, 0, 4, dtype=torch.long),
            **_targets([self.examples[index] for index in own] or [idle], None),
        )

    def _batch(self, part: Sequence[tuple[int, int]], totals: Totals) -> Batch:
        own = part[self.rank :: self.world]
        shares = [self._share(index, turn) for index, turn in own or part[:1]]
        length = window_of(max(len(wave) for wave, _ in shares), self.options.window)
        samples = np.zeros((len(shares), length), np.float32)
        for row, (wave, _) in zip(samples, shares, strict=True):
            row[: len(wave)] = wave
        idle = replace(self.examples[part[0][0]], targets=None, noise_class=UNTAUGHT)
        return Batch(
            totals,
            clips=len(part),
            samples=torch.from_numpy(samples),
            sizes=torch.tensor([len(wave) for wave, _ in shares]),
            spans=torch.from_numpy(np.stack([masks for _, masks in shares])),
            **_targets([self.examples[index] for index, _ in own] or [idle], self.tokenizer),
        )

    def _share(self, index: int, turn: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """(samples of a clip, what SpecAugment masks in them); turn: how often the clip came before in this step."""
        row, options, epoch = self.examples[index].row, self.options, self._epoch.number
        pcm = self.remix.pcm(row, epoch) if self.remix is not None and row.kind == "mixture" else None
        start, frames = self._epoch.stretches[index].tolist()
        wave = data.samples((self.sounds.pcm(row) if pcm is None else pcm)[start : start + frames])
        if self.waves is not None:
            wave = self.waves.changed(wave, options.seed, row.id, epoch, turn)
        if not options.spec_augment:
            return wave, np.zeros((0, 4), np.int64)
        return wave, spans(frames, self.bands, options.seed, row.id, epoch, turn)


def _targets(examples: Sequence[Example], tokenizer: Tokenizer | None) -> dict[str, Tensor]:
    """noise_class, text_index, inputs, labels of a Batch; inputs are labels shifted by one, after the start token."""
    noise_class = torch.tensor([example.noise_class for example in examples])
    if tokenizer is None:
        none = torch.zeros(0, dtype=torch.long)
        return {"noise_class": noise_class, "text_index": none, "inputs": none, "labels": none}
    index = [place for place, example in enumerate(examples) if example.targets is not None]
    targets = [examples[place].targets or () for place in index]
    shape = max(1, len(targets)), max((len(target) for target in targets), default=1)
    labels, inputs = torch.full(shape, UNTAUGHT), torch.full(shape, tokenizer.end)
    inputs[:, 0] = tokenizer.prompt[0]
    for row, target in enumerate(targets):
        labels[row, : len(target)] = torch.tensor(target)
        inputs[row, 1 : len(target)] = torch.tensor(target[:-1])
    return {"noise_class": noise_class, "text_index": torch.tensor(index or [0]), "inputs": inputs, "labels": labels}


def loader(batches: Batches, steps: range, workers: int, pinned: bool) -> Iterator[list[Batch]]:
    """The parts of these steps, in order, prepared ahead by workers. PrepError where the data has a fault."""
    items: Any = DataLoader(batches, batch_size=None, sampler=steps, num_workers=workers, pin_memory=pinned)
    for parts in items:
        if isinstance(parts, PrepError):
            raise parts
        yield parts
