"""Transcripts to keywords, never by the scenario's name."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest
from command import done, prep
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import RecipeError
from pipeline.corpora import lexicon
from pipeline.corpora.lexicon import SHIPPED, Lexicon, shipped

HELD = shipped()

SAVEME = [
    "살려주세요",
    "살려 주세요",
    "살려 주세요. ",
    "사람 살려",
    "살려줘",
    "살려줘요",
    "사람이 살려주세요",
    "살려주세요!!",
    "  살려주세요\t",
]
HELPME = [
    "도와줘",
    "도와줘요",
    "도와주세요",
    "도와 주세요",
    "빨리 도와 주세요",
    "누가 도와주세요",
    "누가 좀 도와 주세요 ",
    "제발 누가 좀 도와 주세요.",
]
OTHERS = [
    "물지마",
    "개조심해",
    "강아지조심해",
    "벌집조심해",
    "그만하세요",
    "때리지 마세요",
    "불이야",
    "119에 신고해 주세요",
    "구해주세요",
    "살려주세요 도와주세요",
]


@pytest.mark.parametrize("transcript", SAVEME)
def test_known_spellings_of_save_me(transcript: str) -> None:
    assert HELD.keyword(transcript) == "saveme"


@pytest.mark.parametrize("transcript", HELPME)
def test_known_spellings_of_help_me(transcript: str) -> None:
    assert HELD.keyword(transcript) == "helpme"


@pytest.mark.parametrize("transcript", OTHERS)
def test_other_transcripts_are_others_also_in_calls_for_help(transcript: str) -> None:
    assert HELD.keyword(transcript) == "others"


@pytest.mark.parametrize("transcript", [None, "", "  ", "...", "_", "\u3000"])
def test_nothing_said_has_no_keyword(transcript: str | None) -> None:
    assert HELD.keyword(transcript) is None


@pytest.mark.parametrize("transcript", [*SAVEME, *HELPME, *OTHERS])
def test_decomposed_letters_are_the_same_letters(transcript: str) -> None:
    assert HELD.keyword(normalize("NFD", transcript)) == HELD.keyword(transcript)


@given(st.text())
def test_normalising_twice_is_normalising_once(text: str) -> None:
    assert lexicon.normalised(lexicon.normalised(text)) == lexicon.normalised(text)


@given(st.sampled_from([" ", ".", "!", ",", "…", "~", "-", "\n", "'", "?"]), st.integers(0, 5))
def test_space_and_punctuation_anywhere_change_nothing(mark: str, at: int) -> None:
    assert HELD.keyword("살려주세요"[:at] + mark + "살려주세요"[at:]) == "saveme"


def test_a_new_keyword_needs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('other = "rest"\n[keywords]\nfire = ["불이야", "불 이야!"]\n', encoding="utf-8")
    held = lexicon.read(path)
    assert held == Lexicon({"불이야": "fire"}, "rest")
    assert held.keywords == ["fire", "rest"]
    assert [held.keyword(text) for text in ("불이야!", "살려주세요")] == ["fire", "rest"]


def test_the_shipped_keywords_are_the_three() -> None:
    assert HELD.keywords == ["helpme", "saveme", "others"]
    assert (SHIPPED / "lexicon.toml").is_file()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("other = ", "not TOML"),
        ('other = "others"', "[keywords]"),
        ('[keywords]\nsaveme = ["살려줘"]', 'other = "others"'),
        ('other = "others"\n[keywords]\nsaveme = "살려줘"', "saveme: expected a list of spellings, found '살려줘'"),
        ('other = "others"\n[keywords]\nsaveme = ["..."]', "expected a list of spellings"),
        ('other = "others"\n[keywords]\nsaveme = [1]', "expected a list of spellings, found [1]"),
        ('other = "others"\n[keywords]\na = ["살려줘"]\nb = ["살려 줘"]', '"살려 줘" stands under both a and b'),
    ],
)
def test_a_faulty_lexicon_is_refused_with_what_is_wrong(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        lexicon.read(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_every_fault_of_a_lexicon_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text('other = "others"\n[keywords]\na = 1\nb = []\nc = [2]\n', encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        lexicon.read(path)
    assert len(caught.value.faults) >= 2


def test_a_lexicon_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"nowhere\.toml: no such lexicon"):
        lexicon.read(tmp_path / "nowhere.toml")


def test_the_command_says_label_decision_and_what_decided(tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("도와줘서 고마워\n\n안녕하세요\n", encoding="utf-8")
    answer = done(tmp_path, "lexicon", "살려주세요 도와주세요", "", "--file", "more.txt", "--json").json()
    both = [{"keyword": "saveme", "phrase": "살려주세요"}, {"keyword": "helpme", "phrase": "도와주세요"}]
    columns = ("text", "label", "decision", "phrase", "calls")
    assert [tuple(each[name] for name in columns) for each in answer] == [
        ("살려주세요 도와주세요", "others", "saveme", "살려주세요", both),
        ("", None, None, None, []),
        ("도와줘서 고마워", "others", "others", "guard ending: 도와줘", []),
        ("안녕하세요", "others", "others", None, []),
    ]
    table = done(tmp_path, "lexicon", "살려주세요 도와주세요").out
    assert "saveme: 살려주세요; helpme: 도와주세요" in table


FIRE = 'other = "rest"\n[keywords]\nfire = ["불이야"]\n[phrases.fire]\nphrases = ["불이야"]\ncalls = ["저기 EXAMPLE"]\n'


def test_the_command_and_check_execute_the_examples_of_a_lexicon(tmp_path: Path) -> None:
    recipe = 'lexicon = "mine.toml"\n[ingest]\ncorpora = ["aihub"]\n'
    (tmp_path / "recipe.toml").write_text(recipe, encoding="utf-8")
    for example, code in (("불이야", 0), ("불", 1)):
        (tmp_path / "mine.toml").write_text(FIRE.replace("EXAMPLE", example), encoding="utf-8")
        for words in (("lexicon", "--lexicon", "mine.toml"), ("check", "recipe.toml")):
            ended = prep(tmp_path, *words)
            assert ended.code == code, ended.err
            assert ('"저기 불": expected a call of fire, found rest' in ended.err) == bool(code)
            assert prep(tmp_path, *words, "--json").json()["faults"] != [] or not code


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "korean.txt").write_bytes("살려주세요".encode("cp949"))
    for name in ("nowhere.txt", "korean.txt"):
        ended = prep(tmp_path, "lexicon", "--file", name)
        assert ended.code == 1
        assert f"{name}: cannot be read as UTF-8 text" in ended.err
    assert "leave out TEXT" in prep(tmp_path, "lexicon", "text", "--near", "a.parquet").err


CALLS = 'other = "others"\n[keywords]\nsaveme = ["살려주세요"]\n[phrases.saveme]\nphrases = ["<a0>"]\n[spotting.sets]\n'


@pytest.mark.parametrize(
    "sets",
    [
        "".join(f'a{n} = ["{f"<a{n + 1}>" * 10}"]\n' for n in range(12)) + 'a12 = ["가"]\n',  # a billion laughs
        "".join(f'a{n} = ["<a{n + 1}>"]\n' for n in range(3000)) + 'a3000 = ["가"]\n',
        'a0 = ["<a1>"]\na1 = ["<a0>"]\n',
    ],
)
def test_sets_that_grow_without_bound_are_refused(sets: str, tmp_path: Path) -> None:
    (tmp_path / "l.toml").write_text(CALLS + sets, encoding="utf-8")
    ended = prep(tmp_path, "lexicon", "--lexicon", "l.toml", "가")
    assert ended.code == 1
    assert "[spotting.sets] a0" in ended.err


def test_brackets_deeper_than_an_expression_may_be_are_refused(tmp_path: Path) -> None:
    text = CALLS.replace("<a0>", "(" * 3000 + "가" + ")" * 3000)
    (tmp_path / "l.toml").write_text(text, encoding="utf-8")
    assert "its brackets do not match, or are too deep" in prep(tmp_path, "lexicon", "--lexicon", "l.toml", "가").err
