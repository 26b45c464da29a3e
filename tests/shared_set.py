"""A set as it is shared, for tests: corpora in other layouts, packs, and what `prep rebuild` makes of them."""

from __future__ import annotations

import shutil
from pathlib import Path
from unicodedata import normalize

from command import Ended, done, prep
from conftest import ROOTS, Built
from containers import Style, tar_bytes, zip_bytes

from pipeline.archives import Root

LAYOUTS = ("as downloaded", "unpacked", "zipped again", "NFD", "renamed, all in one folder")


def flags(corpora: Path) -> list[str]:
    """--root for each corpus below the folder."""
    return [word for name, below in ROOTS.items() for word in ("--root", f"{name}={corpora / below}")]


def laid_out(corpora: Path, out: Path, layout: str) -> Path:
    """The same corpora in another layout; returns the folder that holds them."""
    for below in ROOTS.values():
        files = {
            entry.name: Root(below, corpora / below).read(entry.place)
            for entry in Root(below, corpora / below).entries()
        }
        folder = out / below
        if layout == "as downloaded":
            shutil.copytree(corpora / below, folder)
        elif layout == "zipped again":
            folder.mkdir(parents=True)
            (folder / "part of it.tar").write_bytes(tar_bytes(dict(sorted(files.items())[::2]), form="NFD"))
            (folder / "the rest.zip").write_bytes(zip_bytes(dict(sorted(files.items())[1::2]), Style(method=0)))
        else:
            for name, data in files.items():
                put(folder / (normalize("NFD", name) if layout == "NFD" else name), data)
            if layout == "renamed, all in one folder":
                _rename(folder)
    return out


def _rename(folder: Path) -> None:
    for number, path in enumerate(sorted(folder.rglob("*.wav"))):
        path.rename(folder / f"take {number}.wav")


def put(path: Path, data: bytes) -> None:
    """A file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def small_set(built: Built, folder: Path) -> Path:
    """A folder with what the stages made, but with a mixed set of few rows."""
    shutil.copytree(built.folder, folder, dirs_exist_ok=True)
    done(folder, "mix", "--snr", 20, "--snr", "0:10", "--limit", 12, "--jobs", 1, "--shard-clips", 6)
    return folder


def rebuild(folder: Path, pack: Path, corpora: Path, *more: object) -> Ended:
    """`prep rebuild PACK` in the folder, from these corpora."""
    return prep(folder, "rebuild", pack, *flags(corpora), "--jobs", 1, "--shard-clips", 6, "--json", *more)


def wav(corpora: Path, digits: str) -> Path:
    """The one recording of AI-Hub with this id in its name."""
    (found,) = [
        path for path in sorted(corpora.rglob("*.wav")) if normalize("NFC", path.stem).split("_")[1:2] == [digits]
    ]
    return found
