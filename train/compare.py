"""Evaluations of the same clips side by side: the paper's Tables II and III, and paired differences to the first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import PrepError
from train import data, metrics, report, tables
from train.cascade import Judged
from train.evaluate import METRICS, PREDICTIONS
from train.keywords import NOISE


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one run of evaluate left."""

    folder: Path
    told: dict[str, Any]
    clips: list[Judged]

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return str(self.told["name"])


def compare(folders: Sequence[Path], seed: int, out: Path | None = None, *, as_json: bool) -> str:
    """The tables, or all of it as JSON; a page too where `out` names one. PrepError where the evaluations are not of the same clips."""
    runs = _told_apart([read(folder) for folder in folders])
    _same(runs)
    told = {"runs": [_row(run) for run in runs], "differences": [_differences(runs[0], run, seed) for run in runs[1:]]}
    if out is not None:
        report.write(out, report.compared(told, [run.told for run in runs]))
    return json.dumps(told, ensure_ascii=False) if as_json else screen(told)


def read(folder: Path) -> Evaluation:
    """An evaluation's answer. PrepError where the folder holds none."""
    try:
        told = json.loads((folder / METRICS).read_text(encoding="utf-8"))
    except FileNotFoundError:
        inner = [path.parent.name for path in sorted(folder.glob(f"evaluate-*/{METRICS}"))]
        hint = f": did you mean {folder / inner[0]}?" if inner else ": give a folder that evaluate wrote"
        raise PrepError(f"{folder}: no {METRICS} there{hint}") from None
    except ValueError as error:
        raise PrepError(f"{folder / METRICS}: not JSON ({error}): run evaluate again") from None
    return Evaluation(folder, told, data.read(folder / PREDICTIONS, Judged)[0])


def _told_apart(runs: Sequence[Evaluation]) -> list[Evaluation]:
    """The runs; those of one name, such as a run's best and last, are called by as much of their folders as tells them apart."""
    often = Counter(run.name for run in runs)
    depth = max(len(run.folder.absolute().parts) for run in runs)
    for kept in range(1, depth):
        names = [
            run.name if often[run.name] == 1 else f"{run.name} {'/'.join(run.folder.absolute().parts[-kept:])}"
            for run in runs
        ]
        if len(set(names)) == len(runs):
            return [replace(run, told=run.told | {"name": name}) for run, name in zip(runs, names, strict=True)]
    return list(runs)  # one folder given twice


def _same(runs: Sequence[Evaluation]) -> None:
    first = runs[0]
    for run in runs[1:]:
        for key, word in (("manifest_hash", "manifests"), ("split", "splits"), ("lexicon_hash", "lexicons")):
            if run.told[key] != first.told[key]:
                raise PrepError(
                    f"{first.folder} and {run.folder} were judged on different {word} ({first.told[key]}, {run.told[key]}):"
                    " only evaluations of the same clips can be compared; run evaluate again on one manifest"
                )


def _row(run: Evaluation) -> dict[str, Any]:
    told = run.told
    return {
        "name": run.name,
        "folder": str(run.folder),
        "accuracy": told["four_class"]["accuracy"],
        "macro_f1": told["four_class"]["macro_f1"],
        "three_class_accuracy": told["three_class"]["accuracy"],
        "noise": {name: told["noise"][name]["accuracy"] for name in ("in_domain", "out_of_domain")},
        "noise_clips": {name: told["noise"][name]["clips"] for name in ("in_domain", "out_of_domain")},
        "alarms": {
            key: told["alarms"][key]
            for key in ("false_alarms", "negative_hours", "per_hour", "per_hour_upper_95", "missed", "calls")
        },
        "cer": told["cer"]["decoded"],
        "decoder_skipped": told["cost"]["decoder_skipped"],
    }


def _differences(first: Evaluation, other: Evaluation, seed: int) -> dict[str, Any]:
    """Other - first, with intervals: both are scored on the same resampled groups, so what they share cancels."""
    keywords = first.told["keywords"]
    pairs = [(one, two) for one, two in zip(first.clips, other.clips, strict=True) if one.truth is not None]
    groups = [f"{one.corpus}/{one.group}" for one, _ in pairs]

    def difference(counts: metrics.Counts, statistic: metrics.Statistic, name: str) -> dict[str, Any]:
        paired: metrics.Statistic = lambda held: statistic(held[..., 1, :, :]) - statistic(held[..., 0, :, :])  # noqa: E731
        return asdict(metrics.interval(counts, groups, paired, seed, name))

    labels = [*keywords, NOISE]
    truth = [str(one.truth) for one, _ in pairs]
    both = [metrics.confusion(truth, [pair[n].decision for pair in pairs], labels) for n in (0, 1)]
    alarms = np.stack([_alarm_counts([pair[n] for pair in pairs], keywords[:-1]) for n in (0, 1)], axis=1)
    return {
        "name": f"{other.name} - {first.name}",
        "accuracy": difference(np.stack(both, axis=1), metrics.accuracy, "accuracy"),
        "macro_f1": difference(np.stack(both, axis=1), metrics.macro_f1, "macro_f1"),
        "false_alarms_per_hour": difference(alarms, lambda held: metrics.ratio(held[..., 0, :]), "per_hour"),
        "miss_rate": difference(alarms, lambda held: metrics.ratio(held[..., 1, :]), "missed"),
    }


def _alarm_counts(clips: Sequence[Judged], calls: Sequence[str]) -> metrics.Counts:
    """[clips, 2, 2]: false alarms and hours of negative audio; missed calls and calls."""
    return np.array([_alarm_count(clip, calls) for clip in clips])


def _alarm_count(clip: Judged, calls: Sequence[str]) -> list[list[float]]:
    alarm = float(clip.decision in calls)
    return [[0.0, 0.0], [1.0 - alarm, 1.0]] if clip.truth in calls else [[alarm, clip.seconds / 3600], [0.0, 0.0]]


def screen(told: dict[str, Any]) -> str:
    """Tables II and III, and the differences."""
    two = [
        (run["name"], tables.percent(run["accuracy"]), tables.plain(run["macro_f1"]), tables.percent(run["three_class_accuracy"]),
         tables.rate(run["alarms"]), f"{run['alarms']['missed']} of {run['alarms']['calls']}")
        for run in told["runs"]
    ]  # fmt: skip
    three = [_noise_row(run) for run in told["runs"]]
    parts = [
        tables.table(
            ("as in Table II", "accuracy, 4 classes", "macro F1", "accuracy, 3 classes", "false alarms", "missed"), two
        ),
        tables.table(("as in Table III", "noise stopped, in domain", "out of domain", "CER", "decoder skipped"), three),
    ]
    if told["differences"]:
        rows = [(held["name"], *(_signed(held[key]) for key in _DIFFERENCES)) for held in told["differences"]]
        parts.append(tables.table(("difference", *_DIFFERENCES.values()), rows))
    return "\n\n".join(
        [
            *parts,
            "In brackets: 95 %, bootstrap over groups; of differences paired. The bound of false alarms is exact Poisson.",
        ]
    )


_DIFFERENCES = {
    "accuracy": "accuracy, 4 classes",
    "macro_f1": "macro F1",
    "false_alarms_per_hour": "false alarms /h",
    "miss_rate": "miss rate",
}


def _noise_row(run: dict[str, Any]) -> tuple[str, ...]:
    noise = [
        f"{tables.percent(run['noise'][name])} of {run['noise_clips'][name]}" for name in ("in_domain", "out_of_domain")
    ]
    return run["name"], *noise, tables.percent(run["cer"]), f"{run['decoder_skipped']:.1%}"


def _signed(score: dict[str, Any]) -> str:
    return "-" if score["value"] is None else f"{score['value']:+.3f} ({score['low']:+.3f} to {score['high']:+.3f})"
