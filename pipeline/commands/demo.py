"""prep demo."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pipeline import demo as maker
from pipeline import files
from pipeline.commands.common import MANIFESTS, recipe_of, run_options
from pipeline.commands.recipes import run_recipe
from pipeline.commands.show import summarised
from pipeline.summary import text

CORPUS = Path("demo-corpus")
DONE = "COMPLETE"


@click.command()
@run_options("dry_run", "shard")
def demo(**options: Any) -> None:
    """Make a small corpus in the true formats (demo-corpus/) and run recipes/demo.toml on it.

    \b
    Example:
      prep demo
    """
    chosen, common = recipe_of("demo", options)
    if not (CORPUS / DONE).exists():
        _make(CORPUS)
    roots = tuple(f"{name}={CORPUS / folder}" for name, folder in maker.ROOTS.items())
    out = common.out or MANIFESTS / "demo.parquet"
    run_recipe(chosen, out, replace(common, root=(*roots, *common.root)))
    if not common.json:
        click.echo("\n" + text(summarised(out)))


def _make(folder: Path) -> None:
    """The demo corpus, whole or not at all."""
    half = folder.with_name(f"{files.TEMPORARY}{folder.name}")
    for old in (half, folder):
        shutil.rmtree(old, ignore_errors=True)
    maker.make(half)
    (half / DONE).touch()
    half.rename(folder)
