"""Scene: calls, other speech and confusable phrases at drawn times in long noise, at a controlled SNR.

`plan` says what lies where: it holds all the chance. `work` opens the clips of one recording, sets their gains and
measures what came out. No sound is stored: `audio.scenes` renders a recording from its pieces.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from pipeline.corpora.lexicon import Lexicon
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

    hours: float = Field(1.0, ge=0.0001, le=100_000, description="length of all recordings together")
    minutes: float = Field(60.0, ge=0.01, le=1440, description="longest recording")
    split: str = Field("test", description="split whose speech and noise are taken, and no other")
    calls_per_hour: float = Field(12.0, ge=0, le=36_000, description="calls for help: utterances with a keyword")
    speech_per_hour: float = Field(60.0, ge=0, le=36_000, description="other speech")
    confusable_per_hour: float = Field(0.0, ge=0, le=36_000, description="utterances that meet --confusable")
    confusable: str | None = Field(
        None, description="SQL condition over the columns: speech that is easily taken for a call"
    )
    snr_db: tuple[float | str, ...] = Field(
        (20.0, 10.0, 5.0),
        min_length=1,
        max_length=1000,
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


def plan(
    rows: DataFrame, options: Options, seed: int, lexicon: Lexicon
) -> tuple[int, Iterator[list[Piece]], list[str]]:
    """(how many recordings there are, the pieces of each as they are asked for, sentences for a person).

    rows: as resample left them. lexicon: says what a call is. A recording is in one place: its noise is all clips of
    one scene, or of one corpus that names no scenes, in a drawn order, then all of them in another order, each at the
    same level. Its utterances are spread evenly over the room that they leave. Every draw is named by the recording
    and the number of the utterance. PrepError where the split lacks what is asked for, or where it does not fit.
    """
    chosen = frames.ordered(frames.pick(rows, frames.equal(rows["split"], options.split)))
    if not len(chosen):
        hint = did_you_mean(options.split, frames.codes(rows["split"])[1])
        raise PrepError(f"scene: no rows in the split {options.split}{hint}")
    rows, rates = chosen, frames.codes(chosen["rate_hz"])[1]
    if not frames.present(rows, "shard").all() or len(rates) != 1:
        raise PrepError("scene: not all rows have stored audio at one rate: give the manifest of prep resample")
    places, notes = _places(rows, options)
    length, longest = round(options.hours * 3600 * rates[0]), round(options.minutes * 60 * rates[0])
    sizes = {
        f"{options.split}-{number:05d}": min(longest, length - begin)
        for number, begin in enumerate(range(0, length, longest))
    }
    drawn = _drawn(sizes, _utterances(rows, options, lexicon), options, seed)
    kinds_of_place = sorted(places)
    chosen_places = keys.choose(keys.words(seed, NAME, sizes)[:, 0], kinds_of_place)

    def recordings() -> Iterator[list[Piece]]:
        for (name, size), place in zip(sizes.items(), chosen_places, strict=True):
            noise = _chain(name, size, places[kinds_of_place[place]], options, seed)
            yield noise + _spread(name, size, drawn[name], options)

    return len(sizes), recordings(), notes


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


@dataclass(frozen=True, slots=True)
class _Utterance:
    """A clip to be laid. keyword: of the call in it. order, place: in [0, 1), which of a recording it is, and where."""

    kind: str
    row: Row
    keyword: str | None
    snr_db: float = 0.0
    order: float = 0.0
    place: float = 0.0


def _utterances(rows: DataFrame, options: Options, lexicon: Lexicon) -> dict[str, list[_Utterance]]:
    """The speech of each kind. A call has a keyword, a phrase of the lexicon in its transcript, or labels that say when
    in the clip it is: call_start, call_end, and label for its keyword.

    PrepError where there is none of a kind that is asked for.
    """
    rows = frames.pick(rows, frames.equal(rows["kind"], "speech"))
    confusable = sql.where(rows, options.confusable) if options.confusable else np.zeros(len(rows), np.bool_)
    kinds: dict[str, list[_Utterance]] = {kind: [] for kind in KINDS}
    for row, confuses in zip(frames.rows(rows, Row), confusable, strict=True):
        words = (row.labels.get("label") if "call_start" in row.labels else None, row.keyword)
        keyword = next((word for word in words if word not in (None, lexicon.other)), None)
        keyword = keyword or next((call.keyword for call in lexicon.decision(row.transcript).calls), None)
        kind = "confusable" if confuses else "call" if keyword or "call_start" in row.labels else "speech"
        kinds[kind].append(_Utterance(kind, row, keyword if kind == "call" else None))
    for kind, per_hour in _rates(options).items():
        if (per_hour or (kind == "confusable" and options.confusable)) and not kinds[kind]:
            needs = {"call": "a call in it", "confusable": "what --confusable asks for", "speech": "neither"}[kind]
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


def _drawn(
    sizes: Mapping[str, int], utterances: Mapping[str, list[_Utterance]], options: Options, seed: int
) -> dict[str, list[_Utterance]]:
    """The utterances of each recording: which, at which SNR, in which order and how far apart. sizes: in frames."""
    drawn: dict[str, list[_Utterance]] = {name: [] for name in sizes}
    for kind, per_hour in _rates(options).items():
        if not utterances[kind]:
            continue
        rate_hz = utterances[kind][0].row.rate_hz or 0
        owners = []
        for name, size in sizes.items():
            expected = per_hour * size / (3600 * rate_hz)
            extra = keys.draws(seed, NAME, [f"{name}\n{kind}"])[0, 0] < expected % 1
            owners += [(name, n) for n in range(math.floor(expected) + extra)]
        words = keys.words(seed, NAME, (f"{name}\n{kind}\n{n}" for name, n in owners))
        chosen = keys.choose(words[:, 0], [each.row.id for each in utterances[kind]])
        for n, ((name, _), index) in enumerate(zip(owners, chosen, strict=True)):
            _, which, _, order, place, *_ = keys.unit(words[n]).tolist()
            snr_db = float(mix.snrs(words[n : n + 1], options.snr_db[int(which * len(options.snr_db))])[0])
            drawn[name].append(replace(utterances[kind][index], snr_db=snr_db, order=order, place=place))
    return drawn


def _spread(name: str, size: int, drawn: Sequence[_Utterance], options: Options) -> list[Piece]:
    """The utterances of a recording one after another, spread over the room that they leave; the work sets gains."""
    drawn = sorted(drawn, key=lambda each: each.order)
    if not drawn:
        return []
    gap = round(options.gap_s * (drawn[0].row.rate_hz or 0))
    room = size - gap - sum((each.row.frames or 0) + gap for each in drawn)
    if room < 0:
        raise PrepError(
            f"scene: {len(drawn)} utterances with {options.gap_s:g} s between them are longer than {name}:"
            " ask for fewer an hour, or a smaller --gap-s"
        )
    pieces, before = [], gap
    for share, each in zip(sorted(each.place for each in drawn), drawn, strict=True):
        row, start = each.row, before + math.floor(share * room)
        piece = replace(_piece(name, each.kind, row, start, row.frames or 0), keyword=each.keyword, snr_db=each.snr_db)
        if each.kind == "call" and "call_start" in row.labels:
            times = [start + round(float(row.labels[at]) * piece.rate_hz) for at in ("call_start", "call_end")]
            piece = replace(piece, begin=times[0], end=times[1])
        pieces.append(piece)
        before += piece.frames + gap
    return pieces


def _piece(recording: str, kind: str, row: Row, start: int, length: int) -> Piece:
    """A clip in a recording."""
    where = (row.rate_hz or 0, row.shard or "", row.offset or 0, row.bytes or 0)
    return Piece(recording, kind, row.id, start, length, *where)


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
