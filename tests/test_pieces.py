"""Pieces of longer recordings, as Kaldi's segments, NeMo's offsets and Lhotse's cuts name them: cut to the frame,
followed to the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from command import done, drops, rows
from sounds import encoded

from pipeline.audio.codec import cut, decode, pcm_hash
from pipeline.audio.shards import Reader
from pipeline.core.errors import CorruptMember
from pipeline.stages import store as opened

RATE_HZ = 16_000
SOUND = (np.random.default_rng(0).normal(0, 0.1, 10 * RATE_HZ)).astype(np.float32)
STRETCHES = {"u1": (0.0, 1.25), "u2": (1.25, 4.0), "u3": (9.0, 10.04), "u4": (12.0, 13.0)}


def talk(root: Path, container: str = "WAV") -> np.ndarray:
    """int16 samples of the one recording that is put under the root."""
    path = root / f"wav/talk.{container.lower()}"
    path.parent.mkdir(parents=True)
    path.write_bytes(encoded(SOUND, RATE_HZ, "VORBIS" if container == "OGG" else "PCM_16", container))
    return np.asarray(sf.read(path, dtype="int16")[0])


def kaldi(root: Path, file: str) -> None:
    data = root / "train"
    data.mkdir()
    (data / "wav.scp").write_text(f"talk wav/{file}\n")
    (data / "segments").write_text("".join(f"{name} talk {begin} {end}\n" for name, (begin, end) in STRETCHES.items()))
    (data / "text").write_text("".join(f"{name} 살려주세요\n" for name in STRETCHES), encoding="utf-8")


def nemo(root: Path, file: str) -> None:
    told = [
        {"id": n, "audio_filepath": f"wav/{file}", "offset": b, "duration": e - b, "text": "x"}
        for n, (b, e) in STRETCHES.items()
    ]
    (root / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))


def lhotse(root: Path, file: str) -> None:
    source = {"type": "file", "channels": [0], "source": f"wav/{file}"}
    held = {
        "id": "talk",
        "sources": [source],
        "sampling_rate": RATE_HZ,
        "num_samples": len(SOUND),
        "duration": 10.0,
        "channel_ids": [0],
    }
    (root / "train_recordings.jsonl").write_text(json.dumps(held) + "\n")
    told = [
        {"id": n, "recording_id": "talk", "start": b, "duration": e - b, "channel": 0, "text": "x"}
        for n, (b, e) in STRETCHES.items()
    ]
    (root / "train_supervisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))


@pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG"])
@pytest.mark.parametrize("write", [kaldi, nemo, lhotse])
def test_pieces_hold_the_samples_between_their_times(write: object, container: str, tmp_path: Path) -> None:
    pcm = talk(tmp_path / "root", container)
    write(tmp_path / "root", f"talk.{container.lower()}")  # type: ignore[operator]
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    found = rows(tmp_path, "recordings")
    assert set(found) == {"recordings/u1", "recordings/u2", "recordings/u3"}
    assert len({row.group for row in found.values()}) == 1
    for name, (begin, end) in list(STRETCHES.items())[:3]:
        own = decode((tmp_path / f"root/wav/talk.{container.lower()}").read_bytes()).pcm
        own = own[round(begin * RATE_HZ) : min(round(end * RATE_HZ), len(pcm))]
        row = found[f"recordings/{name}"]
        assert (row.source_frames, row.source_pcm_hash) == (len(own), pcm_hash(own, RATE_HZ))
    reason, detail = drops(tmp_path, "recordings")["recordings/u4"]
    assert reason == "outside"
    assert "from 12 s to 13 s does not lie in a recording of 10.000 s" in detail


def test_pieces_are_followed_to_the_stored_audio_and_made_again(tmp_path: Path) -> None:
    pcm = talk(tmp_path / "root")
    kaldi(tmp_path / "root", "talk.wav")
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 2)
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    found = rows(tmp_path, "resampled")
    assert np.array_equal(Reader(tmp_path / "manifests").pcm(found["recordings/u2"]), pcm[20_000:64_000])
    done(tmp_path, "pack", "manifests/resampled.parquet")
    again = tmp_path / "again"
    done(
        again,
        "rebuild",
        tmp_path / "manifests/resampled.pack.parquet",
        "--root",
        f"recordings={tmp_path / 'root'}",
        "--jobs",
        1,
    )
    assert rows(again, "resampled").keys() == found.keys()
    done(tmp_path, "verify", "manifests/resampled.parquet", "--level", "recompute", "--jobs", 1)


def test_another_piece_of_the_same_recording_is_measured_anew(tmp_path: Path) -> None:
    talk(tmp_path / "root")
    kaldi(tmp_path / "root", "talk.wav")
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    before = rows(tmp_path, "recordings")["recordings/u1"].source_pcm_hash
    (tmp_path / "root/train/segments").write_text("u1 talk 0.5 1.0\n")
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    assert rows(tmp_path, "recordings")["recordings/u1"].source_pcm_hash != before


@pytest.mark.parametrize(("begin", "end"), [(-0.1, 1.0), (1.0, 1.0), (2.0, 1.0), (10.0, None), (9.0, 10.2)])
def test_a_piece_that_does_not_lie_in_its_recording_is_refused(begin: float, end: float | None) -> None:
    with pytest.raises(CorruptMember, match=r"does not lie in a recording of 10\.000 s"):
        cut(decode(encoded(SOUND, RATE_HZ)), begin, end)


def test_each_recording_is_decoded_once_whatever_its_pieces_are_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    (root / "wav").mkdir(parents=True)
    told = []
    for number in range(3):
        (root / f"wav/{number}.wav").write_bytes(encoded(np.roll(SOUND, number), RATE_HZ))
        pieces = [(f"{id_}{number}", id_ / 2) for id_ in range(8)]  # 00, 10, 20, ...: by id the recordings alternate
        told += [
            {"id": name, "audio_filepath": f"wav/{number}.wav", "offset": at, "duration": 0.5, "text": "x"}
            for name, at in pieces
        ]
    (root / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    decoded: list[int] = []
    monkeypatch.setattr(opened, "decode", lambda data: (decoded.append(len(data)), decode(data))[1])
    done(tmp_path, "ingest", "recordings", root, "--jobs", 1)
    assert len(rows(tmp_path, "recordings")) == 24
    assert len(decoded) == 3
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    assert len(decoded) == 6
