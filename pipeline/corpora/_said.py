"""One line of another tool's manifest, in our own words; and what every reader of one needs."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import orjson

from pipeline.core.errors import CorruptMember, SourceError

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

SPLITS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
OWN = (
    "id",
    "corpus",
    "source",
    "kind",
    "noise_label",
    "pcm_hash",
)  # all of them are in a line that `prep export` wrote
MIXED = (
    "snr_db",
    "snr_definition",
    "snr_active_db",
    "snr_full_db",
    "speech_id",
    "noise_id",
)  # of a mixture, kept as labels
_OWN_PREFIX = "recordings/"
_DEEPEST = 4  # folders between the root and a manifest
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Said:
    """key: the clip's id there. paths: every file that the line names, the recording first. folder: of the manifest, without
    a slash at its end. where: `train.jsonl, line 3`. split_told: whether the line or its file's name says it. fault: reason and
    detail of the Drop that the line ends in. piece: (begin, end) in s, where it is not about the whole recording; end None: to
    its end.
    """

    key: str
    paths: tuple[str, ...]
    folder: str
    where: str
    split: str = "test"
    split_told: bool = False
    kind: str = "speech"
    speaker: str | None = None
    text: str | None = None
    scenario: str | None = None
    scene: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    fault: tuple[str, str] | None = None
    piece: tuple[float, float | None] | None = None

    def cut(self, begin_s: float, end_s: float | None) -> Said:
        """The same of a piece of the recording; its place in it is told by labels. It says no length: the piece is as long as it is."""
        labels = {name: value for name, value in self.labels.items() if name != "stated_s"}
        labels |= {"piece_of": self.paths[0].lstrip("/"), "begin_s": f"{begin_s:g}"}
        labels |= {} if end_s is None else {"end_s": f"{end_s:g}"}
        return replace(self, piece=(begin_s, end_s), labels=labels)


@dataclass(frozen=True, slots=True)
class Line:
    """A JSON object of a file of them. told: None where the line is none."""

    name: str
    number: int
    told: dict[str, Any] | None

    @property
    def where(self) -> str:
        return f"{self.name}, line {self.number}"

    @property
    def folder(self) -> str:
        return self.name.rpartition("/")[0]


def shallow(root: Root, suffixes: Sequence[str]) -> list[Entry]:
    """Files with one of these endings, not far below the root, by name."""
    return [
        entry
        for entry in root.entries()
        if entry.name.lower().endswith(tuple(suffixes)) and entry.name.count("/") <= _DEEPEST
    ]


def texts(root: Root, entry: Entry) -> Iterator[str]:
    """The lines of a file, NFC; only a newline ends one. SourceError where it cannot be read."""
    try:
        raw = root.read(entry.place)
        with gzip.open(BytesIO(raw)) if raw[:2] == _GZIP else BytesIO(raw) as file:
            for line in file:
                yield normalize("NFC", line.decode("utf-8-sig").rstrip("\r\n"))
    except (CorruptMember, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SourceError(f"recordings: {entry.name} cannot be read ({error}); expected text in UTF-8") from None


def lines(root: Root, entry: Entry) -> Iterator[Line]:
    """The JSON objects of a file, one a line; blank lines are passed over."""
    for number, text in enumerate(texts(root, entry), 1):
        if text.strip():
            yield Line(entry.name, number, _object(text))


def first(root: Root, entry: Entry) -> dict[str, Any]:
    """The first JSON object of a file; empty where its first line is none, or the file cannot be read."""
    with suppress(SourceError):
        return next((line.told or {} for line in lines(root, entry)), {})
    return {}


def _object(text: str) -> dict[str, Any] | None:
    try:
        told = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) else None


def said(
    line: Line, key: str, paths: Sequence[str], told: Mapping[str, Any], fault: tuple[str, str] | None = None
) -> Said:
    """What a line says, given its scalar fields under our names or the tool's own; what has no name of ours becomes a label."""
    own = all(name in told for name in OWN)
    cells = {
        name: str(value) for name, value in told.items() if isinstance(value, str | int | float) and str(value).strip()
    }
    cells = cells if own else {name: value.strip() for name, value in cells.items()}
    guess = split_of(line.name)
    split = cells.pop("split", None) or guess
    group = cells.pop("group", None)
    speaker = cells.pop("speaker", None)
    if own and group is not None:
        speaker = group if cells["corpus"] == "recordings" else f"{cells['corpus']}/{group}"
    common = {
        "split": (split or "test").casefold(),
        "split_told": split is not None,
        "speaker": speaker,
        "fault": fault,
    }
    text, scenario, scene = (cells.pop(name, None) for name in ("transcript", "scenario", "scene"))
    labels = (
        _own_labels(cells)
        if own
        else {name.removeprefix("label."): value for name, value in cells.items() if name != "kind"}
    )
    return Said(
        (cells["id"] if own else key).removeprefix(_OWN_PREFIX) or key,
        tuple(paths),
        line.folder,
        line.where,
        kind=_kind(cells, text, labels),
        text=text,
        scenario=scenario,
        scene=scene,
        labels=labels,
        **common,  # type: ignore[arg-type]
    )


def piece_key(path: str, begin_s: float, end_s: float | None) -> str:
    """`talks/a-0001500-0004000`: an id for a piece that has none, its times in ms."""
    end = "end" if end_s is None else f"{round(end_s * 1000):07d}"
    return f"{path.rpartition('.')[0] or path}-{round(begin_s * 1000):07d}-{end}"


def _own_labels(cells: Mapping[str, str]) -> dict[str, str]:
    """The labels of a line of ours; what was measured is measured again."""
    labels = {name.removeprefix("label."): value for name, value in cells.items() if name.startswith("label.")}
    return labels | {name: cells[name] for name in MIXED if name in cells}


def _kind(cells: Mapping[str, str], text: str | None, labels: Mapping[str, str]) -> str:
    """What `kind` or the label says; else speech where there are words."""
    for name in (cells.get("kind", ""), cells.get("noise_label", ""), labels.get("label", "")):
        if name.casefold() in ("noise", "speech", "mixture"):
            return "noise" if name.casefold() == "noise" else "speech"
    return "speech" if text or "label" in labels else "noise"


def split_of(name: str) -> str | None:
    """The split that a file's or a folder's name has among its words: `cuts_train.jsonl.gz`, `data/dev_no_text/wav.scp`."""
    words = [word for part in reversed(name.casefold().split("/")) for word in re.split(r"[^a-z]+", part)]
    return next((word for word in words if word in SPLITS), None)
