"""Runs of `train` as typed: the step as the paper has it, checkpoints, kill and resume, refusals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional
from train_samples import TINY, Answer, Clip, apart, command, environment, made, noise, started, usual
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from pipeline.core import keys
from train.folder import clean, replacing_folder
from train.model import seed_torch


def train(folder: Path, manifest: Path, *more: object, out: str = "run") -> Answer:
    return command("train", folder, "--manifest", manifest, "--out", out, *TINY, *more)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors") | {
        f"head.{name}": value for name, value in load_file(folder / "head.safetensors").items()
    }


def log(folder: Path) -> list[dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name != "examples_per_s"} for line in lines]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"), usual(train=3, dev=1, test=1))


@pytest.fixture(scope="module")
def whole(manifest: Path) -> Path:
    """A run from end to end."""
    answer = train(manifest.parent, manifest, "--steps", 7, "--save-every", 3, out="whole")
    assert answer.code == 0, answer.err
    assert "train         12 of 12 rows: helpme 3, noise 3, others 3, saveme 3" in answer.err
    return manifest.parent / "whole"


def test_three_steps_are_those_of_an_independent_loop(manifest: Path, tmp_path: Path) -> None:
    """Written from the paper alone: transformers' model at 30 s, two cross-entropies, AdamW, cosine, 0.5 before + 0.5 after."""
    steps, lr = 3, 1e-3
    answer = train(
        tmp_path, manifest, "--steps", steps, "--window", 30, "--batch", 12, "--clip-norm", 0, "--weight-decay", 0.1
    )
    assert answer.code == 0, answer.err
    seed_torch(0, "weights")
    folder = tmp_path / "run/last"
    processor = WhisperProcessor.from_pretrained(folder, language="korean", task="transcribe")
    whisper = WhisperForConditionalGeneration(WhisperForConditionalGeneration.config_class.from_pretrained(folder))
    seed_torch(0, "head")
    head = torch.nn.Linear(64, 2)
    clips = [clip for clip in usual(train=3, dev=1, test=1) if clip.split == "train"]
    mel = WhisperFeatureExtractor()(
        [clip.pcm / np.float32(32768) for clip in clips], sampling_rate=16_000, return_tensors="pt"
    ).input_features
    tokens = processor.tokenizer([clip.transcript or "" for clip in clips], padding=True, return_tensors="pt")
    labels = tokens.input_ids.masked_fill(tokens.attention_mask == 0, -100)[:, 1:]
    for row, clip in enumerate(clips):
        labels[row] = labels[row] if clip.transcript else -100
    parameters = [p for p in [*whisper.parameters(), *head.parameters()] if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.1)
    told = []
    for step in range(steps):
        out = whisper(input_features=mel, labels=labels)
        real = [-(-round(clip.seconds * 16_000) // 320) for clip in clips]
        means = torch.stack([out.encoder_last_hidden_state[row, :count].mean(0) for row, count in enumerate(real)])
        noise_loss = functional.cross_entropy(head(means), torch.tensor([int(clip.kind == "noise") for clip in clips]))
        loss = noise_loss + out.loss
        optimizer.zero_grad()
        loss.backward()
        before = [parameter.detach().clone() for parameter in parameters]
        optimizer.param_groups[0]["lr"] = lr * 0.5 * (1 + np.cos(np.pi * step / steps))
        optimizer.step()
        with torch.no_grad():
            for parameter, old in zip(parameters, before, strict=True):
                parameter.copy_(0.5 * old + 0.5 * parameter)
        told.append((float(loss.detach()), float(noise_loss.detach())))
    found = [line for line in log(tmp_path / "run") if "loss" in line]
    assert [(line["loss"], line["noise_loss"]) for line in found] == [pytest.approx(pair, abs=2e-4) for pair in told]
    held = weights(folder)
    moved = 0.0
    seed_torch(0, "weights")
    fresh = WhisperForConditionalGeneration(whisper.config).state_dict()
    for name, value in whisper.state_dict().items():
        if name in held and not name.startswith("proj_out"):
            # AdamW divides by the root of tiny squares: where a gradient is all rounding, so is the step
            assert float((held[name] - value).abs().max()) < 1e-3, name
            assert float((held[name] - value).abs().mean()) < 2e-5, name
            moved += float((fresh[name] - value).abs().mean())
    assert moved > 1e-3
    assert float((held["head.weight"] - head.weight.detach()).abs().max()) < 1e-5


def test_checkpoints_are_plain_folders_with_the_head_and_what_they_were_made_from(whole: Path, manifest: Path) -> None:
    for name in ("last", "best"):
        whisper = WhisperForConditionalGeneration.from_pretrained(whole / name)
        assert torch.equal(
            whisper.state_dict()["model.decoder.embed_tokens.weight"],
            weights(whole / name)["model.decoder.embed_tokens.weight"],
        )
        processor = WhisperProcessor.from_pretrained(whole / name)
        assert processor.tokenizer.decode(processor.tokenizer("살려줘").input_ids, skip_special_tokens=True) == "살려줘"
        made_of = json.loads((whole / name / "made.json").read_text())
        assert made_of["classes"] == ["speech", "noise"]
        assert made_of["manifest"] == "mixed.parquet"
        assert {"manifest_hash", "recipe", "options", "lexicon_hash", "code", "weights_hash"} <= made_of.keys()
        assert str(manifest.parent) not in (whole / name / "made.json").read_text()
        assert "살려주세요" in (whole / name / "lexicon.toml").read_text()
    assert json.loads((whole / "last/made.json").read_text())["step"] == 7


def test_the_best_checkpoint_is_that_of_the_lowest_dev_loss(whole: Path) -> None:
    scores = {line["step"]: line["dev_loss"] for line in log(whole) if "dev_loss" in line}
    assert list(scores) == [3, 6, 7]
    assert json.loads((whole / "best/made.json").read_text())["step"] == min(scores, key=scores.__getitem__)


def test_the_same_run_again_is_the_same_run(whole: Path, manifest: Path, tmp_path: Path) -> None:
    assert train(tmp_path, manifest, "--steps", 7, "--save-every", 3).code == 0
    assert log(tmp_path / "run") == log(whole)
    assert all(
        torch.equal(value, weights(whole / "last")[name]) for name, value in weights(tmp_path / "run/last").items()
    )


@pytest.mark.parametrize("lines", [2, 5])  # before the first checkpoint, and after it
def test_a_killed_run_goes_on_to_bit_equal_weights(whole: Path, manifest: Path, tmp_path: Path, lines: int) -> None:
    words = ("--manifest", manifest, "--out", "run", *TINY, "--steps", 7, "--save-every", 3)
    run = subprocess.Popen(started("train", *words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (tmp_path / "run/log.jsonl").exists() or (tmp_path / "run/log.jsonl").read_text().count("\n") < lines:
        assert time.monotonic() < deadline
        assert run.poll() is None
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    answer = command("train", tmp_path, *words)
    assert answer.code == 0, answer.err
    assert ("resumed from step" in answer.err) == (lines > 3)
    assert log(tmp_path / "run") == log(whole)
    for name in ("last", "best"):
        found, wanted = weights(tmp_path / "run" / name), weights(whole / name)
        assert all(torch.equal(found[key], value) for key, value in wanted.items())
    assert sorted(path.name for path in (tmp_path / "run").iterdir() if path.name != "tensorboard") == [
        "best",
        "last",
        "log.jsonl",
        "options.json",
    ]


def test_a_finished_run_is_left_alone_and_another_is_refused(whole: Path, manifest: Path) -> None:
    again = train(whole.parent, manifest, "--steps", 7, "--save-every", 3, out="whole")
    assert (again.code, "complete, 7 steps; nothing to do" in again.err) == (0, True)
    other = train(whole.parent, manifest, "--steps", 7, "--save-every", 3, "--seed", 1, out="whole")
    assert other.code == 1
    assert "whole: holds a run that was begun otherwise (seed 0, now 1): give another --out" in other.err


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    def write(text: str, *, fail: bool = False) -> None:
        with replacing_folder(tmp_path / "last") as half:
            (half / "file").write_text(text)
            if fail:
                raise RuntimeError

    write("one")
    with pytest.raises(RuntimeError):
        write("two", fail=True)
    assert (tmp_path / "last/file").read_text() == "one"
    (tmp_path / "last").rename(tmp_path / ".old-last")  # killed between the two renames
    clean(tmp_path, ("last", "best"))
    assert (tmp_path / "last/file").read_text() == "one"
    write("three")
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert (tmp_path / "last/file").read_text() == "three"


def test_a_single_task_run_has_no_head(manifest: Path, tmp_path: Path) -> None:
    answer = train(tmp_path, manifest, "--task", "single", "--steps", 2)
    assert answer.code == 0, answer.err
    assert "left out: noise 3" in answer.err
    assert not (tmp_path / "run/last/head.safetensors").exists()


def test_the_paper_without_noise_rows_is_refused_and_without_dev_the_latest_is_best(tmp_path: Path) -> None:
    speech = [Clip(f"{n}") for n in range(4)]
    answer = train(tmp_path, made(tmp_path, speech), "--steps", 1)
    assert answer.code == 1
    assert "the train split has 4 rows of speech and 0 of noise: the noise head needs both" in answer.err
    answer = train(tmp_path, made(tmp_path, [*speech, noise("n")], name="more"), "--steps", 2)
    assert answer.code == 0, answer.err
    assert "best/ will be the latest checkpoint" in answer.err
    assert json.loads((tmp_path / "run/best/made.json").read_text())["step"] == 2


def test_faults_are_one_message_and_no_traceback(manifest: Path, tmp_path: Path) -> None:
    for words, message in {
        ("--manifest", tmp_path / "none.parquet"): "none.parquet: no such manifest",
        (
            "--manifest",
            manifest,
            "--preset",
            "train-papr",
        ): 'train-papr: no such preset: did you mean "train-paper.toml"?',
        ("--manifest", manifest, "--lr", "0"): "lr: found 0.0, expected: greater than 0",
        (
            "--manifest",
            manifest,
            *TINY,
            "--remix",
        ): "--remix mixes anew, and needs the speech and the noise before they were mixed",
        ("--manifest", manifest, "--task", "single", "--text-weight", 0): "has nothing to learn: raise text_weight",
    }.items():
        answer = command("train", tmp_path, *words)
        assert answer.code == 1, words
        assert message in answer.err
        assert "Traceback" not in answer.err


def test_a_hub_that_cannot_be_reached_is_one_message(manifest: Path, tmp_path: Path) -> None:
    answer = apart("train", tmp_path, "--manifest", manifest, "--model", "openai/whisper-tiny")
    assert (answer.code, "Traceback" in answer.err) == (1, False)
    assert "openai/whisper-tiny: no Whisper checkpoint that can be read" in answer.err
    assert "give a folder in the format of transformers" in answer.err


def test_a_damaged_shard_stops_the_run_with_its_name(tmp_path: Path) -> None:
    manifest = made(tmp_path, usual(train=2, dev=0, test=0))
    shard = tmp_path / "audio/mixed.tar"
    shard.write_bytes(shard.read_bytes()[:20_000])
    answer = train(tmp_path, manifest, "--steps", 4)
    assert answer.code == 1
    assert "mixed.tar" in answer.err
    assert "Traceback" not in answer.err


def test_two_processes_learn_what_one_does(manifest: Path, tmp_path: Path) -> None:
    words = ["--manifest", manifest, *TINY, "--batch", 5, "--steps", 2, "--clip-norm", 0]
    assert command("train", tmp_path, *words, "--out", "one").code == 0
    port = 29_500 + int(keys.fingerprint(str(tmp_path))[:3], 16) % 400
    ranks = []
    for rank in range(2):
        told = {
            "RANK": rank,
            "LOCAL_RANK": rank,
            "WORLD_SIZE": 2,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
            "ACCELERATE_USE_CPU": "true",
        }
        env = environment() | {name: str(value) for name, value in told.items()}
        ranks.append(
            subprocess.Popen(started("train", *words, "--out", "two"), cwd=tmp_path, env=env, stderr=subprocess.PIPE)
        )
    errors = [rank.communicate(timeout=120)[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert [line.get("loss", line.get("dev_loss")) for line in two] == pytest.approx(
        [line.get("loss", line.get("dev_loss")) for line in one], abs=1e-3
    )
