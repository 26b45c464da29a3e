"""What may be passed on of a set: the licences of its sources decide, row by row."""

from __future__ import annotations

import pytest

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.corpora import rights

SPEECH = Row(
    "aihub/a", "aihub", "train", "g", "speech", "@aihub/a", "살려주세요", "saveme", "도움요청", labels={"gender": "여"}
)
NOISE = Row("cochlscene/n", "cochlscene", "train", "u", "noise", "@cochlscene/n", scene="Bus", labels={"user": "u"})
MIXED = Row(
    "aihub/m",
    "aihub",
    "train",
    "g",
    "mixture",
    "@aihub/a",
    "살려주세요",
    "saveme",
    "도움요청",
    "Bus",
    noise_source="@cochlscene/n",
)
OWN = Row("recordings/r", "recordings", "test", "s", "speech", "@recordings/r", "안녕", None, None, "kitchen")


def table(*rows: Row) -> Table:
    return Table.of(list(rows), Row)


def test_a_mixture_counts_for_its_speech_and_for_its_noise() -> None:
    assert {t.corpus: t.rows for t in rights.terms(table(SPEECH, NOISE, MIXED))} == {"aihub": 2, "cochlscene": 2}


def test_audio_is_shareable_where_speech_and_noise_are() -> None:
    assert rights.shareable_audio(table(SPEECH, NOISE, MIXED)).tolist() == [False, True, False]


def test_what_a_licence_forbids_is_taken_out_and_told() -> None:
    held, left = rights.redacted(table(SPEECH, NOISE, MIXED, OWN))
    rows = {row.id: row for row in held.rows(Row)}
    assert (rows["aihub/a"].transcript, rows["aihub/a"].scenario, rows["aihub/a"].labels) == (None, None, {})
    assert rows["aihub/a"].keyword == "saveme"
    assert rows["cochlscene/n"] == NOISE
    assert rows["aihub/m"].scene == "Bus"  # the noise's licence lets it be told
    assert rows["recordings/r"].scene is None
    told = {(item.corpus, item.column): item.rows for item in left}
    expected = {("aihub", "transcript"): 2, ("aihub", "scenario"): 2, ("aihub", "labels"): 1}
    assert told == expected | {("recordings", "transcript"): 1, ("recordings", "scene"): 1}
    assert all("NIA" in item.why for item in left if item.corpus == "aihub")


def test_nothing_is_taken_out_of_a_public_set() -> None:
    held, left = rights.redacted(table(NOISE))
    assert (list(held.rows(Row)), left) == ([NOISE], [])


def test_passing_on_what_is_forbidden_is_refused_with_the_licence() -> None:
    rights.refuse("audio", "cochlscene")
    with pytest.raises(PrepError, match=r"transcripts of aihub may not be passed on. NIA terms of use"):
        rights.refuse("transcripts", "aihub")
    with pytest.raises(PrepError, match='did you mean "transcripts"'):
        rights.refuse("transcript", "aihub")
