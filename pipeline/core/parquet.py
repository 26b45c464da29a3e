"""Tables as Parquet files, written whole or not at all: ours with what they say of themselves in the footer, and other
tools'."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from pipeline.core import files, texts
from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row

if TYPE_CHECKING:
    import pandas as pd

KEY = b"prep"  # of our metadata, in the footer
ROWS_A_GROUP = 64 * 1024
_ROWS_SMALL = 1024 * 1024
HASH = pa.binary(16)  # how hashes lie in a small file
_LEAST, _TIMES = 100_000_000, 50  # a file may unpack to so many bytes, or to so many times its own
_MOST_FOOTER, _MOST_GROUPS = 32 << 20, 10_000  # bytes of a footer, groups of rows
_FEW = 256  # rows at a time of what may be long
_SPREAD = "BYTE_STREAM_SPLIT"  # first bytes with first bytes: of numbers that are near each other they are the same


def _arrow(table: Any) -> pa.Table:
    """A frame or an Arrow table as an Arrow table."""
    return table if isinstance(table, pa.Table) else frames.to_arrow(table)


def write(path: Path, table: Any, metadata: Mapping[str, Any]) -> None:
    """A frame or an Arrow table as Parquet: zstd, explicit types, metadata as canonical JSON.

    The same rows make the same bytes, however many pieces they came in: each row group is written as one piece.
    """
    arrow = _arrow(table)
    starts = range(0, len(arrow), ROWS_A_GROUP)
    write_groups(path, (arrow.slice(start, ROWS_A_GROUP) for start in starts), arrow.schema, metadata)


def write_groups(path: Path, groups: Iterable[pa.Table], schema: pa.Schema, metadata: Mapping[str, Any]) -> None:
    """The same of Arrow tables that are a row group each, of ROWS_A_GROUP rows but for the last."""
    schema = schema.with_metadata({KEY: _text(metadata).encode()})
    with files.replacing(path) as half, pq.ParquetWriter(half, schema, compression="zstd") as writer:
        for group in groups:
            writer.write_table(group.replace_schema_metadata(schema.metadata).combine_chunks())


def write_small(path: Path, frame: pd.DataFrame, metadata: Mapping[str, Any], few: Sequence[str]) -> None:
    """Rows in as few bytes as may be, for a file that is sent. few: columns of few different values.

    Bytes are hashes.
    """
    arrow = frames.to_arrow(frame)
    required = [field.name for field in frames.schema(Row) if not field.nullable]
    fields = [field.with_type(HASH) if pa.types.is_binary(field.type) else field for field in arrow.schema]
    arrow = arrow.cast(pa.schema([field.with_nullable(field.name not in required) for field in fields]))
    listed = [f.name for f in arrow.schema if f.name in few or pa.types.is_nested(f.type)]
    # the encodings that make such columns smallest among those that DuckDB and polars read as well
    encodings = {
        f.name: "DELTA_BYTE_ARRAY"
        if pa.types.is_string(f.type)
        else "PLAIN"  # hashes: no encoding makes chance smaller
        if pa.types.is_fixed_size_binary(f.type)
        else _SPREAD
        for f in arrow.schema
        if f.name not in listed
    }
    form = {"compression": "zstd", "compression_level": 12, "write_statistics": False}
    with (
        files.replacing(path) as half,
        pq.ParquetWriter(half, arrow.schema, use_dictionary=listed, column_encoding=encodings, **form) as writer,
    ):
        writer.write_table(arrow, row_group_size=_ROWS_SMALL)
        writer.add_key_value_metadata({KEY: _text(metadata)})


def _text(metadata: Mapping[str, Any]) -> str:
    return json.dumps(metadata, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def write_parts(path: Path, parts: Iterable[Any], metadata: Mapping[str, str]) -> None:
    """Tables with the same columns, one at least, as one Parquet file, a row group each: only one of them is in memory
    at a time.

    For other tools' files: the metadata is theirs.
    """
    with files.replacing(path) as half, ExitStack() as stack:
        writer = None
        for part in parts:
            arrow = _arrow(part).replace_schema_metadata(dict(metadata))
            writer = writer or stack.enter_context(
                pq.ParquetWriter(half, arrow.schema, compression="snappy", use_dictionary=False)
            )
            writer.write_table(arrow)


def write_csv(file: BinaryIO, frame: pd.DataFrame, heading: bool) -> None:
    """The rows as CSV: text is quoted, null is an empty cell. heading: whether the names of the columns come first."""
    pv.write_csv(frames.to_arrow(frame), file, pv.WriteOptions(include_header=heading, quoting_style="needed"))


def read(path: Path) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frame that was written here, and its metadata.

    ManifestError where the file is missing, damaged or not ours.
    """
    table, values = read_arrow(path)
    return frames.from_arrow(table), values


def read_arrow(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The same as an Arrow table: workers have no use for frames."""
    values = metadata(path)
    return read_table(path), values


def read_kind(path: Path, kind: type) -> tuple[pd.DataFrame, dict[str, Any]]:
    """The frame and its metadata, with exactly the columns of this kind. ManifestError names what is not of it."""
    table, values = read_arrow(path)
    try:
        return frames.as_kind(frames.from_arrow(frames.conformed(table, kind)), kind), values
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def metadata(path: Path) -> dict[str, Any]:
    """The metadata alone, from the file's footer. ManifestError as `read`."""
    with _readable(path):
        stated = (footer(path).metadata or {}).get(KEY)
    if stated is None:
        raise ManifestError(f"{path}: a Parquet file, but not one written by prep: it says nothing of itself")
    try:
        values = texts.from_json(stated)
    except ValueError as error:
        raise ManifestError(f"{path}: what it says of itself cannot be read ({error}): get it again") from None
    if not isinstance(values, dict):
        raise ManifestError(f"{path}: what it says of itself is no table: it was changed; get it again")
    return values


def footer(path: Path) -> pq.FileMetaData:
    """The footer of a Parquet file. ManifestError where it is damaged, or claims more than such a file can hold."""
    with _readable(path):
        size = files.regular(path).stat().st_size
        with open(path, "rb") as file:
            file.seek(max(0, size - 8))
            length = int.from_bytes(file.read(4), "little")
        if length > _MOST_FOOTER:
            raise ValueError(f"its footer has {length:,} bytes, expected at most {_MOST_FOOTER:,}")
        try:
            claims = pq.read_metadata(path)
        except pa.ArrowInvalid as error:
            raise ValueError(f"not a Parquet file: {error}") from None
        if claims.num_row_groups > _MOST_GROUPS:
            raise ValueError(f"{claims.num_row_groups:,} groups of rows, expected at most {_MOST_GROUPS:,}")
        groups = [claims.row_group(n) for n in range(claims.num_row_groups)]
        cells = sum(group.column(n).num_values for group in groups for n in range(group.num_columns))
        _refuse_bomb(path, 8 * max(cells, claims.num_rows), f"{claims.num_rows:,} rows")
        names = claims.schema.to_arrow_schema().names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"the column {twice[0]} is there twice")
        return claims


def logical_hash_of_file(path: Path) -> str:
    """`core.frame.logical_hash` of the rows of a Parquet file, with one column at a time in memory."""
    claims = footer(path)
    names = claims.schema.to_arrow_schema().names
    return frames.hash_of(claims.num_rows, names, lambda name: read_table(path, [name]).column(0))


def read_table(
    path: Path, names: Sequence[str] | None = None, groups: Sequence[int] | None = None, coded: Collection[str] = ()
) -> pa.Table:
    """The rows as an Arrow table: all columns, or these; all groups of rows, or these. coded: columns of codes.

    A column is read by its dictionary of texts, so that one which is repeated is counted before it takes memory.
    ManifestError as `footer`, and where they take more than such a file can hold.
    """
    claims = footer(path)
    with _readable(path):
        form = pa.schema([_without_codes(field) for field in claims.schema.to_arrow_schema()])
        chosen = list(range(claims.num_row_groups) if groups is None else groups)
        shared = _of_shared_beginnings(claims)
        leaves = [claims.schema.column(n) for n in range(len(claims.schema))]
        text = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY" and leaf.path not in shared]
        columns, size = {}, 0
        with pq.ParquetFile(path, read_dictionary=text) as by_text, pq.ParquetFile(path) as plain:
            for name in form.names if names is None else names:
                if name in shared:
                    column = _few_at_a_time(path, plain, name, chosen, _LEAST // shared[name])
                else:
                    try:
                        parts = [by_text.read_row_group(group, [name]).column(0) for group in chosen]
                    except pa.ArrowNotImplementedError:  # a list of texts whose dictionary changes on the way
                        parts = [_few_at_a_time(path, plain, name, chosen, _FEW)]
                    chunks = [chunk for part in parts for chunk in part.chunks]
                    column = pa.chunked_array(chunks, chunks[0].type if chunks else form.field(name).type)
                size += sum(map(_text_bytes, column.chunks))
                _refuse_bomb(path, size, "texts that are repeated")
                columns[name] = column if name in coded else column.cast(form.field(name).type)
        return pa.table(columns, schema=pa.schema([form.field(name).with_type(c.type) for name, c in columns.items()]))


def _without_codes(field: pa.Field) -> pa.Field:
    """The field of a file's own schema, where other tools note that they held it as codes."""
    return field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field


def _of_shared_beginnings(claims: pq.FileMetaData) -> dict[str, int]:
    """Columns of text whose encoding names what each value shares with the one before -> bytes of one that is largest.

    Of such a text nothing but its decoding says how long it is.
    """
    chunks = [claims.row_group(n).column(c) for n in range(claims.num_row_groups) for c in range(claims.num_columns)]
    delta = [chunk for chunk in chunks if "DELTA_BYTE_ARRAY" in chunk.encodings]
    return {chunk.path_in_schema: max(1, *(c.total_uncompressed_size for c in delta)) for chunk in delta}


def _few_at_a_time(path: Path, file: pq.ParquetFile, name: str, groups: Sequence[int], rows: int) -> pa.ChunkedArray:
    """A column that is read about so many rows at a time."""
    parts, size = [], 0
    for batch in file.iter_batches(max(16, min(ROWS_A_GROUP, rows)), groups, [name]):
        parts.append(batch.column(0))
        size += batch.nbytes
        _refuse_bomb(path, size, "texts that are repeated")
    return pa.chunked_array(parts, None if parts else file.schema_arrow.field(name).type)


def _text_bytes(column: pa.Array) -> int:
    """Bytes of the texts in a column, in full, where they lie as dictionaries."""
    if pa.types.is_list(column.type):
        return _text_bytes(column.flatten())
    if pa.types.is_struct(column.type):
        return sum(map(_text_bytes, column.flatten()))
    if not pa.types.is_dictionary(column.type):
        return 0
    lengths = pc.binary_length(column.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(column.indices)).as_py() or 0)


def _refuse_bomb(path: Path, size: int, what: str) -> None:
    """ValueError where so many bytes are more than a file of this size holds, if people made it."""
    most = max(_LEAST, _TIMES * path.stat().st_size)
    if size > most:
        raise ValueError(
            f"it has {path.stat().st_size:,} bytes and unpacks to {size:,}, {what}: more than {most:,} are not read"
        )


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Faults of a file as a ManifestError."""
    try:
        yield
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
        raise ManifestError(f"{path}: cannot be read ({why})") from None
