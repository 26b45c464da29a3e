"""prep demo."""

from __future__ import annotations

import shutil
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click

import pipeline
from pipeline.cli.builds import run_recipe
from pipeline.cli.emit import emit
from pipeline.cli.options import work_options
from pipeline.core import files
from pipeline.inspect.show import lines, summary

CORPUS = Path("demo-corpus")
DONE = "COMPLETE"


@click.command()
@work_options("out jobs recipe_seed limit json root scheduler")
def demo(as_json: bool, **options: Any) -> None:
    """Make a small corpus in the true formats (demo-corpus/) and run recipes/demo.toml on it.

    \b
    Example:
      prep demo
    """
    if not (CORPUS / DONE).exists():
        _make(CORPUS)
    roots = {name: str(CORPUS / folder) for name, folder in example("demo").ROOTS.items()}
    out = run_recipe("demo", as_json, options | {"roots": roots | options["roots"]})
    if not as_json:
        click.echo()
        emit(answer := summary(out), False, lambda: lines(answer))


def example(name: str) -> Any:
    """The module or package NAME of examples/, as `pipeline.NAME`; an installed wheel carries it in the package."""
    if f"pipeline.{name}" not in sys.modules:
        package = Path(pipeline.__file__).parent
        folders = (package, package.parent / "examples")
        path = next(p for f in folders for p in (f / f"{name}.py", f / name / "__init__.py") if p.is_file())
        spec = spec_from_file_location(f"pipeline.{name}", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[spec.name] = module = module_from_spec(spec)
        setattr(pipeline, name, module)
        spec.loader.exec_module(module)
    return sys.modules[f"pipeline.{name}"]


def _make(folder: Path) -> None:
    """The demo corpus, whole or not at all."""
    half = folder.with_name(f"{files.TEMPORARY}{folder.name}")
    for old in (half, folder):
        shutil.rmtree(old, ignore_errors=True)
    example("demo").make(half)
    (half / DONE).touch()
    half.rename(folder)
