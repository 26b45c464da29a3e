"""Resample: the stored samples are the recording's, at 16 kHz and in mono, and they are where the row says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import reference
from command import done, drops, held, prep, rows
from odd import ALL_PASS, NOISE, SPEECH
from sounds import corpus, encoded, hiss, voice

from pipeline.audio import dsp
from pipeline.audio.codec import pcm_hash

KEPT = [name for name in (*SPEECH, *NOISE) if "opposite" not in name]


@pytest.fixture(scope="module")
def resampled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all odd sounds were resampled."""
    folder = tmp_path_factory.mktemp("odd")
    until_filtered(folder, SPEECH | NOISE)
    done(folder, "resample", "--jobs", 1, "--shard-clips", 5)
    return folder


def until_filtered(folder: Path, files: dict[str, bytes]) -> None:
    done(folder, "ingest", "ms-snsd", corpus(folder / "corpus", files), "--jobs", 1)
    done(folder, "filter", "--no-transcript", "--dev-share", 0, *ALL_PASS)


def row_id(name: str) -> str:
    return f"ms-snsd/{Path(name).with_suffix('')}"


@pytest.mark.parametrize("name", KEPT)
def test_stored_samples_are_the_recordings_own(name: str, resampled: Path) -> None:
    row = rows(resampled, "resampled")[row_id(name)]
    found, wanted = (
        reference.stored(resampled / "manifests/resampled.parquet", row),
        reference.resampled((SPEECH | NOISE)[name]),
    )
    assert found.shape == wanted.shape == (row.frames,)
    assert np.abs(found.astype(int) - wanted).max() <= (1 if "channels" in name or "stereo" in name else 0)
    assert row.rate_hz == 16_000
    assert row.pcm_hash == pcm_hash(found, 16_000)


@pytest.mark.parametrize("name", KEPT)
def test_columns_are_of_the_samples_as_stored(name: str, resampled: Path) -> None:
    row = rows(resampled, "resampled")[row_id(name)]
    samples = reference.stored(resampled / "manifests/resampled.parquet", row) / 32_768
    if not samples.any():
        assert (row.level_full_dbfs, row.level_active_dbfs, row.activity, row.peak_dbfs) == (None, None, None, None)
        return
    level_dbfs, activity = reference.p56(samples, 16_000)
    assert row.level_full_dbfs == pytest.approx(reference.rms_db(samples), abs=1e-3)
    assert row.level_active_dbfs == pytest.approx(level_dbfs, abs=0.01)
    assert row.activity == pytest.approx(activity, abs=0.003)
    assert row.peak_dbfs == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=1e-3)


@pytest.mark.parametrize("name", ["clean_test/above_full_scale.wav", "clean_test/clipped.wav"])
def test_what_would_pass_full_scale_is_attenuated_and_the_gain_told(name: str, resampled: Path) -> None:
    row = rows(resampled, "resampled")[row_id(name)]
    samples = reference.stored(resampled / "manifests/resampled.parquet", row).astype(int)
    assert np.abs(samples).max() == pytest.approx(32_768 * 10 ** (-0.1 / 20), abs=1)
    assert (row.gain_db or 0) < -0.5


def test_what_fits_is_not_touched(resampled: Path) -> None:
    assert rows(resampled, "resampled")["ms-snsd/clean_test/plain"].gain_db == 0.0


def test_what_was_true_of_the_source_stays_in_the_row(resampled: Path) -> None:
    before = rows(resampled, "filtered")
    for row in rows(resampled, "resampled").values():
        for column in (
            "source_rate_hz",
            "source_channels",
            "source_frames",
            "source_format",
            "source_pcm_hash",
            "clipped_share",
            "zero_share",
            "labels",
            "split",
            "group",
        ):
            assert getattr(row, column) == getattr(before[row.id], column)


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 48_000])
def test_another_rate_is_another_length(rate_hz: int, tmp_path: Path) -> None:
    until_filtered(tmp_path, {"noise_test/A_1.wav": encoded(hiss(1.0, 44_100), 44_100)})
    done(tmp_path, "resample", "--jobs", 1, "--rate", rate_hz)
    (row,) = rows(tmp_path, "resampled").values()
    assert (row.rate_hz, row.frames) == (rate_hz, rate_hz)
    assert reference.stored(tmp_path / "manifests/resampled.parquet", row).shape == (rate_hz,)


@pytest.mark.parametrize("frames", [1, 2, 3, 15, 16, 17])
def test_a_recording_of_a_few_frames_is_stored_or_lost_but_never_a_crash(frames: int, tmp_path: Path) -> None:
    until_filtered(
        tmp_path,
        {
            "noise_test/A_1.wav": encoded(hiss(1.0, 44_100)[:frames] + 0.1, 44_100),
            "noise_test/B_1.wav": encoded(hiss(1.0)),
        },
    )
    done(tmp_path, "resample", "--jobs", 1)
    ended = [*rows(tmp_path, "resampled"), *drops(tmp_path, "resampled")]
    assert len(ended) == len(rows(tmp_path, "filtered"))
    assert all(row.frames for row in rows(tmp_path, "resampled").values())


def test_a_recording_that_changed_since_ingest_is_lost_and_says_so(tmp_path: Path) -> None:
    until_filtered(
        tmp_path, {"noise_test/A_1.wav": encoded(hiss(1.0)), "noise_test/B_1.wav": encoded(hiss(1.0, seed=1))}
    )
    corpus(tmp_path / "corpus", {"noise_test/A_1.wav": encoded(hiss(1.1))})
    done(tmp_path, "resample", "--jobs", 1)
    reason, detail = drops(tmp_path, "resampled")["ms-snsd/noise_test/A_1"]
    assert reason == "changed"
    assert "ingest the corpus again" in detail


def test_other_samples_of_the_same_length_are_noticed(tmp_path: Path) -> None:
    """Else a row would carry the hash of one sound and store another."""
    until_filtered(
        tmp_path, {"noise_test/A_1.wav": encoded(hiss(1.0)), "noise_test/B_1.wav": encoded(hiss(1.0, seed=1))}
    )
    corpus(tmp_path / "corpus", {"noise_test/A_1.wav": encoded(hiss(1.0, seed=2))})
    done(tmp_path, "resample", "--jobs", 1)
    assert drops(tmp_path, "resampled")["ms-snsd/noise_test/A_1"][0] == "changed"


def test_a_recording_that_is_gone_is_lost_and_says_so(tmp_path: Path) -> None:
    until_filtered(
        tmp_path, {"noise_test/A_1.wav": encoded(hiss(1.0)), "noise_test/B_1.wav": encoded(hiss(1.0, seed=1))}
    )
    (tmp_path / "corpus/noise_test/A_1.wav").unlink()
    done(tmp_path, "resample", "--jobs", 1)
    reason, detail = drops(tmp_path, "resampled")["ms-snsd/noise_test/A_1"]
    assert reason == "not_found"
    assert "@ms-snsd/noise_test/A_1" in detail
    assert str(tmp_path) not in detail


def test_a_corpus_that_moved_is_found_where_it_is_now(tmp_path: Path) -> None:
    until_filtered(tmp_path, {"noise_test/A_1.wav": encoded(hiss(1.0))})
    (tmp_path / "corpus").rename(tmp_path / "elsewhere")
    ended = prep(tmp_path, "resample", "--jobs", 1)
    assert ended.code == 1
    assert "does not exist (root ms-snsd, from prep.toml)" in ended.err
    done(tmp_path, "resample", "--jobs", 1, "--root", f"ms-snsd={tmp_path / 'elsewhere'}")
    assert len(rows(tmp_path, "resampled")) == 1


def test_identical_audio_in_two_splits_is_noticed_also_where_only_the_container_differs(tmp_path: Path) -> None:
    """Law 8: the same sound as 16 and 24 bits, or as one channel and two equal ones, is one sound once stored."""
    sound = (voice(2.0) * 32_768).astype(np.int16) / np.float32(32_768)
    files = {
        "noise_train/A_1.wav": encoded(sound),
        "noise_test/B_1.wav": encoded(sound, subtype="PCM_24"),
        "noise_train/C_1.wav": encoded(np.stack([sound[::-1]] * 2, axis=1)),
        "noise_test/D_1.wav": encoded(sound[::-1]),
    }
    until_filtered(tmp_path, files)
    done(tmp_path, "resample", "--jobs", 1)
    splits: dict[str | None, set[str]] = {}
    for row in rows(tmp_path, "resampled").values():
        splits.setdefault(row.pcm_hash, set()).add(row.split)
    assert [len(found) for found in splits.values()] == [1] * len(splits)


def test_silence_apart_a_voice_and_its_louder_copy_differ(tmp_path: Path) -> None:
    until_filtered(
        tmp_path, {"noise_test/A_1.wav": encoded(voice(1.0)), "noise_test/B_1.wav": encoded(voice(1.0) * 1.5)}
    )
    done(tmp_path, "resample", "--jobs", 1)
    assert len({row.pcm_hash for row in rows(tmp_path, "resampled").values()}) == 2


def test_what_nobody_hears_is_removed_and_the_rest_is_not() -> None:
    seconds = np.arange(16_000 * 5) / 16_000
    heard = 0.1 * np.sin(2 * np.pi * 200 * seconds) + 0.1 * np.sin(2 * np.pi * 31 * seconds)
    hidden = 0.3 + 0.2 * np.sin(2 * np.pi * 5 * seconds)
    rest = dsp.highpass((heard + hidden).astype(np.float32), 16_000, 20.0)
    middle = slice(8_000, -8_000)
    assert np.abs(rest - heard)[middle].max() < 3e-4
    assert np.abs(dsp.highpass((seconds * 0 + 0.5).astype(np.float32), 16_000, 20.0)).max() < 1e-6
    assert len(dsp.highpass(np.ones(3, np.float32), 48_000, 5.0)) == 3
    assert len(dsp.highpass(np.ones(0, np.float32), 16_000, 20.0)) == 0


def test_a_highpass_is_in_the_recipe_and_whoever_has_the_recordings_makes_the_same(tmp_path: Path) -> None:
    hum = 0.1 * np.sin(2 * np.pi * 6 * np.arange(32_000) / 16_000)
    root = corpus(
        tmp_path / "corpus",
        {"clean_test/a.wav": encoded(voice(2.0) + hum), "noise_test/b.wav": encoded(hiss(3.0) + 0.2)},
    )
    chain = ("--jobs", 1, "--highpass", 20)
    done(tmp_path, "ingest", "ms-snsd", root, "--jobs", 1)
    done(tmp_path, "filter", "--no-transcript", "--dev-share", 0, "--max-dc-db", 60)
    done(tmp_path, "resample", *chain)
    stored = held(tmp_path, "resampled")
    assert stored.provenance.recipe["resample"]["highpass_hz"] == 20.0
    levels = [np.abs(np.convolve(stored.audio(row.id), np.ones(800) / 800, "valid")).max() for row in stored.rows()]
    assert max(levels) < 300, levels  # of 32,768; DC alone was 6,500, the hum 3,000
    done(tmp_path, "mix", "--jobs", 1, "--virtual")
    done(tmp_path, "pack", "manifests/mixed.parquet", "--out", "p.parquet")
    assert "the same set" in done(tmp_path, "rebuild", "p.parquet", "--jobs", 1, "--out", "again/m.parquet").out
    recipe = "[ingest]\ncorpora = ['ms-snsd']\n[filter]\ntranscript = false\ndev_share = 0\nmax_dc_db = 60\n"
    (tmp_path / "r.toml").write_text(recipe + "[resample]\nhighpass_hz = 20\n[mix]\nvirtual = false\n")
    done(tmp_path, "run", "r.toml", "--jobs", 1)
    hashes = [{row.pcm_hash for row in held(tmp_path, name).rows()} for name in ("r", "mixed")]
    assert hashes[0] == hashes[1]
