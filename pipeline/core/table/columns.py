"""What a table says of its columns and rows: values, arrays, truth values a row. Nothing here makes another table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
from numpy.typing import NDArray

from pipeline.core.table import forms, sql
from pipeline.core.table.digest import digest

T = TypeVar("T")
_AT_A_TIME = 65_536


class Columns:
    """An immutable set of named columns of equal length. `arrow` is the pyarrow table underneath."""

    def __init__(self, arrow: pa.Table) -> None:
        self.arrow = arrow

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
        return forms.values(self.arrow.column("labels"), forms.LABELS)

    def strings(self, name: str) -> Iterator[str]:
        """The values of a string column one by one, without a list of them all."""
        for start in range(0, len(self), _AT_A_TIME):
            yield from self.arrow.column(name).slice(start, _AT_A_TIME).to_pylist()

    def rows(self, kind: type[T]) -> Iterator[T]:
        """The rows as dataclass values of this kind; columns that it lacks are passed over."""
        names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
        there = [name for name in names if name in self.names]
        for batch in self.arrow.select(there).to_batches(max_chunksize=1000):
            held = {name: forms.values(batch.column(n), batch.schema.field(n).type) for n, name in enumerate(there)}
            columns = [held.get(name) or [None] * len(batch) for name in names]
            yield from (kind(*values) for values in zip(*columns, strict=True))

    def numbers(self, name: str) -> NDArray[np.float64]:
        """One numeric column as float64 [rows]; null is NaN."""
        return np.asarray(self.arrow.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False))

    def integers(self, name: str) -> NDArray[np.int64]:
        """One integer column without nulls as int64 [rows]."""
        return np.asarray(self.arrow.column(name).to_numpy())

    def flags(self, name: str) -> NDArray[np.bool_]:
        """One column of truth values as bool [rows]; null is false."""
        return _flags(self.arrow.column(name))

    def codes(self, name: str) -> tuple[NDArray[np.int64], list[str | None]]:
        """The column as (int64 [rows] index into the distinct values, distinct values in order of appearance)."""
        encoded = self._encoded(name)
        return np.asarray(encoded.indices.to_numpy(), dtype=np.int64), list(encoded.dictionary.to_pylist())

    def classes(self, name: str) -> NDArray[np.int64]:
        """int64 [rows]: equal where the column's values are equal. `codes` without a list of the values."""
        return np.asarray(self._encoded(name).indices.to_numpy(), dtype=np.int64)

    def _encoded(self, name: str) -> Any:
        encoded = self.arrow.column(name).combine_chunks().dictionary_encode(null_encoding="encode")
        return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded

    def equal(self, name: str, value: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column has this value."""
        return _flags(pc.equal(self.arrow.column(name), value))

    def among(self, name: str, values: Iterable[str]) -> NDArray[np.bool_]:
        """bool [rows]: where the column has one of these values."""
        return _flags(pc.is_in(self.arrow.column(name), value_set=pa.array(sorted(values), pa.string())))

    def begins(self, name: str, start: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column's value begins so."""
        return _flags(pc.starts_with(self.arrow.column(name), start))

    def ends(self, name: str, end: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column's value ends so."""
        return _flags(pc.ends_with(self.arrow.column(name), end))

    def present(self, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column is not null; nowhere, if it is not there."""
        if name not in self.names:
            return np.zeros(len(self), dtype=np.bool_)
        return _flags(self.arrow.column(name).is_valid())

    def filled_in(self, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column says something: not null, and where it is a list not an empty one."""
        column = self.arrow.column(name)
        return (
            _flags(pc.greater(pc.list_value_length(column), 0)) if pa.types.is_list(column.type) else self.present(name)
        )

    def differs(self, other: Columns, name: str) -> NDArray[np.bool_]:
        """bool [rows]: where the column has another value than in the other table's row at the same place; null equals null."""
        mine, its = self.arrow.column(name), other.arrow.column(name)
        if pa.types.is_list(mine.type):
            starts = range(0, len(self) or 1, _AT_A_TIME)
            return np.concatenate([_lists_differ(mine.slice(n, _AT_A_TIME), its.slice(n, _AT_A_TIME)) for n in starts])
        one_is_null = pc.xor(mine.is_null(), its.is_null())
        return _flags(pc.or_(pc.fill_null(pc.not_equal(mine, its), False), one_is_null))

    def places_in(self, other: Columns, name: str, its: str | None = None) -> NDArray[np.int64]:
        """int64 [rows]: the other table's (first) row with the same value in the column; -1 where there is none.

        its: the other's column, where it has another name: `mixtures.places_in(noise, "noise_id", "id")`.
        """
        found = pc.index_in(self.arrow.column(name), value_set=other.arrow.column(its or name).combine_chunks())
        return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)

    def repeated(self, name: str) -> str | None:
        """A value that the column has more than once; None where all differ."""
        column = self.arrow.column(name)
        if pc.count_distinct(column).as_py() == len(column):
            return None
        counts = pc.value_counts(column.combine_chunks())
        return str(counts.filter(pc.greater(counts.field("counts"), 1))[0]["values"].as_py())

    def select(self, condition: str) -> NDArray[np.bool_]:
        """bool [rows]: where an SQL condition over the columns holds (null counts as false).

        The condition may come from a stranger's recipe: DuckDB runs it without access to files, network, extensions or
        settings. `labels` is a map there: `labels['gender'] = '여성'`. RecipeError quotes DuckDB where it does not run.
        """
        return _flags(sql.condition(self.arrow, condition))

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """What an SQL statement of our own over the table `rows` returns."""
        return sql.answers(self.arrow, statement)

    def write_csv(self, file: BinaryIO, heading: bool) -> None:
        """The rows as CSV: text is quoted where it must be, null is an empty cell. heading: whether the columns' names come first."""
        pv.write_csv(self.arrow, file, pv.WriteOptions(include_header=heading, quoting_style="needed"))

    def digest(self) -> str:
        """32 hex digits: hash of the values, whatever the chunks, file format or library version; order counts.

        Columns that say where bytes lie (UNHASHED, `at_*`) and columns without any value stand aside: a set moved
        to another store, or opened by a later schema, is the same set.
        """
        return digest(self.arrow)


def _flags(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """bool [rows] of a column of truth values; null is false."""
    return np.asarray(column.fill_null(False).to_numpy(), dtype=np.bool_)


def _lists_differ(mine: pa.ChunkedArray, its: pa.ChunkedArray) -> NDArray[np.bool_]:
    if mine.equals(its):
        return np.zeros(len(mine), dtype=np.bool_)
    both = pa.table({"mine": mine, "its": its})
    return _flags(sql.derived(both, {"differs": "mine IS DISTINCT FROM its"}).column("differs"))
