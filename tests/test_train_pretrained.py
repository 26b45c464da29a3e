"""Models and checkpoints that are damaged, foreign or do not fit: each is refused in one line that names the fault.

By the command line alone: a fault that one command refuses, the others must not pass over.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from train_samples import TINY, Answer, command, made, usual

Change = Callable[[Path], object]
Tensors = dict[str, torch.Tensor]
EMBEDDING = "model.decoder.embed_tokens.weight"


class Code:
    """What a pickle may run when it is read."""

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("executed"),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest, and a run of one step on it."""
    folder = tmp_path_factory.mktemp("made")
    made(folder, usual(train=1, dev=1, test=1))
    answer = command("train", folder, "--manifest", "mixed.parquet", "--out", "run", *TINY, "--steps", 1)
    assert answer.code == 0, answer.err
    return folder


def weights(change: Callable[[Tensors], Tensors]) -> Change:
    def act(model: Path) -> None:
        save_file(change(load_file(model / "model.safetensors")), model / "model.safetensors", {"format": "pt"})

    return act


def config(name: str = "config.json", **values: object) -> Change:
    return lambda model: (model / name).write_text(json.dumps(json.loads((model / name).read_text()) | values))


def content(name: str, data: bytes) -> Change:
    return lambda model: (model / name).write_bytes(data)


def cut(name: str, share: float) -> Change:
    def act(model: Path) -> None:
        data = (model / name).read_bytes()
        (model / name).write_bytes(data[: int(len(data) * share)])

    return act


def gone(name: str) -> Change:
    return lambda model: (model / name).unlink()


def pickled(name: str, value: object) -> Change:
    def act(model: Path) -> None:
        (model / "model.safetensors").unlink()
        torch.save(value, model / name)

    return act


def shards(lost: int | None = None, **index: object) -> Change:
    """The weights in three files with an index, one of them lost."""

    def act(model: Path) -> None:
        tensors = load_file(model / "model.safetensors")
        (model / "model.safetensors").unlink()
        files = {key: f"model-0000{n % 3 + 1}-of-00003.safetensors" for n, key in enumerate(sorted(tensors))}
        for n, name in enumerate(sorted(set(files.values()))):
            if n != lost:
                save_file({key: tensors[key] for key in files if files[key] == name}, model / name, {"format": "pt"})
        text = json.dumps({"metadata": {}, "weight_map": files} | index)
        (model / "model.safetensors.index.json").write_text(text)

    return act


def without(part: str) -> Change:
    return weights(lambda tensors: {key: value for key, value in tensors.items() if part not in key})


def prefixed(prefix: str) -> Change:
    return weights(lambda tensors: {prefix + key: value for key, value in tensors.items()})


MODELS: dict[str, tuple[Change, str]] = {
    "prefix of DDP": (
        prefixed("module."),
        r"tensors missing: 90 \(.* and 87 more\); tensors unexpected: 89 \(module\.",
    ),
    "prefix of LoRA": (prefixed("base_model.model."), r"tensors missing: 90 .*unexpected: 89 \(base_model\.model\."),
    "prefix of lightning": (prefixed("state_dict.model."), "tensors missing: 90"),
    "a layer lost": (without("encoder.layers.1."), r"tensors missing: 15 \(model\.encoder\.layers\.1\.fc1\.bias"),
    "a bias lost": (without("decoder.layer_norm.bias"), r"tensors missing: 1 \(model\.decoder\.layer_norm\.bias\)"),
    "the encoder lost": (without("encoder.layers."), "tensors missing: 30"),
    "no embedding": (without("embed_tokens"), "tensors missing: [12] .*embed_tokens"),
    "a layer more": (
        weights(lambda tensors: tensors | {"model.encoder.layers.2.fc1.bias": torch.zeros(256)}),
        r"tensors unexpected: 1 \(model\.encoder\.layers\.2\.fc1\.bias\)",
    ),
    "fewer layers said": (config(encoder_layers=1), r"tensors unexpected: 15 \(model\.encoder\.layers\.1\."),
    "no layers said": (config(encoder_layers=-1), "tensors unexpected: 30"),
    "another width": (config(d_model=96), r"of another shape: \d+ \(.* is \[96, 64\], config\.json expects \[96, 96\]"),
    "another vocabulary": (config(vocab_size=300), r"of another shape: 1 \(model\.decoder\.embed_tokens\.weight"),
    "more positions": (config(max_target_positions=448), r"of another shape: 1 \(model\.decoder\.embed_positions"),
    "bands": (config(num_mel_bins=128), r"of another shape: 1 \(model\.encoder\.conv1\.weight"),
    "heads": (config(encoder_attention_heads=5), "no Whisper checkpoint that can be read .*num_heads"),
    "fewer seconds": (config(max_source_positions=750), r"max_source_positions 750, expected 1500 \(30 s\)"),
    "text for a number": (config(d_model="64"), "no Whisper checkpoint that can be read .*d_model"),
    "another family": (config(model_type="wav2vec2"), r"config\.json is of a wav2vec2 model, expected whisper"),
    "too much memory": (config(vocab_size=10**12), "more than its weights hold"),
    "untied output": (
        weights(lambda tensors: tensors | {"proj_out.weight": tensors[EMBEDDING] + 1}),
        rf"proj_out\.weight differs from {re.escape(EMBEDDING)}",
    ),
    "an untied configuration": (config(tie_word_embeddings=False), r"config\.json says tie_word_embeddings false"),
    "an adapter alone": (
        lambda model: (model / "model.safetensors").rename(model / "adapter_model.safetensors"),
        r"no file named model\.safetensors.*it is an adapter: merge it into its model first",
    ),
    "suppressed text": (
        config("generation_config.json", suppress_tokens=["a"]),
        r"generation_config\.json: suppress_tokens: expected a list of tokens",
    ),
    "suppressed nothing": (config("generation_config.json", suppress_tokens=[None]), "expected a list of tokens"),
    "whole numbers": (
        weights(lambda tensors: {key: value.to(torch.int8) for key, value in tensors.items()}),
        r"89 tensors hold no real numbers .*quantised weights are not read",
    ),
    "NaN": (
        weights(lambda tensors: tensors | {"model.encoder.conv1.bias": torch.full((64,), torch.nan)}),
        r"tensors with NaN or infinite weights: 1 \(.*model\.encoder\.conv1\.bias\)",
    ),
    "infinite": (
        weights(lambda tensors: tensors | {EMBEDDING: torch.full_like(tensors[EMBEDDING], -torch.inf)}),
        "tensors with NaN or infinite weights",
    ),
    "empty weights": (
        content("model.safetensors", b""),
        r"model\.safetensors: no weights that can be read .*it is empty",
    ),
    "weights cut": (cut("model.safetensors", 0.4), r"model\.safetensors: no weights .*not copied to its end"),
    "header cut": (cut("model.safetensors", 0.001), r"model\.safetensors: no weights .*not copied to its end"),
    "a placeholder": (
        content("model.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 3\n"),
        r"model\.safetensors: no weights .*a placeholder of Git LFS: fetch the file with git lfs pull",
    ),
    "a web page": (content("model.safetensors", b"<!DOCTYPE html><html>"), r"model\.safetensors: no weights"),
    "a pickle by that name": (
        pickled("model.safetensors", {"a": Code()}),
        r"model\.safetensors: .*others could run code",
    ),
    "a pickle": (pickled("pytorch_model.bin", {"a": Code()}), r"pytorch_model\.bin: .*others could run code"),
    "a pickled list": (pickled("pytorch_model.bin", [1, 2]), r"pytorch_model\.bin: no weights that can be read"),
    "no weights": (gone("model.safetensors"), r"no file named model\.safetensors"),
    "a shard lost": (shards(lost=1), r"model-00002-of-00003\.safetensors: missing, though .*index\.json names it"),
    "an index without names": (shards(weight_map={}), r"index\.json: lacks weight_map"),
    "an index of a list": (shards(weight_map=["a"]), r"index\.json: lacks weight_map"),
    "no configuration": (gone("config.json"), r"no checkpoint, for it has no config\.json"),
    "configuration cut": (cut("config.json", 0.5), r"config\.json: no JSON that can be read"),
    "configuration a list": (content("config.json", b"[1]"), r"config\.json: found a list, expected a JSON object"),
    "generation cut": (cut("generation_config.json", 0.5), r"generation_config\.json: no JSON that can be read"),
    "tokenizer cut": (cut("tokenizer.json", 0.5), r"tokenizer\.json: no JSON that can be read"),
    "tokenizer gone": (gone("tokenizer.json"), "its tokenizer cannot spell '살려 주세요'"),
    "tokenizer of another": (content("tokenizer.json", b"{}"), "no Whisper checkpoint that can be read"),
    "tokenizer too large": (
        config(vocab_size=260),
        r"its tokenizer has ids up to \d+, config\.json says vocab_size 260",
    ),
    "bytes": (content("tokenizer_config.json", b"\xff\xfe\x00"), r"tokenizer_config\.json: no JSON that can be read"),
}
FINE: dict[str, Change] = {
    "in three files": shards(),
    "without the model's prefix": weights(
        lambda tensors: {key.removeprefix("model."): value for key, value in tensors.items()}
    ),
    "in half precision": weights(lambda tensors: {key: value.half() for key, value in tensors.items()}),
    "output beside the embedding": weights(lambda tensors: tensors | {"proj_out.weight": tensors[EMBEDDING].clone()}),
    "a pickle of tensors alone": lambda model: pickled("pytorch_model.bin", load_file(model / "model.safetensors"))(
        model
    ),
    "suppressed tokens that it lacks": config("generation_config.json", suppress_tokens=[3, 51_000, -1]),
}


def copied(folder: Path, tmp_path: Path, change: Change, name: str = "last") -> Path:
    model = tmp_path / "model"
    shutil.copytree(folder / "run" / name, model)
    change(model)
    return model


def refused(answer: Answer, message: str) -> None:
    """In one line, with exit 1."""
    assert answer.code == 1, answer.err
    assert re.search(message, answer.err), answer.err
    assert len(answer.err.splitlines()) == 1, answer.err
    assert not answer.out


@pytest.mark.parametrize("fault", MODELS)
def test_a_model_that_does_not_fit_is_refused_by_train_and_evaluate(folder: Path, tmp_path: Path, fault: str) -> None:
    change, message = MODELS[fault]
    model = copied(folder, tmp_path, change)
    common = ("--manifest", folder / "mixed.parquet", "--out", "new", "--model", model)
    refused(command("train", tmp_path, *common, "--steps", 1, "--max-tokens", 60), message)
    refused(command("evaluate", tmp_path, *common), message)
    refused(command("detect", tmp_path, "x.wav", "--checkpoint", model), message)
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("kind", FINE)
def test_a_model_that_lies_otherwise_is_taken(folder: Path, tmp_path: Path, kind: str) -> None:
    model = copied(folder, tmp_path, FINE[kind])
    answer = command("evaluate", tmp_path, "--manifest", folder / "mixed.parquet", "--model", model, "--max-tokens", 2)
    assert answer.code == 0, answer.err


CHECKPOINTS: dict[str, tuple[Change, str]] = {
    "head gone": (gone("head.safetensors"), r"head\.safetensors: cannot be read"),
    "head cut": (cut("head.safetensors", 0.5), r"head\.safetensors: cannot be read"),
    "head of another width": (
        lambda model: save_file({"weight": torch.zeros(2, 9), "bias": torch.zeros(2)}, model / "head.safetensors"),
        r"head\.safetensors: not the noise head of this checkpoint",
    ),
    "head of other weights": (
        lambda model: save_file({"weight": torch.zeros(2, 64), "bias": torch.zeros(2)}, model / "head.safetensors"),
        "its weights are not those it was written with",
    ),
    "classes in another order": (
        config("made.json", classes=["noise", "speech"]),
        r"head\.safetensors: its classes are \[\"speech\", \"noise\"\], made\.json says \['noise', 'speech'\]",
    ),
    "heads that the weights do not show": (
        config(encoder_attention_heads=1),
        r"config\.json: not as it was written with the weights: copy the checkpoint again",
    ),
    "no generation": (gone("generation_config.json"), r"generation_config\.json: not as it was written"),
    "another tokenizer": (
        config("tokenizer_config.json", model_max_length=7),
        r"tokenizer_config\.json: not as it was written",
    ),
    "recordings gone": (gone("recordings.safetensors"), r"recordings\.safetensors: not as it was written"),
    "lexicon gone": (gone("lexicon.toml"), r"lexicon\.toml: no such lexicon"),
    "another lexicon": (
        content("lexicon.toml", b'other = "others"\n[keywords]\nfire = ["\xeb\xb6\x88"]\n'),
        r"lexicon\.toml: not the lexicon of this checkpoint",
    ),
    "metadata gone": (gone("made.json"), r"no checkpoint \(made\.json is missing\)"),
    "metadata cut": (cut("made.json", 0.5), r"made\.json: cannot be read"),
    "metadata a list": (content("made.json", b"[]"), r"made\.json: cannot be read"),
    "window of no time": (config("made.json", window="nan"), "window or thresholds are not as"),
    "a threshold of text": (config("made.json", thresholds={"gate": "x"}), "window or thresholds are not as"),
    "metadata a number": (content("made.json", b"3"), r"made\.json: cannot be read"),
    "another format": (config("made.json", format=7), "written in format 7, this version reads 1"),
    "classes a number": (config("made.json", classes=3), r"made\.json: classes: .*copy it again"),
    "another pool": (config("made.json", pool="some"), r"made\.json: pool: "),
    "no options": (config("made.json", options={}), r"made\.json: options lack max_tokens or task"),
    "too many tokens": (
        config("made.json", options={"max_tokens": 400, "task": "multi"}),
        "--max-tokens 400 is more than its decoder has positions for: at most 92",
    ),
    "recordings cut": (cut("recordings.safetensors", 0.5), r"recordings\.safetensors: cannot be read"),
    "recordings of another": (
        lambda model: save_file({"test": torch.zeros(2)}, model / "recordings.safetensors"),
        r"recordings\.safetensors: not the recordings of a checkpoint",
    ),
}


@pytest.mark.parametrize("fault", CHECKPOINTS)
def test_a_damaged_checkpoint_is_refused_by_evaluate_and_detect(folder: Path, tmp_path: Path, fault: str) -> None:
    change, message = CHECKPOINTS[fault]
    model = copied(folder, tmp_path, change)
    words = ("--manifest", folder / "mixed.parquet", "--checkpoint", model, "--out", "new")
    refused(command("evaluate", tmp_path, *words), message)
    refused(command("detect", tmp_path, "x.wav", "--checkpoint", model), message)


def state(change: Callable[[dict[str, Any]], object]) -> Change:
    def act(model: Path) -> None:
        values = torch.load(model / "state.pt")
        change(values)
        torch.save(values, model / "state.pt")

    return act


OTHER_STATE = r"state\.pt: not the state of the checkpoint of step 1 beside it; give another --out to begin anew"
STATES: dict[str, tuple[Change, str]] = {
    "gone": (gone("state.pt"), r"state\.pt: no state of a run that can be read"),
    "empty": (content("state.pt", b""), r"state\.pt: no state of a run that can be read"),
    "cut": (cut("state.pt", 0.5), r"state\.pt: no state of a run that can be read"),
    "text": (content("state.pt", b"state"), r"state\.pt: no state of a run that can be read"),
    "a pickle": (
        lambda model: torch.save(Code(), model / "state.pt"),
        r"state\.pt: no state of a run that can be read",
    ),
    "a list": (lambda model: torch.save([1], model / "state.pt"), r"state\.pt: no state of a run that can be read"),
    "a tensor": (lambda model: torch.save(torch.ones(3), model / "state.pt"), r"state\.pt: n"),
    "something else": (lambda model: torch.save({"epoch": 3}, model / "state.pt"), r"state\.pt: not the state of"),
    "a best that is none": (state(lambda values: values.update(best=float("nan"))), OTHER_STATE),
    "no optimizer": (state(lambda values: values.pop("optimizer")), OTHER_STATE),
    "an empty optimizer": (state(lambda values: values.update(optimizer={})), OTHER_STATE),
    "no count of skipped steps": (state(lambda values: values.pop("skipped")), OTHER_STATE),
    "moments of another shape": (
        state(lambda values: values["optimizer"]["state"][0].update(exp_avg=torch.zeros(3))),
        OTHER_STATE,
    ),
    "moments that are no numbers": (
        state(lambda values: values["optimizer"]["state"][0]["exp_avg_sq"].fill_(torch.nan)),
        OTHER_STATE,
    ),
    "moments lost": (state(lambda values: values["optimizer"]["state"].pop(0)), OTHER_STATE),
}


@pytest.mark.parametrize("fault", STATES)
def test_a_run_does_not_go_on_from_a_state_that_is_none(folder: Path, tmp_path: Path, fault: str) -> None:
    change, message = STATES[fault]
    words = ("--manifest", folder / "mixed.parquet", "--out", "run", *TINY, "--steps", 2, "--save-every", 1)
    if not (folder / "two").exists():
        assert command("train", folder, *words[:3], "two", *TINY, "--steps", 2, "--save-every", 1).code == 0
    shutil.copytree(folder / "two", tmp_path / "run")
    metadata = json.loads((tmp_path / "run/last/made.json").read_text())
    (tmp_path / "run/last/made.json").write_text(json.dumps(metadata | {"step": 1}))  # so that there is a step to go
    change(tmp_path / "run/last")
    answer = command("train", tmp_path, *words)
    assert (answer.code, bool(re.search(message, answer.err)), "Traceback" in answer.err) == (1, True, False), (
        answer.err
    )
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(("given", "most"), [(93, 92), (440, 92)])
def test_more_tokens_than_the_decoder_has_positions_for_are_refused(folder: Path, given: int, most: int) -> None:
    message = f"--max-tokens {given} is more than its decoder has positions for: at most {most}"
    words = ("--manifest", "mixed.parquet", "--out", "new", "--max-tokens", given)
    refused(command("train", folder, *words, "--model", "tiny", "--init", "random"), message)
    refused(command("evaluate", folder, *words, "--model", "run/last"), message)
    refused(command("evaluate", folder, *words, "--checkpoint", "run/last"), message)


@pytest.mark.parametrize("name", ["tiny", "none/at/all", "./none", "mixed.parquet", "run", ""])
def test_a_name_that_is_no_checkpoint_is_refused(folder: Path, name: str) -> None:
    refused(command("evaluate", folder, "--manifest", "mixed.parquet", "--model", name, "--out", "new"), "no |weights")
