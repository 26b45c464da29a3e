"""After ingest: what lies where a stage reads or writes is no longer a file, or another one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from command import done, drops, prep, rows
from sounds import corpus, encoded, hiss, voice

from pipeline.cli import endings, look
from pipeline.core import files
from pipeline.engine import lock, workers
from pipeline.inspect import measure


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
    assert "expected a file, or a name that is free" in text or "is not UTF-8" in text
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


def test_names_on_disk_that_are_not_utf8_are_read_as_korean_and_a_root_of_such_a_name_is_refused(
    tmp_path: Path,
) -> None:
    korean, literal = "훈련".encode("cp949"), "a%udcc8!%21.wav"
    folder = os.path.join(os.fsencode(tmp_path / "c"), korean)
    os.makedirs(folder)
    Path(os.fsdecode(os.path.join(folder, "화재.wav".encode("cp949")))).write_bytes(encoded(voice(1.0)))
    Path(os.fsdecode(folder), literal).write_bytes(encoded(voice(1.0, seed=1)))
    with zipfile.ZipFile(os.fsdecode(folder + b".zip"), "w") as archive:
        archive.writestr("b.wav", encoded(voice(1.0, seed=2)))
    text = f"file,text\n훈련/화재.wav,불이야\n훈련/b.wav,x\n훈련/{literal},y\n"
    (tmp_path / "c/t.csv").write_text(text)
    done(tmp_path, "ingest", "recordings", "c", "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    assert rows(tmp_path, "resampled").keys() == {f"recordings/훈련/{name}" for name in ("화재.wav", "b.wav", literal)}
    ended = prep(tmp_path, "ingest", "recordings", os.fsdecode(folder), "--name", "other", "--jobs", 1)
    assert ended.code == 1
    assert "is not UTF-8: rename it" in ended.err


def test_with_a_closed_stderr_no_file_that_is_opened_gets_its_words() -> None:
    code = "import os, sys\nfrom pipeline.cli import endings\nendings.speak_utf8()\nprint('x', file=sys.stderr)\n"
    code += "print(open('/etc/hostname').fileno(), sys.stderr is not None)"
    words = f"{sys.executable} -c '{code}' 2>&-".replace("'x'", '"x"').replace("'/etc/hostname'", '"/etc/hostname"')
    ended = subprocess.run(["bash", "-c", words], capture_output=True, text=True, cwd=Path(__file__).parents[1])
    assert ended.returncode == 0
    number, is_open = ended.stdout.split()
    assert int(number) > endings.STDERR
    assert is_open == "True"


def test_too_little_memory_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit), endings.endings("prep"):
        raise MemoryError("Unable to allocate 9 GiB")
    assert capsys.readouterr().err == (
        "prep: not enough memory (Unable to allocate 9 GiB): free some, raise its limit (ulimit -v), or use fewer "
        "--jobs\n"
    )


def test_where_no_thread_can_be_started_the_run_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers._Pool, "submit", refused)
    ended = prep(folder, "resample", "--root", f"ms-snsd={folder / 'c'}", "--jobs", 2)
    assert ended.code == 1
    assert "no worker process could be started (can't start new thread): free some memory" in ended.err


def test_a_run_that_is_stopped_leaves_nothing_half_written(tmp_path: Path) -> None:
    half = tmp_path / f"audio/{files.TEMPORARY}x.tar-1-2"
    half.parent.mkdir()
    with suppress(KeyboardInterrupt), lock.locked(tmp_path, print):
        half.write_bytes(b"x")
        raise KeyboardInterrupt
    assert not half.exists()


def test_a_clip_that_is_too_long_for_measures_is_said_to_have_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "LONGEST_S", 1.5)
    monkeypatch.setattr(look, "LONGEST_S", 1.5)
    out = done(folder, "measure", "manifests/ms-snsd.parquet", "--root", f"ms-snsd={folder / 'c'}", "--jobs", 1).out
    assert "2 of 3 clips have measures; 1 are longer than 1.5 s and have none" in out


def test_a_clock_that_was_set_far_off_stops_no_run(folder: Path) -> None:
    os.utime(folder / "c/clean_test/0.wav", (1 << 34, 1 << 34))
    with zipfile.ZipFile(folder / "c/more.zip", "w") as archive:
        archive.writestr("noise_test/Hum_2.wav", encoded(hiss(2.0, seed=1)))
    os.utime(folder / "c/more.zip", (1 << 34, 1 << 34))
    done(folder, "ingest", "ms-snsd", folder / "c", "--jobs", 1)
    done(folder, "resample", "--root", f"ms-snsd={folder / 'c'}", "--jobs", 1)
    assert len(rows(folder, "resampled")) == 3


@pytest.mark.parametrize("command", [("verify",), ("mix", "--jobs", 1), ("export", "--to", "kaldi", "--own-use")])
def test_a_shard_that_is_a_pipe_is_refused_and_not_waited_for(command: tuple[object, ...], folder: Path) -> None:
    done(folder, "resample", "--root", f"ms-snsd={folder / 'c'}", "--jobs", 1)
    for shard in sorted((folder / "manifests/audio").glob("*.tar")):
        shard.unlink()
        os.mkfifo(shard)
    name, *more = command
    ended = prep(folder, name, "manifests/resampled.parquet", *more)
    assert ended.code == 1
    assert "a pipe, a device or a socket" in ended.out + ended.err


def test_what_ingest_writes_of_the_smallest_and_the_largest_floats_every_later_stage_reads(tmp_path: Path) -> None:
    least, largest = np.float32(1e-45), np.finfo(np.float32).max
    sounds = {"least.wav": voice(1.0) * 0, "largest.wav": voice(1.0), "good.wav": voice(1.0)}
    sounds["least.wav"][7], sounds["largest.wav"][7] = least, largest
    sounds["constant.wav"] = np.full(16_000, 0.3, np.float32)
    corpus(tmp_path / "c", {name: encoded(sound, subtype="FLOAT") for name, sound in sounds.items()})
    (tmp_path / "c/t.csv").write_text("file,text\n" + "".join(f"{name},x\n" for name in sounds))
    done(tmp_path, "ingest", "recordings", tmp_path / "c", "--jobs", 1)
    assert rows(tmp_path, "recordings")["recordings/constant.wav"].clipped_share == 1.0
    done(tmp_path, "filter", "--dev-share", 0)
    assert rows(tmp_path, "filtered").keys() == {"recordings/good.wav"}
