"""Runs a stage: cuts its plan into shards, gives those that are not done to a crew, gathers what was committed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import commits, crew, keys
from pipeline.commits import Outcome, audio_path, completed
from pipeline.errors import CorruptMember, PrepError
from pipeline.row import Drop, Row
from pipeline.sources import Roots
from pipeline.stages import Options, Stage, find
from pipeline.store import Store, decode_pool, pool_path, writing
from pipeline.table import Table

SHARD_CLIPS = 1000
NAME_DIGITS = 16  # hex digits of a shard's name: 64 bits, one chance in 10**8 of two alike among a million shards


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and by whom the work is done. shard_clips: mean number of clips in a shard."""

    folder: Path
    roots: Roots
    crew: crew.Crew
    shard_clips: int = SHARD_CLIPS


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """One shard to make."""

    stage: str
    options: Options
    shard: str
    plan: Table
    folder: Path
    roots: Roots

    def __str__(self) -> str:
        return f"shard {self.shard} ({len(self.plan)} clips)"


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


def run(stage: Stage, options: Options, plan: Table, setting: Setting, progress: Progress) -> tuple[Table, Table]:
    """(rows, drops) of the plan: shards that are committed already are taken, the others made.

    The plan is in the order of manifests. As many rows and drops come back as the plan has jobs, or PrepError.
    """
    shards = cut(stage, options, plan, setting.shard_clips)
    done = {shard.name: outcome for shard in shards if (outcome := commits.read(setting.folder, shard.name, stage.Made))}
    progress(
        Step(sum(s.stop - s.start for s in shards if s.name in done), sum(_seconds(done[s.name]) for s in shards if s.name in done), True)
    )
    tasks = (
        Task(stage.NAME, options, s.name, plan.part(s.start, s.stop), setting.folder, setting.roots) for s in shards if s.name not in done
    )
    for task, step in crew.results(tasks, make, setting.crew):
        progress(step)
    return _gathered(stage, plan, shards, done, setting.folder)


def _gathered(stage: Stage, plan: Table, shards: Sequence[Shard], done: Mapping[str, Outcome], folder: Path) -> tuple[Table, Table]:
    rows, drops = [], []
    for shard in shards:
        outcome = done.get(shard.name) or commits.read(folder, shard.name, stage.Made)
        if outcome is None:
            raise PrepError(f"shard {shard.name} vanished from {folder} while it was being gathered: run the same command again")
        rows.append(completed(plan.part(shard.start, shard.stop), outcome))
        drops.append(outcome.drops)
    held = Table.joined(rows, Row), Table.joined(drops, Drop)
    if len(held[0]) + len(held[1]) != len(plan):
        raise AssertionError(f"{stage.NAME}: {len(plan)} jobs, {len(held[0])} rows, {len(held[1])} drops")
    return held


def _seconds(outcome: Outcome) -> float:
    made = outcome.made
    return float((made.numbers("frames") / made.numbers("rate_hz")).sum()) if {"frames", "rate_hz"} <= set(made.names) else 0.0


def make(task: Task) -> Step:
    """Does the jobs of one shard and commits it. Runs in a worker."""
    stage = find(task.stage)
    with ExitStack() as stack:
        path = audio_path(task.folder, task.shard)
        writer = stack.enter_context(writing(path)) if stage.stores(task.options) else None
        store = Store(task.folder, task.roots, path.name, writer)
        results = [_result(stage, job, task.options, store) for job in stage.jobs(task.plan)]
    drops = Table.of([result for result in results if isinstance(result, Drop)], Drop)
    outcome = Outcome(Table.of([result for result in results if not isinstance(result, Drop)], stage.Made), drops)
    commits.write(task.folder, task.shard, outcome.made, outcome.drops, writer.crc if writer else None)
    return Step(len(task.plan), _seconds(outcome))


def _result(stage: Stage, job: Any, options: Options, store: Store) -> Any:
    try:
        return stage.work(job, options, store)
    except CorruptMember as error:
        return Drop(job.id, stage.NAME, error.reason, error.detail)


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
        Shard(f"{stage.NAME}-{keys.fingerprint(*version, hashed.part(start, stop).digest())[:NAME_DIGITS]}", start, stop)
        for start, stop in pairwise(bounds)
    ]


def _bounds(plan: Table, mean: int) -> list[int]:
    codes, sources = plan.codes("source")
    corpora, _ = plan.codes("corpus")
    firsts = np.flatnonzero(np.diff(codes, prepend=-1))
    order = keys.words(0, "cut", [str(source) for source in sources])[codes[firsts], 0]
    bounds = [0]
    for stop in [*(np.flatnonzero(np.diff(corpora)) + 1).tolist(), len(plan)]:
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
    missing = (
        Pool(setting.folder, name, shard, clips) for name, (shard, clips) in pools.items() if not pool_path(setting.folder, name).exists()
    )
    for _ in crew.results(missing, decode, setting.crew):
        pass


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
