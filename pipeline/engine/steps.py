"""Stages whole: from roots and manifests to tables, one function each, and all of them as a recipe says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import corpora
from pipeline.archives import Root
from pipeline.core import frame as frames
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
from pipeline.stages import filter, find, ingest, mix, resample, splits

if TYPE_CHECKING:
    from pandas import DataFrame


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
    plan = ingest.plan(corpus, claims.clips)
    plan = replace(plan, jobs=limited(plan.jobs, limit, seed))
    ended = engine.run(find(ingest.NAME), ingest.Options(), plan, setting, watch.start(f"ingest {corpus}", len(plan)))
    drops = frames.concat([ended.drops, frames.from_rows(claims.drops, Drop)], Drop)
    notes = [*claims.notes, *ended.notes]
    return Ran(ingest.NAME, len(plan) + len(claims.drops), *_tables(ended.rows, drops), notes, claims, corpus)


def _tables(rows: Any, drops: Any) -> tuple[Table, Table]:
    return Table.of_frame(rows), Table.of_frame(drops).as_kind(Drop)


def filtered(tables: Iterable[Table], options: filter.Options, lexicon: Lexicon, limit: int | None, seed: int) -> Ran:
    """The rows of all corpora that meet the rules."""
    plan = filter.plan(limited(_together(tables).frame, limit, seed), options, seed, lexicon)
    return Ran(filter.NAME, len(plan.kept) + len(plan.drops), *_tables(plan.kept, plan.drops), plan.notes)


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
    frame = limited(rows.frame, limit, seed)
    plan = resample.plan(frame, places(rows, setting))
    ended = engine.run(find(resample.NAME), options, plan, setting, watch.start(resample.NAME, len(plan)))
    made = ended.rows
    kept, leaks = splits.apart(
        made, "pcm_hash", resample.NAME
    )  # 24 bits and 16, stereo and mono may hold the same sound
    drops = frames.concat([plan.drops, ended.drops, leaks], Drop)
    return Ran(resample.NAME, len(frame), *_tables(frames.pick(made, kept), drops), ended.notes)


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
    frame = limited(rows.frame, limit, seed)
    plan = mix.plan(frame, options, seed, keys.fingerprint(resample.NAME, resample.VERSION, dict(resampled)))
    ended = engine.run(find(mix.NAME), options, plan, setting, watch.start(mix.NAME, len(plan)))
    made = ended.rows
    if len(plan) and not len(made):
        detail = ended.drops["detail"][0]
        raise PrepError(
            f"mix: not one of {len(plan):,} mixtures could be made; for example: {detail}. Nothing was written"
        )
    kept, leaks = splits.apart(made, "speech_pcm_hash", mix.NAME)  # for speech that was resampled as it was mixed
    jobs = len(plan) + len(plan.kept) + len(plan.drops)
    made = frames.concat([frames.pick(made, kept), plan.kept], Row)
    drops = frames.concat([plan.drops, ended.drops, leaks], Drop)
    return Ran(mix.NAME, jobs, *_tables(made, drops), [*plan.notes, *ended.notes])


def limited(rows: DataFrame, limit: int | None, seed: int) -> DataFrame:
    """At most `limit` rows of each kind (speech, noise), a keyed sample: a larger limit adds rows and changes none."""
    if limit is None or not len(rows):
        return rows
    order = keys.order(seed, "limit", frames.each(rows["id"]))
    codes, kinds = frames.codes(rows["kind"])
    taken = [order[codes[order] == code][:limit] for code in range(len(kinds))]
    return frames.pick(rows, np.sort(np.concatenate(taken)))


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
        speech = resample.expected(aloud.frame, recipe.resample, places(aloud, setting))
        rows = Table.joined([last.rows, Table.of_frame(speech)], Row) if len(speech) else last.rows
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
