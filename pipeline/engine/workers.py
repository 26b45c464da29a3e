"""Who does the work: this process, a pool of processes, or a Dask cluster; all are a `concurrent.futures.Executor`.

Never what the work is: functions and tasks are handed in.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import reprlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import islice
from types import TracebackType
from typing import Any, Self, TypeVar

from pipeline.core.errors import PrepError, to_install

T = TypeVar("T")
R = TypeVar("R")
CHECK_S = 1.0  # how long nothing may end before the workers are looked at
PATIENCE_S = 5.0  # for a process that is ending
_WORDS = 4096  # bytes of what a worker wrote last
GO_ON = "What is done is kept: the same command again goes on from here"
MOST_DEATHS = 3  # a run ends when the same task has lost its worker so many times
INHERITED = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONSAFEPATH"), "1")


class Workers:
    """An executor that serves one stage after another, and can be replaced when one of its workers dies.

    This class works in the process itself. width: how many tasks are worked on at once. remote: whether the work may be
    done on other machines, where the corpora may lie elsewhere. say: is called with sentences for a person.
    """

    width = 1
    remote = False
    say: Callable[[str], object] = staticmethod(lambda text: None)

    def executor(self) -> Executor:
        """The executor; it is started at the first call."""
        return Serial()

    def stop(self) -> None:
        """Ends the executor when its work is done; the next call of `executor` starts another."""

    def abandon(self) -> None:
        """Ends the executor at once, in the middle of its work."""

    def check(self) -> None:
        """Is called at the start of work and every CHECK_S in which nothing ends. PrepError where nothing can end."""

    def fault(self, error: BaseException) -> PrepError | None:
        """What a person has to know of an error that is the executor's, not the work's; None for one of the work."""
        return None

    def deaths(self) -> list[Death]:
        """The workers that ended by themselves, after the executor broke."""
        return []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Waits for the workers where the block ended well, and ends them at once after a fault or Ctrl-C."""
        if kind is None:
            self.stop()
        else:
            self.abandon()


@dataclass(frozen=True, slots=True)
class Death:
    """A worker process that ended by itself. code: its exit code, negative for a signal. words: what it last wrote."""

    process: int
    code: int
    words: str = ""

    def __str__(self) -> str:
        if self.code == -signal.SIGKILL:
            return "was killed by the system, most likely for memory"
        if self.code < 0:
            return f"was ended by signal {-self.code} ({signal.Signals(-self.code).name})"
        return f"ended by itself with exit code {self.code}{f': {self.words}' if self.words else ''}"


def open_workers(
    jobs: int = 1, scheduler: str | None = None, wait_s: float | None = None, say: Callable[[str], object] = Workers.say
) -> Workers:
    """This process (jobs=1), a pool of processes, or the workers of a Dask scheduler; use them in a `with` statement.

    wait_s: how long to wait for a Dask worker where none is connected; None: for ever. say: is called with sentences
    for a person. PrepError where the scheduler (`tcp://host:8786`) does not answer, or the extra [cluster] is not
    installed.
    """
    if scheduler is None:
        workers = Workers() if jobs == 1 else Processes(jobs)
        workers.say = say
        return workers
    try:
        cluster = import_module("pipeline.engine.cluster")
    except ModuleNotFoundError as error:
        raise PrepError(f"--scheduler needs the package {error.name}: {to_install('cluster')}") from None
    dask: Workers = cluster.Dask(scheduler, wait_s, say)
    return dask


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
        self._pool: _Pool | None = None

    def executor(self) -> Executor:
        if self._pool is None:
            self._pool = _Pool(self.width, multiprocessing.get_context("spawn"), _begin_worker)
        return self._pool

    def deaths(self) -> list[Death]:
        return [] if self._pool is None else self._pool.deaths()

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
    """A pool whose processes start in `submit`, so that is where their surroundings are set.

    What they write on standard error goes to a file without a name: of a worker that ended by itself the last line
    says why, and where the parent was killed nobody wants to read what its orphans say.
    """

    def __init__(self, *arguments: Any) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the pool
        self._children: dict[int, Any] = {}
        with _surroundings_of_workers(self._errors.fileno()):  # the process that looks after semaphores starts here
            super().__init__(*arguments)

    def submit(self, fn: Callable[..., R], /, *args: Any, **kwargs: Any) -> Future[R]:
        with _surroundings_of_workers(self._errors.fileno()):
            future = super().submit(fn, *args, **kwargs)
        self._children |= self._processes or {}
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
        self._errors.close()

    def deaths(self) -> list[Death]:
        """The processes that ended by themselves; the pool ends the others by SIGTERM when it breaks."""
        dead = []
        for process in self._children.values():
            process.join(PATIENCE_S)
            until = time.monotonic() + 1
            while process.exitcode is None and time.monotonic() < until:  # the pool's own thread is just being told it
                time.sleep(0.01)
            if process.exitcode not in (None, 0, -signal.SIGTERM):
                dead.append(Death(process.pid, process.exitcode, self._last_words()))
        return dead

    def _last_words(self) -> str:
        size = os.fstat(self._errors.fileno()).st_size
        text = os.pread(self._errors.fileno(), _WORDS, max(0, size - _WORDS)).decode("utf-8", "replace")
        lines = [line.strip() for line in text.splitlines() if re.match(r"\w[\w.]*(Error|Exception|Interrupt)\b", line)]
        return lines[-1] if lines else ""


@contextmanager
def _surroundings_of_workers(errors: int) -> Iterator[None]:
    """What a process that starts in this block inherits. errors: the file that is its standard error.

    One BLAS thread, for the work is parallel by clips. No modules of the working folder, which may be a stranger's:
    Python would look for its own there first. Ctrl-C held back: it is the parent's to answer, also while they
    start. And no main module: spawn would run the caller's script again in each worker, which never ends well in a
    script without `if __name__ == "__main__"`. Workers need nothing from it.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {n: main.__dict__.pop(n) for n in ("__spec__", "__file__") if n in main.__dict__}
    main.__spec__ = None
    before = {name: os.environ.get(name) for name in INHERITED}
    os.environ.update(INHERITED)
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    terminal = os.dup(2)
    os.dup2(errors, 2)
    try:
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)
        main.__dict__.update(hidden)
        for name, value in before.items():
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


def results(
    tasks: Iterator[T], work: Callable[[T], R], workers: Workers, clip: Callable[[T, int], str] | None = None
) -> Iterator[tuple[T, R]]:
    """(task, result) as they are done; at most twice as many as the workers can do at once are under way at a time.

    clip: what a worker process had in its hands, by the task and the number of the process; empty where it does not
    know. A task whose worker died is given to new workers; PrepError when the same task loses its worker MOST_DEATHS
    times. An error in the work ends the run.
    """
    under_way: dict[Future[R], T] = {}
    deaths: dict[int, int] = {}
    again: list[T] = []
    try:
        while True:
            while len(under_way) < 2 * workers.width and (
                (task := again.pop() if again else next(tasks, None)) is not None
            ):
                if not under_way:
                    workers.check()
                try:
                    under_way[workers.executor().submit(work, task)] = task
                except BrokenExecutor:
                    again.append(task)
                    break
                except RuntimeError as error:  # can't start new thread
                    raise PrepError(
                        f"no worker process could be started ({error}): free some memory, or raise the limits of "
                        f"memory and processes (ulimit -v, ulimit -u). {GO_ON}"
                    ) from None
            if not under_way and not again:
                return
            broken = False
            done = wait(under_way, CHECK_S, return_when=FIRST_COMPLETED).done if under_way else set()
            if under_way and not done:
                workers.check()
            for future in done:
                task = under_way.pop(future)
                try:
                    result = future.result()
                except BrokenExecutor:
                    broken = True
                    again.append(task)
                except BaseException as error:
                    if (fault := workers.fault(error)) is None:
                        raise
                    raise fault from None
                else:
                    yield task, result
            if broken or (again and not under_way):
                again += under_way.values()
                under_way.clear()
                _count_deaths(again, deaths, workers, clip)
                workers.abandon()
    finally:
        if under_way:  # stopped half-way: what is being worked on is not waited for
            for future in under_way:
                future.cancel()
            workers.abandon()


def _count_deaths(
    tasks: Sequence[T], deaths: dict[int, int], workers: Workers, clip: Callable[[T, int], str] | None
) -> None:
    """Says how workers died and counts it for their tasks. PrepError where one has lost MOST_DEATHS of them."""
    dead = workers.deaths()
    for task in tasks:
        deaths[id(task)] = deaths.get(id(task), 0) + 1
    how = _how(dead, tasks, clip)
    worst = max(tasks, key=lambda task: deaths[id(task)])
    if deaths[id(worst)] < MOST_DEATHS:
        workers.say(f"{how}; its work is given to another")
        return
    at = "" if clip and dead else f" while it worked on {reprlib.repr(worst)}"
    by_itself = bool(dead) and dead[0].code > 0  # then it says itself what is wrong
    remedy = "" if by_itself else "Free some memory, use fewer --jobs, or leave the clip out. "
    raise PrepError(f"{how}{at}, {MOST_DEATHS} times. {remedy}{GO_ON}")


def _how(dead: Sequence[Death], tasks: Sequence[T], clip: Callable[[T, int], str] | None) -> str:
    """How the workers ended, and on which clips: `a worker process was killed ... while it had aihub/757631`."""
    if not dead:
        return "a worker process died"
    one = dead[0]
    clips = [name for death in dead for task in tasks if clip and (name := clip(task, death.process))]
    at = f" while it had {', '.join(dict.fromkeys(clips))}" if clips else ""
    return f"a worker process {one}{at}"
