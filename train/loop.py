"""The training loop, whole: batch, log-mel, two losses, AdamW, interpolation, log, dev score, checkpoint."""

from __future__ import annotations

import math

import torch
from accelerate import Accelerator

from train.batches import loader
from train.features import LogMel, masked
from train.journal import Journal
from train.model import interpolate, losses, seeded
from train.options import Options
from train.run import Run

PART_COST_S = {False: 2.0, True: 60.0}  # what a pass costs of itself, in seconds of audio: on a CPU, on a GPU


def train(run: Run, seat: Accelerator) -> None:
    """Trains from where the run stands to its last step; every checkpoint on the way can be gone on from.

    A batch goes through the model in parts of like length, and with several processes each takes its share of every part.
    Losses are sums over a share, divided by what the whole batch teaches, so that the gradients add up to those of one pass.
    """
    options, detector, last = run.options, run.detector.to(seat.device), run.total
    learnable = [parameter for parameter in detector.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learnable, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    if run.optimizer_state is not None:
        optimizer.load_state_dict(dict(run.optimizer_state))
    model = seat.prepare(detector)
    log_mel = LogMel(run.bands).to(seat.device)
    run.train.rank, run.train.world = seat.process_index, seat.num_processes
    run.train.part_cost_s = PART_COST_S[seat.device.type == "cuda"]

    with Journal(run.folder, run.step, last, options.batch, quiet=not seat.is_main_process) as journal:
        for parts in loader(run.train, range(run.step, last), run.workers, pinned=seat.device.type == "cuda"):
            step = parts[0].whole.step + 1
            model.train()
            seeded(options.seed, "step", step, seat.process_index)  # dropout, where a checkpoint has any
            for group in optimizer.param_groups:
                group["lr"] = rate(step - 1, last, options)

            sums = torch.zeros(2, device=seat.device)
            for part in parts:
                batch = part.to(seat.device)
                mel = masked(log_mel(batch.samples), batch.spans)
                noise_logits, text_logits = model(mel, batch.sizes, batch.spoken, batch.inputs)
                loss = losses(noise_logits, text_logits, batch)
                seat.backward(
                    loss.total(options) * seat.num_processes
                )  # DDP takes the mean over processes; this is a sum
                sums += torch.stack([loss.noise, loss.text]).detach()
            norm = torch.nn.utils.clip_grad_norm_(learnable, options.clip_norm or math.inf)
            before = [parameter.detach().clone() for parameter in learnable]
            optimizer.step()
            interpolate(learnable, before, options.interpolation)
            optimizer.zero_grad(set_to_none=True)

            noise, text = seat.reduce(sums, "sum").tolist()
            total = options.noise_weight * noise + options.text_weight * text
            if not math.isfinite(total):
                raise run.diverged(step, total)
            told = {
                "loss": total,
                "noise_loss": noise,
                "text_loss": text,
                "lr": optimizer.param_groups[0]["lr"],
                "grad_norm": float(norm),
            }
            journal.step(step, sum(part.heard for part in parts), told)

            if step % run.save_every == 0 or step == last:
                scores = run.dev_scores(log_mel, seat)
                if seat.is_main_process:
                    journal.dev(step, scores)
                    run.save(step, scores, optimizer.state_dict())
                seat.wait_for_everyone()


def rate(step: int, steps: int, options: Options) -> float:
    """Learning rate of a step, counted from 0: linear warm-up, then half a cosine down to 0 after the last step.

    >>> [round(rate(step, 4, Options(lr=1.0)), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if step < options.warmup:
        return options.lr * (step + 1) / options.warmup
    return options.lr * 0.5 * (1 + math.cos(math.pi * (step - options.warmup) / max(1, steps - options.warmup)))
