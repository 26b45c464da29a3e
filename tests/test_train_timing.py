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


def test_the_path_begins_each_row_where_it_was_planted() -> None:
    cost, begins = np.ones((4, 30)), [0, 7, 9, 21]
    for row, (begin, end) in enumerate(zip(begins, [*begins[1:], 30], strict=True)):
        cost[row, begin:end] = 0
    assert timing._path(cost).tolist() == begins


def test_a_path_needs_no_more_positions_than_tokens() -> None:
    assert timing._path(np.zeros((5, 3)))[-1] <= 2


def test_tokens_begin_one_after_another_in_the_sound_and_attention_is_left_as_it_was() -> None:
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    before = whisper.config._attn_implementation
    hidden = torch.randn(1, 100, whisper.config.d_model, generator=torch.Generator().manual_seed(0))
    tokens = tokenizer.targets("살려 주세요")[3:-1]
    begins = timing.begins(whisper.eval(), hidden, tokenizer, tokens, 31_000)
    assert len(begins) == len(tokens) + 1
    assert (np.diff(begins) >= 0).all()
    assert begins[-1] <= 31_000
    assert whisper.config._attn_implementation == before
    assert np.array_equal(begins, timing.begins(whisper, hidden, tokenizer, tokens, 31_000)), "again the same"


class Ear:
    """A cascade whose tokens are letters, each of 1,000 samples from `first` on."""

    tokenizer = SimpleNamespace(text=lambda tokens: "".join(tokens))

    def __init__(self, first: int) -> None:
        self.first = first

    def begins(self, wave: np.ndarray, text: Transcription) -> Any:
        return self.first + 1000 * np.arange(len(text.tokens) + 1)


@pytest.mark.parametrize(
    ("first", "share", "voices", "expected"),
    [
        (9000, (0.0, 0.5), [(8000, 20_000)], (18_000, 14_000 + 10_000)),  # first in the text: the onset before
        (
            17_000,
            (0.0, 0.5),
            [(8000, 30_000)],
            (27_000, 32_000),
        ),  # an onset more than 0.5 s before is of something else
        (9000, (0.5, 1.0), [(8000, 20_000)], (24_000, 29_000)),  # among words: its own token
        (9000, (0.5, 1.0), [(8000, 12_000), (15_000, 20_000)], (25_000, 29_000)),  # in silence: the next onset
        (9000, (0.5, 1.0), [], (24_000, 29_000)),  # no voice is known
    ],
)
def test_a_call_begins_with_its_token_or_at_an_onset(
    first: int, share: tuple[float, float], voices: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    shifted = tuple((10_000 + begin, 10_000 + end) for begin, end in voices)
    window = Window(10_000, np.zeros(40_000, np.int16), shifted)
    heard = Transcription("도와주세요살려주세요", 0.5, {}, list("도와주세요살려주세요"))
    assert when(Ear(first), window, heard, share) == expected


def test_without_tokens_a_call_is_where_the_voice_is() -> None:
    window = Window(0, np.zeros(40_000, np.int16), ((8000, 20_000),))
    assert when(Ear(0), window, Transcription("살려", 0.5), (0.0, 1.0)) == (8000, 20_000)
    assert when(Ear(0), window, None, (0.0, 1.0)) == (8000, 20_000)
