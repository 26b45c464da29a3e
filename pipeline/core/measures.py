"""Tables of measures beside a manifest: `mixed.parquet` has `mixed.measures.parquet`.

Outside every hash; made anew at will.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core import frame as frames
from pipeline.core import parquet
from pipeline.core.errors import ManifestError

if TYPE_CHECKING:
    import pandas as pd

VERSION = 1  # of the definitions below


@dataclass(frozen=True, slots=True)
class Measures:
    """What librosa measures of one clip, mono; null where a clip is silent, or pitch where nothing in it is voiced.

    id: of the row. pcm_hash: of the samples that were measured. voiced_share: share of frames with a pitch (pYIN, 65 to
    1,000 Hz). pitch_hz: median of the voiced frames. centroid_hz, bandwidth_hz, rolloff_hz (85 % of the energy),
    flatness (0 a tone, 1 white noise): medians over frames of 64 ms. noise_floor_dbfs: level that a tenth of the frames
    do not reach.
    """

    id: str
    pcm_hash: str
    voiced_share: float | None = None
    pitch_hz: float | None = None
    centroid_hz: float | None = None
    bandwidth_hz: float | None = None
    rolloff_hz: float | None = None
    flatness: float | None = None
    noise_floor_dbfs: float | None = None


NAMES = tuple(field.name for field in fields(Measures) if field.name not in ("id", "pcm_hash"))


def measures_path(path: Path) -> Path:
    """Where the measures of a manifest lie."""
    return path.with_name(f"{path.stem}.measures.parquet")


def write(path: Path, measures: pd.DataFrame, packages: dict[str, str]) -> None:
    """Writes the measures of the manifest at `path`. packages: names and versions of what measured them."""
    table = frames.as_kind(frames.ordered(measures, ("id",)), Measures)
    parquet.write(measures_path(path), table, {"measures": VERSION, "versions": packages})


def read(path: Path) -> pd.DataFrame | None:
    """The measures of the manifest at `path`; None where nobody made them.

    ManifestError for those of another version.
    """
    place = measures_path(path)
    if not place.exists():
        return None
    version = parquet.metadata(place).get("measures")
    if version != VERSION:
        raise ManifestError(
            f"{place}: measures of version {version}, this prep has {VERSION}: prep measure {path} makes them again"
        )
    return parquet.read_kind(place, Measures)[0]


def read_all(paths: Iterable[Path]) -> pd.DataFrame | None:
    """The measures of several manifests together; None where none of them was measured."""
    parts = [part for path in paths if (part := read(path)) is not None]
    return frames.concat(parts, Measures) if parts else None


def beside(rows: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """The rows with the columns of the measures: those of a row's own samples, else those of its speech; null where
    neither is there.

    rows: with id, and where they have them pcm_hash, source_pcm_hash, speech_id and speech_pcm_hash. A measure of
    samples that are not the row's any more is left out.
    """
    position = positions(rows, measures, "id", ("pcm_hash", "source_pcm_hash"))
    if "speech_id" in rows.columns:
        speech = positions(rows, measures, "speech_id", ("speech_pcm_hash", "source_pcm_hash"))
        position = np.where(position >= 0, position, speech)
    columns: dict[str, Any] = {}
    for name in NAMES:
        values = frames.numbers(measures[name])
        columns[name] = np.where(position >= 0, values[position], np.nan) if len(values) else np.full(len(rows), np.nan)
    return frames.with_columns(rows, **columns)


def positions(rows: pd.DataFrame, measures: pd.DataFrame, by: str, hashes: tuple[str, ...]) -> np.ndarray[Any, Any]:
    """int64 [rows]: position of the measures with the row's id under `by` and one of the row's hashes; -1 where there
    are none."""
    position = frames.position_of(rows[by], measures["id"])
    if not len(measures):
        return position
    there = frames.pick(measures[["pcm_hash"]], np.maximum(position, 0))["pcm_hash"]
    known = [name for name in hashes if name in rows.columns]
    same = np.logical_or.reduce([~frames.differs(rows[name], there) for name in known], initial=False)
    return np.where(same, position, -1)
