"""Where the recordings of a set lie on this machine: by name, and failing that by their samples, anywhere under the roots."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from unicodedata import normalize

import numpy as np

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.archives.names import suffix
from pipeline.core import frame as frames
from pipeline.core.errors import RecipeError, SourceError, sample
from pipeline.core.row import Drop, Place, Row
from pipeline.core.table import Table
from pipeline.corpora import rights
from pipeline.engine import run as engine
from pipeline.engine.run import Progress, Setting
from pipeline.share.listing import Readable, recordings
from pipeline.stages import find, seek

HEADER_BYTES = 64 * 1024  # most that a WAV holds besides its samples, where nobody put a picture into it
_SAMPLE_BYTES = {
    "PCM_S8": 1,
    "PCM_U8": 1,
    "ULAW": 1,
    "ALAW": 1,
    "PCM_16": 2,
    "PCM_24": 3,
    "PCM_32": 4,
    "FLOAT": 4,
    "DOUBLE": 8,
}
_WANTED = ("source", "corpus", "source_pcm_hash", "source_frames", "source_rate_hz", "source_channels", "source_format")
Start = Callable[[str, int], Progress]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A recording that a set was made from."""

    source: str
    corpus: str
    source_pcm_hash: str
    source_frames: int
    source_rate_hz: int
    source_channels: int
    source_format: str


@dataclass(frozen=True, slots=True)
class Lack:
    """Why a recording is not there: `absent`, `differs` or `damaged`, and a sentence with what can be done."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies at a place: whose samples, and how many (frames, Hz, channels), or why there are none."""

    digest: str | None = None
    shape: tuple[int, int, int] | None = None
    fault: str = ""


Look = Callable[[Iterable[Place], str], dict[str, Seen]]  # places, and what for -> spot -> what lies there


@dataclass(slots=True)
class Found:
    """where: source -> place, of what is there with the very samples. moved: those of them that lie under another name.

    displaced: source -> what lies under its name instead, also where it was found elsewhere. lacks: source -> why it is not
    there. roots: as far as they can be read. notes: for a person.
    """

    where: dict[str, Place] = field(default_factory=dict)
    moved: dict[str, Place] = field(default_factory=dict)
    displaced: dict[str, Lack] = field(default_factory=dict)
    lacks: dict[str, Lack] = field(default_factory=dict)
    roots: dict[str, Readable] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def wanted(rows: Table) -> list[Wanted]:
    """Every recording that the rows were made from, each once, by source."""
    _, first = np.unique(rows.classes("source"), return_index=True)
    return sorted(rows.only(_WANTED).take(first).rows(Wanted), key=lambda want: want.source)


def found(wants: Sequence[Wanted], roots: Mapping[str, Readable], look: Look) -> Found:
    """Where each wanted recording lies: every one that is named here is decoded and compared, then the rest is searched for."""
    told = Found(roots=dict(roots))
    named = by_name(wants, told)
    seen = look(named.values(), "seek")
    for want in wants:
        place = named.get(want.source)
        if place is not None and seen[seek.spot(place)].digest == want.source_pcm_hash:
            told.where[want.source] = place
    if lost := [want for want in wants if want.source not in told.where]:
        _displaced(lost, {want.source_pcm_hash: want.source for want in wants}, named, seen, told)
        candidates = _candidates(lost, told.roots, {seek.spot(place) for place in named.values()})
        seen |= look(candidates, "search")
        _by_samples(lost, [*named.values(), *candidates], seen, told)
        _lacks(lost, told)
    return told


def readable_roots(names: Collection[str], roots: Roots) -> dict[str, Readable]:
    """Every root that was told, as far as it can be read. RecipeError for those of the set that nobody told, all at once."""
    faults = []
    for name in sorted(names):
        try:
            Readable(name, roots[name].path).entries()
        except SourceError as error:
            faults.append(str(error))
    if faults:
        raise RecipeError(faults)
    further = {
        name: path for name in sorted(roots) if name not in names and (path := roots.where(name)) and path.is_dir()
    }
    return {name: Readable(name, roots[name].path) for name in sorted({*names, *further})}


def by_name(wants: Sequence[Wanted], told: Found) -> dict[str, Place]:
    """source -> place, by the names that the corpora give their recordings; what cannot be read is noted."""
    named: dict[str, Place] = {}
    for corpus in sorted({want.corpus for want in wants}):
        root = told.roots[corpus]
        try:
            places = corpora.find(corpus).places(root)
        except SourceError as error:
            told.notes.append(f"nothing was found by name: {error}")
            continue
        told.notes += [f"{corpus}: passed over: {fault}" for fault in root.faults]
        named |= {want.source: places[want.source] for want in wants if want.corpus == corpus and want.source in places}
    return named


def remembering(setting: Setting, start: Start) -> Look:
    """Looks with the setting's crew and keeps what was seen beside the manifests, so that nothing is looked at twice."""

    def look(places: Iterable[Place], what: str) -> dict[str, Seen]:
        plan = seek.plan({seek.spot(place): place for place in places}.values())
        if not len(plan):
            return {}
        ended = engine.run(find(seek.NAME), seek.Options(), plan, setting, start(what, len(plan)))
        seen = {row.id: seen_of(row) for row in frames.rows(ended.rows, Row)}
        return seen | {drop.id: Seen(fault=drop.detail) for drop in frames.rows(ended.drops, Drop)}

    return look


def seen_of(row: Row) -> Seen:
    """What was found at a place."""
    return Seen(row.source_pcm_hash, (row.source_frames or 0, row.source_rate_hz or 0, row.source_channels or 0))


def _candidates(lost: Sequence[Wanted], roots: Mapping[str, Readable], opened: set[str]) -> list[Place]:
    """Recordings that may be among the lost ones: not opened yet, and not a WAV of another length."""
    lengths = np.sort(np.array([_data_bytes(want) for want in lost], dtype=np.int64))
    return [
        entry.place
        for root in roots.values()
        for entry in recordings(root)
        if seek.spot(entry.place) not in opened
        and (suffix(entry.name) != ".wav" or _may_hold(entry.place.size, lengths))
    ]


def _data_bytes(want: Wanted) -> int:
    """Bytes of the samples in a WAV; 0, which no WAV has, where the encoding does not tell."""
    container, _, encoding = want.source_format.partition(" ")
    width = _SAMPLE_BYTES.get(encoding, 0) if container.startswith("WAV") or container in ("RF64", "FLAC") else 0
    return want.source_frames * want.source_channels * width


def _may_hold(size: int, lengths: np.typing.NDArray[np.int64]) -> bool:
    if not lengths[0]:  # the length of one of them is not known
        return True
    at = int(np.searchsorted(lengths, size, side="right"))
    return at > 0 and size - int(lengths[at - 1]) <= HEADER_BYTES


def _by_samples(lost: Sequence[Wanted], places: Sequence[Place], seen: Mapping[str, Seen], told: Found) -> None:
    """Notes down what lies somewhere under another name."""
    holders: dict[str, Place] = {}
    for place in places:
        digest = seen[seek.spot(place)].digest
        if digest is not None:
            holders.setdefault(digest, place)
    for want in lost:
        if want.source_pcm_hash in holders:
            told.where[want.source] = told.moved[want.source] = holders[want.source_pcm_hash]


def _displaced(
    lost: Sequence[Wanted], whose: Mapping[str, str], named: Mapping[str, Place], seen: Mapping[str, Seen], told: Found
) -> None:
    """Notes down what lies under the name of each that is not there."""
    for want in lost:
        if want.source in named:
            place, held = named[want.source], seen[seek.spot(named[want.source])]
            reason = "damaged" if held.fault else "differs"
            detail = f"{held.fault}. Restore or download it again" if held.fault else _difference(want, held, whose)
            told.displaced[want.source] = Lack(reason, f"{want.source} in {place.container}: {detail}")


def _lacks(lost: Sequence[Wanted], told: Found) -> None:
    """Notes down why each that was found nowhere is not there."""
    holds = _neighbours(told.where)
    for want in lost:
        if want.source not in told.where:
            told.lacks[want.source] = told.displaced.get(want.source) or Lack(
                "absent", _absent(want, holds, told.roots[want.corpus].faults)
            )


def _neighbours(where: Mapping[str, Place]) -> dict[str, Counter[str]]:
    """Folder of sources -> the containers in which its recordings lie here."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for source, place in where.items():
        own = place.container if suffix(place.container) in (".zip", ".tar") else place.container.rpartition("/")[0]
        found[source.rpartition("/")[0]][own or "."] += 1
    return found


def _absent(want: Wanted, holds: Mapping[str, Counter[str]], faults: Sequence[str]) -> str:
    folder = want.source.rpartition("/")[0]
    here = holds.get(folder, Counter())
    others = f"others of {folder} lie in {sample(here)}" if here else f"nothing of {folder} is there"
    likely = [fault for fault in faults if folder.rpartition("/")[2] in normalize("NFC", fault)]
    if likely:
        return f"{want.source}: no file of that name, none with its samples; {others}; mend this first: {likely[0]}"
    download = rights.terms_of(want.corpus).download
    return f"{want.source}: no file of that name, none with its samples; {others}: look for a part or folder that is missing. {download}"


def _difference(want: Wanted, held: Seen, whose: Mapping[str, str]) -> str:
    """How what lies there differs from what is wanted."""
    if held.digest in whose:
        return f"holds the samples of {whose[str(held.digest)]}: put both files back under their own names"
    asked = (want.source_frames, want.source_rate_hz, want.source_channels)
    if held.shape != asked:
        return f"has {held.shape} frames, Hz and channels, the set was made from {asked}: another release, or cut off; get that one"
    return "has other samples, as many, than the set was made from: restore the original file"
