"""Two sets compared column by column, and what they were made by option by option."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.row import Row
from pipeline.core.table import UNHASHED, Table
from pipeline.corpora.rights import LeftOut, held_by
from pipeline.inspect.diff.found import Blind, Changed, Difference, Example, Moved, Option

EXAMPLES = 3  # of each kind of change
RENAMED = ("group",)  # columns in which a pack may say another name instead of none
COMPARED = tuple(f.name for f in fields(Row) if f.name != "id" and f.name not in UNHASHED)
SOUNDS = ("source_pcm_hash", "pcm_hash")  # the hashes by which two clips that changed places are known
HASHES = (*SOUNDS, "speech_pcm_hash", "noise_pcm_hash", "source_pcm_crc")  # of which hardly two changes are the same


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two sets. columns: the columns of these names; a manifest on disk reads them as they are asked for.

    drops: None where they are not at hand. left_out: what a pack left out; None for a manifest, which holds all there is.
    """

    name: str
    made: Provenance
    columns: Callable[[Sequence[str]], Table]
    drops: Callable[[], Table | None]
    left_out: Sequence[LeftOut] | None = None


def side(held: Manifest, left_out: Sequence[LeftOut] | None = None) -> Side:
    """A manifest in memory as one of the two."""
    return Side(str(held.path), held.provenance, held.table.only, lambda: drops_of(held), left_out)


def drops_of(held: Manifest) -> Table | None:
    """The drops of a manifest; None where they do not lie beside it."""
    try:
        return held.drops()
    except ManifestError:
        return None


def difference(a: Manifest, b: Manifest) -> Difference:
    """How two manifests in memory differ."""
    return compared(side(a), side(b))


def compared(a: Side, b: Side) -> Difference:
    """How two sets differ, column by column, so that two columns are in memory at a time. ManifestError for a repeated id."""
    old, new = (_ids(one) for one in (a, b))
    places = old.places_in(new, "id")
    kept, added = places >= 0, np.ones(len(new), dtype=np.bool_)
    added[places[kept]] = False
    pair = _Pair(a, b, np.flatnonzero(kept), places[kept])
    columns, blind, changed, swaps = _columns(pair, old.where(kept))
    shared = int(kept.sum())
    return Difference(
        a=a.name,
        b=b.name,
        rows_a=len(old),
        rows_b=len(new),
        added=int(added.sum()),
        removed=len(old) - shared,
        changed=changed,
        same=shared - changed,
        examples_added=_first(new.where(added)),
        examples_removed=_first(old.where(~kept)),
        columns=tuple(columns),
        swapped=len(swaps),
        examples_swapped=tuple(swaps[:EXAMPLES]),
        not_comparable=tuple(blind),
        options=tuple(options(a.made, b.made)),
        moved=(moved := tuple(_moved(a, b, old.where(~kept), new.where(added)))),
        notes=(
            *_notes(a, b, shared, bool(columns or added.any() or not kept.all())),
            *_untold(a, b, old.where(~kept), new, moved),
        ),
    )


def _ids(one: Side) -> Table:
    ids = one.columns(["id", "speech_id"])
    if twice := ids.repeated("id"):
        raise ManifestError(
            f"{one.name}: holds {twice} more than once: not as prep wrote it; see prep verify {one.name}"
        )
    return ids


def _first(ids: Table) -> tuple[str, ...]:
    return tuple(ids.part(0, EXAMPLES).column("id"))


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """The rows that both sides hold: int64 [shared] their places in each."""

    a: Side
    b: Side
    in_a: NDArray[np.int64]
    in_b: NDArray[np.int64]

    def both(self, names: Sequence[str]) -> tuple[Table, Table]:
        """Columns of the rows that both hold, row for row."""
        return _taken(self.a.columns(names), self.in_a), _taken(self.b.columns(names), self.in_b)


def _taken(table: Table, places: NDArray[np.int64]) -> Table:
    whole = len(places) == len(table) and bool((places == np.arange(len(places))).all())
    return table if whole else table.take(places)


def _columns(pair: _Pair, ids: Table) -> tuple[list[Changed], list[Blind], int, list[tuple[str, str]]]:
    """(what changed in each column, what cannot be compared, number of rows that changed, clips that changed places)."""
    changed, blind = np.zeros(len(ids), dtype=np.bool_), []
    columns, swaps = [], list[tuple[str, str]]()
    for name in COMPARED:
        old, new = pair.both([name])
        differs = old.differs(new, name)
        for one, held in ((pair.a, old), (pair.b, new)) if differs.any() else ():
            for found, cause in _unseen(one, held, name, pair, differs):
                blind.append(cause)
                differs &= ~found
        if not differs.any():
            continue
        changed |= differs
        told = ids.where(differs).beside(_as_old_and_new(old.where(differs), new.where(differs), name))
        columns.append(_summed(name, told))
        if name in SOUNDS and not swaps:
            swaps = _swapped(told)
    return columns, blind, int(changed.sum()), swaps


def _as_old_and_new(old: Table, new: Table, name: str) -> Table:
    return old.renamed(**{name: "old"}).beside(new.renamed(**{name: "new"}))


def _unseen(
    one: Side, held: Table, name: str, pair: _Pair, differs: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.bool_], Blind]]:
    """Where a column differs only because a pack does not hold it, and why it does not."""
    if one.left_out is None:
        return
    unseen = differs & (~held.filled_in(name) | (name in RENAMED))
    for left in one.left_out:
        if left.column == name and unseen.any():
            own = unseen & held_by(pair.both(["corpus", "kind", "noise_source"])[0], name, left.corpus)
            if own.any():
                yield own, Blind(name, int(own.sum()), one.name, left.why)
                unseen = unseen & ~own
    if unseen.any() and not held.filled_in(name).any():
        yield unseen, Blind(name, int(unseen.sum()), one.name, "no row of the pack has it")


def _summed(name: str, told: Table) -> Changed:
    """told: the rows that differ, with the columns id, old, new."""
    grouped = "SELECT min(id), old, new, count(*) FROM rows GROUP BY old, new ORDER BY count(*) DESC, min(id)"
    found = told.query(f"{'SELECT id, old, new, 1 FROM rows' if name in HASHES else grouped} LIMIT {EXAMPLES}")
    return Changed(
        name, len(told), tuple(Example(row_id, *_unequal(old, new), rows) for row_id, old, new, rows in found)
    )


def _unequal(old: Any, new: Any) -> tuple[Any, Any]:
    """Two values; of labels only those that are not the same in both."""
    if not isinstance(old, list) or not isinstance(new, list):
        return old, new
    mine, its = ({pair["key"]: pair["value"] for pair in pairs} for pairs in (old, new))
    names = [name for name in sorted({*mine, *its}) if mine.get(name) != its.get(name)]
    return {name: mine.get(name) for name in names}, {name: its.get(name) for name in names}


def _swapped(told: Table) -> list[tuple[str, str]]:
    """Pairs of clips of which each has the sound that the other had; mixtures count for the clip that is in them."""
    both = told.where(
        (told.places_in(told, "old", "new") >= 0) & (told.places_in(told, "new", "old") >= 0)
    )  # mostly none: little to join
    sql = (
        "WITH clips AS (SELECT DISTINCT coalesce(speech_id, id) AS clip, old, new FROM rows WHERE old IS NOT NULL AND new IS NOT NULL)"
        " SELECT one.clip, other.clip FROM clips one JOIN clips other ON one.old = other.new AND one.new = other.old"
        " WHERE one.clip < other.clip ORDER BY 1, 2"
    )
    return [(str(one), str(other)) for one, other in both.query(sql)]


def options(a: Provenance, b: Provenance) -> Iterator[Option]:
    """What two sets were made by differently; a stage that only one of them went through is one option."""
    yield from _unlike("", _told(a), _told(b))


def _told(made: Provenance) -> dict[str, Any]:
    told = {"stage": made.stage, "seed": made.seed, "recipe": made.recipe, "inputs": made.inputs}
    return told | {"versions": made.versions, "schema_version": made.schema_version}


def _unlike(name: str, old: Any, new: Any) -> Iterator[Option]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from _unlike(f"{name}.{key}".lstrip("."), old.get(key), new.get(key))
    elif old != new:
        yield Option(name, old, new)


def _moved(a: Side, b: Side, removed: Table, added: Table) -> Iterator[Moved]:
    """Why rows that one holds are not in the other, as its drops say; a mixture is gone where its speech is."""
    for to, rows, other in (("dropped", removed, b), ("kept", added, a)):
        drops = other.drops() if len(rows) else None
        if drops is None or not len(drops):
            continue
        own, speech = rows.places_in(drops, "id"), rows.places_in(drops, "speech_id", "id")
        found = np.where(own >= 0, own, speech)
        told = rows.where(found >= 0).beside(drops.take(found[found >= 0]).only(["stage", "reason", "detail"]))
        sql = (
            "SELECT stage, reason, count(*), min(id), min_by(detail, id) FROM rows GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2"
        )
        yield from (Moved(to, *line) for line in told.query(sql))


def _notes(a: Side, b: Side, shared: int, differ: bool) -> Iterator[str]:
    if differ and not shared:
        yield "they share no row"
    if differ and a.made.logical_hash == b.made.logical_hash:
        yield f"both state the logical hash {a.made.logical_hash}, so one of them was changed after it was written: prep verify says which"
    elif differ and not any(options(a.made, b.made)):
        yield "no option, seed, input or version differs: the recordings did, or rows were changed by hand"


def _untold(a: Side, b: Side, removed: Table, new: Table, moved: Sequence[Moved]) -> Iterator[str]:
    """Rows that are gone without a trace, where the drops should tell of them."""
    left = len(removed) - sum(item.rows for item in moved if item.to == "dropped")
    if left and a.made.recipe.get("mix") != b.made.recipe.get("mix"):
        mixed = int(
            removed.among("speech_id", {str(name) for name in new.codes("speech_id")[1] if name is not None}).sum()
        )
        left -= mixed
        if mixed:
            yield f"{mixed:,} of the rows removed are mixtures whose speech is mixed otherwise in B, by the options of mix above"
    if left and a.made.stage == b.made.stage and b.drops() is not None:
        yield f"{left:,} of the rows removed are in no drops of B: other input, --limit, or rows taken out by hand"
