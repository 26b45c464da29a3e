"""Random kills: a command is killed with its workers at a drawn moment, typed again, and must leave the same bytes.

From the repository's root, `python tests/kills.py [SEED [COUNT]]` kills COUNT times (50), command after command, and
exits 1 where one of them left something else than an undisturbed run, a traceback, or a half-written file.
"""

from __future__ import annotations

import csv
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import wave
from contextlib import suppress
from hashlib import md5
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[1]
RECIPE = """
[ingest]
corpora = ["recordings"]
[filter]
[resample]
[mix]
snr_db = [20, 5]
[store]
shard_clips = 8
"""
TRAIN = ["--model", "tiny", "--init", "random", "--batch", "4", "--max-tokens", "60"]
TRAIN += ["--steps", "12", "--save-every", "2", "--out", "runs/tiny"]
TO_ALL = [["export", "manifests/mixed.parquet", "--own-use", "--to", form] for form in ("csv", "hf", "nemo", "kaldi")]
TO_ALL += [["export", "manifests/mixed.parquet", "--own-use", "--to", form] for form in ("lhotse", "webdataset")]
TO_ALL += [[*TO_ALL[-1], "--audio", "copy", "--out", "copied"]]
COMMANDS = [  # in an order in which each finds what it needs
    ["ingest", "recordings", "../corpus", "--shard-clips", "8"],
    ["filter", "--dev-share", "0"],
    ["resample", "--shard-clips", "8"],
    ["mix", "--snr", "20", "--snr", "0:10", "--shard-clips", "8"],
    ["run", "r.toml"],
    ["pack", "manifests/mixed.parquet", "--out", "mixed.pack.parquet", "--croissant"],
    ["rebuild", "mixed.pack.parquet", "--out", "again/mixed.parquet", "--shard-clips", "8"],
    ["report", "manifests/mixed.parquet", "--with-audio"],
    *TO_ALL,
    ["train", "--manifest", "manifests/mixed.parquet", *TRAIN],
]
TIMES = {"log.jsonl", "tensorboard", ".work"}  # they hold times that were measured: only the names must be the same


def corpus(root: Path) -> None:
    """Sixty short recordings in three splits, every fifth of them noise."""
    root.mkdir(parents=True)
    rng, words = np.random.default_rng(5), ("살려주세요", "도와주세요", "안녕하세요")
    with (root / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", "transcript", "label", "split"])
        for number in range(60):
            noise, name = number % 5 == 0, f"{number:02d}.wav"
            samples = rng.normal(0, 3000, 24_000) * (1 if noise else np.repeat(rng.random(10), 2400))
            with wave.open(str(root / name), "wb") as sound:
                sound.setparams((1, 2, 16_000, 0, "NONE", ""))
                sound.writeframes(samples.astype("<i2").tobytes())
            text, label = ("", "noise") if noise else (words[number % 3], "speech")
            table.writerow([name, text, label, ("train", "train", "dev", "test")[number // 5 % 4]])


def started(command: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """The command at work in the folder, in a group of processes of its own; what it prints goes to said.txt."""
    module = ["-m", "train"] if command[0] == "train" else ["-m", "pipeline", command[0]]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (folder.parent / f"{folder.name}.txt").open("ab") as said:
        words = [sys.executable, "-W", "ignore", *module, *command[1:]]
        return subprocess.Popen(
            words, cwd=folder, env=environment, stdout=said, stderr=said, stdin=subprocess.DEVNULL, process_group=0
        )


def names(folder: Path) -> set[Path]:
    """All that lies in the folder, at this moment."""
    return {Path(top) / name for top, below, files in os.walk(folder) for name in (*below, *files)}


def first_change(process: subprocess.Popen[bytes], folder: Path, before: set[Path]) -> None:
    """Waits until the command has written a first thing, or has ended."""
    while process.poll() is None and names(folder) == before:
        select.select([], [], [], 0.005)


def state(folder: Path) -> dict[str, str]:
    """Each file in the folder, by digest."""
    digests = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        timed = TIMES & {path.name, path.parent.name}
        if path.parent.name != "tensorboard":  # whose files are named by the clock
            digests[path.relative_to(folder).as_posix()] = "" if timed else md5(path.read_bytes()).hexdigest()
    return digests


def chain(place: Path, commands: list[list[str]], until: list[str]) -> dict[str, tuple[Path, float]]:
    """Runs the commands up to one, undisturbed.

    By command: a copy of the folder as it was before, and how many seconds the command wrote. `after` is the last.
    """
    corpus(place / "corpus")
    folder, before = place / "whole", {}
    folder.mkdir()
    (folder / "r.toml").write_text(RECIPE, encoding="utf-8")
    for number, command in enumerate(commands[: commands.index(until) + 1]):
        copy = place / f"before-{number}"
        shutil.copytree(folder, copy)
        known = names(folder)
        process = started(command, folder)
        first_change(process, folder, known)
        begun = time.monotonic()
        if process.wait():
            raise SystemExit(f"{' '.join(command)}: {(place / 'whole.txt').read_text(encoding='utf-8')}")
        before[" ".join(command)] = copy, time.monotonic() - begun
    shutil.copytree(folder, place / "after")
    return before


def killed(command: list[str], before: Path, after: Path, moments: list[float], folder: Path) -> tuple[str, int]:
    """(what is wrong with what a command leaves that was killed at these moments and typed again; kills that struck).

    moments: seconds from the first thing that is written.
    """
    shutil.copytree(before, folder)
    known, struck = names(folder), 0
    for moment in moments:
        process = started(command, folder)
        first_change(process, folder, known)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=moment)
        struck += process.poll() is None
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    code = started(command, folder).wait()
    said = folder.parent / f"{folder.name}.txt"
    text, left, wanted = said.read_text(encoding="utf-8", errors="replace"), state(folder), state(after)
    differ = sorted(name for name in left.keys() | wanted.keys() if left.get(name) != wanted.get(name))
    if code or differ or "Traceback" in text or "resource_tracker" in text:
        return f"exit code {code}, {len(differ)} files differ: {', '.join(differ[:5])}\n{text[-2000:]}", struck
    shutil.rmtree(folder)
    said.unlink()
    return "", struck


def main(seed: int = 0, count: int = 50, only: str = "") -> int:
    """Kills, and prints what came of it; the number of kills after which something was wrong."""
    rng, place = np.random.default_rng(seed), Path(tempfile.mkdtemp(prefix="kills-"))
    chosen = [command for command in COMMANDS if only in command[0]]
    print(f"seed {seed}, {count} kills, in {place}", flush=True)
    undisturbed = chain(place, COMMANDS, chosen[-1])
    copies = [copy for copy, _ in undisturbed.values()] + [place / "after"]
    faults = strikes = 0
    for number in range(count):
        command = chosen[number % len(chosen)]
        before, seconds = undisturbed[" ".join(command)]
        after = copies[copies.index(before) + 1]
        moments = [float(share) * seconds for share in rng.random(1 + number % 3 // 2)]
        fault, struck = killed(command, before, after, moments, place / f"kill-{number}")
        strikes, faults = strikes + struck, faults + bool(fault)
        at = ", ".join(f"{moment:.2f}" for moment in moments)
        print(f"{number:4}  {' '.join(command)[:60]:<60}  {at} of {seconds:.2f} s  {fault or 'same'}", flush=True)
    print(f"{count} runs, {strikes} kills struck a command at work, {faults} left something else", flush=True)
    if not faults:
        shutil.rmtree(place)
    return faults


if __name__ == "__main__":
    sys.exit(bool(main(*map(int, sys.argv[1:3]), *sys.argv[3:4])))
