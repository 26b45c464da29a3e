"""Names that the search for a set's recordings still uses for what `archives.Root` does now."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.archives import Entry, Root


@dataclass(frozen=True)
class Readable(Root):
    """A tolerant root."""

    tolerant: bool = True
    knowing = Root.with_names


def recordings(root: Root) -> list[Entry]:
    """The files that may be recordings."""
    return root.recordings()
