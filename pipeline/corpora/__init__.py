"""The corpora: one file each, found by its file name. A file whose name begins with "_" is not a corpus but a part of one.

An adapter says where each recording lies and what the corpus claims of it. It reads listings, labels and tables; it never
opens a recording. Write another by writing another file: `tests/test_corpora.py` tests it for being there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Protocol, cast

from pipeline.core.errors import PrepError, did_you_mean

if TYPE_CHECKING:
    from pipeline.archives import Root
    from pipeline.core.row import Clip, Drop, Place
    from pipeline.corpora._inventory import Inventory

NOT_CORPORA = {"lexicon", "rights"}  # modules of this package that are no adapter
FORMS = ("lhotse", "nemo", "kaldi")  # tools whose manifests may stand in for the table of one's own recordings


@dataclass(frozen=True, slots=True)
class Claims:
    """All that a corpus says of a root: each file under it is in a clip, in a drop, or named in `ignored`.

    clips: sorted by key. drops: sorted by id, stage "ingest", id `<corpus>/<key>`; where a key came more than once the
    files not taken are `<corpus>/<key>#2`, `#3`. ignored: virtual names of files that are no recordings and no labels,
    sorted. notes: sentences for a person, on what was odd but not lost.
    """

    clips: list[Clip]
    drops: list[Drop]
    inventory: Inventory | None = None
    notes: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


class Corpus(Protocol):
    """What each adapter module holds.

    SHARE_AUDIO, SHARE_TRANSCRIPTS, SHARE_LABELS: whether the licence lets them be passed on. RESTRICTIONS: one sentence on
    what may be done with it. DOWNLOAD: how one comes by it.
    """

    NAME: str
    TITLE: str
    HOMEPAGE: str
    LICENCE: str
    LICENCE_URL: str
    ATTRIBUTION: str
    SHARE_AUDIO: bool
    SHARE_TRANSCRIPTS: bool
    SHARE_LABELS: bool
    RESTRICTIONS: str
    DOWNLOAD: str

    def places(self, root: Root) -> dict[str, Place]:
        """Clip.source -> where the recording lies; opens no label, so it may name recordings that `clips` drops."""

    def clips(self, root: Root) -> Claims:
        """Every recording that the corpus claims, and every file that is none. SourceError where the root holds another corpus."""

    def flags(self, labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
        """Labels that can only be told once the recording was measured; mostly none."""


def no_flags(labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
    """No labels: the `flags` of a corpus whose labels cannot contradict its recordings."""
    return {}


def names() -> list[str]:
    """The corpora, sorted: `aihub`, `cochlscene`, ..."""
    modules = {m.name for m in iter_modules(__path__) if not m.name.startswith("_")} - NOT_CORPORA
    return sorted(name.replace("_", "-") for name in modules)


@cache
def find(name: str) -> Corpus:
    """The adapter of that name, loaded now; PrepError where there is none."""
    if name not in names():
        raise PrepError(f'unknown corpus "{name}"{did_you_mean(name, names())}')
    return cast("Corpus", import_module(f"{__name__}.{name.replace('-', '_')}"))
