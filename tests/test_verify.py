"""What verifying finds: each planted fault by name, at the level that can see it, and nothing in a whole set."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from command import done, held, prep
from conftest import Built
from shared_set import flags, laid_out, small_set, wav

from pipeline.audio.codec import shape
from pipeline.audio.shards import Reader, writing
from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.row import Row
from pipeline.share import pack


@pytest.fixture(scope="module")
def whole(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage was run, and its mixed set was packed."""
    folder = small_set(built, tmp_path_factory.mktemp("whole"))
    done(folder, "pack", "manifests/mixed.parquet")
    return folder


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpora, every file on its own."""
    return laid_out(built.corpora, tmp_path_factory.mktemp("unpacked"), "unpacked")


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    shutil.copytree(whole, tmp_path / "set")
    return tmp_path / "set"


def verify(folder: Path, level: str, *more: object, of: str = "mixed.parquet") -> tuple[int, list[dict[str, Any]]]:
    """(exit code, findings of the last level) of `prep verify`."""
    ended = prep(folder, "verify", f"manifests/{of}", "--level", level, "--json", "--jobs", 1, *more)
    told = ended.json()
    assert told["holds"] == (ended.code == 0)
    assert [checked["level"] for checked in told["levels"]][-1] == level
    return ended.code, told["levels"][-1]["findings"]


def changed(folder: Path, change: Callable[[dict[str, Row]], dict[str, Row]], name: str = "mixed") -> None:
    """The manifest with rows changed behind its back: it still says the hash of those that were written."""
    before = held(folder, name)
    rows = change({row.id: row for row in before.rows()})
    sealed = parquet.metadata(before.path)
    parquet.write(before.path, frames.from_rows(rows.values(), Row), sealed)


def mixtures(folder: Path) -> list[Row]:
    return [row for row in held(folder, "mixed").rows() if row.kind == "mixture"]


def restored(folder: Path, sounds: Callable[[dict[str, bytes]], dict[str, bytes]]) -> None:
    """The shard of the first mixture with other FLAC bytes, written anew, and rows that say where they lie."""
    shard = str(mixtures(folder)[0].shard)
    path = folder / "manifests/audio" / shard
    rows = {row.id: row for row in held(folder, "mixed").rows() if row.shard == shard}
    with open(path, "rb") as file:
        data = {row.id: (file.seek(row.offset or 0), file.read(row.bytes))[1] for row in rows.values()}
    with writing(path) as writer:
        places = {row_id: writer.put(row_id, flac) for row_id, flac in sounds(data).items()}
    changed(
        folder,
        lambda all_rows: {
            k: replace(v, offset=places[k][0], bytes=places[k][1]) if k in places else v for k, v in all_rows.items()
        },
    )


def as_flac(pcm: Any) -> bytes:
    out = io.BytesIO()
    sf.write(out, pcm, 16_000, format="FLAC", subtype="PCM_16")
    return out.getvalue()


# ---- nothing in a set that is whole


def test_a_whole_set_holds_at_every_level(whole: Path, built: Built) -> None:
    ended = done(whole, "verify", "manifests/mixed.parquet", "--level", "recompute", *flags(built.corpora), "--jobs", 1)
    assert [line.split()[0] for line in ended.out.splitlines()[:-1]] == [
        "schema",
        "references",
        "headers",
        "hashes",
        "recompute",
    ]
    assert f"identical {len(held(whole, 'mixed'))}" in ended.out
    assert ended.out.splitlines()[-1].endswith("all of it holds")


def test_a_pack_and_every_stage_hold_against_the_corpora(whole: Path, unpacked: Path) -> None:
    for name in ("mixed.pack.parquet", "recordings.parquet", "resampled.parquet"):
        assert verify(whole, "recompute", *flags(unpacked), of=name) == (0, [])


def test_virtual_mixtures_hold(folder: Path, unpacked: Path) -> None:
    done(folder, "mix", "--virtual", "--snr", 5, "--limit", 12, "--jobs", 1, "--out", "manifests/virtual.parquet")
    assert verify(folder, "recompute", *flags(unpacked), of="virtual.parquet") == (0, [])


def test_without_a_level_it_goes_as_far_as_it_needs_no_corpora(whole: Path) -> None:
    ended = done(whole, "verify", "manifests/mixed.parquet", "--jobs", 1)
    assert "hashes" in ended.out
    assert "recompute" not in ended.out


def test_a_manifest_that_was_edited_by_hand_holds(folder: Path, unpacked: Path) -> None:
    mixed = held(folder, "mixed")
    few = frames.pick(mixed.frame, ~frames.equal(mixed.frame["id"], mixtures(folder)[0].id))
    mixed.save(mixed.path.with_name("edited.parquet"), frames.with_columns(few, transcript="물지마", keyword="others"))
    assert verify(folder, "recompute", *flags(unpacked), of="edited.parquet") == (0, [])


# ---- the rows


def test_a_changed_label_is_named_with_its_row_its_column_and_what_it_was(folder: Path) -> None:
    row = mixtures(folder)[0]
    changed(
        folder,
        lambda rows: rows | {row.id: replace(rows[row.id], transcript="물지마", split=row.split, keyword="others")},
    )
    code, findings = verify(folder, "schema")
    assert code == 1
    assert findings[0]["what"] == "rows"
    told = {(item["what"], item["because"]) for item in findings[1:]}
    assert (row.id, f"transcript is '물지마', in resampled.parquet it is {row.transcript!r}") in told
    assert (
        row.id,
        f"keyword is 'others', in mixed.pack.parquet it is {row.keyword!r}",
    ) in told or row.keyword == "others"


def test_a_changed_recipe_is_named_by_its_option(folder: Path) -> None:
    path = folder / "manifests/mixed.parquet"
    table, sealed = parquet.read(path)
    recipe = sealed["recipe"] | {"resample": {"rate_hz": 16_000, "quality": "LQ"}}
    parquet.write(path, table, {**sealed, "recipe": recipe})
    code, findings = verify(folder, "schema")
    assert (code, {item["what"] for item in findings}) == (1, {"recipe"})
    assert [item["because"] for item in findings] == [
        f"not as {name} says: resample.quality is 'LQ', there 'HQ'"
        for name in ("mixed.pack.parquet", "resampled.parquet")
    ]


def test_changed_drops_are_noticed(folder: Path) -> None:
    path = manifest.drops_path(folder / "manifests/filtered.parquet")
    table, sealed = parquet.read(path)
    parquet.write(path, frames.pick(table, np.arange(len(table)) > 0), sealed)
    code, findings = verify(folder, "schema", of="filtered.parquet")
    assert (code, [(item["what"], item["verdict"]) for item in findings]) == (1, [("drops", "changed")])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": "test"}, "this source is in more than one split"),
        ({"split": "test"}, "this group is in more than one split"),
        ({"noise_id": "cochlscene/none"}, "its noise cochlscene/none is no row of the set"),
        ({"noise_pcm_hash": "0" * 32}, "its noise_pcm_hash is not the pcm_hash of"),
        ({"snr_active_db": 19.5}, "asked for 20.0 dB (active), realised 19.5"),
        ({"snr_active_db": None}, "asked for 20.0 dB (active), realised"),
        ({"speech_id": "aihub/none"}, "its id does not begin with that of its speech, aihub/none"),
    ],
)
def test_a_broken_law_is_told(change: dict[str, Any], said: str, folder: Path) -> None:
    row = next(row for row in mixtures(folder) if row.snr_db == 20.0 and row.split == "train")
    changed(folder, lambda rows: rows | {row.id: replace(rows[row.id], **change)})
    code, findings = verify(folder, "schema")
    assert code == 1
    assert [item for item in findings if item["verdict"] == "law" and item["because"].startswith(said)]


def test_an_id_that_is_there_twice_is_told(folder: Path) -> None:
    first, second = mixtures(folder)[:2]
    changed(folder, lambda rows: rows | {second.id: replace(rows[second.id], id=first.id)})
    assert (first.id, "this id is there more than once") in {
        (item["what"], item["because"]) for item in verify(folder, "schema")[1]
    }


# ---- the audio


def test_a_shard_that_is_gone_is_named(folder: Path) -> None:
    shard = str(mixtures(folder)[0].shard)
    (folder / "manifests/audio" / shard).unlink()
    code, findings = verify(folder, "hashes")
    assert code == 1
    first = prep(folder, "verify", "manifests/mixed.parquet", "--level", "references", "--json").json()["levels"][1][
        "findings"
    ]
    assert [(item["what"], item["verdict"]) for item in first] == [(shard, "missing")]
    assert {item["what"] for item in findings} == {row.id for row in held(folder, "mixed").rows() if row.shard == shard}


def test_a_row_that_points_at_another_member_is_told(folder: Path) -> None:
    first, second = [row for row in mixtures(folder) if row.shard == mixtures(folder)[0].shard][:2]
    changed(folder, lambda rows: rows | {first.id: replace(rows[first.id], offset=second.offset, bytes=second.bytes)})
    code, findings = verify(folder, "references")
    assert (code, [item["what"] for item in findings]) == (1, [first.id])
    assert f"its member lies {first.bytes} bytes at {first.offset}" in findings[0]["because"]
    hashes = verify(folder, "hashes")[1]
    assert [(item["what"], item["because"]) for item in hashes] == [(first.id, f"it holds the sound of {second.id}")]


def test_a_length_that_the_audio_has_not_is_told(folder: Path) -> None:
    row = mixtures(folder)[0]
    changed(folder, lambda rows: rows | {row.id: replace(rows[row.id], frames=(row.frames or 0) + 1)})
    code, findings = verify(folder, "headers")
    assert (code, [item["what"] for item in findings]) == (1, [row.id])
    assert f"stored are (frames, Hz, channels) ({row.frames}, 16000, 1)" in findings[0]["because"]


@pytest.mark.parametrize(("by", "verdict"), [(1, "within_1_lsb"), (2, "different")])
def test_a_single_flipped_sample_is_found_and_measured(by: int, verdict: str, folder: Path, built: Built) -> None:
    row = mixtures(folder)[0]
    pcm = Reader(folder / "manifests").pcm(row).copy()
    pcm[100] += by
    restored(folder, lambda data: data | {row.id: as_flac(pcm)})
    assert verify(folder, "headers") == (0, [])
    code, findings = verify(folder, "hashes")
    assert (code, [(item["what"], item["verdict"]) for item in findings]) == (1, [(row.id, "different")])
    changed(
        folder, lambda rows: rows | {row.id: replace(rows[row.id], pcm_hash=findings[0]["digest"])}
    )  # as if it had been made so
    code, findings = verify(folder, "recompute", *flags(built.corpora))
    assert (code, [(item["what"], item["verdict"]) for item in findings]) == (1, [(row.id, verdict)])
    assert findings[0]["because"].startswith(
        f"1 of {len(pcm):,} samples differ from those stored, by {by} at most, the first at frame 100"
    )


def test_a_swapped_pair_of_clips_is_told_whose_sound_each_holds(folder: Path) -> None:
    first, second = [row for row in mixtures(folder) if row.shard == mixtures(folder)[0].shard][:2]
    restored(folder, lambda data: data | {first.id: data[second.id], second.id: data[first.id]})
    findings = verify(folder, "hashes")[1]
    assert {(item["what"], item["because"]) for item in findings} == {
        (first.id, f"it holds the sound of {second.id}"),
        (second.id, f"it holds the sound of {first.id}"),
    }


# ---- the recordings


def test_a_flipped_sample_and_a_swapped_pair_in_the_corpora_are_told(
    folder: Path, unpacked: Path, tmp_path: Path
) -> None:
    shutil.copytree(unpacked, tmp_path / "copy")
    own = sorted({(row.source, str(row.speech_id)) for row in mixtures(folder) if row.corpus == "aihub"})
    flipped, one, two = own[:3]
    path = wav(tmp_path / "copy", flipped[0].rpartition("/")[2])
    data = bytearray(path.read_bytes())
    data[-101] ^= 1
    path.write_bytes(data)
    pair = [wav(tmp_path / "copy", source.rpartition("/")[2]) for source, _ in (one, two)]
    sounds = [path.read_bytes() for path in pair]
    for path, sound in zip(pair, reversed(sounds), strict=True):
        path.write_bytes(sound)
    for of in ("mixed.parquet", "mixed.pack.parquet"):
        code, findings = verify(folder, "recompute", *flags(tmp_path / "copy"), of=of)
        told = {item["what"].split("_snr")[0]: item["because"] for item in findings}
        assert (code, set(told)) == (1, {flipped[1], one[1], two[1]})
        assert "has other samples, as many, than the set was made from" in told[flipped[1]]
        assert f"holds the samples of {two[0]}" in told[one[1]]
        assert f"holds the samples of {one[0]}" in told[two[1]]


def test_a_changed_recipe_shows_when_rows_are_rendered_again(folder: Path, unpacked: Path) -> None:
    path = folder / "manifests/resampled.parquet"
    table, sealed = parquet.read(path)
    parquet.write(
        path, table, {**sealed, "recipe": {**sealed["recipe"], "resample": {"rate_hz": 16_000, "quality": "LQ"}}}
    )
    code, findings = verify(folder, "recompute", "--sample", 5, *flags(unpacked), of="resampled.parquet")
    assert code == 1
    assert all("samples differ from those stored" in item["because"] for item in findings)


def test_a_row_with_another_gain_is_told(folder: Path, unpacked: Path) -> None:
    row = mixtures(folder)[0]
    changed(folder, lambda rows: rows | {row.id: replace(rows[row.id], noise_gain_db=(row.noise_gain_db or 0.0) - 0.5)})
    findings = verify(folder, "recompute", *flags(unpacked))[1]
    assert [item["what"] for item in findings] == [row.id]
    assert "samples differ from those stored" in findings[0]["because"]


def test_recordings_of_another_length_are_seen_in_their_headers(whole: Path, unpacked: Path, tmp_path: Path) -> None:
    shutil.copytree(unpacked, tmp_path / "copy")
    row = next(row for row in mixtures(whole) if row.corpus == "aihub" and row.source_format == "WAV PCM_16")
    path = wav(tmp_path / "copy", row.source.rpartition("/")[2])
    data, rate_hz = sf.read(path, dtype="int16")
    sf.write(path, data[:-7], rate_hz, subtype="PCM_16")
    code, findings = verify(whole, "headers", *flags(tmp_path / "copy"), of="mixed.pack.parquet")
    assert (code, {item["what"].split("_snr")[0] for item in findings}) == (1, {str(row.speech_id)})
    path.unlink()
    findings = verify(whole, "references", *flags(tmp_path / "copy"), of="mixed.pack.parquet")[1]
    assert {(item["what"].split("_snr")[0], item["verdict"]) for item in findings} == {(str(row.speech_id), "absent")}


# ---- what cannot be checked, samples, answers


def test_what_cannot_be_checked_is_exit_code_2_with_what_is_needed(whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "manifests/mixed.pack.parquet", tmp_path)
    ended = prep(tmp_path, "verify", "mixed.pack.parquet")
    assert ended.code == 2
    assert 'could not be checked: nobody said where root "aihub" lies. Type --root aihub=DIR' in ended.err
    assert prep(tmp_path, "verify", "none.parquet").code == 2
    (tmp_path / "text.parquet").write_text("no Parquet")
    ended = prep(tmp_path, "verify", "text.parquet", "--json")
    assert (ended.code, ended.json()["holds"]) == (2, False)
    assert "text.parquet" in ended.json()["unable"]


def test_a_pack_that_was_changed_is_a_finding(whole: Path, tmp_path: Path) -> None:
    table, sealed = parquet.read(whole / "manifests/mixed.pack.parquet")
    parquet.write(tmp_path / "m.pack.parquet", frames.with_columns(table, keyword="helpme"), sealed)
    assert pack.is_pack(tmp_path / "m.pack.parquet")
    ended = prep(tmp_path, "verify", "m.pack.parquet")
    assert (ended.code, "m.pack.parquet: changed: " in ended.out, "not those that were packed" in ended.out) == (
        1,
        True,
        True,
    )
    told = prep(tmp_path, "verify", "m.pack.parquet", "--json")
    assert (told.code, [item["what"] for item in told.json()["levels"][0]["findings"]]) == (1, ["m.pack.parquet"])


def test_a_sample_is_always_the_same_rows(folder: Path) -> None:
    restored(folder, lambda data: {row_id: as_flac(np.zeros(10, np.int16)) for row_id in data})
    samples = [{item["what"] for item in verify(folder, "hashes", "--sample", 20)[1]} for _ in range(2)]
    assert samples[0] == samples[1]
    assert samples[0] <= {item["what"] for item in verify(folder, "hashes")[1]}
    told = prep(folder, "verify", "manifests/mixed.parquet", "--sample", 20, "--json", "--jobs", 1).json()
    assert [checked["rows"] for checked in told["levels"]] == [len(held(folder, "mixed")), 20, 20, 20]


def test_the_screen_shows_a_few_of_many(folder: Path) -> None:
    restored(folder, lambda data: {row_id: as_flac(np.zeros(10, np.int16)) for row_id in data})
    ended = prep(folder, "verify", "manifests/mixed.parquet", "--jobs", 1)
    assert ended.code == 1
    assert "more, header (all with --json)" in ended.out
    assert (
        json.loads(prep(folder, "verify", "manifests/mixed.parquet", "--json", "--jobs", 1).out)["levels"][-1][
            "verdicts"
        ]["different"]
        > 5
    )


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 1), ("PCM_24", 2), ("FLOAT", 1), ("PCM_U8", 3)])
def test_headers_are_read_as_libsndfile_reads_them(subtype: str, channels: int, tmp_path: Path) -> None:
    for form in ("WAV", "FLAC") if subtype in ("PCM_16", "PCM_24") else ("WAV",):
        sf.write(tmp_path / "x", np.zeros((1234, channels)), 22_050, format=form, subtype=subtype)
        assert shape((tmp_path / "x").read_bytes()[:4096]) == (1234, 22_050, channels)
    assert shape(b"OggS" + bytes(100)) is None
    assert shape(b"RIFF\0\0\0\0WAVEfmt ") is None


def test_the_stored_shards_are_tars_that_another_reader_lists_alike(whole: Path) -> None:
    """The level `references` goes by our own reader of tars; the standard library's agrees on every name and size."""
    for shard in sorted({str(row.shard) for row in held(whole, "mixed").rows()}):
        with tarfile.open(whole / "manifests/audio" / shard) as tar:
            there = {member.name: (member.offset_data, member.size) for member in tar}
        rows = [row for row in held(whole, "mixed").rows() if row.shard == shard]
        assert all((row.offset, row.bytes) in there.values() for row in rows)
