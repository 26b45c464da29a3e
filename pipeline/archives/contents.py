"""What an archive contributes to a root: its files, those of the archives inside it, and what is wrong with it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from pipeline.archives.names import fault, folder_name, inside, is_junk, is_ordinary, nfc, tidy
from pipeline.archives.shelf import Archive, Shelf, belongs_on_shelf, members
from pipeline.archives.spans import Spans
from pipeline.archives.tars import PLAIN
from pipeline.archives.zips import STORED, Member, data_at
from pipeline.core.errors import SourceError
from pipeline.core.row import Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A file of a root. name: path below the root in NFC, where an archive stands as a folder without its suffix."""

    name: str
    place: Place


class Contents(NamedTuple):
    """shelf: the archives inside; faults: one line each, about files that cannot be read."""

    entries: tuple[Entry, ...]
    shelf: Shelf
    faults: tuple[str, ...]


@cache
def contents(root: str, container: str, found: Archive) -> Contents:
    """What the archive holds. It is read once per process, and again only if a file under it has changed.

    root: name of the root; container: as in Place. SourceError where the archive as a whole cannot be read.
    """
    files, shelf, faults = _sorted_out(container, members(found), found.spans)
    prefix = folder_name(container)
    stamp = found.spans.stamp
    entries = [_entry(root, container, prefix, stamp, file) for file in files]
    for name in shelf.names():
        try:
            deeper = contents(root, inside(container, name), shelf.archive(name))
        except SourceError as error:
            faults.append(f"{inside(container, name)}: {error}")
            continue
        entries += deeper.entries
        faults += deeper.faults
    return Contents(tuple(entries), shelf, tuple(faults))


def _entry(root: str, container: str, prefix: str, stamp: int, member: Member) -> Entry:
    name, offset, packed, size, method, crc = member
    return Entry(f"{prefix}/{nfc(name)}", Place(root, container, offset, packed, size, method, crc, stamp))


def _sorted_out(container: str, found: list[Member], spans: Spans) -> tuple[list[Member], Shelf, list[str]]:
    """The plain files, the archives, and a line for each file that stops the listing; junk is left out."""
    files: list[Member] = []
    shelf = Shelf()
    faults: list[str] = []
    for member in found:
        if is_ordinary(member.name):
            files.append(member)
            continue
        name = tidy(member.name if member.crc is None else member.name.replace("\\", "/"))
        if is_junk(name) or not name:
            continue
        if wrong := fault(name) or _not_stored(member):
            faults.append(f"{inside(container, name)}: {wrong}")
        elif belongs_on_shelf(name):
            shelf.put(name, _bytes_of(member, spans))
        else:
            files.append(member._replace(name=name))
    return files, shelf, faults


def _not_stored(member: Member) -> str:
    if belongs_on_shelf(member.name) and member.method not in (STORED, PLAIN):
        return "an archive compressed inside a zip, which cannot be read in place. Unpack the outer zip."
    return ""


def _bytes_of(member: Member, spans: Spans) -> Spans:
    """The stretch of the archive that holds the member, which is not compressed."""
    if member.method == PLAIN:
        return spans.cut(member.offset, member.size)
    return spans.cut(data_at(spans, member.offset), member.size)
