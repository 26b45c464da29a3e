"""Ratios taken in one run: two pieces of work in turn, several times; the median of the pairs' ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def ratio(
    ours: Callable[[], object], reference: Callable[[], object], repeats: int = REPEATS
) -> tuple[float, float, float]:
    """(median of reference / ours, median seconds of ours, of the reference): above 1, ours is the faster."""
    pairs = [(seconds(ours), seconds(reference)) for _ in range(repeats + 1)][1:]  # the first of each warms up
    ours_s, theirs_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return statistics.median(theirs / own for own, theirs in pairs), ours_s, theirs_s


def line(name: str, found: tuple[float, float, float], target: str) -> None:
    """One line of the table."""
    print(
        f"{name:<62}{found[0]:>7.2f}   ours {found[1]:>7.2f} s   reference {found[2]:>7.2f} s   target {target}",
        flush=True,
    )
