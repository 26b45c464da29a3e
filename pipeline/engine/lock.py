"""One run at a time in a folder of manifests: a lock that dies with its process."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.core import files
from pipeline.stages.store import WORK_FOLDER

_NAME = "lock"


@contextmanager
def held(folder: Path, say: Callable[[str], None], shared: bool = False) -> Iterator[None]:
    """The folder to ourselves (or to the slices of one run, where shared), waiting for it if need be.

    Who has it alone removes what interrupted runs left half-written.
    """
    path = folder / WORK_FOLDER / _NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"{folder}: {_holder(path)} is at work here; waiting for it to end")
            fcntl.flock(file, kind)
        if not shared:
            sweep(folder)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def holder(folder: Path) -> str | None:
    """Who is at work in the folder; None where nobody is."""
    path = folder / WORK_FOLDER / _NAME
    if not path.exists():
        return None
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return _holder(path)
    return None


def _holder(path: Path) -> str:
    return path.read_text().strip() or "another prep"


def halves(folder: Path) -> list[Path]:
    """What interrupted runs left half-written in the folder."""
    work = folder / WORK_FOLDER
    return [
        half
        for place in (folder, folder / AUDIO_FOLDER, work, *sorted(work.glob("*/")))
        for half in files.halves(place)
    ]


def sweep(folder: Path) -> None:
    """Removes them."""
    for half in halves(folder):
        half.unlink(missing_ok=True)
