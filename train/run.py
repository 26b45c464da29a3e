"""A training run: the rows it learns from, its model, its folder, and the step where it stands. loop.py trains it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Lexicon
from train import archs, checkpoint, confusions, data, examples, lora, sampler, text
from train.augment import Waves
from train.batches import Batches, loader
from train.checkpoint import Checkpoint, Metadata
from train.classes import cascade_of
from train.classifier import Classifier
from train.data import Manifest, Recordings, Sounds
from train.folder import clean, write_json
from train.model import Detector, seed_torch, total
from train.options import Options
from train.pretrained import check_tokens, load_whisper, not_finite
from train.remix import Remix
from train.scores import four_class_macro_f1
from train.text import KeywordMatcher, Tokenizer

Say = Callable[[str], None]
RESAMPLED, OPTIONS = "resampled.parquet", "options.json"


@dataclass(slots=True)
class Run:
    """A run at the step where it stands.

    best: the best dev score so far, None before the first or without dev. skipped: steps that were not taken, because a
    loss or a gradient was no number.
    """

    options: Options
    folder: Path
    detector: Detector | Classifier
    tokenizer: Tokenizer | None
    lexicon: Lexicon
    metadata: Metadata
    recordings: Recordings
    train: Batches
    dev: Batches | None
    total: int
    save_every: int
    workers: int
    step: int = 0
    best: float | None = None
    optimizer_state: Mapping[str, Any] | None = None
    skipped: int = 0

    def dev_scores(self, accelerator: Accelerator) -> dict[str, float]:
        """Scores on dev over all processes: the losses, and macro F1 if it chooses the best. Empty without dev."""
        if self.dev is None:
            return {}
        self.detector.eval()
        rank, world = accelerator.process_index, accelerator.num_processes
        self.dev.rank, self.dev.world = rank, world
        scores = _dev_losses(self.dev, self.detector, accelerator, self.options)
        if self.options.best == "macro_f1" and math.isfinite(scores["loss"]):
            matcher, options = KeywordMatcher(self.lexicon, rule="text-exact"), self.options
            gate = 0.5 if isinstance(self.detector, Detector) else None
            cascade = cascade_of(
                self.detector, self.tokenizer, matcher, options.window, gate, options.max_tokens, accelerator.device
            )
            every = [example.row for example in self.dev.examples]
            crops = sampler.crops(every, options.window, options.seed) if options.crop_noise else {}
            own = range(len(every))[rank::world]
            if self.dev.means is not None:
                predictions = []
                for start in range(0, len(own), options.batch):
                    part = own[start : start + options.batch]
                    predictions += cascade.of_means([every[n] for n in part], self.dev.means[part])
            else:
                rows = [every[n] for n in own]
                predictions = list(cascade.predictions(rows, self.dev.sounds, options.batch, crops))
            predictions = gather_object(predictions)
            scores["macro_f1"] = four_class_macro_f1(predictions, self.lexicon.keywords)
        return scores

    def save(self, step: int, scores: Mapping[str, float], optimizer: Mapping[str, Any]) -> None:
        """Writes `last/`, and `best/` if these are the best scores so far, or if there is no dev split.

        PrepError for scores or weights that are no numbers: nothing is written then.
        """
        for name, value in scores.items():
            if not math.isfinite(value):
                raise self.diverged(f"the {name} on dev is {value} at step {step}")
        if bad := not_finite(self.detector):
            raise self.diverged(f"{bad[0]} holds weights that are no numbers at step {step}")
        score = scores.get(self.options.best)
        if score is None or self.best is None:
            better = True
        else:
            better = score < self.best if self.options.best == "loss" else score > self.best
        metadata = replace(
            self.metadata,
            step=step,
            epoch=step / self.train.per_epoch,
            dev={"best_by": self.options.best, **scores},
            weights_hash=checkpoint.weights_hash(self.detector),
        )
        current = Checkpoint(self.detector, self.tokenizer, self.lexicon, metadata, self.recordings)
        best = score if better else self.best
        if better:
            checkpoint.write(self.folder / "best", current)
        state = {"optimizer": optimizer, "best": best, "skipped": self.skipped, "weights_hash": metadata.weights_hash}
        if self.options.lora is not None:
            state["learnt"] = {name: p.detach() for name, p in self.detector.named_parameters() if p.requires_grad}
        checkpoint.write(self.folder / "last", current, state)
        self.step, self.best = step, best

    def diverged(self, fault: str) -> PrepError:
        """The error for a training that leaves the numbers. fault: what is no number, and at which step."""
        last = f"last/ holds the weights of step {self.step}" if self.step else "no checkpoint was written before"
        return PrepError(
            f"{self.folder}: {fault}: lower lr (now {self.options.lr:g}) or give warmup, with another --out; {last}"
        )


def _dev_losses(
    dev: Batches, detector: Detector | Classifier, accelerator: Accelerator, options: Options
) -> dict[str, float]:
    """Mean losses over the whole dev split, not over batches."""
    sums: dict[str, Tensor] = {}  # of each loss: its sum, and what it is a mean over
    with torch.inference_mode(), accelerator.autocast():
        for parts in loader(dev, range(dev.per_epoch), 0, pinned=False):
            for part in parts:
                for name, loss in detector(part.to(accelerator.device)).items():
                    zeros = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
                    sums.setdefault(name, zeros)[0] += loss * part.totals.count(name)
            for name, each in sums.items():
                each[1] += parts[0].totals.count(name) * int(accelerator.is_main_process)
    reduced = accelerator.reduce(torch.stack(list(sums.values())), "sum").tolist()
    losses = {name: loss / max(count, 1) for name, (loss, count) in zip(sums, reduced, strict=True)}
    return {"loss": total(losses, options), **{f"{name}_loss": value for name, value in losses.items()}}


def setup(
    manifest_path: Path, folder: Path, options: Options, lexicon_path: Path | None, workers: int, say: Say
) -> Run | None:
    """The run in this folder: a new one, or the one that was interrupted. None where it is complete.

    PrepError where the manifest cannot teach what the options ask for, or where the folder holds another run. The
    options of a new run are in the folder before its first step.
    """
    manifest, lexicon = data.read(manifest_path), text.read_lexicon(lexicon_path)
    text.check_lexicon(lexicon, manifest.provenance.recipe.get("lexicon"), manifest_path)
    archs.check_name(options)
    rows, dev_rows = data.rows(manifest, "train", "there is nothing to learn from"), data.rows(manifest, "dev")
    of_noise = {row.corpus for row in rows if row.noise_label == text.NOISE}
    if absent := [name for name in options.noise_corpora if name not in of_noise]:
        raise PrepError(
            f"{manifest_path}: no noise of {', '.join(absent)} in the split train (there is noise of"
            f" {', '.join(sorted(of_noise)) or 'no corpus'}): give --noise-corpora another name"
        )
    hard: frozenset[str] = frozenset()
    if options.hard_negatives is not None:
        hard, before = confusions.read(Path(options.hard_negatives), manifest, lexicon), len(dev_rows)
        rows, dev_rows = confusions.moved(hard, rows, dev_rows)
        left = f"; for those of dev it loses {before - len(dev_rows):,} rows" if len(dev_rows) < before else ""
        say(f"hard    {len(hard):,} hard negatives, each {options.hard_weight} times an epoch{left}")
    classes = examples.classes_of(rows, lexicon, options)
    metadata = _metadata(manifest, options, lexicon, classes)
    if hard:  # other ids in the same file are another run
        metadata.options["hard_negatives"] += f" ({keys.fingerprint(*sorted(hard))[:12]})"
    _check_folder(folder, metadata)
    detector, tokenizer = _network(classes, options)
    selection = examples.select(rows, tokenizer, classes, options, hard)
    say(selection.summary("train"))
    examples.check(selection.examples, options, "train")
    if isinstance(detector, Classifier) and options.class_weights:
        detector.weigh(Counter(example.noise_class for example in selection.examples))
    bands = int(detector.whisper.config.num_mel_bins) if isinstance(detector, Detector) else 0
    train = Batches(selection.examples, Sounds(manifest_path.parent), tokenizer, options, bands)
    learnt = [example.row for example in selection.examples]
    if options.remix:
        train.remix = Remix(manifest, Path(options.speech or manifest_path.parent / RESAMPLED), options.seed)
        learnt += train.remix.rows.values()
    if options.augment:
        train.waves = Waves(options.augment, options.impulse_responses)

    plain = options.model_copy(update={"balance": False, "spec_augment": False})
    selection = examples.select(dev_rows, tokenizer, classes, plain)
    say(selection.summary("dev"))
    dev: Batches | None = None
    try:
        examples.check(selection.examples, plain, "dev")
        dev = Batches(selection.examples, train.sounds, tokenizer, plain, bands, sampler.by_window)
    except PrepError as error:
        say(f"dev     no score: {error}; best/ will be the latest checkpoint")
    chosen_by = selection.examples if dev is not None else []
    noise = {"train": train.examples, "dev": chosen_by}
    metadata = replace(metadata, noise={split: examples.noise_corpora(each) for split, each in noise.items()})
    recordings = {
        "train": data.recordings(learnt),
        "dev": data.recordings(example.row for example in selection.examples),
    }

    total = options.steps or max(1, round(options.epochs * train.per_epoch))
    save_every = options.save_every or train.per_epoch
    run = Run(
        options, folder, detector, tokenizer, lexicon, metadata, recordings, train, dev, total, save_every, workers
    )
    _say_sizes(run, say)
    if (folder / "last").is_dir():
        return _resumed(run, say)
    if (folder / OPTIONS).exists():
        say("begun   anew, for the run before ended without last/")
    else:
        write_json(folder / OPTIONS, asdict(metadata))
    return run


def _network(classes: list[str], options: Options) -> tuple[Detector | Classifier, Tokenizer | None]:
    """(the network with a new head, the tokenizer of a Whisper)."""
    if options.arch != "whisper":
        net = archs.load(options, classes)
        if options.lora is not None:
            lora.adapt(net, options.lora, options.seed)
        if options.gradient_checkpointing:
            newer = getattr(net, "activation_checkpointing_enable", None)  # the name in later transformers
            (newer or net.gradient_checkpointing_enable)()
        return Classifier(options.arch, net, classes, options.freeze, options.window), None
    whisper, tokenizer = load_whisper(options.model, options.init, options.seed)
    check_tokens(options.model, whisper, options.max_tokens)
    seed_torch(options.seed, "head")
    detector = Detector(whisper, classes, options.pool)
    if options.freeze == "encoder":
        whisper.model.encoder.requires_grad_(False)
    return detector, tokenizer


def _metadata(manifest: Manifest, options: Options, lexicon: Lexicon, classes: list[str]) -> Metadata:
    return Metadata(
        manifest=manifest.path.name,
        manifest_hash=manifest.provenance.logical_hash,
        recipe=manifest.provenance.recipe,
        options=options.canonical(),
        lexicon_hash=lexicons.identity(lexicon),
        classes=classes,
        pool=options.pool,
        window=options.window,
        code=checkpoint.code_version(),
        versions=checkpoint.versions(),
    )


def _say_sizes(run: Run, say: Say) -> None:
    options, detector = run.options, run.detector
    parameters, added = sum(parameter.numel() for parameter in detector.parameters()), detector.added_parameters()
    kind = "noise head" if isinstance(detector, Detector) else "head"
    head = f", {added:,} of them in the {kind} {list(detector.classes)}" if added else ", no noise head"
    say(f"model   {options.model}: {parameters:,} parameters{head}")
    if options.lora is not None:
        learnt = sum(parameter.numel() for parameter in detector.learnable())
        say(f"lora    {learnt:,} of them learn: adapters of rank {options.lora} and the head")
    if options.balance:
        labels = len({example.label for example in run.train.examples})
        say(f"balance every label takes 1/{labels} of an epoch; clips of a rare one come up several times")
    say(
        f"steps   {run.total:,} of {options.batch} clips, {run.train.per_epoch:,} an epoch;"
        f" checkpoints every {run.save_every:,}"
    )


def _check_folder(folder: Path, metadata: Metadata) -> None:
    """PrepError where the folder holds another run than this one, or anything else."""
    if folder.is_dir():
        clean(folder, ("last", "best"))
    there = sorted(path.name for path in folder.glob("[!.]*"))
    if there and OPTIONS not in there:
        raise PrepError(f"{folder}: not empty, and not a run of this version ({there[0]} is there): give another --out")
    files = [folder / OPTIONS] + [folder / name / checkpoint.METADATA for name in ("last", "best") if name in there]
    for path in files if there else ():
        changed = metadata.differences(checkpoint.read_metadata(path))
        if changed:
            raise PrepError(
                f"{path.parent}: holds a run that was begun otherwise ({'; '.join(changed)}): give another --out, or"
                " remove the folder"
            )


def _resumed(run: Run, say: Say) -> Run | None:
    """The run where its `last/` left it, or None if that was the end."""
    last = checkpoint.read(run.folder / "last")
    has_best = (run.folder / "best").is_dir()
    if has_best:
        checkpoint.read(run.folder / "best")
    if last.metadata.step >= run.total:
        best = "" if has_best else "; best/ is missing, and no evaluation is left that could write it: use last/"
        say(f"{run.folder}: complete, {run.total:,} steps; nothing to do{best}")
        return None
    state = checkpoint.read_state(run.folder / "last", last.metadata, run.detector.learnable())
    if run.options.lora is None:
        run.detector.load_state_dict(last.detector.state_dict())
    else:
        run.detector.load_state_dict(state["learnt"], strict=False)
        if checkpoint.weights_hash(run.detector) != last.metadata.weights_hash:
            raise PrepError(
                f"{run.folder / 'last'}: not made of the weights that {run.options.model} has now and the adapters"
                " beside it: give the --model that the run began with, or another --out"
            )
    run.step, run.best, run.optimizer_state = last.metadata.step, state["best"], state["optimizer"]
    run.skipped = state["skipped"]
    say(f"resumed from step {run.step:,}")
    if not has_best:
        run.best = None
        say(
            "best    best/ is missing: the next evaluation on dev writes it, though an earlier one may have been better"
        )
    return run
