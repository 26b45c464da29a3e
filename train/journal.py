"""What a run tells while it goes: a progress bar on stderr, one JSON object a line in log.jsonl, TensorBoard events."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

from pipeline.core.files import replacing

LOG = "log.jsonl"


class Journal:
    """The journal of a run from a step on. Lines of later steps, left by a run that was interrupted, are taken out first."""

    def __init__(self, folder: Path, start: int, total: int, clips_per_step: int, quiet: bool = False) -> None:
        """quiet: for the processes beside the first, which leave no journal."""
        self._file = None if quiet else _opened(folder / LOG, start)
        self._board = None if quiet else _board(folder / "tensorboard", start)
        place = {"initial": start * clips_per_step, "total": total * clips_per_step}
        self._bar = tqdm(**place, unit=" clips", disable=quiet or None, dynamic_ncols=True)
        self._began, self._clips = time.monotonic(), 0

    def step(self, step: int, clips: int, values: Mapping[str, float]) -> None:
        """One training step: losses, learning rate; examples per second since the run began are added."""
        self._clips += clips
        rate = self._clips / max(time.monotonic() - self._began, 1e-9)
        self._bar.set_postfix_str(f"loss {values['loss']:.3f}", refresh=False)
        self._bar.update(clips)
        self._put({"step": step, **values, "examples_per_s": round(rate, 2)})

    def dev(self, step: int, values: Mapping[str, float]) -> None:
        """Scores on dev after a step; nothing where there is no dev split."""
        if not values:
            return
        self._put({"step": step, **{f"dev_{name}": value for name, value in values.items()}})
        if not self._bar.disable:
            self._bar.write(
                f"step {step}: " + ", ".join(f"dev {name} {value:.4f}" for name, value in values.items()), sys.stderr
            )

    def _put(self, values: Mapping[str, Any]) -> None:
        if self._file is not None:
            self._file.write(json.dumps(values) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(name, value, values["step"])

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._bar.close()
        if self._board is not None:
            self._board.close()


def _opened(path: Path, step: int) -> TextIO:
    """The log to append to, with its whole lines up to a step."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.is_file() else []
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    with replacing(path) as half:
        half.write_text("".join(kept), encoding="utf-8")
    return path.open("a", encoding="utf-8")


def _board(folder: Path, start: int) -> Any:
    """A writer of TensorBoard's events; None where the package is not installed."""
    if find_spec("tensorboard") is None:
        return None
    return import_module("torch.utils.tensorboard").SummaryWriter(str(folder), purge_step=start + 1 if start else None)
