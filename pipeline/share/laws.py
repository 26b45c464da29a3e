"""The first level of verifying: whether the rows are those that were written, and keep the laws of every set."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import EDITED, Manifest
from pipeline.core.sql import query
from pipeline.share import pack as packs
from pipeline.share.pack import Pack
from pipeline.stages.splits import in_two_splits

if TYPE_CHECKING:
    import pandas as pd

MOST = 20  # rows named for each law or column
TOLERANCE_DB = 0.1
# What a stage takes over from the manifest before it, and what every stage but filter does.
_CARRIED = (
    *("group", "source", "scenario", "labels", "source_rate_hz", "source_channels", "source_frames"),
    *("source_format", "source_pcm_hash", "source_pcm_crc", "clipped_share", "zero_share"),
)
_CARRIED_BY_ALL_BUT_FILTER = ("split", "keyword", "transcript")
_KEPT_OPTIONS = ("filter", "lexicon", "resample")  # parts of a recipe that later stages take over as they are
_IN_ONE_SPLIT = {  # column -> what identifies its values
    "group": 'corpus, "group"',
    "source": "source",
    "source_pcm_hash": "source_pcm_hash",
    "noise_source": "noise_source",
}
_REALISED = "CASE snr_definition WHEN 'active' THEN snr_active_db ELSE snr_full_db END"
_LAWS = (  # SQL: id and what is wrong with each row that breaks a law
    """
SELECT m.id, CASE WHEN n.id IS NULL THEN concat('its noise ', m.noise_id, ' is no row of the set')
    WHEN n.split <> m.split THEN concat('its noise ', m.noise_id, ' is of ', n.split, ', it is of ', m.split)
    ELSE concat('its noise_pcm_hash is not the pcm_hash of ', m.noise_id) END
FROM rows m LEFT JOIN (SELECT * FROM rows WHERE kind = 'noise') n ON n.id = m.noise_id
WHERE m.noise_id IS NOT NULL AND (n.id IS NULL OR n.split <> m.split OR n.pcm_hash IS DISTINCT FROM m.noise_pcm_hash)
ORDER BY m.id""",
    f"""
SELECT id, concat('asked for ', snr_db, ' dB (', snr_definition, '), realised ', {_REALISED}) FROM rows
WHERE kind = 'mixture' AND NOT coalesce(abs(snr_db - {_REALISED}) <= {TOLERANCE_DB} + 1e-9, false) ORDER BY id""",
    """
SELECT id, concat('its id does not begin with that of its speech, ', speech_id) FROM rows
WHERE kind = 'mixture' AND NOT coalesce(starts_with(id, speech_id), false) ORDER BY id""",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold.

    what: the id of a row, a shard, a column. verdict: a word for counting. because: a sentence. digest: hash of the
    samples that lie there instead, where there are some.
    """

    what: str
    verdict: str
    because: str
    digest: str = ""


def broken_laws(rows: Manifest, pack: Pack | None) -> list[Finding]:
    """What does not hold of the rows by themselves. pack: the pack that they were read from, if it was one."""
    findings = list(_laws(rows.frame))
    return findings if pack else [*_changed_rows(rows), *_changed_drops(rows), *_changed_recipe(rows), *findings]


def _changed_rows(rows: Manifest) -> Iterator[Finding]:
    """Whether the rows have the logical hash of the manifest; if not, what was changed, as far as other files say."""
    here, written = parquet.logical_hash_of_file(rows.path), rows.provenance.logical_hash
    if here == written:
        return
    because = f"{rows.path.name} says its rows have the hash {written}, they have {here}: changed since"
    yield Finding("rows", "changed", because)
    if pack := _pack_beside(rows):
        columns = pack.hashes.keys() - {"id", *(item.column for item in pack.left_out)}
        yield from _changed_values(rows.frame, pack.manifest, columns)
    stage, columns = rows.provenance.stage, {*_CARRIED, *_CARRIED_BY_ALL_BUT_FILTER}
    if stage == "filter":
        columns = {*_CARRIED}
    elif stage == EDITED:
        columns -= {*rows.provenance.recipe[EDITED]["columns"]}
    for name, digest in sorted(rows.provenance.inputs.items()):
        path = rows.path.with_name(f"{name}.parquet")
        if path.exists() and parquet.logical_hash_of_file(path) == digest:
            yield from _changed_values(rows.frame, manifest.read(path), columns)


def _pack_beside(rows: Manifest) -> Pack | None:
    """The pack that was made of this manifest and lies beside it."""
    path = packs.path_of(rows.path)
    pack = packs.read(path) if packs.is_pack(path) else None
    return pack if pack and pack.manifest.provenance.logical_hash == rows.provenance.logical_hash else None


def _changed_values(frame: pd.DataFrame, other: Manifest, columns: Collection[str]) -> Iterator[Finding]:
    """The values that are not those of the same clip there: by id, and where there is none, by that of the speech."""
    there = other.frame
    speech = np.where(frames.present(frame, "speech_id"), frames.position_of(frame["speech_id"], there["id"]), -1)
    at = frames.position_of(frame["id"], there["id"])
    at = np.where(at >= 0, at, speech)
    mine, its = frames.pick(frame, at >= 0), frames.pick(there, at[at >= 0])
    for column in sorted(columns):
        where = frames.differs(mine[column], its[column])
        if where.any():
            few = np.flatnonzero(where)[:MOST]
            cells = zip(
                *(frames.values(frames.pick(t[[c]], few)[c]) for t, c in ((mine, "id"), (mine, column), (its, column))),
                strict=True,
            )
            for row_id, here, value in cells:
                yield Finding(row_id, "changed", f"{column} is {here!r}, in {other.path.name} it is {value!r}")
            if (more := int(where.sum()) - MOST) > 0:
                yield Finding("rows", "changed", f"{column}: {more:,} rows more")


def _changed_drops(rows: Manifest) -> Iterator[Finding]:
    try:
        here = frames.logical_hash(rows.drops)
    except ManifestError as error:
        yield Finding("drops", "missing", str(error))
        return
    if here != rows.provenance.drops_hash:
        written = f"it says {rows.provenance.drops_hash}"
        yield Finding("drops", "changed", f"the drops beside {rows.path.name} have the hash {here}, {written}")


def _changed_recipe(rows: Manifest) -> Iterator[Finding]:
    """Options that are not those which the manifests before this one, or its pack, hold: no hash is of them."""
    pack = _pack_beside(rows)
    if pack and "recipe" not in {item.column for item in pack.left_out}:
        yield from _changed_options(rows, pack.manifest.path.name, pack.manifest.provenance.recipe)
    for name, digest in sorted(rows.provenance.inputs.items()):
        path = rows.path.with_name(f"{name}.parquet")
        if path.exists() and (before := manifest.provenance(path)).logical_hash == digest:
            own = {"filter", "lexicon"} if rows.provenance.stage == "filter" else {rows.provenance.stage}
            kept = {key: value for key, value in before.recipe.items() if key in _KEPT_OPTIONS and key not in own}
            yield from _changed_options(rows, path.name, kept)


def _changed_options(rows: Manifest, name: str, recipe: Mapping[str, Any]) -> Iterator[Finding]:
    for key, there in sorted(recipe.items()):
        here = rows.provenance.recipe.get(key)
        pairs = {key: (here, there)}
        if isinstance(here, Mapping) and isinstance(there, Mapping):
            pairs = {f"{key}.{part}": (here.get(part), there.get(part)) for part in sorted({*here, *there})}
        differ = [f"{option} is {mine!r}, there {its!r}" for option, (mine, its) in pairs.items() if mine != its]
        if differ:
            yield Finding("recipe", "changed", f"not as {name} says: {'; '.join(differ)}")


def _laws(frame: pd.DataFrame) -> Iterator[Finding]:
    if (twice := frames.duplicated_value(frame["id"])) is not None:
        yield Finding(twice, "law", "this id is there more than once")
    splits = "string_agg(DISTINCT split, ', ' ORDER BY split)"
    for column, by in _IN_ONE_SPLIT.items():
        crossed = frames.pick(frame[["corpus", "split", *_IN_ONE_SPLIT]], in_two_splits(frame, column))
        grouped = f"SELECT {by}, {splits} FROM rows GROUP BY {by} ORDER BY {by} LIMIT {MOST}"
        for *names, among in query(crossed, grouped) if len(crossed) else ():
            yield Finding(" ".join(map(str, names)), "law", f"this {column} is in more than one split: {among}")
    for law in _LAWS:
        for row_id, because in query(frame, f"{law} LIMIT {MOST}"):
            yield Finding(str(row_id), "law", str(because))
