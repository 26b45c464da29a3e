"""Which recordings of a set can be heard by themselves, and their samples: stored clips, and speech out of mixtures.

A mixture is gain * speech + noise_gain * noise, rounded. Where its noise is stored beside it, the noise is taken out again and
the speech is left, true to one part in 2**16. So the speech of a set that stores none can be compared all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.audio.shards import Reader
from pipeline.core import keys
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.engine.workers import Crew

_PLACES = [f"{part}{name}" for part in ("", "speech_", "noise_") for name in ("shard", "offset", "bytes")]
_SOUND = [
    "rate_hz",
    "frames",
    "pcm_hash",
    "speech_pcm_hash",
    "noise_pcm_hash",
    "snr_db",
    "noise_start",
    "gain_db",
    "noise_gain_db",
]
NEEDED = [
    "id",
    "corpus",
    "split",
    "group",
    "kind",
    "source",
    "speech_id",
    "noise_id",
    *_PLACES,
    *_SOUND,
]  # columns, to know a sound


@dataclass(frozen=True, slots=True, eq=False)
class Ears:
    """Who listens. folder: of the manifest. sample: at most so many recordings, 0 for all, None for what each check takes by itself.

    progress: called with what is done and how many steps there are, gives what is called after so many of them.
    """

    folder: Path
    crew: Crew
    sample: int | None
    progress: Callable[[str, int], Callable[[int], object]]

    def most(self, otherwise: int) -> int:
        """How many recordings at most; 0 for all."""
        return otherwise if self.sample is None else self.sample


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """rows: one a recording, as `sounds` takes them. The rest counts: stored clips, speech out of mixtures, speech in mixtures whose
    noise is not in the set by itself, rows without audio, noise that is in mixtures alone."""

    rows: Table
    stored: int
    unmixed: int
    noisy: int
    missing: int
    hidden: int

    def sentence(self) -> str:
        """What was heard: `640 stored clips, 420 utterances out of their mixtures with the noise taken out`."""
        parts = [(self.stored, "stored clips"), (self.unmixed, "utterances out of their mixtures, the noise taken out")]
        parts += [(self.noisy, "utterances with the noise of their mixture in them, which has no row of its own")]
        said = ", ".join(f"{count:,} {what}" for count, what in parts if count)
        said += f"; not heard: {self.missing:,} rows without audio" if self.missing else ""
        return said + (
            f"; not heard: {self.hidden:,} noise recordings that are in mixtures alone" if self.hidden else ""
        )


def recordings(rows: Table) -> Heard:
    """Each recording of the set once: rows that are no mixtures, and of each utterance that is only in mixtures one mixture."""
    rows = rows.only(NEEDED)
    mixed, here = rows.equal("kind", "mixture"), rows.present("shard")
    alone = rows.where(~mixed & here)
    mixtures = _one_an_utterance(rows.where(mixed & (here | rows.present("speech_shard"))), alone)
    virtual = mixtures.present("speech_shard")
    noise = alone.where(alone.equal("kind", "noise"))
    index = _noise_rows(mixtures, noise)
    clean, noisy = mixtures.where(~virtual & (index >= 0)), mixtures.where(~virtual & (index < 0))
    taken = _with_noise(clean, noise.take(index[~virtual & (index >= 0)]))
    held = Table.joined(
        [
            alone.ordered(("shard", "source")),
            mixtures.where(virtual),
            taken.ordered(("noise_shard", "noise_id", "id")),
            noisy,
        ],
        Row,
    )
    missing = int((~mixed & ~here).sum())
    hidden = set(rows.where(mixed).codes("noise_pcm_hash")[1]) - set(alone.column("pcm_hash"))
    return Heard(held, len(alone), len(taken) + int(virtual.sum()), len(noisy), missing, len(hidden))


def _one_an_utterance(mixtures: Table, alone: Table) -> Table:
    """Of each utterance that no row holds by itself the mixture with the least noise."""
    known = set(alone.column("pcm_hash"))
    codes, hashes = mixtures.codes("speech_pcm_hash")
    order = np.lexsort((np.arange(len(mixtures)), -mixtures.numbers("snr_db"), codes))
    first = order[np.flatnonzero(np.diff(codes[order], prepend=-1))] if len(order) else order
    unheard = np.array([held not in known for held in hashes], dtype=np.bool_)
    return mixtures.take(np.sort(first[unheard[codes[first]]] if len(first) else first))


def _noise_rows(mixtures: Table, noise: Table) -> NDArray[np.int64]:
    """For each mixture the place of its noise among the stored noise, -1 where it is not there; int64 [mixtures]."""
    place = {row_id: n for n, row_id in enumerate(noise.column("id"))}
    codes, ids = mixtures.codes("noise_id")
    return np.array([place.get(str(name), -1) for name in ids], dtype=np.int64)[codes] if len(codes) else codes


def _with_noise(mixtures: Table, noise: Table) -> Table:
    codes, shards = noise.codes("shard")
    placed = (
        mixtures.filled(noise_offset=noise.integers("offset"), noise_bytes=noise.integers("bytes"))
        if len(mixtures)
        else mixtures
    )
    return placed.spread("noise_shard", codes, shards)


def sampled(rows: Table, most: int, purpose: str) -> Table:
    """At most so many of the rows, a keyed sample, half of them of the splits that are not train; 0 for all."""
    if not most or len(rows) <= most:
        return rows
    order = keys.order(0, purpose, rows.strings("id"))
    train = rows.equal("split", "train")[order]
    rest = min(int((~train).sum()), max(most // 2, most - int(train.sum())))
    return rows.take(np.sort(np.concatenate([order[~train][:rest], order[train][: most - rest]])))


def sounds(rows: Table, reader: Reader) -> Iterator[tuple[Row, NDArray[np.float32]]]:
    """Each row and the samples of its recording alone, float32 [frames] of full scale 2**15.

    ManifestError where a shard is missing or damaged.
    """
    last: tuple[tuple[str | None, int | None], NDArray[np.int16]] = (None, None), np.zeros(0, np.int16)
    for row in rows.rows(Row):
        if row.kind == "mixture" and row.shard is None and row.speech_shard is not None:
            yield row, reader.stored(row.speech_shard, row.speech_offset or 0, row.speech_bytes or 0).astype(np.float32)
        elif row.kind == "mixture" and row.noise_shard is not None:
            if last[0] != (row.noise_shard, row.noise_offset):
                noise = reader.stored(row.noise_shard, row.noise_offset or 0, row.noise_bytes or 0)
                last = (row.noise_shard, row.noise_offset), noise
            yield row, unmixed(reader.pcm(row), last[1], row)
        else:
            yield row, reader.pcm(row).astype(np.float32)


def unmixed(mixture: NDArray[np.int16], noise: NDArray[np.int16], row: Row) -> NDArray[np.float32]:
    """The speech of a mixture, by its row and its noise: (mixture - noise_gain * crop) / gain; float32 [frames]."""
    crop = dsp.crop(noise, row.noise_start or 0, len(mixture), row.rate_hz or 0)
    return np.asarray(
        (mixture - crop * np.float32(dsp.gain(row.noise_gain_db or 0.0))) / np.float32(dsp.gain(row.gain_db or 0.0))
    )
