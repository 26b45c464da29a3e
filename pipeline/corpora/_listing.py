"""What adapters ask of a listing: which file to take of several, which came twice, what to say of the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Sequence
from typing import TYPE_CHECKING
from unicodedata import normalize

from pipeline.archives.names import suffix
from pipeline.core.errors import sample
from pipeline.core.row import Drop

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root


def container(entry: Entry) -> str:
    """The archive that a file lies in, or, outside archives, its folder with a slash at the end."""
    path = normalize("NFC", entry.place.container)
    return entry.name.rpartition("/")[0] + "/" if path == entry.name else path


def largest_first(entries: Iterable[Entry]) -> list[Entry]:
    """The file to take, then the rest: most bytes (a broken-off download is shorter), then name.

    Never by checksum: only archives have one, and the choice must be the same once they are unpacked.
    """
    return sorted(entries, key=lambda entry: (-entry.place.size, entry.name))


def duplicates(drop_id: str, taken: Entry, others: Sequence[Entry], first: int = 2) -> list[Drop]:
    """A Drop for each file that lost to `taken`, with ids `<drop_id>#<first>`, ..."""
    return [
        Drop(
            f"{drop_id}#{n}",
            "ingest",
            "duplicate_id",
            f"{_sized(other)} has the same id as {_sized(taken)}, which is kept",
        )
        for n, other in enumerate(others, first)
    ]


def _sized(entry: Entry) -> str:
    return f"{entry.name} ({entry.place.size:,} bytes)"


def above(root: Root, folders: Container[str]) -> str:
    """What to type where somebody gave one of a corpus's folders for its root; nothing where he did not."""
    if root.path.name.lower() not in folders:
        return ""
    return f". {root.path.name} is one of its folders: give the folder above it, --root {root.name}={root.path.parent}"


def counted(words: Iterable[str]) -> str:
    """`.txt 3, .json 1`: commonest first."""
    return ", ".join(
        f"{word} {n:,}" for word, n in sorted(Counter(words).items(), key=lambda pair: (-pair[1], pair[0]))
    )


def kinds_of(names: Iterable[str]) -> str:
    """`.wav 39, no suffix 1`: what a listing holds, for a person."""
    return counted(suffix(name) or "no suffix" for name in names)


def ignored_note(names: Sequence[str]) -> list[str]:
    """One sentence on the files that were passed over; none where there are none."""
    if not names:
        return []
    return [
        f"{len(names):,} files are neither recordings nor labels and were passed over ({kinds_of(names)}): {sample(names)}"
    ]
