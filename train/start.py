"""A training run started from the command line: the process's seat, the run, the loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from accelerate import Accelerator

from pipeline.engine.workers import cores
from train.loop import train
from train.options import Options
from train.run import setup

MOST_WORKERS = 8


def start(
    manifest: Path, out: Path, options: Options, lexicon: Path | None, workers: int | None, say: Callable[[str], None]
) -> None:
    """Trains, or goes on training, in the folder `out`. bf16 and the device are accelerate's: a GPU where there is one."""
    seat = Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no")
    tell = say if seat.is_main_process else _nothing
    with seat.main_process_first():
        run = setup(manifest, out, options, lexicon, _workers(workers, seat), tell)
    if run is None:
        return
    train(run, seat)
    tell(f"-> {out / 'best'} (by dev {options.best}), {out / 'last'}")
    seat.end_training()


def _workers(told: int | None, seat: Accelerator) -> int:
    if told is not None:
        return told
    return min(MOST_WORKERS, max(1, cores() // seat.num_processes)) if seat.device.type == "cuda" else 0


def _nothing(text: str) -> None:
    """The other processes are silent."""
