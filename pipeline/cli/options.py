"""Options that several commands have."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from pipeline import corpora
from pipeline.cli.emit import AS_JSON
from pipeline.cli.endings import echo
from pipeline.core.errors import RecipeError
from pipeline.engine.workers import cores

FILE = click.Path(path_type=Path)
MANIFEST = click.argument("path", metavar="MANIFEST", type=FILE)
F = TypeVar("F", bound=Callable[..., Any])
MANIFESTS = Path("manifests")
ALL, NONE = (1, 1), (0, 0)  # slices of the work


def _roots(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """`aihub=/data/aihub170` as {"aihub": "/data/aihub170"}."""
    faults = [
        f"--root {value}: expected NAME=DIR, such as --root aihub=/data/aihub170"
        for value in values
        if "=" not in value
    ]
    if faults:
        raise RecipeError(faults)
    return dict(value.split("=", 1) for value in values)


def _slice(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    """`3/8` as (3, 8)."""
    if value is None:
        return ALL
    match = re.fullmatch(r"(\d+)/(\d+)", value)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise click.BadParameter(f"found {value!r}, expected I/N with I from 1 to N, such as 3/8")
    return int(match[1]), int(match[2])


def exclusions_option(what: str) -> Callable[[F], F]:
    """--write-exclusions FILE; what: is written, as the help says it."""
    text = f"write {what}, for prep filter --exclude FILE"
    return click.option("--write-exclusions", "exclusions", type=FILE, metavar="FILE", help=text)


ROOT = click.option(
    "--root",
    "roots",
    multiple=True,
    metavar="NAME=DIR",
    callback=_roots,
    help="where a corpus lies; else PREP_ROOT_NAME says so, else prep.toml",
)
CORPUS = click.option(
    "--corpus",
    "adapters",
    multiple=True,
    metavar="FILE",
    type=FILE,
    callback=lambda context, parameter, paths: [corpora.load(path) for path in paths],
    expose_value=False,
    is_eager=True,  # the other options may name the corpus
    help="Python file of a corpus of your own (docs/add-a-corpus.md)",
)
JOBS = click.option(
    "--jobs", type=click.IntRange(1), default=cores(), show_default=True, help="how many processes do the work"
)
_WORK = {  # in the order of the help
    "out": click.option("--out", type=FILE, help="manifest to write (its audio lies beside it, in audio/)"),
    "jobs": JOBS,
    "recipe_seed": click.option("--seed", type=int, help="seed of every draw  [default: the recipe's]"),
    "limit": click.option(
        "--limit", type=click.IntRange(1), help="at most this many rows of each kind (speech, noise), a fixed sample"
    ),
    "dry_run": click.option("--dry-run", is_flag=True, help="say what would be done; write nothing"),
    "json": AS_JSON,
    "root": ROOT,
    "corpus": CORPUS,
    "shard": click.option(
        "--shard",
        metavar="I/N",
        callback=_slice,
        help="do only the I-th of N slices of the work (SLURM arrays, several machines)",
    ),
    "scheduler": click.option(
        "--scheduler", metavar="TCP", help="let Dask workers do the work: tcp://host:8786 (needs the extra [cluster])"
    ),
    "wait_s": click.option(
        "--wait-s",
        type=click.FloatRange(0),
        help="with --scheduler: end where no Dask worker is connected for so many seconds  [default: wait]",
    ),
    "seed": click.option("--seed", type=int, default=0, show_default=True, help="seed of every draw"),
    "shard_clips": click.option(
        "--shard-clips", type=click.IntRange(1), help="mean number of clips in a file of audio  [default: 1000]"
    ),
}
STAGE = "out jobs limit dry_run json root corpus shard scheduler wait_s seed shard_clips"
RECIPE = "out jobs recipe_seed limit dry_run json root corpus shard scheduler wait_s"


def work_options(names: str) -> Callable[[F], F]:
    """The options of these names; STAGE and RECIPE are those of a stage, and of a command that takes a recipe."""

    def decorate(command: F) -> F:
        for name in reversed([name for name in _WORK if name in names.split()]):
            command = _WORK[name](command)
        return command

    return decorate


def say(text: str) -> None:
    """Prints a sentence beside the answer, on stderr."""
    echo(text, err=True)
