"""For test_golden*.py: a program run as typed, and what is pinned in tests/golden compared with what is found.

No module of the project is named here: the programs are found where pyproject.toml says they are.
"""

from __future__ import annotations

import io
import json
import os
import re
import sys
import tomllib
import traceback
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

HERE = Path(__file__).parent
GOLDEN = HERE / "golden"
WRITE = os.environ.get("GOLDEN") == "write"
VARIES = {"versions"}  # keys whose values are named by the packages that are installed


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended; code "bug" where it raised what is no exit."""

    code: int | str
    out: str
    err: str


def typed(folder: Path, program: str, *words: object) -> Ended:
    """`PROGRAM WORDS` as typed in the folder. Run in this process: starting Python takes longer than most commands."""
    module, _, function = scripts()[program].partition(":")
    out, err = io.StringIO(), io.StringIO()
    folder.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as here, redirect_stdout(out), redirect_stderr(err):
        here.chdir(folder)
        here.setattr(sys, "argv", [program, *map(str, words)])
        for name in [name for name in os.environ if name.startswith("PREP_")]:
            here.delenv(name)
        code: int | str = 0
        try:
            getattr(import_module(module), function)()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except Exception:
            code, out = "bug", io.StringIO(traceback.format_exc())
    return Ended(code, out.getvalue(), err.getvalue())


def scripts() -> dict[str, str]:
    """Where each program of the project begins: `prep` -> `package.module:function`."""
    found: dict[str, str] = tomllib.loads((HERE.parent / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    return found


def golden(name: str, found: Any) -> Any:
    """What tests/golden/NAME.json holds; with GOLDEN=write, what was found, which is written there."""
    path = GOLDEN / f"{name}.json"
    if WRITE:
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, ensure_ascii=False, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    return json.loads(path.read_text("utf-8"))


def pinned(file: str, name: str, found: Any) -> Any:
    """What tests/golden/FILE.json holds under this name; with GOLDEN=write, what was found, which is added to it."""
    if WRITE:
        path = GOLDEN / f"{file}.json"
        return golden(file, (json.loads(path.read_text("utf-8")) if path.exists() else {}) | {name: found})[name]
    return golden(file, None)[name]


def columns(path: Path) -> list[str]:
    """The columns of a Parquet file in their order: name, Arrow type, whether null may be there."""
    return [f"{field.name}: {field.type}{'' if field.nullable else ' not null'}" for field in pq.read_schema(path)]


def said(path: Path) -> dict[str, Any]:
    """What a file of ours says of itself, from its footer."""
    held: dict[str, Any] = json.loads(pq.read_metadata(path).metadata[b"prep"])
    return held


def keys(out: str) -> dict[str, str]:
    """The paths of all keys of an answer, of all its lines, with the types found there: {".levels[].rows": "int"}."""
    found: dict[str, set[str]] = {}
    for line in out.splitlines():
        for path, type_name in _paths("", json.loads(line)):
            found.setdefault(path, set()).add(type_name)
    return {path: "|".join(sorted(names)) for path, names in sorted(found.items())}


def _paths(path: str, value: Any) -> Iterator[tuple[str, str]]:
    yield path, "null" if value is None else type(value).__name__
    if isinstance(value, dict) and path.rpartition(".")[2] not in VARIES:
        for key, held in value.items():
            yield from _paths(f"{path}.{key}", held)
    if isinstance(value, list):
        for held in value:
            yield from _paths(f"{path}[]", held)


def help_of(program: str, *words: str) -> str:
    ended = typed(Path.cwd(), program, *words, "--help")
    assert ended.code == 0, ended
    return ended.out


def flags(text: str) -> list[str]:
    """The options that a help explains: of `  --gate / --no-gate  stop noise`, both."""
    lines = re.findall(r"^  (-.*?)(?:  |$)", text, re.MULTILINE)
    return sorted({flag for line in lines for flag in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", line)})
