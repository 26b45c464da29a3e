"""Manifests: Rows as Parquet with their provenance; read, written whole, hashed. The door to training.

    >>> from pipeline import manifest                                        # doctest: +SKIP
    >>> for row in manifest.read("manifests/mixed.parquet").rows(): ...      # doctest: +SKIP

`pipeline.store.Reader` gives a row's samples. `manifests/schema.md` documents the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__
from pipeline.core import migrations, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.row import Drop, Row
from pipeline.core.table import Table, schema

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "soxr", "soundfile", "pyarrow", "duckdb")  # whose version can move a bit of the result
_DROPS_ORDER = ("stage", "id", "reason")
_WORDS = [
    "labels.list.element.key",
    "labels.list.element.value",
]  # few, and often the same: read as codes, a third of the memory


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
        return drops_of(self.path)

    def __len__(self) -> int:
        return len(self.table)


def read(path: str | Path) -> Manifest:
    """The manifest at this path, as of the newest schema. ManifestError where it is missing, not ours, or of a later schema."""
    place = Path(path)
    return Manifest(_table(place, Row), provenance(place), place)


def columns(path: Path, names: Sequence[str]) -> Table:
    """Some columns of the rows alone: little memory, whatever the manifest's size. ManifestError as `read`."""
    return _table(path, Row, names)


def picked(path: Path, column: str, value: str) -> Table:
    """The rows that have this value in a column, without the others in memory. ManifestError as `read`."""
    where = columns(path, [column]).equal(column, value)
    if provenance(path).schema_version < SCHEMA_VERSION:
        return read(path).table.where(where)
    file, start, found = pq.ParquetFile(path), 0, []
    for group in range(file.num_row_groups):
        stop = start + file.metadata.row_group(group).num_rows
        if where[start:stop].any():
            found.append(file.read_row_group(group, schema(Row).names).filter(pa.array(where[start:stop])))
        start = stop
    return Table.joined([Table(rows.replace_schema_metadata(None).cast(schema(Row))) for rows in found], Row)


def as_written(path: Path) -> Table:
    """The rows with the columns that the file has, of whatever schema: what `logical_hash` is the digest of."""
    try:
        return Table(pq.read_table(path, partitioning=None).replace_schema_metadata(None))
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ManifestError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def migrate(path: Path, out: Path) -> Provenance:
    """Writes a manifest of an earlier schema, and its drops, as one of the newest; says its provenance.

    The packages that made the rows stay as they are told. ManifestError where the rows are not those that were written.
    """
    held = read(path)
    if as_written(path).digest() != held.provenance.logical_hash:
        raise ManifestError(
            f"{path}: its rows are not those of its logical hash: it was changed after it was written; nothing was written"
        )
    rows, drops = held.table.ordered(), held.drops().ordered(_DROPS_ORDER)
    made = replace(
        held.provenance, schema_version=SCHEMA_VERSION, logical_hash=rows.digest(), drops_hash=drops.digest()
    )
    parquet.write(drops_path(out), drops, asdict(made))
    parquet.write(out, rows, asdict(made))
    return made


def provenance(path: Path) -> Provenance:
    """What a manifest says it was made from, from the file's footer alone."""
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise ManifestError(f"{path}: not a Parquet file ({error}); expected a manifest written by prep") from None
    if parquet.KEY not in metadata:
        raise ManifestError(f"{path}: a Parquet file, but not a manifest written by prep: it has no provenance")
    held = json.loads(metadata[parquet.KEY])
    if held["schema_version"] > SCHEMA_VERSION:
        raise ManifestError(
            f"{path}: schema version {held['schema_version']}, this prep reads up to {SCHEMA_VERSION}: upgrade it"
        )
    _refuse_pack(path, held)
    return Provenance(**held)


def drops_path(path: Path) -> Path:
    """Where the drops of a manifest lie: `mixed.parquet` has `mixed.drops.parquet`."""
    return path.with_name(f"{path.stem}.drops.parquet")


def drops_of(path: Path) -> Table:
    """The drops of a manifest. ManifestError where they are missing."""
    return _table(drops_path(path), Drop)


def write(path: Path, rows: Table, drops: Table, made: Provenance) -> Provenance:
    """Writes rows and drops, each in stable order, whole or not at all; says the provenance with its hashes.

    The drops come first: where the manifest is, its drops are.
    """
    rows, drops = rows.ordered(), drops.ordered(_DROPS_ORDER)
    made = replace(made, versions=versions(), logical_hash=rows.digest(), drops_hash=drops.digest())
    parquet.write(drops_path(path), drops, asdict(made))
    parquet.write(path, rows, asdict(made))
    return made


def versions() -> dict[str, str]:
    """Versions of this project and of the packages that can move a bit of the result."""
    found = {"prep": __version__}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def other_versions(made: Provenance) -> list[tuple[str, str, str]]:
    """(package, its version here, its version there) of those that are others here than where a manifest was made."""
    here = versions()
    return [
        (name, here[name], made.versions[name])
        for name in sorted(here)
        if made.versions.get(name, here[name]) != here[name]
    ]


def _table(path: Path, kind: type, only: Sequence[str] | None = None) -> Table:
    form = schema(kind)
    wanted = form if only is None else pa.schema([form.field(name) for name in only])
    try:
        footer = pq.read_metadata(path)
        held, version = footer.schema.to_arrow_schema(), _version(path, footer.metadata or {})
        if version < SCHEMA_VERSION:
            return Table(_raised(path, pq.read_table(path, partitioning=None), kind, version).select(wanted.names))
        _refuse_lacking(path, set(form.names) - set(held.names))
        words = _WORDS if only is not None else []
        arrow = pq.read_table(
            path, columns=wanted.names, partitioning=None, read_dictionary=words
        ).replace_schema_metadata(None)
        kept = [arrow.schema.field(column.name) if words and column.name == "labels" else column for column in wanted]
        return Table(arrow.cast(pa.schema(kept))).light()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ManifestError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def _version(path: Path, metadata: Mapping[bytes, bytes]) -> int:
    """The schema version of a file of ours; the newest where it says none, so that what it lacks is named. ManifestError for a pack."""
    told = json.loads(metadata.get(parquet.KEY, b"{}"))
    _refuse_pack(path, told)
    return int(told.get("schema_version", SCHEMA_VERSION))


def _refuse_pack(path: Path, told: Mapping[str, Any]) -> None:
    if "pack" in told:
        raise ManifestError(
            f"{path}: a pack, not a manifest: prep rebuild {path.name} makes the set of it from your copies of the corpora"
        )


def _raised(path: Path, arrow: pa.Table, kind: type, version: int) -> pa.Table:
    """A table of an earlier schema with the columns of the newest: those that were added since are null."""
    part, form = "drops" if kind is Drop else "rows", schema(kind)
    raised = migrations.raised(Table(arrow.replace_schema_metadata(None)), part, version, SCHEMA_VERSION).arrow
    added = [column for column in form if column.name not in raised.column_names]
    _refuse_lacking(path, {column.name for column in added if not column.nullable})
    for column in added:
        raised = raised.append_column(column, pa.nulls(len(raised), column.type))
    return raised.select(form.names).cast(form)


def _refuse_lacking(path: Path, lacking: set[str]) -> None:
    if lacking:
        raise ManifestError(
            f"{path}: lacks the columns {', '.join(sorted(lacking))}: not a manifest of this prep; make it again"
        )
