"""Greedy decoding with a key-value cache, in batch, of encoder outputs that are at hand. It draws nothing.

Decoding stops at a loop: a recogniser that repeats itself does so to the last token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import WhisperForConditionalGeneration
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from train.text import Score, Tokenizer

LONGEST_UNIT, REPEATS, LOOP_TOKENS = 16, 5, 12  # of a loop: tokens of a unit; times it is there; tokens in all
KEPT = 2  # units of it


@dataclass(frozen=True, slots=True)
class Transcription:
    """The text of a clip. confidence: geometric mean of its tokens' probabilities with the end token's, in (0, 1].

    scores: of each keyword; empty where they were not asked for. tokens: of the text, as in Decoded.
    """

    text: str
    confidence: float
    scores: Mapping[str, Score] = field(default_factory=dict)
    tokens: Sequence[int] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """What greedy decoding makes of clips, and where it stands.

    tokens: of each text, without control tokens, end and loop. never: bool [vocabulary], tokens that it does not take.
    cache: keys and values of the prompt and the tokens. watched: float32 [clips, places, watched tokens], log
    probabilities of the watched tokens after so many tokens of the text.
    """

    transcriptions: list[Transcription]
    tokens: list[list[int]]
    never: Tensor
    cache: EncoderDecoderCache
    watched: Tensor


@torch.inference_mode()
def decode(
    whisper: WhisperForConditionalGeneration,
    hidden: Tensor,
    tokenizer: Tokenizer,
    max_tokens: int,
    watched: Sequence[int] = (),
) -> Decoded:
    """The transcription of each clip; hidden: [clips, positions, width], the output of the encoder.

    Starts from the control tokens and takes the likeliest token until <|endoftext|>, max_tokens or a loop, which is
    cut. The checkpoint's suppress_tokens, special tokens but the end, and padding of the vocabulary are never taken.
    Unlike in `generate`, the end may come first: silence has no text.
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
    tokens, seen, score, length = [], [], torch.zeros(clips, device=device), torch.zeros(clips, device=device)
    loops = [Loop() for _ in range(clips)]
    for _ in range(max_tokens):
        out = whisper.model.decoder(
            input_ids=inputs, encoder_hidden_states=hidden, past_key_values=cache, use_cache=True
        )
        logits = whisper.proj_out(out.last_hidden_state[:, -1]).float().masked_fill(never, -torch.inf)
        shares = logits.log_softmax(dim=-1)
        best, token = shares.max(dim=-1)
        seen.append(shares[:, list(watched)])
        token = token.masked_fill(done, end)
        tokens.append(token)
        score, length = score + best.masked_fill(done, 0.0), length + ~done
        looping = [loop.add(value) for loop, value in zip(loops, token.tolist(), strict=True)]
        done = done | (token == end) | torch.tensor(looping, device=device)
        if bool(done.all()):
            break
        inputs = token[:, None]
    confidence = (score / length.clamp(min=1)).exp().tolist()
    ids = [cut(row[: row.index(end)] if end in row else row) for row in torch.stack(tokens, dim=1).tolist()]
    texts = [Transcription(tokenizer.text(row), share, {}, row) for row, share in zip(ids, confidence, strict=True)]
    return Decoded(texts, ids, never, cache, torch.stack(seen, dim=1))


@dataclass(slots=True)
class Loop:
    """Watches the tokens of one clip for a loop: up to 16 tokens that are there five times in a row, 12 tokens in all.

    unit: the length of what repeats, 0 until it is a loop.
    """

    tokens: list[int] = field(default_factory=list)
    runs: list[int] = field(default_factory=lambda: [0] * (LONGEST_UNIT + 1))
    unit: int = 0

    def add(self, token: int) -> bool:
        """Whether the tokens loop with this one more."""
        for length in range(1, min(LONGEST_UNIT, len(self.tokens)) + 1):
            self.runs[length] = self.runs[length] + 1 if self.tokens[-length] == token else 0
            if not self.unit and self.runs[length] + length >= max(REPEATS * length, LOOP_TOKENS):
                self.unit = length
        self.tokens.append(token)
        return self.unit > 0


def cut(ids: Sequence[int]) -> list[int]:
    """The tokens up to the second repetition of a loop; tokens that do not loop come back as they are.

    >>> cut([7, *[1, 2, 3] * 5]), cut([1, 2, 3] * 4)
    ([7, 1, 2, 3, 1, 2, 3], [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3])
    """
    loop = Loop()
    for place, token in enumerate(ids, 1):
        if loop.add(token):
            return list(ids[: place - loop.runs[loop.unit] + (KEPT - 1) * loop.unit])
    return list(ids)
