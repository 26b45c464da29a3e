"""What a build consists of and how far it is: a small JSON file of each, beside the commits.

For plan, status, clean.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any

from pipeline.core import files, texts
from pipeline.stages.store import WORK_FOLDER


@dataclass(frozen=True, slots=True)
class Part:
    """One stage of a build: the shards it is made of, how many clips it has, and how many of them are done."""

    shards: list[str] = field(default_factory=list)
    clips: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Build:
    """A manifest that was made or is being made. recipe: its options when it began. parts: name of a stage -> Part."""

    name: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    finished: bool = False


class Status:
    """Writes the file of one build as it goes on."""

    def __init__(self, folder: Path, name: str, recipe: Mapping[str, Any]) -> None:
        self.path = builds_folder(folder) / f"{name}.json"
        self.build = Build(name, recipe)

    def begin(self, part: str, shards: list[str], clips: int, done: int) -> None:
        """Notes that a stage begins."""
        self._write(replace(self.build, parts={**self.build.parts, part: Part(shards, clips, done)}))

    def advance(self, part: str, clips: int) -> None:
        """Notes that so many more clips of a stage are done."""
        before = self.build.parts[part]
        self._write(replace(self.build, parts={**self.build.parts, part: replace(before, done=before.done + clips)}))

    def finish(self) -> None:
        """Notes that the manifest is written."""
        self._write(replace(self.build, finished=True))

    def _write(self, build: Build) -> None:
        self.build = build
        with files.replacing(self.path) as half:
            half.write_text(json.dumps(asdict(build), ensure_ascii=False, indent=1), encoding="utf-8")


def builds_folder(folder: Path) -> Path:
    """Where the files of builds lie, below a folder of manifests."""
    return folder / WORK_FOLDER / "builds"


def builds(folder: Path) -> list[Build]:
    """The builds of a folder of manifests, by name. A file that cannot be read is passed over."""
    readable = []
    for path in sorted(builds_folder(folder).glob("*.json")):
        try:
            values = texts.from_json(texts.read(path))
            parts = {name: Part(**part) for name, part in values["parts"].items()}
            readable.append(Build(values["name"], values["recipe"], parts, values["finished"]))
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return readable


def remove(folder: Path, name: str) -> None:
    """Removes the file of a build."""
    (builds_folder(folder) / f"{name}.json").unlink(missing_ok=True)


def remove_slices(folder: Path, name: str) -> None:
    """Removes the files of the slices of a build, `mixed.1of8.json` and so on."""
    for path in sorted(builds_folder(folder).glob(f"{escape(name)}.*of*.json")):
        path.unlink(missing_ok=True)


Ledger = Status  # its name from before, until its last user has changed
