"""Answers of DuckDB come back in the order of the rows, however the table is cut into chunks."""

import numpy as np
import pyarrow as pa

from pipeline.table import Table


def chunked(rows: int) -> Table:
    numbers = np.arange(rows)
    pieces = [pa.table({"n": pa.array(part), "text": pa.array([f"{value}" for value in part])}) for part in np.array_split(numbers, 40)]
    return Table(pa.concat_tables(pieces))


def test_conditions_are_answered_in_the_order_of_the_rows_of_many_chunks() -> None:
    table = chunked(400_000)
    for _ in range(5):
        assert (table.select("n % 7 = 3") == (np.arange(400_000) % 7 == 3)).all()


def test_derived_columns_are_in_the_order_of_the_rows_of_many_chunks() -> None:
    table = chunked(400_000)
    for _ in range(5):
        assert table.derived(twice="n * 2").integers("twice").tolist() == (np.arange(400_000) * 2).tolist()
