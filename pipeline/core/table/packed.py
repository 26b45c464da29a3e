"""Columns as files for others hold them: hashes as bytes instead of digits, sound as the bytes of a file and its name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_HASH_BYTES = 16


def as_bytes(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """A column of 32 hex digits as 16 bytes each, null as null; None where a value is none of 32 digits."""
    if not pc.all(pc.match_substring_regex(column, "^[0-9a-f]{32}$"), min_count=0).as_py():
        return None
    digits = "".join(column.fill_null("0" * 2 * _HASH_BYTES).to_pylist())
    kind = pa.binary(_HASH_BYTES)
    data = pa.Array.from_buffers(kind, len(column), [None, pa.py_buffer(bytes.fromhex(digits))])
    return pc.if_else(column.is_valid(), data, pa.scalar(None, kind))


def as_hex(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The counterpart of `as_bytes`: 16 bytes each as 32 hex digits."""
    digits = b"".join(column.fill_null(bytes(_HASH_BYTES)).to_pylist()).hex().encode()
    offsets = pa.py_buffer(np.arange(len(column) + 1, dtype=np.int32) * 2 * _HASH_BYTES)
    data = pa.StringArray.from_buffers(len(column), offsets, pa.py_buffer(digits))
    return pc.if_else(column.is_valid(), data, pa.scalar(None, pa.string()))


def as_files(data: Sequence[bytes], paths: Sequence[str]) -> pa.StructArray:
    """A column of files, each its bytes and its name."""
    return pa.StructArray.from_arrays([pa.array(data, pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"])
