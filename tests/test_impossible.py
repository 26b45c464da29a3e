"""Recordings whose samples no microphone gave: each ends in a drop that says so, and none decides a gain or a level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import done, drops, prep, rows
from sounds import corpus, encoded, hiss, voice

SPEECH = voice(2.0, level_dbfs=-26)


def with_one(value: float, at: int = 9_000) -> np.ndarray:
    """Speech with one sample set."""
    sound = SPEECH.copy()
    sound[at] = value
    return sound


def filtered(folder: Path, sound: np.ndarray, subtype: str = "FLOAT") -> tuple[str, str]:
    """(reason, detail) of the drop that filter makes of a recording of noise; beside it one that stays."""
    files = {"noise_test/Bad_1.wav": encoded(sound, subtype=subtype), "noise_test/Hum_1.wav": encoded(hiss(2.0))}
    done(folder, "ingest", "ms-snsd", corpus(folder / "c", files), "--jobs", 1)
    done(folder, "filter", "--dev-share", 0)
    assert list(rows(folder, "filtered")) == ["ms-snsd/noise_test/Hum_1"]
    return drops(folder, "filtered")["ms-snsd/noise_test/Bad_1"]


@pytest.mark.parametrize(
    ("sound", "subtype", "reason", "what"),
    [
        (with_one(1e29), "FLOAT", "impossible", "peak 580.0 dBFS"),
        (SPEECH * 32_768, "FLOAT", "impossible", "divide them by 32768"),
        (with_one(30.0), "FLOAT", "one_sample", "0.9"),
        (with_one(300.0) / 301, "PCM_24", "one_sample", "a click decides"),
        (SPEECH / 4 + 0.5, "PCM_16", "dc", "DC -6.0 dBFS"),
        (np.full(32_000, 0.25), "PCM_16", "silent", "no signal at all"),
        (hiss(2.0, level_dbfs=-40) + 0.1 * np.sin(np.arange(32_000) * 2 * np.pi * 5 / 16_000), "PCM_16", "dc", "-23."),
    ],
)
def test_samples_that_no_recording_has_are_drops_with_a_reason(
    sound: np.ndarray, subtype: str, reason: str, what: str, tmp_path: Path
) -> None:
    ended, detail = filtered(tmp_path, sound, subtype)
    assert ended == reason
    assert what in detail


def test_a_loud_float_recording_is_not_clipped_and_stays(tmp_path: Path) -> None:
    files = {"noise_test/Hum_1.wav": encoded(hiss(2.0, level_dbfs=-30) * 200, subtype="FLOAT")}
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", files), "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    row = rows(tmp_path, "resampled")["ms-snsd/noise_test/Hum_1"]
    assert row.clipped_share == 0
    assert (row.gain_db or 0.0) < -20


def test_channels_that_cancel_each_other_out_are_dropped_after_the_downmix(tmp_path: Path) -> None:
    sides = {"Inverted_1": np.stack([SPEECH, -SPEECH], 1), "Nearly_1": np.stack([SPEECH, -SPEECH * 0.999], 1)}
    files = {f"noise_test/{name}.wav": encoded(sound, subtype="FLOAT") for name, sound in sides.items()}
    files["noise_test/Hum_1.wav"] = encoded(hiss(2.0))
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", files), "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    assert len(rows(tmp_path, "filtered")) == 3
    done(tmp_path, "resample", "--jobs", 1)
    assert list(rows(tmp_path, "resampled")) == ["ms-snsd/noise_test/Hum_1"]
    lost = drops(tmp_path, "resampled")
    assert lost["ms-snsd/noise_test/Inverted_1"] == (
        "silent",
        "as mono at 16000 Hz it is silence: its channels cancel out, or it lies above that rate's half",
    )
    reason, detail = lost["ms-snsd/noise_test/Nearly_1"]
    assert reason == "cancelled"
    assert "dB under the recording: its channels cancel out" in detail


def test_noise_with_dc_is_mixed_with_nothing(tmp_path: Path) -> None:
    reason, detail = filtered(tmp_path, hiss(2.0, level_dbfs=-24) + 0.3, "PCM_16")
    assert reason == "dc"
    assert detail.startswith("DC -10.4 dBFS at a level of -24.0 dBFS, more than -6.0 dB of it")
    row = rows(tmp_path, "ms-snsd")["ms-snsd/noise_test/Bad_1"]
    assert row.dc_dbfs == -10.4


def test_mix_that_would_mix_nothing_says_why_and_what_to_type(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.wav").write_bytes(encoded(SPEECH))
    (root / "n.wav").write_bytes(encoded(hiss(3.0)))
    (root / "t.csv").write_text("file,text\na.wav,살려주세요\nn.wav,\n", encoding="utf-8")
    done(tmp_path, "ingest", "recordings", root, "--jobs", 1)
    done(tmp_path, "filter")
    done(tmp_path, "resample", "--jobs", 1)
    ended = prep(tmp_path, "mix", "--snr", 20, "--keep", "recordings", "--jobs", 1)
    assert ended.code == 1
    assert "nothing to mix: all 1 rows of speech are of recordings" in ended.err
    assert "--keep none" in ended.err
    done(tmp_path, "mix", "--snr", 20, "--jobs", 1)
    assert [row.kind for row in rows(tmp_path, "mixed").values()].count("mixture") == 1
