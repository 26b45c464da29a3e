"""Runs that are cut into slices, killed, damaged, repeated and spread: the same bytes in the end, and what is said of
it."""

from __future__ import annotations

import csv
import json
import os
import select
import signal
import subprocess
import sys
import wave
import zipfile
from contextlib import suppress
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from command import prep

from pipeline.core.files import TEMPORARY
from pipeline.engine import workers
from pipeline.engine.lock import locked

RECIPE = """
[ingest]
corpora = ["recordings"]
[filter]
dev_share = 0.0
[resample]
[mix]
snr_db = [20, 5]
noise = ["recordings"]
keep = []
[store]
shard_clips = 4
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short recordings, every fifth of them noise."""
    root = tmp_path_factory.mktemp("corpus") / "recs"
    (root / "wav").mkdir(parents=True)
    rng = np.random.default_rng(5)
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "transcript", "label", "split"])
        for number in range(40):
            noise = number % 5 == 0
            add(
                root,
                number,
                rng.normal(0, 3000, 12_000 if noise else 8_000) * (1 if noise else np.repeat(rng.random(10), 800)),
            )
            table.writerow(
                [f"wav/{number:03d}.wav", "" if noise else "살려주세요", "noise" if noise else "saveme", "train"]
            )
    return root


def add(root: Path, number: int, samples: np.ndarray) -> None:
    with wave.open(str(root / f"wav/{number:03d}.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())


def command(corpus: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "pipeline", *arguments, "--root", f"recordings={corpus}"]


def run(folder: Path, corpus: Path, *arguments: str, code: int = 0) -> str:
    folder.mkdir(exist_ok=True)
    if not (folder / "r.toml").exists():
        (folder / "r.toml").write_text(RECIPE)
    ended = prep(folder, *arguments, "--root", f"recordings={corpus}")
    assert ended.code == code, ended.out + ended.err
    return ended.out + ended.err


def state(folder: Path) -> dict[str, str]:
    """What a build leaves: manifests and audio, by digest."""
    manifests = folder / "manifests"
    files = [*manifests.glob("*.parquet"), *manifests.glob("audio/*")]
    return {path.relative_to(manifests).as_posix(): md5(path.read_bytes()).hexdigest() for path in sorted(files)}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, corpus, "run", "r.toml", "--jobs", "1")
    return folder


def test_slices_gathered_are_the_undisturbed_run(tmp_path: Path, corpus: Path, undisturbed: Path) -> None:
    for _ in range(3):
        for number in range(1, 5):
            run(tmp_path, corpus, "run", "r.toml", "--jobs", "1", "--shard", f"{number}/4")
    for path in (tmp_path / "manifests").glob("*.parquet"):
        path.unlink()
    run(tmp_path, corpus, "gather", "r.toml")
    assert state(tmp_path) == state(undisturbed)


def test_gather_does_no_work_and_says_what_is_missing(tmp_path: Path, corpus: Path) -> None:
    said = run(tmp_path, corpus, "gather", "r.toml", code=1)
    assert "prep: ingest recordings: 0 of" in said
    assert not list((tmp_path / "manifests").glob("*.parquet"))


@pytest.mark.parametrize("whom", ["parent", "group"])
def test_a_run_killed_again_and_again_ends_in_the_same_bytes(
    tmp_path: Path, corpus: Path, undisturbed: Path, whom: str
) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    for pause in (0.3, 0.6, 0.9, 1.2, 1.5):
        run_on = subprocess.Popen(
            command(corpus, "run", "r.toml", "--jobs", "2"),
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            run_on.wait(timeout=pause)
        (os.killpg if whom == "group" else os.kill)(run_on.pid, signal.SIGKILL)
        run_on.wait()
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "2")
    assert state(tmp_path) == state(undisturbed)
    assert not list((tmp_path / "manifests").rglob(f"{TEMPORARY}*"))


def test_a_parent_that_is_killed_leaves_nobody_who_complains(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    with (tmp_path / "err").open("w") as err:
        run_on = subprocess.Popen(
            command(corpus, "run", "r.toml", "--jobs", "2"),
            cwd=tmp_path,
            stdout=err,
            stderr=err,
            start_new_session=True,
        )
        work = tmp_path / "manifests/.work"
        while run_on.poll() is None and not list(work.glob(f"{TEMPORARY}clip-of-*")):
            select.select([], [], [], 0.01)
        os.kill(run_on.pid, signal.SIGKILL)
        run_on.wait()
        with suppress(ProcessLookupError):  # until the last of its processes has gone
            while True:
                os.killpg(run_on.pid, 0)
                select.select([], [], [], 0.05)
    written = (tmp_path / "err").read_text()
    assert not [word for word in ("Traceback", "resource_tracker", "KeyError", "Error") if word in written], written


def test_ctrl_c_says_that_the_same_command_goes_on(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    run_on = subprocess.Popen(
        command(corpus, "run", "r.toml", "--jobs", "2"),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    work = tmp_path / "manifests/.work"
    while run_on.poll() is None and not list(work.glob("ingest-*.parquet")):
        select.select([], [], [], 0.01)
    os.killpg(run_on.pid, signal.SIGINT)
    out, error = run_on.communicate(timeout=600)
    assert run_on.returncode in (0, 130), out + error
    assert run_on.returncode == 0 or "the same command goes on from here" in error
    assert "KeyboardInterrupt" not in error


def test_damage_is_found_named_and_mended(tmp_path: Path, corpus: Path, undisturbed: Path) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    audio = sorted((tmp_path / "manifests/audio").glob("mix-*.tar"))
    os.truncate(audio[0], audio[0].stat().st_size // 2)
    flipped = bytearray(audio[1].read_bytes())
    flipped[700] ^= 1
    audio[1].write_bytes(flipped)
    commit = sorted((tmp_path / "manifests/.work").glob("mix-*.parquet"))[-1]
    os.truncate(commit, 50)
    stale = {audio[0].stem, audio[1].stem, commit.stem}
    told = json.loads(run(tmp_path, corpus, "plan", "r.toml", "--json"))
    found = {
        shard["name"]: shard["why"] for stage in told["stages"] for shard in stage["shards"] if shard["state"] != "done"
    }
    assert found == dict.fromkeys(stale, "its audio or its commit was lost or damaged, or recordings could not be read")
    assert f"{len(stale)} made now, {len(stale)} of them again" in run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    assert state(tmp_path) == state(undisturbed)


@pytest.mark.parametrize(
    ("old", "new", "changed", "stale"),
    [
        ("snr_db = [20, 5]", "snr_db = [20]", "mix.snr_db: [20.0, 5.0] -> [20.0]", {"mix"}),
        ("[resample]", '[resample]\nquality = "MQ"', "resample.quality: HQ -> MQ", {"resample"}),
        ("dev_share = 0.0", "dev_share = 0.0\nmin_s = 0.2", "filter.min_s: 0.3 -> 0.2", set()),
    ],
)
def test_a_plan_names_what_an_edited_option_makes_stale(
    tmp_path: Path, corpus: Path, old: str, new: str, changed: str, stale: set[str]
) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    (tmp_path / "r.toml").write_text(RECIPE.replace(old, new))
    told = json.loads(run(tmp_path, corpus, "plan", "r.toml", "--json"))
    assert told["changed"] == [changed]
    assert {
        stage["part"] for stage in told["stages"] if any(shard["state"] == "stale" for shard in stage["shards"])
    } == stale
    assert all(stage["known"] or stage["part"] == "mix" for stage in told["stages"])


def test_a_changed_label_redoes_no_audio(tmp_path: Path, corpus: Path, undisturbed: Path) -> None:
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(corpus), str(copy)], check=True)
    run(tmp_path / "w", copy, "run", "r.toml", "--jobs", "1")
    table = copy / "metadata.csv"
    table.write_text(table.read_text(encoding="utf-8").replace("살려주세요", "도와주세요", 1), encoding="utf-8")
    said = run(tmp_path / "w", copy, "run", "r.toml", "--jobs", "1")
    mixing = said[said.index("\nmix") :]
    assert "shards were done before, 0 made now" in mixing


def test_clean_removes_what_no_build_is_made_of_and_nothing_else(tmp_path: Path, corpus: Path) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    (tmp_path / "r.toml").write_text(RECIPE.replace("[20, 5]", "[20]"))
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    before = state(tmp_path)
    subprocess.run([sys.executable, "-m", "pipeline", "clean", "--yes"], cwd=tmp_path, check=True, capture_output=True)
    assert len(state(tmp_path)) < len(before)
    assert "0 made now" in run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    again = subprocess.run(
        [sys.executable, "-m", "pipeline", "clean", "--yes"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "nothing to remove" in again.stdout


def test_status_tells_of_a_stopped_build(tmp_path: Path, corpus: Path) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1", "--shard", "1/1")
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "status", "--json"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    told = json.loads(ran.stdout)
    assert told["running"] is None
    assert [build["name"] for build in told["builds"]] == ["r"]
    assert told["builds"][0]["finished"]
    assert told["builds"][0]["parts"]["mix"] == told["builds"][0]["parts"]["mix"] | {"clips": 64, "done": 64}


def test_a_second_run_waits_for_the_first(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "r.toml").write_text(RECIPE)
    with locked(tmp_path / "manifests", print):
        second = subprocess.Popen(
            command(corpus, "run", "r.toml", "--jobs", "1"),
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert second.stderr is not None
        assert "is at work here; waiting for it to end" in second.stderr.readline()
        assert second.poll() is None
    out, error = second.communicate(timeout=600)
    assert second.returncode == 0, error
    assert "-> manifests" in out


def test_dask_workers_make_the_same_bytes_with_roots_of_their_own(
    tmp_path: Path, corpus: Path, undisturbed: Path
) -> None:
    pytest.importorskip("distributed")
    code = (
        "import sys\nfrom distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n        sys.stdin.read()\n"
    )
    (tmp_path / "cluster.py").write_text(code)
    there = {**os.environ, "PREP_ROOT_RECORDINGS": str(corpus)}
    cluster = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=tmp_path,
        env=there,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert cluster.stdout is not None
        address = cluster.stdout.readline().strip()
        elsewhere = tmp_path / "elsewhere"
        elsewhere.symlink_to(corpus)
        run(tmp_path / "w", elsewhere, "run", "r.toml", "--scheduler", address)
    finally:
        cluster.communicate(timeout=600)
    assert state(tmp_path / "w") == state(undisturbed)


def test_no_scheduler_is_one_clear_message(tmp_path: Path, corpus: Path) -> None:
    pytest.importorskip("distributed")
    said = run(tmp_path, corpus, "run", "r.toml", "--scheduler", "nonsense://x", code=1)
    assert "no Dask scheduler answers there" in said
    assert "Traceback" not in said


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, corpus: Path) -> None:
    """A wrong root once, and the clips would be lost for good."""
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-a", str(corpus), str(copy)], check=True)
    folder = tmp_path / "w"
    run(folder, corpus, "ingest", "recordings", "--jobs", "1")
    subprocess.run(
        [sys.executable, "-m", "pipeline", "filter", "--dev-share", "0"], cwd=folder, check=True, capture_output=True
    )
    add(copy, 3, np.full(8_000, 7))
    said = run(folder, copy, "resample", "--jobs", "1")
    assert "changed 1" in said
    said = run(folder, corpus, "resample", "--jobs", "1")
    assert "0 dropped" in said
    assert "recordings could not be read" in said


def test_a_whole_copy_of_a_damaged_archive_is_opened_again(tmp_path: Path, corpus: Path) -> None:
    """Damaged or whole, an archive states the same checksums."""
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    whole.mkdir()
    damaged.mkdir()
    with zipfile.ZipFile(whole / "recs.zip", "w") as archive:
        for path in sorted(corpus.rglob("*.*")):
            archive.write(path, path.relative_to(corpus))
    data = bytearray((whole / "recs.zip").read_bytes())
    data[5_000] ^= 255
    (damaged / "recs.zip").write_bytes(data)
    assert "corrupt 1" in run(tmp_path / "w", damaged, "ingest", "recordings", "--jobs", "1")
    assert " 0 dropped" in run(tmp_path / "w", whole, "ingest", "recordings", "--jobs", "1")


def test_clean_keeps_what_slices_did(tmp_path: Path, corpus: Path) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1", "--shard", "1/2")
    commits = sorted((tmp_path / "manifests/.work").glob("*.parquet"))
    assert commits
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "clean", "--yes"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert sorted((tmp_path / "manifests/.work").glob("*.parquet")) == commits, ran.stdout
    status = subprocess.run(
        [sys.executable, "-m", "pipeline", "status"], cwd=tmp_path, check=True, capture_output=True, text=True
    )
    assert "r.1of2: not finished" in status.stdout


def test_a_run_with_nothing_to_do_decodes_no_noise(tmp_path: Path, corpus: Path) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    noise = tmp_path / "manifests/.work/noise"
    before = noise.stat().st_mtime_ns
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    assert noise.stat().st_mtime_ns == before


def test_a_plan_names_a_changed_seed(tmp_path: Path, corpus: Path) -> None:
    run(tmp_path, corpus, "run", "r.toml", "--jobs", "1")
    (tmp_path / "r.toml").write_text("seed = 3\n" + RECIPE)
    told = json.loads(run(tmp_path, corpus, "plan", "r.toml", "--json"))
    assert told["changed"] == ["seed: 0 -> 3"]
    assert {shard["why"] for stage in told["stages"] for shard in stage["shards"] if shard["state"] == "stale"} == {
        "seed: 0 -> 3"
    }


def test_gather_offers_no_option_that_it_ignores() -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "pipeline", "gather", "--help"], check=True, capture_output=True, text=True
    )
    offered = {line.split()[0] for line in ran.stdout.partition("Options:")[2].splitlines() if line.startswith("  --")}
    assert "--out" in offered
    assert not {"--dry-run", "--shard", "--jobs", "--scheduler"} & offered


def test_processors_are_counted_where_the_system_tells_no_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    assert workers.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS has none
    assert workers.cores() == os.cpu_count()
