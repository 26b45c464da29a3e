"""What a build consists of and how far it is: one small file for each, beside the commits. For plan, status and clean."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.core import files
from pipeline.stages.store import WORK_FOLDER

_FOLDER = "builds"


@dataclass(frozen=True, slots=True)
class Part:
    """One stage of a build: the shards it is made of, and how many of its clips are done."""

    shards: list[str] = field(default_factory=list)
    clips: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class Build:
    """A manifest that was made or is being made. recipe: the options it was begun with."""

    name: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)
    finished: bool = False


class Ledger:
    """Writes the file of one build as it goes on."""

    def __init__(self, folder: Path, name: str, recipe: Mapping[str, Any]) -> None:
        self.path = folder / WORK_FOLDER / _FOLDER / f"{name}.json"
        self.build = Build(name, recipe)

    def begin(self, part: str, shards: list[str], clips: int, done: int) -> None:
        """A stage begins."""
        self._write(replace(self.build, parts={**self.build.parts, part: Part(shards, clips, done)}))

    def advance(self, part: str, clips: int) -> None:
        """Clips of a stage are done."""
        held = self.build.parts[part]
        self._write(replace(self.build, parts={**self.build.parts, part: replace(held, done=held.done + clips)}))

    def finish(self) -> None:
        """The manifest is written."""
        self._write(replace(self.build, finished=True))

    def _write(self, build: Build) -> None:
        self.build = build
        with files.replacing(self.path) as half:
            half.write_text(json.dumps(asdict(build), ensure_ascii=False, indent=1), encoding="utf-8")


def builds(folder: Path) -> list[Build]:
    """The builds of a folder, by name; a file that cannot be read is passed over."""
    found = []
    for path in sorted((folder / WORK_FOLDER / _FOLDER).glob("*.json")):
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            found.append(
                Build(
                    told["name"],
                    told["recipe"],
                    {key: Part(**part) for key, part in told["parts"].items()},
                    told["finished"],
                )
            )
        except (ValueError, KeyError, TypeError):
            continue
    return found


def forget_slices(folder: Path, name: str) -> None:
    """Removes the files of a build's slices, now that the build itself is whole."""
    for path in sorted((folder / WORK_FOLDER / _FOLDER).glob(f"{name}.*of*.json")):
        path.unlink(missing_ok=True)


def forget(folder: Path, name: str) -> None:
    """Removes the file of a build."""
    (folder / WORK_FOLDER / _FOLDER / f"{name}.json").unlink(missing_ok=True)
