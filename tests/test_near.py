"""Sentences near a call: by sound, without the calls themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpora.lexicon import shipped
from pipeline.corpora.near import best_distance, near, sounds


def slow_distance(pattern: str, text: str) -> int:
    """The same by the table of Sellers (1980)."""
    row = list(range(len(pattern) + 1))
    best = row[-1]
    for letter in text:
        diagonal, row[0] = row[0], 0
        for place, other in enumerate(pattern, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (letter != other))
        best = min(best, row[-1])
    return best


@given(st.text("abc", min_size=1, max_size=12), st.text("abcd", max_size=30))
def test_the_distance_is_that_of_the_whole_table(pattern: str, text: str) -> None:
    assert best_distance(pattern, text) == slow_distance(pattern, text)


@pytest.mark.parametrize(("one", "other"), [("주새요", "쭈세요"), ("살려", "쌀려"), ("문이", "무니"), ("외", "왜")])
def test_what_sounds_alike_is_alike(one: str, other: str) -> None:
    assert sounds(one) == sounds(other) != sounds("살려")[:-1]


def test_sentences_near_a_call_come_without_the_calls_nearest_first() -> None:
    transcripts = ["살려고 그래", "도와주지 마", "살려주세요", "저기요 도와주세요", "오늘 날씨가 좋네요", None, "..."]
    answer = near([*transcripts, "살려고 그래"], shipped())
    assert [(each.text, each.label, each.rows) for each in answer] == [
        ("도와주지 마", "others", 1),
        ("살려고 그래", "others", 2),
    ]
    assert answer[0].distance <= answer[1].distance <= 0.34


def test_a_sentence_that_a_guard_spoke_against_is_near_with_the_guard() -> None:
    (answer,) = near(["분위기를 살려 주세요"], shipped())
    assert (answer.distance, answer.guard, answer.near) == (0.0, "object", "살려주세요")
