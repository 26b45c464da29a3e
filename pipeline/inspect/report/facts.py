"""What a set holds and what was dropped on the way to it, counted in SQL: values for the page and for `--json`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import manifest as manifests
from pipeline.core import measures
from pipeline.core.errors import ManifestError
from pipeline.core.frame import among, concat, with_columns
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.row import Drop
from pipeline.core.sql import query

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from pandas import DataFrame

SPLITS = ("train", "dev", "test")
HOURS = "coalesce(sum(frames / rate_hz), 0) / 3600"
LABEL = "coalesce(keyword, noise_label, kind)"
BREAKDOWNS = {
    "Corpus": "corpus",
    "Label": LABEL,
    "Scenario": "scenario",
    "Scene": "scene",
    "Kind": "kind",
}  # heading: SQL
MOST = 40  # values of one breakdown before the rest are added up
MOST_SNRS = 12  # more values than that were drawn from a range, and are put together by 5 dB
GROUP = "concat(corpus, ' · ', kind)"
Measures = Mapping[str, tuple[str, str, int]]  # name: (SQL, unit, digits)
MEASURES: Measures = {
    "duration": ("frames / rate_hz", "s", 2),
    "level": ("level_full_dbfs", "dBFS", 1),
    "active level": ("level_active_dbfs", "dBFS", 1),
    "activity": ("100 * activity", "%", 0),
    "peak": ("peak_dbfs", "dBFS", 1),
    "DC": ("dc_dbfs", "dBFS", 1),
}
SPECTRAL: Measures = {  # of core.measures
    "voiced": ("100 * voiced_share", "%", 0),
    "pitch": ("pitch_hz", "Hz", 0),
    "centroid": ("centroid_hz", "Hz", 0),
    "spectral width": ("bandwidth_hz", "Hz", 0),
    "roll-off": ("rolloff_hz", "Hz", 0),
    "flatness": ("flatness", "0 to 1", 3),
    "noise floor": ("noise_floor_dbfs", "dBFS", 1),
}
SNRS: Measures = {  # of mixtures
    "SNR": ("snr_db", "dB", 1),
    "off active": ("snr_active_db - snr_db", "dB", 2),
    "off full": ("snr_full_db - snr_db", "dB", 2),
}
STAGES = ("ingest", "filter", "resample")  # those before mix
ROWS = 1000  # of a set in the table of its page
TEXTS = {"id": "id", "corpus": "corpus", "kind": "kind", "label": LABEL, "split": "split", "scenario": "scenario"}
TEXTS |= {"scene": "scene", "transcript": "transcript"}  # key of a column of that table: SQL


def totals(frame: DataFrame) -> dict[str, Any]:
    """Rows, hours, groups, and the same of each split."""
    sql = f'SELECT split, count(*), {HOURS}, count(DISTINCT (corpus, "group")) FROM rows GROUP BY 1'
    known = {line[0]: dict(zip(("split", "rows", "hours", "groups"), line, strict=True)) for line in query(frame, sql)}
    splits = [known[name] for name in (*SPLITS, *sorted(set(known) - set(SPLITS))) if name in known]
    return {"rows": len(frame), "hours": sum(part["hours"] for part in splits), "splits": splits}


def breakdowns(frame: DataFrame) -> list[dict[str, Any]]:
    """Rows and hours of each value of each column, and its rows in each split; most frequent first."""
    splits = ", ".join(f"count(*) FILTER (split = '{name}')" for name in SPLITS)
    parts = []
    for name, expression in BREAKDOWNS.items():
        lines = query(
            frame,
            f"SELECT {expression} AS value, count(*), {HOURS}, {splits} FROM rows WHERE value IS NOT NULL"
            " GROUP BY 1 ORDER BY 2 DESC, 1",
        )
        shown, rest = lines[:MOST], lines[MOST:]
        if rest:
            shown.append((f"({len(rest)} more)", *(sum(numbers) for numbers in list(zip(*rest, strict=True))[1:])))
        values = [{"value": v, "rows": n, "hours": hours, "splits": counts} for v, n, hours, *counts in shown]
        if len(values) > (name == "Kind"):
            parts.append({"name": name, "values": values})
    return parts


def snr_parts(frame: DataFrame) -> tuple[str, str]:
    """(SQL of the part that an SNR falls into, SQL that sorts the parts): its value, or 5 dB where there are many."""
    if query(frame, "SELECT count(DISTINCT snr_db) FROM rows")[0][0] <= MOST_SNRS:
        return "printf('%g', snr_db)", "snr_db"
    low = "CAST(floor(snr_db / 5) * 5 AS INTEGER)"
    return f"concat({low}, ' to ', {low} + 5)", low


def snrs(frame: DataFrame) -> dict[str, Any] | None:
    """Which SNRs were requested and which came out under both definitions; None where nothing was mixed."""
    part, order = snr_parts(frame)
    columns = {"requested": part, "rows": "count(*)"}
    for name in ("active", "full"):
        columns |= {f"{name}_{word}": f"{word}(snr_{name}_db)" for word in ("min", "median", "max")}
    realised = "CASE WHEN snr_definition = 'full' THEN snr_full_db ELSE snr_active_db END"
    columns["off"] = f"max(abs({realised} - snr_db))"
    chosen = ", ".join(columns.values())
    lines = query(frame, f"SELECT {chosen} FROM rows WHERE snr_db IS NOT NULL GROUP BY 1 ORDER BY min({order})")
    if not lines:
        return None
    parts = [dict(zip(columns, line, strict=True)) for line in lines]
    definitions = query(frame, "SELECT DISTINCT snr_definition FROM rows WHERE snr_db IS NOT NULL ORDER BY 1")
    off = max((row["off"] for row in parts if row["off"] is not None), default=None)
    return {"parts": parts, "definitions": [name for (name,) in definitions], "off": off}


def heat(frame: DataFrame) -> dict[str, Any] | None:
    """How many mixtures there are of each keyword, scene and SNR; None where nothing was mixed."""
    part, order = snr_parts(frame)
    cells = query(
        frame,
        f"SELECT coalesce(scene, '(none)'), {part}, coalesce(keyword, '(none)'), count(*), min({order}) FROM rows"
        " WHERE kind = 'mixture' AND snr_db IS NOT NULL GROUP BY ALL ORDER BY 5, 1, 3",
    )
    if not cells:
        return None
    count = {(scene, snr, keyword): n for scene, snr, keyword, n, _ in cells}
    keywords = sorted({keyword for _, _, keyword, *_ in cells}, key=lambda word: (word in ("others", "(none)"), word))
    snr_names = list(dict.fromkeys(snr for _, snr, *_ in cells))
    rows = [
        {"scene": scene, "counts": [count.get((scene, snr, word), 0) for snr in snr_names for word in keywords]}
        for scene in sorted({scene for scene, *_ in cells})
    ]
    empty = sum(row["counts"].count(0) for row in rows)
    return {"snrs": snr_names, "keywords": keywords, "rows": rows, "most": max(count.values()), "empty": empty}


def key(measure: str) -> str:
    """What the table of rows calls a measure where rows are searched: `active_level`."""
    return measure.lower().replace(" ", "_")


def listed(
    frame: DataFrame, kinds: Measures, measured: Mapping[str, NDArray[np.float64]], first: Collection[str]
) -> dict[str, Any]:
    """The table of rows: all of a small set; of a larger one ROWS, spread over the combinations of TEXTS.

    frame: the rows as they may be shown. measured: of `kinds`, rounded. first: ids that are there in any case.
    Columns that are empty in all of these rows are left out.
    """
    texts = ", ".join(f'{sql} AS "{name} of"' for name, sql in TEXTS.items())
    combination = ", ".join(f'"{name} of"' for name in TEXTS if name not in ("id", "transcript"))
    whole = with_columns(frame, is_first=among(frame["id"], first), **{f"{name} of": measured[name] for name in kinds})
    columns = [f'"{name} of"' for name in (*TEXTS, *kinds)]
    lines = query(
        whole,
        f"SELECT {', '.join(columns)} FROM (SELECT *, {texts} FROM rows) ORDER BY NOT is_first, row_number() OVER"
        f" (PARTITION BY {combination} ORDER BY md5(id)), md5(id) LIMIT {ROWS}",
    )
    heads = [(name, name, None) for name in TEXTS] + [
        (key(name), f"{name}, {unit}", digits) for name, (_, unit, digits) in kinds.items()
    ]
    lines = sorted(tuple(None if cell != cell else cell for cell in line) for line in lines)  # NaN: not measured
    kept = [n for n in range(len(heads)) if any(line[n] is not None for line in lines)]
    rows = [[line[n] for n in kept] for line in lines]
    return {"heads": [heads[n] for n in kept], "rows": rows}


def with_measures(manifest: Manifest) -> tuple[DataFrame, Measures]:
    """(the rows, with what `prep measure` measured of them if it was run; what is measured of a clip).

    ManifestError where the measures are of another version.
    """
    measured = measures.read(manifest.path)
    if measured is None:
        return manifest.frame, MEASURES
    return measures.beside(manifest.frame, measured), {**MEASURES, **SPECTRAL}


def quantiles(frame: DataFrame, kinds: Measures) -> list[dict[str, Any]]:
    """Of each source (corpus and kind): rows, and the 5 %, 50 % and 95 % quantile of these measures."""
    columns = ", ".join(f"quantile_cont({sql}, [0.05, 0.5, 0.95])" for sql, _, _ in kinds.values())
    rates = "list_sort(list(DISTINCT source_rate_hz))"
    lines = query(
        frame, f"SELECT {GROUP} AS source, count(*), {rates}, {columns} FROM rows GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    return [
        {"source": source, "rows": count, "rates_hz": rates_hz, "quantiles": dict(zip(kinds, numbers, strict=True))}
        for source, count, rates_hz, *numbers in lines
    ]


# ---- what was dropped on the way


@dataclass(frozen=True, slots=True, eq=False)
class Lineage:
    """What was dropped on the way to a manifest, as far as the files in its folder say.

    reasons: stage -> [{stage, reason, rows, example: an id}], most rows first. unmixed: clips of which mix dropped a
    mixture. missing: names of the files that are not there.
    """

    reasons: dict[str, list[dict[str, Any]]]
    unmixed: frozenset[str]
    missing: tuple[str, ...]


def lineage(manifest: Manifest, packed: Mapping[str, int] | None = None) -> Lineage:
    """The drops of the manifest and of each one that it was made from, found by name and recognised by hash.

    packed: what a pack says of its own drops, `filter scenario` -> 240.
    """
    frames: list[DataFrame] = []
    missing: list[str] = []
    waiting: list[tuple[Path, Provenance]] = [(manifest.path, manifest.provenance)]
    while waiting:
        path, provenance = waiting.pop(0)
        if packed is None or path != manifest.path:
            try:
                frames.append(manifests.read_drops(path))
            except ManifestError:
                missing.append(manifests.drops_path(path).name)
        for name, digest in sorted(provenance.inputs.items()):
            before = manifest.path.with_name(f"{name}.parquet")
            try:
                origin = manifests.provenance(before)
            except ManifestError:
                origin = None
            if origin is not None and origin.logical_hash == digest:
                waiting.append((before, origin))
            else:
                missing.append(before.name)
    drops = concat(frames, Drop)
    lines = query(drops, "SELECT stage, reason, count(*), min(id) FROM rows GROUP BY 1, 2 ORDER BY 3 DESC, 2")
    for name, rows in sorted((packed or {}).items(), key=lambda item: -item[1]):
        stage, _, reason = name.partition(" ")
        lines.append((stage, reason, rows, ""))
    reasons: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        reasons.setdefault(line[0], []).append(dict(zip(("stage", "reason", "rows", "example"), line, strict=True)))
    clip = "regexp_replace(id, '_snr[^_/]*_[0-9]+$', '')"
    unmixed = frozenset(name for (name,) in query(drops, f"SELECT DISTINCT {clip} FROM rows WHERE stage = 'mix'"))
    return Lineage(reasons, unmixed, tuple(missing))


def waterfall(manifest: Manifest, way: Lineage) -> dict[str, Any]:
    """Clips before and after each stage, and the rows that mix made of them. Every stage: in = kept + dropped."""
    frame = manifest.frame
    speech_ids = query(frame, "SELECT DISTINCT speech_id FROM rows WHERE kind = 'mixture'")
    others = query(frame, "SELECT count(*) FROM rows WHERE kind <> 'mixture'")[0][0]
    clips = len(way.unmixed | {name for (name,) in speech_ids}) + others  # that came out of the stages before mix
    dropped = {stage: sum(one["rows"] for one in reasons) for stage, reasons in way.reasons.items()}
    # without the drops of every stage, a stage that has none here may be one whose drops are elsewhere
    recipe = () if way.missing else manifest.provenance.recipe
    shown = [stage for stage in STAGES if stage in dropped or stage in recipe]
    first = entering = clips + sum(dropped.get(stage, 0) for stage in shown)
    stages = []
    for stage in shown:
        kept = entering - dropped.get(stage, 0)
        counts = {"stage": stage, "in": entering, "dropped": dropped.get(stage, 0), "kept": kept}
        stages.append(counts | {"reasons": way.reasons.get(stage, [])})
        entering = kept
    mixtures = len(frame) - others
    mix = {
        "stage": "mix",
        "clips": clips,
        "in": len(frame) + dropped.get("mix", 0),
        "reasons": way.reasons.get("mix", []),
        "mixtures": mixtures,
        "others": others,
        "dropped": dropped.get("mix", 0),
        "kept": len(frame),
    }
    return {"clips": first, "stages": stages, "mix": mix if mixtures or dropped.get("mix") else None}
