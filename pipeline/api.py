"""The public functions: what a notebook or a script calls as `import pipeline as prep`, and what the commands call.

    import pipeline as prep
    clips = prep.ingest("aihub", "/data/aihub170")                 # a Manifest
    kept = prep.filter(clips, scenarios=["화재"], min_s=0.3)
    mixed = prep.mix(prep.resample(kept), snr_db=[20, "0:15"], seed=0)
    mixed.frame                                                    # a pandas DataFrame of rows

Each stage takes a manifest and writes the next one. What is done already is not done again: the same call, after a
crash or a change, goes on from what is there.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Unpack
from unicodedata import normalize

from pandas import DataFrame
from pydantic import BaseModel, ValidationError

from pipeline import corpora
from pipeline import export as exports
from pipeline.archives import Roots, roots
from pipeline.audio.scenes import NOISE, SUFFIX, Piece, Scene
from pipeline.core import exclusions, files, measures, parquet
from pipeline.core import frame as frames
from pipeline.core import manifest as manifests
from pipeline.core.errors import ManifestError, PrepError, RecipeError, did_you_mean, inert, to_install
from pipeline.core.joined import Joined, Stacked
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.row import Drop, Row
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora import own, rights
from pipeline.corpora.lexicon import Lexicon
from pipeline.engine import lock, status, steps
from pipeline.engine import plan as plans
from pipeline.engine import recipe as recipes
from pipeline.engine.plan import StageState
from pipeline.engine.progress import Bar
from pipeline.engine.recipe import Recipe
from pipeline.engine.run import SHARD_CLIPS, Progress, Setting
from pipeline.engine.run import Step as Ended
from pipeline.engine.steps import Step
from pipeline.engine.workers import map_chunks, open_workers
from pipeline.export import Export, Use
from pipeline.inspect import audit as audits
from pipeline.inspect import diff as diffs
from pipeline.inspect import explain as explaining
from pipeline.inspect import measure as measuring
from pipeline.inspect.audit import Audit
from pipeline.inspect.audit import checks as audit_checks
from pipeline.inspect.diff import Difference
from pipeline.share import croissant as croissants
from pipeline.share import pack as packs
from pipeline.share import rebuild as rebuilds
from pipeline.share import verify as verifying
from pipeline.share.pack import Packed
from pipeline.share.rebuild import Rebuilt
from pipeline.share.verify import Checked
from pipeline.stages import Plan
from pipeline.stages import filter as filter_stage
from pipeline.stages import ingest as ingest_stage
from pipeline.stages import mix as mix_stage
from pipeline.stages import resample as resample_stage
from pipeline.stages import scene as scene_stage

M = TypeVar("M", bound=BaseModel)
Source = Manifest | str | Path
Progressing = bool | Literal["auto"]
ALL, NONE = (1, 1), (0, 0)  # slices of the work
_log = logging.getLogger("pipeline")


class Work(TypedDict, total=False):
    """What every function that does work takes beside its own arguments, all of it optional.

    folder: where the manifest is written; its audio lies in `folder/audio`. `ingest` and `run` write into "manifests";
    the other stages write beside the manifest that goes in.
    out: the manifest to write, instead of the file in `folder` that is named after the stage.
    jobs: how many processes do the work, 1 if not given.
    seed: seed of every draw, 0 if not given; for `run` the seed of the recipe.
    limit: at most so many rows of each kind (speech, noise), always the same sample of them.
    roots: where corpora lie, `{"aihub": "/data/aihub170"}`; else the environment variable PREP_ROOT_AIHUB says so, else
    the file prep.toml in the working folder.
    shard_clips: mean number of clips in a file of audio, 1,000 if not given.
    shard: `(3, 8)` does only the third of eight slices of the work, for job arrays and several machines; such a call
    raises `Unfinished` until all slices are done.
    scheduler: address of a Dask scheduler whose workers do the work, `tcp://host:8786`.
    wait_s: how many seconds to wait where no Dask worker is connected, for ever if not given.
    progress: whether progress bars are shown on standard error; "auto", if not given, shows them in a terminal or a
    notebook.
    report: is called with each step as it ends (`pipeline.engine.steps.Step`: name, count, rows, drops, notes).
    """

    folder: str | Path
    out: str | Path | None
    jobs: int
    seed: int | None
    limit: int | None
    roots: Mapping[str, str | Path]
    shard_clips: int
    shard: tuple[int, int]
    scheduler: str | None
    wait_s: float | None
    progress: Progressing
    report: Callable[[Step], object]


# ---- stages


def ingest(
    corpus: str,
    root: str | Path | None = None,
    *,
    name: str | None = None,
    form: str | None = None,
    facts: Mapping[str, Any] | None = None,
    max_mb: int = 400,
    **work: Unpack[Work],
) -> Manifest:
    """Opens each recording of a corpus once, and writes down what is true of it.

    corpus: its name, one of `pipeline.corpora.names()`. root: where it lies, in the archives as downloaded or unpacked;
    it is noted in prep.toml in the working folder, so that later calls find it. max_mb: bound on a recording, MB of its
    file and of its samples. work: see `Work`.

    For recordings of one's own: name: that of the corpus, as many as there are. form: the tool whose manifest lists
    them: "lhotse", "nemo" or "kaldi". facts: what else is stated of it, such as licence, attribution, share_audio and
    noisy (`pipeline.corpora.own.Facts`), instead of what `corpus.toml` beside the recordings states.

    Returns the manifest, `folder/CORPUS.parquet`. Recordings that cannot be read are in its drops, with the reason.
    SourceError where the root is not there or holds another corpus; PrepError where no recording is left.

    For example:

        clips = prep.ingest("aihub", "/data/aihub170", jobs=8)
        clips.frame[["id", "frames", "rate_hz", "level_full_dbfs"]]
    """
    _refuse_unknown(work)
    options = ingest_stage.Options(max_mb=max_mb)
    stated = {**(facts or {}), **({"form": form} if form else {})}
    with ingesting(corpus, root, name, stated, work.get("roots", {})) as (called, where):
        where[called].entries()  # a root that cannot be read is a fault before anything is begun
        values = {"corpora": [called], **options.model_dump(mode="json"), **own.stated([called])}
        recipe = _limited({"ingest": values}, work)
        out = _out(work, Path("manifests"), called)
        with _building(out, recipe, where, work) as setting:
            step = steps.ingest_step(called, options, setting, work.get("limit"), work.get("seed") or 0)
            made = _write(_run(step, setting, work), out, recipe, {}, work)
        if root is not None:
            roots.remember(called, where, _say)
        if called in own.known():
            own.remember(own.known()[called], _say)
        if file := corpora.file_of(called):
            own.remember_adapter(called, file, _say)
    return made


@contextmanager
def ingesting(
    corpus: str, root: str | Path | None, name: str | None, stated: Mapping[str, Any], paths: Mapping[str, str | Path]
) -> Iterator[tuple[str, Roots]]:
    """(name of the corpus to ingest, the roots); the facts of a corpus of one's own are in use within the block.

    name, stated: of a corpus of one's own, as `ingest` has them; PrepError where it is another, and where the corpus
    lies in another folder already. paths: of roots.
    """
    if corpus != own.RECORDINGS and (corpus not in own.known() or corpus in corpora.others()):
        called = corpora.find(corpus).NAME
        typed = {"name": name, **{"from" if key == "form" else key: value for key, value in stated.items()}}
        flags = [f"--{key.replace('_', '-')} {value}" for key, value in typed.items() if value is not None]
        if flags:
            what = "are read from another tool's manifest" if stated.get("form") else "of one's own have that"
            raise PrepError(f"{flags[-1]}: only recordings {what}: prep ingest recordings DIR {flags[-1]}")
        where = corpora.find_roots({**paths, **({called: root} if root is not None else {})})
        with own.in_use([], own.stand_ins({called: where.where(called)})):
            yield called, where
        return
    place = Path(root) if root is not None else Roots.find({}, os.environ, Path.cwd()).where(name or corpus)
    facts = own.resolved(corpus, place, name, stated)
    own.refuse_name(facts.name, corpora.others())
    before = Roots.find({}, {}, Path.cwd()).where(facts.name)
    if root is not None and before is not None and before.exists() and not before.samefile(root):
        raise PrepError(
            f"{facts.name} is the corpus in {before} (prep.toml): name this one: prep ingest recordings {root} "
            f"--name NAME. If it is the same corpus in another place, write that into prep.toml first"
        )
    with own.in_use([facts]):
        yield facts.name, corpora.find_roots({**paths, **({facts.name: root} if root is not None else {})})


def filter(
    source: Source | Sequence[Source],
    *,
    lexicon: Lexicon | str | Path | None = None,
    exclude: str | Path | None = None,
    **options: Any,
) -> Manifest:
    """Keeps the rows that meet the rules, labels keywords, and carves a dev split. Opens no audio.

    source: a manifest of `ingest`, its path, or several of them, which are joined. lexicon: a TOML file of keywords and
    their spellings, instead of the one that comes with the project. exclude: a file of ids to leave out, one a line, as
    `audit` writes it. options: the rules, those of [filter] in a recipe
    (`pipeline.stages.filter.Options`): scenarios, splits, min_s, max_s, where and others; and those of `Work`.

    Returns the manifest, `filtered.parquet`. RecipeError names every option that is unknown or has a wrong value.

    For example:

        kept = prep.filter(clips, scenarios=["화재"], min_s=0.3, where="labels['gender'] = '여성'")
        kept.drops.groupby("reason").size()
    """
    work, rules = _split(filter_stage.Options, options)
    words = _lexicon(lexicon)
    sources = [source] if isinstance(source, Manifest | str | Path) else list(source)
    excluded = exclusions.read(Path(exclude)) if exclude else []
    step = steps.filter_step(
        (_opened(each).frame for each in sources),
        rules,
        words,
        work.get("limit"),
        work.get("seed") or 0,
        measures.read_all(_path(each) for each in sources),
        excluded,
    )
    steps.run(step)
    work.get("report", _report)(step)
    recipe = {"filter": rules.model_dump(mode="json"), "lexicon": lexicons.identity(words)}
    recipe |= {"exclude": exclusions.identity(excluded)} if excluded else {}
    out = _out(work, _path(sources[0]).parent, "filtered")
    recipe, inputs = _after(sources, recipe, work)
    return _write(step, out, recipe, inputs, work)


def resample(source: Source, **options: Any) -> Manifest:
    """Stores the audio of each row as mono FLAC at one rate, in tar files of about 1,000 clips, straight from the
    archives.

    source: a manifest of `filter` or `ingest`, or its path. options: rate_hz (16,000 if not given) and quality of soxr
    ("HQ"), those of [resample] in a recipe; and those of `Work`.

    Returns the manifest, `resampled.parquet`. SourceError where the root of a corpus is not known or not there.

    For example:

        stored = prep.resample(kept, jobs=8)
        stored.audio(stored.frame["id"][0])         # int16 [frames]
    """
    work, chosen = _split(resample_stage.Options, options)
    recipe, inputs = _after([source], {"resample": chosen.model_dump(mode="json")} | _store(work), work)
    out = _out(work, _path(source).parent, "resampled")
    with _building(out, {"resample": recipe["resample"]}, corpora.find_roots(work.get("roots", {})), work) as setting:
        rows = _opened(source).frame
        step = steps.resample_step(rows, chosen, setting, work.get("limit"), work.get("seed") or 0)
        return _write(_run(step, setting, work), out, recipe, inputs, work)


def mix(source: Source, **options: Any) -> Manifest:
    """Adds noise of its own split to each utterance at a controlled SNR, and measures the SNR that came out.

    source: a manifest of `resample`, or its path. options: those of [mix] in a recipe (`pipeline.stages.mix.Options`):
    snr_db (numbers of dB, or ranges "0:15" to draw from), copies, noise, definition, virtual and others; and those of
    `Work`. The manifest must lie in the folder of the source, for the audio is there.

    Returns the manifest, `mixed.parquet`: a row for each mixture, and the rows of noise. A mixture whose SNR is more
    than 0.1 dB off is in the drops. PrepError where there is no noise to mix with.

    For example:

        mixed = prep.mix(stored, snr_db=[20, "0:15"], copies=2, noise=["cochlscene"])
        mixed.frame[["id", "snr_db", "snr_active_db", "snr_full_db"]]
    """
    work, chosen = _split(mix_stage.Options, options)
    recipe, inputs = _after([source], {"mix": chosen.model_dump(mode="json")} | _store(work), work)
    path = _path(source)
    out = _out(work, path.parent, "mixed")
    if out.parent.resolve() != path.parent.resolve():
        raise PrepError(f"--out {out}: the audio of {path} lies beside it; name a file in {path.parent}")
    with _building(out, {"mix": recipe["mix"]}, Roots({}), work) as setting:
        opened = _opened(source)
        resampled = opened.provenance.recipe.get("resample", {})
        step = steps.mix_step(opened.frame, chosen, resampled, work.get("limit"), work.get("seed") or 0)
        return _write(_run(step, setting, work), out, recipe, inputs, work)


def scene(source: Source, *, lexicon: Lexicon | str | Path | None = None, **options: Any) -> Scene:
    """Lays calls, other speech and confusable phrases into long noise, at drawn times and a controlled SNR.

    source: a manifest of `resample`, or its path. lexicon: as in `filter`; it says what a call is. options:
    hours, minutes, split, calls_per_hour, snr_db and others (`pipeline.stages.scene.Options`); and of `Work`: out,
    jobs, seed, progress, report. The scene must lie in the folder of the source, for the audio is there.

    Returns the scene, `SPLIT.scene.parquet`: rows alone, a few hundred bytes for each utterance. The times of what
    is said lie beside it, `SPLIT.scene.csv`, and the drops: utterances that do not fit into 16 bits.

    For example:

        night = prep.scene(stored, hours=24, split="test", snr_db=["0:20"])
        night.truth[["recording", "start", "end", "keyword"]]
        for block in night.blocks("test-00000"):    # int16 [frames], rendered as they are asked for
            ...
    """
    work, chosen = _split(scene_stage.Options, options)
    path, opened = _path(source), _opened(source)
    out = _out(work, path.parent, f"{chosen.split}.scene")
    if out.parent.resolve() != path.parent.resolve() or not out.name.endswith(SUFFIX):
        raise PrepError(
            f"--out {out}: expected a name NAME{SUFFIX} in {path.parent}, where the audio of {path.name} lies"
        )
    recipe, inputs = _after([source], {"scene": chosen.model_dump(mode="json")}, work)
    seed = work.get("seed") or 0
    count, recordings, notes = scene_stage.plan(opened.frame, chosen, seed, _lexicon(lexicon))
    advance = counters(work.get("progress", "auto"))("scene", count)
    pieces, drops = [], []
    with open_workers(work.get("jobs", 1)) as workers:
        for kept, lost in map_chunks(scene_stage.work, recordings, 1, workers, path.parent):
            pieces.append(frames.table_of(kept, Piece))
            drops += lost
            advance(1)
    table, dropped = frames.from_arrow(frames.stacked(pieces)), frames.from_rows(drops, Drop)
    utterances = frames.pick(table, ~frames.equal(table["kind"], NOISE))
    if drops and not len(utterances):
        raise PrepError(f"scene: not one of {len(drops):,} utterances fits; for example: {drops[0].detail}")
    made = asdict(Provenance(scene_stage.NAME, recipe, seed, inputs, manifests.versions(), frames.logical_hash(table)))
    parquet.write(manifests.drops_path(out), dropped, made)
    parquet.write(out, table, made)
    written = Scene(out)
    with files.replacing(out.with_suffix(".csv")) as half, half.open("wb") as file:
        parquet.write_csv(file, written.truth, heading=True)
    rows, nothing = Stacked(Piece, [Joined((utterances, None))]), Plan(frames.from_rows([], Row))
    step = Step(scene_stage.NAME, len(utterances) + len(drops), nothing, dropped, notes, chosen, rows=rows)
    work.get("report", _report)(step)
    return written


# ---- a whole recipe


def run(recipe: Recipe | str | Path, **work: Unpack[Work]) -> Manifest:
    """Runs every stage of a recipe and writes its manifest. What is done already is not done again.

    recipe: a TOML file, or the name of one that comes with the project ("paper", "demo"). work: see `Work`.

    Returns the manifest, `folder/NAME.parquet`. RecipeError names every fault of the recipe, and every root that is not
    there, before any work. An utterance that is mixed is not stored without noise; call the stages where you want both.

    For example:

        mixed = prep.run("recipes/paper.toml", jobs=8)
    """
    _refuse_unknown(work)
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, work.get("seed"))
    where = corpora.find_roots(work.get("roots", {}))
    faults = []
    for corpus in chosen.ingest.corpora:
        try:
            where[corpus]
        except PrepError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError(faults)
    work = work | {"seed": chosen.seed, "shard_clips": chosen.store.shard_clips}
    out = _out(work, Path("manifests"), chosen.name)
    report = work.get("report", _report)
    with in_use(chosen, where), _building(out, values := _limited(chosen.canonical(), work), where, work) as setting:
        done = steps.run_all(chosen, setting, work.get("limit"), bars(work.get("progress", "auto")), report)
        last, drops = done[-1], frames.concat([step.drops for step in done], Drop)
        if last.rows is None or not len(last.rows):
            raise PrepError(f"{chosen.name}: not one row is left after {last.name}; nothing was written")
        last.drops = drops
        return _write(last, out, values, {}, work)


def gather(recipe: Recipe | str | Path, **work: Unpack[Work]) -> Manifest:
    """Writes the manifest of a recipe from what the slices of its run have done, and does no work itself.

    Arguments as those of `run`. Raises Unfinished where slices are not done yet.

    For example:

        prep.gather("recipes/paper.toml")           # after run(..., shard=(1, 8)) to run(..., shard=(8, 8))
    """
    return run(recipe, **(work | {"shard": NONE}))


def plan(recipe: Recipe | str | Path, **work: Unpack[Work]) -> list[StageState]:
    """What `run` would do with a recipe, without doing it: the shards of each stage, and why those to do are stale.

    Arguments as those of `run`. Returns the stages; `to_do()` of each lists the shards that are not done, `work_s` and
    `disk_bytes` say how long they take and how much audio they store. The shards of a stage that waits for another are
    not known.

    For example:

        [shard.why for stage in prep.plan("recipes/paper.toml") for shard in stage.to_do()]
    """
    _refuse_unknown(work)
    chosen = recipe if isinstance(recipe, Recipe) else read_recipe(recipe, work.get("seed"))
    folder = _out(work, Path("manifests"), chosen.name).parent.absolute()
    workers = open_workers(work.get("jobs", 1))
    where = corpora.find_roots(work.get("roots", {}))
    with in_use(chosen, where):
        setting = Setting(folder, where, workers, chosen.store.shard_clips)
        return list(plans.plan(chosen, setting, work.get("limit")))


def read_recipe(recipe: str | Path, seed: int | None = None) -> Recipe:
    """The recipe in a TOML file, or the one of this name that comes with the project. RecipeError names every fault.

    seed: instead of the seed that the recipe says.
    """
    chosen = recipes.read(recipes.find(str(recipe)))
    return chosen if seed is None else replace(chosen, seed=seed)


def load(path: str | Path) -> Manifest:
    """The manifest at this path, or that of a pack: its rows, drops and provenance, and the audio of each row.

    ManifestError where the file is missing or is neither.

    For example:

        mixed = prep.load("manifests/mixed.parquet")
    """
    return packs.read_any(Path(path))


# ---- looking at a set, judging it


def audit(
    source: Source,
    *,
    checks: Collection[str] = audits.CHECKS,
    fail_on: Collection[str] = audits.FAIL_ON,
    sample: int | None = None,
    checkpoint: str | Path | None = None,
    jobs: int = 1,
    progress: Progressing = "auto",
) -> Audit:
    """Looks for leaks between splits, and for classes that something else than the sound gives away.

    source: a manifest or a pack, or its path. checks: those to run: group, source, noise, pcm, near, chain, domain,
    balance, transcript (`prep audit --help` says what each looks for). fail_on: checks whose findings make `fails`
    true. sample: at most so many recordings are opened, 0 for all; None: 10,000 by near, 2,000 by chain. checkpoint: a
    folder that `train` wrote, whose training `domain` looks at. jobs: processes that listen.

    Returns findings, checks that are clear, and checks that could not be done.

    For example:

        prep.audit(mixed, checks=["group", "near"]).findings
    """
    opened = source if isinstance(source, Manifest) else audit_checks.read(Path(source))
    with open_workers(jobs) as workers:
        return audit_checks.audit(
            opened,
            audits.Options(
                fail_on, checks, sample, workers, counters(progress), Path(checkpoint) if checkpoint else None
            ),
        )


def diff(a: Source, b: Source) -> Difference:
    """How the set b differs from the set a: rows, columns, options, and rows that only one of them dropped.

    a, b: manifests or packs, or their paths. Columns that say where audio lies are not compared.

    For example:

        prep.diff("manifests/mixed.parquet", "manifests/other.parquet").changed
    """
    sides = [diffs.of_manifest(side) if isinstance(side, Manifest) else diffs.of_file(Path(side)) for side in (a, b)]
    return diffs.difference(*sides)


def explain(
    row_id: str,
    manifests: Sequence[str | Path],
    *,
    roots: Mapping[str, str | Path] | None = None,
    lexicon: Lexicon | str | Path | None = None,
) -> dict[str, Any]:
    """What happened to one clip, mixture or dropped row, stage by stage; as `prep explain --json` answers.

    row_id: the id, or its end if only one id ends so. manifests: paths of those to look through. roots: as in `Work`;
    the place of the bytes is named where they are known. lexicon: as in `filter`. PrepError where there is no such id.

    For example:

        prep.explain("757631_snr20_0", ["manifests/mixed.parquet"])["facts"]
    """
    paths = [Path(path) for path in manifests]
    for path in paths:
        rights.note_file(path)
    return explaining.explain(normalize("NFC", row_id), paths, corpora.find_roots(roots or {}), _lexicon(lexicon), _say)


def measure(
    source: Source, *, jobs: int = 1, roots: Mapping[str, str | Path] | None = None, progress: Progressing = "auto"
) -> DataFrame:
    """Measures of each clip: voiced share, pitch, spectrum, noise floor. They are written beside the manifest.

    source: a manifest, or its path. Clips that were measured before are not measured again. `filter(where=...)` knows
    the measures as columns. PrepError where the extra [measures] is not installed.

    For example:

        prep.measure(clips, jobs=8)[["id", "pitch_hz"]]
    """
    opened = _opened(source)
    with open_workers(jobs) as workers:
        advance = counters(progress)("measure", len(opened))
        return measuring.measure(opened, workers, corpora.find_roots(roots or {}), advance)


def report(
    source: Source,
    out: str | Path | None = None,
    *,
    baseline: Source | None = None,
    audio: bool | None = None,
    listen: bool = False,
) -> dict[str, Any]:
    """Writes a page to look at, one HTML file of a set; returns its numbers, and its path as `report`.

    source: a manifest or a pack, or its path. out: the file [the name of the source with .html]. baseline: a set that
    it is compared with. audio: True puts all audio, transcripts and labels on the page, False none; None: what the
    licences allow to pass on. listen: also do the checks of `audit` that open audio. PrepError where the extra [report]
    is not installed.

    For example:

        prep.report(mixed, "mixed.html")["report"]
    """
    path = _path(source)
    place = Path(out) if out else path.with_suffix(".html")
    if place.suffix == ".parquet":
        expected = place.with_suffix(".html").name
        raise PrepError(f"--out {place}: a page is no manifest; expected a name such as {expected}")
    try:
        pages = import_module("pipeline.inspect.report.page")
    except ModuleNotFoundError as error:
        raise PrepError(f"prep report needs the package {error.name}: {to_install('report')}") from None
    packed = packs.read(path) if not isinstance(source, Manifest) and packs.is_pack(path) else None
    before = _opened(baseline) if baseline is not None else None
    page = pages.page(packed.manifest if packed else _opened(source), pages.Options(audio, before, listen, packed))
    try:
        with files.replacing(place) as half:
            half.write_text(page.text, encoding="utf-8")
    except OSError as error:
        raise PrepError(
            f"{place}: {error.strerror or error}; the page was not written, name another place with --out"
        ) from None
    return {"report": str(place), "bytes": len(page.text.encode()), **page.numbers}


# ---- passing a set on


def pack(source: Source, out: str | Path | None = None, *, named: Collection[str] = ()) -> Packed:
    """Writes a manifest as a small file that may be passed on: no audio, and nothing that a source's licence forbids.

    source: a manifest, or its path. out: the pack [NAME.pack.parquet beside the manifest]. named: corpora whose names
    of recordings are in the pack, although they may name a person ("recordings"); else they go by their hashes.

    Returns what was written, what was left out and why. ManifestError where the manifest is a pack already.

    For example:

        prep.pack(mixed, "mixed.pack.parquet").left_out
    """
    path = _path(source)
    if packs.is_pack(path):
        raise ManifestError(f"{path}: a pack already; give the manifest that it was made of")
    if out is not None and Path(out).resolve() == path.resolve():
        raise PrepError(f"--out {out}: that is the manifest itself")
    opened = source if isinstance(source, Manifest) else manifests.read(source)
    return packs.write(opened, Path(out) if out else packs.path_of(path), named)


def croissant(pack: str | Path) -> list[Path]:
    """Writes LICENSES.md and NAME.croissant.json beside a pack, so that others find and understand it; returns their
    paths.

    For example:

        prep.croissant("mixed.pack.parquet")
    """
    return croissants.write(Path(pack))


def rebuild(pack: str | Path, **work: Unpack[Work]) -> Rebuilt:
    """Makes the set of a pack again from your own copies of the corpora: the same samples, your labels, the same hash.

    pack: a file that `prep pack` wrote. work: see `Work`. Recordings are looked for under the roots by name, and
    failing that by their samples, in folders and archives of any cut.

    Returns what came out of it: rows, drops (a row whose recording is not there or differs, with the reason), notes.
    The manifest is `folder/NAME.parquet`; it is the set that was packed if its logical hash is the same. PrepError
    where another set lies there already, or not one row can be made.

    For example:

        done = prep.rebuild("mixed.pack.parquet", roots={"aihub": "/data/aihub170"}, jobs=8)
        done.drops.groupby("reason").size()
    """
    _refuse_unknown(work)
    path = Path(pack)
    packed = packs.read(path)
    wanted = packed.manifest.provenance.logical_hash
    out = _out(work, Path("manifests"), path.name.removesuffix(".parquet").removesuffix(".pack"))
    if out.resolve() == path.resolve():
        raise PrepError(f"--out {out}: that is the pack itself")
    if out.exists() and (there := manifests.provenance(out).logical_hash) != wanted:
        builds = status.builds(out.parent)
        if not any(build.name == out.stem and build.recipe.get("rebuild") == wanted for build in builds):
            raise PrepError(
                f"{out}: another set is there already (hash {there}, the pack's is {wanted}); "
                "name another file with --out"
            )
    with _building(out, {"rebuild": wanted}, corpora.find_roots(work.get("roots", {})), work) as setting:
        done = rebuilds.rebuild(packed, setting, bars(work.get("progress", "auto")))
        if not len(done.rows):
            reasons = ", ".join(f"{reason} {count:,}" for reason, count in done.reasons().items())
            notes = "".join(f"\n{note}" for note in done.notes[:5])
            raise PrepError(
                f"rebuild: not one of {done.jobs:,} rows could be made ({reasons}). {done.drops['detail'].iloc[0]}"
                f"{notes}\nNothing was written"
            )
        rebuilds.write(out, done)
    return done


def verify(
    path: str | Path,
    level: str | None = None,
    *,
    sample: int | None = None,
    jobs: int = 1,
    roots: Mapping[str, str | Path] | None = None,
    progress: Progressing = "auto",
    report: Callable[[Checked], object] = lambda checked: None,
) -> list[Checked]:
    """Proves that a set, or the recordings that a pack asks for, are what they say; names each row that is not, and
    why.

    path: of a manifest or a pack. level: the last level to check: schema, references, headers, hashes or recompute;
    None: hashes, or without audio references. sample: look at so many rows only, always the same ones. roots: as in
    `Work`. report: is called with each level as it ends. Returns the findings of each level; Unable where something
    cannot be checked.

    For example:

        [finding for checked in prep.verify("manifests/mixed.parquet") for finding in checked.findings]
    """
    rights.note_file(Path(path))
    done = []
    with open_workers(jobs) as workers:
        for checked in verifying.verify(
            Path(path), corpora.find_roots(roots or {}), workers, bars(progress), level, sample
        ):
            done.append(checked)
            report(checked)
    return done


def export_to(
    source: Source,
    form: str,
    folder: str | Path | None = None,
    *,
    use: Use = "",
    audio: str | None = None,
    dry_run: bool = False,
    progress: Progressing = "auto",
    report: Callable[[Export], object] = lambda export: None,
) -> Path:
    """Writes a set and its audio in the form that another tool reads: a folder with a README.md that says what to type.

    source: a manifest, or its path. form: "lhotse", "hf", "nemo", "kaldi", "webdataset" or "csv". folder: [beside the
    manifest NAME-FORM, or NAME-FORM-shareable]. use: "own" for all of it, on your own machines; "shareable" for what
    the licences let you pass on; it must be said where a set holds what may not be passed on. audio: for webdataset,
    "copy" or "link". report: is called with what will be written, before it is. dry_run: writes nothing. Returns the
    folder.

    PrepError where licences forbid the export, or its folder holds something else.

    For example:

        prep.export_to(mixed, "lhotse", use="own")
    """
    path = _path(source)
    export = exports.plan(packs.read_any(path) if not isinstance(source, Manifest) else source, form, use, audio)
    place = Path(folder) if folder else exports.folder_of(path, form, use)
    exports.check(export, place)
    report(export)
    if dry_run:
        return place
    try:
        exports.write(export, place, counters(progress)(f"export {form}", len(export.rows)))
    except OSError as error:
        raise PrepError(f"{error.filename or place}: {error.strerror or error}; {place} was not written") from None
    return place


# ---- behind them


def in_use(recipe: Recipe, where: Roots) -> AbstractContextManager[None]:
    """Within the block the corpora of one's own in a recipe are as corpus.toml or prep.toml state them."""
    named = {name: where.where(name) for name in recipe.ingest.corpora}
    others = {name: named.pop(name) for name in corpora.others() if name in named}
    return own.in_use([own.resolved(name, root, name, {}) for name, root in named.items()], own.stand_ins(others))


def _split(model: type[M], options: Mapping[str, Any]) -> tuple[Work, M]:
    """(those of the options that say how work is done, the others as the options of a stage)."""
    work: Any = {name: value for name, value in options.items() if name in Work.__annotations__}
    rest = {name: value for name, value in options.items() if name not in work}
    try:
        return work, model.model_validate(rest)
    except ValidationError as error:
        raise RecipeError(recipes.readable(error, model)) from None


def _refuse_unknown(work: Work) -> None:
    """TypeError for an argument that is none of Work's."""
    for name in work:
        if name not in Work.__annotations__:
            raise TypeError(f'unexpected argument "{name}"{did_you_mean(name, Work.__annotations__)}')


@contextmanager
def _building(out: Path, recipe: Mapping[str, Any], where: Roots, work: Work) -> Iterator[Setting]:
    """Where and by whom a manifest is made: its folder is locked, and `prep status` can say how far the work is.

    recipe: the options that the build begins with.
    """
    shard = work.get("shard", ALL)
    whole, scheduler = shard in (ALL, NONE), work.get("scheduler")
    if scheduler and not whole:
        raise PrepError("--scheduler and --shard both share out the work: leave one of them out")
    if work.get("wait_s") is not None and not scheduler:
        raise PrepError("--wait-s says how long to wait for Dask workers: it needs --scheduler")
    folder = files.regular(out).parent.absolute()
    name = out.stem if whole else f"{out.stem}.{shard[0]}of{shard[1]}"
    progress = status.Status(folder, name, {**recipe, "seed": work.get("seed") or 0})
    with lock.locked(out.parent, _say, shared=not whole):
        with open_workers(work.get("jobs", 1), scheduler, work.get("wait_s"), _say) as workers:
            yield Setting(folder, where, workers, work.get("shard_clips", SHARD_CLIPS), shard, progress)
        progress.finish()
        if whole:
            status.remove_slices(folder, out.stem)


def _run(step: Step, setting: Setting, work: Work) -> Step:
    steps.run(step, setting, bars(work.get("progress", "auto")))
    work.get("report", _report)(step)
    return step


def _write(step: Step, out: Path, recipe: Mapping[str, Any], inputs: Mapping[str, str], work: Work) -> Manifest:
    """Writes the manifest of a step that was run. PrepError where no row is left."""
    if step.rows is None or not len(step.rows):
        reasons = ", ".join(f"{reason} {count}" for reason, count in step.reasons().items())
        example = f" For example: {step.drops['detail'].iloc[0]}." if len(step.drops) else ""
        raise PrepError(
            f"{step.name}: not one of {step.count:,} rows is left ({reasons or 'there were none'}).{example} "
            "Nothing was written"
        )
    made = Provenance(step.stage.NAME, recipe, work.get("seed") or 0, inputs)
    if out.exists():
        with suppress(ManifestError):  # whatever else lies there
            _say_replaced(out, manifests.provenance(out), made)
    return Manifest(None, manifests.write(out, step.rows, step.drops, made), out)


def _say_replaced(out: Path, before: Provenance, made: Provenance) -> None:
    """Says that a manifest is replaced which was made with other options, or by another stage."""
    if before.stage != made.stage:
        _say(f"{out}: replaces a manifest of prep {before.stage}")
        return
    was, now = ({**one.recipe.get(made.stage, {}), "seed": one.seed} for one in (before, made))
    differ = [f"{k} {was.get(k)}, now {now.get(k)}" for k in sorted({*was, *now}) if was.get(k) != now.get(k)]
    if differ:
        _say(f"{out}: replaces one made with other options ({'; '.join(differ[:3])})")


def _after(sources: Sequence[Source], recipe: Mapping[str, Any], work: Work) -> tuple[dict[str, Any], dict[str, str]]:
    """(the options of a stage after those of the manifests that go in, the logical hash of each of these manifests)."""
    before: dict[str, Any] = {}
    inputs = {}
    for source in sources:
        made = source.provenance if isinstance(source, Manifest) else manifests.provenance(Path(source))
        inputs[_path(source).stem] = made.logical_hash
        for key, value in made.recipe.items():
            if key == "ingest" and key in before:  # several ingests: their corpora together
                both = {**before[key].get("own", {}), **value.get("own", {})}
                _refuse_other_terms(before[key], value, _path(source))
                parts = [(one.get("corpora", ()), one.get("stand_ins", {})) for one in (before[key], value)]
                free = {name: table for _, tables in parts for name, table in tables.items()}
                # a corpus of which some recordings are the true ones has no stand-ins
                free = {n: t for n, t in free.items() if all(n in tables or n not in names for names, tables in parts)}
                value = {key: kept for key, kept in value.items() if key not in ("own", "stand_ins")}
                value["corpora"] = sorted({name for names, _ in parts for name in names})
                value |= {key: tables for key, tables in (("own", both), ("stand_ins", free)) if tables}
            before[key] = value
    return _limited({**before, **recipe}, work), inputs


def _refuse_other_terms(before: Mapping[str, Any], ingest: Mapping[str, Any], path: Path) -> None:
    """RecipeError where a corpus of these manifests is stated to be another one, or under other terms, in this one."""
    for name in sorted({*before.get("corpora", ())} & {*ingest.get("corpora", ())}):
        there, here = (
            {key: one.get("own", {}).get(name, {}).get(key) for key in own.TERMS} for one in (before, ingest)
        )
        if differ := [f"{key} {there[key]!r}, here {here[key]!r}" for key in own.TERMS if there[key] != here[key]]:
            what = f'"{name}" is another corpus than in the manifests before it ({"; ".join(differ[:3])})'
            raise RecipeError([f"{path}: {what}: what may be passed on differs. Ingest yours under another --name"])


def _limited(recipe: Mapping[str, Any], work: Work) -> dict[str, Any]:
    limit = work.get("limit")
    return {**recipe} if limit is None else {**recipe, "limit": limit}


def _store(work: Work) -> dict[str, Any]:
    return {"store": {"shard_clips": work.get("shard_clips", SHARD_CLIPS)}}


def _out(work: Work, folder: Path, name: str) -> Path:
    """The manifest to write."""
    out = work.get("out")
    return Path(out) if out else Path(work.get("folder", folder)) / f"{name}.parquet"


def _path(source: Source) -> Path:
    return source.path if isinstance(source, Manifest) else Path(source)


def _opened(source: Source) -> Manifest:
    return source if isinstance(source, Manifest) else manifests.read(source)


def _report(step: Step) -> None:
    """Logs what came out of a step, for programs that listen to the logger "pipeline"."""
    _log.info("%s", "\n  ".join([step.line(), *step.notes]))


def _lexicon(lexicon: Lexicon | str | Path | None) -> Lexicon:
    if isinstance(lexicon, Lexicon):
        return lexicon
    return lexicons.read(Path(lexicon)) if lexicon else lexicons.shipped()


def _say(text: str) -> None:
    print(inert(text), file=sys.stderr, flush=True)


def _bar(name: str, count: int, progress: Progressing) -> Any:
    """Progress on standard error. "auto": a bar in a terminal or a notebook, else a line a minute."""
    shown = progress if progress != "auto" else True if "ipykernel" in sys.modules else None
    return Bar(name, count, shown=shown)


def counters(progress: Progressing = "auto") -> Callable[[str, int], Callable[[int], object]]:
    """Progress that counts clips."""

    def start(name: str, count: int) -> Callable[[int], object]:
        bar = _bar(name, count, progress)

        def advance(clips: int) -> None:
            bar.update(clips)
            if bar.n >= count:
                bar.close()

        return advance

    return start


def bars(progress: Progressing = "auto") -> steps.Start:
    """Progress bars of steps: clips, hours of audio a second, time left."""

    def start(name: str, jobs: int) -> Progress:
        bar = _bar(name, jobs, progress)
        started, hours = time.monotonic(), 0.0

        def advance(ended: Ended) -> None:
            nonlocal hours
            if ended.done_before and not bar.disable:
                bar.initial = bar.n = ended.clips
                bar.refresh()
                return
            hours += ended.seconds / 3600
            pace = hours / max(time.monotonic() - started, 1e-3)
            bar.set_postfix_str(f"{pace:.2f} h of audio/s", refresh=False)
            bar.update(ended.clips)
            if bar.n >= jobs:
                bar.close()

        return advance

    return start
