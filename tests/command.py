"""`prep` as typed, run in this process."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cli.main import main
from pipeline.core import manifest
from pipeline.core.manifest import Manifest
from pipeline.core.row import Row
from pipeline.core.sql import query


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """What it answered with --json."""
        return json.loads(self.out)


def prep(folder: Path, *words: object) -> Ended:
    """`prep WORDS` in the folder. What is no fault that a person can mend comes through as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    out, err, code = io.StringIO(), io.StringIO(), 0
    with chdir(folder), _typed(words), redirect_stdout(out), redirect_stderr(err):
        try:
            main()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return Ended(code, out.getvalue(), err.getvalue())


def done(folder: Path, *words: object) -> Ended:
    """The same, and it must have ended well."""
    ended = prep(folder, *words)
    assert ended.code == 0, ended.err
    return ended


@contextmanager
def _typed(words: tuple[object, ...]) -> Iterator[None]:
    before, sys.argv = sys.argv, ["prep", *map(str, words)]
    try:
        yield
    finally:
        sys.argv = before


def chain(folder: Path, corpus: Path, *mixing: object, filtering: tuple[object, ...] = ()) -> Path:
    """Each stage on an MS-SNSD-like corpus, speech mixed with its noise, no dev split; path of the mixed manifest."""
    done(folder, "ingest", "ms-snsd", corpus, "--jobs", 1)
    done(folder, "filter", "--no-transcript", "--dev-share", 0, *filtering)
    done(folder, "resample", "--jobs", 1)
    done(folder, "mix", "--jobs", 1, *mixing)
    return folder / "manifests/mixed.parquet"


def held(folder: Path, name: str) -> Manifest:
    """A manifest in the folder, `mixed`."""
    return manifest.read(folder / f"manifests/{name}.parquet")


def rows(folder: Path, name: str) -> dict[str, Row]:
    """Its rows by id."""
    return {row.id: row for row in held(folder, name).rows()}


def drops(folder: Path, name: str) -> dict[str, tuple[str, str]]:
    """(reason, detail) of what was dropped, by id."""
    return {
        row_id: (reason, detail)
        for row_id, reason, detail in query(held(folder, name).drops, "SELECT id, reason, detail FROM rows")
    }
