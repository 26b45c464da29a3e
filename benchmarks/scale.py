"""Made-up manifests of millions of rows, each step in a process of its own: seconds and peak memory.

python -m benchmarks.scale 3000000 FOLDER            # every step
python -m benchmarks.scale 3000000 FOLDER filter     # one of them; `make` comes first
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from pandas import DataFrame

from pipeline.archives import Roots
from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.corpora.lexicon import shipped
from pipeline.engine import cache, run, steps
from pipeline.engine.run import Setting
from pipeline.engine.workers import Workers
from pipeline.inspect import diff, show
from pipeline.stages import filter, mix

LIMIT_GIB = 4.0
STEPS = ("make", "filter", "mix", "commit", "gather", "show", "hash", "diff")
NOISES = 1000  # recordings of noise that a mix draws from
OPTIONS = mix.Options(virtual=True)  # no audio: what is measured is the handling of rows
SCENARIOS = ["도움요청", "폭력범죄", "화재", "갇힘", "강도범죄", "절도범죄", "실내", "실외", "지진", "낙상"]
TEXTS = ["살려주세요", "도와주세요", "불이야", "거기 누구 없어요", "살려 주세요 ", "경찰 불러주세요"]


def made_up(rows: int, seed: int = 0) -> DataFrame:
    """A manifest as resample leaves it: fifteen of sixteen rows speech of AI-Hub, the rest noise of CochlScene."""
    rng = np.random.default_rng(seed)
    index = np.arange(rows)
    noise = index % 16 == 15
    names = np.where(noise, "cochlscene", "aihub")
    ids = [
        f"cochlscene/Bus_user{n % 900:04d}_{n:08d}_000" if n % 16 == 15 else f"aihub/Training/{n:07d}"
        for n in range(rows)
    ]
    lengths = rng.integers(16_000, 160_000, rows)
    columns = {
        "id": ids,
        "corpus": names,
        "split": np.where(rng.random(rows) < 0.88, "train", "test"),
        "group": [f"user{n % 900:04d}" if n % 16 == 15 else f"{n:032x}" for n in range(rows)],
        "kind": np.where(noise, "noise", "speech"),
        "source": ["@" + name for name in ids],
        "transcript": pa.array(np.array(TEXTS)[rng.integers(0, len(TEXTS), rows)], mask=noise),
        "scenario": pa.array(np.array(SCENARIOS)[rng.integers(0, len(SCENARIOS), rows)], mask=noise),
        "scene": pa.array(np.full(rows, "Bus"), mask=~noise),
        "noise_label": np.where(noise, "noise", "speech"),
        "shard": np.char.add("resample-", (index // 1000).astype(str)),
        "offset": index % 1000 * 60_000 + 512,
        "bytes": np.full(rows, 50_000),
        "rate_hz": np.full(rows, 16_000),
        "frames": lengths,
        "pcm_hash": [f"{n:032x}" for n in range(rows)],
        "source_rate_hz": np.full(rows, 44_100),
        "source_channels": np.ones(rows, int),
        "source_frames": lengths * 3,
        "source_format": np.full(rows, "WAV PCM_16"),
        "source_pcm_hash": [f"{n:032x}" for n in range(rows)],
        "source_pcm_crc": index,
        "level_full_dbfs": rng.uniform(-50, -15, rows),
        "level_active_dbfs": rng.uniform(-45, -12, rows),
        "activity": rng.random(rows),
        "peak_dbfs": rng.uniform(-20, 0, rows),
        "clipped_share": np.zeros(rows),
        "zero_share": np.zeros(rows),
        "gain_db": np.zeros(rows),
    }
    labels = [[("area_start_s", "1.2"), ("category_01", "치안안전"), ("gender", "여성")], []]
    form = frames.schema(Row)
    pairs = [[{"key": key, "value": value} for key, value in pairs_of_one] for pairs_of_one in labels]
    columns["labels"] = pa.array(pairs, form.field("labels").type).take(pa.array(noise.astype(int)))
    arrays = [pa.array(columns[f.name]).cast(f.type) if f.name in columns else pa.nulls(rows, f.type) for f in form]
    return frames.from_arrow(pa.table(arrays, schema=form))


def timed(name: str, work: object) -> object:
    """What the work returns; prints its seconds and the peak memory of the process so far.

    SystemExit over the limit.
    """
    begun, cpu = time.perf_counter(), time.process_time()
    result = work()  # type: ignore[operator]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    seconds = f"{time.perf_counter() - begun:8.1f} s{time.process_time() - cpu:8.1f} CPU s"
    print(f"{name:<8}{seconds}   peak {peak:5.2f} GiB", flush=True)
    if peak > LIMIT_GIB:
        raise SystemExit(f"{name}: {peak:.2f} GiB, over the limit of {LIMIT_GIB} GiB")
    return result


def planned(path: Path) -> steps.Step:
    """The step of a mix that draws from NOISES recordings; all speech is mixed once."""
    rows = manifest.read(path).frame
    noise = np.flatnonzero(frames.equal(rows["kind"], "noise"))
    keep = frames.equal(rows["kind"], "speech")
    keep[noise[:NOISES]] = True
    return steps.mix_step(frames.pick(rows, keep), OPTIONS, {}, None, 0)


def commit(path: Path) -> None:
    """Commits every shard of the mix as its work would, without any audio."""
    step = planned(path)
    jobs = step.plan.jobs.ordered(run.IN_ORDER)
    done = Row("", "", "", "", "", "", pcm_hash="0" * 32, speech_pcm_hash="1" * 32, noise_start=1, snr_full_db=15.0)
    for number, shard in enumerate(run.cut(step.stage, OPTIONS, jobs, run.SHARD_CLIPS)):
        part = jobs.table(np.arange(shard.start, shard.stop), ("id",))
        rows = [
            replace(
                done,
                id=name,
                pcm_hash=f"{number:08x}{n:024x}",
                speech_pcm_hash=f"{n:08x}{number:024x}",
                peak_dbfs=-n / 7,
            )
            for n, name in enumerate(part.column("id").to_pylist())
        ]
        cache.write(path.parent, shard.name, step.stage, rows, None, cache.Effort("mix", {}, 1.0, 1.0), True)


def gather(path: Path) -> None:
    """Plans the mix, gathers what is committed, writes the manifest."""
    step = planned(path)
    setting = Setting(path.parent, Roots.find({}, {}, path.parent), Workers(), slice=(0, 0))
    steps.run(step, setting)
    assert step.rows is not None
    print(f"  {len(step.rows):,} rows gathered")
    rows, step.rows = step.rows, None
    manifest.write(path.with_name("mixed.parquet"), rows, step.drops, Provenance("mix", {}, 0))


def main(rows: int, folder: Path, name: str) -> None:
    """One step."""
    path = folder / "big.parquet"
    if name == "make":
        table = made_up(rows)
        drops = frames.from_rows([], Drop)
        timed("write", lambda: manifest.write(path, table, drops, Provenance("resample", {"resample": {}}, 0)))
        print(f"  {path.stat().st_size / rows:.0f} bytes a row on disk")
        other = frames.pick(table, np.arange(rows) % 100 != 7)
        other = frames.with_columns(other, peak_dbfs=np.where(np.arange(len(other)) % 97, other["peak_dbfs"], -1.0))
        manifest.write(folder / "other.parquet", other, drops, Provenance("resample", {"resample": {}}, 0))
    elif name == "filter":
        step = timed(name, lambda: steps.filter_step([manifest.read(path).frame], filter.Options(), shipped(), None, 0))
        print(f"  {step.count:,} in, {len(step.plan.kept):,} kept")  # type: ignore[attr-defined]
    elif name == "mix":
        step = timed(name, lambda: planned(path))
        print(f"  {len(step.plan):,} mixtures planned")  # type: ignore[attr-defined]
    elif name == "commit":
        commit(path)
    elif name == "gather":
        timed(name, lambda: gather(path))
    elif name == "show":
        timed(name, lambda: list(show.lines(show.summary(path))))
    elif name == "hash":
        timed(name, lambda: parquet.logical_hash_of_file(path))
    elif name == "diff":
        answer = timed(name, lambda: diff.difference(diff.of_file(path), diff.of_file(folder / "other.parquet")))
        print(f"  {answer.removed:,} removed")  # type: ignore[attr-defined]
    else:
        raise SystemExit(f"{name}: no such step; expected one of {', '.join(STEPS)}")


if __name__ == "__main__":
    if len(sys.argv) > 3:
        main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    else:
        Path(sys.argv[2]).mkdir(parents=True, exist_ok=True)
        for step_name in STEPS:
            subprocess.run([sys.executable, "-m", "benchmarks.scale", *sys.argv[1:3], step_name], check=True)
