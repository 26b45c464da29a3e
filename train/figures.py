"""Metrics as pictures: confusion matrices, the trade-off curve, scores by SNR."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

SIZE = (5.0, 4.2)
LIGHT = 0.5  # share of the largest value above which a cell is dark, and its number white


def drawn(told: Mapping[str, Any]) -> Iterator[tuple[str, Figure]]:
    """(name, figure) of everything that an evaluation can show."""
    for name in ("three_class", "four_class"):
        if told[name]["clips"]:
            yield f"confusion_{name}", confusion(told[name], told["name"])
    if told["curve"] and told["alarms"]["calls"] and told["alarms"]["negative_hours"]:
        yield "trade_off", trade_off(told)
    if told["by"]["snr_db"]:
        yield "by_snr", by_snr(told["by"]["snr_db"], told["name"])


def save(figure: Figure, path: Path) -> None:
    """As PNG, without the version of what drew it; same figure, same bytes."""
    FigureCanvasAgg(figure).print_png(str(path), metadata={"Software": None})


def _axes(title: str, x: str, y: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=SIZE, dpi=120, layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


def confusion(classes: Mapping[str, Any], name: str) -> Figure:
    """Rows are the truth; shade is the share of the row, numbers are clips."""
    counts = np.asarray(classes["confusion"])
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axes = _axes(name, "decided", "truth")
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    places = range(len(classes["labels"]))
    axes.set_xticks(places, classes["labels"])
    axes.set_yticks(places, classes["labels"])
    for row in places:
        for column in places:
            colour = "white" if shares[row, column] > LIGHT else "black"
            axes.text(column, row, f"{counts[row, column]}", ha="center", va="center", color=colour)
    return figure


def trade_off(told: Mapping[str, Any]) -> Figure:
    """Missed calls against false alarms per hour, every threshold; where the gate stands, and the points chosen on dev."""
    points = told["curve"]["points"]
    figure, axes = _axes(told["name"], "false alarms per hour of negative audio", "missed calls, %")
    axes.step(
        [point["per_hour"] for point in points],
        [100 * point["miss_rate"] for point in points],
        where="post",
        label=told["curve"]["score"],
    )
    here = told["alarms"]
    axes.plot([here["per_hour"]["value"]], [100 * here["miss_rate"]["value"]], "o", label="the gate as set")
    for point in told["operating_points"]:
        axes.plot([point["per_hour"]], [100 * point["miss_rate"]], "x", label=f"{point['dev_per_hour']:g} /h on dev")
    axes.set_ylim(-2, 102)
    axes.legend()
    return figure


def by_snr(parts: Sequence[Mapping[str, Any]], name: str) -> Figure:
    """Accuracy by SNR, with its intervals."""
    values = np.array([[100 * part["accuracy"][key] for key in ("value", "low", "high")] for part in parts])
    figure, axes = _axes(name, "SNR, dB", "accuracy, 4 classes, %")
    places = np.arange(len(parts))
    below, above = np.maximum(values[:, 0] - values[:, 1], 0), np.maximum(values[:, 2] - values[:, 0], 0)
    axes.errorbar(places, values[:, 0], yerr=[below, above], fmt="o-", capsize=4)
    axes.set_xticks(places, [part["value"] for part in parts])
    axes.set_ylim(-2, 102)
    return figure
