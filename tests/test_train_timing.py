"""When each token of a text is spoken: by a planted path, and when a call in a window begins."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from train import timing
from train.decode import Transcription
from train.detect import when
from train.pretrained import load_whisper
from train.windows import Window


def test_each_token_has_a_row_over_the_sound_alone_and_attention_is_left_as_it_was() -> None:
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    before = whisper.config._attn_implementation
    hidden = torch.randn(1, 100, whisper.config.d_model, generator=torch.Generator().manual_seed(0))
    tokens = tokenizer.targets("살려 주세요")[3:-1]
    seen = timing.attention(whisper.eval(), hidden, tokenizer, tokens, 20_000)
    assert seen.shape == (len(tokens) + 1, 63), "20,000 samples are 62.5 positions"
    assert whisper.config._attn_implementation == before
    assert np.array_equal(seen, timing.attention(whisper, hidden, tokenizer, tokens, 20_000)), "again the same"


def test_a_position_that_a_token_alone_attends_to_is_its_highest() -> None:
    """The decoder's cross-attention is planted: what is asked of the encoder is the position by the token."""
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    tokens, planted = [300, 301, 302], [40, 10, 70, 85]  # the end, too
    rows = len(tokenizer.prompt) + len(tokens) + 1
    layers, heads = whisper.config.decoder_layers, whisper.config.decoder_attention_heads
    weights = torch.full((layers, 1, heads, rows, 100), 0.001)
    for token, place in enumerate(planted):
        weights[:, :, :, len(tokenizer.prompt) - 1 + token, place - 4 : place + 5] = torch.hann_window(11)[1:-1]
    whisper.model.decoder.forward = lambda **_: SimpleNamespace(cross_attentions=tuple(weights))  # type: ignore[method-assign]
    seen = timing.attention(whisper, torch.zeros(1, 100, whisper.config.d_model), tokenizer, tokens, 32_000)
    assert np.abs(seen.argmax(axis=1) - planted).max() <= 3


class Ear:
    """A cascade whose tokens are letters, each spoken 0.1 s after the one before from `first` (s) on."""

    tokenizer = SimpleNamespace(text=lambda tokens: "".join(tokens))

    def __init__(self, first: float) -> None:
        self.first = first

    def attention(self, wave: np.ndarray, text: Transcription) -> Any:
        seen = np.zeros((len(text.tokens) + 1, len(wave) // 320))
        for token, row in enumerate(seen):
            row[round((self.first + 0.1 * token) * 50)] = 1
        return seen


@pytest.mark.parametrize(
    ("share", "expected"), [((0.0, 0.5), (0.4, 0.9)), ((0.5, 1.0), (0.9, 1.4)), ((0, 1), (0.4, 1.4))]
)
def test_a_call_begins_with_its_first_token_and_ends_with_the_next(
    share: tuple[float, float], expected: tuple[float, float]
) -> None:
    heard = Transcription("도와주세요살려주세요", 0.5, {}, list("도와주세요살려주세요"))
    begin, end = when(Ear(0.4), Window(10_000, np.zeros(40_000, np.int16)), heard, share)
    assert ((begin - 10_000) / 16_000, (end - 10_000) / 16_000) == pytest.approx(expected)


def test_without_tokens_a_call_is_where_the_voice_is() -> None:
    window = Window(0, np.zeros(40_000, np.int16), ((8000, 20_000),))
    assert when(Ear(0), window, Transcription("살려", 0.5), (0.0, 1.0)) == (8000, 20_000)
    assert when(Ear(0), window, None, (0.0, 1.0)) == (8000, 20_000)
