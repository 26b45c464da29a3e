"""prep rights, pack, rebuild, verify, export, migrate: a set passed on, built again from another copy, and proved."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from pipeline import api, corpora
from pipeline import export as exports
from pipeline.cli.emit import AS_JSON, emit
from pipeline.cli.endings import echo
from pipeline.cli.fields import typed
from pipeline.cli.options import CORPUS, FILE, MANIFEST, MANIFESTS, exclusions_option, say, work_options
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import PrepError
from pipeline.core.exclusions import write as write_exclusions
from pipeline.core.row import Drop
from pipeline.corpora import rights as licences
from pipeline.export import Export, Use
from pipeline.share import pack as packs
from pipeline.share import rebuild as rebuilds
from pipeline.share.pack import Packed
from pipeline.share.rebuild import Rebuilt
from pipeline.share.verify import LEVELS, WITHIN, Checked, Unable

FIRST = 5  # so many rows are listed on the screen for each reason


@click.command()
@MANIFEST
@CORPUS
@AS_JSON
def rights(path: Path, as_json: bool) -> None:
    """Say what may be done with the set of MANIFEST (or of a pack): licence, attribution and terms of each source.

    \b
    Example:
      prep rights manifests/mixed.parquet
    """
    facts = ("corpus", "group", "kind", "source_pcm_hash", "noise_source", "transcript", "labels", "scenario", "scene")
    rows = packs.read_columns(path, facts)
    terms, sentences = licences.terms(rows), licences.sentences(rows)
    free = int(licences.shareable_audio(rows).sum())

    def lines() -> Iterator[str]:
        yield f"{path}: {len(rows):,} rows\n"
        yield from sentences
        for source in terms:
            share = ", ".join(f"{kind} {'yes' if source.may_share(kind) else 'NO'}" for kind in licences.KINDS)
            yield f"\n{source.corpus}: {source.title}"
            yield f"  in        {source.rows:,} rows"
            yield f"  licence   {source.licence}  {source.licence_url}"
            yield f"  may share {share}"
            yield f"  terms     {source.restrictions}"
            yield f"  credit    {source.attribution}"
            yield f"  homepage  {source.homepage}"

    answer = {
        "rows": len(rows),
        "audio": {"may_be_passed_on": free, "may_not": len(rows) - free},
        "sources": [asdict(source) for source in terms],
        "said": sentences,
    }
    emit(answer, as_json, lines)


@click.command()
@MANIFEST
@click.option("--out", type=FILE, help="pack to write  [default: NAME.pack.parquet beside MANIFEST]")
@click.option(
    "--allow",
    multiple=True,
    metavar="KIND:CORPUS",
    help="pass on transcripts or labels of a corpus, refused where its licence forbids it; or its names of recordings: "
    "names:recordings",
)
@click.option("--croissant", is_flag=True, help="write LICENSES.md and NAME.croissant.json beside the pack as well")
@CORPUS
@AS_JSON
def pack(path: Path, out: Path | None, allow: tuple[str, ...], croissant: bool, as_json: bool) -> None:
    """Write MANIFEST as a small file that may be passed on: no audio, and nothing that a source's licence forbids.

    Whoever has the corpora too makes the same set of it with `prep rebuild`. The answer says what was left out, and
    why. Recordings of your own go by the hash of their samples, by which they are found again; with --allow
    names:recordings the names of their files are in the pack.

    \b
    Example:
      prep pack manifests/mixed.parquet
    """
    named: list[str] = []
    for item in allow:
        kind, colon, corpus = item.partition(":")
        if not colon:
            raise PrepError(f"--allow {item}: expected KIND:CORPUS, such as transcripts:cochlscene")
        if kind == "names":
            corpora.find(corpus)
            named.append(corpus)
            continue
        licences.refuse(kind, corpus)
        if kind == "audio":
            raise PrepError(f"--allow {item}: a pack holds no audio, whatever the licence; prep export writes audio")
    packed = api.pack(path, out, named=named)
    of_set = [terms.corpus for terms in packed.terms]
    for kind, corpus in (item.split(":", 1) for item in allow):
        if corpus not in of_set:
            say(f"--allow {kind}:{corpus}: nothing to do, no row is of {corpus}: the set holds {', '.join(of_set)}")
        elif kind != "names":
            why = f"the licence of {corpus} lets {kind} be passed on and they are in the pack"
            say(f"--allow {kind}:{corpus}: nothing to do, {why}")
    beside = api.croissant(packed.path) if croissant else []
    answer = packed.as_dict() | {"beside": [str(file) for file in beside]}
    emit(answer, as_json, lambda: [*_pack_lines(packed), *(f"  -> {file}" for file in beside)])


def _pack_lines(packed: Packed) -> Iterator[str]:
    """How large the pack is, and what was left out of it."""
    yield f"pack    {packed.rows:,} rows, {packed.bytes / 1e6:.2f} MB, {packed.bytes_per_row:.0f} bytes a row"
    for terms in packed.terms:
        yield f"  {terms.corpus}: {terms.licence}"
        left_out = [item for item in packed.left_out if item.corpus == terms.corpus]
        if left_out:
            yield f"    left out: {', '.join(f'{item.column} ({item.rows:,} rows)' for item in left_out)}"
            yield from (f"    because {why}" for why in dict.fromkeys(item.why for item in left_out))
        nameless = any(item.column in licences.COLUMNS["names"] for item in left_out)
        if not nameless and not licences.may_share(terms.corpus, "names"):
            yield "    the names of your own recordings are in the pack, as `source` and `id`:"
            yield "    see that they hold nothing private"
    if packed.noiseless:
        yield f"  {packed.noiseless:,} mixtures hold noise that is no row of the set: this pack cannot rebuild them."
        yield "  Pack a manifest that keeps its noise"
    yield f"  -> {packed.path}"


@click.command()
@click.argument("path", metavar="PACK", type=FILE)
@work_options("out jobs json root corpus shard_clips")
def rebuild(path: Path, as_json: bool, **options: Any) -> None:
    """Make the set of PACK again from your own copies of the corpora: the same samples, your labels, the same hash.

    Recordings are found by name, and failing that by their samples, anywhere under the roots: in folders, in archives
    of any cut, under any name. A recording that is missing or differs is listed with its reason (here, and in
    NAME.drops.parquet), and the rest is built; then the exit code is 1. The same command goes on where it was stopped.

    \b
    Example:
      prep pack manifests/mixed.parquet --out mixed.pack.parquet
      prep rebuild mixed.pack.parquet --root aihub=/data/aihub170 --root cochlscene=/data/cochlscene
    """
    out = options["out"] or MANIFESTS / f"{path.name.removesuffix('.parquet').removesuffix('.pack')}.parquet"
    done = api.rebuild(path, **typed(options | {"out": out}))
    here, wanted = manifest.provenance(out).logical_hash, done.provenance.logical_hash
    differing = [] if here == wanted or len(done.drops) else rebuilds.differing(packs.read(path), done.rows)
    answer = {
        "in": done.jobs,
        "kept": len(done.rows),
        "dropped": len(done.drops),
        "reasons": done.reasons(),
        "moved": done.moved,
        "same": here == wanted,
        "logical_hash": here,
        "packed_hash": wanted,
        "differing": differing,
        "notes": done.notes,
        "lacking": [asdict(drop) for drop in frames.rows(done.drops, Drop)] if as_json else [],
        "manifest": str(out),
    }
    emit(answer, as_json, lambda: _rebuild_lines(done, out, here, differing))
    raise click.exceptions.Exit(int(here != wanted))


def _rebuild_lines(done: Rebuilt, out: Path, here: str, differing: list[str]) -> Iterator[str]:
    """How many rows were made, which are missing, and whether the set is the one that was packed."""
    wanted, reasons = done.provenance.logical_hash, done.reasons()
    counts = f"{done.jobs:>12,} in {len(done.rows):>9,} kept {len(done.drops):>9,} dropped"
    yield f"rebuild {counts}   {', '.join(f'{reason} {count:,}' for reason, count in reasons.items())}".rstrip()
    yield from (f"  {note}" for note in done.notes)
    if done.moved:
        yield f"  {done.moved:,} recordings lie under other names here and were known by their samples"
    for reason, count in reasons.items():
        own = frames.pick(done.drops, frames.equal(done.drops["reason"], reason))[:FIRST]
        yield f"  {reason} {count:,}:"
        yield from (f"    {row_id}: {detail}" for row_id, detail in zip(own["id"], own["detail"], strict=True))
        if count > FIRST:
            yield f"    and {count - FIRST:,} more"
    if reasons:
        yield f"  all of them: {manifest.drops_path(out)}"
    if here == wanted:
        yield f"  the same set: hash {here}, as packed"
    elif len(done.drops):
        yield f"  not the whole set: hash {here}, of the pack {wanted}; get what is missing, then run it again"
    else:
        yield f"  the same samples, other labels: hash {here}, of the pack {wanted};"
        yield f"  columns that differ: {', '.join(differing) or 'none'}. Is it another release?"
    yield f"  -> {out}"


@click.command()
@click.argument("path", metavar="MANIFEST|PACK", type=FILE)
@click.option(
    "--level",
    type=click.Choice(LEVELS),
    help="how far to go, each level after those before  [default: hashes; without audio references]",
)
@click.option(
    "--sample", type=click.IntRange(1), help="look at so many rows, always the same ones; schema looks at all"
)
@exclusions_option("the clips that are not what they say, of mixtures their speech")
@work_options("jobs json root corpus")
def verify(
    path: Path,
    level: str | None,
    sample: int | None,
    exclusions: Path | None,
    jobs: int,
    as_json: bool,
    roots: dict[str, str],
) -> None:
    """Prove that the set in MANIFEST, or the recordings that PACK asks for, are what they say; name each row that is
    not.

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

    def report(checked: Checked) -> None:
        done.append(checked)
        if not as_json:
            emit(checked, False, lambda: _checked_lines(checked))

    try:
        api.verify(path, level, sample=sample, jobs=jobs, roots=roots, report=report)
    except Unable as error:
        unable = str(error)
    count = len({finding.what for checked in done for finding in checked.findings})
    if unable and not as_json:
        say(f"prep: could not be checked: {unable}")
    elif as_json or not unable:
        levels = [asdict(checked) | {"verdicts": checked.verdicts()} for checked in done]
        answer = {"of": str(path), "holds": not count and not unable, "unable": unable, "levels": levels}
        emit(answer, as_json, lambda: [f"{path}: {f'{count:,} with findings' if count else 'all of it holds'}"])
    if exclusions:
        clips = packs.read_columns(path, ("id", "speech_id"))
        pairs = zip(frames.each(clips["id"]), frames.each(clips["speech_id"]), strict=True)
        clip_of = {row_id: speech or row_id for row_id, speech in pairs}
        wrong = [finding for checked in done for finding in checked.findings if finding.verdict != WITHIN]
        say(write_exclusions(exclusions, {clip_of[one.what]: one.because for one in wrong if one.what in clip_of}))
    raise click.exceptions.Exit(1 if count else 2 if unable else 0)


def _checked_lines(checked: Checked) -> Iterator[str]:
    """What a level found: how many rows have which verdict, and the first rows of each."""
    verdicts = checked.verdicts()
    counts = ", ".join(f"{verdict} {count:,}" for verdict, count in verdicts.items() if count)
    yield f"{checked.level:<12}{checked.rows:>9,} rows   {counts or 'holds'}"
    yield from (f"  {note}" for note in checked.notes)
    for verdict in verdicts:
        own = [finding for finding in checked.findings if finding.verdict == verdict]
        words = verdict.replace("_", " ")
        yield from (f"  {finding.what}: {words}: {finding.because}" for finding in own[:FIRST])
        if len(own) > FIRST:
            yield f"  and {len(own) - FIRST:,} more, {words} (all with --json)"


@click.command()
@MANIFEST
@click.option("--to", "form", metavar="FORMAT", required=True, help=f"one of {', '.join(exports.names())}")
@click.option("--out", type=FILE, help="folder to write  [default: NAME-FORMAT beside the manifest]")
@click.option(
    "--own-use",
    is_flag=True,
    help="all of it, for your own machines: what a licence forbids to pass on is in it, and its README.md says so",
)
@click.option("--shareable", is_flag=True, help="only what the licences let you pass on")
@click.option(
    "--audio",
    type=click.Choice(["copy", "link"]),
    help="webdataset: copy clips, or read them in their shards  [default: link]",
)
@click.option("--dry-run", is_flag=True, help="say what would be written, and how much; write nothing")
@CORPUS
@AS_JSON
def export(
    path: Path,
    form: str,
    out: Path | None,
    own_use: bool,
    shareable: bool,
    audio: str | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write MANIFEST and its audio in the form that another tool reads: a folder, whose README.md says how to load it.

    \b
    lhotse      cuts_<split>.jsonl.gz; virtual mixtures as MixedCut with the SNR that Lhotse means
    hf          Parquet with the audio in it, for datasets.load_dataset
    nemo        <split>.jsonl of audio_filepath, offset, duration, text
    kaldi       <split>/ with wav.scp, text, utt2spk, spk2utt, utt2dur
    webdataset  a list of labels for the shards as they are; with --audio copy, tars of .flac and .json
    csv         every column, no audio

    Audio, transcripts and labels of AI-Hub and of your own recordings may not be passed on. If a set holds any,
    --own-use or --shareable must say what the export is for.

    \b
    Example:
      prep export manifests/mixed.parquet --to lhotse --own-use
      prep export manifests/cochlscene.parquet --to csv
    """
    if own_use and shareable:
        raise PrepError("--own-use and --shareable: an export is for the one or for the other")
    use: Use = "own" if own_use else "shareable" if shareable else ""
    folder = out or exports.folder_of(path, form, use)
    planned: list[Export] = []

    def report(export: Export) -> None:
        planned.append(export)
        if as_json:
            return
        size = f"about {export.size / 1e9:.2f} GB of audio" if export.size else "no audio copied"
        echo(f"export {export.form}: {len(export.rows):,} rows, {export.seconds / 3600:.2f} h, {size}")
        for item in export.left_out:
            say(f"  left out: {item.column} of {item.corpus}, {item.rows:,} rows: {item.why}")
        if export.use == "own":
            say(f"  own use: {folder} may hold what licences forbid to pass on; its README.md says what")

    try:
        api.export_to(path, form, folder, use=use, audio=audio, dry_run=dry_run, report=report)
    except KeyboardInterrupt:
        say(f"prep: stopped; {folder} was not written")
        raise click.exceptions.Exit(130) from None
    made = planned[0]
    answer = {
        "format": form,
        "rows": len(made.rows),
        "hours": round(made.seconds / 3600, 4),
        "audio_bytes": made.size,
        "left_out": [asdict(item) for item in made.left_out],
        "folder": None if dry_run else str(folder),
    }
    emit(answer, as_json, lambda: ["nothing written" if dry_run else f"  -> {folder}"])


@click.command()
@MANIFEST
@click.option("--out", type=FILE, help="manifest to write  [default: MANIFEST itself]")
@AS_JSON
def migrate(path: Path, out: Path | None, as_json: bool) -> None:
    """Write MANIFEST, if it is of an older schema, as one of the newest, and its drops with it.

    prep reads older manifests as they are; this is for other programs that read them.

    \b
    Example:
      prep migrate manifests/mixed.parquet
    """
    since = manifest.provenance(path).schema_version
    now, place = manifest.SCHEMA_VERSION, out or path
    lines = [f"{path}: schema version {since}, the newest: nothing to do"]
    if since == now:
        manifest.read(path)
        if place != path:
            raise PrepError(
                f"--out {place}: not written, for {path} is of the newest schema ({since}) already: use it as it is"
            )
    else:
        if place.parent.resolve() != path.parent.resolve():
            raise PrepError(f"--out {place}: the audio of {path} lies beside it; name a file in {path.parent}")
        manifest.migrate(path, place)
        lines = [f"{path}: schema version {since} -> {now}", f"  -> {place}"]
    emit({"from": since, "to": now, "manifest": str(place)}, as_json, lambda: lines)
