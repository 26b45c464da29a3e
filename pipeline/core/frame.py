"""Rows as pandas frames with Arrow types: made, picked, ordered, compared, checked, hashed.

The only place that turns frames to Arrow and back. Every frame that leaves here has a RangeIndex, Arrow types in all
columns, null for what is missing and never NaN, and what is set in it is set by position. Masks are NumPy arrays in
which null is False. Never here: files that are written, chance, sound.

Workers load this module with the stages, but no pandas: what they call takes and gives Arrow tables.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from hashlib import blake2b
from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.errors import ManifestError, did_you_mean

if TYPE_CHECKING:
    import pandas as pd
else:

    class _Pandas:
        """pandas, loaded at its first use."""

        def __getattr__(self, name: str) -> Any:
            return self.__dict__.setdefault(name, getattr(import_module("pandas"), name))

    pd = _Pandas()

T = TypeVar("T")

# Not pa.map_: Hugging Face datasets cannot read that type, and the pairs lie in the file in the same way.
LABELS = pa.list_(pa.struct([pa.field("key", pa.string(), False), pa.field("value", pa.string(), False)]))
# Columns that say where sound lies: a set that is moved to another store is the same set. One that schema 2 added and
# that follows from source_pcm_hash: what an earlier prep made is the same set.
UNHASHED = frozenset(
    {f"{part}{name}" for part in ("", "speech_", "noise_") for name in ("shard", "offset", "bytes")} | {"dc_dbfs"}
)

# End of a column's name -> least and largest value that a measurement can give. Float samples reach 771 dBFS, and one
# of the smallest among silence -980; of a constant, earlier versions counted all samples as clipped twice.
_BOUNDS = {
    **{"rate_hz": (1, 10_000_000), "channels": (1, 65_536)},
    **dict.fromkeys(("_db", "_dbfs"), (-1_000, 1_000)),
    **dict.fromkeys(("zero_share", "activity"), (0, 1)),
    "clipped_share": (0, 2),
}
_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_ROWS_AT_A_TIME = 65_536
_REFUSED = (pa.ArrowException, TypeError, ValueError, OverflowError)  # what a value of the wrong kind raises

pa.set_memory_pool(pa.system_memory_pool())  # the other pools keep gigabytes of frames that are gone


def release() -> None:
    """Gives the memory of frames that are gone back to the system."""
    pa.default_memory_pool().release_unused()


# ---- dataclasses as columns


@cache
def schema(kind: type) -> pa.Schema:
    """The columns that a dataclass's fields make; `X | None` is nullable, a mapping is a list of key and value."""
    hints = get_type_hints(kind)
    return pa.schema([_field(f.name, hints[f.name]) for f in fields(kind)])


def _field(name: str, hint: Any) -> pa.Field:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return pa.field(name, _SCALARS[next(a for a in arguments if a is not type(None))], True)
    if origin is tuple:
        return pa.field(name, pa.list_(_SCALARS[arguments[0]]), False)
    if origin is not None and issubclass(origin, Mapping):
        return pa.field(name, LABELS, False)
    return pa.field(name, _SCALARS[hint], False)


def from_rows(values: Iterable[T], kind: type[T]) -> pd.DataFrame:
    """A frame of dataclass values, one column a field, in the types that the fields say."""
    return from_arrow(table_of(values, kind))


def table_of(values: Iterable[T], kind: type[T], names: Sequence[str] | None = None) -> pa.Table:
    """The same as an Arrow table, of all fields or of these alone."""
    rows, form = list(values), schema(cast(type, kind))
    form = form if names is None else pa.schema([form.field(name) for name in names])
    columns = []
    for field in form:
        column = [getattr(row, field.name) for row in rows]
        if field.type == LABELS:
            columns.append(_labels(column))
        else:
            columns.append(pa.array(column, field.type, from_pandas=field.nullable))
    return pa.table(columns, schema=form)


def rows(frame: pd.DataFrame | pa.Table, kind: type[T]) -> Iterator[T]:
    """The rows as dataclass values of this kind: null is None, labels are a dict.

    Columns of the frame that the kind lacks are passed over; fields that the frame lacks are None.
    """
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    there = frame.column_names if isinstance(frame, pa.Table) else frame.columns
    known = [name for name in names if name in there]
    table = frame.select(known) if isinstance(frame, pa.Table) else to_arrow(frame[known])
    for batch in table.to_batches(max_chunksize=1000):
        columns = {name: _python(batch.column(n)) for n, name in enumerate(known)}
        absent = [None] * len(batch)
        yield from (kind(*cells) for cells in zip(*[columns.get(name, absent) for name in names], strict=True))


# ---- Arrow and back


def from_arrow(table: pa.Table) -> pd.DataFrame:
    """The frame of an Arrow table's columns. Copies nothing."""
    columns = {name: _array(table.column(name)) for name in table.column_names}
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows), copy=False)


def to_arrow(frame: pd.DataFrame) -> pa.Table:
    """The Arrow table of a frame's columns. Copies nothing, passes the index over.

    TypeError for a column that has no Arrow type: `with_columns` sets such a column, `normalize` mends a user's frame.
    """
    for name, dtype in frame.dtypes.items():
        if not isinstance(dtype, pd.ArrowDtype):
            raise TypeError(f"column {name!r} is of dtype {dtype}, not of an Arrow type")
    return pa.table({str(name): column.array._pa_array for name, column in frame.items()})


def _array(column: pa.Array | pa.ChunkedArray) -> pd.arrays.ArrowExtensionArray:
    """What frames are made of: five times as fast for fifty columns as a frame of series."""
    chunked = column if isinstance(column, pa.ChunkedArray) else pa.chunked_array([column])
    return pd.arrays.ArrowExtensionArray(chunked)


def _series(column: pa.Array | pa.ChunkedArray) -> pd.Series[Any]:
    return pd.Series(_array(column), copy=False)


def _arrow(column: Any) -> pa.ChunkedArray:
    """A series, array or list as an Arrow column; NaN in what has no Arrow type is null."""
    if isinstance(getattr(column, "dtype", None), pd.ArrowDtype):
        return getattr(column, "array", column)._pa_array
    made = pa.array(column, from_pandas=True)
    return made if isinstance(made, pa.ChunkedArray) else pa.chunked_array([made])


# ---- other rows, another order


def concat(frames: Iterable[pd.DataFrame], kind: type) -> pd.DataFrame:
    """All rows of the frames, in their order; null where a frame lacks a column. Of no frames: an empty one."""
    tables = [to_arrow(frame) for frame in frames]
    return _of_columns(pa.concat_tables(tables, promote_options="default") if tables else schema(kind).empty_table())


def pick(frame: pd.DataFrame, where: NDArray[np.bool_] | NDArray[np.int64]) -> pd.DataFrame:
    """The rows where a mask is true, or those at these positions, in their order.

    Columns without any value share one piece of memory: of fifty columns, half are empty before the last stage.
    """
    table = to_arrow(frame)
    if where.dtype != np.bool_:
        positions = pa.array(where, pa.int64())
        return _of_columns(table, lambda column: column.take(positions), len(where))
    if len(where) != len(frame):
        raise ValueError(f"a mask of {len(where)} for a frame of {len(frame)} rows")
    if where.all():
        return _of_columns(table)
    mask = pa.array(where)
    return _of_columns(table, lambda column: column.filter(mask), int(np.count_nonzero(where)))


def ordered(frame: pd.DataFrame, by: Sequence[str] = ("source", "id")) -> pd.DataFrame:
    """Sorted by these columns, text by code point: the order of every manifest."""
    positions = order(to_arrow(frame), by)
    return from_arrow(to_arrow(frame)) if positions is None else pick(frame, positions)


def order(table: pa.Table, by: Sequence[str]) -> NDArray[np.int64] | None:
    """The positions of the rows in the order of these columns; None where they are in that order."""
    if _is_ordered(table, by):  # cheaper to see than to sort, and manifests mostly are
        return None
    keys = [(name, "ascending") for name in by]
    return np.asarray(pc.sort_indices(table.select(list(by)), sort_keys=keys).to_numpy()).astype(np.int64)


def stacked(tables: Sequence[pa.Table]) -> pa.Table:
    """All rows of the Arrow tables, in their order; null where a table lacks a column."""
    nullable = [t.cast(pa.schema([f.with_nullable(True) for f in t.schema])) for t in tables]
    return pa.concat_tables(nullable, promote_options="default").combine_chunks()


def _is_ordered(table: pa.Table, by: Sequence[str]) -> bool:
    undecided: Any = None
    for name in by:
        column = table.column(name)
        before, after = column.slice(0, max(0, len(column) - 1)), column.slice(1)
        fault, equal_here = pc.greater(before, after), pc.equal(before, after)
        if undecided is not None:
            fault, equal_here = pc.and_(fault, undecided), pc.and_(equal_here, undecided)
        if column.null_count or pc.any(fault).as_py():
            return False
        undecided = equal_here
    return True


def _of_columns(
    table: pa.Table, change: Callable[[pa.ChunkedArray], pa.ChunkedArray] | None = None, length: int | None = None
) -> pd.DataFrame:
    """The frame of a table's columns, each changed, then of this length; those without any value share memory."""
    count = table.num_rows if length is None else length
    columns = {}
    for field in table.schema:
        column = table.column(field.name)
        if column.null_count == len(column):
            columns[field.name] = _array(nothing(count, field.type))
        else:
            columns[field.name] = _array(change(column) if change else column)
    return pd.DataFrame(columns, index=pd.RangeIndex(count), copy=False)


def nothing(length: int, kind: pa.DataType) -> pa.Array:
    """A column without any value; all of a length share their memory."""
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind) or pa.types.is_dictionary(kind):
        return pa.nulls(length, kind)
    zeros = _zeros(length)
    return pa.Array.from_buffers(kind, length, [zeros, zeros, zeros] if pa.types.is_string(kind) else [zeros, zeros])


@lru_cache(maxsize=2)
def _zeros(length: int) -> pa.Buffer:
    """Zeros for validity (none valid), values and offsets of so many rows."""
    return pa.py_buffer(bytes(8 * (length + 1)))


# ---- other columns


def as_kind(frame: pd.DataFrame, kind: type) -> pd.DataFrame:
    """With exactly the columns of this kind, in its types: nullable ones that are missing null, others left out.

    ManifestError where one is missing that may not be null.
    """
    lacking = [f.name for f in schema(kind) if f.name not in frame.columns and not f.nullable]
    if lacking:
        raise ManifestError(f"lacks the columns {', '.join(lacking)}: not rows of this prep")
    columns = {}
    for field in schema(kind):
        if field.name in frame.columns:
            columns[field.name] = _arrow(frame[field.name]).cast(field.type)
        else:
            columns[field.name] = nothing(len(frame), field.type)
    return _of_columns(pa.table(columns))


def conformed(table: pa.Table, kind: type) -> pa.Table:
    """The columns of a file that are this kind's, in its types; those that it lacks are not added.

    Labels may keep their words as codes. ManifestError names the column that holds other values than a stage writes: of
    another type, null where none may be, a number that nothing measured has.
    """
    columns = {}
    for field in schema(kind):
        if field.name not in table.column_names:
            continue
        column = table.column(field.name)
        if column.null_count == len(column) and field.nullable:
            columns[field.name] = nothing(len(column), field.type)
            continue
        fault = _fault(column, field)
        if fault:
            raise ManifestError(f'the column "{field.name}" holds {fault}: no stage of prep writes that; get it again')
        columns[field.name] = column if field.type == LABELS else column.cast(field.type)
    return pa.table(columns)


def _fault(column: pa.ChunkedArray, field: pa.Field) -> str:
    """What in a column is not as a stage writes it; empty where all is."""
    if column.null_count and not field.nullable:
        return f"{column.null_count:,} nulls"
    if _family(column.type) != _family(field.type) or _is_whole(column.type) < _is_whole(field.type):
        return f"{column.type}, expected {field.type}"
    if field.type == LABELS:
        is_pairs = pa.types.is_struct(column.type.value_type) and column.type.value_type.names == ["key", "value"]
        return "" if is_pairs and _is_labels(column) else "labels that are not sorted pairs of texts, each key once"
    if not (_is_whole(field.type) or pa.types.is_floating(field.type)) or column.null_count == len(column):
        return ""
    known = (bounds for end, bounds in _BOUNDS.items() if field.name.endswith(end))
    low, high = next(known, (0, 2**53) if _is_whole(field.type) else (-math.inf, math.inf))
    least, most = pc.min_max(column).as_py().values()
    if pa.types.is_floating(column.type) and not pc.all(pc.is_finite(column)).as_py():
        return "numbers that are not finite"
    return "" if low <= least <= most <= high else f"numbers from {least} to {most}, expected {low} to {high}"


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind))


def with_columns(frame: pd.DataFrame, **columns: Any) -> pd.DataFrame:
    """With these columns set, whatever the index of what they are set to.

    Each is a scalar for all rows, or an array, list or series with a value a row (None and NaN are null), or a matrix
    with a list a row. The type is that of the column that is replaced, else that of the values. TypeError or
    pyarrow.ArrowInvalid where a value does not go into it without loss.
    """
    changed = {name: column.array for name, column in frame.items()}
    for name, value in columns.items():
        kind = _arrow(changed[name]).type if name in changed else None
        column = _column(value, len(frame), kind)
        if len(column) != len(frame):
            raise ValueError(f"column {name!r}: {len(column)} values for {len(frame)} rows")
        changed[name] = _array(column)
    return pd.DataFrame(changed, index=pd.RangeIndex(len(frame)), copy=False)


def choose(where: NDArray[np.bool_], one: Any, other: pd.Series[Any]) -> pd.Series[Any]:
    """The column with the values of `one` where the mask is true and those of `other` elsewhere, by position.

    one: a column of the same length and type, or one value for all rows: None for null, {} for no labels.
    """
    arrow = _arrow(other)
    if isinstance(one, dict):
        chosen = pa.scalar([{"key": key, "value": one[key]} for key in sorted(one)], arrow.type)
    else:
        chosen = _arrow(one) if hasattr(one, "dtype") else pa.scalar(one, arrow.type)
    return _series(pc.if_else(pa.array(where), chosen, arrow))


def _column(value: Any, length: int, kind: pa.DataType | None) -> pa.Array | pa.ChunkedArray:
    if isinstance(value, np.ndarray) and value.ndim == 2:
        flat = pa.array(np.ascontiguousarray(value).ravel())
        ends = pa.array(np.arange(len(value) + 1, dtype=np.int32) * value.shape[1])
        lists = pa.ListArray.from_arrays(ends, flat)
        return lists if kind is None else lists.cast(kind)
    if isinstance(value, pa.Array | pa.ChunkedArray):
        value = _series(value)
    if isinstance(value, pd.api.extensions.ExtensionArray):
        value = pd.Series(value, copy=False)
    if isinstance(value, np.ndarray | list | pd.Series):
        return _cast(value, kind)
    if value is None and kind is not None:
        return nothing(length, kind)
    if kind == LABELS:
        return pa.repeat(_labels([value])[0], length)
    if not pd.api.types.is_scalar(value):
        raise TypeError(f"{type(value).__name__} is neither a scalar nor an array, list or series with a value a row")
    return pa.repeat(_cast([value], kind)[0], length)


def _cast(column: Any, kind: pa.DataType | None) -> pa.ChunkedArray:
    """A series, array or list as an Arrow column of this type (None: its own), NaN as null.

    TypeError, ValueError or pyarrow.ArrowException where a value would be lost. Text is no number, True is none.
    """
    if kind == LABELS and not _is_labels(column):
        cells = each(column) if isinstance(getattr(column, "dtype", None), pd.ArrowDtype) else iter(column)
        pieces = iter(lambda: list(islice(cells, _ROWS_AT_A_TIME)), [])
        return pa.chunked_array([_labels(piece) for piece in pieces], LABELS)
    arrow = _arrow(column)
    if pa.types.is_dictionary(arrow.type):
        arrow = arrow.cast(arrow.type.value_type)
    if pa.types.is_floating(arrow.type) and pc.any(pc.is_nan(arrow)).as_py():
        arrow = pc.if_else(pc.is_nan(arrow), pa.scalar(None, arrow.type), arrow)
    if kind is None:
        return arrow.cast(pa.string()) if _family(arrow.type) == "text" else arrow
    if arrow.null_count == len(arrow):
        return pa.chunked_array([nothing(len(arrow), kind)])
    if _family(arrow.type) != _family(kind):
        raise TypeError(f"{arrow.type} values in a column of {kind}")
    return arrow.cast(kind)


def _family(kind: pa.DataType) -> str:
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return "text"
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return "number"
    return "list" if pa.types.is_list(kind) or pa.types.is_large_list(kind) else str(kind)


def _is_labels(column: Any) -> bool:
    """Whether a column is one of labels as they are written: sorted pairs, each key once, none null."""
    if isinstance(column, pa.ChunkedArray):
        return all(map(_is_labels, column.chunks))
    if not isinstance(column, pa.Array):
        return isinstance(column, pd.Series) and column.dtype == pd.ArrowDtype(LABELS) and _is_labels(_arrow(column))
    pairs = pc.list_flatten(column)
    keys, values = (pc.struct_field(pairs, name) for name in ("key", "value"))
    if column.null_count or pairs.null_count or keys.null_count or values.null_count:
        return False
    keys = keys.cast(pa.string())
    owner = pc.list_parent_indices(column).to_numpy()
    rising = pc.less(keys.slice(0, max(0, len(keys) - 1)), keys.slice(1)).to_numpy(zero_copy_only=False)
    return bool(np.all(rising | (owner[:-1] != owner[1:])))


def _labels(cells: Iterable[Any]) -> pa.Array:
    """Labels as a column: mappings, or lists of pairs, with their keys sorted. TypeError for what is none."""
    column = []
    for cell in cells:
        if isinstance(cell, Mapping):
            pairs = sorted(cell.items())
        elif isinstance(cell, list | tuple):
            pairs = sorted((p["key"], p["value"]) if isinstance(p, Mapping) else tuple(p) for p in cell)
        else:
            raise TypeError(f"{cell!r} is no mapping of labels")
        if not all(isinstance(word, str) for pair in pairs for word in pair) or len(dict(pairs)) < len(pairs):
            raise TypeError(f"{cell!r} is no mapping of text to text")
        column.append([{"key": key, "value": value} for key, value in pairs])
    return pa.array(column, LABELS)


# ---- what a column says


def values(column: pd.Series[Any]) -> list[Any]:
    """The column's Python values: null is None, labels are dicts."""
    return _python(_arrow(column))


def each(column: pd.Series[Any]) -> Iterator[Any]:
    """The same one by one, for a column whose values are too many for a list."""
    arrow = _arrow(column)
    for start in range(0, len(arrow), _ROWS_AT_A_TIME):
        yield from _python(arrow.slice(start, _ROWS_AT_A_TIME))


def _python(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    cells: list[Any] = column.to_pylist()
    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type) and kind.value_type.names == ["key", "value"]:
        return [None if pairs is None else {pair["key"]: pair["value"] for pair in pairs} for pairs in cells]
    return cells


def numbers(column: pd.Series[Any]) -> NDArray[np.float64]:
    """A numeric column as float64 [rows]; null is NaN."""
    return np.asarray(_arrow(column).cast(pa.float64()).to_numpy())


def integers(column: pd.Series[Any]) -> NDArray[np.int64]:
    """A column of whole numbers as int64 [rows]; ValueError where one is null."""
    whole = _arrow(column).cast(pa.int64())
    if whole.null_count:
        raise ValueError(f"column {column.name!r} has {whole.null_count} nulls among whole numbers")
    return np.asarray(whole.to_numpy())


def equal(column: pd.Series[Any], value: Any) -> NDArray[np.bool_]:
    """bool [rows]: where the column has this value."""
    return _mask(pc.equal(_arrow(column), value))


def among(column: pd.Series[Any], wanted: Iterable[Any]) -> NDArray[np.bool_]:
    """bool [rows]: where the column has one of these values; null is none of them."""
    arrow = _arrow(column)
    return _mask(pc.is_in(arrow, value_set=pa.array(list(wanted), arrow.type), skip_nulls=True))


def present(frame: pd.DataFrame, name: str) -> NDArray[np.bool_]:
    """bool [rows]: where the column is not null; nowhere, if the frame lacks it."""
    if name not in frame.columns:
        return np.zeros(len(frame), dtype=np.bool_)
    return _mask(_arrow(frame[name]).is_valid())


def differs(one: pd.Series[Any], other: pd.Series[Any]) -> NDArray[np.bool_]:
    """bool [rows]: where two columns of one length differ; null equals null, labels are compared by value."""
    left, right = _arrow(one), _arrow(other)
    if len(left) != len(right):
        raise ValueError(f"columns of {len(left)} and {len(right)} rows")
    starts = range(0, len(left) or 1, _ROWS_AT_A_TIME)
    return np.concatenate([_differs(left.slice(n, _ROWS_AT_A_TIME), right.slice(n, _ROWS_AT_A_TIME)) for n in starts])


def _differs(left: Any, right: Any) -> NDArray[np.bool_]:
    if left.equals(right):
        return np.zeros(len(left), dtype=np.bool_)
    unlike = _mask(pc.xor(left.is_null(), right.is_null()))
    if pa.types.is_dictionary(left.type) or pa.types.is_dictionary(right.type):
        left, right = (c.cast(c.type.value_type) if pa.types.is_dictionary(c.type) else c for c in (left, right))
    if pa.types.is_struct(left.type):
        children = zip(left.flatten(), right.flatten(), strict=True)
        return np.asarray(np.logical_or.reduce([unlike, *[_differs(mine, its) for mine, its in children]]))
    if not pa.types.is_list(left.type):
        return np.asarray(unlike | _mask(pc.not_equal(left, right)))
    mine, its = (pc.list_value_length(c).fill_null(0).to_numpy() for c in (left, right))
    unlike |= mine != its
    alike = pa.array(~unlike)
    items = _differs(pc.list_flatten(left.filter(alike)), pc.list_flatten(right.filter(alike)))
    owners = np.repeat(np.flatnonzero(~unlike), mine[~unlike])
    unlike[owners[items]] = True
    return unlike


def codes(column: pd.Series[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """The column as (int64 [rows] index into the distinct values, distinct values in order of appearance)."""
    encoded = _arrow(column).combine_chunks().dictionary_encode(null_encoding="encode")
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), list(encoded.dictionary.to_pylist())


def spread(codes: NDArray[np.int64], values: Sequence[str | None]) -> pd.Series[Any]:
    """The string column values[codes]: the counterpart of `codes`."""
    return _series(pa.array(values, pa.string()).take(pa.array(codes)))


def position_of(column: pd.Series[Any], among: pd.Series[Any]) -> NDArray[np.int64]:
    """int64 [rows]: the first position in `among` of the column's value; -1 where there is none, and for null."""
    positions = pc.index_in(_arrow(column), value_set=_arrow(among).combine_chunks(), skip_nulls=True)
    return np.asarray(positions.fill_null(-1).to_numpy(), dtype=np.int64)


def duplicated_value(column: pd.Series[Any]) -> str | None:
    """A value that the column has more than once; None where all differ."""
    arrow = _arrow(column).drop_null()
    if pc.count_distinct(arrow).as_py() == len(arrow):
        return None
    counts = pc.value_counts(arrow.combine_chunks())
    return str(counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py())


def _mask(column: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """bool [rows] of truth values; null is False."""
    filled = column.fill_null(False)
    chunked = filled if isinstance(filled, pa.ChunkedArray) else pa.chunked_array([filled])
    return np.array(chunked.to_numpy(), dtype=np.bool_)


# ---- identity


def logical_hash(frame: pd.DataFrame | pa.Table) -> str:
    """32 hex digits: hash of the values, whatever the chunks, file format or library version; order counts.

    UNHASHED, `at_*` and columns without any value stand aside: a set moved to another store, or opened by a later
    schema, is the same set.
    """
    table = frame if isinstance(frame, pa.Table) else to_arrow(frame)
    return hash_of(table.num_rows, table.column_names, table.column)


def hash_of(length: int, names: Iterable[str], column_of: Callable[[str], pa.ChunkedArray]) -> str:
    """`logical_hash` of columns of this length, each of which is asked for when its turn comes."""
    whole = blake2b(digest_size=16)
    whole.update(str(length).encode())
    for name in sorted(names):
        if name in UNHASHED or name.startswith("at_"):
            continue
        column = column_of(name)
        if column.null_count < len(column):
            whole.update(f"\n{name}\n".encode())
            _hash_array(whole, column.combine_chunks() if column.num_chunks != 1 else column.chunk(0))
    return whole.hexdigest()


def _hash_array(whole: Any, array: Any) -> None:
    if _family(array.type) == "text" and not pa.types.is_string(array.type):
        array = array.cast(pa.string())  # large strings, as other libraries make them, are the same text
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if array.null_count:
        whole.update(np.packbits(np.asarray(array.is_valid())).tobytes())
    if pa.types.is_list(array.type):
        whole.update(np.asarray(pc.list_value_length(array).fill_null(0)).astype("<i4").tobytes())
        items = array.flatten()
        for child in items.flatten() if pa.types.is_struct(items.type) else [items]:
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


# ---- a user's frame


def normalize(frame: pd.DataFrame, kind: type) -> pd.DataFrame:
    """A user's frame as one of this kind: its columns, in its types and order, NaN as null, dicts as sorted labels.

    Any dtype that holds the right values is taken. ManifestError, with a line for each column at fault, names the row,
    the column, what was found and what was expected: for a value that does not go into its column without loss, for a
    null where none may be, for a column that is missing or unknown.
    """
    form, names = schema(kind), [str(name) for name in frame.columns]
    faults = [f'column "{name}" is unknown{did_you_mean(name, form.names)}' for name in names if name not in form.names]
    faults += [f'column "{name}" is there twice' for name in sorted({name for name in names if names.count(name) > 1})]
    faults += [f'column "{f.name}" is missing' for f in form if f.name not in names and not f.nullable]
    columns = {}
    for field in form if not faults else []:
        if field.name not in names:
            columns[field.name] = nothing(len(frame), field.type)
            continue
        cells = frame[field.name]
        try:
            columns[field.name] = _checked(cells, field)
        except _REFUSED:
            position = _first_refused(cells, field)
            cell: Any = cells.iloc[position]
            cell = cell.item() if isinstance(cell, np.generic) else cell
            word = "null" if pd.api.types.is_scalar(cell) and pd.isna(cell) else repr(cell)
            name = frame["id"].iloc[position] if "id" in names else None
            row = repr(name) if isinstance(name, str) else position
            plain = {pa.string(): "text", pa.int64(): "a whole number", pa.float64(): "a number"}
            kinds = plain | {pa.bool_(): "true or false", LABELS: "labels: a dict of text to text"}
            expected = kinds.get(field.type, str(field.type)) + (" or null" if field.nullable else "")
            faults.append(f'row {row}, column "{field.name}": found {word}, expected {expected}')
    if faults:
        raise ManifestError("\n".join(faults))
    return _of_columns(pa.table(columns))


def _checked(cells: pd.Series[Any], field: pa.Field) -> pa.ChunkedArray:
    """A user's column in its field's type; what _REFUSED lists where a value does not go into it."""
    column = _cast(cells, field.type)
    if column.null_count and not field.nullable:
        raise ValueError("null")
    return column


def _first_refused(cells: pd.Series[Any], field: pa.Field) -> int:
    """The position of the first value that makes `_checked` fail, by halving: it fails for the whole."""
    start, stop = 0, len(cells)
    while stop - start > 1:
        middle = (start + stop) // 2
        try:
            _checked(cells.iloc[start:middle], field)
            start = middle
        except _REFUSED:
            stop = middle
    return start
