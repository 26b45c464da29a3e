"""The demo corpus: in the true formats, the same each time, with what it says in it."""

from __future__ import annotations

import codecs
import hashlib
import io
import subprocess
import wave
import zipfile
from collections import Counter
from importlib.resources import files
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from pinned import Ended
from pipeline.demo import ROOTS, make
from pipeline.demo.containers import Style, pieces, split_zipped, tarred, zipped
from pipeline.demo.corpora import COCHL_SCENES, wav
from pipeline.demo.scenes import SCENES, scene
from pipeline.demo.voices import RATE_HZ, TEST_VOICES, phrases

from pipeline import corpora
from pipeline.archives import Root
from pipeline.audio.codec import decode, floats
from pipeline.core.errors import CorruptMember
from pipeline.core.keys import rng
from pipeline.corpora import Listing

MEMBERS = {f"폴더/{n}_가.wav": bytes([n]) * (500 * n) for n in range(9)}


@pytest.fixture(scope="module")
def demo(typed_demo: tuple[Path, Ended]) -> Path:
    return typed_demo[0] / "demo-corpus"


def root(demo: Path, name: str) -> Root:
    return Root(name, demo / ROOTS[name])


def claims(demo: Path, name: str) -> Listing:
    return corpora.find(name).clips(root(demo, name))


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != "COMPLETE"  # what `prep demo` writes beside them
    }


def test_there_is_a_root_for_every_corpus(demo: Path) -> None:
    assert sorted(ROOTS) == corpora.names()
    assert {path.name for path in demo.iterdir()} - {"COMPLETE"} == set(ROOTS.values())


def test_the_same_seed_gives_the_same_bytes(demo: Path, tmp_path: Path) -> None:
    make(tmp_path)
    assert digests(tmp_path) == digests(demo)


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("aihub", {"train": 68, "test": 31}),
        ("cochlscene", {"train": 39, "dev": 13, "test": 13}),
        ("ms-snsd", {"train": 6, "test": 6}),
        ("recordings", {"test": 17}),
    ],
)
def test_each_corpus_has_clips_in_its_splits(name: str, splits: dict[str, int], demo: Path) -> None:
    assert Counter(clip.split for clip in claims(demo, name).clips) == splits


def test_the_planted_defects_are_lost_by_name(demo: Path) -> None:
    assert Counter(drop.reason for drop in claims(demo, "aihub").drops) == {
        "no_label": 1,
        "no_audio": 1,
        "bad_label": 1,
    }
    reasons = Counter()
    aihub = root(demo, "aihub")
    for clip in claims(demo, "aihub").clips:
        try:
            decode(aihub.read(clip.place))
        except CorruptMember as error:
            reasons[error.reason] += 1
    assert reasons == {"truncated": 1, "not_audio": 1}


def test_aihub_lies_in_every_container_it_comes_in(demo: Path) -> None:
    names = [path.name for path in (demo / "aihub170").rglob("*")]
    assert any(name.endswith(".tar") for name in names)
    assert any(".zip.part" in name for name in names)
    assert any(name.endswith(" (15).zip") for name in names)
    assert "[원천]4.폭력범죄_1" in names


def test_some_labels_begin_with_a_byte_order_mark_and_some_do_not(demo: Path) -> None:
    starts = [path.read_bytes()[:3] == codecs.BOM_UTF8 for path in (demo / "aihub170").rglob("4.폭력범죄_*.json")]
    assert set(starts) == {True, False}


def test_both_keywords_and_other_speech_are_in_train_and_in_test(demo: Path) -> None:
    for split in ("train", "test"):
        said = {
            (clip.text or "").strip(" .").replace(" ", "")
            for clip in claims(demo, "aihub").clips
            if clip.split == split
        }
        assert {"살려주세요", "도와주세요", "무엇을도와드릴까요"} <= said


def test_nobody_calls_in_two_splits() -> None:
    voices = {phrase.voice for phrase in phrases()}
    assert voices > TEST_VOICES
    for text in {phrase.text for phrase in phrases()}:
        assert len({phrase.voice in TEST_VOICES for phrase in phrases() if phrase.text == text}) == 2


def test_the_carried_speech_is_small_listed_and_says_where_it_comes_from() -> None:
    folder = files("pipeline.demo") / "speech"
    held = {item.name: len(item.read_bytes()) for item in folder.iterdir() if item.name.endswith(".ogg")}
    assert set(held) == {phrase.file for phrase in phrases()}
    assert sum(held.values()) < 1_500_000
    origin = (folder / "ORIGIN.md").read_text("utf-8")
    assert all(word in origin for word in ("Kokoro-82M", "Apache-2.0", *(phrase.voice for phrase in phrases())))


def test_scenes_differ_in_their_spectra() -> None:
    """In some octave any two of the thirteen are 6 dB apart, or more."""
    spectra = {name: octaves(scene(rng(1, name), name, 5.0)) for name in COCHL_SCENES}
    for first, second in combinations(spectra, 2):
        assert np.abs(spectra[first] - spectra[second]).max() > 6.0, (first, second)


def octaves(sound: np.ndarray) -> np.ndarray:
    """Share of each octave from 31 Hz up, in dB."""
    power = np.abs(np.fft.rfft(sound)) ** 2
    hz = np.fft.rfftfreq(len(sound), 1 / RATE_HZ)
    edges = 31.25 * 2.0 ** np.arange(10)
    bands = np.array([power[(hz >= low) & (hz < 2 * low)].sum() for low in edges])
    return 10 * np.log10(bands / bands.sum() + 1e-9)


@pytest.mark.parametrize("name", SCENES)
def test_a_scene_is_finite_within_full_scale_and_not_silent(name: str) -> None:
    sound = scene(rng(0, name), name, 1.0)
    assert sound.dtype == np.float32
    assert len(sound) == RATE_HZ
    assert 0.05 < np.abs(sound).max() < 0.61


@pytest.mark.parametrize(("sample_bytes", "step"), [(2, 2.0**-15), (3, 2.0**-23), (4, 2.0**-31)])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_bytes_hold_the_samples(sample_bytes: int, step: float, channels: int) -> None:
    sound = np.linspace(-1, 1, 101, dtype=np.float32).reshape(-1, 1).repeat(channels, axis=1)
    data = wav(sound if channels == 2 else sound[:, 0], 8_000, sample_bytes)
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth(), file.getnframes()) == (
            8_000,
            channels,
            sample_bytes,
            101,
        )
    assert np.abs(floats(decode(data)) - sound).max() <= 2 * max(step, 2.0**-24)


@pytest.mark.parametrize("style", [Style(), Style(form="NFD"), Style("cp949"), Style(stored=True)], ids=str)
def test_a_zip_of_ours_is_a_zip_to_python(style: Style) -> None:
    with zipfile.ZipFile(io.BytesIO(zipped(MEMBERS, style))) as found:
        assert found.testzip() is None
        assert [info.file_size for info in found.infolist()] == [len(MEMBERS[name]) for name in sorted(MEMBERS)]


@pytest.mark.parametrize("disk_bytes", [300, 2_000, 5_000])
def test_a_split_zip_of_ours_is_whole_to_info_zip(disk_bytes: int, tmp_path: Path) -> None:
    disks = split_zipped(MEMBERS, disk_bytes, Style(stored=True))
    assert all(len(disk) <= disk_bytes for disk in disks[:-1])
    for n, disk in enumerate(disks, 1):
        (tmp_path / ("a.zip" if n == len(disks) else f"a.z{n:02d}")).write_bytes(disk)
    try:
        subprocess.run(["zip", "-s-", "a.zip", "-O", "whole.zip"], cwd=tmp_path, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("Info-ZIP's zip is not installed")
    with zipfile.ZipFile(tmp_path / "whole.zip") as found:
        assert found.testzip() is None
        assert {info.filename: found.read(info) for info in found.infolist()} == MEMBERS


def test_pieces_are_in_the_order_of_their_names_as_text_and_join_by_number() -> None:
    cut = pieces("a.zip", bytes(range(256)) * 5, 100)
    assert list(cut)[:3] == ["a.zip.part0", "a.zip.part100", "a.zip.part1000"]
    assert (
        b"".join(cut[name] for name in sorted(cut, key=lambda name: int(name.rpartition("part")[2])))
        == bytes(range(256)) * 5
    )
    assert tarred(cut) == tarred(cut)
