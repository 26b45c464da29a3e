"""What a manifest holds, counted: for `prep show` on a screen or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.core.aligned import aligned, widths
from pipeline.core.manifest import Manifest
from pipeline.core.table import Table

COUNTED = ("corpus", "split", "kind", "scenario", "keyword", "scene", "snr_db", "snr_definition")
MOST = 24  # values listed of a column before the rest are added up


def summary(held: Manifest, drops: Table | None) -> dict[str, Any]:
    """Counts and hours of the rows by column, drops by stage and reason, provenance; plain values for JSON."""
    table = held.table
    total = table.query("SELECT count(*), coalesce(sum(frames / rate_hz), 0) / 3600 FROM rows")[0]
    counted = {name: _counts(table, name) for name in COUNTED}
    made = held.provenance
    return {
        "manifest": held.path.name,
        "rows": total[0],
        "hours": round(total[1], 4),
        "by": {name: counts for name, counts in counted.items() if counts},
        "by_split_and_label": _cross(table),
        "levels": _levels(table),
        "drops": _drops(drops),
        "provenance": {
            "schema_version": made.schema_version,
            "stage": made.stage,
            "seed": made.seed,
            "logical_hash": made.logical_hash,
            "drops_hash": made.drops_hash,
            "inputs": dict(made.inputs),
            "versions": dict(made.versions),
            "recipe": dict(made.recipe),
        },
    }


def _counts(table: Table, name: str) -> list[dict[str, Any]]:
    hours = "coalesce(sum(frames / rate_hz), 0) / 3600"
    rows = table.query(
        f"SELECT {name}, count(*), {hours} FROM rows WHERE {name} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    if name in ("snr_db", "snr_definition"):
        rows = sorted(rows, key=lambda row: row[0])
    if name == "snr_db" and len(rows) > MOST:  # drawn from a range: by whole 5 dB
        rows = table.query(
            "SELECT concat(CAST(floor(snr_db / 5) * 5 AS INTEGER), ' to ', CAST(floor(snr_db / 5) * 5 + 5 AS INTEGER)), count(*),"
            " sum(frames / rate_hz) / 3600 FROM rows WHERE snr_db IS NOT NULL GROUP BY floor(snr_db / 5) ORDER BY floor(snr_db / 5)"
        )
    return [{"value": value, "rows": count, "hours": round(time, 4)} for value, count, time in rows]


def _cross(table: Table) -> list[dict[str, Any]]:
    sql = "SELECT coalesce(keyword, noise_label, kind) AS label, split, count(*) FROM rows GROUP BY 1, 2 ORDER BY 1, 2"
    return [{"label": label, "split": split, "rows": count} for label, split, count in table.query(sql)]


def _levels(table: Table) -> list[dict[str, Any]]:
    columns = ("level_full_dbfs", "level_active_dbfs", "activity", "peak_dbfs", "snr_active_db", "snr_full_db")
    found = []
    for name in columns:
        low, middle, high = table.query(f"SELECT min({name}), median({name}), max({name}) FROM rows")[0]
        if middle is not None:
            found.append({"column": name, "min": round(low, 3), "median": round(middle, 3), "max": round(high, 3)})
    return found


def _drops(drops: Table | None) -> list[dict[str, Any]]:
    if drops is None:
        return []
    sql = "SELECT stage, reason, count(*), min(detail) FROM rows GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2"
    return [
        {"stage": stage, "reason": reason, "rows": count, "example": detail}
        for stage, reason, count, detail in drops.query(sql)
    ]


def text(told: dict[str, Any]) -> str:
    """The summary as tables for a terminal."""
    made = told["provenance"]
    parts = [f"{told['manifest']}: {told['rows']:,} rows, {told['hours']:.2f} h"]
    for name, counts in told["by"].items():
        if name not in ("kind", "snr_definition"):
            parts.append(
                table_text((name, "rows", "hours"), _most([(c["value"], c["rows"], c["hours"]) for c in counts]))
            )
    splits = [
        split for split in ("train", "dev", "test") if any(c["split"] == split for c in told["by_split_and_label"])
    ]
    labels = list(dict.fromkeys(c["label"] for c in told["by_split_and_label"]))
    count = {(c["label"], c["split"]): c["rows"] for c in told["by_split_and_label"]}
    parts.append(
        table_text(
            ("label", *splits), [(label, *(count.get((label, split), 0) for split in splits)) for label in labels]
        )
    )
    parts.append(table_text(("measured", "min", "median", "max"), [tuple(level.values()) for level in told["levels"]]))
    if told["drops"]:
        parts.append(
            table_text(
                ("dropped in", "reason", "rows", "for example"), [tuple(drop.values()) for drop in told["drops"]]
            )
        )
    lines = [
        f"made by    {made['stage']}, seed {made['seed']}, schema {made['schema_version']}",
        f"hash       {made['logical_hash']}",
    ]
    lines += [f"from       {name} {digest}" for name, digest in made["inputs"].items()]
    lines += ["versions   " + ", ".join(f"{name} {number}" for name, number in made["versions"].items())]
    lines += [f"{f'[{name}]':<11}{_options(options)}" for name, options in made["recipe"].items()]
    return "\n\n".join([*parts, "\n".join(lines)])


def _options(options: Any) -> str:
    return (
        ", ".join(f"{key} {value}" for key, value in options.items() if value is not None)
        if isinstance(options, dict)
        else str(options)
    )


def _most(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    if len(rows) <= MOST:
        return rows
    rest = rows[MOST:]
    return [*rows[:MOST], (f"({len(rest)} more)", sum(row[1] for row in rest), round(sum(row[2] for row in rest), 4))]


def table_text(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Columns aligned for a terminal, Hangul two cells wide; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    rule = ["-" * width for width in widths([head, *cells])]
    right = [bool(rows) and isinstance(rows[0][n], int | float) for n in range(len(head))]
    return "\n".join(aligned([head, rule, *cells], right))


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}" if isinstance(value, float) else str(value)
