"""Label JSON of the AI-Hub emergency corpus: bytes to a transcript and flat labels, whatever encoding and shape they came in."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from sys import intern
from typing import Any
from unicodedata import is_normalized, normalize

import orjson

from pipeline.corpora._inventory import Node, Tally

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
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def label_name(path: str) -> str | None:
    """What the scalar at this path of the JSON is called among a clip's labels; None where it is none."""
    return LABEL_NAMES.get(path, path.removeprefix("annotations[]."))


class BadLabel(Exception):
    """Bytes that are no label; the message says why."""


@dataclass(frozen=True, slots=True)
class Label:
    """What one label file says.

    text: the first annotation's transcript that is not blank, NFC, else as written (trailing spaces kept); None where all
    are missing, null or blank. labels: every other scalar as text, blanks left out; those of a second annotation end in
    `_2`. annotations: how many there were.
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
    _collect(data, tally.root, labels, "")
    notes: list[str] = []
    below = tally.root.at("annotations").item()
    for n, annotation in enumerate(annotations, 1):
        mark = f"_{n}" if n > 1 else ""
        _collect(annotation, below, labels, mark)
        note = _text(annotation.get("note"))
        tally.transcripts[note] += 1
        if note.strip():
            notes.append(note)
            labels |= {f"note{mark}": note} if n > 1 else {}
    tally.categories[tuple(labels.get(f"category_{n:02d}", "") for n in (1, 2, 3))] += 1
    return Label(intern(notes[0]) if notes else None, labels, len(annotations))


def _object(raw: bytes) -> dict[str, Any]:
    """The JSON object, its strings NFC."""
    text = _decoded(raw)
    if not is_normalized("NFC", text):
        text = normalize("NFC", text)
    data = _loaded(text)
    if "\\u" in text:  # escapes hide from the normalisation above
        data = _loaded(_without_lone_surrogates(normalize("NFC", json.dumps(data, ensure_ascii=False))))
    if not isinstance(data, dict):
        raise BadLabel(f"is JSON, but a {type(data).__name__}, not an object")
    return data


def _without_lone_surrogates(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadLabel(f"has half a character written as an escape ({error.object[error.start]!r})") from None
    return text


def _decoded(raw: bytes) -> str:
    """UTF-8 with or without BOM, else UTF-16 with BOM, else cp949."""
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return raw.decode("utf-16" if raw.startswith(_UTF_16) else "cp949")
    except UnicodeDecodeError as error:
        raise BadLabel(f"is neither UTF-8 nor cp949 text ({error.reason} at byte {error.start})") from None


def _loaded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(text, strict=False)  # knows NaN, and lets line breaks into strings
    except (json.JSONDecodeError, RecursionError) as error:
        found = repr(text[:40]) if text.strip() else "nothing"
        raise BadLabel(f"is not JSON ({error}); it begins with {found}") from None


def _annotations(data: dict[str, Any]) -> list[dict[str, Any]]:
    """The annotations, taken out of the data; one that stands alone, outside a list, counts as one."""
    if "audio" not in data and "annotations" not in data:
        raise BadLabel(f'has neither "audio" nor "annotations", but {sorted(data)[:6]}')
    found = data.pop("annotations", None)
    listed = found if isinstance(found, list) else [] if found is None else [found]
    strange = [item for item in listed if not isinstance(item, dict)]
    if strange:
        raise BadLabel(f'has a {type(strange[0]).__name__} among its "annotations" where an object was expected')
    return listed


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
    if name is not None and text and not text.isspace():
        name += mark
        labels[name if name not in labels else _free(name, labels)] = intern(text)


def _text(value: Any) -> str:
    """A scalar as text: null is blank, numbers in their shortest form."""
    if value.__class__ is str:
        return value
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _free(name: str, labels: dict[str, str]) -> str:
    """The name with the next free number: a list inside an annotation gave it before."""
    n = 2
    while f"{name}_{n}" in labels:
        n += 1
    return f"{name}_{n}"
