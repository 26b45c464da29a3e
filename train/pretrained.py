"""Whisper checkpoints in the format of transformers: loaded whole, or refused with what does not fit."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from transformers import WhisperConfig, WhisperForConditionalGeneration, WhisperTokenizer
from transformers.utils import cached_file
from transformers.utils import logging as transformers_logging

from pipeline.core import files, texts
from pipeline.core.errors import PrepError, sample
from train.features import LONGEST, STRIDE
from train.model import seed_torch
from train.text import CONTROL, Tokenizer

TINY = Path(__file__).parent / "tiny"  # a configuration and a tokenizer, no weights
WEIGHTS, PICKLE = "model.safetensors", "pytorch_model.bin"  # or in parts, with NAME.index.json
JSON_FILES = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json")
EMBEDDING, OUTPUT = "model.decoder.embed_tokens.weight", "proj_out.weight"  # one tensor in every Whisper
REAL = {f"{prefix}{size}" for prefix in ("F", "torch.float") for size in (16, 32, 64)} | {"BF16", "torch.bfloat16"}
SENTENCE = "살려 주세요"  # any tokenizer of Whisper can spell it
REMEDY = "give a folder in the format of transformers, with config.json and all beside it, or a hub name"
_MOST_JSON = 1 << 20  # bytes; what lists millions of things makes transformers copy them for minutes
_MOST_LAYERS, _MOST_RANDOM, _SPARE = 1000, 10**10, 10**8  # layers; bytes of random weights; parameters
HUB = "huggingface.co"
transformers_logging.set_verbosity_error()
transformers_logging.disable_progress_bar()


def load_whisper(
    name: str, init: Literal["pretrained", "random"], seed: int
) -> tuple[WhisperForConditionalGeneration, Tokenizer]:
    """A Whisper by folder or hub name, float32, with its tokenizer.

    PrepError where it cannot be read, or where weights, configuration and tokenizer do not belong together: no tensor
    is ever left at random values, unless init is "random".
    """
    folder = TINY if name == "tiny" else Path(name)
    check_place(name, init)
    source = str(folder) if folder.is_dir() else name
    try:
        for path in [folder / each for each in JSON_FILES if (folder / each).is_file()]:
            _json(path)
        values, _ = WhisperConfig.get_config_dict(source)
        if values.get("model_type", "whisper") != "whisper":
            raise PrepError(f"{name}: config.json is of a {values['model_type']} model, expected whisper: {REMEDY}")
        check_shape(name, values, folder if init == "pretrained" and folder.is_dir() else None)
        config = WhisperConfig.from_pretrained(source)
        tokenizer = Tokenizer.of(WhisperTokenizer.from_pretrained(source), name)
        _check_sizes(name, config, tokenizer)
        if init == "random":
            seed_torch(seed, "weights")
            return WhisperForConditionalGeneration(config), tokenizer
        if folder.is_dir():
            check_files(folder)
        whisper, info = WhisperForConditionalGeneration.from_pretrained(
            source, dtype=torch.float32, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except PrepError:
        raise
    except Exception as error:  # transformers raises anything on a folder that is damaged or of another library
        raise PrepError(f"{name}: no Whisper checkpoint that can be read ({one_line(error)}): {REMEDY}") from None
    _check_fit(name, whisper, info)
    suppressed = whisper.generation_config.suppress_tokens
    if not isinstance(suppressed or [], list) or not all(isinstance(token, int) for token in suppressed or []):
        raise PrepError(f"{name}: generation_config.json: suppress_tokens: expected a list of tokens: copy it again")
    return whisper, tokenizer


def check_place(name: str, init: str) -> None:
    """PrepError where a checkpoint is neither a folder, nor in the cache of the hub, nor to be had from it.

    It takes about a second, where transformers would try for half a minute.
    """
    folder, reason = Path(name), ""
    if name == "tiny":
        if init == "pretrained":
            raise PrepError("tiny has no weights, train it from random ones with --init random")
        return
    if folder.exists():
        check_regular(folder)
        if not (folder / "config.json").is_file():
            raise PrepError(f"{name}: no checkpoint, for it has no config.json: {REMEDY}")
        return
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise PrepError(f"{name}: no such folder: {REMEDY}")
    lenient = {"_raise_exceptions_for_missing_entries": False, "_raise_exceptions_for_connection_errors": False}
    if isinstance(cached_file(name, "config.json", local_files_only=True, **lenient), str):
        return
    if os.environ.get("HF_HUB_OFFLINE") == "1":
        reason = "HF_HUB_OFFLINE is set"
    elif not any(os.environ.get(key) for key in ("HTTPS_PROXY", "https_proxy", "HF_ENDPOINT")):
        try:
            socket.create_connection((HUB, 443), 1).close()
        except OSError as error:
            reason = f"{HUB} cannot be reached ({error})"
    if reason:
        raise PrepError(
            f"{name}: neither a folder nor in the cache of the hub, and {reason}: {REMEDY} that was fetched"
        )


def check_regular(folder: Path) -> None:
    """ManifestError where something in a folder is a pipe or a device, which transformers would read for ever."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not path.is_dir():
            files.regular(path)


def check_shape(name: str, values: Mapping[str, Any], folder: Path | None) -> None:
    """PrepError where a configuration describes far more parameters than its weights can hold.

    To build such a network would take hours, or all memory. folder: of the weights; None where they are random.
    """

    def of(*keys: str) -> list[int]:
        return [value for key in keys if isinstance(value := values.get(key), int) and value > 0]

    layers = sum(of("encoder_layers", "decoder_layers")) or sum(of("num_hidden_layers"))
    wide = max(of("d_model", "hidden_size"), default=1)
    inner = max(of("encoder_ffn_dim", "decoder_ffn_dim", "intermediate_size"), default=1)
    rows = sum(of("vocab_size", "max_source_positions", "max_target_positions", "num_mel_bins"))
    count = wide * (layers * (4 * wide + 2 * inner) + rows)
    held = sum(path.stat().st_size for path in _weight_files(folder)) if folder else _MOST_RANDOM
    if count > 2 * held + _SPARE or layers > _MOST_LAYERS:
        what = f"{layers:,} layers and about {count:,} parameters"
        raise PrepError(f"{name}: config.json describes {what}, more than its weights hold: copy it again")


def _check_sizes(name: str, config: WhisperConfig, tokenizer: Tokenizer) -> None:
    """PrepError where tokenizer and model are not of one checkpoint, or the encoder has too few positions for 30 s."""
    if tokenizer.text(tokenizer.targets(SENTENCE)) != SENTENCE:
        raise PrepError(f"{name}: its tokenizer cannot spell {SENTENCE!r}: copy tokenizer.json of the checkpoint")
    highest = max(tokenizer.hf.get_vocab().values())
    if highest >= config.vocab_size:
        raise PrepError(
            f"{name}: its tokenizer has ids up to {highest}, config.json says vocab_size {config.vocab_size}:"
            " they are not of one model; copy both from one checkpoint"
        )
    if not config.tie_word_embeddings:
        raise PrepError(f"{name}: config.json says tie_word_embeddings false: Whisper has one tensor for both; mend it")
    if config.max_source_positions < LONGEST // STRIDE:
        raise PrepError(
            f"{name}: config.json says max_source_positions {config.max_source_positions}, expected {LONGEST // STRIDE}"
            " (30 s): another kind of Whisper, or a damaged file"
        )


def check_tokens(name: str, whisper: WhisperForConditionalGeneration, max_tokens: int) -> None:
    """PrepError where texts of so many tokens do not fit into the positions of the decoder."""
    most = int(whisper.config.max_target_positions) - len(CONTROL)
    if max_tokens > most:
        raise PrepError(
            f"{name}: --max-tokens {max_tokens} is more than its decoder has positions for: at most {most}"
            f" (max_target_positions {whisper.config.max_target_positions} less {len(CONTROL)} control tokens)"
        )


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. PrepError where there is none."""
    try:
        if path.name != "tokenizer.json" and path.stat().st_size > _MOST_JSON:
            raise ValueError(f"more than {_MOST_JSON:,} bytes")
        value = texts.from_json(texts.read(path))
    except (OSError, ValueError) as error:
        raise PrepError(f"{path}: no JSON that can be read ({one_line(error)}): copy it again") from None
    if not isinstance(value, dict):
        raise PrepError(f"{path}: found a {type(value).__name__}, expected a JSON object: copy it again")
    return value


def check_files(folder: Path) -> None:
    """PrepError where a file of weights is missing, damaged, or holds anything but real numbers."""
    kinds, tied = {}, {}
    for path in _weight_files(folder):
        try:
            if path.suffix == ".bin":
                tensors = dict(torch.load(path, map_location="cpu", weights_only=True))  # runs no code
                kinds |= {key: value.dtype for key, value in tensors.items()}
                tied |= {key: tensors[key] for key in (EMBEDDING, OUTPUT) if key in tensors}
                continue
            with safe_open(path, "pt") as file:
                kinds |= {key: file.get_slice(key).get_dtype() for key in file.keys()}  # noqa: SIM118 - no mapping
                tied |= {key: file.get_tensor(key) for key in (EMBEDDING, OUTPUT) if key in kinds and key not in tied}
        except Exception as error:  # a damaged pickle raises anything
            with path.open("rb") as opened:
                start = opened.read(40)
            content = "it is damaged, or was not copied to its end" if start else "it is empty"
            if start.startswith(b"version https://git-lfs"):
                content = "it is a placeholder of Git LFS: fetch the file with git lfs pull"
            elif start[:2] in (b"PK", b"\x80\x02", b"\x80\x04"):
                content = f"it is a pickle, read only as {PICKLE} with tensors by name, because others could run code"
            raise PrepError(f"{path}: no weights that can be read ({type(error).__name__}): {content}") from None
    odd = sorted(
        key for key, kind in kinds.items() if str(kind) not in REAL and not key.endswith("num_batches_tracked")
    )
    if odd:
        raise PrepError(
            f"{folder}: {len(odd)} tensors hold no real numbers ({odd[0]} is {kinds[odd[0]]}): quantised weights are"
            " not read; give the checkpoint before it was quantised"
        )
    if len(tied) == 2 and not torch.equal(tied[EMBEDDING], tied[OUTPUT]):
        raise PrepError(f"{folder}: {OUTPUT} differs from {EMBEDDING}: Whisper has one tensor for both")


def _weight_files(folder: Path) -> list[Path]:
    """The files that transformers reads the weights from. PrepError where one is missing."""
    for name in (WEIGHTS, PICKLE):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            parts = _json(index).get("weight_map")
            if not isinstance(parts, dict) or not parts:
                raise PrepError(f"{index}: lacks weight_map, the file of each tensor: copy it again")
            names = sorted(set(map(str, parts.values())))
            if outside := [part for part in names if Path(part).name != part]:
                raise PrepError(f"{index}: names {outside[0]!r}, which is no file beside it: copy the checkpoint again")
            files = [folder / part for part in names]
            for path in files:
                if not path.is_file():
                    raise PrepError(f"{path}: missing, though {index.name} names it: copy all files of the checkpoint")
            return files
    adapter = "; it is an adapter: merge it into its model first" if list(folder.glob("adapter_*")) else ""
    raise PrepError(f"{folder}: no weights, for there is no file named {WEIGHTS} or {PICKLE}{adapter}: {REMEDY}")


def _check_fit(name: str, whisper: WhisperForConditionalGeneration, info: dict[str, Any]) -> None:
    """PrepError where the weights in the files are not exactly those of the model, or are no numbers."""
    faults = []
    for key, words in (("missing_keys", "missing"), ("unexpected_keys", "unexpected")):
        if info[key]:
            faults.append(f"tensors {words}: {len(info[key])} ({sample(info[key])})")
    if info["mismatched_keys"]:
        key, shape, expected = sorted(info["mismatched_keys"])[0]
        shapes = f"{key} is {list(shape)}, config.json expects {list(expected)}"
        faults.append(f"tensors of another shape: {len(info['mismatched_keys'])} ({shapes})")
    if faults:
        raise PrepError(
            f"{name}: its weights do not fit its config.json: {'; '.join(faults)}:"
            " give a folder that was saved as a whole WhisperForConditionalGeneration"
        )
    if bad := not_finite(whisper):
        raise PrepError(f"{name}: tensors with NaN or infinite weights: {len(bad)} ({sample(bad)}): it is damaged")


def not_finite(model: torch.nn.Module) -> list[str]:
    """The names of the parameters with a value that is NaN or infinite."""
    return [name for name, value in model.named_parameters() if not bool(torch.isfinite(value).all())]


def one_line(error: BaseException) -> str:
    """What an error says in one line of at most 200 letters, or its kind."""
    return " ".join(str(error).split())[:200] or type(error).__name__
