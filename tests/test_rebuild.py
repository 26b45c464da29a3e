"""The set of a pack made again from another copy of the corpora: the same samples, or an exact list of what is lacking
and why."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from command import done, drops, held, prep
from conftest import Built
from shared_set import LAYOUTS, flags, laid_out, rebuild, small_set, wav

from pipeline.audio import render
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.row import Drop, Row
from pipeline.core.sql import query
from pipeline.share import pack
from pipeline.stages import recompute


@pytest.fixture(scope="module")
def built(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """The stages on the stand-ins, the mixed set a small one."""
    folder = small_set(built, tmp_path_factory.mktemp("small"))
    return Built(folder, built.corpora, built.answers)


@pytest.fixture(scope="module")
def shared(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pack of the mixed set."""
    return pack.write(manifest.read(built.path("mixed")), tmp_path_factory.mktemp("shared") / "mixed.pack.parquet").path


@pytest.fixture(scope="module")
def named(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the names of one's own recordings: by them the labels of files are found that were renamed."""
    path = tmp_path_factory.mktemp("named") / "mixed.pack.parquet"
    return pack.write(manifest.read(built.path("mixed")), path, named=["recordings"]).path


@pytest.fixture(scope="module")
def unpacked(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The corpora, every file on its own."""
    return laid_out(built.corpora, tmp_path_factory.mktemp("unpacked"), "unpacked")


@pytest.fixture
def damaged(unpacked: Path, tmp_path: Path) -> Path:
    """A copy of them to damage."""
    shutil.copytree(unpacked, tmp_path / "copy")
    return tmp_path / "copy"


def utterances(folder: Path) -> list[tuple[str, str, Path]]:
    """(id, source, digits) of a few utterances of AI-Hub in the set."""
    rows = query(
        held(folder, "mixed").frame,
        "SELECT DISTINCT speech_id, source, split_part(source, '/', 4) FROM rows WHERE corpus = 'aihub' "
        "ORDER BY source",
    )
    return [(str(row_id), str(source), digits) for row_id, source, digits in rows]


# ---- whole copies


@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_layout_of_the_corpora_gives_the_same_set(
    layout: str, built: Built, shared: Path, named: Path, tmp_path: Path
) -> None:
    apart = layout in ("zipped again", "renamed, all in one folder")  # the table does not find its files by itself
    used = named if apart else shared
    ended = rebuild(tmp_path / "there", used, laid_out(built.corpora, tmp_path / "corpora", layout))
    assert ended.code == 0, ended.err + ended.out
    told = ended.json()
    assert (told["same"], told["dropped"], told["lacking"]) == (True, 0, [])
    assert told["moved"] > 0 or layout != "renamed, all in one folder"
    assert (
        held(tmp_path / "there", "mixed").provenance.logical_hash == held(built.folder, "mixed").provenance.logical_hash
    )


def test_the_samples_are_the_same_and_the_labels_are_back(
    built: Built, shared: Path, unpacked: Path, tmp_path: Path
) -> None:
    done(tmp_path, "rebuild", shared, *flags(unpacked), "--jobs", 1, "--out", "sub/other name.parquet")
    here, there = manifest.read(tmp_path / "sub/other name.parquet"), held(built.folder, "mixed")
    mine, its = Reader(tmp_path / "sub"), Reader(built.folder / "manifests")
    for one, other in zip(here.rows(), there.rows(), strict=True):
        assert (one.id, one.transcript, one.labels, one.group) == (
            other.id,
            other.transcript,
            other.labels,
            other.group,
        )
        assert np.array_equal(mine.pcm(one), its.pcm(other))


def test_two_workers_make_the_same(shared: Path, unpacked: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, jobs in ((one, 1), (two, 2)):
        done(folder, "rebuild", shared, *flags(unpacked), "--jobs", jobs, "--shard-clips", 6)
    assert (one / "manifests/mixed.parquet").read_bytes() == (two / "manifests/mixed.parquet").read_bytes()


def test_another_release_with_other_ids_and_other_containers_of_sound_gives_the_same_set(
    built: Built, shared: Path, damaged: Path, tmp_path: Path
) -> None:
    """Recordings are known by their samples: recoded without loss, under another id; the label comes along with the
    recording."""
    for number, (_, _, digits) in enumerate(utterances(built.folder)):
        path = wav(damaged, digits)
        (label,) = [found for found in damaged.rglob(f"*_{digits}.json") if path.parts[-3] in found.parts]
        if number % 2:
            other = f"{digits}99"
            label.rename(label.with_name(label.name.replace(digits, other)))
            path.rename(path.with_name(path.name.replace(digits, other)))
        elif sf.info(path).subtype == "PCM_16":
            sf.write(path.with_suffix(".flac"), *sf.read(path, dtype="int16"))
            path.unlink()
    told = rebuild(tmp_path, shared, damaged).json()
    assert (told["same"], told["moved"]) == (True, len(utterances(built.folder)) // 2)


def test_noise_that_is_no_row_of_the_set_is_told_when_packing_and_when_rebuilding(
    built: Built, unpacked: Path, tmp_path: Path
) -> None:
    rows = held(built.folder, "mixed").frame
    speech = frames.pick(rows, frames.equal(rows["kind"], "mixture"))
    made = held(built.folder, "mixed").provenance
    manifest.write(tmp_path / "some.parquet", speech, frames.from_rows([], Drop), made)
    assert f"{len(speech)} mixtures hold noise that is no row of the set" in done(tmp_path, "pack", "some.parquet").out
    ended = rebuild(tmp_path, tmp_path / "some.pack.parquet", unpacked)
    assert ended.code == 1
    assert "is no row of the pack" in ended.err


@pytest.mark.parametrize("name", ["recordings", "resampled"])
def test_a_set_of_any_stage_can_be_shared(name: str, built: Built, unpacked: Path, tmp_path: Path) -> None:
    made = pack.write(manifest.read(built.path(name)), tmp_path / f"{name}.pack.parquet").path
    assert rebuild(tmp_path, made, unpacked).json()["same"]


def test_virtual_mixtures_are_virtual_again(built: Built, unpacked: Path, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "first")
    done(tmp_path / "first", "mix", "--virtual", "--snr", 5, "--snr", 15, "--limit", 12, "--jobs", 1)
    done(tmp_path / "first", "pack", "manifests/mixed.parquet")
    ended = rebuild(tmp_path / "there", tmp_path / "first/manifests/mixed.pack.parquet", unpacked)
    assert ended.json()["same"]
    rows = [row for row in held(tmp_path / "there", "mixed").rows() if row.kind == "mixture"]
    reader, first = Reader(tmp_path / "there/manifests"), Reader(tmp_path / "first/manifests")
    before = {row.id: row for row in held(tmp_path / "first", "mixed").rows()}
    assert not [row for row in rows if row.shard is not None]
    assert all(np.array_equal(reader.pcm(row), first.pcm(before[row.id])) for row in rows[::5])


# ---- copies that are not whole


def test_what_is_absent_differs_or_is_damaged_is_listed_exactly(
    built: Built, shared: Path, damaged: Path, tmp_path: Path
) -> None:
    (gone, gone_at, gone_id), (flipped, _, flipped_id), (cut, _, cut_id), (one, _, one_id), (two, _, two_id) = (
        utterances(built.folder)[:5]
    )
    wav(damaged, gone_id).unlink()
    _flip(wav(damaged, flipped_id))
    cut_path = wav(damaged, cut_id)
    cut_path.write_bytes(cut_path.read_bytes()[:-1000])
    first, second = wav(damaged, one_id), wav(damaged, two_id)
    held_first = first.read_bytes()
    first.write_bytes(second.read_bytes())  # a swapped pair: both are there, each under the other's name
    second.write_bytes(held_first)
    ended = rebuild(tmp_path / "there", shared, damaged)
    assert ended.code == 1
    told = ended.json()
    lacking = {(item["id"].split("_snr")[0], item["reason"]) for item in told["lacking"]}
    assert lacking == {(gone, "absent"), (flipped, "differs"), (cut, "damaged")}
    assert (told["moved"], told["same"], told["reasons"]) == (2, False, {"absent": 2, "damaged": 2, "differs": 2})
    details = {item["id"].split("_snr")[0]: item["detail"] for item in told["lacking"]}
    assert f"{gone_at}: no file of that name, none with its samples" in details[gone]
    assert "has other samples, as many, than the set was made from: restore the original file" in details[flipped]
    assert "the file ends 1000 bytes before its header says it does" in details[cut]
    assert {row_id.split("_snr")[0] for row_id in drops(tmp_path / "there", "mixed")} == {gone, flipped, cut}
    kept = set(frames.values(held(tmp_path / "there", "mixed").frame["id"]))
    assert kept == {
        i
        for i in frames.values(held(built.folder, "mixed").frame["id"])
        if i.split("_snr")[0] not in {gone, flipped, cut}
    }
    assert not [path for path in (tmp_path,) if str(path) in json.dumps(told["lacking"])]
    assert one not in str(lacking)
    assert two not in str(lacking)


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-101] ^= 1
    path.write_bytes(data)


def test_once_what_was_lacking_is_there_the_same_command_ends_in_the_same_set(
    built: Built, shared: Path, damaged: Path, tmp_path: Path
) -> None:
    path = wav(damaged, utterances(built.folder)[0][2])
    whole = path.read_bytes()
    path.unlink()
    assert rebuild(tmp_path / "there", shared, damaged).code == 1
    path.write_bytes(whole)
    ended = rebuild(tmp_path / "there", shared, damaged)
    assert (ended.code, ended.json()["same"]) == (0, True)


def test_a_noise_recording_that_is_absent_takes_its_mixtures_along_and_no_others(
    built: Built, shared: Path, damaged: Path, tmp_path: Path
) -> None:
    (noise_id,) = query(held(built.folder, "mixed").frame, "SELECT min(noise_id) FROM rows")[0]
    path = next(path for path in damaged.rglob("*.wav") if path.stem == noise_id.partition("/")[2])
    path.unlink()
    told = rebuild(tmp_path / "there", shared, damaged).json()
    expected = query(
        held(built.folder, "mixed").frame,
        f"SELECT id FROM rows WHERE noise_id = '{noise_id}' OR id = '{noise_id}' ORDER BY id",
    )
    assert sorted(item["id"] for item in told["lacking"]) == [row_id for (row_id,) in expected]
    assert set(told["reasons"]) == {"no_noise", "absent"}


def test_an_archive_that_cannot_be_read_is_passed_over_and_named(built: Built, shared: Path, tmp_path: Path) -> None:
    copy = laid_out(built.corpora, tmp_path / "corpora", "as downloaded")
    archive = next(
        path
        for path in sorted(copy.rglob("*.zip"))
        if "[원천]" in path.name and "Training" in str(path) and "도움요청" in path.name
    )
    archive.write_bytes(archive.read_bytes()[:5000])
    ended = rebuild(tmp_path / "there", shared, copy)
    told = ended.json()
    assert ended.code == 1
    assert [note for note in told["notes"] if note.startswith("aihub: passed over:") and archive.name in note]
    lost = query(
        held(built.folder, "mixed").frame,
        "SELECT id FROM rows WHERE source LIKE '@aihub/Training/도움요청/%' ORDER BY id",
    )
    assert lost
    assert sorted(item["id"] for item in told["lacking"]) == [row_id for (row_id,) in lost]
    assert all("mend this first" in item["detail"] and archive.name in item["detail"] for item in told["lacking"])


def test_a_label_that_is_not_there_is_told_and_its_rows_are_not_made_up(
    built: Built, shared: Path, damaged: Path, tmp_path: Path
) -> None:
    row_id, _, digits = utterances(built.folder)[0]
    for path in damaged.rglob(f"*_{digits}.json"):
        path.unlink()
    told = rebuild(tmp_path / "there", shared, damaged).json()
    assert {item["id"].split("_snr")[0] for item in told["lacking"]} == {row_id}
    assert told["reasons"] == {"no_label": 2}
    assert "no label (.json) in" in told["lacking"][0]["detail"]


def test_a_changed_label_is_noticed_and_its_column_named(
    built: Built, shared: Path, damaged: Path, tmp_path: Path
) -> None:
    digits = utterances(built.folder)[0][2]
    (path,) = damaged.rglob(f"*_{digits}.json")
    label = json.loads(path.read_text("utf-8-sig"))
    label["annotations"][0]["note"] = "물지마"
    path.write_text(json.dumps(label, ensure_ascii=False), "utf-8")
    ended = rebuild(tmp_path / "there", shared, damaged)
    told = ended.json()
    assert (ended.code, told["dropped"], told["same"], told["differing"]) == (1, 0, False, ["transcript"])


def test_what_is_rendered_differently_is_told_with_the_versions(
    shared: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, sealed = parquet.read(shared)
    parquet.write(tmp_path / "old.pack.parquet", table, {**sealed, "versions": {**sealed["versions"], "soxr": "0.0.1"}})
    real = render.speech

    def off(*given: Any) -> Any:
        pcm, gain_db = real(*given)
        made = pcm.copy()
        made[len(made) // 2] += 1
        return made, gain_db

    monkeypatch.setattr(render, "speech", off)
    ended = prep(tmp_path, "rebuild", "old.pack.parquet", *flags(unpacked), "--jobs", 1)
    assert ended.code == 1
    assert "not one of" in ended.err
    assert (
        "soxr 0.5.0.post1 here, 0.0.1 there: install the same" in ended.err
        or "here, 0.0.1 there: install the same" in ended.err
    )


def test_a_mixture_that_does_not_come_out_the_same_is_told_with_what_is_to_blame(
    built: Built, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = held(built.folder, "mixed")
    rows = {row.id: row for row in before.rows()}
    gain, speech = [row for row in rows.values() if row.snr_db == 20.0 and row.corpus == "aihub"][:2]
    rows[gain.id] = replace(gain, noise_gain_db=(gain.noise_gain_db or 0.0) - 1)
    manifest.write(
        tmp_path / "odd.parquet", frames.from_rows(rows.values(), Row), frames.from_rows([], Drop), before.provenance
    )
    done(tmp_path, "pack", "odd.parquet")
    real = render.speech

    def off(row: Row, *more: Any) -> Any:
        pcm, gain_db = real(row, *more)
        return (pcm + np.int16(1) if row.source == speech.source else pcm), gain_db

    monkeypatch.setattr(render, "speech", off)
    told = rebuild(tmp_path, tmp_path / "odd.pack.parquet", unpacked).json()
    details = {item["id"]: item["detail"] for item in told["lacking"]}
    assert set(details) == {gain.id} | {row.id for row in rows.values() if row.source == speech.source}
    assert (
        "speech and noise are those of the set, their sum is not: check noise_start, gain_db and noise_gain_db"
        in details[gain.id]
    )
    assert f"its speech {speech.speech_id} at 16000 Hz has other samples than in the set" in details[speech.id]
    assert set(told["reasons"]) == {"rendered_differently"}


# ---- going on, and mistakes


def test_a_rebuild_that_was_stopped_goes_on_to_the_same_bytes(
    shared: Path, unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = tmp_path / "undisturbed"
    assert rebuild(undisturbed, shared, unpacked).code == 0
    real, made = recompute.work, []

    def stopped(job: Any, *more: Any) -> Any:
        made.append(job.row.id)
        if len(made) == 15:
            raise KeyboardInterrupt
        return real(job, *more)

    monkeypatch.setattr(recompute, "work", stopped)
    assert rebuild(tmp_path / "there", shared, unpacked).code == 130
    assert not (tmp_path / "there/manifests/mixed.parquet").exists()
    begun = len(made)
    assert rebuild(tmp_path / "there", shared, unpacked).code == 0
    mixtures = query(held(undisturbed, "mixed").frame, "SELECT count(*) FROM rows WHERE kind = 'mixture'")[0][0]
    assert begun < len(made) < begun + mixtures  # what was committed was not made again
    for path in sorted((undisturbed / "manifests").rglob("*.parquet")) + sorted(
        (undisturbed / "manifests").rglob("*.tar")
    ):
        if ".work" not in path.parts:
            assert (tmp_path / "there" / path.relative_to(undisturbed)).read_bytes() == path.read_bytes()


def test_another_set_is_not_written_over(built: Built, shared: Path, unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    shutil.copy(built.path("filtered"), tmp_path / "manifests/mixed.parquet")
    ended = rebuild(tmp_path, shared, unpacked)
    assert ended.code == 1
    assert "another set is there already" in ended.err
    assert "name another file with --out" in ended.err


def test_every_root_that_is_lacking_is_told_at_once(shared: Path, tmp_path: Path) -> None:
    ended = prep(tmp_path, "rebuild", shared)
    assert ended.code == 1
    assert all(
        f'nobody said where root "{name}" lies' in ended.err
        for name in ("aihub", "cochlscene", "ms-snsd", "recordings")
    )


def test_roots_that_hold_nothing_of_the_set_are_said_to(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    roots = [
        word
        for name in ("aihub", "cochlscene", "ms-snsd", "recordings")
        for word in ("--root", f"{name}={tmp_path / 'empty'}")
    ]
    ended = prep(tmp_path, "rebuild", shared, *roots, "--jobs", 1)
    assert ended.code == 1
    assert "not one of" in ended.err
    assert "Nothing was written" in ended.err
