"""Evaluations of the same clips side by side: the paper's Tables II and III, and paired differences to the first."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import frame as frames
from pipeline.core import texts
from pipeline.core.errors import PrepError
from train import data, metrics, report
from train.data import METRICS, Prediction
from train.text import NOISE

DIFFERENCES = {
    "accuracy": "accuracy, 4 classes",
    "macro_f1": "macro F1",
    "false_alarms_per_hour": "false alarms /h",
    "miss_rate": "miss rate",
}
NOISE_SETS = ("in_domain", "out_of_domain")
ALARMS = ("false_alarms", "negative_hours", "per_hour", "per_hour_upper_95", "missed", "calls")
MAPPINGS = {"noise -> others": "noise_as_others", "noise apart": "four_class"}
CLASSES = ("clips", "accuracy", "balanced_accuracy", "macro_f1", "largest_class", "confusion")
NOTE = "In brackets: 95 %, bootstrap over groups; of differences paired. The bound of false alarms is exact Poisson."


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The answer and the predictions in a folder that evaluate wrote. name: what it is called in tables."""

    folder: Path
    name: str
    answer: dict[str, Any]
    clips: list[Prediction]


def compare(folders: Sequence[Path], seed: int, out: Path | None = None, *, as_json: bool) -> str:
    """The tables as text, or all of it as JSON; also a page where `out` names one.

    PrepError where the evaluations are not of the same clips.
    """
    with as_written(folders[-1]):
        return _compare(_with_own_names([read(folder) for folder in folders]), seed, out, as_json=as_json)


def _compare(runs: Sequence[Evaluation], seed: int, out: Path | None, *, as_json: bool) -> str:
    for run in runs[1:]:
        for key, word in (("manifest_hash", "manifests"), ("split", "splits"), ("lexicon_hash", "lexicons")):
            if run.answer[key] != runs[0].answer[key]:
                raise PrepError(
                    f"{runs[0].folder} and {run.folder} were judged on different {word} ({runs[0].answer[key]},"
                    f" {run.answer[key]}): only evaluations of the same clips can be compared;"
                    " run evaluate again on one manifest"
                )
        if len({bool(each.answer["options"].get("crop_noise")) for each in (run, runs[0])}) > 1:
            raise PrepError(
                f"{runs[0].folder} and {run.folder}: only one of them has its noise cut to the length of utterances:"
                " run evaluate again with --crop-noise, or --no-crop-noise, for both"
            )
    comparison = {
        "runs": [_row(run) for run in runs],
        "differences": [_differences(runs[0], run, seed) for run in runs[1:]],
    }
    if out is not None:
        report.write_comparison(out, comparison, [run.answer | {"name": run.name} for run in runs])
    return json.dumps(comparison, ensure_ascii=False) if as_json else screen(comparison)


def read(folder: Path) -> Evaluation:
    """The evaluation in a folder. PrepError where there is none."""
    try:
        answer = texts.from_json(texts.read(folder / METRICS))
    except FileNotFoundError:
        inner = [path.parent.name for path in sorted(folder.glob(f"evaluate-*/{METRICS}"))]
        hint = f": did you mean {folder / inner[0]}?" if inner else ": give a folder that evaluate wrote"
        raise PrepError(f"{folder}: no {METRICS} there{hint}") from None
    except ValueError as error:
        raise PrepError(f"{folder / METRICS}: not JSON ({error}): run evaluate again") from None
    with as_written(folder):
        return Evaluation(folder, str(answer["name"]), answer, list(frames.rows(data.predictions(folder), Prediction)))


@contextmanager
def as_written(folder: Path) -> Iterator[None]:
    """What reads the answer of an evaluation; PrepError where it lacks something, or has another type there."""
    try:
        yield
    except (KeyError, TypeError, IndexError, AttributeError) as error:
        what = f"not as this version's evaluate writes it ({type(error).__name__}: {error})"
        raise PrepError(f"{folder / METRICS}: {what}: run evaluate again") from error


def _with_own_names(runs: Sequence[Evaluation]) -> list[Evaluation]:
    """The runs, each with a name of its own: those of one name get as much of their folders as distinguishes them."""
    counts = Counter(run.name for run in runs)
    parts = [run.folder.absolute().parts for run in runs]
    for kept in range(1, max(map(len, parts))):
        names = [
            run.name if counts[run.name] == 1 else f"{run.name} {'/'.join(folder[-kept:])}"
            for run, folder in zip(runs, parts, strict=True)
        ]
        if len(set(names)) == len(runs):
            return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]
    return list(runs)  # one folder is given twice


def _row(run: Evaluation) -> dict[str, Any]:
    answer = run.answer
    return {
        "name": run.name,
        "folder": str(run.folder),
        "cautions": answer.get("cautions", []),
        "accuracy": answer["four_class"]["accuracy"],
        "macro_f1": answer["four_class"]["macro_f1"],
        "three_class_accuracy": answer["three_class"]["accuracy"],
        "mappings": {name: {key: answer[source][key] for key in CLASSES} for name, source in MAPPINGS.items()},
        "decided_noise": answer["decided_noise"],
        "noise": {name: answer["noise"][name]["accuracy"] for name in NOISE_SETS},
        "noise_nothing_said": {name: answer["noise"][name]["nothing_said"] for name in NOISE_SETS},
        "noise_clips": {name: answer["noise"][name]["clips"] for name in NOISE_SETS},
        "alarms": {key: answer["alarms"][key] for key in ALARMS},
        "cer": answer["cer"]["decoded"],
        "decoder_skipped": answer["cost"]["decoder_skipped"],
    }


def _differences(first: Evaluation, other: Evaluation, seed: int) -> dict[str, Any]:
    """other - first, with intervals: both are scored on the same resampled groups, so what they share cancels out."""
    keywords = first.answer["keywords"]
    pairs = [(one, two) for one, two in zip(first.clips, other.clips, strict=True) if one.truth is not None]
    groups = [f"{one.corpus}/{one.group}" for one, _ in pairs]

    def difference(counts: metrics.Counts, statistic: metrics.Statistic, name: str) -> dict[str, Any]:
        paired: metrics.Statistic = lambda both: statistic(both[..., 1, :, :]) - statistic(both[..., 0, :, :])  # noqa: E731
        return asdict(metrics.interval(counts, groups, paired, seed, name))

    labels, truth = [*keywords, NOISE], [str(one.truth) for one, _ in pairs]
    each = [metrics.confusion(truth, [pair[n].decision for pair in pairs], labels) for n in (0, 1)]
    confusion = np.stack(each, axis=1)
    alarms = np.array([[_alarm_counts(clip, keywords[:-1]) for clip in pair] for pair in pairs])
    return {
        "name": f"{other.name} - {first.name}",
        "accuracy": difference(confusion, metrics.accuracy, "accuracy"),
        "macro_f1": difference(confusion, metrics.macro_f1, "macro_f1"),
        "false_alarms_per_hour": difference(alarms, lambda counts: metrics.ratio(counts[..., 0, :]), "per_hour"),
        "miss_rate": difference(alarms, lambda counts: metrics.ratio(counts[..., 1, :]), "missed"),
    }


def _alarm_counts(clip: Prediction, calls: Sequence[str]) -> list[list[float]]:
    """[2, 2]: false alarms and hours of negative audio; missed calls and calls."""
    alarm = float(clip.decision in calls)
    return [[0.0, 0.0], [1.0 - alarm, 1.0]] if clip.truth in calls else [[alarm, clip.seconds / 3600], [0.0, 0.0]]


def screen(comparison: dict[str, Any]) -> str:
    """Tables II and III of the paper, and the differences."""
    two, three = [], []
    for run in comparison["runs"]:
        missed = f"{run['alarms']['missed']} of {run['alarms']['calls']}"
        for n, (mapping, own) in enumerate(run["mappings"].items()):
            scores = report.percent(own["accuracy"]), report.percent(own["balanced_accuracy"])
            rest = (
                ("", "", "") if n else (report.percent(run["three_class_accuracy"]), report.rate(run["alarms"]), missed)
            )
            two.append(("" if n else run["name"], mapping, *scores, report.plain(own["macro_f1"]), *rest))
        noise = [
            cell
            for name in NOISE_SETS
            for cell in (
                f"{report.percent(run['noise'][name])} of {run['noise_clips'][name]}",
                report.percent(run["noise_nothing_said"][name]),
            )
        ]
        three.append((run["name"], *noise, report.percent(run["cer"]), report.share(run["decoder_skipped"])))
    head_two = (
        *("as in Table II", "noise is", "accuracy", "balanced", "macro F1", "speech alone", "false alarms", "missed"),
    )
    head_three = (
        *("as in Table III", "gate stopped it, in domain", "passed, nothing said", "out of domain", "nothing said"),
        *("CER", "decoder skipped"),
    )
    parts = [report.text_table(head_two, two), report.text_table(head_three, three)]
    if comparison["differences"]:
        rows = [(each["name"], *(signed(each[key]) for key in DIFFERENCES)) for each in comparison["differences"]]
        parts.append(report.text_table(("difference", *DIFFERENCES.values()), rows))
    cautions = [f"caution: {run['name']}: {caution}" for run in comparison["runs"] for caution in run["cautions"]]
    return "\n\n".join([*parts, "\n".join([*cautions, NOTE])])


def signed(score: Mapping[str, Any] | None) -> str:
    """`+0.012 (-0.003 to +0.027)`, or a dash where there is no value."""
    if score is None or score["value"] is None:
        return "-"
    return f"{score['value']:+.3f} ({score['low']:+.3f} to {score['high']:+.3f})"
