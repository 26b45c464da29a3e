"""prep show."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.emit import AS_JSON, emit
from pipeline.inspect.show import lines, summary


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@AS_JSON
def show(path: Path, as_json: bool) -> None:
    """Summarise MANIFEST: counts and hours by column, levels, drops by reason, provenance.

    \b
    Example:
      prep show manifests/mixed.parquet
    """
    answer = summary(path)
    emit(answer, as_json, lambda: lines(answer))
