"""Measures: known answers of made sounds, the same however often they are made, and outside every hash."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import done, prep
from conftest import Built

from pipeline.core import frame as frames
from pipeline.core import manifest, measures
from pipeline.core.measures import Measures
from pipeline.inspect.measure import RATE_HZ, clip_measures
from pipeline.stages.filter import PAPER_SCENARIOS

pytest.importorskip("librosa")
SECONDS = np.arange(2 * RATE_HZ) / RATE_HZ


def noise(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(len(SECONDS)).astype(np.float32) * np.float32(0.1)


def test_a_harmonic_tone_has_its_pitch_and_is_voiced() -> None:
    tone = sum(np.sin(2 * np.pi * 220 * k * SECONDS) / k for k in range(1, 9)).astype(np.float32) * np.float32(0.1)
    measured = clip_measures("a", "h", tone, RATE_HZ)
    assert measured.pitch_hz == pytest.approx(220, rel=0.03)
    assert measured.voiced_share is not None
    assert measured.voiced_share > 0.8
    assert measured.flatness is not None
    assert measured.flatness < 0.01


def test_white_noise_is_flat_and_its_centroid_is_in_the_middle() -> None:
    measured = clip_measures("a", "h", noise(), RATE_HZ)
    assert measured.centroid_hz == pytest.approx(RATE_HZ / 4, rel=0.05)
    assert measured.rolloff_hz == pytest.approx(0.85 * RATE_HZ / 2, rel=0.03)
    assert measured.noise_floor_dbfs == pytest.approx(-20, abs=0.5)
    assert measured.flatness is not None
    assert measured.flatness > 0.4


def test_the_noise_floor_is_that_of_the_pauses() -> None:
    speech = noise(1) * np.where(SECONDS % 1 < 0.5, 1.0, 0.01).astype(np.float32)
    assert clip_measures("a", "h", speech, RATE_HZ).noise_floor_dbfs == pytest.approx(-60, abs=1.5)


def test_another_rate_gives_the_same_measures() -> None:
    at_44 = np.interp(np.arange(2 * 44_100) / 44_100, SECONDS, noise()).astype(np.float32)
    measured = clip_measures("a", "h", at_44, 44_100)
    assert measured.centroid_hz is not None
    assert 0 < measured.centroid_hz < RATE_HZ / 2


@pytest.mark.parametrize("samples", [np.zeros(RATE_HZ, np.float32), np.zeros(3, np.float32)], ids=["long", "short"])
def test_silence_has_no_measures(samples: np.ndarray) -> None:
    measured = clip_measures("a", "h", samples, RATE_HZ)
    assert (measured.voiced_share, measured.pitch_hz, measured.noise_floor_dbfs) == (None, None, None)


def test_a_clip_shorter_than_a_frame_is_measured() -> None:
    assert clip_measures("a", "h", noise()[:300], RATE_HZ).centroid_hz is not None


def test_a_manifest_is_measured_once_and_its_hash_stays(built: Built, tmp_path: Path) -> None:
    for path in sorted(built.path("mixed").parent.glob("mixed*.parquet")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "audio").symlink_to(built.path("mixed").parent / "audio")
    source = manifest.read(tmp_path / "mixed.parquet")
    few = source.save(tmp_path / "few.parquet", source.frame.iloc[::20])
    answer = done(tmp_path, "measure", "few.parquet", "--jobs", 1, "--json").json()
    assert (answer["rows"], answer["measured"]) == (len(few), len(few))
    first = measures.measures_path(few.path).read_bytes()
    done(tmp_path, "measure", "few.parquet", "--jobs", 1)
    assert measures.measures_path(few.path).read_bytes() == first
    assert manifest.read(few.path).provenance == few.provenance
    table = measures.read(few.path)
    assert table is not None
    joined = measures.beside(few.frame, table)
    assert list(joined["id"]) == list(few.frame["id"])
    assert frames.present(joined, "noise_floor_dbfs").all()
    changed = frames.with_columns(few.frame, pcm_hash="0" * 32, source_pcm_hash="0" * 32, speech_pcm_hash="0" * 32)
    assert not frames.present(measures.beside(changed, table), "noise_floor_dbfs").any()


def test_filter_knows_measures_as_columns_and_says_where_there_are_none(built: Built, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    for path in sorted(built.path("aihub").parent.glob("aihub*.parquet")):
        (tmp_path / "manifests" / path.name).write_bytes(path.read_bytes())
    typed = (
        "filter",
        "manifests/aihub.parquet",
        "--where",
        "noise_floor_dbfs > -200 AND flatness IS NOT NULL",
        "--jobs",
        1,
    )
    assert "prep measure" in prep(tmp_path, *typed).err
    source = manifest.read(tmp_path / "manifests/aihub.parquet")
    rows = list(source.rows())
    loud = next(
        row for row in rows if row.scenario in PAPER_SCENARIOS and row.transcript and (row.frames or 0) > 30_000
    )
    rest = [row for row in rows if row is not loud]
    table = [Measures(loud.id, loud.source_pcm_hash or "", flatness=0.5, noise_floor_dbfs=-40.0)]
    table += [Measures(row.id, "changed", flatness=0.5, noise_floor_dbfs=-40.0) for row in rest]
    measures.write(source.path, frames.from_rows(table, Measures), {})
    done(tmp_path, *typed, "--dev-share", 0)
    assert list(manifest.read(tmp_path / "manifests/filtered.parquet").frame["id"]) == [loud.id]
    explained = done(tmp_path, "explain", loud.id).out
    assert "noise_floor_dbfs > -200" in explained
