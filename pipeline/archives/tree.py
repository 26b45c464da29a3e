"""A walk over a folder: its files, and those inside its archives."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.archives.contents import Entry, contents
from pipeline.archives.names import (
    disk,
    escaped,
    fault,
    is_incomplete_download,
    is_junk,
    piece,
    readable,
    without_suffix,
)
from pipeline.archives.shelf import Shelf, belongs_on_shelf
from pipeline.archives.spans import over_file, unreadable
from pipeline.archives.tars import PLAIN
from pipeline.core.errors import SourceError
from pipeline.core.row import Place


@dataclass(slots=True)
class Walk:
    """What was found below `base`, the folder of the root named `root`. faults: a line for each file that cannot be read."""

    root: str
    base: str
    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def folder(self, relative: str, above: frozenset[tuple[int, int]] = frozenset()) -> None:
        """Everything below the folder at `relative`; above: the folders it lies in, so that a link upwards ends."""
        try:
            status = Path(self._path(relative)).stat()
            with os.scandir(self._path(relative)) as found:
                items = sorted((item for item in found if not is_junk(item.name)), key=lambda item: item.name)
        except OSError as error:
            self.faults.append(str(unreadable(self._path(relative), error)))
            return
        own = (status.st_dev, status.st_ino)
        if own in above:
            return
        folders = {item.name for item in items if _is_folder(item)}
        self._files(relative, [item for item in items if item.name not in folders])
        for name in sorted(folders):
            self.folder(_below(relative, name), above | {own})

    def _files(self, relative: str, items: list[os.DirEntry[str]]) -> None:
        """The files of one folder, among them archives, pieces and disks."""
        unfinished = {without_suffix(item.name) for item in items if is_incomplete_download(item.name)}
        special = []
        for item in items:
            if wrong := fault(item.name):
                self.faults.append(f"{self._path(_below(relative, item.name))}: {wrong}")
            elif item.name not in unfinished and (place := self._place(_below(relative, item.name), item)):
                if belongs_on_shelf(item.name):
                    special.append(item.name)
                else:
                    self.entries.append(Entry(readable(_below(relative, item.name)), place))
        self.archives(relative, special)

    def _place(self, path: str, item: os.DirEntry[str]) -> Place | None:
        """The whole file's place; None for what is no file: a socket, a link to itself, a link that ends nowhere (a fault)."""
        try:
            status = item.stat()
        except OSError as error:
            if error.errno != errno.ELOOP:
                self.faults.append(
                    f"{self._path(path)}: a link to a file that is not there or not readable ({error.strerror}). Mend or delete it."
                )
            return None
        if not item.is_file():
            return None
        return Place(self.root, escaped(path), 0, status.st_size, status.st_size, PLAIN, None, status.st_mtime_ns)

    def archives(self, relative: str, names: list[str]) -> None:
        """The files in the archives that the named files of one folder make up."""
        shelf = shelf_of(self._path(relative), names)
        for name in shelf.names():
            path = _below(relative, name)
            try:
                found = contents(self.root, escaped(path), shelf.archive(name))
            except SourceError as error:
                self.faults.append(told_once(self._path(path), error))
                continue
            self.entries += found.entries
            self.faults += [self._path(line) for line in found.faults]

    def _path(self, relative: str) -> str:
        return _below(self.base, relative) if relative else self.base


def told_once(path: str, error: SourceError) -> str:
    """The message after the path, unless it names the path itself."""
    return str(error) if str(error).startswith(path) else f"{path}: {error}"


def _is_folder(item: os.DirEntry[str]) -> bool:
    try:
        return item.is_dir()
    except OSError:  # a link to itself
        return False


def shelf_of(folder: str, names: list[str]) -> Shelf:
    """The archives that the named files of the folder are, or are parts of."""
    shelf = Shelf()
    for name in names:
        shelf.put(name, over_file(f"{folder}/{name}"))
    return shelf


def shelf_names(folder: str) -> list[str]:
    """The names of the files in the folder that are archives, pieces or disks. SourceError where it cannot be read."""
    try:
        with os.scandir(folder) as found:
            return sorted(
                item.name for item in found if belongs_on_shelf(item.name) and not is_junk(item.name) and item.is_file()
            )
    except OSError as error:
        raise unreadable(folder, error) from error


def of_one_archive(name: str, names: list[str]) -> list[str]:
    """Those names that belong to the same archive as `name`: its pieces, or its disks."""
    return [other for other in names if _whole(other) == _whole(name)]


def _whole(name: str) -> str:
    """The same for all files of one archive: its name, and for a zip, whose disks differ in suffix, its name without."""
    part, side = piece(name), disk(name)
    if side:
        return side.whole
    whole = part.whole if part else name
    return without_suffix(whole) if whole.lower().endswith(".zip") else whole


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
