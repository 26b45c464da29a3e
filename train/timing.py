"""When in a sound each token of its text is spoken: the decoder's attention to the encoder, aligned by time warping.

The way of Whisper's word times: heads that follow the sound are averaged, and the cheapest monotonic path through
tokens and positions says where a token begins. Loads nothing but what a call in a window needs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import WhisperForConditionalGeneration

from train.features import STRIDE
from train.text import Tokenizer

SMOOTH = 7  # positions over which the median of the attention is taken


@torch.inference_mode()
def begins(
    whisper: WhisperForConditionalGeneration, hidden: Tensor, tokenizer: Tokenizer, tokens: Sequence[int], samples: int
) -> NDArray[np.int64]:
    """The sample at which each token begins, and that at which the last one ends, int64 [tokens + 1].

    hidden: [1, positions, width], the output of the encoder for `samples` samples of sound. tokens: of the text without
    control tokens. The heads are those that the checkpoint names, else all of the upper half of the layers. A path has
    the first token begin with the sound; it begins where the attention to it rises.
    """
    ids = torch.tensor([[*tokenizer.prompt, *tokens, tokenizer.end]], device=hidden.device)
    positions = -(-samples // STRIDE)
    before = whisper.config._attn_implementation
    whisper.set_attn_implementation("eager")  # the others give no attention
    try:
        seen = whisper.model.decoder(
            input_ids=ids, encoder_hidden_states=hidden, use_cache=False, output_attentions=True
        ).cross_attentions
    finally:
        whisper.set_attn_implementation(before)
    layers = len(seen)
    heads = whisper.generation_config.alignment_heads if hasattr(whisper.generation_config, "alignment_heads") else None
    chosen = heads or [(n, head) for n in range(layers // 2, layers) for head in range(seen[0].shape[1])]
    weights = torch.stack([seen[layer][0, head, :, :positions].float() for layer, head in chosen])
    deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, unbiased=False)
    weights = (weights - mean) / deviation.clamp(min=1e-6)
    if positions > SMOOTH:
        padded = torch.nn.functional.pad(weights, (SMOOTH // 2, SMOOTH // 2), mode="reflect")
        weights = padded.unfold(-1, SMOOTH, 1).median(dim=-1).values
    matrix = weights.mean(dim=0)[len(tokenizer.prompt) - 1 : -1]  # what is seen when the next token is chosen
    seen_by = matrix.double().cpu().numpy()
    path = _path(-seen_by)
    first = seen_by[0, : max(1, path[1])]
    path[0] = np.argmax(first >= (first.min() + first.max()) / 2)
    return np.minimum(path * STRIDE, samples)


def _path(cost: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where each row begins on the cheapest monotonic path through a matrix, and where the last one ends."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    came = np.zeros((rows + 1, columns + 1), np.int8)
    for column in range(1, columns + 1):
        for row in range(1, rows + 1):
            ways = total[row - 1, column - 1], total[row - 1, column], total[row, column - 1]
            way = int(np.argmin(ways))
            total[row, column], came[row, column] = cost[row - 1, column - 1] + ways[way], way
    begins = np.zeros(rows, np.int64)
    row, column = rows, columns
    while row > 0 and column > 0:
        begins[row - 1] = column - 1
        way = came[row, column]
        row, column = row - (way != 2), column - (way != 1)
    return begins
