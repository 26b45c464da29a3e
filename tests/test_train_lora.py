"""Adapters: what learns, what a checkpoint holds, what goes on, and what is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file
from train_samples import Answer, command, made, usual

from train import archs, checkpoint, lora
from train import run as run_module
from train.classifier import Classifier
from train.options import Options

CLASSES = ["helpme", "saveme", "others", "noise"]
WORDS = ("--arch", "xlsr", "--model", "tiny", "--init", "random", "--lora", 2, "--batch", 5, "--lr", 1e-2)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"), usual(2, 1, 1))


def train(folder: Path, manifest: Path, *more: object) -> Answer:
    return command("train", folder, "--manifest", manifest, "--out", "run", *WORDS, *more)


def test_adapters_begin_with_what_the_network_gives_and_are_added_to_its_weights() -> None:
    own = Options(arch="hubert", model="tiny", init="random", lora=2, layers="sum")
    adapted, _ = run_module._network(CLASSES, own)
    assert isinstance(adapted, Classifier)
    plain = Classifier("hubert", archs.load(own, CLASSES), CLASSES).eval()
    samples, sizes = torch.randn(2, 16_000, generator=torch.Generator().manual_seed(0)), torch.tensor([16_000, 9_000])
    samples[1, 9_000:] = 0
    with torch.inference_mode():
        assert torch.equal(adapted.eval().logits(samples, sizes), plain.logits(samples, sizes))
    learnt = {name for name, parameter in adapted.net.named_parameters() if parameter.requires_grad}
    head = {name for name, _ in plain.net.named_parameters() if name.startswith(archs.HEAD)}
    assert head < learnt
    assert {name.split(".lora_")[0].rsplit(".", 1)[1] for name in learnt - head} == {"q_proj", "v_proj"}
    with torch.no_grad():
        for parameter in adapted.learnable():
            parameter.add_(0.1)
    with torch.inference_mode():
        found = adapted.logits(samples, sizes)
        assert not torch.allclose(found, plain.logits(samples, sizes), atol=1e-3)
        plain.load_state_dict(lora.merged(adapted))
        assert torch.allclose(found, plain.logits(samples, sizes), atol=1e-5)


def test_a_checkpoint_is_of_the_plain_class_and_read_without_peft(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = train(tmp_path, manifest, "--steps", 4, "--save-every", 2)
    assert answer.code == 0, answer.err
    assert "of them learn: adapters of rank 2 and the head" in answer.err
    monkeypatch.setitem(sys.modules, "peft", None)
    folder = tmp_path / "run/last"
    plain, info = transformers.Wav2Vec2ForSequenceClassification.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    first = archs.load(Options(arch="xlsr", model="tiny", init="random"), CLASSES).state_dict()
    changed = {name for name, value in load_file(folder / "model.safetensors").items() if (value != first[name]).any()}
    assert {name.rsplit(".", 2)[-2] for name in changed} == {"q_proj", "v_proj", "projector", "classifier"}
    read = checkpoint.read(folder).detector
    assert all(torch.equal(value, read.net.state_dict()[name]) for name, value in plain.state_dict().items())
    (tmp_path / "two").mkdir()
    absent = train(tmp_path / "two", manifest)
    assert absent.code == 1
    assert "train: --lora needs peft, which is not installed: pip install '.[lora]'" in absent.err


def test_other_weights_below_the_adapters_are_refused(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert train(tmp_path, manifest, "--steps", 2).code == 0
    made_json = tmp_path / "run/last/made.json"
    made_json.write_text(made_json.read_text().replace('"step": 2', '"step": 1'))
    load = archs.load

    def other(options: Options, classes: list[str]) -> object:
        return load(options.model_copy(update={"seed": 7}), classes)

    monkeypatch.setattr(archs, "load", other)
    answer = train(tmp_path, manifest, "--steps", 2)
    assert answer.code == 1
    assert "not made of the weights that tiny has now and the adapters beside it" in answer.err


@pytest.mark.parametrize("given", [{"arch": "cnn6"}, {"arch": "whisper"}, {"arch": "xlsr", "freeze": "encoder"}])
def test_adapters_without_effect_are_refused(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="lora: of no use with arch"):
        Options(lora=8, **given)
