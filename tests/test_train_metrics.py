"""Metrics against independent implementations, and against answers known by arithmetic."""

from __future__ import annotations

import math

import jiwer
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as reference

from pipeline.core import keys
from train import metrics
from train.text import edit_distance

LABELS = ["helpme", "saveme", "others", "noise"]


def drawn(clips: int, labels: list[str]) -> tuple[list[str], list[str]]:
    chance = keys.rng(1, "labels", clips)
    truth = [labels[n] for n in chance.integers(len(labels), size=clips)]
    return truth, [true if chance.random() < 0.6 else labels[int(chance.integers(len(labels)))] for true in truth]


@pytest.mark.parametrize("labels", [LABELS, LABELS[:2], LABELS[:3]])
def test_accuracy_and_f1_are_sklearns(labels: list[str]) -> None:
    truth, decided = drawn(200, labels)
    counts = metrics.confusion(truth, decided, LABELS).sum(0)
    assert metrics.accuracy(counts) == pytest.approx(reference.accuracy_score(truth, decided))
    assert metrics.macro_f1(counts) == pytest.approx(reference.f1_score(truth, decided, average="macro"))
    each = reference.f1_score(truth, decided, average=None, labels=labels)
    assert metrics.f1(counts)[: len(labels)] == pytest.approx(each)
    assert counts.tolist() == reference.confusion_matrix(truth, decided, labels=LABELS).tolist()


def test_a_word_that_is_no_label_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not among the labels.*perhaps"):
        metrics.confusion(["saveme"], ["perhaps"], LABELS)


@pytest.mark.parametrize("events", [0, 1, 5, 100, 20_000])
def test_the_poisson_bound_is_the_exact_one(events: int) -> None:
    assert metrics.poisson_upper(events) == pytest.approx(stats.chi2.ppf(0.95, 2 * (events + 1)) / 2, rel=1e-9)


def test_no_alarm_in_h_hours_bounds_the_rate_by_three_over_h() -> None:
    assert metrics.poisson_upper(0) == pytest.approx(-math.log(0.05))
    assert metrics.poisson_upper(0) == pytest.approx(3, abs=0.005)


def test_the_edit_distance_is_jiwers() -> None:
    pairs = [
        ("살려조세요", "살려주세요"),
        ("도와", "도와주세요"),
        ("구해", "살려줘"),
        ("", "불이야"),
        ("불이야", "불이야"),
    ]
    for said, wanted in pairs:
        found = jiwer.process_characters(wanted, said)
        assert edit_distance(said, wanted) == found.substitutions + found.deletions + found.insertions


def test_the_interval_of_independent_clips_is_the_binomial_one() -> None:
    right = np.array([[1.0, 1.0]] * 300 + [[0.0, 1.0]] * 100)
    found = metrics.interval(right, list(range(400)), metrics.ratio, 0, "x")
    low, high = stats.binom.interval(0.95, 400, 0.75)
    assert found.value == 0.75
    assert (found.low, found.high) == (pytest.approx(low / 400, abs=0.01), pytest.approx(high / 400, abs=0.01))


def test_clips_of_one_group_are_one_piece_of_evidence() -> None:
    right = np.array([[float(n % 2), 1.0] for n in range(400)])
    alone = metrics.interval(right, list(range(400)), metrics.ratio, 0, "x")
    grouped = metrics.interval(right, [n % 8 for n in range(400)], metrics.ratio, 0, "x")
    assert grouped.value == alone.value == 0.5
    assert grouped.high - grouped.low > 4 * (alone.high - alone.low)


@pytest.mark.parametrize(("count", "total"), [(17, 17), (0, 17), (1, 1)])
def test_where_all_clips_agree_the_interval_is_the_exact_binomial_one(count: int, total: int) -> None:
    clips = np.array([[1.0, 1.0]] * count + [[0.0, 1.0]] * (total - count))
    found = metrics.share(clips, list(range(total)), 0, "x")
    wanted = stats.binomtest(count, total).proportion_ci(method="exact")
    assert (found.value, found.low, found.high) == pytest.approx((count / total, *wanted))
    mixed = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    assert metrics.share(mixed, [0, 1, 2], 0, "x") == metrics.interval(mixed, [0, 1, 2], metrics.ratio, 0, "x")
    assert metrics.share(mixed[:0], [], 0, "x") == metrics.Interval(None, None, None)


def test_no_event_in_h_hours_has_the_upper_end_of_the_rule_of_three() -> None:
    found = metrics.rate(np.array([[0.0, 0.5], [0.0, 1.5]]), [0, 1], 0, "x")
    assert (found.value, found.low, found.high) == pytest.approx((0, 0, -math.log(0.05) / 2))
    assert metrics.rate(np.array([[1.0, 0.5], [1.0, 0.5]]), [0, 1], 0, "x").high == pytest.approx(2)


def test_macro_f1_is_over_the_labels_that_are_true_whatever_is_decided() -> None:
    truth = ["helpme", "saveme", "others", "others"]
    for decided in (truth, ["helpme", "saveme", "others", "noise"]):
        wanted = reference.f1_score(truth, decided, labels=sorted(set(truth)), average="macro")
        assert metrics.macro_f1(metrics.confusion(truth, decided, LABELS).sum(0)) == pytest.approx(wanted)


def test_misses_at_a_rate_and_the_area_are_what_counting_says() -> None:
    chance = keys.rng(4, "detection")
    calls, negatives = chance.normal(1, 1, 40).round(1), chance.normal(0, 1, 60).round(1)
    calls[:3], negatives[:5] = -np.inf, -np.inf
    hours = chance.random(60)
    groups = [f"{n % 12}" for n in range(100)]
    of_calls = metrics.Scored(calls, groups[:40], np.ones(40))
    of_negatives = metrics.Scored(negatives, groups[40:], hours)
    rates = [0.0, 1 / hours.sum(), 7.5 / hours.sum(), 1e6]
    misses, area = metrics.detection(of_calls, of_negatives, rates, 0, "x")
    floor = [-99.0 if math.isinf(value) else value for value in (*calls, *negatives)]
    assert area.value == pytest.approx(reference.roc_auc_score([1] * 40 + [0] * 60, floor))
    assert area.low < area.value < area.high
    for rate, found in zip(rates, misses, strict=True):
        kept = [t for t in {*calls, *negatives, 99.0} if (negatives >= t).sum() <= rate * hours.sum() + 1e-9]
        wanted = min((calls < t).mean() for t in kept if t > -np.inf)
        assert found.value == pytest.approx(wanted)
        assert found.low <= found.value <= found.high
    assert misses == sorted(misses, key=lambda each: -each.value)


def test_the_interval_is_the_same_each_time_and_says_none_where_there_is_nothing() -> None:
    right = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    assert metrics.interval(right, [0, 1, 2], metrics.ratio, 0, "x") == metrics.interval(
        right, [0, 1, 2], metrics.ratio, 0, "x"
    )
    assert metrics.interval(right[:0], [], metrics.ratio, 0, "x") == metrics.Interval(None, None, None)
    assert metrics.interval(np.zeros((2, 2)), [0, 1], metrics.ratio, 0, "x") == metrics.Interval(None, None, None)


def test_every_point_of_the_curve_is_what_counting_says() -> None:
    chance = keys.rng(2, "curve")
    calls, negatives = (
        chance.random(30).round(1),
        np.where(chance.random(50) < 0.5, -np.inf, chance.random(50).round(1)),
    )
    for point in metrics.curve(calls.tolist(), negatives.tolist(), 2.0):
        assert point.false_alarms == sum(score >= point.threshold for score in negatives)
        assert point.per_hour == point.false_alarms / 2.0
        assert point.miss_rate == pytest.approx(sum(score < point.threshold for score in calls) / 30)


def test_the_lowest_threshold_that_keeps_to_a_rate_is_found() -> None:
    points = metrics.curve([0.9, 0.5], [0.8, 0.3, 0.2], 1.0)
    assert metrics.lowest_threshold(points, 1.0) == pytest.approx(0.4)
    assert metrics.lowest_threshold(points, 0.0) == pytest.approx(0.85)
    assert metrics.lowest_threshold(points, 3.0) == 0.0
    assert metrics.lowest_threshold(metrics.curve([], [0.7], 1.0), 0.5) > 1


def test_the_balanced_threshold_is_the_best_of_all() -> None:
    assert metrics.balanced_threshold([0.9, 0.8], [0.1, 0.2], 0.5) == pytest.approx(0.5)
    assert metrics.balanced_threshold([-1.0, -2.0], [-9.0, -np.inf], 0.0) == pytest.approx(-5.5)
    chance = keys.rng(3, "balanced")
    speech, noise = chance.beta(4, 2, 60), chance.beta(2, 4, 40)

    def balanced(threshold: float) -> float:
        return float((speech >= threshold).mean() + (noise < threshold).mean())

    best = metrics.balanced_threshold(speech.tolist(), noise.tolist(), 0.5)
    assert balanced(best) == pytest.approx(max(balanced(threshold) for threshold in np.linspace(0, 1, 5001)))
