"""The log of a run: a progress bar on stderr, one JSON object a line in log.jsonl, events for TensorBoard."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from tqdm import tqdm

from pipeline.core.files import replacing
from pipeline.engine.progress import BETWEEN_LINES_S

LOG = "log.jsonl"


class Log:
    """The log of a run from a step on. It first removes the lines of later steps that an interrupted run left."""

    def __init__(self, folder: Path, start: int, total: int, clips_per_step: int, quiet: bool = False) -> None:
        """quiet: for the processes beside the first, which write no log."""
        self._file: Any = None
        self._board: Any = None
        if not quiet:
            path = folder / LOG
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines(True) if path.is_file() else []
            with replacing(path) as half:
                half.write_text("".join(line for line in lines if _step_of(line) <= start), encoding="utf-8")
            self._file = path.open("a", encoding="utf-8")
            if find_spec("tensorboard") is not None:
                writer = import_module("torch.utils.tensorboard").SummaryWriter
                self._board = writer(str(folder / "tensorboard"), purge_step=start + 1 if start else None)
        clips = {"initial": start * clips_per_step, "total": total * clips_per_step}
        self._bar = tqdm(**clips, unit=" clips", disable=quiet or None, dynamic_ncols=True)
        self._quiet, self._total = quiet, total
        self._began = self._shown = time.monotonic()
        self._clips = 0

    def step(self, step: int, clips: int, values: Mapping[str, float]) -> None:
        """Logs a training step: losses, learning rate, and the examples per second since the run began."""
        self._clips += clips
        rate = self._clips / max(time.monotonic() - self._began, 1e-9)
        self._bar.set_postfix_str(f"loss {values['loss']:.3f}", refresh=False)
        self._bar.update(clips)
        if self._bar.disable and time.monotonic() - self._shown >= BETWEEN_LINES_S:
            self._shown = time.monotonic()
            self.say(f"step {step:,} of {self._total:,}: loss {values['loss']:.3f}, {rate:.1f} clips/s")
        self._put({"step": step, **values, "examples_per_s": round(rate, 2)})

    def dev(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the scores on dev after a step; nothing where there is no dev split."""
        if not values:
            return
        self._put({"step": step, **{f"dev_{name}": value for name, value in values.items()}})
        scores = ", ".join(f"dev {name} {value:.4f}" for name, value in values.items())
        self.say(f"step {step}: {scores}")

    def say(self, text: str) -> None:
        """Shows a line on stderr, above the progress bar where there is one."""
        if not self._quiet:
            self._bar.write(text, sys.stderr)

    def _put(self, values: Mapping[str, Any]) -> None:
        """A line of JSON and events; JSON has no NaN and no infinity, so they are null."""
        values = {name: value if math.isfinite(value) else None for name, value in values.items()}
        if self._file is not None:
            self._file.write(json.dumps(values, allow_nan=False) + "\n")
            self._file.flush()
        if self._board is not None:
            for name, value in values.items():
                if value is not None:
                    self._board.add_scalar(name, value, values["step"])

    def __enter__(self) -> Log:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()
        for output in (self._file, self._board):
            if output is not None:
                output.close()


def _step_of(line: str) -> float:
    """The step that a line of the log is of; infinite for one that cannot be read, such as the last of a killed run."""
    try:
        return float(json.loads(line)["step"]) if line.endswith("\n") else math.inf
    except (ValueError, KeyError, TypeError):
        return math.inf
