"""Table: an immutable set of named columns of equal length. A shim over core.frame and core.sql, until nobody uses it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from numpy.typing import NDArray

from pipeline.core import frame as frames
from pipeline.core import sql
from pipeline.core.row import Row
from pipeline.core.table import packed

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
_AT_A_TIME = 65_536


class Table:
    """An immutable set of named columns of equal length. `arrow` is the pyarrow table underneath, `frame` the same as a frame."""

    def __init__(self, arrow: pa.Table) -> None:
        self.arrow = arrow

    @classmethod
    def of_frame(cls, frame: pd.DataFrame) -> Table:
        """The table of a frame's columns; a column of Row without nulls is one without nulls, where Row says so."""
        return cls(_declared(frames.to_arrow(frame)))

    @property
    def frame(self) -> pd.DataFrame:
        """The same as a frame. Copies nothing."""
        return frames.from_arrow(self.arrow)

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def names(self) -> list[str]:
        return list(self.arrow.column_names)

    def _series(self, name: str) -> pd.Series[Any]:
        return frames.from_arrow(self.arrow.select([name]))[name]

    # Made of rows and tables.

    @classmethod
    def of(cls, rows: Iterable[T], kind: type[T]) -> Table:
        """A table of dataclass values, one column a field, with the types that the fields say."""
        return cls(frames.to_arrow(frames.from_rows(rows, kind)).cast(frames.schema(kind)))

    @classmethod
    def joined(cls, tables: Iterable[Table], kind: type) -> Table:
        """All rows of the tables, in their order; an empty table of that kind where there are none."""
        arrow = [table.arrow for table in tables]
        return cls(pa.concat_tables(arrow, promote_options="default") if arrow else frames.schema(kind).empty_table())

    def either(self, other: Table) -> Table:
        """Rows of this kind, then rows of the other; what one kind lacks is null."""
        parts = [t.arrow.cast(pa.schema([f.with_nullable(True) for f in t.arrow.schema])) for t in (self, other)]
        return Table(pa.concat_tables(parts, promote_options="default").combine_chunks())

    # What it says.

    def kind(self, name: str) -> str:
        """The column's type: `string`, `int64`, `int32`, `double`, ..."""
        return str(self.arrow.schema.field(name).type)

    def column(self, name: str) -> list[Any]:
        """One column as Python values; null is None, labels are lists of pairs' dicts."""
        return list(self.arrow.column(name).to_pylist())

    def labels(self) -> list[dict[str, str]]:
        """The column `labels` as mappings."""
        return frames.values(self._series("labels"))

    def strings(self, name: str) -> Iterator[str]:
        """The values of a string column one by one, without a list of them all."""
        for start in range(0, len(self), _AT_A_TIME):
            yield from self.arrow.column(name).slice(start, _AT_A_TIME).to_pylist()

    def rows(self, kind: type[T]) -> Iterator[T]:
        """The rows as dataclass values of this kind; columns that it lacks are passed over."""
        return frames.rows(self.frame, kind)

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One numeric column as float64 [rows]; null is NaN."""
        return frames.numbers(self._series(name))

    def integers(self, name: str) -> NDArray[np.int64]:
        """One integer column without nulls as int64 [rows]."""
        return frames.integers(self._series(name))

    def flags(self, name: str) -> NDArray[np.bool_]:
        """One column of truth values as bool [rows]; null is false."""
        return _flags(self.arrow.column(name))

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str | None]]:
        """The column as (int64 [rows] index into the distinct values, distinct values in order of appearance)."""
        return frames.codes(self._series(name))

    def classes(self, name: str) -> NDArray[np.int64]:
        """int64 [rows]: equal where the column's values are equal. `codes` without a list of the values."""
        return np.asarray(self._series(name).factorize(use_na_sentinel=False)[0], dtype=np.int64)

    def equal(self, name: str, value: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column has this value."""
        return frames.equal(self._series(name), value)

    def among(self, name: str, values: Iterable[str]) -> NDArray[np.bool_]:
        """bool [rows]: where the column has one of these values."""
        return frames.among(self._series(name), values)

    def begins(self, name: str, start: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column's value begins so."""
        return _flags(pc.starts_with(self.arrow.column(name), start))

    def ends(self, name: str, end: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column's value ends so."""
        return _flags(pc.ends_with(self.arrow.column(name), end))

    def present(self, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column is not null; nowhere, if it is not there."""
        return frames.present(self.frame, name)

    def filled_in(self, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column says something: not null, and where it is a list not an empty one."""
        column = self.arrow.column(name)
        return (
            _flags(pc.greater(pc.list_value_length(column), 0)) if pa.types.is_list(column.type) else self.present(name)
        )

    def differs(self, other: Table, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column has another value than in the other table's row at the same place; null equals null."""
        return frames.differs(self._series(name), other._series(name))

    def places_in(self, other: Table, name: str, its: str | None = None) -> NDArray[np.int64]:
        """int64 [rows]: the other table's (first) row with the same value in the column; -1 where there is none.

        its: the other's column, where it has another name: `mixtures.places_in(noise, "noise_id", "id")`.
        """
        return frames.position_of(self._series(name), other._series(its or name))

    def repeated(self, name: str) -> str | None:
        """A value that the column has more than once; None where all differ."""
        return frames.duplicated_value(self._series(name))

    def select(self, condition: str) -> NDArray[np.bool_]:
        """bool [rows]: where an SQL condition of a stranger holds: `core.sql.where`."""
        return sql.where(self.frame, condition)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """What an SQL statement of our own over the table `rows` returns."""
        return sql.query(self.frame, statement)

    def write_csv(self, file: BinaryIO, heading: bool) -> None:
        """The rows as CSV: text is quoted where it must be, null is an empty cell. heading: whether the columns' names come first."""
        pv.write_csv(self.arrow, file, pv.WriteOptions(include_header=heading, quoting_style="needed"))

    def digest(self) -> str:
        """32 hex digits: `core.frame.logical_hash`."""
        return frames.logical_hash(self.frame)

    # Columns: fewer, other names, other values.

    def only(self, names: Iterable[str]) -> Table:
        """These columns alone, in this order."""
        return Table(self.arrow.select(list(names)))

    def without(self, *names: str) -> Table:
        """Without these columns."""
        return self.only([name for name in self.names if name not in names])

    def without_empty(self) -> Table:
        """Without the columns that have no value at all; `rows` and `as_rows` know them as null."""
        return (
            self.only([name for name in self.names if self.arrow.column(name).null_count < len(self)])
            if len(self)
            else self
        )

    def renamed(self, **columns: str) -> Table:
        """With columns under other names: `renamed(shard="at_shard")`."""
        return Table(self.arrow.rename_columns([columns.get(name, name) for name in self.names]))

    def as_kind(self, kind: type) -> Table:
        """With the columns of this kind alone, in its types."""
        form = frames.schema(kind)
        return Table(self.arrow.select(form.names).cast(form))

    def as_rows(self) -> Table:
        """With the columns of Row, in its types: those that are missing null, others left out."""
        return Table(frames.to_arrow(frames.as_kind(self.frame, Row)).cast(frames.schema(Row)))

    def beside(self, other: Table) -> Table:
        """With the columns of another table of the same length."""
        table = self
        for name in other.names:
            table = table._set(name, other.arrow.column(name))
        return table

    def copied(self, **columns: str) -> Table:
        """With columns copied from others: `copied(speech_id="id")`."""
        table = self
        for name, source in columns.items():
            table = table._set(name, self.arrow.column(source))
        return table

    def filled(self, **columns: Any) -> Table:
        """With these columns set: a scalar for all rows, or one value a row (array or list; None is null)."""
        return self.beside(Table(frames.to_arrow(frames.with_columns(self.frame, **columns)[list(columns)])))

    def spread(self, name: str, codes: NDArray[np.int64], values: Sequence[str | None]) -> Table:
        """With column `name` = values[codes], strings; the counterpart of `codes`."""
        return self.filled(**{name: frames.spread(codes, values)})

    def suffixed(self, name: str, suffix: str) -> Table:
        """With a suffix to each value of a string column."""
        return self._set(name, pc.binary_join_element_wise(self.arrow.column(name), pa.scalar(suffix), pa.scalar("")))

    def blanked(self, name: str, where: NDArray[np.bool_]) -> Table:
        """With nothing in the column where `where` is true: null, or in a list no items."""
        column = self.arrow.column(name)
        nothing = pa.scalar([] if pa.types.is_list(column.type) else None, column.type)
        return self._set(name, pc.if_else(pa.array(where), nothing, column))

    def replaced(self, name: str, where: NDArray[np.bool_], other: Table) -> Table:
        """With the column's values of another table of the same length where `where` is true."""
        return self._set(name, pc.if_else(pa.array(where), other.arrow.column(name), self.arrow.column(name)))

    def with_numbers(self, name: str, values: NDArray[np.float64], kind: str = "float64") -> Table:
        """With a column of numbers of that type (`int32`), null where the value is NaN."""
        lacking = np.isnan(values)
        return self.without(name)._set(name, pa.array(np.where(lacking, 0, values).astype(kind), mask=lacking))

    def with_bytes(self, name: str) -> Table | None:
        """With a column of 32 hex digits as 16 bytes each; None where a value is none of 32 digits."""
        data = packed.as_bytes(self.arrow.column(name))
        return None if data is None else self.without(name)._set(name, data)

    def with_hex(self, name: str) -> Table:
        """With a column of bytes as hex digits: the counterpart of `with_bytes`."""
        return self.without(name)._set(name, packed.as_hex(self.arrow.column(name)))

    def with_files(self, name: str, data: Sequence[bytes], paths: Sequence[str]) -> Table:
        """With a column of files before the others, each its bytes and its name: how Hugging Face holds sound."""
        return Table(self.arrow.add_column(0, name, packed.as_files(data, paths)))

    def derived(self, **expressions: str) -> Table:
        """A table of the values of SQL expressions of our own for each row, in order."""
        return Table.of_frame(sql.derive(self.frame, **expressions))

    def _set(self, name: str, values: pa.Array | pa.ChunkedArray) -> Table:
        index = self.arrow.schema.get_field_index(name)
        if index < 0:
            return Table(self.arrow.append_column(name, values))
        return Table(
            self.arrow.set_column(
                index, self.arrow.schema.field(index), values.cast(self.arrow.schema.field(index).type)
            )
        )

    # Rows: fewer, another order.

    def where(self, keep: NDArray[np.bool_]) -> Table:
        """The rows where `keep` is true."""
        return self if keep.all() else self._of(frames.pick(self.frame, keep))

    def take(self, index: NDArray[np.int64]) -> Table:
        """The rows at these places, in this order."""
        return self._of(frames.pick(self.frame, index))

    def part(self, start: int, stop: int) -> Table:
        """Rows start to stop, as far as there are any, without the rest of the table's memory."""
        return self.take(np.arange(start, min(stop, len(self))))

    def parts(self, most: int) -> Iterator[Table]:
        """All rows in their order, so many at a time."""
        for start in range(0, len(self), most):
            yield self.part(start, start + most)

    def light(self) -> Table:
        """The same; the columns without any value share one piece of memory."""
        return self._of(frames.pick(self.frame, np.ones(len(self), dtype=np.bool_)))

    def ordered(self, by: Sequence[str] = ("source", "id")) -> Table:
        """Sorted by these columns, by code point: the order that every manifest has."""
        return self._of(frames.ordered(self.frame, by))

    def _of(self, frame: pd.DataFrame) -> Table:
        """A frame of this table's columns as a table, with the fields that this one has."""
        arrow = frames.to_arrow(frame)
        return Table(pa.table(arrow.columns, schema=self.arrow.schema))


def _declared(arrow: pa.Table) -> pa.Table:
    """With the fields of Row's columns as Row declares them, where that holds."""
    form = frames.schema(Row)
    fields = []
    for field, column in zip(arrow.schema, arrow.columns, strict=True):
        known = field.name in form.names and form.field(field.name).type == field.type and not column.null_count
        fields.append(form.field(field.name) if known else field)
    return pa.table(arrow.columns, schema=pa.schema(fields))


def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """bool [rows] of a column of truth values; null is false."""
    return np.asarray(column.fill_null(False).to_numpy(), dtype=np.bool_)
