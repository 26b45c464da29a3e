"""Rows to training examples: what each row teaches, and why the others are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.corpora.lexicon import Lexicon
from train.features import LONGEST, RATE_HZ, longest
from train.options import Options
from train.text import NOISE, SPEECH, Tokenizer

UNTAUGHT = -100  # a target that no loss counts


@dataclass(frozen=True, slots=True)
class Example:
    """A row and what it teaches.

    targets: tokens, or None if the loss of its transcript is masked. noise_class: index of the class, or UNTAUGHT; for
    a classifier the class is a keyword, or noise. times: how often it comes in an epoch.
    """

    row: Row
    targets: tuple[int, ...] | None
    noise_class: int
    times: int = 1

    @property
    def frames(self) -> int:
        """Samples that the model hears, at most 30 s."""
        return min(self.row.frames or 0, LONGEST)

    @property
    def label(self) -> str:
        """The label whose share of an epoch `balance` evens out."""
        return self.row.keyword or self.row.noise_label or self.row.kind


@dataclass(frozen=True, slots=True)
class Selection:
    """Examples, and how many rows were left out for which reason."""

    examples: list[Example]
    left_out: Mapping[str, int]

    def summary(self, split: str) -> str:
        """A line for a person: examples by label, and rows left out by reason."""
        labels = sorted(Counter(example.label for example in self.examples).items())
        counts = ", ".join(f"{label} {count}" for label, count in labels)
        left = ", ".join(f"{reason} {count}" for reason, count in self.left_out.items())
        total = len(self.examples) + sum(self.left_out.values())
        return f"{split:<8}{len(self.examples):>8,} of {total:,} rows: {counts}" + (
            f"; left out: {left}" if left else ""
        )


def classes_of(rows: Sequence[Row], lexicon: Lexicon, options: Options) -> list[str]:
    """The classes of the noise head, none without one; of a classifier its keywords and, if it has its own, noise."""
    if options.arch != "whisper":
        return [*lexicon.keywords, *([NOISE] if options.noise_as == "noise" else [])]
    return noise_classes(rows, options.noise_classes) if options.task == "multi" else []


def noise_classes(rows: Sequence[Row], kind: str) -> list[str]:
    """Classes of the noise head, speech first: speech and noise, or speech and every scene of the noise rows."""
    if kind == "binary":
        return [SPEECH, NOISE]
    return [SPEECH, *sorted({row.scene or NOISE for row in rows if row.noise_label == NOISE})]


def select(
    rows: Sequence[Row],
    tokenizer: Tokenizer | None,
    classes: Sequence[str],
    options: Options,
    hard: Collection[str] = (),
) -> Selection:
    """The rows that teach something under these options, and why the others do not. hard: ids of hard negatives."""
    examples, left_out = [], Counter[str]()
    for row in rows:
        example = _example(row, tokenizer, classes, options)
        if isinstance(example, str):
            left_out[example] += 1
        else:
            examples.append(replace(example, times=options.hard_weight) if row.id in hard else example)
    return Selection(examples, dict(sorted(left_out.items())))


def _example(row: Row, tokenizer: Tokenizer | None, classes: Sequence[str], options: Options) -> Example | str:
    """What the row teaches, or the reason why it is left out. tokenizer: None for a classifier."""
    is_noise = row.noise_label == NOISE
    if is_noise and options.noise_corpora and row.corpus not in options.noise_corpora:
        return "noise of another corpus"
    if not is_noise and (row.frames or 0) > longest(options.window):
        return f"speech longer than {longest(options.window) / RATE_HZ:g} s"
    if tokenizer is None:
        label = row.keyword if not is_noise else NOISE if NOISE in classes else classes[-1]
        return Example(row, None, classes.index(label)) if label is not None else "no keyword"
    text = row.transcript if not is_noise else "" if options.noise_text == "empty" else None
    targets = tuple(tokenizer.targets(text)) if text or (is_noise and text is not None) else None
    if targets is not None and len(targets) - len(tokenizer.prompt) > options.max_tokens:
        return f"transcript longer than {options.max_tokens} tokens"
    if options.task == "single":
        return Example(row, targets, UNTAUGHT) if targets is not None else "noise" if is_noise else "no transcript"
    label = SPEECH if not is_noise else row.scene or NOISE if options.noise_classes == "scenes" else NOISE
    return Example(row, targets, classes.index(label) if label in classes else UNTAUGHT)


def noise_corpora(examples: Sequence[Example]) -> dict[str, int]:
    """How many examples hold noise of each corpus, alone or in a mixture."""
    corpora = [
        example.row.corpus if example.row.noise_label == NOISE else example.row.noise_source.split("/")[0].lstrip("@")
        for example in examples
        if example.row.noise_label == NOISE or example.row.noise_source
    ]
    return dict(sorted(Counter(corpora).items()))


def check(examples: Sequence[Example], options: Options, split: str) -> None:
    """PrepError where these examples cannot teach what the options ask for."""
    if options.arch != "whisper":
        if len({example.noise_class for example in examples}) < 2:
            raise PrepError(f"the {split} split has clips of fewer than two classes: a classifier needs more")
        return
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
