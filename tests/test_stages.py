"""What holds of every stage: its work sees READS alone, sets FILLS alone, and runs without pandas."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sounds import corpus, encoded, hiss, voice
from test_architecture import loaded_by

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.audio.shards import ShardWriter
from pipeline.core import frame as frames
from pipeline.core.row import Drop, Row
from pipeline.engine.run import Setting, run
from pipeline.engine.workers import Workers, open_workers
from pipeline.stages import Options, Plan, find, ingest, jobs_of, mix, recompute, resample, seek, with_places
from pipeline.stages.store import Store, decode_pool

NAMES = ("ingest", "resample", "mix", "seek", "rebuild", "recompute")
SOUNDS = {
    "clean_test/a.wav": encoded(voice(1.0)),
    "clean_test/b.wav": encoded(voice(0.8, seed=1), 44_100),
    "noise_test/Hum_1.wav": encoded(hiss(1.5)),
}


@dataclass(frozen=True)
class Bench:
    """A plan of each stage for three recordings, and a store in which its work can be done."""

    plans: dict[str, tuple[Options, Plan]]
    folder: Path
    roots: Roots

    def results(self, name: str, table: Any) -> list[Row | Drop]:
        """What the work of a stage makes of these jobs."""
        store = Store(self.folder, self.roots, "shard.tar", ShardWriter(io.BytesIO()))
        return [find(name).work(job, self.plans[name][0], store) for job in jobs_of(table, find(name))]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("stages")
    roots = Roots.find({"ms-snsd": str(corpus(folder / "corpus", SOUNDS))}, {}, folder)
    setting = Setting(folder, roots, Workers())
    clips, places = (getattr(corpora.find("ms-snsd"), name)(roots["ms-snsd"]) for name in ("clips", "places"))
    plans: dict[str, tuple[Options, Plan]] = {"ingest": (ingest.Options(), ingest.plan("ms-snsd", clips.clips))}

    def rows(name: str) -> Any:
        return frames.ordered(run(find(name), *plans[name], setting, lambda step: None).rows.frame)

    plans["resample"] = resample.Options(), resample.plan(rows("ingest"), places)
    stored = rows("resample")
    plans["mix"] = mix.Options(snr_db=(0.0,)), mix.plan(stored, mix.Options(snr_db=(0.0,)), 0, "")
    mixed = rows("mix")
    for pool, (shard, parts) in plans["mix"][1].pools.items():
        decode_pool((folder, pool, shard, parts))
    plans["seek"] = seek.Options(), seek.plan([clip.place for clip in clips.clips])
    plans["rebuild"] = resample.Options(), Plan(with_places(stored, [places[name] for name in stored["source"]]))
    noise = frames.pick(stored, frames.position_of(mixed["noise_id"], stored["id"]))
    at_noise = {f"at_noise_{name}": noise[name] for name in ("shard", "offset", "bytes")}
    mixtures = frames.with_columns(mixed, **at_noise)
    plans["recompute"] = recompute.Options(), Plan(with_places(mixtures, [places[name] for name in mixed["source"]]))
    return Bench(plans, folder, roots)


def fills(name: str, results: list[Row | Drop]) -> Iterator[tuple[Any, ...]]:
    for result in results:
        assert isinstance(result, Row), result
        yield tuple(getattr(result, column) for column in ("id", *find(name).FILLS))


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_what_work_does_not_read_changes_nothing_that_it_fills(name: str, bench: Bench, data: st.DataObject) -> None:
    """Or a committed shard, which is named by what work reads, would be taken for what it is not."""
    plan = frames.from_arrow(bench.plans[name][1].jobs.table())
    scrambled = {
        field.name: data.draw(st.lists(_values(field.name), min_size=len(plan), max_size=len(plan)), field.name)
        for field in frames.schema(Row)
        if field.name not in find(name).READS
    }
    changed = frames.to_arrow(frames.with_columns(plan, **scrambled))
    before = list(fills(name, bench.results(name, frames.to_arrow(plan))))
    assert list(fills(name, bench.results(name, changed))) == before
    assert len(before) > 1


def _values(column: str) -> st.SearchStrategy[Any]:
    if column == "labels":
        return st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=2)
    kind = str(frames.schema(Row).field(column).type)
    return {
        "string": st.text(max_size=5),
        "int64": st.integers(-(2**40), 2**40),
        "double": st.floats(-1e3, 1e3),
    }[kind]


@pytest.mark.parametrize("name", NAMES)
def test_work_sees_what_it_reads_and_nothing_else(name: str, bench: Bench) -> None:
    seen = {column: set() for column in Row.__dataclass_fields__}
    for job in jobs_of(bench.plans[name][1].jobs.table(), find(name)):
        for column, values in seen.items():
            values.add(str(getattr(job.row, column)))
    assert {column for column, values in seen.items() if values != {"None"}} <= set(find(name).READS)
    assert set(find(name).READS) <= set(Row.__dataclass_fields__)
    assert set(find(name).FILLS) <= set(Row.__dataclass_fields__)


@pytest.mark.parametrize("name", NAMES)
def test_work_fills_what_it_says_and_nothing_else(name: str, bench: Bench) -> None:
    table = bench.plans[name][1].jobs.table()
    for job, result in zip(jobs_of(table, find(name)), bench.results(name, table), strict=True):
        changed = {c for c in Row.__dataclass_fields__ if getattr(result, c) != getattr(job.row, c)}
        assert changed - set(find(name).FILLS) <= {
            "rate_hz",
            "frames",
        }  # mix resamples, and resample says what came out


def test_workers_load_no_pandas() -> None:
    stages = ", ".join(f"pipeline.stages.{name}" for name in NAMES)
    assert not loaded_by(f"import pipeline.engine.run, pipeline.engine.workers, {stages}") & {"pandas", "matplotlib"}


def test_a_worker_that_made_a_shard_has_loaded_no_pandas(bench: Bench, tmp_path: Path) -> None:
    """pyarrow loads pandas with its first array, if it can."""
    setting = Setting(tmp_path, bench.roots, (workers := open_workers(2)))
    with workers:
        run(find("ingest"), *bench.plans["ingest"], setting, lambda step: None)
        assert workers.executor().submit(_loaded).result() == []


def _loaded() -> list[str]:
    return sorted({"pandas", "matplotlib"} & sys.modules.keys())
