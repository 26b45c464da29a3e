"""What a format is given, and what all of them ask of it: rows told in plain words, sound by the row, files with safe names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.audio.shards import Reader
from pipeline.core import keys
from pipeline.core.row import Row
from pipeline.core.table import Table

AUDIO = "audio"  # folder of an export in which loose files lie
SPLITS = ("train", "dev", "test")
TOLD = (  # of each clip; the manifest has the rest
    "id",
    "corpus",
    "split",
    "group",
    "kind",
    "source",
    "transcript",
    "keyword",
    "scenario",
    "scene",
    "noise_label",
    "rate_hz",
    "frames",
    "pcm_hash",
    "level_active_dbfs",
    "activity",
    "speech_id",
    "noise_id",
    "noise_source",
    "snr_db",
    "snr_definition",
    "snr_active_db",
    "snr_full_db",
)
AT_A_TIME = 10_000
_LONGEST_NAME = 180  # bytes of a file name, less than the 255 that file systems take: suffixes follow
_UNSAFE = re.compile(r"""[%.<>:"|?*\\\x00-\x20\x7f]""")


@dataclass(frozen=True, slots=True)
class Job:
    """rows: those that may leave. folder: empty, where the export is written. home: where it will lie, `name` its manifest's.

    advance: told how many rows are done.
    """

    rows: Table
    reader: Reader
    folder: Path
    home: Path
    name: str
    links: bool
    advance: Callable[[int], None]
    _folders: set[Path] = field(default_factory=set)

    def splits(self) -> Iterator[tuple[str, Table]]:
        """The splits that have rows, in the order train, dev, test, then any other by name."""
        found = {str(name) for name in self.rows.codes("split")[1]}
        for name in [*(name for name in SPLITS if name in found), *sorted(found - set(SPLITS))]:
            yield name, self.rows.where(self.rows.equal("split", name))

    def put(self, path: str, data: bytes) -> None:
        """A loose file of the export; its folders are made."""
        place = self.folder / path
        if place.parent not in self._folders:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._folders.add(place.parent)
        place.write_bytes(data)

    def lines(self, path: str, told: Iterator[dict[str, Any]]) -> None:
        """A file of one JSON object a line."""
        with open(self.folder / path, "wb") as file:
            for item in told:
                file.write(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE))


def each(rows: Table) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Each row, and what is to be told of it."""
    for part in rows.parts(AT_A_TIME):
        yield from zip(part.rows(Row), told(part), strict=True)


def told(rows: Table) -> Iterator[dict[str, Any]]:
    """Of each row the columns TOLD that have a value, and its labels as `label.<key>`."""
    there = set(rows.without_empty().names)
    names = [name for name in TOLD if name in there]
    columns = [rows.column(name) for name in names]
    for values, labels in zip(zip(*columns, strict=True), rows.labels(), strict=True):
        held = {name: value for name, value in zip(names, values, strict=True) if value is not None}
        yield held | {f"label.{key}": labels[key] for key in sorted(labels)}


def file_name(row_id: str, suffix: str) -> str:
    """`audio/<id><suffix>`, each part of it fit to be a file's name anywhere and in any list of files; ids that differ stay so."""
    parts = [_UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", part) or "%" for part in row_id.split("/")]
    return "/".join([AUDIO, *(_short(part) for part in parts)]) + suffix


def _short(part: str) -> str:
    return part if len(part.encode()) <= _LONGEST_NAME else keys.fingerprint(part)


def seconds(row: Row) -> float:
    """Length of a row."""
    return (row.frames or 0) / (row.rate_hz or 1)


def stored_bytes(rows: Table) -> int:
    """About how many bytes the rows' sound takes as FLAC: as they are stored, virtual mixtures at 10 bits a sample."""
    return int(
        rows.query("SELECT coalesce(sum(CASE WHEN shard IS NULL THEN frames * 1.25 ELSE bytes END), 0) FROM rows")[0][0]
    )
