"""The archives among the files of one folder, or of one archive: whole, in pieces, or split over disks."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple, NoReturn

from pipeline.archives.catalogue import zip_members
from pipeline.archives.names import base, disk, is_archive, piece, without_suffix
from pipeline.archives.pieces import in_order
from pipeline.archives.spans import Spans, joined
from pipeline.archives.tars import is_tar, tar_members
from pipeline.archives.zips import Member, last_disk
from pipeline.core.errors import SourceError


class Archive(NamedTuple):
    """An archive as one virtual file; starts: where each disk of a split zip begins in it."""

    spans: Spans
    starts: tuple[int, ...] = (0,)


Numbered = dict[int, Spans]


@dataclass(frozen=True, slots=True)
class Shelf:
    """The files that are archives by name; the pieces of each, by its name; the disks of each, by its name without suffix."""

    whole: dict[str, Spans] = field(default_factory=dict)
    pieces: dict[str, Numbered] = field(default_factory=dict)
    disks: dict[str, Numbered] = field(default_factory=dict)

    def put(self, name: str, spans: Spans) -> None:
        """Adds a file; its name says what it is."""
        if part := piece(name):
            self.pieces.setdefault(part.whole, {})[part.number] = spans
        elif side := disk(name):
            self.disks.setdefault(side.whole, {})[side.number] = spans
        else:
            self.whole[name] = spans

    def names(self) -> list[str]:
        """The archives, sorted; also those of which only pieces, or only the first disks, are there."""
        stems = {without_suffix(name) for name in self.whole}
        return sorted({*self.whole, *self.pieces, *(f"{stem}.zip" for stem in self.disks if stem not in stems)})

    def archive(self, name: str) -> Archive:
        """The archive of that name. SourceError: not there, empty, pieces or disks missing or not of one set."""
        pieces = self.pieces.get(name, {})
        if name not in self.whole:
            return Archive(in_order(name, pieces)) if pieces else self._absent(name)
        if pieces and self.whole[name].size != sum(part.size for part in pieces.values()):
            raise SourceError("is here whole and in pieces, and their sizes differ. Delete whichever is not complete.")
        return _after_disks(name, self.disks.get(without_suffix(name), {}), self.whole[name])

    def _absent(self, name: str) -> NoReturn:
        if without_suffix(name) in self.disks:
            raise SourceError("the last disk of this split zip is missing. Put all its disks into one folder.")
        raise SourceError("is not there any more. Run the command again.")


def belongs_on_shelf(name: str) -> bool:
    """Whether a file of this name is an archive, a piece of one or a disk of one."""
    return is_archive(name) or piece(name) is not None or disk(name) is not None


def _after_disks(name: str, disks: Numbered, spans: Spans) -> Archive:
    """The archive, with the disks before it where it is the last disk of a split zip."""
    if not spans.size:
        raise SourceError("an empty file. Download it again.")
    if is_tar(spans) or (last := last_disk(spans)) == 0:
        return Archive(spans)
    stem = without_suffix(base(name))
    missing = [f"{stem}.z{number:02d}" for number in range(1, last + 1) if number not in disks]
    if missing:
        raise SourceError(
            f"{', '.join(missing)} of this split zip not found. Put all {last + 1} disks into one folder."
        )
    parts = [*(disks[number] for number in range(1, last + 1)), spans]
    return Archive(joined(parts), tuple(accumulate((part.size for part in parts[:-1]), initial=0)))


def members(archive: Archive) -> list[Member]:
    """The files in the archive, whatever kind its suffix says it is. SourceError where it cannot be read."""
    return tar_members(archive.spans) if is_tar(archive.spans) else zip_members(archive.spans, archive.starts)
