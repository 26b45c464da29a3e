"""Manifests as training sees them: rows, samples, predictions. The only module of train that opens such files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.audio.codec import pcm_hash
from pipeline.audio.scenes import Scene
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import keys, parquet
from pipeline.core import manifest as manifests
from pipeline.core import measures as tables
from pipeline.core.errors import ManifestError, PrepError
from pipeline.core.manifest import Manifest
from pipeline.core.row import Row

if TYPE_CHECKING:
    from pandas import DataFrame

RATE_HZ = 16_000
SPLITS = ("train", "dev", "test")
Recordings = Mapping[str, NDArray[np.int64]]  # split -> sorted hashes of the recordings in it
PREDICTIONS, METRICS = "predictions.parquet", "metrics.json"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the cascade made of a clip, beside what is known of the clip: a row of predictions.parquet.

    truth: its keyword, `noise`, or None where it has no label. seconds: how much the model heard, at most 30 s; cut:
    whether the clip is longer. p_speech: the head's probability of speech, None without a head; probabilities: of every
    class of the head. passed: whether the clip passed the gate. text, confidence: None where it did not; a classifier
    has a confidence alone, its largest probability, and passes what it does not take for noise. decision: a keyword or
    `noise`. scores: log p of each keyword that raises an alarm, in the lexicon's order; empty where they were not asked
    for, or the clip was not decoded, be it without the gate. The ungated columns say what the decoder makes of the clip
    without the gate, None where that was not computed. encode_ms, decode_ms: the share of the clip in the time of its
    batch.
    """

    id: str
    corpus: str
    split: str
    group: str
    kind: str
    truth: str | None
    transcript: str | None
    scenario: str | None
    scene: str | None
    snr_db: float | None
    speech_like: bool
    seconds: float
    cut: bool
    p_speech: float | None
    probabilities: tuple[float, ...]
    passed: bool
    text: str | None
    confidence: float | None
    decision: str
    scores: tuple[float, ...]
    ungated_text: str | None
    ungated_confidence: float | None
    ungated_decision: str | None
    encode_ms: float
    decode_ms: float

    @property
    def is_classified(self) -> bool:
        """Whether a classifier decided, which has no text."""
        return self.text is None and self.confidence is not None


# ---- manifests


def read(path: str | Path) -> Manifest:
    """The manifest at this path. ManifestError where it is missing or not one of ours."""
    return manifests.read(path)


def frame_of(manifest: Manifest, split: str) -> DataFrame:
    """The rows of one split as a frame."""
    frame = manifest.frame
    return frames.pick(frame, frames.equal(frame["split"], split))


def rows(manifest: Manifest, split: str, purpose: str = "") -> list[Row]:
    """The rows of one split in the order of the manifest. PrepError where one has no audio at 16 kHz.

    purpose: why rows are needed (`nothing to learn from`); PrepError says so where the split has none.
    """
    split_rows = list(frames.rows(frame_of(manifest, split), Row))
    for row in split_rows:
        if row.rate_hz != RATE_HZ or not row.frames:
            raise PrepError(
                f"{manifest.path}: {row.id} is at {row.rate_hz} Hz, expected {RATE_HZ}:"
                " run prep resample (and prep mix) first"
            )
    if purpose and not split_rows:
        splits = Counter(frames.each(manifest.frame["split"]))
        counts = ", ".join(f"{name} {count}" for name, count in sorted(splits.items())) or "none"
        raise PrepError(f"{manifest.path}: no rows in the split {split} (rows by split: {counts}): {purpose}")
    return split_rows


def measures(manifest: Manifest, split: str) -> dict[str, NDArray[np.float64]]:
    """What `prep measure` wrote beside the manifest, by name: float64 [rows] in the order of `rows`, NaN if not known.

    Empty where nothing was measured. ManifestError for measures of another version.
    """
    table = tables.read(manifest.path)
    if table is None:
        return {}
    frame = tables.beside(frame_of(manifest, split), table)
    return {name: frames.numbers(frame[name]) for name in tables.NAMES}


def recordings(rows: Iterable[Row]) -> NDArray[np.int64]:
    """Sorted hashes of the recordings in these rows, speech and noise, int64 [recordings]."""
    return np.unique(_hashes({name for row in rows for name in _recording_names(row)}))


def overlap(rows: Sequence[Row], hashes: NDArray[np.int64]) -> list[Row]:
    """The rows that hold a recording with one of these hashes, as speech or as noise."""
    names = [_recording_names(row) for row in rows]
    is_known = np.isin(_hashes([name for each in names for name in each]), hashes)
    owners = np.repeat(np.arange(len(rows)), [len(each) for each in names])
    return [rows[n] for n in np.unique(owners[is_known])]


def _recording_names(row: Row) -> list[str]:
    """What identifies the recordings in a row: hashes of samples, and for a row of no known source its name."""
    own = [row.source_pcm_hash] if row.source_pcm_hash else [row.pcm_hash, row.source]
    stored = row.pcm_hash if row.kind != "mixture" else None
    return [name for name in (*own, stored, row.speech_pcm_hash, row.noise_pcm_hash) if name]


def _hashes(names: Collection[str]) -> NDArray[np.int64]:
    return keys.words(0, "recording", names)[:, 0].view(np.int64) if names else np.zeros(0, np.int64)


# ---- samples


class Sounds:
    """The samples of the rows of the manifests in one folder. Each process opens the shards for itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = Reader(folder)

    def __reduce__(self) -> tuple[type[Sounds], tuple[Path]]:
        return Sounds, (self.folder,)

    def pcm(self, row: Row) -> NDArray[np.int16]:
        """The samples of a row, int16 [frames], stored or rendered. ManifestError where they are others."""
        pcm = self._reader.pcm(row)
        if len(pcm) != row.frames or (row.pcm_hash is not None and pcm_hash(pcm, RATE_HZ) != row.pcm_hash):
            where = f"shard {row.shard}" if row.shard else "its recipe"
            raise ManifestError(
                f"{row.id}: the {len(pcm)} samples from {where} are not the {row.frames} that the manifest describes:"
                " the audio is damaged or of another build; run the prep command that made the manifest again"
            )
        return pcm


def scene(path: Path) -> Scene:
    """The scene at this path. ManifestError where it is missing or none of ours."""
    return Scene(path)


def samples(pcm: NDArray[np.int16]) -> NDArray[np.float32]:
    """The samples as float32 in [-1, 1)."""
    return pcm.astype(np.float32) * np.float32(1 / dsp.FULL_SCALE)


# ---- predictions


def write_predictions(path: Path, predictions: Sequence[Prediction], origin: Mapping[str, Any]) -> None:
    """Writes predictions as Parquet; the same make the same bytes. origin: what they depend on, kept in the file."""
    parquet.write(path, frames.table_of(predictions, Prediction), origin)


def predictions(path: str | Path) -> DataFrame:
    """The predictions of an evaluation as a frame, with the columns of `Prediction`.

    path: the folder that evaluate wrote, or its predictions.parquet. ManifestError where the file is missing,
    damaged or of another version.

    Example:
        train.predictions("runs/paper/evaluate-test").groupby("truth")["passed"].mean()

    """
    place = Path(path) / PREDICTIONS if Path(path).is_dir() else Path(path)
    try:
        return parquet.read_kind(place, Prediction)[0]
    except ManifestError as error:
        why = str(error).removeprefix(f"{place}: ")
        raise ManifestError(f"{place}: no predictions of this version ({why}): run evaluate again") from None
