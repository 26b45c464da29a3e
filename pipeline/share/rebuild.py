"""A pack made into a set again, from one's own copies of the corpora: located, labelled, rendered, compared."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline import corpora
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import SourceError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Clip, Drop, Row
from pipeline.core.sql import query
from pipeline.corpora import rights
from pipeline.corpora.rights import LeftOut
from pipeline.engine import run as engine
from pipeline.engine.run import Setting
from pipeline.share.locate import Located, Start, locate, open_roots, recordings_of
from pipeline.share.pack import Pack, is_nameless
from pipeline.stages import Options, Plan, filter, find, recompute, resample, with_places
from pipeline.stages.rebuild import DIFFERENT, NAME

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("transcript", "scenario", "scene", "labels", "group")  # columns that say what the labels of a corpus say


@dataclass(frozen=True, slots=True, eq=False)
class Rebuilt:
    """What was made of a pack.

    provenance: of the set that was packed. moved: how many recordings lie under other names. notes: for a person.
    """

    jobs: int
    rows: pd.DataFrame
    drops: pd.DataFrame
    provenance: Provenance
    moved: int
    notes: list[str] = field(default_factory=list)

    def reasons(self) -> dict[str, int]:
        """How many rows are missing for which reason, the most frequent first."""
        return dict(query(self.drops, "SELECT reason, count(*) FROM rows GROUP BY 1 ORDER BY 2 DESC, 1"))


def rebuild(pack: Pack, setting: Setting, start: Start) -> Rebuilt:
    """Every row of the pack whose recordings are there, with the same samples, and a drop for every other row."""
    frame = pack.manifest.frame
    recordings = recordings_of(frame)
    roots = open_roots({row.corpus for row in recordings}, setting.roots)
    located = locate(recordings, roots, setting.workers, start, cache=setting)
    recipe = pack.manifest.provenance.recipe
    words = filter.Options.of({"filter": {"text": "raw"} | (recipe.get("filter") or {})}, "filter", ("text", "erase"))
    here = frames.pick(frame, frames.among(frame["source"], located.places))
    here, unlabelled = with_labels(here, pack.left_out, located, words)
    here, located = with_names(here, pack, located)
    rendered, drops = _rendered(here, pack, located, setting, start)
    lost = frames.pick(frame[["id", "source"]], frames.among(frame["source"], located.missing))
    missing = [
        replace(located.missing[source], id=row_id)
        for row_id, source in zip(frames.values(lost["id"]), frames.values(lost["source"]), strict=True)
    ]
    drops = frames.concat([frames.from_rows([*missing, *unlabelled], Drop), drops], Drop)
    if len(rendered) + len(drops) != len(frame):
        raise AssertionError(f"{NAME}: {len(frame)} rows in the pack, {len(rendered)} rows, {len(drops)} drops")
    return Rebuilt(
        len(frame), frames.ordered(rendered), drops, pack.manifest.provenance, len(located.moved), located.notes
    )


def write(path: Path, rebuilt: Rebuilt) -> Provenance:
    """Writes the rows, and beside them what is missing and why; returns the provenance with the hash of the rows."""
    return manifest.write(path, rebuilt.rows, rebuilt.drops, rebuilt.provenance)


def differing(pack: Pack, frame: pd.DataFrame) -> list[str]:
    """The columns whose values are not those of the set that was packed. frame: rows, of which none is missing."""
    names = [name for name in frame.columns if name not in frames.UNHASHED]
    return [name for name in names if frames.logical_hash(frame[[name]]) != pack.hashes.get(name)]


# ---- labels


def with_labels(
    frame: pd.DataFrame, left_out: Sequence[LeftOut], located: Located, words: filter.Options
) -> tuple[pd.DataFrame, list[Drop]]:
    """(the rows with what was left out of the pack, drops of those whose label is not there).

    frame: the rows whose recordings were located. The labels are those of the collaborator's own copies. words: how
    filter took the notation out of their transcripts.
    """
    columns = sorted({(item.corpus, item.column) for item in left_out if item.column in LABELS})
    nameless = {item.corpus for item in left_out if item.column == "source"}
    drops: list[Drop] = []
    for corpus in sorted({corpus for corpus, _ in columns}):
        own = frames.equal(frame["corpus"], corpus)
        own_rows = recordings_of(frames.pick(frame, own))
        labelled, reasons = _labelled(corpus, own_rows, located, words, corpus in nameless)
        labels = frames.from_rows(labelled, Row)
        at = frames.position_of(frame["source"], labels["source"])
        known = own & (at >= 0)
        labels = frames.pick(labels, np.maximum(at, 0)) if labelled else frame
        where = {
            "scene": known & ~frames.equal(frame["kind"], "mixture"),  # of a mixture: below, by its noise
            "group": known
            & ~frames.equal(labels["group"], ""),  # without a speaker it is the recording, as the pack says
        }
        for column in [column for name, column in columns if name == corpus]:
            cells = frames.choose(where.get(column, known), labels[column], frame[column])
            frame = frames.with_columns(frame, **{column: cells})
        lost = frames.pick(frame[["id", "source"]], own & ~known)
        drops += [
            Drop(row_id, NAME, "no_label", reasons[source])
            for row_id, source in zip(frames.values(lost["id"]), frames.values(lost["source"]), strict=True)
        ]
        frame = frames.pick(frame, ~own | known)
    without_scene = [corpus for corpus, column in columns if column == "scene"]
    noise = frames.pick(frame, frames.equal(frame["kind"], "noise") & frames.among(frame["corpus"], without_scene))
    if len(noise):  # a mixture has the scene of its noise
        at = frames.position_of(frame["noise_id"], noise["id"])
        scene = frames.choose(at >= 0, frames.pick(noise[["scene"]], np.maximum(at, 0))["scene"], frame["scene"])
        frame = frames.with_columns(frame, scene=scene)
    return frame, sorted(drops, key=lambda drop: drop.id)


def with_names(frame: pd.DataFrame, pack: Pack, located: Located) -> tuple[pd.DataFrame, Located]:
    """(the rows, and where their recordings lie, under the names that the corpus has here and the pack does not hold).

    A recording that no label names keeps the name that it has in the pack.
    """
    names: dict[str, str] = {}
    sources = set(frames.codes(frame["source"])[1])
    for corpus in sorted(pack.nameless & set(located.roots)):
        with suppress(SourceError):
            by_place = {clip.place: clip for clip in corpora.find(corpus).clips(located.roots[corpus]).clips}
            for source, place in located.places.items():
                clip = by_place.get(place)
                if clip is not None and source in sources and is_nameless(source, pack):
                    names |= {source: clip.source, source.removeprefix("@"): f"{corpus}/{clip.key}"}
    for row_id, speech_id in zip(frames.values(frame["id"]), frames.values(frame["speech_id"]), strict=True):
        if speech_id in names:
            names[row_id] = names[speech_id] + row_id.removeprefix(speech_id)
    places = {names.get(source, source): place for source, place in located.places.items()}
    moved = {source: place for source, place in located.moved.items() if not is_nameless(source, pack)}
    return rights.renamed(frame, names), replace(located, places=places, moved=moved)


def _labelled(
    corpus: str, recordings: Sequence[Row], located: Located, words: filter.Options, nameless: bool
) -> tuple[list[Row], dict[str, str]]:
    """(the recordings with what the labels of the corpus say of them, source -> why there is no label)."""
    sources = {row.source for row in recordings}
    own = {source: place for source, place in sorted(located.moved.items()) if source in sources}
    clips: dict[str, Clip] = {}
    why: dict[str, str] = {}
    general = "its recording is there, its label is not"
    try:
        root = located.roots[corpus]
        claims = corpora.find(corpus).clips(root if nameless else root.with_names(own.items()))
        why = {drop.id: f"{drop.reason}: {drop.detail}" for drop in claims.drops}
        by_place = {clip.place: clip for clip in claims.clips}
        clips = {source: by_place[place] for source, place in own.items() if place in by_place}
        clips |= {clip.source: clip for clip in claims.clips}
    except SourceError as error:
        general = str(error)
    labelled, reasons = [], {}
    for row in recordings:
        clip = clips.get(row.source)
        if clip is None:
            reason = why.get(row.speech_id or row.id, general)
            reasons[row.source] = f"{row.source}: {reason}. Get the labels of {corpus} that belong to it"
            continue
        flags = corpora.find(corpus).flags(clip.labels, row.source_frames or 0, row.source_rate_hz or 1)
        labelled.append(
            replace(
                row,
                transcript=filter.words_of(clip.text, words),
                scenario=clip.scenario,
                scene=clip.scene,
                labels={**clip.labels, **flags},
                group=clip.group or "",
            )
        )
    return labelled, reasons


# ---- audio


def _rendered(
    frame: pd.DataFrame, pack: Pack, located: Located, setting: Setting, start: Start
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the rows with their audio stored again, where the set has any; drops of those that came out different)."""
    if not frames.present(frame, "pcm_hash").any():
        return frame, frames.from_rows([], Drop)
    recipe = pack.manifest.provenance.recipe
    packed = {*frames.each(pack.manifest.frame["id"]), *frames.each(frame["id"])}  # a name may be another here
    options = resample.Options.of(recipe, "resample")
    virtual = bool((recipe.get("mix") or {}).get("virtual", False))
    drops = []

    def make(stage: str, options: Options, rows: pd.DataFrame) -> pd.DataFrame:
        plan = Plan(with_places(rows, [located.places[source] for source in frames.values(rows["source"])]))
        result = engine.run(find(stage), options, plan, setting, start(stage, len(rows)))
        own = frames.pick(result.drops, frames.among(result.drops["id"], packed))
        drops.append(frames.with_columns(own, stage=NAME))
        return result.rows.frame

    is_mixture = frames.equal(frame["kind"], "mixture")
    mixtures, others = frames.pick(frame, is_mixture), frames.pick(frame, ~is_mixture)
    to_store = [others]
    if virtual:  # each utterance as resample made it: virtual mixtures are rendered from it by whoever reads them
        _, first = np.unique(frames.codes(mixtures["speech_id"])[0], return_index=True)
        speech = frames.pick(mixtures, first)
        own = {"id": speech["speech_id"], "pcm_hash": speech["speech_pcm_hash"], "kind": "speech"}
        none = dict.fromkeys(("speech_id", "noise_id", "noise_source"))
        to_store.append(frames.with_columns(speech, **own, **none))
    stored = make(NAME, options, frames.concat(to_store, Row))
    rows = [frames.pick(stored, frames.position_of(stored["id"], others["id"]) >= 0)]
    if len(mixtures):
        at = frames.position_of(mixtures["noise_id"], stored["id"])
        lost = frames.pick(mixtures[["id", "noise_id"]], at < 0)
        known = frames.among(lost["noise_id"], packed)
        why = ["is not there: see its own line" if is_row else "is no row of the pack" for is_row in known]
        details = [f"its noise {name} {w}" for name, w in zip(frames.values(lost["noise_id"]), why, strict=True)]
        drops.append(frames.with_columns(lost[["id"]], stage=NAME, reason="no_noise", detail=details))
        ready, noise = frames.pick(mixtures, at >= 0), frames.pick(stored, at[at >= 0])
        ready = frames.with_columns(ready, **{f"at_noise_{name}": noise[name] for name in ("shard", "offset", "bytes")})
        if virtual:  # where their speech and noise lie; those without stored speech are dropped when made
            speech = frames.pick(stored, np.maximum(frames.position_of(ready["speech_id"], stored["id"]), 0))
            for part, stored_part in (("speech", speech), ("noise", noise)):
                columns = {f"{part}_{name}": stored_part[name] for name in ("shard", "offset", "bytes")}
                ready = frames.with_columns(ready, **columns)
        rows.append(make(recompute.NAME, recompute.Options(**options.model_dump(), virtual=virtual), ready))
    return frames.concat(rows, Row), _explained(frames.concat(drops, Drop), pack.manifest.provenance)


def _explained(drops: pd.DataFrame, made: Provenance) -> pd.DataFrame:
    """The drops, with the packages to blame for what was rendered differently, where their versions differ."""
    versions = [f"{name} {here} here, {there} there" for name, here, there in manifest.other_versions(made)]
    why = "the packages are the same: another processor, or another pack"
    if versions:
        why = f"{', '.join(versions)}: install the same"
    details = [f"{detail}; {why}" for detail in frames.values(drops["detail"])]
    is_different = frames.equal(drops["reason"], DIFFERENT)
    return frames.with_columns(
        drops, detail=frames.choose(is_different, frames.spread(np.arange(len(drops)), details), drops["detail"])
    )
