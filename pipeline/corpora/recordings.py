"""Recordings of one's own: a folder or an archive of them with a table that says what each holds.

    file,transcript,label,speaker,split,place
    wav/rec 000.wav,살려주세요,saveme,spk0,test,office
    wav/rec 001.wav,,noise,,test,restroom

Only the column for the file is needed. A recording is noise where its `kind` or its label says so, or where nothing (neither
transcript nor label) says that somebody speaks; else speech. Without a split it is test: nothing is trained on by oversight.

Where there is no such table, a manifest of Lhotse, NeMo or Kaldi is one (_foreign.py).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from posixpath import normpath
from typing import TYPE_CHECKING

from pipeline.archives.names import is_audio
from pipeline.core.errors import SourceError, sample
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Claims, _foreign, _table
from pipeline.corpora._listing import duplicates, ignored_note, largest_first

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.core.row import Place
    from pipeline.corpora._table import Line, Table

NAME = "recordings"
TITLE = "Recordings of one's own, with a table"
HOMEPAGE = "(your own)"
LICENCE = "(your own)"
LICENCE_URL = "(your own)"
ATTRIBUTION = "(your own)"
SHARE_AUDIO = False
SHARE_TRANSCRIPTS = False
SHARE_LABELS = False
RESTRICTIONS = "Whatever the speakers agreed to; taken as not to be passed on, since nothing here can know."
DOWNLOAD = "Record them; put a table with a column `file` beside them, or a manifest of Lhotse, NeMo or Kaldi."

SPLITS = {
    "train": "train",
    "training": "train",
    "dev": "dev",
    "val": "dev",
    "valid": "dev",
    "validation": "dev",
    "test": "test",
}
KINDS = ("speech", "noise")
LABELS = ("saveme", "helpme", "others", "noise")  # the known ones, told apart without regard to case
_SUFFIX = re.compile(r"\.[^./]*$")

flags = _foreign.flags


@dataclass(frozen=True, slots=True)
class _Found:
    """A recording that the table names. key: the table's cell, `/` between folders. rest: other files of the same name."""

    key: str
    line: Line
    entry: Entry
    rest: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _Listing:
    table: Table
    found: list[_Found]
    drops: list[Drop]
    ignored: list[str]


def places(root: Root) -> dict[str, Place]:
    """Where each recording lies that the table names, or a manifest of another tool: its spelling of a name is the key."""
    forms = _foreign.forms(root)
    if not forms:
        return _places_of_table(root)
    held: dict[str, Place] = {}
    with suppress(SourceError):  # which of them ingest read is not known here; one that cannot be read it did not
        held = _places_of_table(root)
    for form in forms:
        with suppress(SourceError):
            held = _foreign.places(root, form, NAME) | held
    return held


def _places_of_table(root: Root) -> dict[str, Place]:
    return {f"@{NAME}/{found.key}": found.entry.place for found in _listing(root).found}


def clips(root: Root) -> Claims:
    """Recordings joined with the lines of the table, or of the one manifest of another tool; the rest as drops."""
    forms = _foreign.forms(root)
    if not forms or _table.possible(root):
        return _of_table(root, [f"a manifest of {form} is there too: --from {form} reads that" for form in forms])
    if len(forms) > 1:
        raise SourceError(
            f"{NAME}: manifests of {' and of '.join(forms)} are under the root; expected one: type --from {forms[0]}"
        )
    return clips_from(root, forms[0])


def clips_from(root: Root, form: str) -> Claims:
    """Recordings that the manifests of this tool (`lhotse`, `nemo`, `kaldi`) list."""
    return _foreign.clips(root, form, NAME)


def _of_table(root: Root, notes: list[str]) -> Claims:
    listing = _listing(root)
    made = [_clip(found) for found in sorted(listing.found, key=lambda found: found.key)]
    kept = [clip for clip in made if isinstance(clip, Clip)]
    drops = listing.drops + [drop for drop in made if isinstance(drop, Drop)]
    for found in listing.found:
        drops += duplicates(f"{NAME}/{found.key}", found.entry, found.rest)
    notes += _notes(listing.table, kept) + ignored_note(listing.ignored)
    return Claims(kept, sorted(drops, key=lambda drop: drop.id), None, notes, listing.ignored)


def _listing(root: Root) -> _Listing:
    """The table's lines, each with its recording or as a Drop. SourceError where there is no table, or it fits no recording."""
    table = _table.read(root, NAME)
    entries = [entry for entry in root.entries() if is_audio(entry.name)]
    found, drops, used = _matched(table, entries)
    if not used:
        names = [line.cells.get("file", "") for line in table.lines]
        raise SourceError(
            f"{NAME}: none of {len(names):,} files that {table.name} names lies under the root: it names {sample(names) or 'nothing'}; "
            f"found {sample(entry.name for entry in entries) or 'no recordings'}; expected paths from the table's folder"
        )
    unlisted = sorted({entry.name for entry in entries} - used)
    drops += [
        _drop(name.removeprefix(table.folder), "no_label", f"{name}: no line of {table.name} names it")
        for name in unlisted
    ]
    ignored = [entry.name for entry in root.entries() if not is_audio(entry.name) and entry.name != table.name]
    return _Listing(table, found, drops, ignored)


def _matched(table: Table, entries: list[Entry]) -> tuple[list[_Found], list[Drop], set[str]]:
    """Recordings with their lines, drops of lines, and the names of all recordings that some line names."""
    index = _Index(entries)
    found: list[_Found] = []
    drops: list[Drop] = []
    used: dict[str, int] = {}
    keys: Counter[str] = Counter()
    for line in table.lines:
        key = normpath(line.cells.get("file", f"line {line.number}").replace("\\", "/"))
        keys[key] += 1
        names = index.named(table.folder, key)
        fault = _fault(line, table, names, used)
        if fault:
            drops.append(_drop(key if keys[key] == 1 else f"{key}#{keys[key]}", *fault))
        else:
            first, *rest = index.entries(names[0])
            found.append(_Found(key, line, first, tuple(rest)))
        used |= {name: line.number for name in names if name not in used}
    return found, drops, set(used)


def _fault(line: Line, table: Table, names: list[str], used: dict[str, int]) -> tuple[str, str] | None:
    """Reason and detail of the Drop that a line ends in, if it does."""
    where = f"{table.name}, line {line.number}"
    if "file" not in line.cells:
        return "bad_line", f"{where}: no file is named"
    if not names:
        return (
            "no_audio",
            f"{where}: no recording is called {line.cells['file']}, neither beside the table nor under the root",
        )
    if len(names) > 1:
        return (
            "ambiguous_name",
            f"{where}: {line.cells['file']} may be any of {sample(names)}; give the suffix, or spell it exactly",
        )
    if names[0] in used:
        return "duplicate_id", f"{where}: {names[0]} was named in line {used[names[0]]} before, which is kept"
    return ("bad_line", f"{where}: {line.fault}") if line.fault else None


def _bare(name: str) -> str:
    return _SUFFIX.sub("", name).casefold()


# How a cell may spell a name, the strictest first: exactly, in other case, without its suffix, with another suffix.
_SPELLINGS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, str),
    (str.casefold, str.casefold),
    (str.casefold, _bare),
    (_bare, _bare),
)


class _Index:
    """Recordings by the ways in which a table may spell their names."""

    def __init__(self, entries: list[Entry]) -> None:
        self._entries: dict[str, list[Entry]] = defaultdict(list)
        self._names: list[dict[str, set[str]]] = [defaultdict(set) for _ in _SPELLINGS]
        for entry in entries:
            self._entries[entry.name].append(entry)
            for (_, of_name), names in zip(_SPELLINGS, self._names, strict=True):
                names[of_name(entry.name)].add(entry.name)

    def named(self, folder: str, cell: str) -> list[str]:
        """Names that a cell may mean, sorted: by the strictest spelling that gives any, from the table's folder before the root."""
        for (of_cell, _), names in zip(_SPELLINGS, self._names, strict=True):
            for path in (folder + cell, cell):
                if found := names.get(of_cell(normpath(path))):
                    return sorted(found)
        return []

    def entries(self, name: str) -> list[Entry]:
        """Files of that very name, the one to take first."""
        return largest_first(self._entries[name])


def _clip(found: _Found) -> Clip | Drop:
    cells = found.line.cells
    where = f"{found.key}, line {found.line.number} of the table"
    split = SPLITS.get(cells.get("split", "test").casefold())
    if split is None:
        return _drop(found.key, "unknown_split", f'{where}: split "{cells["split"]}"; expected train, dev or test')
    kind = _kind(cells)
    if kind not in KINDS:
        return _drop(found.key, "bad_line", f'{where}: kind "{kind}"; expected speech or noise')
    labels = {column: text for column, text in cells.items() if column not in _table.COLUMNS}
    if "label" in cells:
        labels["label"] = _known(cells["label"])
    source = f"@{NAME}/{found.key}"
    return Clip(
        found.key,
        source,
        found.entry.place,
        split,
        kind,
        cells.get("speaker"),
        cells.get("transcript"),
        None,
        cells.get("scene"),
        labels,
    )


def _kind(cells: dict[str, str]) -> str:
    """What `kind` says; without it noise where the label is noise, or where neither transcript nor label is given."""
    if "kind" in cells:
        return cells["kind"].casefold()
    if _known(cells.get("label", "")) == "noise":
        return "noise"
    return "speech" if "transcript" in cells or "label" in cells else "noise"


def _known(label: str) -> str:
    """A known label in its own spelling, another one as it is."""
    return label.casefold() if label.casefold() in LABELS else label


def _notes(table: Table, kept: list[Clip]) -> list[str]:
    """What the table leaves out, and speakers in several splits."""
    splits: dict[str, set[str]] = defaultdict(set)
    for clip in kept:
        splits[clip.group or ""].add(clip.split)
    spread = [name for name, found in splits.items() if name and len(found) > 1]
    unsplit = sum("split" not in line.cells for line in table.lines)
    said = [f"{unsplit:,} lines of {table.name} give no split and count as test"] if unsplit else []
    return said + ([f"{len(spread):,} speakers are in more than one split ({sample(spread)})"] if spread else [])


def _drop(key: str, reason: str, detail: str) -> Drop:
    return Drop(f"{NAME}/{key}", "ingest", reason, detail)
