"""A root: every file under a folder, those inside archives too, by one name each; and the bytes of each."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.archives.contents import Entry, contents
from pipeline.archives.names import levels
from pipeline.archives.shelf import Archive, Shelf, belongs_on_shelf
from pipeline.archives.spans import Spans, over_file
from pipeline.archives.tars import PLAIN
from pipeline.archives.tree import Walk, of_one_archive, shelf_names, shelf_of, told_once
from pipeline.archives.zips import member_bytes
from pipeline.core.errors import CorruptMember, SourceError
from pipeline.core.row import Place


@dataclass(frozen=True)
class Root:
    """A named folder, or a single archive, which counts as a folder that holds nothing else."""

    name: str
    path: Path

    def __reduce__(self) -> tuple[type[Root], tuple[str, Path]]:
        return Root, (self.name, self.path)  # a worker process opens its own files

    def entries(self) -> tuple[Entry, ...]:
        """Every file, sorted by name; two files of one name are both there, sorted by size and CRC.

        SourceError: the root is empty or missing, or archives cannot be read: one line for each of them.
        """
        return self._entries

    def read(self, place: Place) -> bytes:
        """The file's bytes, checked where the archive holds a checksum. Needs no listing.

        CorruptMember: this file is damaged, truncated, encrypted or packed by an unknown method.
        SourceError: the archive as a whole, or the root, cannot be read.
        """
        spans = self._spans(place.container)
        if place.method != PLAIN:
            return member_bytes(spans, place)
        data = spans.pread(place.offset, place.size)
        if len(data) < place.size:
            raise CorruptMember("truncated", f"{place.container}: {len(data):,} of {place.size:,} bytes are there")
        return data

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        walk = Walk(self.name, self._base)
        with _collector_off():
            if self._base == str(self.path):
                walk.folder("")
            else:
                walk.archives("", of_one_archive(self.path.name, shelf_names(self._base)))
            if walk.faults:
                raise SourceError("\n".join(walk.faults))
            if not walk.entries:
                raise SourceError(f"{self.path}: holds no files. Check the path of root {self.name}.")
            return tuple(sorted(walk.entries, key=_order))

    @cached_property
    def _base(self) -> str:
        """The folder that containers count from."""
        if self.path.is_dir():
            return str(self.path)
        if belongs_on_shelf(self.path.name) and self.path.parent.is_dir():
            return str(self.path.parent)
        found = "neither a folder nor a zip or tar" if self.path.exists() else "does not exist"
        raise SourceError(f"{self.path}: {found}. Give root {self.name} a folder or an archive: --root {self.name}=DIR")

    def _spans(self, container: str) -> Spans:
        found = self._opened.get(container)
        if found:
            return found
        *outer, last = levels(container)
        if not outer and not belongs_on_shelf(last):
            return over_file(f"{self._base}/{last}")  # loose files are many: none is kept
        try:
            return self._opened.setdefault(container, self._archive(container).spans)
        except SourceError as error:
            raise SourceError(told_once(f"{self._base}/{container}", error)) from error

    def _archive(self, container: str) -> Archive:
        """The archive at the container, an archive inside an archive inside a folder."""
        outer, mark, _ = container.rpartition("!")
        *_, last = levels(container)
        if mark:
            return contents(self.name, outer, self._archive(outer)).shelf.archive(last)
        folder, _, name = f"{self._base}/{last}".rpartition("/")
        return self._shelf(folder).archive(name)

    def _shelf(self, folder: str) -> Shelf:
        if folder not in self._shelves:
            self._shelves[folder] = shelf_of(folder, shelf_names(folder))
        return self._shelves[folder]

    @cached_property
    def _opened(self) -> dict[str, Spans]:
        return {}

    @cached_property
    def _shelves(self) -> dict[str, Shelf]:
        return {}


@contextmanager
def _collector_off() -> Iterator[None]:
    """No garbage collection meanwhile: it would walk a growing heap of entries, none of them garbage, again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _order(entry: Entry) -> tuple[str, int, int, str, int]:
    place = entry.place
    return entry.name, place.size, place.crc or 0, place.container, place.offset
