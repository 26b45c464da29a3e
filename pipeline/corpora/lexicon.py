"""Transcript to keyword, by a lexicon file: `saveme | helpme | others`, or whatever keywords the file names.

The label of data compares whole transcripts with spellings; the decision of a detector finds phrases among words.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pipeline.core import presets
from pipeline.core.errors import RecipeError
from pipeline.core.presets import SHIPPED
from pipeline.corpora import phrases
from pipeline.corpora.phrases import Hit, Spotter

LEXICON = "lexicon.toml"  # the one that comes with the project, beside the recipes
_UNSPOKEN = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a call is in a text. keyword: that of the call that comes first, None where nothing was spoken.

    calls: the calls, in order of place, each keyword once. phrase: what decided: the spelling or phrase of the first
    call, else the phrase that a guard spoke against, else None. guard: the name of that guard.
    """

    keyword: str | None
    calls: tuple[Hit, ...] = ()
    phrase: str | None = None
    guard: str | None = None


@dataclass(frozen=True, slots=True)
class Lexicon:
    """spellings: normalised spelling -> keyword. other: the keyword of any other transcript.

    spotter: finds calls among words; None where the file has no phrases.
    """

    spellings: Mapping[str, str]
    other: str
    spotter: Spotter | None = None

    @property
    def keywords(self) -> list[str]:
        """All keywords, the one for other transcripts last."""
        return [*sorted(set(self.spellings.values())), self.other]

    def keyword(self, transcript: str | None) -> str | None:
        """The transcript's keyword; None where there is no transcript.

        >>> Lexicon({"살려주세요": "saveme"}, "others").keyword("살려 주세요. ")
        'saveme'
        """
        if transcript is None or not normalised(transcript):
            return None
        return self.spellings.get(normalised(transcript), self.other)

    def decision(self, text: str | None) -> Decision:
        """Whether a call is in a text: as a whole, or as a phrase among other words that no guard speaks against.

        >>> shipped().decision("저기요, 여기 사람 있어요! 살려주세요").keyword
        'saveme'
        """
        label = self.keyword(text)
        if text is None or label is None:
            return Decision(None)
        if label != self.other:
            plain = normalised(text)
            return Decision(label, (Hit(label, plain, 0, len(plain)),), plain)
        hits = self.spotter.hits(text) if self.spotter else []
        calls: dict[str, Hit] = {}
        for hit in hits:
            if hit.guard is None:
                calls.setdefault(hit.keyword, hit)
        if calls:
            first = next(iter(calls.values()))
            return Decision(first.keyword, tuple(calls.values()), first.phrase)
        if hits:
            return Decision(self.other, (), hits[0].phrase, hits[0].guard)
        return Decision(self.other)

    def example_faults(self) -> list[str]:
        """A sentence for each example of the lexicon's phrases that comes out otherwise."""
        faults = []
        for example in self.spotter.examples if self.spotter else ():
            decision = self.decision(example.text)
            if example.is_call != any(hit.keyword == example.keyword for hit in decision.calls):
                expected = f"a call of {example.keyword}" if example.is_call else f"no call of {example.keyword}"
                why = f' (guard {decision.guard}, of "{decision.phrase}")' if decision.guard else ""
                why = f' ("{decision.phrase}")' if decision.calls else why
                faults.append(f'"{example.text}": expected {expected}, found {decision.keyword}{why}')
        return faults


def normalised(transcript: str) -> str:
    """NFC, without white space and punctuation, lower case.

    >>> normalised(" 누가 좀, 도와 주세요!! ")
    '누가좀도와주세요'
    """
    return _UNSPOKEN.sub("", unicodedata.normalize("NFC", transcript)).lower()


def shipped() -> Lexicon:
    """The lexicon that comes with the project."""
    return read(SHIPPED / LEXICON)


def identity(lexicon: Lexicon) -> str:
    """32 hex digits: the hash of the spellings and keywords, by which data is labelled; phrases are not part of it."""
    text = "\n".join(f"{spelling}\t{keyword}" for spelling, keyword in sorted(lexicon.spellings.items()))
    return blake2b(f"{lexicon.other}\n{text}".encode(), digest_size=16).hexdigest()


def identity_of_phrases(lexicon: Lexicon) -> str | None:
    """32 hex digits: the hash of the phrases, by which a detector decides; None where there are none."""
    if lexicon.spotter is None:
        return None
    return blake2b(json.dumps(lexicon.spotter.source, sort_keys=True).encode(), digest_size=16).hexdigest()


def read(path: Path) -> Lexicon:
    """The lexicon in a TOML file: `other = "others"`, a table [keywords] of spellings, tables [phrases.KEYWORD].

    RecipeError: all faults.
    """
    try:
        content = presets.read(path)
    except FileNotFoundError:
        raise RecipeError([f"{path}: no such lexicon there; those that come with prep are in {SHIPPED}"]) from None
    keywords, other = content.get("keywords"), content.get("other")
    if not isinstance(keywords, dict) or not keywords or not isinstance(other, str):
        raise RecipeError(
            [f'{path}: expected `other = "others"` and a table [keywords] such as `saveme = ["살려주세요"]`']
        )
    spellings: dict[str, str] = {}
    faults = []
    for keyword, listed in keywords.items():
        if not isinstance(listed, list) or not all(isinstance(item, str) and normalised(item) for item in listed):
            faults.append(f"{path}: [keywords] {keyword}: expected a list of spellings, found {listed!r}")
            continue
        for item in listed:
            before = spellings.setdefault(normalised(item), keyword)
            if before != keyword:
                faults.append(f'{path}: [keywords] "{item}" stands under both {before} and {keyword}')
    spotter, of_phrases = phrases.read(content, list(keywords))
    faults += [f"{path}: {fault}" for fault in of_phrases]
    if faults:
        raise RecipeError(faults)
    return Lexicon(spellings, other, spotter)
