"""Scores as functions of counts. Counts add up over clips, so an interval is the same function of resampled groups."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace

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
    """A score and its 95 % interval; None where there was nothing to score."""

    value: float | None
    low: float | None
    high: float | None


def confusion(truth: Sequence[str], decisions: Sequence[str], labels: Sequence[str]) -> Counts:
    """float64 [clips, labels, labels]: a 1 for each clip at (truth, decision). ValueError for an unknown label."""
    place = {label: index for index, label in enumerate(labels)}
    unknown = sorted((set(truth) | set(decisions)) - set(labels))
    if unknown:
        raise ValueError(f"not among the labels {list(labels)}: {unknown}")
    counts = np.zeros((len(truth), len(labels), len(labels)))
    for clip, (true, decision) in enumerate(zip(truth, decisions, strict=True)):
        counts[clip, place[true], place[decision]] = 1.0
    return counts


def accuracy(counts: Counts) -> Counts:
    """The share of decisions that are right; counts: [..., labels, labels], result [...]; NaN without clips."""
    with np.errstate(invalid="ignore"):
        return np.trace(counts, axis1=-2, axis2=-1) / counts.sum((-2, -1))


def balanced_accuracy(counts: Counts) -> Counts:
    """The mean over labels of the share of their clips that are right, [...]; labels without clips do not count."""
    true = counts.sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = np.diagonal(counts, axis1=-2, axis2=-1) / true
        return np.where(true > 0, each, 0.0).sum(-1) / (true > 0).sum(-1)


def f1(counts: Counts) -> Counts:
    """F1 of each label, [..., labels]: 2 TP / (true + decided); NaN where a label is neither true nor decided."""
    right = np.diagonal(counts, axis1=-2, axis2=-1)
    with np.errstate(invalid="ignore"):
        return 2 * right / (counts.sum(-1) + counts.sum(-2))


def macro_f1(counts: Counts, labels: int | None = None) -> Counts:
    """Mean F1 of the labels, or of the first so many, that are true somewhere, [...]; NaN without clips."""
    each = f1(counts)[..., :labels]
    there = counts.sum(-1)[..., :labels] > 0
    with np.errstate(invalid="ignore"):
        return np.where(there, each, 0.0).sum(-1) / there.sum(-1)


def f1_of(label: int) -> Statistic:
    """F1 of one label."""
    return lambda counts: f1(counts)[..., label]


def ratio(counts: Counts) -> Counts:
    """counts[..., 0] / counts[..., 1], [...]; NaN where the denominator is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(counts[..., 1] > 0, counts[..., 0] / counts[..., 1], np.nan)


def interval(counts: Counts, groups: Sequence[Hashable], statistic: Statistic, seed: int, name: str) -> Interval:
    """The statistic of all clips, and its percentile bootstrap interval over groups.

    counts: [clips, ...], what each clip adds. Groups (speakers, submissions) are drawn with replacement, as many as
    there are, REPLICATES times, because clips of one group are no independent evidence. A replicate without a score is
    left out. Where all groups agree the interval has no width, whatever their number: see `share` and `rate`.
    """
    if not len(counts):
        return Interval(None, None, None)
    value = float(statistic(counts.sum(0)))
    if not math.isfinite(value):
        return Interval(None, None, None)
    drawn = statistic(resampled(counts, groups, seed, name))
    low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


def share(counts: Counts, groups: Sequence[Hashable], seed: int, name: str) -> Interval:
    """The share of the clips for which something holds, with its interval; counts: [clips, 2], each (holds, 1).

    Where it holds for all clips or for none, the groups cannot tell how much they differ, and the interval is the exact
    binomial one of the clips.
    """
    found, (count, total) = interval(counts, groups, ratio, seed, name), counts.sum(0) if len(counts) else (0, 0)
    return Interval(found.value, *binomial(int(count), int(total))) if count in (0, total) else found


def rate(counts: Counts, groups: Sequence[Hashable], seed: int, name: str) -> Interval:
    """Events per hour, with the interval; counts: [clips, 2], each (events, hours).

    Without an event the upper end is the exact 95 % bound, about 3 / hours.
    """
    found = interval(counts, groups, ratio, seed, name)
    return replace(found, high=poisson_upper(0) / float(counts[:, 1].sum())) if found.value == 0 else found


def resampled(counts: Counts, groups: Sequence[Hashable], seed: int, name: str) -> Counts:
    """[REPLICATES, ...]: the counts of each replicate, its groups drawn by (seed, name)."""
    place = {group: index for index, group in enumerate(sorted(set(groups), key=str))}
    flat = counts.reshape(len(counts), -1)
    totals = np.zeros((len(place), flat.shape[1]))
    np.add.at(totals, [place[group] for group in groups], flat)
    chance = keys.rng(seed, "bootstrap", name)
    shares = np.full(len(place), 1 / len(place))
    parts = [chance.multinomial(len(place), shares, size=_CHUNK) @ totals for _ in range(REPLICATES // _CHUNK)]
    return np.concatenate(parts).reshape(REPLICATES, *counts.shape[1:])


def poisson_upper(events: int, level: float = LEVEL) -> float:
    """The exact upper bound of a Poisson mean after so many events: the mean at which P(that few or fewer) = 1 - level.

    No event bounds the mean by -ln(0.05), about 3: no alarm in H hours bounds the rate by 3 / H.

    >>> round(poisson_upper(0), 4), round(poisson_upper(3), 4)
    (2.9957, 7.7537)
    """
    counts = np.arange(events + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    low, high = float(events), events + 10.0 + 10.0 * math.sqrt(events + 1.0)
    for _ in range(100):
        middle = (low + high) / 2
        at_most = np.exp(counts * math.log(middle) - middle - factorials).sum()
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

    calls, negatives: scores of the clips, at most 1, and -inf for one that raises no alarm at any threshold; an alarm
    is a score >= threshold. The last point lies above every score and raises none.
    """
    yes, no = np.sort(np.asarray(calls, float)), np.sort(np.asarray(negatives, float))
    scores = np.unique(np.concatenate([yes, no]))
    return [point(yes, no, hours, float(threshold)) for threshold in (*scores[np.isfinite(scores)], 2.0)]


def point(calls: Counts, negatives: Counts, hours: float, threshold: float) -> Point:
    """The trade-off at one threshold; calls, negatives: sorted scores."""
    alarms = len(negatives) - int(np.searchsorted(negatives, threshold, side="left"))
    missed = int(np.searchsorted(calls, threshold, side="left"))
    return Point(threshold, alarms, alarms / hours if hours else None, missed / len(calls) if len(calls) else None)


def balanced_threshold(speech: Sequence[float], noise: Sequence[float], usual: float) -> float:
    """The threshold midway between two scores that tells speech (score >= it) from noise best.

    The best has the largest mean of both shares told right; of equally good ones the nearest to the usual, then the
    lower.
    """
    yes, no = np.sort(np.asarray(speech, float)), np.sort(np.asarray(noise, float))
    scores = np.unique(np.concatenate([yes, no]))
    scores = scores[np.isfinite(scores)]
    tried = np.unique(np.concatenate([[usual], (scores[1:] + scores[:-1]) / 2]))
    right = (len(yes) - np.searchsorted(yes, tried)) / len(yes) + np.searchsorted(no, tried) / len(no)
    best = tried[right >= right.max() - 1e-12]
    return float(best[np.argmin(np.abs(best - usual))])


def lowest_threshold(points: Sequence[Point], per_hour: float) -> float:
    """The lowest threshold whose false alarms per hour do not exceed this: midway between the scores on either side.

    The lowest of all, at most 0.0, where none is needed; above 1, where nothing may be an alarm.
    """
    place = next(n for n, each in enumerate(points) if (each.per_hour or 0.0) <= per_hour)
    if not place:
        return min(0.0, points[0].threshold)
    return (points[place - 1].threshold + points[place].threshold) / 2 if points[place].threshold <= 1 else 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Clips with a score: calls, or negatives. groups: of the bootstrap; weights: 1 for a call, hours of a negative."""

    scores: Counts
    groups: Sequence[Hashable]
    weights: Counts


def detection(
    calls: Scored, negatives: Scored, rates: Sequence[float], seed: int, name: str
) -> tuple[list[Interval], Interval]:
    """(share of calls missed at each rate of false alarms per hour, area under the curve), with bootstrap intervals.

    At a rate the threshold is the lowest that keeps to it on these very negatives; it lies above the score of the next
    one. Area: the share of pairs of a call and a negative in which the call has the higher score, half of equal ones.
    Groups are drawn as in `interval`, once for calls and negatives together.
    """
    place = {group: n for n, group in enumerate(sorted({*calls.groups, *negatives.groups}, key=str))}
    down, falling = np.argsort(-negatives.scores, kind="stable"), np.sort(calls.scores)[::-1]
    limits = np.append(negatives.scores[down], -np.inf)
    better = np.searchsorted(-falling, -limits, side="left")  # calls above each limit
    ties = np.searchsorted(-falling, -limits, side="right") - better
    of_calls = np.array([place[group] for group in calls.groups])[np.argsort(-calls.scores, kind="stable")]
    of_negatives = np.array([place[group] for group in negatives.groups])[down]
    hours = negatives.weights[down]

    def read(times: Counts) -> Counts:
        """Misses at each rate, and the area, with each group so many times."""
        found = np.concatenate([[0.0], np.cumsum(times[of_calls])])
        alarms = np.cumsum(times[of_negatives])
        allowed = np.asarray(rates, float) * (times[of_negatives] * hours).sum() + 1e-9
        with np.errstate(invalid="ignore"):
            missed = 1 - found[better[np.searchsorted(alarms, allowed, side="right")]] / found[-1]
            wins = (found[better] + found[better + ties])[:-1] / 2 / found[-1]
            return np.append(missed, (wins * times[of_negatives]).sum() / alarms[-1])

    chance, shares = keys.rng(seed, "bootstrap", name), np.full(len(place), 1 / len(place))
    drawn = np.array([read(chance.multinomial(len(place), shares).astype(float)) for _ in range(REPLICATES)])
    drawn = drawn[np.isfinite(drawn).all(1)]
    ends = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0).T.tolist()
    values = read(np.ones(len(place))).tolist()
    misses = [Interval(value, low, high) for value, (low, high) in zip(values, ends, strict=True)]
    total = len(calls.scores)
    edges = [Interval(each.value, *binomial(round(each.value * total), total)) for each in misses]
    at = [edge if each.value in (0.0, 1.0) else each for each, edge in zip(misses[:-1], edges, strict=False)]
    return at, misses[-1]


def binomial(count: int, total: int, level: float = LEVEL) -> tuple[float | None, float | None]:
    """The exact interval of a share, count of total (Clopper and Pearson 1934); (None, None) of nothing.

    >>> [round(bound, 4) for bound in binomial(17, 17)]
    [0.8049, 1.0]
    """
    if not total:
        return None, None
    counts = np.arange(total + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(counts[1:]))])
    ways = factorials[-1] - factorials - factorials[::-1]

    def at_least(share: float, fewest: int) -> float:
        return float(np.exp(ways + counts * math.log(share) + (total - counts) * math.log1p(-share))[fewest:].sum())

    def share_of(fewest: int, wanted: float) -> float:
        low, high = 0.0, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if at_least(middle, fewest) < wanted else (low, middle)
        return (low + high) / 2

    low = share_of(count, (1 - level) / 2) if count else 0.0
    return low, share_of(count + 1, (1 + level) / 2) if count < total else 1.0
