"""The last level of verifying: each row rendered again from the recordings, and held against what is stored and what it says."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.archives import Roots
from pipeline.audio import render
from pipeline.audio.codec import pcm_hash
from pipeline.audio.dsp import Pcm16
from pipeline.audio.shards import Reader
from pipeline.core.errors import CorruptMember, ManifestError, SourceError
from pipeline.core.row import Place, Row
from pipeline.core.table import Table
from pipeline.engine import workers as crews
from pipeline.engine.run import Progress, Step
from pipeline.engine.workers import Crew
from pipeline.share.verdicts import DIFFERENT, WITHIN, Finding
from pipeline.stages.rebuild import resampled
from pipeline.stages.resample import Options
from pipeline.stages.store import Store

CHUNK = 100
_NOISE_HELD = 64


@dataclass(frozen=True, slots=True, eq=False)
class Rendering:
    """Rows to render. folder: of the manifest, where its audio is to be held against them. where: source -> place.

    noise: the rows of the noise in the mixtures, by id.
    """

    roots: Roots
    options: Options
    rows: Sequence[Row]
    noise: Mapping[str, Row]
    where: Mapping[str, Place]
    folder: Path
    aloud: bool


@dataclass(frozen=True, slots=True)
class Scope:
    """What is common to all rows that are rendered. versions: what differs between the packages here and there."""

    roots: Roots
    options: Options
    where: Mapping[str, Place]
    folder: Path
    aloud: bool
    versions: str


def findings(rows: Table, noise: Table, scope: Scope, crew: Crew, progress: Progress) -> list[Finding]:
    """What does not come out the same, by row; rows: those whose recordings, and those of their noise, are there."""
    found: list[Finding] = []
    for part, told in crews.results(_parts(rows, noise, scope), rendered, crew):
        found += told
        progress(Step(len(part.rows), sum((row.frames or 0) / (row.rate_hz or 1) for row in part.rows)))
    why = f"; {scope.versions}" if scope.versions else ""
    return sorted((Finding(f.what, f.verdict, f"{f.because}{why}") for f in found), key=lambda finding: finding.what)


def _parts(rows: Table, noise: Table, scope: Scope) -> Iterator[Rendering]:
    at = {row_id: n for n, row_id in enumerate(noise.strings("id"))}
    for part in rows.parts(CHUNK):
        held = list(part.rows(Row))
        numbers = sorted({at[row.noise_id] for row in held if row.noise_id in at})
        own = {row.id: row for row in noise.take(np.array(numbers, dtype=np.int64)).rows(Row)}
        where = {row.source: scope.where[row.source] for row in [*held, *own.values()] if row.source in scope.where}
        yield Rendering(scope.roots, scope.options, held, own, where, scope.folder, scope.aloud)


def rendered(task: Rendering) -> list[Finding]:
    """Runs in a worker."""
    desk, found = _Desk(task), []
    for row in task.rows:
        try:
            pcm = desk.pcm(row)
        except (CorruptMember, SourceError) as error:
            found.append(Finding(row.id, DIFFERENT, str(error)))
            continue
        if pcm is None or pcm_hash(pcm, row.rate_hz or 0) != row.pcm_hash:
            found.append(_held_against(row, pcm, desk))
    return found


class _Desk:
    """Renders the rows of one part, and remembers speech and noise that come again."""

    def __init__(self, task: Rendering) -> None:
        self.task = task
        self.reader = Reader(task.folder)
        self._store = Store(task.folder, task.roots)
        self._noise: OrderedDict[str, Pcm16] = OrderedDict()

    def pcm(self, row: Row) -> Pcm16 | None:
        """The row's samples, made again; None where its numbers do not fit its sounds."""
        speech = self._store.once(row.source, lambda: self._sound(row))
        if row.noise_id is None:
            return speech
        try:
            return render.mixture(row, speech, self._heard(row.noise_id))
        except ValueError:
            return None

    def _heard(self, noise_id: str) -> Pcm16:
        if noise_id not in self._noise:
            self._noise[noise_id] = self._sound(self.task.noise[noise_id])
            if len(self._noise) > _NOISE_HELD:
                self._noise.popitem(last=False)
        return self._noise[noise_id]

    def _sound(self, row: Row) -> Pcm16:
        return resampled(row, self.task.where[row.source], self.task.options, self._store)


def _held_against(row: Row, pcm: Pcm16 | None, desk: _Desk) -> Finding:
    """What differs, as far as it can be heard: the stored samples where there are some, else only that the hash is another."""
    if pcm is None:
        return Finding(
            row.id, DIFFERENT, "noise_start, gain_db or noise_gain_db of its row cannot be those it was made with"
        )
    if not desk.task.aloud:
        return Finding(
            row.id,
            DIFFERENT,
            f"rendered here it has the hash {pcm_hash(pcm, row.rate_hz or 0)}, its row says {row.pcm_hash}",
        )
    try:
        stored = desk.reader.pcm(row)
    except (ManifestError, OSError) as error:
        return Finding(
            row.id,
            DIFFERENT,
            f"rendered here it has another hash than its row says, and its audio cannot be read: {error}",
        )
    if len(stored) != len(pcm):
        return Finding(row.id, DIFFERENT, f"rendered here it has {len(pcm)} frames, stored are {len(stored)}")
    apart = np.abs(stored.astype(np.int32) - pcm)
    count, most = int(np.count_nonzero(apart)), int(apart.max(initial=0))
    if most == 0:
        return Finding(
            row.id, DIFFERENT, "what is stored comes out again from the recordings, but its row names another hash"
        )
    said = f"{count:,} of {len(pcm):,} samples differ from those stored, by {most} at most, the first at frame {int(np.argmax(apart > 0))}"
    return Finding(row.id, WITHIN if most == 1 else DIFFERENT, said)
