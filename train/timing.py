"""Where in a sound each token of its text is spoken, by what the decoder attends to as it takes the token."""

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
def attention(
    whisper: WhisperForConditionalGeneration, hidden: Tensor, tokenizer: Tokenizer, tokens: Sequence[int], samples: int
) -> NDArray[np.float64]:
    """How much each token attends to each position of the sound, and the end of the text: [tokens + 1, positions].

    hidden: [1, positions, width], the output of the encoder for `samples` samples. tokens: of the text, without control
    tokens. The mean over the heads that the checkpoint names as following the sound, else over all of the upper half of
    the layers, each standardised over the tokens. Where a row is highest the token begins; no path is forced through
    them, for a recogniser that writes a call twice hears it once.
    """
    ids = torch.tensor([[*tokenizer.prompt, *tokens, tokenizer.end]], device=hidden.device)
    before = whisper.config._attn_implementation
    whisper.set_attn_implementation("eager")  # the others give no attention
    try:
        layers = whisper.model.decoder(
            input_ids=ids, encoder_hidden_states=hidden, use_cache=False, output_attentions=True
        ).cross_attentions
    finally:
        whisper.set_attn_implementation(before)
    upper = [(n, head) for n in range(len(layers) // 2, len(layers)) for head in range(layers[n].shape[1])]
    heads = getattr(whisper.generation_config, "alignment_heads", None) or upper
    weights = torch.stack([layers[layer][0, head, :, : -(-samples // STRIDE)].float() for layer, head in heads])
    deviation, mean = torch.std_mean(weights, dim=1, keepdim=True, unbiased=False)
    weights = (weights - mean) / deviation.clamp(min=1e-6)
    if weights.shape[-1] > SMOOTH:
        padded = torch.nn.functional.pad(weights, (SMOOTH // 2, SMOOTH // 2), mode="reflect")
        weights = padded.unfold(-1, SMOOTH, 1).median(dim=-1).values
    rows = weights.mean(dim=0)[len(tokenizer.prompt) - 1 : -1]  # a token is chosen at the one before it
    return rows.double().cpu().numpy()
