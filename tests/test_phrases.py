"""Calls among words: phrases, guards, the lists of sentences, the lexicons of other languages, faults of a file."""

from __future__ import annotations

from pathlib import Path
from unicodedata import normalize

import pytest

from pipeline.core.errors import RecipeError
from pipeline.core.presets import SHIPPED
from pipeline.corpora import lexicon
from pipeline.corpora.lexicon import Lexicon, normalised, shipped

DATA = Path(__file__).parent / "data"
LEXICON = shipped()
FILES = sorted(SHIPPED.glob("lexicon*.toml"))


def sentences(part: str) -> list[tuple[str, str]]:
    """(keyword, sentence) of one of the two lists."""
    lines = (DATA / f"spoken-{part}.tsv").read_text(encoding="utf-8").splitlines()
    return [(keyword, text) for keyword, text in (line.split("\t") for line in lines if not line.startswith("#"))]


def read(folder: Path, text: str) -> Lexicon:
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return lexicon.read(folder / "mine.toml")


@pytest.mark.parametrize("part", ["rules", "unseen"])
def test_calls_are_recognised_among_words_and_other_sentences_are_not(part: str) -> None:
    decisions = [(keyword, LEXICON.decision(text)) for keyword, text in sentences(part)]
    calls = [(keyword, decision) for keyword, decision in decisions if keyword != "others"]
    others = [decision for keyword, decision in decisions if keyword == "others"]
    recognised = [(keyword, decision) for keyword, decision in calls if decision.calls]
    right = [keyword for keyword, decision in recognised if decision.keyword == keyword]
    assert min(len(calls), len(others)) >= 90
    assert len(recognised) >= 0.97 * len(calls)
    assert len(right) >= 0.99 * len(recognised)
    assert sum(bool(decision.calls) for decision in others) <= 0.03 * len(others)


def test_no_sentence_that_rules_were_chosen_by_is_in_the_unseen_list() -> None:
    known = {normalised(text) for _, text in sentences("rules")} | set(LEXICON.spellings)
    known |= {normalised(example.text) for example in LEXICON.spotter.examples} if LEXICON.spotter else set()
    assert not known & {normalised(text) for _, text in sentences("unseen")}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_examples_of_a_shipped_lexicon_hold(path: Path) -> None:
    shipped_lexicon = lexicon.read(path)
    assert shipped_lexicon.spotter is not None
    assert {(each.keyword, each.is_call) for each in shipped_lexicon.spotter.examples} == {
        (keyword, is_call) for keyword in shipped_lexicon.keywords[:-1] for is_call in (True, False)
    }
    assert shipped_lexicon.example_faults() == []


@pytest.mark.parametrize(
    "text",
    [
        normalize("NFD", "저기요, 살려 주세요!"),
        "저기요살려주세요사람이있어요",
        "저기요... 살려... 주세요...",
        "살려주세요오오오 제발",
        "살려~~ 주세요ㅠㅠ",
        "\u201c살려줘어어\u201d 아저씨",
    ],
)
def test_spelling_spaces_and_punctuation_hide_no_call(text: str) -> None:
    assert LEXICON.decision(text).keyword == "saveme"


@pytest.mark.parametrize(
    ("text", "guard"),
    [
        ("도와줘서 고마워", "ending"),
        ("살려주세요라고 했대", "quotation"),
        ("영화에서 살려주세요 하고", "quotation"),
        ("왜 안 도와줘", "negation"),
        ("분위기를 살려 주세요", "object"),
        ("되살려 주세요", "again"),
        ("이 옷 주름 좀 살려 줘", "object"),
        ("숙제 도와줘", "work"),
        ("다음에 또 와 주세요", "later"),
        ("불우 아동 도와주세요", "charity"),
        ("엄마가 도와줘요", "statement"),
    ],
)
def test_a_guard_says_what_a_phrase_is_instead(text: str, guard: str) -> None:
    decision = LEXICON.decision(text)
    assert (decision.keyword, decision.guard) == ("others", guard)
    assert decision.phrase


@pytest.mark.parametrize("text", ["살려줄까", "도와드릴까요", "제가 도와드릴게요", "도와준 사람", "오늘 날씨가 좋네요"])
def test_a_sentence_without_a_phrase_needs_no_guard(text: str) -> None:
    decision = LEXICON.decision(text)
    assert (decision.keyword, decision.phrase, decision.guard) == ("others", None, None)


def test_a_guard_speaks_against_its_own_phrase_only() -> None:
    decision = LEXICON.decision("아까 도와줘서 고마웠어요. 그런데 살려주세요!")
    assert [(call.keyword, call.phrase) for call in decision.calls] == [("saveme", "살려주세요")]


def test_of_two_calls_both_are_known_and_the_first_decides() -> None:
    for text, expected in (("살려주세요 도와주세요", "saveme"), ("도와줘 도와줘, 사람 살려!", "helpme")):
        decision = LEXICON.decision(text)
        assert decision.keyword == expected
        assert {call.keyword for call in decision.calls} == {"saveme", "helpme"}
        assert LEXICON.keyword(text) == "others"


def test_whatever_is_labelled_a_call_is_decided_a_call() -> None:
    for spelling, keyword in LEXICON.spellings.items():
        assert LEXICON.decision(spelling).keyword == keyword


@pytest.mark.parametrize("text", [None, "", " ... "])
def test_where_nothing_is_spoken_nothing_is_decided(text: str | None) -> None:
    assert LEXICON.decision(text) == lexicon.Decision(None)


def test_phrases_are_no_part_of_the_identity_of_labels() -> None:
    bare = Lexicon(LEXICON.spellings, LEXICON.other)
    assert lexicon.identity(bare) == lexicon.identity(LEXICON) == "e3c1ab8d37ef7d69aab6f57f1e815660"
    assert lexicon.identity_of_phrases(bare) is None
    assert lexicon.identity_of_phrases(LEXICON) is not None


def test_a_lexicon_without_phrases_decides_as_it_labels(tmp_path: Path) -> None:
    mine = read(tmp_path, 'other = "rest"\n[keywords]\nfire = ["불이야"]\n')
    assert [mine.decision(text).keyword for text in ("불이야!", "저기 불이야")] == ["fire", "rest"]


WHOLE = """
other = "others"
[keywords]
fire = ["불이야"]
[spotting.sets]
cry = ["야", "났어"]
[spotting.guards]
story = ["영화 * ~", "!영화관 * ~"]
[phrases.fire]
phrases = ["불 [이] <cry>"]
calls = ["저기 불이 났어"]
others = ["영화에서 불났어"]
"""


def test_a_new_keyword_is_a_few_lines(tmp_path: Path) -> None:
    mine = read(tmp_path, WHOLE)
    assert mine.example_faults() == []
    texts = ("엄마 불났어", "불이야 불이야", "영화 보는데 불났어", "영화관 문 앞에 불났어", "불고기")
    assert [mine.decision(text).keyword for text in texts] == ["fire", "fire", "others", "fire", "others"]


def test_an_example_that_does_not_hold_is_named(tmp_path: Path) -> None:
    changed = WHOLE.replace("저기 불이 났어", "영화 속 불났어").replace("영화에서 불났어", "저기 불났어")
    assert read(tmp_path, changed).example_faults() == [
        '"영화 속 불났어": expected a call of fire, found others (guard story, of "불났어")',
        '"저기 불났어": expected no call of fire, found fire ("불났어")',
    ]


@pytest.mark.parametrize(
    ("line", "other", "message"),
    [
        (
            "<cry>",
            "<crry>",
            '[phrases.fire] phrases "불 [이] <crry>": <crry> is no set of [spotting.sets]: did you mean',
        ),
        ("불 [이]", "불 [이", "its brackets do not match"),
        ('"났어"', '"났(어"', '[spotting.sets] cry "났(어": its brackets do not match'),
        ('"영화 * ~"', '"영화 {2} ~"', '"{" has no meaning in a pattern'),
        (
            "[phrases.fire]",
            "[phrases.fier]",
            "[phrases.fier]: no keyword of the table [keywords]: did you mean",
        ),
        ("phrases = [", "phrase = [", "[phrases.fire]: expected `phrases = "),
        ("calls = [", "call = [", '[phrases.fire] unknown key "call": did you mean "calls"?'),
        (
            'calls = ["저기 불이 났어"]',
            "calls = 3",
            "calls: expected a list of texts in quotes, found 3",
        ),
        ("[spotting.guards]", "[spotting.guard]", '[spotting] unknown key "guard": did you mean "guards"?'),
        (
            "[spotting.sets]",
            '[spotting]\nwords = "apart"\n[spotting.sets]',
            "or \"spaced\", found 'apart'",
        ),
        (
            "[spotting.sets]",
            "[spotting]\nignore = 3\n[spotting.sets]",
            "expected letters to leave out, found 3",
        ),
    ],
)
def test_a_faulty_pattern_is_refused_with_what_is_wrong(line: str, other: str, message: str, tmp_path: Path) -> None:
    assert line in WHOLE
    with pytest.raises(RecipeError) as caught:
        read(tmp_path, WHOLE.replace(line, other))
    assert message in str(caught.value)
    assert str(tmp_path / "mine.toml") in str(caught.value)


def test_words_that_are_spaced_are_whole_words() -> None:
    english = lexicon.read(SHIPPED / "lexicon-english.toml")
    assert english.decision("please, help me").keyword == "helpme"
    assert english.decision("they sell whelp meals").keyword == "others"
