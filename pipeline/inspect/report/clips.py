"""The clips that a page shows and plays: a few of each class and the most extreme, as far as licences allow."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from numpy.typing import NDArray

from pipeline.audio.codec import flac
from pipeline.audio.shards import Reader
from pipeline.core.errors import ManifestError
from pipeline.core.frame import among, pick, rows, values, with_columns
from pipeline.core.manifest import Manifest
from pipeline.core.row import Row
from pipeline.core.sql import query
from pipeline.corpora import own, rights
from pipeline.inspect.report.facts import LABEL

if TYPE_CHECKING:
    from pandas import DataFrame

A_CLASS, AN_EXTREME = 3, 2  # clips of each
EXTREMES = {  # what is worth a look first: (SQL that is lowest there, which rows)
    "Loudest peak": ("-peak_dbfs", "peak_dbfs IS NOT NULL"),
    "Lowest level": ("level_full_dbfs", "level_full_dbfs IS NOT NULL"),
    "Shortest": ("frames / rate_hz", "frames IS NOT NULL"),
    "Lowest activity": ("activity", "activity IS NOT NULL AND kind <> 'noise'"),
}
FULL, ABOVE = "no player: the page is full", "its player is above"
EXCERPT_S = 5.0  # more of a clip is not put on a page
BUDGET_BYTES = 2_600_000  # of FLAC on one page: with base64, fonts and pictures it stays under 5 MB
WINDOW_S, COLUMNS, LINES = 0.032, 240, 96  # of a spectrogram
RANGE_DB = 70.0  # shown below the loudest
COLOURS = 40


# ---- what a page may show


@dataclass(frozen=True, slots=True, eq=False)
class Allowed:
    """What of a set a page may show. audio: bool [rows]. frame: the rows, without the values that it may not show.

    names: what ids and sources go by whose names are kept back. corpora: whose audio and transcripts are left out, and
    why. left_out: columns. warned: terms that the page breaks. free: stand-ins for a corpus that are played, and what
    is stated of them.
    """

    audio: NDArray[np.bool_]
    frame: DataFrame
    names: Mapping[str, str] = field(default_factory=dict)
    corpora: tuple[str, ...] = ()
    left_out: tuple[rights.LeftOut, ...] = ()
    warned: tuple[rights.Terms, ...] = ()
    why: str = ""
    free: Mapping[str, own.Facts] = field(default_factory=dict)

    @property
    def is_partial(self) -> bool:
        """Whether anything is left out."""
        return bool(self.corpora or self.left_out)

    def of(self, where: NDArray[np.bool_]) -> Allowed:
        """The same of some of the rows, whose pseudonyms stay those of the whole set."""
        return replace(self, audio=self.audio[where], frame=pick(self.frame, where))

    def name(self, row_id: str) -> str:
        """What the id of a row goes by."""
        return self.names.get(row_id, row_id)

    def name_of_drop(self, drop_id: str) -> str:
        """What the id of a drop goes by; empty where it is kept back, for there is no recording to name it by."""
        may = not self.is_partial or rights.may_share(drop_id.partition("/")[0], "names")
        return self.names.get(drop_id, drop_id if may else "")


def allowed(manifest: Manifest, audio: bool | None) -> Allowed:
    """What a page may show. audio: all (True), no audio and no transcripts (False), what licences allow (None).

    What corpus.toml states of stand-ins decides about their audio, and about nothing else.
    """
    frame, terms = manifest.frame, rights.terms(manifest.frame)
    if audio:
        forbidding = tuple(t for t in terms if not (t.audio and t.transcripts and t.labels))
        return Allowed(np.ones(len(frame), dtype=np.bool_), frame, warned=forbidding)
    shown, left_out = rights.redacted(frame)
    names, corpora = rights.pseudonyms(frame), [t.corpus for t in terms]
    if audio is False:
        none, shown = np.zeros(len(frame), dtype=np.bool_), with_columns(shown, transcript=None)
        return Allowed(none, shown, names, tuple(corpora), tuple(left_out), why="as asked")
    tables = manifest.provenance.recipe.get("ingest", {}).get("stand_ins", {})
    stated = {name: own.facts(name, table) for name, table in tables.items() if name in corpora}
    free = {name: facts for name, facts in stated.items() if facts.share_audio}
    closed = tuple(t.corpus for t in terms if not t.audio and t.corpus not in free)
    why = "their licences do not let them be passed on"
    return Allowed(rights.shareable_audio(frame, free), shown, names, closed, tuple(left_out), why=why, free=free)


# ---- which clips


def cards(folder: Path, allowed: Allowed) -> tuple[list[dict[str, Any]], list[str]]:
    """(groups of clips, each with a title and cards; sentences about audio that could not be read).

    Of each utterance one clip, for its mixtures sound alike. The choice depends on ids alone: one row more changes few.
    folder: of the manifest.
    """
    frame = with_columns(allowed.frame, audible=allowed.audio)

    def first(columns: str, order: str, where: str = "true") -> str:
        number = f"row_number() OVER (PARTITION BY coalesce(speech_id, id) ORDER BY {order})"
        return f"(SELECT {columns} FROM rows WHERE {where} QUALIFY {number} = 1)"

    order = "audible DESC, md5(id)"
    sql = f"SELECT label, id FROM {first(f'*, {LABEL} AS label', order)}"
    sql += f" QUALIFY row_number() OVER (PARTITION BY label ORDER BY {order}) <= {A_CLASS}"
    chosen: dict[str, list[tuple[str, str]]] = {}  # title -> (id, tag)
    for label, row_id in query(frame, f"{sql} ORDER BY label = 'noise', label = 'others', label, {order}"):
        chosen.setdefault(str(label), []).append((row_id, ""))
    for tag, (value, where) in EXTREMES.items():
        best = first(f"id, {value} AS value", "value, id", where)
        for (row_id,) in query(frame, f"SELECT id FROM {best} ORDER BY value, id LIMIT {AN_EXTREME}"):
            chosen.setdefault("The most extreme", []).append((row_id, tag))
    sounds = Sounds(folder, allowed, {row_id for clips in chosen.values() for row_id, _ in clips})
    groups = [{"title": title, "cards": [sounds.card(*clip) for clip in clips]} for title, clips in chosen.items()]
    return groups, sounds.notes


@dataclass(frozen=True, slots=True)
class Card:
    """One clip on the page. tag: why it is there, beyond its class. sound: None where it is left out or cannot be read.

    remark: a sentence about it. silent: why it has no player here, where it has a picture.
    """

    row: Row
    label: str
    tag: str
    sound: Sound | None
    remark: str = ""
    silent: str = ""


class Sounds:
    """Cards of rows, their audio read beside the manifest, until the page is full."""

    def __init__(self, folder: Path, allowed: Allowed, ids: set[str]) -> None:
        wanted = among(allowed.frame["id"], ids)
        self.rows = {row.id: row for row in rows(pick(allowed.frame, wanted), Row)}
        self.audible = set(values(pick(allowed.frame, wanted & allowed.audio)["id"]))
        self.notes: list[str] = []
        self._reader = Reader(folder)
        self._bytes_left = BUDGET_BYTES
        self._sounds: dict[str, Sound | None] = {}

    def card(self, row_id: str, tag: str = "", remark: str = "") -> Card:
        """The row with this id and its sound, which is put on the page once."""
        row, again = self.rows[row_id], row_id in self._sounds
        if not again:
            self._sounds[row_id] = self._sound(row) if row_id in self.audible else None
        sound, silent = self._sounds[row_id], ""
        if sound is not None:
            silent = FULL if sound.player is None else ABOVE if again else ""
            sound = replace(sound, player=None) if again else sound
        return Card(row, row.keyword or row.noise_label or row.kind, tag, sound, remark, silent)

    def _sound(self, row: Row) -> Sound | None:
        try:
            sound = excerpt(self._reader.pcm(row), row.rate_hz or 1, self._bytes_left)
        except ManifestError as error:
            if not self.notes:
                self.notes.append(without_folder(str(error), self._reader.folder.parent))
            return None
        self._bytes_left -= sound.bytes
        return sound


def without_folder(message: str, folder: Path) -> str:
    """The message without the place of the manifest: `audio/x.tar` for `/data/manifests/audio/x.tar`."""
    return message.replace(f"{folder}/", "")


# ---- a clip as it is shown and played


@dataclass(frozen=True, slots=True)
class Sound:
    """The beginning of a clip. player: FLAC, None where the page is full; picture: PNG; both data URIs.

    seconds: shown; whole_s: of the clip. bytes: of the FLAC.
    """

    player: str | None
    picture: str
    seconds: float
    whole_s: float
    bytes: int


def excerpt(pcm: NDArray[np.int16], rate_hz: int, room: int) -> Sound:
    """The first seconds of a clip; without a player where its FLAC is larger than `room` bytes."""
    part = pcm[: round(EXCERPT_S * rate_hz)]
    data, picture = flac(part, rate_hz), png(spectrogram(part, rate_hz))
    fits = len(data) <= room
    player = f"data:audio/flac;base64,{base64.b64encode(data).decode()}" if fits else None
    image = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    return Sound(player, image, len(part) / rate_hz, len(pcm) / rate_hz, len(data) * fits)


def spectrogram(pcm: NDArray[np.int16], rate_hz: int) -> NDArray[np.uint8]:
    """uint8 [lines, columns], 0 to COLOURS - 1: dB below the loudest; half the rate on top, 0 Hz at the bottom."""
    size = round(WINDOW_S * rate_hz)
    wave = np.pad(pcm.astype(np.float64), (0, max(0, size - len(pcm))))
    starts = np.linspace(0, len(wave) - size, COLUMNS).astype(np.int64)
    frames = wave[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.linspace(0, power.shape[1], LINES + 1).astype(np.int64)
    lines = np.maximum.reduceat(power, edges[:-1], axis=1).T[::-1]
    level = 10 * np.log10(np.maximum(lines, 1e-3)) - 10 * np.log10(max(float(lines.max()), 1e-3))
    return np.asarray(np.rint(np.clip(1 + level / RANGE_DB, 0, 1) * (COLOURS - 1)).astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit palette PNG in the colours of magma; it names no time and no program."""
    palette = (matplotlib.colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3] * 255).round().astype(np.uint8)
    height, width = pixels.shape
    scan = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n"
    for kind, part in (
        (b"IHDR", head),
        (b"PLTE", palette.tobytes()),
        (b"IDAT", zlib.compress(scan, 9)),
        (b"IEND", b""),
    ):
        data += struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
    return data


def spectra(
    folder: Path, frame: DataFrame, groups: Sequence[str], expression: str, a_group: int
) -> dict[str, tuple[int, NDArray[np.float64]]]:
    """group -> (rate in Hz, power at each frequency, float64 [257]) of a few clips, each scaled to the same power.

    expression: SQL of a row's group. Groups whose audio is not beside the manifest are left out.
    """
    reader = Reader(folder)
    number = f"row_number() OVER (PARTITION BY {expression} ORDER BY md5(id))"
    chosen = query(frame, f"SELECT id, {expression} FROM rows QUALIFY {number} <= {a_group}")
    group_of = dict(chosen)
    powers: dict[str, tuple[int, NDArray[np.float64]]] = {}
    for row in rows(pick(frame, among(frame["id"], group_of)), Row):
        try:
            wave = reader.pcm(row)[: 10 * 16_000].astype(np.float64)
        except ManifestError:
            continue
        wave = np.pad(wave - wave.mean(), (0, max(0, 512 - len(wave))))
        frames = wave[: len(wave) // 512 * 512].reshape(-1, 512) * np.hanning(512)
        power = (np.abs(np.fft.rfft(frames, axis=1)) ** 2).mean(0)
        before = powers.get(group_of[row.id], (0, np.zeros(257)))[1]
        powers[group_of[row.id]] = row.rate_hz or 0, before + power / max(float(power.sum()), 1e-12)
    return {name: powers[name] for name in groups if name in powers}
