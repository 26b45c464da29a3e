"""Folders and files that are written whole or not at all, and folders in which one process works at a time."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pipeline.core.errors import PrepError
from pipeline.core.files import TEMPORARY, halves, replacing, sync

LOCK = ".lock"
_OLD = ".old-"  # prefix of a folder while a new one takes its place


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keeps a folder for this process, by a lock that ends with the process. An empty folder is removed at the end.

    PrepError names the process that is at work in the folder, or the folder when the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise PrepError(f"{folder}: a file is in the way of this folder: give another --out") from None
    path = folder / LOCK
    while True:
        file = path.open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read() or "another process"
            file.close()
            raise PrepError(f"{folder}: {holder} is at work here: wait for it to end, or give another --out") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                break
        file.close()  # the process before removed the file when it ended
    try:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        fault = f"{folder}: a file could not be written to its end ({error})"  # one that is open has no name in errors
        raise PrepError(f"{fault}: make room, then type the same again") from None
    finally:
        path.unlink(missing_ok=True)
        with suppress(OSError):  # on a full disk the name of the process is not written
            file.close()
        with suppress(OSError):
            folder.rmdir()


def write_text(path: Path, text: str) -> None:
    """Writes a text file, whole or not at all."""
    with replacing(path) as half:
        half.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a mapping as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in. It takes the name of `folder` when the block ends well; the old one stays until then."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = folder.parent / f"{TEMPORARY}{folder.name}-{os.getpid()}-{secrets.token_hex(4)}"
    half.mkdir()
    try:
        yield half
        for path in sorted(half.iterdir()):
            sync(path)
        sync(half)
        settle(folder)
        old = folder.with_name(_OLD + folder.name)
        if folder.exists():
            folder.rename(old)
        half.rename(folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def settle(folder: Path) -> None:
    """Repairs what a kill between the two renames leaves: the old folder takes its name again, or is removed."""
    old = folder.with_name(_OLD + folder.name)
    if old.is_dir():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def clean(run: Path, names: tuple[str, ...]) -> None:
    """Removes what interrupted runs left half-written in a folder, and repairs the folders of these names in it."""
    for name in names:
        settle(run / name)
    for half in halves(run):
        shutil.rmtree(half) if half.is_dir() else half.unlink()
