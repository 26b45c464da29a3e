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


def test_the_interval_is_the_same_each_time_and_says_none_where_there_is_nothing() -> None:
    right = np.array([[1.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    assert metrics.interval(right, [0, 1, 2], metrics.ratio, 0, "x") == metrics.interval(
        right, [0, 1, 2], metrics.ratio, 0, "x"
    )
    assert metrics.interval(right[:0], [], metrics.ratio, 0, "x") == metrics.Interval(None, None, None)
    assert metrics.interval(np.zeros((2, 2)), [0, 1], metrics.ratio, 0, "x") == metrics.Interval(None, None, None)


def test_every_point_of_the_curve_is_what_counting_says() -> None:
    chance = keys.rng(2, "curve")
    calls, negatives = chance.random(30).round(1), np.where(chance.random(50) < 0.5, 0, chance.random(50).round(1))
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
    assert metrics.balanced_threshold([0.9, 0.8], [0.1, 0.2]) == pytest.approx(0.5)
    chance = keys.rng(3, "balanced")
    speech, noise = chance.beta(4, 2, 60), chance.beta(2, 4, 40)

    def balanced(threshold: float) -> float:
        return float((speech >= threshold).mean() + (noise < threshold).mean())

    best = metrics.balanced_threshold(speech.tolist(), noise.tolist())
    assert balanced(best) == pytest.approx(max(balanced(threshold) for threshold in np.linspace(0, 1, 5001)))
