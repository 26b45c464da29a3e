"""Who is mixed with what, from where on, at which SNR: all the chance of a mix, and none of its audio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.core import keys
from pipeline.core.errors import PrepError, RecipeError, did_you_mean
from pipeline.core.row import Drop, Place, Row
from pipeline.core.table import Table, release
from pipeline.stages import resample
from pipeline.stages.mix.options import Options, weight_of
from pipeline.stages.places import located

NAME = "mix"
TRIES = 4  # crops drawn before noise counts as silent
_NOISE = ("id", "corpus", "split", "source", "scene", "pcm_hash", "frames", "shard", "offset", "bytes")


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
    rows = rows.ordered().without_empty()
    _refuse(rows)
    to_mix = rows.equal("kind", "speech") & ~rows.among("corpus", options.keep)
    weights, notes = _noise_corpora(rows, options)
    noise, left_out = _usable(
        rows.where(rows.equal("kind", "noise") & rows.among("corpus", weights)).as_rows(), options.floor_dbfs
    )
    noise, pools = _pooled(noise)
    kept, speech = rows.where(~to_mix), rows.where(to_mix)
    del rows  # a table of millions of rows
    release()
    silent = ~_has_noise(speech, noise)
    drops = _drops(speech.where(silent), "no_noise", f"no noise of its split in {', '.join(weights)}")
    speech = speech.where(~silent)
    if len(drops) and not len(speech):
        raise PrepError(f"no noise for any of {len(drops)} utterances: {', '.join(weights)} has none in their splits")
    planned = list(_variants(speech, noise, weights, options, seed))
    jobs = Table.joined(planned, Row).filled(resampled=resampled)
    return Plan(jobs.ordered(), kept.as_rows(), drops, pools, [*notes, *left_out])


def _has_noise(speech: Table, noise: Table) -> NDArray[np.bool_]:
    return speech.among("split", {str(split) for split in noise.codes("split")[1]})


def unrendered(rows: Table, options: resample.Options, where: Mapping[str, Place]) -> Table:
    """Rows of speech as resample would leave them, without its work: to be resampled as they are mixed.

    rows: of ingest or filter; where: Row.source -> place. Rows whose recording is not found are left out.
    """
    sources = rows.column("source")
    rows = rows.where(np.array([source in where for source in sources], dtype=np.bool_))
    ends = dsp.frames_at(rows.integers("frames"), rows.integers("rate_hz"), options.rate_hz)
    planned = rows.filled(frames=ends, rate_hz=options.rate_hz, at_quality=options.quality)
    return located(planned, [where[source] for source in sources if source in where])


def _refuse(rows: Table) -> None:
    """PrepError for rows that cannot be mixed: mixtures, and rows without audio at hand."""
    if rows.equal("kind", "mixture").any():
        raise PrepError("these are mixtures already: mix takes what prep resample wrote (manifests/resampled.parquet)")
    at_hand = rows.present("shard") | rows.present("at_container")
    if not at_hand.all():
        raise PrepError(f"{int((~at_hand).sum())} rows have no stored audio: run prep resample first")


def _noise_corpora(rows: Table, options: Options) -> tuple[dict[str, float], list[str]]:
    """Weight of each corpus that gives noise, and what to say of the choice."""
    there = sorted(str(name) for name in rows.where(rows.equal("kind", "noise")).codes("corpus")[1])
    if not there:
        raise PrepError(
            "no noise to mix with: ingest a corpus of noise (prep ingest cochlscene), then filter and resample again"
        )
    if options.noise is None:
        chosen = ["cochlscene"] if "cochlscene" in there else there
        return dict.fromkeys(chosen, 1.0), [f"noise from {', '.join(chosen)} (choose with --noise)"]
    weights = dict(weight_of(value) for value in options.noise)
    faults = [
        f'noise: no rows of noise from "{name}"{did_you_mean(name, there)}' for name in weights if name not in there
    ]
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


def _pooled(noise: Table) -> tuple[Table, dict[str, tuple[str, list[tuple[int, int]]]]]:
    """(the noise with the pool of each recording and its first frame in it, what each pool is decoded from).

    A pool is the noise of one shard, its clips one after another in the order in which they lie there.
    """
    noise = noise.only(_NOISE).ordered(("shard", "offset"))
    codes, shards = noise.codes("shard")
    frames, offsets, sizes = (noise.integers(name) for name in ("frames", "offset", "bytes"))
    begins = np.zeros(len(noise), dtype=np.int64)
    pools, names = {}, []
    for code, shard in enumerate(shards):
        own = np.flatnonzero(codes == code)
        begins[own] = np.cumsum(frames[own]) - frames[own]
        names.append(f"{str(shard).removesuffix('.tar')}-{keys.fingerprint(offsets[own].tolist())[:8]}")
        pools[names[-1]] = str(shard), list(zip(offsets[own].tolist(), sizes[own].tolist(), strict=True))
    return noise.filled(at_pool="", at_noise=begins).spread("at_pool", codes, names), pools


def _variants(
    speech: Table, noise: Table, weights: Mapping[str, float], options: Options, seed: int
) -> Iterator[Table]:
    """The planned mixtures, a table for each copy and SNR."""
    for copy in range(options.copies):
        words = keys.words(seed, NAME, speech.only(["id"]).suffixed("id", f"\n{copy}").strings("id"))
        drawn = noise.take(_drawn(words, speech, noise, weights))
        material = _material(speech.integers("frames"), drawn, words)
        for snr in options.snr_db:
            planned = _planned(speech, drawn, words, snr, copy, options.definition).beside(material)
            yield _located(planned, options.virtual)


def _drawn(words: NDArray[np.uint64], speech: Table, noise: Table, weights: Mapping[str, float]) -> NDArray[np.int64]:
    """Index of the noise row drawn for each utterance: of its split, a corpus by weight, then one of its recordings."""
    drawn = np.zeros(len(speech), dtype=np.int64)
    corpora, ids = noise.column("corpus"), noise.column("id")
    for split in sorted(str(name) for name in speech.codes("split")[1]):
        own, pool = np.flatnonzero(speech.equal("split", split)), np.flatnonzero(noise.equal("split", split))
        names = sorted({corpora[index] for index in pool})
        shares = np.cumsum([weights[name] for name in names])
        picked = np.searchsorted(shares, keys.unit(words[own, 0]) * shares[-1], side="right")
        for number, name in enumerate(names):
            members = np.array([index for index in pool if corpora[index] == name])
            takes = own[picked == number]
            drawn[takes] = members[keys.choose(words[takes, 1], [ids[index] for index in members])]
    return drawn


@dataclass(frozen=True, slots=True)
class Drawn:
    """A draw of noise, told again. pool: how many recordings it was drawn from; draw: in [0, 1), where on their ring it fell.

    starts: frames at which the crops to try begin; snr_draw: in [0, 1), the place in a range of SNR.
    """

    noise_id: str
    noise_frames: int
    pool: int
    draw: float
    starts: tuple[int, ...]
    snr_draw: float


def redrawn(mixture: Table, rows: Table, options: Options, seed: int) -> Drawn | None:
    """How the noise of a mixture was drawn; None where there is no noise of its split to draw from.

    mixture: a table of that row alone. rows: those of its manifest that are noise, as resample left them.
    """
    weights, _ = _noise_corpora(rows, options)
    noise, _ = _usable(rows.where(rows.among("corpus", weights)), options.floor_dbfs)
    if not _has_noise(mixture, noise).all():
        return None
    words = keys.words(seed, NAME, [f"{mixture.column('speech_id')[0]}\n{mixture.column('variant')[0]}"])
    drawn = noise.take(_drawn(words, mixture, noise, weights))
    pool = noise.equal("split", str(mixture.column("split")[0])) & noise.equal("corpus", str(drawn.column("corpus")[0]))
    starts = _starts(mixture.integers("frames"), drawn.integers("frames"), words)[0]
    _, draw, snr_draw = keys.unit(words[0, :3]).tolist()
    return Drawn(
        drawn.column("id")[0], int(drawn.column("frames")[0]), int(pool.sum()), draw, tuple(starts.tolist()), snr_draw
    )


def _planned(
    speech: Table, noise: Table, words: NDArray[np.uint64], snr: float | str, copy: int, definition: str
) -> Table:
    """The rows of the mixtures as far as they are known before any audio is opened."""
    if isinstance(snr, str):
        low, high = (float(bound) for bound in snr.split(":"))
        requested = np.round(low + keys.unit(words[:, 2]) * (high - low), 2)
    else:
        requested = np.full(len(speech), snr)
    tag = snr.replace(":", "to") if isinstance(snr, str) else f"{snr:.10g}"
    added = noise.only(("id", "source", "pcm_hash", "scene")).renamed(
        id="noise_id", source="noise_source", pcm_hash="noise_pcm_hash"
    )
    planned = speech.copied(speech_id="id").beside(added).suffixed("id", f"_snr{tag}_{copy}")
    return planned.filled(kind="mixture", snr_db=requested, snr_definition=definition, variant=copy)


def _material(frames: NDArray[np.int64], noise: Table, words: NDArray[np.uint64]) -> Table:
    """The columns of Material."""
    starts = _starts(frames, noise.integers("frames"), words)
    names = {
        "shard": "at_noise_shard",
        "offset": "at_noise_offset",
        "bytes": "at_noise_bytes",
        "frames": "at_noise_frames",
    }
    return (
        noise.only((*names, "at_pool", "at_noise"))
        .renamed(**names)
        .filled(resampled="", starts=starts)
        .as_kind(Material)
    )


def _starts(frames: NDArray[np.int64], noise_frames: NDArray[np.int64], words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """int64 [mixtures, TRIES]: where in the noise the crops to try begin."""
    room = np.where(noise_frames >= frames, noise_frames - frames + 1, noise_frames)
    return np.floor(keys.unit(words[:, 3 : 3 + TRIES]) * room[:, None]).astype(np.int64)


def _located(planned: Table, virtual: bool) -> Table:
    """With the columns by which a reader renders a row that stores no audio, or with none of them."""
    if not virtual:
        return planned
    parts = planned.copied(speech_shard="shard", speech_offset="offset", speech_bytes="bytes")
    return parts.copied(noise_shard="at_noise_shard", noise_offset="at_noise_offset", noise_bytes="at_noise_bytes")


def _drops(rows: Table, reason: str, detail: str) -> Table:
    return rows.only(["id"]).filled(stage=NAME, reason=reason, detail=detail).as_kind(Drop)
