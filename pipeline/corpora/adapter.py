"""What adapters of corpora share: which file of several to take, drops of the others, notes and refusals. No corpus."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from pipeline.archives.names import nfc, suffix
from pipeline.core.errors import SourceError, sample
from pipeline.core.row import Drop
from pipeline.corpora import Listing
from pipeline.corpora.own import BESIDE

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.core.row import Clip


class File(Protocol):
    """A file whose name or path says which clip it belongs to."""

    @property
    def key(self) -> str: ...

    @property
    def entry(self) -> Entry: ...


F = TypeVar("F", bound=File)


def listing(
    clips: Iterable[Clip],
    drops: Iterable[Drop],
    ignored: Sequence[str],
    notes: Sequence[str] = (),
    inventory: dict[str, Any] | None = None,
) -> Listing:
    """The Listing, in order, with a note on the files that were passed over."""
    further = []
    if others := [name for name in ignored if name != BESIDE]:
        what = f"neither recordings nor labels and were passed over ({kinds_of(others)}): {sample(others)}"
        further = [f"{len(others):,} files are {what}"]
    in_order = sorted(clips, key=lambda clip: clip.key), sorted(drops, key=lambda drop: drop.id)
    return Listing(*in_order, inventory, [*notes, *further], list(ignored))


def preference(entry: Entry) -> tuple[int, str]:
    """A sort key that puts the file to take first: most bytes (a broken-off download is shorter), then the name.

    Never the checksum: only archives have one, and the choice must be the same once they are unpacked.
    """
    return -entry.place.size, entry.name


def by_key(files: Iterable[F]) -> dict[str, list[F]]:
    """The files of each key, in order, the file to take first."""
    grouped: dict[str, list[F]] = defaultdict(list)
    for file in files:
        grouped[file.key].append(file)
    for several in grouped.values():
        if len(several) > 1:
            several.sort(key=lambda file: preference(file.entry))
    return {key: grouped[key] for key in sorted(grouped)}


def duplicates(drop_id: str, entries: Sequence[Entry], first: int = 2) -> list[Drop]:
    """A Drop for each file but the first, which was taken, with ids `<drop_id>#<first>`, ..."""
    return [
        Drop(
            f"{drop_id}#{n}",
            "ingest",
            "duplicate_id",
            f"{_with_size(entry)} has the same id as {_with_size(entries[0])}, which is kept",
        )
        for n, entry in enumerate(entries[1:], first)
    ]


def _with_size(entry: Entry) -> str:
    return f"{entry.name} ({entry.place.size:,} bytes)"


def no_recordings(root: Root, corpus: str, expected: str, folders: Container[str] = ()) -> SourceError:
    """The refusal of a root without a single recording of the corpus.

    folders: the corpus's own, in lower case: where the root is one of them, the folder above it was meant.
    """
    names = [entry.name for entry in root.entries()]
    above = ""
    if root.path.name.lower() in folders:
        parent = f"--root {root.name}={root.path.parent}"
        above = f". {root.path.name} is one of its folders: give the folder above it, {parent}"
    what = f"no recording of this corpus among {len(names):,} files ({kinds_of(names)}), such as {sample(names)}"
    return SourceError(f"{corpus}: {what}; {expected}{above}")


def notes_on(groups: Iterable[tuple[Collection[str], str]]) -> list[str]:
    """A sentence for each group of names that is not empty: how many, what of them, and some of the names."""
    return [f"{len(names):,} {what} ({sample(names)})" for names, what in groups if names]


def kinds_of(names: Iterable[str]) -> str:
    """`.wav 39, no suffix 1`: what a listing holds, commonest first."""
    counts = Counter(suffix(name) or "no suffix" for name in names)
    return ", ".join(f"{kind} {n:,}" for kind, n in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0])))


def container(entry: Entry) -> str:
    """The archive that a file lies in, or, outside archives, its folder with a slash at the end."""
    path = nfc(entry.place.container)
    return entry.name.rpartition("/")[0] + "/" if path == entry.name else path
