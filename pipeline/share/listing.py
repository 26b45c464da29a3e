"""What can be read of a root, though parts of it cannot: a collaborator's copy is searched, not refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

from pipeline.archives import Entry, Root
from pipeline.archives.names import is_audio, suffix
from pipeline.archives.tree import Walk, of_one_archive, shelf_names
from pipeline.core.row import Place


@dataclass(frozen=True)
class Readable(Root):
    """A root whose damaged archives are passed over and told in `faults`. besides: files under further names."""

    besides: tuple[Entry, ...] = ()

    def entries(self) -> tuple[Entry, ...]:
        """Every file that can be read, sorted by name, and those besides."""
        return self._all

    @property
    def faults(self) -> list[str]:
        """A line for each archive or file that cannot be read, without the path of the root."""
        return [fault.removeprefix(f"{self._base}/") for fault in self._walked.faults]

    @cached_property
    def _all(self) -> tuple[Entry, ...]:
        held = [*self._walked.entries, *self.besides]
        return tuple(
            sorted(held, key=lambda entry: (entry.name, entry.place.size, entry.place.container, entry.place.offset))
        )

    @cached_property
    def _walked(self) -> Walk:
        walk = Walk(self.name, self._base)
        if self._base == str(self.path):
            walk.folder("")
        else:
            walk.archives("", of_one_archive(self.path.name, shelf_names(self._base)))
        return walk

    def knowing(self, where: Iterable[tuple[str, Place]]) -> Readable:
        """The same with recordings that lie under other names also under their own: the source, `@aihub/Training/화재/12`.

        An adapter reads a source's name as it reads a file's, so it finds the label that belongs there.
        """
        further = []
        for source, place in where:
            name = source.partition("/")[2]
            further.append(Entry(name if is_audio(name) else f"{name}.wav", place))
        return replace(self, besides=tuple(further))


def recordings(root: Readable) -> list[Entry]:
    """The files that may be recordings: by their suffix, or without any."""
    return [entry for entry in root.entries() if is_audio(entry.name) or not suffix(entry.name)]
