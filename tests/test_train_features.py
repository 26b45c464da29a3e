"""The log-mel is WhisperFeatureExtractor's; windows and real positions are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import WhisperFeatureExtractor

from pipeline.core import keys
from train.features import LONGEST, LogMel, masked, real_positions, window_of
from train.pretrained import load_whisper


def waves() -> list[np.ndarray]:
    chance = keys.rng(0, "features")
    speech = [
        chance.normal(0, level, frames).astype("f4")
        for level, frames in ((0.1, 70_001), (1e-3, 16_000), (0.3, 123_456))
    ]
    return [
        *speech,
        np.zeros(30_000, "f4"),
        np.concatenate([speech[0], np.zeros(20_000, "f4")]),
        chance.normal(0, 0.1, LONGEST).astype("f4"),
    ]


def padded(clips: list[np.ndarray], length: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([np.pad(clip, (0, length - len(clip))) for clip in clips]))


@pytest.mark.parametrize("bands", [80, 128])
def test_the_log_mel_equals_whispers_own_within_1e_4(bands: int) -> None:
    wanted = WhisperFeatureExtractor(feature_size=bands)(
        waves(), sampling_rate=16_000, return_tensors="pt"
    ).input_features
    found = LogMel(bands)(padded(waves(), LONGEST))
    assert found.shape == wanted.shape
    assert float((found - wanted).abs().max()) < 1e-4


def test_a_surrounding_autocast_does_not_coarsen_the_log_mel() -> None:
    samples = padded(waves()[:2], 80_000)
    wanted = LogMel(80)(samples)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(LogMel(80)(samples), wanted)


def test_a_short_window_is_the_first_part_of_the_long_one() -> None:
    clips = [*waves()[:5], waves()[5][:128_000]]  # the last one fills the window to its edge
    log_mel = LogMel(80)
    window = window_of(max(map(len, clips)), "auto")
    short, whole = log_mel(padded(clips, window)), log_mel(padded(clips, LONGEST))
    assert short.shape[-1] == window // 160 < whole.shape[-1]
    assert float((short - whole[..., : short.shape[-1]]).abs().max()) < 1e-5


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    clips = waves()[:2]
    log_mel = LogMel(80)
    together = log_mel(padded(clips, 80_000))
    assert torch.equal(together[1], log_mel(padded(clips[1:], 80_000))[0])


@pytest.mark.parametrize("frames", [1, 159, 160, 161, 319, 320, 321, 16_000, 79_999, 480_000])
def test_real_positions_are_those_of_transformers_own_mask(frames: int) -> None:
    extract = WhisperFeatureExtractor()
    mask = extract(
        np.ones(frames, "f4"), sampling_rate=16_000, return_attention_mask=True, return_tensors="pt"
    ).attention_mask
    whisper, _ = load_whisper("tiny", "random", 0)
    assert int(real_positions(torch.tensor(frames))) == int(whisper._get_feat_extract_output_lengths(mask.sum(-1))[0])


def test_windows_are_whole_seconds_and_never_longer_than_whispers() -> None:
    assert [window_of(frames, "auto") for frames in (1, 16_000, 16_001, 10**7)] == [16_000, 16_000, 32_000, LONGEST]
    assert window_of(1, "30") == LONGEST


def test_spans_are_set_to_nought_and_nothing_else_is() -> None:
    mel = torch.ones(2, 10, 20)
    spans = torch.tensor([[[3, 4, 0, 0], [0, 0, 5, 2]], [[0, 0, 0, 0], [0, 0, 0, 0]]])
    found = masked(mel, spans)
    assert found[0, :, 3:7].sum() == 0
    assert found[0, 5:7].sum() == 0
    assert found[0].sum() == 200 - 4 * 10 - 2 * 20 + 2 * 4
    assert torch.equal(found[1], mel[1])
