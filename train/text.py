"""Text: transcripts to tokens and back with Whisper's tokenizer, and decoded text to a keyword of the lexicon."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Decision, Lexicon, normalised
from pipeline.corpora.notation import without_control

NOISE = "noise"
SPEECH = "speech"
Rule = Literal["text", "text-exact", "score", "both"]
CONTROL = ("<|startoftranscript|>", "<|ko|>", "<|transcribe|>", "<|notimestamps|>")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """Whisper's tokenizer for Korean transcription without timestamps.

    hf: the tokenizer of transformers. prompt: the ids of CONTROL, from which every decoding starts. end: <|endoftext|>.
    """

    hf: Any
    prompt: tuple[int, ...]
    end: int

    @classmethod
    def of(cls, hf: Any, source: str) -> Tokenizer:
        """The tokenizer of a checkpoint. PrepError where it lacks control tokens, as an English-only one does."""
        ids = hf.get_vocab()
        missing = [token for token in (*CONTROL, "<|endoftext|>") if token not in ids]
        if missing:
            raise PrepError(
                f"{source}: its tokenizer lacks {', '.join(missing)}: a multilingual Whisper checkpoint is needed"
            )
        return cls(hf, tuple(ids[token] for token in CONTROL), ids["<|endoftext|>"])

    def targets(self, transcript: str) -> list[int]:
        """What the decoder should emit after <|startoftranscript|>: the other control tokens, the text, <|endoftext|>.

        The control tokens are targets too, as in the plain fine-tuning recipe of transformers; those that a transcript
        holds itself, such as <|0.00|>, are not.
        """
        text = " ".join(unicodedata.normalize("NFC", without_control(transcript)).split())
        return [*self.prompt[1:], *self.hf(text, add_special_tokens=False).input_ids, self.end]

    def text(self, ids: Sequence[int]) -> str:
        """The text of decoded ids without special tokens; an incomplete letter at the end is left out."""
        return str(self.hf.decode(list(ids), skip_special_tokens=True)).replace("\ufffd", "").strip()


@dataclass(frozen=True, slots=True)
class Score:
    """How likely a keyword's phrases are in a sound, log p in nats; begin, end: where in its text, from 0 to 1."""

    value: float
    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class KeywordMatcher:
    """What was decoded to a decision: a keyword of the lexicon, its keyword for any other text, or noise for no text.

    tolerance: the largest edit distance in jamo to a spelling that still counts as a match, as a share of the jamo of
    the spelling; 0 matches exactly. rule: `text` also finds the lexicon's phrases among other words, of several calls
    the first decides; `text-exact` compares the whole text with its spellings, as the labels of data and the paper do;
    `score` takes the keyword of the highest score that is not under the threshold (nats); `both` takes a call of the
    text, else that of the score.
    """

    lexicon: Lexicon
    tolerance: float = 0.0
    rule: Rule = "text"
    threshold: float = math.inf

    @property
    def calls(self) -> list[str]:
        """The keywords that raise an alarm."""
        return self.lexicon.keywords[:-1]

    @property
    def needs_scores(self) -> bool:
        """Whether decisions depend on scores."""
        return self.rule in ("score", "both")

    def decision(self, text: str | None, scores: Mapping[str, float] | None = None) -> str:
        """The keyword of a decoded text; `noise` if the gate stopped the clip (None), or no call and no text is there.

        scores: of each keyword, for the rules that need them.
        """
        keyword = self._keyword(text)
        if not self.needs_scores or text is None or (self.rule == "both" and keyword in self.calls):
            return keyword
        loud = self.loud(scores or {})
        return loud[0] if loud else self.lexicon.other if keyword in self.calls else keyword

    def loud(self, scores: Mapping[str, float]) -> list[str]:
        """The keywords whose scores are not under the threshold, highest first; none where scores do not decide."""
        if not self.needs_scores:
            return []
        return sorted((each for each in scores if scores[each] >= self.threshold), key=lambda each: -scores[each])

    def _keyword(self, text: str | None) -> str:
        spotted = self.spotted(text)
        if spotted.keyword is None:
            return NOISE
        if not self.tolerance or spotted.calls or spotted.guard:
            return spotted.keyword
        letters = jamo(normalised(text or ""))
        near = []
        for spelling in sorted(self.lexicon.spellings):
            expected = jamo(spelling)
            if abs(len(expected) - len(letters)) <= self.tolerance * len(expected):
                near.append((edit_distance(letters, expected) / len(expected), spelling))
        if near and min(near)[0] <= self.tolerance:  # of equally near spellings the first by code point
            return self.lexicon.spellings[min(near)[1]]
        return self.lexicon.other

    def spotted(self, text: str | None) -> Decision:
        """What the rule makes of a text, with every call in it, whatever the tolerance."""
        if self.rule != "text-exact":
            return self.lexicon.decision(text)
        return Lexicon(self.lexicon.spellings, self.lexicon.other).decision(text)


def jamo(text: str) -> str:
    """The letters that Hangul syllables are written with.

    >>> len(jamo("살려"))
    5
    """
    return unicodedata.normalize("NFD", text)


def edit_distance(text: Sequence[object], reference: Sequence[object]) -> int:
    """Levenshtein distance: the fewest insertions, deletions and replacements that turn the text into the reference.

    >>> edit_distance("살려조세요", "살려주세요"), edit_distance("", "abc")
    (1, 3)
    """
    row = list(range(len(reference) + 1))
    for count, item in enumerate(text, 1):
        diagonal, row[0] = row[0], count
        for place, other in enumerate(reference, 1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (item != other))
    return row[-1]


def read_lexicon(path: str | Path | None) -> Lexicon:
    """The lexicon in this file, or the one that comes with the project."""
    return lexicons.read(Path(path)) if path else lexicons.shipped()


def check_lexicon(lexicon: Lexicon, labelled_with: str | None, manifest: Path) -> None:
    """PrepError where the keywords of the manifest come from another lexicon. labelled_with: hash of that lexicon."""
    if labelled_with is not None and labelled_with != lexicons.identity(lexicon):
        raise PrepError(
            f"{manifest}: its keywords were labelled with another lexicon (hash {labelled_with}, here"
            f" {lexicons.identity(lexicon)}): give that one with --lexicon, or label again with prep filter --lexicon"
        )


def lexicon_as_toml(lexicon: Lexicon) -> str:
    """The lexicon as a file that `read_lexicon` reads back."""
    lines = [f"other = {_quoted(lexicon.other)}", "", "[keywords]"]
    for keyword in lexicon.keywords[:-1]:
        spellings = [_quoted(spelling) for spelling, owner in sorted(lexicon.spellings.items()) if owner == keyword]
        lines.append(f"{_quoted(keyword)} = [{', '.join(spellings)}]")
    for name, table in (lexicon.spotter.source if lexicon.spotter else {}).items():
        lines += _tables((name,), table)
    return "\n".join(lines) + "\n"


def _tables(path: tuple[str, ...], table: Mapping[str, Any]) -> list[str]:
    """A table of texts, lists of texts and tables as lines of TOML."""
    plain = {name: value for name, value in table.items() if not isinstance(value, Mapping)}
    lines = ["", f"[{'.'.join(map(_quoted, path))}]"]
    lines += [f"{_quoted(name)} = {_quoted(value)}" for name, value in plain.items()]
    for name, value in table.items():
        if name not in plain:
            lines += _tables((*path, name), value)
    return lines


def _quoted(value: str | list[str]) -> str:
    return json.dumps(value, ensure_ascii=False)  # strings and lists of JSON are those of TOML
