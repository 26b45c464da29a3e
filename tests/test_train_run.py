"""Runs of `train` as typed: the step as the paper has it, checkpoints, kill and resume, refusals."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional
from train_samples import TINY, Answer, Clip, apart, command, environment, made, noise, started, usual
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperProcessor

from pipeline.core import keys
from train import checkpoint
from train.batches import Batch
from train.folder import clean, replacing_folder
from train.log import Log
from train.loop import rate
from train.model import losses, seed_torch


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
    """Written from the paper alone: the model at 30 s, two cross-entropies, AdamW, cosine, 0.5 before + 0.5 after."""
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


def wait_for_lines(run: Path, process: subprocess.Popen[bytes], lines: int) -> None:
    deadline = time.monotonic() + 600
    while not (run / "log.jsonl").exists() or (run / "log.jsonl").read_text().count("\n") < lines:
        assert time.monotonic() < deadline
        assert process.poll() is None


@pytest.mark.parametrize("lines", [2, 5])  # before the first checkpoint, and after it
def test_a_killed_run_goes_on_to_bit_equal_weights(whole: Path, manifest: Path, tmp_path: Path, lines: int) -> None:
    """And while it is at work, a second run in its folder is refused and changes nothing."""
    words = ("--manifest", manifest, "--out", "run", *TINY, "--steps", 7, "--save-every", 3)
    run = subprocess.Popen(started("train", *words), cwd=tmp_path, env=environment(), stderr=subprocess.DEVNULL)
    wait_for_lines(tmp_path / "run", run, lines)
    os.kill(run.pid, signal.SIGSTOP)
    for more in ((), ("--seed", 1)):
        answer = command("train", tmp_path, *words, *more)
        holder = f"process {run.pid} on {socket.gethostname()}"
        message = f"train: run: {holder} is at work here: wait for it to end, or give another --out\n"
        assert (answer.code, answer.err) == (1, message)
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


def test_without_a_terminal_a_run_says_a_line_at_each_evaluation_and_at_each_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 25))
    monkeypatch.setattr("train.log.time.monotonic", lambda: float(next(clock)))
    with Log(tmp_path, 0, 8, 4) as log:
        for step in range(1, 9):
            log.step(step, 4, {"loss": 1 / step})
        log.dev(8, {"loss": 0.5})
    lines = [line.partition(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert lines[-1] == "step 8"
    assert 2 <= len(lines) <= 6, lines
    assert all(line.endswith(" of 8") for line in lines[:-1])


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
        ("--manifest", manifest, "--model", "tiny", "--init", "random", "--max-tokens", 93): "tiny: --max-tokens 93 is",
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
    assert "openai/whisper-tiny: neither a folder nor in the cache of the hub, and HF_HUB_OFFLINE is set" in answer.err
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
    errors = [rank.communicate(timeout=600)[1].decode() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], errors
    one, two = log(tmp_path / "one"), log(tmp_path / "two")
    assert [line.get("loss", line.get("dev_loss")) for line in two] == pytest.approx(
        [line.get("loss", line.get("dev_loss")) for line in one], abs=1e-3
    )


# ---- one run a folder


def test_the_options_are_in_the_folder_before_the_first_checkpoint(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(step: int, *_: object) -> float:
        if step == 2:
            raise SystemExit(9)
        return 1e-3

    words = ("--steps", 7, "--save-every", 7)
    monkeypatch.setattr("train.loop.rate", end)
    assert train(tmp_path, manifest, *words).code == 9
    monkeypatch.undo()
    assert not (tmp_path / "run/last").exists()
    before = (tmp_path / "run/log.jsonl").read_bytes()
    assert before.count(b"\n") == 2
    for more, changed in {
        ("--seed", 1): "seed 0, now 1",
        ("--lr", 0.01): "lr 0.001, now 0.01",
        ("--window", 30): "window 'auto', now '30'",
        ("--max-tokens", 50): "max_tokens 60, now 50",
    }.items():
        answer = train(tmp_path, manifest, *words, *more)
        message = f"run: holds a run that was begun otherwise ({changed}): give another --out, or remove the folder"
        assert (answer.code, answer.err) == (1, f"train: {message}\n")
    other = made(tmp_path, usual(train=2, dev=1, test=1), name="other")
    answer = train(tmp_path, other, *words)
    assert (answer.code, "begun otherwise (manifest " in answer.err) == (1, True)
    assert (tmp_path / "run/log.jsonl").read_bytes() == before
    assert train(tmp_path, manifest, *words).code == 0


def test_a_refused_run_leaves_no_folder(manifest: Path, tmp_path: Path) -> None:
    assert train(tmp_path, manifest, "--model", "none/at/all", out="deep/run").code == 1
    assert not (tmp_path / "deep/run").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("not a run")
    answer = train(tmp_path, manifest, "--steps", 1, out="mine")
    assert answer.code == 1
    assert "mine: not empty, and not a run of this version (notes.txt is there): give another --out" in answer.err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


# ---- numbers


class Nothing:
    """Losses that are no number at some steps of training, or of dev, and the true ones at the others."""

    def __init__(self, steps: set[int], training: bool = True) -> None:
        self.steps, self.training = steps, training

    def __call__(self, noise_logits: torch.Tensor, text_logits: torch.Tensor, batch: Batch) -> dict[str, torch.Tensor]:
        loss = losses(noise_logits, text_logits, batch)
        wrong = batch.totals.step + 1 in self.steps and torch.is_grad_enabled() == self.training
        return loss | {"text": loss["text"] * float("nan")} if wrong else loss


def strict(line: str) -> dict[str, float | None]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    return json.loads(line, parse_constant=refuse)


def test_a_step_whose_loss_is_no_number_is_skipped_and_counted(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.model.losses", Nothing({2, 3}))
    answer = train(tmp_path, manifest, "--steps", 4, "--save-every", 2)
    assert answer.code == 0, answer.err
    assert "2 of 4 steps were skipped, see log.jsonl" in answer.err
    steps = [line for line in map(strict, (tmp_path / "run/log.jsonl").read_text().splitlines()) if "loss" in line]
    assert [(line["loss"] is None, line["grad_norm"] is None, line.get("skipped")) for line in steps] == [
        (False, False, None),
        (True, True, 1),
        (True, True, 2),
        (False, False, None),
    ]
    strict((tmp_path / "run/last/made.json").read_text())
    assert all(bool(torch.isfinite(value).all()) for value in weights(tmp_path / "run/last").values())


@pytest.mark.parametrize(("first", "kept"), [(1, 0), (4, 3)])
def test_a_run_that_diverges_ends_and_keeps_its_last_good_checkpoint(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, kept: int
) -> None:
    monkeypatch.setattr("train.model.losses", Nothing(set(range(first, 99))))
    monkeypatch.setattr("train.loop.MOST_SKIPPED", 4)
    answer = train(tmp_path, manifest, "--steps", 60, "--save-every", 3 if kept else 60)
    assert (answer.code, "Traceback" in answer.err) == (1, False)
    last = "last/ holds the weights of step 3" if kept else "no checkpoint was written before"
    end = answer.err.splitlines()[-1]
    assert f"no step could be taken from step {first} to {first + (2 if kept else 3)}" in end
    assert "lower lr (now 0.001) or give warmup, with another --out" in end
    assert last in end
    assert (tmp_path / "run/last").exists() == (tmp_path / "run/best").exists() == bool(kept)
    if kept:
        assert checkpoint.read(tmp_path / "run/last").metadata.step == 3


def test_no_checkpoint_is_written_with_a_score_or_a_weight_that_is_no_number(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.model.losses", Nothing({1}, training=False))
    answer = train(tmp_path, manifest, "--steps", 1)
    assert answer.code == 1
    assert "run: the loss on dev is nan at step 1: lower lr" in answer.err
    assert not (tmp_path / "run/best").exists()
    monkeypatch.undo()
    monkeypatch.setattr("train.loop.interpolate", lambda parameters, *_: parameters[0].data.fill_(torch.inf))
    answer = train(tmp_path, made(tmp_path, [Clip("a"), noise("b")], name="nodev"), "--steps", 1, out="nodev")
    assert answer.code == 1
    assert "holds weights that are no numbers at step 1" in answer.err
    assert not (tmp_path / "nodev/best").exists()


def test_weights_so_large_that_nothing_is_a_number_are_no_training(manifest: Path, tmp_path: Path, whole: Path) -> None:
    """By the command line alone."""
    model = tmp_path / "model"
    shutil.copytree(whole / "last", model)
    tensors = {name: value * 1e30 for name, value in load_file(model / "model.safetensors").items()}
    save_file(tensors, model / "model.safetensors", {"format": "pt"})
    words = ("--manifest", manifest, "--out", "run", "--model", model, "--batch", 4)
    answer = command("train", tmp_path, *words, "--steps", 20)
    assert (answer.code, "Traceback" in answer.err) == (1, False)
    assert "no step could be taken from step 1 to 3" in answer.err  # a checkpoint is due after each epoch
    assert [strict(line)["loss"] for line in (tmp_path / "run/log.jsonl").read_text().splitlines()] == [None] * 3
    answer = command("evaluate", tmp_path, "--manifest", manifest, "--model", model, "--max-tokens", 3)
    assert (answer.code, "Traceback" in answer.err) == (1, False)
    assert "dev/0/0: the model gives confidence nan, which is no number" in answer.err


# ---- dev


def test_the_dev_loss_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    """With a learning rate that moves nothing, so that the weights are the same."""
    clips = [
        Clip(f"dev/{n}", "dev", seconds=0.5 + 1.1 * n, transcript=text) for n, text in enumerate(("가", "나다", "라"))
    ]
    clips += [noise(f"dev/n{n}", "dev", seconds=seconds) for n, seconds in enumerate((0.7, 3.0, 7.0, 20.0))]
    manifest = made(tmp_path, [*usual(train=4, dev=0, test=0), *clips])
    found = {}
    for batch in (1, 2, 5, 64):
        words = ("--steps", 1, "--lr", 1e-30, "--batch", batch)
        assert train(tmp_path, manifest, *words, out=f"{batch}").code == 0
        (found[batch],) = [line for line in log(tmp_path / f"{batch}") if "dev_loss" in line]
    for batch in found:
        for name, value in found[batch].items():
            assert value == pytest.approx(found[1][name], abs=1e-5), (batch, name)


# ---- what is missing is said


def test_a_full_disk_is_one_line_and_leaves_the_checkpoint_before(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(state: object, path: Path) -> None:
        if full.calls:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        full.calls += 1
        save(state, path)

    save, full.calls = torch.save, 0
    monkeypatch.setattr(torch, "save", full)
    words = ("--steps", 4, "--save-every", 2)
    answer = train(tmp_path, manifest, *words)
    assert (answer.code, "Traceback" in answer.err) == (1, False)
    end = answer.err.splitlines()[-1]
    assert end.startswith("train: run/last: the checkpoint of step 4 could not be written ([Errno 28] No space left")
    assert end.endswith("the one before is whole; make room, then the same command goes on")
    assert checkpoint.read(tmp_path / "run/last").metadata.step == 2
    assert not list((tmp_path / "run").glob(".half-*"))
    monkeypatch.undo()
    answer = train(tmp_path, manifest, *words)
    assert answer.code == 0, answer.err
    assert "resumed from step 2" in answer.err


@pytest.mark.parametrize("limit_kb", [1, 1_000, 2_000])  # of log, weights, state
def test_a_file_that_cannot_be_written_to_its_end_is_one_line(manifest: Path, tmp_path: Path, limit_kb: int) -> None:
    words = ("--manifest", manifest, "--out", "run", *TINY, "--steps", 12, "--save-every", 12)
    limit = f"import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit_kb} * 1024,) * 2)\n"
    limit += "sys.dont_write_bytecode = True\n"  # a module whose bytecode was cut cannot be loaded again
    started_words = started("train", *words)
    started_words[2] = limit + started_words[2]
    done = subprocess.run(started_words, cwd=tmp_path, env=environment(), capture_output=True, timeout=600)
    error = done.stderr.decode()
    assert (done.returncode, "Traceback" in error) == (1, False), error
    assert error.splitlines()[-1].startswith("train: run")
    assert not (tmp_path / "run/last").exists()


def test_a_best_that_is_gone_is_said_and_written_anew(
    whole: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(step: int, *rest: Any) -> float:
        if step == 5:
            raise SystemExit(9)
        return rate(step, *rest)

    words = ("--manifest", manifest, "--out", "run", *TINY, "--steps", 7, "--save-every", 3)
    monkeypatch.setattr("train.loop.rate", end)
    assert command("train", tmp_path, *words).code == 9
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "run/best")
    answer = command("train", tmp_path, *words)
    assert answer.code == 0, answer.err
    assert "best    best/ is missing: the next evaluation on dev writes it" in answer.err
    assert "-> run/best (by dev loss), run/last" in answer.err
    assert json.loads((tmp_path / "run/best/made.json").read_text())["step"] in (6, 7)
    shutil.rmtree(tmp_path / "run/best")
    answer = command("train", tmp_path, *words)
    assert (answer.code, "nothing to do; best/ is missing, and no evaluation is left" in answer.err) == (0, True)
    shutil.copytree(whole / "best", tmp_path / "run/best")
    metadata = json.loads((whole / "best/made.json").read_text())
    other = metadata | {"options": metadata["options"] | {"seed": 5}}
    (tmp_path / "run/best/made.json").write_text(json.dumps(other))
    answer = command("train", tmp_path, *words)
    assert answer.code == 1
    assert "run/best: holds a run that was begun otherwise (seed 5, now 0)" in answer.err


def test_a_best_that_is_damaged_is_refused_and_a_last_that_is_gone_is_said(manifest: Path, tmp_path: Path) -> None:
    words = ("--steps", 2, "--save-every", 1)
    assert train(tmp_path, manifest, *words).code == 0
    weights_file = tmp_path / "run/best/model.safetensors"
    before = weights_file.read_bytes()
    weights_file.write_bytes(before[:1_000])
    answer = train(tmp_path, manifest, *words)
    assert (answer.code, "run/best/model.safetensors: no weights that can be read" in answer.err) == (1, True)
    weights_file.write_bytes(before)
    shutil.rmtree(tmp_path / "run/last")
    answer = train(tmp_path, manifest, *words)
    assert (answer.code, "begun   anew, for the run before ended without last/" in answer.err) == (0, True)
    (tmp_path / "file").write_text("")
    answer = train(tmp_path, manifest, *words, out="file")
    assert (answer.code, answer.err) == (
        1,
        "train: file: a file is in the way of this folder: give another --out\n",
    )


def test_a_log_with_lines_that_cannot_be_read_does_not_stop_a_run(manifest: Path, tmp_path: Path) -> None:
    words = ("--steps", 2, "--save-every", 1)
    assert train(tmp_path, manifest, *words).code == 0
    before = log(tmp_path / "run")
    path, metadata = tmp_path / "run/log.jsonl", tmp_path / "run/last/made.json"
    path.write_bytes(b"\x00\xff\n[1]\n{}\n" + path.read_bytes() + b'{"step": 1, "lo')
    metadata.write_text(json.dumps(json.loads(metadata.read_text()) | {"step": 1}))  # as if step 2 was still to come
    answer = train(tmp_path, manifest, *words)
    assert answer.code == 0, answer.err
    assert [line["step"] for line in log(tmp_path / "run")] == [line["step"] for line in before]


def test_noise_of_other_corpora_is_not_learnt_from_and_the_checkpoint_says_which_was(tmp_path: Path) -> None:
    clips = [*usual(2, 1, 1), *(noise(f"{split}/out", split, corpus="ms-snsd") for split in ("train", "dev"))]
    manifest = made(tmp_path, clips)
    answer = train(tmp_path, manifest, "--steps", 1, "--noise-corpora", "cochlscene", out="inside")
    assert answer.code == 0
    assert "8 of 9 rows" in answer.err
    assert "noise of another corpus 1" in answer.err
    assert train(tmp_path, manifest, "--steps", 1, out="all").code == 0
    found = {out: json.loads((tmp_path / out / "last/made.json").read_text())["noise"] for out in ("inside", "all")}
    assert found["inside"] == {"train": {"cochlscene": 2}, "dev": {"cochlscene": 1}}
    assert found["all"] == {"train": {"cochlscene": 2, "ms-snsd": 1}, "dev": {"cochlscene": 1, "ms-snsd": 1}}
    answer = train(tmp_path, manifest, "--noise-corpora", "cochl", out="none")
    assert answer.code == 1
    assert "no noise of cochl in the split train (there is noise of cochlscene, ms-snsd)" in answer.err
