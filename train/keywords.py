"""Decoded text to keyword, by the lexicon: exact after normalisation, or tolerant by edit distance between jamo."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon
from pipeline.corpora.lexicon import Lexicon, normalised

NOISE = "noise"
SPEECH = "speech"


@dataclass(frozen=True, slots=True)
class Finder:
    """What a text says: a keyword of the lexicon, its word for any other text, or noise where nothing is said.

    tolerance: largest jamo edit distance to a spelling, as a share of the spelling's jamo, that still counts; 0 is exact.
    """

    lexicon: Lexicon
    tolerance: float = 0.0

    @property
    def calls(self) -> list[str]:
        """The keywords that raise an alarm."""
        return self.lexicon.keywords[:-1]

    def decision(self, text: str | None) -> str:
        """Keyword of a decoded text; `noise` where the gate let nothing through (None) or nothing was said."""
        found = self.lexicon.keyword(text)
        if found is None:
            return NOISE
        return self._near(normalised(text or "")) if self.tolerance and found == self.lexicon.other else found

    def _near(self, said: str) -> str:
        """Keyword of the nearest spelling within tolerance; of equally near ones the first by code point."""
        heard = jamo(said)
        near = []
        for spelling in sorted(self.lexicon.spellings):
            wanted = jamo(spelling)
            if abs(len(wanted) - len(heard)) <= self.tolerance * len(wanted):
                near.append((edits(heard, wanted) / len(wanted), spelling))
        if near and min(near)[0] <= self.tolerance:
            return self.lexicon.spellings[min(near)[1]]
        return self.lexicon.other


def jamo(text: str) -> str:
    """The letters that Hangul syllables are written with.

    >>> len(jamo("살려"))
    5
    """
    return unicodedata.normalize("NFD", text)


def edits(said: Sequence[object], wanted: Sequence[object]) -> int:
    """Levenshtein distance: fewest insertions, deletions and replacements that make one the other.

    >>> edits("살려조세요", "살려주세요"), edits("", "abc")
    (1, 3)
    """
    row = list(range(len(wanted) + 1))
    for count, item in enumerate(said, 1):
        before, row[0] = row[0], count
        for place, other in enumerate(wanted, 1):
            before, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, before + (item != other))
    return row[-1]


def read(path: str | Path | None) -> Lexicon:
    """The lexicon in this file, or the one that comes with the project."""
    return lexicon.read(Path(path)) if path else lexicon.shipped()


def check(held: Lexicon, labelled_with: str | None, manifest: Path) -> None:
    """PrepError where the manifest's keywords come from another lexicon than the one held."""
    if labelled_with is not None and labelled_with != lexicon.identity(held):
        raise PrepError(
            f"{manifest}: its keywords were labelled with another lexicon (hash {labelled_with}, here {lexicon.identity(held)}):"
            " give that one with --lexicon, or label again with prep filter --lexicon"
        )


def identity(held: Lexicon) -> str:
    """What tells one lexicon from another."""
    return lexicon.identity(held)


def as_toml(held: Lexicon) -> str:
    """The lexicon as a file that `read` reads back."""
    lines = [f"other = {_quoted(held.other)}", "", "[keywords]"]
    for keyword in held.keywords[:-1]:
        spellings = [_quoted(spelling) for spelling, owner in sorted(held.spellings.items()) if owner == keyword]
        lines.append(f"{_quoted(keyword)} = [{', '.join(spellings)}]")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # JSON's strings are TOML's basic strings
