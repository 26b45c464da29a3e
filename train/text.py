"""Transcripts to tokens and back, with Whisper's tokenizer: Korean, transcription, no timestamps."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.core.errors import PrepError

CONTROL = ("<|startoftranscript|>", "<|ko|>", "<|transcribe|>", "<|notimestamps|>")


@dataclass(frozen=True, slots=True)
class Texts:
    """A tokenizer, and the ids that steer Whisper. prompt: the ids of CONTROL, which every decoding starts from."""

    tokenizer: Any
    prompt: tuple[int, ...]
    end: int

    @classmethod
    def of(cls, tokenizer: Any, source: str) -> Texts:
        """The texts of a tokenizer. PrepError where it lacks Whisper's control tokens (an English-only checkpoint does)."""
        known = tokenizer.get_vocab()
        lacking = [token for token in (*CONTROL, "<|endoftext|>") if token not in known]
        if lacking:
            raise PrepError(
                f"{source}: its tokenizer lacks {', '.join(lacking)}: a multilingual Whisper checkpoint is needed"
            )
        return cls(tokenizer, tuple(known[token] for token in CONTROL), known["<|endoftext|>"])

    def targets(self, transcript: str) -> list[int]:
        """What the decoder should say after <|startoftranscript|>: the other control tokens, the text, <|endoftext|>.

        The control tokens are targets too, as in the plain fine-tuning recipe of transformers.
        """
        text = " ".join(unicodedata.normalize("NFC", transcript).split())
        return [*self.prompt[1:], *self.tokenizer(text, add_special_tokens=False).input_ids, self.end]

    def text(self, ids: Sequence[int]) -> str:
        """The text of decoded ids, without special tokens; half a letter at the end is left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).replace("\ufffd", "").strip()
