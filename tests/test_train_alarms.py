"""Verdicts on events, and what they come to, by arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from train import alarms, metrics
from train.alarms import Event, Utterance

TRUTH = [
    Utterance("a", 10.0, 11.0, "saveme", "call", 20.0),
    Utterance("a", 30.0, 31.5, "helpme", "call", 10.0),
    Utterance("a", 33.0, 34.0, "helpme", "call", 10.0),
    Utterance("a", 60.0, 62.0, None, "confusable", 10.0),
    Utterance("b", 10.0, 11.0, "saveme", "call", 10.0),
]
EVENTS = [
    Event("a", 10.2, 11.1, "saveme", 12.0),  # hit
    Event("a", 15.0, 15.5, "saveme", 16.0),  # false alarm in noise
    Event("a", 29.8, 31.0, "saveme", 33.0),  # hit, of the wrong keyword
    Event("a", 31.9, 32.0, "helpme", 35.0),  # 0.4 s after that call and 1 s before the next: a duplicate
    Event("a", 61.0, 61.5, "helpme", 64.0),  # false alarm of a confusable phrase
    Event("b", 90.0, 91.0, "saveme", 92.0),  # false alarm; the call in b is missed
]


def test_each_event_has_the_verdict_that_its_time_gives() -> None:
    found = alarms.judged(EVENTS, TRUTH, 0.5)
    verdicts = ["hit", "false alarm", "hit", "duplicate", "false alarm", "false alarm"]
    assert [each.verdict for each in found] == verdicts
    assert [each.about for each in found] == [TRUTH[0], None, TRUTH[1], TRUTH[1], TRUTH[3], None]


def test_scores_are_those_counted_by_hand() -> None:
    answer = alarms.scores(alarms.judged(EVENTS, TRUTH, 0.5), TRUTH, {"a": 5400.0, "b": 1800.0}, 5.0)
    assert (answer["hours"], answer["calls"], answer["covered"], answer["misses"], answer["duplicates"]) == (
        2,
        4,
        1,
        1,
        1,
    )
    assert (answer["hits"]["count"], answer["hits"]["of"]) == (2, 3)
    assert (answer["right_keyword"]["count"], answer["right_keyword"]["of"]) == (1, 2)
    rates = answer["false_alarms"]
    assert rates["by_kind"] == {"confusable": 1, "noise": 2}
    assert (rates["count"], rates["per_hour"], rates["per_day"]) == (3, 1.5, 36.0)
    assert rates["per_day_upper_95"] == pytest.approx(12 * 7.7537, abs=0.001)
    assert {snr: (each["count"], each["of"]) for snr, each in answer["hits_by_snr"].items()} == {
        "10": (1, 2),
        "20": (1, 1),
    }
    assert answer["start_error_s"] == pytest.approx({"median": 0.2, "p95": 0.2, "most": 0.2})
    assert answer["latency_s"] == pytest.approx({"median": 1.25, "p95": 1.475, "most": 1.5})


def test_no_false_alarm_is_bounded_by_the_rule_of_three_and_no_call_has_no_share() -> None:
    answer = alarms.scores([], [], {"a": 3600.0 * 30}, 5.0)
    assert answer["false_alarms"]["per_hour_upper_95"] == pytest.approx(3 / 30, rel=0.002)
    assert answer["hits"] == {"count": 0, "of": 0, "share": None, "low": None, "high": None}
    assert answer["start_error_s"] == {"median": None, "p95": None, "most": None}


def test_a_call_that_a_false_alarm_kept_away_is_missed_all_the_same() -> None:
    call = Utterance("a", 10.0, 11.0, "saveme", "call")
    answer = alarms.scores(
        alarms.judged([Event("a", 8.0, 9.0, "saveme", 9.5)], [call], 0.5), [call], {"a": 3600.0}, 5.0
    )
    assert (answer["covered"], answer["misses"], answer["false_alarms"]["count"]) == (0, 1, 1)


times = st.floats(0, 60).map(lambda second: round(second, 1))


@settings(max_examples=100, deadline=None)
@given(st.lists(times, max_size=8), st.lists(times, unique=True, max_size=8))
def test_every_event_and_every_call_is_counted_once(heard: list[float], said: list[float]) -> None:
    truth = [Utterance("a", second, second + 1, "saveme", "call") for second in said]
    verdicts = alarms.judged([Event("a", second, second + 1, "saveme", second + 2) for second in heard], truth, 0.5)
    answer = alarms.scores(verdicts, truth, {"a": 60.0}, 5.0)
    hits = answer["hits"]["count"]
    assert hits + answer["duplicates"] + answer["false_alarms"]["count"] == len(heard)
    assert hits + answer["misses"] + answer["covered"] == len(said)
    assert len({each.about for each in verdicts if each.verdict == "hit"}) == hits


def test_the_exact_interval_of_a_share_is_that_of_the_beta_distribution() -> None:
    beta = pytest.importorskip("scipy.stats").beta
    for count, total in ((0, 5), (1, 7), (245, 288), (1990, 2000), (17, 17)):
        low, high = metrics.binomial(count, total)
        assert low == pytest.approx(beta.ppf(0.025, count, total - count + 1) if count else 0.0, abs=1e-9)
        assert high == pytest.approx(beta.ppf(0.975, count + 1, total - count) if count < total else 1.0, abs=1e-9)
    assert metrics.binomial(0, 0) == (None, None)
