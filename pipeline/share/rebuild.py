"""A pack made into a set again, from one's own copy of the corpora: found, joined with their labels, rendered, compared."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.core import manifest
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.core.table import UNHASHED, Table
from pipeline.engine import run as engine
from pipeline.engine.run import Setting
from pipeline.share.finding import Found, Start, found, readable_roots, remembering, wanted
from pipeline.share.pack import Pack
from pipeline.share.rejoin import rejoined
from pipeline.stages import Options, Plan, find, rebuild, recompute, resample, with_places

NAME = rebuild.NAME
_AT = {"shard": "at_noise_shard", "offset": "at_noise_offset", "bytes": "at_noise_bytes"}


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """What came of a pack. made: the provenance of the set that was packed. moved: recordings that were found under another name."""

    jobs: int
    rows: Table
    drops: Table
    made: Provenance
    moved: int
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """How many rows are not there for which reason, most frequent first."""
        counts = self.drops.query("SELECT reason, count(*) FROM rows GROUP BY 1 ORDER BY 2 DESC, 1")
        return {str(reason): int(count) for reason, count in counts}


def rebuilt(pack: Pack, setting: Setting, start: Start) -> Rebuilt:
    """Every row of the pack whose recordings are there, the same samples, and a drop for each that is not."""
    rows = pack.manifest.table
    wants = wanted(rows)
    told = found(wants, readable_roots({want.corpus for want in wants}, setting.roots), remembering(setting, start))
    there, unlabelled = rejoined(rows.where(rows.among("source", told.where)), pack.left_out, told)
    work = _Rendering(pack, told, setting, start)
    made = work.rendered(there).ordered()
    ended = Table.joined([_lacking(rows, told), Table.of(unlabelled, Drop), *work.drops], Drop)
    if len(made) + len(ended) != len(rows):
        raise AssertionError(f"{NAME}: {len(rows)} rows in the pack, {len(made)} rows, {len(ended)} drops")
    return Rebuilt(len(rows), made, _explained(ended, pack), pack.manifest.provenance, len(told.moved), told.notes)


def written(path: Path, done: Rebuilt) -> Provenance:
    """Writes the rows, and beside them what is lacking and why."""
    return manifest.write(path, done.rows, done.drops, done.made)


def differing(pack: Pack, rows: Table) -> list[str]:
    """Columns whose values are not those of the set that was packed. To be asked where all rows are there."""
    return [name for name in rows.names if name not in UNHASHED and rows.only([name]).digest() != pack.hashes.get(name)]


def _lacking(rows: Table, told: Found) -> Table:
    lost = rows.where(rows.among("source", told.lacks)).only(["id", "source"])
    lacks = [told.lacks[source] for source in lost.column("source")]
    drops = [
        Drop(row_id, NAME, lack.reason, lack.detail) for row_id, lack in zip(lost.column("id"), lacks, strict=True)
    ]
    return Table.of(drops, Drop)


class _Rendering:
    """The rows of a pack rendered again; `drops` gathers those that could not be."""

    def __init__(self, pack: Pack, told: Found, setting: Setting, start: Start) -> None:
        self.drops: list[Table] = []
        self._pack, self._told, self._setting, self._start = pack, told, setting, start

    def rendered(self, rows: Table) -> Table:
        """The rows with their audio, where the set has any."""
        if not rows.present("pcm_hash").any():
            return rows
        recipe = self._pack.manifest.provenance.recipe
        options = resample.Options(**recipe.get("resample", {}))
        virtual = bool((recipe.get("mix") or {}).get("virtual", False))
        mixed = rows.equal("kind", "mixture")
        mixtures, others = rows.where(mixed), rows.where(~mixed)
        stored = self._run(rebuild.NAME, options, Table.joined([others, _speech(mixtures)], Row) if virtual else others)
        own = stored.where(stored.places_in(others, "id") >= 0)
        if not len(mixtures):
            return own
        ready, lost = _with_noise(mixtures, stored)
        self.drops.append(self._no_noise(lost))
        if virtual:
            ready = _with_speech(ready, stored)
        return Table.joined(
            [own, self._run(recompute.NAME, recompute.Options(**options.model_dump(), virtual=virtual), ready)], Row
        )

    def _run(self, name: str, options: Options, rows: Table) -> Table:
        """What a stage makes of the rows; what it drops of the pack's own is noted down."""
        plan = Plan(with_places(rows.frame, [self._told.where[source] for source in rows.strings("source")]))
        ended = engine.run(find(name), options, plan, self._setting, self._start(name, len(plan)))
        drops = Table.of_frame(ended.drops)
        own = drops.places_in(self._pack.manifest.table, "id") >= 0
        self.drops.append(drops.where(own).filled(stage=NAME))
        return Table.of_frame(ended.rows)

    def _no_noise(self, lost: Table) -> Table:
        """Drops of mixtures whose noise is not there."""
        own = lost.places_in(self._pack.manifest.table, "noise_id", "id") >= 0
        why = {True: "is not there: see its own line", False: "is no row of the pack"}
        details = [
            f"its noise {name} {why[there]}" for name, there in zip(lost.column("noise_id"), own.tolist(), strict=True)
        ]
        return lost.only(["id"]).filled(stage=NAME, reason="no_noise", detail=details).as_kind(Drop)


def _speech(mixtures: Table) -> Table:
    """A row for each utterance of virtual mixtures, as resample left it: the reader renders them from it."""
    _, first = np.unique(mixtures.classes("speech_id"), return_index=True)
    rows = mixtures.take(first).copied(id="speech_id", pcm_hash="speech_pcm_hash").filled(kind="speech")
    nothing = np.ones(len(rows), dtype=np.bool_)
    for name in ("speech_id", "noise_id", "noise_source"):
        rows = rows.blanked(name, nothing)
    return rows


def _with_noise(mixtures: Table, stored: Table) -> tuple[Table, Table]:
    """(mixtures beside where their noise lies now, mixtures whose noise is not there)."""
    at = mixtures.places_in(stored, "noise_id", "id")
    there = at >= 0
    noise = stored.only(list(_AT)).take(at[there]).renamed(**_AT)
    return mixtures.where(there).beside(noise), mixtures.where(~there)


def _with_speech(mixtures: Table, stored: Table) -> Table:
    """Virtual mixtures with where their speech and noise lie; those whose speech is not stored stay without, and drop as they are made."""
    at = mixtures.places_in(stored, "speech_id", "id")
    parts = stored.only(list(_AT)).take(np.maximum(at, 0))
    held = mixtures.beside(parts.renamed(shard="speech_shard", offset="speech_offset", bytes="speech_bytes"))
    return held.copied(noise_shard="at_noise_shard", noise_offset="at_noise_offset", noise_bytes="at_noise_bytes")


def _explained(drops: Table, pack: Pack) -> Table:
    """What was rendered differently, with the versions that are to blame where they differ."""
    which = drops.equal("reason", rebuild.DIFFERENT)
    if not which.any():
        return drops
    differ = [
        f"{name} {here} here, {there} there" for name, here, there in manifest.other_versions(pack.manifest.provenance)
    ]
    told = (
        f"; {', '.join(differ)}: install the same"
        if differ
        else "; the packages are the same: another processor, or another pack"
    )
    return drops.replaced("detail", which, drops.suffixed("detail", told))
