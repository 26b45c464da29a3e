"""What dev may choose, and what it is too small for."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from pipeline.corpora import lexicon as lexicons
from train import metrics, scores, thresholds
from train.data import Prediction
from train.scores import Scorer
from train.text import KeywordMatcher

SCORER = Scorer(["helpme", "saveme", "others"], 0)


def clip(id: str, truth: str, score: float, seconds: float = 2.0, **more: Any) -> Prediction:
    values: dict[str, Any] = dict.fromkeys(field.name for field in fields(Prediction))
    values |= {"id": id, "corpus": "a", "group": id, "truth": truth, "seconds": seconds, "passed": True}
    return Prediction(**values | {"scores": (score, score - 1)} | more)


def dev(others: int = 200, noise_hours: float = 3.1) -> list[Prediction]:
    """Ten calls of -1 to -10, other speech of -5 to -25, noise."""
    clips = [clip(f"c{n}", "saveme", -1.0 - n) for n in range(10)]
    clips += [clip(f"o{n}", "others", -5 - 20 * n / others) for n in range(others)]
    return [*clips, *(clip(f"n{n}", "noise", -30.0, 360 * noise_hours) for n in range(10))]


def test_a_rate_is_told_by_three_over_it_hours_and_two_hundred_clips_of_other_speech() -> None:
    assert thresholds.fault(dev(), SCORER, 1.0) is None
    wanted = "1 per hour needs 3 h of negatives and 200 clips of other speech, dev has 3.2 h and 199"
    assert thresholds.fault(dev(199), SCORER, 1.0) == wanted
    assert "0.1 per hour needs 30 h of negatives" in str(thresholds.fault(dev(), SCORER, 0.1))


def test_the_score_is_cut_where_dev_keeps_to_the_lowest_rate_that_it_can_tell() -> None:
    chosen = thresholds.score(dev(), SCORER, (10.0, 1.0, 0.1))
    others = [c.scores[0] for c in dev() if c.truth == "others"]
    assert chosen.value is not None
    assert chosen.chosen
    assert sum(value >= chosen.value for value in others) == 3  # of 3.2 h
    assert (
        "lowest with at most 1 false alarms per hour on dev (50.0% of 10 calls, 3 of 210 other clips)" in chosen.source
    )


def test_a_small_dev_tells_calls_from_the_rest_and_says_what_it_cannot_know() -> None:
    chosen = thresholds.score(dev(20), SCORER, (1.0, 10.0))
    assert chosen.value is not None
    assert "largest mean of calls found and other clips let be" in chosen.source
    assert "10 per hour needs 0.3 h of negatives and 200 clips of other speech, dev has 3.1 h and 20" in chosen.source
    none = thresholds.score([c for c in dev(20) if c.truth != "saveme"], SCORER, (1.0,))
    assert (none.value, none.chosen) == (None, False)
    assert none.source == "none: dev has 0 calls and 30 other clips, both are needed"


def test_clips_that_the_gate_stops_are_no_alarms() -> None:
    stopped = [clip("a", "saveme", -1.0), clip("b", "saveme", -1.0, passed=False), clip("c", "noise", -2.0)]
    assert scores.loudness(stopped, SCORER) == ([-1.0, -float("inf")], [-2.0])


def test_an_operating_point_costs_here_what_its_threshold_of_dev_costs_here() -> None:
    here = [clip("c", "saveme", -3.0), clip("d", "saveme", -9.0), clip("n", "noise", -40.0, 3600.0)]
    curves = [
        metrics.curve(*scores.loudness(each, SCORER), scores.negative_hours(each, SCORER)) for each in (dev(), here)
    ]
    one, tenth = thresholds.operating_points(dev(), (curves[0], curves[1]), 1.0, SCORER, (1.0, 0.1))[::-1]
    assert one["refused"] is None
    assert (one["false_alarms"], one["miss_rate"]) == (0, 0.5)
    assert one["per_hour_upper_95"] == pytest.approx(2.9957, abs=1e-4)  # rule of three: none in an hour
    assert (tenth["threshold"], tenth["per_hour_upper_95"]) == (None, None)
    assert "30 h" in tenth["refused"]


@pytest.mark.parametrize(
    ("rule", "text", "values", "decision"),
    [
        ("score", "살려주세요", {"helpme": -9.0, "saveme": -8.0}, "others"),
        ("score", "뭐라고요", {"helpme": -2.0, "saveme": -1.0}, "saveme"),
        ("score", "", {"helpme": -2.0, "saveme": -9.0}, "helpme"),
        ("score", "", {"helpme": -9.0, "saveme": -9.0}, "noise"),
        ("score", None, {"helpme": -1.0}, "noise"),
        ("both", "여기 사람 있어요 살려주세요", {"helpme": -1.0, "saveme": -9.0}, "saveme"),
        ("both", "안녕하세요", {"helpme": -1.0, "saveme": -9.0}, "helpme"),
        ("both", "안녕하세요", {"helpme": -9.0, "saveme": -9.0}, "others"),
        ("text", "안녕하세요", {"helpme": -1.0}, "others"),
    ],
)
def test_text_and_score_decide_as_the_rule_says(
    rule: Any, text: str | None, values: dict[str, float], decision: str
) -> None:
    assert KeywordMatcher(lexicons.shipped(), rule=rule, threshold=-3.0).decision(text, values) == decision
