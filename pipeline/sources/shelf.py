"""The archives among the files of one folder, or of one archive: whole, in pieces, or split over disks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from pipeline.errors import SourceError
from pipeline.sources.catalogue import zip_members
from pipeline.sources.names import disk, is_archive, piece, without_suffix
from pipeline.sources.pieces import in_order
from pipeline.sources.spans import Spans, joined
from pipeline.sources.tars import is_tar, tar_members
from pipeline.sources.zips import Member, last_disk


class Archive(NamedTuple):
    """An archive as one virtual file; starts: where each disk of a split zip begins in it."""

    spans: Spans
    starts: tuple[int, ...] = (0,)


Shelf = Mapping[str, Spans]  # the files that are archives, or pieces or disks of one, by name


def belongs_on_shelf(name: str) -> bool:
    """Whether a file of this name is an archive, a piece of one or a disk of one."""
    return is_archive(name) or piece(name) is not None or disk(name) is not None


def archive_names(shelf: Shelf) -> list[str]:
    """The archives on the shelf, sorted: `NAME.zip` also where only its pieces are there."""
    return sorted({_archive_name(name, shelf) for name in shelf})


def _archive_name(name: str, shelf: Iterable[str]) -> str:
    """The archive that a file is a part of. Where the last disk is missing, the name it would have."""
    part, side = piece(name), disk(name)
    if part:
        return part.whole
    if side:
        last = [other for other in shelf if is_archive(other) and without_suffix(other) == side.whole]
        return last[0] if last else f"{side.whole}.zip"
    return name


def archive(shelf: Shelf, name: str) -> Archive:
    """The archive of that name. SourceError: not there, empty, pieces or disks missing or not of one set."""
    found = {part.number: shelf[other] for other in shelf if (part := piece(other)) and part.whole == name}
    if found and name in shelf and shelf[name].size != sum(part.size for part in found.values()):
        raise SourceError("is here whole and in pieces, and their sizes differ. Delete whichever is not complete.")
    if name in shelf:
        return _with_disks(shelf, name)
    if not found:
        raise SourceError(_absent(shelf, name))
    return Archive(in_order(name, found))


def _absent(shelf: Shelf, name: str) -> str:
    if _disks(shelf, name):
        return "the last disk of this split zip is missing. Put all its disks into one folder."
    return "is not there any more. Run the command again."


def _with_disks(shelf: Shelf, name: str) -> Archive:
    """The archive, after the disks before it where it is the last disk of a split zip."""
    spans = shelf[name]
    if not spans.size:
        raise SourceError("an empty file. Download it again.")
    if is_tar(spans) or (last := last_disk(spans)) == 0:
        return Archive(spans)
    disks = _disks(shelf, name)
    missing = [f"{without_suffix(os.path.basename(name))}.z{number:02d}" for number in range(1, last + 1) if number not in disks]
    if missing:
        raise SourceError(f"{', '.join(missing)} of this split zip not found. Put all {last + 1} disks into one folder.")
    parts = [*(disks[number] for number in range(1, last + 1)), spans]
    return Archive(joined(parts), tuple(accumulate((part.size for part in parts[:-1]), initial=0)))


def _disks(shelf: Shelf, name: str) -> dict[int, Spans]:
    """The disks before the last one, by number from 1."""
    stem = without_suffix(name)
    return {side.number: shelf[other] for other in shelf if (side := disk(other)) and side.whole == stem}


def members(archive: Archive) -> list[Member]:
    """The files in the archive, whatever kind its suffix says it is. SourceError where it cannot be read."""
    return tar_members(archive.spans) if is_tar(archive.spans) else zip_members(archive.spans, archive.starts)
