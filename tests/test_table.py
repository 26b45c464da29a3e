"""Columns: what goes in comes out, the digest sees every change and nothing else, SQL reaches nothing but the rows."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import RecipeError
from pipeline.core.row import Drop, Row
from pipeline.core.table import Table

LIMITS = settings(max_examples=40, deadline=None)
PLACES = {
    "shard",
    "offset",
    "bytes",
    "speech_shard",
    "speech_offset",
    "speech_bytes",
    "noise_shard",
    "noise_offset",
    "noise_bytes",
}
VALUE: dict[str, Any] = {"str": "도움", "int": 7, "float": 1.5, "Mapping[str, str]": {"gender": "여성"}}


def row(number: int = 0, **more: Any) -> Row:
    values: dict[str, Any] = {"split": "train", "group": "g", "kind": "speech"} | more
    return Row(f"aihub/Training/{number}", "aihub", source=f"@aihub/Training/{number}", **values)


def table(*rows: Row) -> Table:
    return Table.of(rows, Row)


ROWS = [
    row(0, labels={"b": "2", "a": "1"}),
    row(1, transcript=None, frames=16_000),
    row(2, transcript="살려주세요", peak_dbfs=-3.5),
]


def test_rows_come_back_as_they_went_in() -> None:
    assert list(table(*ROWS).rows(Row)) == ROWS


TEXT = st.text(max_size=4)
ANY_ROW = st.builds(
    row,
    st.integers(0, 99),
    transcript=st.none() | TEXT,
    frames=st.none() | st.integers(0, 2**40),
    peak_dbfs=st.none() | st.floats(allow_nan=False),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
)


@LIMITS
@given(st.lists(ANY_ROW, max_size=6))
def test_any_rows_come_back_as_they_went_in(rows: list[Row]) -> None:
    assert list(table(*rows).rows(Row)) == rows


def test_no_rows_are_a_table_too() -> None:
    assert len(table()) == 0
    assert table().ordered().digest() == table().digest()
    assert table().select("frames > 1").tolist() == []
    assert len(Table.joined([], Drop)) == 0


def test_the_order_is_by_source_then_id_and_by_code_point() -> None:
    told = [("@b", "2"), ("@힣", "1"), ("@b", "10"), ("@B", "3"), ("@Z", "0")]
    rows = [replace(row(), source=source, id=row_id) for source, row_id in told]
    assert [found.id for found in table(*rows).ordered().rows(Row)] == ["3", "0", "10", "2", "1"]


@LIMITS
@given(st.permutations(ROWS))
def test_ordered_rows_have_one_digest_whatever_order_they_came_in(rows: list[Row]) -> None:
    assert table(*rows).ordered().digest() == table(*ROWS).ordered().digest()


def test_the_digest_counts_order() -> None:
    assert table(*ROWS).digest() != table(*ROWS[::-1]).digest()


@LIMITS
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_the_digest_ignores_chunks_and_slices(lengths: list[int]) -> None:
    rows = [row(n, transcript=None if n % 2 else f"말{n}", labels={"n": str(n)}, frames=n) for n in range(sum(lengths))]
    whole = table(*rows)
    bounds = np.cumsum([0, *lengths])
    chunks = [whole.arrow.slice(start, length) for start, length in zip(bounds, lengths, strict=False)]
    assert Table(pa.concat_tables(chunks)).digest() == whole.digest()
    assert Table(pa.concat_tables([whole.arrow, whole.arrow]).slice(len(whole), len(whole))).digest() == whole.digest()


@pytest.mark.parametrize("name", [f.name for f in fields(Row) if f.name not in PLACES])
def test_the_digest_sees_a_change_of_any_column(name: str) -> None:
    kind = str(next(f.type for f in fields(Row) if f.name == name)).removesuffix(" | None")
    assert table(*ROWS[:2], replace(ROWS[2], **{name: VALUE[kind]})).digest() != table(*ROWS).digest()


@pytest.mark.parametrize("name", sorted(PLACES & {f.name for f in fields(Row)}))
def test_the_digest_does_not_see_where_bytes_lie(name: str) -> None:
    kind = str(next(f.type for f in fields(Row) if f.name == name)).removesuffix(" | None")
    assert table(*ROWS[:2], replace(ROWS[2], **{name: VALUE[kind]})).digest() == table(*ROWS).digest()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"transcript": ""}, {"transcript": None}),
        ({"frames": 0}, {"frames": None}),
        ({"peak_dbfs": 0.0}, {"peak_dbfs": None}),
        ({"transcript": "ab", "keyword": "c"}, {"transcript": "a", "keyword": "bc"}),
        ({"labels": {"a": "bc"}}, {"labels": {"ab": "c"}}),
        ({"labels": {"a": "b"}}, {"labels": {}}),
        ({"frames": 1, "noise_start": 2}, {"frames": 2, "noise_start": 1}),
        ({"gain_db": 1e-12}, {"gain_db": 0.0}),
    ],
)
def test_the_digest_tells_near_rows_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert table(row(9, transcript="x"), row(**one)).digest() != table(row(9, transcript="x"), row(**other)).digest()


def test_the_digest_tells_rows_apart_by_where_a_string_ends() -> None:
    one, other = ([row(n, transcript=text) for n, text in enumerate(texts)] for texts in (("ab", "c"), ("a", "bc")))
    assert table(*one).digest() != table(*other).digest()


def test_codes_and_spread_undo_each_other() -> None:
    held = table(*[row(n, transcript=[None, "a", "b"][n % 3]) for n in range(7)])
    assert held.spread("transcript", *held.codes("transcript")).digest() == held.digest()


@LIMITS
@given(st.lists(st.lists(st.none() | st.sampled_from("abc"), max_size=3), min_size=1, max_size=4))
def test_codes_of_chunks_are_those_of_the_whole(told: list[list[str | None]]) -> None:
    parts = [table(*[row(n, transcript=text) for n, text in enumerate(texts)]) for texts in told]
    codes, values = Table.joined(parts, Row).codes("transcript")
    assert [values[code] for code in codes] == [text for texts in told for text in texts]
    assert len(set(values)) == len(values)


def test_part_where_and_take_agree() -> None:
    held = table(*ROWS)
    keep = np.array([False, True, True])
    assert held.part(1, 3).digest() == held.where(keep).digest() == held.take(np.array([1, 2])).digest()


# ---- conditions from a stranger's recipe


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("frames = 16000", [1]),
        ("frames > 0", [1]),  # null is not kept
        ("frames IS NULL", [0, 2]),
        ("transcript = '살려주세요'", [2]),
        ("labels['a'] = '1'", [0]),
        ("labels['z'] = '1'", []),
        ("id LIKE '%/2' OR labels['b'] IS NOT NULL", [0, 2]),
        ("true -- said somebody", [0, 1, 2]),
        ("1", [0, 1, 2]),
        ("frames = (SELECT max(frames) FROM rows)", [1]),
    ],
)
def test_a_condition_keeps_the_rows_that_meet_it(condition: str, kept: list[int]) -> None:
    assert np.flatnonzero(table(*ROWS).select(condition)).tolist() == kept


def test_a_condition_says_where_each_of_many_rows_stands() -> None:
    held = table(*[row(n, frames=n) for n in range(30_000)])
    assert np.array_equal(held.select("frames % 7 = 3"), np.arange(30_000) % 7 == 3)


HOSTILE = [
    "(SELECT count(*) FROM read_csv('{file}')) > 0",
    "(SELECT count(*) FROM read_text('{file}')) > 0",
    "(SELECT count(*) FROM '{file}') > 0",
    "(SELECT count(*) FROM glob('/*')) > 0",
    "(SELECT count(*) FROM read_parquet('https://example.org/x.parquet')) > 0",
    "true) AS BOOLEAN), false) AS kept FROM rows; COPY rows TO '{folder}/stolen.csv'; --",
    "true) AS BOOLEAN), false) AS kept FROM rows; ATTACH '{folder}/stolen.db'; --",
    "true) AS BOOLEAN), false) AS kept FROM rows; SET enable_external_access = true; --",
    "true) AS BOOLEAN), false) AS kept FROM rows; INSTALL httpfs; --",
    "true) AS BOOLEAN), false) AS kept FROM rows; LOAD httpfs; --",
    "(SELECT count(*) FROM secret) > 0",
    "getenv('HOME') IS NOT NULL",
]


@pytest.mark.parametrize("condition", HOSTILE)
def test_a_condition_reaches_no_file_no_network_no_setting_and_no_variable(condition: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(RecipeError, match="where: "):
        table(*ROWS).select(condition.format(file=secret, folder=tmp_path))
    assert list(tmp_path.iterdir()) == [secret]


NO_CONDITION = [
    "",
    "frames >",
    "no_such_column = 1",
    "kind = speech",
    "id",
    "(SELECT id FROM rows)",
    "sum(frames) > 1",
    "1; DROP VIEW rows",
]
CHANGEABLE = [
    "random() < 0.5",
    "now() > TIMESTAMP '2000-01-01'",
    "uuid() IS NOT NULL",
    "current_date > DATE '2000-01-01'",
]


@pytest.mark.parametrize("condition", NO_CONDITION)
def test_what_is_no_condition_is_refused_in_its_own_words(condition: str) -> None:
    with pytest.raises(RecipeError, match="where: ") as caught:
        table(*ROWS).select(condition)
    assert repr(condition) in str(caught.value)


@pytest.mark.parametrize("condition", CHANGEABLE)
def test_a_condition_that_knows_chance_or_the_clock_is_refused(condition: str) -> None:
    with pytest.raises(RecipeError, match="where: "):
        table(*ROWS).select(condition)


def test_conditions_see_columns_of_all_kinds() -> None:
    held = table(row(0, frames=16_000, rate_hz=16_000, peak_dbfs=-1.0))
    assert held.select("frames / rate_hz = 1 AND peak_dbfs < 0 AND kind = 'speech'").all()


def test_columns_without_values_share_their_memory_and_stay_in_their_place() -> None:
    held = Table.of(
        [Row(f"aihub/{n}", "aihub", "train", "g", "speech", f"@aihub/{n}", frames=n) for n in range(100_000)], Row
    )
    for table in (
        held.light(),
        held.take(np.arange(99_999)),
        held.where(np.arange(100_000) > 0),
        held.light().ordered(("frames",)),
    ):
        assert table.names == held.names
        assert table.arrow.schema == held.arrow.schema
        assert not table.present("snr_db").any()
        assert not table.present("shard").any()
        assert table.arrow.get_total_buffer_size() < 0.6 * held.arrow.get_total_buffer_size()
    assert held.light().digest() == held.digest()
    assert list(held.light().rows(Row)) == list(held.rows(Row))


@pytest.mark.parametrize("most", [1, 2, 3, 4])
def test_parts_are_all_the_rows_in_their_order(most: int) -> None:
    whole = table(*ROWS)
    parts = list(whole.parts(most))
    assert [row.id for part in parts for row in part.rows(Row)] == whole.column("id")
    assert {len(part) for part in parts[:-1]} <= {most}


def test_rows_are_found_by_another_tables_column_of_another_name() -> None:
    noise = table(row(7), row(8))
    mixtures = table(row(1, noise_id="aihub/Training/8"), row(2, noise_id=None), row(3, noise_id="aihub/Training/9"))
    assert mixtures.places_in(noise, "noise_id", "id").tolist() == [1, -1, -1]


def test_ctrl_c_in_a_query_is_ctrl_c() -> None:
    """As the command line knows it: DuckDB would make an error of its own of it, and that a traceback."""
    code = (
        "import os, signal, threading, numpy as np\n"
        "from pipeline.core.table import Table\n"
        "from pipeline.core.row import Drop\n"
        "rows = Table.of([Drop(str(n), 'a', 'b', 'c') for n in range(3000)], Drop)\n"
        "threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "try:\n"
        "    rows.query('SELECT count(*) FROM rows a, rows b, rows c WHERE a.id || b.id < c.id')\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped')\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.stdout, ran.returncode) == ("stopped\n", 0), ran.stderr
