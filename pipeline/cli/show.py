"""prep show, drops."""

from __future__ import annotations

from pathlib import Path

import click

from pipeline.cli.emit import AS_JSON, emit
from pipeline.cli.options import MANIFEST
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import sample
from pipeline.core.row import Drop
from pipeline.inspect.show import lines, summary


@click.command()
@MANIFEST
@AS_JSON
def show(path: Path, as_json: bool) -> None:
    """Summarise MANIFEST: counts and hours by column, levels, drops by reason, provenance.

    \b
    Example:
      prep show manifests/mixed.parquet
    """
    answer = summary(path)
    emit(answer, as_json, lambda: lines(answer))


@click.command()
@MANIFEST
@click.option("--reason", help="only drops for this reason")
@click.option("--limit", type=click.IntRange(1), help="at most so many lines  [default: all]")
@AS_JSON
def drops(path: Path, reason: str | None, limit: int | None, as_json: bool) -> None:
    """List what was dropped before MANIFEST: its id, the stage, the reason, and what decided.

    \b
    Example:
      prep drops manifests/mixed.parquet --reason too_short --limit 20
    """
    dropped = manifest.read_drops(path if not path.name.endswith(".drops.parquet") else manifest.of_drops(path))
    reasons = sample(frames.codes(dropped["reason"])[1], 20)
    if reason is not None:
        dropped = frames.pick(dropped, frames.equal(dropped["reason"], reason))
    listed = [(drop.id, drop.stage, drop.reason, drop.detail) for drop in frames.rows(dropped, Drop)]
    shown = listed[:limit]
    names = ("id", "stage", "reason", "detail")
    more = [f"... and {len(listed) - len(shown):,} more"] if len(shown) < len(listed) else []
    each = [dict(zip(names, one, strict=True)) for one in shown]
    answer = {"manifest": path.name, "count": len(listed), "drops": each}
    emit(
        answer,
        as_json,
        lambda: (
            [[names, *shown], *more]
            if shown
            else [f"no drops of {reason}: there are {reasons}" if reason and reasons else "no drops"]
        ),
    )
