"""The networks of classifiers: their sizes, what they make of a clip beside others, their weights, what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.core import keys
from pipeline.core.errors import PrepError
from train import archs, picture_nets
from train.archs import ARCHS
from train.classifier import Classifier
from train.options import Options

CLASSES = ["helpme", "saveme", "others", "noise"]
SIZES = {  # parameters with 3 and with 4 classes
    "efficientnet": (4_011_391, 4_012_672),
    "cnn6": (4_568_643, 4_569_156),
    "ast": (86_191_107, 86_191_876),
    "wav2vec2": (94_569_347, 94_569_604),
    "hubert": (315_701_891, 315_702_148),
    "xlsr": (315_701_891, 315_702_148),
}
SPEECH = ("wav2vec2", "hubert", "xlsr")


def options(arch: str, **more: Any) -> Options:
    window = {} if arch in SPEECH else {"window": "2"}
    return Options(arch=arch, model="tiny", init="random", **(window | more))


def network(arch: str, **more: Any) -> Classifier:
    own = options(arch, **more)
    return Classifier(arch, archs.load(own, CLASSES), CLASSES, own.freeze).eval()


def wave(*sizes: int, window: int | None = None) -> tuple[Tensor, Tensor]:
    """Noise of these lengths, with zeros behind it."""
    samples = torch.zeros(len(sizes), window or max(sizes))
    for n, (row, size) in enumerate(zip(samples, sizes, strict=True)):
        row[:size] = torch.from_numpy(keys.rng(0, "wave", n).normal(0.01, 0.1 * (n + 1), size))
    return samples, torch.tensor(sizes)


def saved(folder: Path, arch: str, **more: Any) -> Path:
    """A checkpoint of transformers with two classes of its own."""
    net = archs.build(ARCHS[arch], {**ARCHS[arch].tiny, **more}, ["a", "b"])
    net.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("arch", SIZES)
def test_the_published_shapes_have_these_parameters(arch: str) -> None:
    with torch.device("meta"):
        nets = [archs.build(ARCHS[arch], ARCHS[arch].real, CLASSES[:count]) for count in (3, 4)]
    assert tuple(sum(p.numel() for p in net.parameters()) for net in nets) == SIZES[arch]


@pytest.mark.parametrize("layers", ["last", "sum"])
@pytest.mark.parametrize("arch", SPEECH)
def test_a_clip_among_longer_ones_gives_what_the_plain_class_gives_on_it_alone(arch: str, layers: str) -> None:
    detector = network(arch, layers=layers)
    samples, sizes = wave(8_000, 21_111, 48_000, 300)
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    plain = type(detector.net)(detector.net.config).eval()
    plain.load_state_dict(detector.net.state_dict())
    base = plain.base_model
    original = type(base).forward

    def last_after_the_norm(self: Any, *values: Any, **more: Any) -> Any:
        out = original(self, *values, **more)
        if out.hidden_states is not None:
            out.hidden_states = (*out.hidden_states[:-1], out.last_hidden_state)
        return out

    base.forward = last_after_the_norm.__get__(base)
    with torch.inference_mode():
        found = detector.logits(samples, sizes)
        for n in range(3):
            values = extractor(samples[n, : sizes[n]].numpy(), sampling_rate=16_000, return_tensors="pt").input_values
            assert torch.allclose(found[n], plain(values).logits[0], atol=1e-4)
            assert torch.allclose(
                found[n], detector.logits(samples[n : n + 1, : sizes[n]], sizes[n : n + 1])[0], atol=1e-5
            )
    assert torch.isfinite(found).all()
    assert (found[0] - found[1]).abs().max() > 1e-4  # what differs does


@pytest.mark.parametrize("arch", ["efficientnet", "cnn6"])
def test_a_picture_is_of_its_own_clip_alone(arch: str) -> None:
    """Though the pass is as long as the longest clip; one that fills its window has nothing behind it."""
    detector = network(arch)
    samples, sizes = wave(8_000, 16_000, 21_111, 47_000, 111_000, window=112_000)
    own = [16_000, 16_000, 32_000, 48_000, 112_000]
    with torch.inference_mode():
        found = detector.logits(samples, sizes)
        alone = [detector.logits(samples[n : n + 1, : own[n]], sizes[n : n + 1]) for n in range(len(own))]
        fixed = Classifier(arch, detector.net, CLASSES, window="7").eval().logits(samples, sizes)
    assert torch.allclose(found, torch.cat(alone), atol=1e-5)
    assert torch.allclose(found[4], fixed[4], atol=1e-5)
    assert (found[:4] - fixed[:4]).abs().amax(dim=1).min() > 1e-4  # a longer window is another picture


def test_a_norm_over_real_frames_is_that_of_the_frames_laid_side_by_side() -> None:
    norms = [torch.nn.BatchNorm2d(3), picture_nets.RealBatchNorm(3)]
    maps = torch.randn(2, 3, 4, 6, generator=torch.Generator().manual_seed(0)).requires_grad_()
    frames = picture_nets.Frames(norms[1], axis=3)
    frames.counts = torch.tensor([2, 6])
    plain = norms[0](torch.cat([maps[:1, ..., :2], maps[1:]], dim=3))
    found = norms[1](maps)
    assert torch.allclose(torch.cat([found[:1, ..., :2], found[1:]], dim=3), plain, atol=1e-6)
    for name, value in norms[0].state_dict().items():
        assert torch.allclose(value, norms[1].state_dict()[name], atol=1e-6), name
    gradients = [
        torch.autograd.grad((each.square() * each).sum(), maps)[0] for each in (plain, found * frames.real(maps))
    ]
    assert torch.allclose(*gradients, atol=1e-5)


@pytest.mark.parametrize("arch", ["efficientnet", "ast"])
def test_a_picture_gives_what_the_plain_class_gives_of_it(arch: str) -> None:
    detector = network(arch)
    samples, sizes = wave(20_000, window=32_000)
    plain = type(detector.net)(detector.net.config).eval()
    plain.load_state_dict(detector.net.state_dict())
    with torch.inference_mode():
        assert torch.allclose(detector.logits(samples, sizes), plain(detector.front(samples, sizes)).logits, atol=1e-5)


@pytest.mark.parametrize("arch", SIZES)
def test_a_frozen_encoder_learns_nothing_and_has_no_graph(arch: str) -> None:
    detector = network(arch, freeze="encoder").train()
    detector.logits(*wave(16_000, 20_000, window=32_000)).sum().backward()
    learnt = {name for name, parameter in detector.net.named_parameters() if parameter.grad is not None}
    assert learnt == {name for name in dict(detector.net.named_parameters()) if name.startswith(archs.HEAD)}
    body = detector.net.base_model if hasattr(detector.net, "base_model") else detector.net
    assert not any(module.training for module in body.modules())


def test_efficientnet_with_random_weights_tells_clips_apart() -> None:
    detector = network("efficientnet").train()
    found = detector.logits(*wave(16_000, 20_000, 24_000, window=32_000))
    assert found.std(dim=0).max() > 1e-2


@pytest.mark.parametrize("arch", SPEECH)
def test_a_sum_over_layers_begins_as_their_mean_whatever_the_memory_held(tmp_path: Path, arch: str) -> None:
    folder = saved(tmp_path / "plain", arch)
    net = archs.load(Options(arch=arch, model=str(folder), layers="sum"), CLASSES)
    assert net.layer_weights.tolist() == [0.0] * 3
    assert net.config.layerdrop == 0
    assert not net.config.apply_spec_augment


@pytest.mark.parametrize("arch", SIZES)
def test_what_is_saved_is_read_back(tmp_path: Path, arch: str) -> None:
    detector = network(arch)
    archs.save(detector.net, tmp_path)
    again = Classifier(arch, archs.read(arch, tmp_path, CLASSES), CLASSES).eval()
    samples, sizes = wave(16_000, 20_000, window=32_000)
    with torch.inference_mode():
        assert torch.equal(detector.logits(samples, sizes), again.logits(samples, sizes))


@pytest.mark.parametrize("arch", ["efficientnet", "ast", "wav2vec2"])
def test_a_checkpoint_keeps_its_weights_and_gets_a_head_drawn_by_the_seed(tmp_path: Path, arch: str) -> None:
    folder = saved(tmp_path / "plain", arch, **({"max_length": 300} if arch == "ast" else {}))
    window = {} if arch in SPEECH else {"window": "3"}
    nets = [archs.load(Options(arch=arch, model=str(folder), seed=seed, **window), CLASSES) for seed in (0, 0, 1)]
    heads = [[value for name, value in net.named_parameters() if name.startswith(archs.HEAD)][-2] for net in nets]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    plain = type(nets[0]).from_pretrained(folder)
    own = {name: value for name, value in nets[0].state_dict().items() if not name.startswith(archs.HEAD)}
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in own.items())


def test_asts_positions_are_cut_in_their_middle_or_interpolated(tmp_path: Path) -> None:
    folder = saved(tmp_path / "plain", "ast", max_length=300)
    table = load_file(folder / "model.safetensors")["audio_spectrogram_transformer.embeddings.position_embeddings"]
    bands, times, kept = 4, 18, 12
    wanted = table[0, 2:].reshape(bands, times, -1)[:, 3 : 3 + kept].reshape(bands * kept, -1)
    fixed, own = (
        archs.load(Options(arch="ast", model=str(folder), window=window), CLASSES) for window in ("2", "auto")
    )
    for found in (fixed.audio_spectrogram_transformer.embeddings.position_embeddings, picture_nets.positions(own, 200)):
        assert torch.equal(found[0, 2:], wanted)
        assert torch.equal(found[0, :2], table[0, :2])
    assert (fixed.config.max_length, own.config.max_length) == (200, 300)
    longer = picture_nets.positions(own, 16 + 16 * (3 * times - 1))[0, 2:].reshape(bands, 3 * times, -1)
    assert torch.allclose(longer[:, 1::3], table[0, 2:].reshape(bands, times, -1), atol=1e-6)


def refused(arch: str, model: object, **more: Any) -> str:
    with pytest.raises(PrepError) as caught:
        archs.load(Options(arch=arch, model=str(model), **more), CLASSES)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_folder_with_wrong_files_is_refused_in_one_line(tmp_path: Path) -> None:
    ast = saved(tmp_path / "ast", "ast", max_length=1024)
    assert "config.json is of a model 'audio-spectrogram-transformer', --arch wav2vec2 expects 'wav2vec2'" in refused(
        "wav2vec2", ast
    )
    folder = saved(tmp_path / "w", "wav2vec2")
    tensors = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "layers.1" not in name}, folder / "model.safetensors")
    assert "its weights do not fit its config.json: tensors missing" in refused("wav2vec2", folder)
    wide = {name: torch.zeros(9, 9) if name.endswith("q_proj.weight") else value for name, value in tensors.items()}
    save_file(wide, folder / "model.safetensors")
    assert "q_proj.weight is [9, 9], expected [32, 32]" in refused("wav2vec2", folder)
    (folder / "model.safetensors").write_bytes(b"x" * 30)
    assert "no weights that can be read" in refused("wav2vec2", folder)
    (folder / "config.json").unlink()
    assert "no checkpoint, for it has no config.json" in refused("wav2vec2", folder)
    assert "no such folder" in refused("hubert", tmp_path / "nowhere")
    assert "tiny has no weights, train it from random ones with --init random" in refused("cnn6", "tiny")


def test_a_name_of_the_hub_without_a_network_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def closed(*where: object) -> None:
        tries.append(where)
        raise OSError("no way out")

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("socket.create_connection", closed)
    for arch in ("wav2vec2", "ast"):
        assert (
            "neither a folder nor in the cache of the hub, and huggingface.co cannot be reached (no way out)"
            in refused(arch, "somebody/nothing")
        )
    assert len(tries) == 2  # one each: nothing is tried again


def panns(path: Path, **more: object) -> dict[str, Tensor]:
    """A file such as PANNs' authors publish, with random weights."""
    net = archs.build(ARCHS["cnn6"], ARCHS["cnn6"].real, ["x"] * 527)
    tensors = {
        name.replace("classifier.", "fc_audioset."): value + 0.001 for name, value in net.state_dict().items()
    } | {"spectrogram_extractor.stft.conv_real.weight": torch.zeros(3), "logmel_extractor.melW": torch.zeros(3)}
    torch.save({"iteration": 1, "model": tensors, **more}, path)
    return tensors


def test_the_file_of_panns_is_read_and_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "Cnn6.pth"
    tensors = panns(path)
    net = archs.load(Options(arch="cnn6", model=str(path)), CLASSES)
    assert torch.equal(net.conv_block3.conv1.weight, tensors["conv_block3.conv1.weight"])
    assert torch.equal(net.bn0.running_var, tensors["bn0.running_var"])
    panns(path, sampler=np.arange(3))
    assert "holds more than tensors, which is not read, because it could run code" in refused("cnn6", path)
    torch.save({"model": {"bn0.weight": torch.zeros(3)}}, path)
    assert "not the weights of CNN6" in refused("cnn6", path)
    assert "no such file: give --model the file Cnn6_mAP=0.343.pth, which" in refused("cnn6", tmp_path / "none.pth")
    folder = tmp_path / "own"
    folder.mkdir()
    archs.save(net, folder)
    (folder / "config.json").write_text(json.dumps({"channels": [1]}))
    with pytest.raises(PrepError, match="no CNN6 that `train` wrote"):
        archs.read("cnn6", folder, CLASSES)
