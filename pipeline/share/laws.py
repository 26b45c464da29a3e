"""The first level of verifying: whether the rows are those that were written, and keep the laws of every set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core import manifest
from pipeline.core.errors import ManifestError
from pipeline.core.frame import logical_hash
from pipeline.core.manifest import Manifest
from pipeline.core.table import Table
from pipeline.share import pack as packs
from pipeline.share.pack import Pack
from pipeline.share.verdicts import Finding

MOST = 20  # rows named for each law or column
TOLERANCE_DB = 0.1
CARRIED = (  # what a stage takes over from the manifest before
    "group",
    "source",
    "transcript",
    "scenario",
    "labels",
    "source_rate_hz",
    "source_channels",
    "source_frames",
    "source_format",
    "source_pcm_hash",
    "source_pcm_crc",
    "clipped_share",
    "zero_share",
)
_KEPT = ("filter", "lexicon", "resample")  # parts of a recipe that later stages take over as they are
_RULED = ("split", "keyword")  # what filter decides, and later stages take over
_APART = {
    "group": 'corpus, "group"',
    "source": "source",
    "source_pcm_hash": "source_pcm_hash",
    "noise_source": "noise_source",
}
_REFERS = """
SELECT m.id, CASE WHEN n.id IS NULL THEN concat('its noise ', m.noise_id, ' is no row of the set')
    WHEN n.split <> m.split THEN concat('its noise ', m.noise_id, ' is of ', n.split, ', it is of ', m.split)
    ELSE concat('its noise_pcm_hash is not the pcm_hash of ', m.noise_id) END
FROM rows m LEFT JOIN (SELECT * FROM rows WHERE kind = 'noise') n ON n.id = m.noise_id
WHERE m.noise_id IS NOT NULL AND (n.id IS NULL OR n.split <> m.split OR n.pcm_hash IS DISTINCT FROM m.noise_pcm_hash)
ORDER BY m.id"""
_SNR = f"""
SELECT id, concat('asked for ', snr_db, ' dB (', snr_definition, '), realised ',
    CASE snr_definition WHEN 'active' THEN snr_active_db ELSE snr_full_db END) FROM rows
WHERE kind = 'mixture' AND NOT coalesce(abs(snr_db - CASE snr_definition WHEN 'active' THEN snr_active_db ELSE snr_full_db END)
    <= {TOLERANCE_DB} + 1e-9, false) ORDER BY id"""
_IDS = """
SELECT id, concat('its id does not begin with that of its speech, ', speech_id) FROM rows
WHERE kind = 'mixture' AND NOT coalesce(starts_with(id, speech_id), false) ORDER BY id"""


def schema(held: Manifest, pack: Pack | None) -> list[Finding]:
    """What does not hold of the rows by themselves. pack: the pack that they come from, if they do."""
    found = [] if pack else [*_rows(held), *_drops(held), *_recipe(held)]
    return [*found, *_laws(held.table)]


def _rows(held: Manifest) -> Iterator[Finding]:
    """Whether the rows are those of the logical hash, and if not, which columns of which rows were changed, if it can be known."""
    here = manifest.as_written(held.path).digest()
    if here == held.provenance.logical_hash:
        return
    yield Finding(
        "rows",
        "changed",
        f"{held.path.name} says its rows have the hash {held.provenance.logical_hash}, they have {here}: changed since",
    )
    for name, other, columns in _witnesses(held):
        yield from _changes(held.table, name, other, columns)


def _recipe(held: Manifest) -> Iterator[Finding]:
    """Options that are not those which the manifests before this one, or its pack, say: no hash is of them."""
    beside = packs.path_of(held.path)
    if packs.is_pack(beside):
        pack = packs.read(beside)
        if pack.manifest.provenance.logical_hash == held.provenance.logical_hash and "recipe" not in {
            i.column for i in pack.left_out
        }:
            yield from _options(held, beside.name, pack.manifest.provenance.recipe)
    for name, digest in sorted(held.provenance.inputs.items()):
        path = held.path.with_name(f"{name}.parquet")
        if path.exists() and (before := manifest.provenance(path)).logical_hash == digest:
            own = {held.provenance.stage, *(("lexicon",) if held.provenance.stage == "filter" else ())}
            kept = {key: value for key, value in before.recipe.items() if key in _KEPT and key not in own}
            yield from _options(held, path.name, kept)


def _options(held: Manifest, name: str, recipe: Mapping[str, Any]) -> Iterator[Finding]:
    for key, there in sorted(recipe.items()):
        here = held.provenance.recipe.get(key)
        pairs = {key: (here, there)}
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            pairs = {f"{key}.{part}": (here.get(part), there.get(part)) for part in sorted({*here, *there})}
        differ = [f"{option} is {mine!r}, there {its!r}" for option, (mine, its) in pairs.items() if mine != its]
        if differ:
            yield Finding("recipe", "changed", f"not as {name} says: {'; '.join(differ)}")


def _drops(held: Manifest) -> Iterator[Finding]:
    try:
        here = logical_hash(held.drops)
    except ManifestError as error:
        yield Finding("drops", "missing", str(error))
        return
    if here != held.provenance.drops_hash:
        yield Finding(
            "drops",
            "changed",
            f"the drops beside {held.path.name} have the hash {here}, it says {held.provenance.drops_hash}",
        )


def _witnesses(held: Manifest) -> Iterator[tuple[str, Table, Sequence[str]]]:
    """What lies beside the manifest and tells what its rows were: (name, rows, columns that must be the same)."""
    beside = packs.path_of(held.path)
    if packs.is_pack(beside):
        pack = packs.read(beside)
        if pack.manifest.provenance.logical_hash == held.provenance.logical_hash:
            left = {item.column for item in pack.left_out}
            yield beside.name, pack.manifest.table, [name for name in pack.hashes if name not in {*left, "id"}]
    for name, digest in sorted(held.provenance.inputs.items()):
        path = held.path.with_name(f"{name}.parquet")
        if path.exists() and manifest.as_written(path).digest() == digest:
            ruled = _RULED if held.provenance.stage != "filter" else ()
            yield path.name, manifest.read(path).table, (*CARRIED, *ruled)


def _changes(rows: Table, name: str, other: Table, columns: Sequence[str]) -> Iterator[Finding]:
    """The values that are not those of the same clip there: by id, and where there is none by that of the speech."""
    at = rows.places_in(other, "id")
    speech = rows.places_in(other, "speech_id", "id")
    at = np.where(at >= 0, at, np.where(rows.present("speech_id"), speech, -1))
    known = at >= 0
    mine, its = rows.where(known), other.take(at[known])
    for column in columns:
        differs = mine.differs(its, column)
        held = ((mine, "id"), (mine, column), (its, column))
        told = zip(*(table.only([name]).where(differs).column(name) for table, name in held), strict=True)
        for number, (row_id, here, there) in enumerate(told):
            if number == MOST:
                yield Finding("rows", "changed", f"{column}: {int(differs.sum()) - MOST:,} rows more")
                break
            yield Finding(str(row_id), "changed", f"{column} is {here!r}, in {name} it is {there!r}")


def _laws(rows: Table) -> Iterator[Finding]:
    if (twice := rows.repeated("id")) is not None:
        yield Finding(twice, "law", "this id is there more than once")
    for column, by in _APART.items():
        sql = f"SELECT {by}, string_agg(DISTINCT split, ', ' ORDER BY split) FROM rows WHERE \"{column}\" IS NOT NULL GROUP BY {by}"
        for *names, splits in rows.query(f"{sql} HAVING count(DISTINCT split) > 1 ORDER BY {by} LIMIT {MOST}"):
            yield Finding(" ".join(map(str, names)), "law", f"this {column} is in more than one split: {splits}")
    for sql in (_REFERS, _SNR, _IDS):
        for row_id, because in rows.query(f"{sql} LIMIT {MOST}"):
            yield Finding(str(row_id), "law", str(because))
