"""What the commands share: options common to all, the setting of the work, progress, printing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import BaseModel, ValidationError
from tqdm import tqdm

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.cli import fields
from pipeline.core.errors import PrepError, RecipeError, did_you_mean, to_install
from pipeline.engine import lock, recipe
from pipeline.engine import workers as crew
from pipeline.engine.recipe import Recipe, readable
from pipeline.engine.run import SHARD_CLIPS, Progress, Setting, Step, Unfinished
from pipeline.engine.status import Ledger, forget_slices
from pipeline.engine.steps import Ran, Watch

F = TypeVar("F", bound=Callable[..., Any])
M = TypeVar("M", bound=BaseModel)
MANIFESTS = Path("manifests")
WHOLE, GATHER = (1, 1), (0, 0)  # slices: all shards, none


@dataclass(frozen=True, slots=True)
class Common:
    """The options that every stage has."""

    out: Path | None
    jobs: int
    limit: int | None
    dry_run: bool
    json: bool
    root: tuple[str, ...]
    shard: tuple[int, int]
    scheduler: str | None
    seed: int
    shard_clips: int


def run_options(*without: str) -> Callable[[F], F]:
    """--out, --jobs, --seed, --limit, --dry-run, --json, --root, --shard, --scheduler, for a command that takes a recipe.

    without: names of those that would do nothing there.
    """
    return _options(
        [*_ALL, click.option("--seed", type=int, help="seed of every draw  [default: the recipe's]")], without
    )


def stage_common(*without: str) -> Callable[[F], F]:
    """The same for a stage, and --shard-clips, which a recipe says itself."""
    return _options([*_ALL, *_STAGES], without)


def _options(options: Sequence[Callable[..., Any]], without: Sequence[str]) -> Callable[[F], F]:
    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        held = [parameter for parameter in command.__click_params__ if parameter.name not in without]  # type: ignore[attr-defined]
        command.__click_params__ = held  # type: ignore[attr-defined]
        return command

    return decorate


def _slice(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    """`3/8` as (3, 8)."""
    if value is None:
        return 1, 1
    found = re.fullmatch(r"(\d+)/(\d+)", value)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise click.BadParameter(f"found {value!r}, expected I/N with I from 1 to N, such as 3/8")
    return int(found[1]), int(found[2])


_ALL = [
    click.option("--out", type=click.Path(path_type=Path), help="manifest to write (audio lies beside it, in audio/)"),
    click.option(
        "--jobs", type=click.IntRange(1), default=crew.cores(), show_default=True, help="processes that do the work"
    ),
    click.option(
        "--limit", type=click.IntRange(1), help="at most this many rows of each kind (speech, noise), a fixed sample"
    ),
    click.option("--dry-run", is_flag=True, help="say what would be done; write nothing"),
    click.option("--json", is_flag=True, help="answer in JSON"),
    click.option(
        "--root", multiple=True, metavar="NAME=DIR", help="where a corpus lies; else PREP_ROOT_NAME, else prep.toml"
    ),
    click.option(
        "--shard",
        metavar="I/N",
        callback=_slice,
        help="do only the I-th of N slices of the work (SLURM arrays, several machines)",
    ),
    click.option(
        "--scheduler", metavar="TCP", help="do the work on Dask workers: tcp://host:8786 (needs the extra [cluster])"
    ),
]
_STAGES = [
    click.option("--seed", type=int, default=0, show_default=True, help="seed of every draw"),
    click.option(
        "--shard-clips",
        type=click.IntRange(1),
        default=SHARD_CLIPS,
        show_default=True,
        help="mean number of clips in a shard",
    ),
]


def common_of(options: dict[str, Any]) -> Common:
    """Takes the common options out of a command's arguments; those that it does not offer have their defaults."""
    given = {name: options.pop(name) for name in list(options) if name in Common.__dataclass_fields__}
    return Common(**(_DEFAULTS | given))


_DEFAULTS: dict[str, Any] = {
    "out": None,
    "jobs": 1,
    "limit": None,
    "dry_run": False,
    "json": False,
    "root": (),
    "shard": WHOLE,
    "scheduler": None,
    "seed": 0,
    "shard_clips": SHARD_CLIPS,
}


def recipe_of(path: str, options: dict[str, Any]) -> tuple[Recipe, Common]:
    """The recipe of a command, and its options: shard size is the recipe's, and so is the seed unless --seed is given."""
    chosen = recipe.read(recipe.find(path))
    seed = options.pop("seed", None)
    if seed is not None:
        chosen = replace(chosen, seed=seed)
    return chosen, common_of(options | {"seed": chosen.seed, "shard_clips": chosen.store.shard_clips})


def setting(common: Common, folder: Path, roots: Roots, book: Ledger | None = None) -> Setting:
    """Where and by whom the work is done."""
    return Setting(folder.absolute(), roots, _crew(common), common.shard_clips, common.shard, book)


def _crew(common: Common) -> crew.Crew:
    if common.scheduler is None:
        return crew.of(common.jobs)
    try:
        cluster = import_module("pipeline.engine.cluster")
    except ModuleNotFoundError as error:
        raise PrepError(f"--scheduler needs the package {error.name}: {to_install('cluster')}") from None
    workers: crew.Crew = cluster.Dask(common.scheduler)
    return workers


@contextmanager
def at_work(common: Common, out: Path, roots: Roots, told: Mapping[str, Any]) -> Iterator[Setting]:
    """The setting of a build that writes `out`: its folder locked, its progress noted down. told: its options."""
    whole = common.shard in (WHOLE, GATHER)
    name = out.stem if whole else f"{out.stem}.{common.shard[0]}of{common.shard[1]}"
    book = Ledger(out.parent.absolute(), name, {**told, "seed": common.seed})
    with lock.held(out.parent, say, shared=not whole):
        where = setting(common, out.parent, roots, book)
        try:
            with crew.serving(where.workers):
                yield where
        except Unfinished as error:
            if common.shard == GATHER:
                raise
            click.echo(f"slice {common.shard[0]}/{common.shard[1]} is done as far as it goes. {error}")
            raise click.exceptions.Exit(0) from None
        book.finish()
        if whole:
            forget_slices(out.parent, out.stem)


def roots_told(flags: Sequence[str]) -> Roots:
    """The roots told by --root, the environment and prep.toml. RecipeError for a --root that is not NAME=DIR."""
    faults = [
        f"--root {item}: expected NAME=DIR, such as --root aihub=/data/aihub170" for item in flags if "=" not in item
    ]
    known = corpora.names()
    names = [item.split("=", 1)[0].lower().replace("_", "-") for item in flags]
    faults += [
        f'--root {name}: unknown corpus "{name}"{did_you_mean(name, known)}'
        for name, item in zip(names, flags, strict=True)
        if "=" in item and name not in known
    ]
    if faults:
        raise RecipeError(faults)
    return Roots.find(dict(item.split("=", 1) for item in flags), os.environ, Path.cwd())


def options_of(model: type[M], values: Mapping[str, Any]) -> M:
    """The stage's options from a command's arguments. RecipeError names every fault."""
    try:
        return model.model_validate(fields.typed(values))
    except ValidationError as error:
        raise RecipeError([_as_flag(fault, model) for fault in readable(error, model)]) from None


def _as_flag(fault: str, model: type[BaseModel]) -> str:
    """A fault under the name that is typed: `--max-s: ...` for `max_s: ...`."""
    name, colon, rest = fault.partition(":")
    info = model.model_fields.get(name.split(".")[0])
    return f"{fields.flag(name.split('.')[0], info)}{colon}{rest}" if info else fault


def watch() -> Watch:
    """Progress bars on stderr: clips, hours of audio per second, time left. Silent where stderr is no terminal."""
    return Watch(_bar)


def _bar(stage: str, jobs: int) -> Progress:
    bar = tqdm(total=jobs, desc=stage, unit=" clips", disable=None, leave=False, smoothing=0.1, dynamic_ncols=True)
    started, heard = time.monotonic(), 0.0

    def advance(step: Step) -> None:
        nonlocal heard
        if step.done_before and not bar.disable:
            bar.initial = bar.n = step.clips
            bar.refresh()
            return
        heard += step.seconds
        bar.set_postfix_str(f"{heard / 3600 / max(time.monotonic() - started, 1e-3):.2f} h of audio/s", refresh=False)
        bar.update(step.clips)
        if bar.n >= jobs:
            bar.close()

    return advance


def line(ran: Ran, name: str) -> str:
    """`ingest         20 in       19 kept       1 dropped   truncated 1`."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in ran.reasons().items())
    return f"{name:<18}{ran.jobs:>9,} in {len(ran.rows):>9,} kept {len(ran.drops):>9,} dropped   {reasons}".rstrip()


def report(ran: Ran, name: str, common: Common, path: Path | None) -> None:
    """The stage's line, notes and where its manifest is; or all of it as JSON."""
    if common.json:
        told = {
            "stage": name,
            "in": ran.jobs,
            "kept": len(ran.rows),
            "dropped": len(ran.drops),
            "reasons": ran.reasons(),
        }
        told |= {"notes": list(ran.notes), "manifest": str(path) if path else None}
        if ran.claims is not None and ran.claims.inventory is not None:
            told["inventory"] = ran.claims.inventory
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    click.echo(line(ran, name))
    for note in ran.notes:
        click.echo(f"  {note}")
    if path is not None:
        click.echo(f"  -> {path}")


def say(text: str) -> None:
    """A sentence beside the answer: stderr, so that stdout stays clean."""
    click.echo(text, err=True)
    sys.stderr.flush()
