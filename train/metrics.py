"""Scores as pure functions of counts. Counts add up over clips, so an interval is the same function of resampled groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core import keys

LEVEL = 0.95
REPLICATES = 1000
Counts = NDArray[np.float64]
Statistic = Callable[[Counts], Counts]
_CHUNK = 50  # replicates at a time: bounds the memory of replicates x groups


@dataclass(frozen=True, slots=True)
class Interval:
    """A score and its 95 % interval; None where nothing was there to score."""

    value: float | None
    low: float | None
    high: float | None


def confusion(truth: Sequence[str], decided: Sequence[str], labels: Sequence[str]) -> Counts:
    """float64 [clips, labels, labels]: one 1 a clip, at (truth, decision). ValueError for a word that is no label."""
    place = {label: index for index, label in enumerate(labels)}
    unknown = sorted((set(truth) | set(decided)) - set(labels))
    if unknown:
        raise ValueError(f"not among the labels {list(labels)}: {unknown}")
    found = np.zeros((len(truth), len(labels), len(labels)))
    for clip, (true, said) in enumerate(zip(truth, decided, strict=True)):
        found[clip, place[true], place[said]] = 1.0
    return found


def accuracy(counts: Counts) -> Counts:
    """Share of decisions that are right; counts: [..., labels, labels], result [...]; NaN without clips."""
    with np.errstate(invalid="ignore"):
        return np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))


def f1(counts: Counts) -> Counts:
    """F1 of each label, [..., labels]: 2 TP / (true + decided); NaN where a label is neither true nor decided anywhere."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return 2 * right / (counts.sum(-1) + counts.sum(-2))


def macro_f1(counts: Counts) -> Counts:
    """Mean F1 of the labels that are true or decided somewhere, [...]; NaN without clips."""
    each = f1(counts)
    there = np.isfinite(each)
    with np.errstate(invalid="ignore"):
        return np.where(there, each, 0.0).sum(-1) / there.sum(-1)


def f1_of(label: int) -> Statistic:
    """F1 of one label."""
    return lambda counts: f1(counts)[..., label]


def ratio(counts: Counts) -> Counts:
    """counts[..., 0] / counts[..., 1], [...]; NaN where there is nothing below the line."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts[..., 1] > 0, counts[..., 0] / counts[..., 1], np.nan)


def interval(counts: Counts, groups: Sequence[Hashable], statistic: Statistic, seed: int, name: str) -> Interval:
    """The statistic of all clips, and its percentile bootstrap interval over groups.

    counts: [clips, ...], what each clip adds. Groups (speakers, submissions) are drawn with replacement, as many as there
    are, REPLICATES times, for clips of one group are no independent evidence. A replicate without a score is left out. Where
    every group says the same (all right, all wrong) the interval has no width, whatever the number of groups.
    """
    if not len(counts):
        return Interval(None, None, None)
    value = float(statistic(counts.sum(0)))
    if not math.isfinite(value):
        return Interval(None, None, None)
    drawn = statistic(resampled(counts, groups, seed, name))
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def resampled(counts: Counts, groups: Sequence[Hashable], seed: int, name: str) -> Counts:
    """[REPLICATES, ...]: the counts of each replicate, its groups drawn by (seed, name)."""
    known = {group: index for index, group in enumerate(sorted(set(groups), key=str))}
    flat = counts.reshape(len(counts), -1)
    totals = np.zeros((len(known), flat.shape[1]))
    np.add.at(totals, [known[group] for group in groups], flat)
    chance = keys.rng(seed, "bootstrap", name)
    shares = np.full(len(known), 1 / len(known))
    parts = [chance.multinomial(len(known), shares, size=_CHUNK) @ totals for _ in range(REPLICATES // _CHUNK)]
    return np.concatenate(parts).reshape(REPLICATES, *counts.shape[1:])


def poisson_upper(events: int, level: float = LEVEL) -> float:
    """Exact upper bound of a Poisson mean after so many events: the mean at which P(that few or fewer) = 1 - level.

    None seen bounds it by -ln(0.05), about 3: no alarm in H hours bounds the rate by 3 / H.

    >>> round(poisson_upper(0), 4), round(poisson_upper(3), 4)
    (2.9957, 7.7537)
    """
    seen = np.arange(events + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(seen[1:]))])
    low, high = float(events), events + 10.0 + 10.0 * math.sqrt(events + 1.0)
    for _ in range(100):
        middle = (low + high) / 2
        at_most = np.exp(seen * math.log(middle) - middle - factorials).sum()
        low, high = (middle, high) if at_most > 1 - level else (low, middle)
    return high


@dataclass(frozen=True, slots=True)
class Point:
    """What a threshold costs: false alarms, per hour of negative audio, and the share of calls that raise no alarm."""

    threshold: float
    false_alarms: int
    per_hour: float | None
    miss_rate: float | None


def curve(calls: Sequence[float], negatives: Sequence[float], hours: float) -> list[Point]:
    """The trade-off, one point for each threshold that changes anything, from the lowest on.

    calls, negatives: scores of the clips, 0.0 for one that raises no alarm whatever the threshold; an alarm is a score
    >= threshold > 0. The last point, above every score, raises none.
    """
    yes, no = np.sort(np.asarray(calls, float)), np.sort(np.asarray(negatives, float))
    known = np.unique(np.concatenate([yes, no]))
    return [point(yes, no, hours, float(threshold)) for threshold in (*known[known > 0], 2.0)]


def point(calls: Counts, negatives: Counts, hours: float, threshold: float) -> Point:
    """The trade-off at one threshold; calls, negatives: sorted scores."""
    alarms = len(negatives) - int(np.searchsorted(negatives, threshold, side="left"))
    missed = int(np.searchsorted(calls, threshold, side="left"))
    return Point(threshold, alarms, alarms / hours if hours else None, missed / len(calls) if len(calls) else None)


def balanced_threshold(speech: Sequence[float], noise: Sequence[float]) -> float:
    """The threshold midway between two scores that tells speech (score >= it) from noise best.

    Best is the largest mean of both shares told right; of equally good ones the nearest to 0.5, then the lower.
    """
    yes, no = np.sort(np.asarray(speech, float)), np.sort(np.asarray(noise, float))
    known = np.unique(np.concatenate([yes, no]))
    tried = np.unique(np.concatenate([[0.5], (known[1:] + known[:-1]) / 2]))
    right = (len(yes) - np.searchsorted(yes, tried)) / len(yes) + np.searchsorted(no, tried) / len(no)
    best = tried[right >= right.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - 0.5))])


def lowest_threshold(points: Sequence[Point], per_hour: float) -> float:
    """The lowest threshold at which false alarms per hour do not pass this: midway between the scores on either side of it.

    0.0 where no threshold is needed; above 1, so that nothing is an alarm, where none is high enough.
    """
    place = next(n for n, found in enumerate(points) if (found.per_hour or 0.0) <= per_hour)
    return (points[place - 1].threshold + points[place].threshold) / 2 if place else 0.0
