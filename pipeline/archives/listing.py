"""Listings: every file below a folder and inside the archives there, by one name each and the place of its bytes."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from pipeline.archives.names import (
    archive_part,
    base,
    escaped,
    fault,
    folder_name,
    inside,
    is_incomplete_download,
    is_junk,
    is_ordinary,
    nfc,
    readable,
    tidy,
    without_suffix,
)
from pipeline.archives.spans import Spans, in_order, joined, over_file, refuse_too_many, stamp_of, unreadable
from pipeline.archives.tars import PLAIN, is_tar, tar_members
from pipeline.archives.zips import STORED, Member, data_at, last_disk, zip_members
from pipeline.core.errors import SourceError
from pipeline.core.row import Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a root. name: path below the root in NFC, where an archive stands as a folder without its suffix."""

    name: str
    place: Place


DEEPEST = 8  # archives in one another


class Archive(NamedTuple):
    """An archive as one virtual file; starts: where each disk of a split zip begins in it."""

    spans: Spans
    starts: tuple[int, ...] = (0,)


@dataclass(frozen=True, slots=True)
class Archives:
    """The archives among the files of one folder, or of one archive: whole, in pieces, or split over disks.

    pieces: by the archive's name; disks: by the archive's name without suffix; in both by number.
    """

    whole: dict[str, Spans] = field(default_factory=dict)
    pieces: dict[str, dict[int, Spans]] = field(default_factory=dict)
    disks: dict[str, dict[int, Spans]] = field(default_factory=dict)

    def add(self, name: str, spans: Spans) -> None:
        """Adds a file; its name says what it is."""
        part = archive_part(name)
        if part is None or part.kind == "whole":
            self.whole[name] = spans
        else:
            parts = self.pieces if part.kind == "piece" else self.disks
            parts.setdefault(part.archive, {})[part.number] = spans

    def names(self) -> list[str]:
        """The archives, sorted; also those of which only pieces, or only the first disks, are there."""
        stems = {without_suffix(name) for name in self.whole}
        return sorted({*self.whole, *self.pieces, *(f"{stem}.zip" for stem in self.disks if stem not in stems)})

    def archive(self, name: str) -> Archive:
        """The archive of that name. SourceError: not there, empty, pieces or disks missing or not of one set."""
        pieces = self.pieces.get(name, {})
        stem = without_suffix(name)
        if name not in self.whole:
            if pieces:
                return Archive(in_order(name, pieces))
            if stem in self.disks:
                raise SourceError("the last disk of this split zip is missing. Put all its disks into one folder.")
            raise SourceError("is not there any more. Run the command again.")
        spans = self.whole[name]
        if pieces and spans.size != sum(part.size for part in pieces.values()):
            raise SourceError("is here whole and in pieces, and their sizes differ. Delete whichever is not complete.")
        if not spans.size:
            raise SourceError("an empty file. Download it again.")
        if is_tar(spans) or (last := last_disk(spans)) == 0:
            return Archive(spans)
        disks = self.disks.get(stem, {})
        missing = [f"{base(stem)}.z{number:02d}" for number in range(1, last + 1) if number not in disks]
        if missing:
            raise SourceError(
                f"{', '.join(missing)} of this split zip not found. Put all {last + 1} disks into one folder."
            )
        parts = [*(disks[number] for number in range(1, last + 1)), spans]
        return Archive(joined(parts), tuple(accumulate((part.size for part in parts[:-1]), initial=0)))


class Contents(NamedTuple):
    """What an archive holds. archives: those inside it; faults: one line for each file that cannot be read."""

    entries: tuple[Entry, ...]
    archives: Archives
    faults: tuple[str, ...]


def members(archive: Archive) -> Iterable[Member]:
    """The files in the archive, whatever kind its suffix says it is. SourceError where it cannot be read."""
    return tar_members(archive.spans) if is_tar(archive.spans) else zip_members(archive.spans, archive.starts)


@cache
def contents(root: str, container: str, archive: Archive) -> Contents:
    """What the archive holds. It is read once per process, and again only if a file under it has changed.

    root: name of the root; container: as in Place. SourceError where the archive as a whole cannot be read.
    """
    spans, stamp, prefix = archive.spans, archive.spans.stamp, folder_name(container)
    entries: list[Entry] = []
    archives = Archives()
    faults: list[str] = []
    for name, offset, packed, size, method, crc in members(archive):
        if not is_ordinary(name):
            name = tidy(name if crc is None else name.replace("\\", "/"))
            if is_junk(name) or not name:
                continue
            is_archive = archive_part(name) is not None
            wrong = fault(name)
            if not wrong and is_archive and method not in (STORED, PLAIN):
                wrong = "an archive compressed inside a zip, which cannot be read in place. Unpack the outer zip."
            if wrong:
                faults.append(f"{inside(container, name)}: {wrong}")
                continue
            if is_archive:
                archives.add(name, spans.cut(offset if method == PLAIN else data_at(spans, offset), size))
                continue
        place = Place(root, container, offset, packed, size, method, crc, stamp)
        entries.append(Entry(f"{prefix}/{nfc(name)}", place))
    if container.count("!") >= DEEPEST and archives.names():
        raise SourceError(f"archives in archives, more than {DEEPEST} deep. Unpack the outer ones.")
    for name in archives.names():
        try:
            deeper = contents(root, inside(container, name), archives.archive(name))
        except SourceError as error:
            faults.append(f"{inside(container, name)}: {error}")
            continue
        entries += deeper.entries
        faults += deeper.faults
    return Contents(tuple(entries), archives, tuple(faults))


@dataclass(slots=True)
class Walk:
    """The files below `base`, the folder of the root named `root`. faults: one line for each that cannot be read."""

    root: str
    base: str
    entries: list[Entry] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def everything(self) -> None:
        """Adds everything below the base, each real folder once: under a link only where it is nowhere else."""
        done: set[tuple[int, int]] = set()
        waiting: list[str] = [""]
        links: list[str] = []
        while waiting or links:
            relative = waiting.pop() if waiting else links.pop(0)
            folders, linked = self._folder(relative, done)
            waiting += reversed(folders)
            links += linked

    def _folder(self, relative: str, done: set[tuple[int, int]]) -> tuple[list[str], list[str]]:
        """Adds the files of one folder, unless that is done; the folders in it, and those to which a link leads."""
        path = self._path(relative)
        items: list[os.DirEntry[str]] = []
        files: list[os.DirEntry[str]] = []
        folders: list[str] = []
        links: list[str] = []
        try:
            status = Path(path).stat()
            if (status.st_dev, status.st_ino) in done:
                return [], []
            done.add((status.st_dev, status.st_ino))
            with os.scandir(path) as listed:
                for count, item in enumerate(listed, len(self.entries)):
                    refuse_too_many(count, self.base)
                    if not is_junk(item.name):
                        items.append(item)
        except OSError as error:
            self.faults.append(str(unreadable(path, error)))
            return [], []
        for item in sorted(items, key=lambda item: item.name):
            try:
                is_folder = item.is_dir()
            except OSError:  # a link to itself
                is_folder = False
            if is_folder:
                (links if item.is_symlink() else folders).append(_below(relative, item.name))
            else:
                files.append(item)
        self._files(relative, files)
        return folders, links

    def _files(self, relative: str, items: list[os.DirEntry[str]]) -> None:
        """Adds the files of one folder, among them archives, pieces and disks."""
        unfinished = {without_suffix(item.name) for item in items if is_incomplete_download(item.name)}
        of_archives = []
        for item in items:
            path = _below(relative, item.name)
            if wrong := fault(item.name):
                self.faults.append(f"{self._path(path)}: {wrong}")
            elif item.name not in unfinished and (place := self._place(path, item)):
                if archive_part(item.name):
                    of_archives.append(item.name)
                else:
                    self.entries.append(Entry(readable(path), place))
        self.archives(relative, of_archives)

    def _place(self, path: str, item: os.DirEntry[str]) -> Place | None:
        """The whole file's place; None for what is no file: a socket, a link to itself, a link to nothing (a fault)."""
        try:
            status = item.stat()
        except OSError as error:
            if error.errno != errno.ELOOP:
                self.faults.append(
                    f"{self._path(path)}: a link to a file that is not there or not readable ({error.strerror}). "
                    "Mend or delete it."
                )
            return None
        if not item.is_file():
            return None
        return Place(self.root, escaped(path), 0, status.st_size, status.st_size, PLAIN, None, stamp_of(status))

    def archives(self, relative: str, names: list[str]) -> None:
        """Adds the files in the archives that the named files of one folder make up."""
        archives = archives_of(self._path(relative), names)
        for name in archives.names():
            path = _below(relative, name)
            try:
                inner = contents(self.root, escaped(path), archives.archive(name))
            except SourceError as error:
                self.faults.append(with_path(self._path(path), error))
                continue
            self.entries += inner.entries
            refuse_too_many(len(self.entries), self.base)
            self.faults += [self._path(line) for line in inner.faults]

    def _path(self, relative: str) -> str:
        return _below(self.base, relative) if relative else self.base


def with_path(path: str, error: SourceError) -> str:
    """The message after the path, unless it begins with the path itself."""
    return str(error) if str(error).startswith(path) else f"{path}: {error}"


def archives_of(folder: str, names: list[str]) -> Archives:
    """The archives that the named files of the folder are, or are parts of."""
    archives = Archives()
    for name in names:
        archives.add(name, over_file(f"{folder}/{name}"))
    return archives


def archive_names(folder: str, like: str | None = None) -> list[str]:
    """The names of the folder's files that are archives, pieces or disks. SourceError where it cannot be read.

    like: only those of the same archive as the file of this name: its pieces, or its disks.
    """
    try:
        with os.scandir(folder) as listed:
            return sorted(
                item.name
                for item in listed
                if archive_part(item.name)
                and (like is None or _archive_of(item.name) == _archive_of(like))
                and not is_junk(item.name)
                and item.is_file()
            )
    except OSError as error:
        raise unreadable(folder, error) from error


def _archive_of(name: str) -> str:
    """The same for all files of one archive: its name, and for a zip, whose disks differ in suffix, its stem."""
    part = archive_part(name)
    if part is None:
        return name
    is_zip = part.kind != "disk" and part.archive.lower().endswith(".zip")
    return without_suffix(part.archive) if is_zip else part.archive


def _below(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name
