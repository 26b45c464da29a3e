"""Who does the work: this process, a pool of processes, or a Dask cluster; all are a `concurrent.futures.Executor`.

Never what the work is: functions and tasks are handed in.
"""

from __future__ import annotations

import multiprocessing
import os
import reprlib
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from pipeline.core.errors import PrepError, to_install

T = TypeVar("T")
R = TypeVar("R")
MOST_DEATHS = 3  # a run ends when the same task has lost its worker so many times
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Workers:
    """An executor that serves one stage after another, and can be replaced when one of its workers dies.

    This class works in the process itself. width: how many tasks are worked on at once. remote: whether the work may be
    done on other machines, where the corpora may lie elsewhere.
    """

    width = 1
    remote = False

    def executor(self) -> Executor:
        """The executor; it is started at the first call."""
        return Serial()

    def stop(self) -> None:
        """Ends the executor when its work is done; the next call of `executor` starts another."""

    def abandon(self) -> None:
        """Ends the executor at once, in the middle of its work."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Waits for the workers where the block ended well, and ends them at once after a fault or Ctrl-C."""
        if kind is None:
            self.stop()
        else:
            self.abandon()


def open_workers(jobs: int = 1, scheduler: str | None = None) -> Workers:
    """This process (jobs=1), a pool of processes, or the workers of a Dask scheduler; use them in a `with` statement.

    PrepError where the scheduler (`tcp://host:8786`) does not answer, or the extra [cluster] is not installed.
    """
    if scheduler is None:
        return Workers() if jobs == 1 else Processes(jobs)
    try:
        cluster = import_module("pipeline.engine.cluster")
    except ModuleNotFoundError as error:
        raise PrepError(f"--scheduler needs the package {error.name}: {to_install('cluster')}") from None
    workers: Workers = cluster.Dask(scheduler)
    return workers


class Serial(Executor):
    """Does each task at once, in this process."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class Processes(Workers):
    """A pool of processes, each started afresh (spawn), so that nothing depends on what this process has loaded."""

    def __init__(self, jobs: int) -> None:
        self.width = jobs
        self._pool: ProcessPoolExecutor | None = None

    def executor(self) -> Executor:
        if self._pool is None:
            self._pool = _Pool(self.width, multiprocessing.get_context("spawn"), _begin_worker)
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


class _Pool(ProcessPoolExecutor):
    """A pool whose processes start in `submit`, so that is where their surroundings are set."""

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        with _surroundings_of_workers():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _surroundings_of_workers() -> Iterator[None]:
    """What a process that starts in this block inherits.

    One BLAS thread, for the work is parallel by clips. Ctrl-C held back: it is the parent's to answer, also while they
    start. And no main module: spawn would run the caller's script again in each worker, which never ends well in a
    script without `if __name__ == "__main__"`. Workers need nothing from it.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {
        name: main.__dict__.pop(name) for name in ("__spec__", "__file__") if name in main.__dict__
    }
    main.__spec__ = None
    threads = {name: os.environ.get(name) for name in ONE_THREAD}
    os.environ.update(ONE_THREAD)
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        main.__dict__.update(hidden)
        for name, value in threads.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)


class _WithoutPandas:
    """Says that pandas is not there."""

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name)


def _begin_worker() -> None:
    """Lets a worker end with its parent, however the parent ends.

    And keeps pandas out of it: pyarrow looks for pandas with its first arrays, and would load it: 0.3 s and 40 MB.
    A corpus from outside may still load it.
    """
    sys.meta_path.insert(0, without := _WithoutPandas())
    for values in ([], [0]):  # it looks on two ways
        import_module("pyarrow").array(values)
    sys.meta_path.remove(without)
    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_chunks(
    work: Callable[..., Sequence[R]], items: Iterable[T], size: int, workers: Workers, *shared: Any
) -> Iterator[R]:
    """The results of work over all items, one an item, in the order of the items.

    work(chunk, *shared): a function of a module, called in a worker with a list of at most `size` items; it returns one
    result for each of them, in their order. shared: what every chunk needs; it is sent with each.

    A chunk whose worker died is given to another worker, as in `results`. An error in the work ends the map.
    """
    items = iter(items)
    chunks = enumerate(iter(lambda: list(islice(items, size)), []))
    done: dict[int, Sequence[R]] = {}
    following = 0
    for (number, chunk), answers in results(chunks, partial(_work_on_chunk, work, shared), workers):
        if len(answers) != len(chunk):
            raise AssertionError(f"{work.__qualname__}: {len(answers)} results for {len(chunk)} items")
        done[number] = answers
        while following in done:
            yield from done.pop(following)
            following += 1


def _work_on_chunk(work: Callable[..., R], shared: Sequence[Any], chunk: tuple[int, list[Any]]) -> R:
    return work(chunk[1], *shared)


def results(tasks: Iterator[T], work: Callable[[T], R], workers: Workers) -> Iterator[tuple[T, R]]:
    """(task, result) as they are done; at most twice as many as the workers can do at once are under way at a time.

    A task whose worker died is given to new workers; PrepError when the same task loses its worker MOST_DEATHS times.
    An error in the work ends the run.
    """
    executor = workers.executor()
    under_way: dict[Future[R], T] = {}
    deaths: dict[int, int] = {}
    again: list[T] = []
    try:
        while True:
            while len(under_way) < 2 * workers.width and (
                (task := again.pop() if again else next(tasks, None)) is not None
            ):
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
                for task in again:
                    deaths[id(task)] = deaths.get(id(task), 0) + 1
                    if deaths[id(task)] >= MOST_DEATHS:
                        raise PrepError(
                            f"a worker process died {MOST_DEATHS} times while it worked on {reprlib.repr(task)}: the "
                            "system killed it, most likely for memory; free some, or use fewer --jobs. What is done is "
                            "kept: the same command again goes on from here"
                        )
                workers.abandon()
                executor = workers.executor()
    finally:
        if under_way:  # stopped half-way: what is being worked on is not waited for
            for future in under_way:
                future.cancel()
            workers.abandon()


# names from before, until their last users have changed
Crew = Workers
Alone = Workers
