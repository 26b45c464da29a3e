"""prep doctor."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.options import AS_JSON, ROOT, find_roots
from pipeline.engine.workers import cores
from pipeline.inspect import doctor as machine
from pipeline.inspect.doctor import Check, Pace

_MARK = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


@click.command()
@AS_JSON
@ROOT
def doctor(as_json: bool, roots: dict[str, str]) -> None:
    """Look at this machine: packages, decoders, encodings, disk, roots, and how fast it works. Exit 1 where something is at fault.

    \b
    Example:
      prep doctor
      prep doctor --root aihub=/data/aihub170
    """
    found = []
    for check in machine.checks(find_roots(roots), Path.cwd()):
        found.append(check)
        if not as_json:
            click.echo(_text(check))
    pace = machine.pace(cores(), time.perf_counter)
    if as_json:
        told = {"hours_a_second": round(pace.hours_a_second, 3), "aihub_minutes": round(pace.aihub_minutes)} | asdict(
            pace
        )
        checks = [{"about": c.about, "state": c.state, "found": c.text, "remedy": c.remedy} for c in found]
        click.echo(json.dumps({"checks": checks, "pace": told}, ensure_ascii=False))
    else:
        click.echo(_pace_text(pace))
    raise click.exceptions.Exit(int(any(check.state == "fault" for check in found)))


def _text(check: Check) -> str:
    remedy = f"\n{'':24}-> {check.remedy}" if check.remedy else ""
    return f"{_MARK[check.state]} {check.about:<18}{check.text}{remedy}"


def _pace_text(pace: Pace) -> str:
    hours = pace.aihub_minutes / 60
    return (
        f"{'':6}{'pace':<18}{pace.hours_a_second:.2f} h of audio/s with {pace.processes} processes; AI-Hub whole "
        f"({machine.AIHUB_CLIPS:,} recordings, {machine.AIHUB_H} h) with CochlScene: about "
        f"{f'{hours:.1f} h' if hours >= 1 else f'{pace.aihub_minutes:.0f} min'}, if the disk keeps up"
    )
