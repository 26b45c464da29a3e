"""Pages of evaluations: report.html beside metrics.json, and runs side by side. The page's frame is that of `pipeline.report`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.core.files import replacing
from pipeline.core.row import Row
from pipeline.corpora import rights
from pipeline.inspect.report import charts, html
from pipeline.inspect.report.clips import BY_OPTION, Card, Sounds
from pipeline.inspect.report.html import number
from train.cascade import Judged
from train.data import Held
from train.keywords import NOISE

FOLDER = Path(__file__).parent / "templates"
PAGE = "report.html"
WORST = 3  # of each kind of mistake
CURVE_X, CURVE_Y = "false alarms per hour of negative audio", "missed calls, %"


def write(path: Path, text: str) -> None:
    """The page, whole or not at all."""
    with replacing(path) as half:
        half.write_text(text, encoding="utf-8")


def page(told: Mapping[str, Any], clips: Sequence[Judged], held: Held, audio: bool | None) -> str:
    """The page of one evaluation of a manifest. audio: a key of BY_OPTION."""
    mistakes = worst(clips, told["keywords"][:-1])
    ids = {clip.id for _, found in mistakes for clip in found}
    judged = held.table.where(held.table.equal("split", told["split"]))
    may = BY_OPTION[audio](judged.frame)
    sounds = Sounds(held.path.parent, may, ids)
    groups = [
        {"title": title, "cards": [_card(clip, sounds.rows[clip.id], sounds) for clip in found]}
        for title, found in mistakes
    ]
    values = {
        "told": told,
        "curve": _curve([told]),
        "by_snr": _by_snr([told]),
        "groups": groups,
        "notes": sounds.notes,
        "may": may,
        "terms": rights.terms(judged.frame),
    }
    return html.page("run.html.j2", values, FOLDER)


def compared(told: Mapping[str, Any], runs: Sequence[Mapping[str, Any]]) -> str:
    """The page of several evaluations of the same clips. told: what `compare` found; runs: the answer of each."""
    values = {"told": told, "runs": runs, "curve": _curve(runs), "by_snr": _by_snr(runs)}
    return html.page("compare.html.j2", values, FOLDER)


def worst(clips: Sequence[Judged], calls: Sequence[str]) -> list[tuple[str, list[Judged]]]:
    """(kind of mistake, its clips): those first of which the cascade was surest."""
    kinds: dict[str, list[tuple[float, Judged]]] = {"Missed calls": [], "False alarms": [], "Wrong call": []}
    for clip in clips:
        if clip.truth is None or clip.decision == clip.truth:
            continue
        if clip.truth in calls and clip.decision in calls:
            kinds["Wrong call"].append((_sure(clip), clip))
        elif clip.truth in calls:
            kinds["Missed calls"].append((_sure(clip), clip))
        elif clip.decision in calls:
            kinds["False alarms"].append((_sure(clip), clip))
    ordered = {kind: sorted(found, key=lambda item: (-item[0], item[1].id)) for kind, found in kinds.items()}
    return [(kind, _utterances([clip for _, clip in found])[:WORST]) for kind, found in ordered.items() if found]


def _utterances(clips: Sequence[Judged]) -> list[Judged]:
    """The first clip of each utterance: its mixtures at other SNRs mostly end alike."""
    found: dict[str, Judged] = {}
    for clip in clips:
        found.setdefault(clip.id.rsplit("_snr", 1)[0], clip)
    return list(found.values())


def _sure(clip: Judged) -> float:
    """How sure the cascade was: of what stopped the clip the head, of what was decoded the decoder."""
    if not clip.passed and clip.p_speech is not None:
        return 1 - clip.p_speech
    return clip.confidence or 0.0


def _card(clip: Judged, row: Row, sounds: Sounds) -> Card:
    """The clip with what was made of it; what was decoded stands there only where the transcript may."""
    said = f"speech {number(100 * clip.p_speech, 1)} %" if clip.p_speech is not None else ""
    if clip.confidence is not None:
        said += f"{', ' if said else ''}decoder {number(100 * clip.confidence, 1)} %"
    if clip.text is not None and (row.transcript is not None or (row.keyword is None and row.id in sounds.audible)):
        said += f": “{clip.text.strip()}”"
    return sounds.card(
        row.id, f"{clip.truth} → {NOISE + ', stopped by the gate' if not clip.passed else clip.decision}", said
    )


def _curve(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """The trade-off of each run, where its gate stands, and of a single run the points chosen on dev."""
    drawn, points = [], []
    for n, told in enumerate(runs):
        if not told["curve"] or not told["alarms"]["calls"] or not told["alarms"]["negative_hours"]:
            return Markup("")
        held = told["curve"]["points"]
        drawn.append(
            charts.Line(told["name"], [one["per_hour"] for one in held], [100 * one["miss_rate"] for one in held])
        )
        here = told["alarms"]
        points.append(
            charts.Point(
                "as set" if len(runs) == 1 else "", here["per_hour"]["value"], 100 * here["miss_rate"]["value"], n
            )
        )
        if len(runs) == 1:
            points += _chosen(told["operating_points"])
    return charts.steps(
        drawn, points, CURVE_X, CURVE_Y, "Missed calls against false alarms per hour, for every threshold."
    )


def _chosen(operating: Sequence[Mapping[str, Any]]) -> list[charts.Point]:
    """The points chosen on dev; one for those that come to the same here."""
    places: dict[tuple[float, float], list[str]] = {}
    for one in operating:
        places.setdefault((one["per_hour"], 100 * one["miss_rate"]), []).append(f"{one['dev_per_hour']:g}")
    return [charts.Point(f"{' and '.join(names)} /h on dev", x, y, 1, "x") for (x, y), names in places.items()]


def _by_snr(runs: Sequence[Mapping[str, Any]]) -> Markup:
    """Accuracy at each SNR with its interval, a series a run."""
    places = [part["value"] for part in runs[0]["by"]["snr_db"]]
    if not places:
        return Markup("")
    series = []
    for told in runs:
        found = {part["value"]: part["accuracy"] for part in told["by"]["snr_db"]}
        series.append([_percents(found.get(place)) for place in places])
    return charts.intervals(
        places, series, "SNR, dB", "accuracy, 4 classes, %", "Accuracy by SNR with 95 % intervals, as in the table."
    )


def _percents(score: Mapping[str, Any] | None) -> tuple[float, float, float]:
    if score is None or score["value"] is None:
        return math.nan, math.nan, math.nan
    return 100 * score["value"], 100 * score["low"], 100 * score["high"]
