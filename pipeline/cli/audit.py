"""prep audit."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from tqdm import tqdm

from pipeline.cli.emit import emit
from pipeline.core import manifest
from pipeline.core.errors import PrepError, did_you_mean
from pipeline.core.manifest import Manifest
from pipeline.core.sql import query
from pipeline.engine.workers import cores, open_workers
from pipeline.inspect import audit as audits
from pipeline.inspect.audit import CHECKS, FAIL_ON, Audit
from pipeline.inspect.audit import checks as audit_checks
from pipeline.share import pack

WIDTH = 100
_INDENT = " " * 9


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """`group,near` as a tuple of names of checks."""
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip() and name.strip() != "none")
    for name in names:
        if name not in CHECKS:
            raise click.BadParameter(f'unknown check "{name}"{did_you_mean(name, CHECKS)}')
    return names


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--fail-on",
    callback=_names,
    default=",".join(FAIL_ON),
    show_default=True,
    help="exit 1 if one of these finds something",
)
@click.option("--checks", callback=_names, default=",".join(CHECKS), help="do only these checks  [default: all]")
@click.option("--no-near", is_flag=True, help="leave out near, the check that takes longest")
@click.option(
    "--sample", type=click.IntRange(0), help="recordings listened to, 0 for all  [default: near 10000, chain 2000]"
)
@click.option("--jobs", type=click.IntRange(1), default=cores(), show_default=True, help="processes that listen")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def audit(
    path: Path,
    fail_on: tuple[str, ...],
    checks: tuple[str, ...],
    no_near: bool,
    sample: int | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Look for leaks between the splits of MANIFEST, and for classes that something else than the sound tells.

    \b
    group       speakers, submissions, field recordings in two splits
    source      source clips in two splits
    noise       noise recordings in two splits
    pcm         sounds in two splits that are the same to the sample
    near        recordings in two splits that are the same at another level, offset, rate or sample format
    chain       speech and noise, or keywords, told from the recording chain alone: a probe against chance
    balance     keyword and speech/noise against scene and SNR, split by split
    transcript  transcripts in two splits (calls for help repeat by nature)

    near and chain listen to the audio beside the manifest; speech that only mixtures hold is heard with their noise taken out.
    near finds a copy by spectral fingerprints and confirms it by correlation. On planted copies it finds all that are louder, softer,
    padded, resampled, mu-law or noisy (30 dB), 98 % of those trimmed by up to 2 s, 91 % of those to which all of it was done, none
    that are filtered or at another pace. It listens at 1,000 times real time a core: 400,000 clips of 3.4 s (380 h) take 25 minutes on
    one core, the default sample about one.

    Exit 0: nothing found by --fail-on; 1: something found; 2: could not check.

    \b
    Example:
      prep audit manifests/mixed.parquet
      prep audit manifests/mixed.parquet --no-near --fail-on group,source,noise,pcm
    """
    checks = tuple(name for name in checks if not (no_near and name == "near"))
    for name in sorted(set(fail_on) - set(checks)):
        if click.get_current_context().get_parameter_source("fail_on") == click.core.ParameterSource.COMMANDLINE:
            raise click.UsageError(f"--fail-on {name}: that check is left out")
    opened = _opened(path)
    with open_workers(jobs) as workers:
        answer = audit_checks.audit(opened, audits.Options(fail_on, checks, sample, workers, _bar))
    emit(_plain(opened, answer), as_json, lambda: _lines(opened, answer))
    not_done = [unable.check for unable in answer.unable if unable.check in fail_on]
    raise click.exceptions.Exit(2 if not_done and not answer.fails else int(answer.fails))


def _opened(path: Path) -> Manifest:
    """The manifest or that of a pack, with the columns that the checks read; exit 2 where it cannot be read."""
    try:
        if pack.is_pack(path) or manifest.provenance(path).schema_version < manifest.SCHEMA_VERSION:
            return pack.read_any(path)
        return Manifest(manifest.read_columns(path, audit_checks.COLUMNS), manifest.provenance(path), path)
    except PrepError as error:
        click.echo(f"prep: {error}", err=True)
        raise click.exceptions.Exit(2) from None


def _bar(what: str, steps: int) -> Callable[[int], object]:
    """Progress on stderr; silent where that is no terminal."""
    bar = tqdm(total=steps, desc=what, unit=" clips", disable=None, leave=False, dynamic_ncols=True)

    def advance(done: int) -> None:
        bar.update(done)
        if bar.n >= steps:
            bar.close()

    return advance


def _plain(manifest: Manifest, answer: Audit) -> dict[str, object]:
    return {
        "manifest": manifest.path.name,
        "rows": len(manifest),
        "logical_hash": manifest.provenance.logical_hash,
        "fails": answer.fails,
        "findings": [asdict(finding) for finding in answer.findings],
        "clear": [asdict(clear) for clear in answer.clear],
        "unable": [asdict(unable) for unable in answer.unable],
    }


def _lines(manifest: Manifest, answer: Audit) -> list[str]:
    """The audit for a terminal: what fails, what else was found, what could not be checked, what is clear."""
    splits = query(
        manifest.frame,
        "SELECT split, count(*) FROM rows GROUP BY 1 ORDER BY array_position(['train', 'dev', 'test'], split), 1",
    )
    lines = [
        f"{manifest.path.name}: {len(manifest):,} rows ({', '.join(f'{split} {count:,}' for split, count in splits)})",
        "",
    ]
    for finding in answer.findings:
        lines += _entry("FAILS" if finding.fails else "finding", finding.check, finding.detail, finding.examples)
    for unable in answer.unable:
        lines += _entry("not done", unable.check, unable.detail)
    for clear in answer.clear:
        lines += _entry("ok", clear.check, clear.detail)
    failing = sorted({finding.check for finding in answer.findings if finding.fails}, key=CHECKS.index)
    others = sorted({finding.check for finding in answer.findings if not finding.fails}, key=CHECKS.index)
    lines += ["", f"fails by {', '.join(failing)}" if failing else "nothing fails"]
    lines[-1] += f"; also found: {', '.join(others)}" if others else ""
    return lines


def _entry(word: str, check: str, detail: str, examples: Sequence[str] = ()) -> list[str]:
    """What was found, cases of it, what it means, what to do."""
    found, *rest = detail.split("\n")
    lines = _wrapped(f"{word:<9}", f"{check}: {found}")
    lines += [f"{_INDENT}- {example}" for example in examples]
    for lead, sentence in zip(("so: ", "do: "), rest, strict=False):
        lines += _wrapped(_INDENT + lead, sentence)
    return lines


def _wrapped(lead: str, sentence: str) -> list[str]:
    return textwrap.wrap(
        sentence, WIDTH, initial_indent=lead, subsequent_indent=" " * len(lead), break_on_hyphens=False
    )
