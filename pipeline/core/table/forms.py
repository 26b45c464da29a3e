"""Dataclasses as columns: which column each field makes, Python values in, Python values out, columns without any value."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields
from functools import cache, lru_cache
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa

# Not pa.map_: Hugging Face datasets cannot read that type, and the pairs lie in the file in the same way.
LABELS = pa.list_(pa.struct([pa.field("key", pa.string(), False), pa.field("value", pa.string(), False)]))
_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


def schema(kind: type) -> pa.Schema:
    """The columns that a dataclass's fields make; `X | None` is nullable, a mapping is a list of key and value."""
    return _schema(kind)


@cache
def _schema(kind: type) -> pa.Schema:
    hints = get_type_hints(kind)
    return pa.schema([_field(f.name, hints[f.name]) for f in fields(kind)])


def _field(name: str, hint: Any) -> pa.Field:
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return pa.field(name, _SCALARS[next(a for a in arguments if a is not type(None))], True)
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        return pa.field(name, LABELS, False)
    if get_origin(hint) is tuple:
        return pa.field(name, pa.list_(_SCALARS[arguments[0]]), False)
    return pa.field(name, _SCALARS[hint], False)


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """The values of a dataclass's field as a column; labels are mappings, and their keys are sorted."""
    if kind == LABELS:
        values = [[{"key": key, "value": labels[key]} for key in sorted(labels)] for labels in values]
    return pa.array(values, kind)


def values(column: pa.Array | pa.ChunkedArray, kind: pa.DataType) -> list[Any]:
    """The counterpart of `column`: Python values, labels as mappings."""
    held = column.to_pylist()
    if kind == LABELS:
        return [{pair["key"]: pair["value"] for pair in pairs} for pairs in held]
    return list(held)


def filled(value: Any, length: int, kind: pa.DataType | None) -> pa.Array:
    """A column of so many rows: of one scalar, of an array or list with a value a row, of a matrix with a list a row.

    kind: its type; None where the value says it.
    """
    if isinstance(value, np.ndarray) and value.ndim == 2:
        flat, width = pa.array(np.ascontiguousarray(value).ravel()), value.shape[1]
        return pa.ListArray.from_arrays(pa.array(np.arange(length + 1, dtype=np.int32) * width), flat)
    if isinstance(value, np.ndarray | list):
        return pa.array(value, kind)
    return pa.repeat(pa.scalar(value, kind or _SCALARS[type(value)]), length)


def nothing(length: int, kind: pa.DataType) -> pa.Array:
    """A column without any value. All of a length share their memory: of fifty columns half are empty before the last stage."""
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return pa.nulls(length, kind)
    zeros = _zeros(length)
    return pa.Array.from_buffers(kind, length, [zeros, zeros, zeros] if pa.types.is_string(kind) else [zeros, zeros])


@lru_cache(maxsize=2)
def _zeros(length: int) -> pa.Buffer:
    """Zeros for validity (none valid), values and offsets of so many rows."""
    return pa.py_buffer(bytes(8 * (length + 1)))


def release() -> None:
    """Gives back to the system the memory of tables that are gone: the C library keeps it otherwise, gigabytes of it."""
    pa.default_memory_pool().release_unused()
