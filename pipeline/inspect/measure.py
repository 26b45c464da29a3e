"""Measures clips with librosa: voice, pitch, spectrum, noise floor, for `filter --where`, reports and slices of an
evaluation.

Never rows: measures lie in a table of their own (core.measures), and no hash depends on them.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.audio import dsp
from pipeline.audio.codec import floats, pcm_hash
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import measures as tables
from pipeline.core.errors import CorruptMember, PrepError, to_install
from pipeline.core.manifest import Manifest
from pipeline.core.measures import Measures
from pipeline.core.row import Place, Row
from pipeline.engine.workers import Workers, map_chunks
from pipeline.stages.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

RATE_HZ = 16_000  # clips of another rate are resampled to it, so that measures compare
FRAME, HOP = 1024, 512  # samples: 64 ms and 32 ms
PITCH_HZ = (65.0, 1000.0)  # a child's scream reaches the upper end
ROLLOFF = 0.85
CLIPS_A_TASK = 20
LONGEST_S = 300.0  # of a clip: librosa's pitch takes 2 MB and a 50th of a second for each of its seconds


def measure(manifest: Manifest, workers: Workers, roots: Roots, progress: Callable[[int], object]) -> pd.DataFrame:
    """Measures the rows of a manifest and writes them beside it; returns them, one line a row (core.measures.Measures).

    Rows whose samples were measured before are not measured again. Clips are read from the audio beside the manifest,
    or from the archives under `roots` where they are not stored yet. Longer ones than LONGEST_S have none.

    progress: is called with 1 for each clip.
    PrepError where librosa is not installed; ManifestError or SourceError where audio is missing.
    """
    _librosa()
    before = tables.read(manifest.path)
    rows = manifest.frame
    todo = np.ones(len(rows), np.bool_)
    parts = []
    if before is not None:
        position = tables.positions(rows, before, "id", ("pcm_hash", "source_pcm_hash"))
        todo = position < 0
        parts = [frames.pick(before, position[~todo])]
    listed = list(frames.rows(frames.pick(rows, todo), Row))
    places: dict[str, Place] = {}
    for corpus in sorted({row.corpus for row in listed if row.shard is None and row.noise_shard is None}):
        places |= corpora.find(corpus).places(roots[corpus])
    listed = [row for row in listed if (row.frames or 0) <= LONGEST_S * (row.rate_hz or RATE_HZ)]
    jobs = [(row, places.get(row.source)) for row in listed]
    results = []
    for result in map_chunks(measure_clips, jobs, CLIPS_A_TASK, workers, manifest.path.parent, roots):
        results.append(result)
        progress(1)
    measures = frames.concat([*parts, frames.from_rows([r for r in results if r is not None], Measures)], Measures)
    tables.write(manifest.path, measures, {"librosa": version("librosa")})
    return measures


def measure_clips(jobs: list[tuple[Row, Place | None]], folder: Path, roots: Roots) -> list[Measures | None]:
    """The measures of some rows, None for one that cannot be read. Runs in a worker."""
    reader, store = Reader(folder), Store(folder, roots)
    results: list[Measures | None] = []
    for row, place in jobs:
        if row.shard is not None or row.noise_shard is not None:
            samples, rate_hz, digest = reader.audio(row).samples, row.rate_hz or RATE_HZ, row.pcm_hash or ""
        elif place is None:
            results.append(None)
            continue
        else:
            try:
                recording = store.again(row, place)
            except CorruptMember:
                results.append(None)
                continue
            samples, rate_hz = dsp.mono(floats(recording)), recording.rate_hz
            digest = pcm_hash(recording.pcm, rate_hz)
        results.append(clip_measures(row.id, digest, samples, rate_hz))
    return results


def clip_measures(row_id: str, digest: str, samples: NDArray[np.float32], rate_hz: int) -> Measures:
    """The measures of mono samples, float32 [frames] in [-1, 1)."""
    librosa = _librosa()
    if rate_hz != RATE_HZ:
        samples = dsp.resample(samples, rate_hz, RATE_HZ)
    if not np.any(samples):
        return Measures(row_id, digest)
    if len(samples) < FRAME:
        samples = np.pad(samples, (0, FRAME - len(samples)))
    pitch, voiced, _ = librosa.pyin(
        samples, sr=RATE_HZ, fmin=PITCH_HZ[0], fmax=PITCH_HZ[1], frame_length=FRAME, hop_length=HOP, resolution=0.5
    )
    spectrum = np.abs(librosa.stft(samples, n_fft=FRAME, hop_length=HOP))
    loud = spectrum.sum(axis=0) > 0  # frames of digital zero have no spectrum
    spectrum = spectrum[:, loud]
    squares = librosa.feature.rms(y=samples, frame_length=FRAME, hop_length=HOP)[0] ** 2
    floor = float(np.quantile(squares[squares > 0], 0.1))
    feature = librosa.feature

    def median(values: Any) -> float:
        return round(float(np.median(values)), 4)

    return Measures(
        row_id,
        digest,
        voiced_share=round(float(np.mean(voiced)), 4),
        pitch_hz=median(pitch[voiced]) if voiced.any() else None,
        centroid_hz=median(feature.spectral_centroid(S=spectrum, sr=RATE_HZ)),
        bandwidth_hz=median(feature.spectral_bandwidth(S=spectrum, sr=RATE_HZ)),
        rolloff_hz=median(feature.spectral_rolloff(S=spectrum, sr=RATE_HZ, roll_percent=ROLLOFF)),
        flatness=median(feature.spectral_flatness(S=spectrum)),
        noise_floor_dbfs=round(dsp.db(floor), 4),
    )


def _librosa() -> Any:
    try:
        return import_module("librosa")
    except ImportError:
        raise PrepError(f"measures need librosa: {to_install('measures')}") from None
