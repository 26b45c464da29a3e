"""What must outlive any change of `train`, `evaluate` and `detect`: they run on a set that an earlier prep wrote, and
what they answer has the same keys. No module of the project is named here; see test_golden.py. No number is pinned:
torch's own results move with its versions.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pinned import GOLDEN, Ended, columns, keys, pinned, typed

SET = ("--manifest", "small.parquet")
ANSWERS: dict[str, tuple[object, ...]] = {  # in their order: each in the folder that those before it left
    "train": ("train", *SET, "--preset", "train-demo", "--out", "runs/a", "--steps", 1, "--batch", 2, "--workers", 0),
    "evaluate": ("evaluate", *SET, "--checkpoint", "runs/a/last", "--max-tokens", 3, "--per-hour", 10, "--json"),
    "evaluate compare": ("evaluate", "compare", "runs/a/evaluate-test", "runs/a/evaluate-test", "--json"),
    "detect": (
        "detect",
        "a.wav",
        "--checkpoint",
        "runs/a/last",
        "--threshold",
        0,
        "--seconds",
        1,
        "--windows",
        "hop",
        "--all",
    ),
    "detect of nothing": ("detect", "--checkpoint", "runs/a/last"),
    "evaluate of nobody": ("evaluate", *SET),
    "train with an unknown option": ("train", "--larning-rate", 1),
}


@dataclass(frozen=True, slots=True)
class Trained:
    """The folder of a run, and how each of ANSWERS ended."""

    folder: Path
    ended: dict[str, Ended]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A run of one step on small.parquet, which an earlier prep wrote with its audio: twenty clips, all synthetic."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(GOLDEN / "audio", folder / "audio")
    for name in ("small.parquet", "small.drops.parquet"):
        shutil.copy(GOLDEN / name, folder)
    soundfile.write(folder / "a.wav", np.sin(np.arange(32_000) / 10), 16_000)
    return Trained(folder, {name: typed(folder, *map(str, words)) for name, words in ANSWERS.items()})


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_same_keys(name: str, trained: Trained) -> None:
    ended = trained.ended[name]
    assert ended.code != "bug", ended.out
    found = {"exit": ended.code, "keys": keys(ended.out)}
    assert found == pinned("train_keys", name, found), ended.err


def test_a_run_leaves_the_same_files(trained: Trained) -> None:
    runs = sorted(path for path in (trained.folder / "runs").rglob("*") if path.is_file())
    found = [path.relative_to(trained.folder).as_posix() for path in runs if path.parent.name != "tensorboard"]
    assert found == pinned("train_files", "files", found)


@pytest.mark.parametrize("name", ["runs/a/last/made.json", "runs/a/log.jsonl", "runs/a/evaluate-test/metrics.json"])
def test_a_file_has_the_same_keys(name: str, trained: Trained) -> None:
    text = (trained.folder / name).read_text("utf-8")
    found = keys(text if name.endswith(".jsonl") else json.dumps(json.loads(text)))
    assert found == pinned("train_files", name, found)


def test_predictions_have_the_same_columns(trained: Trained) -> None:
    found = columns(trained.folder / "runs/a/evaluate-test/predictions.parquet")
    assert found == pinned("train_files", "predictions", found)
