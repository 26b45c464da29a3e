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

from pipeline.inspect.report import html

BINS = 32
WIDE, HIGH = 3.5, 2.35  # inches at 100 px: as wide as a narrow window
INK, FAINT = "#010203", "#010204"
SERIES = tuple(f"#01020{n}" for n in "56789a")
_VARIABLES = {INK: "var(--muted)", FAINT: "var(--line)"} | {
    colour: f"var(--s{n})" for n, colour in enumerate(SERIES, 1)
}
_STYLE: Any = (
    {
        "svg.fonttype": "none",
        "svg.hashsalt": "prep",
        "font.family": [html.FAMILY],
        "font.size": 9,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.unicode_minus": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlesize": 9.5,
        "axes.linewidth": 1.0,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.linewidth": 0.6,
        "text.parse_math": False,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 9,
        "lines.linewidth": 1.6,
    }
    | {"axes.edgecolor": FAINT, "grid.color": FAINT}
    | dict.fromkeys(("axes.labelcolor", "text.color", "xtick.color", "ytick.color"), INK)
)

# a decorator: ticks and their labels are made late, and take the style of that moment
styled = matplotlib.rc_context(_STYLE)


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """One series of a chart: its name and its points. low, high: bounds of a band around it."""

    name: str
    x: Sequence[float] | NDArray[np.float64]
    y: Sequence[float] | NDArray[np.float64]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Point:
    """A point on a line, with a name. series: the number of the line. mark: as matplotlib names it, `o` or `x`."""

    name: str
    x: float
    y: float
    series: int = 0
    mark: str = "o"


class Chart:
    """Axes to draw on, inside a function that is `styled`; `svg` gives the picture."""

    def __init__(self, x: str, y: str, wide: float = WIDE, high: float = HIGH) -> None:
        font_manager.fontManager.addfont(html.font_path(html.WEIGHTS["400"]))
        self.figure = Figure(figsize=(wide, high), dpi=100, layout="constrained")
        self.axes = self.figure.subplots()
        self.axes.set(xlabel=x, ylabel=y)

    def svg(self, label: str) -> Markup:
        """The chart as an `<svg>` that a screen reader reads as this label.

        Without prologue, metadata and global styles; the colours are the page's variables.
        """
        out = io.StringIO()
        self.figure.set_canvas(FigureCanvasSVG(self.figure))
        self.figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
        body = out.getvalue()
        body = body[body.index("<svg") :]
        body = re.sub(r"<metadata>.*?</metadata>\s*|<style type=\"text/css\">.*?</style>", "", body, flags=re.DOTALL)
        body = re.sub(r' id="(?!(?:[mpch][0-9a-f]{10,})")[^"]*"', "", body)  # names of groups, the same in every chart
        for colour, variable in _VARIABLES.items():
            body = body.replace(colour, variable)
        view, width = re.search(r'viewBox="([^"]*)"', body), re.search(r'width="([0-9.]+)pt"', body)
        head = f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="{view[1] if view else ""}"'
        head += f' style="max-width:{float(width[1]) * 100 / 72:.0f}px"' if width else ""
        head += ' xmlns:xlink="http://www.w3.org/1999/xlink">'
        return Markup(re.sub(r"<svg[^>]*>", head, body, count=1).strip())  # matplotlib has escaped the text in it


@styled
def ridges(values: Mapping[str, NDArray[np.float64]], x: str, label: str) -> Markup:
    """How the values of each group spread: a histogram a line, each as high as the others; NaN is left out.

    1 in 10,000 is left out on either side. An empty text where no group has a value.
    """
    groups = {name: numbers[np.isfinite(numbers)] for name, numbers in values.items()}
    groups = {name: numbers for name, numbers in groups.items() if len(numbers)}
    if not groups:
        return Markup("")
    low = min(float(np.quantile(numbers, 0.0001)) for numbers in groups.values())
    high = max(float(np.quantile(numbers, 0.9999)) for numbers in groups.values())
    edges = np.linspace(low, high if high > low else low + 1, BINS + 1)
    chart = Chart(x, "", high=0.75 + 0.36 * max(len(groups), 2))
    for place, numbers in enumerate(reversed(groups.values())):
        share = np.histogram(numbers, edges)[0].astype(np.float64)
        chart.axes.stairs(place + 0.82 * share / share.max(), edges, baseline=place, color=SERIES[0], fill=True)
        chart.axes.plot([float(np.median(numbers))] * 2, [place, place + 0.82], color=INK, linewidth=1)
    chart.axes.set_yticks(range(len(groups)), list(reversed(groups)))
    chart.axes.tick_params(axis="y", labelsize=9)
    chart.axes.spines["left"].set_visible(False)
    chart.axes.set_ylim(-0.04, len(groups))
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
def realised(requested: NDArray[np.float64], measured: Sequence[NDArray[np.float64]], label: str) -> Markup:
    """The SNR that came out against the one that was requested, a dot a mixture; on the diagonal both are the same.

    measured: under each of two definitions, the second in the first colour of the page.
    """
    chart = Chart("requested, dB", "realised, dB")
    low, high = float(requested.min()) - 1, float(requested.max()) + 1
    chart.axes.plot([low, high], [low, high], color=FAINT, linewidth=1.2)
    for colour, numbers in zip((SERIES[1], SERIES[0]), measured, strict=True):
        chart.axes.plot(requested, numbers, "o", color=colour, markersize=2.2, markeredgewidth=0, alpha=0.55)
    return chart.svg(label)


@styled
def steps(drawn: Sequence[Line], points: Sequence[Point], x: str, y: str, label: str) -> Markup:
    """One line a series, level from each point to the next; and single points upon them."""
    chart = Chart(x, y, wide=4.6, high=3.1)
    for colour, line in zip(SERIES * 9, drawn, strict=False):
        chart.axes.step(line.x, line.y, where="post", color=colour)
        if len(line.low):
            chart.axes.fill_between(line.x, line.low, line.high, step="post", color=colour, alpha=0.2, linewidth=0)
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
    """Of each series a value and the bounds of its interval at each place, side by side; NaN where there is none."""
    chart = Chart(x, y, wide=4.6, high=3.1)
    for n, (colour, values) in enumerate(zip(SERIES * 9, series, strict=False)):
        middle, low, high = np.asarray(values, dtype=np.float64).reshape(-1, 3).T
        at = np.arange(len(places)) + 0.12 * (n - (len(series) - 1) / 2)
        reach = np.maximum([middle - low, high - middle], 0)
        chart.axes.errorbar(at, middle, yerr=reach, fmt="o", color=colour, markersize=4.5, capsize=0, elinewidth=1.6)
    chart.axes.set_xticks(range(len(places)), list(places))
    chart.axes.set_ylim(-2, 104)
    return chart.svg(label)
