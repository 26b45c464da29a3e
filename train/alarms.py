"""Events of a stream against what is truly said in it: hits, duplicates, false alarms, misses, times. Numbers alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from train import metrics

Verdict = Literal["hit", "duplicate", "false alarm"]


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is truly said. start, end: s. keyword: of a call, else None. kind: `call`, or what else it is."""

    recording: str
    start: float
    end: float
    keyword: str | None
    kind: str
    snr_db: float | None = None
    source_id: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What a detector reports. start, end: of the call, s. known: second of the stream at which it reports it."""

    recording: str
    start: float
    end: float
    keyword: str
    known: float


@dataclass(frozen=True, slots=True)
class Judged:
    """An event, its verdict, and the utterance that it is about: its call, or what it took for one; None for noise."""

    event: Event
    verdict: Verdict
    about: Utterance | None


def judged(events: Sequence[Event], truth: Sequence[Utterance], tolerance_s: float) -> list[Judged]:
    """The verdict on each event, in order of time.

    An event is of the call that it overlaps, or is at most so many seconds away from: of several the one whose start is
    nearest. A call has one hit, the first; further events of it are duplicates. Any other event is a false alarm, about
    the other utterance that it overlaps in the same way, or about noise.
    """
    near: dict[str, list[Utterance]] = defaultdict(list)
    for utterance in truth:
        near[utterance.recording].append(utterance)
    heard: set[Utterance] = set()
    verdicts = []
    for event in sorted(events, key=lambda each: (each.recording, each.start, each.known)):
        about = [
            each
            for each in near[event.recording]
            if event.start <= each.end + tolerance_s and each.start - tolerance_s <= event.end
        ]
        about.sort(key=lambda each: (each.keyword is None, each in heard, abs(each.start - event.start)))
        first = about[0] if about else None
        if first is None or first.keyword is None:
            verdicts.append(Judged(event, "false alarm", first))
        else:
            verdicts.append(Judged(event, "duplicate" if first in heard else "hit", first))
            heard.add(first)
    return verdicts


def scores(
    verdicts: Sequence[Judged], truth: Sequence[Utterance], seconds: Mapping[str, float], refractory_s: float
) -> dict[str, Any]:
    """What the verdicts come to. seconds: length of each recording.

    A call that begins less than the refractory time after a hit cannot be an event of its own: it is `covered`, neither
    hit nor miss. Rates are bounded at 95 % by Poisson (3 over the hours where there is no false alarm), shares by the
    exact binomial interval.
    """
    calls = [each for each in truth if each.keyword is not None]
    hits = {each.about: each.event for each in verdicts if each.verdict == "hit" and each.about is not None}
    covered = {
        call
        for call in calls
        if call not in hits
        and any(hit.recording == call.recording and 0 < call.start - hit.start < refractory_s for hit in hits)
    }
    counted = [call for call in calls if call not in covered]
    false_alarms = [each for each in verdicts if each.verdict == "false alarm"]
    hours = sum(seconds.values()) / 3600
    kinds = Counter(each.about.kind if each.about else "noise" for each in false_alarms)
    upper = metrics.poisson_upper(len(false_alarms)) / hours
    return {
        "hours": hours,
        "calls": len(calls),
        "covered": len(covered),
        "hits": _share(len(hits), len(counted)),
        "right_keyword": _share(sum(call.keyword == event.keyword for call, event in hits.items()), len(hits)),
        "misses": len(counted) - len(hits),
        "duplicates": sum(each.verdict == "duplicate" for each in verdicts),
        "false_alarms": {
            "count": len(false_alarms),
            "per_hour": len(false_alarms) / hours,
            "per_hour_upper_95": upper,
            "per_day": 24 * len(false_alarms) / hours,
            "per_day_upper_95": 24 * upper,
            "by_kind": dict(sorted(kinds.items())),
        },
        "hits_by_snr": {
            f"{snr:g}": _share(sum(call in hits for call in counted if call.snr_db == snr), count)
            for snr, count in sorted(Counter(call.snr_db for call in counted if call.snr_db is not None).items())
        },
        "start_error_s": _spread([abs(event.start - call.start) for call, event in hits.items()]),
        "latency_s": _spread([event.known - call.end for call, event in hits.items()]),
    }


def _share(count: int, total: int) -> dict[str, Any]:
    low, high = metrics.binomial(count, total)
    return {"count": count, "of": total, "share": count / total if total else None, "low": low, "high": high}


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Median, 95th percentile and largest of these; None where there are none."""
    names = ("median", "p95", "most")
    if not values:
        return dict.fromkeys(names)
    return dict(zip(names, np.quantile(values, [0.5, 0.95, 1.0]).tolist(), strict=True))
