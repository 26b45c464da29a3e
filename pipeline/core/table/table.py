"""Table: the tables that are made of tables: other rows, other columns, another order. None is changed by it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.core.row import Row
from pipeline.core.table import forms, packed, sql
from pipeline.core.table.columns import Columns

T = TypeVar("T")


class Table(Columns):
    """An immutable set of named columns of equal length; what it says of itself is in Columns."""

    @classmethod
    def of(cls, rows: Iterable[T], kind: type[T]) -> Table:
        """A table of dataclass values, one column a field, with the types that the fields say."""
        held = list(rows)
        form = forms.schema(kind)
        return cls(pa.table([forms.column([getattr(row, f.name) for row in held], f.type) for f in form], schema=form))

    @classmethod
    def joined(cls, tables: Iterable[Table], kind: type) -> Table:
        """All rows of the tables, in their order; an empty table of that kind where there are none."""
        held = [table.arrow for table in tables]
        return cls(pa.concat_tables(held, promote_options="default") if held else forms.schema(kind).empty_table())

    def either(self, other: Table) -> Table:
        """Rows of this kind, then rows of the other; what one kind lacks is null."""
        parts = [t.arrow.cast(pa.schema([f.with_nullable(True) for f in t.arrow.schema])) for t in (self, other)]
        return Table(pa.concat_tables(parts, promote_options="default").combine_chunks())

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
        form = forms.schema(kind)
        return Table(self.arrow.select(form.names).cast(form))

    def as_rows(self) -> Table:
        """With the columns of Row, in its types: those that are missing null, others left out."""
        form, length = forms.schema(Row), len(self)
        columns = [self.arrow.column(f.name) if f.name in self.names else forms.nothing(length, f.type) for f in form]
        return Table(pa.table([c.cast(f.type) for c, f in zip(columns, form, strict=True)], schema=form))

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
        table = self
        for name, value in columns.items():
            kind = table.arrow.schema.field(name).type if name in table.names else None
            table = table._set(name, forms.filled(value, len(self), kind))
        return table

    def spread(self, name: str, codes: NDArray[np.int64], values: Sequence[str | None]) -> Table:
        """With column `name` = values[codes], strings; the counterpart of `codes`."""
        return self._set(name, pa.array(values, pa.string()).take(pa.array(codes)))

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
        return Table(sql.derived(self.arrow, expressions))

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
        if keep.all():
            return self
        kept = pa.array(keep)
        return self._picked(lambda arrow: arrow.filter(kept))

    def take(self, index: NDArray[np.int64]) -> Table:
        """The rows at these places, in this order."""
        places = pa.array(index)
        return self._picked(lambda arrow: arrow.take(places))

    def part(self, start: int, stop: int) -> Table:
        """Rows start to stop, as far as there are any, without the rest of the table's memory."""
        return self.take(np.arange(start, min(stop, len(self))))

    def parts(self, most: int) -> Iterator[Table]:
        """All rows in their order, so many at a time."""
        for start in range(0, len(self), most):
            yield self.part(start, start + most)

    def light(self) -> Table:
        """The same; the columns without any value share one piece of memory."""
        return self._picked(lambda arrow: arrow)

    def ordered(self, by: Sequence[str] = ("source", "id")) -> Table:
        """Sorted by these columns, by code point: the order that every manifest has."""
        if _in_order(self.arrow, by):
            return self
        index = pc.sort_indices(self.arrow.select(list(by)), sort_keys=[(name, "ascending") for name in by])
        return self._picked(lambda arrow: arrow.take(index))

    def _picked(self, pick: Callable[[pa.Table], pa.Table]) -> Table:
        """With the rows that `pick` takes of the columns that have values; the others share their memory."""
        full = [name for name in self.names if self.arrow.column(name).null_count < len(self)]
        if len(full) == len(self.names) or not full:
            return Table(pick(self.arrow))
        held = pick(self.arrow.select(full))
        columns = [
            held.column(f.name) if f.name in full else forms.nothing(held.num_rows, f.type) for f in self.arrow.schema
        ]
        return Table(pa.table(columns, schema=self.arrow.schema))


def _in_order(arrow: pa.Table, by: Sequence[str]) -> bool:
    """Whether the rows are sorted by these columns: cheaper to see than to sort, and manifests mostly are."""
    undecided: Any = None
    for name in by:
        column = arrow.column(name)
        before, after = column.slice(0, max(0, len(column) - 1)), column.slice(1)
        fault = pc.greater(before, after)
        equal = pc.equal(before, after)
        if undecided is not None:
            fault, equal = pc.and_(fault, undecided), pc.and_(equal, undecided)
        if column.null_count or pc.any(fault).as_py():
            return False
        undecided = equal
    return True
