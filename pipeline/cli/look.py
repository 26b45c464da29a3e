"""prep measure, report, audit, explain, diff, paper-counts: look at a set, and judge it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from pipeline import api
from pipeline.cli.emit import AS_JSON, emit
from pipeline.cli.machine import example
from pipeline.cli.options import CORPUS, FILE, JOBS, MANIFEST, MANIFESTS, ROOT, exclusions_option, say
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import ManifestError, PrepError, did_you_mean
from pipeline.core.exclusions import write as write_exclusions
from pipeline.core.manifest import Manifest
from pipeline.core.measures import NAMES, measures_path
from pipeline.engine import recipe
from pipeline.inspect import diff as diffs
from pipeline.inspect import explain as explaining
from pipeline.inspect.audit import CHECKS, FAIL_ON, LISTENING, Audit
from pipeline.inspect.audit import checks as audit_checks
from pipeline.inspect.measure import LONGEST_S
from pipeline.share import pack

WIDTH = 100


@click.command()
@MANIFEST
@JOBS
@AS_JSON
@ROOT
@CORPUS
def measure(path: Path, jobs: int, as_json: bool, roots: dict[str, str]) -> None:
    """Measure voice, pitch, spectrum and noise floor of each clip of MANIFEST with librosa.

    The measures are written to NAME.measures.parquet beside the manifest. No hash depends on them. `prep filter
    --where` knows them as columns: voiced_share, pitch_hz, centroid_hz, bandwidth_hz, rolloff_hz, flatness,
    noise_floor_dbfs. Clips that were measured before are not measured again; those over 5 minutes have no measures.
    It needs the extra [measures].

    \b
    Example:
      prep measure manifests/aihub.parquet
      prep filter manifests/aihub.parquet --where "voiced_share > 0.1"
    """
    rows = len(source := manifest.read(path))
    measures = api.measure(source, jobs=jobs, roots=roots)
    medians = {}
    for name in NAMES:
        numbers = frames.numbers(measures[name])
        if len(known := np.sort(numbers[~np.isnan(numbers)])):
            medians[name] = round(float(known[len(known) // 2]), 4)
    answer = {"rows": rows, "measured": len(measures), "medians": medians, "file": str(measures_path(path))}
    text = f"{len(measures):,} of {rows:,} clips have measures"
    seconds = frames.numbers(source.frame["frames"]) / frames.numbers(source.frame["rate_hz"])
    if long := int(np.count_nonzero(seconds > LONGEST_S)):
        text += f"; {long:,} are longer than {LONGEST_S:g} s and have none"
    emit(answer, as_json, lambda: [text, [("measure", "median"), *medians.items()], f"  -> {measures_path(path)}"])


@click.command()
@MANIFEST
@click.option("--out", type=FILE, help="file to write  [default: MANIFEST's name with .html, beside it]")
@click.option("--baseline", type=FILE, metavar="OTHER", help="also say what changed since this manifest")
@click.option(
    "--with-audio/--redact",
    "audio",
    default=None,
    help="put in all audio, transcripts and labels, with a warning on the page; or leave out all audio and transcripts"
    "  [default: what each corpus's licence lets be passed on]",
)
@click.option("--listen", is_flag=True, help="also do the audit's checks that open audio, as prep audit does")
@CORPUS
@click.option("--json", "as_json", is_flag=True, help="answer with the page's numbers in JSON")
def report(
    path: Path, out: Path | None, baseline: Path | None, audio: bool | None, listen: bool, as_json: bool
) -> None:
    """Write a page to look at: what is in MANIFEST, what was dropped and why, SNRs, levels, clips, licences,
    provenance.

    The page is one HTML file that holds all it shows and fetches nothing. What prep measure measured is on it, too. It
    needs the extra [report].

    \b
    Example:
      prep report manifests/mixed.parquet
      prep report manifests/mixed.parquet --baseline manifests/resampled.parquet --out changes.html
    """
    answer = api.report(path, out, baseline=baseline, audio=audio, listen=listen)
    for name in answer["passed_over"]:
        say(f"{answer['report']} holds what the licence of {name} forbids to pass on: keep it to yourself")
    left_out = answer["left_out"]["audio"]
    without = f"; without audio, transcripts and labels of {', '.join(left_out)}" if left_out else ""
    text = f"{answer['manifest']}: {answer['totals']['rows']:,} rows, {answer['sounds']} clips to listen to{without}"
    emit(answer, as_json, lambda: [text, f"-> {answer['report']} ({answer['bytes'] / 1e6:.1f} MB)"])


def _names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """`group,near` as a tuple of names of checks."""
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip() and name.strip() != "none")
    for name in names:
        if name not in CHECKS:
            raise click.BadParameter(f'unknown check "{name}"{did_you_mean(name, CHECKS)}')
    return names


@click.command()
@MANIFEST
@click.option(
    "--fail-on",
    callback=_names,
    default=",".join(FAIL_ON),
    show_default=True,
    help="exit 1 if one of these checks finds something",
)
@click.option("--checks", callback=_names, default=",".join(CHECKS), help="do only these checks  [default: all]")
@click.option("--no-near", is_flag=True, help="leave out near, the check that takes longest")
@click.option(
    "--sample",
    type=click.IntRange(0),
    help="how many recordings are opened, 0 for all  [default: near 10000, chain 2000]",
)
@click.option(
    "--checkpoint", type=FILE, help="folder best/ or last/ of a run of train: domain says what noise it was trained on"
)
@exclusions_option("the clips to leave out, one of each pair of near")
@JOBS
@AS_JSON
def audit(
    path: Path,
    fail_on: tuple[str, ...],
    checks: tuple[str, ...],
    no_near: bool,
    sample: int | None,
    checkpoint: Path | None,
    exclusions: Path | None,
    jobs: int,
    as_json: bool,
) -> None:
    """Look for leaks between the splits of MANIFEST, and for labels that a model can guess without the words.

    \b
    group       speakers, submissions, field recordings in two splits
    source      source clips in two splits
    noise       noise recordings in two splits
    pcm         sounds in two splits that are the same to the sample
    near        recordings in two splits that are the same at another level, offset, rate or sample format
    chain       whether the recording chain alone tells speech from noise, or the keywords: a probe against chance
    domain      noise of ms-snsd, the out-of-domain test, in train or dev, or in the training of --checkpoint
    balance     keyword and speech/noise against scene and SNR, split by split
    transcript  transcripts in two splits (calls for help repeat by nature)

    near and chain open the audio beside the manifest; noise is taken out of mixtures whose speech lies nowhere else.

    near finds a copy by spectral fingerprints and confirms it by correlation. Of planted copies it finds all that are
    louder, softer, padded, resampled, mu-law or noisy (30 dB), 98 % of those trimmed by up to 2 s, 91 % of those with
    all of these changes, and none that are filtered or at another speed. A core does 1,000 times real time: 400,000
    clips of 3.4 s (380 h) take it 25 minutes, the default sample one minute.

    Exit code 0: no check of --fail-on found anything; 1: one did; 2: one could not be done.

    \b
    Example:
      prep audit manifests/mixed.parquet --fail-on group,source,noise,pcm --write-exclusions exclude.txt
      prep audit manifests/mixed.parquet --checks domain
    """
    checks = tuple(name for name in checks if not (no_near and name == "near"))
    is_typed = click.get_current_context().get_parameter_source("fail_on") == click.core.ParameterSource.COMMANDLINE
    if is_typed and (without := sorted(set(fail_on) - set(checks))):
        raise click.UsageError(f"--fail-on {without[0]}: that check is left out")
    try:
        source = audit_checks.read(path)
    except PrepError as error:
        say(f"prep: {error}")
        raise click.exceptions.Exit(2) from None
    answer = api.audit(source, checks=checks, fail_on=fail_on, sample=sample, checkpoint=checkpoint, jobs=jobs)
    of = {"manifest": path.name, "rows": len(source), "logical_hash": source.provenance.logical_hash}
    emit({**of, "fails": answer.fails, **asdict(answer)}, as_json, lambda: _audit_lines(source, answer))
    if exclusions:
        say(write_exclusions(exclusions, answer.exclusions()))
    # a set without audio has no `near`: that counts only where somebody typed it
    needed = [name for name in fail_on if is_typed or name not in LISTENING]
    raise click.exceptions.Exit(1 if answer.fails else 2 * any(unable.check in needed for unable in answer.unable))


def _audit_lines(source: Manifest, answer: Audit) -> Iterator[str]:
    """What fails, what else was found, what could not be checked, what is clear."""
    codes, splits = frames.codes(source.frame["split"])
    counts = dict(zip(splits, np.bincount(codes).tolist(), strict=True))
    order = [split for split in ("train", "dev", "test") if split in counts]
    order += sorted(counts.keys() - set(order))
    yield f"{source.path.name}: {len(source):,} rows ({', '.join(f'{split} {counts[split]:,}' for split in order)})"
    yield ""
    entries = [("FAILS" if f.fails else "finding", f.check, f.detail, f.examples) for f in answer.findings]
    entries += [("not done", unable.check, unable.detail, ()) for unable in answer.unable]
    entries += [("ok", clear.check, clear.detail, ()) for clear in answer.clear]
    for word, check, detail, examples in entries:
        what, *rest = detail.split("\n")
        yield from _wrapped(f"{word:<9}", f"{check}: {what}")
        yield from (f"{'':9}- {example}" for example in examples)
        for lead, sentence in zip(("so: ", "do: "), rest, strict=False):
            yield from _wrapped(f"{'':9}{lead}", sentence)
    yield ""
    failing = sorted({finding.check for finding in answer.findings if finding.fails}, key=CHECKS.index)
    others = sorted({finding.check for finding in answer.findings if not finding.fails}, key=CHECKS.index)
    also = f"; also found: {', '.join(others)}" if others else ""
    yield (f"fails by {', '.join(failing)}" if failing else "nothing fails") + also


def _wrapped(lead: str, sentence: str) -> list[str]:
    below = " " * len(lead)
    return textwrap.wrap(sentence, WIDTH, initial_indent=lead, subsequent_indent=below, break_on_hyphens=False)


@click.command()
@click.argument("row_id", metavar="ID")
@click.argument("paths", metavar="[MANIFEST]...", nargs=-1, type=FILE)
@click.option("--lexicon", type=FILE, help="the lexicon that filter was given  [default: the shipped one]")
@ROOT
@CORPUS
@AS_JSON
def explain(row_id: str, paths: tuple[Path, ...], lexicon: Path | None, roots: dict[str, str], as_json: bool) -> None:
    """Explain what happened to ID: a clip of speech or noise, a mixture, or a row that was dropped.

    The answer begins with the archive that holds the bytes (if its root is known), says what each stage measured and
    decided, draws included, and ends with the mixtures. The end of an id is enough if only one id ends so. MANIFESTs
    are the ones to look through; without any, all in manifests/. Transcripts are shown.

    \b
    Example:
      prep explain cochlscene/Bus_user0001_14700037_000
    """
    answer = api.explain(row_id, paths or _all_manifests(), roots=roots, lexicon=lexicon)
    emit(answer, as_json, lambda: explaining.lines(answer))


def _all_manifests() -> list[Path]:
    """Every manifest in manifests/. A sentence on stderr names each other file there, which is passed over."""
    paths = []
    for path in sorted(MANIFESTS.glob("*.parquet")):
        if path.name.endswith((".drops.parquet", ".pack.parquet", ".measures.parquet", ".scene.parquet")):
            continue
        try:
            manifest.provenance(path)
        except ManifestError as error:
            say(f"passed over: {error}")
        else:
            paths.append(path)
    if not paths:
        where = "go to the folder where you ran prep, or name one: prep explain ID MANIFEST"
        raise ManifestError(f"{MANIFESTS}: no manifests here; {where}")
    return paths


@click.command()
@click.argument("a", type=FILE)
@click.argument("b", type=FILE)
@AS_JSON
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Say how B differs from A, two manifests or packs: in which rows and columns, and by which options of what made
    them.

    Where audio lies in the shards is not compared. Columns that a pack left out are listed as not comparable. Exit code
    0: the same rows; 1: they differ; 2: they could not be compared.

    \b
    Example:
      prep pack manifests/mixed.parquet --out mixed.pack.parquet
      prep diff manifests/mixed.parquet mixed.pack.parquet
    """
    try:
        answer = api.diff(a, b)
    except PrepError as error:  # 1 is the answer that they differ
        say(f"prep: {error}")
        raise click.exceptions.Exit(2) from None
    emit(asdict(answer) | {"same_rows": answer.same_rows}, as_json, lambda: diffs.lines(answer))
    raise click.exceptions.Exit(0 if answer.same_rows else 1)


@click.command("paper-counts")
@MANIFEST
@click.option(
    "--recipe",
    "name",
    default="paper",
    show_default=True,
    help="recipe whose classes are looked for among those that fit",
)
@AS_JSON
def paper_counts(path: Path, name: str, as_json: bool) -> None:
    """Compare the AI-Hub clips of MANIFEST with published counts, and list the choices of six classes that fit the
    paper's.

    The paper does not name its six. On the whole corpus the set's own counts and keywords decide; on less, only the
    published counts of Validation can.

    \b
    Example:
      prep paper-counts manifests/aihub.parquet
    """
    counts, chosen = example("paper_counts"), recipe.read(recipe.find(name))
    columns = ("id", "corpus", "split", "scenario", "transcript", "speech_id")
    answer: dict[str, Any] = counts.counts(pack.read_columns(path, columns), chosen.lexicon, chosen.filter.scenarios)
    emit(answer, as_json, lambda: counts.lines(answer))
