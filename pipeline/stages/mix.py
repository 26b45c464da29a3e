"""Mix: noise of a row's own split added at a controlled SNR, and the SNR that came out measured.

`plan` says who is mixed with what, from where on, at which SNR: it holds all the chance. `work` makes one mixture.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from pipeline import corpora
from pipeline.audio import dsp
from pipeline.audio.codec import pcm_hash
from pipeline.core import frame as frames
from pipeline.core import keys
from pipeline.core.errors import CorruptMember, PrepError, RecipeError, did_you_mean, sample
from pipeline.core.joined import Joined
from pipeline.core.row import Drop, Row
from pipeline.stages import Job, Plan, resample
from pipeline.stages import Options as StageOptions
from pipeline.stages.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

NAME = "mix"
VERSION = 1
PLANNED = frozenset({"snr_db", "copies", "noise", "definition", "keep"})
DEPENDS = (
    "id", "rate_hz", "source_pcm_hash", "resampled", "noise_id", "noise_pcm_hash", "starts", "snr_db", "snr_definition",
)  # fmt: skip
# What is not in DEPENDS follows from it: `resampled` says how the samples of source_pcm_hash were resampled.
READS = (
    "id", "speech_id", "rate_hz", "frames", "noise_id", "snr_db", "snr_definition",
    "shard", "offset", "bytes", "pcm_hash", "level_full_dbfs", "level_active_dbfs", "activity",
    "source", "source_pcm_crc", "source_rate_hz", "source_channels", "source_frames", "source_format",
)  # fmt: skip
# Levels are those of the mixture (full, peak) and of the speech in it (active, activity).
FILLS = (
    "shard", "offset", "bytes", "pcm_hash", "speech_pcm_hash", "noise_start", "gain_db", "noise_gain_db",
    "level_full_dbfs", "level_active_dbfs", "activity", "peak_dbfs", "snr_active_db", "snr_full_db",
)  # fmt: skip
NOTHING = "none"
TRIES = 4  # crops drawn before noise counts as silent
MOST_DB = 60.0  # of an SNR: beyond it the one or the other is no more than the steps of 16 bits
TOLERANCE_DB = 0.1  # a mixture whose realised SNR is further from the request is a Drop
_NOISE = [
    "id", "corpus", "split", "source", "scene", "pcm_hash", "rate_hz", "frames", "level_full_dbfs",
    "peak_dbfs", "shard", "offset", "bytes",
]  # fmt: skip
_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*:\s*(-?\d+(?:\.\d+)?)\s*")


class Options(StageOptions):
    """What is added to the speech, and how loud."""

    snr_db: tuple[float | str, ...] = Field(
        (20.0,),
        min_length=1,
        max_length=1000,
        description="SNR in dB: each utterance is mixed at each; LOW:HIGH is drawn evenly",
        json_schema_extra={"flag": "--snr"},
    )
    copies: int = Field(1, ge=1, le=1000, description="variants of each utterance, each with noise of its own")
    noise: tuple[str, ...] | None = Field(
        None,
        description="corpora to take noise from, NAME or NAME=WEIGHT "
        "(default: cochlscene if there, else all that have noise)",
    )
    definition: Literal["active", "full"] = Field(
        "active", description="level of speech: ITU-T P.56 active level, or RMS of the whole clip"
    )
    keep: tuple[str, ...] | None = Field(
        None,
        description="corpora whose recordings are kept as they are, or none "
        "(default: those that hold their own noise, by corpus.toml or ingest --noisy)",
    )
    virtual: bool = Field(
        False, description="store no audio: the reader renders each mixture from its row, the same samples"
    )
    floor_dbfs: float = Field(-70.0, le=0, description="noise crops quieter than this are drawn again")

    @field_validator("snr_db")
    @classmethod
    def _numbers_or_ranges(cls, values: tuple[float | str, ...]) -> tuple[float | str, ...]:
        return tuple(dict.fromkeys(snr_of(value) for value in values))

    @field_validator("keep")
    @classmethod
    def _known_corpora(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names == (NOTHING,):
            return ()
        for name in names or ():
            if name not in corpora.names():
                raise ValueError(f'unknown corpus "{name}"{did_you_mean(name, corpora.names())}')
        return names

    @field_validator("noise")
    @classmethod
    def _weighted(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = [weight_of(value)[0] for value in values or ()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'"{name}" is named {names.count(name)} times, expected each corpus once')
        return values


def snr_of(value: float | str) -> float | str:
    """A number, or `LOW:HIGH` in one spelling. ValueError for anything else."""
    if isinstance(value, str) and (match := _RANGE.fullmatch(value)):
        low, high = (float(bound) for bound in match.groups())
        if -MOST_DB <= low < high <= MOST_DB:
            return f"{low:g}:{high:g}"
    try:
        number = float(value)
    except ValueError:
        raise ValueError(f'found "{value}", expected a number of dB, or LOW:HIGH such as 5:20') from None
    if not abs(number) <= MOST_DB:
        raise ValueError(
            f'found "{value}", expected a number of dB from -{MOST_DB:g} to {MOST_DB:g}: what 16 bits hold'
        )
    return number


def weight_of(value: str) -> tuple[str, float]:
    """(corpus, weight) of `cochlscene` or `cochlscene=3`."""
    name, _, weight = value.partition("=")
    try:
        number = float(weight or 1)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise ValueError(f'found "{value}", expected NAME or NAME=WEIGHT with a weight above 0')
    return name, number


# ---- the plan


def plan(rows: DataFrame, options: Options, seed: int, resampled: str) -> Plan:
    """One job for each utterance, copy and SNR; noise, and the corpora of `keep`, pass as they are.

    rows: as resample left them, or speech of `resample.expected`. resampled: fingerprint of how they were resampled.
    Draws are keyed by utterance and copy, so every SNR of a copy has the same noise from the same start, and scores by
    SNR compare like with like. PrepError where there is no noise at all.
    """
    if frames.equal(rows["kind"], "mixture").any():
        raise PrepError("these are mixtures already: mix takes what prep resample wrote (manifests/resampled.parquet)")
    without_audio = ~(frames.present(rows, "shard") | frames.present(rows, "at_container"))
    if without_audio.any():
        raise PrepError(f"{int(without_audio.sum())} rows have no stored audio: run prep resample first")
    rows = frames.ordered(rows)
    weights, notes = _noise_corpora(rows, options)
    if absent := sorted({*(options.keep or ())} - {*(here := frames.codes(rows["corpus"])[1])}):
        notes.append(f"--keep {', '.join(absent)} keeps nothing: the rows are of {sample(here)}")
    noise, more_notes = usable_noise(rows, weights, options.floor_dbfs)
    noise, pools = _pooled(noise)
    to_mix = frames.equal(rows["kind"], "speech") & ~frames.among(rows["corpus"], kept_corpora(rows, options))
    if not to_mix.any():
        raise PrepError(_nothing(rows, options))
    has_noise = frames.among(rows["split"], frames.codes(noise["split"])[1])
    detail = f"no noise of its split in {', '.join(weights)}"
    lost = frames.pick(rows[["id"]], to_mix & ~has_noise)
    drops = frames.with_columns(lost, stage=NAME, reason="no_noise", detail=detail)
    if len(drops) and not (to_mix & has_noise).any():
        raise PrepError(f"no noise for any of {len(drops)} utterances: {', '.join(weights)} has none in their splits")

    speech_at = np.flatnonzero(to_mix & has_noise)
    speech = frames.pick(rows[["id", "split", "frames"]], speech_at)
    jobs, noise_at = [], []
    for copy in range(options.copies):
        words = keys.words(seed, NAME, (f"{row_id}\n{copy}" for row_id in frames.each(speech["id"])))
        drawn = _drawn(words, speech, noise, weights)
        starts = _starts(words, frames.integers(speech["frames"]), frames.integers(noise["frames"])[drawn])
        for snr in options.snr_db:
            tag = snr.replace(":", "to") if isinstance(snr, str) else f"{snr:.10g}"
            ids = speech[["id"]] + f"_snr{tag}_{copy}"
            decisions = {"snr_db": snrs(words, snr), "variant": np.full(len(ids), copy), "starts": starts}
            jobs.append(frames.with_columns(ids, **decisions))
            noise_at.append(drawn)
    common = frames.from_rows([Row("", "", "", "", "mixture", "", snr_definition=options.definition)], Row)
    common = frames.with_columns(common[["kind", "snr_definition"]], resampled=resampled)
    parts = {f"speech_{name}": rows[name] for name in ("shard", "offset", "bytes")} if options.virtual else {}
    named = {"noise_id": "id", "noise_source": "source", "noise_pcm_hash": "pcm_hash", "scene": "scene"}
    named |= {f"at_noise_{name}": name for name in ("shard", "offset", "bytes", "frames")}
    named |= {name: name for name in ("at_pool", "at_noise")}
    named |= {f"noise_{name}": name for name in ("shard", "offset", "bytes")} if options.virtual else {}
    mixtures = Joined(
        (frames.with_columns(rows, speech_id=rows["id"], **parts), np.tile(speech_at, len(jobs))),
        (frames.with_columns(noise[[]], **{name: noise[n] for name, n in named.items()}), np.concatenate(noise_at)),
        (common, np.zeros(len(speech_at) * len(jobs), np.int64)),
        (frames.concat(jobs, Row), None),
    )
    kept = frames.as_kind(frames.pick(rows, ~to_mix), Row)
    return Plan(mixtures, kept, drops, [*notes, *more_notes], pools)


def _nothing(rows: DataFrame, options: Options) -> str:
    """Why there is nothing to mix, and what to type."""
    speech = int(frames.equal(rows["kind"], "speech").sum())
    if not speech:
        return (
            f"nothing to mix: none of {len(rows):,} rows is speech; prep ingest a corpus of speech, then filter again"
        )
    kept = ", ".join(kept_corpora(rows, options))
    return (
        f"nothing to mix: all {speech:,} rows of speech are of {kept}, whose recordings are kept as they are (--keep); "
        f"to mix them too, type --keep {NOTHING}"
    )


def kept_corpora(rows: DataFrame, options: Options) -> tuple[str, ...]:
    """The corpora whose recordings are kept as they are: those of `keep`, else those that hold their own noise."""
    if options.keep is not None:
        return options.keep
    here = sorted(frames.codes(rows["corpus"])[1])
    return tuple(name for name in here if name in corpora.names() and corpora.find(name).NOISY)


def _noise_corpora(rows: DataFrame, options: Options) -> tuple[dict[str, float], list[str]]:
    """(weight of each corpus that gives noise, sentences on the choice)."""
    there = sorted(frames.codes(rows["corpus"][frames.equal(rows["kind"], "noise")])[1])
    if not there:
        raise PrepError(
            "no noise to mix with: ingest a corpus of noise (prep ingest cochlscene), then filter and resample again"
        )
    if options.noise is None:
        chosen = ["cochlscene"] if "cochlscene" in there else there
        return dict.fromkeys(chosen, 1.0), [f"noise from {', '.join(chosen)} (choose with --noise)"]
    weights = dict(weight_of(value) for value in options.noise)
    faults = [f'noise: no rows of noise from "{n}"{did_you_mean(n, there)}' for n in weights if n not in there]
    if faults:
        raise RecipeError(faults)
    return weights, []


def usable_noise(rows: DataFrame, weights: Iterable[str], floor_dbfs: float) -> tuple[DataFrame, list[str]]:
    """(the noise that can be drawn, sentences on what cannot: too quiet throughout, or too short to loop)."""
    noise = frames.pick(rows[_NOISE], frames.equal(rows["kind"], "noise") & frames.among(rows["corpus"], weights))
    quiet = ~(frames.numbers(noise["level_full_dbfs"]) >= floor_dbfs)
    short = frames.numbers(noise["frames"]) < 2 * dsp.FADE_S * frames.numbers(noise["rate_hz"])
    notes = [
        f"{int(which.sum())} recordings of noise are {what} and are mixed with nothing"
        for which, what in ((quiet & ~short, f"below {floor_dbfs} dBFS"), (short, f"shorter than {2 * dsp.FADE_S} s"))
        if which.any()
    ]
    return frames.pick(noise, ~quiet & ~short), notes


def _pooled(noise: DataFrame) -> tuple[DataFrame, dict[str, tuple[str, list[tuple[int, int]]]]]:
    """(the noise with the pool of each recording and its first frame there, what each pool is decoded from).

    A pool is the noise of one shard, its clips one after another in the order in which they lie there.
    """
    noise = frames.ordered(noise, ("shard", "offset"))
    codes, shards = frames.codes(noise["shard"])
    counts, offsets, sizes = (frames.integers(noise[name]) for name in ("frames", "offset", "bytes"))
    begins = np.zeros(len(noise), dtype=np.int64)
    pools, names = {}, []
    for code, shard in enumerate(shards):
        own = np.flatnonzero(codes == code)
        begins[own] = np.cumsum(counts[own]) - counts[own]
        names.append(f"{shard.removesuffix('.tar')}-{keys.fingerprint(offsets[own].tolist())[:8]}")
        pools[names[-1]] = shard, list(zip(offsets[own].tolist(), sizes[own].tolist(), strict=True))
    return frames.with_columns(noise, at_pool=frames.spread(codes, names), at_noise=begins), pools


def _drawn(
    words: NDArray[np.uint64], speech: DataFrame, noise: DataFrame, weights: Mapping[str, float]
) -> NDArray[np.int64]:
    """Position of the noise drawn for each utterance: of its split, a corpus by weight, then one of its recordings."""
    drawn = np.zeros(len(speech), dtype=np.int64)
    corpora, ids = frames.values(noise["corpus"]), frames.values(noise["id"])
    for split in sorted(frames.codes(speech["split"])[1]):
        own = np.flatnonzero(frames.equal(speech["split"], split))
        pool = np.flatnonzero(frames.equal(noise["split"], split))
        names = sorted({corpora[index] for index in pool})
        shares = np.cumsum([weights[name] for name in names])
        picked = np.searchsorted(shares, keys.unit(words[own, 0]) * shares[-1], side="right")
        for number, name in enumerate(names):
            members = np.array([index for index in pool if corpora[index] == name])
            takes = own[picked == number]
            drawn[takes] = members[keys.choose(words[takes, 1], [ids[index] for index in members])]
    return drawn


def _starts(words: NDArray[np.uint64], frames: NDArray[np.int64], noise_frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64 [mixtures, TRIES]: where in the noise the crops to try begin."""
    room = np.where(noise_frames >= frames, noise_frames - frames + 1, noise_frames)
    return np.floor(keys.unit(words[:, 3 : 3 + TRIES]) * room[:, None]).astype(np.int64)


def snrs(words: NDArray[np.uint64], snr: float | str) -> NDArray[np.float64]:
    """The SNR of each mixture, dB: this number, or drawn evenly from `LOW:HIGH`."""
    if not isinstance(snr, str):
        return np.full(len(words), snr)
    low, high = (float(bound) for bound in snr.split(":"))
    return np.round(low + keys.unit(words[:, 2]) * (high - low), 2)


@dataclass(frozen=True, slots=True)
class Draw:
    """How the noise of a mixture was drawn.

    pool: how many recordings it was drawn from; draw: in [0, 1), where on their ring it fell. starts: frames at which
    the crops to try begin; snr_draw: in [0, 1), the place in a range of SNR.
    """

    noise_id: str
    noise_frames: int
    pool: int
    draw: float
    starts: tuple[int, ...]
    snr_draw: float


def draw_of(mixture: Row, noise: DataFrame, options: Options, seed: int) -> Draw | None:
    """How the noise of a mixture was drawn; None where there is no noise of its split to draw from.

    noise: the rows of its manifest that are noise, as resample left them.
    """
    weights, _ = _noise_corpora(noise, options)
    noise, _ = usable_noise(noise, weights, options.floor_dbfs)
    if not frames.equal(noise["split"], mixture.split).any():
        return None
    words = keys.words(seed, NAME, [f"{mixture.speech_id}\n{mixture.variant}"])
    speech = frames.from_rows([mixture], Row)
    drawn = frames.pick(noise, _drawn(words, speech, noise, weights))
    row = next(frames.rows(drawn, Row))
    pool = frames.equal(noise["split"], mixture.split) & frames.equal(noise["corpus"], row.corpus)
    starts = _starts(words, frames.integers(speech["frames"]), frames.integers(drawn["frames"]))[0]
    _, draw, snr_draw = keys.unit(words[0, :3]).tolist()
    return Draw(row.id, row.frames or 0, int(pool.sum()), draw, tuple(starts.tolist()), snr_draw)


# ---- the work


def stores(options: Options) -> bool:
    """Mix stores audio, unless the mixtures are virtual."""
    return not options.virtual


def work(job: Job, options: Options, store: Store) -> Row | Drop:
    """The row of the mixture, stored, with its levels and both SNRs measured on the samples as stored."""
    row, noise = job.row, job.noise
    if noise is None or row.snr_db is None or row.frames is None or row.rate_hz is None:
        raise ValueError(f"{row.id}: the plan does not say what it is mixed of")
    pcm, speech = store.once(row.speech_id or "", lambda: _speech(job, store))
    active_db, activity, full_db = speech.level_active_dbfs, speech.activity, speech.level_full_dbfs
    if active_db is None or full_db is None:
        return Drop(row.id, NAME, "no_speech", "nothing in it is active by ITU-T P.56")
    recording = store.pool(noise.pool)[noise.begin : noise.begin + noise.frames]
    crop = dsp.first_audible(recording, noise.starts, row.frames, row.rate_hz, options.floor_dbfs)
    if crop is None:
        detail = f"{TRIES} crops of {row.noise_id} were all below {options.floor_dbfs} dBFS"
        return Drop(row.id, NAME, "silent_noise", detail)
    speech_db = active_db if row.snr_definition == "active" else full_db
    mixture, gain_db, noise_gain_db = dsp.mix_at_snr(pcm, crop.pcm, speech_db, crop.level_dbfs, row.snr_db)

    # what the mixture holds beside the speech is noise, quantisation included
    rest: NDArray[np.int32] | NDArray[np.float64]
    if not gain_db:
        rest = np.subtract(mixture, pcm, dtype=np.int32)
    else:
        part = pcm * dsp.gain(gain_db)
        rest = mixture - part
        # the level of an attenuated signal against the same thresholds is hundredths of a dB off the attenuated level
        active = dsp.active_level(part / dsp.FULL_SCALE, row.rate_hz)
        active_db = round(active.level_dbfs, dsp.DB_DIGITS) if active else None
        activity = round(active.activity, dsp.SHARE_DIGITS) if active else None
        full_db = dsp.decibels(dsp.power(part / dsp.FULL_SCALE))
    noise_db = dsp.decibels(dsp.power(rest, scale=dsp.FULL_SCALE))
    snr_active_db, snr_full_db = (
        None if level_db is None or noise_db is None else round(level_db - noise_db, dsp.DB_DIGITS)
        for level_db in (active_db, full_db)
    )
    realised = snr_active_db if row.snr_definition == "active" else snr_full_db
    if realised is None or abs(realised - row.snr_db) > TOLERANCE_DB:
        came = "nothing of one part" if realised is None else f"{realised} dB"
        detail = f"{row.snr_db} dB asked for, {came} came out in 16 bits with {row.noise_id}"
        return Drop(row.id, NAME, "snr_off", detail)
    shard, offset, size = (None, None, None) if options.virtual else store.put(row.id, mixture, row.rate_hz)
    return replace(
        row,
        shard=shard,
        offset=offset,
        bytes=size,
        pcm_hash=pcm_hash(mixture, row.rate_hz),
        speech_pcm_hash=speech.pcm_hash,
        noise_start=crop.start,
        gain_db=gain_db,
        noise_gain_db=noise_gain_db,
        level_full_dbfs=dsp.decibels(dsp.power(mixture)),
        level_active_dbfs=active_db,
        activity=activity,
        peak_dbfs=dsp.decibels(dsp.peak(mixture) ** 2),
        snr_active_db=snr_active_db,
        snr_full_db=snr_full_db,
    )


def _speech(job: Job, store: Store) -> tuple[dsp.Pcm16, Row]:
    """(the speech, stored or resampled here, int16 [frames]; the row with its levels and hash)."""
    row = job.row
    if job.place is not None:
        recording, how = store.again(job.row, job.place), (job.quality or "", job.highpass_hz or None)
        pcm, row = resample.rendered(row, recording, row.rate_hz or 0, *how)
    else:
        pcm = store.stored(row.shard or "", row.offset or 0, row.bytes or 0)
    if len(pcm) != job.row.frames:
        planned = f"{job.row.frames} were planned: ingest again"
        raise CorruptMember("changed", f"{row.speech_id} has {len(pcm)} frames, {planned}")
    return pcm, row
