"""The training loop, whole: batch, log-mel, two losses, AdamW, interpolation, log, dev scores, checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator

from pipeline.engine.workers import cores
from train.batches import loader
from train.features import LogMel, masked
from train.log import Log
from train.model import interpolate, losses, seed_torch
from train.options import Options
from train.run import Run, setup

PART_COST_S = {False: 2.0, True: 60.0}  # the fixed cost of a pass in seconds of audio: on a CPU, on a GPU
MOST_WORKERS = 8


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
    with accelerator.main_process_first():
        run = setup(manifest, out, options, lexicon, workers, say)
    if run is None:
        return
    train(run, accelerator)
    say(f"-> {out / 'best'} (by dev {options.best}), {out / 'last'}")
    accelerator.end_training()


def train(run: Run, accelerator: Accelerator) -> None:
    """Trains from where the run stands to its last step; it can be resumed from every checkpoint on the way.

    A batch goes through the model in parts of similar length; of every part each process takes its share. Losses are
    sums over a share, divided by the totals of the whole batch, so that the gradients add up to those of one pass.
    """
    options, detector, last = run.options, run.detector.to(accelerator.device), run.total
    learnable = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    if run.optimizer_state is not None:
        optimizer.load_state_dict(dict(run.optimizer_state))
    model = accelerator.prepare(detector)
    log_mel = LogMel(run.train.bands).to(accelerator.device)
    on_gpu = accelerator.device.type == "cuda"
    run.train.rank, run.train.world = accelerator.process_index, accelerator.num_processes
    run.train.part_cost_s = PART_COST_S[on_gpu]

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
            norm = torch.nn.utils.clip_grad_norm_(learnable, options.clip_norm or math.inf)
            before = [parameter.detach().clone() for parameter in learnable]
            optimizer.step()
            interpolate(learnable, before, options.interpolation)
            optimizer.zero_grad(set_to_none=True)

            noise, text = accelerator.reduce(sums, "sum").tolist()
            total = options.noise_weight * noise + options.text_weight * text
            if not math.isfinite(total):
                raise run.diverged(step, total)
            values = {"loss": total, "noise_loss": noise, "text_loss": text}
            values |= {"lr": optimizer.param_groups[0]["lr"], "grad_norm": float(norm)}
            log.step(step, sum(part.clips for part in parts), values)

            if step % run.save_every == 0 or step == last:
                scores = run.dev_scores(log_mel, accelerator)
                if accelerator.is_main_process:
                    log.dev(step, scores)
                    run.save(step, scores, optimizer.state_dict())
                accelerator.wait_for_everyone()


def rate(step: int, steps: int, options: Options) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0 after the last step.

    >>> [round(rate(step, 4, Options(lr=1.0)), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if step < options.warmup:
        return options.lr * (step + 1) / options.warmup
    return options.lr * 0.5 * (1 + math.cos(math.pi * (step - options.warmup) / max(1, steps - options.warmup)))
