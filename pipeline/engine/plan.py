"""What the run of a recipe would do, before any work: which shards are done, stale or new, and why; time and disk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pipeline.engine import cache, status
from pipeline.engine import run as engine
from pipeline.engine.recipe import Recipe
from pipeline.engine.run import Setting
from pipeline.engine.steps import LATER, Step, run, steps
from pipeline.stages import filter

PCM_BYTES_A_SECOND = 88_200  # a guess at recordings nobody has opened: 44.1 kHz, mono, 16 bits
SPEED = {"ingest": 3000.0, "resample": 800.0, "mix": 600.0}  # seconds of audio a core does in one, until measured here
DECIDES = {  # stage -> tables and keys of a recipe that can change its shards, beside how shards are cut
    "ingest": {"limit"},
    "resample": {"resample", "ingest", "filter", "limit"},
    "mix": {"mix", "resample", "ingest", "filter", "limit", "seed"},
}


@dataclass(frozen=True, slots=True)
class ShardState:
    """One shard of the plan. state: done, stale (made once, from something else) or new; why: for a stale one."""

    name: str
    clips: int
    audio_s: float
    state: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class StageState:
    """One stage: its shards, and what is still to do. known: False where the shards wait for the stages before."""

    part: str
    shards: list[ShardState] = field(default_factory=list)
    work_s: float = 0.0
    disk_bytes: int = 0
    known: bool = True

    def to_do(self) -> list[ShardState]:
        """The shards that a run would make."""
        return [shard for shard in self.shards if shard.state != "done"]


def plan(recipe: Recipe, setting: Setting, limit: int | None) -> Iterator[StageState]:
    """The stages of a recipe, each with its shards, as far as they can be known without work."""
    changed = changes(recipe, setting.folder)
    gathering = replace(setting, slice=(0, 0), status=None)
    waiting = [name for name in LATER if getattr(recipe, name) is not None]
    for step in steps(recipe, setting, limit):
        if step.name == filter.NAME:
            run(step, gathering)
            continue
        state = _state(step, setting, changed)
        yield state
        if not state.to_do():
            run(step, gathering)
        if step.name in waiting:
            waiting.remove(step.name)
    yield from (StageState(name, known=False) for name in waiting)


def changes(recipe: Recipe, folder: Path) -> list[str]:
    """The options that differ from those with which the build of that name began: `mix.snr_db: [20.0] -> [10.0]`."""
    for build in status.builds(folder):
        if build.name == recipe.name:
            return list(_differences("", build.recipe, recipe.canonical() | {"seed": recipe.seed}))
    return []


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
    elif old != new:
        yield f"{path}: {old} -> {new}"


def _state(step: Step, setting: Setting, changed: Sequence[str]) -> StageState:
    """The shards of a step, the time that those to do will take, and the disk that they will fill."""
    stage = step.stage
    jobs = step.plan.jobs.ordered(engine.IN_ORDER)
    seconds = engine.durations(jobs)
    if not seconds.any():
        sizes = jobs.table(names=("at_size",))
        seconds = sizes.column("at_size").to_numpy() / PCM_BYTES_A_SECOND if sizes.num_columns else seconds
    shards = engine.cut(stage, step.options, jobs, setting.shard_clips)
    ids = jobs.table(names=("id",)).column("id").to_pylist()
    decides = DECIDES[stage.NAME] | {"store"}
    bearing = "; ".join(change for change in changed if re.split(r"[.:]", change)[0] in decides)
    reasons = _Reasons(step, {shard.name for shard in shards}, setting.folder)
    states = []
    for shard in shards:
        audio_s = round(float(seconds[shard.start : shard.stop].sum()), 1)
        state, why = "done", ""
        if cache.read(setting.folder, shard.name, stage, settled=True) is None:
            why = reasons.why(shard.name, ids[shard.start : shard.stop], bearing)
            state = "stale" if why else "new"
        states.append(ShardState(shard.name, shard.stop - shard.start, audio_s, state, why))
    audio_s = sum(shard.audio_s for shard in states if shard.state != "done")
    disk = int(audio_s * engine.STORED_BYTES_A_SECOND) if stage.stores(step.options) else 0
    commits = [name for name in cache.committed(setting.folder) if name.startswith(f"{stage.NAME}-")][-50:]
    efforts = [effort for name in commits if (effort := cache.effort(setting.folder, name))]
    done_s, work_s = sum(effort.audio_s for effort in efforts), sum(effort.work_s for effort in efforts)
    speed = done_s / work_s if done_s and work_s else SPEED[stage.NAME]  # measured on the last commits, else a guess
    return StageState(step.name, states, audio_s / speed / setting.workers.width, disk)


class _Reasons:
    """Why shards of a step are stale, by the shards that earlier runs of it made. names: of its shards now."""

    def __init__(self, step: Step, names: set[str], folder: Path) -> None:
        self.folder, self.names = folder, names
        self.options = step.options.model_dump(mode="json", exclude=set(step.stage.PLANNED))
        self.committed = set(cache.committed(folder))
        parts = [build.parts[step.name].shards for build in status.builds(folder) if step.name in build.parts]
        self.before = set[str]().union(*parts)

    @cached_property
    def shard_of(self) -> dict[str, str]:
        """Row id -> the earlier shard that holds it."""
        earlier = sorted((self.before - self.names) & self.committed)
        return {row_id: name for name in earlier for row_id in cache.ids(self.folder, name)}

    def why(self, name: str, ids: Sequence[str], bearing: str) -> str:
        """Why this shard of rows with these ids is stale; '' where nothing like it was ever made.

        bearing: the changed options of the recipe that can change it.
        """
        if name in self.committed | self.before:
            return "its audio or its commit was lost or damaged, or recordings could not be read"
        earlier = sorted({self.shard_of[row_id] for row_id in ids if row_id in self.shard_of})
        if not earlier or bearing:
            return bearing if earlier else ""
        effort = cache.effort(self.folder, earlier[0])
        if effort is not None and (options := list(_differences("", effort.options, self.options))):
            return "option " + ", ".join(options)
        known = sum(row_id in self.shard_of for row_id in ids)
        added = len(ids) - known
        gone = sum(shard in earlier for shard in self.shard_of.values()) - known
        if not added and not gone:
            return "the source, the noise or the parameters of some of its clips changed"
        parts = [f"{added} clips came in"] if added else []
        parts += [f"{gone} clips that were with them are no longer"] if gone > 0 else []
        return " and ".join(parts)
