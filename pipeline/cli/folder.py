"""prep plan, status, clean: what a folder of manifests holds, lacks, and no longer needs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.cli.common import MANIFESTS, Common, recipe_of, roots_told, run_options, setting
from pipeline.cli.emit import emit
from pipeline.core import manifest
from pipeline.core.errors import ManifestError
from pipeline.engine import cache as commits
from pipeline.engine import lock
from pipeline.engine import status as ledger
from pipeline.engine.plan import StageState, changes, survey
from pipeline.engine.recipe import Recipe
from pipeline.stages.store import WORK_FOLDER

MOST_SHARDS = 12  # listed one by one; more are counted by reason


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@run_options("dry_run", "shard", "scheduler")
def plan(path: str, **options: Any) -> None:
    """Say what `prep run RECIPE` would do: shards done, stale (and why) and new; time and disk. Does no work.

    \b
    Example:
      prep plan recipes/demo.toml
    """
    describe(*recipe_of(path, options))


def describe(chosen: Recipe, common: Common) -> None:
    """Prints what a run of the recipe would do."""
    out = common.out or MANIFESTS / f"{chosen.name}.parquet"
    changed = changes(chosen, out.parent)
    states = list(survey(chosen, setting(common, out.parent, roots_told(common.root)), common.limit))
    if common.json:
        told = [asdict(state) for state in states]
        click.echo(json.dumps({"recipe": chosen.name, "changed": changed, "stages": told}, ensure_ascii=False))
        return
    for change in changed:
        click.echo(f"changed  {change}")
    for state in states:
        click.echo("\n".join(_stage_lines(state)))
    disk, work = sum(state.disk_bytes for state in states), sum(state.work_s for state in states)
    later = "; the stages that wait come on top" if any(not state.known for state in states) else ""
    click.echo(f"to do: about {_time(work)} with {common.jobs} processes, {disk / 1e9:.2f} GB of audio{later}")


def _stage_lines(state: StageState) -> Iterator[str]:
    if not state.known:
        yield f"{state.part:<18} waits for the stages before it"
        return
    count = Counter(shard.state for shard in state.shards)
    clips = sum(shard.clips for shard in state.to_do())
    yield f"{state.part:<18}{count['done']:>6} done {count['stale']:>6} stale {count['new']:>6} new   {clips:,} clips to do"
    stale = [shard for shard in state.shards if shard.state == "stale"]
    if len(stale) <= MOST_SHARDS:
        yield from (f"    {shard.name}  {shard.clips} clips: {shard.why}" for shard in stale)
    else:
        yield from (
            f"    {number} shards: {why}" for why, number in Counter(shard.why for shard in stale).most_common()
        )


def _time(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=MANIFESTS)
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def status(folder: Path, as_json: bool) -> None:
    """Say how far the builds in FOLDER (manifests/) are, running or stopped.

    \b
    Example:
      prep status
    """
    _refuse_no_folder(folder)
    who, builds = lock.holder(folder), ledger.builds(folder)
    if as_json:
        click.echo(json.dumps({"running": who, "builds": [asdict(build) for build in builds]}, ensure_ascii=False))
        return
    click.echo(f"{folder}: {f'{who} is at work' if who else 'nobody is at work'}")
    for build in builds:
        click.echo(
            f"{build.name}: {'finished' if build.finished else 'not finished: the same command goes on from here'}"
        )
        for part, held in build.parts.items():
            click.echo(f"  {part:<20}{held.done:>10,} of {held.clips:>10,} clips   {len(held.shards):>5} shards")


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=MANIFESTS)
@click.option("--yes", is_flag=True, help="remove without asking")
@click.option("--unfinished", is_flag=True, help="also what builds hold that were begun and not finished")
def clean(folder: Path, yes: bool, unfinished: bool) -> None:
    """Remove what no manifest and no unfinished build in FOLDER (manifests/) refers to, after saying what.

    \b
    Example:
      prep clean --yes
    """
    _refuse_no_folder(folder)
    with lock.held(folder, lambda text: click.echo(text, err=True)):
        dead = [build.name for build in ledger.builds(folder) if not _alive(folder, build, unfinished)]
        files = _unreferenced(folder, dead)
        if not files:
            click.echo(f"{folder}: nothing to remove")
            return
        by_kind = Counter(path.parent.relative_to(folder).as_posix() for path in files)
        sizes = Counter[str]()
        for path in files:
            sizes[path.parent.relative_to(folder).as_posix()] += path.stat().st_size
        sums = [("in", "files", "MB"), *((kind, n, sizes[kind] / 1e6) for kind, n in sorted(by_kind.items()))]
        emit(sums, False, lambda: [sums])
        if not yes and not click.confirm("remove them?"):
            click.echo("nothing was removed")
            return
        for path in files:
            path.unlink(missing_ok=True)
        for name in dead:
            ledger.forget(folder, name)
        click.echo(f"{folder}: {len(files)} files removed, {sum(sizes.values()) / 1e6:.1f} MB")


def _alive(folder: Path, build: ledger.Build, unfinished: bool) -> bool:
    return (folder / f"{build.name}.parquet").exists() or not (build.finished or unfinished)


def _unreferenced(folder: Path, dead: list[str]) -> list[Path]:
    """Commits, audio and decoded noise that no living build is made of; audio that a manifest names stays in any case."""
    parts = [part for build in ledger.builds(folder) if build.name not in dead for part in build.parts.values()]
    used = {shard for part in parts for shard in part.shards} | _named(folder)
    commits_left = [commits.commit_path(folder, name) for name in commits.committed(folder) if name not in used]
    audio = [path for path in sorted((folder / AUDIO_FOLDER).glob("*.tar")) if path.stem not in used]
    return [*commits_left, *audio, *sorted((folder / WORK_FOLDER / "noise").glob("*.pcm"))]


def _named(folder: Path) -> set[str]:
    """Shards that the manifests of the folder name."""
    found: set[str] = set()
    for path in sorted(folder.glob("*.parquet")):
        if not path.name.endswith(".drops.parquet"):
            try:
                table = manifest.read(path).table
            except ManifestError:
                continue
            for column in ("shard", "speech_shard", "noise_shard"):
                found |= {str(name).removesuffix(".tar") for name in table.codes(column)[1] if name}
    return found


def _refuse_no_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise ManifestError(f"{folder}: no such folder of manifests; go to the folder where you ran prep, or name one")
