"""prep ingest, filter, resample, mix, scene."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ValidationError

from pipeline import api, corpora
from pipeline.audio.scenes import Scene
from pipeline.cli.emit import emit, table
from pipeline.cli.endings import echo
from pipeline.cli.fields import field_options, flag, typed
from pipeline.cli.options import ALL, FILE, MANIFESTS, NONE, STAGE, work_options
from pipeline.core import exclusions, manifest, measures
from pipeline.core.errors import ManifestError, RecipeError
from pipeline.core.manifest import Manifest
from pipeline.corpora import FORMS, lexicon, own
from pipeline.engine import steps
from pipeline.engine.recipe import readable
from pipeline.engine.run import STORED_BYTES_A_SECOND, Setting, Unfinished, durations
from pipeline.engine.steps import Step
from pipeline.engine.workers import Workers
from pipeline.stages import filter as filter_stage
from pipeline.stages import ingest as ingest_stage
from pipeline.stages import mix as mix_stage
from pipeline.stages import resample as resample_stage
from pipeline.stages import scene as scene_stage

# what ingest lets one state of a corpus of one's own
FACTS = "licence attribution share_audio noisy audio_dir transcripts speaker pcm_rate_hz"
COMMONEST = 4  # values that the inventory of a label shows


def checked(model: type[BaseModel], options: Mapping[str, Any]) -> Any:
    """The options of a stage out of what was typed. RecipeError names every fault as it is typed: `--max-s: ...`."""
    values = typed({name: options[name] for name in model.model_fields})
    try:
        return model.model_validate(values)
    except ValidationError as error:
        faults = []
        for fault in readable(error, model):
            name, colon, rest = fault.partition(":")
            info = model.model_fields.get(name.split(".")[0])
            faults.append(f"{flag(name.split('.')[0], info)}{colon}{rest}" if info else fault)
        raise RecipeError(faults) from None


@contextmanager
def slices(shard: tuple[int, int]) -> Iterator[None]:
    """A slice of a run ends well although other slices are not done yet."""
    try:
        yield
    except Unfinished as error:
        if shard in (ALL, NONE):
            raise
        echo(f"slice {shard[0]}/{shard[1]} is done as far as it goes. {error}")
        raise click.exceptions.Exit(0) from None


def named_columns(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """`file=filename` as {"file": "filename"}; None where nothing was typed."""
    faults = [
        f"--column {value}: expected ROLE=HEADING with a role of {', '.join(own.ROLES)}"
        for value in values
        if value.partition("=")[0] not in own.ROLES or not value.partition("=")[2]
    ]
    if faults:
        raise RecipeError(faults)
    return dict(value.split("=", 1) for value in values) or None


@click.command()
@click.argument(
    "corpus", shell_complete=lambda context, parameter, typed: [n for n in corpora.names() if n.startswith(typed)]
)
@click.argument("folder", metavar="[DIR]", required=False, type=FILE)
@click.option(
    "--from",
    "form",
    type=click.Choice(FORMS),
    help="recordings: read this tool's manifest  [default: a table, else any]",
)
@click.option("--name", metavar="NAME", help="recordings: name of this corpus of your own, one of many")
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=HEADING",
    callback=named_columns,
    help="recordings: what a column of the table is; by numbers, file=1, where it has no headings",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAME",
    callback=lambda context, parameter, values: list(values) or None,
    help="recordings: table below DIR, once or more; train.tsv, dev.tsv and the like name a split",
)
@field_options(own.Facts, FACTS)
@field_options(ingest_stage.Options)
@work_options(STAGE)
def ingest(
    corpus: str, folder: Path | None, name: str | None, form: str | None, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Open each recording of CORPUS once and write down what is true of it.

    DIR is the folder of the corpus, in the archives as downloaded or unpacked; prep.toml remembers it. For AI-Hub the
    inventory of the labels is printed. `prep corpora` lists the corpora. A table says which recordings of your own
    there are, or a manifest of Lhotse, NeMo or Kaldi (--from): whole files, or pieces of longer ones by their times.
    Each corpus of your own has a --name; what you state of it, here or in corpus.toml beside it, is remembered, too.

    \b
    Columns of a table, by known headings (others: --column file=HEADING):
      file        file, path, filename, file_name, audio, wav, 파일
      transcript  transcript, transcription, text, sentence, note, 전사
      label       label, class, keyword
      scene       scene, place, environment
      speaker     speaker, speaker_id, 화자
      split       split, set, subset
      times       start, end, or start, duration: seconds; channel: from 0, or left

    \b
    Example:
      prep ingest aihub /data/aihub170
      prep ingest recordings /data/recordings --name calls
    """
    chosen = checked(ingest_stage.Options, options)
    facts = typed({key: options.pop(key) for key in (*FACTS.split(), "columns", "tables")})
    if not dry_run:
        run_stage(
            lambda **work: api.ingest(corpus, folder, name=name, form=form, facts=facts, **work), as_json, options
        )
        return
    stated = {**facts, **({"form": form} if form else {})}
    with api.ingesting(corpus, folder, name, stated, options["roots"]) as (called, where):
        setting = Setting(MANIFESTS, where, Workers())
        step = steps.ingest_step(called, chosen, setting, options["limit"], options["seed"])
    answer = {"stage": step.name, "in": len(step.plan), "dropped": len(step.drops), "manifest": None}
    text = f"{len(step.plan):,} recordings to open, {len(step.drops):,} drops already; nothing written"
    emit(answer, as_json, lambda: [f"{step.name}: {text}"])


@click.command("filter")
@click.argument("manifests", nargs=-1, type=FILE)
@field_options(filter_stage.Options)
@click.option(
    "--lexicon", "words", type=FILE, help="TOML file of keywords and their spellings  [default: the shipped one]"
)
@click.option(
    "--exclude",
    type=FILE,
    metavar="FILE",
    help="leave out the clips that this file names, an id a line (prep audit --write-exclusions)",
)
@work_options("out jobs limit dry_run json corpus seed")
def filter(
    manifests: tuple[Path, ...], words: Path | None, exclude: Path | None, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Keep the rows that meet the rules; label keywords; carve a dev split. Opens no audio.

    MANIFESTS are those of ingest; without any, those of every corpus that was ingested. The defaults are those of
    recipes/paper.toml. To keep all scenarios, name all you want. One process does it in seconds: --jobs is taken, as by
    every stage, and changes nothing.

    \b
    Example:
      prep filter --scenarios 도움요청 --scenarios 폭력범죄 --where "labels['gender'] = '여성'"
    """
    rules = checked(filter_stage.Options, options)
    spellings = lexicon.read(words) if words else lexicon.shipped()
    sources = list(manifests) or [path for name in corpora.names() if (path := MANIFESTS / f"{name}.parquet").exists()]
    if not sources:
        raise ManifestError(
            f"{MANIFESTS}: no corpus was ingested yet: "
            f"type, for example, prep ingest aihub DIR ({', '.join(corpora.names())})"
        )
    if not dry_run:
        run_stage(lambda **work: api.filter(sources, lexicon=spellings, exclude=exclude, **work), as_json, options)
        return
    tables = (manifest.read(path).frame for path in sources)
    measured = measures.read_all(sources)
    excluded = exclusions.read(exclude) if exclude else []
    step = steps.filter_step(tables, rules, spellings, options["limit"], options["seed"], measured, excluded)
    emit_step(steps.run(step), as_json)


@click.command()
@click.argument("source", metavar="[MANIFEST]", required=False, type=FILE)
@field_options(resample_stage.Options)
@work_options(STAGE)
def resample(source: Path | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Store the rows of MANIFEST (manifests/filtered.parquet) as mono FLAC in shards, straight from the archives.

    \b
    Example:
      prep resample --rate 16000 --jobs 2
    """
    chosen = checked(resample_stage.Options, options)
    path = source or _previous("filtered.parquet", "prep filter")
    if not dry_run:
        run_stage(lambda **work: api.resample(path, **work), as_json, options)
        return
    rows, setting = manifest.read(path).frame, Setting(MANIFESTS, corpora.find_roots(options["roots"]), Workers())
    _emit_dry_run(steps.resample_step(rows, chosen, setting, options["limit"], options["seed"]), as_json)


@click.command()
@click.argument("source", metavar="[MANIFEST]", required=False, type=FILE)
@field_options(mix_stage.Options)
@work_options(STAGE.replace(" root", ""))
def mix(source: Path | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Add noise of its own split to each utterance of MANIFEST (manifests/resampled.parquet) at a controlled SNR.

    Rows of noise stay in the manifest as examples of noise. The SNR that came out is measured, by both definitions.

    \b
    Example:
      prep mix --snr 20 --snr 0:15 --copies 2 --noise cochlscene
    """
    chosen = checked(mix_stage.Options, options)
    path = source or _previous("resampled.parquet", "prep resample")
    if not dry_run:
        run_stage(lambda **work: api.mix(path, **work), as_json, options)
        return
    _emit_dry_run(steps.mix_step(manifest.read(path).frame, chosen, {}, options["limit"], options["seed"]), as_json)


@click.command()
@click.argument("source", metavar="[MANIFEST]", required=False, type=FILE)
@field_options(scene_stage.Options)
@click.option("--lexicon", type=FILE, help="that of prep filter  [default: the shipped one]")
@click.option("--sound", type=FILE, metavar="DIR", help="also write each recording as FLAC")
@work_options("out jobs json seed")
def scene(source: Path | None, sound: Path | None, as_json: bool, **options: Any) -> None:
    """Lay calls and other speech of MANIFEST (manifests/resampled.parquet) into long noise, at drawn times.

    A scene is rows, not sound: days of it take megabytes. The times of what is said lie beside it, as CSV. --confusable
    names speech that is easily taken for a call, by an SQL condition.

    
    Example:
      prep scene --hours 0.5 --minutes 10 --split test --snr 10 --sound listen
      prep scene --hours 24 --calls-per-hour 4 --snr 0:20
    """
    checked(scene_stage.Options, options)
    path = source or _previous("resampled.parquet", "prep resample")
    made: list[Scene] = []

    def lay(**work: Any) -> Scene:
        made.append(api.scene(path, **work))
        return made[0]

    run_stage(lay, as_json, options)
    if sound:
        for recording in made[0].recordings:
            made[0].write(recording, sound / f"{recording}.flac")


def run_stage(stage: Callable[..., Manifest | Scene], as_json: bool, options: dict[str, Any]) -> None:
    """Runs a stage with the options that were typed, and prints what came out of it."""
    done: list[Step] = []
    with slices(options.get("shard", ALL)):
        made = stage(folder=MANIFESTS, report=done.append, **typed(options))
    emit_step(done[0], as_json, made.path)


def emit_step(step: Step, as_json: bool, path: Path | None = None) -> None:
    """Prints the line of a stage, its notes, and where its manifest is; or all of it as JSON."""
    answer = {
        "stage": step.name,
        "in": step.count,
        "kept": step.count - len(step.drops),
        "dropped": len(step.drops),
        "reasons": step.reasons(),
        "notes": step.notes,
        "manifest": str(path) if path else None,
    }
    lines = [step.line(), *(f"  {note}" for note in step.notes), *([f"  -> {path}"] if path else [])]
    if step.inventory is not None:
        answer["inventory"] = step.inventory
        lines.insert(0, inventory_text(step.inventory))
    emit(answer, as_json, lambda: lines)


def _emit_dry_run(step: Step, as_json: bool) -> None:
    """Prints what a stage would store."""
    seconds = float(durations(step.plan.jobs).sum())
    size = seconds * STORED_BYTES_A_SECOND
    answer = {
        "stage": step.name,
        "in": len(step.plan),
        "hours": round(seconds / 3600, 4),
        "bytes": int(size),
        "manifest": None,
    }
    text = f"{len(step.plan):,} clips, {seconds / 3600:.2f} h, about {size / 1e9:.2f} GB; nothing written"
    emit(answer, as_json, lambda: [f"{step.name}: {text}"])


def _previous(name: str, command: str) -> Path:
    path = MANIFESTS / name
    if not path.exists():
        raise ManifestError(f"{path}: no such manifest yet: run {command} first, or name another manifest")
    return path


def inventory_text(inventory: Mapping[str, Any], most: int = 20) -> str:
    """What the labels of a corpus hold, as tables for a person of at most `most` lines each; each says what it leaves
    out."""
    keys = []
    for key in inventory["keys"]:
        types = ", ".join(name if n == key["count"] else f"{name} {n:,}" for name, n in key["types"].items())
        distinct = f"{key['distinct']:,}" if key["all_counted"] else f"over {key['distinct']:,}"
        values, first = key["commonest"][:COMMONEST], key["commonest"][0]
        commonest = ", ".join(f"{_short(value)} {n:,}" for value, n in values)
        if key["distinct"] > COMMONEST:
            commonest = f"all differ, {_short(first[0])} ..." if first[1] == 1 else f"{commonest} ..."
        keys.append((key["path"], key["count"], types, distinct, commonest))
    categories = [(item["count"], " > ".join(p or "(none)" for p in item["path"])) for item in inventory["categories"]]
    transcripts = [(item["count"], item["text"] or "(blank)") for item in inventory["transcripts"]]
    containers = [(item["files"], item["container"]) for item in inventory["containers"]]
    parts = (
        (
            f"keys of {inventory['labels']:,} labels",
            ("key", "count", "types", "distinct", "commonest values"),
            keys,
            None,
        ),
        ("categories", ("count", "01 > 02 > 03"), categories, most),
        ("transcripts", ("count", "note"), transcripts, most),
        ("folders and archives", ("files", "folder or archive"), containers, most),
    )
    texts = []
    for title, head, rows, limit in parts:
        more = [f"... and {len(rows) - limit:,} more"] if limit is not None and len(rows) > limit else []
        texts.append("\n  ".join([title, *table([head, *rows[:limit]], rule=False), *more]))
    return "\n\n".join(texts)


def _short(text: str, most: int = 24) -> str:
    return repr(text) if len(text) <= most else repr(text[: most - 3]) + "..."
