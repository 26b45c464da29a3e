"""Speech that is no call, by how near it comes to one: what a detector is likely to confuse."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from pipeline.corpora.lexicon import Lexicon, normalised

FARTHEST = 0.34  # share of a spelling's sounds that may differ
CALL, GUARDED, NEAR, OTHER = KINDS = ("call", "guarded", "near", "other")  # of speech; see `kind`
# Letters that sound alike, to ears and recognisers: vowels that have merged, plain consonants for tense and aspirated
# ones, final consonants as they sound before a vowel; ᄋ at the start of a syllable has no sound: 문이 is 무니.
_FINALS = (
    "ㄱㄱㄱㄴㄴㄴㄷㄹㄹㄹㄹㄹㄹㄹㄹㅁㅂㅂㅅㅅㅇㅈㅈㄱㄷㅂㅎ"  # of the final consonants U+11A8 to U+11C2, in their order
)
_ALIKE = {
    **{ord("ᆨ") + place: letter for place, letter in enumerate(_FINALS)},
    **{0x1100 + place: letter for place, letter in enumerate("ㄱㄱㄴㄷㄷㄹㅁㅂㅂㅅㅅ-ㅈㅈㅈㄱㄷㅂㅎ")},
    **{0x1161 + place: letter for place, letter in enumerate("ㅏㅔㅑㅔㅓㅔㅕㅔㅗㅘㅞㅞㅛㅜㅝㅞㅟㅠㅡㅢㅣ")},
    0x110B: None,
}


@dataclass(frozen=True, slots=True)
class Near:
    """A sentence that is no call. near: the spelling it comes nearest to; rows: how often the sentence is in the set.

    distance: the share of the spelling's sounds that differs. phrase, guard: as in `Decision`.
    """

    text: str
    label: str
    near: str
    distance: float
    rows: int
    phrase: str | None
    guard: str | None


def near(transcripts: Iterable[str | None], lexicon: Lexicon, farthest: float = FARTHEST) -> list[Near]:
    """The sentences that come near a spelling of the lexicon and are no call, the nearest first."""
    rows = Counter(unicodedata.normalize("NFC", text) for text in transcripts if text)
    answer = []
    for text, count in rows.items():
        decision = lexicon.decision(text)
        if decision.keyword is None or decision.calls:
            continue
        distance, spelling = nearest(text, lexicon)
        if distance <= farthest:
            label = str(lexicon.keyword(text))
            answer.append(Near(text, label, spelling, round(distance, 4), count, decision.phrase, decision.guard))
    return sorted(answer, key=lambda each: (each.distance, each.text))


def kind(text: str | None, lexicon: Lexicon) -> tuple[str, str | None]:
    """(what a sentence is to a detector, the guard that speaks against its phrase).

    `call`: a call is in it, alone or among words; `guarded`: a phrase that a guard speaks against; `near`: it sounds
    like a spelling; `other`: none of these.
    """
    decision = lexicon.decision(text)
    if decision.calls:
        return CALL, None
    if decision.guard:
        return GUARDED, decision.guard
    return (NEAR if text and nearest(text, lexicon)[0] <= FARTHEST else OTHER), None


def nearest(text: str, lexicon: Lexicon) -> tuple[float, str]:
    """(the least share of a spelling's sounds that differs from some part of the text, that spelling)."""
    heard = sounds(normalised(text))
    expected = _shortest(frozenset(lexicon.spellings))
    return min((best_distance(letters, heard) / len(letters), name) for letters, name in expected)


@cache
def _shortest(spellings: frozenset[str]) -> list[tuple[str, str]]:
    """The spellings that hold no other, with their sounds."""
    names = [text for text in sorted(spellings) if not any(part in text for part in spellings if part != text)]
    return [(sounds(name), name) for name in names]


def sounds(text: str) -> str:
    """A text as it sounds, roughly: letters of Hangul by jamo, those that sound alike as one.

    >>> sounds("문이") == sounds("무니"), sounds("주새요") == sounds("쭈세요"), sounds("살려고") == sounds("살려줘")
    (True, True, False)
    """
    return unicodedata.normalize("NFD", text).translate(_ALIKE)


def best_distance(pattern: str, text: str) -> int:
    """The least Levenshtein distance of the pattern to any part of the text (Myers, 1999, doi 10.1145/316542.316550).

    >>> best_distance("abcd", "xxabdxx"), best_distance("abc", ""), best_distance("abc", "zabcz")
    (1, 3, 0)
    """
    places: dict[str, int] = {}
    for place, letter in enumerate(pattern):
        places[letter] = places.get(letter, 0) | 1 << place
    full, last = (1 << len(pattern)) - 1, 1 << len(pattern) - 1
    up, down, distance = full, 0, len(pattern)
    best = distance
    for letter in text:
        equal = places.get(letter, 0)
        across = (((equal & up) + up) ^ up) | equal | down
        plus, minus = (down | ~(across | up)) & full, up & across
        distance += bool(plus & last) - bool(minus & last)
        best = min(best, distance)
        plus, minus = plus << 1 & full, minus << 1 & full
        up, down = (minus | ~(equal | down | plus)) & full, plus & (equal | down)
    return best
