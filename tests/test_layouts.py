"""Layouts in which people have their recordings: what is typed for each, and which clips come out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import done, prep, rows
from corpus_samples import WAV, write
from pipeline.demo.containers import tarred

from pipeline.archives import Root
from pipeline.core.errors import SourceError
from pipeline.corpora import Listing, own, recordings

Claims = Callable[..., Listing]


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    def of(files: Mapping[str, bytes], **facts: Any) -> Listing:
        root = Root("recordings", write(tmp_path / "root", files))
        return recordings.clips(root, own.facts("recordings", facts))

    return of


def said(found: Listing) -> dict[str, tuple[str | None, str, str | None]]:
    assert found.drops == []
    return {clip.key: (clip.text, clip.split, clip.group) for clip in found.clips}


def test_esc_50_has_its_table_in_one_folder_and_its_recordings_in_another(claims: Claims) -> None:
    table = "filename,fold,target,category,esc10\n1-100032-A-0.wav,1,0,dog,True\n1-100038-A-14.wav,1,14,rain,False\n"
    files = {"meta/esc50.csv": table.encode(), "audio/1-100032-A-0.wav": WAV, "audio/1-100038-A-14.wav": WAV}
    for facts in ({}, {"audio_dir": "audio"}):
        found = claims(files, columns={"label": "category"}, **facts)
        assert {clip.key: clip.labels["label"] for clip in found.clips} == {
            "1-100032-A-0.wav": "dog",
            "1-100038-A-14.wav": "rain",
        }
    again = claims({**files, "copies/1-100032-A-0.wav": WAV})
    assert {drop.reason for drop in again.drops} == {"ambiguous_name"}
    assert any("--audio-dir" in drop.detail for drop in again.drops)
    assert not any(
        drop.reason == "ambiguous_name" for drop in claims({**files, "copies/b.wav": WAV}, audio_dir="audio").drops
    )


def test_ksponspeech_has_a_text_in_cp949_beside_each_recording_without_a_header(tmp_path: Path, claims: Claims) -> None:
    pcm = (np.sin(np.arange(16_000) / 5) * 9000).astype("<i2").tobytes()
    names = ["KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000001", "KsponSpeech_01/KsponSpeech_0001/KsponSpeech_000002"]
    files = {f"{name}.pcm": pcm + b"\0" for name in names}
    files |= {f"{name}.txt": "b/ 살려주세요\r\n".encode("cp949") for name in names}
    found = claims(files, transcripts="txt", pcm_rate_hz=16_000)
    assert said(found) == {f"{name}.pcm": ("b/ 살려주세요", "test", None) for name in names}
    assert found.clips[0].place.pcm_rate_hz == 16_000
    with pytest.raises(SourceError, match="beside 2 recordings lies a text: --transcripts txt reads it"):
        claims(files)
    with pytest.raises(SourceError, match=r"2 files of samples without a header \(--pcm-rate 16000"):
        claims(files, transcripts="txt")
    typed = ("--name", "kspon", "--transcripts", "txt", "--pcm-rate", 16_000, "--speaker", r"Speech_(\d{4})/")
    done(tmp_path, "ingest", "recordings", "root", *typed, "--jobs", 2, "--shard-clips", 1)
    first, _ = rows(tmp_path, "kspon").values()
    assert (first.source_rate_hz, first.source_frames, first.source_format) == (16_000, 16_000, "RAW PCM_16")
    assert first.group == "0001"
    done(tmp_path, "filter", "--splits", "test")
    done(tmp_path, "resample", "--jobs", 1)
    assert {row.keyword for row in rows(tmp_path, "resampled").values()} == {"saveme"}
    assert "pcm_rate_hz: found 3, expected" in prep(tmp_path, "ingest", "recordings", "root", "--pcm-rate", 3).err


def test_zeroth_and_librispeech_have_a_text_of_several_recordings_in_each_folder(claims: Claims) -> None:
    files = {
        "train_data_01/003/104/104_003.trans.txt": "104_003_0019 그는 말했다\n104_003_0019b 둘째\n".encode(),
        "train_data_01/003/104/104_003_0019.flac": WAV,
        "train_data_01/003/104/104_003_0019b.flac": WAV,
        "test_data_01/003/105/105_003.trans.txt": "105_003_0001 셋째\n105_003_0002 넷째\n".encode(),
        "test_data_01/003/105/105_003_0001.flac": WAV,
        "test_data_01/003/105/105_003_0003.flac": WAV,
    }
    found = claims(files, transcripts="trans.txt", speaker=r"(\d+)_\d+_\d+")
    assert {clip.key: (clip.text, clip.split, clip.group) for clip in found.clips} == {
        "train_data_01/003/104/104_003_0019.flac": ("그는 말했다", "train", "104"),
        "train_data_01/003/104/104_003_0019b.flac": ("둘째", "train", "104"),
        "test_data_01/003/105/105_003_0001.flac": ("셋째", "test", "105"),
    }
    assert {drop.reason for drop in found.drops} == {"no_audio", "no_label"}


def test_tables_whose_names_are_splits_are_read_together_as_common_voice_has_them(claims: Claims) -> None:
    files: dict[str, bytes] = {f"clips/{n}.wav": WAV for n in range(4)}
    for n, split in enumerate(("train", "dev", "test")):
        files[f"{split}.tsv"] = f"client_id\tpath\tsentence\n{split}\t{n}.wav\t문장 {n}\n".encode()
    one = {f"{n}.wav": (f"문장 {n}", split, split) for n, split in enumerate(("train", "dev", "test"))}
    assert {clip.key: (clip.text, clip.split, clip.group) for clip in claims(files).clips} == one
    files["validated.tsv"] = b"client_id\tpath\tsentence\nx\t3.wav\tx\n"
    with pytest.raises(SourceError, match=r"4 files could be the table: .*; --table NAME says which, once or more"):
        claims(files)
    found = claims(files, tables=["test.tsv", "validated.tsv"])
    assert {clip.key: clip.split for clip in found.clips} == {"2.wav": "test", "3.wav": "test"}
    assert [clip.split for clip in claims(files, tables=["train.tsv"]).clips] == ["train"]
    with pytest.raises(SourceError, match=r"no table tset.tsv \(--table\); there are dev.tsv, test.tsv, .* 1 more"):
        claims(files, tables=["tset.tsv"])


@pytest.mark.parametrize(
    ("files", "typed"),
    [
        ({"meta/u8k.csv": b"slice_file_name,class\na.wav,dog\n"}, "--column file=slice_file_name"),
        ({"metadata.csv": b"a|said\nb|more\n"}, "--column file=1"),
        ({"1.trans.txt": b"a HELP ME\n"}, "--transcripts trans.txt"),
        ({"a.txt": b"HELP ME\n"}, "--transcripts txt"),
        ({"labels.xlsx": b"PK"}, "labels.xlsx may be one: save it there as CSV UTF-8"),
        ({"genres/rock/b.wav": WAV}, "where folders are classes, .*`file,label`"),
    ],
)
def test_what_could_be_read_otherwise_says_how(claims: Claims, files: dict[str, bytes], typed: str) -> None:
    with pytest.raises(SourceError, match=typed):
        claims({**files, "a.wav": WAV})


def test_json_of_each_recording_is_read_by_paths_wherever_it_lies(claims: Claims) -> None:
    labels = {"said": {"text": "살려줘", "s": 1.5, "0th": "x"}, "who": {"id": "F1"}, "parts": [{"a": 1}, {"a": 2}]}
    files = {f"Training/sound/{n}.wav": WAV for n in "abc"} | {"Training/label/c.json": b"{"}
    files |= {f"Training/label/{n}.json": json.dumps(labels, ensure_ascii=False).encode() for n in "ab"}
    columns = {"transcript": "said.text", "speaker": "who.id"}
    found = claims(files, transcripts="json", columns=columns)
    assert {clip.key: (clip.text, clip.split, clip.group, dict(clip.labels)) for clip in found.clips} == {
        f"Training/sound/{n}.wav": ("살려줘", "train", "F1", {"said.s": "1.5", "said.0th": "x"}) for n in "ab"
    }
    assert [(drop.id, drop.reason) for drop in found.drops] == [("recordings/Training/sound/c.wav", "bad_label")]
    assert claims(files, transcripts="json", columns=columns | {"label": "parts.0.a"}).clips[0].labels["label"] == "1"
    with pytest.raises(
        SourceError, match=r"a.json has said.text, said.s, said.0th, who.id, parts.0.a: say --column transcript"
    ):
        claims(files, transcripts="json")
    with pytest.raises(SourceError, match="--transcripts json reads it"):
        claims(files)


def test_a_table_without_headings_has_its_columns_by_number(claims: Claims) -> None:
    lines = 'LJ001-0001|He said "so, |x\nLJ001-0002|둘째|y\n'
    files = {"metadata.csv": lines.encode(), "wavs/LJ001-0001.wav": WAV, "wavs/LJ001-0002.wav": WAV}
    found = claims(files, columns={"file": "1", "transcript": "2"})
    assert said(found) == {"LJ001-0001": ('He said "so, ', "test", None), "LJ001-0002": ("둘째", "test", None)}
    assert found.clips[0].labels == {"column_3": "x"}
    with pytest.raises(SourceError, match=r"nor all that --column file=1, --column transcript=9 names in metadata.csv"):
        claims(files, columns={"file": "1", "transcript": "9"})


def test_an_event_list_has_several_lines_for_one_recording(claims: Claims) -> None:
    table = b"fname\tstart_s\tend_s\tevent\na.wav\t0.5\t1\tscream\na.wav\t2\t2.5\tglass\n"
    found = claims({"events.tsv": table, "a.wav": WAV}, columns={"file": "fname", "label": "event"})
    assert {clip.key: (clip.place.begin_s, clip.labels["label"]) for clip in found.clips} == {
        "a-0000500-0001000": (0.5, "scream"),
        "a-0002000-0002500": (2.0, "glass"),
    }


def test_tars_of_nemo_are_read_and_nan_is_no_fault(claims: Claims) -> None:
    lines = [
        '{"audio_filepath": "a.wav", "duration": NaN, "text": "하나", "shard_id": 0}',
        '{"audio_filepath": "a.wav", "duration": 1.0, "text": "둘", "shard_id": 1}',
    ]
    tars = {f"audio_{n}.tar": tarred({"a.wav": WAV + bytes([n])}) for n in (0, 1)}
    found = claims({"tarred_audio_manifest.json": "\n".join(lines).encode(), **tars})
    assert {clip.text: clip.place.container for clip in found.clips} == {"하나": "audio_0.tar", "둘": "audio_1.tar"}
    assert len({clip.key for clip in found.clips}) == 2


def test_a_stretch_that_a_tar_of_nemo_holds_once_is_found_under_its_name_without_sub(claims: Claims) -> None:
    lines = [
        '{"audio_filepath": "a.wav", "offset": 0.0, "duration": 0.2, "text": "하나 ", "shard_id": 0}',
        '{"audio_filepath": "a-sub1.wav", "offset": 0.2, "duration": 0.3, "text": "둘", "shard_id": 0}',
        '{"audio_filepath": "b-sub1.wav", "duration": 1.0, "text": "셋", "shard_id": -1}',
    ]
    files = {"manifest.json": "\n".join(lines).encode(), "audio_0.tar": tarred({"a.wav": WAV}), "b-sub1.wav": WAV}
    found = claims(files)
    times = {clip.text: (clip.source.rpartition("/")[2], clip.place.begin_s, clip.place.end_s) for clip in found.clips}
    assert {text: (begin, end) for text, (_, begin, end) in times.items()} == {
        "하나 ": (0.0, 0.2),
        "둘": (0.2, 0.5),
        "셋": (None, None),
    }


def test_a_transcript_of_a_table_is_as_the_cell_has_it(claims: Claims) -> None:
    table = "file,transcript,label\na.wav, 살려 주세요.  , x \n".encode()
    (clip,) = claims({"t.csv": table, "a.wav": WAV}).clips
    assert (clip.text, clip.labels["label"]) == ("살려 주세요.  ", "x")


def test_folders_of_hugging_face_name_file_and_transcription_in_json_lines(claims: Claims) -> None:
    line = json.dumps({"file_name": "data/a.wav", "transcription": "살려주세요"})
    assert said(claims({"train/metadata.jsonl": line.encode(), "train/data/a.wav": WAV})) == {
        "data/a.wav": ("살려주세요", "train", None)
    }


@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl"])
def test_files_of_one_name_in_folders_of_several_splits_are_several(name: str, claims: Claims) -> None:
    files = {}
    for split in ("train", "test"):
        cells = {"file_name": "0.wav", "transcription": f"of {split}", "speaker_id": f"s {split}"}
        table = f"{','.join(cells)}\n{','.join(cells.values())}\n" if name.endswith("csv") else json.dumps(cells)
        files |= {f"{split}/{name}": table.encode(), f"{split}/0.wav": WAV + split.encode()}
    found = claims(files)
    assert said(found) == {f"{split}/0.wav": (f"of {split}", split, f"s {split}") for split in ("train", "test")}
    assert {clip.place.container for clip in found.clips} == {"train/0.wav", "test/0.wav"}
    assert not found.drops


def test_pieces_of_files_of_one_name_are_of_two_groups(claims: Claims) -> None:
    table = b"file,start,end,transcript\n0.wav,0,0.5,x\n0.wav,0.5,1,y\n"
    found = claims(
        {
            f"{split}/{name}": data
            for split in ("train", "test")
            for name, data in {"metadata.csv": table, "0.wav": WAV}.items()
        }
    )
    assert {(clip.split, clip.group) for clip in found.clips} == {("train", "train/0.wav"), ("test", "test/0.wav")}
    assert len({clip.key for clip in found.clips}) == len(found.clips) == 4


def test_an_archive_of_kaldi_is_named(claims: Claims) -> None:
    found = claims({"data/wav.scp": b"u1 exp/wav.ark:3\nu2 a.wav\n", "data/text": b"u1 x\nu2 y\n", "data/a.wav": WAV})
    assert [(drop.reason, "wav-copy" in drop.detail) for drop in found.drops] == [("kaldi_archive", True)]


@pytest.mark.parametrize("space", [" ", "\u3000"])
def test_names_that_do_begin_with_a_space_are_found(space: str, claims: Claims) -> None:
    table = f"file,transcript\n{space}a.wav,하나\n b.wav,둘\n".encode()
    assert said(claims({"t.csv": table, f"{space}a.wav": WAV, "b.wav": WAV})) == {
        f"{space}a.wav": ("하나", "test", None),
        "b.wav": ("둘", "test", None),
    }


@pytest.mark.parametrize("name", ["a.sph", "a.wave", "a.voc", "a.snd", "a.aifc", "a.webm", "a.mp4", "a.mov", "a.mka"])
def test_recordings_of_more_suffixes_are_known(name: str, claims: Claims) -> None:
    assert list(said(claims({"t.csv": f"file,text\n{name},하나\n".encode(), name: WAV}))) == [name]


def test_a_text_may_lie_in_a_folder_of_its_own(claims: Claims) -> None:
    files = {"wav/s1/a.wav": WAV, "txt/s1/a.txt": b"one", "wav/s1/b.wav": WAV, "wav/s2/b.wav": WAV, "txt/b.txt": b"two"}
    found = claims(files, transcripts="txt")
    assert [(clip.key, clip.text) for clip in found.clips] == [("wav/s1/a.wav", "one")]
    assert {drop.reason for drop in found.drops} == {"no_audio", "no_label"}


def test_a_file_that_is_there_is_not_said_to_be_missing(claims: Claims) -> None:
    found = claims({"t.csv": b"file,text\na.ac3,x\nb.wav,y\nc.ac3,z\n", "a.ac3": WAV, "b.wav": WAV})
    assert {drop.id[-5:]: "is there, but its suffix" in drop.detail for drop in found.drops} == {
        "a.ac3": True,
        "c.ac3": False,
    }


def test_manifests_that_are_well_formed_and_false_are_drops_or_one_error(claims: Claims) -> None:
    with pytest.raises(SourceError, match=r"t\.csv: its first line has 200,005 letters"):
        claims({"t.csv": b"file," + b"c" * 200_000 + b"\n", "z.wav": WAV})
    kaldi = {"wav.scp": b"u1 z.wav\n", "segments": b"s1 u1 0 1e400\ns2 u1 0 1e307\n", "text": b"s1 x\ns2 y\n"}
    assert len(claims({**kaldi, "z.wav": WAV}, form="kaldi").drops) == 2
    nemo = (
        b'{"audio_filepath": "z.wav"}\n{"audio_filepath": "z.wav", "duration": 1e307}\n'
        + b"[" * 100_000
        + b'\n{"audio_filepath": "z.wav", "text": "\\ud800"}\n'
    )
    assert {drop.reason for drop in claims({"m.jsonl": nemo, "z.wav": WAV}, form="nemo").drops} == {"bad_line"}
    times = b"file,start,end\nz.wav,0,1\nz.wav,0,1e307\n"
    assert {drop.reason for drop in claims({"t.csv": times, "z.wav": WAV}).drops} == {"bad_line"}


def test_a_hidden_file_is_said_to_be_one(claims: Claims) -> None:
    found = claims({"t.csv": b"file,text\n.a.wav,x\nb.wav,y\n", ".a.wav": WAV, "b.wav": WAV})
    assert "a hidden file" in found.drops[0].detail


@pytest.mark.parametrize("typed", ["file", "fiel=x", "file="])
def test_a_column_that_means_nothing_is_refused(typed: str, tmp_path: Path) -> None:
    refused = prep(tmp_path, "ingest", "recordings", ".", "--column", typed)
    assert (refused.code, f"--column {typed}: expected ROLE=HEADING" in refused.err) == (1, True)
