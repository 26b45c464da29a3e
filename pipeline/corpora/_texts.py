"""Texts of single recordings: a file beside each, lines of several in one, JSON of each in any folder."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pipeline.archives.names import is_audio, is_raw, suffix
from pipeline.core.errors import SourceError
from pipeline.corpora._table import Line, line_of, read_text, split_of, without_suffix

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.corpora.own import Facts

TEXTS = (".txt", ".lab", ".trn", ".json")
MOST_PATHS = 20  # of a JSON file, that a message names
MOST_HINTS = 3  # texts that are opened for what to type


def lines_beside(root: Root, facts: Facts, recordings: Sequence[Entry]) -> tuple[list[str], list[Line]]:
    """(names of the text files beside recordings, a line for each recording that one of them speaks of).

    A file is the transcript of the recording of its name, beside it or, where one alone has that name, in a folder of
    its own. One whose name is that of no recording has lines of a recording's name, without suffix, and its transcript,
    as Zeroth and LibriSpeech have them.
    """
    ending = f".{(facts.transcripts or '').lstrip('.')}"
    named = {without_suffix(entry.name): entry.name for entry in recordings}
    bare = _bare(entry.name for entry in recordings)
    texts = [entry for entry in root.entries() if entry.name.lower().endswith(ending.lower())]
    if ending.lower() == ".json":
        return [entry.name for entry in texts], _of_json(root, facts, [entry.name for entry in recordings], texts)
    lines = []
    for entry in texts:
        stem, text = entry.name[: -len(ending)], read_text(root, entry, facts.name)
        folder = f"{stem.rpartition('/')[0]}/".lstrip("/")
        spoken = [(without_suffix(_recording(stem, named, bare) or ""), text, entry.name)]
        if not spoken[0][0]:
            pairs = [(number, line.split(None, 1)) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
            spoken = [(f"{folder}{id_}", " ".join(words), f"{entry.name}, line {n}") for n, (id_, *words) in pairs]
        for key, words, where in spoken:
            path = named.get(key, key)
            cells = {"transcript": " ".join(words.split()), "split": split_of(folder) or ""}
            lines.append(Line(path, (path,), "", where, {name: cell for name, cell in cells.items() if cell}))
    return [entry.name for entry in texts], lines


def _of_json(root: Root, facts: Facts, recordings: Sequence[str], texts: Sequence[Entry]) -> list[Line]:
    """A line for each JSON file, of the recording of its name in the same folder, else of the one of that name.

    Columns are paths in it, `speech.text` or `files.0.name`; what none names becomes labels, but for lists. SourceError
    where the column of the transcript is not stated: it names the paths that there are.
    """
    there = {without_suffix(name): name for name in recordings}
    bare = _bare(recordings)
    lines = []
    for entry in texts:
        stem = without_suffix(entry.name)
        path = _recording(stem, there, bare) or stem
        try:
            leaves = dict(_leaves(json.loads(read_text(root, entry, facts.name), strict=False)))
        except (ValueError, RecursionError) as error:
            lines.append(Line(path, (path,), "", entry.name, fault=("bad_label", f"no JSON ({error})")))
            continue
        if "transcript" not in facts.columns:
            what = f"{entry.name} has {', '.join([*leaves][:MOST_PATHS])}{', ...' if len(leaves) > MOST_PATHS else ''}"
            raise SourceError(f"{facts.name}: {what}: say --column transcript=PATH, and speaker=PATH where it is there")
        roles = {heading: role for role, heading in facts.columns.items()}
        given = {
            roles.get(key, key): value for key, value in leaves.items() if key in roles or "0" not in key.split(".")
        }
        given.setdefault("split", split_of(entry.name.rpartition("/")[0]) or "")
        given.setdefault("file", path)
        line = line_of(entry.name, 1, [*given.values()], (*given,))
        lines.append(replace(line, folder="", where=entry.name))
    return lines


def _recording(stem: str, named: Mapping[str, str], bare: Mapping[str, list[str]]) -> str | None:
    """The recording that a text speaks of: the one of its name beside it, else the only one of that name anywhere."""
    alike = bare.get(stem.rpartition("/")[2], [])
    return named.get(stem) or (alike[0] if len(alike) == 1 else None)


def _bare(recordings: Iterable[str]) -> dict[str, list[str]]:
    """Recordings by their names without folder and suffix."""
    bare: dict[str, list[str]] = {}
    for name in recordings:
        bare.setdefault(without_suffix(name.rpartition("/")[2]), []).append(name)
    return bare


def _leaves(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    """The text of each value in a JSON tree by its path, the first of a list alone."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value[:1]):
            yield from _leaves(part, f"{path}.{key}" if path else str(key))
    elif value is not None:
        yield path, str(value)


def hint(root: Root) -> str:
    """What to type where a text lies beside each recording, or one with lines of several beside them."""
    names = [entry.name for entry in root.entries()]
    stems = {without_suffix(name) for name in names if is_audio(name) or is_raw(name)}
    texts = [entry for entry in root.entries() if suffix(entry.name) in TEXTS]
    bare = {stem.rpartition("/")[2] for stem in stems}
    is_json = {entry.name: suffix(entry.name) == ".json" for entry in texts}  # may lie in a folder of its own
    alone = [
        name
        for name, lone in is_json.items()
        if without_suffix(name) in stems or (lone and without_suffix(name).rpartition("/")[2] in bare)
    ]
    if alone:
        return f"beside {len(alone):,} recordings lies a text: --transcripts {suffix(alone[0])[1:]} reads it"
    for entry in texts[:MOST_HINTS]:
        folder, _, name = entry.name.rpartition("/")
        word = next(iter(read_text(root, entry, "").split()), "")
        if (f"{folder}/{word}" if folder else word) in stems:
            ending = name.partition(".")[2]
            return f"{entry.name} has lines of recordings and what is said: --transcripts {ending} reads such files"
    return ""
