"""prep diff, explain, rights, paper-counts, migrate: questions about manifests."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import click
from pandas import DataFrame

from pipeline.cli.demo import example
from pipeline.cli.emit import emit
from pipeline.cli.options import AS_JSON, MANIFESTS, ROOT, find_roots, say
from pipeline.core import manifest
from pipeline.core.errors import ManifestError, PrepError
from pipeline.corpora import lexicon as spellings
from pipeline.corpora import rights as licences
from pipeline.corpora.rights import Terms
from pipeline.engine import recipe
from pipeline.inspect import diff as difference
from pipeline.inspect import explain as explaining
from pipeline.share import pack


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@AS_JSON
def diff(a: Path, b: Path, as_json: bool) -> None:
    """Say how B differs from A, two manifests or packs: in which rows and columns, and by which options of what made them.

    Where audio lies in the shards is not compared. Columns that a pack left out are listed as not comparable. Exit code 0:
    the same rows; 1: they differ; 2: they could not be compared.

    \b
    Example:
      prep pack manifests/mixed.parquet --out mixed.pack.parquet
      prep diff manifests/mixed.parquet mixed.pack.parquet
    """
    try:
        answer = difference.difference(difference.of_file(a), difference.of_file(b))
    except PrepError as error:  # 1 is the answer that they differ
        say(f"prep: {error}")
        raise click.exceptions.Exit(2) from None
    emit(asdict(answer) | {"same_rows": answer.same_rows}, as_json, lambda: difference.lines(answer))
    if not answer.same_rows:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("row_id", metavar="ID")
@click.argument("paths", metavar="[MANIFEST]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--lexicon",
    "lexicon_path",
    type=click.Path(path_type=Path),
    help="lexicon that filter was given  [default: the shipped one]",
)
@ROOT
@AS_JSON
def explain(
    row_id: str, paths: tuple[Path, ...], lexicon_path: Path | None, roots: dict[str, str], as_json: bool
) -> None:
    """Explain what happened to ID: a clip of speech or noise, a mixture, or a row that was dropped.

    The answer begins with the archive that holds the bytes (if its root is known), says what each stage measured and
    decided, draws included, and ends with the mixtures. The end of an id is enough if only one id ends so. MANIFESTs are
    the ones to look through; without any, all in manifests/. Transcripts are shown.

    \b
    Example:
      prep explain cochlscene/Bus_user0001_14700037_000
    """
    words = spellings.read(lexicon_path) if lexicon_path else spellings.shipped()
    row_id = unicodedata.normalize("NFC", row_id)
    answer = explaining.explain(row_id, paths or _all_manifests(), find_roots(roots), words, say)
    emit(answer, as_json, lambda: explaining.lines(answer))


def _all_manifests() -> list[Path]:
    """Every manifest in manifests/. A sentence on stderr names each other file there, which is passed over."""
    manifests = []
    for path in sorted(MANIFESTS.glob("*.parquet")):
        if path.name.endswith((".drops.parquet", ".pack.parquet", ".measures.parquet")):
            continue
        try:
            manifest.provenance(path)
        except ManifestError as error:
            say(f"passed over: {error}")
        else:
            manifests.append(path)
    if not manifests:
        remedy = "go to the folder where you ran prep, or name one: prep explain ID MANIFEST"
        raise ManifestError(f"{MANIFESTS}: no manifests here; {remedy}")
    return manifests


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@AS_JSON
def rights(path: Path, as_json: bool) -> None:
    """Say what may be done with the set of MANIFEST (or of a pack): licence, attribution and terms of each source.

    \b
    Example:
      prep rights manifests/mixed.parquet
    """
    rows = _columns(path, ("corpus", "kind", "noise_source", "transcript", "labels", "scenario", "scene"))
    terms, sentences = licences.terms(rows), licences.sentences(rows)
    free = int(licences.shareable_audio(rows).sum())
    audio = {"may_be_passed_on": free, "may_not": len(rows) - free}
    answer = {"rows": len(rows), "audio": audio, "sources": [asdict(t) for t in terms], "said": sentences}
    emit(answer, as_json, lambda: [f"{path}: {len(rows):,} rows", "", *sentences, *_terms_lines(terms)])


def _columns(path: Path, names: Sequence[str]) -> DataFrame:
    """These columns of a manifest or a pack."""
    if pack.is_pack(path):
        return pack.read(path).manifest.frame[[*names]]
    return manifest.read_columns(path, names)


def _terms_lines(terms: Sequence[Terms]) -> Iterator[str]:
    for t in terms:
        share = ", ".join(f"{kind} {'yes' if t.may_share(kind) else 'NO'}" for kind in licences.KINDS)
        yield from ("", f"{t.corpus}: {t.title}")
        yield from (f"  in        {t.rows:,} rows", f"  licence   {t.licence}  {t.licence_url}")
        yield from (f"  may share {share}", f"  terms     {t.restrictions}")
        yield from (f"  credit    {t.attribution}", f"  homepage  {t.homepage}")


@click.command("paper-counts")
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--recipe",
    "chosen",
    default="paper",
    show_default=True,
    help="recipe whose classes are looked for among those that fit",
)
@AS_JSON
def paper_counts(path: Path, chosen: str, as_json: bool) -> None:
    """Compare the AI-Hub clips of MANIFEST with published counts, and list the choices of six classes that fit the paper.

    The paper does not name its six classes. On the whole corpus the set's own counts and keywords decide; on less, only
    the published counts of Validation can.

    \b
    Example:
      prep paper-counts manifests/aihub.parquet
    """
    counts, wanted = example("paper_counts"), recipe.read(recipe.find(chosen))
    rows = _columns(path, ("id", "corpus", "split", "scenario", "transcript", "speech_id"))
    answer = counts.counts(rows, wanted.lexicon, wanted.filter.scenarios)
    emit(answer, as_json, lambda: counts.lines(answer))


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="manifest to write  [default: MANIFEST itself]")
@AS_JSON
def migrate(path: Path, out: Path | None, as_json: bool) -> None:
    """Write MANIFEST, if it is of an older schema, as one of the newest, and its drops with it.

    Older manifests are read as they are; this is for other programs that read them.

    \b
    Example:
      prep migrate manifests/mixed.parquet
    """
    since = manifest.provenance(path).schema_version
    place = out or path
    if since == manifest.SCHEMA_VERSION:
        manifest.read(path)
        if place != path:
            newest = f"{path} is of the newest schema ({since}) already: use it as it is"
            raise PrepError(f"--out {place}: not written, for {newest}")
        now, lines = since, [f"{path}: schema version {since}, the newest: nothing to do"]
    else:
        if place.parent.resolve() != path.parent.resolve():
            raise PrepError(f"--out {place}: the audio of {path} lies beside it; name a file in {path.parent}")
        now = manifest.migrate(path, place).schema_version
        lines = [f"{path}: schema version {since} -> {now}", f"  -> {place}"]
    emit({"from": since, "to": now, "manifest": str(place)}, as_json, lambda: lines)
