"""The one check of what is in two splits."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.frame import from_rows
from pipeline.core.row import Row
from pipeline.stages.splits import in_two_splits

ROW = Row("id", "aihub", "train", "g", "speech", "@aihub/x")
VALUES = st.lists(
    st.tuples(st.sampled_from("ab"), st.sampled_from(["train", "dev", "test"]), st.sampled_from(["x", "y", None]))
)


@given(VALUES)
def test_a_value_is_in_two_splits_where_two_rows_of_it_say_so_and_null_never(cells: list[tuple[str, str, str]]) -> None:
    frame = from_rows([replace(ROW, corpus=c, split=s, pcm_hash=value) for c, s, value in cells], Row)
    expected = [value is not None and any(v == value and s != split for _, s, v in cells) for _, split, value in cells]
    assert in_two_splits(frame, "pcm_hash").tolist() == expected


@given(VALUES)
def test_a_group_counts_within_its_corpus(cells: list[tuple[str, str, str]]) -> None:
    frame = from_rows([replace(ROW, corpus=c, split=s, group=str(group)) for c, s, group in cells], Row)
    expected = [any((c, g) == (corpus, group) and s != split for c, s, g in cells) for corpus, split, group in cells]
    assert in_two_splits(frame, "group").tolist() == expected
