"""prep measure."""

from __future__ import annotations

import os
from pathlib import Path

import click
from tqdm import tqdm

from pipeline.archives import Roots
from pipeline.cli.emit import emit
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.measures import NAMES, measures_path
from pipeline.engine.workers import cores, open_workers
from pipeline.inspect.measure import measure as measure_rows


@click.command()
@click.argument("path", metavar="MANIFEST", type=click.Path(path_type=Path))
@click.option("--jobs", type=click.IntRange(1), default=cores(), show_default=True, help="processes that do the work")
@click.option("--json", "as_json", is_flag=True, help="answer in JSON")
def measure(path: Path, jobs: int, as_json: bool) -> None:
    """Measure voice, pitch, spectrum and noise floor of each clip of MANIFEST with librosa.

    The measures are written to NAME.measures.parquet beside the manifest. No hash depends on them. `prep filter --where`
    knows them as columns: voiced_share, pitch_hz, centroid_hz, bandwidth_hz, rolloff_hz, flatness, noise_floor_dbfs. Clips
    that were measured before are not measured again. It needs the extra [measures].

    \b
    Example:
      prep measure manifests/aihub.parquet
      prep filter manifests/aihub.parquet --where "voiced_share > 0.1"
    """
    source = manifest.read(path)
    roots = Roots.find({}, os.environ, Path.cwd())
    bar = tqdm(total=len(source), desc="measure", unit=" clips", disable=None, leave=False, dynamic_ncols=True)
    with bar, open_workers(jobs) as workers:
        table = measure_rows(source, workers, roots, bar.update)
    numbers = {name: frames.numbers(table[name]) for name in NAMES}
    medians = {
        name: round(float(sorted(known)[len(known) // 2]), 4) for name, v in numbers.items() if len(known := v[v == v])
    }
    answer = {"rows": len(source), "measured": len(table), "medians": medians, "file": str(measures_path(path))}
    lines = [f"{len(table):,} of {len(source):,} clips have measures", [("measure", "median"), *medians.items()]]
    emit(answer, as_json, lambda: [*lines, f"  -> {measures_path(path)}"])
