"""Tables as Parquet files, written whole or not at all: ours with what they say of themselves in the footer, and other
tools'."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from pipeline.core import files
from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row

if TYPE_CHECKING:
    import pandas as pd

KEY = b"prep"  # of our metadata, in the footer
ROWS_A_GROUP = 64 * 1024
_ROWS_SMALL = 1024 * 1024
HASH = pa.binary(16)  # how hashes lie in a small file
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
    try:
        return pq.read_table(files.regular(path), partitioning=None).replace_schema_metadata(None), metadata(path)
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error})") from None


def metadata(path: Path) -> dict[str, Any]:
    """The metadata alone, from the file's footer. ManifestError as `read`."""
    try:
        return dict(json.loads((pq.read_metadata(files.regular(path)).metadata or {})[KEY]))
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise ManifestError(f"{path}: cannot be read ({error})") from None
