"""Mix: noise of a row's own split added at a controlled SNR, and the SNR that came out measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline import dsp, keys
from pipeline.errors import PrepError, RecipeError, did_you_mean
from pipeline.row import Drop, Row
from pipeline.stages import Options as StageOptions
from pipeline.stages.ingest import DB_DIGITS, SHARE_DIGITS, decibels
from pipeline.stages.resample import attenuation_db
from pipeline.store import Store, pcm_hash
from pipeline.table import Table

NAME = "mix"
VERSION = 1
PLANNED: set[str] = {"snr_db", "copies", "noise", "definition", "keep"}
DEPENDS = ("id", "rate_hz", "speech_pcm_hash", "noise_pcm_hash", "noise_id", "starts", "snr_db", "snr_definition")
TOLERANCE_DB = 0.1  # a mixture whose realised SNR is further from the request is a Drop
TRIES = 4  # crops drawn before noise counts as silent
_STORED = ("shard", "offset", "bytes")
_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*:\s*(-?\d+(?:\.\d+)?)\s*")


class Options(StageOptions):
    """What is added to the speech, and how loud."""

    snr_db: tuple[float | str, ...] = Field(
        (20.0,),
        min_length=1,
        description="SNR in dB: each utterance is mixed at each; LOW:HIGH is drawn evenly",
        json_schema_extra={"flag": "--snr"},
    )
    copies: int = Field(1, ge=1, le=1000, description="variants of each utterance, each with noise of its own")
    noise: tuple[str, ...] | None = Field(
        None, description="corpora to take noise from, NAME or NAME=WEIGHT (default: cochlscene if there, else all that have noise)"
    )
    definition: Literal["active", "full"] = Field(
        "active", description="level of speech: ITU-T P.56 active level, or RMS of the whole clip"
    )
    keep: tuple[str, ...] = Field(("recordings",), description="corpora whose recordings hold their own noise and are kept as they are")
    virtual: bool = Field(False, description="store no audio: the reader renders each mixture from its row, the same samples")
    floor_dbfs: float = Field(-70.0, le=0, description="noise crops quieter than this are drawn again")

    @field_validator("snr_db")
    @classmethod
    def _numbers_or_ranges(cls, values: tuple[float | str, ...]) -> tuple[float | str, ...]:
        return tuple(dict.fromkeys(_snr(value) for value in values))

    @field_validator("noise")
    @classmethod
    def _weighted(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for value in values or ():
            weight_of(value)
        return values


def _snr(value: float | str) -> float | str:
    """A number, or `LOW:HIGH` in one spelling."""
    if not isinstance(value, str):
        return float(value)
    if found := _RANGE.fullmatch(value):
        low, high = (float(bound) for bound in found.groups())
        if low < high:
            return f"{low:g}:{high:g}"
    try:
        return float(value)
    except ValueError:
        raise ValueError(f'found "{value}", expected a number of dB, or LOW:HIGH such as 5:20') from None


def weight_of(value: str) -> tuple[str, float]:
    """(corpus, weight) of `cochlscene` or `cochlscene=3`."""
    name, _, weight = value.partition("=")
    try:
        number = float(weight or 1)
    except ValueError:
        number = 0.0
    if not number > 0:
        raise ValueError(f'found "{value}", expected NAME or NAME=WEIGHT with a weight above 0')
    return name, number


@dataclass(frozen=True, slots=True)
class Material:
    """The columns of a plan beyond Row's: crops to try, and where speech and noise lie."""

    starts: tuple[int, ...]
    at_shard: str
    at_speech: int
    at_bytes: int
    at_pool: str
    at_noise: int
    at_noise_frames: int
    at_noise_shard: str
    at_noise_offset: int
    at_noise_bytes: int


@dataclass(frozen=True, slots=True)
class Job:
    """One mixture to make: the decisions of the plan, and the levels of the speech as stored."""

    id: str
    rate_hz: int
    level_full_dbfs: float | None
    level_active_dbfs: float
    activity: float
    noise_id: str
    snr_db: float
    snr_definition: str
    starts: tuple[int, ...]
    at_shard: str
    at_speech: int
    at_bytes: int
    at_pool: str
    at_noise: int
    at_noise_frames: int


@dataclass(frozen=True, slots=True)
class Parts:
    """What a mixture's samples hold: gains of speech and noise, levels of both as stored, both SNRs."""

    gain_db: float
    noise_gain_db: float
    level_full_dbfs: float | None
    level_active_dbfs: float | None
    activity: float | None
    peak_dbfs: float | None
    snr_active_db: float | None
    snr_full_db: float | None


@dataclass(frozen=True, slots=True)
class Made(Parts):
    """The columns that mix fills."""

    id: str
    shard: str | None
    offset: int | None
    bytes: int | None
    pcm_hash: str
    noise_start: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """jobs: one mixture a line. kept: rows that pass as they are. pools: what to decode first, name -> (shard, clips)."""

    jobs: Table
    kept: Table
    drops: Table
    pools: Mapping[str, tuple[str, list[tuple[int, int]]]]
    notes: list[str]


def plan(rows: Table, options: Options, seed: int) -> Plan:
    """Who is mixed with what, from where on, at which SNR: all chance is here, and no audio is opened.

    Draws are keyed by utterance and copy, so every SNR of a copy has the same noise from the same start, and scores by
    SNR compare like with like. PrepError where there is no noise at all.
    """
    rows = rows.ordered()
    if rows.present("shard").sum() < len(rows):
        raise PrepError("some rows have no stored audio: run prep resample first")
    to_mix = rows.equal("kind", "speech") & ~rows.among("corpus", options.keep)
    speech, kept = rows.where(to_mix), rows.where(~to_mix)
    weights, notes = _noise_corpora(rows, options)
    audible = speech.present("level_active_dbfs")
    drops = [_drops(speech.where(~audible), "no_speech", "nothing in it is active by ITU-T P.56")]
    speech = speech.where(audible)
    noise = rows.where(rows.equal("kind", "noise") & rows.among("corpus", weights))
    pools = _pools(noise)
    planned: list[Table] = []
    for split in sorted(str(name) for name in speech.codes("split")[1]):
        own, pool = speech.where(speech.equal("split", split)), noise.where(noise.equal("split", split))
        if len(pool):
            planned += _variants(own, pool, pools, weights, options, seed)
        else:
            drops.append(_drops(own, "no_noise", f"no noise of split {split} in {', '.join(weights)}"))
    if len(speech) and not planned:
        raise PrepError(f"no noise for any of {len(speech)} utterances: {', '.join(weights)} has none in their splits")
    jobs = Table.joined(planned, Row) if planned else Table.of([], Row).beside(Table.of([], Material))
    return Plan(jobs.ordered(), kept, Table.joined(drops, Drop), {name: (shard, clips) for name, shard, clips in _made(pools)}, notes)


def _noise_corpora(rows: Table, options: Options) -> tuple[dict[str, float], list[str]]:
    """Weight of each corpus that gives noise, and what to say of the choice."""
    there = sorted(str(name) for name in rows.where(rows.equal("kind", "noise")).codes("corpus")[1])
    if not there:
        raise PrepError("no noise to mix with: ingest a corpus of noise (prep ingest cochlscene), then filter and resample again")
    if options.noise is None:
        chosen = ["cochlscene"] if "cochlscene" in there else there
        return dict.fromkeys(chosen, 1.0), [f"noise from {', '.join(chosen)} (choose with --noise)"]
    weights = dict(weight_of(value) for value in options.noise)
    faults = [f'noise: no rows of noise from "{name}"{did_you_mean(name, there)}' for name in weights if name not in there]
    if faults:
        raise RecipeError(faults)
    return weights, []


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Where each noise row lies once decoded: name of the pool and first frame in it, by row."""

    names: list[str]
    begins: NDArray[np.int64]
    noise: Table
    place: dict[str, int]


def _pools(noise: Table) -> _Pool:
    """One pool a shard: its noise clips one after another in the order in which they lie there."""
    noise = noise.ordered(("shard", "offset"))
    codes, shards = noise.codes("shard")
    frames = noise.integers("frames")
    ends = np.cumsum(frames)
    first = np.searchsorted(codes, np.arange(len(shards)))
    base = (ends - frames)[first] if len(frames) else ends
    offsets = noise.integers("offset")
    names = [
        f"{str(shard).removesuffix('.tar')}-{keys.fingerprint(offsets[codes == index].tolist())[:8]}" for index, shard in enumerate(shards)
    ]
    begins = ends - frames - base[codes]
    return _Pool([names[code] for code in codes], begins, noise, {row: i for i, row in enumerate(noise.column("id"))})


def _made(pool: _Pool) -> Iterator[tuple[str, str, list[tuple[int, int]]]]:
    held: dict[str, tuple[str, list[tuple[int, int]]]] = {}
    columns = (pool.noise.column(name) for name in ("shard", "offset", "bytes"))
    for name, shard, offset, size in zip(pool.names, *columns, strict=True):
        held.setdefault(name, (shard, []))[1].append((offset, size))
    for name, (shard, clips) in sorted(held.items()):
        yield name, shard, clips


def _variants(speech: Table, noise: Table, pools: _Pool, weights: Mapping[str, float], options: Options, seed: int) -> Iterator[Table]:
    """The planned mixtures of one split, a table for each copy and SNR."""
    for copy in range(options.copies):
        names = [f"{row}\n{copy}" for row in speech.column("id")]
        words = keys.words(seed, NAME, names)
        drawn = noise.take(_drawn(words, noise, weights))
        where = np.array([pools.place[row] for row in drawn.column("id")], dtype=np.int64)
        for snr in options.snr_db:
            planned = _planned(speech, drawn, words, snr, copy, options.definition)
            yield _located(planned.beside(_material(speech, drawn, words, pools, where)), options.virtual)


def _drawn(words: NDArray[np.uint64], noise: Table, weights: Mapping[str, float]) -> NDArray[np.int64]:
    """Index of the noise row drawn for each utterance: a corpus by weight, then one of its recordings."""
    codes, corpora = noise.codes("corpus")
    names = sorted(str(name) for name in corpora)
    shares = np.cumsum([weights[name] for name in names])
    picked = np.searchsorted(shares, keys.unit(words[:, 0]) * shares[-1], side="right")
    drawn = np.zeros(len(words), dtype=np.int64)
    ids = noise.column("id")
    for index, name in enumerate(names):
        members = np.flatnonzero(codes == corpora.index(name))
        takes = picked == index
        drawn[takes] = members[keys.choose(words[takes, 1], [ids[member] for member in members])]
    return drawn


def _planned(speech: Table, noise: Table, words: NDArray[np.uint64], snr: float | str, copy: int, definition: str) -> Table:
    """The rows of the mixtures as far as they are known before any audio is opened."""
    if isinstance(snr, str):
        low, high = (float(bound) for bound in snr.split(":"))
        requested = np.round(low + keys.unit(words[:, 2]) * (high - low), 2)
    else:
        requested = np.full(len(speech), snr)
    tag = snr.replace(":", "to") if isinstance(snr, str) else f"{snr:.10g}"
    added = noise.only(("id", "source", "pcm_hash", "scene")).renamed(id="noise_id", source="noise_source", pcm_hash="noise_pcm_hash")
    ids = [f"{row}_snr{tag}_{copy}" for row in speech.column("id")]
    planned = speech.copied(speech_id="id", speech_pcm_hash="pcm_hash").beside(added)
    return planned.filled(id=ids, kind="mixture", snr_db=requested, snr_definition=definition, variant=copy)


def _material(speech: Table, noise: Table, words: NDArray[np.uint64], pools: _Pool, where: NDArray[np.int64]) -> Table:
    """The columns of Material."""
    frames, noise_frames = speech.integers("frames"), noise.integers("frames")
    room = np.where(noise_frames >= frames, noise_frames - frames + 1, noise_frames)
    starts = np.floor(keys.unit(words[:, 3 : 3 + TRIES]) * room[:, None]).astype(np.int64)
    columns: dict[str, Any] = {
        "starts": starts,
        "at_pool": [pools.names[index] for index in where],
        "at_noise": pools.begins[where],
        "at_noise_frames": noise_frames,
    }
    where_speech = speech.only(_STORED).renamed(shard="at_shard", offset="at_speech", bytes="at_bytes")
    where_noise = noise.only(_STORED).renamed(shard="at_noise_shard", offset="at_noise_offset", bytes="at_noise_bytes")
    return where_speech.beside(where_noise).filled(**columns).as_kind(Material)


def _located(planned: Table, virtual: bool) -> Table:
    """With the columns by which a reader renders a row that stores no audio, or with none of them."""
    if not virtual:
        return planned
    parts = planned.copied(speech_shard="at_shard", speech_offset="at_speech", speech_bytes="at_bytes")
    return parts.copied(noise_shard="at_noise_shard", noise_offset="at_noise_offset", noise_bytes="at_noise_bytes")


def _drops(rows: Table, reason: str, detail: str) -> Table:
    return rows.only(["id"]).filled(stage=NAME, reason=reason, detail=detail).as_kind(Drop)


def stores(options: Options) -> bool:
    """Whether the work stores audio."""
    return not options.virtual


def jobs(plan: Table) -> Iterator[Job]:
    """The plan's lines."""
    return plan.rows(Job)


def work(job: Job, options: Options, store: Store) -> Made | Drop:
    """The mixture stored, and its levels and both SNRs measured on the samples as stored."""
    speech = store.stored(job.at_shard, job.at_speech, job.at_bytes)
    pool = store.pool(job.at_pool)[job.at_noise : job.at_noise + job.at_noise_frames]
    found = _audible(pool, len(speech), job.starts, options.floor_dbfs, job.rate_hz)
    if found is None:
        return Drop(job.id, NAME, "silent_noise", f"{TRIES} crops of {job.noise_id} were all below {options.floor_dbfs} dBFS")
    start, noise, noise_db = found
    pcm, parts = mixed(job, speech, noise, noise_db)
    realised = parts.snr_active_db if job.snr_definition == "active" else parts.snr_full_db
    if realised is None or abs(realised - job.snr_db) > TOLERANCE_DB:
        return Drop(job.id, NAME, "snr_off", f"{job.snr_db} dB asked for, {realised} dB came out in 16 bits with {job.noise_id}")
    shard, offset, size = (None, None, None) if options.virtual else store.put(job.id, pcm, job.rate_hz)
    return Made(
        id=job.id,
        shard=shard,
        offset=offset,
        bytes=size,
        pcm_hash=pcm_hash(pcm, job.rate_hz),
        noise_start=start,
        gain_db=parts.gain_db,
        noise_gain_db=parts.noise_gain_db,
        level_full_dbfs=parts.level_full_dbfs,
        level_active_dbfs=parts.level_active_dbfs,
        activity=parts.activity,
        peak_dbfs=parts.peak_dbfs,
        snr_active_db=parts.snr_active_db,
        snr_full_db=parts.snr_full_db,
    )


def _audible(
    pool: NDArray[np.int16], frames: int, starts: tuple[int, ...], floor_dbfs: float, rate_hz: int
) -> tuple[int, NDArray[np.int16], float] | None:
    """(start, noise, its level in dBFS) of the first crop above the floor."""
    for start in starts:
        noise = dsp.crop(pool, start, frames, rate_hz)
        square = dsp.power(dsp.floats(noise))
        if square > 0.0 and dsp.db(square) >= floor_dbfs:
            return start, noise, dsp.db(square)
    return None


def mixed(job: Job, speech: NDArray[np.int16], noise: NDArray[np.int16], noise_db: float) -> tuple[NDArray[np.int16], Parts]:
    """The samples of a mixture at the requested SNR, int16 [frames], and what they hold.

    speech, noise: int16 [frames]; noise_db: level of the noise. Both are attenuated alike where their sum would peak
    above full scale minus 0.1 dB.
    """
    level_db = job.level_active_dbfs if job.snr_definition == "active" else job.level_full_dbfs
    if level_db is None:
        raise ValueError(f"{job.id} has no level to mix at")
    noise_gain_db, gain_db = round(level_db - noise_db - job.snr_db, DB_DIGITS), 0.0
    peak = dsp.peak(speech + noise * np.float32(dsp.gain(noise_gain_db))) / dsp.FULL_SCALE
    if peak > dsp.CEILING:
        gain_db = attenuation_db(peak)
        noise_gain_db = round(noise_gain_db + gain_db, DB_DIGITS)
    pcm = dsp.mixed(speech, noise, gain_db, noise_gain_db)
    return pcm, _parts(job, dsp.floats(speech) * np.float32(dsp.gain(gain_db)), dsp.floats(pcm), gain_db, noise_gain_db)


def _parts(job: Job, speech: dsp.Samples, held: dsp.Samples, gain_db: float, noise_gain_db: float) -> Parts:
    """Levels as stored: what the mixture holds beside the speech is noise, quantisation included."""
    noise_db, full_db = decibels(dsp.power(held - speech)), decibels(dsp.power(speech))
    active_db: float | None = job.level_active_dbfs
    activity: float | None = job.activity
    if gain_db:  # P.56 reads a scaled signal against the same thresholds, a few hundredths of a dB off
        active = dsp.active_level(speech, job.rate_hz)
        active_db, activity = (round(active.level_dbfs, DB_DIGITS), round(active.activity, SHARE_DIGITS)) if active else (None, None)
    return Parts(
        gain_db=gain_db,
        noise_gain_db=noise_gain_db,
        level_full_dbfs=decibels(dsp.power(held)),
        level_active_dbfs=active_db,
        activity=activity,
        peak_dbfs=decibels(dsp.peak(held) ** 2),
        snr_active_db=_difference(active_db, noise_db),
        snr_full_db=_difference(full_db, noise_db),
    )


def _difference(speech_db: float | None, noise_db: float | None) -> float | None:
    return None if speech_db is None or noise_db is None else round(speech_db - noise_db, DB_DIGITS)
