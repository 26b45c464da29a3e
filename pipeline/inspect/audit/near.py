"""Near-duplicates across splits: the same recording at another level, offset, rate or sample format.

Every recording is fingerprinted (listening.py); those that share fingerprints at one offset are aligned and correlated,
and pairs that agree to 0.9 or more where they overlap are one recording. Two takes of one phrase by one voice are not.

Measured on 360 utterances (3.6 s on average) and 60 noises with a copy each. Every copy was found that was 20 dB
softer, 6 dB louder, padded, at 8, 22.05 or 44.1 kHz and back, mu-law or with noise at 30 dB; of utterances trimmed by
up to 2 s 355 of 360; of those trimmed, padded, softer, at 8 kHz, mu-law and noisy at once 327 of 360 (of such noises 57
of 60); of noise in 8 bits 52 of 60. Not found were copies filtered so that phases turn (a high-pass at 300 Hz, a room)
or played at another speed, and short extracts within other sound. A core does about 1,000 times real time with reading.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import frame as frames
from pipeline.core import keys
from pipeline.core.row import Row
from pipeline.engine.workers import map_chunks
from pipeline.inspect.audit import Clear, Finding, Options, Outcome, Unable, counted, listening

if TYPE_CHECKING:
    from pandas import DataFrame

COLUMNS = (
    *("id", "corpus", "split", "group", "kind", "source", "speech_id", "noise_id"),
    *(f"{part}{name}" for part in ("", "speech_", "noise_") for name in ("shard", "offset", "bytes", "pcm_hash")),
    *("rate_hz", "frames", "snr_db", "noise_start", "gain_db", "noise_gain_db"),
)
SAMPLE = 10_000  # recordings that are opened where the options do not say how many
AGREEMENT = 0.9  # from which two recordings are one
HITS = 3  # fingerprints that two recordings must share at one offset before they are compared
PAIRS = 20_000  # compared at most, those with most hits first
CLIPS_A_CHUNK, PAIRS_A_CHUNK = 200, 50
EXAMPLES = 5
_NEIGHBOURS = 8  # a recording is paired with so many others that share a fingerprint
_COMMON = 64  # a fingerprint of more recordings than this is one of silence or hum
_MOST_PRINTS = 60_000_000  # in memory, 20 bytes each; of more, one in 2, 4, ... is kept, the same ones everywhere
_PRINTS_A_SECOND = 50
_LAGS = 1 << 21

Prints = tuple[NDArray[np.uint32], NDArray[np.int32]]  # of a recording: (words, the frame that each is of)


def check(frame: DataFrame, folder: Path, options: Options) -> Outcome:
    """Whether a recording is in two splits, changed in level, offset, rate or sample format.

    folder: of the manifest. ManifestError where a shard is missing or damaged.
    """
    every = recordings(frame)
    if not len(every.frame):
        return Unable("near", "no audio is stored beside this manifest: run prep resample, then this check can be done")
    chosen = sampled(every.frame, SAMPLE if options.sample is None else options.sample)
    splits, names = frames.codes(chosen["split"])
    if len(names) < 2:
        return Clear("near", "the recordings are all of one split: nothing to compare")

    seconds = float((frames.numbers(chosen["frames"]) / frames.numbers(chosen["rate_hz"])).sum())
    sieve = 1
    while seconds * _PRINTS_A_SECOND / sieve > _MOST_PRINTS:
        sieve *= 2
    advance = options.progress("listening", len(chosen))
    prints: list[Prints] = []
    for one in map_chunks(
        listening.fingerprints, frames.rows(chosen, Row), CLIPS_A_CHUNK, options.workers, folder, sieve
    ):
        prints.append(one)
        advance(1)
    pairs = candidates(prints, splits)
    same = same_recording(chosen, pairs[:PAIRS], folder, options)

    looked = f"Audio: {every.sentence()}."
    if len(chosen) < len(every.frame):
        share = _pairs_across(chosen) / max(1, _pairs_across(every.frame))
        looked += (
            f" Of these a sample of {len(chosen):,} was compared, so that a pair is seen with a chance of"
            f" {100 * share:.2g} %; --sample 0 takes all."
        )
    if len(pairs) > PAIRS:
        looked += f" Of {len(pairs):,} pairs that sound alike, the {PAIRS:,} most alike were compared."
    described = [_described(*pair) for pair in same]
    figures: dict[str, Any] = {"heard": len(chosen), "of": len(every.frame), "compared": min(PAIRS, len(pairs))}
    figures["pairs"] = [numbers for numbers, _ in described]
    if not same:
        return Clear("near", f"no recording is in two splits at another level, offset or rate. {looked}", figures)
    concerned = len({row.speech_id or row.id for one, other, _ in same for row in (one, other)})
    detail = (
        f"{counted(len(same), 'pair')} of recordings in two splits are one recording at another level, offset, rate or"
        f" sample format, {concerned:,} recordings in all. {looked}\n"
        "A model is tested on a recording that it knows from training, so scores are too good.\n"
        "Listen to them; prep audit --write-exclusions FILE names one of each, and prep filter --exclude FILE leaves"
        " them out."
    )
    return Finding("near", False, concerned, detail, tuple(text for _, text in described[:EXAMPLES]), figures)


def _described(one: Row, other: Row, overlap: listening.Overlap) -> tuple[dict[str, Any], str]:
    """A pair that is one recording, as numbers and as a sentence.

    `train aihub/1 = test aihub/2: 0.99 alike over 3.2 s, 0.40 s later, -6.0 dB`
    """
    names = [row.speech_id or row.id for row in (one, other)]
    figures = {
        "ids": names,
        "splits": [one.split, other.split],
        "agreement": round(overlap.agreement, 3),
        "seconds": round(overlap.seconds, 2),
        "offset_s": round(overlap.offset_s, 3),
        "gain_db": round(overlap.gain_db, 1),
    }
    moved = f"{abs(overlap.offset_s):.2f} s {'later' if overlap.offset_s < 0 else 'earlier'}, {overlap.gain_db:+.1f} dB"
    alike = f"{overlap.agreement:.2f} alike over {overlap.seconds:.1f} s"
    return figures, f"{one.split} {names[0]} = {other.split} {names[1]}: {alike}, {moved}"


@dataclass(frozen=True, slots=True, eq=False)
class Recordings:
    """The recordings of a set, each once. frame: a row for each, as `listening.sounds` takes them.

    stored: clips. unmixed: utterances that are taken out of mixtures. noisy: utterances with the noise of their mixture
    in them. missing: rows without audio. hidden: noise recordings that are in mixtures alone.
    """

    frame: DataFrame
    stored: int
    unmixed: int
    noisy: int
    missing: int
    hidden: int

    def sentence(self) -> str:
        """`640 stored clips, 420 utterances out of their mixtures, the noise taken out`."""
        parts = [
            (self.stored, "stored clips"),
            (self.unmixed, "utterances out of their mixtures, the noise taken out"),
            (self.noisy, "utterances with the noise of their mixture in them, which has no row of its own"),
        ]
        text = ", ".join(f"{count:,} {what}" for count, what in parts if count)
        text += f"; left out: {self.missing:,} rows without audio" if self.missing else ""
        return text + (
            f"; left out: {self.hidden:,} noise recordings that are in mixtures alone" if self.hidden else ""
        )


def recordings(frame: DataFrame) -> Recordings:
    """Each recording of the set once: rows that are no mixtures, and one mixture of each utterance without such a row.

    That is the mixture with the least noise. Where its noise is a row of the set, the noise_shard, noise_offset and
    noise_bytes of the mixture say where it is stored, so that it can be taken out.
    """
    frame = frame[list(COLUMNS)]
    is_mixture, is_stored = frames.equal(frame["kind"], "mixture"), frames.present(frame, "shard")
    alone = frames.pick(frame, ~is_mixture & is_stored)
    mixtures = frames.pick(frame, is_mixture & (is_stored | frames.present(frame, "speech_shard")))
    mixtures = frames.pick(mixtures, ~frames.among(mixtures["speech_pcm_hash"], frames.codes(alone["pcm_hash"])[1]))
    utterances, _ = frames.codes(mixtures["speech_pcm_hash"])
    order = np.lexsort((np.arange(len(mixtures)), -frames.numbers(mixtures["snr_db"]), utterances))
    first = order[np.flatnonzero(np.diff(utterances[order], prepend=-1))]
    mixtures = frames.pick(mixtures, np.sort(first))

    noise = frames.pick(alone, frames.equal(alone["kind"], "noise"))
    position = frames.position_of(mixtures["noise_id"], noise["id"])
    is_virtual = frames.present(mixtures, "speech_shard")
    has_noise = ~is_virtual & (position >= 0)
    its_noise = frames.pick(noise, position[has_noise])
    places = {f"noise_{name}": its_noise[name] for name in ("shard", "offset", "bytes")}
    clean = frames.with_columns(frames.pick(mixtures, has_noise), **places)
    noisy = frames.pick(mixtures, ~is_virtual & (position < 0))
    parts = [frames.ordered(alone, ("shard", "source")), frames.pick(mixtures, is_virtual)]
    parts += [frames.ordered(clean, ("noise_shard", "noise_id", "id")), noisy]
    hidden = set(frames.values(frame["noise_pcm_hash"][is_mixture])) - set(frames.values(alone["pcm_hash"]))
    unmixed, missing = len(clean) + int(is_virtual.sum()), int((~is_mixture & ~is_stored).sum())
    return Recordings(frames.concat(parts, Row), len(alone), unmixed, len(noisy), missing, len(hidden))


def sampled(frame: DataFrame, most: int) -> DataFrame:
    """At most so many of the rows, a keyed sample, half of them of the splits that are not train; 0 for all."""
    if not most or len(frame) <= most:
        return frame
    order = keys.order(0, "audit near", frames.each(frame["id"]))
    train = frames.equal(frame["split"], "train")[order]
    others = min(int((~train).sum()), max(most // 2, most - int(train.sum())))
    return frames.pick(frame, np.sort(np.concatenate([order[~train][:others], order[train][: most - others]])))


def _pairs_across(frame: DataFrame) -> float:
    """Twice the number of pairs of rows that are in two splits."""
    counts = np.bincount(frames.codes(frame["split"])[0]).astype(np.float64)
    return float(counts.sum() ** 2 - (counts**2).sum())


def candidates(prints: Sequence[Prints], splits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs of recordings of two splits that share HITS fingerprints at one offset or more, those with most hits first.

    int64 [pairs, 3]: position of the one, of the other, lag in samples. prints: of each recording. splits: int64
    [recordings].
    """
    words = np.concatenate([words for words, _ in prints])
    owners = np.repeat(np.arange(len(prints), dtype=np.int32), [len(words) for words, _ in prints])
    # within a fingerprint recordings stand in an order of their own, so that neighbours are of any split
    shuffled = owners.astype(np.uint32) * np.uint32(2654435761)
    order = np.argsort((words.astype(np.uint64) << np.uint64(32)) | shuffled, kind="stable")
    words, owners = words[order], owners[order].astype(np.int64)
    frames = np.concatenate([frames for _, frames in prints])[order].astype(np.int64)
    starts = np.flatnonzero(np.diff(words, prepend=words[:1] + 1) != 0) if len(words) else np.zeros(0, np.int64)
    sizes = np.diff(starts, append=len(words))
    is_rare = np.repeat(sizes <= _COMMON, sizes)
    hits = []
    for step in range(1, _NEIGHBOURS + 1):
        alike = (words[step:] == words[:-step]) & is_rare[step:] & (splits[owners[step:]] != splits[owners[:-step]])
        one, other = owners[:-step][alike], owners[step:][alike]
        lag = frames[:-step][alike] - frames[step:][alike]
        low, high = np.minimum(one, other), np.maximum(one, other)
        hits.append((low * len(splits) + high) * _LAGS + np.where(one < other, lag, -lag) + _LAGS // 2)

    # of each pair the lag with most hits, with those of the lags beside it
    lags, counts = np.unique(np.concatenate(hits), return_counts=True)
    total = counts.copy()
    beside = np.flatnonzero(np.diff(lags) == 1)
    total[beside] += counts[beside + 1]
    total[beside + 1] += counts[beside]
    lags, total = lags[total >= HITS], total[total >= HITS]
    pairs = lags // _LAGS
    order = np.lexsort((lags, -total, pairs))
    best = order[np.flatnonzero(np.diff(pairs[order], prepend=-1))]
    best = best[np.lexsort((lags[best], -total[best]))]
    lag = (lags[best] % _LAGS - _LAGS // 2) * listening.HOP
    return np.stack([pairs[best] // len(splits), pairs[best] % len(splits), lag], axis=1)


def same_recording(
    frame: DataFrame, pairs: NDArray[np.int64], folder: Path, options: Options
) -> list[tuple[Row, Row, listening.Overlap]]:
    """The pairs (as `candidates` gives them) that are one recording, most alike first.

    Not those that are the same to the sample: the check `pcm` finds them.
    """
    sound = frames.codes(frame["speech_pcm_hash"])[0] + len(frame) * frames.codes(frame["pcm_hash"])[0]
    pairs = pairs[sound[pairs[:, 0]] != sound[pairs[:, 1]]]
    pairs = pairs[np.lexsort((pairs[:, 1], pairs[:, 0]))]
    needed, places = np.unique(pairs[:, :2], return_inverse=True)
    rows = list(frames.rows(frames.pick(frame, needed), Row))
    compared = [
        (rows[a], rows[b], lag) for (a, b), lag in zip(places.reshape(-1, 2), pairs[:, 2].tolist(), strict=True)
    ]
    advance = options.progress("comparing", len(compared))
    same = []
    overlaps = map_chunks(listening.overlaps, compared, PAIRS_A_CHUNK, options.workers, folder)
    for (one, other, _), overlap in zip(compared, overlaps, strict=True):
        advance(1)
        if overlap.agreement >= AGREEMENT:
            same.append((one, other, overlap))
    return sorted(same, key=lambda p: (-round(p[2].agreement, 3), p[0].speech_id or p[0].id, p[1].speech_id or p[1].id))
