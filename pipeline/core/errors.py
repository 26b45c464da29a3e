"""PrepError and its few kinds: faults that a person can mend, each with what to do about it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from difflib import get_close_matches
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

# control characters but tab and newline, and marks that change the direction of what follows
_ACTIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def inert(text: str) -> str:
    """The text as a terminal may have it: what would move its cursor, colour it or turn it round is spelled out.

    Transcripts, names of files and labels come from strangers. Within JSON it stands for the same text.
    """
    return _ACTIVE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def short(text: str, most: int = 80) -> str:
    """The text, or its beginning, for a message."""
    return text if len(text) <= most else f"{text[: most - 3]}..."


class PrepError(Exception):
    """A fault with one clear message; the command line prints it and exits 1, without a traceback."""


class RecipeError(PrepError):
    """Every fault of a recipe or of a command's options, one a line."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("\n".join(faults))
        self.faults = list(faults)

    def __reduce__(self) -> tuple[type[RecipeError], tuple[list[str]]]:
        return RecipeError, (self.faults,)


class SourceError(PrepError):
    """A root or an archive that cannot be read as a whole: names it, what was found, and what to do."""


class CorruptMember(PrepError):
    """One file inside an archive, or one recording, cannot be read; the rest can. Becomes a Drop.

    reason: the Drop's word, for counting.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[CorruptMember], tuple[str, str]]:
        return CorruptMember, (self.reason, self.detail)


class ManifestError(PrepError):
    """A manifest that is missing, of another schema, or not one of ours."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """': did you mean "min_s"?' or, where nothing is near, ': known are a, b, c'."""
    options = sorted(known)
    near = get_close_matches(word, options, n=1)
    if near:
        return f': did you mean "{near[0]}"?'
    return f": known are {', '.join(options)}" if options else ""


def sample(words: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 12 more`, in sorted order."""
    known = sorted(words)
    rest = f" and {len(known) - most:,} more" if len(known) > most else ""
    return ", ".join(known[:most]) + rest


def to_install(extra: str) -> str:
    """What to type for an extra of the project, which is on no index: there are its folder, or a wheel of it."""
    if (Path(__file__).parents[2] / "pyproject.toml").exists():
        return f"pip install '.[{extra}]' in the project's folder"
    with suppress(PackageNotFoundError):
        wanted = [line.partition(";") for line in requires("call-for-help-prep") or ()]
        names = [name.strip() for name, _, when in wanted if f'extra == "{extra}"' in when.replace("'", '"')]
        if names:
            return f"pip install {' '.join(repr(name) for name in names)}, the extra [{extra}]"
    return f"install the extra [{extra}]"
