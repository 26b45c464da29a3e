"""Judged clips to metrics.json: every score with its interval, and apart by SNR, scenario, scene, keyword and corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pipeline.corpora.lexicon import normalised
from train import metrics
from train.cascade import Judged
from train.keywords import NOISE, edits

IN_DOMAIN, OUT_OF_DOMAIN = "cochlscene", "ms-snsd"
MOST_SNRS = 12  # more values than that were drawn from a range, and are put together by 5 dB
BY: dict[str, Callable[[Judged], str | None]] = {
    "scenario": lambda clip: clip.scenario,
    "scene": lambda clip: clip.scene,
    "keyword": lambda clip: clip.truth,
    "corpus": lambda clip: clip.corpus,
}


@dataclass(frozen=True, slots=True)
class Judge:
    """What all scores share. keywords: of the lexicon, that for other transcripts last."""

    keywords: Sequence[str]
    seed: int

    @property
    def calls(self) -> Sequence[str]:
        """Keywords that raise an alarm."""
        return self.keywords[:-1]

    def interval(
        self, counts: metrics.Counts, clips: Sequence[Judged], statistic: metrics.Statistic, name: str
    ) -> dict[str, Any]:
        """A score with its interval, for JSON. Groups are told apart by corpus."""
        return asdict(
            metrics.interval(counts, [f"{clip.corpus}/{clip.group}" for clip in clips], statistic, self.seed, name)
        )

    def alarm(self, clip: Judged) -> bool:
        """Whether the clip was decided to be a call."""
        return clip.decision in self.calls


def report(clips: Sequence[Judged], judge: Judge) -> dict[str, Any]:
    """All scores of one split."""
    known = [clip for clip in clips if clip.truth is not None]
    speech = [clip for clip in known if clip.truth != NOISE]
    return {
        "counts": _counts(clips),
        "three_class": classes(speech, judge, judge.keywords, "three_class"),
        "four_class": classes(known, judge, [*judge.keywords, NOISE], "four_class"),
        "noise": noise(known, judge),
        "cer": {"decoded": cer([clip for clip in clips if clip.text is not None], judge), "cascade": cer(clips, judge)},
        "alarms": alarms(known, judge, "alarms"),
        "by": {
            "snr_db": _by(known, judge, _snr_of(known)),
            **{name: _by(known, judge, key) for name, key in BY.items()},
        },
    }


def _counts(clips: Sequence[Judged]) -> dict[str, Any]:
    return {
        "clips": len(clips),
        "hours": sum(clip.seconds for clip in clips) / 3600,
        "groups": len({(clip.corpus, clip.group) for clip in clips}),
        "cut_to_30_s": sum(clip.cut for clip in clips),
        "without_truth": sum(clip.truth is None for clip in clips),
        "truth": {
            label: sum(clip.truth == label for clip in clips)
            for label in sorted({clip.truth for clip in clips if clip.truth})
        },
    }


def classes(clips: Sequence[Judged], judge: Judge, labels: Sequence[str], name: str) -> dict[str, Any]:
    """Accuracy, macro F1, F1 of each label and the confusion matrix (rows are the truth).

    Among the three keywords the truth is never noise, but a decision may be: the gate stopped speech. That is an error, and
    stands in a column of its own; it has no F1.
    """
    wide = [*labels, *([NOISE] if NOISE not in labels else [])]
    counts = metrics.confusion([str(clip.truth) for clip in clips], [clip.decision for clip in clips], wide)
    whole = counts.sum(0)
    return {
        "labels": list(wide),
        "clips": len(clips),
        "accuracy": judge.interval(counts, clips, metrics.accuracy, f"{name} accuracy"),
        "macro_f1": judge.interval(counts, clips, lambda held: _macro(held, len(labels)), f"{name} macro_f1"),
        "f1": {
            label: judge.interval(counts, clips, metrics.f1_of(n), f"{name} f1 {label}")
            for n, label in enumerate(labels)
        },
        "confusion": whole.astype(int).tolist(),
    }


def _macro(counts: metrics.Counts, labels: int) -> metrics.Counts:
    """Mean F1 of the first labels that are there."""
    each = metrics.f1(counts)[..., :labels]
    there = np.isfinite(each)
    with np.errstate(invalid="ignore"):
        return np.where(there, each, 0.0).sum(-1) / there.sum(-1)


def four_class_macro_f1(clips: Sequence[Judged], keywords: Sequence[str]) -> float:
    """Macro F1 over keywords and noise, without an interval; 0.0 where no clip has a truth."""
    known = [clip for clip in clips if clip.truth is not None]
    if not known:
        return 0.0
    counts = metrics.confusion(
        [str(clip.truth) for clip in known], [clip.decision for clip in known], [*keywords, NOISE]
    )
    return float(metrics.macro_f1(counts.sum(0)))


def noise(clips: Sequence[Judged], judge: Judge) -> dict[str, Any]:
    """Noise told from speech by the gate: in the corpus that was trained on, and out of it, speech-like kinds apart.

    accuracy: share of the noise clips that the gate stopped (the paper's Table III). f1: of noise, against all speech of
    the split. Without a head both have no value.
    """
    speech = [clip for clip in clips if clip.truth != NOISE]
    held = [clip for clip in clips if clip.truth == NOISE]
    outside = [clip for clip in held if clip.corpus == OUT_OF_DOMAIN]
    sets = {
        "all": held,
        "in_domain": [clip for clip in held if clip.corpus == IN_DOMAIN],
        "out_of_domain": outside,
        "out_of_domain_speech_like": [clip for clip in outside if clip.speech_like],
        "out_of_domain_other": [clip for clip in outside if not clip.speech_like],
    }
    found = {name: _stopped(part, speech, judge, name) for name, part in sets.items()}
    return found | {"speech_stopped": _share(speech, judge, lambda clip: not clip.passed, "speech stopped")}


def _stopped(held: Sequence[Judged], speech: Sequence[Judged], judge: Judge, name: str) -> dict[str, Any]:
    both = [clip for clip in (*held, *speech) if clip.p_speech is not None] if held else []
    words = ["speech" if clip.passed else NOISE for clip in both]
    counts = metrics.confusion([NOISE if clip.truth == NOISE else "speech" for clip in both], words, ["speech", NOISE])
    return {
        "clips": len(held),
        "accuracy": _share(
            [clip for clip in held if clip.p_speech is not None], judge, lambda clip: not clip.passed, f"noise {name}"
        ),
        "f1": judge.interval(counts, both, metrics.f1_of(1), f"noise f1 {name}"),
    }


def _share(clips: Sequence[Judged], judge: Judge, holds: Callable[[Judged], bool], name: str) -> dict[str, Any]:
    return judge.interval(np.array([[float(holds(clip)), 1.0] for clip in clips]), clips, metrics.ratio, name)


def cer(clips: Sequence[Judged], judge: Judge) -> dict[str, Any]:
    """Character error rate, all errors over all characters, white space and punctuation removed.

    A clip that was stopped said nothing: all its characters are errors. Clips without a transcript stand aside.
    """
    told = [clip for clip in clips if clip.truth != NOISE and clip.transcript and normalised(clip.transcript)]
    pairs = [(normalised(clip.text or ""), normalised(clip.transcript or "")) for clip in told]
    counts = np.array([[float(edits(said, wanted)), float(len(wanted))] for said, wanted in pairs])
    return {"clips": len(told), **judge.interval(counts, told, metrics.ratio, "cer")}


def alarms(clips: Sequence[Judged], judge: Judge, name: str) -> dict[str, Any]:
    """False alarms per hour of negative audio, and calls missed.

    Negative audio is noise and speech that is no call; a clip of it that is decided to be a call is one false alarm.
    A call is missed where no alarm is raised; the wrong call is an alarm, and counted apart. upper_95: exact Poisson bound.
    """
    negatives = [clip for clip in clips if clip.truth not in judge.calls]
    calls = [clip for clip in clips if clip.truth in judge.calls]
    hours = sum(clip.seconds for clip in negatives) / 3600
    false = sum(judge.alarm(clip) for clip in negatives)
    counts = np.array([[float(judge.alarm(clip)), clip.seconds / 3600] for clip in negatives])
    return {
        "negative_clips": len(negatives),
        "negative_hours": hours,
        "false_alarms": false,
        "per_hour": judge.interval(counts, negatives, metrics.ratio, f"{name} per_hour"),
        "per_hour_upper_95": metrics.poisson_upper(false) / hours if hours else None,
        "calls": len(calls),
        "missed": sum(not judge.alarm(clip) for clip in calls),
        "miss_rate": _share(calls, judge, lambda clip: not judge.alarm(clip), f"{name} missed"),
        "wrong_call": sum(judge.alarm(clip) and clip.decision != clip.truth for clip in calls),
    }


def _by(clips: Sequence[Judged], judge: Judge, key: Callable[[Judged], str | None]) -> list[dict[str, Any]]:
    """The main scores of each part of the clips, by the part's name; clips without a name stand aside."""
    parts: dict[str, list[Judged]] = {}
    for clip in clips:
        if (name := key(clip)) is not None:
            parts.setdefault(name, []).append(clip)
    return [
        {"value": name, **_part(part, judge, name)}
        for name, part in sorted(parts.items(), key=lambda item: _numeric(item[0]))
    ]


def _part(part: Sequence[Judged], judge: Judge, name: str) -> dict[str, Any]:
    right = _share(part, judge, lambda clip: clip.decision == clip.truth, f"by {name}")
    return {
        "clips": len(part),
        "accuracy": right,
        "stopped": sum(not clip.passed for clip in part),
        **alarms(part, judge, f"by {name}"),
    }


def _numeric(name: str) -> tuple[float, str]:
    try:
        return float(name.split(" ")[0]), name
    except ValueError:
        return 0.0, name


def _snr_of(clips: Sequence[Judged]) -> Callable[[Judged], str | None]:
    """SNR by value, or by 5 dB where it was drawn from a range."""
    values = {clip.snr_db for clip in clips if clip.snr_db is not None}
    if len(values) <= MOST_SNRS:
        return lambda clip: None if clip.snr_db is None else f"{clip.snr_db:g}"
    return lambda clip: None if clip.snr_db is None else f"{clip.snr_db // 5 * 5:g} to {clip.snr_db // 5 * 5 + 5:g}"


def call_score(clip: Judged, calls: Sequence[str]) -> float:
    """What a threshold on alarms is compared with: the head's p_speech (the decoder's confidence without a head) where the
    clip would be decided a call if nothing were stopped, else 0.0.
    """
    if clip.ungated_decision not in calls:
        return 0.0
    return float(clip.p_speech if clip.p_speech is not None else clip.ungated_confidence or 0.0)


def trade_off(clips: Sequence[Judged], judge: Judge) -> list[metrics.Point]:
    """The curve of false alarms per hour against missed calls; clips judged with ungated=True."""
    known = [clip for clip in clips if clip.truth is not None]
    negatives = [clip for clip in known if clip.truth not in judge.calls]
    calls = [call_score(clip, judge.calls) for clip in known if clip.truth in judge.calls]
    hours = sum(clip.seconds for clip in negatives) / 3600
    return metrics.curve(calls, [call_score(clip, judge.calls) for clip in negatives], hours)
