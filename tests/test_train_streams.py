"""Streams: recordings of any format, pipes and the microphone, in blocks, with little memory."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from train_samples import environment

from pipeline.audio import codec, render
from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from train import streams


def stored(path: Path) -> tuple[np.ndarray, float]:
    """The recording as prep resample stores it, and its gain in dB."""
    recording = codec.decode(path.read_bytes())
    row = Row("", "", "", "", "speech", "", source_rate_hz=recording.rate_hz, source_channels=recording.pcm.shape[1])
    row = replace(row, source_frames=len(recording.pcm), source_format=recording.format)
    return render.speech(replace(row, source_pcm_crc=codec.pcm_crc(recording.pcm)), recording, 16_000, "HQ")


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize(("channels", "loudness"), [(1, 0.1), (2, 3.0)])
def test_a_recording_in_blocks_is_what_prep_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, subtype: str, channels: int, loudness: float
) -> None:
    """Where it passes full scale, prep attenuates all of it; a stream, which is read once, is clipped there."""
    wave = keys.rng(0, "blocks", rate).normal(0, loudness, (rate * 2 + 77, channels)).clip(-1, 1)
    sf.write(tmp_path / "x.wav", wave, rate, subtype=subtype)
    for frames in (1_000, 1 << 14):
        monkeypatch.setattr(streams, "BLOCK_FRAMES", frames)
        found = np.concatenate(list(streams.recording(tmp_path / "x.wav")))
        pcm, gain_db = stored(tmp_path / "x.wav")
        if gain_db:
            pcm = np.clip(np.rint(pcm / 10 ** (gain_db / 20)), -32768, 32767)
        assert np.abs(found - pcm.astype(int)).max() <= (1 if gain_db else 0)


def test_a_recording_that_was_never_closed_is_heard(tmp_path: Path) -> None:
    """As a recorder leaves it that was killed: all sizes are 0, and samples follow."""
    wave = (keys.rng(0, "open").normal(0, 0.1, 30_000) * 32768).astype("<i2")
    sf.write(tmp_path / "whole.wav", wave, 16_000)
    header = bytearray((tmp_path / "whole.wav").read_bytes())
    header[4:8] = header[40:44] = bytes(4)
    (tmp_path / "open.wav").write_bytes(header)
    assert np.array_equal(np.concatenate(list(streams.recording(tmp_path / "open.wav"))), wave)


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    wave = (keys.rng(0, "pipe").normal(0, 0.1, 30_000) * 32768).astype("<i2")
    sf.write(tmp_path / "x.wav", wave, 16_000)
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as writer:
        writer.submit((tmp_path / "pipe").write_bytes, (tmp_path / "x.wav").read_bytes())
        assert np.array_equal(np.concatenate(list(streams.recording(tmp_path / "pipe"))), wave)


def test_a_long_recording_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Ten minutes at 48 kHz stereo are 115 MB of samples, and 230 MB as floats."""
    block = (keys.rng(0, "long").normal(0, 0.1, (48_000 * 10, 2)) * 32768).astype("i2")
    for name, count in (("short", 3), ("long", 60)):
        with sf.SoundFile(tmp_path / f"{name}.wav", "w", 48_000, 2) as file:
            for _ in range(count):
                file.write(block)
    code = (
        "import resource, sys; from pathlib import Path; from train import streams\n"
        "total = sum(len(block) for block in streams.recording(Path(sys.argv[1])))\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for name, seconds in (("short", 30), ("long", 600)):
        words = [sys.executable, "-c", code, tmp_path / f"{name}.wav"]
        done = subprocess.run(words, env=environment(), capture_output=True, check=True, timeout=600)
        samples, peak_kb = map(int, done.stdout.split())
        assert samples == seconds * 16_000
        peaks.append(peak_kb)
    assert peaks[1] - peaks[0] < 20_000


# ---- pipes


def wave(seconds: float = 1.0, channels: int = 1, rate_hz: int = 16_000) -> np.ndarray:
    return (keys.rng(0, "wave").normal(0, 0.1, (round(seconds * rate_hz), channels)) * 32768).astype("<i2")


def through(data: bytes, **form: int) -> np.ndarray:
    return np.concatenate(list(streams.pipe(io.BytesIO(data), "x", **form)) or [np.zeros(0, np.int16)])


@pytest.mark.parametrize(("rate_hz", "channels"), [(16_000, 1), (48_000, 2), (8_000, 1), (44_100, 6)])
def test_samples_through_a_pipe_are_those_of_the_file(tmp_path: Path, rate_hz: int, channels: int) -> None:
    """Without a header by --rate and --channels; a WAV, also one whose length was not known, by its own header."""
    pcm = wave(0.7, channels, rate_hz)
    sf.write(tmp_path / "x.wav", pcm, rate_hz)
    sf.write(tmp_path / "x.rf64", pcm, rate_hz, format="RF64")
    expected = np.concatenate(list(streams.recording(tmp_path / "x.wav")))
    assert np.array_equal(through(pcm.tobytes(), rate_hz=rate_hz, channels=channels), expected)
    data = bytearray((tmp_path / "x.wav").read_bytes())
    assert np.array_equal(through(bytes(data)), expected)
    assert np.array_equal(through((tmp_path / "x.rf64").read_bytes()), expected)
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff" * 4
    assert np.array_equal(through(bytes(data), rate_hz=rate_hz), expected)


def test_what_a_pipe_cannot_hold_is_one_message(tmp_path: Path) -> None:
    sf.write(tmp_path / "x.wav", wave(), 16_000)
    sf.write(tmp_path / "float.wav", wave(), 16_000, subtype="FLOAT")
    data = (tmp_path / "x.wav").read_bytes()
    for content, form, message in (
        (b"\x00\x01\x02", {}, "x: ends within a frame: expected 1 x 16 bits a frame"),
        (wave().tobytes() + b"\x00\x01", {"channels": 2}, "x: ends within a frame: expected 2 x 16 bits a frame"),
        (b"fLaC" + bytes(100), {}, "x: begins as FLAC, which is not read from a pipe"),
        (b"OggS" + bytes(100), {}, "x: begins as Ogg, which is not read from a pipe"),
        (b"FORM" + bytes(100), {}, "x: begins as AIFF, which is not read from a pipe"),
        (b"ID3\x04" + bytes(100), {}, "x: begins as MP3, which is not read from a pipe"),
        (b"\0\0\0\x1cftypM4A " + bytes(100), {}, "x: begins as MP4, which is not read from a pipe"),
        (b"\x1aE\xdf\xa3" + bytes(100), {}, "x: begins as Matroska or WebM, which is not read from a pipe"),
        (b"RIFF" + bytes(100), {}, "x: begins as a WAV, but its header has no samples"),
        ((tmp_path / "float.wav").read_bytes(), {}, "x: a WAV of format 3, 32 bits: from a pipe only 16-bit PCM"),
        (data, {"rate_hz": 8000}, "x: --rate 8000, but its header says 16000: leave --rate out"),
        (data, {"channels": 2}, "x: --channels 2, but its header says 1"),
        (data[:-100], {}, "x: the stream ends 100 bytes before its header says it does"),
    ):
        with pytest.raises(PrepError) as fault:
            through(content, **form)
        assert str(fault.value).startswith(message)


def test_what_is_there_comes_before_the_fault(tmp_path: Path) -> None:
    pcm, blocks = wave(), []
    with pytest.raises(PrepError):
        blocks.extend(streams.pipe(io.BytesIO(pcm.tobytes() + b"\x00"), "x"))
    assert np.array_equal(np.concatenate(blocks), pcm[:, 0])


# ---- what libsndfile does not know


def test_without_ffmpeg_another_format_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(5000))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(PrepError, match=r"x\.m4a: .*; ffmpeg, which would be tried next, is not installed"):
        list(streams.recording(tmp_path / "x.m4a"))


def test_ffmpeg_decodes_what_libsndfile_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in that answers as ffmpeg does: a WAV of unknown length, or a fault."""
    pcm = wave(0.5, 2, 48_000)
    sf.write(tmp_path / "x.wav", pcm, 48_000)
    expected = np.concatenate(list(streams.recording(tmp_path / "x.wav")))
    (tmp_path / "ffmpeg").write_text(
        '#!/bin/sh\nfor w; do case "$w" in file:*) exec cat "${w#file:}.pcm";; esac; done\n'
    )
    (tmp_path / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "x.m4a").write_bytes(b"\x00\x00\x00\x20ftypM4A " + bytes(5000))
    (tmp_path / "x.m4a.pcm").write_bytes((tmp_path / "x.wav").read_bytes())
    assert np.array_equal(np.concatenate(list(streams.recording(tmp_path / "x.m4a"))), expected)
    (tmp_path / "x.m4a.pcm").unlink()
    with pytest.raises(PrepError, match=r"x\.m4a: ffmpeg: .*No such file"):
        list(streams.recording(tmp_path / "x.m4a"))


@pytest.mark.skipif(not shutil.which("ffmpeg"), reason="ffmpeg is not installed")
@pytest.mark.parametrize("suffix", ["m4a", "webm"])
def test_the_ffmpeg_that_is_installed_decodes(tmp_path: Path, suffix: str) -> None:
    tone = np.sin(np.arange(48_000) / 20).astype(np.float32) / 4
    sf.write(tmp_path / "x.wav", tone, 48_000)
    subprocess.run(["ffmpeg", "-v", "error", "-i", tmp_path / "x.wav", tmp_path / f"x.{suffix}"], check=True)
    found = np.concatenate(list(streams.recording(tmp_path / f"x.{suffix}")))
    assert len(found) == pytest.approx(16_000, abs=2_000)
    assert np.std(found[2000:-2000] / 32768.0) == pytest.approx(np.std(tone), rel=0.1)


# ---- the microphone


def test_a_microphone_that_is_not_listened_to_loses_samples_and_counts_them() -> None:
    waiting, block = streams.Waiting(3), np.ones(10, np.int16)
    for _ in range(5):
        waiting.put(block)
    assert [waiting.get()[0] for _ in range(3)] == [0, 0, 0]
    waiting.put(block)
    assert waiting.get()[0] == 20
    waiting.put(block)
    assert waiting.get()[0] == 0
