"""Exports are read by those they are made for: Lhotse, datasets, pandas, webdataset; the forms of NeMo and Kaldi by
their rules."""

from __future__ import annotations

import csv
import io
import json
import re
import tarfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile as sf
import webdataset
from command import done
from exported import odd_set, rows, samples
from lhotse import CutSet, Recording
from lhotse.cut import MixedCut
from lhotse.kaldi import load_kaldi_data_dir

from pipeline.audio.codec import pcm_hash

Export = Callable[..., Path]
LSB = 2.0**-15
leaves_open = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)  # webdataset: files of streams not read to the end


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_set(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def export(odd: Path, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The folder of an export of a manifest, made once."""
    made: dict[tuple[object, ...], Path] = {}

    def one(name: str, form: str, *more: object) -> Path:
        if (name, form, *more) not in made:
            out = tmp_path_factory.mktemp("out") / f"{name}.{form}"
            done(odd, "export", f"manifests/{name}.parquet", "--to", form, "--own-use", "--out", out, *more)
            made[name, form, *more] = out
        return made[name, form, *more]

    return one


def manifest_of(odd: Path, name: str) -> Path:
    return odd / f"manifests/{name}.parquet"


def snippet(folder: Path, number: int = 0) -> dict[str, Any]:
    """What the code in the export's README leaves behind, run in its folder."""
    found = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)
    names: dict[str, Any] = {}
    with chdir(folder):
        for code in found[: number + 1]:
            exec(compile(code, "README.md", "exec"), names)
    return names


def test_the_set_holds_what_makes_exports_hard(odd: Path) -> None:
    held = rows(manifest_of(odd, "virtual")).values()
    lengths = {row.id: row.frames or 0 for row in held}
    mixed = [row for row in held if row.kind == "mixture"]
    assert all(row.shard is None for row in mixed)
    assert any(row.gain_db for row in mixed)
    assert any((row.noise_start or 0) + (row.frames or 0) > lengths[row.noise_id or ""] for row in mixed)
    assert any(
        (row.noise_start or 0) + (row.frames or 0) <= lengths[row.noise_id or ""] and row.noise_start for row in mixed
    )


# ---- Lhotse


def cuts(folder: Path) -> dict[str, Any]:
    found = {}
    for path in sorted(folder.glob("cuts_*.jsonl.gz")):
        for cut in CutSet.from_file(path).with_recording_path_prefix(folder):
            assert cut.id not in found
            assert path.name == f"cuts_{cut.custom['split']}.jsonl.gz"
            found[cut.id] = cut
    return found


def test_lhotse_gets_the_samples_of_stored_clips(odd: Path, export: Export) -> None:
    found = cuts(export("mixed", "lhotse"))
    held = rows(manifest_of(odd, "mixed"))
    assert found.keys() == held.keys()
    for row_id, cut in found.items():
        pcm = np.asarray(cut.load_audio()[0] / LSB)
        assert pcm_hash(pcm.astype(np.int16), cut.sampling_rate) == held[row_id].pcm_hash
        assert np.array_equal(pcm, np.rint(pcm))


def test_lhotse_mixes_virtual_mixtures_to_the_samples_of_the_manifest(odd: Path, export: Export) -> None:
    found, held, truth = (
        cuts(export("virtual", "lhotse")),
        rows(manifest_of(odd, "virtual")),
        samples(manifest_of(odd, "virtual")),
    )
    assert found.keys() == held.keys()
    off = 0
    for row_id, cut in found.items():
        assert isinstance(cut, MixedCut) == (held[row_id].kind == "mixture")
        heard = cut.load_audio()[0].astype(np.float64) / LSB
        assert heard.shape == truth[row_id].shape
        assert np.abs(heard - truth[row_id]).max() < 0.51  # half a step is what rounding to 16 bits takes
        off += int(np.count_nonzero(np.rint(heard) != truth[row_id]))
    assert off / sum(map(len, truth.values())) < 1e-4


def test_the_snr_of_a_mixed_cut_is_what_lhotse_means(odd: Path, export: Export) -> None:
    held = rows(manifest_of(odd, "virtual"))
    for row_id, cut in cuts(export("virtual", "lhotse")).items():
        if isinstance(cut, MixedCut):
            speech, noise = cut.load_audio(mixed=False)
            told = cut.tracks[1].snr
            assert told == pytest.approx(10 * np.log10(np.mean(speech**2) / np.mean(noise**2)), abs=1e-4)
            if "offset" not in row_id:  # there the mean counts for Lhotse and not for the manifest
                assert told == pytest.approx(held[row_id].snr_full_db, abs=0.05)
            assert cut.custom["snr_active_db"] == held[row_id].snr_active_db


def test_lhotse_gets_transcripts_speakers_and_labels(odd: Path, export: Export) -> None:
    held = rows(manifest_of(odd, "virtual"))
    for row_id, cut in cuts(export("virtual", "lhotse")).items():
        row = held[row_id]
        assert [s.text for s in cut.supervisions] == ([row.transcript] if row.transcript else [])
        assert all(s.speaker == row.group for s in cut.supervisions)
        if row.kind != "mixture" or cut.supervisions:
            assert {k: v for k, v in cut.custom.items() if k.startswith("label.")} == {
                f"label.{k}": v for k, v in row.labels.items()
            }
            assert (cut.custom.get("keyword"), cut.custom["noise_label"]) == (row.keyword, row.noise_label)


def test_a_part_of_several_virtual_mixtures_is_written_once(export: Export) -> None:
    files = [path.name for path in export("virtual", "lhotse").rglob("*.flac")]
    noise = [name for name in files if name.endswith("_noise.flac")]
    assert len(files) - len(noise) == 9
    assert noise


# ---- Hugging Face


def test_datasets_loads_clips_with_an_audio_feature_and_our_splits(odd: Path, export: Export) -> None:
    """Bytes are decoded by soundfile: `datasets` decodes by torchcodec, which needs an FFmpeg on the machine."""
    folder = export("virtual", "hf")
    held = rows(manifest_of(odd, "virtual"))
    loaded = datasets.load_dataset(str(folder), cache_dir=str(folder.parent / "cache"))
    assert set(loaded) == {"train", "dev", "test"}
    for split, part in loaded.items():
        assert part.features["audio"] == datasets.Audio(sampling_rate=16_000)
        for clip in part.cast_column("audio", datasets.Audio(decode=False)):
            row = held.pop(clip["id"])
            pcm, rate_hz = sf.read(io.BytesIO(clip["audio"]["bytes"]), dtype="int16")
            assert pcm_hash(pcm, rate_hz) == row.pcm_hash
            assert (split, clip["split"], clip["transcript"], clip["keyword"]) == (
                row.split,
                row.split,
                row.transcript,
                row.keyword,
            )
            assert {pair["key"]: pair["value"] for pair in clip["labels"]} == row.labels
            assert clip["snr_db"] == row.snr_db
    assert not held


def test_parquet_alone_says_that_audio_is_sound(export: Export) -> None:
    (path,) = (export("mixed", "hf") / "data").glob("train-*.parquet")
    part = datasets.load_dataset(
        "parquet", data_files=str(path), split="train", cache_dir=str(path.parents[2] / "cache")
    )
    assert part.features["audio"] == datasets.Audio(sampling_rate=16_000)
    assert part.features["noise_start"] == datasets.Value("int64")


def test_parquet_is_cut_into_files_of_a_bounded_size(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.export.hf.FILE_BYTES", 100_000)
    done(odd, "export", "manifests/mixed.parquet", "--to", "hf", "--own-use", "--out", tmp_path / "x")
    files = sorted((tmp_path / "x/data").glob("train-*.parquet"))
    assert [path.name for path in files] == [f"train-{n:05d}-of-{len(files):05d}.parquet" for n in range(len(files))]
    assert len(files) > 1
    ids = [
        row_id
        for path in sorted((tmp_path / "x/data").glob("*"))
        for row_id in pq.read_table(path).column("id").to_pylist()
    ]
    assert sorted(ids) == sorted(rows(manifest_of(odd, "mixed")))


# ---- NeMo


def test_nemo_lines_name_stretches_of_files_that_are_the_clips(odd: Path, export: Export) -> None:
    """As NeMo reads them: a path with a folder counts from the manifest's; offset and duration in seconds."""
    folder = export("virtual", "nemo")
    held = rows(manifest_of(odd, "virtual"))
    for path in sorted(folder.glob("*.jsonl")):
        for told in map(json.loads, path.read_text("utf-8").splitlines()):
            row = held.pop(told["id"])
            file = folder / told["audio_filepath"]
            assert file.parent != folder
            assert len(told["audio_filepath"]) < 255
            rate_hz = sf.info(file).samplerate
            pcm, _ = sf.read(file, round(told["duration"] * rate_hz), round(told["offset"] * rate_hz), dtype="int16")
            assert pcm_hash(pcm, rate_hz) == row.pcm_hash
            assert (path.stem, told["text"], told["speaker"]) == (row.split, row.transcript or "", row.group)
            assert {k: v for k, v in told.items() if k.startswith("label.")} == {
                f"label.{k}": v for k, v in row.labels.items()
            }
    assert not held


# ---- Kaldi


def words(path: Path) -> list[list[bytes]]:
    data = path.read_bytes()
    assert data.endswith(b"\n")
    return [line.split() for line in data.splitlines()]


@pytest.mark.parametrize("name", ["train", "dev", "test", "train_no_text", "dev_no_text", "test_no_text"])
def test_a_kaldi_directory_passes_the_structural_checks(name: str, export: Export) -> None:
    """What utils/validate_data_dir.sh asks of wav.scp, text, utt2spk, spk2utt, utt2dur, in the C locale: bytes."""
    folder = export("mixed", "kaldi") / name
    utt2spk, spk2utt = words(folder / "utt2spk"), words(folder / "spk2utt")
    utterances = [line[0] for line in utt2spk]
    assert utt2spk
    assert all(len(line) == 2 for line in utt2spk)
    for file in ("utt2spk", "spk2utt", "wav.scp", "utt2dur", *(["text"] if "no_text" not in name else [])):
        first = [line[0] for line in words(folder / file)]
        assert first == sorted(set(first)), file
        assert file == "spk2utt" or first == utterances
    assert sorted(utt2spk, key=lambda line: (line[1], line[0])) == utt2spk
    assert sorted([utt, line[0]] for line in spk2utt for utt in line[1:]) == utt2spk
    assert all(len(line) == 2 and float(line[1]) > 0 for line in words(folder / "utt2dur"))
    assert (folder / "text").exists() == ("no_text" not in name)
    for line in words(folder / "wav.scp"):
        assert len(line) == 2
        assert not line[1].startswith(b"~")
        assert not line[1].endswith(b"|")
    if "no_text" not in name:
        text = (folder / "text").read_text("utf-8")
        assert not re.search(r"<s>|</s>|#0|[^\S \n]", text)
        assert all(len(line) > 1 for line in words(folder / "text"))


def test_lhotse_reads_the_kaldi_directory_with_our_samples(odd: Path, export: Export) -> None:
    folder = export("mixed", "kaldi")
    by_hash = {row.pcm_hash: row for row in rows(manifest_of(odd, "mixed")).values()}
    with chdir(folder):
        for name in ("train", "test", "train_no_text"):
            recordings, supervisions, _ = (
                load_kaldi_data_dir(name, 16_000) if "no" not in name else (*load_recordings(name), None)
            )
            for recording in recordings:
                pcm = np.asarray(recording.load_audio()[0] / LSB).astype(np.int16)
                row = by_hash[pcm_hash(pcm, recording.sampling_rate)]
                assert row.split == name.split("_")[0]
                if supervisions is not None:
                    assert supervisions[recording.id].text.split() == (row.transcript or "").replace("<s>", "").split()


def load_recordings(name: str) -> tuple[Any, None]:
    """Without `text` Lhotse must be told that no supervisions are wanted: it takes utt2spk for their list."""
    scp = dict(line.split(" ", 1) for line in (Path(name) / "wav.scp").read_text("utf-8").splitlines())
    return [Recording.from_file(path, utterance) for utterance, path in scp.items()], None


# ---- WebDataset


@leaves_open
@pytest.mark.parametrize("more", [(), ("--audio", "copy")], ids=["shards as they are", "copied"])
@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_webdataset_streams_samples_and_labels_together(
    more: tuple[str, ...], split: str, odd: Path, export: Export
) -> None:
    folder = export("mixed", "webdataset", *more)
    held = {row_id: row for row_id, row in rows(manifest_of(odd, "mixed")).items() if row.split == split}
    clips = snippet(folder)["clips"] if split == "train" else other(folder, split)
    with chdir(folder):
        for clip in clips:
            told = clip["json"] if isinstance(clip["json"], dict) else json.loads(clip["json"])
            row = held.pop(told["id"])
            pcm, rate_hz = sf.read(io.BytesIO(clip["flac"]), dtype="int16")
            assert pcm_hash(pcm, rate_hz) == row.pcm_hash
            assert (told.get("transcript"), told["split"], told["noise_label"]) == (
                row.transcript,
                split,
                row.noise_label,
            )
    assert not held


def other(folder: Path, split: str) -> Any:
    """The README's code with another split."""
    code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text("utf-8"), re.S)[0].replace(
        "train", split
    )
    names: dict[str, Any] = {}
    with chdir(folder):
        exec(compile(code, "README.md", "exec"), names)
    return names["clips"]


def test_the_shards_are_not_copied_where_webdataset_reads_them_as_they_are(export: Export) -> None:
    folder = export("mixed", "webdataset")
    assert sorted(path.name for path in folder.iterdir()) == [
        ".gitignore",
        "README.md",
        "labels.jsonl",
        "prep-export.json",
    ]
    assert str(folder.parents[1]) not in (folder / "labels.jsonl").read_text("utf-8").replace("../", "")


@leaves_open
def test_tars_of_webdataset_are_plain_and_in_row_order(odd: Path, export: Export) -> None:
    folder = export("virtual", "webdataset", "--audio", "copy")
    with tarfile.open(folder / "test-000000.tar") as tar:
        names = tar.getnames()
    assert len(names) == 2 * sum(row.split == "test" for row in rows(manifest_of(odd, "virtual")).values())
    assert [name.rsplit(".", 1)[0] for name in names[::2]] == [name.rsplit(".", 1)[0] for name in names[1::2]]
    assert all(name.count(".") == 1 for name in names)
    assert next(iter(webdataset.WebDataset(str(folder / "test-000000.tar"), shardshuffle=False))).keys() >= {
        "__key__",
        "flac",
        "json",
    }


# ---- CSV


def test_pandas_and_excel_read_the_table_to_the_letter(odd: Path, export: Export) -> None:
    path = export("mixed", "csv") / "mixed.csv"
    held = rows(manifest_of(odd, "mixed"))
    table = pd.read_csv(path, keep_default_na=False, na_values=[""])
    assert path.read_bytes().startswith(b"\xef\xbb\xbf")
    assert list(table["id"]) == list(held)
    for told in table.to_dict("records"):
        row = held[told["id"]]
        for column in ("transcript", "keyword", "scene", "snr_active_db", "frames"):
            assert told[column] == getattr(row, column) or (pd.isna(told[column]) and getattr(row, column) is None)
        assert {k[6:]: v for k, v in told.items() if k.startswith("label.") and not pd.isna(v)} == row.labels
    with open(path, encoding="utf-8-sig", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(held)


@pytest.mark.parametrize("form", ["lhotse", "hf", "nemo", "kaldi", "csv"])
def test_the_code_in_an_exports_readme_runs(form: str, export: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(export("mixed", form).parent / "cache"))
    assert snippet(export("mixed", form), number=1)
