"""What `prep doctor` says of a machine, and Korean names under locales that know none."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from command import prep
from corpus_samples import SAMPLES, write
from sounds import encoded

from pipeline.archives import Roots
from pipeline.inspect import doctor

ROOT = Path(__file__).parents[1]


def states(folder: Path, *words: object) -> dict[str, tuple[str, str]]:
    return {
        check["about"]: (check["state"], check["found"])
        for check in prep(folder, "doctor", "--json", *words).json()["checks"]
    }


def test_a_sound_machine_has_no_fault(tmp_path: Path) -> None:
    ended = prep(tmp_path, "doctor")
    assert ended.code == 0
    assert "FAULT" not in ended.out
    assert "h of audio/s with" in ended.out
    assert not list(tmp_path.iterdir())


def test_a_file_of_the_users_is_left_as_it_is(tmp_path: Path) -> None:
    for name in doctor.NAMES:
        (tmp_path / name).write_text("mine")
    assert prep(tmp_path, "doctor").code == 0
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}


def test_a_root_is_counted_and_one_that_is_not_there_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "noise", SAMPLES["ms-snsd"])
    found = states(tmp_path, "--root", f"ms-snsd={tmp_path / 'noise'}", "--root", f"cochlscene={tmp_path / 'nothing'}")
    assert found["root ms-snsd"][0] == "ok"
    assert "recordings" in found["root ms-snsd"][1]
    assert found["root cochlscene"][0] == "fault"
    assert "does not exist" in found["root cochlscene"][1]
    assert found["root aihub"][0] == "note"
    assert prep(tmp_path, "doctor", "--root", f"cochlscene={tmp_path / 'nothing'}").code == 1


def test_another_corpus_under_a_root_is_a_fault(tmp_path: Path) -> None:
    write(tmp_path / "noise", SAMPLES["ms-snsd"])
    assert states(tmp_path, "--root", f"cochlscene={tmp_path / 'noise'}")["root cochlscene"][0] == "fault"


def test_samples_of_its_own_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.same_bits().state == "ok"
    drawn = doctor.reference()
    drawn[1000] += 1
    monkeypatch.setattr(doctor, "reference", lambda: drawn)
    assert doctor.same_bits().state == "note"


def test_what_is_looked_for_is_what_the_project_declares() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = {check.about: check.text for check in doctor.packages()}
    assert all(f"{line.split('>')[0]} " in found["packages"] for line in told["dependencies"])
    assert {about for about in found if about.startswith("extra")} == {
        "extra [cluster]",
        "extra [detect]",
        "extra [report]",
        "extra [train]",
    }


def test_a_missing_package_of_an_extra_is_a_note_with_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: None if name == "jinja2" else "1")
    (check,) = [check for check in doctor.packages() if check.about == "extra [report]"]
    assert (check.state, check.text, check.remedy) == (
        "note",
        "lacks jinja2",
        "pip install '.[report]' in the project's folder",
    )


def test_the_pace_counts_audio_by_the_clock_that_it_is_given() -> None:
    ticks = iter([10.0, 10.5])
    found = doctor.pace(4, lambda: next(ticks))
    assert found.times_real_time == doctor.TRIAL_CLIPS * doctor.TRIAL_S / 0.5
    assert found.hours_a_second == pytest.approx(found.times_real_time * 4 / 3600)
    assert found.aihub_minutes == pytest.approx((891 + 211) * 3600 / found.times_real_time / 4 / 60)


def test_the_reference_is_whole_numbers_of_a_hash() -> None:
    sound = doctor.reference()
    assert sound.dtype == np.int16
    assert (len(sound), int(sound.min()) >= -4096, int(sound.max()) < 4096) == (44_100, True, True)


def test_no_root_told_is_no_fault() -> None:
    assert doctor.root("aihub", Roots({})).state == "note"


@pytest.mark.parametrize("locale", ["C", "POSIX"])
def test_korean_names_survive_a_locale_that_knows_none(locale: str, tmp_path: Path) -> None:
    write(tmp_path / "소음", dict.fromkeys(SAMPLES["ms-snsd"], encoded(np.sin(np.arange(16_000) / 9) / 2)))
    environment = {
        **os.environ,
        "LC_ALL": locale,
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": "ascii",
    }
    typed = [sys.executable, "-m", "pipeline", "ingest", "ms-snsd", "소음", "--out", "결과.parquet", "--jobs", "1"]
    environment["PYTHONPATH"] = str(ROOT)
    ran = subprocess.run(typed, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    assert "-> 결과.parquet" in ran.stdout.decode()
    assert (tmp_path / "결과.parquet").exists()


def test_a_full_disk_is_a_fault_and_a_nearly_full_one_is_told_in_megabytes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for free, state, told in (
        (60_000, "fault", "0 MB free"),
        (400_000_000, "note", "400 MB free"),
        (48_000_000_000, "ok", "48 GB free"),
    ):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: SimpleNamespace(free=free))
        found = doctor.disk(tmp_path)
        assert (found.state, found.text.split(" (")[0]) == (state, told)
        assert bool(found.remedy) == (state != "ok")


def test_a_root_with_many_faults_is_told_in_one_line(tmp_path: Path) -> None:
    for name in ("a.gz", "b.gz", "c.gz"):
        (tmp_path / name).write_bytes(b"\x1f\x8b" + bytes(20))
    state, found = states(tmp_path, "--root", f"aihub={tmp_path}")["root aihub"]
    assert state == "fault"
    assert "\n" not in found
    assert found.endswith("(and 2 more such)")
