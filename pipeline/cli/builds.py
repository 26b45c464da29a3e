"""prep run, check, plan, gather, status, clean: whole builds by a recipe, and the folder in which they lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline import api, corpora
from pipeline.audio.scenes import SUFFIX, Scene
from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.cli.emit import AS_JSON, emit, table
from pipeline.cli.endings import echo
from pipeline.cli.fields import typed
from pipeline.cli.options import ALL, FILE, MANIFESTS, NONE, RECIPE, say, work_options
from pipeline.cli.stages import emit_step, slices
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import ManifestError, RecipeError
from pipeline.engine import cache, lock, recipe
from pipeline.engine import status as statuses
from pipeline.engine.plan import StageState, changes
from pipeline.stages.store import WORK_FOLDER

MOST_SHARDS = 12  # so many are listed one by one; more are counted by reason


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@work_options(RECIPE)
def run(path: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Run every stage of RECIPE and write manifests/NAME.parquet. What is done already is not done again.

    An utterance that is mixed is not stored without noise; use the stages one by one where you want that as well.

    \b
    Example:
      prep run recipes/demo.toml --root aihub=/data/aihub170 --root cochlscene=/data/cochlscene
    """
    if dry_run:
        emit_plan(path, as_json, options)
    else:
        run_recipe(path, as_json, options)


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@work_options("out recipe_seed limit json root corpus")
def gather(path: str, as_json: bool, **options: Any) -> None:
    """Write the manifest of RECIPE from what the slices of `prep run RECIPE --shard I/N` have done; do no work.

    \b
    Example:
      prep gather recipes/demo.toml
    """
    run_recipe(path, as_json, options | {"shard": NONE})


def run_recipe(path: str, as_json: bool, options: dict[str, Any]) -> Path:
    """Runs the stages of a recipe, prints each as it ends, and returns where the manifest is."""
    with slices(options.get("shard", ALL)):
        made = api.run(path, folder=MANIFESTS, report=lambda step: emit_step(step, as_json), **typed(options))
    if not as_json:
        echo(f"  -> {made.path}")
    return made.path


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@AS_JSON
def check(path: str, as_json: bool) -> None:
    """Find every fault of RECIPE at once, before any work, and execute its examples and those of its lexicon.

    \b
    Example:
      prep check recipes/paper.toml
    """
    place = recipe.find(path)
    try:
        chosen = recipe.read(place)
    except RecipeError as error:
        if not as_json:
            raise
        emit({"recipe": str(place), "faults": error.faults}, as_json)
        raise SystemExit(1) from None
    spotter = chosen.lexicon.spotter
    answer = {
        "recipe": str(place),
        "faults": [],
        "examples": len(chosen.examples),
        "lexicon_examples": len(spotter.examples) if spotter else 0,
    }
    counts = f"{answer['examples']} examples and {answer['lexicon_examples']} of its lexicon hold"
    emit(answer, as_json, lambda: [f"{place}: no fault; {counts}"])


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@work_options("out jobs recipe_seed limit json root corpus")
def plan(path: str, as_json: bool, **options: Any) -> None:
    """Say what `prep run RECIPE` would do: shards done, stale (and why) and new; time and disk. Does no work.

    \b
    Example:
      prep plan recipes/demo.toml
    """
    emit_plan(path, as_json, options)


def emit_plan(path: str, as_json: bool, options: dict[str, Any]) -> None:
    """Prints what a run of the recipe would do."""
    chosen = api.read_recipe(path, options["seed"])
    work = {name: options[name] for name in ("out", "jobs", "limit", "roots")}
    with api.in_use(chosen, corpora.find_roots(options["roots"])):
        changed = changes(chosen, (options["out"] or MANIFESTS / "recipe").parent)
    states = api.plan(chosen, folder=MANIFESTS, **typed(work))

    def lines() -> Iterator[str]:
        yield from (f"changed  {change}" for change in changed)
        for state in states:
            yield from _lines(state)
        seconds, disk = sum(state.work_s for state in states), sum(state.disk_bytes for state in states)
        time = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        time = time if seconds < 5400 else f"{seconds / 3600:.1f} h"
        later = "" if all(state.known for state in states) else "; the stages that wait come on top"
        yield f"to do: about {time} with {options['jobs']} processes, {disk / 1e9:.2f} GB of audio{later}"

    answer = {"recipe": chosen.name, "changed": changed, "stages": [asdict(state) for state in states]}
    emit(answer, as_json, lines)


def _lines(state: StageState) -> Iterator[str]:
    """A stage of a plan: how many of its shards are done, stale and new, and why they are stale."""
    if not state.known:
        yield f"{state.part:<18} waits for the stages before it"
        return
    count = Counter(shard.state for shard in state.shards)
    clips = sum(shard.clips for shard in state.to_do())
    counts = f"{count['done']:>6} done {count['stale']:>6} stale {count['new']:>6} new"
    yield f"{state.part:<18}{counts}   {clips:,} clips to do"
    stale = [shard for shard in state.shards if shard.state == "stale"]
    if len(stale) <= MOST_SHARDS:
        yield from (f"    {shard.name}  {shard.clips} clips: {shard.why}" for shard in stale)
    else:
        reasons = Counter(shard.why for shard in stale)
        yield from (f"    {number} shards: {why}" for why, number in reasons.most_common())


@click.command()
@click.argument("folder", type=FILE, default=MANIFESTS)
@AS_JSON
def status(folder: Path, as_json: bool) -> None:
    """Say how far the builds in FOLDER (manifests/) are, running or stopped.

    \b
    Example:
      prep status
    """
    _refuse_no_folder(folder)
    who, builds = lock.holder(folder), statuses.builds(folder)

    def lines() -> Iterator[str]:
        yield f"{folder}: {f'{who} is at work' if who else 'nobody is at work'}"
        for build in builds:
            state = "finished" if build.finished else "not finished: the same command goes on from here"
            yield f"{build.name}: {state}"
            for name, part in build.parts.items():
                clips = f"{part.done:>10,} of {part.clips:>10,} clips"
                yield f"  {name:<20}{clips}   {len(part.shards):>5} shards"

    emit({"running": who, "builds": [asdict(build) for build in builds]}, as_json, lines)


@click.command()
@click.argument("folder", type=FILE, default=MANIFESTS)
@click.option("--yes", is_flag=True, help="remove without asking")
@click.option("--unfinished", is_flag=True, help="also remove what belongs to builds that were never finished")
def clean(folder: Path, yes: bool, unfinished: bool) -> None:
    """Remove files that no manifest and no unfinished build in FOLDER (manifests/) refers to, after saying which.

    \b
    Example:
      prep clean --yes
    """
    _refuse_no_folder(folder)
    with lock.locked(folder, say):
        builds = statuses.builds(folder)
        gone = [build for build in builds if not (folder / f"{build.name}.parquet").exists()]
        dead = [build.name for build in gone if build.finished or unfinished]
        parts = [part for build in builds if build.name not in dead for part in build.parts.values()]
        used = {shard for part in parts for shard in part.shards} | _named(folder)
        commits = [cache.commit_path(folder, name) for name in cache.committed(folder) if name not in used]
        audio = [path for path in sorted((folder / AUDIO_FOLDER).glob("*.tar")) if path.stem not in used]
        noise = sorted((folder / WORK_FOLDER / "noise").glob("*.pcm"))  # decoded noise is quickly made again
        files = [*commits, *audio, *noise]
        if not files:
            echo(f"{folder}: nothing to remove")
            return
        count, size = Counter[str](), Counter[str]()
        for path in files:
            count[path.parent.relative_to(folder).as_posix()] += 1
            size[path.parent.relative_to(folder).as_posix()] += path.stat().st_size
        rows = [("in", "files", "MB"), *((place, count[place], size[place] / 1e6) for place in sorted(count))]
        echo("\n".join(table(rows)))
        if not yes and not click.confirm("remove them?"):
            echo("nothing was removed")
            return
        for path in files:
            path.unlink(missing_ok=True)
        for name in dead:
            statuses.remove(folder, name)
        echo(f"{folder}: {len(files)} files removed, {sum(size.values()) / 1e6:.1f} MB")


def _named(folder: Path) -> set[str]:
    """The shards in which audio of the folder's manifests lies."""
    names: set[str] = set()
    columns = ("shard", "speech_shard", "noise_shard")
    for path in sorted(folder.glob("*.parquet")):
        if path.name.endswith(".drops.parquet"):
            continue
        try:
            is_scene = path.name.endswith(SUFFIX)
            rows = Scene(path).frame if is_scene else manifest.read_columns(path, columns)
        except ManifestError:
            continue
        for column in [name for name in columns if name in rows.columns]:
            names |= {str(name).removesuffix(".tar") for name in frames.codes(rows[column])[1] if name}
    return names


def _refuse_no_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder of manifests; go to the folder where you ran prep, or name one")
