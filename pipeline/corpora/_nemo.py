"""NeMo: files of one JSON object a line, with `audio_filepath`, `duration`, `offset`, `text`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pipeline.corpora._said import OWN, Line, Said, first, lines, piece_key, said, shallow

if TYPE_CHECKING:
    from pipeline.archives import Root

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


def said_of(line: Line, stretches: int) -> Said:
    """One line. stretches: how many of its file are named; where there are several each is a piece, also the one at offset 0."""
    told = line.told
    if told is None:
        return Said(
            f"{line.name}:{line.number}",
            (),
            line.folder,
            line.where,
            fault=("bad_line", "no JSON object; expected one a line"),
        )
    path, stretch = _path(line), _stretch(told)
    fault = None if path else ("bad_line", "no audio_filepath")
    if stretch is None:
        fault = ("bad_line", f"offset {told.get('offset')}, duration {told.get('duration')}: expected seconds")
    is_piece = fault is None and stretch is not None and (stretch[0] > 0 or (stretches > 1 and stretch[1] is not None))
    own = all(name in told for name in OWN)
    key = str(
        told.get("id") or (piece_key(path, *stretch) if is_piece and stretch else path) or f"{line.name}:{line.number}"
    )
    cells = {
        _NAMED.get(name, name): value
        for name, value in told.items()
        if name not in (*_PATHS, "offset", "duration", "id")
    }
    cells |= {"id": told["id"]} if own else {"stated_s": told["duration"]} if "duration" in told else {}
    found = said(line, key.removeprefix("/"), (path,) if path else (), cells, fault)
    return found.cut(*stretch) if is_piece and stretch else found


def _path(line: Line) -> str:
    told = line.told or {}
    return next((str(told[name]) for name in _PATHS if told.get(name)), "")


def _stretch(told: Mapping[str, Any]) -> tuple[float, float | None] | None:
    """(begin, end) in s; None where they are no such times."""
    try:
        begin, length = float(told.get("offset") or 0), float(told.get("duration") or 0)
    except (TypeError, ValueError):
        return None
    return (begin, begin + length if length else None) if begin >= 0 and length >= 0 else None


def said_all(root: Root) -> Iterator[Said]:
    """Every line of every manifest under the root."""
    wanted = set(files(root))
    read = [line for entry in _possible(root) if entry.name in wanted for line in lines(root, entry)]
    stretches = Counter(path for path, _ in {(_path(line), _stretch(line.told or {})) for line in read})
    for line in read:
        yield said_of(line, stretches[_path(line)])
