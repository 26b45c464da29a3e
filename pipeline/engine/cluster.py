"""Dask workers, for those who outgrow one machine. Needs the extra [cluster]; the only user of distributed."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from distributed import Client

from pipeline.core.errors import PrepError
from pipeline.engine.workers import Workers


class Dask(Workers):
    """The workers behind a scheduler, `tcp://host:8786`. All of them must see the folder of manifests under one path.

    `stop` and `abandon` leave them running, for they belong to the cluster; cancelled futures end what they work on.
    """

    remote = True

    def __init__(self, scheduler: str) -> None:
        try:
            self._client = Client(scheduler, timeout="10s")
        except (OSError, TimeoutError, ValueError) as error:
            raise PrepError(
                f"--scheduler {scheduler}: no Dask scheduler answers there ({error}). Start one: dask scheduler"
            ) from None
        self.width = max(1, sum(self._client.nthreads().values()))

    def executor(self) -> Executor:
        """A Dask executor; Dask itself gives a task to another worker when one dies."""
        executor: Any = self._client.get_executor(pure=False, retries=2)
        return executor  # type: ignore[no-any-return]
