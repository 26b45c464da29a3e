"""prep pack, rebuild, verify: a set passed on without its audio, built again from another copy, and proved."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline import api
from pipeline.cli.fields import typed
from pipeline.cli.options import MANIFESTS, find_roots, say, work_options
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import PrepError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop
from pipeline.corpora import rights
from pipeline.engine.workers import open_workers
from pipeline.share import croissant as croissants
from pipeline.share import pack as packs
from pipeline.share import rebuild as rebuilding
from pipeline.share import verify as verifying
from pipeline.share.pack import Pack, Packed
from pipeline.share.rebuild import Rebuilt
from pipeline.share.verify import LEVELS, Checked, Unable

FIRST = 5  # rows listed on the screen for each reason or verdict


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="pack to write  [default: NAME.pack.parquet beside MANIFEST]"
)
@click.option(
    "--allow",
    multiple=True,
    metavar="KIND:CORPUS",
    help="pass on transcripts or labels of a corpus; refused where its licence forbids it",
)
@click.option("--croissant", is_flag=True, help="write LICENSES.md and NAME.croissant.json beside the pack as well")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def pack(path: Path, out: Path | None, allow: tuple[str, ...], croissant: bool, as_json: bool) -> None:
    """Write MANIFEST as a small file that may be passed on: no audio, and nothing that a source's licence forbids.

    Whoever has the corpora too makes the same set of it with `prep rebuild`. What was left out is said, and why. The names of
    recordings stay, for they are how recordings are found: see that those of your own hold nothing private.

    \b
    Example:
      prep pack manifests/mixed.parquet
    """
    for item in allow:
        _allow(item)
    if packs.is_pack(path):
        raise PrepError(f"{path}: a pack already; give the manifest that it was made of")
    if out is not None and out.resolve() == path.resolve():
        raise PrepError(f"--out {out}: that is the manifest itself")
    packed = packs.write(manifest.read(path), out or packs.path_of(path))
    beside = croissants.write(packed.path) if croissant else []
    if as_json:
        click.echo(json.dumps(packed.as_dict() | {"beside": [str(path) for path in beside]}, ensure_ascii=False))
    else:
        click.echo("\n".join([_packed_text(packed), *(f"  -> {path}" for path in beside)]))


def _allow(item: str) -> None:
    """PrepError with the licence quoted, unless the corpus lets this kind be passed on, which then needs no allowing."""
    kind, colon, corpus = item.partition(":")
    if not colon:
        raise PrepError(f"--allow {item}: expected KIND:CORPUS, such as transcripts:cochlscene")
    rights.refuse(kind, corpus)
    if kind == "audio":
        raise PrepError(f"--allow {item}: a pack holds no audio, whatever the licence; prep export writes audio")
    say(f"--allow {item}: nothing to do, the licence of {corpus} lets {kind} be passed on and they are in the pack")


def _packed_text(packed: Packed) -> str:
    lines = [
        f"pack    {packed.rows:,} rows, {packed.bytes / 1e6:.2f} MB, {packed.bytes / max(1, packed.rows):.0f} bytes a row"
    ]
    for terms in packed.terms:
        lines.append(f"  {terms.corpus}: {terms.licence}")
        left = [item for item in packed.left_out if item.corpus == terms.corpus]
        if left:
            lines.append(f"    left out: {', '.join(f'{item.column} ({item.rows:,} rows)' for item in left)}")
            lines += [f"    because {why}" for why in dict.fromkeys(item.why for item in left)]
        if terms.corpus == "recordings":
            lines.append(
                "    the names of your own recordings are in the pack, as `source` and `id`: see that they hold nothing private"
            )
    if packed.noiseless:
        what = "mixtures hold noise that is no row of the set: they cannot be rebuilt from this pack. Pack a manifest that keeps its noise"
        lines.append(f"  {packed.noiseless:,} {what}")
    return "\n".join([*lines, f"  -> {packed.path}"])


@click.command()
@click.argument("path", metavar="PACK", type=click.Path(path_type=Path))
@work_options("out jobs json root shard_clips")
def rebuild(path: Path, as_json: bool, **options: Any) -> None:
    """Make the set of PACK again from your own copies of the corpora: the same samples, your labels, the same hash.

    Recordings are found by name, and failing that by their samples, anywhere under the roots: in folders, in archives of any
    cut, under any name. What is not there or differs is listed with its reason (here, and in NAME.drops.parquet) and the rest
    is built; then the exit code is 1. Stopped half-way, the same command goes on.

    \b
    Example:
      prep pack manifests/mixed.parquet --out mixed.pack.parquet
      prep rebuild mixed.pack.parquet --root aihub=/data/aihub170 --root cochlscene=/data/cochlscene
    """
    out = options["out"] or MANIFESTS / f"{path.name.removesuffix('.parquet').removesuffix('.pack')}.parquet"
    done = api.rebuild(path, **typed(options | {"out": out}))
    if not _report(done, packs.read(path), manifest.provenance(out), out, as_json):
        raise SystemExit(1)


def _report(done: Rebuilt, held: Pack, made: Provenance, out: Path, as_json: bool) -> bool:
    """Prints what came of it; whether it is the very set."""
    wanted = held.manifest.provenance.logical_hash
    same = made.logical_hash == wanted
    differing = [] if same or len(done.drops) else rebuilding.differing(held, done.rows)
    if as_json:
        told: dict[str, Any] = {
            "in": done.jobs,
            "kept": len(done.rows),
            "dropped": len(done.drops),
            "reasons": done.reasons(),
        }
        told |= {
            "moved": done.moved,
            "same": same,
            "logical_hash": made.logical_hash,
            "packed_hash": wanted,
            "differing": differing,
        }
        told |= {
            "notes": done.notes,
            "lacking": [asdict(drop) for drop in frames.rows(done.drops, Drop)],
            "manifest": str(out),
        }
        click.echo(json.dumps(told, ensure_ascii=False))
        return same
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in done.reasons().items())
    click.echo(
        f"rebuild {done.jobs:>12,} in {len(done.rows):>9,} kept {len(done.drops):>9,} dropped   {reasons}".rstrip()
    )
    for note in done.notes:
        click.echo(f"  {note}")
    if done.moved:
        click.echo(f"  {done.moved:,} recordings lie under other names here and were known by their samples")
    for line in _lacking(done, out):
        click.echo(f"  {line}")
    click.echo(f"  {_verdict(done, made.logical_hash, wanted, differing)}")
    click.echo(f"  -> {out}")
    return same


def _lacking(done: Rebuilt, out: Path) -> list[str]:
    """The first few rows of each reason, and where the rest are told."""
    lines = []
    for reason, count in done.reasons().items():
        own = frames.pick(done.drops, frames.equal(done.drops["reason"], reason))[:FIRST]
        lines.append(f"{reason} {count:,}:")
        lines += [f"  {row_id}: {detail}" for row_id, detail in zip(own["id"], own["detail"], strict=True)]
        if count > FIRST:
            lines.append(f"  and {count - FIRST:,} more")
    return [*lines, f"all of them: {manifest.drops_path(out)}"] if lines else []


def _verdict(done: Rebuilt, here: str, wanted: str, differing: list[str]) -> str:
    if here == wanted:
        return f"the same set: hash {here}, as packed"
    if len(done.drops):
        return f"not the whole set: hash {here}, of the pack {wanted}; get what is lacking, and the same command goes on from here"
    columns = ", ".join(differing) or "none"
    return f"the same samples, other labels: hash {here}, of the pack {wanted}; columns that differ: {columns}. Is it another release?"


@click.command()
@click.argument("path", metavar="MANIFEST|PACK", type=click.Path(path_type=Path))
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="how far to go, each level after those before  [default: hashes; without audio references]",
)
@click.option(
    "--sample", type=click.IntRange(1), help="look at so many rows, always the same ones; schema looks at all"
)
@work_options("jobs json root")
def verify(path: Path, level: str | None, sample: int | None, jobs: int, as_json: bool, roots: dict[str, str]) -> None:
    """Prove that the set in MANIFEST, or the recordings that PACK asks for, are what they say; name each row that is not, and why.

    \b
    schema      columns, hashes of rows and drops, the laws: ids, splits, noise, SNR
    references  each row's audio is where it says; of a pack: its recordings are there by name
    headers     length and rate of the stored audio; of a pack: of the recordings
    hashes      the samples of the stored audio; of a pack: of the recordings, under any name
    recompute   each row rendered again from the recordings: identical, within 1 LSB, or different and why

    \b
    Exit code: 0 all of it holds, 1 something does not, 2 something could not be checked.

    \b
    Example:
      prep verify manifests/mixed.parquet --level recompute --sample 100
    """
    done: list[Checked] = []
    unable = ""
    try:
        with open_workers(jobs) as workers:
            for checked in verifying.verify(path, find_roots(roots), workers, api.bars(), level, sample):
                done.append(checked)
                if not as_json:
                    click.echo("\n".join(_checked_lines(checked)))
    except Unable as error:
        unable = str(error)
    _conclude(path, done, unable, as_json)


def _checked_lines(checked: Checked) -> list[str]:
    verdicts = ", ".join(f"{verdict} {count:,}" for verdict, count in checked.verdicts().items() if count)
    lines = [
        f"{checked.level:<12}{checked.rows:>9,} rows   {verdicts or 'holds'}",
        *(f"  {note}" for note in checked.notes),
    ]
    for verdict in checked.verdicts():
        own = [finding for finding in checked.findings if finding.verdict == verdict]
        lines += [f"  {f.what}: {verdict.replace('_', ' ')}: {f.because}" for f in own[:FIRST]]
        lines += (
            [f"  and {len(own) - FIRST:,} more, {verdict.replace('_', ' ')} (all with --json)"]
            if len(own) > FIRST
            else []
        )
    return lines


def _conclude(path: Path, done: list[Checked], unable: str, as_json: bool) -> None:
    """The answer, and the exit code."""
    findings = len({finding.what for checked in done for finding in checked.findings})
    if as_json:
        levels = [asdict(checked) | {"verdicts": checked.verdicts()} for checked in done]
        click.echo(
            json.dumps(
                {"of": str(path), "holds": not findings and not unable, "unable": unable, "levels": levels},
                ensure_ascii=False,
            )
        )
    elif unable:
        say(f"prep: could not be checked: {unable}")
    else:
        click.echo(f"{path}: {f'{findings:,} with findings' if findings else 'all of it holds'}")
    if findings or unable:
        raise SystemExit(1 if findings else 2)
