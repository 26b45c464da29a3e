"""prep paper-counts: published counts leave 26 choices; a whole corpus decides by its own; a small set says that it
cannot."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pandas as pd
import pytest
from command import done, prep, rows
from conftest import Built

from pipeline.cli.machine import example
from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon
from pipeline.corpora.aihub import CLASSES
from pipeline.stages.filter import PAPER_SCENARIOS

# Classes 1 to 16 as the public listings of Validation have them, typed again; 12 and 13 are not in them.
VALIDATION = [757, 3383, 2012, 4538, 5603, 1354, 9620, 8600, 5289, 1020, 3485, None, None, 1059, 2865, 1132]
WORDS = lexicon.shipped()
counts = example("paper_counts")


def speech(scenarios: list[str], splits: list[str], transcripts: list[str]) -> pd.DataFrame:
    """Rows of AI-Hub with the columns that are counted."""
    ids = [f"aihub/{n}" for n in range(len(scenarios))]
    columns = {"id": ids, "split": splits, "scenario": scenarios, "transcript": transcripts}
    return pd.DataFrame({**columns, "corpus": "aihub", "speech_id": None})


ONE = speech(["도움요청"], ["train"], ["살려주세요"])


def whole(six: tuple[str, ...], train: int, test: int) -> pd.DataFrame:
    """A corpus of the published size: the six classes hold so many clips, saveme and helpme are those of the paper, all
    in the six."""
    names, splits, texts = [], [], []
    for split, in_six, in_all in (("train", train, 441_519), ("test", test, 55_000)):
        for number in range(in_all):
            names.append(six[number % 6] if number < in_six else [n for n in CLASSES if n not in six][number % 10])
            splits.append(split)
            most = counts.KEYWORDS[f"saveme {split}"], counts.KEYWORDS[f"helpme {split}"]
            texts.append("살려줘" if number < most[0] else "도와줘" if number < sum(most) else "불이야")
    return speech(names, splits, texts)


def test_published_counts_leave_26_choices() -> None:
    """All six-sets with the class of calls for help and without ordinary sounds, counted by hand over the known
    classes."""
    known = dict(zip(CLASSES, VALIDATION, strict=True))
    free = [name for name, count in known.items() if count is not None and name not in ("도움요청", "실내", "실외")]
    by_hand = {
        frozenset((*some, "도움요청")): total
        for some in combinations(free, 5)
        if 17_500 <= (total := sum(known[name] or 0 for name in (*some, "도움요청"))) <= 18_500
    }
    found = counts.counts(ONE, WORDS, PAPER_SCENARIOS)
    assert {frozenset(choice["classes"]): choice["test"] for choice in found["fits"]} == by_hand
    assert len(found["fits"]) == 26
    assert (found["recipe_fits"], [c["test"] for c in found["fits"] if c["recipe"]]) == (True, [17_949])
    assert all(choice["train"] is None and choice["misfit"] is None for choice in found["fits"])


def test_choices_with_the_two_classes_nobody_counted_cannot_be_ruled_out() -> None:
    """The paper's 55 K less the 50,717 published leave 4,283, give or take 500, to 태풍-강풍 and 지진 together."""
    known = dict(zip(CLASSES, VALIDATION, strict=True))
    free = [name for name, count in known.items() if count is not None and name not in ("도움요청", "실내", "실외")]

    def possible(some: tuple[str, ...], low: int, high: int) -> bool:
        held = sum(known[name] or 0 for name in some) + 1_059
        return held + low <= 18_500 and held + high >= 17_500

    one = sum(possible(some, 0, 4_783) for some in combinations(free, 4))
    both = sum(possible(some, 3_783, 4_783) for some in combinations(free, 3))
    assert counts.counts(ONE, WORDS, PAPER_SCENARIOS)["unknown"] == 2 * one + both


def test_a_small_set_says_that_its_own_counts_decide_nothing(built: Built) -> None:
    told = done(built.folder, "paper-counts", built.path("aihub"))
    assert "neither its own counts nor its keywords can decide" in told.out
    assert "26 choices fit" in told.out
    assert "one of those that fit" in told.out


def test_clips_and_keywords_are_counted_by_class(built: Built) -> None:
    told = done(built.folder, "paper-counts", built.path("aihub"), "--json").json()
    listed = list(rows(built.folder, "aihub").values())
    for found in told["classes"]:
        own = [row for row in listed if row.scenario == found["name"]]
        assert (found["train"], found["test"]) == tuple(
            sum(row.split == split for row in own) for split in ("train", "test")
        )
        said = sum(WORDS.keyword(row.transcript) == "helpme" and row.split == "train" for row in own)
        assert found["keywords"].get("helpme train", 0) == said


def test_a_clip_in_several_mixtures_counts_once(built: Built) -> None:
    told = done(built.folder, "paper-counts", built.path("mixed"), "--json").json()
    assert told["train"] + told["test"] == len(
        [row for row in rows(built.folder, "filtered").values() if row.corpus == "aihub"]
    )


@pytest.fixture(scope="module")
def a_whole_corpus() -> dict[str, Any]:
    six = ("강도범죄", "절도범죄", "폭력범죄", "화재", "갇힘", "도움요청")
    return counts.counts(whole(six, 186_000, 18_000), WORDS, six)


def test_a_whole_corpus_finds_the_six_that_were_planted(a_whole_corpus: dict[str, Any]) -> None:
    assert a_whole_corpus["own"]
    assert a_whole_corpus["fits"][0] == {
        "classes": ["강도범죄", "절도범죄", "폭력범죄", "화재", "갇힘", "도움요청"],
        "train": 186_000,
        "test": 18_000,
        "misfit": 0.0,
        "recipe": True,
    }
    assert all(abs(c["train"] - 186_000) <= 500 and abs(c["test"] - 18_000) <= 500 for c in a_whole_corpus["fits"])
    assert a_whole_corpus["unknown"] == 0
    assert "its own counts decide" in a_whole_corpus["sentences"][0]


def test_where_none_fits_the_nearest_are_listed() -> None:
    six = ("강도범죄", "절도범죄", "폭력범죄", "화재", "갇힘", "도움요청")
    found = counts.counts(whole(six, 190_000, 18_000), WORDS, PAPER_SCENARIOS)
    assert (found["fits"], found["recipe_fits"], found["nearest"][0]["classes"]) == ([], False, list(six))
    assert any("none fits; nearest" in str(line) for line in counts.lines(found))


def test_a_recipe_of_other_classes_is_told() -> None:
    found = counts.counts(ONE, WORDS, ("도움요청", "화재"))
    assert "The recipe keeps 2 classes, not six" in found["sentences"][-1]
    other = counts.counts(ONE, WORDS, ("도움요청", *CLASSES[:5]))
    assert "none of those that fit" in other["sentences"][-1]


def test_sets_without_ai_hub_and_packs_are_refused(built: Built, tmp_path: object) -> None:
    with pytest.raises(PrepError, match="prep ingest aihub"):
        counts.counts(ONE.iloc[:0], WORDS, PAPER_SCENARIOS)
    ended = prep(built.folder, "paper-counts", built.path("cochlscene"))
    assert (ended.code, "prep ingest aihub" in ended.err) == (1, True)
    assert 'did you mean "paper"' in prep(built.folder, "paper-counts", built.path("aihub"), "--recipe", "papr").err
