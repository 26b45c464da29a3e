"""The clips that a page lets one look at and listen to: a few of each class and the most extreme, as far as licences let them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.shards import Reader
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.corpora import rights
from pipeline.inspect.report.facts import LABEL
from pipeline.inspect.report.sounds import BUDGET_BYTES, Sound, excerpt

A_CLASS, AN_EXTREME = 3, 2
EXTREMES = {  # what is worth a look first: (SQL that is lowest there, which rows)
    "Loudest peak": ("-peak_dbfs", "peak_dbfs IS NOT NULL"),
    "Lowest level": ("level_full_dbfs", "level_full_dbfs IS NOT NULL"),
    "Shortest": ("frames / rate_hz", "frames IS NOT NULL"),
    "Lowest activity": ("activity", "activity IS NOT NULL AND kind <> 'noise'"),
}
FULL, ABOVE = "no player: the page is full", "its player is above"
_UTTERANCE = "coalesce(speech_id, id)"


@dataclass(frozen=True, slots=True)
class Allowed:
    """What of a set's rows a page may hold. audio: bool [rows]; rows: the rows, without what may not be told of them.

    corpora: whose audio and transcripts are left out, and why; left_out: columns of them. warned: terms that the page passes over.
    """

    audio: NDArray[np.bool_]
    rows: Table
    corpora: tuple[str, ...]
    left_out: tuple[rights.LeftOut, ...]
    warned: tuple[rights.Terms, ...] = ()
    why: str = ""

    @property
    def closed(self) -> bool:
        """Whether anything is left out."""
        return bool(self.corpora or self.left_out)


@dataclass(frozen=True, slots=True)
class Card:
    """One clip on the page. tag: why it is there, beyond its class. sound: None where it is left out or not at hand. said: of it.

    silent: why it has no player here, where it has a picture.
    """

    row: Row
    label: str
    tag: str
    sound: Sound | None
    said: str = ""
    silent: str = ""


def allowed(rows: Table) -> Allowed:
    """What the licences of the sources allow, each by its own."""
    shown, left = rights.redacted(rows.frame)
    closed = tuple(t.corpus for t in rights.terms(rows.frame) if not t.audio)
    return Allowed(
        rights.shareable_audio(rows.frame),
        Table.of_frame(shown),
        closed,
        tuple(left),
        why="their licences do not let them be passed on",
    )


def nothing(rows: Table) -> Allowed:
    """No audio and no transcript of any source."""
    shown, left = rights.redacted(rows.frame)
    blank = Table.of_frame(shown).blanked("transcript", np.ones(len(rows), dtype=np.bool_))
    return Allowed(
        np.zeros(len(rows), dtype=np.bool_),
        blank,
        tuple(t.corpus for t in rights.terms(rows.frame)),
        tuple(left),
        why="as asked",
    )


def everything(rows: Table) -> Allowed:
    """All of it, and the terms that forbid to pass such a page on."""
    closed = tuple(t for t in rights.terms(rows.frame) if not (t.audio and t.transcripts and t.labels))
    return Allowed(np.ones(len(rows), dtype=np.bool_), rows, (), (), closed)


def cards(folder: Path, may: Allowed) -> tuple[list[dict[str, Any]], list[str]]:
    """(groups of clips, each with a title; what to say of audio that could not be read)."""
    chosen = _chosen(may)
    ids = {row_id for _, found in chosen for row_id, _ in found}
    picked = may.rows.among("id", ids)
    rows = {row.id: row for row in may.rows.where(picked).rows(Row)}
    open_ids = set(may.rows.where(picked & may.audio).column("id"))
    table = Sounds(folder, open_ids)
    groups = [
        {"title": title, "cards": [table.card(rows[row_id], tag) for row_id, tag in found]} for title, found in chosen
    ]
    return groups, table.notes


class Sounds:
    """Cards of rows, their audio read where it lies, until the page is full."""

    def __init__(self, folder: Path, audible: set[str]) -> None:
        self._reader, self.audible = Reader(folder), audible
        self._room = BUDGET_BYTES
        self._made: dict[str, Sound | None] = {}
        self.notes: list[str] = []

    def card(self, row: Row, tag: str = "", said: str = "") -> Card:
        """The row with its sound, which is put on the page once."""
        above = row.id in self._made
        if not above:
            self._made[row.id] = self._sound(row) if row.id in self.audible else None
        sound = self._made[row.id]
        silent = "" if sound is None else FULL if sound.player is None else ABOVE if above else ""
        if sound is not None and above:
            sound = Sound(None, sound.picture, sound.seconds, sound.whole_s, 0)
        return Card(row, row.keyword or row.noise_label or row.kind, tag, sound, said, silent)

    def _sound(self, row: Row) -> Sound | None:
        try:
            made = excerpt(self._reader.pcm(row), row.rate_hz or 1, self._room)
        except ManifestError as error:
            if not self.notes:
                self.notes.append(unplaced(str(error), self._reader.folder.parent))
            return None
        self._room -= made.bytes
        return made


def unplaced(message: str, folder: Path) -> str:
    """The message without where the manifest lies: `audio/x.tar` for `/data/manifests/audio/x.tar`."""
    return message.replace(f"{folder}/", "")


def _chosen(may: Allowed) -> list[tuple[str, list[tuple[str, str]]]]:
    """(title, ids and why) of each group of clips, one clip an utterance. The choice hangs on ids alone: a row more changes few."""
    table = may.rows.filled(audible=may.audio)
    order = "audible DESC, md5(id)"
    sql = (
        f"SELECT label, id FROM ({_first('*, ' + LABEL + ' AS label', order)})"
        f" QUALIFY row_number() OVER (PARTITION BY label ORDER BY {order}) <= {A_CLASS}"
    )
    found: dict[str, list[tuple[str, str]]] = {}
    for label, row_id in table.query(f"{sql} ORDER BY label = 'noise', label = 'others', label, {order}"):
        found.setdefault(str(label), []).append((row_id, ""))
    extremes = list(_extremes(table))
    return [*found.items(), ("The most extreme", extremes)] if extremes else list(found.items())


def _extremes(table: Table) -> Iterator[tuple[str, str]]:
    for title, (value, where) in EXTREMES.items():
        best = _first(f"id, {value} AS value", "value, id", where)
        rows = table.query(f"SELECT id FROM ({best}) ORDER BY value, id LIMIT {AN_EXTREME}")
        yield from ((row_id, title) for (row_id,) in rows)


def _first(columns: str, order: str, where: str = "true") -> str:
    """SQL of these columns of the rows, of each utterance the first in this order: its mixtures sound much alike."""
    return f"SELECT {columns} FROM rows WHERE {where} QUALIFY row_number() OVER (PARTITION BY {_UTTERANCE} ORDER BY {order}) = 1"


def spectra(folder: Path, rows: Table, groups: Sequence[str], expression: str, a_group: int) -> dict[str, Any]:
    """group -> (rate in Hz, mean power of each frequency) of a few clips; nothing where no audio is at hand."""
    reader = Reader(folder)
    found: dict[str, Any] = {}
    sql = f"SELECT {expression} AS source, id FROM rows QUALIFY row_number() OVER (PARTITION BY {expression} ORDER BY md5(id)) <= {a_group}"
    chosen = {row_id: source for source, row_id in rows.query(sql)}
    for row in rows.where(rows.among("id", chosen)).rows(Row):
        try:
            power = _power(reader.pcm(row))
        except ManifestError:
            continue
        name = chosen[row.id]
        before = found.get(name, (row.rate_hz, 0.0))
        found[name] = (row.rate_hz, before[1] + power)
    return {name: found[name] for name in groups if name in found}


def _power(pcm: NDArray[np.int16]) -> NDArray[np.float64]:
    """Mean power spectrum, each clip scaled to the same power; float64 [257]."""
    wave = pcm[: 10 * 16_000].astype(np.float64)
    wave = np.pad(wave - wave.mean(), (0, max(0, 512 - len(wave))))
    frames = wave[: len(wave) // 512 * 512].reshape(-1, 512) * np.hanning(512)
    power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(0)
    return np.asarray(power / max(float(power.sum()), 1e-12))
