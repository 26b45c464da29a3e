"""prep demo, corpora, doctor: what this machine has, and a first run on it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import click

import pipeline
from pipeline import corpora as adapters
from pipeline.cli.builds import run_recipe
from pipeline.cli.emit import AS_JSON, emit
from pipeline.cli.endings import echo
from pipeline.cli.options import CORPUS, ROOT, work_options
from pipeline.core import files
from pipeline.engine.workers import cores
from pipeline.inspect import doctor as checks
from pipeline.inspect.show import lines as summary_lines
from pipeline.inspect.show import summary

DEMO_CORPUS = Path("demo-corpus")
COMPLETE = "COMPLETE"  # the file that the demo corpus has when it is whole
_MARK = {"ok": "ok   ", "note": "note ", "fault": "FAULT"}


@click.command()
@work_options("out jobs recipe_seed limit json root scheduler")
def demo(as_json: bool, **options: Any) -> None:
    """Make a small corpus in the true formats (demo-corpus/) and run recipes/demo.toml on it.

    \b
    Example:
      prep demo
    """
    maker = example("demo")
    if not (DEMO_CORPUS / COMPLETE).exists():
        half = DEMO_CORPUS.with_name(f"{files.TEMPORARY}{DEMO_CORPUS.name}")
        for old in (half, DEMO_CORPUS):
            shutil.rmtree(old, ignore_errors=True)
        maker.make(half)
        (half / COMPLETE).touch()
        half.rename(DEMO_CORPUS)
    roots = {name: str(DEMO_CORPUS / folder) for name, folder in maker.ROOTS.items()}
    out = run_recipe("demo", as_json, options | {"roots": roots | options["roots"]})
    if not as_json:
        echo("")
        emit(answer := summary(out), False, lambda: summary_lines(answer))


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


@click.command()
@AS_JSON
@ROOT
@CORPUS
def corpora(as_json: bool, roots: dict[str, str]) -> None:
    """List the corpora: licence, what may be shared, and where their roots are.

    \b
    Example:
      prep corpora
    """
    known = adapters.find_roots(roots)
    answer = []
    for name in adapters.names():
        corpus, root = adapters.find(name), known.where(name)
        audio, transcripts, labels = corpus.SHARE_AUDIO, corpus.SHARE_TRANSCRIPTS, corpus.SHARE_LABELS
        answer.append(
            {
                "name": name,
                "title": corpus.TITLE,
                "homepage": corpus.HOMEPAGE,
                "licence": corpus.LICENCE,
                "licence_url": corpus.LICENCE_URL,
                "attribution": corpus.ATTRIBUTION,
                "restrictions": corpus.RESTRICTIONS,
                "download": corpus.DOWNLOAD,
                "share": {"audio": audio, "transcripts": transcripts, "labels": labels},
                "root": str(root) if root else None,
                "root_told_by": known.origin(name),
                "root_exists": bool(root and root.exists()),
            }
        )
    emit(answer, as_json, lambda: _corpora_lines(answer))


def _corpora_lines(answer: list[dict[str, Any]]) -> Iterator[str]:
    for number, corpus in enumerate(answer):
        name = corpus["name"]
        root = f"not known; say --root {name}=DIR, PREP_ROOT_{name.upper().replace('-', '_')}=DIR, or write prep.toml"
        if corpus["root"] is not None:
            there = "" if corpus["root_exists"] else "; NOT THERE"
            root = f"{corpus['root']} (from {corpus['root_told_by']}{there})"
        share = ", ".join(f"{kind} {'yes' if allowed else 'NO'}" for kind, allowed in corpus["share"].items())
        yield from ([""] if number else [])
        yield f"{name}: {corpus['title']}"
        yield f"  licence   {corpus['licence']}  {corpus['licence_url']}".rstrip()
        yield f"  may share {share}"
        yield f"  terms     {corpus['restrictions']}"
        yield f"  credit    {corpus['attribution']}"
        yield f"  homepage  {corpus['homepage']}"
        yield f"  get it    {corpus['download']}"
        yield f"  root      {root}"


@click.command()
@AS_JSON
@ROOT
@CORPUS
def doctor(as_json: bool, roots: dict[str, str]) -> None:
    """Check this machine: packages, decoders, encodings, disk, roots, and how fast it works. Exit 1 if there is a
    fault.

    \b
    Example:
      prep doctor
      prep doctor --root aihub=/data/aihub170
    """
    done = []
    for check in checks.checks(adapters.find_roots(roots), Path.cwd()):
        done.append(check)
        if not as_json:  # each as it ends: to count a large corpus takes a while
            remedy = f"\n{'':24}-> {check.remedy}" if check.remedy else ""
            echo(f"{_MARK[check.state]} {check.about:<18}{check.text}{remedy}")
    pace = checks.pace(cores(), time.perf_counter)
    minutes = pace.aihub_minutes
    answer = {
        "checks": [{"about": c.about, "state": c.state, "found": c.text, "remedy": c.remedy} for c in done],
        "pace": {"hours_a_second": round(pace.hours_a_second, 3), "aihub_minutes": round(minutes)} | asdict(pace),
    }
    duration = f"{minutes / 60:.1f} h" if minutes >= 60 else f"{minutes:.0f} min"
    text = (
        f"{'':6}{'pace':<18}{pace.hours_a_second:.2f} h of audio/s with {pace.processes} processes; AI-Hub whole "
        f"({checks.AIHUB_CLIPS:,} recordings, {checks.AIHUB_H} h) with CochlScene: about {duration} if the disk is fast"
    )
    emit(answer, as_json, lambda: [text])
    raise click.exceptions.Exit(int(any(check.state == "fault" for check in done)))
