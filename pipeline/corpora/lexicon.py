"""Transcript to keyword, by a lexicon file: `saveme | helpme | others`, or whatever keywords the file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from pipeline.core import presets
from pipeline.core.errors import RecipeError
from pipeline.core.presets import SHIPPED

LEXICON = "lexicon.toml"  # the one that comes with the project, beside the recipes
_UNSPOKEN = re.compile(r"[\W_]+")


@dataclass(frozen=True, slots=True)
class Lexicon:
    """spellings: normalised spelling -> keyword. other: the keyword of any other transcript."""

    spellings: Mapping[str, str]
    other: str

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
    """32 hex digits: the hash of the lexicon's spellings and keywords."""
    text = "\n".join(f"{spelling}\t{keyword}" for spelling, keyword in sorted(lexicon.spellings.items()))
    return blake2b(f"{lexicon.other}\n{text}".encode(), digest_size=16).hexdigest()


def read(path: Path) -> Lexicon:
    """The lexicon in a TOML file: `other = "others"` and a table [keywords] of spellings. RecipeError: all faults."""
    try:
        content = presets.read(path)
    except FileNotFoundError:
        raise RecipeError([f"{path}: no such lexicon"]) from None
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
    if faults:
        raise RecipeError(faults)
    return Lexicon(spellings, other)
