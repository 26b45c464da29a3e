"""The training loop, whole: batch, log-mel, two losses, AdamW, interpolation, log, dev scores, checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import torch
from accelerate import Accelerator

from pipeline.engine.workers import cores
from train.batches import loader
from train.features import LogMel, masked
from train.folder import locked
from train.log import LOG, Log
from train.model import interpolate, losses, seed_torch
from train.options import Options
from train.run import Run, setup

MOST_WORKERS = 8
MOST_SKIPPED = 10  # steps in a row without a finite loss and gradient, before the run ends


def start(
    manifest: Path, out: Path, options: Options, lexicon: Path | None, workers: int | None, say: Callable[[str], None]
) -> None:
    """Trains, or goes on training, in the folder `out`; on a GPU with bf16 where there is one.

    workers: processes that prepare batches, None for as many as suit the device.
    """
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
    learnable = detector.learnable()
    optimizer = torch.optim.AdamW(learnable, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    if run.optimizer_state is not None:
        optimizer.load_state_dict(dict(run.optimizer_state))
    model = accelerator.prepare(detector)
    log_mel = LogMel(run.train.bands).to(accelerator.device)
    run.train.rank, run.train.world = accelerator.process_index, accelerator.num_processes
    on_gpu = accelerator.device.type == "cuda"
    taken = saved = run.step  # the latest step that was not skipped, and that of the latest checkpoint

    with Log(run.folder, run.step, last, options.batch, quiet=not accelerator.is_main_process) as log:
        for parts in loader(run.train, range(run.step, last), run.workers, pinned=on_gpu):
            step = parts[0].totals.step + 1
            model.train()
            seed_torch(options.seed, "step", step, accelerator.process_index)  # for dropout, if a checkpoint has any
            for group in optimizer.param_groups:
                group["lr"] = rate(step - 1, last, options)

            sums = torch.zeros(2, device=accelerator.device)
            for part in parts:
                batch = part.to(accelerator.device)
                mel = masked(log_mel(batch.samples), batch.spans)
                loss = losses(*model(mel, batch.sizes, batch.text_index, batch.inputs), batch)
                # a sum over processes: DDP takes the mean
                accelerator.backward(loss.total(options) * accelerator.num_processes)
                sums += torch.stack([loss.noise, loss.text]).detach()
            norm = float(torch.nn.utils.clip_grad_norm_(learnable, options.clip_norm or math.inf))
            noise, text = accelerator.reduce(sums, "sum").tolist()
            total = options.noise_weight * noise + options.text_weight * text
            values = {"loss": total, "noise_loss": noise, "text_loss": text}
            values |= {"lr": optimizer.param_groups[0]["lr"], "grad_norm": norm}
            if math.isfinite(total) and math.isfinite(norm):
                before = [parameter.detach().clone() for parameter in learnable]
                optimizer.step()
                interpolate(learnable, before, options.interpolation)
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
                    f" {total}, norm of the gradient {norm})"
                )
            if is_due:
                scores = run.dev_scores(log_mel, accelerator)
                if accelerator.is_main_process:
                    log.dev(step, scores)
                    run.save(step, scores, optimizer.state_dict())
                accelerator.wait_for_everyone()
                saved = step


def rate(step: int, steps: int, options: Options) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0 after the last step.

    >>> [round(rate(step, 4, Options(lr=1.0)), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if step < options.warmup:
        return options.lr * (step + 1) / options.warmup
    return options.lr * 0.5 * (1 + math.cos(math.pi * (step - options.warmup) / max(1, steps - options.warmup)))
