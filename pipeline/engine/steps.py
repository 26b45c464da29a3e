"""Stages whole: from roots and manifests to tables, one function each, and all of them as a recipe says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import corpora
from pipeline.archives import Root
from pipeline.core import keys, manifest
from pipeline.core.errors import PrepError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.core.table import Table
from pipeline.corpora import Listing
from pipeline.corpora.lexicon import Lexicon
from pipeline.engine import run as engine
from pipeline.engine.recipe import Recipe
from pipeline.engine.run import Progress, Setting
from pipeline.stages import filter, find, ingest, mix, resample


@dataclass(frozen=True, slots=True, eq=False)
class Ran:
    """What a stage did: jobs in, rows and drops out (as many together), and sentences for a person."""

    stage: str
    jobs: int
    rows: Table
    drops: Table
    notes: Sequence[str] = ()
    claims: Listing | None = None
    corpus: str = ""

    @property
    def title(self) -> str:
        """`ingest aihub`, `mix`."""
        return f"{self.stage} {self.corpus}".rstrip()

    def reasons(self) -> dict[str, int]:
        """How many were dropped for which reason, most frequent first."""
        return dict(sorted(Counter(self.drops.column("reason")).items(), key=lambda item: (-item[1], item[0])))


@dataclass(frozen=True, slots=True)
class Watch:
    """Who is told what goes on: start(stage, jobs) gives the progress of that stage."""

    start: Callable[[str, int], Progress]


def ingested(
    corpus: str,
    setting: Setting,
    limit: int | None,
    seed: int,
    watch: Watch,
    claim: Callable[[Root], Listing] | None = None,
) -> Ran:
    """Every recording of a corpus opened once and measured. claim: what says which they are, where the corpus knows several ways."""
    claims = (claim or corpora.find(corpus).clips)(setting.roots[corpus])
    plan = limited(ingest.plan(corpus, claims.clips), limit, seed)
    ended = engine.run(find(ingest.NAME), ingest.Options(), plan, setting, watch.start(f"ingest {corpus}", len(plan)))
    drops = Table.joined([ended.drops, Table.of(claims.drops, Drop)], Drop)
    return Ran(
        ingest.NAME, len(plan) + len(claims.drops), ended.rows, drops, [*claims.notes, *ended.notes], claims, corpus
    )


def filtered(tables: Iterable[Table], options: filter.Options, lexicon: Lexicon, limit: int | None, seed: int) -> Ran:
    """The rows of all corpora that meet the rules."""
    found = filter.apply(limited(_together(tables), limit, seed), options, lexicon, seed)
    return Ran(filter.NAME, len(found.rows) + len(found.drops), found.rows, found.drops, found.notes)


def _together(tables: Iterable[Table]) -> Table:
    """All rows of the tables. PrepError where two share a row."""
    joined = Table.joined(tables, Row)
    if twice := joined.repeated("id"):
        raise PrepError(f"these manifests share rows, {twice} for one: name each corpus once")
    return joined


def resampled(
    rows: Table, options: resample.Options, setting: Setting, limit: int | None, seed: int, watch: Watch
) -> Ran:
    """Every row's audio stored at the new rate."""
    rows = limited(rows, limit, seed)
    plan, lost = resample.plan(rows, places(rows, setting))
    ended = engine.run(find(resample.NAME), options, plan, setting, watch.start(resample.NAME, len(plan)))
    kept, leaks = filter.apart(
        ended.rows, "pcm_hash", resample.NAME
    )  # 16 bits and 24, mono and stereo may hold the same sound
    return Ran(resample.NAME, len(rows), kept, Table.joined([lost, ended.drops, leaks], Drop), ended.notes)


def places(rows: Table, setting: Setting) -> dict[str, Any]:
    """Row.source -> place, of every corpus that the rows come from."""
    found: dict[str, Any] = {}
    for corpus in sorted(str(name) for name in rows.codes("corpus")[1]):
        found |= corpora.find(corpus).places(setting.roots[corpus])
    return found


def mixed(
    rows: Table,
    options: mix.Options,
    resampled: Mapping[str, Any],
    setting: Setting,
    limit: int | None,
    seed: int,
    watch: Watch,
) -> Ran:
    """Every utterance with noise added; noise and kept rows as they are. resampled: the options of resample, as in provenance."""
    plan = mix.plan(
        limited(rows, limit, seed), options, seed, keys.fingerprint(resample.NAME, resample.VERSION, dict(resampled))
    )
    progress = watch.start(mix.NAME, len(plan.jobs))

    def prepare(jobs: Table) -> None:
        engine.prepare({str(name): plan.pools[str(name)] for name in jobs.codes("at_pool")[1]}, setting)

    ended = engine.run(find(mix.NAME), options, plan.jobs, setting, progress, prepare)
    engine.discard(plan.pools, setting)
    jobs = len(plan.jobs) + len(plan.kept) + len(plan.drops)
    if len(plan.jobs) and not len(ended.rows):
        detail = ended.drops.column("detail")[0]
        raise PrepError(
            f"mix: not one of {len(plan.jobs):,} mixtures could be made; for example: {detail}. Nothing was written"
        )
    made, leaks = filter.apart(ended.rows, "speech_pcm_hash", mix.NAME)  # for speech that was resampled as it was mixed
    rows, drops = Table.joined([made, plan.kept], Row), Table.joined([plan.drops, ended.drops, leaks], Drop)
    return Ran(mix.NAME, jobs, rows, drops, [*plan.notes, *ended.notes])


def limited(rows: Table, limit: int | None, seed: int) -> Table:
    """At most `limit` rows of each kind (speech, noise), a keyed sample: a larger limit adds rows and changes none."""
    if limit is None or not len(rows):
        return rows
    order = keys.order(seed, "limit", rows.strings("id"))
    codes, kinds = rows.codes("kind")
    taken = [order[codes[order] == code][:limit] for code in range(len(kinds))]
    return rows.take(np.sort(np.concatenate(taken)))


def run(recipe: Recipe, setting: Setting, limit: int | None, watch: Watch) -> Iterator[Ran]:
    """Every stage of a recipe, as each ends."""
    ingests = []
    unfinished = None
    for corpus in recipe.ingest.corpora:
        try:
            ingests.append(ingested(corpus, setting, limit, recipe.seed, watch))
        except engine.Unfinished as error:  # a slice of a run: the other corpora can be begun all the same
            unfinished = error
        else:
            yield ingests[-1]
    if unfinished:
        raise unfinished
    yield (last := filtered([ran.rows for ran in ingests], recipe.filter, recipe.lexicon, None, recipe.seed))
    if recipe.resample is None:
        return
    aloud, others = to_mix(last.rows, recipe.mix)
    yield (last := resampled(others, recipe.resample, setting, None, recipe.seed, watch))
    if recipe.mix is not None:
        speech = mix.unrendered(aloud, recipe.resample, places(aloud, setting))
        rows = Table.joined([last.rows, speech], Row) if len(speech) else last.rows
        yield mixed(rows, recipe.mix, recipe.resample.model_dump(mode="json"), setting, None, recipe.seed, watch)


def to_mix(rows: Table, options: mix.Options | None) -> tuple[Table, Table]:
    """(speech that is resampled as it is mixed, rows that resample stores).

    Each utterance is then decoded once and never stored without noise; the mixtures are the same as those of the stages
    one by one. Virtual mixtures need the speech stored.
    """
    aloud = rows.equal("kind", "speech") & ~rows.among("corpus", options.keep if options else ())
    if options is None or options.virtual:
        aloud[:] = False
    return rows.where(aloud), rows.where(~aloud)


def written(
    path: Path, rans: Sequence[Ran], recipe: Mapping[str, Any], seed: int, inputs: Mapping[str, str]
) -> Provenance:
    """Writes the last stage's rows, and the drops of all these stages beside them."""
    made = Provenance(rans[-1].stage, recipe, seed, inputs)
    return manifest.write(path, rans[-1].rows, Table.joined([ran.drops for ran in rans], Drop), made)
