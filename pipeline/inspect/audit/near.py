"""Near-duplicates across splits: the same recording at another level, offset, rate or sample format, found by listening.

Every recording is fingerprinted (prints.py); those that share fingerprints at one offset are aligned and correlated, and pairs
that agree to 0.9 or more where they overlap are one recording. Two takes of one phrase by one voice are not.

Measured on 360 utterances (3.6 s on average) and 60 noises with a copy each: found was every copy 20 dB softer, 6 dB louder, padded,
at 8, 22.05 or 44.1 kHz and back, mu-law or with noise at 30 dB; of utterances trimmed by up to 2 s 355 of 360, of those trimmed, padded,
softer, at 8 kHz, mu-law and noisy at once 327 of 360 (of such noises 57 of 60); of noise in 8 bits 52 of 60. Not found: copies filtered
so that phases turn (a high-pass at 300 Hz, a room) or played at another pace, and short extracts within other sound. About 1,000 times
real time a core, reading included.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio.shards import Reader
from pipeline.core.table import Table
from pipeline.engine import workers as crew
from pipeline.inspect.audit.listen import Ears, Heard, recordings, sampled, sounds
from pipeline.inspect.audit.outcome import Clear, Finding, Outcome, Unable, counted
from pipeline.inspect.audit.prints import HOP, Alike, alike, lowered, prints

SAMPLE = 10_000  # recordings listened to where nobody says how many
AGREEMENT = 0.9  # from which two recordings are one
HITS = 3  # fingerprints that two recordings must share at one offset before they are compared
PAIRS = 20_000  # compared at most, those with most hits first
CLIPS_A_TASK, PAIRS_A_TASK = 200, 50
EXAMPLES = 5
_NEIGHBOURS = 8  # a recording is held against so many others that share a fingerprint
_COMMON = 64  # a fingerprint of more recordings is one of silence or hum
_MOST_PRINTS = 60_000_000  # in memory, 20 bytes each; of more, one in 2, 4, ... is kept, the same ones everywhere
_PRINTS_A_SECOND = 50
_LAGS = 1 << 21


@dataclass(frozen=True, slots=True, eq=False)
class Clips:
    """Recordings to fingerprint. first: number of the first. sieve: fingerprints whose lowest bits under it are not 0 are left out."""

    rows: Table
    folder: Path
    first: int
    sieve: int


@dataclass(frozen=True, slots=True, eq=False)
class Prints:
    """Fingerprints, number of the recording each is of, and its frame; all [prints]."""

    words: NDArray[np.uint32]
    owners: NDArray[np.int32]
    frames: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Recordings to compare: rows, and of each pair the places of both in them and the lag in samples; int64 [pairs, 3]."""

    rows: Table
    folder: Path
    pairs: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Twins:
    """Two rows that hold one recording."""

    one: str
    other: str
    splits: tuple[str, str]
    alike: Alike


def checked(rows: Table, ears: Ears, fails: bool) -> Outcome:
    """Whether a recording is in two splits in other clothes."""
    heard = recordings(rows)
    if not len(heard.rows):
        return Unable(
            "near", "no audio is stored beside this manifest: near-duplicates can be heard after prep resample"
        )
    chosen = sampled(heard.rows, ears.most(SAMPLE), "audit near")
    if len(chosen.codes("split")[1]) < 2:
        return Clear("near", "the recordings are all of one split: nothing to compare")
    candidates = _candidates(_listened(chosen, ears), chosen.codes("split")[0])
    twins = _compared(chosen, candidates[:PAIRS], ears)
    said = _said(heard, chosen, len(candidates))
    figures = {
        "heard": len(chosen),
        "of": len(heard.rows),
        "compared": min(PAIRS, len(candidates)),
        "pairs": [_figures(t) for t in twins],
    }
    if not twins:
        return Clear("near", f"no recording is in two splits at another level, offset or rate. {said}", figures)
    concerned = len({name for twin in twins for name in (twin.one, twin.other)})
    detail = (
        f"{counted(len(twins), 'pair')} of recordings in two splits are one recording at another level, offset, rate or sample format, "
        f"{concerned:,} recordings in all. {said}\nWhat was learned in one split is asked for in another, so scores are too good.\n"
        "Listen to them; leave out one of each (prep filter --where), or put both into one group before prep filter."
    )
    return Finding("near", fails, concerned, detail, tuple(_example(twin) for twin in twins[:EXAMPLES]), figures)


def _said(heard: Heard, chosen: Table, candidates: int) -> str:
    """What was listened to, and what would have been missed."""
    said = f"Heard: {heard.sentence()}."
    if len(chosen) < len(heard.rows):
        said += (
            f" Of these a sample of {len(chosen):,} was compared, so that a pair is seen with a chance of"
            f" {100 * _chance(heard.rows, chosen):.2g} %; --sample 0 takes all."
        )
    if candidates > PAIRS:
        said += f" Of {candidates:,} pairs that sound alike, the {PAIRS:,} most alike were compared."
    return said


def _chance(rows: Table, chosen: Table) -> float:
    """Share of the pairs across splits that a sample holds."""
    return _across(chosen) / max(1, _across(rows))


def _across(rows: Table) -> float:
    counts = np.bincount(rows.codes("split")[0]).astype(np.float64)
    return float(counts.sum() ** 2 - (counts**2).sum())


def _listened(rows: Table, ears: Ears) -> Prints:
    """The fingerprints of all the rows."""
    seconds = float((rows.numbers("frames") / rows.numbers("rate_hz")).sum())
    sieve = 1
    while seconds * _PRINTS_A_SECOND / sieve > _MOST_PRINTS:
        sieve *= 2
    tasks = (Clips(rows.part(n, n + CLIPS_A_TASK), ears.folder, n, sieve) for n in range(0, len(rows), CLIPS_A_TASK))
    advance = ears.progress("listening", len(rows))
    parts = []
    for task, part in crew.results(tasks, fingerprinted, ears.crew):
        parts.append((task.first, part))
        advance(len(task.rows))
    held = [part for _, part in sorted(parts, key=lambda item: item[0])]
    columns = ("words", "owners", "frames")
    return Prints(*(np.concatenate([getattr(part, name) for part in held]) for name in columns))


def fingerprinted(task: Clips) -> Prints:
    """The fingerprints of some recordings."""
    words, owners, frames = [], [], []
    for number, (row, samples) in enumerate(sounds(task.rows, Reader(task.folder)), task.first):
        found, at = prints(lowered(samples, row.rate_hz or 0))
        kept = found % task.sieve == 0
        words.append(found[kept])
        frames.append(at[kept])
        owners.append(np.full(int(kept.sum()), number, np.int32))
    return Prints(np.concatenate(words), np.concatenate(owners), np.concatenate(frames))


def _candidates(held: Prints, splits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Pairs across splits with HITS fingerprints at one offset or more, most hits first; int64 [pairs, 3]: one, other, lag in samples."""
    order = np.argsort((held.words.astype(np.uint64) << np.uint64(32)) | _shuffled(held.owners), kind="stable")
    words, owners, frames = held.words[order], held.owners[order].astype(np.int64), held.frames[order].astype(np.int64)
    starts = np.flatnonzero(np.diff(words, prepend=words[:1] + 1) != 0) if len(words) else np.zeros(0, np.int64)
    sizes = np.diff(starts, append=len(words))
    rare = np.repeat(sizes <= _COMMON, sizes)
    codes = []
    for step in range(1, _NEIGHBOURS + 1):
        alike = (words[step:] == words[:-step]) & rare[step:] & (splits[owners[step:]] != splits[owners[:-step]])
        one, other = owners[:-step][alike], owners[step:][alike]
        lag = frames[:-step][alike] - frames[step:][alike]
        low, high = np.minimum(one, other), np.maximum(one, other)
        codes.append((low * len(splits) + high) * _LAGS + np.where(one < other, lag, -lag) + _LAGS // 2)
    return _best(np.concatenate(codes), len(splits))


def _shuffled(owners: NDArray[np.int32]) -> NDArray[np.uint32]:
    """The recordings in an order of their own, so that neighbours are of any split; the same for every fingerprint."""
    return owners.astype(np.uint32) * np.uint32(2654435761)


def _best(codes: NDArray[np.int64], clips: int) -> NDArray[np.int64]:
    """Of each pair the lag with most hits, a hop to both sides counted with it; see _candidates."""
    found, hits = np.unique(codes, return_counts=True)
    both = hits.copy()
    beside = np.flatnonzero(np.diff(found) == 1)
    both[beside] += hits[beside + 1]
    both[beside + 1] += hits[beside]
    found, both = found[both >= HITS], both[both >= HITS]
    pair = found // _LAGS
    order = np.lexsort((found, -both, pair))
    first = order[np.flatnonzero(np.diff(pair[order], prepend=-1))]
    first = first[np.lexsort((found[first], -both[first]))]
    lag = (found[first] % _LAGS - _LAGS // 2) * HOP
    return np.stack([pair[first] // clips, pair[first] % clips, lag], axis=1)


def _compared(rows: Table, candidates: NDArray[np.int64], ears: Ears) -> list[Twins]:
    """The pairs that are one recording, most alike first; not those that are the same to the sample, which `pcm` tells."""
    sound = rows.classes("speech_pcm_hash") + len(rows) * rows.classes("pcm_hash")
    candidates = candidates[sound[candidates[:, 0]] != sound[candidates[:, 1]]]
    candidates = candidates[np.lexsort((candidates[:, 1], candidates[:, 0]))]
    advance = ears.progress("comparing", len(candidates))
    found = []
    for task, held in crew.results(_pairings(rows, candidates, ears.folder), correlated, ears.crew):
        advance(len(held))
        names = [
            speech or own for own, speech in zip(task.rows.column("id"), task.rows.column("speech_id"), strict=True)
        ]
        of = task.rows.column("split")
        for (one, other, _), verdict in zip(task.pairs.tolist(), held, strict=True):
            if verdict.agreement >= AGREEMENT:
                found.append(Twins(names[one], names[other], (of[one], of[other]), verdict))
    return sorted(found, key=lambda twin: (-round(twin.alike.agreement, 3), twin.one, twin.other))


def _pairings(rows: Table, candidates: NDArray[np.int64], folder: Path) -> Iterator[Pairs]:
    for start in range(0, len(candidates), PAIRS_A_TASK):
        some = candidates[start : start + PAIRS_A_TASK]
        needed, places = np.unique(some[:, :2], return_inverse=True)
        yield Pairs(rows.take(needed), folder, np.column_stack([places.reshape(-1, 2), some[:, 2]]))


def correlated(task: Pairs) -> list[Alike]:
    """How alike the recordings of each pair are."""
    lows = [lowered(samples, row.rate_hz or 0) for row, samples in sounds(task.rows, Reader(task.folder))]
    return [alike(lows[one], lows[other], lag) for one, other, lag in task.pairs.tolist()]


def _example(twin: Twins) -> str:
    """`train aihub/... = test aihub/...: 0.99 alike over 3.2 s, 0.40 s later, -6.0 dB`."""
    a = twin.alike
    where = f"{abs(a.offset_s):.2f} s {'later' if a.offset_s < 0 else 'earlier'}, {a.gain_db:+.1f} dB"
    return f"{twin.splits[0]} {twin.one} = {twin.splits[1]} {twin.other}: {a.agreement:.2f} alike over {a.seconds:.1f} s, {where}"


def _figures(twin: Twins) -> dict[str, Any]:
    a = twin.alike
    return {
        "ids": [twin.one, twin.other],
        "splits": list(twin.splits),
        "agreement": round(a.agreement, 3),
        "seconds": round(a.seconds, 2),
        "offset_s": round(a.offset_s, 3),
        "gain_db": round(a.gain_db, 1),
    }
