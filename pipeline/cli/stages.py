"""prep ingest, filter, resample, mix."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click

from pipeline import corpora
from pipeline.archives import Root, Roots
from pipeline.cli.common import (
    MANIFESTS,
    Common,
    at_work,
    common_of,
    options_of,
    report,
    roots_told,
    say,
    stage_common,
    watch,
)
from pipeline.cli.corpora import inventory_text
from pipeline.cli.fields import field_options
from pipeline.core import manifest
from pipeline.core.errors import ManifestError, PrepError
from pipeline.core.table import Table
from pipeline.corpora import FORMS, Listing, lexicon, recordings
from pipeline.engine import steps as build
from pipeline.engine.run import STORED_BYTES_A_SECOND
from pipeline.engine.steps import Ran
from pipeline.stages import filter as filter_stage
from pipeline.stages import mix as mix_stage
from pipeline.stages import resample as resample_stage


@click.command()
@click.argument(
    "corpus", shell_complete=lambda context, parameter, typed: [n for n in corpora.names() if n.startswith(typed)]
)
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--from",
    "form",
    type=click.Choice(FORMS),
    help="recordings: read this tool's manifest  [default: a table, else any]",
)
@stage_common()
def ingest(corpus: str, folder: Path | None, form: str | None, **options: Any) -> None:
    """Open each recording of CORPUS once and write down what is true of it.

    DIR is where the corpus lies, in the archives as downloaded or unpacked; it is remembered in prep.toml. For AI-Hub the
    inventory of the labels is printed. `prep corpora` lists the corpora. Recordings of one's own are told by a table, or by a
    manifest of Lhotse, NeMo or Kaldi (--from): whole files, or pieces of longer ones by their times.

    \b
    Example:
      prep ingest aihub /data/aihub170
    """
    common = common_of(options)
    name = corpora.find(corpus).NAME
    claim = _claim(name, form)
    if folder is not None:
        common = replace(common, root=(*common.root, f"{name}={folder}"))
    roots = roots_told(common.root)
    out = common.out or MANIFESTS / f"{name}.parquet"
    if common.dry_run:
        claims = claim(roots[name])
        if common.json:
            click.echo(
                json.dumps(
                    {"stage": f"ingest {name}", "in": len(claims.clips), "dropped": len(claims.drops), "manifest": None}
                )
            )
        else:
            click.echo(
                f"ingest {name}: {len(claims.clips):,} recordings to open, {len(claims.drops):,} drops already; nothing written"
            )
        return
    roots[name].entries()  # a root that cannot be read is said before anything is begun
    told = {"ingest": {"corpora": [name]}} | ({"from": form} if form else {}) | _sampled(common)
    with at_work(common, out, roots, told) as where:
        ran = build.ingested(name, where, common.limit, common.seed, watch(), claim)
        _refuse_nothing(ran, name)
        build.written(out, [ran], told, common.seed, {})
    if folder is not None:
        _remember(name, roots)
    if not common.json and ran.claims is not None and ran.claims.inventory is not None:
        click.echo(inventory_text(ran.claims.inventory))
    report(ran, f"ingest {name}", common, out)


def _claim(name: str, form: str | None) -> Callable[[Root], Listing]:
    """What says which recordings a corpus has: its adapter, or for recordings the manifest of another tool."""
    if form is None:
        return corpora.find(name).clips
    if name != recordings.NAME:
        raise PrepError(
            f"--from {form}: only recordings are read from another tool's manifest: prep ingest recordings DIR --from {form}"
        )
    return partial(recordings.clips_from, form=form)


@click.command("filter")
@click.argument("manifests", nargs=-1, type=click.Path(path_type=Path))
@field_options(filter_stage.Options)
@click.option(
    "--lexicon",
    "lexicon_path",
    type=click.Path(path_type=Path),
    help="TOML file of keywords and their spellings  [default: the shipped one]",
)
@stage_common("root", "shard", "scheduler", "shard_clips")
def filter(manifests: tuple[Path, ...], lexicon_path: Path | None, **options: Any) -> None:
    """Keep the rows that meet the rules; label keywords; carve a dev split. Opens no audio.

    MANIFESTS: those of ingest; without any, every corpus that was ingested. The defaults are those of recipes/paper.toml.
    To keep all scenarios, name all you want. It takes seconds in one process: --jobs is taken, as by every stage, and changes
    nothing.

    \b
    Example:
      prep filter --scenarios 도움요청 --scenarios 폭력범죄 --where "labels['gender'] = '여성'"
    """
    common = common_of(options)
    rules = options_of(filter_stage.Options, options)
    words = lexicon.read(lexicon_path) if lexicon_path else lexicon.shipped()
    read = list(manifests or _ingested())
    ran = build.filtered((manifest.read(path).table for path in read), rules, words, common.limit, common.seed)
    told = {"filter": rules.model_dump(mode="json"), "lexicon": lexicon.identity(words)}
    _finish(ran, "filter", common, read, told, MANIFESTS / "filtered.parquet")


@click.command()
@click.argument("source", metavar="[MANIFEST]", required=False, type=click.Path(path_type=Path))
@field_options(resample_stage.Options)
@stage_common()
def resample(source: Path | None, **options: Any) -> None:
    """Store the rows of MANIFEST (manifests/filtered.parquet) as mono FLAC in shards, straight from the archives.

    \b
    Example:
      prep resample --rate 16000 --jobs 2
    """
    common = common_of(options)
    chosen = options_of(resample_stage.Options, options)
    read = source or _previous("filtered.parquet", "prep filter")
    out = common.out or MANIFESTS / "resampled.parquet"
    if common.dry_run:
        _say_dry("resample", manifest.read(read).table, common)
        return
    told = {"resample": chosen.model_dump(mode="json")}
    with at_work(common, out, roots_told(common.root), told) as where:
        ran = build.resampled(manifest.read(read).table, chosen, where, common.limit, common.seed, watch())
        _finish(ran, "resample", common, [read], told, out)


@click.command()
@click.argument("source", metavar="[MANIFEST]", required=False, type=click.Path(path_type=Path))
@field_options(mix_stage.Options)
@stage_common("root")
def mix(source: Path | None, **options: Any) -> None:
    """Add noise of its own split to each utterance of MANIFEST (manifests/resampled.parquet) at a controlled SNR.

    Noise rows stay in the manifest as examples of noise. The SNR that came out is measured, by both definitions.

    \b
    Example:
      prep mix --snr 20 --snr 0:15 --copies 2 --noise cochlscene
    """
    common = common_of(options)
    chosen = options_of(mix_stage.Options, options)
    read = source or _previous("resampled.parquet", "prep resample")
    out = common.out or MANIFESTS / "mixed.parquet"
    _same_folder(out, read)
    if common.dry_run:
        rows = build.limited(manifest.read(read).table.frame, common.limit, common.seed)
        plan = mix_stage.plan(rows, chosen, common.seed, "")
        _say_dry("mix", Table(plan.table(names=("frames", "rate_hz"))), common)
        return
    rendering = manifest.provenance(read).recipe.get("resample", {})
    told = {"mix": chosen.model_dump(mode="json")}
    with at_work(common, out, Roots({}), told) as where:
        ran = build.mixed(manifest.read(read).table, chosen, rendering, where, common.limit, common.seed, watch())
        _finish(ran, "mix", common, [read], told, out)


def _say_dry(name: str, rows: Table, common: Common) -> None:
    """What a stage would store."""
    seconds = float(rows.query("SELECT coalesce(sum(frames / rate_hz), 0) FROM rows")[0][0])
    size = seconds * STORED_BYTES_A_SECOND
    if common.json:
        click.echo(
            json.dumps(
                {
                    "stage": name,
                    "in": len(rows),
                    "hours": round(seconds / 3600, 4),
                    "bytes": int(size),
                    "manifest": None,
                }
            )
        )
    else:
        click.echo(f"{name}: {len(rows):,} clips, {seconds / 3600:.2f} h, about {size / 1e9:.2f} GB; nothing written")


def _finish(ran: Ran, name: str, common: Common, read: list[Path], told: dict[str, Any], default: Path) -> None:
    """Writes the manifest, unless nothing is to be written, and prints the stage's line."""
    if common.dry_run:
        report(ran, name, common, None)
        return
    _refuse_nothing(ran, name)
    out = common.out or default
    before: dict[str, Any] = {}
    made = {path.stem: manifest.provenance(path) for path in read}
    for held in made.values():
        for key, value in held.recipe.items():
            before[key] = _merged(before.get(key), value)
    inputs = {name: held.logical_hash for name, held in made.items()}
    store = {"store": {"shard_clips": common.shard_clips}} if name != "filter" else {}
    build.written(out, [ran], before | told | store | _sampled(common), common.seed, inputs)
    report(ran, name, common, out)


def _merged(one: Any, other: Any) -> Any:
    """Provenance of several ingests: their corpora together."""
    if isinstance(one, dict) and isinstance(other, dict) and "corpora" in one:
        return {"corpora": sorted({*one["corpora"], *other["corpora"]})}
    return other


def _sampled(common: Common) -> dict[str, Any]:
    return {} if common.limit is None else {"limit": common.limit}


def _refuse_nothing(ran: Ran, name: str) -> None:
    if len(ran.rows):
        return
    reasons = ", ".join(f"{reason} {count}" for reason, count in ran.reasons().items())
    example = f" For example: {ran.drops.column('detail')[0]}." if len(ran.drops) else ""
    raise PrepError(
        f"{name}: not one of {ran.jobs:,} rows is left ({reasons or 'there were none'}).{example} Nothing was written"
    )


def _ingested() -> list[Path]:
    found = [path for name in corpora.names() if (path := MANIFESTS / f"{name}.parquet").exists()]
    if not found:
        raise ManifestError(
            f"{MANIFESTS}: no corpus was ingested yet: type, for example, prep ingest aihub DIR ({', '.join(corpora.names())})"
        )
    return found


def _previous(name: str, command: str) -> Path:
    path = MANIFESTS / name
    if not path.exists():
        raise ManifestError(f"{path}: no such manifest yet: run {command} first, or name another manifest")
    return path


def _same_folder(out: Path, read: Path) -> None:
    if out.parent.resolve() != read.parent.resolve():
        raise PrepError(f"--out {out}: the audio of {read} lies beside it; name a file in {read.parent}")


def _remember(name: str, roots: Roots) -> None:
    """Notes the root in prep.toml, for the commands that follow; one that it named before gives way."""
    path, where = Path("prep.toml"), roots.where(name)
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    held = tomllib.loads(text).get("roots", {})
    if where is None or str(held.get(name, "")) == str(where):
        return
    text = _with_root(text, name, json.dumps(str(where), ensure_ascii=False))
    if tomllib.loads(text)["roots"].get(name) != str(where):  # written in a way that this cannot edit
        say(f'the next commands do not know where {name} is: write under [roots] in prep.toml: {name} = "{where}"')
        return
    path.write_text(text, encoding="utf-8")
    before = f", no longer {held[name]}" if name in held else ""
    say(f"prep.toml: {name} = {where}{before} (remembered for the next commands)")


def _with_root(text: str, name: str, where: str) -> str:
    """The text of a prep.toml with one root more, or with another path for it; the rest stays as it is."""
    line = re.compile(rf"^[ \t]*\"?{re.escape(name)}\"?[ \t]*=.*$", re.MULTILINE)
    if name in tomllib.loads(text).get("roots", {}):
        return line.sub(lambda _: f"{name} = {where}", text, count=1)
    if header := re.search(r"^[ \t]*\[roots\][^\n]*\n", text, re.MULTILINE):
        return f"{text[: header.end()]}{name} = {where}\n{text[header.end() :]}"
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[roots]\n{name} = {where}\n"
