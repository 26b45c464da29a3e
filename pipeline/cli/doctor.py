"""prep doctor."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import click

from pipeline.cli.emit import emit
from pipeline.cli.options import AS_JSON, ROOT, find_roots
from pipeline.engine.workers import cores
from pipeline.inspect import doctor as machine

_MARK = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


@click.command()
@AS_JSON
@ROOT
def doctor(as_json: bool, roots: dict[str, str]) -> None:
    """Check this machine: packages, decoders, encodings, disk, roots, and how fast it works. Exit 1 if there is a fault.

    \b
    Example:
      prep doctor
      prep doctor --root aihub=/data/aihub170
    """
    checks = []
    for check in machine.checks(find_roots(roots), Path.cwd()):
        checks.append({"about": check.about, "state": check.state, "found": check.text, "remedy": check.remedy})
        if not as_json:  # each as it ends: to count a large corpus takes a while
            click.echo(f"{_MARK[check.state]} {check.about:<18}{check.text}")
            if check.remedy:
                click.echo(f"{'':24}-> {check.remedy}")
    pace = machine.pace(cores(), time.perf_counter)
    minutes = round(pace.aihub_minutes)
    answer = {"hours_a_second": round(pace.hours_a_second, 3), "aihub_minutes": minutes} | asdict(pace)
    whole = f"AI-Hub whole ({machine.AIHUB_CLIPS:,} recordings, {machine.AIHUB_H} h) with CochlScene"
    line = (
        f"{'':6}{'pace':<18}{pace.hours_a_second:.2f} h of audio/s with {pace.processes} processes; {whole}: "
        f"about {f'{minutes / 60:.1f} h' if minutes >= 60 else f'{minutes} min'}, if the disk keeps up"
    )
    emit({"checks": checks, "pace": answer}, as_json, lambda: [line])
    raise click.exceptions.Exit(int(any(check["state"] == "fault" for check in checks)))
