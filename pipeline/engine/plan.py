"""What a recipe's build would do, before any work: which shards are done, stale or new, and why; time and disk."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.core import frame as frames
from pipeline.core import keys
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.engine import cache as commits
from pipeline.engine import run as engine
from pipeline.engine import status as ledger
from pipeline.engine import steps as build
from pipeline.engine.recipe import Recipe
from pipeline.engine.run import Setting, Shard
from pipeline.stages import Options, Plan, Stage, find, ingest, mix, resample

PCM_BYTES_A_SECOND = 88_200  # a guess at recordings nobody has opened: 44.1 kHz, mono, 16 bits
SPEED = {
    "ingest": 3000.0,
    "resample": 800.0,
    "mix": 600.0,
}  # seconds of audio a core does in one, until this machine's own are known


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
    """One stage: its shards, and what is still to do. known: whether the shards are, or wait for the stages before."""

    part: str
    shards: list[ShardState] = field(default_factory=list)
    work_s: float = 0.0
    disk_bytes: int = 0
    known: bool = True

    def to_do(self) -> list[ShardState]:
        """The shards that the build would make."""
        return [shard for shard in self.shards if shard.state != "done"]


def changes(recipe: Recipe, folder: Path) -> list[str]:
    """Options that differ from those with which the build of that name was last begun: `mix.snr_db: [20.0] -> [10.0]`."""
    for held in ledger.builds(folder):
        if held.name == recipe.name:
            return list(_differences("", held.recipe, recipe.canonical() | {"seed": recipe.seed}))
    return []


def _differences(path: str, old: Any, new: Any) -> Iterator[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in sorted({*old, *new}):
            yield from _differences(f"{path}.{key}" if path else str(key), old.get(key), new.get(key))
    elif old != new:
        yield f"{path}: {old} -> {new}"


def survey(recipe: Recipe, setting: Setting, limit: int | None) -> Iterator[StageState]:
    """The stages of a recipe, each with its shards, as far as they can be known without work."""
    ingests, changed = [], changes(recipe, setting.folder)
    for corpus in recipe.ingest.corpora:
        claims = corpora.find(corpus).clips(setting.roots[corpus])
        plan = ingest.plan(corpus, claims.clips)
        plan = replace(plan, jobs=build.limited(plan.jobs, limit, recipe.seed))
        yield (state := _state(f"ingest {corpus}", find("ingest"), ingest.Options(), plan, setting, changed))
        ingests.append(
            None
            if state.to_do()
            else Table.of_frame(engine.run(find("ingest"), ingest.Options(), plan, setting, lambda step: None).rows)
        )
    tables = [table for table in ingests if table is not None]
    if len(tables) < len(ingests):
        yield from (
            StageState(name, known=False)
            for name, asked in (("resample", recipe.resample), ("mix", recipe.mix))
            if asked
        )
        return
    yield from _later(
        recipe, build.filtered(tables, recipe.filter, recipe.lexicon, None, recipe.seed).rows, setting, changed
    )


def _later(recipe: Recipe, rows: Table, setting: Setting, changed: Sequence[str]) -> Iterator[StageState]:
    """resample and mix, once every row is known."""
    if recipe.resample is None:
        return
    aloud, others = build.to_mix(rows, recipe.mix)
    plan = resample.plan(others.frame, build.places(others, setting))
    yield (state := _state("resample", find("resample"), recipe.resample, plan, setting, changed))
    if recipe.mix is None:
        return
    if state.to_do():
        yield StageState("mix", known=False)
        return
    made = engine.run(find("resample"), recipe.resample, plan, setting, lambda step: None).rows
    speech = resample.expected(aloud.frame, recipe.resample, build.places(aloud, setting))
    resampled = keys.fingerprint(resample.NAME, resample.VERSION, recipe.resample.model_dump(mode="json"))
    mixing = mix.plan(frames.concat([made, speech], Row) if len(speech) else made, recipe.mix, recipe.seed, resampled)
    yield _state("mix", find("mix"), recipe.mix, mixing, setting, changed)


def _bearing(stage: Stage, changed: Sequence[str]) -> list[str]:
    """The changed options that can change a stage's shards: its own, how shards are cut, and those of the stages before."""
    earlier = {
        "ingest": (),
        "resample": ("ingest", "filter", "limit"),
        "mix": ("ingest", "filter", "limit", "seed", "resample", "mix"),
    }
    bearing = {"store", stage.NAME, *earlier[stage.NAME]} if stage.NAME != "ingest" else {"store", "limit"}
    return [change for change in changed if re.split(r"[.:]", change)[0] in bearing]


@dataclass(frozen=True, eq=False)
class _Part:
    """A stage of the build and its jobs, in the order of its shards. name: `ingest aihub`, `resample`, `mix`."""

    name: str
    stage: Stage
    options: Options
    plan: Plan
    setting: Setting

    @cached_property
    def shards(self) -> list[Shard]:
        """What the jobs are done in."""
        return engine.cut(self.stage, self.options, self.plan, self.setting.shard_clips)

    def missing(self) -> list[Shard]:
        """Those that are not there, or not for good."""
        folder = self.setting.folder
        return [shard for shard in self.shards if commits.read(folder, shard.name, self.stage, settled=True) is None]

    def seconds(self) -> NDArray[np.float64]:
        """Of audio, float64 [jobs]; guessed from the files' sizes where nobody has opened them."""
        known = engine.durations(self.plan)
        sizes = frames.from_arrow(self.plan.table(names=("at_size",)))
        return (
            frames.numbers(sizes["at_size"]) / PCM_BYTES_A_SECOND if not known.any() and len(sizes.columns) else known
        )


def _state(
    name: str, stage: Stage, options: Options, plan: Plan, setting: Setting, changed: Sequence[str]
) -> StageState:
    part = _Part(name, stage, options, plan.ordered(engine.IN_ORDER), setting)
    why = dict(_reasons(part, _bearing(stage, changed)))
    seconds = part.seconds()
    states = []
    for shard in part.shards:
        reason = why.get(shard.name)
        state = "done" if reason is None else "new" if not reason else "stale"
        states.append(
            ShardState(
                shard.name,
                shard.stop - shard.start,
                round(float(seconds[shard.start : shard.stop].sum()), 1),
                state,
                reason or "",
            )
        )
    audio_s = sum(shard.audio_s for shard in states if shard.state != "done")
    disk = int(audio_s * engine.STORED_BYTES_A_SECOND) if stage.stores(options) else 0
    return StageState(name, states, audio_s / _speed(stage.NAME, setting.folder) / setting.workers.width, disk)


def _speed(stage: str, folder: Path) -> float:
    """Seconds of audio done in a second by one worker: measured on the last commits of the stage, else a guess."""
    efforts = [commits.effort(folder, name) for name in commits.committed(folder) if name.startswith(f"{stage}-")][-50:]
    audio = sum(effort.audio_s for effort in efforts if effort)
    work = sum(effort.work_s for effort in efforts if effort)
    return audio / work if audio and work else SPEED[stage]


def _reasons(part: _Part, changed: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(name, why it is stale) of each missing shard; '' where nothing like it was ever made."""
    folder, missing = part.setting.folder, part.missing()
    names = {shard.name for shard in part.shards}
    before = {
        name for held in ledger.builds(folder) if part.name in held.parts for name in held.parts[part.name].shards
    }
    committed = set(commits.committed(folder))
    there = sorted((before - names) & committed)
    of_id = {row_id: name for name in there for row_id in commits.ids(folder, name)} if missing else {}
    sizes = Counter(of_id.values())
    ids = part.plan.table(names=("id",)).column("id").to_pylist()
    told = part.options.model_dump(mode="json", exclude=set(part.stage.PLANNED))
    for shard in missing:
        own = ids[shard.start : shard.stop]
        if shard.name in committed | before:
            yield shard.name, "its audio or its commit was lost or damaged, or recordings could not be read"
            continue
        why = _why(own, of_id, sizes, told, folder)
        yield shard.name, "; ".join(changed) if why and changed else why


def _why(
    own: Sequence[str], of_id: Mapping[str, str], sizes: Mapping[str, int], told: Mapping[str, Any], folder: Path
) -> str:
    old = sorted({of_id[row_id] for row_id in own if row_id in of_id})
    if not old:
        return ""
    effort = commits.effort(folder, old[0])
    if effort is not None and (options := list(_differences("", effort.options, dict(told)))):
        return "option " + ", ".join(options)
    known = sum(row_id in of_id for row_id in own)
    gone = sum(sizes[name] for name in old) - known
    if known == len(own) and not gone:
        return "the source, the noise or the parameters of some of its clips changed"
    parts = [
        f"{len(own) - known} clips came in" if len(own) > known else "",
        f"{gone} clips that were with them are no longer" if gone > 0 else "",
    ]
    return " and ".join(part for part in parts if part)
