"""Dask workers, for those who outgrow one machine. Needs the extra [cluster]; the only user of distributed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor
from typing import Any

from distributed import Client, KilledWorker
from distributed.comm import CommClosedError

from pipeline.core.errors import PrepError
from pipeline.engine.run import load_stages
from pipeline.engine.workers import GO_ON, Workers

_LOST = (CancelledError, CommClosedError, ConnectionError, TimeoutError)  # what a lost scheduler looks like


class Dask(Workers):
    """The workers behind a scheduler, `tcp://host:8786`. All of them must see the folder of manifests under one path.

    `stop` and `abandon` leave them running, for they belong to the cluster; cancelled futures end what they work on.
    wait_s: how long to wait for a worker where none is connected; None: for ever.
    """

    remote = True

    def __init__(self, scheduler: str, wait_s: float | None, say: Callable[[str], object]) -> None:
        for name in ("asyncio", "tornado", *logging.root.manager.loggerDict):
            if name.split(".")[0] in ("asyncio", "tornado", "distributed"):
                logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._scheduler, self._wait_s, self.say = scheduler, wait_s, say
        self._alone_since: float | None = None
        self._executor: Executor | None = None
        try:
            self._client = Client(scheduler, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise PrepError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({error}). Start one: dask scheduler"
            ) from None
        # while the first one is still planned here
        self._loading = [self._client.submit(load_stages, workers=[n], pure=False) for n in self._client.nthreads()]
        self.check()

    def executor(self) -> Executor:
        """A Dask executor; Dask itself gives a task to another worker when one dies."""
        executor: Any = self._executor or self._client.get_executor(pure=False, retries=2)
        self._executor = executor
        return executor  # type: ignore[no-any-return]

    def check(self) -> None:
        """Counts the workers; says where there is none, and where there is one again."""
        try:
            threads = sum(self._client.nthreads().values()) if self._client.status == "running" else None
        except _LOST:
            threads = None
        if threads is None:
            raise self._lost()
        self.width = max(1, threads)
        if threads:
            if self._alone_since is not None:
                self.say(f"a worker is connected to {self._scheduler} again: the work goes on")
            self._alone_since = None
            return
        start = f"no worker is connected to {self._scheduler}; start one: dask worker {self._scheduler} --nthreads 1"
        if self._alone_since is None:
            self._alone_since = time.monotonic()
            if self._wait_s != 0:
                limit = "" if self._wait_s is None else f" for {self._wait_s:g} s"
                self.say(f"{start}. Waiting for one{limit}")
        if self._wait_s is not None and time.monotonic() - self._alone_since >= self._wait_s:
            raise PrepError(f"{start}. {GO_ON}")

    def fault(self, error: BaseException) -> PrepError | None:
        """A scheduler that is gone, or a task that lost its worker again and again."""
        if isinstance(error, KilledWorker):
            why = "most likely for memory: give the workers more, or fewer threads"
            return PrepError(f"a task lost its Dask worker {error.allowed_failures + 1} times, {why}. {GO_ON}")
        return self._lost() if isinstance(error, _LOST) else None

    def _lost(self) -> PrepError:
        again = "start it again (dask scheduler), and its workers"
        return PrepError(f"the Dask scheduler at {self._scheduler} is gone: {again}. {GO_ON}")
