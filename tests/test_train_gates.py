"""`evaluate gates` as typed: what tells noise from speech beside the head, counted again, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as reference
from train_samples import TINY, command, made, noise, predictions, usual
from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

from pipeline.core.errors import PrepError
from train import data, gates


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multitask and a single-task run of one step, and their evaluations."""
    folder = tmp_path_factory.mktemp("gates")
    made(folder, [*usual(2, 2, 3), noise("test/out", "test", corpus="ms-snsd")])
    for task in ("multi", "single"):
        run = ("--manifest", "mixed.parquet", "--out", f"runs/{task}", *TINY, "--task", task, "--steps", 1)
        assert command("train", folder, *run).code == 0
        judged = ("--manifest", "mixed.parquet", "--checkpoint", f"runs/{task}/last", "--no-curve", "--max-tokens", 3)
        assert command("evaluate", folder, *judged).code == 0
    return folder


def test_the_head_stands_beside_what_comes_free(folder: Path) -> None:
    words = ("gates", "runs/multi/evaluate-test", "--manifest", "mixed.parquet", "--model", "./runs/multi/last")
    found = command("evaluate", folder, *words, "--json").json()
    assert (found["clips"], found["noise"], found["left_out"]) == (13, 4, {})
    rows = {row["name"]: row for row in found["detectors"]}
    assert list(rows) == ["noise head", "energy", "voice detector", "Whisper no-speech"]
    assert rows["energy"]["balanced_accuracy"]["value"] == rows["energy"]["area"] == 1  # the made-up noise is faint
    assert rows["energy"]["rule"].startswith("speech from -")
    assert rows["energy"]["out_of_domain"]["value"] == 1
    clips = predictions(folder / "runs/multi/evaluate-test")
    truth, passed = [clip.truth != "noise" for clip in clips], [clip.passed for clip in clips]
    assert rows["noise head"]["balanced_accuracy"]["value"] == reference.balanced_accuracy_score(truth, passed)
    scores = [clip.p_speech for clip in clips]
    assert rows["noise head"]["area"] == pytest.approx(reference.roc_auc_score(truth, scores))
    own = rows["noise head"]["balanced_accuracy"]["value"]
    assert rows["energy"]["head_better_by"]["value"] == pytest.approx(own - 1)
    text = command("evaluate", folder, *words[:4]).out
    assert "left out: Whisper no-speech: give --model openai/whisper-tiny" in text


def test_no_speech_is_the_probability_at_the_start_of_the_text(folder: Path) -> None:
    row = data.rows(data.read(folder / "mixed.parquet"), "test")[0]
    wave = data.samples(data.Sounds(folder).pcm(row))
    (found,) = gates._no_speech(str(folder / "runs/multi/last"))([wave])
    whisper = WhisperForConditionalGeneration.from_pretrained(folder / "runs/multi/last").eval()
    mel = WhisperFeatureExtractor()(wave, sampling_rate=16_000, return_tensors="pt").input_features
    with torch.inference_mode():
        logits = whisper(mel, decoder_input_ids=torch.tensor([[whisper.config.decoder_start_token_id]])).logits[0, 0]
    vocabulary = gates.load_whisper("tiny", "random", 0)[1].hf.get_vocab()
    assert found == pytest.approx(1 - float(logits.double().softmax(-1)[vocabulary["<|nospeech|>"]]), abs=1e-5)


def test_the_direction_and_the_threshold_are_those_of_dev(folder: Path) -> None:
    dev = data.rows(data.read(folder / "mixed.parquet"), "dev")
    is_noise = np.array([row.noise_label == "noise" for row in dev])
    found = gates._chosen("x", dev, np.where(is_noise, 5.0, 1.0), np.array([0.0, 9.0]))
    assert (found.rule, found.speech.tolist()) == ("speech up to 3", [True, False])
    with pytest.raises(PrepError, match="dev has speech alone, or noise alone"):
        gates._chosen("x", [row for row in dev if row.noise_label != "noise"], np.zeros(6), np.zeros(2))


def test_what_cannot_be_compared_is_refused(folder: Path, tmp_path: Path) -> None:
    answer = command("evaluate", folder, "gates", "runs/single/evaluate-test", "--manifest", "mixed.parquet")
    assert answer.code == 1
    assert "its model has no noise head: give an evaluation of one that was trained with --task multi" in answer.err
    shutil.copytree(folder / "runs", tmp_path / "runs")
    made(tmp_path, usual(2, 2, 2))
    answer = command("evaluate", tmp_path, "gates", "runs/multi/evaluate-test", "--manifest", "mixed.parquet")
    assert answer.code == 1
    assert "judged on mixed.parquet, not on mixed.parquet: give --manifest that one" in answer.err
