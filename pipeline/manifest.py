"""Manifests: Rows as Parquet with their provenance; read, written whole, hashed. The door to training.

    >>> from pipeline import manifest                                        # doctest: +SKIP
    >>> for row in manifest.read("manifests/mixed.parquet").rows(): ...      # doctest: +SKIP

`pipeline.store.Reader` gives a row's samples. `manifests/schema.md` documents the columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__, files, migrations
from pipeline.errors import ManifestError
from pipeline.row import Drop, Row
from pipeline.table import Table, schema

SCHEMA_VERSION = 1
PACKAGES = ("numpy", "soxr", "soundfile", "pyarrow", "duckdb")  # whose version can move a bit of the result
_KEY = b"prep"
_ROWS_A_GROUP = 64 * 1024
_ROWS_SMALL = 1024 * 1024
_SPREAD = "BYTE_STREAM_SPLIT"  # first bytes with first bytes: of numbers that are near each other they are the same
_DROPS_ORDER = ("stage", "id", "reason")
_WORDS = ["labels.list.element.key", "labels.list.element.value"]  # few, and often the same: read as codes, a third of the memory


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
        raise ManifestError(f"{path}: its rows are not those of its logical hash: it was changed after it was written; nothing was written")
    rows, drops = held.table.ordered(), held.drops().ordered(_DROPS_ORDER)
    made = replace(held.provenance, schema_version=SCHEMA_VERSION, logical_hash=rows.digest(), drops_hash=drops.digest())
    write_table(drops_path(out), drops, asdict(made))
    write_table(out, rows, asdict(made))
    return made


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
    write_table(drops_path(path), drops, asdict(made))
    write_table(path, rows, asdict(made))
    return made


def write_table(path: Path, table: Table, metadata: Mapping[str, Any]) -> None:
    """One table as Parquet: zstd, explicit types, metadata as canonical JSON; same table, same bytes."""
    text = json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    arrow = table.arrow.replace_schema_metadata({_KEY: text.encode()})
    with files.replacing(path) as half:
        pq.write_table(arrow, half, compression="zstd", row_group_size=_ROWS_A_GROUP)


def write_small(path: Path, table: Table, metadata: Mapping[str, Any], few: Sequence[str]) -> None:
    """The same in as few bytes as may be, for a file that is sent. few: columns of few different values."""
    text = json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    arrow = table.arrow.replace_schema_metadata({_KEY: text.encode()})
    listed = [f.name for f in arrow.schema if f.name in few or pa.types.is_nested(f.type)]
    encodings = {f.name: "DELTA_BYTE_ARRAY" if pa.types.is_string(f.type) else _SPREAD for f in arrow.schema if f.name not in listed}
    form = {"compression": "zstd", "compression_level": 12, "row_group_size": _ROWS_SMALL, "write_statistics": False}
    with files.replacing(path) as half:
        pq.write_table(arrow, half, use_dictionary=listed, column_encoding=encodings, **form)


def write_parts(path: Path, parts: Iterable[Table], metadata: Mapping[str, str]) -> None:
    """Tables with the same columns, one at least, as one Parquet file, a row group each: only one of them is in memory at a time.

    For other tools' files: the metadata is theirs, and no manifest's.
    """
    with files.replacing(path) as half, ExitStack() as stack:
        writer = None
        for part in parts:
            arrow = part.arrow.replace_schema_metadata(dict(metadata))
            writer = writer or stack.enter_context(pq.ParquetWriter(half, arrow.schema, compression="snappy", use_dictionary=False))
            writer.write_table(arrow)


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


def _table(path: Path, kind: type, only: Sequence[str] | None = None) -> Table:
    form = schema(kind)
    wanted = form if only is None else pa.schema([form.field(name) for name in only])
    try:
        held = pq.read_schema(path)
        version = _version(path, held)
        if version < SCHEMA_VERSION:
            return Table(_raised(path, pq.read_table(path, partitioning=None), kind, version).select(wanted.names))
        _refuse_lacking(path, set(form.names) - set(held.names))
        words = _WORDS if only is not None else []
        arrow = pq.read_table(path, columns=wanted.names, partitioning=None, read_dictionary=words).replace_schema_metadata(None)
        kept = [arrow.schema.field(column.name) if words and column.name == "labels" else column for column in wanted]
        return Table(arrow.cast(pa.schema(kept))).light()
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such manifest") from None
    except (pa.ArrowException, ValueError, OSError) as error:
        raise ManifestError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from None


def _version(path: Path, held: pa.Schema) -> int:
    """The schema version of a file of ours; the newest where it says none, so that what it lacks is named. ManifestError for a pack."""
    told = json.loads((held.metadata or {}).get(_KEY, b"{}"))
    _refuse_pack(path, told)
    return int(told.get("schema_version", SCHEMA_VERSION))


def _refuse_pack(path: Path, told: Mapping[str, Any]) -> None:
    if "pack" in told:
        raise ManifestError(f"{path}: a pack, not a manifest: prep rebuild {path.name} makes the set of it from your copies of the corpora")


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
        raise ManifestError(f"{path}: lacks the columns {', '.join(sorted(lacking))}: not a manifest of this prep; make it again")
