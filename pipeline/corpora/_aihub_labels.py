"""Labels of the AI-Hub emergency corpus: JSON in any encoding and shape to a transcript and flat labels; an inventory.

Which keys the release really has is known from public code alone, so all that is read is counted as well.
"""

from __future__ import annotations

import codecs
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any
from unicodedata import is_normalized, normalize

import orjson

DISTINCT_KEPT = (
    20_000  # values counted for one key; further ones are only known to exist, since ids and times all differ
)
COMMONEST_KEPT = 50
NOTE = "annotations[].note"
# Each scalar of the JSON becomes a label under the name given here, or, where it is not listed, under its own path.
# None: not a label (names that disagree between releases, sizes of other files); the inventory counts it all the same.
LABEL_NAMES: dict[str, str | None] = {
    "audio.fileName": None,
    "audio.fileSize": None,
    "audio.duration": "declared_duration_s",
    "audio.sampleRate": "declared_rate",
    "audio.bitRate": "declared_bit_rate",
    "audio.recodingType": "recording_type",
    "audio.recordingType": "recording_type",
    "annotations[].audio_id": None,
    "annotations[].categories.category_01": "category_01",
    "annotations[].categories.category_02": "category_02",
    "annotations[].categories.category_03": "category_03",
    "annotations[].subCategory": "subcategory",
    "annotations[].area.start": "area_start_s",
    "annotations[].area.end": "area_end_s",
    "annotations[].audioType": "audio_type",
    "annotations[].gender": "gender",
    "annotations[].generation": "generation",
    "annotations[].dialect": "dialect",
    "annotations[].soundQuality": "sound_quality",
    "annotations[].soundDistance": "sound_distance",
    NOTE: None,
}
LARGEST_BYTES = 4 << 20  # of a label: real ones have a few kB
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


_TYPE_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "NoneType": "null",
    "dict": "object",
    "list": "array",
}


class Node:
    """Running counts of one place in the JSON, and the places below it; visited for each leaf of each label.

    label: the name of a scalar that stands here among a clip's labels, None where it is none.
    """

    __slots__ = ("below", "items", "label", "path", "types", "uncounted", "values")

    def __init__(self, path: str) -> None:
        self.path = path
        self.label = LABEL_NAMES.get(path, path.removeprefix("annotations[]."))
        self.below: dict[str, Node] = {}
        self.items: Node | None = None
        self.types: dict[type, int] = {}
        self.values: dict[str, int] = {}
        self.uncounted = 0

    def at(self, key: str) -> Node:
        """The place of a key of the object that is here."""
        node = self.below.get(key)
        if node is None:
            node = self.below[key] = Node(f"{self.path}.{key}" if self.path else key)
        return node

    def item(self) -> Node:
        """The place that all items of the list that is here share."""
        if self.items is None:
            self.items = Node(f"{self.path}[]")
        return self.items

    def add(self, kind: type, text: str) -> None:
        """Counts a scalar, given its type and its text."""
        self.types[kind] = self.types.get(kind, 0) + 1
        count = self.values.get(text)
        if count is not None:
            self.values[text] = count + 1
        elif len(self.values) < DISTINCT_KEPT:
            self.values[text] = 1
        else:
            self.uncounted += 1

    def keys(self) -> list[dict[str, Any]]:
        """The counts of this place, where it holds scalars, and of all places below."""
        keys: list[dict[str, Any]] = []
        if self.types:
            types = {_TYPE_NAMES.get(kind.__name__, kind.__name__): n for kind, n in self.types.items()}
            keys.append(
                {
                    "path": self.path,
                    "count": sum(self.types.values()),
                    "types": dict(sorted(types.items())),
                    "distinct": len(self.values),
                    "all_counted": not self.uncounted,
                    "commonest": [list(pair) for pair in _by_count(self.values)[:COMMONEST_KEPT]],
                }
            )
        for node in [*self.below.values(), *([self.items] if self.items else [])]:
            keys += node.keys()
        return keys


class Tally:
    """What has been counted so far of all labels."""

    def __init__(self) -> None:
        self.labels = 0
        self.root = Node("")
        self.categories: Counter[tuple[str, ...]] = Counter()
        self.transcripts: Counter[str] = Counter()

    def inventory(self, containers: Iterable[str]) -> dict[str, Any]:
        """All counts, as `--json` prints them. containers: the folder or archive of each file under the root.

        keys: for each key of the JSON its path (`annotations[].categories.category_02`), types, and how many different
        values it has (`distinct`, a lower bound unless `all_counted`) with the commonest of them.
        """
        files = Counter(containers)
        return {
            "labels": self.labels,
            "keys": sorted(self.root.keys(), key=lambda key: str(key["path"])),
            "categories": [{"path": list(path), "count": n} for path, n in sorted(self.categories.items())],
            "transcripts": [{"text": text, "count": n} for text, n in _by_count(self.transcripts)],
            "containers": [{"container": name, "files": files[name]} for name in sorted(files)],
        }


def _by_count(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


class BadLabel(Exception):
    """Bytes that are no label; the message says why."""


@dataclass(frozen=True, slots=True)
class Label:
    """What one label file says.

    text: the first transcript of an annotation that is not blank, in NFC, else as written (trailing spaces too); None
    where all are missing, null or blank. labels: every other scalar as text, without blank ones; those of a second
    annotation end in `_2`. annotations: how many there were.
    """

    text: str | None
    labels: dict[str, str]
    annotations: int


def parse(raw: bytes, tally: Tally) -> Label:
    """The label in these bytes, counted into the tally. BadLabel where they are no JSON object of this corpus."""
    data = _object(raw)
    annotations = _annotations(data)
    tally.labels += 1
    labels: dict[str, str] = {}
    notes: list[str] = []
    below = tally.root.at("annotations").item()
    try:
        _collect(data, tally.root, labels, "")
        for n, annotation in enumerate(annotations, 1):
            _collect(annotation, below, labels, f"_{n}" if n > 1 else "")
    except RecursionError:
        raise BadLabel("holds objects in objects, too many for a label") from None
    for n, annotation in enumerate(annotations, 1):
        mark = f"_{n}" if n > 1 else ""
        note = _text(annotation.get("note"))
        tally.transcripts[note] += 1
        if note.strip():
            notes.append(note)
            labels |= {f"note{mark}": note} if n > 1 else {}
    tally.categories[tuple(labels.get(f"category_{n:02d}", "") for n in (1, 2, 3))] += 1
    return Label(intern(notes[0]) if notes else None, labels, len(annotations))


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object, its strings NFC: UTF-8 with or without BOM, else UTF-16 with BOM, else cp949."""
    if len(raw) > LARGEST_BYTES:
        raise BadLabel(f"has {len(raw):,} bytes; no label has more than {LARGEST_BYTES:,}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        try:
            text = raw.decode("utf-16" if raw.startswith(_UTF_16) else "cp949")
        except UnicodeDecodeError as error:
            raise BadLabel(f"is neither UTF-8 nor cp949 text ({error.reason} at byte {error.start})") from None
    if not is_normalized("NFC", text):
        text = normalize("NFC", text)
    data = _loaded(text)
    if "\\u" in text:  # escapes hide from the normalisation above
        text = normalize("NFC", json.dumps(data, ensure_ascii=False))
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = error.object[error.start]
            raise BadLabel(f"has half a character written as an escape ({half!r})") from None
        data = _loaded(text)
    if not isinstance(data, dict):
        raise BadLabel(f"is JSON, but a {type(data).__name__}, not an object")
    return data


def _loaded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, strict=False)  # knows NaN, and lets line breaks into strings
    except (json.JSONDecodeError, RecursionError) as error:
        begins = repr(text[:40]) if text.strip() else "nothing"
        raise BadLabel(f"is not JSON ({error}); it begins with {begins}") from None


def _annotations(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The annotations, taken out of the data; one that stands alone, outside a list, counts as one."""
    if "audio" not in data and "annotations" not in data:
        raise BadLabel(f'has neither "audio" nor "annotations", but {sorted(data)[:6]}')
    value = data.pop("annotations", None)
    annotations = value if isinstance(value, list) else [] if value is None else [value]
    strange = [item for item in annotations if not isinstance(item, dict)]
    if strange:
        raise BadLabel(f'has a {type(strange[0]).__name__} among its "annotations" where an object was expected')
    return annotations


def _collect(value: dict[str, Any], node: Node, labels: dict[str, str], mark: str) -> None:
    """Counts every scalar below `value`, and puts it into `labels` under its name and mark."""
    below = node.below
    for key, item in value.items():
        child = below.get(key) or node.at(key)
        kind = item.__class__
        if kind is dict:
            _collect(item, child, labels, mark)
        elif kind is list:
            _collect_items(item, child, labels, mark)
        else:
            _scalar(item, child, labels, mark)


def _collect_items(items: list[Any], node: Node, labels: dict[str, str], mark: str) -> None:
    for item in items:
        if isinstance(item, dict):
            _collect(item, node.item(), labels, mark)
        elif isinstance(item, list):
            _collect_items(item, node.item(), labels, mark)
        else:
            _scalar(item, node.item(), labels, mark)


def _scalar(value: Any, node: Node, labels: dict[str, str], mark: str) -> None:
    text = value if value.__class__ is str else _text(value)
    node.add(value.__class__, text)
    name = node.label
    if name is None or not text or text.isspace():
        return
    name += mark
    if name in labels:  # a list inside an annotation gave it before
        number = 2
        while f"{name}_{number}" in labels:
            number += 1
        name = f"{name}_{number}"
    labels[name] = intern(text)


def _text(value: Any) -> str:
    """A scalar as text: null is blank, numbers in their shortest form."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else repr(value)
