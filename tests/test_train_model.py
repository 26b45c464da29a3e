"""The model, its losses and its step against independent implementations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import WhisperTokenizer
from transformers.models.whisper.modeling_whisper import shift_tokens_right

from pipeline.core import keys
from pipeline.core.errors import PrepError
from train.batches import Batch, Totals
from train.examples import UNTAUGHT
from train.features import LogMel
from train.loop import rate
from train.model import Detector, interpolate, losses, time_mean, total
from train.options import Options
from train.pretrained import TINY, load_whisper
from train.text import Tokenizer


@pytest.fixture(scope="module")
def tiny() -> tuple[Detector, Tokenizer]:
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    torch.manual_seed(0)
    return Detector(whisper, ["speech", "noise"]).eval(), tokenizer


def batch(
    tokenizer: Tokenizer, transcripts: list[str | None], sizes: list[int], window: int, classes: list[int]
) -> Batch:
    """Put together by hand, by other means than train.batches."""
    wave = keys.rng(0, "wave").normal(0, 0.1, (len(sizes), window)).astype("f4")
    for row, size in zip(wave, sizes, strict=True):
        row[size:] = 0
    said = [n for n, text in enumerate(transcripts) if text is not None]
    tokens = [
        torch.tensor(
            [*tokenizer.prompt, *tokenizer.hf(transcripts[n], add_special_tokens=False).input_ids, tokenizer.end]
        )
        for n in said
    ]
    whole = torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=UNTAUGHT)
    labels = whole[:, 1:]
    return Batch(
        Totals(0, 0, clips=sum(found >= 0 for found in classes), tokens=int((labels >= 0).sum())),
        clips=len(sizes),
        samples=torch.from_numpy(wave),
        sizes=torch.tensor(sizes),
        noise_class=torch.tensor(classes),
        text_index=torch.tensor(said),
        inputs=torch.where(whole < 0, tokenizer.end, whole)[:, :-1],
        labels=labels,
        spans=torch.zeros(len(sizes), 0, 4, dtype=torch.long),
    )


def test_the_encoder_is_whispers_own_at_30_s(tiny: tuple[Detector, Tokenizer]) -> None:
    mel = torch.randn(2, 80, 3000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        wanted = tiny[0].whisper.model.encoder(mel).last_hidden_state
        assert torch.allclose(tiny[0].encoded(mel), wanted, atol=1e-6)


def test_the_time_mean_is_over_real_positions_alone(tiny: tuple[Detector, Tokenizer]) -> None:
    hidden, sizes = torch.randn(3, 50, 8), [16_000, 321, 1]
    found = time_mean(hidden, torch.tensor(sizes))
    for clip, (size, count) in enumerate(zip(sizes, (50, 2, 1), strict=True)):
        real = [position for position in range(50) if 320 * position < size]
        assert len(real) == count
        assert torch.allclose(found[clip], sum(hidden[clip, position] for position in real) / count, atol=1e-6)


def test_padding_moves_the_head_only_where_it_is_pooled_in(tiny: tuple[Detector, Tokenizer]) -> None:
    hidden = torch.randn(1, 50, 64)
    padded = torch.cat([hidden[:, :25], torch.zeros(1, 25, 64)], dim=1)
    size = torch.tensor([25 * 320])
    assert torch.equal(tiny[0].noise_logits(hidden, size), tiny[0].noise_logits(padded, size))
    everything = Detector(tiny[0].whisper, ["speech", "noise"], pool="all")
    assert not torch.equal(everything.noise_logits(hidden, size), everything.noise_logits(padded, size))


def test_the_losses_are_the_two_cross_entropies_counted_by_hand(tiny: tuple[Detector, Tokenizer]) -> None:
    detector, tokenizer = tiny
    made = batch(
        tokenizer, ["살려주세요", None, "도와줘", None], [30_000, 32_000, 8_000, 16_000], 32_000, [0, 1, 0, UNTAUGHT]
    )
    with torch.inference_mode():
        noise_logits, text_logits = detector.logits(LogMel(80)(made.samples), made.sizes, made.text_index, made.inputs)
        found = losses(noise_logits, text_logits, made)
    noise = [-torch.log_softmax(noise_logits[clip].double(), -1)[made.noise_class[clip]] for clip in range(3)]
    words = [
        -torch.log_softmax(text_logits[row, place].double(), -1)[made.labels[row, place]]
        for row in range(2)
        for place in range(made.labels.shape[1])
        if made.labels[row, place] >= 0
    ]
    assert float(found["noise"]) == pytest.approx(float(sum(noise) / 3), abs=1e-5)
    assert float(found["text"]) == pytest.approx(float(sum(words) / len(words)), abs=1e-5)
    weighted = total(found, Options(noise_weight=0.3, text_weight=2.0))
    assert float(weighted) == pytest.approx(0.3 * float(found["noise"]) + 2.0 * float(found["text"]))


def test_the_text_loss_at_30_s_is_that_of_transformers(tiny: tuple[Detector, Tokenizer]) -> None:
    """The plain recipe: labels from the tokenizer without the start token, padding masked, loss by the model."""
    detector, tokenizer = tiny
    transcripts = ["살려주세요", "누가 좀 도와주세요"]
    made = batch(tokenizer, transcripts, [30_000, 64_000], 480_000, [0, 0])
    plain = WhisperTokenizer.from_pretrained(str(TINY), language="korean", task="transcribe")
    whole = plain(transcripts, padding=True, return_tensors="pt")
    labels = whole.input_ids.masked_fill(whole.attention_mask == 0, -100)[:, 1:]
    with torch.inference_mode():
        mel = LogMel(80)(made.samples)
        wanted = detector.whisper(input_features=mel, labels=labels).loss
        found = losses(*detector.logits(mel, made.sizes, made.text_index, made.inputs), made)["text"]
    assert torch.equal(made.labels, labels)
    assert torch.equal(
        made.inputs[0, : len(tokenizer.prompt)],
        shift_tokens_right(labels, tokenizer.end, tokenizer.prompt[0])[0, : len(tokenizer.prompt)],
    )
    assert float(found) == pytest.approx(float(wanted), abs=1e-5)


def test_targets_are_whispers_control_tokens_then_the_text_then_the_end(tiny: tuple[Detector, Tokenizer]) -> None:
    tokenizer = tiny[1]
    words = tokenizer.hf.convert_ids_to_tokens([*tokenizer.prompt, tokenizer.end])
    assert words == ["<|startoftranscript|>", "<|ko|>", "<|transcribe|>", "<|notimestamps|>", "<|endoftext|>"]
    assert tokenizer.targets("  살려   주세요 ") == tokenizer.targets("살려 주세요")
    assert tokenizer.text(tokenizer.targets("살려 주세요")) == "살려 주세요"
    assert tokenizer.targets("") == [*tokenizer.prompt[1:], tokenizer.end]


def test_interpolation_keeps_half_of_the_old_weights_and_writes_them_into_the_model() -> None:
    before = [torch.randn(5, 3), torch.randn(4)]
    after = [torch.randn(5, 3), torch.randn(4)]
    weights = [torch.nn.Parameter(tensor.clone()) for tensor in after]
    interpolate(weights, before, 0.5)
    for now, old, new in zip(weights, before, after, strict=True):
        assert torch.equal(now.detach(), 0.5 * old + 0.5 * new)
    interpolate(weights, before, 0.0)
    assert torch.equal(weights[1].detach(), 0.5 * before[1] + 0.5 * after[1])


def test_the_rate_warms_up_and_falls_along_half_a_cosine() -> None:
    options = Options(lr=1.0, warmup=4)
    assert [rate(step, 104, options) for step in range(4)] == [0.25, 0.5, 0.75, 1.0]
    assert rate(54, 104, Options(lr=1.0, warmup=4, schedule="constant")) == 1.0
    assert rate(54, 104, options) == pytest.approx(0.5)
    assert rate(103, 104, options) == pytest.approx(np.cos(np.pi * 99 / 200) ** 2)


def test_an_english_only_tokenizer_and_folders_without_a_checkpoint_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match="tiny has no weights, train it from random ones with --init random"):
        load_whisper("tiny", "pretrained", 0)
    with pytest.raises(PrepError, match=f"{tmp_path}: no checkpoint.*give a folder in the format of transformers"):
        load_whisper(str(tmp_path), "pretrained", 0)
    english = WhisperTokenizer(vocab={"a": 0, "<|endoftext|>": 1, "<|startoftranscript|>": 2}, merges=[])
    with pytest.raises(PrepError, match=r"lacks <\|ko\|>, .*a multilingual Whisper checkpoint is needed"):
        Tokenizer.of(english, "whisper-tiny.en")


def test_random_weights_are_drawn_by_the_seed(tiny: tuple[Detector, Tokenizer]) -> None:
    again, other = load_whisper("tiny", "random", 0)[0], load_whisper("tiny", "random", 1)[0]
    name = "model.decoder.embed_tokens.weight"
    assert torch.equal(again.state_dict()[name], tiny[0].whisper.state_dict()[name])
    assert not torch.equal(other.state_dict()[name], again.state_dict()[name])


def test_a_clip_is_decoded_only_where_it_is_spoken(tiny: tuple[Detector, Tokenizer]) -> None:
    detector, tokenizer = tiny
    made = batch(tokenizer, [None, "살려줘", None], [16_000] * 3, 16_000, [1, 0, 1])
    calls = []
    hook = detector.whisper.model.decoder.register_forward_pre_hook(
        lambda _, args, told: calls.append(told["encoder_hidden_states"].shape[0]), with_kwargs=True
    )
    detector.logits(LogMel(80)(made.samples), made.sizes, made.text_index, made.inputs)
    hook.remove()
    assert calls == [1]


def test_a_batch_that_teaches_nothing_has_no_loss(tiny: tuple[Detector, Tokenizer]) -> None:
    detector, tokenizer = tiny
    made = batch(tokenizer, ["살려줘"], [16_000], 16_000, [UNTAUGHT])
    made = replace(made, labels=torch.full_like(made.labels, UNTAUGHT), totals=Totals(0, 0, 0, 0))
    found = losses(*detector.logits(LogMel(80)(made.samples), made.sizes, made.text_index, made.inputs), made)
    assert (found["noise"].item(), found["text"].item()) == (0.0, 0.0)
    total(found, Options()).backward()
