"""What a licence kept out of a pack, taken again from the collaborator's own labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.core.errors import SourceError
from pipeline.core.row import Clip, Drop, Place
from pipeline.core.table import Table
from pipeline.corpora.rights import LeftOut
from pipeline.share.finding import Found
from pipeline.stages.rebuild import NAME

COLUMNS = ("transcript", "scenario", "scene", "labels", "group")  # what labels say


@dataclass(frozen=True, slots=True)
class Said:
    """What the labels of a corpus say of a recording; `there` is false where there are none."""

    there: bool
    why: str
    transcript: str | None = None
    scenario: str | None = None
    scene: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """A recording whose label is asked for; id: of one of the rows made from it."""

    id: str
    speech_id: str | None
    source: str
    source_frames: int
    source_rate_hz: int


_ASKED = ("id", "speech_id", "source", "source_frames", "source_rate_hz")


def rejoined(rows: Table, left_out: Sequence[LeftOut], found: Found) -> tuple[Table, list[Drop]]:
    """(the rows with what was left out, drops of those whose label is not there). rows: those whose recordings were found."""
    columns = sorted({(item.corpus, item.column) for item in left_out if item.column in COLUMNS})
    lost: dict[str, str] = {}
    for corpus in sorted({corpus for corpus, _ in columns}):
        own = rows.equal("corpus", corpus) if len(rows) else np.zeros(0, dtype=np.bool_)
        if own.any():
            rows, without = _joined(rows, own, corpus, [column for name, column in columns if name == corpus], found)
            lost |= without
    rows = _scenes(rows, [corpus for corpus, column in columns if column == "scene"])
    drops = [Drop(row_id, NAME, "no_label", why) for row_id, why in sorted(lost.items())]
    return rows.where(~rows.among("id", lost)) if lost else rows, drops


def _joined(
    rows: Table, own: NDArray[np.bool_], corpus: str, columns: Iterable[str], found: Found
) -> tuple[Table, dict[str, str]]:
    """The rows with these columns of one corpus, and id -> why of those that have no label."""
    codes, sources = rows.codes("source")
    first = np.zeros(len(sources), dtype=np.int64)
    first[codes[::-1]] = np.arange(len(rows))[::-1]
    held = _clips(corpus, found, {str(source) for source in sources})
    asked = zip(rows.only(_ASKED).take(first).rows(_Asked), own[first].tolist(), strict=True)
    said = [_said(corpus, held, recording) if mine else Said(False, "") for recording, mine in asked]
    told = Table.of(said, Said).take(codes)
    there = told.flags("there")
    for column in columns:
        where = own & there
        if column == "scene":
            where = where & ~rows.equal("kind", "mixture")
        elif column == "group":  # where no speaker is known the recording is the group, which the pack says itself
            where = where & told.present("group")
        rows = rows.replaced(column, where, told)
    ids, whys = rows.only(["id"]).where(own & ~there), told.only(["why"]).where(own & ~there)
    return rows, dict(zip(ids.column("id"), whys.column("why"), strict=True))


def _clips(corpus: str, found: Found, sources: set[str]) -> tuple[dict[str, Clip], dict[str, str]]:
    """(source -> what the corpus here claims of it, source -> why it claims nothing)."""
    moved = [(source, place) for source, place in sorted(found.moved.items()) if source in sources]
    root = found.roots[corpus].knowing((source, place) for source, place in moved if _of(source) == corpus)
    try:
        claims = corpora.find(corpus).clips(root)
    except SourceError as error:
        return _by_place(corpus, found, {}), {"": str(error)}
    clips = {clip.source: clip for clip in claims.clips}
    why = {drop.id: f"{drop.reason}: {drop.detail}" for drop in claims.drops}
    return _by_place(corpus, found, clips), why


def _of(source: str) -> str:
    return source.removeprefix("@").partition("/")[0]


def _by_place(corpus: str, found: Found, clips: dict[str, Clip]) -> dict[str, Clip]:
    """With the claim of the recording that was found, where a source has none of its own."""
    here: dict[Place, Clip] = {clip.place: clip for clip in clips.values()}
    for source, place in found.moved.items():
        if _of(source) == corpus and source not in clips and place in here:
            clips[source] = here[place]
    return clips


def _said(corpus: str, held: tuple[dict[str, Clip], dict[str, str]], asked: _Asked) -> Said:
    clips, why = held
    clip = clips.get(asked.source)
    if clip is None:
        told = why.get("") or why.get(asked.speech_id or asked.id) or "its recording is there, its label is not"
        return Said(False, f"{asked.source}: {told}. Get the labels of {corpus} that belong to it")
    labels = {**clip.labels, **corpora.find(corpus).flags(clip.labels, asked.source_frames, asked.source_rate_hz)}
    return Said(True, "", clip.text, clip.scenario, clip.scene, labels, clip.group)


def _scenes(rows: Table, corpora_without: Sequence[str]) -> Table:
    """Mixtures with the scene of their noise, where its corpus may not pass it on and it is told again by the noise's own row."""
    if not corpora_without or not rows.present("noise_id").any():
        return rows
    noise = rows.where(rows.equal("kind", "noise") & rows.among("corpus", corpora_without))
    if not len(noise):
        return rows
    at = rows.places_in(noise, "noise_id", "id")
    return rows.replaced("scene", at >= 0, noise.take(np.maximum(at, 0)))
