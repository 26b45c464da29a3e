"""`evaluate --stream` with a detector whose answers are known, on files by a table and on a scene."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from train_samples import TINY, Clip, command, made, noise, usual

from pipeline import api
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import PrepError
from train import stream
from train.cascade import Cascade, Output
from train.decode import Transcription

S = 16_000
COLUMNS = ["recording", "start", "end", "keyword", "kind", "snr_db"]
HOP = ("--windows", "hop", "--seconds", 2, "--hop", 1, "--refractory", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint, and rows with speech and noise in the split test."""
    folder = tmp_path_factory.mktemp("stream")
    speech = [Clip(f"s{n}", "test", "speech", text, 1.0) for n, text in enumerate(("살려주세요", "안녕하세요") * 2)]
    clips = [*speech, *(noise(f"n{n}", "test", seconds=5.0) for n in range(2))]
    made(folder / "rows", clips, "resampled")
    made(folder, usual())
    words = ("--manifest", "mixed.parquet", "--out", "run", *TINY, "--steps", 1)
    assert command("train", folder, *words).code == 0
    return folder


@pytest.fixture
def loud(monkeypatch: pytest.MonkeyPatch) -> None:
    """The decoder hears a call where a window has 0.3 s of loud sound, and other speech elsewhere."""

    def run(self: Cascade, waves: list[np.ndarray], names: list[str]) -> list[Output]:
        texts = ["살려주세요" if (np.abs(wave) > 0.1).sum() >= 0.3 * S else "네" for wave in waves]
        return [Output(0.9, (), True, Transcription(text, 0.5), None, 0.0, 0.0) for text in texts]

    def none() -> None:
        raise PrepError("not there")

    monkeypatch.setattr(Cascade, "run", run)
    monkeypatch.setattr("train.detect.Voice", none)


def table(folder: Path, lines: list[list[object]], name: str = "truth.csv") -> Path:
    with (folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *lines])
    return folder / name


def recording(folder: Path, name: str, *loud: float) -> None:
    """Two minutes at 8 kHz in stereo, loud for half a second from each of these times on."""
    pcm = np.full((120 * 8000, 2), 0.01)
    for start in loud:
        pcm[round(start * 8000) : round((start + 0.51) * 8000)] = 0.5
    sf.write(folder / name, pcm, 8000)


@pytest.mark.usefixtures("loud")
def test_recordings_of_a_table_are_judged_as_counted_by_hand(folder: Path, tmp_path: Path) -> None:
    """Two calls are heard, one is not loud; one sound is taken for a call, and in c.wav nothing is said."""
    recording(tmp_path, "a.wav", 20.0, 60.0, 90.0)
    recording(tmp_path, "b.flac")
    recording(tmp_path, "c.wav", 33.0)
    lines = [
        ["a.wav", 20.0, 20.5, "saveme", "", 10],
        ["a.wav", 60.0, 60.5, "helpme", "call", 20],
        ["a.wav", 89.5, 91.0, "others", "confusable", 20],
        ["b.flac", 50.0, 50.5, "saveme", "call", 10],
        ["c.wav", "", "", "", "", ""],
    ]
    words = ("--stream", table(tmp_path, lines), "--checkpoint", "run/last", *HOP, "--out", tmp_path / "out", "--json")
    answer = command("evaluate", folder, *words).json()
    assert answer["hours"] == pytest.approx(0.1)
    assert (answer["recordings"], answer["calls"], answer["misses"], answer["duplicates"]) == (3, 3, 1, 0)
    assert (answer["hits"]["count"], answer["right_keyword"]["count"]) == (2, 1)
    assert answer["false_alarms"]["by_kind"] == {"confusable": 1, "noise": 1}
    assert answer["false_alarms"]["per_hour"] == pytest.approx(20)
    assert answer["false_alarms"]["per_day"] == pytest.approx(480)
    assert answer["start_error_s"]["most"] <= 1.0
    assert 0 <= answer["latency_s"]["median"] < 5
    assert answer["cost"]["windows"] == 3 * 119
    assert json.loads((tmp_path / "out/stream.json").read_text("utf-8")) == answer
    events = [json.loads(line) for line in (tmp_path / "out/events.jsonl").read_text("utf-8").splitlines()]
    assert [each["verdict"] for each in events] == ["hit", "hit", "false alarm", "false alarm"]
    assert events[2]["about"]["kind"] == "confusable"
    text = command("evaluate", folder, *words[:-1]).out
    assert "hits          2 of 3 (66.7%, 9.4% to 99.2%); with the right keyword 1 of 2" in text
    assert "false alarms  2 (confusable 1, noise 1): 20.00 an hour" in text
    assert "a device-day" in text


@pytest.mark.usefixtures("loud")
def test_a_scene_is_judged_without_being_stored(folder: Path, tmp_path: Path) -> None:
    """Each utterance is loud: calls are hits, and all other speech is taken for a call."""
    kinds = {"calls_per_hour": 60, "speech_per_hour": 60, "gap_s": 6.0, "noise_dbfs": -35.0, "snr_db": [20]}
    rows = manifest.read(folder / "rows/resampled.parquet")
    frame = frames.with_columns(rows.frame, level_full_dbfs=-40.8, peak_dbfs=-20.0)
    scene = api.scene(manifest.Manifest(frame, rows.provenance, rows.path), hours=0.1, minutes=3, **kinds)
    before = sorted(path.name for path in (folder / "rows").rglob("*"))
    words = ("--stream", scene.path, "--checkpoint", "run/last", *HOP, "--out", tmp_path / "out")
    answer = command("evaluate", folder, *words, "--json").json()
    assert (answer["calls"], answer["hits"]["count"], answer["recordings"]) == (6, 6, 2)
    assert answer["false_alarms"]["by_kind"] == {"speech": 6}
    assert answer["hits_by_snr"]["20"]["count"] == 6
    assert sorted(path.name for path in (folder / "rows").rglob("*")) == before


def test_what_is_no_truth_is_one_message(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("recording,start\nx.wav,1\n")
    (tmp_path / "twice.csv").write_text("recording,start,end,keyword,end\na.wav,1,2,saveme,3\n")
    (tmp_path / "empty.csv").write_text("recording,start,end,keyword\n")
    for path, message in {
        tmp_path / "none.csv": "none.csv: cannot be read",
        tmp_path / "bad.csv": "bad.csv: lacks the columns end, keyword",
        tmp_path / "empty.csv": "empty.csv: holds no line",
        tmp_path / "twice.csv": "twice.csv: the column end is there twice",
        table(tmp_path, [["a.wav", "x", 2, "saveme", "", ""]], "x.csv"): "x.csv: line 2: start, end and snr_db are no",
        table(tmp_path, [["a.wav", 3, 2, "saveme", "", ""]], "y.csv"): "y.csv: line 2: from 3 s to 2 s is no time",
        table(tmp_path, [["a.wav", 1, 2, "saveme", "", ""]], "z.csv"): "a.wav: no such file",
        table(tmp_path, [[".", 1, 2, "saveme", "", ""]], "u.csv"): "a folder; expected a file",
        table(
            tmp_path, [["a\0.wav", 1, 2, "saveme", "", ""]], "nul.csv"
        ): "nul.csv: line 2: the name of its recording holds NUL",
        table(tmp_path, [["a.wav", 1]], "s.csv"): "s.csv: line 2: it has other columns than the heading",
        table(tmp_path, [["a.wav", 1, 2, "savme", "", ""]], "k.csv"): "k.csv: the keyword 'savme' is none of the lexic",
        folder / "mixed.parquet": "mixed.parquet: no scene: expected a file that prep scene wrote",
        folder / "nowhere.parquet": "nowhere.parquet: no such file",
    }.items():
        words = ("--stream", path, "--checkpoint", "run/last", "--windows", "hop", "--out", tmp_path / "out")
        answer = command("evaluate", folder, *words)
        assert (answer.code, message in answer.err, "Traceback" in answer.err) == (1, True, False), answer.err


def test_options_that_would_change_nothing_are_refused(folder: Path) -> None:
    answer = command(
        "evaluate", folder, "--stream", "x.csv", "--checkpoint", "run/last", "--batch", 3, "--split", "dev"
    )
    assert (answer.code, "--batch, --split: of no use with --stream" in answer.err) == (1, True)
    answer = command("evaluate", folder, "--manifest", "mixed.parquet", "--checkpoint", "run/last", "--hop", 3)
    assert (answer.code, "--hop: of no use without --stream" in answer.err) == (1, True)


def test_a_table_may_say_more_or_less_than_a_scene_does(tmp_path: Path) -> None:
    truth = stream.read_truth(
        table(tmp_path, [["a.wav", 1, 2, "", "", ""], ["b.wav", 1, 2, "saveme", "", 5]]), "others"
    )
    assert [(each.keyword, each.kind, each.snr_db) for each in truth.utterances] == [
        (None, "speech", None),
        ("saveme", "call", 5),
    ]
    assert list(truth.recordings) == ["a.wav", "b.wav"]
