"""Audio on disk: every format decoded, a shard that others can read, damage told apart."""

from __future__ import annotations

import io
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from command import chain, done, rows
from conftest import Built
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import corpus, encoded, hiss, voice

from pipeline.audio.codec import decode, flac, pcm_hash, unflac
from pipeline.audio.shards import Reader, member_name, writing
from pipeline.core import manifest
from pipeline.core.errors import CorruptMember, ManifestError, RecipeError
from pipeline.core.row import Row

INT16 = [
    "WAV PCM_16",
    "WAV PCM_U8",
    "WAV ULAW",
    "WAV ALAW",
    "WAVEX PCM_16",
    "RF64 PCM_16",
    "AIFF PCM_16",
    "AU PCM_16",
    "FLAC PCM_16",
]
INT32 = ["WAV PCM_24", "WAV PCM_32", "W64 PCM_24", "CAF PCM_24", "FLAC PCM_24"]
FLOAT32 = ["WAV FLOAT", "WAV DOUBLE", "OGG VORBIS", "OGG OPUS", "MP3 MPEG_LAYER_III"]
FORMATS = [
    (name, kind) for names, kind in ((INT16, np.int16), (INT32, np.int32), (FLOAT32, np.float32)) for name in names
]


@pytest.mark.parametrize(("name", "kind"), FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_each_format_is_decoded_as_it_holds_its_samples(name: str, kind: type, channels: int) -> None:
    container, subtype = name.split()
    sound = np.stack([voice(1.0, 48_000, seed) for seed in range(channels)], axis=1)
    data = encoded(sound, 48_000, subtype, container)
    found = decode(data)
    wanted, rate_hz = sf.read(io.BytesIO(data), dtype="float32", always_2d=True)
    assert found.rate_hz == rate_hz == 48_000
    assert found.pcm.dtype == kind
    assert found.pcm.shape == wanted.shape
    scale = 1.0 if kind is np.float32 else float(-np.iinfo(kind).min)
    assert np.abs(found.pcm / scale - wanted).max() < 1e-6
    assert found.format.split()[1] == subtype


def test_the_hash_is_of_samples_channels_type_and_rate() -> None:
    pcm = (voice(0.5) * 32_768).astype(np.int16)
    others = [pcm[:-1], pcm.reshape(-1, 2), -pcm, pcm.astype(np.int32), pcm.astype(np.float32)]
    told = {pcm_hash(pcm, 16_000), pcm_hash(pcm, 8_000), *(pcm_hash(other, 16_000) for other in others)}
    assert len(told) == 7
    assert pcm_hash(pcm, 16_000) == pcm_hash(np.repeat(pcm, 2)[::2], 16_000) == pcm_hash(pcm.reshape(-1, 1), 16_000)


def test_hashes_are_golden() -> None:
    """Identity of a sound, which manifests that were shared hold."""
    assert pcm_hash(np.arange(-5, 5, dtype=np.int16), 16_000) == "15048921bc86fd11cd8dcf63826e64b1"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=300))
def test_flac_gives_back_every_sample(values: list[int]) -> None:
    pcm = np.array(values, np.int16)
    assert np.array_equal(unflac(flac(pcm, 16_000)), pcm)


@pytest.mark.parametrize("data", [b"", b"junk", flac(np.zeros(100, np.int16), 16_000)[:40]])
def test_what_is_no_clip_of_ours_is_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptMember):
        unflac(data)


# ---- shards


@pytest.fixture
def shard(tmp_path: Path) -> tuple[Path, dict[str, np.ndarray], dict[str, tuple[int, int]]]:
    names = [
        f"aihub/Training/{n}_snr2.5_{n}" + "긴" * 40 * (n % 3) for n in range(7)
    ]  # some too long for a plain tar header
    clips = {name: (hiss(0.1 + n / 50, seed=n) * 32_768).astype(np.int16) for n, name in enumerate(names)}
    path = tmp_path / "audio/mix-0.tar"
    with writing(path) as out:
        places = {name: out.put(name, flac(pcm, 16_000)) for name, pcm in clips.items()}
    return path, clips, places


def test_a_shard_is_a_plain_tar_in_row_order(
    shard: tuple[Path, dict[str, np.ndarray], dict[str, tuple[int, int]]],
) -> None:
    path, clips, _ = shard
    with tarfile.open(path, "r:") as tar:
        assert tar.getnames() == [member_name(name) for name in clips]
        for item, pcm in zip(tar, clips.values(), strict=True):
            samples, rate_hz = sf.read(io.BytesIO(tar.extractfile(item).read()), dtype="int16")  # type: ignore[union-attr]
            assert rate_hz == 16_000
            assert np.array_equal(samples, pcm)
            assert (item.mtime, item.uid, item.uname, item.gname) == (0, 0, "", "")


def test_offset_and_bytes_are_those_of_the_flac(
    shard: tuple[Path, dict[str, np.ndarray], dict[str, tuple[int, int]]],
) -> None:
    path, clips, places = shard
    whole = path.read_bytes()
    assert len(whole) % 512 == 0
    for name, (offset, size) in places.items():
        assert np.array_equal(unflac(whole[offset : offset + size]), clips[name])
        assert np.array_equal(Reader(path.parents[1]).stored(path.name, offset, size), clips[name])


def test_webdataset_finds_one_key_and_one_extension_a_clip() -> None:
    """It splits a member's base name at the first dot."""
    for row_id in ("aihub/Training/7_snr2.5_0", "recordings/a.b.wav", "recordings/100%.wav"):
        base = member_name(row_id).rsplit("/", 1)[-1]
        assert base.split(".", 1)[1] == "flac"
    names = ["a.b", "a%2Eb", "a%b", "a%25b", "a_b"]
    assert len({member_name(name) for name in names}) == len(names)


def test_a_shard_that_fails_is_not_there_at_all(tmp_path: Path) -> None:
    def stopped() -> None:
        with writing(tmp_path / "audio/x.tar") as out:
            out.put("a", b"123")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        stopped()
    assert sorted((tmp_path / "audio").iterdir()) == []


def test_rows_of_a_build_point_into_their_shards(built: Built) -> None:
    reader = Reader(built.folder / "manifests")
    for row in rows(built.folder, "mixed").values():
        pcm = reader.pcm(row)
        assert (len(pcm), pcm_hash(pcm, row.rate_hz or 0)) == (row.frames, row.pcm_hash)


def test_a_row_without_audio_says_what_to_run(built: Built) -> None:
    with pytest.raises(ManifestError, match="has no stored audio yet: run prep resample"):
        Reader(built.folder / "manifests").pcm(next(iter(rows(built.folder, "filtered").values())))


def test_a_missing_shard_is_named(built: Built, tmp_path: Path) -> None:
    row = next(iter(rows(built.folder, "resampled").values()))
    with pytest.raises(ManifestError, match=r"resample-[0-9a-f]+\.tar: no such shard; it belongs beside the manifest"):
        Reader(tmp_path).pcm(row)


@pytest.mark.parametrize("damage", ["cut", "overwritten"])
def test_a_damaged_shard_is_named(damage: str, tmp_path: Path) -> None:
    path = chain(
        tmp_path,
        corpus(tmp_path / "c", {"clean_test/a.wav": encoded(voice(1.0)), "noise_test/B_1.wav": encoded(hiss(2.0))}),
    )
    row = next(row for row in manifest.read(path).rows() if row.kind == "mixture")
    audio = path.parent / "audio" / str(row.shard)
    whole = audio.read_bytes()
    audio.write_bytes(whole[: (row.offset or 0) + 100] if damage == "cut" else b"\xff" * len(whole))
    with pytest.raises(ManifestError, match=r"is damaged; the command that made it .* makes it again"):
        Reader(path.parent).pcm(row)


def test_more_shards_than_may_be_open_are_read(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", {f"noise_test/A_{n}.wav": encoded(hiss(0.4, seed=n)) for n in range(24)})
    done(tmp_path, "ingest", "ms-snsd", folder, "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1, "--shard-clips", 1)
    found = rows(tmp_path, "resampled")
    assert len({row.shard for row in found.values()}) > 16
    reader = Reader(tmp_path / "manifests")
    for row in [*found.values(), *found.values()]:
        assert len(reader.pcm(row)) == row.frames


def test_errors_come_back_from_workers_as_they_were() -> None:
    error = pickle.loads(pickle.dumps(CorruptMember("truncated", "it ends early")))
    assert (error.reason, error.detail, str(error)) == ("truncated", "it ends early", "it ends early")
    assert pickle.loads(pickle.dumps(RecipeError(["one", "two"]))).faults == ["one", "two"]


def test_audio_is_float_at_full_scale_one(built: Built) -> None:
    row: Row = next(iter(rows(built.folder, "resampled").values()))
    audio = Reader(built.folder / "manifests").audio(row)
    assert audio.samples.dtype == np.float32
    assert 20 * np.log10(np.abs(audio.samples).max()) == pytest.approx(row.peak_dbfs, abs=1e-3)
