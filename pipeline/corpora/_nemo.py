"""NeMo: files of one JSON object a line, with `audio_filepath`, `duration`, `offset`, `text`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pipeline.corpora._said import OWN, PIECE, Line, Said, first, lines, said, shallow

if TYPE_CHECKING:
    from pipeline.sources import Root

EXPECTED = "a .json or .jsonl file of one JSON object a line, each with `audio_filepath`"
_MOST = 50  # .json files that are looked into: more of them are labels of single recordings
_PATHS = ("audio_filepath", "audio_filename")
_NAMED = {"text": "transcript", "speaker": "speaker"}


def files(root: Root) -> list[str]:
    """The manifests under the root."""
    return [entry.name for entry in _possible(root) if any(name in first(root, entry) for name in _PATHS)]


def _possible(root: Root) -> list[Any]:
    found = shallow(root, (".jsonl", ".json", ".jsonl.gz", ".json.gz"))
    return found if len(found) <= _MOST else [entry for entry in found if ".jsonl" in entry.name.lower()][:_MOST]


def said_of(line: Line) -> Said:
    """One line. A piece of a file, told by an offset, is a Drop."""
    told = line.told
    if told is None:
        return Said(f"{line.name}:{line.number}", (), line.folder, line.where, fault=("bad_line", "no JSON object; expected one a line"))
    path = next((str(told[name]) for name in _PATHS if told.get(name)), "")
    fault = None
    if not path:
        fault = ("bad_line", "no audio_filepath")
    elif told.get("offset"):
        fault = ("part_of_recording", f"it is a piece of {path}, from {told['offset']} s on: {PIECE}")
    own = all(name in told for name in OWN)
    key = str(told.get("id") or path or f"{line.name}:{line.number}").removeprefix("/")
    cells = {_NAMED.get(name, name): value for name, value in told.items() if name not in (*_PATHS, "offset", "duration", "id")}
    cells |= {"id": told["id"]} if own else {"stated_s": told["duration"]} if "duration" in told else {}
    return said(line, key, (path,) if path else (), cells, fault)


def said_all(root: Root) -> Iterator[Said]:
    """Every line of every manifest under the root."""
    wanted = set(files(root))
    for entry in _possible(root):
        if entry.name in wanted:
            for line in lines(root, entry):
                yield said_of(line)
