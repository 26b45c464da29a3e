"""The steps of a build: ingest of each corpus, filter, resample, mix. `run`, `plan` and `gather` walk the same ones.

Never what a stage does to a clip, and never the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import corpora
from pipeline.audio.media import NEEDS
from pipeline.core import frame as frames
from pipeline.core import keys, measures
from pipeline.core.errors import PrepError, SourceError
from pipeline.core.joined import Joined, Stacked
from pipeline.core.row import Drop, Row
from pipeline.corpora.lexicon import Lexicon
from pipeline.engine import run as engine
from pipeline.engine.recipe import Recipe
from pipeline.engine.run import Progress, Setting
from pipeline.stages import Options, Plan, Stage, filter, find, ingest, mix, resample, splits

if TYPE_CHECKING:
    from pandas import DataFrame

Start = Callable[[str, int], Progress]  # (name of the step, how many jobs it has) -> what is called as they end
SOUNDS = {"resample": "pcm_hash", "mix": "speech_pcm_hash"}  # what may not be in two splits after a stage
LATER = ("resample", "mix")  # stages that a recipe may leave out


def silent(name: str, jobs: int) -> Progress:
    """Shows no progress."""
    return lambda step: None


@dataclass(slots=True, eq=False)
class Step:
    """One stage of a build: what it will do, and, once `run` was called, what came out of it.

    name: `ingest aihub`, `filter`, `resample` or `mix`. count: rows that come in; as many rows and drops come out.
    plan: the jobs, and the rows that pass without work. drops: rows that end here; `run` adds those of the work. notes:
    sentences for a person. rows: what came out; None until the step was run.
    """

    name: str
    count: int
    plan: Plan
    drops: DataFrame
    notes: list[str]
    options: Options = field(default_factory=Options)
    inventory: Any = None
    rows: Stacked | None = None

    @property
    def stage(self) -> Stage:
        """The module of the stage."""
        return find(self.name.split()[0])

    def reasons(self) -> dict[str, int]:
        """How many rows were dropped for which reason, the most frequent reason first."""
        counts = Counter(frames.values(self.drops["reason"]))
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def line(self) -> str:
        """`ingest aihub            20 in        19 kept         1 dropped   truncated 1`."""
        kept = 0 if self.rows is None else len(self.rows)
        reasons = ", ".join(f"{reason} {count}" for reason, count in self.reasons().items())
        counts = f"{self.count:>9,} in {kept:>9,} kept {len(self.drops):>9,} dropped"
        return f"{self.name:<18}{counts}   {reasons}".rstrip()


def steps(recipe: Recipe, setting: Setting, limit: int | None = None) -> Iterator[Step]:
    """The steps of a recipe. Each is planned when it is asked for, from the rows that came out of those before it.

    Whoever walks them sets `rows` of each step, by `run` for example. The walk ends where rows that the next step needs
    were not set. Rows of earlier steps are given up as soon as they are used: there may be millions of them.
    """
    ingests = []
    for corpus in recipe.ingest.corpora:
        ingests.append(ingest_step(corpus, recipe.ingest, setting, limit, recipe.seed))
        yield ingests[-1]
    if any(step.rows is None for step in ingests):
        return
    measured = measures.read_all(setting.folder / f"{corpus}.parquet" for corpus in recipe.ingest.corpora)
    filtered = filter_step(
        _rows_of(ingests), recipe.filter, recipe.lexicon, None, recipe.seed, measured, recipe.exclude
    )
    yield filtered
    if recipe.resample is None or filtered.rows is None:
        return
    # Each utterance that is mixed is decoded once and never stored without noise; the mixtures are the same as those of
    # the stages one by one. Virtual mixtures need the speech stored.
    (rows,) = _rows_of([filtered])
    at_once = frames.equal(rows["kind"], "speech")
    if recipe.mix is None or recipe.mix.virtual:
        at_once[:] = False
    else:
        at_once &= ~frames.among(rows["corpus"], mix.kept_corpora(rows, recipe.mix))
    speech, rows = frames.pick(rows, at_once), frames.pick(rows, ~at_once)
    resampled = resample_step(rows, recipe.resample, setting, None, recipe.seed)
    yield resampled
    if recipe.mix is None or resampled.rows is None:
        return
    (rows,) = _rows_of([resampled])
    if len(speech):
        rows = frames.concat([rows, resample.expected(speech, recipe.resample, places(speech, setting))], Row)
    yield mix_step(rows, recipe.mix, recipe.resample.model_dump(mode="json"), None, recipe.seed)


def _rows_of(done: Iterable[Step]) -> Iterator[DataFrame]:
    """The rows of steps that were run; the steps give them up."""
    for step in done:
        rows, step.rows = step.rows, None
        if rows is not None:
            yield rows.frame


def ingest_step(corpus: str, options: ingest.Options, setting: Setting, limit: int | None, seed: int) -> Step:
    """Every recording of a corpus, to be opened once and measured."""
    try:
        listing = corpora.find(corpus).clips(setting.roots[corpus])
    except SourceError as error:
        raise SourceError(f"{error}{_looks_like(corpus, setting)}") from None
    plan = ingest.plan(corpus, listing.clips)
    plan = Plan(limited(frames.from_arrow(plan.jobs.table()), limit, seed))
    drops = frames.from_rows(listing.drops, Drop)
    count, notes = len(plan) + len(drops), list(listing.notes)
    own = ingest.Options(max_mb=options.max_mb)  # without the corpora of a recipe, which are no matter of one clip
    return Step(f"ingest {corpus}", count, plan, drops, notes, own, listing.inventory)


def _looks_like(corpus: str, setting: Setting) -> str:
    """What to type where the root of a corpus holds another one that is known."""
    root = setting.roots[corpus]
    for name in corpora.others():
        if name != corpus:
            with suppress(PrepError):
                adapter, as_other = corpora.find(name), replace(root, name=name)
                if adapter.places(as_other) and adapter.clips(as_other).clips:
                    return f". It looks like {name}: prep ingest {name} {root.path}"
    return ""


def filter_step(
    parts: Iterable[DataFrame],
    options: filter.Options,
    lexicon: Lexicon,
    limit: int | None,
    seed: int,
    measured: DataFrame | None = None,
    exclude: Sequence[str] = (),
) -> Step:
    """The rows of all parts that meet the rules. PrepError where two parts share a row.

    measured: of `prep measure`. exclude: ids to leave out.
    """
    rows = frames.concat(parts, Row)
    if twice := frames.duplicated_value(rows["id"]):
        raise PrepError(f"these manifests share rows, {twice} for one: name each corpus once")
    rows = limited(rows, limit, seed)
    plan = filter.plan(rows, options, seed, lexicon, measured, exclude)
    return Step(filter.NAME, len(rows), plan, plan.drops, list(plan.notes), options)


def resample_step(rows: DataFrame, options: resample.Options, setting: Setting, limit: int | None, seed: int) -> Step:
    """The audio of every row, to be stored at the new rate."""
    rows = limited(rows, limit, seed)
    plan = resample.plan(rows, places(rows, setting))
    return Step(resample.NAME, len(rows), plan, plan.drops, list(plan.notes), options)


def mix_step(rows: DataFrame, options: mix.Options, resampled: Mapping[str, Any], limit: int | None, seed: int) -> Step:
    """Every utterance, to be mixed with noise; noise and kept rows pass as they are.

    resampled: the options of resample, as a manifest's provenance has them.
    """
    rendering = keys.fingerprint(resample.NAME, resample.VERSION, dict(resampled))
    plan = mix.plan(limited(rows, limit, seed), options, seed, rendering)
    count = len(plan) + len(plan.kept) + len(plan.drops)
    return Step(mix.NAME, count, plan, plan.drops, list(plan.notes), options)


def places(rows: DataFrame, setting: Setting) -> dict[str, Any]:
    """Row.source -> place, of every corpus that the rows come from.

    PrepError where none of the recordings of a corpus lies under its root: it is the root of something else.
    """
    where: dict[str, Any] = {}
    for corpus in sorted(frames.codes(rows["corpus"])[1]):
        of_corpus = corpora.find(corpus).places(setting.roots[corpus])
        sources = frames.values(rows["source"][frames.equal(rows["corpus"], corpus)])
        if not any(source in of_corpus for source in sources):
            path, origin = setting.roots.where(corpus), setting.roots.origin(corpus)
            raise PrepError(
                f"none of {len(sources):,} recordings of {corpus}, {sources[0]} for one, lies under {path} (from "
                f"{origin}): that is another root than the one that was ingested. Say where the corpus lies: "
                f"--root {corpus}=DIR; another corpus needs a name of its own: prep ingest recordings DIR --name NAME"
            )
        where |= of_corpus
    return where


def limited(rows: DataFrame, limit: int | None, seed: int) -> DataFrame:
    """At most `limit` rows of each kind (speech, noise), a keyed sample: a larger limit adds rows and changes none."""
    if limit is None or not len(rows):
        return rows
    order = keys.order(seed, "limit", frames.each(rows["id"]))
    codes, kinds = frames.codes(rows["kind"])
    chosen = [order[codes[order] == code][:limit] for code in range(len(kinds))]
    return frames.pick(rows, np.sort(np.concatenate(chosen)))


def run(step: Step, setting: Setting | None = None, start: Start = silent) -> Step:
    """The step itself, after its work is done that was not done yet; its rows, drops and notes are set.

    setting: not needed for filter, which is done when it is planned. Unfinished where the setting is a slice of a run
    and other slices are not done yet.
    """
    if setting is None or step.name == filter.NAME:
        step.rows, step.plan = Stacked(Row, [Joined((step.plan.kept, None))]), Plan(frames.from_rows([], Row))
        return step
    count = len(step.plan)
    result = engine.run(step.stage, step.options, step.plan, setting, start(step.name, count))
    kept, rows = Joined((step.plan.kept, None)), result.rows
    as_before = step.plan.kept["kind"]
    if step.name == resample.NAME:
        _refuse_changed(step.plan.jobs, result.drops, setting)
    step.plan = Plan(frames.from_rows([], Row))
    if step.name == mix.NAME and count and not len(rows):
        example = result.drops["detail"].iloc[0]
        raise PrepError(
            f"mix: not one of {count:,} mixtures could be made; for example: {example}. Nothing was written"
        )
    step.drops = frames.concat([step.drops, result.drops], Drop)
    step.notes += result.notes
    step.notes += [*dict.fromkeys(frames.values(result.drops["detail"][frames.equal(result.drops["reason"], NEEDS)]))]
    if column := SOUNDS.get(step.name):  # 16 bits and 24, mono and stereo may hold the same sound
        decides = frames.from_arrow(rows.table(names=["id", "corpus", "split", column]))
        apart, leaks = splits.apart(decides, column, step.name)
        rows = rows.pick(apart)
        step.drops = frames.concat([step.drops, leaks], Drop)
    if step.name == mix.NAME:
        noise = int(frames.equal(as_before, "noise").sum())
        whole = f" and {len(as_before) - noise:,} of speech that are kept" if len(as_before) > noise else ""
        step.notes.append(f"{len(rows):,} mixtures; {noise:,} rows of noise{whole} stay as they are")
    step.rows = rows.followed_by(kept)
    return step


def _refuse_changed(jobs: Joined, drops: DataFrame, setting: Setting) -> None:
    """PrepError where every recording of a corpus is another than ingest opened: its root is that of something else."""
    ids = frames.from_arrow(jobs.table(names=("id", "corpus")))
    changed = frames.among(ids["id"], frames.values(drops["id"][frames.equal(drops["reason"], "changed")]))
    for corpus in sorted(frames.codes(ids["corpus"])[1]):
        own = frames.equal(ids["corpus"], corpus)
        if changed[own].all():
            raise PrepError(
                f"all {int(own.sum()):,} recordings of {corpus} are others than those that were ingested, under "
                f"{setting.roots.where(corpus)} (from {setting.roots.origin(corpus)}): say where it lies, --root "
                f"{corpus}=DIR, or prep ingest {corpus} again. Nothing was written"
            )


def run_all(
    recipe: Recipe, setting: Setting, limit: int | None, start: Start, report: Callable[[Step], object]
) -> list[Step]:
    """Runs every step of a recipe, and reports each as it ends; the last one of those returned has the rows.

    Unfinished where the setting is a slice of a run, after as much of it as can be done.
    """
    done, unfinished = [], None
    for step in steps(recipe, setting, limit):
        try:
            done.append(run(step, setting, start))
        except engine.Unfinished as error:  # the other corpora can be begun all the same
            unfinished = error
        else:
            report(step)
    if unfinished:
        raise unfinished
    return done
