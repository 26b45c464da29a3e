"""Ingest: what is written down of a recording is true, and what cannot be read is lost by a reason."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf
from command import done, drops, prep, rows
from conftest import ROOTS, Built
from odd import LOST, NOISE, SPEECH
from reference import rms_db
from sounds import corpus, encoded, hiss, voice

READABLE = {name: data for name, (data, reason) in LOST.items() if reason == "silent"}
BROKEN = {name: reason for name, (_, reason) in LOST.items() if reason != "silent"}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all odd recordings were ingested."""
    folder = tmp_path_factory.mktemp("odd")
    files = SPEECH | NOISE | {name: data for name, (data, _) in LOST.items()}
    done(folder, "ingest", "ms-snsd", corpus(folder / "corpus", files), "--jobs", 1)
    return folder


def row_id(name: str) -> str:
    return f"ms-snsd/{Path(name).with_suffix('')}"


@pytest.mark.parametrize("name", [*SPEECH, *NOISE, *READABLE])
def test_columns_say_what_soundfile_says(name: str, ingested: Path) -> None:
    row, data = rows(ingested, "ms-snsd")[row_id(name)], (SPEECH | NOISE | READABLE)[name]
    samples, rate_hz = sf.read(io.BytesIO(data), dtype="float64", always_2d=True)
    info = sf.info(io.BytesIO(data))
    assert (row.source_rate_hz, row.source_frames, row.source_channels) == (rate_hz, *samples.shape)
    assert (row.rate_hz, row.frames) == (rate_hz, len(samples))
    assert row.source_format == f"{info.format} {info.subtype}"
    assert row.zero_share == pytest.approx(np.mean(samples == 0), abs=1e-6)
    if np.var(samples) > 0:
        assert row.level_full_dbfs == pytest.approx(rms_db(samples.ravel()), abs=2e-3)
        assert row.peak_dbfs == pytest.approx(20 * np.log10(np.abs(samples).max()), abs=1e-3)
    else:
        assert row.level_full_dbfs is None


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_what_cannot_be_read_is_lost_by_its_reason(name: str, ingested: Path) -> None:
    reason, detail = drops(ingested, "ms-snsd")[row_id(name)]
    assert reason == BROKEN[name]
    assert len(detail) > 10
    assert "0x" not in detail  # an address in memory would change with each run
    assert row_id(name) not in rows(ingested, "ms-snsd")


def test_nothing_is_lost_unseen(ingested: Path) -> None:
    assert len(rows(ingested, "ms-snsd")) + len(drops(ingested, "ms-snsd")) == len(SPEECH | NOISE | LOST)


CUT_OFF = np.array([0.1, 0.5, -0.9, -0.9, -0.9, -0.9, 0.2, 0.3])  # half of it in a plateau


@pytest.mark.parametrize(
    ("samples", "subtype", "share"),
    [
        (CUT_OFF, "PCM_16", 0.5),
        (CUT_OFF, "PCM_24", 0.5),
        (CUT_OFF, "FLOAT", 0.5),
        (CUT_OFF * 20, "FLOAT", 0.5),  # clipped, and then made louder
        (CUT_OFF / 10, "PCM_16", 0.5),  # or quieter
        (CUT_OFF / 1_000, "PCM_16", 0.0),  # the steps of the quantisation
        (np.array([0.0, 0.5, 32_767 / 32_768, -1.0]), "PCM_16", 0.0),  # loud, but nothing is lost
        (np.array([0.0, 8.0, 20.0, -20.0]), "FLOAT", 0.0),
    ],
)
def test_clipped_share_counts_plateaus_at_the_extremes_at_any_height_in_any_format(
    samples: np.ndarray, subtype: str, share: float, tmp_path: Path
) -> None:
    many = np.tile(samples, 1_000)
    done(
        tmp_path,
        "ingest",
        "ms-snsd",
        corpus(tmp_path / "c", {"noise_test/A_1.wav": encoded(many, subtype=subtype)}),
        "--jobs",
        1,
    )
    assert rows(tmp_path, "ms-snsd")["ms-snsd/noise_test/A_1"].clipped_share == pytest.approx(share)


def test_identical_samples_have_identical_hashes_whatever_they_are_packed_in(tmp_path: Path) -> None:
    pcm = (voice(1.0) * 32_768).astype(np.int16)
    files = {"A_1.wav": encoded(pcm), "B_1.flac": encoded(pcm, container="FLAC"), "C_1.wav": encoded(pcm, 8_000)}
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c/noise_test", files).parent, "--jobs", 1)
    a, b, c = (rows(tmp_path, "ms-snsd")[f"ms-snsd/noise_test/{name}_1"].source_pcm_hash for name in "ABC")
    assert a == b
    assert a != c  # the same numbers at another rate are another sound


def test_a_header_without_samples_is_not_taken_for_one_that_was_never_closed(tmp_path: Path) -> None:
    empty = bytearray(encoded(np.zeros(0, np.float32)) + b"LIST" + (4).to_bytes(4, "little") + b"INFO")
    empty[4:8] = (len(empty) - 8).to_bytes(4, "little")
    files = {"noise_test/A_1.wav": bytes(empty), "noise_test/B_1.wav": encoded(hiss(1.0))}
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", files), "--jobs", 1)
    assert drops(tmp_path, "ms-snsd")["ms-snsd/noise_test/A_1"][0] == "empty"


def test_one_sample_more_is_another_sound(tmp_path: Path) -> None:
    pcm = (hiss(1.0) * 32_768).astype(np.int16)
    other = pcm.copy()
    other[-1] += 1
    files = {f"noise_test/{name}_1.wav": encoded(found) for name, found in (("A", pcm), ("B", other), ("C", pcm[:-1]))}
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", files), "--jobs", 1)
    assert len({row.source_pcm_hash for row in rows(tmp_path, "ms-snsd").values()}) == 3


def wav_with(data_bytes: int | None = None, riff_bytes: int | None = None) -> bytes:
    """A WAV whose header lies about its sizes."""
    raw = bytearray(encoded(voice(1.0)))
    at = raw.index(b"data") + 4
    if data_bytes is not None:
        raw[at : at + 4] = data_bytes.to_bytes(4, "little")
    if riff_bytes is not None:
        raw[4:8] = riff_bytes.to_bytes(4, "little")
    return bytes(raw)


@pytest.mark.parametrize(
    "data",
    [
        wav_with(riff_bytes=0),
        wav_with(riff_bytes=0xFFFFFFFF),
        wav_with(riff_bytes=36),
        wav_with(data_bytes=0xFFFFFFFF, riff_bytes=0xFFFFFFFF),
        wav_with(data_bytes=0, riff_bytes=0),
        wav_with(data_bytes=0xFFFFFFFF - 36, riff_bytes=0xFFFFFFFF),
        wav_with(data_bytes=0x7FFFFFFF - 36, riff_bytes=0x7FFFFFFF),
    ],
    ids=[
        "no RIFF size",
        "endless RIFF",
        "header's RIFF",
        "endless",
        "both nought",
        "endless but for a header",
        "31 bits",
    ],
)
def test_broken_sizes_lose_no_sample(data: bytes, tmp_path: Path) -> None:
    done(
        tmp_path,
        "ingest",
        "ms-snsd",
        corpus(tmp_path / "c", {"noise_test/A_1.wav": data, "noise_test/B_1.wav": encoded(hiss(1.0))}),
        "--jobs",
        1,
    )
    assert rows(tmp_path, "ms-snsd")["ms-snsd/noise_test/A_1"].source_frames == 16_000


@pytest.mark.parametrize("cut", [1, 2, 100, 31_000])
def test_a_wav_that_ends_early_is_truncated(cut: int, tmp_path: Path) -> None:
    files = {"noise_test/A_1.wav": encoded(voice(1.0))[:-cut], "noise_test/B_1.wav": encoded(hiss(1.0))}
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", files), "--jobs", 1)
    reason, detail = drops(tmp_path, "ms-snsd")["ms-snsd/noise_test/A_1"]
    assert reason == "truncated"
    assert f"{cut} bytes" in detail


def test_chunks_after_the_samples_are_no_matter(tmp_path: Path) -> None:
    raw = encoded(voice(1.0)) + b"LIST" + (4).to_bytes(4, "little") + b"INFO"
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", {"noise_test/A_1.wav": raw}), "--jobs", 1)
    assert rows(tmp_path, "ms-snsd")["ms-snsd/noise_test/A_1"].source_frames == 16_000


def test_clips_without_a_known_speaker_share_a_group_where_their_samples_are_the_same(tmp_path: Path) -> None:
    table = "file,transcript,split\na.wav,살려줘,train\nb.wav,살려줘,train\nc.wav,살려줘,train\n"
    files = {
        "a.wav": encoded(voice(1.0)),
        "b.wav": encoded(voice(1.0)),
        "c.wav": encoded(voice(1.0, seed=1)),
        "table.csv": table.encode(),
    }
    done(tmp_path, "ingest", "recordings", corpus(tmp_path / "c", files), "--jobs", 1)
    a, b, c = (rows(tmp_path, "recordings")[f"recordings/{name}.wav"].group for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("name", sorted(ROOTS))
def test_stand_ins_are_ingested_as_expected(name: str, built: Built) -> None:
    truth = _truth(built, name)
    found = rows(built.folder, name)
    assert set(found) == {f"{name}/{key}" for key in truth["rows"]}
    for key, told in truth["rows"].items():
        row = found[f"{name}/{key}"]
        held = {
            "split": row.split,
            "scenario": row.scenario,
            "scene": row.scene,
            "rate_hz": row.source_rate_hz,
            "channels": row.source_channels,
            "frames": row.source_frames,
            "group": row.group,
            "note": row.transcript,
            "transcript": row.transcript or "",
            "subtype": str(row.source_format).split()[1],
            "label": row.labels.get("label"),
        }
        for what, value in told.items():
            assert held[what] == (value or None if what == "note" else value), (key, what)


def test_stand_ins_lose_what_is_expected_by_reasons_that_say_so(built: Built) -> None:
    words = {
        "label is not JSON": "bad_label",
        "wav without label": "no_label",
        "label without wav": "no_audio",
        "not audio": "not_audio",
        "empty file": "empty",
        "truncated header": "truncated",
    }
    found = {key.removeprefix("aihub/"): reason for key, (reason, _) in drops(built.folder, "aihub").items()}
    assert found == {key: words[why] for key, why in _truth(built, "aihub")["drops"].items()}


def _truth(built: Built, name: str) -> dict[str, dict[str, dict[str, object]]]:
    return dict(json.loads((built.corpora / "expected.json").read_text("utf-8"))[name])


def test_the_inventory_is_in_the_answer_and_on_the_screen(built: Built, stand_ins: Path, tmp_path: Path) -> None:
    inventory = str(built.answers["aihub"]["inventory"])
    for told in ("annotations[].note", "recodingType", "살려 주세요", "도움요청"):
        assert told in inventory
    screen = done(tmp_path, "ingest", "aihub", stand_ins / "aihub170", "--jobs", 1).out
    assert "recodingType" in screen


def test_a_limit_is_a_fixed_sample_that_grows(stand_ins: Path, tmp_path: Path) -> None:
    sizes = []
    for limit in (3, 8):
        done(tmp_path, "ingest", "ms-snsd", stand_ins / "ms-snsd", "--jobs", 1, "--limit", limit)
        sizes.append(set(rows(tmp_path, "ms-snsd")))
    assert [len(found) for found in sizes] == [3, 8]
    assert sizes[0] < sizes[1]


def test_a_corpus_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    ended = prep(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", {"noise_test/A_1.wav": b"<html>"}), "--jobs", 1)
    assert ended.code == 1
    assert "not one of 1 rows is left (not_audio 1)" in ended.err
    assert not (tmp_path / "manifests/ms-snsd.parquet").exists()
