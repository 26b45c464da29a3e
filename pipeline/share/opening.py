"""Recordings opened to verify them, without a trace on disk: whose samples lie at a place, and what its header says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.archives import Roots
from pipeline.archives.tars import PLAIN
from pipeline.core.errors import CorruptMember, SourceError
from pipeline.core.row import Place, Row
from pipeline.engine import workers as crews
from pipeline.engine.run import Step
from pipeline.engine.workers import Crew
from pipeline.share.finding import Look, Seen, Start, Wanted, seen_of
from pipeline.share.headers import HEAD_BYTES, shape
from pipeline.share.verdicts import Finding
from pipeline.stages import seek
from pipeline.stages.store import Store

CHUNK = 100


@dataclass(frozen=True, slots=True, eq=False)
class Opening:
    """Some files to open."""

    roots: Roots
    places: Sequence[Place]


def looking(roots: Roots, crew: Crew, start: Start) -> Look:
    """Looks with a crew and keeps nothing."""

    def look(places: Iterable[Place], what: str) -> dict[str, Seen]:
        spots = {seek.spot(place): place for place in places}
        seen: dict[str, Seen] = {}
        progress = start(what, len(spots))
        for part, told in crews.results(_parts(roots, list(spots.values())), opened, crew):
            seen |= told
            progress(Step(len(part.places), sum(s.shape[0] / s.shape[1] for s in told.values() if s.shape)))
        return seen

    return look


def _parts(roots: Roots, places: Sequence[Place]) -> Iterator[Opening]:
    for at in range(0, len(places), CHUNK):
        yield Opening(roots, places[at : at + CHUNK])


def opened(opening: Opening) -> dict[str, Seen]:
    """Spot -> whose samples lie there. Runs in a worker."""
    seen, store = {}, Store(Path(), opening.roots)
    for place in opening.places:
        spot = seek.spot(place)
        try:
            seen[spot] = seen_of(seek.seen(Row(spot, place.root, "", "", "", ""), store.recording(place)))
        except (CorruptMember, SourceError) as error:
            seen[spot] = Seen(fault=str(error))
    return seen


def headers(
    wants: Sequence[Wanted], where: Mapping[str, Place], roots: Roots, crew: Crew, start: Start
) -> dict[str, Finding]:
    """source -> what the header of its file says against its row, for those where it does. Files that do not tell are passed over."""
    named = {seek.spot(where[want.source]): want for want in wants if want.source in where}
    progress, found = start("headers", len(named)), {}
    places = [where[want.source] for want in named.values()]
    for part, told in crews.results(_parts(roots, places), heads, crew):
        progress(Step(len(part.places), 0.0))
        for spot, seen in told.items():
            want = named[spot]
            asked = (want.source_frames, want.source_rate_hz, want.source_channels)
            if seen.fault or seen.shape not in (None, asked):
                because = (
                    seen.fault or f"its header says {seen.shape} frames, Hz and channels, the set was made from {asked}"
                )
                found[want.source] = Finding(want.source, "header", because)
    return found


def heads(opening: Opening) -> dict[str, Seen]:
    """Spot -> what the file's header says. Runs in a worker."""
    seen = {}
    for place in opening.places:
        try:
            told = None if place.is_piece else shape(_head(opening.roots, place))  # a header tells nothing of a piece
            seen[seek.spot(place)] = Seen(shape=(told.frames, told.rate_hz, told.channels) if told else None)
        except (CorruptMember, SourceError) as error:
            seen[seek.spot(place)] = Seen(fault=str(error))
    return seen


def _head(roots: Roots, place: Place) -> bytes:
    """The first bytes of a file; of one that is compressed all, for it is checked by its sum."""
    root = roots[place.root]
    if place.method != PLAIN:
        return root.read(place)
    return root.read(
        Place(place.root, place.container, place.offset, place.packed, min(place.size, HEAD_BYTES), place.method)
    )
