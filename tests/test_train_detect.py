"""`detect`: windows and events by arithmetic, and the same decisions as `evaluate` on the same windows."""

from __future__ import annotations

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from train_samples import TINY, Answer, Clip, command, environment, made, noise, predictions, usual

from pipeline.audio import codec, render
from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from train import checkpoint, data
from train.detect import Events, Window, pipe, windows
from train.model import Detector
from train.pretrained import load_whisper

SECONDS, HOP = 1.5, 0.5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, and a recording of 5.2 s with calls in it."""
    folder = tmp_path_factory.mktemp("made")
    made(folder, usual(train=6))
    words = ("--manifest", "mixed.parquet", "--out", "run", *TINY)
    assert command("train", folder, *words, "--steps", 80, "--lr", 3e-3, "--batch", 8, "--interpolation", 0).code == 0
    parts = [
        noise("x", seconds=1.5),
        Clip("train/0/0", seconds=1.5),
        Clip("train/0/1", seconds=1.2),
        noise("y", seconds=1.0),
    ]
    sf.write(folder / "night.wav", np.concatenate([part.pcm for part in parts]), 16_000)
    return folder


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 12), st.lists(st.integers(0, 60), max_size=6))
def test_windows_are_the_same_however_the_stream_is_cut(total: int, length: int, hop: int, cuts: list[int]) -> None:
    hop = min(hop, length)
    stream = np.arange(total, dtype=np.int16)
    found = list(windows(iter(np.split(stream, sorted(min(cut, total) for cut in cuts))), length, hop))
    assert [window.start for window in found] == [hop * n for n in range(len(found))]
    for window in found:
        assert window.pcm.tolist() == stream[window.start : window.start + length].tolist()
    assert {sample for window in found for sample in window.pcm.tolist()} == set(range(total))
    assert all(len(window.pcm) == length for window in found[:-1])


def test_an_event_keeps_others_away_for_the_refractory_time() -> None:
    events = Events(["saveme", "helpme"], refractory=10)
    told = [(0, "others"), (2, "saveme"), (4, "helpme"), (11, "saveme"), (12, "helpme"), (13, "noise"), (22, "saveme")]
    assert [start for start, word in told if events.is_new(Window(start, np.zeros(1, np.int16)), word)] == [2, 12, 22]


def lines(folder: Path, *words: object, stdin: bytes = b"") -> list[dict[str, object]]:
    answer = command(
        "detect",
        folder,
        "--checkpoint",
        "run/last",
        "--seconds",
        SECONDS,
        "--hop",
        HOP,
        "--windows",
        *words,
        stdin=stdin,
    )
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def test_the_stream_decides_what_evaluate_decides_on_its_windows(folder: Path, tmp_path: Path) -> None:
    stream = lines(folder, "night.wav", "--threshold", 0.5)
    pcm = sf.read(folder / "night.wav", dtype="int16")[0]

    class Cut(Clip):
        """A window as a clip of a manifest."""

        @property
        def pcm(self) -> np.ndarray:  # type: ignore[override]
            start = round(float(self.id) * 16_000)
            return pcm[start : start + round(self.seconds * 16_000)]

    cut = [Cut(f"{line['start']:07.4f}", "test", seconds=line["end"] - line["start"]) for line in stream]
    made(tmp_path, cut)
    words = ("--manifest", "mixed.parquet", "--checkpoint", folder / "run/last", "--threshold", 0.5, "--out", "x")
    assert command("evaluate", tmp_path, *words).code == 0
    clips = predictions(tmp_path / "x")
    assert [(line["keyword"], line["text"]) for line in stream] == [(clip.decision, clip.text) for clip in clips]
    assert [line["p_speech"] for line in stream] == pytest.approx([clip.p_speech for clip in clips], abs=1e-5)
    assert len({line["keyword"] for line in stream}) > 1


def test_standard_input_says_what_the_file_says(folder: Path) -> None:
    pcm = sf.read(folder / "night.wav", dtype="int16")[0]
    from_file, from_pipe = lines(folder, "night.wav"), lines(folder, "--stdin", stdin=pcm.astype("<i2").tobytes())
    assert [line | {"source": ""} for line in from_file] == [line | {"source": ""} for line in from_pipe]
    assert (from_file[0]["start"], from_file[0]["end"], from_file[-1]["end"]) == (0.0, 1.5, 5.2)


def test_other_rates_and_channels_are_heard_as_prep_would_store_them(folder: Path) -> None:
    pcm = sf.read(folder / "night.wav", dtype="float32")[0]
    sf.write(folder / "stereo.flac", np.stack([pcm, pcm], 1), 16_000)
    assert [line | {"source": ""} for line in lines(folder, "stereo.flac")] == [
        line | {"source": ""} for line in lines(folder, "night.wav")
    ]


def test_half_a_sample_and_other_faults_are_one_message(folder: Path) -> None:
    with pytest.raises(PrepError, match="ends within a sample"):
        list(pipe(io.BytesIO(b"\x00\x01\x02")))
    (folder / "text.wav").write_text("no sound")
    for words, message in {
        (): "what is to be listened to? give FILE ..., or --stdin, or --mic",
        ("--hop", 9, "night.wav"): "--hop 9 is longer than --seconds 1.5",
        ("none.wav",): "none.wav: no such file",
        ("text.wav",): "text.wav: ",
        ("--mic",): "--mic needs the package sounddevice",
    }.items():
        answer = command("detect", folder, "--checkpoint", "run/last", "--seconds", SECONDS, *words)
        assert (answer.code, message in answer.err) == (1, True), answer.err
        assert "Traceback" not in answer.err


# ---- what is there is heard, then the fault is told


def faulty(answer: Answer, message: str) -> list[dict[str, object]]:
    """The lines before a fault, which is one line on standard error."""
    assert (answer.code, len(answer.err.splitlines())) == (1, 1), answer.err
    assert message in answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def detect(folder: Path, *words: object, stdin: bytes = b"") -> Answer:
    common = ("--checkpoint", "run/last", "--seconds", SECONDS, "--hop", HOP, "--windows")
    return command("detect", folder, *common, *words, stdin=stdin)


def test_the_end_of_a_stream_is_heard_before_its_fault_is_told(folder: Path) -> None:
    pcm = sf.read(folder / "night.wav", dtype="int16")[0].astype("<i2").tobytes()
    answer = detect(folder, "--stdin", stdin=pcm + b"\x01")
    assert faulty(answer, "standard input ends within a sample") == lines(folder, "--stdin", stdin=pcm)
    for content, message in {
        b"": "stdin: ended without a sample",
        b"\x01": "standard input ends within a sample",
        (folder / "night.wav").read_bytes(): "standard input begins as a WAV file: expected 16-bit little-endian mono",
    }.items():
        assert faulty(detect(folder, "--stdin", stdin=content), message) == []


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_a_recording_that_was_cut_is_heard_as_far_as_it_goes(folder: Path, kind: str) -> None:
    pcm, rate = sf.read(folder / "night.wav", dtype="int16")
    sf.write(folder / f"whole.{kind}", pcm, rate)
    data = (folder / f"whole.{kind}").read_bytes()
    (folder / f"cut.{kind}").write_bytes(data[: len(data) * 2 // 3])
    found = faulty(detect(folder, f"cut.{kind}"), f"cut.{kind}: ")
    whole = lines(folder, f"whole.{kind}")
    assert 2 < len(found) < len(whole)
    assert [line | {"source": ""} for line in found[:-1]] == [line | {"source": ""} for line in whole[: len(found) - 1]]


def test_a_closed_stream_is_one_line(folder: Path) -> None:
    common = "from train.cli import detect; detect()"
    words = [sys.executable, "-c", common, "--checkpoint", "run/last", "--stdin"]
    for closed, message in {"<&-": "standard input is closed", ">&-": "standard output is closed"}.items():
        line = shlex.join(words) + f" {closed} " + ("</dev/null" if closed == ">&-" else "")
        done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment(), capture_output=True, timeout=300)
        assert (done.returncode, done.stderr.decode().count("\n")) == (1, 1), done.stderr.decode()
        assert message in done.stderr.decode()


def test_a_prediction_that_is_no_number_names_the_clip(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "huge"
    shutil.copytree(folder / "run/last", model)
    tensors = load_file(model / "model.safetensors")
    save_file({name: value * 1e30 for name, value in tensors.items()}, model / "model.safetensors", {"format": "pt"})
    metadata = json.loads((model / "made.json").read_text())
    whisper, _ = load_whisper(str(model), "pretrained", 0)
    detector = Detector(whisper, metadata["classes"], metadata["pool"])
    detector.head.load_state_dict(load_file(model / "head.safetensors"))
    (model / "made.json").write_text(json.dumps(metadata | {"weights_hash": checkpoint.weights_hash(detector)}))
    answer = command("detect", folder, "night.wav", "--checkpoint", model, "--seconds", SECONDS, "--hop", HOP)
    assert faulty(answer, "night.wav, 0 to 1.5 s: the model gives p_speech nan, which is no number") == []
    answer = command("evaluate", folder, "--manifest", "mixed.parquet", "--checkpoint", model, "--out", tmp_path / "x")
    faulty(answer, "dev/0/0: the model gives p_speech nan, which is no number")
    assert not (tmp_path / "x").exists()


# ---- blocks


def stored(path: Path) -> np.ndarray:
    """The recording as prep resample stores it."""
    recording = codec.decode(path.read_bytes())
    row = Row("", "", "", "", "speech", "", source_rate_hz=recording.rate_hz, source_channels=recording.pcm.shape[1])
    row = replace(row, source_frames=len(recording.pcm), source_format=recording.format)
    return render.speech(replace(row, source_pcm_crc=codec.pcm_crc(recording.pcm)), recording, 16_000, "HQ")[0]


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT", "ULAW"])
@pytest.mark.parametrize(("channels", "loudness"), [(1, 0.1), (2, 3.0)])
def test_a_recording_in_blocks_is_what_prep_stores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rate: int, subtype: str, channels: int, loudness: float
) -> None:
    """Also where it passes full scale, so that all of it is attenuated."""
    wave = keys.rng(0, "blocks", rate).normal(0, loudness, (rate * 2 + 77, channels)).clip(-1, 1)
    sf.write(tmp_path / "x.wav", wave, rate, subtype=subtype)
    for frames in (1_000, 1 << 14):
        monkeypatch.setattr(data, "BLOCK_FRAMES", frames)
        found = np.concatenate(list(data.recording(tmp_path / "x.wav")))
        assert np.array_equal(found, stored(tmp_path / "x.wav"))


def test_a_recording_that_was_never_closed_is_heard(tmp_path: Path) -> None:
    """As a recorder leaves it that was killed: all sizes are 0, and samples follow."""
    wave = (keys.rng(0, "open").normal(0, 0.1, 30_000) * 32768).astype("<i2")
    sf.write(tmp_path / "whole.wav", wave, 16_000)
    header = bytearray((tmp_path / "whole.wav").read_bytes())
    header[4:8] = header[40:44] = bytes(4)
    (tmp_path / "open.wav").write_bytes(header)
    assert np.array_equal(np.concatenate(list(data.recording(tmp_path / "open.wav"))), wave)


def test_a_pipe_is_read_as_a_file(tmp_path: Path) -> None:
    wave = (keys.rng(0, "pipe").normal(0, 0.1, 30_000) * 32768).astype("<i2")
    sf.write(tmp_path / "x.wav", wave, 16_000)
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as writer:
        writer.submit((tmp_path / "pipe").write_bytes, (tmp_path / "x.wav").read_bytes())
        assert np.array_equal(np.concatenate(list(data.recording(tmp_path / "pipe"))), wave)


def test_a_long_recording_takes_no_more_memory_than_a_short_one(tmp_path: Path) -> None:
    """Ten minutes at 48 kHz stereo are 115 MB of samples, and 230 MB as floats."""
    block = (keys.rng(0, "long").normal(0, 0.1, (48_000 * 10, 2)) * 32768).astype("i2")
    for name, count in (("short", 3), ("long", 60)):
        with sf.SoundFile(tmp_path / f"{name}.wav", "w", 48_000, 2) as file:
            for _ in range(count):
                file.write(block)
    code = (
        "import resource, sys; from pathlib import Path; from train import data\n"
        "total = sum(len(block) for block in data.recording(Path(sys.argv[1])))\n"
        "print(total, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for name, seconds in (("short", 30), ("long", 600)):
        words = [sys.executable, "-c", code, tmp_path / f"{name}.wav"]
        done = subprocess.run(words, env=environment(), capture_output=True, check=True, timeout=300)
        samples, peak_kb = map(int, done.stdout.split())
        assert samples == seconds * 16_000
        peaks.append(peak_kb)
    assert peaks[1] - peaks[0] < 20_000
