"""Who is mixed with what, from where on, at which SNR: all the chance of a mix, and none of its audio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline import dsp, keys
from pipeline.errors import PrepError, RecipeError, did_you_mean
from pipeline.row import Drop, Place, Row
from pipeline.stages import resample
from pipeline.stages.mix.options import Options, weight_of
from pipeline.stages.places import located
from pipeline.table import Table

NAME = "mix"
TRIES = 4  # crops drawn before noise counts as silent
_STORED = ("shard", "offset", "bytes")


@dataclass(frozen=True, slots=True)
class Material:
    """The columns of a plan beyond Row's: how the speech was resampled, the crops to try, and where the noise lies."""

    resampled: str
    starts: tuple[int, ...]
    at_pool: str
    at_noise: int
    at_noise_frames: int
    at_noise_shard: str
    at_noise_offset: int
    at_noise_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """jobs: one mixture a line. kept: rows that pass as they are. pools: what to decode first, name -> (shard, clips)."""

    jobs: Table
    kept: Table
    drops: Table
    pools: Mapping[str, tuple[str, list[tuple[int, int]]]]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class Rendering:
    """The columns by which speech is resampled as it is mixed."""

    at_quality: str


def plan(rows: Table, options: Options, seed: int, resampled: str) -> Plan:
    """Who is mixed with what, from where on, at which SNR: all chance is here, and no audio is opened.

    rows: as resample wrote them, or with speech from `unrendered`. resampled: fingerprint of how they were resampled.
    Draws are keyed by utterance and copy, so every SNR of a copy has the same noise from the same start, and scores by
    SNR compare like with like. PrepError where there is no noise at all.
    """
    rows = rows.ordered()
    _refuse(rows)
    to_mix = rows.equal("kind", "speech") & ~rows.among("corpus", options.keep)
    speech, kept = rows.where(to_mix), rows.where(~to_mix)
    weights, notes = _noise_corpora(rows, options)
    noise, left_out = _usable(rows.where(rows.equal("kind", "noise") & rows.among("corpus", weights)), options.floor_dbfs)
    notes += left_out
    pools = _pools(noise)
    planned: list[Table] = []
    drops = []
    for split in sorted(str(name) for name in speech.codes("split")[1]):
        own, pool = speech.where(speech.equal("split", split)), noise.where(noise.equal("split", split))
        if len(pool):
            planned += _variants(own, pool, pools, weights, options, seed)
        else:
            drops.append(_drops(own, "no_noise", f"no noise of split {split} in {', '.join(weights)}"))
    if len(speech) and not planned:
        raise PrepError(f"no noise for any of {len(speech)} utterances: {', '.join(weights)} has none in their splits")
    jobs = Table.joined(planned, Row) if planned else speech.take(np.zeros(0, np.int64)).beside(Table.of([], Material))
    jobs = jobs.filled(resampled=resampled)
    return Plan(
        jobs.ordered(), kept.as_rows(), Table.joined(drops, Drop), {name: (shard, clips) for name, shard, clips in _made(pools)}, notes
    )


def unrendered(rows: Table, options: resample.Options, where: Mapping[str, Place]) -> Table:
    """Rows of speech as resample would leave them, without its work: to be resampled as they are mixed.

    rows: of ingest or filter; where: Row.source -> place. Rows whose recording is not found are left out.
    """
    sources = rows.column("source")
    rows = rows.where(np.array([source in where for source in sources], dtype=np.bool_))
    ends = (2 * rows.integers("frames") * options.rate_hz + rows.integers("rate_hz")) // (2 * rows.integers("rate_hz"))
    planned = rows.filled(frames=ends, rate_hz=options.rate_hz, at_quality=options.quality)
    return located(planned, [where[source] for source in sources if source in where])


def _refuse(rows: Table) -> None:
    """PrepError for rows that cannot be mixed: mixtures, and rows without audio at hand."""
    if rows.equal("kind", "mixture").any():
        raise PrepError("these are mixtures already: mix takes what prep resample wrote (manifests/resampled.parquet)")
    at_hand = rows.present("shard") | (rows.present("at_container") if "at_container" in rows.names else False)
    if not at_hand.all():
        raise PrepError(f"{int((~at_hand).sum())} rows have no stored audio: run prep resample first")


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


def _usable(noise: Table, floor_dbfs: float) -> tuple[Table, list[str]]:
    """The noise that can be drawn, and what to say of the rest: too quiet throughout, or too short to loop."""
    quiet = ~(noise.numbers("level_full_dbfs") >= floor_dbfs)
    short = noise.numbers("frames") < 2 * dsp.FADE_S * noise.numbers("rate_hz")
    notes = [
        f"{int(which.sum())} recordings of noise are {what} and are mixed with nothing"
        for which, what in ((quiet & ~short, f"below {floor_dbfs} dBFS"), (short, f"shorter than {2 * dsp.FADE_S} s"))
        if which.any()
    ]
    return noise.where(~quiet & ~short), notes


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
    planned = speech.copied(speech_id="id").beside(added)
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
    where_noise = noise.only(_STORED).renamed(shard="at_noise_shard", offset="at_noise_offset", bytes="at_noise_bytes")
    return where_noise.filled(resampled="", **columns).as_kind(Material)


def _located(planned: Table, virtual: bool) -> Table:
    """With the columns by which a reader renders a row that stores no audio, or with none of them."""
    if not virtual:
        return planned
    parts = planned.copied(speech_shard="shard", speech_offset="offset", speech_bytes="bytes")
    return parts.copied(noise_shard="at_noise_shard", noise_offset="at_noise_offset", noise_bytes="at_noise_bytes")


def _drops(rows: Table, reason: str, detail: str) -> Table:
    return rows.only(["id"]).filled(stage=NAME, reason=reason, detail=detail).as_kind(Drop)
