"""What a manifest holds, counted: rows and hours by column, levels, drops by reason, provenance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.core import frame, manifest, sql
from pipeline.core.errors import ManifestError
from pipeline.core.row import Drop
from pipeline.inspect.report.facts import HOURS, LABEL, snr_parts

COUNTED = ("corpus", "split", "kind", "scenario", "keyword", "scene", "snr_db", "snr_definition")
MEASURED = ("level_full_dbfs", "level_active_dbfs", "activity", "peak_dbfs", "dc_dbfs", "snr_active_db", "snr_full_db")
COLUMNS = (*COUNTED, *MEASURED, "noise_label", "frames", "rate_hz")
MOST = 24  # values listed of a column before the rest are added up
_DROPS = ("stage", "reason", "rows", "example")


def summary(path: Path) -> dict[str, Any]:
    """What `prep show --json` answers. Of the manifest only COLUMNS are read. ManifestError where it is no manifest."""
    rows = manifest.read_columns(path, COLUMNS)
    number, hours = sql.query(rows, f"SELECT count(*), {HOURS} FROM rows")[0]
    by = {name: _counts(rows, name) for name in COUNTED}
    by_label = sql.query(rows, f"SELECT {LABEL}, split, count(*) FROM rows GROUP BY 1, 2 ORDER BY 1, 2")
    measures = ", ".join(f"min({name}), median({name}), max({name})" for name in MEASURED)
    measured = iter(sql.query(rows, f"SELECT {measures} FROM rows")[0])
    try:
        dropped = manifest.read_drops(path)
    except ManifestError:  # they do not lie beside the manifest
        dropped = frame.from_rows([], Drop)
    drops = "SELECT stage, reason, count(*), min(detail) FROM rows GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    levels = [(name, next(measured), next(measured), next(measured)) for name in MEASURED]
    return {
        "manifest": path.name,
        "rows": number,
        "hours": round(hours, 4),
        "by": {name: counts for name, counts in by.items() if counts},
        "by_split_and_label": [{"label": value, "split": split, "rows": n} for value, split, n in by_label],
        "levels": [
            {"column": name, "min": round(low, 3), "median": round(middle, 3), "max": round(high, 3)}
            for name, low, middle, high in levels
            if middle is not None
        ],
        "drops": [dict(zip(_DROPS, line, strict=True)) for line in sql.query(dropped, drops)],
        "provenance": asdict(manifest.provenance(path)),
    }


def _counts(rows: pd.DataFrame, name: str) -> list[dict[str, Any]]:
    """How many rows and hours have each value of a column, the most frequent first; an SNR in its order."""
    value, order = name, "1" if name in ("snr_db", "snr_definition") else "2 DESC, 1"
    if name == "snr_db" and rows[name].nunique() > MOST:  # drawn from a range: by whole 5 dB
        value, order = snr_parts(rows)[0], "min(snr_db)"
    counted = f"SELECT {value}, count(*), {HOURS} FROM rows WHERE {name} IS NOT NULL GROUP BY 1 ORDER BY {order}"
    return [{"value": v, "rows": n, "hours": round(hours, 4)} for v, n, hours in sql.query(rows, counted)]


def lines(answer: dict[str, Any]) -> Iterator[str | Sequence[Sequence[Any]]]:
    """The summary for a person: sentences, and tables with the names of the columns first."""
    made = answer["provenance"]
    yield f"{answer['manifest']}: {answer['rows']:,} rows, {answer['hours']:.2f} h"
    for name, counts in answer["by"].items():
        if name not in ("kind", "snr_definition"):
            rows = [tuple(count.values()) for count in counts]
            if rest := rows[MOST:]:
                others = sum(row[1] for row in rest), round(sum(row[2] for row in rest), 4)
                rows = [*rows[:MOST], (f"({len(rest)} more)", *others)]
            yield from ("", [(name, "rows", "hours"), *rows])
    by_label = {(count["label"], count["split"]): count["rows"] for count in answer["by_split_and_label"]}
    splits = [name for name in ("train", "dev", "test") if any(split == name for _, split in by_label)]
    labels = dict.fromkeys(label for label, _ in by_label)
    rows = [(label, *(by_label.get((label, split), 0) for split in splits)) for label in labels]
    yield from ("", [("label", *splits), *rows])
    yield from ("", [("measured", "min", "median", "max"), *(tuple(level.values()) for level in answer["levels"])])
    if answer["drops"]:
        head = ("dropped in", "reason", "rows", "for example")
        yield from ("", [head, *(tuple(drop.values()) for drop in answer["drops"])])
    yield from ("", f"made by    {made['stage']}, seed {made['seed']}, schema {made['schema_version']}")
    yield f"hash       {made['logical_hash']}"
    yield from (f"from       {name} {digest}" for name, digest in made["inputs"].items())
    yield "versions   " + ", ".join(f"{name} {number}" for name, number in made["versions"].items())
    for name, options in made["recipe"].items():
        is_table = isinstance(options, dict)
        given = [f"{key} {value}" for key, value in options.items() if value is not None] if is_table else [options]
        yield f"{f'[{name}]':<11}{', '.join(map(str, given))}"
