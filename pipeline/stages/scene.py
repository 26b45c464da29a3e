"""Scene: calls, other speech and confusable phrases at drawn times in long noise, at a controlled SNR.

`plan` says what lies where: it holds all the chance. `work` opens the clips of one recording, sets their gains and
measures what came out. No sound is stored: `audio.scenes` renders a recording from its pieces.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field, field_validator

from pipeline.audio import dsp
from pipeline.audio.scenes import NOISE, Piece, Renderer
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import keys, sql
from pipeline.core.errors import PrepError, did_you_mean
from pipeline.core.row import Drop, Row
from pipeline.stages import Options as StageOptions
from pipeline.stages import mix

if TYPE_CHECKING:
    from pandas import DataFrame

NAME = "scene"
KINDS = ("call", "confusable", "speech")
FLOOR_DBFS = -70.0  # quieter noise is not used
PASSES = 2  # P.56 has fixed thresholds: the level of scaled speech is a tenth of a dB off the scaled level


class Options(StageOptions):
    """How long the recordings are, what is said in them and how loud."""

    hours: float = Field(1.0, gt=0, le=100_000, description="length of all recordings together")
    minutes: float = Field(60.0, gt=0, le=1440, description="longest recording")
    split: str = Field("test", description="split whose speech and noise are taken, and no other")
    calls_per_hour: float = Field(12.0, ge=0, description="calls for help: utterances with a keyword")
    speech_per_hour: float = Field(60.0, ge=0, description="other speech")
    confusable_per_hour: float = Field(0.0, ge=0, description="utterances that meet --confusable")
    confusable: str | None = Field(
        None, description="SQL condition over the columns: speech that is easily taken for a call"
    )
    snr_db: tuple[float | str, ...] = Field(
        (20.0, 10.0, 5.0),
        min_length=1,
        description="SNR in dB, drawn for each utterance: one of these, or from LOW:HIGH",
        json_schema_extra={"flag": "--snr"},
    )
    gap_s: float = Field(2.0, ge=0, description="least time between two utterances, s")
    noise_dbfs: float = Field(-50.0, le=-20, ge=-70, description="level (RMS) of each clip of noise, dBFS")

    @field_validator("snr_db")
    @classmethod
    def _numbers_or_ranges(cls, values: tuple[float | str, ...]) -> tuple[float | str, ...]:
        return tuple(dict.fromkeys(mix.snr_of(value) for value in values))


# ---- the plan


def plan(rows: DataFrame, options: Options, seed: int, other: str) -> tuple[list[list[Piece]], list[str]]:
    """(the pieces of each recording, sentences for a person). other: the keyword of speech that is no call.

    rows: as resample left them. A recording is in one place: its noise is all clips of one scene, or of one corpus that
    names no scenes, in a drawn order, then all of them in another order, each at the same level. Its utterances are
    spread evenly over the room that they leave. Every draw is named by the recording and the number of the utterance.
    PrepError where the split lacks what is asked for, or where it does not fit.
    """
    chosen = frames.ordered(frames.pick(rows, frames.equal(rows["split"], options.split)))
    if not len(chosen):
        raise PrepError(
            f"scene: no rows in the split {options.split}{did_you_mean(options.split, frames.codes(rows['split'])[1])}"
        )
    rows, rates = chosen, frames.codes(chosen["rate_hz"])[1]
    if not frames.present(rows, "shard").all() or len(rates) != 1:
        raise PrepError("scene: not all rows have stored audio at one rate: give the manifest of prep resample")
    places, notes = _places(rows, options)
    utterances = _utterances(rows, options, other)
    length, longest = round(options.hours * 3600 * rates[0]), round(options.minutes * 60 * rates[0])
    recordings = []
    for number, begin in enumerate(range(0, length, longest)):
        name, size = f"{options.split}-{number:05d}", min(longest, length - begin)
        word = keys.words(seed, NAME, [name])[0]
        place = places[sorted(places)[int(keys.choose(word[:1], sorted(places))[0])]]
        recordings.append(_chain(name, size, place, options, seed) + _spread(name, size, utterances, options, seed))
    return recordings, notes


def _places(rows: DataFrame, options: Options) -> tuple[dict[str, list[Row]], list[str]]:
    """(the noise of each place, sentences on noise that is not used). PrepError where there is none."""
    corpora = frames.codes(rows["corpus"])[1]
    noise, notes = mix.usable_noise(rows, corpora, FLOOR_DBFS)
    places: dict[str, list[Row]] = defaultdict(list)
    loud = 0
    for row in frames.rows(noise, Row):
        if (row.peak_dbfs or 0.0) - (row.level_full_dbfs or 0.0) + options.noise_dbfs > -6.0:
            loud += 1
        else:
            places[row.scene or row.corpus].append(row)
    if loud:
        notes.append(f"{loud} recordings of noise would peak above -6 dBFS at {options.noise_dbfs:g} dBFS: not used")
    if not places:
        raise PrepError(
            f"scene: no noise in the split {options.split}: ingest a corpus of noise, then filter and resample again"
        )
    return dict(places), notes


def _utterances(rows: DataFrame, options: Options, other: str) -> dict[str, list[Row]]:
    """The rows of each kind. A call has a keyword, or labels that say where in the clip it lies: call_start, call_end.

    PrepError where there is none of a kind that is asked for.
    """
    rows = frames.pick(rows, frames.equal(rows["kind"], "speech"))
    confusable = sql.where(rows, options.confusable) if options.confusable else np.zeros(len(rows), np.bool_)
    kinds: dict[str, list[Row]] = {kind: [] for kind in KINDS}
    for row, confuses in zip(frames.rows(rows, Row), confusable, strict=True):
        is_call = row.keyword not in (None, other) or "call_start" in row.labels
        kinds["confusable" if confuses else "call" if is_call else "speech"].append(row)
    for kind, per_hour in _rates(options).items():
        if per_hour and not kinds[kind]:
            needs = {"call": "a keyword", "confusable": "what --confusable asks for", "speech": "neither"}[kind]
            raise PrepError(
                f"scene: none of {len(rows):,} rows of speech in the split {options.split} has {needs}:"
                f" take another split, or --{kind}{'s' if kind == 'call' else ''}-per-hour 0"
            )
    return kinds


def _rates(options: Options) -> dict[str, float]:
    """How many of each kind an hour."""
    rates = options.calls_per_hour, options.confusable_per_hour, options.speech_per_hour
    return dict(zip(KINDS, rates, strict=True))


def _chain(name: str, size: int, place: Sequence[Row], options: Options, seed: int) -> list[Piece]:
    """Noise over a whole recording: the clips of a place in drawn orders, again and again, each faded into the next."""
    pieces, start = [], 0
    for turn in count():
        order = keys.order(seed, f"{NAME}\n{name}\n{turn}", [row.id for row in place])
        for row in (place[index] for index in order):
            length = min(row.frames or 0, size - start)
            gain_db = round(options.noise_dbfs - (row.level_full_dbfs or 0.0), dsp.DB_DIGITS)
            pieces.append(replace(_piece(name, NOISE, row, start, length), gain_db=gain_db))
            if start + length == size:
                return pieces
            start += length - round(dsp.FADE_S * (row.rate_hz or 0))
    raise AssertionError


def _spread(name: str, size: int, utterances: dict[str, list[Row]], options: Options, seed: int) -> list[Piece]:
    """The utterances of a recording: which, when, at which SNR; gains are set by the work."""
    drawn = []
    for kind, per_hour in _rates(options).items():
        rows = utterances[kind]
        expected = per_hour * size / (3600 * (rows[0].rate_hz or 0)) if rows else 0.0
        extra = keys.draws(seed, NAME, [f"{name}\n{kind}"])[0, 0] < expected % 1
        words = keys.words(seed, NAME, [f"{name}\n{kind}\n{n}" for n in range(math.floor(expected) + extra)])
        chosen = keys.choose(words[:, 0], [row.id for row in rows]) if len(words) else ()
        for n, index in enumerate(chosen):
            draws = keys.unit(words[n]).tolist()
            snr = options.snr_db[int(draws[1] * len(options.snr_db))]
            snr_db = float(mix.snrs(words[n : n + 1], snr)[0])
            drawn.append((draws[3], kind, rows[index], snr_db, draws[4]))
    if not drawn:
        return []
    drawn.sort(key=lambda each: each[0])
    gap = round(options.gap_s * (drawn[0][2].rate_hz or 0))
    room = size - gap - sum((row.frames or 0) + gap for _, _, row, _, _ in drawn)
    if room < 0:
        raise PrepError(
            f"scene: {len(drawn)} utterances with {options.gap_s:g} s between them are longer than {name}:"
            " ask for fewer an hour, or a smaller --gap-s"
        )
    pieces, before = [], gap
    for share, (_, kind, row, snr_db, _) in zip(sorted(each[4] for each in drawn), drawn, strict=True):
        piece = _piece(name, kind, row, before + math.floor(share * room), row.frames or 0)
        pieces.append(replace(piece, snr_db=snr_db))
        before += (row.frames or 0) + gap
    return pieces


def _piece(recording: str, kind: str, row: Row, start: int, length: int) -> Piece:
    """A clip in a recording. keyword: of a call; begin and end: where labels say so."""
    rate_hz = row.rate_hz or 0
    where = (rate_hz, row.shard or "", row.offset or 0, row.bytes or 0)
    piece = Piece(recording, kind, row.id, start, length, *where)
    if kind != "call":
        return piece
    if "call_start" not in row.labels:
        return replace(piece, keyword=row.keyword)
    begin, end = (start + round(float(row.labels[name]) * rate_hz) for name in ("call_start", "call_end"))
    return replace(piece, keyword=row.labels.get("label", row.keyword), begin=begin, end=end)


# ---- the work


def work(recordings: Sequence[Sequence[Piece]], folder: Path) -> list[tuple[list[Piece], list[Drop]]]:
    """For each recording its pieces with all gains set, and the utterances that could not be laid into it."""
    return [_laid(pieces, Reader(folder)) for pieces in recordings]


def _laid(pieces: Sequence[Piece], reader: Reader) -> tuple[list[Piece], list[Drop]]:
    """Each utterance at its SNR: its P.56 active level over the RMS of the noise under it, measured in 16 bits."""
    recording = Renderer(pieces, reader)
    kept, drops = list(recording.noise), []
    for piece in recording.utterances:
        pcm = recording.stored(piece.shard, piece.offset, piece.bytes)
        noise = recording.samples(piece.start, piece.start + piece.frames, utterances=False)
        speech, square = dsp.active_level(pcm, piece.rate_hz), dsp.power(noise, scale=dsp.FULL_SCALE)
        event, snr_db = f"{piece.recording}/{piece.start}", piece.snr_db or 0.0
        if speech is None or not square:
            what = f"nothing in {piece.source_id} is active by ITU-T P.56" if speech is None else "no noise under it"
            drops.append(Drop(event, NAME, "no_speech" if speech is None else "silent_noise", what))
            continue
        gain_db, came, is_loud = dsp.db(square) + snr_db - speech.level_dbfs, snr_db, False
        for _ in range(PASSES):
            gain_db = round(gain_db + snr_db - came, dsp.DB_DIGITS)
            part = pcm * np.float32(dsp.gain(gain_db))
            if is_loud := dsp.peak(noise + part) / dsp.FULL_SCALE > dsp.CEILING:
                break
            active = dsp.active_level(part / np.float32(dsp.FULL_SCALE), piece.rate_hz)
            rest = dsp.power(np.rint(noise + part) - part, scale=dsp.FULL_SCALE)
            came = active.level_dbfs - dsp.db(rest) if active and rest else -math.inf
        if is_loud:
            what = f"{piece.source_id} at {snr_db:g} dB passes full scale: a lower --noise-dbfs leaves room"
            drops.append(Drop(event, NAME, "too_loud", what))
            continue
        if abs(came - snr_db) > mix.TOLERANCE_DB:
            what = f"{snr_db:g} dB asked for, {came:.4f} dB came out in 16 bits with {piece.source_id}"
            drops.append(Drop(event, NAME, "snr_off", what))
            continue
        piece = replace(piece, gain_db=gain_db, snr_active_db=round(came, dsp.DB_DIGITS))
        if piece.begin is None:
            first, last = dsp.active_span(pcm, piece.rate_hz, speech.level_dbfs)
            piece = replace(piece, begin=piece.start + first, end=piece.start + last)
        kept.append(piece)
    return sorted(kept, key=lambda piece: (piece.start, piece.kind)), drops
