"""Greedy decoding with a key-value cache, in batch, of encoder outputs that are at hand. It draws nothing."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from train.text import Tokenizer


@dataclass(frozen=True, slots=True)
class Transcription:
    """The text of a clip. confidence: geometric mean of its tokens' probabilities with the end token's, in (0, 1]."""

    text: str
    confidence: float


@torch.inference_mode()
def decode(
    whisper: WhisperForConditionalGeneration, hidden: Tensor, tokenizer: Tokenizer, max_tokens: int
) -> list[Transcription]:
    """The transcription of each clip; hidden: [clips, positions, width], the output of the encoder.

    Starts from the control tokens and takes the likeliest token until <|endoftext|> or max_tokens. The checkpoint's
    suppress_tokens, special tokens but the end, and padding of the vocabulary are never taken. Unlike in `generate`,
    the end may come first: silence has no text.
    """
    clips, device, end = hidden.shape[0], hidden.device, tokenizer.end
    never = torch.zeros(whisper.config.vocab_size, dtype=torch.bool, device=device)
    never[min([end, *tokenizer.prompt]) :] = True
    suppressed = whisper.generation_config.suppress_tokens or []
    never[[token for token in suppressed if 0 <= token < len(never)]] = True
    never[end] = False
    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())
    inputs = torch.tensor(tokenizer.prompt, device=device).repeat(clips, 1)
    done = torch.zeros(clips, dtype=torch.bool, device=device)
    tokens, score, length = [], torch.zeros(clips, device=device), torch.zeros(clips, device=device)
    for _ in range(max_tokens):
        out = whisper.model.decoder(
            input_ids=inputs, encoder_hidden_states=hidden, past_key_values=cache, use_cache=True
        )
        logits = whisper.proj_out(out.last_hidden_state[:, -1]).float().masked_fill(never, -torch.inf)
        best, token = logits.log_softmax(dim=-1).max(dim=-1)
        token = token.masked_fill(done, end)
        tokens.append(token)
        score, length = score + best.masked_fill(done, 0.0), length + ~done
        done = done | (token == end)
        if bool(done.all()):
            break
        inputs = token[:, None]
    confidence = (score / length.clamp(min=1)).exp().tolist()
    ids = torch.stack(tokens, dim=1).tolist()
    texts = [tokenizer.text(row[: row.index(end)] if end in row else row) for row in ids]
    return [Transcription(text, share) for text, share in zip(texts, confidence, strict=True)]
