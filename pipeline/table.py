"""Columns in memory: rows in, rows out, selected, sorted, hashed. With manifest.py the only user of pyarrow and DuckDB."""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from functools import cache, lru_cache
from hashlib import blake2b
from typing import Any, BinaryIO, TypeVar, Union, get_args, get_origin, get_type_hints

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from numpy.typing import NDArray

from pipeline.errors import RecipeError
from pipeline.row import Row

T = TypeVar("T")
# Not pa.map_: Hugging Face datasets cannot read that type, and the pairs lie in the file in the same way.
LABELS = pa.list_(pa.struct([pa.field("key", pa.string(), False), pa.field("value", pa.string(), False)]))
_CLOCK = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "now", "today"})
_AT_A_TIME = 65_536
_NUMBER = "number_of_the_row"
_SCALARS = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
UNHASHED = frozenset(f"{part}{name}" for part in ("", "speech_", "noise_") for name in ("shard", "offset", "bytes"))  # where sound lies


class Table:
    """An immutable set of named columns of equal length. `arrow` is the pyarrow table underneath."""

    def __init__(self, arrow: pa.Table) -> None:
        self.arrow = arrow

    @classmethod
    def of(cls, rows: Iterable[T], kind: type[T]) -> Table:
        """A table of dataclass values, one column a field, with the types that the fields say."""
        held = list(rows)
        form = schema(kind)
        return cls(pa.table([_column([getattr(row, f.name) for row in held], f.type) for f in form], schema=form))

    @classmethod
    def joined(cls, tables: Iterable[Table], kind: type) -> Table:
        """All rows of the tables, in their order; an empty table of that kind where there are none."""
        held = [table.arrow for table in tables]
        return cls(pa.concat_tables(held, promote_options="default") if held else schema(kind).empty_table())

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def names(self) -> list[str]:
        return list(self.arrow.column_names)

    def kind(self, name: str) -> str:
        """The column's type: `string`, `int64`, `int32`, `double`, ..."""
        return str(self.arrow.schema.field(name).type)

    def column(self, name: str) -> list[Any]:
        """One column as Python values; null is None, labels are lists of pairs' dicts."""
        return list(self.arrow.column(name).to_pylist())

    def labels(self) -> list[dict[str, str]]:
        """The column `labels` as mappings."""
        return _values_out(self.arrow.column("labels"), LABELS)

    def suffixed(self, name: str, suffix: str) -> Table:
        """With a suffix to each value of a string column."""
        return self._set(name, pc.binary_join_element_wise(self.arrow.column(name), pa.scalar(suffix), pa.scalar("")))

    def strings(self, name: str) -> Iterator[str]:
        """The values of a string column one by one, without a list of them all."""
        for start in range(0, len(self), _AT_A_TIME):
            yield from self.arrow.column(name).slice(start, _AT_A_TIME).to_pylist()

    def without_empty(self) -> Table:
        """Without the columns that have no value at all; `rows` and `as_rows` know them as null."""
        return self.only([name for name in self.names if self.arrow.column(name).null_count < len(self)]) if len(self) else self

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One numeric column as float64 [rows]; null is NaN."""
        return np.asarray(self.arrow.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))

    def integers(self, name: str) -> NDArray[np.int64]:
        """One integer column without nulls as int64 [rows]."""
        return np.asarray(self.arrow.column(name).to_numpy())

    def equal(self, name: str, value: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column has this value."""
        return self._flags(pc.equal(self.arrow.column(name), value))

    def among(self, name: str, values: Iterable[str]) -> NDArray[np.bool_]:
        """bool [rows]: where the column has one of these values."""
        return self._flags(pc.is_in(self.arrow.column(name), value_set=pa.array(sorted(values), pa.string())))

    def begins(self, name: str, start: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column's value begins so."""
        return self._flags(pc.starts_with(self.arrow.column(name), start))

    def ends(self, name: str, end: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column's value ends so."""
        return self._flags(pc.ends_with(self.arrow.column(name), end))

    def present(self, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column is not null; nowhere, if it is not there."""
        if name not in self.names:
            return np.zeros(len(self), dtype=np.bool_)
        return self._flags(self.arrow.column(name).is_valid())

    def flags(self, name: str) -> NDArray[np.bool_]:
        """One column of truth values as bool [rows]; null is false."""
        return self._flags(self.arrow.column(name))

    def filled_in(self, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column says something: not null, and where it is a list not an empty one."""
        column = self.arrow.column(name)
        return self._flags(pc.greater(pc.list_value_length(column), 0)) if pa.types.is_list(column.type) else self.present(name)

    def blanked(self, name: str, where: NDArray[np.bool_]) -> Table:
        """With nothing in the column where `where` is true: null, or in a list no items."""
        column = self.arrow.column(name)
        nothing = pa.scalar([] if pa.types.is_list(column.type) else None, column.type)
        return self._set(name, pc.if_else(pa.array(where), nothing, column))

    def differs(self, other: Table, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column has another value than in the other table's row at the same place; null equals null."""
        mine, its = self.arrow.column(name), other.arrow.column(name)
        if pa.types.is_list(mine.type):
            starts = range(0, len(self) or 1, _AT_A_TIME)
            return np.concatenate([_lists_differ(mine.slice(n, _AT_A_TIME), its.slice(n, _AT_A_TIME)) for n in starts])
        one_is_null = pc.xor(mine.is_null(), its.is_null())
        return self._flags(pc.or_(pc.fill_null(pc.not_equal(mine, its), False), one_is_null))

    def places_in(self, other: Table, name: str) -> NDArray[np.int64]:
        """int64 [rows]: the other table's (first) row with the same value in the column; -1 where there is none."""
        found = pc.index_in(self.arrow.column(name), value_set=other.arrow.column(name).combine_chunks())
        return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)

    def replaced(self, name: str, where: NDArray[np.bool_], other: Table) -> Table:
        """With the column's values of another table of the same length where `where` is true."""
        return self._set(name, pc.if_else(pa.array(where), other.arrow.column(name), self.arrow.column(name)))

    def without(self, *names: str) -> Table:
        """Without these columns."""
        return self.only([name for name in self.names if name not in names])

    def with_numbers(self, name: str, values: NDArray[np.float64], kind: str = "float64") -> Table:
        """With a column of numbers of that type (`int32`), null where the value is NaN."""
        lacking = np.isnan(values)
        return self.without(name)._set(name, pa.array(np.where(lacking, 0, values).astype(kind), mask=lacking))

    def with_bytes(self, name: str) -> Table | None:
        """With a column of 32 hex digits as 16 bytes each; None where a value is none of 32 digits."""
        column = self.arrow.column(name)
        if not pc.all(pc.match_substring_regex(column, "^[0-9a-f]{32}$"), min_count=0).as_py():
            return None
        digits = "".join(column.fill_null("0" * 32).to_pylist())
        data = pa.Array.from_buffers(pa.binary(16), len(self), [None, pa.py_buffer(bytes.fromhex(digits))])
        return self.without(name)._set(name, pc.if_else(column.is_valid(), data, pa.scalar(None, pa.binary(16))))

    def with_hex(self, name: str) -> Table:
        """With a column of bytes as hex digits: the counterpart of `with_bytes`."""
        column = self.arrow.column(name)
        digits = b"".join(column.fill_null(bytes(16)).to_pylist()).hex().encode()
        offsets = pa.py_buffer(np.arange(len(self) + 1, dtype=np.int32) * 32)
        data = pa.StringArray.from_buffers(len(self), offsets, pa.py_buffer(digits))
        return self.without(name)._set(name, pc.if_else(column.is_valid(), data, pa.scalar(None, pa.string())))

    @staticmethod
    def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
        return np.asarray(column.fill_null(False).to_numpy(), dtype=np.bool_)

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str | None]]:
        """The column as (int64 [rows] index into the distinct values, distinct values in order of appearance)."""
        encoded = self._encoded(name)
        return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), list(encoded.dictionary.to_pylist())

    def classes(self, name: str) -> NDArray[np.int64]:
        """int64 [rows]: equal where the column's values are equal."""
        return np.asarray(self._encoded(name).indices.to_numpy(), dtype=np.int64)

    def _encoded(self, name: str) -> Any:
        encoded = self.arrow.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        return encoded

    def spread(self, name: str, codes: NDArray[np.int64], values: Sequence[str | None]) -> Table:
        """With column `name` = values[codes], strings; the counterpart of `codes`."""
        return self._set(name, pa.array(values, pa.string()).take(pa.array(codes)))

    def filled(self, **columns: Any) -> Table:
        """With these columns set: a scalar for all rows, or one value a row (array or list; None is null)."""
        table = self
        for name, value in columns.items():
            kind = table.arrow.schema.field(name).type if name in table.names else None
            table = table._set(name, _values(value, len(self), kind))
        return table

    def copied(self, **columns: str) -> Table:
        """With columns copied from others: `copied(speech_id="id")`."""
        table = self
        for name, source in columns.items():
            table = table._set(name, self.arrow.column(source))
        return table

    def with_files(self, name: str, data: Sequence[bytes], paths: Sequence[str]) -> Table:
        """With a column of files before the others, each its bytes and its name: how Hugging Face holds sound."""
        held = pa.StructArray.from_arrays([pa.array(data, pa.binary()), pa.array(paths, pa.string())], ["bytes", "path"])
        return Table(self.arrow.add_column(0, name, held))

    def renamed(self, **columns: str) -> Table:
        """With columns under other names: `renamed(shard="at_shard")`."""
        return Table(self.arrow.rename_columns([columns.get(name, name) for name in self.names]))

    def _set(self, name: str, values: pa.Array | pa.ChunkedArray) -> Table:
        index = self.arrow.schema.get_field_index(name)
        if index < 0:
            return Table(self.arrow.append_column(name, values))
        return Table(self.arrow.set_column(index, self.arrow.schema.field(index), values.cast(self.arrow.schema.field(index).type)))

    def beside(self, other: Table) -> Table:
        """With the columns of another table of the same length."""
        table = self
        for name in other.names:
            table = table._set(name, other.arrow.column(name))
        return table

    def either(self, other: Table) -> Table:
        """Rows of this kind, then rows of the other; what one kind lacks is null."""
        parts = [t.arrow.cast(pa.schema([f.with_nullable(True) for f in t.arrow.schema])) for t in (self, other)]
        return Table(pa.concat_tables(parts, promote_options="default").combine_chunks())

    def as_nullable(self) -> Table:
        """The same, with null allowed in every column: rows of several kinds can then be joined."""
        return Table(self.arrow.cast(pa.schema([f.with_nullable(True) for f in self.arrow.schema])))

    def only(self, names: Iterable[str]) -> Table:
        """These columns alone, in this order."""
        return Table(self.arrow.select(list(names)))

    def as_kind(self, kind: type) -> Table:
        """With the columns of this kind alone, in its types."""
        form = schema(kind)
        return Table(self.arrow.select(form.names).cast(form))

    def take(self, index: NDArray[np.int64]) -> Table:
        """The rows at these places, in this order."""
        places = pa.array(index)
        return self._picked(lambda arrow: arrow.take(places))

    def light(self) -> Table:
        """The same; the columns without any value share one piece of memory."""
        return self._picked(lambda arrow: arrow)

    def _picked(self, pick: Callable[[pa.Table], pa.Table]) -> Table:
        """With the rows that `pick` takes of the columns that have values; the others share their memory."""
        full = [name for name in self.names if self.arrow.column(name).null_count < len(self)]
        if len(full) == len(self.names) or not full:
            return Table(pick(self.arrow))
        held = pick(self.arrow.select(full))
        columns = [held.column(f.name) if f.name in full else _nothing(held.num_rows, f.type) for f in self.arrow.schema]
        return Table(pa.table(columns, schema=self.arrow.schema))

    def as_rows(self) -> Table:
        """With the columns of Row, in its types: those that are missing null, others left out."""
        form, length = schema(Row), len(self)
        columns = [self.arrow.column(f.name) if f.name in self.names else _nothing(length, f.type) for f in form]
        return Table(pa.table([c.cast(f.type) for c, f in zip(columns, form, strict=True)], schema=form))

    def where(self, keep: NDArray[np.bool_]) -> Table:
        """The rows where `keep` is true."""
        if keep.all():
            return self
        kept = pa.array(keep)
        return self._picked(lambda arrow: arrow.filter(kept))

    def part(self, start: int, stop: int) -> Table:
        """Rows start to stop, without the rest of the table's memory."""
        return self.take(np.arange(start, stop))

    def ordered(self, by: Sequence[str] = ("source", "id")) -> Table:
        """Sorted by these columns, by code point: the order that every manifest has."""
        if self._in_order(by):
            return self
        index = pc.sort_indices(self.arrow.select(list(by)), sort_keys=[(name, "ascending") for name in by])
        return self._picked(lambda arrow: arrow.take(index))

    def _in_order(self, by: Sequence[str]) -> bool:
        """Whether the rows are sorted by these columns: cheaper to see than to sort, and manifests mostly are."""
        undecided: Any = None
        for name in by:
            column = self.arrow.column(name)
            before, after = column.slice(0, max(0, len(column) - 1)), column.slice(1)
            fault = pc.greater(before, after)
            equal = pc.equal(before, after)
            if undecided is not None:
                fault, equal = pc.and_(fault, undecided), pc.and_(equal, undecided)
            if column.null_count or pc.any(fault).as_py():
                return False
            undecided = equal
        return True

    def rows(self, kind: type[T]) -> Iterator[T]:
        """The rows as dataclass values of this kind; columns that it lacks are passed over."""
        names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
        there = [name for name in names if name in self.names]
        for batch in self.arrow.select(there).to_batches(max_chunksize=1000):
            held = {name: _values_out(batch.column(n), batch.schema.field(n).type) for n, name in enumerate(there)}
            columns = [held.get(name) or [None] * len(batch) for name in names]
            yield from (kind(*values) for values in zip(*columns, strict=True))

    def select(self, sql: str) -> NDArray[np.bool_]:
        """bool [rows]: where an SQL condition over the columns holds (null counts as false).

        The condition may come from a stranger's recipe: DuckDB runs it without access to files, network, extensions or
        settings. `labels` is a map there: `labels['gender'] = '여성'`. RecipeError quotes DuckDB where it does not run.
        """
        return run_condition(self.arrow, sql)

    def derived(self, **sql: str) -> Table:
        """A table of the values of SQL expressions of our own for each row, in order."""
        with sandbox() as session:
            session.register("rows", _numbered(self.arrow))
            columns = ", ".join(f"{expression} AS {name}" for name, expression in sql.items())
            return Table(session.sql(f"SELECT {columns} FROM rows ORDER BY {_NUMBER}").to_arrow_table())

    def repeated(self, name: str) -> str | None:
        """A value that the column has more than once; None where all differ."""
        column = self.arrow.column(name)
        if pc.count_distinct(column).as_py() == len(column):
            return None
        counts = pc.value_counts(column.combine_chunks())
        return str(counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What an SQL statement of our own over the table `rows` returns."""
        with sandbox() as session:
            session.register("rows", self.arrow)
            return list(session.execute(sql).fetchall())

    def write_csv(self, file: BinaryIO, heading: bool) -> None:
        """The rows as CSV: text is quoted where it must be, null is an empty cell. heading: whether the columns' names come first."""
        pv.write_csv(self.arrow, file, pv.WriteOptions(include_header=heading, quoting_style="needed"))

    def digest(self) -> str:
        """32 hex digits: hash of the values, whatever the chunks, file format or library version; order counts.

        Columns that say where bytes lie (UNHASHED, `at_*`) and columns without any value stand aside: a set moved
        to another store, or opened by a later schema, is the same set.
        """
        whole = blake2b(digest_size=16)
        whole.update(str(len(self)).encode())
        for name in sorted(self.names):
            if name in UNHASHED or name.startswith("at_"):
                continue
            column = self.arrow.column(name)
            if column.null_count < len(column):
                array = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
                whole.update(f"\n{name}\n".encode())
                _hash_array(whole, array)
        return whole.hexdigest()


def schema(kind: type) -> pa.Schema:
    """The columns that a dataclass's fields make; `X | None` is nullable, a mapping is a list of key and value."""
    return _schema(kind)


@cache
def _schema(kind: type) -> pa.Schema:
    hints = get_type_hints(kind)
    return pa.schema([_field(f.name, hints[f.name]) for f in fields(kind)])


def release() -> None:
    """Gives back to the system the memory of tables that are gone: the C library keeps it otherwise, gigabytes of it."""
    pa.default_memory_pool().release_unused()


def _nothing(length: int, kind: pa.DataType) -> pa.Array:
    """A column without any value. All of a length share their memory: of fifty columns half are empty before the last stage."""
    if pa.types.is_nested(kind) or pa.types.is_boolean(kind):
        return pa.nulls(length, kind)
    zeros = _zeros(length)
    return pa.Array.from_buffers(kind, length, [zeros, zeros, zeros] if pa.types.is_string(kind) else [zeros, zeros])


@lru_cache(maxsize=2)
def _zeros(length: int) -> pa.Buffer:
    """Zeros for validity (none valid), values and offsets of so many rows."""
    return pa.py_buffer(bytes(8 * (length + 1)))


def _field(name: str, hint: Any) -> pa.Field:
    arguments = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return pa.field(name, _SCALARS[next(a for a in arguments if a is not type(None))], True)
    if get_origin(hint) is not None and issubclass(get_origin(hint), Mapping):
        return pa.field(name, LABELS, False)
    if get_origin(hint) is tuple:
        return pa.field(name, pa.list_(_SCALARS[arguments[0]]), False)
    return pa.field(name, _SCALARS[hint], False)


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    if kind == LABELS:
        values = [[{"key": key, "value": labels[key]} for key in sorted(labels)] for labels in values]
    return pa.array(values, kind)


def _values(value: Any, length: int, kind: pa.DataType | None) -> pa.Array:
    if isinstance(value, np.ndarray) and value.ndim == 2:
        flat, width = pa.array(np.ascontiguousarray(value).ravel()), value.shape[1]
        return pa.ListArray.from_arrays(pa.array(np.arange(length + 1, dtype=np.int32) * width), flat)
    if isinstance(value, np.ndarray | list):
        return pa.array(value, kind)
    return pa.repeat(pa.scalar(value, kind or _SCALARS[type(value)]), length)


def _values_out(column: pa.Array, kind: pa.DataType) -> list[Any]:
    values = column.to_pylist()
    if kind == LABELS:
        return [{pair["key"]: pair["value"] for pair in pairs} for pairs in values]
    return list(values)


def _lists_differ(mine: pa.ChunkedArray, its: pa.ChunkedArray) -> NDArray[np.bool_]:
    if mine.equals(its):
        return np.zeros(len(mine), dtype=np.bool_)
    both = Table(pa.table({"mine": mine, "its": its}))
    return Table._flags(both.derived(differs="mine IS DISTINCT FROM its").arrow.column("differs"))


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


def sandbox() -> duckdb.DuckDBPyConnection:
    """A DuckDB session in memory that can reach nothing but what is registered with it."""
    session = duckdb.connect(":memory:", config={"enable_external_access": False, "autoload_known_extensions": False})
    session.execute("SET autoinstall_known_extensions = false; SET preserve_insertion_order = true; SET lock_configuration = true")
    return session


def _numbered(arrow: pa.Table) -> pa.Table:
    """With the rows numbered: DuckDB's threads now and then give back a table of several chunks in another order."""
    return arrow.append_column(_NUMBER, pa.array(np.arange(arrow.num_rows)))


def run_condition(arrow: pa.Table, sql: str) -> NDArray[np.bool_]:
    """See Table.select."""
    with sandbox() as session:
        session.register("held", _numbered(arrow))
        _refuse_chance(session, sql)
        labels = ", map_from_entries(labels) AS labels" if "labels" in arrow.column_names else ""
        view = f"SELECT * {'EXCLUDE (labels)' if labels else ''}{labels} FROM held"
        try:
            session.execute(f"CREATE VIEW rows AS {view}")
            kept = session.sql(
                f"SELECT coalesce(CAST(({sql}\n) AS BOOLEAN), false) AS kept, {_NUMBER} FROM rows ORDER BY {_NUMBER}"
            ).to_arrow_table()
        except duckdb.Error as error:
            raise RecipeError([f"where: {sql!r} does not run as an SQL condition over the columns: {_first_lines(error)}"]) from None
    if kept.num_rows != arrow.num_rows:
        raise RecipeError([f"where: {sql!r} is not a condition: it gives {kept.num_rows} answers for {arrow.num_rows} rows"])
    return Table._flags(kept.column("kept"))


def _refuse_chance(session: duckdb.DuckDBPyConnection, sql: str) -> None:
    """RecipeError for functions whose answer is not a function of the row: random(), now(), uuid(), ..."""
    names = {word.lower() for word in re.findall(r"[A-Za-z_]\w*", re.sub(r"'(?:[^']|'')*'", "", sql))}
    unstable = session.execute("SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'").fetchall()
    found = sorted(names & ({name for (name,) in unstable} | _CLOCK))
    if found:
        raise RecipeError([f"where: {sql!r} uses {', '.join(found)}, whose answer changes from run to run: keep to the row's own columns"])


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
