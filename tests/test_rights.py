"""What may be passed on of a set: the licences of its sources decide, row by row."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from pipeline.core import frame
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
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


def table(*rows: Row) -> pd.DataFrame:
    return frame.from_rows(rows, Row)


def test_a_mixture_counts_for_its_speech_and_for_its_noise() -> None:
    assert {t.corpus: t.rows for t in rights.terms(table(SPEECH, NOISE, MIXED))} == {"aihub": 2, "cochlscene": 2}


def test_audio_is_shareable_where_speech_and_noise_are() -> None:
    assert rights.shareable_audio(table(SPEECH, NOISE, MIXED)).tolist() == [False, True, False]


def test_what_a_licence_forbids_is_taken_out_and_told() -> None:
    held, left = rights.redacted(table(SPEECH, NOISE, MIXED, OWN), rights.SAID)
    rows = {row.id: row for row in frame.rows(held, Row)}
    assert (rows["aihub/a"].transcript, rows["aihub/a"].scenario, rows["aihub/a"].labels) == (None, None, {})
    assert rows["aihub/a"].keyword == "saveme"
    assert rows["cochlscene/n"] == NOISE
    assert rows["aihub/m"].scene == "Bus"  # the noise's licence lets it be told
    assert rows["recordings/r"].scene is None
    told = {(item.corpus, item.column): item.rows for item in left}
    expected = {("aihub", "transcript"): 2, ("aihub", "scenario"): 2, ("aihub", "labels"): 1}
    expected |= {("aihub", "group"): 2, ("recordings", "group"): 1}
    assert told == expected | {("recordings", "transcript"): 1, ("recordings", "scene"): 1}
    assert rows["aihub/a"].group == rows["aihub/m"].group != "g"
    assert all("NIA" in item.why for item in left if item.corpus == "aihub")


def test_a_corpus_without_an_adapter_here_has_an_unknown_licence_and_nothing_of_it_may_be_passed_on() -> None:
    stranger = replace(OWN, id="elsewhere/r", corpus="elsewhere", source="@elsewhere/r")
    (terms,) = rights.terms(table(stranger))
    assert not any(terms.may_share(kind) for kind in rights.KINDS)
    assert "no adapter of it, so nothing of it may be passed on; --corpus FILE loads an adapter" in terms.refusal(
        "audio"
    )
    assert rights.shareable_audio(table(stranger, NOISE)).tolist() == [False, True]
    columns = ["transcript", "scene", "group", "id", "source"]
    assert [item.column for item in rights.redacted(table(stranger))[1]] == columns
    assert "The audio of all 1 row may not be passed on, for it holds elsewhere." in rights.sentences(table(stranger))
    with pytest.raises(PrepError, match='unknown corpus "elsewhere"'):
        rights.refuse("audio", "elsewhere")


def test_nothing_is_taken_out_of_a_public_set() -> None:
    held, left = rights.redacted(table(NOISE))
    assert (list(frame.rows(held, Row)), left) == ([NOISE], [])


def test_passing_on_what_is_forbidden_is_refused_with_the_licence() -> None:
    rights.refuse("audio", "cochlscene")
    with pytest.raises(PrepError, match=r"transcripts of aihub may not be passed on. NIA terms of use"):
        rights.refuse("transcripts", "aihub")
    with pytest.raises(PrepError, match='did you mean "transcripts"'):
        rights.refuse("transcript", "aihub")
