"""`detect`: windows and events by arithmetic, and the same decisions as `evaluate` on the same windows."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from hypothesis import given, settings
from hypothesis import strategies as st
from train_samples import TINY, Clip, command, made, noise, predictions, usual

from pipeline.core.errors import PrepError
from train.detect import Events, Window, pipe, windows

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
