"""A disk that is full, or that can only be read from now on: one clear line, no half file, and a way to go on."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from command import done, prep
from corpus_samples import write
from sounds import encoded, voice

from pipeline.audio.shards import ShardWriter
from pipeline.core import files
from pipeline.core.files import TEMPORARY

KEPT = "What is done is kept: the same command goes on from here."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve recordings of 2 s."""
    table = "file,transcript,split\n" + "".join(f"{n}.wav,살려주세요,train\n" for n in range(12))
    sounds = {f"{n}.wav": encoded(voice(2.0, seed=n)) for n in range(12)}
    return write(tmp_path_factory.mktemp("own"), {"t.csv": table.encode()} | sounds)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 400 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("only root can mount a disk")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def resample(folder: Path, jobs: int = 1) -> tuple[object, ...]:
    return ("resample", "recordings.parquet", "--out", "resampled.parquet", "--jobs", jobs, "--shard-clips", 3)


def ingested(folder: Path, corpus: Path) -> None:
    done(folder, "ingest", "recordings", corpus, "--out", "recordings.parquet", "--jobs", 1)


def halves(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{TEMPORARY}*"))


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_full_disk_leaves_no_half_file_and_one_line(
    small_disk: Path, corpus: Path, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(small_disk, corpus)
    monkeypatch.setattr(files, "check_room", lambda *_: None)  # somebody else fills it while the run is on
    ended = prep(small_disk, *resample(small_disk, jobs))
    assert ended.code == 1
    fault, *more = ended.err.strip().splitlines()
    assert more == []
    assert fault.startswith(f"prep: {small_disk}/")
    assert f": No space left on device; make room, or name a place on another disk with --out. {KEPT}" in fault
    assert halves(small_disk) == []
    assert not (small_disk / "resampled.parquet").exists()
    subprocess.run(["mount", "-o", "remount,size=4m", small_disk], check=True)
    assert " 12 kept" in done(small_disk, *resample(small_disk)).out


@pytest.mark.parametrize("number", [errno.EROFS, errno.ENOSPC, errno.EDQUOT])
def test_a_folder_that_turns_read_only_ends_in_one_line(
    tmp_path: Path, corpus: Path, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingested(tmp_path, corpus)
    put, count = ShardWriter.put, iter(range(99))

    def failing(writer: ShardWriter, row_id: str, data: bytes) -> tuple[int, int]:
        if next(count) >= 4:
            raise OSError(number, os.strerror(number))
        return put(writer, row_id, data)

    with monkeypatch.context() as here:
        here.setattr(ShardWriter, "put", failing)
        ended = prep(tmp_path, *resample(tmp_path))
    assert ended.code == 1
    assert ended.err.count("\n") == 1
    goes_on = "" if number == errno.EROFS else f". {KEPT}"  # not before somebody mends it
    assert f"{os.strerror(number)}; {files.DISK_FAULTS[number]}{goes_on}" in ended.err
    assert halves(tmp_path) == []
    assert " 12 kept" in done(tmp_path, *resample(tmp_path)).out


def test_what_a_killed_process_left_of_a_file_goes_when_the_file_is_written_again(tmp_path: Path) -> None:
    with files.replacing(tmp_path / "a.parquet") as half:
        half.touch()
        left = {
            str(pid): tmp_path / half.name.replace(f"-{os.getpid()}-", f"-{pid}-") for pid in (gone(), os.getppid())
        }
    elsewhere, other = (
        tmp_path / f"{TEMPORARY}{name}-{gone()}-{end}" for name, end in (("a.parquet", "x"), ("b", "x"))
    )
    for path in (*left.values(), elsewhere, other):
        path.touch()
    with files.replacing(tmp_path / "a.parquet") as half:
        half.write_text("whole")
    kept = {left[str(os.getppid())], elsewhere, other, tmp_path / "a.parquet"}  # of one at work, of another machine
    assert set(tmp_path.iterdir()) == kept


def gone() -> int:
    """The number of a process that has ended."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    return ended.pid
