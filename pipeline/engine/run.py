"""Runs a stage: cuts its plan into shards, has those made that are not committed yet, gathers the rows of all."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.audio import media
from pipeline.audio.shards import writing
from pipeline.core import files, keys
from pipeline.core import frame as frames
from pipeline.core.errors import CorruptMember, PrepError
from pipeline.core.joined import Joined, Stacked
from pipeline.core.row import Drop, Row
from pipeline.corpora.own import Facts
from pipeline.engine import cache
from pipeline.engine import workers as parallel
from pipeline.engine.cache import Commit
from pipeline.engine.status import Status
from pipeline.engine.workers import Workers
from pipeline.stages import Options, Plan, Pools, Stage, find, jobs_of
from pipeline.stages.store import WORK_FOLDER, Store, decode_pool, pool_path

if TYPE_CHECKING:
    from pandas import DataFrame

SHARD_CLIPS = 1000
STORED_BYTES_A_SECOND = 20_000  # FLAC of 16 kHz speech takes 12 to 16 kB a second, of noise 20 to 25
NAME_DIGITS = 16  # hex digits of a shard's name: 64 bits, one chance in 10**8 of two alike among a million shards
IN_ORDER = ("corpus", "kind", "source", "id")  # of the jobs that shards are cut from
_ROWS_AT_A_TIME = 65_536
_NOTE_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and by whom the work is done.

    folder: of the manifests. shard_clips: mean number of clips in a shard. slice: (i, n) to do only every n-th shard,
    beginning with the i-th of 1 to n; (0, 0) to do none, only gather. status: where the progress of the build is
    written down.
    """

    folder: Path
    roots: Roots
    workers: Workers
    shard_clips: int = SHARD_CLIPS
    slice: tuple[int, int] = (1, 1)
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Shard:
    """Jobs start to stop of a plan, under a name that says all that their results depend on."""

    name: str
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def positions(self) -> NDArray[np.int64]:
        """Positions of its jobs in the plan, int64 [jobs]."""
        return np.arange(self.start, self.stop)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One shard to make. jobs: an Arrow table. remote: perhaps on a machine whose roots lie elsewhere.

    corpora: files of adapters from outside the package, and facts of corpora of one's own.
    """

    stage: str
    options: Options
    shard: str
    jobs: Any
    folder: Path
    roots: Roots
    remote: bool = False
    corpora: tuple[str | Facts, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """Progress: clips that are done, and seconds of audio in them."""

    clips: int
    seconds: float
    done_before: bool = False


Progress = Callable[[Step], None]


class Unfinished(PrepError):
    """A slice of a run is done, others are not."""


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """Rows and drops of a plan, as many together as it has jobs. notes: on shards done before, and made again."""

    rows: Stacked
    drops: DataFrame
    notes: Sequence[str]


def run(stage: Stage, options: Options, plan: Plan, setting: Setting, progress: Progress) -> Result:
    """Rows and drops of the plan: shards that are committed already are taken, the others are made.

    Unfinished where the setting is a slice of a run and the other slices are not done yet; PrepError where the disk is
    too small.
    """
    jobs = plan.jobs.ordered(IN_ORDER)
    frames.release()  # planning millions of rows leaves more than a gigabyte of freed memory behind
    name = stage.NAME
    if name == "ingest" and len(jobs):
        name += f" {jobs.table(np.array([0]), ('corpus',)).column('corpus')[0]}"
    shards, seconds = cut(stage, options, jobs, setting.shard_clips), durations(jobs)
    commits = _committed(stage, shards, setting.folder, settled=True)
    index, count = setting.slice
    mine = [
        shard
        for number, shard in enumerate(shards)
        if shard not in commits and count > 0 and number % count == index - 1
    ]
    damaged = sum(cache.commit_path(setting.folder, s.name).exists() for s in shards if s not in commits)
    lost = "their audio or their commit was lost or damaged, or recordings could not be read"
    again = f", {damaged} of them again: {lost}" if damaged else ""
    before = f"{len(commits)} of {len(commits) + len(mine)} shards were done before"
    notes = [f"{before}, {len(mine)} made now{again}"] if commits or damaged else []
    if setting.status:
        setting.status.begin(name, [shard.name for shard in shards], len(jobs), sum(map(len, commits)))
    progress(Step(sum(map(len, commits)), sum(float(seconds[s.positions].sum()) for s in commits), done_before=True))
    if stage.stores(options):
        audio_s = sum(float(seconds[shard.positions].sum()) for shard in mine)
        files.check_room(setting.folder, audio_s * STORED_BYTES_A_SECOND, f"{audio_s / 3600:.1f} h of audio")
    _decode_noise(plan.pools, jobs, mine, setting)
    here = setting.folder, setting.roots, setting.workers.remote, corpora.loaded()
    tasks = (Task(stage.NAME, options, s.name, jobs.table(s.positions, copy=True), *here) for s in mine)
    for _, step in parallel.results(tasks, make_shard, setting.workers, lambda task, pid: clip_of(task.folder, pid)):
        progress(step)
        if setting.status:
            setting.status.advance(name, step.clips)
    commits |= _committed(stage, [shard for shard in shards if shard not in commits], setting.folder)
    if left := sum(len(shard) for shard in shards if shard not in commits):
        raise Unfinished(
            f"{name}: {len(commits)} of {len(shards)} shards are there, {left:,} clips are left to other slices. When "
            "they are done, run the same command again; without --shard it does what is left, too"
        )
    for pool in plan.pools:  # large, and quickly made again
        pool_path(setting.folder, pool).unlink(missing_ok=True)
    rows, drops = _gathered(jobs, {shard: commits[shard] for shard in shards})
    if len(rows) + len(drops) != len(jobs):
        raise AssertionError(f"{stage.NAME}: {len(jobs)} jobs, {len(rows)} rows, {len(drops)} drops")
    return Result(Stacked(Row, [rows]), drops, notes)


def _gathered(jobs: Joined, commits: Mapping[Shard, Commit]) -> tuple[Joined, DataFrame]:
    """(the jobs that ended as rows, beside what was filled in; the drops)."""
    if not commits:
        return jobs, frames.from_rows([], Drop)
    positions = []
    for shard, commit in commits.items():
        at = shard.positions
        if len(commit.drops):
            dropped = set(commit.drops.column("id").to_pylist())
            at = at[[row_id not in dropped for row_id in jobs.table(at, ("id",)).column("id").to_pylist()]]
        positions.append(at)
    fills = frames.stacked([commit.fills.drop_columns(["id"]) for commit in commits.values()])
    drops = frames.concat([frames.from_arrow(commit.drops) for commit in commits.values()], Drop)
    return Joined(*jobs.pick(np.concatenate(positions)).parts, (fills, None)), drops


def _committed(stage: Stage, shards: Iterable[Shard], folder: Path, settled: bool = False) -> dict[Shard, Commit]:
    """The commits of those shards that have a whole one."""
    commits = ((shard, cache.read(folder, shard.name, stage, settled)) for shard in shards)
    return {shard: commit for shard, commit in commits if commit is not None}


def _decode_noise(pools: Pools, jobs: Joined, shards: Sequence[Shard], setting: Setting) -> None:
    """Decodes the noise that these shards are mixed with, once, for all workers to share."""
    names: set[str] = set()
    for shard in shards if pools else []:
        names |= set(jobs.table(shard.positions, ("at_pool",)).column("at_pool").to_pylist())
    names = {name for name in names if not pool_path(setting.folder, name).exists()}
    needed = 2 * sum(size for name in names for _, size in pools[name][1])
    files.check_room(setting.folder, needed, "noise while it is mixed")
    tasks = ((setting.folder, name, *pools[name]) for name in sorted(names))
    for _ in parallel.results(tasks, decode_pool, setting.workers):
        pass


def make_shard(task: Task) -> Step:
    """Does the jobs of one shard and commits their results. Runs in a worker."""
    for adapter in task.corpora:
        corpora.load(adapter)
    stage, begun = find(task.stage), time.monotonic()
    roots = task.roots.on_this_machine() if task.remote else task.roots
    path = cache.audio_path(task.folder, task.shard)
    results: list[Row | Drop] = []
    unread = 0
    with ExitStack() as stack:
        now_at = stack.enter_context(_noting(task.folder))
        writer = stack.enter_context(writing(path)) if stage.stores(task.options) else None
        store = Store(task.folder, roots, path.name, writer)
        for job in jobs_of(task.jobs, stage):
            now_at(job.row.id)
            try:
                results.append(stage.work(job, task.options, store))
            except CorruptMember as error:
                results.append(Drop(job.row.id, stage.NAME, error.reason, error.detail))
                unread += 1
    if "frames" in stage.FILLS:
        seconds = sum((r.frames or 0) / (r.rate_hz or 1) for r in results if isinstance(r, Row))
    else:
        seconds = float(_durations(task.jobs).sum())
    options = task.options.model_dump(mode="json", exclude=set(stage.PLANNED))
    effort = cache.Effort(task.stage, options, seconds, time.monotonic() - begun)
    # drops of ingest hold as long as the bytes do; later ones say that the corpus is not what it was, and may be again
    installed = not any(isinstance(result, Drop) and result.reason == media.NEEDS for result in results)
    settled = (stage.NAME == "ingest" and installed) or not unread
    cache.write(task.folder, task.shard, stage, results, writer.crc if writer else None, effort, settled)
    return Step(len(task.jobs), seconds)


def load_stages() -> None:
    """Loads what the work needs, in a worker whose first task is still to come."""
    for name in ("ingest", "resample", "mix"):
        find(name)


@contextmanager
def _noting(folder: Path) -> Iterator[Callable[[str], object]]:
    """Writes down which clip this process has in its hands, for the case that the system kills it."""
    path = _note_path(folder, os.getpid())
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT)
    try:
        yield lambda row_id: os.pwrite(handle, row_id.encode()[:_NOTE_BYTES].ljust(_NOTE_BYTES), 0)
    finally:
        os.close(handle)
        with suppress(OSError):  # the folder may have turned read-only, which is another error's to say
            path.unlink()


def clip_of(folder: Path, process: int) -> str:
    """The clip that a worker process had in its hands when it was killed; empty where it had none."""
    try:
        return _note_path(folder, process).read_bytes().decode("utf-8", "ignore").strip()
    except OSError:
        return ""


def _note_path(folder: Path, process: int) -> Path:
    return folder / WORK_FOLDER / f"{files.TEMPORARY}clip-of-{process}"


def durations(jobs: Joined) -> NDArray[np.float64]:
    """Seconds of audio of each job, float64 [jobs]; 0 where they are not known, as before ingest."""
    return _durations(jobs.table(names=("frames", "rate_hz")))


def _durations(table: Any) -> NDArray[np.float64]:
    counts, rates = (np.asarray(table.column(name).to_numpy(), dtype=np.float64) for name in ("frames", "rate_hz"))
    return np.nan_to_num(counts / rates)


def cut(stage: Stage, options: Options, jobs: Joined, mean: int) -> list[Shard]:
    """The jobs, which are IN_ORDER, in shards of half to one and a half times `mean` jobs, each of one corpus.

    Where it is cut depends on the recordings near the cut alone, so a recording more or less changes one shard or two,
    not all that come after it; what is made of one recording stays together.
    """
    version = (stage.NAME, stage.VERSION, options.model_dump(mode="json", exclude=set(stage.PLANNED)))
    shards = []
    for start, stop in pairwise(_bounds(jobs, mean)):
        depends = jobs.table(np.arange(start, stop), stage.DEPENDS).select(list(stage.DEPENDS))
        digits = keys.fingerprint(*version, frames.logical_hash(depends))[:NAME_DIGITS]
        shards.append(Shard(f"{stage.NAME}-{digits}", start, stop))
    return shards


def _bounds(jobs: Joined, mean: int) -> list[int]:
    if not len(jobs):
        return [0]
    columns = frames.from_arrow(jobs.table(names=("corpus", "kind", "source")))
    corpus, kind, source = (  # bool [rows]: where the value is another than in the row before
        np.concatenate([[True], frames.differs(columns[name].iloc[1:], columns[name].iloc[:-1])])
        for name in ("corpus", "kind", "source")
    )
    firsts = np.flatnonzero(source)
    order = keys.words(0, "cut", frames.each(columns["source"][source]))[:, 0]
    bounds = [0]
    for stop in [*np.flatnonzero(corpus | kind)[1:].tolist(), len(jobs)]:
        while stop - bounds[-1] > mean + mean // 2:
            low, high = np.searchsorted(firsts, [bounds[-1] + max(1, mean // 2), bounds[-1] + mean + mean // 2])
            if low == len(firsts) or firsts[low] >= stop:
                break
            near = slice(int(low), max(int(high), int(low) + 1))
            bounds.append(int(firsts[near][int(np.argmin(order[near]))]))
        bounds.append(stop)
    return bounds
