"""Identity: the hash of a table's values, whatever the chunks, file format or library version."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

UNHASHED = frozenset(
    f"{part}{name}" for part in ("", "speech_", "noise_") for name in ("shard", "offset", "bytes")
)  # where sound lies


def digest(arrow: pa.Table) -> str:
    """32 hex digits: see Table.digest."""
    whole = blake2b(digest_size=16)
    whole.update(str(arrow.num_rows).encode())
    for name in sorted(arrow.column_names):
        if name in UNHASHED or name.startswith("at_"):
            continue
        column = arrow.column(name)
        if column.null_count < len(column):
            array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
            whole.update(f"\n{name}\n".encode())
            _hash_array(whole, array)
    return whole.hexdigest()


def _hash_array(whole: Any, array: pa.Array) -> None:
    if array.null_count:
        whole.update(np.packbits(np.asarray(array.is_valid())).tobytes())
    if pa.types.is_list(array.type):
        whole.update(np.asarray(pc.list_value_length(array).fill_null(0)).astype("<i4").tobytes())
        values = array.flatten()
        for child in values.flatten() if pa.types.is_struct(values.type) else [values]:
            _hash_array(whole, child)
    elif pa.types.is_string(array.type):
        array = array.fill_null("")
        offsets = np.frombuffer(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]
        whole.update(np.diff(offsets).astype("<i4").tobytes())
        if len(array) and offsets[-1] > offsets[0]:
            whole.update(memoryview(array.buffers()[2])[offsets[0] : offsets[-1]])
    elif pa.types.is_boolean(array.type):
        whole.update(np.packbits(np.asarray(array.fill_null(False))).tobytes())
    else:
        width = "<f8" if pa.types.is_floating(array.type) else "<i8"
        whole.update(np.asarray(array.fill_null(0)).astype(width).tobytes())
