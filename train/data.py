"""Manifests as training sees them: rows, their samples, and predictions written back. The only door to `pipeline`'s data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.audio.codec import decode, floats, pcm_hash
from pipeline.audio.shards import Reader
from pipeline.core import manifest, parquet
from pipeline.core.errors import CorruptMember, ManifestError, PrepError
from pipeline.core.manifest import Manifest
from pipeline.core.row import Row
from pipeline.core.table import Table

T = TypeVar("T")
RATE_HZ = 16_000
SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A manifest and what training asks of it."""

    manifest: Manifest

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.manifest.path

    @property
    def identity(self) -> str:
        """Logical hash of the rows."""
        return self.manifest.provenance.logical_hash

    @property
    def recipe(self) -> Mapping[str, Any]:
        """Options of every stage that made it."""
        return self.manifest.provenance.recipe

    @property
    def table(self) -> Table:
        """The rows as columns."""
        return self.manifest.table

    def rows(self, split: str) -> list[Row]:
        """Rows of one split, in the manifest's order, ready to be listened to. PrepError where one is not at 16 kHz."""
        rows = list(self.table.where(self.table.equal("split", split)).rows(Row))
        for row in rows:
            if row.rate_hz != RATE_HZ or not row.frames:
                raise PrepError(
                    f"{self.path}: {row.id} is at {row.rate_hz} Hz, expected {RATE_HZ}: run prep resample (and prep mix) first"
                )
        return rows


def opened(path: str | Path) -> Held:
    """The manifest at this path."""
    return Held(manifest.read(path))


class Sounds:
    """Samples of the rows of the manifests in one folder. Each process opens the shards for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = Reader(folder)

    def __reduce__(self) -> tuple[type[Sounds], tuple[Path]]:
        return Sounds, (self.folder,)

    def pcm(self, row: Row) -> NDArray[np.int16]:
        """The row's samples, int16 [frames], stored or rendered. ManifestError where they are not those of the manifest."""
        return _checked(row, self._reader.pcm(row))

    def stored(self, shard: str, offset: int, size: int) -> NDArray[np.int16]:
        """The samples at this place of a shard, int16 [frames]."""
        return self._reader.stored(shard, offset, size)


def _checked(row: Row, pcm: NDArray[np.int16]) -> NDArray[np.int16]:
    if len(pcm) != row.frames or (row.pcm_hash is not None and pcm_hash(pcm, RATE_HZ) != row.pcm_hash):
        where = f"shard {row.shard}" if row.shard else "its recipe"
        raise ManifestError(
            f"{row.id}: the {len(pcm)} samples from {where} are not the {row.frames} that the manifest describes:"
            " the audio is damaged or of another build; run the prep command that made the manifest again"
        )
    return pcm


def samples(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """The samples as float32 in [-1, 1)."""
    return pcm.astype(np.float32) * np.float32(1 / dsp.FULL_SCALE)


def noise_crop(
    noise: NDArray[np.int16], starts: Sequence[int], frames: int, floor_dbfs: float
) -> tuple[NDArray[np.int16], float] | None:
    """(crop, its level in dBFS) from the first of these starts whose crop is above the floor; None where none is."""
    if len(noise) < min(frames, 2 * round(dsp.FADE_S * RATE_HZ)):  # too short to loop
        return None
    for start in starts:
        crop = dsp.crop(noise, start, frames, RATE_HZ)
        power = dsp.power(crop)
        if power > 0.0 and dsp.db(power) >= floor_dbfs:
            return crop, dsp.db(power)
    return None


def mixed(
    speech: NDArray[np.int16], noise: NDArray[np.int16], noise_dbfs: float, speech_dbfs: float, snr_db: float
) -> NDArray[np.int16]:
    """Speech and a crop of noise at this SNR, int16 [frames], given their levels."""
    return dsp.mix_at_snr(speech, noise, speech_dbfs, noise_dbfs, snr_db)[0]


def recording(path: Path) -> NDArray[np.int16]:
    """A recording of any rate and channels as prep stores it: int16 [frames], 16 kHz mono. PrepError where it cannot be read."""
    try:
        held = decode(path.read_bytes())
    except FileNotFoundError:
        raise PrepError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise PrepError(f"{path}: a folder; expected recordings") from None
    except CorruptMember as error:
        raise PrepError(f"{path}: {error.detail}") from None
    wave = dsp.resample(dsp.mono(floats(held)), held.rate_hz, RATE_HZ)
    return dsp.quantised(wave if dsp.fits(wave) else wave * np.float32(dsp.CEILING / dsp.peak(wave)))


def write(path: Path, values: Sequence[T], kind: type[T], made: Mapping[str, Any]) -> None:
    """Dataclass values as Parquet, with what they were made from; same values, same bytes."""
    parquet.write(path, Table.of(values, kind), made)


def read(path: Path, kind: type[T]) -> tuple[list[T], dict[str, Any]]:
    """What `write` wrote. ManifestError where it is missing, damaged or of another version."""
    table, made = parquet.read(path)
    try:
        return list(table.rows(kind)), made
    except KeyError as error:
        raise ManifestError(
            f"{path}: lacks the column {error}: written by another version; run evaluate again"
        ) from None
