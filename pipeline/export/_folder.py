"""The folder of an export: it appears whole or not at all, and takes nobody else's place."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.core import files
from pipeline.core.errors import PrepError

MARKER = "prep-export.json"  # what is an export of ours, and of what
_SPARE = 1.02


@contextmanager
def replacing(path: Path, told: dict[str, object]) -> Iterator[Path]:
    """An empty folder to write to; when the block ends well it takes `path`'s place, else it is removed.

    told: what the export is. See `refuse` for what may be there before.
    """
    refuse(path, told)
    half, old = (path.parent / f"{files.TEMPORARY}{path.name}{end}" for end in ("", "-old"))
    _remove(half, old)
    try:
        half.mkdir(parents=True)
        yield half
        (half / MARKER).write_text(
            json.dumps({**told, "files": _count(half) + 1}, ensure_ascii=False, sort_keys=True, indent=1) + "\n"
        )
        os.sync()  # all files before the name: one call, where each of 400,000 would wait for the disk
        if path.exists():
            os.replace(path, old)
        os.replace(half, path)
    finally:
        _remove(half, old)


def refuse(path: Path, told: dict[str, object]) -> None:
    """PrepError where the path is taken by anything but an earlier export of the same format and manifest, as it was written."""
    if not path.exists():
        return
    if not path.is_dir():
        raise PrepError(f"{path}: a file; --out names the folder of an export")
    held = _marker(path)
    if not held and not _count(path):
        return
    if not held:
        raise PrepError(
            f"{path}: a folder that holds other things than an export; name another with --out, or empty it"
        )
    if any(held.get(key) != told[key] for key in ("format", "manifest")):
        what = f"{held.get('format')} of {held.get('manifest')}"
        raise PrepError(f"{path}: holds another export ({what}); name another folder with --out, or remove it")
    more = _count(path) - int(str(held.get("files", 0)))
    if more > 0:
        added = "1 file was" if more == 1 else f"{more:,} files were"
        raise PrepError(
            f"{path}: {added} added to this export since; move what is not of it away, or name another folder with --out"
        )


def _marker(path: Path) -> dict[str, object]:
    try:
        return dict(json.loads((path / MARKER).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _count(path: Path) -> int:
    """How many files are in a folder, those below it too."""
    return sum(len(names) for _, _, names in os.walk(path))


def _remove(*paths: Path) -> None:
    for path in paths:
        shutil.rmtree(path, ignore_errors=True)


def check_disk(path: Path, size: int) -> None:
    """PrepError where the disk has no room for so many bytes."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if size * _SPARE > free:
        raise PrepError(
            f"{path}: about {size / 1e9:.2f} GB to write, {free / 1e9:.2f} GB free; name a folder on another disk with --out"
        )
