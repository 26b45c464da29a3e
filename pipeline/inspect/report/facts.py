"""What a set holds, counted in SQL: plain values for the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pipeline.core.table import Table

HOURS = "coalesce(sum(frames / rate_hz), 0) / 3600"
LABEL = "coalesce(keyword, noise_label, kind)"
BREAKDOWNS = {  # heading: (SQL expression, what its values are)
    "Corpus": "corpus",
    "Label": LABEL,
    "Scenario": "scenario",
    "Scene": "scene",
    "Kind": "kind",
}
SPLITS = ("train", "dev", "test")
MOST = 40  # values of one breakdown before the rest are added up
MOST_SNRS = 12  # more values than that were drawn from a range, and are put together by 5 dB
GROUP = "concat(corpus, ' · ', kind)"
MEASURES = {  # what is measured of a clip: (SQL, unit, digits)
    "duration": ("frames / rate_hz", "s", 2),
    "level": ("level_full_dbfs", "dBFS", 1),
    "active level": ("level_active_dbfs", "dBFS", 1),
    "activity": ("100 * activity", "%", 0),
    "peak": ("peak_dbfs", "dBFS", 1),
}


def totals(table: Table) -> dict[str, Any]:
    """Rows, hours, groups, and the same of each split."""
    sql = f'SELECT split, count(*), {HOURS}, count(DISTINCT (corpus, "group")) FROM rows GROUP BY 1'
    found = {name: (rows, hours, groups) for name, rows, hours, groups in table.query(sql)}
    order = [*(name for name in SPLITS if name in found), *sorted(set(found) - set(SPLITS))]
    splits = [dict(zip(("split", "rows", "hours", "groups"), (name, *found[name]), strict=True)) for name in order]
    return {"rows": len(table), "hours": sum(part["hours"] for part in splits), "splits": splits}


def breakdowns(table: Table) -> list[dict[str, Any]]:
    """Rows and hours of each value of each column, and its rows in each split; most frequent first."""
    found = [{"name": name, "values": _breakdown(table, sql)} for name, sql in BREAKDOWNS.items()]
    return [part for part in found if len(part["values"]) > (part["name"] == "Kind")]


def _breakdown(table: Table, expression: str) -> list[dict[str, Any]]:
    splits = ", ".join(f"count(*) FILTER (split = '{name}')" for name in SPLITS)
    sql = f"SELECT {expression} AS value, count(*), {HOURS}, {splits} FROM rows WHERE value IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1"
    rows = table.query(sql)
    values = [{"value": value, "rows": n, "hours": hours, "splits": list(parts)} for value, n, hours, *parts in rows]
    return [*values[:MOST], *_rest(values[MOST:])]


def _rest(values: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    if not values:
        return []
    splits = [sum(value["splits"][n] for value in values) for n in range(len(SPLITS))]
    rows, hours = (sum(value[name] for value in values) for name in ("rows", "hours"))
    return [{"value": f"({len(values)} more)", "rows": rows, "hours": hours, "splits": splits}]


def snr_parts(table: Table) -> tuple[str, str]:
    """(SQL of the part an SNR falls into, SQL that sorts the parts): by value, or by 5 dB where it was drawn from a range."""
    if table.query("SELECT count(DISTINCT snr_db) FROM rows")[0][0] <= MOST_SNRS:
        return "printf('%g', snr_db)", "snr_db"
    low = "CAST(floor(snr_db / 5) * 5 AS INTEGER)"
    return f"concat({low}, ' to ', {low} + 5)", low


def snrs(table: Table) -> dict[str, Any] | None:
    """What SNRs were asked for and what came out under both definitions; None where nothing was mixed."""
    part, order = snr_parts(table)
    quantiles = ", ".join(f"min({c}), median({c}), max({c})" for c in ("snr_active_db", "snr_full_db"))
    off = "max(abs(CASE WHEN snr_definition = 'full' THEN snr_full_db ELSE snr_active_db END - snr_db))"
    sql = f"SELECT {part}, count(*), {quantiles}, {off} FROM rows WHERE snr_db IS NOT NULL GROUP BY 1 ORDER BY min({order})"
    names = (
        "requested",
        "rows",
        "active_min",
        "active_median",
        "active_max",
        "full_min",
        "full_median",
        "full_max",
        "off",
    )
    rows = [dict(zip(names, row, strict=True)) for row in table.query(sql)]
    if not rows:
        return None
    definitions = [
        name for (name,) in table.query("SELECT DISTINCT snr_definition FROM rows WHERE snr_db IS NOT NULL ORDER BY 1")
    ]
    return {
        "parts": rows,
        "definitions": definitions,
        "off": max((row["off"] for row in rows if row["off"] is not None), default=None),
    }


def heat(table: Table) -> dict[str, Any] | None:
    """How many mixtures of each keyword, scene and SNR; None where nothing was mixed."""
    part, order = snr_parts(table)
    sql = (
        f"SELECT coalesce(scene, '(none)'), {part}, coalesce(keyword, '(none)'), count(*), min({order}) FROM rows"
        " WHERE kind = 'mixture' AND snr_db IS NOT NULL GROUP BY ALL ORDER BY 5, 1, 3"
    )
    found = table.query(sql)
    if not found:
        return None
    count = {(scene, snr, keyword): n for scene, snr, keyword, n, _ in found}
    scenes = sorted({scene for scene, *_ in found})
    keywords = sorted({keyword for _, _, keyword, *_ in found}, key=lambda word: (word in ("others", "(none)"), word))
    columns = [(snr, keyword) for snr in dict.fromkeys(snr for _, snr, *_ in found) for keyword in keywords]
    rows = [{"scene": scene, "counts": [count.get((scene, *column), 0) for column in columns]} for scene in scenes]
    snr_names = list(dict.fromkeys(snr for snr, _ in columns))
    return {"snrs": snr_names, "keywords": keywords, "rows": rows, "most": max(count.values()), "empty": _empty(rows)}


def _empty(rows: Sequence[dict[str, Any]]) -> int:
    return sum(count == 0 for row in rows for count in row["counts"])


def measures(table: Table) -> list[dict[str, Any]]:
    """Of each source (corpus and kind): rows, and the 5 %, 50 % and 95 % quantile of all that was measured."""
    quantiles = ", ".join(f"quantile_cont({sql}, [0.05, 0.5, 0.95])" for sql, _, _ in MEASURES.values())
    rates = "list_sort(list(DISTINCT source_rate_hz))"
    rows = table.query(
        f"SELECT {GROUP} AS source, count(*), {rates}, {quantiles} FROM rows GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return [
        {"source": source, "rows": count, "rates_hz": given, "quantiles": dict(zip(MEASURES, found, strict=True))}
        for source, count, given, *found in rows
    ]
