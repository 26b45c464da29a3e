"""The page of a set: everything on it gathered, then filled into `set.html.j2`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.core.manifest import Manifest
from pipeline.core.table import Table
from pipeline.corpora import rights
from pipeline.inspect import audit
from pipeline.inspect.audit import Audit, checks
from pipeline.inspect.diff import Difference, difference, of_manifest
from pipeline.inspect.report import charts, clips, facts, html
from pipeline.inspect.report.clips import Allowed
from pipeline.inspect.report.waterfall import lineage, waterfall
from pipeline.share.pack import Pack

DOTS = 1500  # mixtures drawn in a scatter plot
SPECTRUM_CLIPS = 12  # of each source
FLOOR_DB = 60.0  # the band of a source ends where its spectrum falls this far below its loudest part
WITHHELD = "(left out: it may quote transcripts)"
QUOTING = ("group", "source", "transcript")  # checks whose examples quote what a licence may forbid to tell
CLOSED = (
    "transcript",
    "scenario",
    "scene",
    "labels",
    "source",
    "group",
)  # columns whose values a licence may forbid to tell


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The file's text, and what was left out of it."""

    text: str
    told: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is to be on the page. may: what of the rows may be on it (`clips.allowed`, `nothing`, `everything`).

    baseline: a manifest to compare with. listen: whether the audit's checks that open audio are done too.
    pack: what the rows came in, where it is not a manifest.
    """

    may: Callable[[Table], Allowed]
    baseline: Manifest | None = None
    listen: bool = False
    pack: Pack | None = None


def page(held: Manifest, asked: Asked) -> Page:
    """The page of a manifest."""
    table = held.table
    allowed, baseline = _allowed(asked, table), asked.baseline
    road = lineage(held, asked.pack.dropped if asked.pack else None)
    groups, notes = clips.cards(held.path.parent, allowed)
    measured = facts.measures(table)
    values = {
        "title": held.path.name,
        "made": held.provenance,
        "recipe": _recipe(held.provenance.recipe, allowed.closed),
        "audit": _audit(held, asked.listen, allowed.closed),
        "listened": asked.listen,
        "totals": facts.totals(table),
        "falls": waterfall(held, road),
        "missing": road.missing,
        "breakdowns": facts.breakdowns(table),
        "snr": facts.snrs(table),
        "snr_charts": _snr_charts(table),
        "heat": facts.heat(table),
        "measured": measured,
        "bands": _bands(held, [part["source"] for part in measured]),
        "spread": _spread(table, [part["source"] for part in measured]),
        "groups": groups,
        "notes": notes,
        "may": allowed,
        "terms": rights.terms(table.frame),
        "baseline": baseline and _baseline(baseline, held, told=not allowed.closed),
        "baseline_name": baseline and baseline.path.name,
    }
    values |= {"measures": facts.MEASURES, "clips_of_a_spectrum": SPECTRUM_CLIPS, "dots": DOTS, "floor_db": FLOOR_DB}
    return Page(html.page("set.html.j2", values), _told(values))


def _told(values: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of the page for a program."""
    cards = [card for group in values["groups"] for card in group["cards"]]
    return {
        "manifest": values["title"],
        "logical_hash": values["made"].logical_hash,
        **{
            name: values[name]
            for name in ("totals", "falls", "breakdowns", "snr", "heat", "measured", "missing", "notes")
        },
        "audit": asdict(values["audit"]),
        "sounds": sum(card.sound is not None and card.sound.player is not None for card in cards),
        "left_out": {
            "audio": list(values["may"].corpora),
            "columns": [asdict(item) for item in values["may"].left_out],
        },
        "passed_over": [terms.corpus for terms in values["may"].warned],
    }


def _allowed(asked: Asked, table: Table) -> Allowed:
    """What may be on the page; a pack has left out by itself what it had to."""
    may = asked.may(table)
    return may if asked.pack is None else replace(may, left_out=(*may.left_out, *asked.pack.left_out))


def _recipe(recipe: Mapping[str, Any], closed: bool) -> dict[str, Any]:
    """The options, without an SQL condition that may quote transcripts."""
    return {stage: _withheld(stage, options) if closed else options for stage, options in recipe.items()}


def _withheld(name: str, value: Any) -> Any:
    """An option's value, or those of a stage, without the condition of `where`."""
    if isinstance(value, Mapping):
        return {key: _withheld(key, held) for key, held in value.items()}
    return WITHHELD if value is not None and name.split(".")[-1] == "where" else value


def _audit(held: Manifest, listen: bool, closed: bool) -> Audit:
    """What the audit's checks say, without the transcripts and names that a licence forbids to tell."""
    wanted = [check for check in audit.CHECKS if listen or check not in audit.LISTENING]
    found = checks.audit(held, audit.Options(checks=wanted))
    told = [replace(one, examples=()) if closed and one.check in QUOTING else one for one in found.findings]
    unable = [replace(one, detail=clips.unplaced(one.detail, held.path.parent)) for one in found.unable]
    return replace(found, findings=tuple(told), unable=tuple(unable))


def _snr_charts(table: Table) -> list[Markup]:
    """Realised against requested, and how far they are apart, under both definitions."""
    sql = "SELECT snr_db, snr_active_db, snr_full_db FROM rows WHERE snr_db IS NOT NULL"
    rows = table.query(f"{sql} AND snr_active_db IS NOT NULL AND snr_full_db IS NOT NULL ORDER BY md5(id) LIMIT {DOTS}")
    if not rows:
        return []
    requested, active, full = np.array(rows, dtype=np.float64).T
    both = {"full": full, "active": active}
    label = "Realised against requested SNR, a dot a mixture, under both definitions; the table below has the numbers."
    wanted = table.numbers("snr_db")
    apart = {
        "active level": table.numbers("snr_active_db") - wanted,
        "full level": table.numbers("snr_full_db") - wanted,
    }
    said = "Realised less requested SNR, in dB, as shares of the mixtures, under both definitions."
    return [charts.realised(requested, both, label), charts.ridges(apart, "realised less requested, dB", said)]


def _spread(table: Table, sources: list[str]) -> list[tuple[str, Markup]]:
    """A histogram of every measure, a line a source."""
    told = table.derived(source=facts.GROUP, **{f"m{n}": sql for n, (sql, _, _) in enumerate(facts.MEASURES.values())})
    codes, names = told.codes("source")
    found = []
    for n, (name, (_, unit, _)) in enumerate(facts.MEASURES.items()):
        numbers = told.numbers(f"m{n}")
        values: dict[str, NDArray[np.float64]] = {source: numbers[codes == names.index(source)] for source in sources}
        found.append(
            (
                name,
                charts.ridges(
                    values, f"{name}, {unit}", f"How {name} spreads in each source; quantiles are in the table."
                ),
            )
        )
    return [(name, chart) for name, chart in found if chart]


def _bands(held: Manifest, sources: list[str]) -> dict[str, Any] | None:
    """Mean spectrum and bandwidth of each source, from a few of its clips; None where no audio is at hand."""
    found = clips.spectra(held.path.parent, held.table, sources, facts.GROUP, SPECTRUM_CLIPS)
    if not found:
        return None
    drawn, ends = [], {}
    for source in sources:
        if source not in found:
            continue
        rate_hz, power = found[source]
        level = 10 * np.log10(np.maximum(power / power.max(), 1e-12))
        frequency = np.linspace(0, rate_hz / 2, len(power))
        drawn.append(charts.Line(source, frequency / 1000, np.maximum(level, -90)))
        ends[source] = float(frequency[np.flatnonzero(level >= -FLOOR_DB)[-1]])
    label = "Mean spectrum of each source, in dB below its loudest part, from 0 Hz to half the rate."
    return {"chart": charts.lines(drawn, "kHz", "dB below the loudest", label), "ends_hz": ends}


def _named(note: str, old: str, new: str) -> str:
    """The note of a difference with names of files for A and B."""
    return re.sub(r"(?<=\bin |\bof )[AB]\b", lambda letter: {"A": old, "B": new}[letter[0]], note)


def _baseline(old: Manifest, new: Manifest, told: bool) -> Difference:
    """What changed since the baseline; what a licence may forbid to tell only where all was asked for."""
    found = difference(of_manifest(old), of_manifest(new))
    found = replace(found, notes=tuple(_named(note, old.path.name, new.path.name) for note in found.notes))
    if told:
        return found
    columns = [item | {"examples": []} if item["column"] in CLOSED else item for item in found.columns]
    options = [item | {key: _withheld(item["name"], item[key]) for key in ("old", "new")} for item in found.options]
    return replace(found, columns=columns, options=options, moved=[item | {"detail": ""} for item in found.moved])
