"""What one manifest says of one clip, and the facts that are told of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.core.row import Drop, Row
from pipeline.core.table import Table
from pipeline.inspect.explain.search import Book


@dataclass(frozen=True, slots=True)
class Fact:
    """Something true of a clip: what it is about, and a sentence."""

    about: str
    said: str


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """What a manifest says of a clip. row: its own row, none or one. mixtures: those of it as speech, or as noise.

    named: the mixture that was asked for, none or one.
    """

    book: Book
    clip: str
    row: Table
    mixtures: Table
    named: Table
    drops: tuple[Drop, ...]

    def held(self) -> Table:
        """One row that tells of the clip's recording: its own, else a mixture of it as speech; a table of one or none."""
        own = self.row if len(self.row) else self.mixtures.where(self.mixtures.equal("speech_id", self.clip))
        return own.part(0, 1)

    def one(self) -> Row:
        """The same as a Row; there must be one."""
        return next(iter(self.held().rows(Row)))


def stored(row: Row, book: Book) -> Iterator[Fact]:
    """What its sound is, and where it lies beside the manifest."""
    yield Fact("pcm hash", str(row.pcm_hash))
    if row.shard is None:
        yield Fact("stored", "nowhere: a virtual mixture, which the reader renders from this row")
        return
    yield Fact("stored", f"{row.bytes:,} bytes at byte {row.offset:,} of {book.shard(row.shard)}")


def dbfs(level: float | None) -> str:
    """A level as a person reads it."""
    return "silent" if level is None else f"{level:.2f} dBFS"
