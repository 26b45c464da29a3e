"""Kaldi: data directories with wav.scp, and text, utt2spk, segments, reco2dur where they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from pipeline.corpora._said import Line, Said, said, texts

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

EXPECTED = "a data directory with wav.scp, whose lines are an id and a path"
_FILES = (
    "wav.scp",
    "segments",
    "text",
    "utt2spk",
    "spk2utt",
    "utt2dur",
    "reco2dur",
    "utt2labels",
    "utt2lang",
    "spk2gender",
)
_MAPS = {"utt2lang": "language"}
_NEAR_S = 0.01  # times are written with two decimals


def files(root: Root) -> list[str]:
    """The files of every directory that has a wav.scp."""
    entries = _entries(root)
    return sorted(entry.name for held in entries.values() for entry in held.values())


def _entries(root: Root) -> dict[str, dict[str, Entry]]:
    """Folder -> name -> file, of the directories that have a wav.scp."""
    found: dict[str, dict[str, Entry]] = {}
    for entry in root.entries():
        folder, _, name = entry.name.rpartition("/")
        if name in _FILES:
            found.setdefault(folder, {})[name] = entry
    return {folder: held for folder, held in sorted(found.items()) if "wav.scp" in held}


def said_all(root: Root) -> Iterator[Said]:
    """Every utterance of every directory."""
    for held in _entries(root).values():
        yield from _directory(root, held)


def _directory(root: Root, held: Mapping[str, Entry]) -> Iterator[Said]:
    maps = {name: dict(_pairs(root, entry)) for name, entry in held.items() if name not in ("segments", "spk2utt")}
    scp, name = maps["wav.scp"], held["wav.scp"].name
    if "segments" not in held:
        for number, (utterance, path) in enumerate(_pairs(root, held["wav.scp"]), 1):
            yield _said(Line(name, number, None), utterance, path, maps, _pipe(path))
        return
    for number, (utterance, rest) in enumerate(_pairs(root, held["segments"]), 1):
        recording, *times = rest.split()
        path = scp.get(recording, "")
        fault = _pipe(path) if path else ("no_recording", f"no recording {recording} is in wav.scp")
        stretch = _stretch(times)
        fault = fault or (
            ("bad_line", "expected an utterance, a recording, a start and an end") if stretch is None else None
        )
        told = _said(Line(held["segments"].name, number, None), utterance, path, maps, fault)
        yield (
            told
            if fault or stretch is None or _is_whole(stretch, maps.get("reco2dur", {}).get(recording))
            else told.cut(*stretch)
        )


def _pairs(root: Root, entry: Entry) -> Iterator[tuple[str, str]]:
    """(first word, the rest of the line); only spaces and tabs part them, and only a newline ends a line."""
    for text in texts(root, entry):
        words = text.strip(" \t\r").replace("\t", " ", 1).split(" ", 1)
        if words[0]:
            yield words[0], words[1].strip() if len(words) > 1 else ""


def _pipe(path: str) -> tuple[str, str] | None:
    if not path:
        return "bad_line", "no path is given"
    if path.endswith("|"):
        return (
            "pipe",
            f"its audio is what a command prints ({path[:80]}): nothing is run here; write it to a file and name that",
        )
    return None


def _stretch(times: list[str]) -> tuple[float, float | None] | None:
    """(start, end) in s, the end None where it is -1, the recording's own; None where they are no such times."""
    try:
        start, end = float(times[0]), float(times[1])
    except (IndexError, ValueError):
        return None
    return (start, None) if end == -1 else (start, end) if 0 <= start < end else None


def _is_whole(stretch: tuple[float, float | None], length: str | None) -> bool:
    """Whether a segment is its whole recording, whose length in s reco2dur may tell."""
    start, end = stretch
    if start != 0 or end is None:
        return start == 0
    try:
        return length is not None and abs(end - float(length)) <= _NEAR_S
    except ValueError:
        return False


def _said(
    line: Line, utterance: str, path: str, maps: Mapping[str, Mapping[str, str]], fault: tuple[str, str] | None
) -> Said:
    cells: dict[str, Any] = _labels(maps.get("utt2labels", {}).get(utterance, ""))
    cells |= {} if "transcript" in cells else {"transcript": maps.get("text", {}).get(utterance, "")}
    cells |= {name: maps[file][utterance] for file, name in _MAPS.items() if utterance in maps.get(file, {})}
    speaker = maps.get("utt2spk", {}).get(utterance)
    if speaker and speaker != utterance:  # an utterance that is its own speaker: none is known
        cells.setdefault("speaker", speaker)
    if "pcm_hash" not in cells and utterance in maps.get("utt2dur", {}):
        cells["stated_s"] = maps["utt2dur"][utterance]
    return said(line, utterance, () if path.endswith("|") or not path else (path,), cells, fault)


def _labels(text: str) -> dict[str, Any]:
    """What `prep export` writes in utt2labels."""
    try:
        told = orjson.loads(text) if text else {}
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}
