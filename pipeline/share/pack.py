"""Packs: a set without its audio, in one small file: its rows, how they were made, the terms of every source.

What the licence of a corpus forbids to pass on is left out, and the pack says what and why (corpora/rights). A group
that may be the name of a person goes by the hash of one of its recordings, so that rows are still known to belong
together, and so does a recording of one's own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import EDITED, Manifest
from pipeline.core.sql import query
from pipeline.core.stated import checked
from pipeline.corpora import rights
from pipeline.corpora.rights import LeftOut, Terms
from pipeline.share.encode import FEW, VERSION, decode, encode

if TYPE_CHECKING:
    import pandas as pd

SUFFIX = ".pack.parquet"
_KEY = "pack"  # the key in a file's metadata by which a pack is known


class Altered(ManifestError):
    """A pack whose rows are not those that were packed."""


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """A pack in memory.

    manifest: the rows, null where something was left out, and the provenance of the set that was packed. dropped: stage
    and reason -> how many rows had been dropped there. hashes: column -> hash of its values in the set that was packed,
    by which a set that was built again is compared column by column.
    """

    manifest: Manifest
    left_out: tuple[LeftOut, ...]
    terms: tuple[Terms, ...]
    dropped: Mapping[str, int]
    hashes: Mapping[str, str]

    @property
    def nameless(self) -> set[str]:
        """The corpora whose recordings go by a hash instead of their names."""
        return {item.corpus for item in self.left_out if item.column in ("source", "noise_source")}


@dataclass(frozen=True, slots=True)
class _Stated:
    """What a pack says of itself, beside the provenance of the set. codings: forms, as `encode` names them."""

    version: int
    rows_hash: str
    left_out: tuple[LeftOut, ...]
    terms: tuple[Terms, ...]
    dropped: dict[str, int]
    hashes: dict[str, str]
    codings: list[str]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """What was written. noiseless: mixtures whose noise is no row of the set, so that they cannot be rebuilt."""

    path: Path
    rows: int
    bytes: int
    left_out: tuple[LeftOut, ...]
    terms: tuple[Terms, ...]
    noiseless: int

    @property
    def bytes_per_row(self) -> float:
        """Bytes of the file for each row."""
        return self.bytes / max(1, self.rows)

    def as_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self) | {"path": str(self.path), "bytes_per_row": round(self.bytes_per_row, 1)}


def is_nameless(source: str, pack: Pack | None) -> bool:
    """Whether a source in the rows of a pack is a hash instead of the recording's name."""
    return pack is not None and source.removeprefix("@").partition("/")[0] in pack.nameless


def is_pack(path: str | Path) -> bool:
    """Whether the file at this path is a pack, by its footer alone."""
    try:
        return _KEY in parquet.metadata(Path(path))
    except ManifestError:
        return False


def read(path: str | Path) -> Pack:
    """The pack at this path. ManifestError where it is missing, damaged, no pack, or of a later version; Altered."""
    path = Path(path)
    if not path.exists():
        raise ManifestError(f"{path}: no such pack")
    metadata = parquet.metadata(path)
    if _KEY not in metadata:
        raise ManifestError(f"{path}: not a pack: make one of a manifest with prep pack {path.name}")
    stated = metadata.pop(_KEY)
    version = stated.get("version") if isinstance(stated, dict) else None
    if type(version) is int and version > VERSION:
        raise ManifestError(f"{path}: a pack of a later prep (version {version}): upgrade this one")
    made, table = manifest.of_metadata(path, metadata), parquet.read_table(path)
    try:
        pack = checked(_Stated, stated if isinstance(stated, dict) else {})
        rows = decode(frames.from_arrow(table), pack.codings)
    except ManifestError as error:
        raise ManifestError(f"{path}: its rows are not those of a pack ({error}): get it again") from None
    except ValueError as error:
        raise ManifestError(f"{path}: what it says of itself is not as prep writes it: {error}: get it again") from None
    if frames.logical_hash(rows) != pack.rows_hash:
        raise Altered(f"{path}: its rows are not those that were packed: it is damaged or was changed; get it again")
    return Pack(Manifest(rows, made, path), pack.left_out, pack.terms, pack.dropped, pack.hashes)


def read_any(path: str | Path) -> Manifest:
    """The manifest at this path, or that of the pack, whichever it is."""
    return read(path).manifest if is_pack(path) else manifest.read(path)


def read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """These columns of the rows of a manifest or a pack. ManifestError where it is neither."""
    return read(path).manifest.frame[[*names]] if is_pack(path) else manifest.read_columns(path, names)


def path_of(path: Path) -> Path:
    """Where the pack of a manifest goes by default: `mixed.parquet` has `mixed.pack.parquet`."""
    return path.with_name(f"{path.stem}{SUFFIX}")


def write(whole: Manifest, path: Path, named: Collection[str] = ()) -> Packed:
    """Packs a manifest: everything but its audio and what the licences of its sources forbid to pass on.

    named: corpora whose names of recordings are packed although a person may be named in them.

    ManifestError where a column was edited by hand that is left out: whoever rebuilds the set could not have the edit.
    """
    frame = whole.frame
    hashes = {name: frames.logical_hash(frame[[name]]) for name in frame.columns if name not in frames.UNHASHED}
    terms = tuple(rights.terms(frame))
    recipe, quotes = rights.redacted_recipe(whole.provenance.recipe, frame, named=named)
    frame, columns = rights.redacted(frame, named=named)
    left_out = (*columns, *quotes)
    edited = {*whole.provenance.recipe.get(EDITED, {}).get("columns", ())} & {item.column for item in left_out}
    if edited:
        raise ManifestError(
            f"{whole.path}: {', '.join(sorted(edited))} was edited by hand and may not be passed on: whoever rebuilds "
            "the set takes it from their own copy of the corpora. Pack the manifest as it was before"
        )
    try:
        counted = "SELECT concat(stage, ' ', reason), count(*) FROM rows GROUP BY 1 ORDER BY 1"
        dropped = dict(query(whole.drops, counted))
    except ManifestError:  # the drops are not beside the manifest
        dropped = {}
    encoded, forms = encode(frame)
    pack = {
        "version": VERSION,
        "rows_hash": frames.logical_hash(frame),
        "left_out": [asdict(item) for item in left_out],
        "terms": [asdict(item) for item in terms],
        "dropped": dropped,
        "hashes": hashes,
        "codings": forms,
    }
    parquet.write_small(path, encoded, {**asdict(replace(whole.provenance, recipe=recipe)), _KEY: pack}, FEW)
    is_lost = frames.present(frame, "noise_id") & (frames.position_of(frame["noise_id"], frame["id"]) < 0)
    return Packed(path, len(frame), path.stat().st_size, left_out, terms, int(is_lost.sum()))
