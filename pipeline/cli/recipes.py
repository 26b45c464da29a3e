"""prep run, check, gather: a whole build by its recipe."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from pipeline.cli.common import GATHER, MANIFESTS, Common, at_work, recipe_of, report, roots_told, run_options, watch
from pipeline.cli.folder import describe
from pipeline.core.errors import PrepError, RecipeError
from pipeline.engine import recipe
from pipeline.engine import steps as build
from pipeline.engine.recipe import Recipe
from pipeline.engine.steps import Ran


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@run_options()
def run(path: str, **options: Any) -> None:
    """Run every stage of RECIPE and write manifests/NAME.parquet. What is done already is not done again.

    An utterance that is mixed is not stored without noise; use the stages one by one where you want that as well.

    \b
    Example:
      prep run recipes/demo.toml --root aihub=/data/aihub170 --root cochlscene=/data/cochlscene
    """
    chosen, common = recipe_of(path, options)
    if common.dry_run:
        describe(chosen, common)
        return
    run_recipe(chosen, common.out or MANIFESTS / f"{chosen.name}.parquet", common)


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@run_options("jobs", "dry_run", "shard", "scheduler")
def gather(path: str, **options: Any) -> None:
    """Write the manifest of RECIPE from what the slices of `prep run RECIPE --shard I/N` have done; do no work.

    \b
    Example:
      prep gather recipes/demo.toml
    """
    chosen, common = recipe_of(path, options)
    common = replace(common, shard=GATHER)
    run_recipe(chosen, common.out or MANIFESTS / f"{chosen.name}.parquet", common)


def run_recipe(chosen: Recipe, out: Path, common: Common) -> None:
    """Runs a recipe's stages, reporting each, and writes its manifest; a slice of a run writes none."""
    roots = roots_told(common.root)
    _missing_roots(chosen, roots)
    told = chosen.canonical() | ({"limit": common.limit} if common.limit else {})
    rans: list[Ran] = []
    with at_work(common, out, roots, told) as where:
        for ran in build.run(chosen, where, common.limit, watch()):
            rans.append(ran)
            report(ran, ran.title, common, None)
        if not len(rans[-1].rows):
            raise PrepError(f"{chosen.name}: not one row is left after {rans[-1].stage}; nothing was written")
        build.written(out, rans, told, chosen.seed, {})
    if not common.json:
        click.echo(f"  -> {out}")


def _missing_roots(chosen: Recipe, roots: Any) -> None:
    """Every root that the recipe needs, checked before any work."""
    faults = []
    for corpus in chosen.ingest.corpora:
        try:
            roots[corpus]
        except PrepError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError(faults)


@click.command()
@click.argument("path", metavar="RECIPE", type=click.Path())
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def check(path: str, as_json: bool) -> None:
    """Find every fault of RECIPE at once, before any work, and execute its examples.

    \b
    Example:
      prep check recipes/paper.toml
    """
    place = recipe.find(path)
    try:
        held = recipe.read(place)
    except RecipeError as error:
        if not as_json:
            raise
        click.echo(json.dumps({"recipe": str(place), "faults": error.faults}, ensure_ascii=False))
        raise SystemExit(1) from None
    if as_json:
        click.echo(json.dumps({"recipe": str(place), "faults": [], "examples": len(held.examples)}, ensure_ascii=False))
    else:
        click.echo(f"{place}: no fault; {len(held.examples)} examples hold")
