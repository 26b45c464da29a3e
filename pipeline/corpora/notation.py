"""What transcripts hold beside words: tags, two spellings of one word, control tokens; and the words without it.

Known are the notation of ETRI and AI-Hub (KsponSpeech and its kin), marks of events in brackets, and Whisper's control
tokens. A text without any of it comes back as it is, to the letter.

| in the transcript                            | spoken                | written        |
|----------------------------------------------|-----------------------|----------------|
| `(70%)/(칠십 퍼센트) 할인`                    | 칠십 퍼센트 할인        | 70% 할인        |
| `b/ 아/ 몰+ 몰라* n/` (tags, fillers, repeats) | 아 몰 몰라             | 아 몰 몰라       |
| `[비명] 살려주세요`, `{laughs}`, `<noise>`     | 살려주세요             | 살려주세요       |
| `((살려주세요))`, `(())` (hard to hear)        | 살려주세요             | 살려주세요       |
| `<|0.00|> 살려주세요<|1.80|>`                  | 살려주세요             | 살려주세요       |
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pipeline.core.expressions import erased

FORMS = ("spoken", "written", "raw")
_SIGN = re.compile(r"[(\[{</+*]")  # a text without one of them holds no notation
_UNKNOWN = re.compile(r"[^\w\s.,?!'\"…·~:;’‘“”-]")  # what is neither a word nor its punctuation
_CONTROL = re.compile(r"<\|[^<>]{0,40}?\|>")
_TWO = re.compile(r"\(([^()]*)\)\s?/\s?\(([^()]*)\)")
_UNCLEAR = re.compile(r"\(\(([^()]*)\)\)")
_TAG = re.compile(r"(?<![^\s.,?!])[blonu]/(?=[\s(가-힣]|$)")
_FILLER = re.compile(r"(?<=[가-힣])/(?=[\s.,?!]|$)")
_CUT_SHORT = re.compile(r"(?<=[가-힣])[+*]+|(?<!\S)[+*]+(?=[가-힣])")
_EVENT = re.compile(r"\[[^\[\]]*\]|\{[^{}]*\}|<[A-Za-z가-힣_:/ -]{1,30}>")


def plain(text: str, form: str = "spoken", erase: Sequence[str] = ()) -> str:
    """The words of a transcript, without notation.

    form: of two spellings `(written)/(spoken)`, the one to keep; "raw" takes out what `erase` matches and no more.
    erase: further regular expressions of what is no words; RecipeError for one that does not end.

    >>> plain("b/ (70%)/(칠십 퍼센트) 할인, 아/ 살려주세요 n/"), plain("[비명] 살려주세요")
    ('칠십 퍼센트 할인, 아 살려주세요', '살려주세요')
    """
    before = text
    for expression in erase:
        text = erased(expression, text, "--erase")
    if form != "raw" and _SIGN.search(text):
        text = without_control(text)
        text = _TWO.sub(r"\2" if form == "spoken" else r"\1", _TAG.sub(" ", text))
        text = _EVENT.sub(" ", _UNCLEAR.sub(r" \1 ", text))
        text = _CUT_SHORT.sub("", _FILLER.sub("", text))
    return text if text == before else re.sub(r" +(?=[.,?!])", "", " ".join(text.split()))


def without_control(text: str) -> str:
    """The text without control tokens of Whisper, such as `<|0.00|>`, which a tokenizer would take for its own."""
    while (shorter := _CONTROL.sub(" ", text)) != text:
        text = shorter
    return text


def has_signs(text: str) -> bool:
    """Whether the text holds signs that are neither words nor punctuation, as notation does that is not known here."""
    return _UNKNOWN.search(text) is not None
