"""Manifests: Rows as Parquet with their provenance; read, written whole, hashed. The door to training.

    >>> from pipeline import manifest                                        # doctest: +SKIP
    >>> for row in manifest.read("manifests/mixed.parquet").rows(): ...      # doctest: +SKIP

`pipeline.store.Reader` gives a row's samples. `manifests/schema.md` documents the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__, files
from pipeline.errors import ManifestError
from pipeline.row import Drop, Row
from pipeline.table import Table

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "soxr", "soundfile", "pyarrow", "duckdb")  # whose version can move a bit of the result
_KEY = b"prep"
_ROWS_A_GROUP = 64 * 1024


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a manifest depends on: no time, no host, no path.

    stage: name of the last stage. recipe: options of every stage so far, in canonical form. inputs: logical hash of
    each manifest read. logical_hash: of the rows (Table.digest of the rows in order). drops_hash: the same of the drops.
    """

    stage: str
    recipe: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    logical_hash: str = ""
    drops_hash: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A manifest in memory: its table of Rows, provenance, and where it was read."""

    table: Table
    provenance: Provenance
    path: Path

    def rows(self) -> Iterator[Row]:
        """The rows, in the manifest's order (by source, then id)."""
        return self.table.rows(Row)

    def drops(self) -> Table:
        """The rows that ended before this manifest, with stage, reason and detail; ManifestError where they are missing."""
        return _table(drops_path(self.path), Drop)

    def __len__(self) -> int:
        return len(self.table)


def read(path: str | Path) -> Manifest:
    """The manifest at this path. ManifestError where it is missing, not ours, or of a later schema."""
    place = Path(path)
    return Manifest(_table(place, Row), provenance(place), place)


def provenance(path: Path) -> Provenance:
    """What a manifest says it was made from, from the file's footer alone."""
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: not a Parquet file ({error}); expected a manifest written by prep") from None
    if _KEY not in metadata:
        raise ManifestError(f"{path}: a Parquet file, but not a manifest written by prep: it has no provenance")
    held = json.loads(metadata[_KEY])
    if held["schema_version"] > SCHEMA_VERSION:
        raise ManifestError(f"{path}: schema version {held['schema_version']}, this prep reads up to {SCHEMA_VERSION}: upgrade it")
    return Provenance(**held)


def drops_path(path: Path) -> Path:
    """Where the drops of a manifest lie: `mixed.parquet` has `mixed.drops.parquet`."""
    return path.with_name(f"{path.stem}.drops.parquet")


def write(path: Path, rows: Table, drops: Table, made: Provenance) -> Provenance:
    """Writes rows and drops, each in stable order, whole or not at all; says the provenance with its hashes.

    The drops come first: where the manifest is, its drops are.
    """
    rows, drops = rows.ordered(), drops.ordered(("stage", "id", "reason"))
    made = replace(made, versions=versions(), logical_hash=rows.digest(), drops_hash=drops.digest())
    write_table(drops_path(path), drops, asdict(made))
    write_table(path, rows, asdict(made))
    return made


def write_table(path: Path, table: Table, metadata: Mapping[str, Any]) -> None:
    """One table as Parquet: zstd, explicit types, metadata as canonical JSON; same table, same bytes."""
    text = json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    arrow = table.arrow.replace_schema_metadata({_KEY: text.encode()})
    with files.replacing(path) as half:
        pq.write_table(arrow, half, compression="zstd", row_group_size=_ROWS_A_GROUP)


def read_sealed(path: Path) -> tuple[Table, dict[str, Any]]:
    """Whatever table write_table wrote, and its metadata. ManifestError where the file is absent or damaged."""
    try:
        arrow = pq.read_table(path, partitioning=None)
        return Table(arrow.replace_schema_metadata(None)), dict(json.loads((arrow.schema.metadata or {})[_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error})") from None


def sealed(path: Path) -> dict[str, Any]:
    """The metadata of a table that write_table wrote, from its footer alone. ManifestError where it cannot be read."""
    try:
        return dict(json.loads((pq.read_schema(path).metadata or {})[_KEY]))
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error})") from None


def versions() -> dict[str, str]:
    """Versions of this project and of the packages that can move a bit of the result."""
    found = {"prep": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _table(path: Path, kind: type) -> Table:
    form = Table.of([], kind).arrow.schema
    try:
        lacking = sorted(set(form.names) - set(pq.read_schema(path).names))
        if lacking:
            raise ManifestError(f"{path}: lacks the columns {', '.join(lacking)}: not a manifest of this prep; make it again")
        arrow = pq.read_table(path, columns=form.names, partitioning=None)
        return Table(arrow.replace_schema_metadata(None).cast(form))
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ManifestError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None
