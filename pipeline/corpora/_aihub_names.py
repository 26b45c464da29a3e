"""What names in the AI-Hub emergency corpus tell: split, class, id. Numbers of classes differ between releases and tell nothing."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

CLASSES = (
    "강제추행(성범죄)",
    "강도범죄",
    "절도범죄",
    "폭력범죄",
    "화재",
    "갇힘",
    "응급의료",
    "전기사고",
    "가스사고",
    "낙상",
    "붕괴사고",
    "태풍-강풍",
    "지진",
    "도움요청",
    "실내",
    "실외",
)
ALIASES = {
    "성폭행(성범죄)": "강제추행(성범죄)",
    "성추행(성범죄)": "강제추행(성범죄)",
    "강제추행": "강제추행(성범죄)",
    "성폭행": "강제추행(성범죄)",
    "성추행": "강제추행(성범죄)",
    "성범죄": "강제추행(성범죄)",
    "태풍": "태풍-강풍",
    "강풍": "태풍-강풍",
}
_NOT_HANGUL = re.compile("[^가-힣]+")
_CANONICAL = {
    _NOT_HANGUL.sub("", name): canonical
    for name, canonical in {**dict(zip(CLASSES, CLASSES, strict=True)), **ALIASES}.items()
}

_COPY_MARK = re.compile(r"(?: ?\(\d+\)| - copy(?: \(\d+\))?| - 복사본(?: \(\d+\))?)+$", re.IGNORECASE)
_CLASS_NUMBER = re.compile(r"^\s*\d{1,2}\s*[._]\s*(?=\D)")
_LAST_DIGITS = re.compile(r"(\d+)\D*$")
# A word, or the site's short form at the start of a name: TS_ (training, source), TL_ (training, labels), VS_, VL_.
_SPLITS = {
    "Training": re.compile(r"(?<![a-z])train(?:ing)?(?![a-z])|^\W*(?:\d+\W+)?t[sl](?![a-z])", re.IGNORECASE),
    "Validation": re.compile(r"(?<![a-z])val(?:id(?:ation)?)?(?![a-z])|^\W*(?:\d+\W+)?v[sl](?![a-z])", re.IGNORECASE),
}


class FileName(NamedTuple):
    """What a file's own name tells. id: the last run of digits, "" where there is none. words: its class as spelled, maybe ""."""

    id: str
    words: str


@lru_cache(maxsize=4096)
def class_of(text: str) -> str | None:
    """The one class that the text names, by its Korean name alone; None where it names none or several.

    >>> class_of("[원천]14.도움요청_1"), class_of("성폭행 (성범죄)"), class_of("위급상황 음성_음향")
    ('도움요청', '강제추행(성범죄)', None)
    """
    letters = _NOT_HANGUL.sub("", text)
    found = {canonical for name, canonical in _CANONICAL.items() if name in letters}
    return found.pop() if len(found) == 1 else None


@lru_cache(maxsize=65536)
def class_of_folder(folder: str) -> str | None:
    """The class that the deepest telling part of a folder's path names."""
    return next((name for part in reversed(folder.split("/")) if (name := class_of(part))), None)


@lru_cache(maxsize=65536)
def splits_of(path: str) -> frozenset[str]:
    """Which of "Training", "Validation" the parts of a path name; both, or neither, is no answer.

    >>> [sorted(splits_of(p)) for p in ("1.Training/원천데이터", "TS_5.화재", "VL_5.화재/x", "낙상")]
    [['Training'], ['Training'], ['Validation'], []]
    """
    return frozenset(
        split for split, pattern in _SPLITS.items() if any(pattern.search(part) for part in path.split("/"))
    )


def file_name(stem: str) -> FileName:
    """Id and class of a file's name without suffix; marks that browsers and file managers put on copies are not ids.

    >>> file_name("4.폭력범죄_393886_label"), file_name("10.낙상_317257 (1)"), file_name("10.낙상")
    (FileName(id='393886', words='폭력범죄'), FileName(id='317257', words='낙상'), FileName(id='', words='낙상'))
    """
    rest = _CLASS_NUMBER.sub("", _COPY_MARK.sub("", stem))
    digits = _LAST_DIGITS.search(rest)
    if not digits:
        return FileName("", rest.strip(" _-"))
    return FileName(digits[1], rest[: digits.start()].strip(" _-"))
