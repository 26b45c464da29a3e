"""Rows that are joined when they are needed are those that a frame would hold: values, order, hash, bytes of a
manifest."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.joined import Joined, Stacked
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row

SPEECH = [Row(f"s{n}", "aihub", "train", f"g{n}", "speech", f"@aihub/{n}", labels={"n": str(n)}) for n in range(5)]
POSITIONS = st.lists(st.integers(0, 4), max_size=12).map(lambda at: np.array(at, dtype=np.int64))


def mixtures(at: np.ndarray, prefix: str = "m") -> tuple[Joined, list[Row]]:
    """Rows of speech at these positions with ids and an SNR of their own, joined and by hand."""
    by_hand = [replace(SPEECH[n], id=f"{prefix}{k}", speech_id=f"s{n}", snr_db=float(k)) for k, n in enumerate(at)]
    own = frames.from_rows(by_hand, Row)[["id", "snr_db"]]
    speech = frames.from_rows(SPEECH, Row)
    return Joined((frames.with_columns(speech, speech_id=speech["id"]), at), (own, None)), by_hand


@settings(deadline=None, max_examples=40)
@given(POSITIONS, st.data())
def test_joined_rows_are_those_of_their_parts_and_the_later_column_counts(at: np.ndarray, data: st.DataObject) -> None:
    joined, by_hand = mixtures(at)
    assert list(frames.rows(joined.table(), Row)) == by_hand
    where = np.array(data.draw(st.lists(st.integers(0, len(at) - 1), max_size=8)) if len(at) else [], dtype=np.int64)
    assert list(frames.rows(joined.table(where), Row)) == [by_hand[n] for n in where]
    assert list(frames.rows(joined.pick(where).table(), Row)) == [by_hand[n] for n in where]
    by_source = sorted(by_hand, key=lambda row: (row.source, row.id))
    assert list(frames.rows(joined.ordered(("source", "id")).table(), Row)) == by_source


@settings(deadline=None, max_examples=40)
@given(POSITIONS, POSITIONS, st.booleans())
def test_stacked_rows_have_one_order_and_the_hash_of_their_frame(one: np.ndarray, other: np.ndarray, odd: bool) -> None:
    (first, rows), (second, more) = mixtures(one), mixtures(other, "x")
    stacked = Stacked(Row, [first]).followed_by(second)
    expected = rows + more
    if odd:
        stacked, expected = stacked.pick(np.arange(len(stacked)) % 2 == 1), expected[1::2]
    assert len(stacked) == len(expected)
    assert list(frames.rows(stacked.frame, Row)) == expected
    ordered = stacked.ordered()
    expected = sorted(expected, key=lambda row: (row.source, row.id))
    assert [row for batch in ordered.batches(3) for row in frames.rows(batch, Row)] == expected
    assert ordered.logical_hash() == frames.logical_hash(frames.from_rows(expected, Row))


@pytest.mark.parametrize("count", [0, 1, 70_000])
def test_a_manifest_of_joined_rows_has_the_bytes_of_one_of_a_frame(count: int, tmp_path: Path) -> None:
    at = np.random.default_rng(0).integers(0, 5, count)
    joined, by_hand = mixtures(at)
    drops, made = frames.from_rows([], Drop), Provenance("mix", {}, 0)
    one = manifest.write(tmp_path / "one.parquet", Stacked(Row, [joined]), drops, made)
    other = manifest.write(tmp_path / "other.parquet", frames.from_rows(by_hand, Row), drops, made)
    assert one == other
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "other.parquet").read_bytes()


def test_a_part_that_is_sent_takes_no_more_with_it() -> None:
    """A slice of an Arrow table is pickled with all of the table that it is of."""
    joined, _ = mixtures(np.arange(100_000) % 5)
    part = joined.table(np.arange(1000), copy=True)
    assert len(pickle.dumps(part)) < 200_000
    assert list(frames.rows(part, Row)) == list(frames.rows(joined.table(np.arange(1000)), Row))
