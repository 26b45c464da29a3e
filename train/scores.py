"""Predictions to metrics.json: every score with its interval, and apart by SNR, scene, keyword, corpus and measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.corpora.lexicon import normalised
from train import metrics
from train.data import Prediction
from train.text import NOISE, edit_distance

IN_DOMAIN, OUT_OF_DOMAIN = "cochlscene", "ms-snsd"
AT = (0.1, 1.0, 10.0)  # false alarms per hour
MOST_SNRS = 12  # more values were drawn from a range and are grouped by 5 dB
BY: dict[str, Callable[[Prediction], str | None]] = {
    "scenario": lambda clip: clip.scenario,
    "scene": lambda clip: clip.scene,
    "keyword": lambda clip: clip.truth,
}


@dataclass(frozen=True, slots=True)
class Scorer:
    """What all scores share. keywords: of the lexicon, with that for other transcripts last. seed: of the intervals."""

    keywords: Sequence[str]
    seed: int

    @property
    def calls(self) -> Sequence[str]:
        """The keywords that raise an alarm."""
        return self.keywords[:-1]

    def is_alarm(self, clip: Prediction) -> bool:
        """Whether the decision is a call."""
        return clip.decision in self.calls

    def interval(
        self, counts: metrics.Counts, clips: Sequence[Prediction], statistic: metrics.Statistic, name: str
    ) -> dict[str, Any]:
        """A score with its interval, for JSON."""
        return asdict(metrics.interval(counts, self.groups(clips), statistic, self.seed, name))

    def share(self, clips: Sequence[Prediction], holds: Callable[[Prediction], bool], name: str) -> dict[str, Any]:
        """The share of the clips for which this holds, with its interval."""
        counts = np.array([[float(holds(clip)), 1.0] for clip in clips])
        return asdict(metrics.share(counts, self.groups(clips), self.seed, name))

    def groups(self, clips: Sequence[Prediction]) -> list[str]:
        """The group of each clip. Groups of different corpora are different groups."""
        return [f"{clip.corpus}/{clip.group}" for clip in clips]


def report(clips: Sequence[Prediction], scorer: Scorer, measures: Mapping[str, NDArray[np.float64]]) -> dict[str, Any]:
    """All scores of one split. measures: float64 [clips] by name, NaN where a clip has none; may be empty."""
    labelled = [clip for clip in clips if clip.truth is not None]
    speech = [clip for clip in labelled if clip.truth != NOISE]
    decoded = [clip for clip in clips if clip.text is not None]
    by_corpus = _by(labelled, scorer, lambda clip: clip.corpus)
    return {
        "counts": _counts(clips),
        "three_class": classes(speech, scorer, scorer.keywords, "three_class"),
        "four_class": classes(labelled, scorer, [*scorer.keywords, NOISE], "four_class"),
        "noise_as_others": classes(noise_as_others(labelled, scorer), scorer, scorer.keywords, "noise_as_others"),
        "decided_noise": decided_noise(labelled, scorer),
        "noise": noise(labelled, scorer),
        "cer": {"decoded": cer(decoded, scorer), "cascade": cer(clips, scorer)},
        "alarms": alarms(labelled, scorer, "alarms"),
        "by": {
            "snr_db": _by(labelled, scorer, _snr_of(labelled)),
            **{name: _by(labelled, scorer, key) for name, key in BY.items()},
            "corpus": [
                part | {"four_class": classes(own, scorer, [*scorer.keywords, NOISE], f"by {part['value']} four_class")}
                for part in by_corpus
                for own in [[clip for clip in labelled if clip.corpus == part["value"]]]
            ],
            **{name: _by(labelled, scorer, _quarter_of(clips, values)) for name, values in measures.items()},
        },
    }


def _counts(clips: Sequence[Prediction]) -> dict[str, Any]:
    labels = sorted({clip.truth for clip in clips if clip.truth})
    return {
        "clips": len(clips),
        "hours": sum(clip.seconds for clip in clips) / 3600,
        "groups": len({(clip.corpus, clip.group) for clip in clips}),
        "cut_to_30_s": sum(clip.cut for clip in clips),
        "without_truth": sum(clip.truth is None for clip in clips),
        "truth": {label: sum(clip.truth == label for clip in clips) for label in labels},
    }


def classes(clips: Sequence[Prediction], scorer: Scorer, labels: Sequence[str], name: str) -> dict[str, Any]:
    """Accuracy, balanced accuracy, macro F1, F1 of each label and the confusion matrix (rows are the truth).

    largest_class: the accuracy of one constant answer, the best of them.

    Among the three keywords the truth is never noise, but a decision may be, where the gate stopped speech. That is an
    error and stands in a column of its own; it has no F1. Macro F1 is the mean over the labels that clips truly have.
    """
    columns = [*labels, *([NOISE] if NOISE not in labels else [])]
    counts = metrics.confusion([str(clip.truth) for clip in clips], [clip.decision for clip in clips], columns)
    macro: metrics.Statistic = lambda counts: metrics.macro_f1(counts, len(labels))  # noqa: E731
    each = [scorer.interval(counts, clips, metrics.f1_of(n), f"{name} f1 {label}") for n, label in enumerate(labels)]
    return {
        "labels": list(columns),
        "clips": len(clips),
        "accuracy": scorer.share(clips, lambda clip: clip.decision == clip.truth, f"{name} accuracy"),
        "balanced_accuracy": scorer.interval(counts, clips, metrics.balanced_accuracy, f"{name} balanced_accuracy"),
        "largest_class": float(counts.sum((0, 2)).max() / len(clips)) if clips else None,
        "macro_f1": scorer.interval(counts, clips, macro, f"{name} macro_f1"),
        "f1": dict(zip(labels, each, strict=True)),
        "confusion": counts.sum(0).astype(int).tolist(),
    }


def decided_noise(clips: Sequence[Prediction], scorer: Scorer) -> dict[str, dict[str, int]]:
    """Clips of each truth with the decision noise, by what led to it.

    stopped: the gate, or the class of a classifier; nothing_said: it passed, and the decoder wrote no text.
    """
    found = {label: {"stopped": 0, "nothing_said": 0} for label in (*scorer.keywords, NOISE)}
    for clip in clips:
        if clip.decision == NOISE:
            found[str(clip.truth)]["nothing_said" if clip.passed else "stopped"] += 1
    return found


def noise_as_others(clips: Sequence[Prediction], scorer: Scorer) -> list[Prediction]:
    """The clips of three classes in all: noise, true or decided, is the keyword for other speech."""
    plain: Callable[[str | None], str] = lambda label: scorer.keywords[-1] if label == NOISE else str(label)  # noqa: E731
    return [replace(clip, truth=plain(clip.truth), decision=plain(clip.decision)) for clip in clips]


def four_class_macro_f1(clips: Sequence[Prediction], keywords: Sequence[str]) -> float:
    """Macro F1 over keywords and noise, without an interval; 0.0 where no clip has a truth."""
    labelled = [clip for clip in clips if clip.truth is not None]
    if not labelled:
        return 0.0
    truth, decisions = [str(clip.truth) for clip in labelled], [clip.decision for clip in labelled]
    return float(metrics.macro_f1(metrics.confusion(truth, decisions, [*keywords, NOISE]).sum(0)))


def noise(clips: Sequence[Prediction], scorer: Scorer) -> dict[str, Any]:
    """How well the gate tells noise from speech: in the corpus of training, and out of it with speech-like kinds apart.

    accuracy: share of the noise clips that the gate stopped (the paper's Table III). f1: of noise, against all speech
    of the split. Without a head both have no value. nothing_said: share of the noise clips that passed, and for which
    the decoder wrote no text.
    """
    speech = [clip for clip in clips if clip.truth != NOISE]
    all_noise = [clip for clip in clips if clip.truth == NOISE]
    outside = [clip for clip in all_noise if clip.corpus == OUT_OF_DOMAIN]
    sets = {
        "all": all_noise,
        "in_domain": [clip for clip in all_noise if clip.corpus == IN_DOMAIN],
        "out_of_domain": outside,
        "out_of_domain_speech_like": [clip for clip in outside if clip.speech_like],
        "out_of_domain_other": [clip for clip in outside if not clip.speech_like],
    }
    scores: dict[str, Any] = {}
    for name, part in sets.items():
        judged = [clip for clip in part if clip.p_speech is not None]
        both = [clip for clip in (*part, *speech) if clip.p_speech is not None] if part else []
        truth = [NOISE if clip.truth == NOISE else "speech" for clip in both]
        counts = metrics.confusion(truth, ["speech" if clip.passed else NOISE for clip in both], ["speech", NOISE])
        scores[name] = {
            "clips": len(part),
            "accuracy": scorer.share(judged, lambda clip: not clip.passed, f"noise {name}"),
            "f1": scorer.interval(counts, both, metrics.f1_of(1), f"noise f1 {name}"),
            "nothing_said": scorer.share(
                part, lambda clip: clip.passed and clip.decision == NOISE, f"noise nothing_said {name}"
            ),
        }
    return scores | {"speech_stopped": scorer.share(speech, lambda clip: not clip.passed, "speech stopped")}


def cer(clips: Sequence[Prediction], scorer: Scorer) -> dict[str, Any]:
    """Character error rate: all errors over all characters, without white space and punctuation.

    All characters of a clip that the gate stopped are errors. Clips without a transcript are not counted.
    """
    spoken = [
        clip
        for clip in clips
        if clip.truth != NOISE and not clip.is_classified and clip.transcript and normalised(clip.transcript)
    ]
    pairs = [(normalised(clip.text or ""), normalised(clip.transcript or "")) for clip in spoken]
    counts = np.array([[float(edit_distance(text, true)), float(len(true))] for text, true in pairs])
    return {"clips": len(spoken), **scorer.interval(counts, spoken, metrics.ratio, "cer")}


def alarms(clips: Sequence[Prediction], scorer: Scorer, name: str) -> dict[str, Any]:
    """False alarms per hour of negative audio, and calls that were missed.

    Negative audio is noise, and speech that is no call; a clip of it with a call as decision is one false alarm. A call
    is missed where no alarm is raised; the wrong call is an alarm, and is counted apart. upper_95: exact Poisson bound.
    """
    negatives = [clip for clip in clips if clip.truth not in scorer.calls]
    calls = [clip for clip in clips if clip.truth in scorer.calls]
    hours = sum(clip.seconds for clip in negatives) / 3600
    false = sum(scorer.is_alarm(clip) for clip in negatives)
    counts = np.array([[float(scorer.is_alarm(clip)), clip.seconds / 3600] for clip in negatives])
    return {
        "negative_clips": len(negatives),
        "negative_hours": hours,
        "false_alarms": false,
        "per_hour": asdict(metrics.rate(counts, scorer.groups(negatives), scorer.seed, f"{name} per_hour")),
        "per_hour_upper_95": metrics.poisson_upper(false) / hours if hours else None,
        "calls": len(calls),
        "missed": sum(not scorer.is_alarm(clip) for clip in calls),
        "miss_rate": scorer.share(calls, lambda clip: not scorer.is_alarm(clip), f"{name} missed"),
        "wrong_call": sum(scorer.is_alarm(clip) and clip.decision != clip.truth for clip in calls),
    }


def _by(clips: Sequence[Prediction], scorer: Scorer, key: Callable[[Prediction], str | None]) -> list[dict[str, Any]]:
    """The main scores of each part of the clips, by the name of the part; clips without a name are not counted."""
    parts: dict[str, list[Prediction]] = {}
    for clip in clips:
        if (name := key(clip)) is not None:
            parts.setdefault(name, []).append(clip)

    def numeric(name: str) -> tuple[float, str]:
        try:
            return float(name.split(" ")[0]), name
        except ValueError:
            return 0.0, name

    return [
        {
            "value": name,
            "clips": len(parts[name]),
            "accuracy": scorer.share(parts[name], lambda clip: clip.decision == clip.truth, f"by {name}"),
            "stopped": sum(not clip.passed for clip in parts[name]),
            **alarms(parts[name], scorer, f"by {name}"),
        }
        for name in sorted(parts, key=numeric)
    ]


def _snr_of(clips: Sequence[Prediction]) -> Callable[[Prediction], str | None]:
    """The SNR of a clip by its value, or by 5 dB where SNRs were drawn from a range."""
    values = {clip.snr_db for clip in clips if clip.snr_db is not None}
    if len(values) <= MOST_SNRS:
        return lambda clip: None if clip.snr_db is None else f"{clip.snr_db:g}"
    return lambda clip: None if clip.snr_db is None else f"{clip.snr_db // 5 * 5:g} to {clip.snr_db // 5 * 5 + 5:g}"


def _quarter_of(clips: Sequence[Prediction], values: NDArray[np.float64]) -> Callable[[Prediction], str | None]:
    """The quarter of the clips that a clip is in by a measure, `LOWEST to HIGHEST`. Equal values are in one quarter."""
    known = np.isfinite(values)
    if not known.any():
        return lambda clip: None
    quarters = np.searchsorted(np.unique(np.quantile(values[known], [0.25, 0.5, 0.75])), values)
    names = {}
    for quarter in np.unique(quarters[known]).tolist():
        members = known & (quarters == quarter)
        ends = dict.fromkeys(f"{end(values[members]):.4g}" for end in (np.min, np.max))
        names |= dict.fromkeys((clips[n].id for n in np.flatnonzero(members)), " to ".join(ends))
    return lambda clip: names.get(clip.id)


def call_score(clip: Prediction, calls: Sequence[str]) -> float:
    """What a threshold of the gate is compared with.

    It is p_speech of the head (without a head the confidence of the decoder) where the decision without the gate is a
    call, else -inf. Of a classifier it is the probability of all calls.
    """
    if clip.is_classified:
        return sum(clip.probabilities[: len(calls)])
    if clip.ungated_decision not in calls:
        return -math.inf
    return float(clip.p_speech if clip.p_speech is not None else clip.ungated_confidence or 0.0)


def negative_hours(clips: Sequence[Prediction], scorer: Scorer) -> float:
    """Hours of noise, and of speech that is no call."""
    return sum(clip.seconds for clip in clips if clip.truth is not None and clip.truth not in scorer.calls) / 3600


def trade_off(clips: Sequence[Prediction], scorer: Scorer) -> list[metrics.Point]:
    """The curve of false alarms per hour against missed calls by the gate; the clips have their ungated decisions."""
    calls = [call_score(clip, scorer.calls) for clip in clips if clip.truth in scorer.calls]
    negatives = [call_score(clip, scorer.calls) for clip in clips if clip.truth not in (None, *scorer.calls)]
    return metrics.curve(calls, negatives, negative_hours(clips, scorer))


def loudness(clips: Sequence[Prediction], scorer: Scorer) -> tuple[list[float], list[float]]:
    """(the highest score of each call, that of each negative); -inf for a clip that the gate stopped."""
    calls, negatives = [], []
    for clip in clips:
        if clip.truth is not None:
            value = max(clip.scores, default=-math.inf) if clip.passed else -math.inf
            (calls if clip.truth in scorer.calls else negatives).append(value)
    return calls, negatives


def detection(clips: Sequence[Prediction], scorer: Scorer) -> dict[str, Any] | None:
    """The trade-off of thresholds on the score, the gate as it is; None where calls or negatives are missing.

    points: misses for every count of false alarms on a scale of about 40; at: misses at AT false alarms per hour, None
    where the negatives are too short to tell: without one in H hours the rate is under 3 / H. area: under the curve.
    """
    calls = [clip for clip in clips if clip.truth in scorer.calls]
    negatives = [clip for clip in clips if clip.truth not in (None, *scorer.calls)]
    values, hours = loudness(clips, scorer), negative_hours(clips, scorer)
    if not calls or not negatives or not any(clip.scores for clip in clips):
        return None
    counts = np.unique([0, *np.geomspace(1, len(negatives), 40).round()])
    rates = [*(counts / hours).tolist(), *AT]
    missed, area = metrics.detection(
        metrics.Scored(np.array(values[0]), scorer.groups(calls), np.ones(len(calls))),
        metrics.Scored(np.array(values[1]), scorer.groups(negatives), np.array([c.seconds / 3600 for c in negatives])),
        rates,
        scorer.seed,
        "detection",
    )
    each = [{"per_hour": rate, "miss_rate": asdict(share)} for rate, share in zip(rates, missed, strict=True)]
    at = [{**one, "hours_needed": metrics.poisson_upper(0) / one["per_hour"]} for one in each[len(counts) :]]
    for one in at:
        if one["hours_needed"] > hours:
            one["miss_rate"] = None
    return {"negative_hours": hours, "area": asdict(area), "points": each[: len(counts)], "at": at}
