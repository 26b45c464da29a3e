"""Pieces of longer recordings, as Kaldi's segments, NeMo's offsets and Lhotse's cuts name them: cut to the frame,
followed to the end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from command import done, drops, prep, rows
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
    monkeypatch.setattr(opened, "decode", lambda data, most: (decoded.append(len(data)), decode(data, most))[1])
    done(tmp_path, "ingest", "recordings", root, "--jobs", 1)
    assert len(rows(tmp_path, "recordings")) == 24
    assert len(decoded) == 3
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    assert len(decoded) == 6


# ---- tables whose columns bound a label in time


@pytest.mark.parametrize(
    ("heading", "lines"),
    [
        ("filename,onset,offset,transcript", ["0.5,1.75", "2,3"]),
        ("path,start,end,text", ["0.5,1.75", "00:02,0:00:03.0"]),
        ("audio_file,start_time,duration,sentence", ["0.5,1.25", "2,1"]),
        ("file,Offset,Duration,transcript", ["0.5,1.25", "2,1"]),
        ("file,start_ms,end_ms,transcript", ["500,1750", "2000,3000"]),
        ("file,begin_s,end_s,transcript", ["0.5,1.75", "2,3"]),
    ],
)
def test_a_table_whose_columns_bound_a_label_in_time_gives_pieces(
    heading: str, lines: list[str], tmp_path: Path
) -> None:
    pcm = talk(tmp_path / "root")
    rest = "".join(f"wav/talk.wav,{times},살려주세요\n" for times in lines)
    (tmp_path / "root/table.csv").write_text(f"{heading}\n{rest}", encoding="utf-8")
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    found = rows(tmp_path, "recordings")
    assert set(found) == {"recordings/wav/talk-0000500-0001750", "recordings/wav/talk-0002000-0003000"}
    for row, (begin, end) in zip(found.values(), [(8_000, 28_000), (32_000, 48_000)], strict=True):
        assert row.source_pcm_hash == pcm_hash(pcm[begin:end, None], RATE_HZ)
        assert row.group == "wav/talk.wav"
    assert found["recordings/wav/talk-0000500-0001750"].labels == {
        "piece_of": "wav/talk.wav",
        "begin_s": "0.5",
        "end_s": "1.75",
    }


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("file,start\nwav/talk.wav,1\n", "the column start bounds a piece of a recording on one side"),
        ("file,start_sample,end_sample\nwav/talk.wav,1,9\n", "the column start_sample is no time"),
        ("file,channel\nwav/talk.wav,1\nwav/talk.wav,2\n", "the column channel has 1, 2 and no 0"),
    ],
)
def test_a_table_that_does_not_say_where_its_pieces_lie_is_refused(table: str, what: str, tmp_path: Path) -> None:
    talk(tmp_path / "root")
    (tmp_path / "root/table.csv").write_text(table)
    ended = prep(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    assert ended.code == 1
    assert what in ended.err


def test_lines_whose_times_are_none_are_drops_that_say_so(tmp_path: Path) -> None:
    talk(tmp_path / "root")
    table = "file,start,end,text\nwav/talk.wav,noon,1,a\nwav/talk.wav,2,1,b\nwav/talk.wav,inf,,c\nwav/talk.wav,9,,d\n"
    (tmp_path / "root/table.csv").write_text(table)
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    assert list(rows(tmp_path, "recordings")) == ["recordings/wav/talk-0009000-end"]
    details = [detail for reason, detail in drops(tmp_path, "recordings").values() if reason == "bad_line"]
    assert [detail.partition(": ")[2].partition(";")[0] for detail in sorted(details)] == [
        'begin "noon"',
        "a piece from 2 s to 1 s",
        'begin "inf"',
    ]


# ---- one channel of several

CALL = np.stack([SOUND[:32_000], np.roll(SOUND, 999)[:32_000] / 2], axis=1)  # a speaker a side
SOURCE = {"type": "file", "channels": [0, 1], "source": "wav/call.wav"}
RECORDING = {"id": "call", "sources": [SOURCE], "sampling_rate": RATE_HZ, "num_samples": 32_000, "channel_ids": [0, 1]}
CUT = {"type": "MonoCut", "start": 0.0, "duration": 2.0, "recording": RECORDING}
SIDES: dict[str, dict[str, str]] = {
    "table": {"table.csv": "file,channel,text\nwav/call.wav,0,a\nwav/call.wav,1,b\n"},
    "words": {"table.csv": "file,Channel,text\nwav/call.wav,left,a\nwav/call.wav,R,b\n"},
    "kaldi": {
        "train/wav.scp": "call wav/call.wav\n",
        "train/segments": "a call 0 2 0\nb call 0.0 -1 1\n",
        "train/text": "a a\nb b\n",
    },
    "kaldi sides": {
        "train/wav.scp": "call-A wav/call.wav\ncall-B wav/call.wav\n",
        "train/reco2file_and_channel": "call-A call A\ncall-B call B\n",
        "train/text": "call-A a\ncall-B b\n",
    },
    "nemo": {
        "train.jsonl": '{"audio_filepath": "wav/call.wav", "text": "a", "channel_selector": 0}\n'
        '{"audio_filepath": "wav/call.wav", "text": "b", "channel_selector": [1], "duration": 2.0}\n'
    },
    "lhotse": {
        "train_recordings.jsonl": json.dumps(RECORDING),
        "train_supervisions.jsonl": "".join(
            json.dumps({"id": text, "recording_id": "call", "start": 0.0, "duration": 2.0, "channel": n, "text": text})
            + "\n"
            for n, text in enumerate("ab")
        ),
    },
    "cuts": {
        "cuts_train.jsonl": "".join(
            json.dumps(CUT | {"id": text, "channel": n, "supervisions": [{"channel": n, "text": text}]}) + "\n"
            for n, text in enumerate("ab")
        )
    },
}


def call(root: Path, files: dict[str, str]) -> np.ndarray:
    """A call with a speaker on each channel, and these files beside it; its samples, int16 [frames, 2]."""
    (root / "wav").mkdir(parents=True)
    (root / "wav/call.wav").write_bytes(encoded(CALL, RATE_HZ))
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return decode((root / "wav/call.wav").read_bytes()).pcm


@pytest.mark.parametrize("form", SIDES)
def test_a_label_of_one_channel_goes_to_the_samples_of_that_channel(form: str, tmp_path: Path) -> None:
    pcm = call(tmp_path / "root", SIDES[form])
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    found = {row.transcript: row for row in rows(tmp_path, "recordings").values()}
    assert set(found) == {"a", "b"}
    for n, text in enumerate("ab"):
        assert found[text].source_channels == 1
        assert found[text].source_pcm_hash == pcm_hash(pcm[:, n : n + 1], RATE_HZ)
        assert found[text].group == "wav/call.wav"
        assert found[text].labels["channel"] == str(n)


def test_a_channel_is_followed_to_the_stored_audio_and_made_again(tmp_path: Path) -> None:
    pcm = call(tmp_path / "root", SIDES["table"])
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    done(tmp_path, "filter")
    done(tmp_path, "resample", "--jobs", 1)
    row = rows(tmp_path, "resampled")["recordings/wav/call-c1"]
    assert np.array_equal(Reader(tmp_path / "manifests").pcm(row), pcm[:, 1])
    done(tmp_path, "verify", "manifests/resampled.parquet", "--level", "recompute", "--jobs", 1)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"table.csv": "file,channel,text\nwav/call.wav,0,a\nwav/call.wav,2,b\n"}, "no_channel"),
        ({"table.csv": "file,channel,text\nwav/call.wav,0,a\nwav/call.wav,both,b\n"}, "bad_line"),
        ({"train/wav.scp": "call wav/call.wav\n", "train/segments": "a call 0 2 0\nb call 0 2 x\n"}, "bad_line"),
        (
            {
                "t.jsonl": '{"audio_filepath": "wav/call.wav", "text": "a", "channel_selector": 0}\n'
                '{"audio_filepath": "wav/call.wav", "text": "b", "channel_selector": [0, 1]}\n'
            },
            "several_channels",
        ),
        (
            {
                "cuts.jsonl": json.dumps(CUT | {"id": "a", "channel": 0})
                + "\n"
                + json.dumps(
                    CUT
                    | {"id": "b", "channel": [0, 1]}
                    | {"supervisions": [{"channel": 0, "text": "a"}, {"channel": 1, "text": "b"}]}
                )
            },
            "several_channels",
        ),
    ],
)
def test_a_channel_that_cannot_be_cut_out_is_a_drop_that_says_so(
    files: dict[str, str], reason: str, tmp_path: Path
) -> None:
    call(tmp_path / "root", files)
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    assert len(rows(tmp_path, "recordings")) == 1
    assert [reason for reason, _ in drops(tmp_path, "recordings").values()] == [reason]


def test_a_column_called_channel_that_numbers_none_is_a_label(tmp_path: Path) -> None:
    talk(tmp_path / "root")
    (tmp_path / "root/table.csv").write_text("file,channel,text\nwav/talk.wav,telephone,a\n")
    done(tmp_path, "ingest", "recordings", tmp_path / "root", "--jobs", 1)
    assert rows(tmp_path, "recordings")["recordings/wav/talk.wav"].labels == {"channel": "telephone"}
