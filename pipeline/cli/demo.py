"""prep demo."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click

import pipeline
from pipeline.cli.common import MANIFESTS, recipe_of, run_options
from pipeline.cli.recipes import run_recipe
from pipeline.cli.show import summarised
from pipeline.core import files
from pipeline.inspect.show import text

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
    roots = tuple(f"{name}={CORPUS / folder}" for name, folder in maker().ROOTS.items())
    out = common.out or MANIFESTS / "demo.parquet"
    run_recipe(chosen, out, replace(common, root=(*roots, *common.root)))
    if not common.json:
        click.echo("\n" + text(summarised(out)))


def maker() -> Any:
    """The module that makes the demo corpus, `pipeline.demo`: in an installed wheel in the package, else in examples/demo."""
    if "pipeline.demo" not in sys.modules:
        package = Path(pipeline.__file__).parent
        folder = next(path for path in (package / "demo", package.parent / "examples/demo") if path.is_dir())
        spec = spec_from_file_location(
            "pipeline.demo", folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None
        assert spec.loader is not None
        sys.modules["pipeline.demo"] = pipeline.demo = module_from_spec(spec)
        spec.loader.exec_module(sys.modules["pipeline.demo"])
    return sys.modules["pipeline.demo"]


def _make(folder: Path) -> None:
    """The demo corpus, whole or not at all."""
    half = folder.with_name(f"{files.TEMPORARY}{folder.name}")
    for old in (half, folder):
        shutil.rmtree(old, ignore_errors=True)
    maker().make(half)
    (half / DONE).touch()
    half.rename(folder)
