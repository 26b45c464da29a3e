"""One run at a time in a folder of manifests: a lock that ends with its process."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.core import files
from pipeline.stages.store import WORK_FOLDER

_NAME = "lock"


@contextmanager
def locked(folder: Path, say: Callable[[str], None], shared: bool = False) -> Iterator[None]:
    """Keeps a folder of manifests for this process, or (shared) for the slices of one run; waits for it if need be.

    A process that has the folder alone removes the temporary files that interrupted runs left.
    """
    path = folder / WORK_FOLDER / _NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{folder}: {_text(path)} is at work here; waiting for it to end")
            fcntl.flock(file, kind)
        _clear(folder, shared)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        try:
            yield
        finally:
            _clear(folder, shared)


def _clear(folder: Path, shared: bool) -> None:
    """Removes what was left half-written, unless others are at work in the folder too."""
    for temporary in [] if shared else temporary_files(folder):
        with suppress(OSError):  # the folder is read-only now: the next run removes it
            temporary.unlink()


def holder(folder: Path) -> str | None:
    """Which process is at work in the folder; None where there is none."""
    path = folder / WORK_FOLDER / _NAME
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _text(path)
    return None


def _text(path: Path) -> str:
    return path.read_text().strip() or "another prep"


def temporary_files(folder: Path) -> list[Path]:
    """Files that interrupted runs left half-written in the folder."""
    work = folder / WORK_FOLDER
    folders = (folder, folder / AUDIO_FOLDER, work, *sorted(work.glob("*/")))
    return [path for place in folders for path in files.halves(place)]
