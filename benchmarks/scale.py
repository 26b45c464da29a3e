"""Made-up manifests of millions of rows: filter, the planning of a mix, show. Seconds and peak memory of each."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipeline.core import keys, manifest
from pipeline.core.row import Drop, Row
from pipeline.core.table import Table, schema
from pipeline.corpora.lexicon import shipped
from pipeline.engine import steps as build
from pipeline.inspect import show
from pipeline.stages import filter, mix

SCENARIOS = ["도움요청", "폭력범죄", "화재", "갇힘", "강도범죄", "절도범죄", "실내", "실외", "지진", "낙상"]
TEXTS = ["살려주세요", "도와주세요", "불이야", "거기 누구 없어요", "살려 주세요 ", "경찰 불러주세요"]


def made_up(rows: int, seed: int = 0) -> Table:
    """A manifest as resample leaves it: fifteen of sixteen rows speech of AI-Hub, the rest noise of CochlScene."""
    rng = np.random.default_rng(seed)
    index = np.arange(rows)
    noise = index % 16 == 15
    names = np.where(noise, "cochlscene", "aihub")
    ids = [
        f"cochlscene/Bus_user{n % 900:04d}_{n:08d}_000" if n % 16 == 15 else f"aihub/Training/{n:07d}"
        for n in range(rows)
    ]
    frames = rng.integers(16_000, 160_000, rows)
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
        "frames": frames,
        "pcm_hash": [f"{n:032x}" for n in range(rows)],
        "source_rate_hz": np.full(rows, 44_100),
        "source_channels": np.ones(rows, int),
        "source_frames": frames * 3,
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
    labels = [[("gender", "여성"), ("category_01", "치안안전"), ("area_start_s", "1.2")], []]
    form = schema(Row)
    pairs = [[{"key": key, "value": value} for key, value in held] for held in labels]
    columns["labels"] = pa.array(pairs, form.field("labels").type).take(pa.array(noise.astype(int)))
    arrays = [pa.array(columns[f.name]).cast(f.type) if f.name in columns else pa.nulls(rows, f.type) for f in form]
    return Table(pa.table(arrays, schema=form))


def timed(name: str, work: object) -> object:
    """Prints the seconds that the work took and the peak memory so far."""
    begun = time.perf_counter()
    result = work()  # type: ignore[operator]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{name:<14}{time.perf_counter() - begun:8.1f} s   peak {peak:5.2f} GiB", flush=True)
    return result


def main(rows: int, folder: Path) -> None:
    """Each step in a process of its own: `python -m benchmarks.scale ROWS FOLDER STEP`."""
    path = folder / "big.parquet"
    step = sys.argv[3] if len(sys.argv) > 3 else "make"
    if step == "make":
        table = made_up(rows)
        print(f"{rows:,} rows, {table.arrow.nbytes / rows:.0f} bytes a row in memory")
        timed(
            "write",
            lambda: manifest.write(
                path, table, Table.of([], Drop), manifest.Provenance("resample", {"resample": {}}, 0)
            ),
        )
        print(f"{path.stat().st_size / rows:.0f} bytes a row on disk")
    elif step == "filter":
        ran = timed(
            "filter", lambda: build.filter_step([manifest.read(path).table], filter.Options(), shipped(), None, 0)
        )
        print(f"  {ran.count:,} in {len(ran.kept):,} kept {len(ran.drops):,} dropped")  # type: ignore[attr-defined]
    elif step == "mix":
        planned = timed(
            "mix plan", lambda: mix.plan(manifest.read(path).table.frame, mix.Options(), 0, keys.fingerprint("x"))
        )
        print(f"  {len(planned.jobs):,} mixtures planned")  # type: ignore[attr-defined]
    elif step == "show":
        timed("show", lambda: show.text(show.summary(path)))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
