"""Files of the AI-Hub emergency corpus: what their names say, which are recordings or labels, which belong together.

Numbers of classes differ between releases, so they say nothing; a class is known by its Korean name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archives.names import AUDIO_SUFFIXES, parts, stem
from pipeline.core.row import Drop
from pipeline.corpora.adapter import by_key, no_recordings

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

NAME = "aihub"
SPLITS = {"Training": "train", "Validation": "test"}  # AI-Hub withholds its own test set
EXPECTED = (
    "expected Training and Validation (also 1.Training, TS_, VL_, ...) holding "
    "[원천]4.폭력범죄_1/4.폭력범죄_393886_label.wav "
    "and [라벨]4.폭력범죄/4.폭력범죄_393886.json, as folders, zips or tars; give the folder that holds both"
)
CLASSES = (
    *("강제추행(성범죄)", "강도범죄", "절도범죄", "폭력범죄", "화재", "갇힘", "응급의료", "전기사고", "가스사고"),
    *("낙상", "붕괴사고", "태풍-강풍", "지진", "도움요청", "실내", "실외"),
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


@lru_cache(maxsize=4096)
def class_of(text: str) -> str | None:
    """The one class that the text names, by its Korean name alone; None where it names none or several.

    >>> class_of("[원천]14.도움요청_1"), class_of("성폭행 (성범죄)"), class_of("위급상황 음성_음향")
    ('도움요청', '강제추행(성범죄)', None)
    """
    letters = _NOT_HANGUL.sub("", text)
    classes = {canonical for name, canonical in _CANONICAL.items() if name in letters}
    return classes.pop() if len(classes) == 1 else None


@lru_cache(maxsize=65536)
def class_of_folder(folder: str) -> str | None:
    """The class in the deepest part of a folder's path that names one."""
    return next((name for part in reversed(folder.split("/")) if (name := class_of(part))), None)


@lru_cache(maxsize=65536)
def splits_of(path: str) -> frozenset[str]:
    """Which of "Training", "Validation" the parts of a path name; both, or neither, is no answer.

    >>> [sorted(splits_of(p)) for p in ("1.Training/원천데이터", "TS_5.화재", "VL_5.화재/x", "낙상")]
    [['Training'], ['Training'], ['Validation'], []]
    """
    return frozenset(split for split, pattern in _SPLITS.items() if any(pattern.search(p) for p in path.split("/")))


def file_name(stem: str) -> tuple[str, str]:
    """(id, class as spelled) of a file's name without suffix, each "" where there is none.

    The id is the last run of digits; marks that browsers and file managers put on copies are no ids.

    >>> file_name("4.폭력범죄_393886_label"), file_name("10.낙상_317257 (1)"), file_name("10.낙상")
    (('393886', '폭력범죄'), ('317257', '낙상'), ('', '낙상'))
    """
    rest = _CLASS_NUMBER.sub("", _COPY_MARK.sub("", stem))
    digits = _LAST_DIGITS.search(rest)
    return (digits[1] if digits else "", (rest[: digits.start()] if digits else rest).strip(" _-"))


class File(NamedTuple):
    """A recording or a label. key: `Training/757631`. named, folder: the class in its own name and in its folder's."""

    entry: Entry
    key: str
    named: str | None
    folder: str | None

    @property
    def class_name(self) -> str | None:
        """The class, that of its own name before that of its folder."""
        return self.named or self.folder


@dataclass(frozen=True, slots=True)
class Files:
    """Recordings and labels by key, of each the one to take first; drops; names of files that are neither."""

    audio: dict[str, list[File]]
    labels: dict[str, list[File]]
    drops: list[Drop]
    ignored: list[str]


def files_of(root: Root) -> Files:
    """Every file under the root, sorted out; SourceError where not one is a recording of this corpus."""
    audio: list[File] = []
    labels: list[File] = []
    drops: list[Drop] = []
    ignored: list[str] = []
    for entry in root.entries():
        folder, name, suffix = parts(entry.name)
        if suffix not in AUDIO_SUFFIXES and suffix != ".json":
            ignored.append(entry.name)
            continue
        digits, words = file_name(name)
        splits = splits_of(folder) or splits_of(name)
        if len(splits) != 1:
            what = "both Training and Validation" if splits else "neither Training nor Validation"
            drops.append(drop(entry.name, "unknown_split", f"{entry.name}: its path names {what}"))
        elif not digits:
            drops.append(drop(entry.name, "bad_name", f"{entry.name}: no id at the end of its name"))
        else:
            file = File(entry, f"{min(splits)}/{digits}", class_of(words), class_of_folder(folder))
            (labels if suffix == ".json" else audio).append(file)
    if not audio:
        raise no_recordings(root, NAME, EXPECTED)
    of_audio = {key: _ranked(files, None) for key, files in by_key(audio).items()}
    of_labels = {key: _ranked(files, of_audio.get(key)) for key, files in by_key(labels).items()}
    return Files(of_audio, of_labels, drops, ignored)


def _ranked(files: list[File], recordings: list[File] | None) -> list[File]:
    """The file to take, then the rest: of the class of its recording, then named `..._label`, which is the cut one."""
    if len(files) == 1:
        return files
    wanted = recordings[0].class_name if recordings else None
    return sorted(files, key=lambda f: (wanted not in (None, f.class_name), "_label" not in stem(f.entry.name)))


def source(file: File) -> str:
    """`@aihub/Training/도움요청/757631`; the class is the file name's, else the folder's."""
    split, _, digits = file.key.partition("/")
    return f"@{NAME}/{split}/{file.class_name or '-'}/{digits}"


def drop(key: str, reason: str, detail: str) -> Drop:
    """The Drop of a key, or of a file without one."""
    return Drop(f"{NAME}/{key}", "ingest", reason, detail)
