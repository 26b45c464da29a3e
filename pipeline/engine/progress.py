"""Progress of long work on stderr: a bar on a terminal, a line a minute where it goes to a file or a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from tqdm import tqdm

BETWEEN_LINES_S = 60


class Bar(tqdm):  # type: ignore[misc]
    """Counts what is done.

    shown: True for a bar wherever stderr goes, False for nothing, None for a bar on a terminal and else for lines.
    """

    monitor_interval = 0  # no thread that watches it

    def __init__(
        self,
        name: str,
        total: int,
        iterable: Iterable[Any] | None = None,
        unit: str = "clips",
        shown: bool | None = None,
    ) -> None:
        """iterable: what is counted while it is gone through; else by `update`."""
        hidden = None if shown is None else not shown
        super().__init__(
            iterable, name, total, leave=False, disable=hidden, unit=f" {unit}", smoothing=0.1, dynamic_ncols=True
        )
        self._text, self._lines = f"{name}: %s of {total:,} {unit}, %.1f a second", shown is None and self.disable
        self._began = self._latest = time.monotonic()
        self._count = 0

    def __iter__(self) -> Iterator[Any]:
        for each in super().__iter__():
            yield each
            if self._lines:
                self.update()

    def update(self, n: float | None = 1) -> Any:
        """Counts n more."""
        now = time.monotonic()
        self._count += int(n or 0)
        if self._lines and now - self._latest >= BETWEEN_LINES_S:
            self._latest = now
            self.write(self._text % (f"{self._count:,}", self._count / (now - self._began)), sys.stderr)
        return super().update(n)
