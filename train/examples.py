"""Rows to examples: who takes part in training, what each teaches, and why the others do not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from train.features import LONGEST
from train.keywords import NOISE, SPEECH
from train.options import Options
from train.text import Texts

UNTAUGHT = -100  # a target that no loss counts


@dataclass(frozen=True, slots=True)
class Example:
    """A row and what it teaches. targets: tokens, None where its transcript's loss is masked. noise_class: index, or UNTAUGHT."""

    row: Row
    targets: tuple[int, ...] | None
    noise_class: int

    @property
    def frames(self) -> int:
        """Samples that are heard: at most 30 s."""
        return min(self.row.frames or 0, LONGEST)

    @property
    def label(self) -> str:
        """What `balance` evens out."""
        return self.row.keyword or self.row.noise_label or self.row.kind


@dataclass(frozen=True, slots=True)
class Chosen:
    """Examples, and how many rows were left out for which reason."""

    examples: list[Example]
    left_out: Mapping[str, int]

    def counts(self) -> dict[str, int]:
        """Examples by label."""
        return dict(sorted(Counter(example.label for example in self.examples).items()))


def noise_classes(rows: Sequence[Row], kind: str) -> list[str]:
    """Classes of the noise head, speech first: speech and noise, or speech and every scene of the noise rows."""
    if kind == "binary":
        return [SPEECH, NOISE]
    return [SPEECH, *sorted({row.scene or NOISE for row in rows if row.noise_label == NOISE})]


def chosen(rows: Sequence[Row], texts: Texts, classes: Sequence[str], options: Options) -> Chosen:
    """The rows that teach something under these options, and why the others do not."""
    examples, left_out = [], Counter[str]()
    for row in rows:
        found = _example(row, texts, classes, options)
        if isinstance(found, str):
            left_out[found] += 1
        else:
            examples.append(found)
    return Chosen(examples, dict(sorted(left_out.items())))


def _example(row: Row, texts: Texts, classes: Sequence[str], options: Options) -> Example | str:
    """What the row teaches, or the reason why it is left out."""
    noise = row.noise_label == NOISE
    if not noise and (row.frames or 0) > LONGEST:
        return "speech longer than 30 s"
    targets = _targets(row, texts, noise and options.noise_text == "empty")
    if targets is not None and len(targets) - len(texts.prompt) > options.max_tokens:
        return f"transcript longer than {options.max_tokens} tokens"
    if options.task == "single":
        return Example(row, targets, UNTAUGHT) if targets is not None else "noise" if noise else "no transcript"
    label = SPEECH if not noise else row.scene or NOISE if options.noise_classes == "scenes" else NOISE
    return Example(row, targets, classes.index(label) if label in classes else UNTAUGHT)


def _targets(row: Row, texts: Texts, say_nothing: bool) -> tuple[int, ...] | None:
    if say_nothing:
        return tuple(texts.targets(""))
    return tuple(texts.targets(row.transcript)) if row.transcript and row.noise_label != NOISE else None


def check(examples: Sequence[Example], options: Options, split: str) -> None:
    """PrepError where these examples cannot teach what is asked of them."""
    speech = sum(example.noise_class == 0 for example in examples)
    noise = sum(example.noise_class > 0 for example in examples)
    if options.task == "multi" and options.noise_weight and not (speech and noise):
        raise PrepError(
            f"the {split} split has {speech} rows of speech and {noise} of noise: the noise head needs both;"
            " take a manifest with noise rows (prep mix keeps them), or train with --task single"
        )
    if options.text_weight and not any(example.targets is not None for example in examples):
        raise PrepError(
            f"no row of the {split} split has a transcript to learn from: ingest labels, or set --text-weight 0"
        )
