"""Thresholds chosen on dev: of the noise gate, of the score, of operating points; or refused, for dev cannot tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from pipeline.core.errors import PrepError
from train import metrics, scores
from train.data import Prediction
from train.metrics import Point
from train.scores import Scorer
from train.text import NOISE, KeywordMatcher

GATE = 0.5  # where nothing says better
SENTENCES = 200  # of other speech in dev, without which a rate of false alarms says nothing of what only sounds alike


@dataclass(frozen=True, slots=True)
class Threshold:
    """A threshold and how it was chosen.

    value: None where there is none. source: a sentence on the choice. dev: what it does on dev. chosen: whether dev
    chose it just now; open: whether dev may choose another.
    """

    value: float | None
    source: str
    dev: Mapping[str, Any] | None = None
    chosen: bool = False
    open: bool = False


def gate_before(given: float | None, kept: Mapping[str, Any], *, has_head: bool, wanted: bool = True) -> Threshold:
    """The gate's threshold before dev is heard: given, or kept in the checkpoint, or GATE; none without a head."""
    if not has_head:
        return Threshold(None, "none: the model has no noise head; every clip is decoded")
    if not wanted:
        return Threshold(None, "off (--no-gate); every clip is decoded")
    if given is not None:
        return Threshold(given, f"threshold {given:g}, given")
    if kept.get("gate") is not None:
        return Threshold(float(kept["gate"]), _kept(f"{kept['gate']:.4f}", kept), open=True)
    return Threshold(GATE, f"threshold {GATE:g}, for no dev split to choose one on", open=True)


def of_classifier(given: float | None, usual: float | None = None) -> Threshold:
    """The least probability of a call that is one: given, or the usual; without any the likeliest class decides."""
    value = usual if given is None else given
    if value is None:
        return Threshold(None, "none: the likeliest class decides")
    return Threshold(value, f"none: a call is what has a probability of {value:g} or more")


def score_before(given: float | None, kept: Mapping[str, Any]) -> Threshold:
    """The score's threshold before dev is heard: given, or kept in the checkpoint, or none."""
    if given is not None:
        return Threshold(given, f"threshold {given:g}, given")
    if kept.get("score") is not None:
        return Threshold(float(kept["score"]), _kept(f"{kept['score']:.3f}", kept), open=True)
    return Threshold(None, "no threshold, for no dev split to choose one on", open=True)


def _kept(value: str, kept: Mapping[str, Any]) -> str:
    return f"threshold {value}, kept in the checkpoint (chosen on dev of {kept.get('manifest', 'an earlier manifest')})"


def decides(matcher: KeywordMatcher, score: Threshold | None) -> KeywordMatcher:
    """The matcher with a threshold of the score. PrepError where it needs one and there is none."""
    if score is None or score.value is None:
        if matcher.needs_scores:
            raise PrepError(
                f"--decision {matcher.rule}: {score.source if score else 'no score'}: give --score-threshold, or run"
                " evaluate --checkpoint on a manifest with a dev split, which keeps one in the checkpoint"
            )
        return matcher
    return replace(matcher, threshold=score.value)


def passes(clip: Prediction, gate: float | None) -> bool:
    """Whether a clip passes a gate."""
    return gate is None or clip.p_speech is None or clip.p_speech >= gate


def gate(clips: Sequence[Prediction], lost_speech: float | None) -> Threshold:
    """The gate's threshold from dev: largest mean of speech passed and noise stopped, or at a limit on lost speech.

    lost_speech: the largest share of dev's speech that it may stop; PrepError where dev has too few clips to know.
    """
    speech = [clip.p_speech for clip in clips if clip.truth != NOISE and clip.p_speech is not None]
    noise = [clip.p_speech for clip in clips if clip.truth == NOISE and clip.p_speech is not None]
    if lost_speech is not None and len(speech) * lost_speech < 1:
        needed = f"{math.ceil(1 / lost_speech):,} are needed" if lost_speech else "no number of clips is enough"
        raise PrepError(
            f"--lost-speech {lost_speech:g}: dev has {len(speech):,} clips of speech, {needed} to know such a share"
        )
    if not speech or not noise:
        reason = f"dev has {len(speech)} clips of speech and {len(noise)} of noise, both are needed to choose one"
        return Threshold(GATE, f"threshold {GATE:g}, for {reason}")
    by = "largest mean of speech passed and noise stopped"
    threshold = metrics.balanced_threshold(speech, noise, GATE)
    if lost_speech is not None:
        by = f"highest that stops at most {100 * lost_speech:g} % of speech"
        threshold = float(np.sort(speech)[int(len(speech) * lost_speech)])
    passed = sum(share >= threshold for share in speech) / len(speech)
    stopped = sum(share < threshold for share in noise) / len(noise)
    counts = {"speech_clips": len(speech), "noise_clips": len(noise), "speech_passed": passed, "noise_stopped": stopped}
    source = (
        f"threshold {threshold:.4f}, chosen on dev ({len(clips)} clips; {passed:.1%} of speech pass,"
        f" {stopped:.1%} of noise are stopped)"
    )
    return Threshold(threshold, source, counts | {"by": by}, chosen=True)


def score(clips: Sequence[Prediction], scorer: Scorer, rates: Sequence[float]) -> Threshold:
    """The score's threshold from dev: the lowest with at most so many false alarms per hour, by the lowest rate.

    Where dev is too small for each of the rates: that which tells calls from all else best. No threshold where dev
    lacks one of the two. clips: with the gate as it is set.
    """
    calls, negatives = scores.loudness(clips, scorer)
    hours = scores.negative_hours(clips, scorer)
    counts: dict[str, Any] = {"calls": len(calls), "negatives": len(negatives), "negative_hours": hours}
    faults = [fault(clips, scorer, rate) for rate in sorted(rates)]
    if None in faults:
        rate = sorted(rates)[faults.index(None)]
        threshold = metrics.lowest_threshold(metrics.curve(calls, negatives, hours), rate)
        by, reason = f"lowest with at most {rate:g} false alarms per hour", ""
    elif calls and negatives:
        threshold = metrics.balanced_threshold(calls, negatives, 0.0)
        by, reason = "largest mean of calls found and other clips let be", f"; no rate of false alarms: {faults[-1]}"
    else:
        return Threshold(None, f"none: dev has {len(calls)} calls and {len(negatives)} other clips, both are needed")
    found = sum(value >= threshold for value in calls) / max(len(calls), 1)
    false = sum(value >= threshold for value in negatives)
    source = (
        f"threshold {threshold:.3f}, {by} on dev ({found:.1%} of {len(calls):,} calls, {false:,} of"
        f" {len(negatives):,} other clips){reason}"
    )
    return Threshold(threshold, source, counts | {"calls_found": found, "false_alarms": false, "by": by}, chosen=True)


def fault(clips: Sequence[Prediction], scorer: Scorer, per_hour: float) -> str | None:
    """Why these clips cannot tell where a rate of false alarms is kept to; None where they can.

    Without a false alarm in H hours the rate is under 3 / H at 95 % (rule of three). What sounds like a call is rare
    among little speech, and then the rate of noise alone is known.
    """
    hours = scores.negative_hours(clips, scorer)
    sentences = sum(clip.truth not in (None, NOISE, *scorer.calls) for clip in clips)
    needed = metrics.poisson_upper(0) / per_hour if per_hour else math.inf
    if hours >= needed and sentences >= SENTENCES:
        return None
    return (
        f"{per_hour:g} per hour needs {needed:.2g} h of negatives and {SENTENCES} clips of other speech, dev has"
        f" {hours:.2g} h and {sentences}"
    )


def operating_points(
    dev: Sequence[Prediction],
    curves: tuple[Sequence[Point], Sequence[Point]],
    hours: float,
    scorer: Scorer,
    rates: Sequence[float],
) -> list[dict[str, Any]]:
    """For each rate of false alarms per hour: the threshold that keeps to it on dev, and what it costs on a split.

    curves: the trade-off on dev, and on the split. hours: of negatives in the split. A point that dev cannot tell is
    refused, in words.
    """
    points = []
    for rate in sorted(rates):
        refused = fault(dev, scorer, rate)
        costs: dict[str, Any] = {"threshold": None, "false_alarms": None, "per_hour": None, "miss_rate": None}
        bound = None
        if refused is None:
            threshold = metrics.lowest_threshold(curves[0], rate)
            here = next(point for point in curves[1] if point.threshold >= threshold)
            costs = asdict(replace(here, threshold=threshold))
            bound = metrics.poisson_upper(here.false_alarms) / hours if hours else None
        points.append({"dev_per_hour": rate, "refused": refused, **costs, "per_hour_upper_95": bound})
    return points
