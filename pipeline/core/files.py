"""Files that are whole or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from pipeline.core.errors import ManifestError, PrepError

DISK_FAULTS = {  # errors of a disk that a person can mend -> what to do
    errno.ENOSPC: "make room, or name a place on another disk with --out",
    errno.EDQUOT: "your quota is used up: make room, or name a place on another disk with --out",
    errno.EFBIG: "no file may be so large here: raise the limit (ulimit -f), or name another place with --out",
    errno.EROFS: "the disk can only be read now: have it mounted for writing, or name another place with --out",
}
TEMPORARY = ".half-"  # prefix of what is being written; never trusted, cleaned up by the next run


def regular(path: Path) -> Path:
    """The path itself. ManifestError where no file can lie there, or something does that is none.

    A pipe or a device is never read to its end, and what is written whole would take its place.
    """
    if not path.name or (path.exists() and not path.is_file()):
        what = "a folder" if path.is_dir() else "a pipe, a device or a socket"
        raise ManifestError(f"{path}: {what}; expected a file, or a name that is free")
    if any("\ud800" <= letter <= "\udfff" for letter in str(path)):
        raise ManifestError(f"{path}: its name is not UTF-8, in which provenance is written; give it another one")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path to write to; when the block ends well it takes `path`'s name in one step, else it is removed.

    What a killed process of this machine left of the same file is removed. OSError names `path` where the disk is full
    or the folder has turned read-only.
    """
    regular(path).parent.mkdir(parents=True, exist_ok=True)
    machine, start = f"{crc32(os.uname().nodename.encode()) & 0xFFFF:04x}", f"{TEMPORARY}{path.name}-"
    for left in [] if path.parent.name.startswith(".") else halves(path.parent):  # the engine clears folders of its own
        pid, _, token = left.name.removeprefix(start).partition("-")
        if left.name.startswith(start) and pid.isdecimal() and token.startswith(machine):
            try:
                os.kill(int(pid), 0)
            except ProcessLookupError:
                left.unlink(missing_ok=True)
            except OSError:
                continue
    half = path.parent / f"{start}{os.getpid()}-{machine}{secrets.token_hex(2)}"
    try:
        yield half
        sync(half)
        os.replace(half, path)
    except OSError as error:
        if error.errno in DISK_FAULTS:  # an open file has no name in its errors, and this one no meaning to anybody
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
    finally:
        with suppress(OSError):  # in a folder that is read-only now; the next run removes it
            half.unlink(missing_ok=True)
    sync(path.parent)


def sync(path: Path) -> None:
    """Waits until the file or folder is on disk, so that a rename never comes before its content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def halves(folder: Path) -> list[Path]:
    """What interrupted runs left half-written in the folder."""
    return sorted(folder.glob(f"{TEMPORARY}*")) if folder.is_dir() else []


def check_room(path: Path, size: float, what: str) -> None:
    """PrepError where the disk that will hold a path has less room than so many bytes. what: is to be written there."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        needed, left = (f"{n / 1e9:,.2f} GB" if n >= 1e9 else f"{n / 1e6:,.0f} MB" for n in (size, free))
        remedy = "make room, or name a place on another disk with --out"
        raise PrepError(f"{path}: about {needed} are needed for {what}, {left} are free; {remedy}")


def below(folder: Path, name: str) -> Path:
    """The file of this name below a folder. ManifestError for a name that leads out of it, is none, or is of no file.

    Every name that a manifest gives and that becomes the name of a file goes through here.
    """
    if "\0" in name or any(part in ("", ".", "..") for part in name.split("/")):
        raise ManifestError(
            f"{name[:80]!r} names no file below {folder}; expected a name without .. that does not begin with /"
        )
    return regular(folder / name)
