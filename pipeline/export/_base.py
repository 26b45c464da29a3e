"""What every format works with: the job, the facts of a row, names of files, the card that says how to load it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any, Protocol

import orjson
import pandas as pd

from pipeline.audio.shards import Reader
from pipeline.core import frame, keys, sql
from pipeline.core.row import Row

AUDIO = "audio"  # folder of an export in which loose files lie
SPLITS = ("train", "dev", "test")
FACTS = (  # columns that every export of clips carries; the manifest has the rest
    *("id", "corpus", "split", "group", "kind", "source", "transcript", "keyword", "scenario", "scene", "noise_label"),
    *("rate_hz", "frames", "pcm_hash", "level_active_dbfs", "activity", "speech_id", "noise_id", "noise_source"),
    *("snr_db", "snr_definition", "snr_active_db", "snr_full_db"),
)
_LONGEST_NAME = 180  # bytes of a file name, less than the 255 that file systems take: suffixes follow
_LONGEST_PATH = 1000
_UNSAFE = re.compile(r"""[%.<>:"|?*\\\x00-\x20\x7f]""")


@dataclass(frozen=True, slots=True)
class Job:
    """An export that is being written.

    rows: those that may leave. folder: empty, where the export is written. home: where it will lie. name: that of the
    manifest. links: whether clips are read in the shards where they lie. advance: is called with a number of rows done.
    """

    rows: pd.DataFrame
    reader: Reader
    folder: Path
    home: Path
    name: str
    links: bool
    advance: Callable[[int], object]

    def splits(self) -> Iterator[tuple[str, pd.DataFrame]]:
        """The splits that have rows, in the order train, dev, test, then any other by name, as names of files."""
        names = {str(name) for name in frame.codes(self.rows["split"])[1]}
        for name in sorted(names, key=lambda name: (SPLITS.index(name) if name in SPLITS else len(SPLITS), name)):
            yield _part(name.replace("/", "\\")), frame.pick(self.rows, frame.equal(self.rows["split"], name))

    def put(self, path: str, data: bytes) -> None:
        """Writes a loose file of the export; its folders are made."""
        place = self.folder / path
        try:
            place.write_bytes(data)
        except FileNotFoundError:
            place.parent.mkdir(parents=True)
            place.write_bytes(data)

    def put_lines(self, path: str, items: Iterator[dict[str, Any]]) -> None:
        """Writes a file of one JSON object a line."""
        with open(self.folder / path, "wb") as file:
            for item in items:
                file.write(orjson.dumps(item, option=orjson.OPT_APPEND_NEWLINE))

    def card(self, template: str, **values: str) -> str:
        """The Markdown of cards/TEMPLATE.md, which says what lies in the folder and what to type to load it."""
        text = (Path(__file__).parent / f"cards/{template}.md").read_text(encoding="utf-8")
        common = {"name": self.name, "rows": f"{len(self.rows):,}", "split": next(self.splits())[0]}
        return Template(text).substitute(common, **values)


class Format(Protocol):
    """What the module of a format holds; the first line of its docstring says what it writes.

    SOUND: whether it holds audio or points to it. LINKS: whether it can read clips in the shards where they lie; then
    that is what it does, unless a copy is wanted.
    """

    SOUND: bool
    LINKS: bool

    def size(self, rows: pd.DataFrame, links: bool) -> int:
        """About how many bytes of audio will be written."""

    def write(self, job: Job) -> str:
        """Writes the export into the job's folder. Returns its card, Markdown."""


def facts(row: Row) -> dict[str, Any]:
    """The columns FACTS of a row that have a value, and its labels as `label.<key>`."""
    values = {name: value for name in FACTS if (value := getattr(row, name)) is not None}
    return values | {f"label.{key}": row.labels[key] for key in sorted(row.labels)}


def file_name(row_id: str, suffix: str) -> str:
    """`audio/<id><suffix>`, without letters that a file system or a list of files cannot take. Two ids, two names."""
    name = "/".join(_part(part) for part in row_id.split("/"))
    return f"{AUDIO}/{name if len(name.encode()) <= _LONGEST_PATH else keys.fingerprint(name)}{suffix}"


def _part(name: str) -> str:
    """A name as one part of a path: it leads nowhere else, and every file system takes it. Two names, two parts."""
    part = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", name) or "%"
    return part if len(part.encode()) <= _LONGEST_NAME else keys.fingerprint(part)


def seconds(row: Row) -> float:
    """Length of a row."""
    return (row.frames or 0) / (row.rate_hz or 1)


def stored_bytes(rows: pd.DataFrame) -> int:
    """About how many bytes the rows' sound takes as FLAC: as they are stored, virtual mixtures at 10 bits a sample."""
    size = "CASE WHEN shard IS NULL THEN frames * 1.25 ELSE bytes END"
    return int(sql.query(rows, f"SELECT coalesce(sum({size}), 0) FROM rows")[0][0])
