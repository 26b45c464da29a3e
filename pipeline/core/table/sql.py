"""The DuckDB side of a table: conditions, expressions and statements over the rows, in a session that reaches nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.core.errors import RecipeError

_CLOCK = frozenset({"current_date", "current_time", "current_timestamp", "localtime", "localtimestamp", "now", "today"})
_NUMBER = "number_of_the_row"


@contextmanager
def sandbox() -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB session in memory that can reach nothing but what is registered with it. Ctrl-C in a query is KeyboardInterrupt."""
    with duckdb.connect(
        ":memory:", config={"enable_external_access": False, "autoload_known_extensions": False}
    ) as session:
        session.execute(
            "SET autoinstall_known_extensions = false; SET preserve_insertion_order = true; SET lock_configuration = true"
        )
        try:
            yield session
        except (duckdb.InterruptException, RuntimeError) as error:
            if "interrupt" in str(error).lower():  # DuckDB takes the signal and says so by an error of its own
                raise KeyboardInterrupt from None
            raise


def numbered(arrow: pa.Table) -> pa.Table:
    """With the rows numbered: DuckDB's threads now and then give back a table of several chunks in another order."""
    return arrow.append_column(_NUMBER, pa.array(np.arange(arrow.num_rows)))


def answers(arrow: pa.Table, sql: str) -> list[tuple[Any, ...]]:
    """What an SQL statement of our own over the table `rows` returns."""
    with sandbox() as session:
        session.register("rows", arrow)
        return list(session.execute(sql).fetchall())


def derived(arrow: pa.Table, expressions: Mapping[str, str]) -> pa.Table:
    """A table of the values of SQL expressions of our own, by the names of their columns, for each row, in order."""
    with sandbox() as session:
        session.register("rows", numbered(arrow))
        columns = ", ".join(f"{expression} AS {name}" for name, expression in expressions.items())
        return session.sql(f"SELECT {columns} FROM rows ORDER BY {_NUMBER}").to_arrow_table()


def condition(arrow: pa.Table, sql: str) -> pa.ChunkedArray:
    """Truth values, one a row: whether a stranger's condition holds for it; see Table.select. RecipeError where it does not run."""
    with sandbox() as session:
        session.register("held", numbered(arrow))
        _refuse_chance(session, sql)
        labels = ", map_from_entries(labels) AS labels" if "labels" in arrow.column_names else ""
        view = f"SELECT * {'EXCLUDE (labels)' if labels else ''}{labels} FROM held"
        try:
            session.execute(f"CREATE VIEW rows AS {view}")
            kept = session.sql(
                f"SELECT coalesce(CAST(({sql}\n) AS BOOLEAN), false) AS kept, {_NUMBER} FROM rows ORDER BY {_NUMBER}"
            ).to_arrow_table()
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise RecipeError(
                [f"where: {sql!r} does not run as an SQL condition over the columns: {_first_lines(error)}"]
            ) from None
    if kept.num_rows != arrow.num_rows:
        raise RecipeError(
            [f"where: {sql!r} is not a condition: it gives {kept.num_rows} answers for {arrow.num_rows} rows"]
        )
    return kept.column("kept")


def _refuse_chance(session: duckdb.DuckDBPyConnection, sql: str) -> None:
    """RecipeError for functions whose answer is not a function of the row: random(), now(), uuid(), ..."""
    names = {word.lower() for word in re.findall(r"[A-Za-z_]\w*", re.sub(r"'(?:[^']|'')*'", "", sql))}
    unstable = session.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    ).fetchall()
    found = sorted(names & ({name for (name,) in unstable} | _CLOCK))
    if found:
        raise RecipeError(
            [
                f"where: {sql!r} uses {', '.join(found)}, whose answer changes from run to run: keep to the row's own columns"
            ]
        )


def _first_lines(error: Exception) -> str:
    return " ".join(str(error).split("\n\n")[0].split())
