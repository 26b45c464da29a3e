"""Label balance: keyword and noise label against scene and SNR, split by split. Opens no audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.table import Table
from pipeline.inspect.audit.outcome import Clear, Finding, Outcome, counted, rank

EXAMPLES, NAMED = 5, 6
NEEDED = ("id", "split", "speech_id", "keyword", "noise_label", "scene", "snr_db")
CERTAIN = 3.0  # standard deviations by which chi-square must pass what chance gives
UNEVEN, STRONG = 0.1, 0.3  # Cramer's V from which labels are called uneven, and strongly uneven
FEW = 5  # a cell is called empty or skewed only where at least so many were expected
TIMES = 2.0  # how far a cell may be from what was expected before it is named
MANY_SNRS = 12  # distinct SNRs from which they are counted by 5 dB


@dataclass(frozen=True, slots=True)
class Crossing:
    """A label against what it should not depend on. where: SQL, which rows; unit: SQL, what is counted once."""

    label: str
    by: str
    where: str
    unit: str


def crossings(rows: Table) -> list[Crossing]:
    """What is crossed: an utterance counts once for each scene, however many SNRs it was mixed at."""
    snrs = rows.query("SELECT count(DISTINCT snr_db) FROM rows")[0][0]
    bins = "concat(CAST(floor(snr_db / 5) * 5 AS INTEGER), ' to ', CAST(floor(snr_db / 5) * 5 + 5 AS INTEGER), ' dB')"
    return [
        Crossing("keyword", "scene", "keyword IS NOT NULL AND scene IS NOT NULL", "coalesce(speech_id, id)"),
        Crossing(
            "keyword",
            bins if snrs > MANY_SNRS else "concat(snr_db, ' dB')",
            "keyword IS NOT NULL AND snr_db IS NOT NULL",
            "id",
        ),
        Crossing("noise_label", "scene", "scene IS NOT NULL AND noise_label IS NOT NULL", "coalesce(speech_id, id)"),
    ]


@dataclass(frozen=True, slots=True, eq=False)
class Contingency:
    """Counts [labels, values] in a split."""

    split: str
    label: str
    by: str
    labels: list[str]
    values: list[str]
    counts: NDArray[np.int64]

    @property
    def expected(self) -> NDArray[np.float64]:
        """What the margins alone would give, [labels, values]."""
        return np.asarray(np.outer(self.counts.sum(axis=1), self.counts.sum(axis=0)) / self.counts.sum())


def contingencies(rows: Table) -> list[Contingency]:
    """Every crossing in every split, where at least two labels and two values are there."""
    found = []
    for crossing in crossings(rows):
        counts = rows.query(
            f"SELECT split, {crossing.label}, {crossing.by}, count(DISTINCT {crossing.unit}) FROM rows WHERE {crossing.where}"
            " GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"
        )
        for split in sorted({row[0] for row in counts}, key=rank):
            own = [row[1:] for row in counts if row[0] == split]
            labels, values = sorted({row[0] for row in own}), sorted({row[1] for row in own}, key=_by_number)
            if min(len(labels), len(values)) > 1:
                by = "scene" if crossing.by == "scene" else "SNR"
                found.append(Contingency(split, crossing.label, by, labels, values, _matrix(own, labels, values)))
    return found


def _by_number(value: str) -> tuple[float, str]:
    head = value.split(" ")[0]
    return (float(head), value) if head.lstrip("-").replace(".", "", 1).isdigit() else (0.0, value)


def _matrix(cells: Sequence[tuple[Any, ...]], labels: list[str], values: list[str]) -> NDArray[np.int64]:
    counts = np.zeros((len(labels), len(values)), dtype=np.int64)
    for label, value, count in cells:
        counts[labels.index(label), values.index(value)] = count
    return counts


def cramers_v(counts: NDArray[np.int64]) -> float:
    """Cramer's V with Bergsma's correction for chance (2013): 0 where label and value are independent, 1 where one tells the other.

    counts: [labels, values], no empty row or column.

    >>> cramers_v(np.array([[50, 0], [0, 50]])), cramers_v(np.array([[25, 25], [25, 25]]))
    (1.0, 0.0)
    """
    total = int(counts.sum())
    phi = _chi_square(counts) / total
    r, k = counts.shape
    phi = max(0.0, phi - (r - 1) * (k - 1) / (total - 1))
    least = min(r - (r - 1) ** 2 / (total - 1), k - (k - 1) ** 2 / (total - 1))
    return min(1.0, float(np.sqrt(phi / (least - 1)))) if least > 1 else 0.0


def surprise(counts: NDArray[np.int64]) -> float:
    """By how many standard deviations chi-square passes its mean under chance (Wilson and Hilferty 1931)."""
    freedom = (counts.shape[0] - 1) * (counts.shape[1] - 1)
    spread = 2 / (9 * freedom)
    return float(((_chi_square(counts) / freedom) ** (1 / 3) - (1 - spread)) / np.sqrt(spread))


def _chi_square(counts: NDArray[np.int64]) -> float:
    expected = np.outer(counts.sum(axis=1), counts.sum(axis=0)) / counts.sum()
    return float(((counts - expected) ** 2 / expected).sum())


def checked(rows: Table, fails: bool) -> Outcome:
    """Whether labels are spread alike over scenes and SNRs in every split."""
    tables = [(table, round(cramers_v(table.counts), 3)) for table in contingencies(rows)]
    if not tables:
        return Clear("balance", "no label comes with two scenes or SNRs: nothing to compare")
    figures = {"tables": [_figures(table, v) for table, v in tables]}
    cells = sorted((cell for table, _ in tables for cell in _odd(table)), key=lambda cell: (-cell[0], cell[1]))
    uneven = [(table, v) for table, v in tables if v >= UNEVEN and surprise(table.counts) > CERTAIN]
    if not uneven and not cells:
        worst = max(v for _, v in tables)
        return Clear(
            "balance", f"labels are spread alike over scenes and SNRs (Cramer's V at most {worst:.2f} of 1)", figures
        )
    uneven.sort(key=lambda item: -item[1])
    said = [f"{_name(table.label)} by {table.by} in {table.split} V {v:.2f} ({_strength(v)})" for table, v in uneven]
    what = f"Cramer's V (0 = independent, 1 = one tells the other): {'; '.join(said)}. " if said else ""
    concerned = sum(int(table.counts.sum()) for table, _ in uneven)
    detail = (
        f"Labels are not spread alike over scenes and SNRs. {what}"
        + (f"{counted(len(cells), 'cell')} far from even." if cells else "")
        + "\nA model may learn the scene or the SNR for the label, and scores by scene or SNR compare different words.\n"
        "More --copies in prep mix even out chance; a scene that only one label has needs noise of it in prep mix --noise, or none of it."
    )
    return Finding("balance", fails, concerned, detail, tuple(text for _, text in cells[:EXAMPLES]), figures)


def _name(label: str) -> str:
    return "speech/noise" if label == "noise_label" else label


def _strength(v: float) -> str:
    return "strong" if v >= STRONG else "uneven"


def _odd(table: Contingency) -> list[tuple[float, str]]:
    """(how many are lacking or over, sentence): values that one label has alone, and cells far from what their margins would give."""
    expected, found = table.expected, []
    alone = (table.counts > 0).sum(axis=0) == 1
    for i, label in enumerate(table.labels):
        own = np.flatnonzero(alone & (table.counts[i] > 0) & (table.counts.sum(axis=0) - expected[i] >= 1))
        if len(own) and int(table.counts[i, own].sum()) >= FEW:
            names = ", ".join(table.values[n] for n in own[:NAMED]) + (", ..." if len(own) > NAMED else "")
            what = f"{table.split}: {len(own)} of {counted(len(table.values), table.by)} with {label} only: {names}"
            found.append((float(table.counts[i, own].sum()), what))
    for i, j in np.argwhere((expected >= FEW) & ~alone).tolist():
        count, wanted = int(table.counts[i, j]), float(expected[i, j])
        far = abs(count - wanted) / np.sqrt(wanted) > CERTAIN
        if far and (count * TIMES <= wanted or count >= wanted * TIMES):
            what = f"{table.split}: {table.labels[i]} with {table.by} {table.values[j]}: {count:,} where {wanted:,.0f} would be even"
            found.append((abs(count - wanted), what))
    return found


def _figures(table: Contingency, v: float) -> dict[str, Any]:
    return {
        "split": table.split,
        "label": table.label,
        "by": table.by,
        "cramers_v": v,
        "labels": table.labels,
        "values": table.values,
        "counts": table.counts.tolist(),
    }
