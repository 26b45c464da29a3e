"""Source confound: whether speech and noise, or the keywords, can be told from the recording chain alone.

A detector trained on speech of one corpus and noise of another may learn the microphone instead of the cry. A probe says how far
it would come: a classifier that is given nothing but what a chain leaves in a clip (traces.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.shards import Reader
from pipeline.core import keys
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.engine import workers as crew
from pipeline.inspect.audit import listen, probe
from pipeline.inspect.audit.listen import Ears
from pipeline.inspect.audit.outcome import Clear, Finding, Outcome, Unable
from pipeline.inspect.audit.probe import Told
from pipeline.inspect.audit.traces import GROUPS, NAMES, traces

SAMPLE = 2_000  # clips listened to where nobody says how many, as many of each class
MARGIN = 0.05  # how far the lower bound must lie above chance to be a finding
LEAST_ROWS, LEAST_GROUPS = 20, 5  # of each class, or nothing can be said
CLIPS_A_TASK = 100
_WHAT = {name: what for name, (what, _) in GROUPS.items()} | {
    "clipping": "share of the recording's samples at full scale"
}
_HEADER = ("source_format", "source_rate_hz", "source_channels")
TELLING = 3  # groups of traces named at most
_REMEDIES = {
    "length": "Cut or pad both classes to one length before training.",
    "floor": "Vary the level of the noise rows in training, and mix at more than one SNR: only noise under speech is lowered.",
    "band": "Vary low and high cut in training (band-limit augmentation), or bring all to the narrowest band.",
    "dc": "Remove DC from every clip before training.",
    "steps": "Requantise all clips alike, or leave out the coarse ones (prep filter --where with source_format).",
    "zeros": "Leave out padded clips (prep filter --max-zero).",
    "clipping": "Leave out clipped recordings (prep filter --max-clipped).",
}
_QUESTIONS = {"noise_label": ("speech and noise", ()), "keyword": ("the keywords", ("length",))}
NEEDED = (*listen.NEEDED, *_QUESTIONS, *_HEADER, "clipped_share")


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Clips to listen to, and the folder of their manifest."""

    rows: Table
    folder: Path


@dataclass(frozen=True, slots=True)
class Answer:
    """How well a class is told. label: column. classes: its values. whole: by all traces but those left out. by_group: by one group
    of traces alone, best first. without: by all but the best group. header: by what the source file's header says, which no
    model hears. corpora: of each class.
    """

    label: str
    rows: int
    classes: list[str]
    whole: Told
    by_group: list[tuple[str, Told]]
    without: Told
    header: Told
    corpora: dict[str, list[str]]


def checked(rows: Table, ears: Ears, fails: bool) -> list[Outcome]:
    """For each question whether the chain answers it."""
    rows = rows.only(NEEDED).where(rows.present("shard") | rows.present("noise_shard"))
    if not len(rows):
        return [
            Unable(
                "chain",
                "no audio is stored beside this manifest: what the chain left in it can be heard after prep resample",
            )
        ]
    asked = [(label, chosen) for label in _QUESTIONS if (chosen := _chosen(rows, label, ears.most(SAMPLE))) is not None]
    if not asked:
        why = f"it takes two classes of {LEAST_ROWS} rows and {LEAST_GROUPS} groups to tell one chain from another"
        return [Clear("chain", f"too little to compare: {why}")]
    heard: dict[str, NDArray[np.float64]] = {}
    advance = ears.progress("chain", len({row_id for _, chosen in asked for row_id in chosen.column("id")}))
    outcomes = []
    for label, chosen in asked:
        new = chosen.where(np.array([row_id not in heard for row_id in chosen.column("id")], dtype=np.bool_))
        for task, found in crew.results(_tasks(new, ears.folder), traced, ears.crew):
            heard |= dict(zip(task.rows.column("id"), found, strict=True))
            advance(len(found))
        outcomes.append(
            _verdict(_answer(chosen, label, np.array([heard[row_id] for row_id in chosen.column("id")])), fails)
        )
    return outcomes


def _tasks(rows: Table, folder: Path) -> Iterator[Clips]:
    for part in rows.parts(CLIPS_A_TASK):
        yield Clips(part, folder)


def traced(task: Clips) -> NDArray[np.float64]:
    """The traces of some clips, as they are stored: float64 [clips, traces]."""
    reader = Reader(task.folder)
    return np.array([traces(reader.pcm(row), row.rate_hz or 0) for row in task.rows.rows(Row)])


def _chosen(rows: Table, label: str, most: int) -> Table | None:
    """A keyed sample of the rows with this label, as many of each class; None where too few are left."""
    rows = rows.where(rows.present(label))
    order = keys.order(0, "audit chain", rows.strings("id"))
    codes, values = rows.codes(label)
    large = [code for code in range(len(values)) if np.count_nonzero(codes == code) >= LEAST_ROWS]
    share = max(LEAST_ROWS, most // max(1, len(large))) if most else len(rows)
    kept = [rows.take(np.sort(order[codes[order] == code][:share])) for code in large]
    kept = [some for some in kept if len(_groups(some)[1]) >= LEAST_GROUPS]
    return Table.joined(kept, Row).ordered() if len(kept) > 1 else None


def _groups(rows: Table) -> tuple[NDArray[np.int64], list[str]]:
    """(for each row the number of its group, names of the groups): a group is one of its corpus."""
    corpora, names = rows.codes("corpus")
    groups, labels = rows.codes("group")
    both, codes = np.unique(groups * len(names) + corpora, return_inverse=True)
    return codes.astype(np.int64), [f"{names[n % len(names)]} {labels[n // len(names)]}" for n in both.tolist()]


def _answer(rows: Table, label: str, features: NDArray[np.float64]) -> Answer:
    """The probes: by all traces, by each group of them, by the header."""
    classes, values = rows.codes(label)
    groups, names = _groups(rows)
    left_out = _QUESTIONS[label][1]

    columns = {kind: [NAMES.index(name) for name in traces] for kind, (_, traces) in GROUPS.items()}
    measured = {kind: features[:, places] for kind, places in columns.items() if kind not in left_out}
    measured["clipping"] = rows.numbers("clipped_share")[:, None]

    def by(kinds: Sequence[str]) -> Told:
        return probe.told(probe.binned(np.column_stack([measured[kind] for kind in kinds])), classes, groups, names)

    kinds = list(measured)
    alone = sorted(((kind, by([kind])) for kind in kinds), key=lambda item: (-round(item[1].accuracy, 6), item[0]))
    header = np.column_stack([np.eye(len(rows.codes(name)[1]))[rows.classes(name)] for name in _HEADER])
    of = rows.column("corpus")
    corpora = {
        str(value): sorted({of[n] for n in np.flatnonzero(classes == code)}) for code, value in enumerate(values)
    }
    without = by([kind for kind in kinds if kind != alone[0][0]])
    by_header = probe.told(header, classes, groups, names)
    return Answer(label, len(rows), [str(value) for value in values], by(kinds), alone, without, by_header, corpora)


def _verdict(answer: Answer, fails: bool) -> Outcome:
    what, left_out = _QUESTIONS[answer.label]
    whole = answer.whole
    figures = {
        "label": answer.label,
        "classes": answer.classes,
        "rows": answer.rows,
        "all": whole.figures(),
        "alone": {name: told.figures() for name, told in answer.by_group},
        "without_best": answer.without.figures(),
        "header": answer.header.figures(),
        "corpora": answer.corpora,
    }
    bounds = f"95 %: {whole.low:.2f} to {whole.high:.2f}"
    score = f"balanced accuracy {whole.accuracy:.2f} ({bounds}), chance {whole.chance:.2f}, {answer.rows:,} clips"
    without = f" ({', '.join(left_out)} left out: it belongs to the words)" if left_out else ""
    if whole.low <= whole.chance + MARGIN:
        return Clear("chain", f"{what} are not told from the recording chain alone{without}: {score}", figures)
    telling = [(name, told) for name, told in answer.by_group if told.low > told.chance + MARGIN][:TELLING]
    named = ", ".join(f"{name} {told.accuracy:.2f} ({_WHAT[name]})" for name, told in telling)
    rest = f" Without {answer.by_group[0][0]}, {answer.without.accuracy:.2f}."
    by_what = f"What tells, alone: {named}.{rest} " if telling else "No kind of trace tells much alone. "
    remedies = " ".join(dict.fromkeys(_REMEDIES[name] for name, _ in telling)) or _REMEDIES["band"]
    detail = (
        f"{what} are told from the recording chain alone{without}: {score}. {by_what}{_apart(answer)}\n"
        f"A model may learn the microphone instead of the cry: good scores on this test, bad ones elsewhere.\n{remedies}"
    )
    return Finding("chain", fails, answer.rows, detail, (), figures)


def _apart(answer: Answer) -> str:
    """Whether the classes come from corpora of their own: then no split can rule the confound out."""
    sets = [set(names) for names in answer.corpora.values()]
    header = f"The files' headers alone (format, rate, channels) give {answer.header.accuracy:.2f}. "
    if any(a & b for n, a in enumerate(sets) for b in sets[:n]):
        return header
    told = "; ".join(f"{value}: {', '.join(names)}" for value, names in sorted(answer.corpora.items()))
    return f"{header}No corpus holds both ({told}), so no split of this set can rule it out."
