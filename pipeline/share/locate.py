"""Where the recordings of a set lie on this machine: by their names, and failing that by their samples, anywhere."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

import numpy as np

from pipeline import corpora
from pipeline.archives import Root, Roots
from pipeline.archives.names import suffix
from pipeline.core import frame as frames
from pipeline.core.errors import CorruptMember, RecipeError, SourceError, sample
from pipeline.core.row import Drop, Place, Row
from pipeline.corpora import rights
from pipeline.engine import run as engine
from pipeline.engine.run import Progress, Setting, Step
from pipeline.engine.workers import Workers, map_chunks
from pipeline.stages import find, rebuild, seek
from pipeline.stages.store import Store

if TYPE_CHECKING:
    import pandas as pd

Start = Callable[[str, int], Progress]  # what is done, and to how many -> where its progress is reported
HEADER_BYTES = 64 * 1024  # most that a WAV holds besides its samples, where nobody put a picture into it
_SAMPLE_BYTES = {
    **{"PCM_S8": 1, "PCM_U8": 1, "ULAW": 1, "ALAW": 1},
    **{"PCM_16": 2, "PCM_24": 3, "PCM_32": 4, "FLOAT": 4, "DOUBLE": 8},
}
_FILES_A_TASK = 100
_COLUMNS = ["id", "corpus", "split", "group", "kind", "source", "labels", "speech_id", "source_rate_hz"]
_COLUMNS += ["source_channels", "source_frames", "source_format", "source_pcm_hash"]


@dataclass(frozen=True, slots=True)
class Located:
    """Where the recordings of a set lie, by their `source`.

    places: of those that are there with the very samples. moved: those of them that lie under another name. displaced:
    what lies in place of a recording under its name, also where the recording itself lies elsewhere. missing: why a
    recording is not there. In both, the id of a drop is the source; its reason is `absent`, `differs` or `damaged`.
    roots: those that were searched. notes: for a person.
    """

    roots: Mapping[str, Root]
    places: dict[str, Place] = field(default_factory=dict)
    moved: dict[str, Place] = field(default_factory=dict)
    displaced: dict[str, Drop] = field(default_factory=dict)
    missing: dict[str, Drop] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def recordings_of(frame: pd.DataFrame) -> list[Row]:
    """Every recording that the rows were made from, by source: its first row, with the columns of the recording."""
    _, first = np.unique(frames.codes(frame["source"])[0], return_index=True)
    columns = [name for name in _COLUMNS if name in frame.columns]
    return sorted(frames.rows(frames.pick(frame[columns], first), Row), key=lambda row: row.source)


def open_roots(names: Collection[str], roots: Roots) -> dict[str, Root]:
    """The roots of these corpora and every other one that is known; what cannot be read in them is passed over.

    RecipeError names those of these corpora whose path nobody gave, or where nothing lies, all at once.
    """
    opened, faults = {}, []
    for name in sorted({*names, *roots}):
        try:
            opened[name] = replace(roots[name], tolerant=True)
        except SourceError as error:
            if name in names:
                faults.append(str(error))
    if faults:
        raise RecipeError(faults)
    return opened


def by_name(recordings: Sequence[Row], roots: Mapping[str, Root]) -> tuple[dict[str, Place], list[str]]:
    """(source -> the place where a recording of its name lies, notes on what could not be read)."""
    named: dict[str, Place] = {}
    notes: list[str] = []
    for corpus in sorted({row.corpus for row in recordings}):
        try:
            places = corpora.find(corpus).places(roots[corpus])
        except SourceError as error:
            notes.append(f"nothing was found by name: {error}")
            continue
        notes += [f"{corpus}: passed over: {fault}" for fault in roots[corpus].faults]
        named |= {r.source: places[r.source] for r in recordings if r.corpus == corpus and r.source in places}
    return named, notes


def locate(
    recordings: Sequence[Row], roots: Mapping[str, Root], workers: Workers, start: Start, cache: Setting | None = None
) -> Located:
    """Where each of these recordings lies: the files of their names are decoded and compared, the rest is searched for.

    cache: where what was found in each file is kept, so that no file is decoded twice; None: it is not kept.
    """

    def decode(what: str, places: Iterable[Place]) -> dict[str, Row | Drop]:
        files = {seek.spot(place): place for place in places}
        return _decode_cached(what, files, cache, start) if cache else _decode(what, files, roots, workers, start)

    named, notes = by_name(recordings, roots)
    contents = decode("seek", named.values())
    located = Located(roots, notes=notes)
    for row in recordings:
        content = contents[seek.spot(named[row.source])] if row.source in named else None
        if isinstance(content, Row) and content.source_pcm_hash == row.source_pcm_hash:
            located.places[row.source] = named[row.source]
    lost = [row for row in recordings if row.source not in located.places]
    if not lost:
        return located
    owners = {row.source_pcm_hash: row.source for row in recordings}
    for row in lost:
        if row.source in named:
            place = named[row.source]
            located.displaced[row.source] = _displaced(row, place, contents[seek.spot(place)], owners)
    candidates = _candidates(lost, roots, {seek.spot(place) for place in named.values()})
    contents |= decode("search", candidates)
    by_hash: dict[str | None, Place] = {}
    for place in [*named.values(), *candidates]:
        content = contents[seek.spot(place)]
        if isinstance(content, Row):
            by_hash.setdefault(content.source_pcm_hash, place)
    located.moved.update({row.source: by_hash[row.source_pcm_hash] for row in lost if row.source_pcm_hash in by_hash})
    located.places.update(located.moved)
    neighbours: dict[str, Counter[str]] = defaultdict(Counter)  # folder of sources -> containers of its recordings here
    for source, place in located.places.items():
        own = place.container if suffix(place.container) in (".zip", ".tar") else place.container.rpartition("/")[0]
        neighbours[source.rpartition("/")[0]][own or "."] += 1
    for row in lost:
        if row.source not in located.places:
            absent = _absent(row, neighbours, roots[row.corpus].faults)
            located.missing[row.source] = located.displaced.get(row.source, absent)
    return located


def _decode_cached(what: str, files: Mapping[str, Place], cache: Setting, start: Start) -> dict[str, Row | Drop]:
    """Name of a file -> its recording, or why there is none: from commits beside the manifests, or decoded now."""
    plan = seek.plan(files.values())
    if not len(plan):
        return {}
    result = engine.run(find(seek.NAME), seek.Options(), plan, cache, start(what, len(plan)))
    decoded: dict[str, Row | Drop] = {row.id: row for row in frames.rows(result.rows.frame, Row)}
    return decoded | {drop.id: drop for drop in frames.rows(result.drops, Drop)}


def _decode(
    what: str, files: Mapping[str, Place], roots: Mapping[str, Root], workers: Workers, start: Start
) -> dict[str, Row | Drop]:
    """The same without a trace on disk."""
    progress, decoded = start(what, len(files)), {}
    results = map_chunks(decode_files, files.items(), _FILES_A_TASK, workers, roots)
    for name, content in zip(files, results, strict=True):
        decoded[name] = content
        duration_s = (content.frames or 0) / (content.rate_hz or 1) if isinstance(content, Row) else 0.0
        progress(Step(1, duration_s))
    return decoded


def decode_files(files: Sequence[tuple[str, Place]], roots: Mapping[str, Root]) -> list[Row | Drop]:
    """What each file holds: a row with the columns of its recording, or a drop. Runs in a worker."""
    store = Store(Path(), Roots(roots))
    contents: list[Row | Drop] = []
    for name, place in files:
        try:
            contents.append(seek.with_recording(Row(name, place.root, "", "", "", ""), store.recording(place)))
        except (CorruptMember, SourceError) as error:
            contents.append(Drop(name, seek.NAME, "damaged", str(error)))
    return contents


def _candidates(lost: Sequence[Row], roots: Mapping[str, Root], opened: set[str]) -> list[Place]:
    """Files that may hold one of the lost recordings: not opened yet, and no WAV whose length rules that out."""
    sizes = []  # bytes of the samples of each in a WAV; 0, which no WAV has, where its encoding does not say
    for row in lost:
        container, _, encoding = (row.source_format or "").partition(" ")
        is_plain = container.startswith("WAV") or container in ("RF64", "FLAC")
        width = _SAMPLE_BYTES.get(encoding, 0) if is_plain else 0
        sizes.append((row.source_frames or 0) * (row.source_channels or 0) * width)
    lengths = np.sort(sizes)

    def may_hold(size: int) -> bool:
        at = int(np.searchsorted(lengths, size, side="right"))
        return lengths[0] == 0 or (at > 0 and size - lengths[at - 1] <= HEADER_BYTES)

    places = [(entry.name, entry.place) for root in roots.values() for entry in root.recordings()]
    named: set[str] = set()
    for corpus in sorted({row.corpus for row in lost}):
        with suppress(SourceError):
            own = corpora.find(corpus).places(roots[corpus])
            named |= {seek.spot(place) for place in own.values()}
            places += [(source, place) for source, place in sorted(own.items()) if place.is_piece]
    places.sort(key=lambda item: seek.spot(item[1]) not in named)  # of two copies that which the corpus knows
    return [
        place
        for name, place in places
        if seek.spot(place) not in opened and (suffix(name) != ".wav" or may_hold(place.size))
    ]


def _displaced(row: Row, place: Place, content: Row | Drop, owners: Mapping[str | None, str]) -> Drop:
    """How the file of this name differs from the recording. owners: hash of samples -> the source that has them."""
    here = f"{row.source} in {place.container}"
    if isinstance(content, Drop):
        return Drop(row.source, rebuild.NAME, "damaged", f"{here}: {content.detail}. Restore or download it again")
    there, expected = (
        (recording.source_frames, recording.source_rate_hz, recording.source_channels) for recording in (content, row)
    )
    if content.source_pcm_hash in owners:
        why = f"holds the samples of {owners[content.source_pcm_hash]}: put both files back under their own names"
    elif there != expected:
        made = f"the set was made from {expected}: another release, or cut off; get that one"
        why = f"has {there} frames, Hz and channels, {made}"
    else:
        why = "has other samples, as many, than the set was made from: restore the original file"
    return Drop(row.source, rebuild.NAME, "differs", f"{here}: {why}")


def _absent(row: Row, neighbours: Mapping[str, Counter[str]], faults: Iterable[str]) -> Drop:
    """That a recording is nowhere, and where to look for it."""
    folder = row.source.rpartition("/")[0]
    near = neighbours.get(folder)
    others = f"others of {folder} lie in {sample(near)}" if near else f"nothing of {folder} is there"
    damaged = next((fault for fault in faults if folder.rpartition("/")[2] in normalize("NFC", fault)), None)
    remedy = f": look for a part or folder that is missing. {rights.terms_of(row.corpus).download}"
    advice = remedy if damaged is None else f"; mend this first: {damaged}"
    detail = f"{row.source}: no file of that name, none with its samples; {others}{advice}"
    return Drop(row.source, rebuild.NAME, "absent", detail)
