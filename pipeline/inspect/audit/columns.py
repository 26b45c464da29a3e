"""Checks that read columns and open no audio: what is in two splits or out of domain, labels against scene and SNR."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import texts
from pipeline.core.errors import PrepError
from pipeline.core.frame import codes, concat, pick, present, with_columns
from pipeline.core.row import Row
from pipeline.core.sql import derive, query
from pipeline.corpora import ms_snsd
from pipeline.corpora.lexicon import normalised
from pipeline.inspect.audit import Clear, Finding, Outcome, Unable, counted, rank
from pipeline.stages.splits import in_two_splits

if TYPE_CHECKING:
    from pandas import DataFrame

HASHES = ("pcm_hash", "speech_pcm_hash", "noise_pcm_hash", "source_pcm_hash")
COLUMNS = (
    *("id", "corpus", "split", "group", "kind", "source", "speech_id", "noise_id", "noise_source", "transcript"),
    *("keyword", "noise_label", "scene", "snr_db", *HASHES),
)
OUTSIDE = ms_snsd.NAME  # the corpus of the out-of-domain test
EXAMPLES = 4  # of leaks
CELLS, NAMES = 5, 6  # of labels that are not spread alike: cells that are listed, names in a list
CERTAIN = 3.0  # standard deviations by which chi-square must pass what chance gives
UNEVEN, STRONG = 0.1, 0.3  # Cramer's V from which labels are called uneven, and strongly uneven
FEW = 5  # a cell is called empty or skewed only where at least so many were expected
TIMES = 2.0  # how far a cell may be from what was expected before it is listed
MANY_SNRS = 12  # with more distinct SNRs than this they are counted by 5 dB


@dataclass(frozen=True, slots=True)
class Leak:
    """What must not be in two splits.

    names: the names that such a thing goes by, each as SQL expressions whose values are compared with each other; null
    is no value. one, many: what it is called. meaning: what a leak of it does. remedy: what to do.
    """

    names: tuple[tuple[str, ...], ...]
    one: str
    many: str
    meaning: str
    remedy: str


_LEARNED = "A model is tested on a recording that it knows from training, so scores are too good."
_OF_NOISE = "CASE WHEN kind = 'noise' OR source IN (SELECT noise_source FROM rows) THEN source END"
LEAKS = {
    "group": Leak(
        (("""concat(corpus, ' ', "group")""",),),
        "group (speaker, submission, field recording)",
        "groups (speakers, submissions, field recordings)",
        "A model may know the voice or the place instead of the words, so scores are too good.",
        "Put each group into one split: run prep filter on what prep ingest wrote, it keeps groups apart.",
    ),
    "source": Leak(
        (
            ("CASE WHEN kind <> 'noise' THEN source END",),
            ("CASE WHEN kind <> 'noise' THEN coalesce(speech_id, id) END",),
        ),
        "source clip",
        "source clips",
        _LEARNED,
        "Mix from one manifest whose splits are apart (prep filter); join no manifests that were split differently.",
    ),
    "noise": Leak(
        (("noise_source", _OF_NOISE), ("coalesce(noise_id, CASE WHEN kind = 'noise' THEN id END)",)),
        "noise recording",
        "noise recordings",
        "A detector that knows this very noise from training ignores it in the test: false alarms are counted too low.",
        "Run prep mix again: it draws noise of each row's own split.",
    ),
    "pcm": Leak(
        (("pcm_hash", "speech_pcm_hash", "noise_pcm_hash"), ("source_pcm_hash",)),
        "sound, the same to the sample,",
        "sounds, the same to the sample,",
        _LEARNED,
        "Drop all but one copy: prep filter and prep resample do, in favour of test.",
    ),
}


def leaks(frame: DataFrame, check: str) -> Outcome:
    """Whether something of this kind (a key of LEAKS) is in two splits, and where.

    A thing has two names or two hashes and may leak by one of them alone; the one by which most leak is counted.
    """
    leak = LEAKS[check]
    sql = {f"name{n}_{m}": sql for n, expressions in enumerate(leak.names) for m, sql in enumerate(expressions)}
    named, leaking = derive(frame, **sql), []
    for n in range(len(leak.names)):
        parts = [
            pick(with_columns(frame[["id", "split"]], value=named[column]), present(named, column))
            for column in sql
            if column.startswith(f"name{n}_")
        ]
        uses = concat(parts, Row)
        leaking.append(pick(uses, in_two_splits(uses, "value")))
    counts = [len(codes(uses["value"])[1]) for uses in leaking]
    number = max(counts)
    if not number:
        return Clear(check, f"no {leak.one.rstrip(',')} is in two splits")
    every = concat(leaking, Row)
    concerned, splits = query(every, "SELECT count(DISTINCT id), list(DISTINCT split) FROM rows")[0]
    listed = query(
        leaking[counts.index(number)],
        "WITH uses AS (SELECT value, split, count(DISTINCT id) AS times, min(id) AS first FROM rows GROUP BY ALL),"
        f" most AS (SELECT value, sum(times) AS times FROM uses GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {EXAMPLES})"
        " SELECT value, split, uses.times, first FROM uses JOIN most USING (value) ORDER BY most.times DESC, value",
    )
    examples: dict[str, list[str]] = {value: [] for value, *_ in listed}
    for value, split, times, first in sorted(listed, key=lambda use: rank(use[1])):
        examples[value].append(f"{split} {counted(times, 'row')} ({first})")
    what = f"{counted(number, leak.one, leak.many)} {'is' if number == 1 else 'are'} in more than one split"
    summary = f"{what} ({', '.join(sorted(splits, key=rank))}), in {counted(concerned, 'row')}."
    return Finding(
        check,
        False,
        concerned,
        f"{summary}\n{leak.meaning}\n{leak.remedy}",
        tuple(f"{value}: {', '.join(uses)}" for value, uses in examples.items()),
        {"leaking": number},
    )


def domain(frame: DataFrame, logical_hash: str, checkpoint: Path | None) -> Outcome:
    """Whether noise of the corpus that is called out of domain is learnt from: in train or dev, or by a checkpoint.

    logical_hash: of the manifest. checkpoint: a folder that `train` wrote. PrepError where it is none.
    """
    learnt, subject = Counter[str](), "the splits train and dev of this manifest"
    made = {} if checkpoint is None else _made(checkpoint)
    if "noise" in made:
        subject = f"the training of {checkpoint}"
        learnt.update({split: counts.get(OUTSIDE, 0) for split, counts in made["noise"].items()})
    elif checkpoint is not None and made["manifest_hash"] != logical_hash:
        another = f"{made['manifest']} ({made['manifest_hash'][:12]})"
        return Unable("domain", f"{checkpoint} was trained on {another}, not on this manifest: give that one")
    else:
        own = f"(corpus = '{OUTSIDE}' AND noise_label = 'noise') OR noise_source LIKE '@{OUTSIDE}/%'"
        listed = query(frame, f"SELECT split, count(*) FROM rows WHERE split <> 'test' AND ({own}) GROUP BY 1")
        learnt.update(dict(listed))
    splits = [split for split in sorted(learnt, key=rank) if learnt[split]]
    if not splits:
        return Clear("domain", f"no noise of {OUTSIDE}, which is called out of domain, is in {subject}")
    where = ", ".join(f"{split} {learnt[split]:,}" for split in splits)
    detail = (
        f"Noise of {OUTSIDE}, which is called out of domain, is in {subject}: {where}.\n"
        f"A score on {OUTSIDE} is then one on a corpus that the model knows, not the paper's Table III.\n"
        f"Keep it for the test: prep filter --where \"corpus <> '{OUTSIDE}' OR split = 'test'\", or train"
        " --noise-corpora cochlscene."
    )
    return Finding("domain", False, sum(learnt.values()), detail, (), {"learnt": dict(learnt)})


def _made(checkpoint: Path) -> dict[str, Any]:
    """What made.json of a checkpoint says. PrepError where the folder is none."""
    path = checkpoint / "made.json"
    try:
        made = texts.from_json(texts.read(path))
    except (OSError, ValueError) as error:
        raise PrepError(
            f"{path}: cannot be read ({error}): expected a checkpoint of `train`, the folder best/ or last/"
        ) from None
    if not isinstance(made, dict) or not {"manifest", "manifest_hash"} <= made.keys():
        raise PrepError(f"{path}: no manifest_hash there: expected what `train` wrote")
    return made


def transcripts(frame: DataFrame) -> Outcome:
    """Whether a transcript is in two splits, compared as the lexicon compares: without spacing and punctuation."""
    frame = pick(frame[["transcript", "split"]], present(frame, "transcript"))
    if not len(frame):
        return Clear("transcript", "no row has a transcript")
    numbers, texts = codes(frame["transcript"])
    spellings: dict[str, str] = {}  # the first spelling of each transcript
    for text in texts:
        spellings.setdefault(normalised(text), text.strip() or "(empty)")
    place = {text: n for n, text in enumerate(spellings)}
    of_text = np.array([place[normalised(text)] for text in texts], dtype=np.int64)
    splits, names = codes(frame["split"])
    counts = np.zeros((len(place), len(names)), dtype=np.int64)
    np.add.at(counts, (of_text[numbers], splits), 1)
    shared = (counts > 0).sum(axis=1) > 1
    number = int(shared.sum())
    if not number:
        return Clear("transcript", f"none of {counted(len(place), 'transcript')} is in two splits")
    order = sorted(range(len(names)), key=lambda code: rank(names[code]))
    shares = {names[c]: round(float(counts[shared, c].sum() / max(1, counts[:, c].sum())), 4) for c in order}
    first = list(spellings.values())
    examples = []
    for n in np.argsort(-counts.sum(axis=1) * shared, kind="stable")[: min(EXAMPLES, number)]:
        examples.append(f"{first[n]}: " + ", ".join(f"{names[c]} {counts[n, c]:,}" for c in order if counts[n, c]))
    where = ", ".join(f"{100 * share:.0f} % of the rows of {name}" for name, share in shares.items())
    detail = (
        f"{number:,} of {counted(len(place), 'transcript')} (without spacing and punctuation) are in more than one"
        f" split: {where}.\n"
        "Calls for help repeat by nature: the test then has known sentences in other voices.\n"
        "Report the scores of the other rows separately: they are for unknown sentences."
    )
    figures = {"shared": number, "share_of_rows": shares}
    return Finding("transcript", False, int(counts[shared].sum()), detail, tuple(examples), figures)


@dataclass(frozen=True, slots=True, eq=False)
class Crosstab:
    """Counts of a label against scene or SNR in a split: int64 [labels, values]."""

    split: str
    label: str
    by: str
    labels: list[str]
    values: list[str]
    counts: NDArray[np.int64]


def crosstabs(frame: DataFrame) -> list[Crosstab]:
    """Keyword and noise label against scene, keyword against SNR, in each split with two labels and two values or more.

    An utterance counts once for each scene, however many SNRs it was mixed at.
    """
    low = "CAST(floor(snr_db / 5) * 5 AS INTEGER)"
    many = query(frame, "SELECT count(DISTINCT snr_db) FROM rows")[0][0] > MANY_SNRS
    snr, order = (f"{low} || ' to ' || {low} + 5 || ' dB'", low) if many else ("snr_db || ' dB'", "snr_db")
    tables = []
    for label, by, value, number, counts in (
        ("keyword", "scene", "scene", "0", "coalesce(speech_id, id)"),
        ("keyword", "SNR", snr, order, "id"),
        ("noise_label", "scene", "scene", "0", "coalesce(speech_id, id)"),
    ):
        cells = query(
            frame,
            f"SELECT split, {label}, {number} AS number, {value} AS value, count(DISTINCT {counts}) FROM rows"
            f" WHERE {label} IS NOT NULL AND value IS NOT NULL GROUP BY ALL ORDER BY split, 2, 3, 4",
        )
        for split in sorted({cell[0] for cell in cells}, key=rank):
            own = [cell[1:] for cell in cells if cell[0] == split]
            labels = sorted({cell[0] for cell in own})
            values = [name for _, name in sorted({cell[1:3] for cell in own})]
            if min(len(labels), len(values)) > 1:
                matrix = np.zeros((len(labels), len(values)), dtype=np.int64)
                for name, _, text, count in own:
                    matrix[labels.index(name), values.index(text)] = count
                tables.append(Crosstab(split, label, by, labels, values, matrix))
    return tables


def cramers_v(counts: NDArray[np.int64]) -> float:
    """Cramer's V with Bergsma's correction for chance (2013), 0 to 1.

    0: label and value are independent; 1: one tells the other. counts: [labels, values], no empty row or column.

    >>> cramers_v(np.array([[50, 0], [0, 50]])), cramers_v(np.array([[25, 25], [25, 25]]))
    (1.0, 0.0)
    """
    total = int(counts.sum())
    r, k = counts.shape
    phi = max(0.0, _chi_square(counts) / total - (r - 1) * (k - 1) / (total - 1))
    least = min(r - (r - 1) ** 2 / (total - 1), k - (k - 1) ** 2 / (total - 1))
    return min(1.0, float(np.sqrt(phi / (least - 1)))) if least > 1 else 0.0


def surprise(counts: NDArray[np.int64]) -> float:
    """By how many standard deviations chi-square passes its mean under chance (Wilson and Hilferty 1931)."""
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    spread = 2 / (9 * freedom)
    return float(((_chi_square(counts) / freedom) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def _expected(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The counts that the sums of rows and columns alone would give, [labels, values]."""
    return np.asarray(np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum())


def _chi_square(counts: NDArray[np.int64]) -> float:
    expected = _expected(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def balance(frame: DataFrame) -> Outcome:
    """Whether labels are spread alike over scenes and SNRs in every split."""
    tables = [(table, round(cramers_v(table.counts), 3)) for table in crosstabs(frame)]
    if not tables:
        return Clear("balance", "no label comes with two scenes or SNRs: nothing to compare")
    figures: dict[str, Any] = {"tables": []}
    for table, v in tables:
        figures["tables"].append(asdict(table) | {"cramers_v": v, "counts": table.counts.tolist()})
    cells = sorted((cell for table, _ in tables for cell in _odd_cells(table)), key=lambda cell: (-cell[0], cell[1]))
    uneven = [(table, v) for table, v in tables if v >= UNEVEN and surprise(table.counts) > CERTAIN]
    if not uneven and not cells:
        alike = (
            f"labels are spread alike over scenes and SNRs (Cramer's V at most {max(v for _, v in tables):.2f} of 1)"
        )
        return Clear("balance", alike, figures)
    listed = []
    for table, v in sorted(uneven, key=lambda item: -item[1]):
        label = "speech/noise" if table.label == "noise_label" else table.label
        listed.append(f"{label} by {table.by} in {table.split} V {v:.2f} ({'strong' if v >= STRONG else 'uneven'})")
    what = f"Cramer's V (0 = independent, 1 = one tells the other): {'; '.join(listed)}. " if listed else ""
    far = f"{counted(len(cells), 'cell')} far from even." if cells else ""
    detail = (
        f"Labels are not spread alike over scenes and SNRs. {what}{far}\n"
        "A model may learn scene or SNR instead of the label, and scores by scene or SNR compare different words.\n"
        "More --copies in prep mix even out chance; a scene that only one label has needs noise of it in prep mix"
        " --noise, or none of it."
    )
    concerned = sum(int(table.counts.sum()) for table, _ in uneven)
    return Finding("balance", False, concerned, detail, tuple(text for _, text in cells[:CELLS]), figures)


def _odd_cells(table: Crosstab) -> list[tuple[float, str]]:
    """(rows too few or too many, sentence) of cells far from their expected count, and of values of one label."""
    cells, expected = [], _expected(table.counts)
    alone = (table.counts > 0).sum(axis=0) == 1
    for i, label in enumerate(table.labels):
        own = np.flatnonzero(alone & (table.counts[i] > 0) & (table.counts.sum(axis=0) - expected[i] >= 1))
        if len(own) and int(table.counts[i, own].sum()) >= FEW:
            names = ", ".join(table.values[n] for n in own[:NAMES]) + (", ..." if len(own) > NAMES else "")
            what = f"{table.split}: {len(own)} of {counted(len(table.values), table.by)} with {label} only: {names}"
            cells.append((float(table.counts[i, own].sum()), what))
    for i, j in np.argwhere((expected >= FEW) & ~alone).tolist():
        count, even = int(table.counts[i, j]), float(expected[i, j])
        is_certain = abs(count - even) / np.sqrt(even) > CERTAIN
        if is_certain and (count * TIMES <= even or count >= even * TIMES):
            what = f"{table.split}: {table.labels[i]} with {table.by} {table.values[j]}: {count:,}"
            what += f" where {even:,.0f} would be even"
            cells.append((abs(count - even), what))
    return cells
