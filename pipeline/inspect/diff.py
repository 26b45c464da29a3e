"""How two sets differ: which rows, in which columns, and by which option, seed, input or version of what made them.

Two columns are in memory at a time, one of each set, so that sets of millions of rows are compared within a gigabyte.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.core import frame, manifest, sql
from pipeline.core.errors import ManifestError
from pipeline.core.frame import UNHASHED
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.row import Row
from pipeline.corpora.rights import LeftOut, owned_by, pseudonyms, renamed
from pipeline.share import pack

EXAMPLES = 3  # of each kind of change
WIDEST = 60  # letters of a value in a table
COMPARED = tuple(f.name for f in fields(Row) if f.name != "id" and f.name not in UNHASHED)
RENAMED = ("group",)  # columns in which a pack may have another name instead of none
SOUNDS = ("source_pcm_hash", "pcm_hash")  # the hashes by which two clips that changed places are known
HASHES = (*SOUNDS, "speech_pcm_hash", "noise_pcm_hash", "source_pcm_crc")  # of which hardly two changes are alike


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two sets. columns: reads the columns of these names. drops: reads the drops, None if there are none.

    left_out: what a pack left out; None for a manifest, which holds all there is.
    """

    name: str
    made: Provenance
    columns: Callable[[Sequence[str]], pd.DataFrame]
    drops: Callable[[], pd.DataFrame | None]
    left_out: Sequence[LeftOut] | None = None


@dataclass(frozen=True, slots=True)
class Difference:
    """How set b differs from set a. added, removed, changed, same: numbers of rows, seen from a.

    columns: `{column, rows, examples}`; an example is `{id, old, new, rows}`, rows: how many changed in the same way.
    swapped: pairs of clips of which each has the sound that the other had. not_comparable: `{column, rows, pack, why}`,
    where a pack lacks what the other set has. options: `{name, old, new}` of what the sets were made by; names such as
    `recipe.mix.snr_db`, `seed`, `versions.numpy`, `inputs.aihub`; None where a set has no such option. moved: `{to,
    stage, reason, rows, example, detail}`, rows of one set that the other dropped; to: `dropped` or `kept`, seen from
    a. notes: sentences.
    """

    a: str
    b: str
    rows_a: int
    rows_b: int
    added: int
    removed: int
    changed: int
    same: int
    examples_added: tuple[str, ...] = ()
    examples_removed: tuple[str, ...] = ()
    columns: list[dict[str, Any]] = field(default_factory=list)
    swapped: int = 0
    examples_swapped: tuple[tuple[str, str], ...] = ()
    not_comparable: list[dict[str, Any]] = field(default_factory=list)
    options: list[dict[str, Any]] = field(default_factory=list)
    moved: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def same_rows(self) -> bool:
        """Whether the rows are the same, as far as they can be compared."""
        return not (self.added or self.removed or self.changed)


def of_manifest(source: Manifest, left_out: Sequence[LeftOut] | None = None) -> Side:
    """A manifest in memory, or that of a pack, as one of the two sets."""
    return Side(
        str(source.path), source.provenance, lambda names: source.frame[[*names]], lambda: _drops(source.path), left_out
    )


def of_file(path: Path) -> Side:
    """A manifest on disk, whose columns are read as they are needed, or a pack. ManifestError where it is neither."""
    if pack.is_pack(path):
        packed = pack.read(path)
        return of_manifest(packed.manifest, packed.left_out)
    made = manifest.provenance(path)
    if made.schema_version < manifest.SCHEMA_VERSION:  # its columns cannot be read one by one
        return of_manifest(manifest.read(path))
    return Side(str(path), made, lambda names: manifest.read_columns(path, names), lambda: _drops(path))


def _drops(path: Path) -> pd.DataFrame | None:
    try:
        return manifest.read_drops(path)
    except ManifestError:
        return None


def difference(a: Side, b: Side) -> Difference:
    """How set b differs from set a. ManifestError where one has an id twice."""
    a, b = _nameless(a, b), _nameless(b, a)
    old, new = (side.columns(["id", "speech_id"]) for side in (a, b))
    for side, ids in ((a, old), (b, new)):
        if twice := frame.duplicated_value(ids["id"]):
            check = f"prep verify {side.name}"
            raise ManifestError(f"{side.name}: holds {twice} more than once: not as prep wrote it; see {check}")
    positions = frame.position_of(old["id"], new["id"])
    in_b, in_a = np.zeros(len(new), dtype=np.bool_), positions >= 0
    in_b[positions[in_a]] = True
    removed, added = frame.pick(old, ~in_a), frame.pick(new, ~in_b)
    ordered = bool(np.all(np.diff(positions[in_a]) > 0))  # then a mask picks the same rows, and is faster
    pair = _Pair(a, b, frame.pick(old, in_a), in_a, in_b if ordered else positions[in_a])
    columns, not_comparable, changed, swapped = _columns(pair)
    made_by, moved = list(options(a.made, b.made)), [*_moved("dropped", removed, b), *_moved("kept", added, a)]
    same = len(pair.ids) - changed
    differ = bool(columns or len(added) or len(removed))
    notes = _notes(a, b, removed, new, moved) if differ else ()
    return Difference(
        a=a.name,
        b=b.name,
        rows_a=len(old),
        rows_b=len(new),
        added=len(added),
        removed=len(removed),
        changed=changed,
        same=same,
        examples_added=tuple(added["id"].head(EXAMPLES)),
        examples_removed=tuple(removed["id"].head(EXAMPLES)),
        columns=columns,
        swapped=len(swapped),
        examples_swapped=tuple(swapped[:EXAMPLES]),
        not_comparable=not_comparable,
        options=made_by,
        moved=moved,
        notes=(*(["they share no row"] if differ and not len(pair.ids) else []), *notes),
    )


def _nameless(side: Side, other: Side) -> Side:
    """The side with pseudonyms in place of the names of recordings where the other one, a pack, has them."""
    mine, its = (
        any(left.column in ("source", "noise_source") for left in each.left_out or ()) for each in (side, other)
    )
    if mine or not its:
        return side
    reads = ("id", "corpus", "source", "speech_id", "source_pcm_hash", "noise_id", "noise_source", "noise_pcm_hash")
    names = pseudonyms(side.columns(reads))
    return replace(side, columns=lambda columns: renamed(side.columns(columns), names))


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """The rows that both sets have. ids: id and speech_id. in_a, in_b: a mask of the rows of each set, or positions."""

    a: Side
    b: Side
    ids: pd.DataFrame
    in_a: NDArray[np.bool_]
    in_b: NDArray[np.bool_] | NDArray[np.int64]

    def both(self, *names: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """These columns of each set, row for row."""
        return frame.pick(self.a.columns(names), self.in_a), frame.pick(self.b.columns(names), self.in_b)


def _columns(pair: _Pair) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int, list[tuple[str, str]]]:
    """(what changed in each column, what cannot be compared, how many rows changed, clips that changed places)."""
    columns, not_comparable, swapped = [], [], list[tuple[str, str]]()
    changed = np.zeros(len(pair.ids), dtype=np.bool_)
    for name in COMPARED:
        old, new = pair.both(name)
        differs = frame.differs(old[name], new[name])
        for side, values in ((pair.a, old), (pair.b, new)) if differs.any() else ():
            for where, why in _left_out(side, values, name, pair, differs):
                rows = int(where.sum())
                not_comparable.append({"column": name, "rows": rows, "pack": side.name, "why": why})
                differs &= ~where
        if not differs.any():
            continue
        changed |= differs
        values = frame.with_columns(
            frame.pick(pair.ids, differs), old=frame.pick(old, differs)[name], new=frame.pick(new, differs)[name]
        )
        columns.append({"column": name, "rows": len(values), "examples": _examples(name, values)})
        if name in SOUNDS and not swapped:
            swapped = _swapped(values)
    return columns, not_comparable, int(changed.sum()), swapped


def _left_out(
    side: Side, values: pd.DataFrame, name: str, pair: _Pair, differs: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], str]]:
    """Where a column differs only because a pack does not hold it, and why it does not."""
    if side.left_out is None:
        return
    present = frame.present(values, name)
    if name == "labels":
        present &= values[name].list.len().to_numpy(np.int64, na_value=0) > 0
    unseen = differs & (~present | (name in RENAMED))
    for left in side.left_out:
        if left.column == name and unseen.any():
            owners = pair.both("corpus", "kind", "noise_source")[0]
            own = unseen & owned_by(owners, name, left.corpus)
            if own.any():
                yield own, left.why
                unseen = unseen & ~own
    if unseen.any() and not present.any():
        yield unseen, "no row of the pack has it"


def _examples(name: str, values: pd.DataFrame) -> list[dict[str, Any]]:
    """The most frequent changes of a column; values: the rows that differ, with the columns id, old, new."""
    grouped = "SELECT min(id), old, new, count(*) FROM rows GROUP BY old, new ORDER BY count(*) DESC, min(id)"
    chosen = "SELECT id, old, new, 1 FROM rows" if name in HASHES else grouped
    examples = []
    for row_id, old, new, rows in sql.query(values, f"{chosen} LIMIT {EXAMPLES}"):
        if name == "labels":  # only those that are not the same in both
            mine, its = ({pair["key"]: pair["value"] for pair in pairs} for pairs in (old, new))
            keys = [key for key in sorted({*mine, *its}) if mine.get(key) != its.get(key)]
            old, new = ({key: labels.get(key) for key in keys} for labels in (mine, its))
        examples.append({"id": row_id, "old": old, "new": new, "rows": rows})
    return examples


def _swapped(values: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of clips of which each has the sound that the other had; mixtures count for the clip that is in them."""
    old, new = values["old"], values["new"]
    in_both = (frame.position_of(old, new) >= 0) & (frame.position_of(new, old) >= 0)  # mostly none: little to join
    statement = (
        "WITH clips AS (SELECT DISTINCT coalesce(speech_id, id) AS clip, old, new FROM rows)"
        " SELECT one.clip, other.clip FROM clips one JOIN clips other ON one.old = other.new AND one.new = other.old"
        " WHERE one.clip < other.clip ORDER BY 1, 2"
    )
    return [(str(one), str(other)) for one, other in sql.query(frame.pick(values, in_both), statement)]


def options(a: Provenance, b: Provenance) -> Iterator[dict[str, Any]]:
    """What two sets were made by differently; a stage that only one of them went through is one option."""
    for name in ("stage", "seed", "recipe", "inputs", "versions", "schema_version"):
        yield from _unlike(name, getattr(a, name), getattr(b, name))


def _unlike(name: str, old: Any, new: Any) -> Iterator[dict[str, Any]]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _unlike(f"{name}.{key}", old.get(key), new.get(key))
    elif old != new:
        yield {"name": name, "old": old, "new": new}


def _moved(to: str, rows: pd.DataFrame, other: Side) -> Iterator[dict[str, Any]]:
    """Why rows of one set are not in the other, as its drops say; a mixture is gone where its speech is."""
    drops = other.drops() if len(rows) else None
    if drops is None or not len(drops):
        return
    own, speech = (frame.position_of(rows[name], drops["id"]) for name in ("id", "speech_id"))
    positions = np.where(own >= 0, own, speech)
    there = positions >= 0
    why = frame.pick(drops[["stage", "reason", "detail"]], positions[there])
    grouped = (
        "SELECT stage, reason, count(*), min(id), min_by(detail, id) FROM rows GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
    )
    for line in sql.query(frame.with_columns(why, id=frame.pick(rows, there)["id"]), grouped):
        yield {"to": to} | dict(zip(("stage", "reason", "rows", "example", "detail"), line, strict=True))


def _notes(
    a: Side, b: Side, removed: pd.DataFrame, new: pd.DataFrame, moved: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Sentences about two sets that differ: why they may, and which rows are gone without a trace in the drops."""
    if a.made.logical_hash == b.made.logical_hash:
        changed = "so one of them was changed after it was written: prep verify says which"
        yield f"both state the logical hash {a.made.logical_hash}, {changed}"
    elif not any(options(a.made, b.made)):
        yield "no option, seed, input or version differs: the recordings did, or rows were changed by hand"
    left = len(removed) - sum(item["rows"] for item in moved if item["to"] == "dropped")
    if left and a.made.recipe.get("mix") != b.made.recipe.get("mix"):
        speech = [name for name in frame.codes(new["speech_id"])[1] if name is not None]
        mixed = int(frame.among(removed["speech_id"], speech).sum())
        left -= mixed
        if mixed:
            why = "mixtures whose speech is mixed otherwise in B, by the options of mix above"
            yield f"{mixed:,} of the rows removed are {why}"
    if left and a.made.stage == b.made.stage and b.drops() is not None:
        why = "other input, --limit, or rows taken out by hand"
        yield f"{left:,} of the rows removed are in no drops of B: {why}"


# ---- for a person


def lines(answer: Difference) -> Iterator[str | Sequence[Sequence[Any]]]:
    """The difference for a person: sentences, and tables with the names of the columns first."""
    yield f"A  {answer.a}: {answer.rows_a:,} rows"
    yield f"B  {answer.b}: {answer.rows_b:,} rows"
    if answer.same_rows:
        yield f"the same rows{', as far as they can be compared' if answer.not_comparable else ''}"
    else:
        counts = f"{answer.added:,} added, {answer.removed:,} removed, {answer.changed:,} changed"
        yield f"{counts}, {answer.same:,} the same"
    rows = []
    for column in answer.columns:
        for number, example in enumerate(column["examples"]):
            first = ("", "") if number else (column["column"], f"{column['rows']:,}")
            alike = f"{example['rows']:,} rows" if example["rows"] > 1 else ""
            rows.append((*first, example["id"], _short(example["old"]), _short(example["new"]), alike))
    if rows:
        yield from ("", [("column", "rows", "for example", "in A", "in B", "alike"), *rows])
    for title, ids, count in (
        ("added", answer.examples_added, answer.added),
        ("removed", answer.examples_removed, answer.removed),
    ):
        if count:
            yield from ("", f"{title}: {', '.join(ids)}{', ...' if count > len(ids) else ''}")
    if answer.swapped:
        yield ""
        for one, other in answer.examples_swapped:
            yield f"{one} and {other} have changed places: each has the sound that the other had"
        if answer.swapped > len(answer.examples_swapped):
            yield f"... {answer.swapped} such pairs in all"
    if answer.moved:
        head = ("in B", "stage", "reason", "rows", "for example", "as the drops say")
        yield from ("", [head, *(tuple(item.values()) for item in answer.moved)])
    if answer.options:
        rows = [(option["name"], _short(option["old"]), _short(option["new"])) for option in answer.options]
        yield from ("", [("made with", "in A", "in B"), *rows])
    reasons = dict.fromkeys((item["pack"], item["why"]) for item in answer.not_comparable)
    for name, why in reasons:
        columns = [item for item in answer.not_comparable if (item["pack"], item["why"]) == (name, why)]
        listed = ", ".join(f"{item['column']} ({item['rows']:,} rows)" for item in columns)
        yield from ("", f"not comparable, for {name} was made without it: {listed}", f"  {why}")
    for note in answer.notes:
        yield from ("", note)


def _short(value: Any) -> str:
    """A value as a table shows it."""
    text = _plain(value)
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 3]}..."


def _plain(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
