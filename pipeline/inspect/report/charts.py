"""Charts as HTML around inline SVG that stretches: lines and text keep their size on a telephone and on a wide screen.

Colours are the page's own variables, light and dark. Nothing here is drawn by a font or a program beside the browser.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from pipeline.inspect.audit import counted
from pipeline.inspect.report.html import number

BINS = 36  # of a histogram, at most
LEAST = 5  # clips: no bar of fewer is as high as its chart
TICKS = 6  # of an axis, at most
SERIES = 6  # colours of the page


@dataclass(frozen=True, slots=True)
class Axis:
    """The name and the ends of an axis. places: names of 0, 1, 2 and so on instead of numbers."""

    name: str
    low: float
    high: float
    places: Sequence[str] = ()

    def share(self, value: float) -> float:
        """How far along the axis a value is, in percent."""
        return round(100 * (value - self.low) / ((self.high - self.low) or 1), 2)

    def ticks(self) -> list[tuple[float, str]]:
        """(value, its text) of each tick."""
        if self.places:
            return list(enumerate(self.places))
        step = nice(max(self.high - self.low, 1e-9) / TICKS)
        digits = max(0, -math.floor(math.log10(step)))
        values = np.arange(math.ceil(self.low / step - 1e-6), math.floor(self.high / step + 1e-6) + 1) * step
        return [(value, number(value + 0.0, digits)) for value in values.tolist()]


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
    """A point on a line, with a name. series: the number of the line. mark: `dot` or `cross`."""

    name: str
    x: float
    y: float
    series: int = 0
    mark: str = "dot"


def nice(step: float) -> float:
    """The smallest of 1, 2 and 5 times a power of ten that is not below the step.

    >>> nice(0.3), nice(21)
    (0.5, 50.0)
    """
    power = 10.0 ** math.floor(math.log10(step))
    return next(round(times * power, 12) for times in (1, 2, 5, 10) if times * power >= step * (1 - 1e-9))


def _plot(x: Axis, y: Axis, label: str, drawn: Iterable[str], points: Iterable[Point] = ()) -> Markup:
    """The axes around what is drawn, paths of an SVG of 1000 by 1000. label: what a screen reader reads of it."""
    grid = "".join(f"M0 {1000 - 10 * y.share(value):g}h1000" for value, _ in y.ticks())
    ticks = [f'<i style="left:{x.share(value):g}%">{escape(text)}</i>' for value, text in x.ticks()]
    ticks += [f'<i class="y" style="bottom:{y.share(value):g}%">{escape(text)}</i>' for value, text in y.ticks()]
    for point in points:
        side = " before" if x.share(point.x) > 60 else ""
        place = f"left:{x.share(point.x):g}%;bottom:{y.share(point.y):g}%;color:{_colour(point.series)}"
        ticks.append(f'<b class="{point.mark}{side}" style="{place}"><span>{escape(point.name)}</span></b>')
    return Markup(
        f'<div class="plot"><p class="axis">{escape(y.name)}</p><div class="area">'
        f'<svg class="chart" role="img" aria-label="{escape(label)}" viewBox="0 0 1000 1000" preserveAspectRatio="none"'
        f'><path class="grid" d="{grid}"/>{"".join(drawn)}</svg><div aria-hidden="true">{"".join(ticks)}</div></div>'
        f'<p class="axis x">{escape(x.name)}</p></div>'
    )


def _colour(series: int) -> str:
    return f"var(--s{series % SERIES + 1})"


def _path(x: Axis, y: Axis, points: Iterable[tuple[float, float]], kind: str, series: int, joined: str = "L") -> str:
    """A path through the points. joined: `L` by lines, `H` level to the next, empty for a dot at each."""
    text = ""
    for left, up in points:
        at = f"{10 * x.share(left):g} {1000 - 10 * y.share(up):g}"
        if joined == "H" and text:
            text += f"H{at.split(' ')[0]}V{at.split(' ')[1]}"
        else:
            text += f"M{at}h0" if not joined else f"{'L' if text else 'M'}{at}"
    return f'<path class="{kind}" style="color:{_colour(series)}" d="{text}"/>'


def lines(
    drawn: Sequence[Line], x: str, y: Axis, label: str, points: Sequence[Point] = (), is_stepped: bool = False
) -> Markup:
    """One line a series, and single points upon them. is_stepped: level from each point to the next."""
    ends = [float(value) for line in drawn for value in line.x] + [point.x for point in points]
    across = Axis(x, min(0.0, *ends), max(ends) or 1.0)
    paths = []
    for n, line in enumerate(drawn):
        joined = "H" if is_stepped else "L"
        if len(line.low):
            around = [*zip(line.x, line.low, strict=True), *reversed([*zip(line.x, line.high, strict=True)])]
            paths.append(_path(across, y, around, "band", n))
        paths.append(_path(across, y, zip(line.x, line.y, strict=True), "line", n, joined))
    return _plot(across, y, label, paths, points)


def dots(x: Axis, y: Axis, places: NDArray[np.float64], values: Sequence[NDArray[np.float64]], label: str) -> Markup:
    """A dot for each value at its place, the series over each other; on the diagonal both axes are the same."""
    low, high = max(x.low, y.low), min(x.high, y.high)
    drawn = [_path(x, y, [(low, low), (high, high)], "grid", 0)]
    drawn += [
        _path(x, y, zip(places, heights, strict=True), "dots", n, "") for n, heights in reversed([*enumerate(values)])
    ]
    return _plot(x, y, label, drawn)


def intervals(
    places: Sequence[str], series: Sequence[Sequence[tuple[float, float, float]]], x: str, y: Axis, label: str
) -> Markup:
    """Of each series a value and the bounds of its interval at each place, side by side; NaN where there is none."""
    across, drawn = Axis(x, -0.5, len(places) - 0.5, places), []
    for n, values in enumerate(series):
        for place, (middle, low, high) in enumerate(values):
            at = place + 0.08 * (n - (len(series) - 1) / 2)
            if math.isfinite(middle):
                drawn.append(_path(across, y, [(at, low), (at, high)], "line", n))
                drawn.append(_path(across, y, [(at, middle)], "spots", n, ""))
    return _plot(across, y, label, drawn)


def histograms(values: Mapping[str, tuple[str, NDArray[np.float64]]], name: str, unit: str, digits: int) -> Markup:
    """How the values of each group spread, a histogram a line, each as high as the others; NaN is left out.

    values: group -> (how the page's table finds its rows, without the range; the values, rounded to `digits`). A bar
    says how many clips it stands for; the first and the last also stand for the 1 in 10,000 beyond them. An empty text
    where no group has a value.
    """
    groups = {group: (find, each[np.isfinite(each)]) for group, (find, each) in values.items()}
    groups = {group: (find, each) for group, (find, each) in groups.items() if len(each)}
    if not groups:
        return Markup("")
    low = min(float(np.quantile(each, 0.0001)) for _, each in groups.values())
    high = max(float(np.quantile(each, 0.9999)) for _, each in groups.values())
    step = max(nice(max(high - low, 1e-9) / BINS), 10.0**-digits)
    first = math.floor(low / step + 1e-6)
    edges = np.arange(first, math.floor(high / step + 1e-6) + 2) * step
    axis, rows = Axis(f"{name}, {unit}", float(edges[0]), float(edges[-1])), []
    for group, (find, each) in groups.items():
        at = np.clip(np.floor(each / step + 1e-6).astype(np.int64) - first, 0, len(edges) - 2)
        counts = np.bincount(at, minlength=len(edges) - 1)
        height = [f"--h:{100 * count / max(counts.max(), LEAST):.0f}" for count in counts]
        bars = []
        for n, count in enumerate(counts.tolist()):
            ends = [f"{edge:.{digits}f}" for edge in edges[n : n + 2].tolist()]
            span = f"{ends[0] if n else ''}..{ends[1] if n < len(counts) - 1 else ''}"
            title = f"{counted(count, 'clip')}, {ends[0]} to {ends[1]} {escape(unit)}"
            bar = f'<a href="#rows" tabindex="-1" data-at="{span}" title="{title}" style="{height[n]}"></a>'
            bars.append(bar if count else "<i></i>")
        top, middle = int(counts.argmax()), axis.share(float(np.median(each)))
        rows.append(
            f'<dt>{escape(group)}</dt><dd><div class="bins" data-find="{escape(find)}">{"".join(bars)}'
            f'<u style="left:{100 * (top + 0.5) / len(counts):.1f}%;{height[top]}">{counts[top]:,}</u>'
            f'<s style="left:{middle:g}%"></s></div><span>{len(each):,}</span></dd>'
        )
    ticks = "".join(f'<i style="left:{axis.share(value):g}%">{text}</i>' for value, text in axis.ticks())
    return Markup(
        f'<p class="axis"><b>{escape(axis.name)}</b></p><dl class="hist">{"".join(rows)}<dt></dt>'
        f'<dd class="ticks" aria-hidden="true"><div>{ticks}</div></dd></dl>'
    )
