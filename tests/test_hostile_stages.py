"""After ingest: what lies where a stage reads or writes is no longer a file, or another one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from command import done, drops, prep
from sounds import corpus, encoded, hiss, voice


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a corpus that was ingested and filtered."""
    folder = tmp_path_factory.mktemp("set")
    files = {f"clean_test/{n}.wav": encoded(voice(1.0, seed=n)) for n in range(2)}
    corpus(folder / "c", files | {"noise_test/Hum_1.wav": encoded(hiss(2.0))})
    done(folder, "ingest", "ms-snsd", folder / "c", "--jobs", 1)
    done(folder, "filter", "--no-transcript", "--dev-share", 0)
    return folder


@pytest.fixture
def folder(ingested: Path, tmp_path: Path) -> Path:
    shutil.copytree(ingested, tmp_path, dirs_exist_ok=True)
    return tmp_path


def resample(folder: Path, *words: object) -> str:
    """What resample says where it refuses; nothing is written then."""
    ended = prep(folder, "resample", "--root", f"ms-snsd={folder / 'c'}", "--jobs", 1, *words)
    assert ended.code == 1
    assert not (folder / "manifests/audio").exists()
    return ended.err


@pytest.mark.parametrize("out", ["manifests/pipe", "manifests/folder.parquet", ".", "manifests/\udcff.parquet"])
def test_an_output_that_is_no_file_is_refused_before_any_work_and_stays(out: str, folder: Path) -> None:
    os.mkfifo(folder / "manifests/pipe")
    (folder / "manifests/folder.parquet").mkdir()
    text = resample(folder, "--out", folder / out)
    assert "expected a file, or a name that is free" in text or "its name is not UTF-8" in text
    assert (folder / "manifests/pipe").is_fifo()


@pytest.mark.parametrize("command", ["resample", "show", "export", "pack", "report", "verify", "rebuild", "diff"])
def test_a_manifest_that_is_a_pipe_is_refused_and_not_waited_for(command: str, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    more = {"export": ("--to", "csv"), "diff": ("manifests/filtered.parquet",)}.get(command, ())
    ended = prep(folder, command, folder / "pipe", *more)
    assert ended.code in (1, 2)
    assert "pipe: a pipe, a device or a socket; expected a file" in ended.err


def test_a_recording_that_has_grown_since_ingest_is_not_read_into_memory(folder: Path) -> None:
    with (folder / "c/clean_test/0.wav").open("r+b") as file:
        file.truncate(5_000_000_000)
    done(folder, "resample", "--root", f"ms-snsd={folder / 'c'}", "--jobs", 1)
    ((reason, detail),) = [drop for name, drop in drops(folder, "resampled").items() if "0" in name]
    assert reason == "changed"
    assert "has 5,000,000,000 bytes, ingest saw 16,000 frames of 1 channels" in detail
