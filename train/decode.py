"""Greedy decoding with a key-value cache, in batch, on encoder outputs that are there already. No chance in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from train.text import Texts


@dataclass(frozen=True, slots=True)
class Said:
    """A decoded clip. confidence: geometric mean of its tokens' probabilities, the end token's included, in (0, 1]."""

    text: str
    confidence: float


@torch.inference_mode()
def decoded(whisper: WhisperForConditionalGeneration, hidden: Tensor, texts: Texts, max_tokens: int) -> list[Said]:
    """What the decoder says of each clip; hidden: [clips, positions, width].

    Starts from the control tokens, takes the likeliest token until <|endoftext|> or max_tokens. The checkpoint's
    suppress_tokens and all special tokens are never taken; unlike `generate`, the end may come first: silence has no text.
    """
    clips, device = hidden.shape[0], hidden.device
    never = _never(whisper, texts).to(device)
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    fed = torch.tensor(texts.prompt, device=device).repeat(clips, 1)
    done = torch.zeros(clips, dtype=torch.bool, device=device)
    told, score, length = [], torch.zeros(clips, device=device), torch.zeros(clips, device=device)
    for _ in range(max_tokens):
        out = whisper.model.decoder(input_ids=fed, encoder_hidden_states=hidden, past_key_values=cache, use_cache=True)
        logits = whisper.proj_out(out.last_hidden_state[:, -1]).float().masked_fill(never, -torch.inf)
        best, token = logits.log_softmax(dim=-1).max(dim=-1)
        token = token.masked_fill(done, texts.end)
        told.append(token)
        score, length = score + best.masked_fill(done, 0.0), length + ~done
        done = done | (token == texts.end)
        if bool(done.all()):
            break
        fed = token[:, None]
    confidence = (score / length.clamp(min=1)).exp().tolist()
    ids = torch.stack(told, dim=1).tolist()
    return [Said(texts.text(_until(row, texts.end)), share) for row, share in zip(ids, confidence, strict=True)]


def _never(whisper: WhisperForConditionalGeneration, texts: Texts) -> Tensor:
    """Bool [vocabulary]: tokens that are not taken: special ones but the end, padding of the vocabulary, suppress_tokens."""
    never = torch.zeros(whisper.config.vocab_size, dtype=torch.bool)
    never[min([texts.end, *texts.prompt]) :] = True
    never[list(whisper.generation_config.suppress_tokens or [])] = True
    never[texts.end] = False
    return never


def _until(ids: Sequence[int], end: int) -> list[int]:
    return list(ids[: ids.index(end)] if end in ids else ids)
