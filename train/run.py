"""A training run: what it learns from, its folder, its place in it. Set up here, gone through in loop.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from pipeline.core.errors import PrepError
from pipeline.corpora.lexicon import Lexicon
from train import checkpoint, data, examples, keywords, model
from train.augment import Waves
from train.batches import Steps, loader
from train.cascade import Cascade, Judged
from train.checkpoint import Checkpoint, Made
from train.data import Held, Sounds
from train.examples import Chosen
from train.features import LogMel
from train.keywords import Finder
from train.model import Detector, losses
from train.options import Options
from train.remix import Remix
from train.scores import four_class_macro_f1
from train.text import Texts

Say = Callable[[str], None]
RESAMPLED = "resampled.parquet"


@dataclass(slots=True)
class Run:
    """A run from where it stands. best: the best dev score so far, None before the first or without a dev split."""

    options: Options
    folder: Path
    detector: Detector
    texts: Texts
    lexicon: Lexicon
    made: Made
    train: Steps
    dev: Steps | None
    total: int
    save_every: int
    workers: int
    step: int = 0
    best: float | None = None
    optimizer_state: Mapping[str, Any] | None = None

    @property
    def bands(self) -> int:
        """Bands of the log-mel that the checkpoint takes."""
        return self.train.bands

    def dev_scores(self, log_mel: LogMel, seat: Accelerator) -> dict[str, float]:
        """Scores on dev, all processes together: the losses, and macro F1 where it names the best. Empty without dev."""
        if self.dev is None:
            return {}
        self.detector.eval()
        self.dev.rank, self.dev.world = seat.process_index, seat.num_processes
        told = _dev_losses(self.dev, self.detector, log_mel, seat, self.options)
        if self.options.best == "macro_f1":
            judged = gather_object(self._judged(self.dev, seat))
            told["macro_f1"] = four_class_macro_f1(judged, self.lexicon.keywords)
        return told

    def _judged(self, dev: Steps, seat: Accelerator) -> list[Judged]:
        """One process's share of the dev rows through the cascade, the gate at 0.5."""
        finder = Finder(self.lexicon)
        cascade = Cascade(
            self.detector, self.texts, finder, self.options.window, 0.5, self.options.max_tokens, seat.device
        )
        rows = [example.row for example in dev.examples][dev.rank :: dev.world]
        return list(cascade.judged(rows, dev.sounds, self.options.batch))

    def save(self, step: int, scores: Mapping[str, float], optimizer: Mapping[str, Any]) -> None:
        """Writes `last/`, and `best/` where this is the best so far (the later one where there is no dev split)."""
        score = scores.get(self.options.best)
        better = (
            score is None
            or self.best is None
            or (score < self.best if self.options.best == "loss" else score > self.best)
        )
        self.step, self.best = step, score if better else self.best
        made = replace(
            self.made,
            step=step,
            epoch=step / self.train.per_epoch,
            dev={"best_by": self.options.best, **scores},
            weights_hash=checkpoint.weights_hash(self.detector),
        )
        held = Checkpoint(self.detector, self.texts, self.lexicon, made)
        if better:
            checkpoint.write(self.folder / "best", held)
        checkpoint.write(self.folder / "last", held, {"optimizer": optimizer, "best": self.best})

    def diverged(self, step: int, loss: float) -> PrepError:
        """What to say of a loss that is no number."""
        return PrepError(
            f"{self.folder}: the loss is {loss} at step {step}: lower --lr (now {self.options.lr:g}), or give --warmup;"
            f" last/ holds the weights of step {self.step}"
        )


def _dev_losses(
    dev: Steps, detector: Detector, log_mel: LogMel, seat: Accelerator, options: Options
) -> dict[str, float]:
    """Means over the whole dev split, not over batches."""
    sums = torch.zeros(4, dtype=torch.float64, device=seat.device)
    with torch.inference_mode(), seat.autocast():
        for parts in loader(dev, range(dev.per_epoch), 0, pinned=False):
            whole = torch.tensor([parts[0].whole.clips, parts[0].whole.tokens], device=seat.device)
            for part in parts:
                held = part.to(seat.device)
                noise_logits, text_logits = detector(log_mel(held.samples), held.sizes, held.spoken, held.inputs)
                found = losses(noise_logits, text_logits, held)
                sums[:2] += torch.stack([found.noise, found.text]) * whole
            sums[2:] += whole * int(seat.is_main_process)
    noise, text, clips, tokens = seat.reduce(sums, "sum").tolist()
    noise, text = noise / max(clips, 1), text / max(tokens, 1)
    return {"loss": options.noise_weight * noise + options.text_weight * text, "noise_loss": noise, "text_loss": text}


def setup(
    manifest: Path, folder: Path, options: Options, lexicon_path: Path | None, workers: int, say: Say
) -> Run | None:
    """The run in this folder: new, or where it was interrupted. None where it is complete.

    PrepError where the manifest cannot teach what the options ask, or where the folder holds another run.
    """
    held, words = data.opened(manifest), keywords.read(lexicon_path)
    keywords.check(words, held.recipe.get("lexicon"), manifest)
    rows = held.rows("train")
    if not rows:
        found = sorted(str(name) for name in held.table.codes("split")[1])
        raise PrepError(
            f"{manifest}: no rows in the split train (splits there: {', '.join(found) or 'none'}): nothing to learn from"
        )
    classes = examples.noise_classes(rows, options.noise_classes) if options.task == "multi" else []
    made = _made(held, options, words, classes)
    checkpoint.clean(folder)
    stands = _stands(folder, made)
    detector, texts = model.build(options, classes)
    chosen = _chosen(rows, texts, classes, options, "train", say)
    examples.check(chosen.examples, options, "train")
    train = Steps(chosen.examples, Sounds(manifest.parent), texts, options, int(detector.whisper.config.num_mel_bins))
    train.remix = (
        Remix(held, Path(options.speech or manifest.parent / RESAMPLED), options.seed) if options.remix else None
    )
    train.waves = Waves(options.augment, options.impulse_responses) if options.augment else None
    dev = _dev(held, train, texts, classes, options, say)
    total = options.steps or max(1, round(options.epochs * train.per_epoch))
    run = Run(
        options, folder, detector, texts, words, made, train, dev, total, options.save_every or train.per_epoch, workers
    )
    _say_sizes(run, say)
    return _resumed(run, say) if stands else run


def _made(held: Held, options: Options, words: Lexicon, classes: list[str]) -> Made:
    return Made(
        manifest=held.path.name,
        manifest_hash=held.identity,
        recipe=held.recipe,
        options=options.canonical(),
        lexicon_hash=keywords.identity(words),
        classes=classes,
        pool=options.pool,
        window=options.window,
        code=checkpoint.code_version(),
        versions=checkpoint.versions(),
    )


def _chosen(rows: list[Any], texts: Texts, classes: list[str], options: Options, split: str, say: Say) -> Chosen:
    found = examples.chosen(rows, texts, classes, options)
    counts = ", ".join(f"{label} {count}" for label, count in found.counts().items())
    left = ", ".join(f"{reason} {count}" for reason, count in found.left_out.items())
    say(
        f"{split:<8}{len(found.examples):>8,} of {len(rows):,} rows: {counts}" + (f"; left out: {left}" if left else "")
    )
    return found


def _dev(held: Held, train: Steps, texts: Texts, classes: list[str], options: Options, say: Say) -> Steps | None:
    """The dev split, without augmentation or balance; None, and said so, where there is nothing in it to score by."""
    plain = options.model_copy(update={"balance": False, "spec_augment": False, "crop_noise": False})
    found = _chosen(held.rows("dev"), texts, classes, plain, "dev", say)
    try:
        examples.check(found.examples, plain, "dev")
    except PrepError as error:
        say(f"dev     no score: {error}; best/ will be the latest checkpoint")
        return None
    return Steps(found.examples, train.sounds, texts, plain, train.bands)


def _say_sizes(run: Run, say: Say) -> None:
    options, detector = run.options, run.detector
    parameters, added = sum(parameter.numel() for parameter in detector.parameters()), detector.added_parameters()
    head = f", {added:,} of them in the noise head {list(detector.classes)}" if added else ", no noise head"
    say(f"model   {options.model}: {parameters:,} parameters{head}")
    if options.balance:
        labels = len({example.label for example in run.train.examples})
        say(f"balance every label takes 1/{labels} of an epoch; clips of a rare one come up several times")
    say(
        f"steps   {run.total:,} of {options.batch} clips, {run.train.per_epoch:,} an epoch; checkpoints every {run.save_every:,}"
    )


def _stands(folder: Path, made: Made) -> bool:
    """Whether the folder holds this run already. PrepError where it holds another."""
    if not (folder / "last").is_dir():
        if folder.is_dir() and any(folder.iterdir()) and not (folder / "log.jsonl").exists():
            raise PrepError(f"{folder}: not empty, and not a run of ours: give another --out")
        return False
    there = checkpoint.made_of(folder / "last")
    changed = [
        f"{name} {there.options.get(name)!r}, now {value!r}"
        for name, value in made.options.items()
        if there.options.get(name) != value
    ]
    if there.manifest_hash != made.manifest_hash:
        changed.append(f"manifest {there.manifest_hash[:12]}, now {made.manifest_hash[:12]}")
    if there.lexicon_hash != made.lexicon_hash:
        changed.append("another lexicon")
    if there.code != made.code or dict(there.versions) != dict(made.versions):
        changed.append(f"code {there.code} {dict(there.versions)}, now {made.code} {dict(made.versions)}")
    if changed:
        raise PrepError(
            f"{folder}: holds a run that was begun otherwise ({'; '.join(changed)}): give another --out, or remove the folder"
        )
    return True


def _resumed(run: Run, say: Say) -> Run | None:
    """The run where its `last/` left it; None where that was the end."""
    held = checkpoint.read(run.folder / "last")
    if held.made.step >= run.total:
        say(f"{run.folder}: complete, {run.total:,} steps; nothing to do")
        return None
    state = checkpoint.state_of(run.folder / "last")
    run.detector.load_state_dict(held.detector.state_dict())
    run.step, run.best, run.optimizer_state = held.made.step, state["best"], state["optimizer"]
    say(f"resumed from step {run.step:,}")
    return run
