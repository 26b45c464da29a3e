"""SQL over frames, by DuckDB: conditions, expressions and statements, in a session that reaches nothing else.

The only user of duckdb.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import FrameType
from typing import TYPE_CHECKING, Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core import conditions
from pipeline.core.errors import ManifestError, RecipeError, short
from pipeline.core.frame import from_arrow, to_arrow

if TYPE_CHECKING:
    import pandas as pd

WHERE_S = 40  # what a condition may take
WHERE_MB = 600
_OTHER_MB = 200  # of the process that answers it: code, threads
NUMBER = "number_of_the_row"  # the column by which `derive` knows the rows apart, from 0
_ROWS_AT_A_TIME = 65_536
# Parts of an expression whose value for a row depends on that row alone, as DuckDB's parser names them.
_OF_ONE_ROW = frozenset(
    {"BETWEEN", "CASE", "CAST", "COLLATE", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "LAMBDA"}
    | {"OPERATOR", "TYPE"}
)
# Words for the time of day that DuckDB takes for columns, macros or functions of constant value.
_CLOCK = frozenset(
    {"age", "ago", "current_date", "current_localtime", "current_localtimestamp", "current_time", "current_timestamp"}
    | {"localtime", "localtimestamp", "now", "pg_conf_load_time", "pg_postmaster_start_time", "today"}
)


@contextmanager
def sandbox(memory_mb: int | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
    """A DuckDB session in memory that reaches nothing but what is registered with it. Ctrl-C is KeyboardInterrupt."""
    with _database(memory_mb).cursor() as session, _stopped_by_ctrl_c(session):
        try:
            yield session
        except (duckdb.InterruptException, RuntimeError) as error:
            if "interrupt" in str(error).lower():  # DuckDB takes the signal and says so by an error of its own
                raise KeyboardInterrupt from None
            raise


@cache
def _database(memory_mb: int | None) -> duckdb.DuckDBPyConnection:
    """The one database of this process, always empty: what a session registers is its own. To open one takes 30 ms."""
    closed: dict[str, Any] = {"enable_external_access": False, "autoload_known_extensions": False}
    closed |= {} if memory_mb is None else {"memory_limit": f"{memory_mb}MB", "temp_directory": "", "threads": 2}
    database = duckdb.connect(":memory:", config=closed)
    database.execute("SET autoinstall_known_extensions = false")
    database.execute("SET preserve_insertion_order = true")
    database.execute("SET lock_configuration = true")
    return database


@contextmanager
def _stopped_by_ctrl_c(session: duckdb.DuckDBPyConnection) -> Iterator[None]:
    """Tells DuckDB of Ctrl-C: it stops listening to its own threads, but waits for them until the query is done."""
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield
        return

    def stop(number: int, stack: FrameType | None) -> None:
        session.interrupt()
        before(number, stack)

    signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def query(frame: pd.DataFrame, statement: str) -> list[tuple[Any, ...]]:
    """What an SQL statement of our own over the table `rows` returns."""
    with sandbox() as session:
        session.register("rows", to_arrow(frame))
        return list(session.execute(statement).fetchall())


def derive(frame: pd.DataFrame, **expressions: str) -> pd.DataFrame:
    """The values of SQL expressions of our own for each row, in the rows' order, by the names of their columns.

    ManifestError where a column holds other values than they expect.
    """
    columns = ", ".join(f'{expression} AS "{name}"' for name, expression in expressions.items())
    with sandbox() as session:
        session.register("rows", numbered(to_arrow(frame)))
        try:
            return from_arrow(session.sql(f"SELECT {columns} FROM rows ORDER BY {NUMBER}").to_arrow_table())
        except duckdb.InterruptException:
            raise
        except duckdb.Error as error:
            raise ManifestError(" ".join(str(error).split("\n\n")[0].split())) from None


def where(frame: pd.DataFrame, condition: str, among: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
    """bool [rows]: where an SQL condition over the columns holds; null counts as false.

    among: bool [rows], where not all rows are asked: there are then as many answers as it has true values.

    The condition may come from a stranger's recipe: DuckDB runs it without access to files, network, extensions or
    settings. `labels` is a map there: `labels['gender'] = '여성'`. A condition that looks at other rows, by a window or
    a query over `rows`, sees all of them. It runs in a process of its own, for DuckDB bounds neither time nor memory of
    one function. RecipeError for chance, the clock, what does not run, and what takes more than WHERE_S or WHERE_MB.
    """
    table = numbered(to_arrow(frame))
    with conditions.asked(condition, WHERE_S, WHERE_MB) as child:
        named = {name.lower() for name in child.ask({"condition": condition, "mb": WHERE_MB})["names"]}
        there = {name.lower() for name in table.column_names}
        if named and named <= there:  # it needs no other columns
            table = table.select([name for name in table.column_names if name.lower() in named | {NUMBER}])
        size = _ROWS_AT_A_TIME if named else max(len(frame), 1)
        parts = [table.slice(start, size) for start in range(0, len(frame) or 1, size)]
        if among is not None:
            parts = [part.filter(pa.array(among[n * size : n * size + size])) for n, part in enumerate(parts)]
        return np.concatenate([child.answers(part) for part in parts])


def serve() -> None:
    """Answers conditions for another process (`core.conditions`) until it asks no more.

    At standard input, a request a line, then a stream of Arrow; at standard output a reply a line, then bool [rows].
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    requests, answers = sys.stdin.buffer, sys.stdout.buffer
    _unstable()
    answers.write(b"\n")
    answers.flush()
    condition = ""
    while line := requests.readline():
        signal.alarm(WHERE_S + 5)  # it ends even where nobody is left to end it
        request, body = json.loads(line), b""
        bound = (request["mb"] + _OTHER_MB) * 2**20
        resource.setrlimit(resource.RLIMIT_DATA, (bound, resource.RLIM_INFINITY))
        table = None if "condition" in request else pa.ipc.open_stream(requests).read_all()
        try:
            with sandbox(request["mb"] // WHERE_MB * WHERE_MB // 2) as session:
                if table is None:
                    condition = request["condition"]
                    reply: dict[str, Any] = {"names": _parsed(session, condition)}
                else:
                    body = _answers(session, table, condition).tobytes()
                    reply = {"bytes": len(body)}
        except RecipeError as error:
            reply = {"faults": error.faults}
        except (duckdb.Error, RecursionError, ValueError, MemoryError, pa.ArrowException) as error:
            reason = " ".join(str(error).split("\n\n")[0].split()) or type(error).__name__
            reply = {"faults": _no_condition(condition, reason).faults}
        answers.write(json.dumps(reply).encode() + b"\n" + body)
        answers.flush()
        signal.alarm(0)


def numbered(table: pa.Table) -> pa.Table:
    """With the rows numbered: DuckDB's threads now and then give back a table of several chunks in another order."""
    return table.append_column(NUMBER, pa.array(np.arange(table.num_rows)))


def _answers(session: duckdb.DuckDBPyConnection, table: pa.Table, condition: str) -> NDArray[np.bool_]:
    numbers = table.column(NUMBER).to_numpy()
    session.register("numbered_rows", table)
    labels = ", map_from_entries(labels) AS labels" if "labels" in table.column_names else ""
    view = f"SELECT * {'EXCLUDE (labels)' if labels else ''}{labels} FROM numbered_rows"
    session.execute(f"CREATE OR REPLACE TEMP VIEW rows AS {view}")
    kept = session.sql(
        f"SELECT coalesce(CAST(({condition}\n) AS BOOLEAN), false) AS kept, {NUMBER} FROM rows ORDER BY {NUMBER}"
    ).to_arrow_table()
    if kept.num_columns != 2:
        raise RecipeError(
            [f"where: {short(condition, 300)!r} is not one condition: it gives {kept.num_columns - 1} answers a row"]
        )
    if not np.array_equal(kept.column(NUMBER).to_numpy(), np.sort(numbers)):
        answers = f"{kept.num_rows} answers for {len(numbers)} rows"
        raise RecipeError([f"where: {short(condition, 300)!r} is not a condition: it gives {answers}"])
    return np.asarray(kept.column("kept").to_numpy(), dtype=np.bool_)


def _parsed(session: duckdb.DuckDBPyConnection, condition: str) -> list[str]:
    """The columns by which alone a row's answer is known; none where it depends on other rows too, or on any column.

    RecipeError for what is no SQL, and for functions whose answer is not a function of the rows: random(), now(), ...
    """
    [(answer,)] = session.execute("SELECT json_serialize_sql(?)", [f"SELECT ({condition}\n)"]).fetchall()
    tree = json.loads(answer)
    if tree["error"]:
        raise _no_condition(condition, f"{tree['error_type'].title()} Error: {tree['error_message']}")
    parts = list(_parts(tree))
    names = {part["function_name"].lower() for part in parts if "function_name" in part}
    columns = {name for part in parts for name in part.get("column_names", [])[:1]}
    words = {name.lower() for part in parts for name in part.get("column_names", [])}
    changeable = sorted(names & _unstable() | (names | words) & _CLOCK)
    if changeable:
        what = ", ".join(changeable)
        why = f"uses {what}, whose answer changes from run to run: keep to the row's own columns"
        raise RecipeError([f"where: {short(condition, 300)!r} {why}"])
    return sorted(columns | {NUMBER}) if {part["class"] for part in parts} <= _OF_ONE_ROW else []


@cache
def _unstable() -> frozenset[str]:
    """The functions whose answer is not one of what they are given; listing them takes 20 ms."""
    listing = "SELECT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
    return frozenset(name for (name,) in _database(WHERE_MB // 2).cursor().execute(listing).fetchall())


def _parts(tree: Any) -> Iterator[dict[str, Any]]:
    """Every expression of a parsed statement."""
    if isinstance(tree, dict) and "class" in tree:
        yield tree
    for branch in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _parts(branch)


def _no_condition(condition: str, reason: str) -> RecipeError:
    return RecipeError(
        [f"where: {short(condition, 300)!r} does not run as an SQL condition over the columns: {reason}"]
    )
