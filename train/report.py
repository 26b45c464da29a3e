"""An evaluation for people: tables on a terminal, pictures, and a page in the frame of the pages of `prep report`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from markupsafe import Markup
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from pipeline.cli.emit import table
from pipeline.core.files import replacing
from pipeline.core.frame import codes, equal, pick
from pipeline.corpora import rights
from pipeline.inspect.report import charts, html
from pipeline.inspect.report.clips import Card, Sounds, allowed
from pipeline.inspect.report.html import number
from train.data import Manifest, Prediction
from train.folder import write_text
from train.text import NOISE

if TYPE_CHECKING:
    from pandas import DataFrame

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "report.html"
WORST = 3  # clips of each kind of mistake
CURVE_X, CURVE_Y = "false alarms per hour of negative audio", "missed calls, %"
CONDITIONS = {  # key of `by` -> words
    "snr_db": "SNR, dB",
    "scenario": "Scenario",
    "scene": "Scene",
    "keyword": "Keyword",
    "corpus": "Corpus",
}
KEPT_BACK = ("scenario", "scene")  # conditions whose values a corpus may not let be passed on
MEASURES = {  # the same of what prep measure writes
    "voiced_share": "Voiced share",
    "pitch_hz": "Pitch, Hz",
    "centroid_hz": "Spectral centroid, Hz",
    "bandwidth_hz": "Spectral bandwidth, Hz",
    "rolloff_hz": "Spectral roll-off, Hz",
    "flatness": "Spectral flatness",
    "noise_floor_dbfs": "Noise floor, dBFS",
}
SNR_X, SNR_Y = "SNR, dB", "accuracy, 4 classes, %"
MISSED = charts.Axis(CURVE_Y, 0, 100)
LEAST = 10  # clips: of fewer a page shows no share, interval or bar
MOST_POINTS = 200  # of a curve of training; more steps are averaged


# ---- tables


def text_table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table as text; the first column stands to the left, the others to the right."""
    return "\n".join(table([head, *rows], right=[n > 0 for n in range(len(head))]))


def percent(score: Mapping[str, Any] | None, clips: int = LEAST) -> str:
    """`88.5 % (85.1 to 91.4)`, or a dash where there is no value. clips: how many it is of."""
    if clips < LEAST:
        return "too few"
    if score is None or score["value"] is None:
        return "-"
    return f"{100 * score['value']:.1f} % ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def plain(score: Mapping[str, Any] | None) -> str:
    """`0.89 (0.85 to 0.91)`, or a dash where there is no value."""
    if score is None or score["value"] is None:
        return "-"
    return f"{score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})"


def rate(alarms: Mapping[str, Any]) -> str:
    """`12.0 /h (5 in 0.42 h, under 25.2)`: the bound is the exact 95 % one."""
    value = alarms["per_hour"]["value"]
    if value is None:
        return "- (no negative audio)"
    hours, bound = alarms["negative_hours"], alarms["per_hour_upper_95"]
    return f"{value:.1f} /h ({alarms['false_alarms']} in {hours:.2f} h, under {bound:.1f})"


def screen(answer: Mapping[str, Any]) -> str:
    """The answer of an evaluation as tables for a terminal; 95 % intervals in brackets."""
    counts, alarms = answer["counts"], answer["alarms"]
    subject = f"{answer['name']} on {answer['manifest']}, {answer['split']}"
    head = f"{subject}: {counts['clips']:,} clips, {counts['hours']:.2f} h; gate: {answer['gate']['source']}"
    lines = [
        f"false alarms  {rate(alarms)}",
        f"missed calls  {alarms['missed']} of {alarms['calls']}, wrong call {alarms['wrong_call']}",
    ]
    lines += [f"gate          {_operating(point)}" for point in answer["operating_points"]]
    if score := answer["score"]:
        lines.append(f"score         {score['source']}")
        lines += [f"score         {_operating(point)}" for point in score["operating_points"]]
        if score["curve"]:
            lines.append(f"score         area under the curve {plain(score['curve']['area'])}")
            lines += [f"score         {_at(one, score['curve']['negative_hours'])}" for one in score["curve"]["at"]]
    four = answer["four_class"]
    confusion = confusion_rows(four, answer["decided_noise"])
    head += "".join(f"\ncaution: {caution}" for caution in answer["cautions"])
    parts = [
        head,
        _scores(answer),
        "\n".join(lines),
        text_table(("truth \\ decided", *confusion_columns(four)), confusion),
    ]
    for name in ("snr_db", "scenario", "scene", "keyword", *MEASURES):
        if answer["by"].get(name):
            rows = [
                (p["value"], p["clips"], percent(p["accuracy"], p["clips"]), f"{p['missed']} of {p['calls']}", rate(p))
                for p in answer["by"][name]
            ]
            parts.append(text_table((name, "clips", "accuracy, 4 classes", "missed", "false alarms"), rows))
    if len(answer["by"]["corpus"]) > 1:
        labels = four["labels"]
        rows = [
            (p["value"], p["clips"], percent(own["accuracy"]), plain(own["macro_f1"]), *map(plain, own["f1"].values()))
            for p in answer["by"]["corpus"]
            for own in [p["four_class"]]
        ]
        parts.append(
            text_table(("corpus", "clips", "accuracy, 4 classes", "macro F1", *(f"F1 {n}" for n in labels)), rows)
        )
    if alarms["false_alarms"]:
        head = ("false alarms of", "clips", "hours", "false alarms", "an hour")
        parts += [text_table(head, list(_kinds(answer))), _heard(answer)]
    return "\n\n".join([*parts, _cost(answer["cost"], counts)])


def confusion_columns(classes: Mapping[str, Any]) -> list[str]:
    """The columns of a confusion with what led to the decision noise apart."""
    return [*classes["labels"][:-1], f"{NOISE}: stopped", f"{NOISE}: nothing said"]


def confusion_rows(classes: Mapping[str, Any], decided: Mapping[str, Mapping[str, int]]) -> list[tuple[Any, ...]]:
    """(truth, clips by decision) for each label; decided: what `scores.decided_noise` gives."""
    each = zip(classes["labels"], classes["confusion"], strict=True)
    return [(label, *row[:-1], decided[label]["stopped"], decided[label]["nothing_said"]) for label, row in each]


def _kinds(answer: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """A row for each kind of negatives: clips, hours, false alarms and their rate."""
    for kind in answer["false_alarms"]["by_kind"]:
        clips, hours, alarms = (kind[key] for key in ("negative_clips", "negative_hours", "false_alarms"))
        yield kind["value"], clips, f"{hours:.2f}", alarms, f"{kind['per_hour']['value']:.1f}"


def _heard(answer: Mapping[str, Any]) -> str:
    """Which phrases were heard in false alarms, the most frequent first."""
    heard = [
        f"{each['keyword']} ({each['phrase'] or 'no phrase'}) {each['false_alarms']}"
        for each in answer["false_alarms"]["heard"]
    ]
    return f"heard in false alarms: {', '.join(heard)}"


def _operating(point: Mapping[str, Any]) -> str:
    """An operating point that dev chose, and what it costs here, or why dev cannot tell it."""
    if point["refused"]:
        return f"at {point['dev_per_hour']:g} /h on dev: refused, for {point['refused']}"
    threshold = f"threshold {point['threshold']:.4f}"
    if point["threshold"] > 1:
        threshold = "no threshold keeps to it: never an alarm"
    here = (
        "-" if point["per_hour"] is None else f"{point['per_hour']:.1f} /h here, under {point['per_hour_upper_95']:.1f}"
    )
    missed = "-" if point["miss_rate"] is None else f"{100 * point['miss_rate']:.1f}"
    return f"at {point['dev_per_hour']:g} /h on dev ({threshold}): {here}, {missed} % missed"


def _at(one: Mapping[str, Any], hours: float) -> str:
    """Misses at a rate of false alarms, or how much negative audio would tell them."""
    if one["miss_rate"] is None:
        return f"at {one['per_hour']:g} /h: {one['hours_needed']:.2g} h of negatives would tell, here are {hours:.2g} h"
    return f"at {one['per_hour']:g} /h: {percent(one['miss_rate'])} of calls missed"


def _scores(answer: Mapping[str, Any]) -> str:
    three, four, noise, cer = (answer[name] for name in ("three_class", "four_class", "noise", "cer"))
    others = answer["noise_as_others"]
    rows: list[tuple[object, ...]] = [
        ("speech alone, accuracy", three["clips"], percent(three["accuracy"])),
        ("speech alone, macro F1", three["clips"], plain(three["macro_f1"])),
        ("  always the largest class", three["clips"], share(three["largest_class"])),
        ("noise -> others, accuracy", others["clips"], percent(others["accuracy"])),
        ("noise -> others, balanced accuracy", others["clips"], percent(others["balanced_accuracy"])),
        ("noise -> others, macro F1", others["clips"], plain(others["macro_f1"])),
        ("  always the largest class", others["clips"], share(others["largest_class"])),
        ("noise apart, accuracy", four["clips"], percent(four["accuracy"])),
        ("noise apart, balanced accuracy", four["clips"], percent(four["balanced_accuracy"])),
        ("noise apart, macro F1", four["clips"], plain(four["macro_f1"])),
        ("  always the largest class", four["clips"], share(four["largest_class"])),
    ]
    names = {"in_domain": "noise stopped, in domain", "out_of_domain": "noise stopped, out of domain"}
    names |= {"out_of_domain_speech_like": "  speech-like", "out_of_domain_other": "  other"}
    for name, words in names.items():
        if noise[name]["clips"]:
            rows.append((words, noise[name]["clips"], percent(noise[name]["accuracy"])))
            if name in ("in_domain", "out_of_domain"):
                rows.append(("  passed, nothing said", noise[name]["clips"], percent(noise[name]["nothing_said"])))
    rows.append(("speech stopped", three["clips"], percent(noise["speech_stopped"])))
    if cer["decoded"]["clips"]:
        rows.append(("CER of what was decoded", cer["decoded"]["clips"], percent(cer["decoded"])))
    return text_table(("score", "clips", "value"), rows)


def share(value: float | None) -> str:
    """`88.5 %`, or a dash where there is no value."""
    return "-" if value is None else f"{100 * value:.1f} %"


def _cost(cost: Mapping[str, Any], counts: Mapping[str, Any]) -> str:
    without, added = cost["real_time_factor_without_gate"], cost["parameters_added"]
    skipped = "" if cost["decoder_skipped"] is None else f"decoder skipped for {cost['decoder_skipped']:.1%} of clips; "
    lines = [
        f"{skipped}real-time factor {cost['real_time_factor']:.4f}"
        + (f", {without:.4f} without the gate" if without is not None else "")
        + f" ({cost['device']}); the head adds {added:,} to {cost['parameters'] - added:,} parameters"
    ]
    if counts["cut_to_30_s"]:
        lines.append(f"{counts['cut_to_30_s']} clips are longer than 30 s: their first 30 s were judged")
    if counts["without_truth"]:
        lines.append(f"{counts['without_truth']} clips of speech have no keyword, and count in no score of classes")
    return "\n".join(lines)


# ---- pictures


def write_figures(folder: Path, answer: Mapping[str, Any]) -> None:
    """Writes every picture that the answer allows as PNG; the same answer makes the same bytes."""
    for name, figure in _figures(answer):
        with replacing(folder / f"{name}.png") as half:
            FigureCanvasAgg(figure).print_png(str(half), metadata={"Software": None})  # no version of what drew it


def _figures(answer: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    for name in ("three_class", "four_class"):
        if answer[name]["clips"]:
            yield f"confusion_{name}", _confusion_figure(answer[name], answer["name"])
    for name, (drawn, points) in (("trade_off", _gate_curves([answer])), ("score", _score_curve(answer))):
        if drawn:
            yield name, _steps_figure(answer["name"], drawn, points)
    if answer["by"]["snr_db"]:
        yield "by_snr", _by_snr_figure(answer["by"]["snr_db"], answer["name"])


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(5.0, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def write_confusions(path: Path, matrices: Sequence[Mapping[str, Any]]) -> None:
    """Writes a PNG of several confusion matrices side by side; each has name, labels and confusion."""
    figure = Figure(figsize=(4.4 * len(matrices), 4.2), dpi=120, layout="constrained")
    for axes, matrix in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices, strict=True):
        axes.set(title=matrix["name"], xlabel="decided", ylabel="truth")
        _draw_confusion(axes, matrix)
    with replacing(path) as half:
        FigureCanvasAgg(figure).print_png(str(half), metadata={"Software": None})


def _confusion_figure(classes: Mapping[str, Any], name: str) -> Figure:
    """A confusion matrix: rows are the truth, the shade is the share of the row, numbers are clips."""
    figure, axes = _axes(name, "decided", "truth")
    _draw_confusion(axes, classes)
    return figure


def _draw_confusion(axes: Any, classes: Mapping[str, Any]) -> None:
    counts = np.asarray(classes["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes["labels"]))
    axes.set_xticks(places, classes["labels"])
    axes.set_yticks(places, classes["labels"])
    for row in places:
        for column in places:
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour)


def _steps_figure(name: str, drawn: Sequence[charts.Line], points: Sequence[charts.Point]) -> Figure:
    """Missed calls against false alarms per hour: lines with their bands, and points upon them."""
    figure, axes = _axes(name, CURVE_X, CURVE_Y)
    for line in drawn:
        axes.step(line.x, line.y, where="post", label=line.name)
        if len(line.low):
            axes.fill_between(line.x, line.low, line.high, step="post", alpha=0.2)
    for point in points:
        axes.plot([point.x], [point.y], {"dot": "o", "cross": "x"}[point.mark], label=point.name)
    axes.set_ylim(-2, 102)
    axes.legend()
    return figure


def _score_curve(answer: Mapping[str, Any]) -> tuple[list[charts.Line], list[charts.Point]]:
    """The trade-off of thresholds on the score with its 95 % band, and the points chosen on dev."""
    if not answer["score"] or not answer["score"]["curve"]:
        return [], []
    points = answer["score"]["curve"]["points"]
    shares = [[100 * point["miss_rate"][key] for point in points] for key in ("value", "low", "high")]
    line = charts.Line("score, 95 % band", [point["per_hour"] for point in points], *shares)
    return [line], _on_dev(answer["score"]["operating_points"], 0)


def _by_snr_figure(parts: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Accuracy by SNR with its intervals."""
    values = np.array([[100 * part["accuracy"][key] for key in ("value", "low", "high")] for part in parts])
    figure, axes = _axes(name, SNR_X, SNR_Y)
    places = np.arange(len(parts))
    below, above = np.maximum(values[:, 0] - values[:, 1], 0), np.maximum(values[:, 2] - values[:, 0], 0)
    axes.errorbar(places, values[:, 0], yerr=[below, above], fmt="o-", capsize=4)
    axes.set_xticks(places, [part["value"] for part in parts])
    axes.set_ylim(-2, 102)
    return figure


# ---- pages


def write_page(
    out: Path,
    answer: Mapping[str, Any],
    clips: Sequence[Prediction],
    manifest: Manifest,
    audio: bool | None,
    log: Path | None = None,
) -> None:
    """Writes the page of one evaluation. audio: what it may hold of audio and transcripts, as `clips.allowed` has it.

    log: the log.jsonl of the run that trained the checkpoint, which need not be there.
    """
    mistakes = worst(clips, answer["keywords"][:-1])
    whole = manifest.frame
    judged = equal(whole["split"], answer["split"])
    may = allowed(manifest, audio).of(judged)
    sounds = Sounds(manifest.path.parent, may, {may.name(clip.id) for _, group in mistakes for clip in group})
    groups = [
        {"title": title, "cards": [_card(clip, may.name(clip.id), sounds, not may.is_partial) for clip in group]}
        for title, group in mistakes
    ]
    answer = shareable(answer) if may.is_partial else answer
    values = {
        "answer": answer,
        "matrices": _matrices(answer),
        "curve": _trade_off(_gate_curves([answer]), "every threshold"),
        "score_curve": _trade_off(_score_curve(answer), "thresholds on the score, with a 95 % band"),
        "by_snr": _by_snr([answer]),
        "training": _training(log, answer["checkpoint"]["step"]) if log is not None and log.is_file() else "",
        "least": LEAST,
        "conditions": {name: words for name, words in (CONDITIONS | MEASURES).items() if answer["by"].get(name)},
        "measured": any(answer["by"].get(name) for name in MEASURES),
        "groups": groups,
        "notes": sounds.notes,
        "may": may,
        "terms": rights.terms(pick(whole, judged)),
    }
    write_text(out / PAGE, html.page("run.html.j2", values, TEMPLATES))


def one_sided(classes: Mapping[str, Any]) -> list[str]:
    """A sentence for each label that clips have and that is never decided, or for the one that is decided always."""
    confusion, labels = np.asarray(classes["confusion"]), classes["labels"]
    truth, decided = confusion.sum(1).tolist(), confusion.sum(0).tolist()
    clips = sum(truth)
    if clips and max(decided) == clips:
        always = labels[decided.index(clips)]
        return [f"all {clips:,} clips are decided as {always}: no score here tells more than how many truly are"]
    never = [n for n in range(len(labels)) if truth[n] and not decided[n]]
    return [f"{labels[n]} is never decided, though {truth[n]:,} of {clips:,} clips are {labels[n]}" for n in never]


def _training(log: Path, step: int) -> Markup:
    """The loss of training and of dev at each step, from the log of the run. step: that of the checkpoint."""
    entries = []
    for line in log.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # the last line of a run that was killed
            entries += [entry for entry in [json.loads(line)] if isinstance(entry, dict) and "step" in entry]
    drawn, points = [], []
    for n, (name, key) in enumerate((("training", "loss"), ("dev", "dev_loss"))):
        known = np.array([(one["step"], one[key]) for one in entries if one.get(key) is not None], dtype=np.float64)
        if len(known):
            parts = np.array_split(known, min(len(known), MOST_POINTS))
            x, y = np.array([(part[-1, 0], part[:, 1].mean()) for part in parts]).T
            drawn.append(charts.Line(name, x, y))
            points += [charts.Point("judged here", step, value, n) for at, value in known if at == step and n]
    if not drawn:
        return Markup("")
    axis = charts.Axis("loss", 0.0, max(float(line.y.max()) for line in drawn))
    return charts.lines(drawn, "step", axis, "Loss of training and of dev at each step.", points)


def _matrices(answer: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """(title, scores) of the confusions on the page: of all clips, and of each corpus where there are several."""
    matrices = [
        ("noise apart", answer["four_class"]),
        ("noise → others", answer["noise_as_others"]),
        ("speech alone", answer["three_class"]),
    ]
    parts = answer["by"]["corpus"]
    return matrices + [(part["value"], part["four_class"]) for part in parts if len(parts) > 1]


def write_comparison(path: Path, comparison: Mapping[str, Any], answers: Sequence[Mapping[str, Any]]) -> None:
    """Writes the page of several evaluations of the same clips. answers: the answer of each."""
    answers = [shareable(answer) for answer in answers]
    curve = _trade_off(_gate_curves(answers), "every threshold")
    values = {"comparison": comparison, "runs": answers, "curve": curve, "by_snr": _by_snr(answers), "least": LEAST}
    write_text(path, html.page("compare.html.j2", values, TEMPLATES))


def worst(clips: Sequence[Prediction], calls: Sequence[str]) -> list[tuple[str, list[Prediction]]]:
    """(kind of mistake, its clips), the mistakes first of which the cascade was surest; one clip of an utterance."""

    def sureness(clip: Prediction) -> float:
        """How sure the cascade was: the head of a clip that it stopped, the decoder of one that it decoded."""
        stopped = not clip.passed and not clip.is_classified
        return 1 - clip.p_speech if stopped and clip.p_speech is not None else clip.confidence or 0.0

    kinds: dict[str, dict[str, Prediction]] = {"Missed calls": {}, "False alarms": {}, "Wrong call": {}}
    for clip in sorted(clips, key=lambda clip: (-sureness(clip), clip.id)):
        if clip.truth is None or clip.decision == clip.truth or not {clip.truth, clip.decision} & set(calls):
            continue
        both = clip.truth in calls and clip.decision in calls
        kind = "Wrong call" if both else "Missed calls" if clip.truth in calls else "False alarms"
        kinds[kind].setdefault(clip.id.rsplit("_snr", 1)[0], clip)  # its mixtures at other SNRs mostly end alike
    return [(kind, list(group.values())[:WORST]) for kind, group in kinds.items() if group]


def kept_back(frame: DataFrame) -> dict[str, list[str]]:
    """The values of scenario and scene that may not be passed on. frame: rows of one split."""
    shown, _ = rights.redacted(frame, ["labels"])
    values = {name: [set(codes(rows[name])[1]) for rows in (frame, shown)] for name in KEPT_BACK}
    return {name: sorted(whole - rest) for name, (whole, rest) in values.items()}


def shareable(answer: Mapping[str, Any]) -> dict[str, Any]:
    """The answer without its scores by scenarios and scenes that may not be passed on."""
    closed = answer.get("kept_back", {})
    parts = {
        name: [part for part in scores if part["value"] not in closed.get(name, ())]
        for name, scores in answer["by"].items()
    }
    return {**answer, "by": parts}


def _card(clip: Prediction, row_id: str, sounds: Sounds, is_whole: bool) -> Card:
    """The clip with its prediction; the decoded text is left out where the transcript may not be shown.

    row_id: what the clip goes by on the page. is_whole: whether the page may show everything.
    """
    row = sounds.rows[row_id]
    details = f"speech {number(100 * clip.p_speech, 1)} %" if clip.p_speech is not None else ""
    if clip.confidence is not None:
        judge = "classifier" if clip.is_classified else "decoder"
        details += f"{', ' if details else ''}{judge} {number(100 * clip.confidence, 1)} %"
    heard = (
        row.keyword is None and row.id in sounds.audible and (is_whole or rights.may_share(row.corpus, "transcripts"))
    )
    if clip.text is not None and (row.transcript is not None or heard):
        details += f": “{clip.text.strip()}”"
    decision = clip.decision if clip.passed or clip.is_classified else f"{NOISE}, stopped by the gate"
    return sounds.card(row.id, f"{clip.truth} → {decision}", details)


def _gate_curves(answers: Sequence[Mapping[str, Any]]) -> tuple[list[charts.Line], list[charts.Point]]:
    """The trade-off of each run with its gate, and of a single run the points chosen on dev."""
    drawn, points = [], []
    for n, answer in enumerate(answers):
        here = answer["alarms"]
        if not answer["curve"] or not here["calls"] or not here["negative_hours"]:
            return [], []
        x = [point["per_hour"] for point in answer["curve"]["points"]]
        y = [100 * point["miss_rate"] for point in answer["curve"]["points"]]
        drawn.append(charts.Line(answer["name"], x, y))
        label = "as set" if len(answers) == 1 else ""
        points.append(charts.Point(label, here["per_hour"]["value"], 100 * here["miss_rate"]["value"], n))
    return drawn, points + (_on_dev(answers[0]["operating_points"], 1) if len(answers) == 1 else [])


def _on_dev(points: Sequence[Mapping[str, Any]], series: int) -> list[charts.Point]:
    """The operating points that were not refused, one for those that have the same cost here."""
    places: dict[tuple[float, float], list[str]] = {}
    for one in points:
        if not one["refused"]:
            places.setdefault((one["per_hour"], 100 * one["miss_rate"]), []).append(f"{one['dev_per_hour']:g}")
    return [charts.Point(f"{' and '.join(rates)} /h on dev", *at, series, "cross") for at, rates in places.items()]


def _trade_off(curves: tuple[list[charts.Line], list[charts.Point]], of: str) -> Markup:
    """Curves as a chart of a page; empty where there are none. of: which thresholds."""
    label = f"Missed calls against false alarms per hour, for {of}."
    return charts.lines(curves[0], CURVE_X, MISSED, label, curves[1], is_stepped=True) if curves[0] else Markup("")


def _by_snr(answers: Sequence[Mapping[str, Any]]) -> Markup:
    """Accuracy at each SNR with its interval, one series for each run."""
    places = [part["value"] for part in answers[0]["by"]["snr_db"]]
    if not places:
        return Markup("")
    series = []
    for answer in answers:
        scores = {part["value"]: part["accuracy"] for part in answer["by"]["snr_db"] if part["clips"] >= LEAST}
        series.append([_percents(scores.get(place)) for place in places])
    if not np.isfinite(series).any():
        return Markup("")
    label = "Accuracy by SNR with 95 % intervals, as in the table."
    return charts.intervals(places, series, SNR_X, charts.Axis(SNR_Y, 0, 100), label)


def _percents(score: Mapping[str, Any] | None) -> tuple[float, float, float]:
    if score is None or score["value"] is None:
        return math.nan, math.nan, math.nan
    return 100 * score["value"], 100 * score["low"], 100 * score["high"]
