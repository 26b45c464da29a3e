"""What the networks take of samples, against the code that their authors use."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
import torchlibrosa
import transformers
from torch import Tensor

from pipeline.core import keys
from train.cnn6 import Cnn6
from train.fronts import FilterBank, Normalised, PannsLogMel, Picture


def padded(samples: np.ndarray, window: int) -> tuple[Tensor, Tensor]:
    wave = torch.zeros(1, window)
    wave[0, : len(samples)] = torch.from_numpy(samples)
    return wave, torch.tensor([len(samples)])


@pytest.mark.parametrize("size", [400, 16_000, 50_077, 200_000])
def test_the_filter_bank_is_that_of_the_ast_extractor(size: int) -> None:
    samples = keys.rng(0, "ast", size).normal(0.01, 0.1, size).astype("f4")[:163_840]  # 1024 frames
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the extractor, on a band without a bin
        extractor = transformers.ASTFeatureExtractor()
        wanted = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values
    found = FilterBank(128)(*padded(samples, 163_840))
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() < 2e-4


def test_the_log_mel_of_panns_at_16_khz_is_theirs_at_32_khz_below_7_khz() -> None:
    chance = keys.rng(0, "tones")
    tones, phases = chance.uniform(60, 6900, (200, 1)), chance.uniform(0, 6.28, (200, 1))
    wave = (0.01 * np.sin(2 * np.pi * tones * np.arange(64_000) / 32_000 + phases).sum(0)).astype("f4")
    spectrum = torchlibrosa.Spectrogram(n_fft=1024, hop_length=320)
    log_mel = torchlibrosa.LogmelFilterBank(sr=32_000, n_fft=1024, n_mels=64, fmin=50, fmax=14_000, top_db=None)
    with torch.inference_mode():
        wanted = log_mel(spectrum(torch.from_numpy(wave)[None]))
        found = PannsLogMel()(torch.from_numpy(wave[::2].copy())[None], torch.tensor([32_000]))
    assert found.shape == (1, 1, 200, 64)
    inner = slice(2, -3)  # at either end the transform mirrors other samples
    assert (found - wanted[:, :, :200])[:, :, inner, :52].abs().max() < 1e-3  # dB
    assert (found[..., 55:] + 100).abs().max() < 5  # nothing is above 8 kHz


def test_cnn6_is_four_convolutions_counted_by_hand() -> None:
    net = Cnn6(3).eval()
    picture = torch.randn(2, 1, 40, 64, generator=torch.Generator().manual_seed(0))
    hidden = (picture - net.bn0.running_mean) / (net.bn0.running_var + 1e-5).sqrt()
    with torch.inference_mode():
        for block in (net.conv_block1, net.conv_block2, net.conv_block3, net.conv_block4):
            hidden = torch.nn.functional.conv2d(hidden, block.conv1.weight, padding=2) / np.sqrt(1 + 1e-5)
            hidden = hidden.clamp(min=0).unfold(2, 2, 2).unfold(3, 2, 2).mean(dim=(-1, -2))
        hidden = hidden.mean(3)
        hidden = net.fc1(hidden.max(2).values + hidden.mean(2)).clamp(min=0)
        assert torch.allclose(net(picture), net.classifier(hidden), atol=1e-5)


def test_samples_are_normalised_as_transformers_does_it() -> None:
    samples = keys.rng(0, "samples").normal(0.3, 0.1, 5000).astype("f4")
    extractor = transformers.Wav2Vec2FeatureExtractor(do_normalize=True)
    wanted = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_values
    found = Normalised()(*padded(samples, 8000))
    assert torch.allclose(found[:, :5000], wanted, atol=1e-5)
    assert not found[:, 5000:].any()
    assert Normalised()(*padded(samples[:10], 10)).shape == (1, 400)


def test_a_picture_has_three_equal_channels_and_bears_silence() -> None:
    found = Picture()(torch.zeros(1, 16_000), torch.tensor([16_000]))
    assert found.shape == (1, 3, 128, 100)
    assert torch.isfinite(found).all()
    assert torch.equal(found[:, 0], found[:, 2])
