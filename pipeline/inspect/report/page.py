"""The page of a set: everything on it gathered, then filled into `set.html.j2`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.core.frame import codes, numbers, with_columns
from pipeline.core.manifest import Manifest
from pipeline.core.sql import derive, query
from pipeline.corpora import rights
from pipeline.inspect import audit
from pipeline.inspect.audit import Audit, checks
from pipeline.inspect.diff import Difference, difference, of_manifest
from pipeline.inspect.report import charts, clips, facts, html
from pipeline.inspect.report.charts import Axis
from pipeline.share.pack import Pack

if TYPE_CHECKING:
    from pandas import DataFrame

DOTS = 1500  # mixtures drawn in a scatter plot
SPECTRUM_CLIPS = 12  # of each source
FLOOR_DB = 60.0  # the band of a source ends where its spectrum falls this far below its loudest part
LIMITS = {"clips_of_a_spectrum": SPECTRUM_CLIPS, "dots": DOTS, "floor_db": FLOOR_DB}
LIMITS |= {"least": charts.LEAST, "most_values": facts.MOST}  # what templates say and draw by
WITHHELD = "(left out: it may quote transcripts)"
QUOTING = ("group", "source", "transcript")  # checks whose examples quote what a licence may forbid to pass on
CLOSED = [name for columns in rights.COLUMNS.values() for name in columns]  # whose values may be kept back


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The text of the file, and its numbers for a program."""

    text: str
    numbers: Mapping[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Options:
    """What is to be on the page.

    audio: all audio, transcripts and labels (True), no audio and no transcripts (False), or what licences allow (None).
    baseline: a manifest to compare with. listen: whether the checks of the audit that open audio are done too.
    pack: the pack that the manifest was opened from, if it was.
    """

    audio: bool | None = None
    baseline: Manifest | None = None
    listen: bool = False
    pack: Pack | None = None


def page(manifest: Manifest, options: Options) -> Page:
    """The page of a manifest."""
    frame, folder, pack = manifest.frame, manifest.path.parent, options.pack
    allowed = clips.allowed(manifest, options.audio)
    if pack is not None:  # it has left out by itself what it had to
        allowed = replace(allowed, left_out=(*allowed.left_out, *pack.left_out))
    way = facts.lineage(manifest, pack.dropped if pack else None)
    groups, notes = clips.cards(folder, allowed)
    measured_frame, measures = facts.with_measures(manifest)
    measured = facts.quantiles(measured_frame, measures)
    kinds = {**facts.SNRS, **measures}
    derived = derive(measured_frame, **{name: sql for name, (sql, _, _) in kinds.items()})
    values = {name: np.round(numbers(derived[name]), digits) for name, (_, _, digits) in kinds.items()}
    recipe = manifest.provenance.recipe
    if allowed.is_partial:
        recipe, _ = rights.redacted_recipe(recipe, frame)
        recipe = {name: withheld(name, value) for name, value in recipe.items()}
    for reason in [reason for reasons in way.reasons.values() for reason in reasons]:
        reason["example"] = allowed.name_of_drop(reason["example"])
    plain = {
        "totals": facts.totals(frame),
        "falls": facts.waterfall(manifest, way),
        "breakdowns": facts.breakdowns(allowed.frame),
        "snr": facts.snrs(frame),
        "heat": facts.heat(allowed.frame),
        "measured": measured,
        "missing": way.missing,
        "notes": notes,
    }
    outcome = audited(manifest, options.listen, allowed)
    baseline = options.baseline
    cards = [card for group in groups for card in group["cards"]]
    content = (
        plain
        | LIMITS
        | {
            "title": manifest.path.name,
            "provenance": manifest.provenance,
            "recipe": recipe,
            "audit": outcome,
            "listened": options.listen,
            "not_run": [check for check in audit.LISTENING if not options.listen],
            "snr_charts": snr_charts(frame, values),
            "bands": bands(manifest, [part["source"] for part in measured]),
            "spread": spread(values, measures, frame),
            "listed": facts.listed(allowed.frame, kinds, values, {card.row.id for card in cards}),
            "groups": groups,
            "allowed": allowed,
            "terms": rights.terms(frame),
            "baseline": baseline and changes(baseline, manifest, allowed),
            "baseline_name": baseline and baseline.path.name,
            "measures": measures,
        }
    )
    left_out = {"audio": list(allowed.corpora), "columns": [asdict(item) for item in allowed.left_out]}
    answer: dict[str, Any] = {"manifest": manifest.path.name, "logical_hash": manifest.provenance.logical_hash, **plain}
    answer |= {"audit": asdict(outcome), "left_out": left_out}
    answer["sounds"] = sum(card.sound is not None and card.sound.player is not None for card in cards)
    answer["passed_over"] = [terms.corpus for terms in allowed.warned]
    return Page(html.page("set.html.j2", content), answer)


def withheld(name: str, value: Any) -> Any:
    """An option's value, or those of a stage, without the condition of `where`, which may quote transcripts."""
    if isinstance(value, Mapping):
        return {key: withheld(key, part) for key, part in value.items()}
    return WITHHELD if value is not None and name.split(".")[-1] == "where" else value


def audited(manifest: Manifest, listen: bool, allowed: clips.Allowed) -> Audit:
    """The outcome of the audit; where the page is partial, without transcripts and names that a licence may protect.

    It sees what the page may show, and the transcripts, which it compares.
    """
    wanted = [check for check in audit.CHECKS if listen or check not in audit.LISTENING]
    seen = with_columns(allowed.frame, transcript=manifest.frame["transcript"])
    outcome = checks.audit(Manifest(seen, manifest.provenance, manifest.path), audit.Options(checks=wanted))
    findings = [replace(f, examples=()) if allowed.is_partial and f.check in QUOTING else f for f in outcome.findings]
    folder = manifest.path.parent
    unable = [replace(one, detail=clips.without_folder(one.detail, folder)) for one in outcome.unable]
    return replace(outcome, findings=tuple(findings), unable=tuple(unable))


def snr_charts(frame: DataFrame, values: Mapping[str, NDArray[np.float64]]) -> list[Markup]:
    """Realised against requested SNR, and how far they are apart, under both definitions."""
    realised = "snr_active_db IS NOT NULL AND snr_full_db IS NOT NULL"
    chosen = f"WHERE snr_db IS NOT NULL AND {realised} ORDER BY md5(id) LIMIT {DOTS}"
    lines = query(frame, f"SELECT snr_db, snr_active_db, snr_full_db FROM rows {chosen}")
    if not lines:
        return []
    requested, active, full = np.array(lines, dtype=np.float64).T
    across = Axis("requested, dB", requested.min() - 1, requested.max() + 1)
    up = Axis("realised, dB", min(active.min(), full.min()) - 1, max(active.max(), full.max()) + 1)
    label = "Realised against requested SNR, a dot a mixture, under both definitions; the table below has the numbers."
    apart = {name.removeprefix("off "): (f"{facts.key(name)}:", values[name]) for name in ("off active", "off full")}
    _, unit, digits = facts.SNRS["off active"]
    return [
        charts.dots(across, up, requested, (active, full), label),
        charts.histograms(apart, "realised less requested", unit, digits),
    ]


def spread(values: Mapping[str, NDArray[np.float64]], measures: facts.Measures, frame: DataFrame) -> list[Markup]:
    """The histograms of every measure that has values, a line a source."""
    source_of, names = codes(derive(frame, source=facts.GROUP)["source"])
    kinds = sorted((-int((source_of == n).sum()), name, n) for n, name in enumerate(names))
    drawn = []
    for measure, (_, unit, digits) in measures.items():
        groups = {}
        for _, name, n in kinds:
            corpus, _, kind = name.rpartition(" · ")
            find = f"{html.find(corpus, 'corpus')} {html.find(kind, 'kind')} {facts.key(measure)}:"
            groups[name] = (find, values[measure][source_of == n])
        drawn.append(charts.histograms(groups, measure, unit, digits))
    return [chart for chart in drawn if chart]


def bands(manifest: Manifest, sources: list[str]) -> dict[str, Any] | None:
    """Mean spectrum and bandwidth of each source, from a few clips; None where no audio lies beside the manifest."""
    spectra = clips.spectra(manifest.path.parent, manifest.frame, sources, facts.GROUP, SPECTRUM_CLIPS)
    if not spectra:
        return None
    drawn, ends_hz = [], {}
    for source, (rate_hz, power) in spectra.items():
        level = 10 * np.log10(np.maximum(power / power.max(), 1e-12))
        frequency = np.linspace(0, rate_hz / 2, len(power))
        drawn.append(charts.Line(source, frequency / 1000, np.maximum(level, -90)))
        ends_hz[source] = float(frequency[np.flatnonzero(level >= -FLOOR_DB)[-1]])
    label = "Mean spectrum of each source, in dB below its loudest part, from 0 Hz to half the rate."
    return {"chart": charts.lines(drawn, "kHz", Axis("dB below the loudest", -90, 0), label), "ends_hz": ends_hz}


def changes(baseline: Manifest, manifest: Manifest, allowed: clips.Allowed) -> Difference:
    """What changed since the baseline; where the page is partial, without values that a licence may protect."""
    change = difference(of_manifest(baseline), of_manifest(manifest))
    names = {"A": baseline.path.name, "B": manifest.path.name}
    notes = [re.sub(r"(?<=\bin |\bof )[AB]\b", lambda letter: names[letter[0]], note) for note in change.notes]
    change = replace(change, notes=tuple(notes))
    if not allowed.is_partial:
        return change
    shown = replace(allowed, names=rights.pseudonyms(baseline.frame) | dict(allowed.names))
    columns = [item | {"examples": []} if item["column"] in CLOSED else item for item in change.columns]
    for example in [example for item in columns for example in item["examples"]]:
        example["id"] = shown.name(example["id"])
    options = [item | {key: withheld(item["name"], item[key]) for key in ("old", "new")} for item in change.options]
    return replace(
        change,
        columns=columns,
        options=options,
        moved=[item | {"detail": "", "example": shown.name(item["example"])} for item in change.moved],
        examples_added=tuple(map(shown.name, change.examples_added)),
        examples_removed=tuple(map(shown.name, change.examples_removed)),
        examples_swapped=tuple((shown.name(one), shown.name(other)) for one, other in change.examples_swapped),
    )
