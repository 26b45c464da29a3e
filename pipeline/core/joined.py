"""Rows whose columns lie in several tables, joined when they are needed: millions of them do not fit into memory whole.

A mixture is its own few columns, the row of its speech, the row of its noise, and what its work filled. Joined puts
such tables side by side, Stacked puts rows of several origins one below the other in one order.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core import frame as frames

if TYPE_CHECKING:
    import pandas as pd


class Joined:
    """Tables side by side. Where two have a column of one name, that of the later one counts.

    parts: frames or Arrow tables, each with the position of its row for every row here, int64 [rows]; None: row by row.
    """

    def __init__(self, *parts: tuple[pd.DataFrame | pa.Table, NDArray[np.int64] | None]) -> None:
        tables = [(part if isinstance(part, pa.Table) else frames.to_arrow(part), at) for part, at in parts]
        self.parts = [(table, np.arange(len(table)) if at is None else at) for table, at in tables]

    def __len__(self) -> int:
        return len(self.parts[-1][1])

    def table(
        self, at: NDArray[np.int64] | None = None, names: Container[str] | None = None, copy: bool = False
    ) -> pa.Table:
        """The rows at these positions, or all, as an Arrow table; all columns, or those of these names.

        copy: for a table that is sent to another process: columns without any value are left out, and none shares
        memory with the parts, for all of that memory would be sent.
        """
        columns: dict[str, pa.ChunkedArray | None] = {}
        for table, positions in reversed(self.parts):
            wanted = [name for name in table.column_names if name not in columns and (names is None or name in names)]
            if not wanted:
                continue
            where = positions if at is None else positions[at]
            first = int(where.min(initial=len(table)))
            count = int(where.max(initial=first - 1)) + 1 - first
            is_slice = not copy and count == len(where) and bool(np.all(where[1:] > where[:-1]))
            local = None if is_slice else pa.array(where - first)
            for name in wanted:
                column = table.column(name)
                if column.null_count == len(column):
                    columns[name] = None if copy else frames.nothing(len(where), column.type)
                else:
                    rows = column.slice(first, count)
                    columns[name] = rows if local is None else rows.take(local)
        return pa.table({name: column for name, column in columns.items() if column is not None})

    def pick(self, where: NDArray[np.bool_] | NDArray[np.int64]) -> Joined:
        """The rows where a mask is true, or those at these positions."""
        return Joined(*((table, positions[where]) for table, positions in self.parts))

    def ordered(self, by: Sequence[str]) -> Joined:
        """The same in the order of these columns."""
        positions = frames.order(self.table(names=by), by)
        return self if positions is None else self.pick(positions)


class Stacked:
    """Rows of one kind that lie in several Joined, one below the other, in an order of their own."""

    def __init__(self, kind: type, pieces: Sequence[Joined], order: NDArray[np.int64] | None = None) -> None:
        self.kind = kind
        self.pieces = pieces
        self._starts = np.cumsum([0, *map(len, pieces)])
        self._order = np.arange(self._starts[-1]) if order is None else order

    def __len__(self) -> int:
        return len(self._order)

    def table(self, at: NDArray[np.int64] | None = None, names: Sequence[str] | None = None) -> pa.Table:
        """The rows at these positions, or all, as an Arrow table of the kind; all columns, or these."""
        form = frames.schema(self.kind)
        form = form if names is None else pa.schema([form.field(name) for name in names])
        at = self._order if at is None else self._order[at]
        tables, places = [form.empty_table()], [np.zeros(0, np.int64)]
        for piece, start in zip(self.pieces, self._starts.tolist(), strict=False):
            own = np.flatnonzero((at >= start) & (at < start + len(piece)))
            if len(own):
                tables.append(piece.table(at[own] - start, form.names))
                places.append(own)
        table = pa.concat_tables(tables, promote_options="default").select(form.names).cast(form)
        place = np.concatenate(places)
        is_in_order = bool(np.all(place[1:] > place[:-1]))
        return table if is_in_order else table.take(pa.array(np.argsort(place)))

    def batches(self, rows: int) -> Iterator[pa.Table]:
        """All rows in their order, so many at a time."""
        for start in range(0, len(self), rows):
            yield self.table(np.arange(start, min(start + rows, len(self))))

    @property
    def frame(self) -> pd.DataFrame:
        """All rows as one frame."""
        return frames.concat([frames.from_arrow(self.table())], self.kind)

    def logical_hash(self) -> str:
        """`core.frame.logical_hash` of all rows, with one column at a time in memory."""
        return frames.hash_of(
            len(self), frames.schema(self.kind).names, lambda name: self.table(names=[name]).column(0)
        )

    def pick(self, where: NDArray[np.bool_] | NDArray[np.int64]) -> Stacked:
        """The rows where a mask is true, or those at these positions."""
        return Stacked(self.kind, self.pieces, self._order[where])

    def followed_by(self, piece: Joined) -> Stacked:
        """The same with the rows of another piece after them."""
        more = self._starts[-1] + np.arange(len(piece))
        return Stacked(self.kind, [*self.pieces, piece], np.concatenate([self._order, more]))

    def ordered(self, by: Sequence[str] = ("source", "id")) -> Stacked:
        """The same in the order of these columns; that of every manifest if none are given."""
        positions = frames.order(self.table(names=by), by)
        return self if positions is None else self.pick(positions)
