"""Writes the files beside this one: `python -m train.tiny.make`.

The tokenizer works on bytes and has no merges, so any text has tokens.
"""

from __future__ import annotations

from pathlib import Path

from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

HERE = Path(__file__).parent
BYTES = 256


def byte_letters() -> list[str]:
    """The letter for each byte in a byte-level vocabulary: itself if it is printable, else a letter from 256 on."""
    plain = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    spare = iter(range(BYTES, 2 * BYTES))
    return [chr(byte) if byte in plain else chr(next(spare)) for byte in range(BYTES)]


def tokenizer() -> WhisperTokenizer:
    """Bytes, then Whisper's special tokens in their order, with its languages as far as Korean, the sixth."""
    languages = [f"<|{code}|>" for code in list(LANGUAGES)[: list(LANGUAGES).index("ko") + 1]]
    names = ("translate", "transcribe", "nospeech", "notimestamps")
    special = ["<|endoftext|>", "<|startoftranscript|>", *languages, *(f"<|{name}|>" for name in names)]
    vocabulary = {letter: index for index, letter in enumerate(byte_letters())} | {special[0]: BYTES}
    tokens = WhisperTokenizer(vocab=vocabulary, merges=[], pad_token=special[0])
    tokens.add_special_tokens({"additional_special_tokens": special[1:]})
    return tokens


def config(tokens: WhisperTokenizer) -> WhisperConfig:
    """Two layers of width 64 on either side."""
    ids = {name: tokens.convert_tokens_to_ids(f"<|{name}|>") for name in ("endoftext", "startoftranscript")}
    end = ids["endoftext"]
    return WhisperConfig(
        vocab_size=len(tokens),
        d_model=64,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=256,
        decoder_ffn_dim=256,
        max_target_positions=96,
        decoder_start_token_id=ids["startoftranscript"],
        pad_token_id=end,
        bos_token_id=end,
        eos_token_id=end,
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )


def main() -> None:
    """Writes configuration, tokenizer and feature extractor."""
    tokens = tokenizer()
    whisper = config(tokens)
    tokens.save_pretrained(HERE)
    whisper.save_pretrained(HERE)
    GenerationConfig.from_model_config(whisper).save_pretrained(HERE)
    WhisperFeatureExtractor(feature_size=whisper.num_mel_bins).save_pretrained(HERE)


if __name__ == "__main__":
    main()
