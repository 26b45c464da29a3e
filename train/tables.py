"""Metrics as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.core.aligned import aligned, widths


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Columns aligned, the first to the left, the others to the right; Hangul is two cells wide."""
    cells = [[str(cell) for cell in row] for row in (head, *rows)]
    rule = ["-" * width for width in widths(cells)]
    return "\n".join(aligned([cells[0], rule, *cells[1:]], [n > 0 for n in range(len(head))]))


def percent(score: Mapping[str, Any] | None) -> str:
    """`88.5 % (85.1 to 91.4)`, or a dash where there is no value."""
    if score is None or score["value"] is None:
        return "-"
    return f"{100 * score['value']:.1f} % ({100 * score['low']:.1f} to {100 * score['high']:.1f})"


def plain(score: Mapping[str, Any] | None) -> str:
    """`0.89 (0.85 to 0.91)`, or a dash."""
    if score is None or score["value"] is None:
        return "-"
    return f"{score['value']:.2f} ({score['low']:.2f} to {score['high']:.2f})"


def number(value: float | None, form: str = ".2f") -> str:
    """A number, or a dash."""
    return "-" if value is None else format(value, form)


def rate(alarms: Mapping[str, Any]) -> str:
    """`12.0 /h (5 in 0.42 h, under 25.2)`: the bound is the exact 95 % one."""
    value = alarms["per_hour"]["value"]
    if value is None:
        return "- (no negative audio)"
    return f"{value:.1f} /h ({alarms['false_alarms']} in {alarms['negative_hours']:.2f} h, under {alarms['per_hour_upper_95']:.1f})"


def screen(told: Mapping[str, Any]) -> str:
    """What a person wants to see of an evaluation; 95 % intervals in brackets."""
    counts, alarms, cost = told["counts"], told["alarms"], told["cost"]
    what = f"{told['name']} on {told['manifest']}, {told['split']}: {counts['clips']:,} clips, {counts['hours']:.2f} h"
    head = f"{what}; gate: {told['gate']['source']}"
    parts = [head, table(("score", "clips", "value"), _scores(told))]
    parts += [
        f"false alarms  {rate(alarms)}\nmissed calls  {alarms['missed']} of {alarms['calls']}, wrong call {alarms['wrong_call']}"
    ]
    for point in told["operating_points"]:
        missed = number(None if point["miss_rate"] is None else 100 * point["miss_rate"], ".1f")
        chosen = (
            f"threshold {point['threshold']:.4f}"
            if point["threshold"] <= 1
            else "no threshold keeps to it: never an alarm"
        )
        at = f"at {point['dev_per_hour']:g} /h on dev ({chosen})"
        parts[-1] += f"\n{at}: {number(point['per_hour'], '.1f')} /h here, {missed} % missed"
    parts.append(confusion(told["four_class"]))
    parts += [_by(name, told["by"][name]) for name in ("snr_db", "scenario", "scene", "keyword") if told["by"][name]]
    parts.append(_cost(cost) + _asides(counts))
    return "\n\n".join(parts)


def _scores(told: Mapping[str, Any]) -> list[tuple[object, ...]]:
    three, four, noise, cer = told["three_class"], told["four_class"], told["noise"], told["cer"]
    rows: list[tuple[object, ...]] = [
        ("3 classes, accuracy", three["clips"], percent(three["accuracy"])),
        ("3 classes, macro F1", three["clips"], plain(three["macro_f1"])),
        ("4 classes, accuracy", four["clips"], percent(four["accuracy"])),
        ("4 classes, macro F1", four["clips"], plain(four["macro_f1"])),
    ]
    names = {"in_domain": "noise stopped, in domain", "out_of_domain": "noise stopped, out of domain"}
    names |= {"out_of_domain_speech_like": "  speech-like", "out_of_domain_other": "  other"}
    rows += [
        (words, noise[name]["clips"], percent(noise[name]["accuracy"]))
        for name, words in names.items()
        if noise[name]["clips"]
    ]
    rows += [("speech stopped", three["clips"], percent(noise["speech_stopped"]))]
    return [*rows, ("CER of what was decoded", cer["decoded"]["clips"], percent(cer["decoded"]))]


def confusion(classes: Mapping[str, Any]) -> str:
    """The confusion matrix, rows the truth."""
    rows = [(label, *line) for label, line in zip(classes["labels"], classes["confusion"], strict=True)]
    return table(("truth \\ decided", *classes["labels"]), rows)


def _by(name: str, parts: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (part["value"], part["clips"], percent(part["accuracy"]), f"{part['missed']} of {part['calls']}", rate(part))
        for part in parts
    ]
    return table((name, "clips", "accuracy, 4 classes", "missed", "false alarms"), rows)


def _cost(cost: Mapping[str, Any]) -> str:
    without = cost["real_time_factor_without_gate"]
    return (
        f"decoder skipped for {cost['decoder_skipped']:.1%} of clips; real-time factor {cost['real_time_factor']:.4f}"
        + (f", {without:.4f} without the gate" if without is not None else "")
        + f" ({cost['device']}); the head adds {cost['parameters_added']:,} to {cost['parameters'] - cost['parameters_added']:,} parameters"
    )


def _asides(counts: Mapping[str, Any]) -> str:
    cut = (
        f"\n{counts['cut_to_30_s']} clips are longer than 30 s: their first 30 s were judged"
        if counts["cut_to_30_s"]
        else ""
    )
    unknown = (
        f"\n{counts['without_truth']} clips of speech have no keyword, and count in no score of classes"
        if counts["without_truth"]
        else ""
    )
    return cut + unknown
