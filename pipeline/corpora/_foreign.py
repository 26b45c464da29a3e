"""Recordings that another tool's manifest lists: which form it has, which file a line means, what becomes of each line.

A line is a whole recording, or a piece of a longer one: pieces of one recording, where no speaker is told, are a group.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from posixpath import normpath
from typing import TYPE_CHECKING
from unicodedata import normalize

from pipeline.archives.names import is_audio
from pipeline.core.errors import SourceError, sample
from pipeline.core.row import Clip, Drop
from pipeline.corpora import FORMS, Claims, _kaldi, _lhotse, _nemo
from pipeline.corpora._listing import duplicates, ignored_note, largest_first
from pipeline.corpora._said import SPLITS, Said

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.core.row import Place

_NEAR_S = 0.05  # a length that a manifest states and the recording's own differ by less
_Use = tuple[str, tuple[float, float | None] | None]  # a file, and the piece of it
_READERS = {"lhotse": _lhotse, "nemo": _nemo, "kaldi": _kaldi}


@dataclass(frozen=True, slots=True)
class _Match:
    """A line and the file that it means. rest: other files of the same name."""

    said: Said
    entry: Entry
    rest: tuple[Entry, ...]

    @property
    def place(self) -> Place:
        """Where the recording lies, or the piece of it."""
        begin_s, end_s = self.said.piece or (None, None)
        return replace(self.entry.place, begin_s=begin_s, end_s=end_s)


def forms(root: Root) -> list[str]:
    """The tools whose manifests are under the root."""
    return [form for form in FORMS if _READERS[form].files(root)]


def places(root: Root, form: str, corpus: str) -> dict[str, Place]:
    """Clip.source -> where the recording lies."""
    return {_source(corpus, match.said): match.place for match in _matched(root, form, corpus)[0]}


def clips(root: Root, form: str, corpus: str) -> Claims:
    """Recordings that the manifests of this tool list; the rest as drops. SourceError where there is no such manifest."""
    listed = _READERS[form].files(root)
    if not listed:
        names = sample(entry.name for entry in root.entries())
        raise SourceError(
            f"{corpus}: no manifest of {form} under the root: found {names}; expected {_READERS[form].EXPECTED}"
        )
    matches, drops, used = _matched(root, form, corpus)
    if not used:
        raise SourceError(
            f"{corpus}: none of the recordings that {sample(listed)} names lies under the root: "
            f"found {sample(entry.name for entry in root.entries() if is_audio(entry.name)) or 'no recordings'}; expected paths from the "
            "manifest's folder, or the same folders under the root"
        )
    unlisted = sorted({entry.name for entry in root.entries() if is_audio(entry.name)} - used)
    drops += [_drop(corpus, name, "no_label", f"{name}: no line of {sample(listed)} names it") for name in unlisted]
    for match in matches:
        drops += duplicates(f"{corpus}/{match.said.key}", match.entry, match.rest)
    kept = [_clip(corpus, match) for match in sorted(matches, key=lambda match: match.said.key)]
    ignored = [entry.name for entry in root.entries() if not is_audio(entry.name) and entry.name not in listed]
    return Claims(
        kept, sorted(drops, key=lambda drop: drop.id), None, _notes(matches, listed) + ignored_note(ignored), ignored
    )


def flags(labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
    """`longer_s` where a recording is not as long as the manifest it came with states: a piece of it, perhaps, was meant."""
    try:
        longer_s = frames / rate_hz - float(labels["stated_s"])
    except (KeyError, ValueError):
        return {}
    return {"longer_s": f"{longer_s:.3f}"} if abs(longer_s) > _NEAR_S else {}


def _matched(root: Root, form: str, corpus: str) -> tuple[list[_Match], list[Drop], set[str]]:
    """Lines with their files, drops of lines, and the names of all files that some line names."""
    index = _Index([entry for entry in root.entries() if is_audio(entry.name)])
    found: list[_Match] = []
    drops: list[Drop] = []
    used: dict[_Use, str] = {}
    keys: dict[str, int] = defaultdict(int)
    for said in _READERS[form].said_all(root):
        keys[said.key] += 1
        names = [name for path in said.paths if (name := index.named(said.folder, path))]
        fault = _fault(said, names, keys[said.key], used)
        if fault:
            drops.append(_drop(corpus, said.key if keys[said.key] == 1 else f"{said.key}#{keys[said.key]}", *fault))
        else:
            first, *rest = index.entries(names[0])
            found.append(_Match(said, first, tuple(rest)))
        used |= {(name, said.piece): said.where for name in names if (name, said.piece) not in used}
    return found, drops, {name for name, _ in used}


def _fault(said: Said, names: list[str], times: int, used: Mapping[_Use, str]) -> tuple[str, str] | None:
    """Reason and detail of the Drop that a line ends in, if it does."""
    if said.fault:
        return said.fault[0], f"{said.where}: {said.fault[1]}"
    if not names:
        return (
            "no_audio",
            f"{said.where}: no recording is called {' or '.join(said.paths)}, from its folder or under the root",
        )
    if times > 1:
        return "duplicate_id", f"{said.where}: the id {said.key} came before; the first is kept"
    if (names[0], said.piece) in used:
        return (
            "duplicate_id",
            f"{said.where}: {names[0]} was named by {used[names[0], said.piece]} before, which is kept",
        )
    if said.split not in SPLITS:
        return "unknown_split", f'{said.where}: split "{said.split}"; expected train, dev or test'
    return None


class _Index:
    """Recordings by name. A path from another machine is found by its end, the longest that is a name under the root."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._entries[entry.name].append(entry)

    def named(self, folder: str, path: str) -> str | None:
        """The file that a path of a manifest in this folder means."""
        path = normalize("NFC", path.replace("\\", "/"))
        for end in _ends(path):
            for base in _above(folder):
                name = normpath(base + end)
                if name in self._entries:
                    return name
        return None

    def entries(self, name: str) -> list[Entry]:
        """Files of that very name, the one to take first."""
        return largest_first(self._entries[name])


def _ends(path: str) -> Iterator[str]:
    """`/data/wav/a.wav`, `data/wav/a.wav`, `wav/a.wav`, `a.wav`."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    for n in range(len(parts)):
        yield "/".join(parts[n:])


def _above(folder: str) -> Iterator[str]:
    """`a/b/`, `a/`, ``: the manifest's folder, then those around it."""
    parts = folder.split("/") if folder else []
    for n in range(len(parts), -1, -1):
        yield "".join(f"{part}/" for part in parts[:n])


def _source(corpus: str, said: Said) -> str:
    """Canonical name. A piece is named below its recording, so that pieces of one stand together in every order by source."""
    return f"@{corpus}/{said.labels['piece_of']}/{said.key}" if said.piece else f"@{corpus}/{said.key}"


def _clip(corpus: str, match: _Match) -> Clip:
    said = match.said
    source = _source(corpus, said)
    split = SPLITS[said.split]
    group = said.speaker or said.labels.get("piece_of")  # as the manifest spells it: the same wherever the root lies
    return Clip(
        said.key, source, match.place, split, said.kind, group, said.text, said.scenario, said.scene, said.labels
    )


def _notes(matches: Sequence[_Match], listed: Sequence[str]) -> list[str]:
    """Which manifests were read, lines without a split, speakers in several splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for match in matches:
        splits[match.said.speaker or ""].add(SPLITS[match.said.split])
    spread = [name for name, found in splits.items() if name and len(found) > 1]
    untold = sum(not match.said.split_told for match in matches)
    heads = [
        name for name in listed if name.endswith("wav.scp")
    ] or listed  # of a Kaldi directory the one that names the recordings
    said = [f"read from {sample(heads)}"]
    said += [f"{untold:,} lines give no split, nor does their file's name, and count as test"] if untold else []
    return said + ([f"{len(spread):,} speakers are in more than one split ({sample(spread)})"] if spread else [])


def _drop(corpus: str, key: str, reason: str, detail: str) -> Drop:
    return Drop(f"{corpus}/{key}", "ingest", reason, detail)
