"""The training loop, whole: batch, losses, AdamW, interpolation, log, dev scores, checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator

from pipeline.core.errors import PrepError
from pipeline.engine.workers import cores
from train import cached
from train.batches import loader
from train.classifier import Classifier
from train.folder import locked
from train.log import LOG, Log
from train.model import interpolate, seed_torch, total
from train.options import Options
from train.run import Run, setup

MOST_WORKERS = 8
OVERHEAD = 60 * 16_000  # samples that a GPU could compute in the time that the smallest pass takes it
MOST_SKIPPED = 10  # steps in a row without a finite loss and gradient, before the run ends


def start(
    manifest: Path,
    out: Path,
    options: Options,
    lexicon: Path | None,
    workers: int | None,
    means: Path | None,
    say: Callable[[str], None],
) -> None:
    """Trains, or goes on training, in the folder `out`; on a GPU with bf16 where there is one.

    workers: processes that prepare batches, None for as many as suit the device. means: folder for those of a frozen
    encoder, None for one in `out`.
    """
    if means is not None and not cached.is_exact(options):
        raise PrepError("--means: only a frozen encoder of wav2vec2, hubert or xlsr on unchanged samples has them")
    accelerator = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    if not accelerator.is_main_process:
        say = lambda text: None  # noqa: E731 - the other processes say nothing
    if workers is None:
        own = max(1, cores() // accelerator.num_processes)
        workers = min(MOST_WORKERS, own) if accelerator.device.type == "cuda" else 0
    with locked(out) if accelerator.is_main_process else nullcontext():
        with accelerator.main_process_first():
            run = setup(manifest, out, options, lexicon, workers, say)
            if run is None:
                return
            if accelerator.device.type == "cuda" and options.arch == "whisper" and options.window == "auto":
                say("hint    --window 30 trains about five times as fast on a GPU: one pass a step, not one a length")
            if cached.is_exact(options):
                run.workers = 0  # a step reads a few rows of a file: other processes would only cost time
                for batches in (run.train, run.dev):
                    if batches is not None:
                        place = means or out / cached.FOLDER
                        cached.attach(batches, run.detector, run.metadata, place, accelerator.device, say)
        train(run, accelerator)
        skipped = f"; {run.skipped:,} of {run.total:,} steps were skipped, see {LOG}" if run.skipped else ""
        chosen_by = f"by dev {options.best}" if run.dev is not None else "the latest, for lack of a dev split"
        say(f"-> {out / 'best'} ({chosen_by}), {out / 'last'}{skipped}")
        accelerator.end_training()


def train(run: Run, accelerator: Accelerator) -> None:
    """Trains from where the run stands to its last step; it can be resumed from every checkpoint on the way.

    A batch goes through the model in parts of one window; of every part each process takes its share. Losses are sums
    over a share, divided by the totals of the whole batch, so that the gradients add up to those of one pass. A step
    whose loss or gradient is no number is skipped; after MOST_SKIPPED of them in a row the run ends with a PrepError.
    """
    options, detector, last = run.options, run.detector.to(accelerator.device), run.total
    if isinstance(detector, Classifier) and detector.arch.batch_norm and accelerator.num_processes > 1:
        raise PrepError(f"{options.arch} takes the mean of a batch in its norms: train it in one process")
    learnable = detector.learnable()
    optimizer = torch.optim.AdamW(learnable, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    if run.optimizer_state is not None:
        optimizer.load_state_dict(dict(run.optimizer_state))
    model = accelerator.prepare(detector)
    run.train.rank, run.train.world = accelerator.process_index, accelerator.num_processes
    on_gpu = accelerator.device.type == "cuda"
    run.train.overhead = OVERHEAD if on_gpu else 0
    taken = saved = run.step  # the latest step that was not skipped, and that of the latest checkpoint

    with Log(run.folder, run.step, last, options.batch, quiet=not accelerator.is_main_process) as log:
        for parts in loader(run.train, range(run.step, last), run.workers, pinned=on_gpu):
            step = parts[0].totals.step + 1
            if not model.training:
                model.train()  # it visits every module
            seed_torch(options.seed, "step", step, accelerator.process_index)  # for dropout, if a checkpoint has any
            for group in optimizer.param_groups:
                group["lr"] = rate(step - 1, last, options)

            each = []
            for part in parts:
                losses = model(part.to(accelerator.device))
                # a sum over processes: DDP takes the mean
                accelerator.backward(total(losses, options) * accelerator.num_processes)
                each.append(torch.stack([loss.detach() for loss in losses.values()]))
            norm = float(torch.nn.utils.clip_grad_norm_(learnable, options.clip_norm or math.inf))
            sums = dict(zip(losses, accelerator.reduce(sum(each), "sum").tolist(), strict=True))
            loss = total(sums, options)
            values = {"loss": loss, **{f"{name}_loss": value for name, value in sums.items()}}
            values |= {"lr": optimizer.param_groups[0]["lr"], "grad_norm": norm}
            if math.isfinite(loss) and math.isfinite(norm):
                kept = learnable if options.interpolation else ()  # a copy of 300 M weights takes 1.3 GB
                before = [parameter.detach().clone() for parameter in kept]
                optimizer.step()
                interpolate(kept, before, options.interpolation)
                taken = step
            else:
                run.skipped += 1
                values["skipped"] = run.skipped
            optimizer.zero_grad(set_to_none=True)
            log.step(step, sum(part.clips for part in parts), values)
            is_due = step % run.save_every == 0 or step == last
            if step - taken == MOST_SKIPPED or (is_due and taken <= saved):
                raise run.diverged(
                    f"no step could be taken from step {taken + 1} to {step}, for loss or gradient was no number (loss"
                    f" {loss}, norm of the gradient {norm})"
                )
            if is_due:
                scores = run.dev_scores(accelerator)
                if accelerator.is_main_process:
                    log.dev(step, scores)
                    run.save(step, scores, optimizer.state_dict())
                accelerator.wait_for_everyone()
                saved = step


def rate(step: int, steps: int, options: Options) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then no change, or half a cosine down to 0 at the end.

    >>> [round(rate(step, 4, Options(lr=1.0)), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if step < options.warmup:
        return options.lr * (step + 1) / options.warmup
    if options.schedule == "constant":
        return options.lr
    return options.lr * 0.5 * (1 + math.cos(math.pi * (step - options.warmup) / max(1, steps - options.warmup)))
