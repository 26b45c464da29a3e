"""Charts as inline SVG: text stays text in the page's font, colours are the page's own variables, light and dark."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib import font_manager
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray

from pipeline.inspect.report import fonts

BINS = 32
WIDE, HIGH = 3.5, 2.35  # inches at 100 px: as wide as a narrow window
INK, FAINT = "#010203", "#010204"
SERIES = tuple(f"#01020{n}" for n in "56789a")
_VARIABLES = {INK: "var(--muted)", FAINT: "var(--line)"} | {
    colour: f"var(--s{n})" for n, colour in enumerate(SERIES, 1)
}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "prep",
    "font.family": [fonts.FAMILY],
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "font.size": 9,
    "axes.unicode_minus": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.linewidth": 1.0,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
}


styled = matplotlib.rc_context(
    _STYLE
)  # a decorator: ticks and their labels are made late, and take the style of that moment


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series: its name, and where it goes."""

    name: str
    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Point:
    """A point upon a line, and what it is called. series: the number of the line. mark: as matplotlib names it, `o` or `x`."""

    name: str
    x: float
    y: float
    series: int = 0
    mark: str = "o"


class Chart:
    """Axes to draw on, inside a function that is `styled`; `svg` gives the picture."""

    def __init__(self, x: str, y: str, wide: float = WIDE, high: float = HIGH) -> None:
        font_manager.fontManager.addfont(fonts.path(fonts.WEIGHTS["400"]))
        self.figure = Figure(figsize=(wide, high), dpi=100, layout="constrained")
        self.axes = self.figure.subplots()
        self.axes.set(xlabel=x, ylabel=y)

    def svg(self, label: str) -> Markup:
        """The chart as an `<svg>` that a screen reader reads as this label."""
        out = io.StringIO()
        self.figure.set_canvas(FigureCanvasSVG(self.figure))
        self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        return Markup(_embedded(out.getvalue(), label))  # matplotlib escapes text in SVG, the label is escaped there


def _embedded(svg: str, label: str) -> str:
    """What matplotlib wrote without prologue, metadata and global styles, its colours turned into the page's variables."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*|<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r' id="(?!(?:[mpch][0-9a-f]{10,})")[^"]*"', "", body)  # names of groups, the same in every chart
    for colour, variable in _VARIABLES.items():
        body = body.replace(colour, variable)
    view = re.search(r'viewBox="([^"]*)"', body)
    head = f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="{view[1] if view else ""}"'
    width = re.search(r'width="([0-9.]+)pt"', body)
    head += f' style="max-width:{float(width[1]) * 100 / 72:.0f}px"' if width else ""
    return re.sub(r"<svg[^>]*>", head + ' xmlns:xlink="http://www.w3.org/1999/xlink">', body, count=1).strip()


@styled
def ridges(values: Mapping[str, NDArray[np.float64]], x: str, label: str) -> Markup:
    """How each group's values spread: a histogram a line, each as high as the others; 1 in 10,000 left out on either side."""
    held = {name: found[np.isfinite(found)] for name, found in values.items()}
    held = {name: found for name, found in held.items() if len(found)}
    if not held:
        return Markup("")
    low = min(float(np.quantile(found, 0.0001)) for found in held.values())
    high = max(float(np.quantile(found, 0.9999)) for found in held.values())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    chart = Chart(x, "", high=0.75 + 0.36 * max(len(held), 2))
    for place, found in enumerate(reversed(held.values())):
        share = np.histogram(found, edges)[0].astype(np.float64)
        chart.axes.stairs(place + 0.82 * share / share.max(), edges, baseline=place, color=SERIES[0], fill=True)
        chart.axes.plot([float(np.median(found))] * 2, [place, place + 0.82], color=INK, linewidth=1)
    chart.axes.set_yticks(range(len(held)), list(reversed(held)))
    chart.axes.tick_params(axis="y", labelsize=9)
    chart.axes.spines["left"].set_visible(False)
    chart.axes.set_ylim(-0.04, len(held))
    chart.axes.margins(x=0.01)
    return chart.svg(label)


@styled
def lines(drawn: Sequence[Line], x: str, y: str, label: str) -> Markup:
    """One line a series."""
    chart = Chart(x, y)
    for colour, line in zip(SERIES * 9, drawn, strict=False):
        chart.axes.plot(line.x, line.y, color=colour, label=line.name)
    chart.axes.margins(x=0)
    return chart.svg(label)


@styled
def realised(requested: NDArray[np.float64], measured: Mapping[str, NDArray[np.float64]], label: str) -> Markup:
    """What came out against what was asked for, a dot a mixture; the diagonal is where both are the same."""
    chart = Chart("requested, dB", "realised, dB")
    low, high = float(requested.min()) - 1, float(requested.max()) + 1
    chart.axes.plot([low, high], [low, high], color=FAINT, linewidth=1.2)
    for colour, (_, found) in zip((SERIES[1], SERIES[0]), measured.items(), strict=True):
        chart.axes.plot(requested, found, "o", color=colour, markersize=2.2, markeredgewidth=0, alpha=0.55)
    return chart.svg(label)


@styled
def steps(drawn: Sequence[Line], points: Sequence[Point], x: str, y: str, label: str) -> Markup:
    """One line a series, level from each point to the next; and single points upon them."""
    chart = Chart(x, y, wide=4.6, high=3.1)
    for colour, line in zip(SERIES * 9, drawn, strict=False):
        chart.axes.step(line.x, line.y, where="post", color=colour)
    for point in points:
        chart.axes.plot([point.x], [point.y], point.mark, color=SERIES[point.series], markersize=7, markeredgewidth=1.8)
        chart.axes.annotate(point.name, (point.x, point.y), (6, 6), textcoords="offset points", fontsize=9, color=INK)
    chart.axes.set_ylim(-2, 104)
    chart.axes.set_xlim(left=0)
    return chart.svg(label)


@styled
def intervals(
    places: Sequence[str], series: Sequence[Sequence[tuple[float, float, float]]], x: str, y: str, label: str
) -> Markup:
    """Of each series a value and its interval at each place, side by side; NaN where there is none."""
    chart = Chart(x, y, wide=4.6, high=3.1)
    for n, (colour, values) in enumerate(zip(SERIES * 9, series, strict=False)):
        found = np.asarray(values, dtype=np.float64).reshape(-1, 3)
        at = np.arange(len(places)) + 0.12 * (n - (len(series) - 1) / 2)
        reach = np.maximum([found[:, 0] - found[:, 1], found[:, 2] - found[:, 0]], 0)
        chart.axes.errorbar(
            at, found[:, 0], yerr=reach, fmt="o", color=colour, markersize=4.5, capsize=0, elinewidth=1.6
        )
    chart.axes.set_xticks(range(len(places)), list(places))
    chart.axes.set_ylim(-2, 104)
    return chart.svg(label)
