"""The laws of the design, on whole builds."""

from __future__ import annotations

import getpass
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pyarrow.parquet as pq
import pytest
import reference
from command import chain, done, drops, held, prep, rows
from conftest import ROOTS, Built, build
from containers import UTF8, Style, tar_bytes, write, zip_bytes
from pandas import DataFrame
from sounds import corpus, encoded, hiss, voice

from pipeline import corpora
from pipeline.archives import Root
from pipeline.core import files, keys
from pipeline.core import frame as frames
from pipeline.core.frame import logical_hash
from pipeline.core.row import Row
from pipeline.stages import mix

STAGES = ("filtered", "resampled", "mixed")
PLACES = {"shard", "offset", "bytes"}
REPOSITORY = Path(__file__).parents[1]
SMALL = {f"clean_test/s{n}.wav": encoded(voice(1.0 + n / 10, seed=n)) for n in range(4)} | {
    f"noise_test/Hum_{n}.wav": encoded(hiss(2.0, seed=n)) for n in range(3)
}
TRIES = ("--snr", 20, "--snr", 5, "--shard-clips", 3)


def digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each manifest, table of drops and shard that a build's user sees."""
    shown = [path for path in sorted((folder / "manifests").rglob("*")) if path.is_file() and ".work" not in path.parts]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in shown}


def left_half_written(folder: Path) -> list[Path]:
    return sorted(folder.rglob(f"{files.TEMPORARY}*"))


# ---- 1. Nothing lost


@pytest.mark.parametrize("name", [*ROOTS, *STAGES])
def test_jobs_are_rows_and_drops(name: str, built: Built) -> None:
    told = built.answers[name]
    assert told["in"] == told["kept"] + told["dropped"]
    assert told["kept"] == len(held(built.folder, name)) == len(rows(built.folder, name))
    assert told["dropped"] == len(held(built.folder, name).drops) == sum(told["reasons"].values())


def test_each_stage_begins_with_the_rows_that_the_one_before_kept(built: Built) -> None:
    told = built.answers
    assert told["filtered"]["in"] == sum(told[name]["kept"] for name in ROOTS)
    assert told["resampled"]["in"] == told["filtered"]["kept"]
    kinds = [
        row for row in rows(built.folder, "resampled").values() if row.kind == "speech" and row.corpus != "recordings"
    ]
    assert told["mixed"]["in"] == told["resampled"]["kept"] + len(kinds)  # two SNRs make two of one


def test_every_recording_ends_in_a_row_or_in_a_drop(built: Built) -> None:
    for name in ROOTS:
        claims = corpora.find(name).clips(Root(name, built.corpora / ROOTS[name]))
        claimed = {f"{name}/{clip.key}" for clip in claims.clips} | {drop.id for drop in claims.drops}
        assert claimed == set(rows(built.folder, name)) | set(drops(built.folder, name))
        assert not set(rows(built.folder, name)) & set(drops(built.folder, name))


# ---- 2. Order does not matter


def test_two_workers_make_the_same_bytes(built: Built, tmp_path: Path) -> None:
    assert digests(build(tmp_path, built.corpora, jobs=2).folder) == digests(built.folder)


def test_files_made_in_another_order_at_another_time_make_the_same_bytes(built: Built, tmp_path: Path) -> None:
    originals = [path for path in sorted(built.corpora.rglob("*")) if path.is_file()]
    for path in reversed(originals):
        copy = tmp_path / "copy" / path.relative_to(built.corpora)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
        os.utime(copy, (1_000_000_000, 1_000_000_000))
    assert digests(build(tmp_path / "b", tmp_path / "copy", jobs=1).folder) == digests(built.folder)


def test_the_cut_into_shards_changes_no_sound(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus", SMALL)
    found = []
    for clips in (1, 2, 100):
        chain(tmp_path / str(clips), folder, "--shard-clips", clips)
        found.append(
            {row_id: (row.pcm_hash, row.snr_active_db) for row_id, row in rows(tmp_path / str(clips), "mixed").items()}
        )
        assert (
            held(tmp_path / str(clips), "mixed").provenance.logical_hash
            == held(tmp_path / "1", "mixed").provenance.logical_hash
        )
    assert found[0] == found[1] == found[2]


def test_manifests_named_in_another_order_filter_to_the_same_rows(built: Built, tmp_path: Path) -> None:
    paths = [built.path(name) for name in ROOTS]
    for out, listed in (("a", paths), ("b", paths[::-1])):
        done(tmp_path, "filter", *listed, "--out", f"manifests/{out}.parquet")
    assert (tmp_path / "manifests/a.parquet").read_bytes() == (tmp_path / "manifests/b.parquet").read_bytes()


# ---- 3. Chance is named


def test_deleting_a_clip_changes_no_other_row(built: Built, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(built.corpora, tmp_path / "copy"))
    lost = sorted(copy.glob("aihub170/*/Validation/*폭력범죄_1/*.wav"))[-1]
    digits = lost.stem.split("_")[1]
    label = next(iter(sorted(copy.glob(f"aihub170/*/Validation/*/*{digits}.json"))))
    shutil.rmtree(copy / "ms-snsd/clean_test", ignore_errors=True)
    lost.unlink()
    label.unlink()
    again = build(tmp_path / "b", copy, jobs=1)
    for name in ("aihub", *STAGES):
        before, after = rows(built.folder, name), rows(again.folder, name)
        gone = {row_id for row_id in before if digits in row_id}
        assert gone
        assert set(after) == set(before) - gone
        assert {row_id: _without_place(row) for row_id, row in after.items()} == {
            row_id: _without_place(row) for row_id, row in before.items() if row_id not in gone
        }


def _without_place(row: Row) -> dict[str, object]:
    return {name: getattr(row, name) for name in Row.__dataclass_fields__ if name not in PLACES}


@pytest.mark.parametrize("seed", [0, 1])
def test_one_more_noise_among_many_takes_its_share_and_moves_no_other(built: Built, seed: int) -> None:
    table = held(built.folder, "resampled").frame
    options = mix.Options(copies=100, snr_db=("0:10",), noise=("ms-snsd",))
    lost = next(
        row.id for row in rows(built.folder, "resampled").values() if row.corpus == "ms-snsd" and row.split == "test"
    )
    fewer = frames.pick(table, ~frames.equal(table["id"], lost))
    before = {row.id: row for row in _planned(fewer, options, seed)}
    after = {row.id: row for row in _planned(table, options, seed)}
    moved = {row_id for row_id, row in before.items() if row != after[row_id]}
    assert {after[row_id].noise_id for row_id in moved} == {lost}
    of_split = [row for row in after.values() if row.split == "test"]
    count = len({row.noise_id for row in of_split})
    assert count > 10
    assert len(moved) / len(of_split) == pytest.approx(1 / count, rel=3.5 / np.sqrt(keys.POINTS))


def _planned(rows: DataFrame, options: mix.Options, seed: int) -> list[Row]:
    return list(frames.rows(mix.plan(rows, options, seed, "").jobs.table(), Row))


# ---- 4. Identity is content


@pytest.mark.parametrize("name", [*ROOTS, *STAGES])
def test_a_manifest_holds_no_path_no_host_and_no_person(name: str, built: Built) -> None:
    for path in (built.path(name), built.path(f"{name}.drops")):
        table = pq.read_table(path)
        told = f"{table.to_pylist()} {table.schema.metadata}"
        for private in (
            built.folder,
            built.corpora,
            Path.home(),
            socket.gethostname(),
            getpass.getuser(),
            "tmp",
            "aihub170",
        ):
            assert not re.search(rf"(?<!\w){re.escape(str(private))}(?!\w)", told), private
        assert not re.search(r"\.(zip|z\d\d|part\d+)\b|\b0x[0-9a-f]+", told)


def test_a_manifest_names_its_inputs_by_their_hash(built: Built) -> None:
    for name, inputs in (("filtered", sorted(ROOTS)), ("resampled", ["filtered"]), ("mixed", ["resampled"])):
        made = held(built.folder, name).provenance
        assert dict(made.inputs) == {item: held(built.folder, item).provenance.logical_hash for item in inputs}
        assert made.logical_hash == logical_hash(held(built.folder, name).frame)
        assert made.drops_hash == logical_hash(held(built.folder, name).drops)


# ---- 5. A stage's output is named by all it depends on


def test_the_same_command_again_changes_no_byte_and_opens_no_recording(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = corpus(tmp_path / "corpus", SMALL)
    chain(tmp_path, folder, *TRIES)
    before = digests(tmp_path)
    monkeypatch.setattr("pipeline.stages.store.decode", _never)
    monkeypatch.setattr("pipeline.audio.codec.flac", _never)
    chain(tmp_path, folder, *TRIES)
    assert digests(tmp_path) == before


def _never(*_: object) -> None:
    raise AssertionError("nothing was to be made anew")


@pytest.mark.parametrize("damage", ["cut", "zeroed", "gone", "same size"])
def test_a_damaged_shard_is_noticed_and_made_again(damage: str, tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus", SMALL)
    chain(tmp_path, folder, *TRIES)
    before = digests(tmp_path)
    for shard in sorted((tmp_path / "manifests/audio").glob("*.tar")):
        whole = shard.read_bytes()
        if damage == "gone":
            shard.unlink()
        else:
            shard.write_bytes({"cut": whole[:-700], "zeroed": b"", "same size": bytes(len(whole))}[damage])
    chain(tmp_path, folder, *TRIES)
    assert digests(tmp_path) == before


@pytest.mark.parametrize("damage", ["cut", "zeroed"])
def test_damaged_working_files_are_noticed_and_made_again(damage: str, tmp_path: Path) -> None:
    """Commits and decoded noise: whatever lies in the working folder, the same command ends in the same bytes."""
    folder = corpus(tmp_path / "corpus", SMALL)
    chain(tmp_path, folder, *TRIES)
    before = digests(tmp_path)
    for path in sorted((tmp_path / "manifests/.work").rglob("*")):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if damage == "cut" else b"")
    chain(tmp_path, folder, *TRIES)
    assert digests(tmp_path) == before


# ---- 6. A crash leaves no half file


class Killed(BaseException):
    """The process ends here: no handler of the pipeline may answer it."""


def undisturbed(folder: Path) -> dict[str, str]:
    chain(folder, corpus(folder.parent / "corpus", SMALL), *TRIES)
    return digests(folder)


@pytest.mark.parametrize("call", ["replace", "fsync"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Killed()], ids=["disk full", "killed"])
def test_a_run_that_fails_at_any_rename_or_sync_is_finished_by_the_next(
    call: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = undisturbed(tmp_path / "whole")
    real: Callable[..., None] = getattr(os, call)
    left = 0

    def failing(*args: object, **more: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise error
        real(*args, **more)

    monkeypatch.setattr(os, call, failing)
    for nth in (1, 2, 3, 5, 8, 13, 21, 34):
        folder = tmp_path / f"{nth}"
        left = nth
        with suppress(Killed, AssertionError):  # a full disk is a message and exit 1
            chain(folder, tmp_path / "corpus", *TRIES)
        assert left <= 0, f"{nth} calls were never made"
        for path in sorted(folder.rglob("*.parquet")):
            pq.read_table(path)  # what has its name is whole
        left = 0
        chain(folder, tmp_path / "corpus", *TRIES)
        assert digests(folder) == wanted
        assert left_half_written(folder) == []


KILLED_AT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
left, real = int(sys.argv[1]), os.replace
def replace(*args):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    real(*args)
os.replace = replace
from command import chain
chain(Path.cwd() / "killed", Path.cwd() / "corpus", "--snr", 20, "--snr", 5, "--shard-clips", 3)
"""


def test_a_killed_run_leaves_nothing_that_is_trusted_and_the_next_cleans_up(tmp_path: Path) -> None:
    wanted = undisturbed(tmp_path / "whole")
    for nth in (2, 9, 14):
        ran = subprocess.run(
            [sys.executable, "-c", KILLED_AT, str(nth), str(REPOSITORY / "tests")], cwd=tmp_path, capture_output=True,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY)}, check=False,
        )  # fmt: skip
        assert ran.returncode == -9, ran.stderr
        assert left_half_written(tmp_path / "killed")
    chain(tmp_path / "killed", tmp_path / "corpus", *TRIES)
    assert digests(tmp_path / "killed") == wanted
    assert left_half_written(tmp_path / "killed") == []


# ---- 7. The SNR is measured


def test_realised_snr_is_that_of_the_stored_audio_and_near_the_request(built: Built) -> None:
    speech = rows(built.folder, "resampled")
    mixtures = [row for row in rows(built.folder, "mixed").values() if row.kind == "mixture"]
    assert len(mixtures) > 20
    for row in mixtures:
        samples = reference.stored(built.path("mixed"), row)
        assert np.abs(samples.astype(int)).max() < 32_767
        clean = (
            reference.stored(built.path("resampled"), speech[row.speech_id or ""])
            * 10 ** ((row.gain_db or 0.0) / 20)
            / 32_768
        )
        noise_db = reference.rms_db(samples / 32_768 - clean)
        active_db, full_db = reference.p56(clean, 16_000)[0] - noise_db, reference.rms_db(clean) - noise_db
        assert row.snr_active_db == pytest.approx(active_db, abs=0.02)
        assert row.snr_full_db == pytest.approx(full_db, abs=0.02)
        assert row.snr_db == pytest.approx(active_db, abs=0.1)


# ---- 8. Nothing is in two splits


@pytest.mark.parametrize(
    "column", ["group", "source", "pcm_hash", "source_pcm_hash", "speech_id", "noise_source", "noise_pcm_hash"]
)
def test_nothing_is_in_two_splits(column: str, built: Built) -> None:
    splits: dict[tuple[str, str], set[str]] = {}
    for row in rows(built.folder, "mixed").values():
        value = getattr(row, column)
        if value is not None:
            splits.setdefault((row.corpus if column == "group" else "", value), set()).add(row.split)
    assert splits
    assert {value: found for value, found in splits.items() if len(found) > 1} == {}


def test_noise_of_a_mixture_is_of_its_own_split(built: Built) -> None:
    splits = {row.id: row.split for row in rows(built.folder, "mixed").values()}
    for row in rows(built.folder, "mixed").values():
        assert row.noise_id is None or splits[row.noise_id] == row.split


# ---- 9. Where and in what the corpora lie changes no row


def unpacked(folder: Path, root: Root, form: str = "NFC") -> Path:
    """Every file of a root as a file of its own, names in this form."""
    return write(folder, {normalize(form, entry.name): root.read(entry.place) for entry in root.entries()})


def zipped_again(folder: Path, root: Root, style: Style) -> Path:
    return write(
        folder, {"everything.zip": zip_bytes({entry.name: root.read(entry.place) for entry in root.entries()}, style)}
    )


def in_a_tar(folder: Path, root: Root) -> Path:
    return write(
        folder, {"everything.tar": tar_bytes({entry.name: root.read(entry.place) for entry in root.entries()}, "NFD")}
    )


FORMS: dict[str, Callable[[Path, Root], Path]] = {
    "unpacked": unpacked,
    "unpacked by macOS": lambda folder, root: unpacked(folder, root, "NFD"),
    "zipped again": lambda folder, root: zipped_again(folder, root, UTF8),
    "in a tar by macOS": in_a_tar,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ROOTS)
def test_a_corpus_held_in_another_way_makes_the_same_bytes(name: str, form: str, built: Built, tmp_path: Path) -> None:
    other = FORMS[form](tmp_path / "other place", Root(name, built.corpora / ROOTS[name]))
    done(tmp_path, "ingest", name, other, "--jobs", 1, "--shard-clips", 20)
    for path in (f"manifests/{name}.parquet", f"manifests/{name}.drops.parquet"):
        assert (tmp_path / path).read_bytes() == (built.folder / path).read_bytes()


def test_unpacked_corpora_make_the_same_bytes_to_the_end(built: Built, tmp_path: Path) -> None:
    for name, folder in ROOTS.items():
        unpacked(tmp_path / "corpora" / folder, Root(name, built.corpora / folder))
    assert digests(build(tmp_path / "b", tmp_path / "corpora", jobs=1).folder) == digests(built.folder)


# ---- 10. A mixture can be made again from its row alone


def test_mixtures_are_made_again_from_their_rows_and_the_corpora_sample_for_sample(built: Built) -> None:
    roots = {name: Root(name, built.corpora / folder) for name, folder in ROOTS.items()}
    places = {
        source: (name, place)
        for name, root in roots.items()
        for source, place in corpora.find(name).places(root).items()
    }
    sounds: dict[str, np.ndarray] = {}

    def sound(source: str | None) -> np.ndarray:
        name, place = places[source or ""]
        return sounds.setdefault(source or "", reference.resampled(roots[name].read(place)))

    for row in rows(built.folder, "mixed").values():
        if row.kind == "mixture":
            made = reference.mixture(row, sound(row.source), sound(row.noise_source))
            assert np.array_equal(made, reference.stored(built.path("mixed"), row)), row.id


def test_looped_noise_is_made_again_too(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path / "c",
        {"clean_test/long.wav": encoded(voice(5.0)), "noise_test/Short_1.wav": encoded(hiss(0.7, 44_100), 44_100)},
    )
    path = chain(tmp_path, folder, "--copies", 5)
    speech, noise = (
        reference.resampled((folder / name).read_bytes()) for name in ("clean_test/long.wav", "noise_test/Short_1.wav")
    )
    for row in rows(tmp_path, "mixed").values():
        if row.kind == "mixture":
            made, stored = reference.mixture(row, speech, noise), reference.stored(path, row)
            assert np.abs(made.astype(int) - stored).max() <= 1  # the seam is float64 here


# ---- the whole recipe and the single commands agree


def test_a_recipe_makes_what_its_commands_make_one_by_one(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus", SMALL)
    chain(tmp_path, folder, "--snr", 20, "--noise", "ms-snsd")
    rules = "[filter]\ntranscript = false\ndev_share = 0\n"
    told = f'[ingest]\ncorpora = ["ms-snsd"]\n{rules}[resample]\n[mix]\nsnr_db = [20]\nnoise = ["ms-snsd"]\n'
    (tmp_path / "mine.toml").write_text(told)
    done(tmp_path / "b", "run", tmp_path / "mine.toml", "--jobs", 1, "--root", f"ms-snsd={folder}")
    one, other = rows(tmp_path, "mixed"), rows(tmp_path / "b", "mine")
    assert {k: _without_place(row) for k, row in one.items()} == {k: _without_place(row) for k, row in other.items()}
    assert held(tmp_path, "mixed").provenance.logical_hash == held(tmp_path / "b", "mine").provenance.logical_hash


def test_a_fault_before_any_work_leaves_nothing_behind(tmp_path: Path) -> None:
    assert prep(tmp_path, "ingest", "ms-snsd", tmp_path / "nowhere").code == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file() and path.name != "lock"] == []
