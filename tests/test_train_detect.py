"""`detect`: windows and events by arithmetic, and the same decisions as `evaluate` on the same windows."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from safetensors.torch import load_file, save_file
from train_samples import TINY, Answer, Clip, command, environment, made, noise, predictions, usual

from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Lexicon
from train import checkpoint
from train import detect as detect_module
from train.cascade import Output
from train.decode import Transcription
from train.detect import Events, Listening, Stats, calls_in
from train.detect import lines as each_line
from train.model import Detector
from train.pretrained import load_whisper
from train.text import KeywordMatcher
from train.voice import Voice
from train.windows import Window

SECONDS = 1.5
HOPS = ("--windows", "hop", "--seconds", SECONDS, "--hop", 0.5)


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


class Heard:
    """A cascade that hears a call in every window that has all of it, by arithmetic: no model."""

    def __init__(self, *calls: tuple[float, float]) -> None:
        self.calls = [(round(begin * 16_000), round(end * 16_000)) for begin, end in calls]
        self.matcher = KeywordMatcher(Lexicon({"살려": "saveme"}, "others"))

    def run(self, waves: list[np.ndarray], names: list[str]) -> list[Output]:
        begin, end = (round(float(word) * 16_000) for word in names[0].split(", ")[1].removesuffix(" s").split(" to "))
        has = any(begin <= first and last <= end for first, last in self.calls)
        return [Output(0.9, (), True, Transcription("살려" if has else "네", 0.5), None, 0.0, 0.0)]


def sound(seconds: float, *spoken: tuple[float, float]) -> Iterator[np.ndarray]:
    """A stream in blocks of 0.2 s; what is spoken is not 0."""
    pcm = np.zeros(round(seconds * 16_000), np.int16)
    for begin, end in spoken:
        pcm[round(begin * 16_000) : round(end * 16_000)] = 1000
    return iter(np.split(pcm, range(3200, len(pcm), 3200)))


class Loud:
    """Voice activity by arithmetic: voice is where the samples are not 0."""

    def __init__(self) -> None:
        self.at, self.spans = 0, []

    def push(self, chunk: np.ndarray) -> None:
        begin, self.at = self.at, self.at + len(chunk)
        if chunk.any():
            if self.spans and begin - self.spans[-1][1] < 1600:
                begin = self.spans.pop()[0]
            self.spans.append((begin, self.at))

    between = Voice.between


def events(
    monkeypatch: pytest.MonkeyPatch, calls: list[tuple[float, float]], kind: str, *, voice: bool = True, **times: float
) -> list[dict[str, object]]:
    """The events of 200 s in which these calls are all that is spoken."""

    def without() -> None:
        raise PrepError("the extra is not there")

    monkeypatch.setattr(detect_module, "Voice", Loud if voice else without)
    listening = Listening(kind, **{"seconds": 5.0, "hop": 1.0, "refractory": 5.0} | times)
    return [line for line in each_line(Heard(*calls), sound(200, *calls), "x", listening, Stats()) if line["event"]]


CALLS = [(37.3, 38.5), (70.0, 71.9), (110.7, 111.5), (153.1, 154.0), (198.6, 199.9)]
WAYS = [
    {},
    {"seconds": 10.0, "refractory": 5.0},
    {"hop": 0.5, "refractory": 2.0},
    {"refractory": 0.0},
    {"seconds": 30.0, "hop": 0.3, "refractory": 1.0},
    {"seconds": 2.5, "hop": 0.5, "refractory": 0.5},
]


@pytest.mark.parametrize("times", WAYS)
@pytest.mark.parametrize("kind", ["vad", "hop", "both"])
def test_a_call_is_one_event_at_its_own_time_however_many_windows_hold_it(
    monkeypatch: pytest.MonkeyPatch, kind: str, times: dict[str, float]
) -> None:
    found = events(monkeypatch, CALLS, kind, **times)
    assert [line["start"] for line in found] == pytest.approx([begin for begin, _ in CALLS], abs=0.05)
    assert [line["end"] for line in found] == pytest.approx([end for _, end in CALLS], abs=0.05)


@pytest.mark.parametrize("times", WAYS)
def test_so_it_is_at_a_fixed_hop_without_voice_activity_but_for_a_second(
    monkeypatch: pytest.MonkeyPatch, times: dict[str, float]
) -> None:
    found = events(monkeypatch, CALLS, "hop", voice=False, **times)
    assert [line["start"] for line in found] == pytest.approx([begin for begin, _ in CALLS], abs=1.0)


def test_calls_further_apart_than_the_refractory_time_are_two_and_nearer_ones_are_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = [(10.0, 11.0), (14.0, 15.0), (30.0, 31.0), (36.0, 37.0)]
    for kind in ("vad", "hop"):
        found = events(monkeypatch, calls, kind)
        assert [line["start"] for line in found] == pytest.approx([10.0, 30.0, 36.0], abs=0.05)
        found = events(monkeypatch, calls, kind, refractory=3.0)
        assert [line["start"] for line in found] == pytest.approx([10.0, 14.0, 30.0, 36.0], abs=0.05)


def test_two_calls_in_one_window_are_two_events_and_the_next_windows_know_both() -> None:
    """Of the calls in a window the first are those that were events before; times may be off by a second."""
    events, voices = Events(refractory=16_000), ((0, 160_000),)
    window = Window(0, np.zeros(160_000, np.int16), voices)
    assert events.new(window, [(40_000, 50_000), (80_000, 90_000)]) == [0, 1]
    later = Window(16_000, np.zeros(160_000, np.int16), voices)
    assert events.new(later, [(20_000, 50_000), (100_000, 110_000)]) == []
    assert events.new(later, [(41_000, 50_000), (81_000, 90_000), (150_000, 160_000)]) == [2]
    assert events.new(Window(60_000, np.zeros(160_000, np.int16), voices), [(81_000, 90_000)]) == []
    assert events.new(Window(160_000, np.zeros(160_000, np.int16), voices), [(170_000, 180_000)]) == [0]


def test_where_in_a_text_each_call_is() -> None:
    matcher = KeywordMatcher(lexicons.shipped())
    (keyword, (begin, end)), *others = calls_in("저기요 여기 사람 있어요 살려주세요", {}, matcher)
    assert (keyword, end, others) == ("saveme", 1.0, [])
    assert begin == pytest.approx(14 / 19, abs=0.01)
    assert calls_in("살려 주세요!", {}, matcher) == [("saveme", (0.0, 1.0))]
    assert [keyword for keyword, _ in calls_in("살려주세요 좀 도와주세요", {}, matcher)] == ["saveme", "helpme"]
    assert calls_in("오늘 날씨가 좋다", {}, matcher) == calls_in(None, {}, matcher) == calls_in("", {}, matcher) == []
    assert calls_in("살려조세요", {}, KeywordMatcher(Lexicon({"살려주세요": "saveme"}, "others"), 0.2)) == [
        ("saveme", (0.0, 1.0))
    ]


def lines(folder: Path, *words: object, stdin: bytes = b"") -> list[dict[str, object]]:
    answer = detect(folder, *words, stdin=stdin)
    assert answer.code == 0, answer.err
    return [json.loads(line) for line in answer.out.splitlines()]


def detect(folder: Path, *words: object, stdin: bytes = b"") -> Answer:
    common = ("--checkpoint", "run/last", *HOPS, "--all")
    return command("detect", folder, *common, *words, stdin=stdin)


def test_the_stream_decides_what_evaluate_decides_on_its_windows(folder: Path, tmp_path: Path) -> None:
    stream = lines(folder, "night.wav", "--threshold", 0.5)
    pcm = sf.read(folder / "night.wav", dtype="int16")[0]

    class Cut(Clip):
        """A window as a clip of a manifest."""

        @property
        def pcm(self) -> np.ndarray:  # type: ignore[override]
            start = round(float(self.id) * 16_000)
            return pcm[start : start + round(self.seconds * 16_000)]

    spans = [(line["window_start"], line["window_end"]) for line in stream]
    cut = [Cut(f"{start:07.4f}", "test", seconds=end - start) for start, end in spans]
    made(tmp_path, cut)
    words = ("--manifest", "mixed.parquet", "--checkpoint", folder / "run/last", "--threshold", 0.5, "--out", "x")
    assert command("evaluate", tmp_path, *words).code == 0
    clips = predictions(tmp_path / "x")
    assert [(line["keyword"], line["text"]) for line in stream] == [(clip.decision, clip.text) for clip in clips]
    assert [line["p_speech"] for line in stream] == pytest.approx([clip.p_speech for clip in clips], abs=1e-5)
    assert len({line["keyword"] for line in stream}) > 1


def test_a_whisper_that_nobody_trained_listens_by_its_text_and_lexicons_may_be_others(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "fire.toml").write_text('other = "others"\n[keywords]\nfire = ["살려주세요", "도와주세요"]\n')
    trained = lines(folder, "night.wav", "--threshold", 0)
    model = ("--model", "run/last", *HOPS, "--all", "--window", "auto", "night.wav")
    answer = command("detect", folder, *model)
    assert not answer.code, answer.err
    untrained = [json.loads(line) for line in answer.out.splitlines()]
    assert [line["p_speech"] for line in untrained] == [None] * len(trained)
    assert [line["text"] for line in untrained] == [line["text"] for line in trained]
    for words in (("--checkpoint", "run/last", "--threshold", 0, *model[2:]), model):
        fires = command("detect", folder, *words, "--lexicon", tmp_path / "fire.toml")
        heard = [json.loads(line)["keyword"] for line in fires.out.splitlines()]
        calls = {"saveme", "helpme"}
        assert heard == ["fire" if line["keyword"] in calls else line["keyword"] for line in trained]
        assert "fire" in heard
    assert "--decision score: no threshold" in command("detect", folder, *model, "--decision", "score").err


def test_standard_input_says_what_the_file_says(folder: Path) -> None:
    pcm = sf.read(folder / "night.wav", dtype="int16")[0]
    from_file, from_pipe = lines(folder, "night.wav"), lines(folder, "--stdin", stdin=pcm.astype("<i2").tobytes())
    assert [line | {"source": ""} for line in from_file] == [line | {"source": ""} for line in from_pipe]
    assert [from_file[0][name] for name in ("window_start", "window_end")] == [0.0, 1.5]
    assert from_file[-1]["window_end"] == 5.2
    whole = lines(folder, "--stdin", stdin=(folder / "night.wav").read_bytes())
    assert [line | {"source": ""} for line in whole] == [line | {"source": ""} for line in from_file]


def test_other_rates_and_channels_are_heard_as_prep_would_store_them(folder: Path) -> None:
    pcm = sf.read(folder / "night.wav", dtype="float32")[0]
    name = "stereo\u202e\x9b31m.flac"  # what a terminal would obey
    sf.write(folder / name, np.stack([pcm, pcm], 1), 16_000)
    answer = detect(folder, name)
    assert not {"\u202e", "\x9b"} & set(answer.out), answer.out
    found = [json.loads(line) for line in answer.out.splitlines()]
    assert {line["source"] for line in found} == {name}
    assert [line | {"source": ""} for line in found] == [line | {"source": ""} for line in lines(folder, "night.wav")]


def test_faults_are_one_message(folder: Path) -> None:
    (folder / "text.wav").write_text("no sound")
    for words, message in {
        (): "what is to be listened to? give FILE ..., or --stdin, or --mic",
        ("--model", "run/last", "night.wav"): "which model? give --checkpoint runs/NAME/best, or --model",
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


def test_the_end_of_a_stream_is_heard_before_its_fault_is_told(folder: Path) -> None:
    pcm = sf.read(folder / "night.wav", dtype="int16")[0].astype("<i2").tobytes()
    answer = detect(folder, "--stdin", stdin=pcm + b"\x01")
    assert faulty(answer, "standard input: ends within a frame") == lines(folder, "--stdin", stdin=pcm)
    for content, message in {
        b"": "stdin: ended without a sample",
        b"\x01": "standard input: ends within a frame",
        b"fLaC" + bytes(100): "standard input: begins as FLAC, which is not read from a pipe",
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
        done = subprocess.run(["sh", "-c", line], cwd=folder, env=environment(), capture_output=True, timeout=600)
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
    answer = command("detect", folder, "night.wav", "--checkpoint", model, *HOPS)
    assert faulty(answer, "night.wav, 0 to 1.5 s: the model gives p_speech nan, which is no number") == []
    answer = command("evaluate", folder, "--manifest", "mixed.parquet", "--checkpoint", model, "--out", tmp_path / "x")
    faulty(answer, "dev/0/0: the model gives p_speech nan, which is no number")
    assert not (tmp_path / "x").exists()
