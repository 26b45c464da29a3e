"""Frames of rows: what goes in comes out, no null becomes true, no NaN gets in, the hash sees every change."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import frame as frames
from pipeline.core import parquet, sql
from pipeline.core.errors import ManifestError, RecipeError
from pipeline.core.row import Drop, Row

LIMITS = settings(max_examples=40, deadline=None)
PLACES = {f"{part}{name}" for part in ("", "speech_", "noise_") for name in ("shard", "offset", "bytes")} | {"dc_dbfs"}
VALUE: dict[str, Any] = {"str": "도움", "int": 7, "float": 1.5, "Mapping[str, str]": {"gender": "여성"}}


def row(number: int = 0, **more: Any) -> Row:
    cells: dict[str, Any] = {"split": "train", "group": "g", "kind": "speech"} | more
    return Row(f"aihub/Training/{number}", "aihub", source=f"@aihub/Training/{number}", **cells)


def frame(*rows: Row) -> pd.DataFrame:
    return frames.from_rows(rows, Row)


ROWS = [
    row(0, labels={"b": "2", "a": "1"}),
    row(1, transcript=None, frames=16_000),
    row(2, transcript="살려주세요", peak_dbfs=-3.5),
]
TEXT = st.text(max_size=4)
ANY_ROW = st.builds(
    row,
    st.integers(0, 99),
    transcript=st.none() | TEXT,
    frames=st.none() | st.integers(0, 2**40),
    peak_dbfs=st.none() | st.floats(allow_nan=False),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
)
ANY_FRAME = st.lists(ANY_ROW, max_size=6).map(lambda rows: frame(*rows))


# ---- rows and frames


@LIMITS
@given(st.lists(ANY_ROW, max_size=6))
def test_any_rows_come_back_as_they_went_in(rows: list[Row]) -> None:
    assert list(frames.rows(frame(*rows), Row)) == rows


def test_null_comes_back_as_none_and_labels_as_a_dict() -> None:
    """pandas would say pd.NA, which is not None: a row with it would look like a mixture."""
    (got,) = frames.rows(frame(row(1, labels={"b": "2", "a": "1"})), Row)
    assert got.noise_shard is None
    assert type(got.labels) is dict
    assert list(got.labels) == ["a", "b"]


def test_fields_that_the_frame_lacks_are_none_and_other_columns_are_passed_over() -> None:
    few = frames.with_columns(frame(*ROWS)[["id", "source"]], note="x")
    (first, *_) = frames.rows(few, Row)
    assert (first.id, first.split, first.transcript) == ("aihub/Training/0", None, None)


def test_no_rows_are_a_frame_too() -> None:
    empty = frame()
    assert list(empty.columns) == [f.name for f in fields(Row)]
    assert frames.logical_hash(frames.ordered(empty)) == frames.logical_hash(empty)
    assert sql.where(empty, "frames > 1").tolist() == []
    assert len(frames.concat([], Drop)) == len(frames.concat([empty, empty], Row)) == 0
    assert len(frames.normalize(empty, Row)) == 0
    assert frames.differs(empty["labels"], empty["labels"]).tolist() == []


def addresses(column: pa.ChunkedArray) -> list[int]:
    return [buffer.address for chunk in column.chunks for buffer in chunk.buffers() if buffer is not None]


def test_frames_and_arrow_share_their_memory_both_ways() -> None:
    table = pa.concat_tables([frames.to_arrow(frame(*ROWS)), frames.to_arrow(frame(*ROWS))])
    back = frames.to_arrow(frames.from_arrow(table))
    assert back.column_names == table.column_names
    assert all(addresses(back.column(name)) == addresses(table.column(name)) for name in table.column_names)
    kept, full = frames.to_arrow(frames.as_kind(frames.from_arrow(table), Row)), ["id", "labels", "frames", "peak_dbfs"]
    assert all(addresses(kept.column(name)) == addresses(table.column(name)) for name in full)


def test_a_column_without_an_arrow_type_does_not_pass_unseen() -> None:
    foreign = frame(*ROWS)
    foreign["keyword"] = "x"
    with pytest.raises(TypeError, match="'keyword' is of dtype str"):
        frames.to_arrow(foreign)


@dataclass(frozen=True)
class Scored:
    id: str
    scores: tuple[float, ...]


def test_a_tuple_is_a_column_of_lists() -> None:
    scored = frames.from_rows([Scored("a", (0.5, 1.0)), Scored("b", ())], Scored)
    assert frames.values(scored["scores"]) == [[0.5, 1.0], []]


# ---- every function gives a RangeIndex and goes by position

WITH_ODD_INDEX = frames.from_rows([replace(r, frames=n) for n, r in enumerate(ROWS)], Row).iloc[[2, 0, 1]]


@pytest.mark.parametrize(
    "change",
    [
        lambda f: frames.from_arrow(frames.to_arrow(f)),
        lambda f: frames.concat([f, f], Row),
        lambda f: frames.pick(f, np.array([True, False, True])),
        lambda f: frames.pick(f, np.array([True, True, True])),
        lambda f: frames.pick(f, np.array([1, 1])),
        frames.ordered,
        lambda f: frames.ordered(f, ("frames",)),
        lambda f: frames.as_kind(f, Row),
        lambda f: frames.with_columns(f, frames=1),
        lambda f: frames.normalize(f, Row),
        lambda f: sql.derive(f, twice="frames * 2"),
    ],
)
def test_every_frame_has_a_range_index_and_arrow_types(change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    made = change(WITH_ODD_INDEX)
    assert made.index.equals(pd.RangeIndex(len(made)))
    assert isinstance(made.index, pd.RangeIndex)
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in made.dtypes)


def test_columns_are_set_and_compared_by_position() -> None:
    """pandas aligns on the index: after a filter it would put null and other rows' values in place."""
    kept = frames.from_rows([row(n, frames=n) for n in range(4)], Row)
    series = pd.Series([7, 8], index=[3, 2], dtype="int64[pyarrow]")
    assert frames.values(frames.with_columns(kept[kept["frames"] > 1], frames=series)["frames"]) == [7, 8]
    assert frames.differs(kept["frames"].iloc[::-1], kept["frames"]).tolist() == [True, True, True, True]


def test_a_frame_that_was_handed_in_is_not_changed() -> None:
    before = frame(*ROWS)
    told = frames.logical_hash(before)
    made = frames.with_columns(frames.ordered(frames.as_kind(before, Row)), split="test")
    made.loc[0, "group"] = "other"
    assert frames.logical_hash(before) == told


# ---- order, picking, joining


def test_the_order_is_by_source_then_id_and_by_code_point() -> None:
    names = [("@b", "2"), ("@힣", "1"), ("@b", "10"), ("@B", "3"), ("@Z", "0"), ("@😀", "5"), ("@￮", "4")]
    rows = [replace(row(), source=source, id=row_id) for source, row_id in names]
    assert frames.values(frames.ordered(frame(*rows))["id"]) == ["3", "0", "10", "2", "1", "4", "5"]


@LIMITS
@given(st.permutations(ROWS))
def test_ordered_rows_have_one_hash_whatever_order_they_came_in(rows: list[Row]) -> None:
    assert frames.logical_hash(frames.ordered(frame(*rows))) == frames.logical_hash(frames.ordered(frame(*ROWS)))


@LIMITS
@given(st.lists(st.tuples(st.sampled_from("ab"), st.none() | st.integers(0, 2)), max_size=6))
def test_the_order_of_two_columns_is_the_one_of_sorted(pairs: list[tuple[str, int | None]]) -> None:
    held = frame(*[row(n, source_format=a, frames=b) for n, (a, b) in enumerate(pairs)])
    got = frames.ordered(held, ("source_format", "frames"))
    cells = list(zip(frames.values(got["source_format"]), frames.values(got["frames"]), strict=True))
    assert cells == sorted(pairs, key=lambda pair: (pair[0], pair[1] is None, pair[1] or 0))  # null comes last


@LIMITS
@given(ANY_FRAME, st.data())
def test_masks_and_positions_pick_the_same_rows(held: pd.DataFrame, data: st.DataObject) -> None:
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(held), max_size=len(held))), dtype=np.bool_)
    expected = [one for one, keep in zip(frames.rows(held, Row), mask, strict=True) if keep]
    assert list(frames.rows(frames.pick(held, mask), Row)) == expected
    assert list(frames.rows(frames.pick(held, np.flatnonzero(mask)), Row)) == expected


def test_a_mask_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a mask of 2 for a frame of 3 rows"):
        frames.pick(frame(*ROWS), np.array([True, True]))


def test_joined_frames_are_all_rows_in_order_and_null_where_one_lacks_a_column() -> None:
    few = frame(*ROWS).drop(columns=["peak_dbfs"])
    joined = frames.concat([frame(*ROWS), few], Row)
    assert list(frames.rows(joined, Row)) == ROWS + [replace(r, peak_dbfs=None) for r in ROWS]


def test_columns_without_values_share_their_memory_and_stay_in_their_place() -> None:
    cells = [Row(f"aihub/{n}", "aihub", "train", "g", "speech", f"@aihub/{n}", frames=n) for n in range(100_000)]
    held = frames.from_rows(cells, Row)
    size = frames.to_arrow(held).get_total_buffer_size()
    for made in (
        frames.pick(held, np.ones(100_000, dtype=np.bool_)),
        frames.pick(held, np.arange(99_999)),
        frames.pick(held, np.arange(100_000) > 0),
        frames.ordered(frames.pick(held, np.arange(100_000)[::-1]), ("frames",)),
        frames.concat([frames.pick(held, np.arange(50_000)), frames.pick(held, np.arange(50_000, 100_000))], Row),
        frames.normalize(held, Row),
        frames.as_kind(held.drop(columns=[n for n in held.columns if n.startswith(("noise_", "snr_"))]), Row),
    ):
        assert list(made.columns) == list(held.columns)
        assert made.dtypes.equals(held.dtypes)
        assert not frames.present(made, "snr_db").any()
        assert frames.to_arrow(made).get_total_buffer_size() < 0.3 * size


# ---- columns that are set


def test_a_scalar_is_for_all_rows_and_a_list_for_each() -> None:
    made = frames.with_columns(
        frame(*ROWS), keyword="x", scene=["a", None, "c"], copies=np.arange(3, dtype=np.int32), variant=None
    )
    assert frames.values(made["keyword"]) == ["x", "x", "x"]
    assert frames.values(made["scene"]) == ["a", None, "c"]
    assert made["copies"].dtype == pd.ArrowDtype(pa.int32())
    assert frames.values(made["variant"]) == [None, None, None]


def test_a_matrix_gives_a_list_a_row() -> None:
    made = frames.with_columns(frame(*ROWS), starts=np.arange(6).reshape(3, 2))
    assert frames.values(made["starts"]) == [[0, 1], [2, 3], [4, 5]]
    assert made["starts"].dtype == pd.ArrowDtype(pa.list_(pa.int64()))


def test_a_column_keeps_its_type_and_its_place() -> None:
    before = frame(*ROWS)
    made = frames.with_columns(before, frames=np.array([1.0, np.nan, 3.0]), peak_dbfs=[1, 2, 3], labels={"a": "b"})
    assert made.dtypes.equals(before.dtypes)
    assert frames.values(made["frames"]) == [1, None, 3]
    assert frames.values(made["labels"]) == [{"a": "b"}] * 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", [1.5, 2, 3]),
        ("frames", ["1", "2", "3"]),
        ("frames", "1"),
        ("frames", [True, False, True]),
        ("keyword", [1, 2, 3]),
        ("labels", [{"a": 1}, {}, {}]),
        ("labels", "a"),
        ("keyword", [1, 2]),
        ("keyword", ["a", "b"]),
        ("keyword", {"a", "b", "c"}),
        ("note", (n for n in "abc")),
    ],
)
def test_what_does_not_go_into_a_column_is_refused(name: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError, pa.ArrowInvalid)):
        frames.with_columns(frame(*ROWS), **{name: value})


def test_values_are_chosen_by_position_and_one_value_stands_for_all() -> None:
    held, where = frame(row(0), row(1, labels={"c": "3"})), np.array([True, False])
    other = frame(row(2, labels={"b": "1", "a": "2"}), row(3)).set_index(np.array([7, 9]))
    assert frames.values(frames.choose(where, other["source"], held["source"])) == [
        "@aihub/Training/2",
        held["source"][1],
    ]
    assert frames.values(frames.choose(where, "x", held["split"])) == ["x", "train"]
    assert frames.values(frames.choose(where, None, held["split"])) == [None, "train"]
    assert frames.values(frames.choose(where, other["labels"], held["labels"])) == [{"a": "2", "b": "1"}, {"c": "3"}]
    assert frames.values(frames.choose(~where, {}, held["labels"])) == [{}, {}]


def test_missing_columns_are_null_and_unknown_ones_left_out() -> None:
    few = frames.with_columns(frame(*ROWS), note="x").drop(columns=["snr_db", "transcript"])
    made = frames.as_kind(few, Row)
    assert list(frames.rows(made, Row)) == [replace(r, transcript=None) for r in ROWS]
    with pytest.raises(ManifestError, match="lacks the columns group, labels"):
        frames.as_kind(few.drop(columns=["group", "labels"]), Row)


# ---- masks: null is never true

HELD = frame(row(0, transcript=None), row(1, transcript="a"), row(2, transcript=""))


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (frames.equal(HELD["transcript"], "a"), [False, True, False]),
        (frames.equal(HELD["transcript"], None), [False, False, False]),
        (frames.among(HELD["transcript"], {"a", ""}), [False, True, True]),
        (frames.among(HELD["transcript"], [None, "a"]), [False, True, False]),
        (frames.among(HELD["transcript"], []), [False, False, False]),
        (frames.present(HELD, "transcript"), [False, True, True]),
        (frames.present(HELD, "no_such_column"), [False, False, False]),
        (sql.where(HELD, "transcript = 'a'"), [False, True, False]),
        (sql.where(HELD, "transcript <> 'a'"), [False, False, True]),
        (sql.where(HELD, "NULL"), [False, False, False]),
    ],
)
def test_null_is_never_true_in_a_mask(mask: np.ndarray[Any, Any], expected: list[bool]) -> None:
    assert type(mask) is np.ndarray
    assert mask.dtype == np.bool_
    assert mask.tolist() == expected
    assert (~mask).tolist() == [not keep for keep in expected]


MAYBE = st.none() | st.sampled_from(["", "a", "b"])
MAYBE_LABELS = st.dictionaries(st.sampled_from("ab"), st.sampled_from("ab"), max_size=2)


@LIMITS
@given(st.lists(st.tuples(MAYBE, MAYBE), max_size=8))
def test_what_differs_is_what_python_finds_unequal_with_null_equal_to_null(pairs: list[tuple[Any, Any]]) -> None:
    one, other = (frame(*[row(transcript=pair[side]) for pair in pairs])["transcript"] for side in (0, 1))
    assert frames.differs(one, other).tolist() == [a != b for a, b in pairs]


@LIMITS
@given(st.lists(st.tuples(MAYBE_LABELS, MAYBE_LABELS), max_size=8), st.integers(0, 8))
def test_labels_differ_by_their_values(pairs: list[tuple[Any, Any]], cut: int) -> None:
    """`==` of pandas is False for any two labels, without an error."""
    one, other = (frame(*[row(labels=pair[side]) for pair in pairs]) for side in (0, 1))
    chunked = frames.concat(
        [frames.pick(one, np.arange(len(one)) < cut), frames.pick(one, np.arange(len(one)) >= cut)], Row
    )
    expected = [a != b for a, b in pairs]
    assert frames.differs(one["labels"], other["labels"]).tolist() == expected
    assert frames.differs(chunked["labels"], other["labels"]).tolist() == expected


def test_columns_of_other_lengths_are_not_compared() -> None:
    with pytest.raises(ValueError, match="3 and 2 rows"):
        frames.differs(HELD["id"], HELD["id"].iloc[:2])


# ---- codes and positions


@LIMITS
@given(st.lists(st.lists(st.none() | st.sampled_from("abc"), max_size=3), min_size=1, max_size=4))
def test_codes_and_spread_undo_each_other_whatever_the_chunks(chunks: list[list[str | None]]) -> None:
    parts = [frame(*[row(n, transcript=text) for n, text in enumerate(texts)]) for texts in chunks]
    column = frames.concat(parts, Row)["transcript"]
    codes, distinct = frames.codes(column)
    assert codes.dtype == np.int64
    assert distinct == list(dict.fromkeys(text for texts in chunks for text in texts))
    assert not frames.differs(frames.spread(codes, distinct), column).any()


def test_positions_are_the_first_with_the_same_value_and_null_has_none() -> None:
    names = frame(*[row(n, noise_id=name) for n, name in enumerate(["b", None, "a", "b"])])["noise_id"]
    wanted = frame(*[row(n, noise_id=name) for n, name in enumerate(["a", "b", "c", None])])["noise_id"]
    assert frames.position_of(wanted, names).tolist() == [2, 0, -1, -1]


def test_a_value_that_is_there_twice_is_named() -> None:
    assert frames.duplicated_value(frame(row(1), row(2))["id"]) is None
    assert frames.duplicated_value(frame(row(1), row(2), row(1))["id"]) == "aihub/Training/1"
    assert frames.duplicated_value(frame(row(1), row(2))["keyword"]) is None  # null is no value


def test_numbers_have_nan_for_null_and_whole_numbers_refuse_it() -> None:
    held = frame(row(0, frames=3), row(1))["frames"]
    assert np.isnan(frames.numbers(held)).tolist() == [False, True]
    assert frames.integers(held.iloc[:1]).tolist() == [3]
    with pytest.raises(ValueError, match="'frames' has 1 nulls"):
        frames.integers(held)


# ---- a user's frame


def test_a_frame_as_pandas_users_make_it_is_taken() -> None:
    mine = pd.DataFrame(
        {
            "labels": [{"b": "2", "a": "1"}, {}, [("c", "3")]],
            "id": pd.array([r.id for r in ROWS], dtype="string"),
            "source": [r.source for r in ROWS],
            "corpus": "aihub",
            "split": pd.Categorical(["train"] * 3),
            "group": np.array(["g"] * 3),
            "kind": np.array(["speech"] * 3, dtype=object),
            "transcript": [None, float("nan"), "살려주세요"],
            "frames": [np.nan, 16_000.0, np.nan],
            "rate_hz": pd.array([None, 1, pd.NA], dtype="Int64"),
            "peak_dbfs": np.array([np.nan, np.nan, -3.5], dtype=np.float32),
        },
        index=[5, 5, 7],
    )
    made = frames.normalize(mine, Row)
    expected = [replace(ROWS[0]), replace(ROWS[1], rate_hz=1), replace(ROWS[2], labels={"c": "3"})]
    assert list(frames.rows(made, Row)) == expected
    assert frames.logical_hash(made) == frames.logical_hash(frame(*expected))


REFUSED = [
    ("frames", [1, 2.5, 3], "row 'aihub/Training/1', column \"frames\": found 2.5, expected a whole number or null"),
    ("frames", [1, 2, float("inf")], '/2\', column "frames": found inf, expected a whole number or null'),
    ("frames", ["1", "2", "3"], "/0', column \"frames\": found '1', expected a whole number or null"),
    ("frames", [1, "2", 3], "/1', column \"frames\": found '2', expected a whole number or null"),
    ("frames", [1, True, 3], '/1\', column "frames": found True, expected a whole number or null'),
    ("frames", [1, 2**63, 3], '/1\', column "frames": found 9223372036854775808, expected a whole number or null'),
    ("frames", np.array([1, 2**63, 3], np.uint64), '/1\', column "frames": found 9223372036854775808, expected'),
    ("peak_dbfs", [1.0, 2.0, "loud"], "/2', column \"peak_dbfs\": found 'loud', expected a number or null"),
    ("peak_dbfs", [1, 2**53 + 1, 3], '/1\', column "peak_dbfs": found 9007199254740993, expected a number or null'),
    ("keyword", ["a", None, 3], '/2\', column "keyword": found 3, expected text or null'),
    ("keyword", ["a", b"b", "c"], "/1', column \"keyword\": found b'b', expected text or null"),
    ("keyword", pd.to_datetime(["2020-01-01"] * 3), '/0\', column "keyword": found Timestamp'),
    ("split", ["train", None, "dev"], '/1\', column "split": found null, expected text'),
    ("split", ["train", float("nan"), "dev"], '/1\', column "split": found null, expected text'),
    ("labels", [{}, None, {}], '/1\', column "labels": found null, expected labels: a dict of text to text'),
    ("labels", [{}, {}, {"age": 3}], "/2', column \"labels\": found {'age': 3}, expected labels"),
    ("labels", [{}, [("a", "1"), ("a", "2")], {}], '/1\', column "labels": found'),
    ("labels", ["a", {}, {}], "/0', column \"labels\": found 'a', expected labels"),
    ("frame", [1, 2, 3], 'column "frame" is unknown: did you mean "frames"?'),
]


@pytest.mark.parametrize(("name", "cells", "message"), REFUSED)
def test_what_would_be_lost_is_refused_by_row_column_and_value(name: str, cells: Any, message: str) -> None:
    mine = frame(*ROWS)
    mine[name] = cells
    with pytest.raises(ManifestError) as caught:
        frames.normalize(mine, Row)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_columns_at_fault_are_named_at_once() -> None:
    mine = frame(*ROWS)
    mine["frames"], mine["keyword"] = 1.5, 3
    with pytest.raises(ManifestError) as caught:
        frames.normalize(mine, Row)
    assert str(caught.value).count("\n") == 1
    with pytest.raises(ManifestError, match=r'column "group" is missing\ncolumn "split" is missing|split.*\n.*group'):
        frames.normalize(mine.drop(columns=["group", "split"]), Row)


@pytest.mark.parametrize("at", [0, 1, 499, 500, 998, 999])
def test_the_first_row_at_fault_is_the_one_that_is_named(at: int) -> None:
    mine = frame(*[row(n) for n in range(1000)])
    mine["frames"] = [n if n < at else n + 0.5 for n in range(1000)]
    with pytest.raises(ManifestError, match=f"row 'aihub/Training/{at}', "):
        frames.normalize(mine, Row)
    with pytest.raises(ManifestError, match=rf"row {at}, column \"frames\""):
        frames.normalize(mine.assign(id=[None] * 1000), Row)


@LIMITS
@given(ANY_FRAME)
def test_a_valid_frame_stays_what_it_is(held: pd.DataFrame) -> None:
    assert frames.logical_hash(frames.normalize(held, Row)) == frames.logical_hash(held)


def test_pairs_that_are_out_of_order_are_sorted_wherever_the_chunks_end() -> None:
    pairs = [[{"key": "b", "value": "2"}, {"key": "a", "value": "1"}]]
    turned = pa.chunked_array([pa.array([[]], frames.LABELS), pa.array(pairs, frames.LABELS)])
    mine = frame(row(0), row(1)).assign(labels=pd.arrays.ArrowExtensionArray(turned))
    assert frames.logical_hash(frames.normalize(mine, Row)) == frames.logical_hash(
        frame(row(0), row(1, labels={"a": "1", "b": "2"}))
    )


def test_keys_may_fall_from_one_row_to_the_next() -> None:
    held = frame(row(0, labels={"b": "1"}), row(1, labels={"a": "1"}))
    assert (
        frames.values(frames.normalize(frames.concat([held, held], Row), Row)["labels"]) == [{"b": "1"}, {"a": "1"}] * 2
    )


# ---- NaN never gets in

NAN_ARROW = pd.Series(pd.arrays.ArrowExtensionArray(pa.chunked_array([[0.5, float("nan"), None]])))


@pytest.mark.parametrize(
    "made",
    [
        frames.from_rows([row(n, snr_db=snr) for n, snr in enumerate([0.5, float("nan"), None])], Row),
        frames.with_columns(frame(*ROWS), snr_db=np.array([0.5, np.nan, np.nan])),
        frames.with_columns(frame(*ROWS), snr_db=[0.5, float("nan"), None]),
        frames.with_columns(frame(*ROWS), snr_db=NAN_ARROW),
        frames.with_columns(frame(*ROWS).drop(columns=["snr_db"]), snr_db=NAN_ARROW),
        frames.normalize(frame(*ROWS).assign(snr_db=NAN_ARROW), Row),
        frames.normalize(frame(*ROWS).assign(snr_db=[0.5, np.nan, np.nan]), Row),
        frames.normalize(frame(*ROWS).assign(snr_db=[0.5, None, float("nan")]), Row),
    ],
)
def test_nan_becomes_null_at_every_door(made: pd.DataFrame) -> None:
    assert frames.values(made["snr_db"]) == [0.5, None, None]


def test_zero_by_zero_has_the_hash_of_null() -> None:
    held = frames.with_columns(frame(*ROWS), snr_db=0.0)
    share = held["snr_db"] / held["snr_db"]
    assert frames.logical_hash(frames.with_columns(held, snr_db=share)) == frames.logical_hash(frame(*ROWS))


# ---- identity


def test_the_hash_of_known_rows_is_the_one_it_always_was() -> None:
    """Manifests that are out there carry this hash; see `a_value` for the rows."""

    def a_value(n: int, kind: str) -> Any:
        if n % 3 == 1 and kind.endswith("| None"):
            return None
        labels = {"b": str(n), "a": "여성"} if n else {}
        return {"str": f"말{n}", "int": n - 1, "float": n / 4, "Mapping[str, str]": labels}[
            kind.removesuffix(" | None")
        ]

    places = list(enumerate(fields(Row)))[:50]
    rows = [Row(**{f.name: a_value(n + k if k % 2 else n, str(f.type)) for k, f in places}) for n in range(4)]
    assert frames.logical_hash(frame(*rows)) == "be5b828251297e5056e06fb7d6fea421"
    assert frames.logical_hash(frame()) == "1240a4684403b160e6597a653a88f56c"


def test_the_hash_counts_order() -> None:
    assert frames.logical_hash(frame(*ROWS)) != frames.logical_hash(frame(*ROWS[::-1]))


@LIMITS
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4))
def test_the_hash_ignores_chunks_and_slices(lengths: list[int]) -> None:
    numbers = range(sum(lengths))
    rows = [row(n, transcript=None if n % 2 else f"말{n}", labels={"n": str(n)}, frames=n) for n in numbers]
    whole = frames.to_arrow(frame(*rows))
    starts = np.cumsum([0, *lengths[:-1]])
    chunks = pa.concat_tables([whole.slice(start, length) for start, length in zip(starts, lengths, strict=True)])
    second = pa.concat_tables([whole, whole]).slice(len(whole), len(whole))
    hashes = {frames.logical_hash(frames.from_arrow(table)) for table in (whole, chunks, second)}
    assert len(hashes) == 1


def test_the_hash_ignores_the_width_of_text() -> None:
    """Other libraries and users' frames hold text as large strings."""
    wide = frame(*ROWS).astype({"transcript": pd.ArrowDtype(pa.large_string())})
    assert frames.logical_hash(wide) == frames.logical_hash(frame(*ROWS))


@LIMITS
@given(ANY_FRAME)
def test_the_hash_of_a_frame_is_the_one_of_its_file(
    tmp_path_factory: pytest.TempPathFactory, held: pd.DataFrame
) -> None:
    path = tmp_path_factory.mktemp("hash") / "rows.parquet"
    pq.write_table(frames.to_arrow(held), path, row_group_size=2)
    assert parquet.logical_hash_of_file(path) == frames.logical_hash(held)


def of_another(name: str) -> pd.DataFrame:
    """ROWS with another value in a column of the last."""
    kind = str(next(f.type for f in fields(Row) if f.name == name)).removesuffix(" | None")
    return frame(*ROWS[:2], replace(ROWS[2], **{name: VALUE[kind]}))


@pytest.mark.parametrize("name", [f.name for f in fields(Row) if f.name not in PLACES])
def test_the_hash_sees_a_change_of_any_column(name: str) -> None:
    assert frames.logical_hash(of_another(name)) != frames.logical_hash(frame(*ROWS))


@pytest.mark.parametrize("name", sorted(PLACES))
def test_the_hash_does_not_see_where_bytes_lie_and_what_follows_from_the_samples(name: str) -> None:
    assert frames.logical_hash(of_another(name)) == frames.logical_hash(frame(*ROWS))
    assert frames.logical_hash(frames.with_columns(frame(*ROWS), at_root="x")) == frames.logical_hash(frame(*ROWS))


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
def test_the_hash_tells_near_rows_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    mine, its = (frame(row(9, transcript="x"), row(**cells)) for cells in (one, other))
    assert frames.logical_hash(mine) != frames.logical_hash(its)


def test_the_hash_tells_rows_apart_by_where_a_string_ends() -> None:
    one, other = (frame(*[row(n, transcript=t) for n, t in enumerate(texts)]) for texts in (("ab", "c"), ("a", "bc")))
    assert frames.logical_hash(one) != frames.logical_hash(other)


def test_memory_of_frames_that_are_gone_goes_back_to_the_system() -> None:
    assert pa.default_memory_pool().backend_name == "system"
    frames.release()


# ---- conditions from a stranger's recipe

MANY = frames.with_columns(
    frames.from_arrow(pa.table({"id": pa.array([f"{n:06}" for n in range(140_000)])})), frames=np.arange(140_000)
)


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
        ("transcript = 'now()' OR frames BETWEEN 1 AND 20000", [1]),
        ("frames = (SELECT max(frames) FROM rows)", [1]),
        ("row_number() OVER (ORDER BY id DESC) = 1", [2]),
        ("frames / 16000 = 1 AND kind = 'speech' AND peak_dbfs IS NULL", [1]),
    ],
)
def test_a_condition_keeps_the_rows_that_meet_it(condition: str, kept: list[int]) -> None:
    assert np.flatnonzero(sql.where(frame(*ROWS), condition)).tolist() == kept


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ("frames % 7 = 3", np.arange(140_000) % 7 == 3),
        ("frames = (SELECT max(frames) FROM rows)", np.arange(140_000) == 139_999),
        ("id IN (FROM rows SELECT min(id))", np.arange(140_000) == 0),
        ("row_number() OVER (ORDER BY id) <= 70000", np.arange(140_000) < 70_000),
    ],
)
def test_a_condition_that_looks_at_other_rows_sees_all_of_them(condition: str, kept: np.ndarray[Any, Any]) -> None:
    assert np.array_equal(sql.where(MANY, condition), kept)


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
    "(SELECT count(*) FROM MANY) > 0",  # a Python variable
    "getenv('HOME') IS NOT NULL",
]


@pytest.mark.parametrize("condition", HOSTILE)
def test_a_condition_reaches_no_file_no_network_no_setting_and_no_variable(condition: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    with pytest.raises(RecipeError, match="where: "):
        sql.where(frame(*ROWS), condition.format(file=secret, folder=tmp_path))
    assert list(tmp_path.iterdir()) == [secret]


NO_CONDITION = [
    "",
    "frames >",
    "no_such_column = 1",
    "kind = speech",
    "id",
    "(SELECT id FROM rows)",
    "sum(frames) > 1",
    "unnest([true, false])",
    "1; DROP VIEW rows",
    "true) FROM rows WHERE (true",
]


@pytest.mark.parametrize("condition", NO_CONDITION)
def test_what_is_no_condition_is_refused_in_its_own_words(condition: str) -> None:
    with pytest.raises(RecipeError, match="where: ") as caught:
        sql.where(frame(*ROWS), condition)
    assert repr(condition) in str(caught.value)


def test_an_aggregate_over_a_single_row_is_no_condition_either() -> None:
    with pytest.raises(RecipeError, match="where: "):
        sql.where(frame(ROWS[1]), "sum(frames) > 1")


CHANGEABLE = [
    "random() < 0.5",
    '"random"() < 0.5',
    "e'\\'' <> random()::VARCHAR || ''",
    "now() > TIMESTAMP '2000-01-01'",
    "uuid() IS NOT NULL",
    "current_date > DATE '2000-01-01'",
    "age(TIMESTAMP '2000-01-01') IS NULL",
    "frames > (SELECT random())",
]


@pytest.mark.parametrize("condition", CHANGEABLE)
def test_a_condition_that_knows_chance_or_the_clock_is_refused(condition: str) -> None:
    with pytest.raises(RecipeError, match="changes from run to run"):
        sql.where(frame(*ROWS), condition)


def test_conditions_and_expressions_are_answered_in_the_order_of_the_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where DuckDB sees the rows in another order, as its threads give them now and then."""
    order, numbered = np.random.default_rng(0).permutation(5_000), sql.numbered
    monkeypatch.setattr(sql, "numbered", lambda table: numbered(table).take(pa.array(order)))
    held = frames.pick(MANY, np.arange(5_000))
    assert np.array_equal(sql.where(held, "frames % 7 = 3"), np.arange(5_000) % 7 == 3)
    assert frames.integers(sql.derive(held, twice="frames * 2")["twice"]).tolist() == list(range(0, 10_000, 2))


def test_a_statement_of_our_own_sees_the_rows() -> None:
    assert sql.query(frame(*ROWS), "SELECT split, count(*), max(frames) FROM rows GROUP BY 1") == [("train", 3, 16_000)]


def test_ctrl_c_in_a_query_is_ctrl_c() -> None:
    """As the command line knows it, and at once: DuckDB would wait for its threads until the query is done."""
    code = (
        "import os, signal, threading\n"
        "from pipeline.core import frame, sql\n"
        "from pipeline.core.row import Drop\n"
        "rows = frame.from_rows([Drop(str(n), 'a', 'b', 'c') for n in range(3000)], Drop)\n"
        "try:\n"
        "    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()\n"
        "    sql.query(rows, 'SELECT count(*) FROM rows a, rows b, rows c WHERE a.id || b.id < c.id')\n"
        "except KeyboardInterrupt:\n"
        "    print('stopped', signal.getsignal(signal.SIGINT) is signal.default_int_handler)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert (ran.stdout, ran.returncode) == ("stopped True\n", 0), ran.stderr
