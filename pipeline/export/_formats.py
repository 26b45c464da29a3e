"""What a format of exports holds; which there are."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

from pipeline.core.errors import PrepError, did_you_mean

if TYPE_CHECKING:
    from pipeline.core.table import Table
    from pipeline.export._job import Job


class Format(Protocol):
    """What each format module holds.

    SAYS: a line of help. SOUND: whether it holds audio or points to it. LINKS: whether it can read clips in the shards
    where they lie; then that is what it does, unless a copy is asked for.
    """

    SAYS: str
    SOUND: bool
    LINKS: bool

    def size(self, rows: Table, links: bool) -> int:
        """About how many bytes of audio are to be written."""

    def write(self, job: Job) -> None:
        """Writes the export into the job's folder."""

    def card(self, job: Job) -> str:
        """Markdown: what lies in the folder and what to type to load it."""


def names() -> list[str]:
    """The formats, sorted: `csv`, `hf`, ..."""
    return sorted(m.name for m in iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_"))


@cache
def find(name: str) -> Format:
    """The format of that name, loaded now; PrepError where there is none."""
    if name not in names():
        raise PrepError(f'unknown format "{name}"{did_you_mean(name, names())}')
    return cast("Format", import_module(f"pipeline.export.{name}"))
