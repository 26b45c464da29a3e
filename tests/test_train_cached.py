"""Means of a frozen encoder: training as on samples, computed once, gone on with, and never those of another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from train_samples import Answer, Clip, command, made, noise, usual

from train import cached, checkpoint, data
from train.cascade import padded
from train.classifier import Classifier

FROZEN = ("--arch", "hubert", "--model", "tiny", "--init", "random", "--freeze", "encoder", "--layers", "sum")
WORDS = (*FROZEN, "--batch", 5, "--steps", 12, "--save-every", 6, "--lr", 1e-2, "--best", "macro_f1")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(
        tmp_path_factory.mktemp("made"), [*usual(3, 1, 1), Clip("long", seconds=3.3), noise("short", seconds=0.4)]
    )


def train(folder: Path, manifest: Path, *more: object, out: str = "run") -> Answer:
    return command("train", folder, "--manifest", manifest, "--out", out, *WORDS, *more)


@pytest.fixture(scope="module")
def run(manifest: Path) -> Path:
    """A run on means."""
    answer = train(manifest.parent, manifest)
    assert answer.code == 0, answer.err
    assert "means   of 14 clips by the frozen encoder, once" in answer.err
    return manifest.parent / "run"


def parts(folder: Path) -> list[Path]:
    return sorted(folder.rglob("part-*.npy"))


def test_a_mean_is_that_of_the_clip_alone(run: Path, manifest: Path) -> None:
    classifier = checkpoint.read(run / "last").detector
    assert isinstance(classifier, Classifier)
    classifier.eval()
    rows, sounds = data.rows(data.read(manifest), "train"), data.Sounds(manifest.parent)
    (kept,) = [np.load(path) for path in parts(run) if len(np.load(path, mmap_mode="r")) == len(rows)]
    assert kept.dtype == np.float32
    for row, own in zip(rows, kept, strict=True):
        with torch.inference_mode():
            alone = classifier.means(*padded([data.samples(sounds.pcm(row))], "auto"))[0].numpy()
        assert np.abs(own - alone).max() < 1e-5


def test_training_on_means_is_training_on_samples(
    run: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "is_exact", lambda options: False)
    answer = train(tmp_path, manifest)
    assert answer.code == 0, answer.err
    assert not parts(tmp_path)
    one, two = (load_file(folder / "last/model.safetensors") for folder in (run, tmp_path / "run"))
    learnt = {name for name in one if name.startswith(("classifier", "projector", "layer_weights"))}
    assert len(learnt) == 5
    for name in one:
        assert torch.allclose(one[name], two[name], atol=1e-5 if name in learnt else 0, rtol=0), name
    logs = [
        [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        for folder in (run, tmp_path / "run")
    ]
    for here, there in zip(*logs, strict=True):
        for key in ("loss", "grad_norm", "dev_loss", "dev_macro_f1"):
            assert here.get(key) == pytest.approx(there.get(key), abs=1e-5)


def test_runs_share_means_but_never_with_another_encoder(manifest: Path, tmp_path: Path) -> None:
    assert train(tmp_path, manifest, "--means", "shared", out="a").code == 0
    first = {path: path.stat().st_mtime_ns for path in parts(tmp_path)}
    assert len(first) == 2
    answer = train(tmp_path, manifest, "--means", "shared", "--lr", 1e-3, out="b")
    assert "means   of 14 clips are in shared/" in answer.err
    assert {path: path.stat().st_mtime_ns for path in parts(tmp_path)} == first
    assert (
        "means   of 14 clips by the frozen" in train(tmp_path, manifest, "--means", "shared", "--seed", 1, out="c").err
    )
    assert len(parts(tmp_path)) == 4


class Killed(Exception):
    """What stands for the end of the process."""


def test_means_that_were_cut_off_go_on_and_damaged_ones_are_computed_anew(
    run: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached, "PART", 4)
    encoded, clips = cached._encoded, []

    def counted(places: range, *more: Any) -> Any:
        clips.extend(places)
        if len(clips) > 8 and 8 in clips and not (tmp_path / "go on").exists():
            (tmp_path / "go on").touch()
            raise Killed
        yield from encoded(places, *more)

    monkeypatch.setattr(cached, "_encoded", counted)
    with pytest.raises(Killed):
        train(tmp_path, manifest)
    assert [path.name for path in parts(tmp_path)] == ["part-00000.npy", "part-00001.npy"]
    parts(tmp_path)[1].write_bytes(parts(tmp_path)[1].read_bytes()[:-40])
    clips.clear()
    assert train(tmp_path, manifest).code == 0
    assert clips[:10] == [*range(4, 14)]  # then those of dev
    one, two = (load_file(folder / "last/model.safetensors") for folder in (run, tmp_path / "run"))
    assert all(torch.allclose(one[name], two[name], atol=1e-5) for name in one)


class Disk(NamedTuple):
    """What shutil.disk_usage gives."""

    free: int


def test_a_disk_that_is_too_small_and_means_without_effect_are_said(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = train(tmp_path, manifest, "--means", "shared", "--crop-noise")
    assert answer.code == 1
    assert "--means: only a frozen encoder of wav2vec2, hubert or xlsr on unchanged samples has them" in answer.err
    monkeypatch.setattr(cached.shutil, "disk_usage", lambda path: Disk(1000))
    answer = train(tmp_path, manifest, out="small")
    assert answer.code == 1
    assert "the means of 14 clips take 0.0 GB, 0.0 GB are free: make room, or give --means" in answer.err
