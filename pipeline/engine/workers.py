"""Who does the work: this process, or a pool of processes. All are `concurrent.futures.Executor`s behind one seam."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from pipeline.core.errors import PrepError

T = TypeVar("T")
R = TypeVar("R")
STRIKES = 3  # times that a task may lose its worker before the run ends


class Crew(Protocol):
    """An executor that serves one stage after another, how many tasks it works on at once, and a way to replace it."""

    width: int
    far: bool  # whether the work may be done on other machines

    def executor(self) -> Executor:
        """The executor, started when it is first asked for."""
        ...

    def stop(self) -> None:
        """Ends it when its work is done; the next call of `executor` starts another."""
        ...

    def abandon(self) -> None:
        """Ends it in the midst of its work."""
        ...


class Serial(Executor):
    """Does each task at once, in this process."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Alone:
    """This process alone."""

    width = 1
    far = False

    def executor(self) -> Executor:
        return Serial()

    def stop(self) -> None:
        """Nothing to end."""

    def abandon(self) -> None:
        """Nothing to end."""


class _Pool(ProcessPoolExecutor):
    """Its workers are born with Ctrl-C held back: it is the parent's to answer, also while they are still starting."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(fn, *args, **kwargs)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """A pool of processes, started afresh (spawn) so that nothing depends on what this process has loaded."""

    def __init__(self, jobs: int) -> None:
        self.width = jobs
        self.far = False
        self._pool: ProcessPoolExecutor | None = None

    def executor(self) -> Executor:
        if self._pool is None:
            self._pool = _Pool(self.width, multiprocessing.get_context("spawn"), _prepare_worker)
        return self._pool

    def stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True)
            self._pool = None

    def abandon(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None
        for child in multiprocessing.active_children():
            child.terminate()


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def of(jobs: int) -> Crew:
    """The crew for `--jobs N`."""
    return Alone() if jobs == 1 else Processes(jobs)


@contextmanager
def serving(crew: Crew) -> Iterator[Crew]:
    """The crew for a block: ended when the block is done, abandoned where it ends by a fault or by Ctrl-C."""
    try:
        yield crew
    except BaseException:
        crew.abandon()
        raise
    crew.stop()


def _prepare_worker() -> None:
    """A worker does not outlive its parent."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: Any) -> None:
    parent.join()
    os._exit(1)


def results(tasks: Iterator[T], work: Callable[[T], R], crew: Crew) -> Iterator[tuple[T, R]]:
    """(task, result) as they are done; at most twice the crew's width is under way at a time.

    A task whose worker died is given to a fresh crew; PrepError when the same task loses its worker STRIKES times. An
    error in the work ends the run.
    """
    executor = crew.executor()
    under_way: dict[Future[R], T] = {}
    strikes: dict[int, int] = {}
    again: list[T] = []
    try:
        while True:
            while len(under_way) < 2 * crew.width and (task := again.pop() if again else next(tasks, None)) is not None:
                try:
                    under_way[executor.submit(work, task)] = task
                except BrokenExecutor:
                    again.append(task)
                    break
            if not under_way and not again:
                return
            broken = False
            for future in wait(under_way, return_when=FIRST_COMPLETED).done if under_way else []:
                task = under_way.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    broken = True
                    again.append(task)
                else:
                    yield task, result
            if broken or (again and not under_way):
                again += under_way.values()
                under_way.clear()
                _count_strikes(strikes, again)
                crew.abandon()
                executor = crew.executor()
    finally:
        if under_way:  # stopped half-way: what is being worked on is not waited for
            for future in under_way:
                future.cancel()
            crew.abandon()


def _count_strikes(strikes: dict[int, int], tasks: list[T]) -> None:
    for task in tasks:
        strikes[id(task)] = strikes.get(id(task), 0) + 1
        if strikes[id(task)] >= STRIKES:
            raise PrepError(
                f"a worker process died {STRIKES} times while it had {task} at hand: killed by the system, most likely for memory; "
                "free some, or use fewer --jobs. What is done is kept: the same command again goes on from here"
            )
