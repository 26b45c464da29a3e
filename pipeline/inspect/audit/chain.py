"""Source confound: whether speech and noise, or the keywords, can be told apart from the recording chain alone.

A detector that is trained on speech of one corpus and noise of another may learn the microphone instead of the cry. A
probe shows how well it could: a classifier that sees only what a chain leaves in a clip (`listening.traces`), trained
and tested on different groups. It is a ridge classifier of scikit-learn's kind, in NumPy: the same accuracy on the same
folds (tested), without an import of 2 s and without an extra to install.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import frame as frames
from pipeline.core import keys
from pipeline.core.row import Row
from pipeline.engine.workers import map_chunks
from pipeline.inspect.audit import Clear, Finding, Options, Outcome, Unable, listening
from pipeline.inspect.audit.listening import TRACE_NAMES, TRACES

if TYPE_CHECKING:
    from pandas import DataFrame

SAMPLE = 2_000  # clips that are opened where the options do not say how many, as many of each class
MARGIN = 0.05  # how far the lower bound must lie above chance to be a finding
LEAST_ROWS, LEAST_GROUPS = 20, 5  # of each class, else nothing can be said
CLIPS_A_CHUNK = 100
LISTED = 3  # groups of traces that are named at most
FOLDS, BINS, RIDGE = 5, 6, 3.0
DRAWS = 200  # bootstrap draws of groups, for the interval
_QUESTIONS = {
    "noise_label": ("speech and noise", ()),
    "keyword": ("the keywords", ("length",)),
}  # label: (its classes, traces left out)
_HEADER = ("source_format", "source_rate_hz", "source_channels")
COLUMNS = (*_QUESTIONS, *_HEADER, "clipped_share")  # beside those of near
_MEANING = {name: what for name, (what, _) in TRACES.items()}
_MEANING["clipping"] = "share of the recording's samples at full scale"
_REMEDIES = {
    "length": "Cut or pad both classes to one length before training.",
    "floor": "Vary the level of the noise rows in training, and mix at more than one SNR: only noise under speech is"
    " lowered.",
    "band": "Vary low and high cut in training (band-limit augmentation), or bring all to the narrowest band.",
    "dc": "Remove DC from every clip before training.",
    "steps": "Requantise all clips alike, or leave out the coarse ones (prep filter --where with source_format).",
    "zeros": "Leave out padded clips (prep filter --max-zero).",
    "clipping": "Leave out clipped recordings (prep filter --max-clipped).",
}


@dataclass(frozen=True, slots=True)
class Score:
    """Balanced accuracy (mean of the classes' recalls), its 95 % interval (bootstrap over groups), and chance."""

    accuracy: float
    low: float
    high: float
    chance: float

    @property
    def is_above_chance(self) -> bool:
        """Whether the score is surely above chance, by the margin."""
        return self.low > self.chance + MARGIN


@dataclass(frozen=True, slots=True)
class Probes:
    """How well the classes of a label are told apart.

    whole: by all groups of traces but those that belong to the label itself. by_kind: by each group alone, best first.
    without_best: by all but the best group. header: by the header of the source file, which no model hears.
    """

    whole: Score
    by_kind: dict[str, Score]
    without_best: Score
    header: Score


def check(frame: DataFrame, folder: Path, options: Options) -> list[Outcome]:
    """For each label, whether the chain alone tells its classes apart. folder: of the manifest.

    ManifestError where a shard is missing or damaged.
    """
    frame = frames.pick(frame, frames.present(frame, "shard") | frames.present(frame, "noise_shard"))
    if not len(frame):
        return [
            Unable("chain", "no audio is stored beside this manifest: run prep resample, then this check can be done")
        ]
    most = SAMPLE if options.sample is None else options.sample
    samples = {label: sample for label in _QUESTIONS if (sample := sampled(frame, label, most)) is not None}
    if not samples:
        why = f"it takes two classes of {LEAST_ROWS} rows and {LEAST_GROUPS} groups to tell one chain from another"
        return [Clear("chain", f"too little to compare: {why}")]
    rows = {row.id: row for sample in samples.values() for row in frames.rows(sample, Row)}
    advance = options.progress("chain", len(rows))
    traces: dict[str, NDArray[np.float64]] = {}
    measured = map_chunks(listening.traces_of, rows.values(), CLIPS_A_CHUNK, options.workers, folder)
    for row_id, traces_of_clip in zip(rows, measured, strict=True):
        traces[row_id] = traces_of_clip
        advance(1)
    outcomes = []
    for label, sample in samples.items():
        probes = probe(sample, label, np.array([traces[row_id] for row_id in frames.values(sample["id"])]))
        outcomes.append(conclusion(label, len(sample), corpora_of(sample, label), probes))
    return outcomes


def sampled(frame: DataFrame, label: str, most: int) -> DataFrame | None:
    """A keyed sample of at most so many rows with this label (0: all), as many of each class.

    None where fewer than two classes have enough rows and groups.
    """
    frame = frames.pick(frame, frames.present(frame, label))
    order = keys.order(0, "audit chain", frames.each(frame["id"]))
    classes, names = frames.codes(frame[label])
    large = [code for code in range(len(names)) if np.count_nonzero(classes == code) >= LEAST_ROWS]
    share = max(LEAST_ROWS, most // max(1, len(large))) if most else len(frame)
    parts = [frames.pick(frame, np.sort(order[classes[order] == code][:share])) for code in large]
    parts = [part for part in parts if len(groups_of(part)[1]) >= LEAST_GROUPS]
    return frames.ordered(frames.concat(parts, Row)) if len(parts) > 1 else None


def groups_of(frame: DataFrame) -> tuple[NDArray[np.int64], list[str]]:
    """(int64 [rows]: the number of each row's group; the names of the groups): a group belongs to its corpus."""
    corpora, names = frames.codes(frame["corpus"])
    groups, labels = frames.codes(frame["group"])
    both, numbers = np.unique(groups * len(names) + corpora, return_inverse=True)
    return numbers.astype(np.int64), [f"{names[n % len(names)]} {labels[n // len(names)]}" for n in both.tolist()]


def corpora_of(frame: DataFrame, label: str) -> dict[str, list[str]]:
    """The corpora that the rows of each class come from."""
    pairs = set(zip(frames.values(frame[label]), frames.values(frame["corpus"]), strict=True))
    classes = frames.codes(frame[label])[1]
    return {str(name): sorted(corpus for value, corpus in pairs if value == name) for name in classes}


def probe(frame: DataFrame, label: str, features: NDArray[np.float64]) -> Probes:
    """How well the classes of a label are told apart. features: the traces of each row, float64 [rows, TRACE_NAMES]."""
    classes, _ = frames.codes(frame[label])
    groups, names = groups_of(frame)
    left_out = _QUESTIONS[label][1]
    binned_traces = {
        kind: binned(features[:, [TRACE_NAMES.index(name) for name in traces]])
        for kind, (_, traces) in TRACES.items()
        if kind not in left_out
    }
    binned_traces["clipping"] = binned(frames.numbers(frame["clipped_share"])[:, None])

    def score_of(kinds: Sequence[str]) -> Score:
        return score(np.column_stack([binned_traces[kind] for kind in kinds]), classes, groups, names)

    kinds = list(binned_traces)
    by_kind = sorted(((k, score_of([k])) for k in kinds), key=lambda item: (-round(item[1].accuracy, 6), item[0]))
    header = np.column_stack(
        [np.eye(len(columns))[numbers] for numbers, columns in (frames.codes(frame[n]) for n in _HEADER)]
    )
    without_best = score_of([kind for kind in kinds if kind != by_kind[0][0]])
    return Probes(score_of(kinds), dict(by_kind), without_best, score(header, classes, groups, names))


def binned(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each feature [rows, features] as BINS columns of 0 and 1, cut at its quantiles.

    A feature of one value gives no column. Equal values stay together: a trace that is 0 in most clips still counts.
    """
    columns = []
    for values in features.T:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        places = np.searchsorted(edges, values, side="left")
        columns += [places == place for place in np.unique(places)[1:]]
    return np.column_stack(columns).astype(np.float64) if columns else np.zeros((len(features), 0))


def score(
    columns: NDArray[np.float64], classes: NDArray[np.int64], groups: NDArray[np.int64], names: Sequence[str]
) -> Score:
    """How well a ridge classifier tells the class of rows from the columns [rows, columns], trained on the other folds.

    classes: int64 [rows], from 0. groups: int64 [rows], positions in names. Every class weighs the same.
    """
    count = int(classes.max()) + 1
    folds, wanted, predicted = folds_of(names)[groups], np.eye(count)[classes], np.zeros(len(classes), dtype=np.int64)
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        weights = 1 / np.maximum(1, wanted[train].sum(axis=0))[classes[train]]
        weights *= len(weights) / weights.sum()
        mean, goal = (np.average(values[train], axis=0, weights=weights) for values in (columns, wanted))
        x, y = columns[train] - mean, wanted[train] - goal
        gram = x.T @ (x * weights[:, None]) + RIDGE * np.eye(columns.shape[1])
        slopes = np.linalg.solve(gram, x.T @ (y * weights[:, None]))
        predicted[test] = ((columns[test] - mean) @ slopes + goal).argmax(axis=1)

    hits, totals = np.zeros((len(names), count)), np.zeros((len(names), count))
    np.add.at(hits, (groups, classes), predicted == classes)
    np.add.at(totals, (groups, classes), 1)
    drawn = keys.rng(0, "audit bootstrap").multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.nanmean((drawn @ hits) / (drawn @ totals), axis=1)
    low, high = np.quantile(spread, (0.025, 0.975))
    return Score(float((hits.sum(axis=0) / totals.sum(axis=0)).mean()), float(low), float(high), 1 / count)


def folds_of(names: Sequence[str]) -> NDArray[np.int64]:
    """The fold of each group, by its name alone: groups in keyed order are dealt out one by one."""
    folds = np.empty(len(names), dtype=np.int64)
    folds[keys.order(0, "audit fold", names)] = np.arange(len(names)) % FOLDS
    return folds


def conclusion(label: str, count: int, corpora: dict[str, list[str]], probes: Probes) -> Outcome:
    """The outcome for a label with so many rows. corpora: of each class, as `corpora_of` gives them."""
    what, left_out = _QUESTIONS[label]
    whole, by_kind = probes.whole, probes.by_kind

    def figures_of(score: Score) -> dict[str, float]:
        return {name: round(value, 4) for name, value in asdict(score).items()}

    figures: dict[str, Any] = {
        "label": label,
        "classes": list(corpora),
        "rows": count,
        "all": figures_of(whole),
        "alone": {kind: figures_of(score) for kind, score in by_kind.items()},
        "without_best": figures_of(probes.without_best),
        "header": figures_of(probes.header),
        "corpora": corpora,
    }
    bounds = f"95 %: {whole.low:.2f} to {whole.high:.2f}"
    accuracy = f"balanced accuracy {whole.accuracy:.2f} ({bounds}), chance {whole.chance:.2f}, {count:,} clips"
    without = f" ({', '.join(left_out)} left out: it belongs to the words)" if left_out else ""
    if not whole.is_above_chance:
        return Clear("chain", f"{what} cannot be told apart by the recording chain alone{without}: {accuracy}", figures)
    telling = [kind for kind, score in by_kind.items() if score.is_above_chance][:LISTED]
    named = ", ".join(f"{kind} {by_kind[kind].accuracy:.2f} ({_MEANING[kind]})" for kind in telling)
    by_what = (
        f"The best traces, each alone: {named}. Without {next(iter(by_kind))}, {probes.without_best.accuracy:.2f}."
    )
    by_what = by_what if telling else "No group of traces is enough alone."
    by_header = f"The files' headers alone (format, rate, channels) give {probes.header.accuracy:.2f}."
    sets = [set(names) for names in corpora.values()]
    if not any(a & b for n, a in enumerate(sets) for b in sets[:n]):
        sources = "; ".join(f"{value}: {', '.join(names)}" for value, names in sorted(corpora.items()))
        by_header += f" No corpus holds both ({sources}), so no split of this set can rule it out."
    detail = (
        f"{what} can be told apart by the recording chain alone{without}: {accuracy}. {by_what} {by_header}\n"
        "A model may learn the microphone instead of the cry: it is then good on this test and bad elsewhere.\n"
        + (" ".join(_REMEDIES[kind] for kind in telling) or _REMEDIES["band"])
    )
    return Finding("chain", False, count, detail, (), figures)
