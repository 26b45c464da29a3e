"""The steps of a build: ingest of each corpus, filter, resample, mix. `run`, `plan` and `gather` walk the same ones.

Never what a stage does to a clip, and never the terminal.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline import corpora
from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.core.row import Drop, Row
from pipeline.core.table import Table
from pipeline.corpora import recordings
from pipeline.corpora.lexicon import Lexicon
from pipeline.engine import run as engine
from pipeline.engine.recipe import Recipe
from pipeline.engine.run import Progress, Setting
from pipeline.stages import Options, Stage, filter, find, ingest, mix, resample

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
    jobs: the work, one job a line. kept: rows that pass without work. drops: rows that end here; `run` adds those of the
    work. notes: sentences for a person. pools: noise that is decoded before the work. rows: what came out; None until
    the step was run.
    """

    name: str
    count: int
    jobs: Table
    kept: Table
    drops: Table
    notes: list[str]
    options: Options = field(default_factory=Options)
    pools: Mapping[str, Any] = field(default_factory=dict)
    inventory: Any = None
    rows: Table | None = None

    @property
    def stage(self) -> Stage:
        """The module of the stage."""
        return find(self.name.split()[0])

    def reasons(self) -> dict[str, int]:
        """How many rows were dropped for which reason, the most frequent reason first."""
        counts = Counter(self.drops.column("reason"))
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
        ingests.append(ingest_step(corpus, setting, limit, recipe.seed))
        yield ingests[-1]
    if any(step.rows is None for step in ingests):
        return
    filtered = filter_step(_rows_of(ingests), recipe.filter, recipe.lexicon, None, recipe.seed)
    yield filtered
    if recipe.resample is None or filtered.rows is None:
        return
    # Each utterance that is mixed is decoded once and never stored without noise; the mixtures are the same as those of
    # the stages one by one. Virtual mixtures need the speech stored.
    (rows,) = _rows_of([filtered])
    at_once = rows.equal("kind", "speech") & ~rows.among("corpus", recipe.mix.keep if recipe.mix else ())
    if recipe.mix is None or recipe.mix.virtual:
        at_once[:] = False
    speech, rows = rows.where(at_once), rows.where(~at_once)
    resampled = resample_step(rows, recipe.resample, setting, None, recipe.seed)
    yield resampled
    if recipe.mix is None or resampled.rows is None:
        return
    (rows,) = _rows_of([resampled])
    if len(speech):
        rows = Table.joined([rows, mix.unrendered(speech, recipe.resample, places(speech, setting))], Row)
    yield mix_step(rows, recipe.mix, recipe.resample.model_dump(mode="json"), None, recipe.seed)


def _rows_of(done: Iterable[Step]) -> Iterator[Table]:
    """The rows of steps that were run; the steps give them up."""
    for step in done:
        rows, step.rows = step.rows, None
        if rows is not None:
            yield rows


def ingest_step(corpus: str, setting: Setting, limit: int | None, seed: int, form: str | None = None) -> Step:
    """Every recording of a corpus, to be opened once and measured.

    form: for "recordings", the tool whose manifest lists them. PrepError for another corpus.
    """
    if form is not None and corpus != recordings.NAME:
        raise PrepError(
            f"--from {form}: only recordings are read from another tool's manifest: prep ingest recordings DIR --from {form}"
        )
    root = setting.roots[corpus]
    claims = recordings.clips_from(root, form=form) if form is not None else corpora.find(corpus).clips(root)
    jobs = limited(ingest.plan(corpus, claims.clips), limit, seed)
    drops = Table.of(claims.drops, Drop)
    count = len(jobs) + len(drops)
    return Step(
        f"ingest {corpus}",
        count,
        jobs,
        Table.of([], Row),
        drops,
        list(claims.notes),
        ingest.Options(),
        inventory=claims.inventory,
    )


def filter_step(
    tables: Iterable[Table], options: filter.Options, lexicon: Lexicon, limit: int | None, seed: int
) -> Step:
    """The rows of all tables that meet the rules. PrepError where two tables share a row."""
    rows = Table.joined(tables, Row)
    if twice := rows.repeated("id"):
        raise PrepError(f"these manifests share rows, {twice} for one: name each corpus once")
    rows = limited(rows, limit, seed)
    plan = filter.apply(rows, options, lexicon, seed)
    return Step(filter.NAME, len(rows), Table.of([], Row), plan.rows, plan.drops, list(plan.notes), options)


def resample_step(rows: Table, options: resample.Options, setting: Setting, limit: int | None, seed: int) -> Step:
    """The audio of every row, to be stored at the new rate."""
    rows = limited(rows, limit, seed)
    jobs, drops = resample.plan(rows, places(rows, setting))
    return Step(resample.NAME, len(rows), jobs, Table.of([], Row), drops, [], options)


def mix_step(rows: Table, options: mix.Options, resampled: Mapping[str, Any], limit: int | None, seed: int) -> Step:
    """Every utterance, to be mixed with noise; noise and kept rows pass as they are.

    resampled: the options of resample, as a manifest's provenance has them.
    """
    rendering = keys.fingerprint(resample.NAME, resample.VERSION, dict(resampled))
    plan = mix.plan(limited(rows, limit, seed), options, seed, rendering)
    count = len(plan.jobs) + len(plan.kept) + len(plan.drops)
    return Step(mix.NAME, count, plan.jobs, plan.kept, plan.drops, list(plan.notes), options, plan.pools)


def places(rows: Table, setting: Setting) -> dict[str, Any]:
    """Row.source -> place, of every corpus that the rows come from."""
    where: dict[str, Any] = {}
    for corpus in sorted(str(name) for name in rows.codes("corpus")[1]):
        where |= corpora.find(corpus).places(setting.roots[corpus])
    return where


def limited(rows: Table, limit: int | None, seed: int) -> Table:
    """At most `limit` rows of each kind (speech, noise), a keyed sample: a larger limit adds rows and changes none."""
    if limit is None or not len(rows):
        return rows
    order = keys.order(seed, "limit", rows.strings("id"))
    codes, kinds = rows.codes("kind")
    chosen = [order[codes[order] == code][:limit] for code in range(len(kinds))]
    return rows.take(np.sort(np.concatenate(chosen)))


def run(step: Step, setting: Setting | None = None, start: Start = silent) -> Step:
    """Does the work of a step that is not done yet, and sets what came out of it: rows, drops and notes. Returns the step.

    setting: not needed for filter, which is done when it is planned. Unfinished where the setting is a slice of a run
    and other slices are not done yet.
    """
    made = Table.of([], Row)
    if setting is not None and step.name != filter.NAME:
        made = _work(step, setting, start(step.name, len(step.jobs)))
    step.rows = Table.joined([made, step.kept], Row)
    step.jobs = step.kept = Table.of([], Row)
    return step


def _work(step: Step, setting: Setting, progress: Progress) -> Table:
    """The rows that a step makes; its drops and notes are added to the step's."""

    def prepare(jobs: Table) -> None:
        pools = {str(name): step.pools[str(name)] for name in jobs.codes("at_pool")[1]} if step.pools else {}
        engine.prepare(pools, setting)

    ended = engine.run(step.stage, step.options, step.jobs, setting, progress, prepare)
    engine.discard(step.pools, setting)
    if step.name == mix.NAME and len(step.jobs) and not len(ended.rows):
        example = ended.drops.column("detail")[0]
        raise PrepError(
            f"mix: not one of {len(step.jobs):,} mixtures could be made; for example: {example}. Nothing was written"
        )
    made, leaks = ended.rows, Table.of([], Drop)
    if column := SOUNDS.get(step.name):  # 16 bits and 24, mono and stereo may hold the same sound
        made, leaks = filter.apart(made, column, step.name)
    step.drops = Table.joined([step.drops, ended.drops, leaks], Drop)
    step.notes += ended.notes
    return made


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
