"""Virtual files over stretches of real files: disks of a split zip, pieces of a download, an archive in another."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

from pipeline.archives.names import base
from pipeline.core.errors import SourceError

MOST_FILES = "PREP_MOST_FILES"  # the variable that sets another bound than this one
_MOST_FILES = 1_000_000  # of a root: a listing takes about 0.4 GB for so many
OPEN_FILES = 128  # per process; the usual limit is 1024
LARGEST_INDEX = 9_999  # of a piece; a larger number counts bytes
QUOTED_CHARACTERS = 80
_HEAD_BYTES = 512
_MAGIC = {
    b"PK\x03\x04": "a zip",
    b"PK\x07\x08": "the first disk of a split zip",
    b"\x1f\x8b": "gzip data",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"ALZ\x01": "an alz archive",
    b"EGGA": "an egg archive",
    b"RIFF": "a wav file",
    b"fLaC": "a flac file",
    b"%PDF": "a PDF document",
}


@dataclass(frozen=True, slots=True)
class Span:
    """`size` bytes of the file at `path` from `start` on; stamp: the file's modification time in ns."""

    path: str
    start: int
    size: int
    stamp: int


@dataclass(frozen=True, slots=True)
class Spans:
    """A virtual file: the parts one after another. Two Spans are equal while no file under them has changed."""

    parts: tuple[Span, ...]
    starts: tuple[int, ...] = field(init=False, compare=False, repr=False)
    size: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        ends = tuple(accumulate((part.size for part in self.parts), initial=0))
        object.__setattr__(self, "starts", ends[:-1])
        object.__setattr__(self, "size", ends[-1])

    @property
    def path(self) -> str:
        """The last real file under this one: the one a message names."""
        return self.parts[-1].path if self.parts else ""

    @property
    def stamp(self) -> int:
        """Modification time in ns of the youngest file under this one."""
        return max((part.stamp for part in self.parts), default=0)

    def pread(self, offset: int, size: int) -> bytes:
        """The bytes [offset, offset + size), fewer where the virtual file ends before that."""
        size = min(size, self.size - offset)
        if size <= 0:
            return b""
        first = bisect_right(self.starts, offset) - 1
        part = self.parts[first]
        inside = offset - self.starts[first]
        if inside + size <= part.size:
            return _read(part, inside, size)
        pieces = [_read(part, inside, part.size - inside)]
        for part in self.parts[first + 1 :]:
            size -= len(pieces[-1])
            pieces.append(_read(part, 0, min(size, part.size)))
        return b"".join(pieces)

    def cut(self, offset: int, size: int) -> Spans:
        """The stretch [offset, offset + size) as a virtual file of its own; it must lie inside this one."""
        parts = []
        for part, start in zip(self.parts, self.starts, strict=True):
            low, high = max(offset, start), min(offset + size, start + part.size)
            if low < high:
                parts.append(Span(part.path, part.start + low - start, high - low, part.stamp))
        return Spans(tuple(parts))


def refuse_too_many(count: int, where: str = "") -> None:
    """SourceError where so many files are more than the bound: the list of them would take the memory."""
    stated = os.environ.get(MOST_FILES, "") or str(_MOST_FILES)
    if not stated.isdecimal():
        raise SourceError(f'{MOST_FILES}="{stated}": expected a number of files, such as {2 * _MOST_FILES}')
    most = int(stated)
    if count > most:
        raise SourceError(
            f"{where}{': ' if where else ''}{count:,} files or more, the bound is {most:,}; if they are meant, set "
            f"{MOST_FILES}={max(count, 2 * most)} (each takes about 0.4 kB of memory)"
        )


def stamp_of(status: os.stat_result) -> int:
    """A file's modification time in ns, which may be of a clock that was set far off, in 63 bits."""
    return status.st_mtime_ns % (1 << 63)


def over_file(path: str) -> Spans:
    """The whole file as it is now. SourceError where it cannot be read."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise unreadable(path, error) from error
    return Spans((Span(path, 0, status.st_size, stamp_of(status)),))


def joined(parts: list[Spans]) -> Spans:
    """The virtual files one after another."""
    return Spans(tuple(span for part in parts for span in part.parts))


class _Handle:
    """An open file. It closes when the last reader lets go, so eviction never closes it under a thread."""

    __slots__ = ("fd",)

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0))

    def __del__(self) -> None:
        if hasattr(self, "fd"):
            os.close(self.fd)


@lru_cache(maxsize=OPEN_FILES)
def _handle(path: str, stamp: int) -> _Handle:
    """The open file; the stamp is in the key so that a replaced file is opened anew."""
    return _Handle(path)


def _read(span: Span, inside: int, size: int) -> bytes:
    """`size` bytes of the span from `inside` on, in one read where the system gives them so."""
    start = span.start + inside
    try:
        handle = _handle(span.path, span.stamp)
        data = os.pread(handle.fd, size, start)
        while len(data) < size:  # the system caps one read at 2 GiB
            more = os.pread(handle.fd, size - len(data), start + len(data))
            if not more:
                raise SourceError(
                    f"{span.path}: ends at byte {start + len(data):,}, but was at least {span.start + span.size:,} "
                    "bytes long when it was opened. Leave the corpora alone while they are read, then run the command "
                    "again."
                )
            data += more
    except OSError as error:
        raise unreadable(span.path, error) from error
    return data


def unreadable(path: str, error: OSError) -> SourceError:
    """The message for a file or folder that the system does not let us read."""
    return SourceError(
        f"{path.rstrip('/')}: cannot be read ({error.strerror or error}). "
        "Check that the disk is there and that you may read it."
    )


def in_order(whole: str, pieces: dict[int, Spans]) -> Spans:
    """The file `whole` out of its pieces, by number. The numbers are byte offsets, or count the pieces from 0 or 1.

    SourceError: a piece is missing, too short or too long.
    """
    numbers = sorted(pieces)
    ordered = [pieces[number] for number in numbers]
    if numbers in (list(range(len(numbers))), list(range(1, len(numbers) + 1))):
        return joined(ordered)
    sizes = [piece.size for piece in ordered[:-1]]
    if sizes and numbers[-1] <= LARGEST_INDEX and min(sizes) > numbers[-1]:
        missing = next(n for n in range(numbers[0] > 0, numbers[-1]) if n not in numbers)
        raise SourceError(f"piece {missing} of {numbers[-1]} is missing. Download it again, beside the others.")
    for number, expected in zip(numbers, accumulate(sizes, initial=0), strict=True):
        if number > expected:
            raise SourceError(
                f"the piece at byte {expected:,} is missing (no {base(whole)}.part{expected}; the next one found is "
                f".part{number}). Download the missing piece, or the one before it if that was cut short."
            )
        if number < expected:
            raise SourceError(
                f".part{number} starts before the piece ahead of it ends (at byte {expected:,}): the pieces are not "
                "from one download. Delete all of them and download again."
            )
    return joined(ordered)


def described(spans: Spans) -> str:
    """What a file that should be an archive really is, for a message: `gzip data`, `a text ...: "<html>..."`."""
    head = spans.pread(0, _HEAD_BYTES)
    for magic, words in _MAGIC.items():
        if head.startswith(magic):
            return words
    if not head.strip(b"\0"):
        return "only zeros (a download that was never filled in)"
    if head[257:262] == b"ustar":
        return "a tar whose first header is damaged"
    for encoding in ("utf-8-sig", "cp949"):
        try:
            text = head.decode(encoding, "strict" if len(head) < _HEAD_BYTES else "ignore")
        except UnicodeDecodeError:
            continue
        line = " ".join(text.split())
        if line and line.isprintable():
            return f'a text, a web page or an error message perhaps: "{line[:QUOTED_CHARACTERS]}"'
    return "unknown data"
