"""Runs a stage: cuts its plan into shards, gives those that are not done to a crew, gathers what was committed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.audio.shards import writing
from pipeline.core import files, keys
from pipeline.core.errors import CorruptMember, PrepError
from pipeline.core.row import Drop, Row
from pipeline.core.table import Table
from pipeline.engine import cache as commits
from pipeline.engine import workers as crew
from pipeline.engine.cache import Outcome, audio_path, completed
from pipeline.engine.status import Ledger
from pipeline.stages import Options, Stage, find
from pipeline.stages.store import Store, decode_pool, pool_path

SHARD_CLIPS = 1000
STORED_BYTES_A_SECOND = 20_000  # FLAC of 16 kHz speech takes 12 to 16 kB a second, of noise 20 to 25
NAME_DIGITS = 16  # hex digits of a shard's name: 64 bits, one chance in 10**8 of two alike among a million shards


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and by whom the work is done. shard_clips: mean number of clips in a shard. slice: (i, n) to do only every
    n-th shard, beginning with the i-th of 1 to n; (0, 0) to do none, only gather."""

    folder: Path
    roots: Roots
    crew: crew.Crew
    shard_clips: int = SHARD_CLIPS
    slice: tuple[int, int] = (1, 1)
    ledger: Ledger | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One shard to make. far: on another machine, perhaps, where the roots may lie elsewhere.

    corpora: files of adapters from outside the package.
    """

    stage: str
    options: Options
    shard: str
    plan: Table
    folder: Path
    roots: Roots
    far: bool = False
    corpora: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shard:
    """Part of a plan, named by all that its outcome depends on."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Step:
    """Progress: clips ended, and seconds of audio in them."""

    clips: int
    seconds: float
    done_before: bool = False


Progress = Callable[[Step], None]


@dataclass(frozen=True, slots=True, eq=False)
class Ended:
    """What became of a plan: as many rows and drops together as it has jobs; notes on what was taken and what was redone."""

    rows: Table
    drops: Table
    notes: list[str]


class Unfinished(PrepError):
    """A slice of a run is done, others are not."""


def in_order(plan: Table) -> Table:
    """The plan as shards are cut from it: those of one corpus and kind together, by source."""
    return plan.ordered(("corpus", "kind", "source", "id"))


def run(
    stage: Stage,
    options: Options,
    plan: Table,
    setting: Setting,
    progress: Progress,
    before: Callable[[Table], None] | None = None,
) -> Ended:
    """Rows and drops of the plan: shards that are committed already are taken, the others made.

    before: called with the jobs that are to be done, where there are any.

    Unfinished where the setting is a slice of a run and the other
    slices are not done yet; PrepError where the disk is too small.
    """
    plan = in_order(plan)
    shards = cut(stage, options, plan, setting.shard_clips)
    done = {
        shard.name: outcome
        for shard in shards
        if (outcome := commits.read(setting.folder, shard.name, stage.Made, settled=True))
    }
    part, seconds = _part(stage, plan), durations(plan)
    _begin(part, shards, done, setting)
    old = [shard for shard in shards if shard.name in done]
    progress(Step(_clips(old), sum(float(seconds[s.start : s.stop].sum()) for s in old), True))
    damaged = sum(
        commits.commit_path(setting.folder, shard.name).exists() for shard in shards if shard.name not in done
    )
    mine = [shard for n, shard in enumerate(shards) if shard.name not in done and _falls_to(n, setting.slice)]
    if stage.stores(options):
        _check_disk(setting.folder, sum(float(seconds[s.start : s.stop].sum()) for s in mine))
    if before is not None and mine:
        before(plan.take(np.concatenate([np.arange(shard.start, shard.stop) for shard in mine])))
    far = setting.crew.remote
    tasks = (
        Task(
            stage.NAME,
            options,
            s.name,
            plan.part(s.start, s.stop),
            setting.folder,
            setting.roots,
            far,
            corpora.loaded(),
        )
        for s in mine
    )
    for _, step in crew.results(tasks, make, setting.crew):
        progress(step)
        if setting.ledger:
            setting.ledger.advance(part, step.clips)
    return Ended(*_gathered(stage, plan, shards, done, setting), _notes(len(old), len(mine), damaged))


def _notes(old: int, made: int, damaged: int) -> list[str]:
    again = (
        f", {damaged} of them again: their audio or their commit was lost or damaged, or recordings could not be read"
        if damaged
        else ""
    )
    return [f"{old} of {old + made} shards were done before, {made} made now{again}"] if old or damaged else []


def _part(stage: Stage, plan: Table) -> str:
    """`ingest aihub`, `mix`: what a ledger calls the run of a stage."""
    corpora = [str(name) for name in plan.codes("corpus")[1]] if stage.NAME == "ingest" else []
    return " ".join([stage.NAME, *corpora])


def _begin(part: str, shards: Sequence[Shard], done: Mapping[str, Outcome], setting: Setting) -> None:
    if setting.ledger:
        clips = _clips(shards)
        setting.ledger.begin(
            part, [shard.name for shard in shards], clips, _clips([shard for shard in shards if shard.name in done])
        )


def _clips(shards: Sequence[Shard]) -> int:
    return sum(shard.stop - shard.start for shard in shards)


def _falls_to(number: int, share: tuple[int, int]) -> bool:
    index, count = share
    return count > 0 and number % count == index - 1


def durations(plan: Table) -> NDArray[np.float64]:
    """Seconds of each job's audio as far as they are known, float64 [jobs]; before ingest they are not, and count as 0."""
    if {"frames", "rate_hz"} <= set(plan.names):
        return np.nan_to_num(plan.numbers("frames") / plan.numbers("rate_hz"))
    return np.zeros(len(plan))


def _check_disk(folder: Path, seconds: float) -> None:
    """PrepError where the audio to store will not fit on the disk."""
    files.check_room(folder, seconds * STORED_BYTES_A_SECOND, f"{seconds / 3600:.1f} h of audio")


def _gathered(
    stage: Stage, plan: Table, shards: Sequence[Shard], done: Mapping[str, Outcome], setting: Setting
) -> tuple[Table, Table]:
    rows, drops, missing = [], [], []
    for shard in shards:
        outcome = done.get(shard.name) or commits.read(setting.folder, shard.name, stage.Made)
        if outcome is None:
            missing.append(shard)
            continue
        rows.append(completed(plan.part(shard.start, shard.stop), outcome))
        drops.append(outcome.drops)
    if missing:
        raise Unfinished(
            f"{_part(stage, plan)}: {len(shards) - len(missing)} of {len(shards)} shards are there, {_clips(missing):,} clips are left "
            "to other slices. When they are done, run the same command again; without --shard it does what is left, too"
        )
    held = Table.joined(rows, Row), Table.joined(drops, Drop)
    if len(held[0]) + len(held[1]) != len(plan):
        raise AssertionError(f"{stage.NAME}: {len(plan)} jobs, {len(held[0])} rows, {len(held[1])} drops")
    return held


def make(task: Task) -> Step:
    """Does the jobs of one shard and commits it. Runs in a worker."""
    for adapter in task.corpora:
        corpora.load(adapter)
    stage = find(task.stage)
    begun = time.monotonic()
    roots = task.roots.on_this_machine() if task.far else task.roots
    with ExitStack() as stack:
        path = audio_path(task.folder, task.shard)
        writer = stack.enter_context(writing(path)) if stage.stores(task.options) else None
        store = Store(task.folder, roots, path.name, writer)
        results = [_result(stage, job, task.options, store) for job in stage.jobs(task.plan)]
    # ingest's drops hold as long as the bytes do; later ones say that the corpus is not what it was, and it may be again
    settled = stage.NAME == "ingest" or not any(isinstance(result, _Fault) for result in results)
    drops = Table.of([result for result in results if isinstance(result, Drop)], Drop)
    outcome = Outcome(Table.of([result for result in results if not isinstance(result, Drop)], stage.Made), drops)
    seconds = _heard(task.plan, outcome)
    effort = commits.Effort(
        task.stage, task.options.model_dump(mode="json", exclude=stage.PLANNED), seconds, time.monotonic() - begun
    )
    commits.write(task.folder, task.shard, outcome, writer.crc if writer else None, effort, settled)
    return Step(len(task.plan), seconds)


def _heard(plan: Table, outcome: Outcome) -> float:
    """Seconds of audio that a shard's work went through."""
    made = outcome.made
    if {"frames", "rate_hz"} <= set(made.names):
        return float((made.numbers("frames") / made.numbers("rate_hz")).sum())
    return float(durations(plan).sum())


class _Fault(Drop):
    """A drop because a recording could not be read."""

    __slots__ = ()


def _result(stage: Stage, job: Any, options: Options, store: Store) -> Any:
    try:
        return stage.work(job, options, store)
    except CorruptMember as error:
        return _Fault(job.id, stage.NAME, error.reason, error.detail)


def cut(stage: Stage, options: Options, plan: Table, mean: int) -> list[Shard]:
    """The plan in shards of half to one and a half times `mean` jobs, each of one corpus.

    Where it is cut depends on the recordings near the cut alone, so a recording more or less changes one shard or two,
    not all that come after it; what is made of one recording stays together.
    """
    if not len(plan):
        return []
    version = (stage.NAME, stage.VERSION, options.model_dump(mode="json", exclude=stage.PLANNED))
    hashed = plan.only(stage.DEPENDS)
    bounds = _bounds(plan, mean)
    return [
        Shard(
            f"{stage.NAME}-{keys.fingerprint(*version, hashed.part(start, stop).digest())[:NAME_DIGITS]}", start, stop
        )
        for start, stop in pairwise(bounds)
    ]


def _bounds(plan: Table, mean: int) -> list[int]:
    codes, sources = plan.codes("source")
    kinds = plan.codes("corpus")[0] * 8 + plan.codes("kind")[0]
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    order = keys.words(0, "cut", [str(source) for source in sources])[codes[firsts], 0]
    bounds = [0]
    for stop in [*(np.flatnonzero(np.diff(kinds)) + 1).tolist(), len(plan)]:
        while stop - bounds[-1] > mean + mean // 2:
            low, high = np.searchsorted(firsts, [bounds[-1] + max(1, mean // 2), bounds[-1] + mean + mean // 2])
            if low == len(firsts) or firsts[low] >= stop:
                break
            near = slice(int(low), max(int(high), int(low) + 1))
            bounds.append(int(firsts[near][int(np.argmin(order[near]))]))
        bounds.append(stop)
    return bounds


def prepare(pools: Mapping[str, tuple[str, list[tuple[int, int]]]], setting: Setting) -> None:
    """Decodes the noise that a mix draws from, once, for all workers to share."""
    missing = [
        Pool(setting.folder, name, shard, clips)
        for name, (shard, clips) in pools.items()
        if not pool_path(setting.folder, name).exists()
    ]
    files.check_room(
        setting.folder, 2 * sum(size for pool in missing for _, size in pool.clips), "noise while it is mixed"
    )
    for _ in crew.results(iter(missing), decode, setting.crew):
        pass


def discard(pools: Iterable[str], setting: Setting) -> None:
    """Removes the decoded noise when a mix is whole: large, and quickly made again."""
    for name in pools:
        pool_path(setting.folder, name).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Pool:
    """Noise clips of one shard, at (offset, bytes), to decode."""

    folder: Path
    name: str
    shard: str
    clips: list[tuple[int, int]]


def decode(pool: Pool) -> None:
    """Runs in a worker."""
    decode_pool(pool.folder, pool.name, pool.shard, pool.clips)
