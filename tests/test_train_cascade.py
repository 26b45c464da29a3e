"""The cascade: the gate spares the decoder and changes no other decision; greedy decoding is transformers' own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from train_samples import TINY, command, made, usual
from transformers import GenerationConfig
from transformers.modeling_outputs import BaseModelOutput

from train import checkpoint, data
from train.cascade import Cascade
from train.checkpoint import Checkpoint
from train.data import Prediction, Sounds
from train.decode import Loop, cut, decode
from train.features import LogMel
from train.pretrained import load_whisper
from train.text import KeywordMatcher


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("made"), usual(train=6, dev=2, test=4))


@pytest.fixture(scope="module")
def held(manifest: Path) -> Checkpoint:
    """A tiny model that has learnt a little, so that the gate stops some clips and tokenizer differ."""
    words = ("--steps", 60, "--lr", 3e-3, "--batch", 8, "--interpolation", 0, "--save-every", 60)
    answer = command("train", manifest.parent, "--manifest", manifest, "--out", "run", *TINY, *words)
    assert answer.code == 0, answer.err
    return checkpoint.read(manifest.parent / "run/last")


def cascade(held: Checkpoint, threshold: float | None, *, ungated: bool = False) -> Cascade:
    return Cascade(
        held.detector, held.tokenizer, KeywordMatcher(held.lexicon), "auto", threshold, 60, torch.device("cpu"), ungated
    )


def judged(judge: Cascade, manifest: Path, batch: int = 3) -> dict[str, Prediction]:
    return {
        clip.id: clip
        for clip in judge.predictions(data.rows(data.read(manifest), "test"), Sounds(manifest.parent), batch)
    }


def middle(held: Checkpoint, manifest: Path) -> float:
    """A threshold that stops about half of the clips."""
    return float(np.median([clip.p_speech for clip in judged(cascade(held, None), manifest).values()]))


def test_the_gate_changes_no_decision_of_a_clip_that_passes(held: Checkpoint, manifest: Path) -> None:
    gated, free = judged(cascade(held, middle(held, manifest)), manifest), judged(cascade(held, None), manifest)
    passed = [name for name, clip in gated.items() if clip.passed]
    assert 0 < len(passed) < len(gated)
    for name in passed:
        assert (gated[name].decision, gated[name].text) == (free[name].decision, free[name].text)
    for name in gated.keys() - passed:
        assert (gated[name].decision, gated[name].text) == ("noise", None)


def test_the_encoder_runs_once_and_the_decoder_only_for_what_passes(held: Checkpoint, manifest: Path) -> None:
    encoded, begun = [], []
    judge = cascade(held, middle(held, manifest))
    model = held.detector.whisper.model

    def count(_: object, __: object, told: dict[str, torch.Tensor]) -> None:
        if told["input_ids"].shape[1] > 1:  # the prompt is fed once a clip, later tokens one by one
            begun.append(told["encoder_hidden_states"].shape[0])

    hooks = [
        model.encoder.conv1.register_forward_pre_hook(lambda _, args: encoded.append(args[0].shape[0])),
        model.decoder.register_forward_pre_hook(count, with_kwargs=True),
    ]
    clips = judged(judge, manifest)
    for hook in hooks:
        hook.remove()
    assert sum(encoded) == len(clips) == judge.cost.clips
    assert sum(begun) == sum(clip.passed for clip in clips.values()) == judge.cost.decoded < len(clips)


def test_a_threshold_above_everything_never_calls_the_decoder(
    held: Checkpoint, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.cascade.decode", None)
    assert {clip.decision for clip in judged(cascade(held, 1.1), manifest).values()} == {"noise"}


def test_what_would_have_been_without_the_gate_is_known_where_asked(held: Checkpoint, manifest: Path) -> None:
    both, free = judged(cascade(held, 1.1, ungated=True), manifest), judged(cascade(held, None), manifest)
    assert {name: (clip.ungated_text, clip.ungated_decision) for name, clip in both.items()} == {
        name: (clip.text, clip.decision) for name, clip in free.items()
    }
    assert {clip.ungated_text for clip in judged(cascade(held, 1.1), manifest).values()} == {None}


@pytest.mark.parametrize("batch", [1, 7])
def test_the_size_of_a_batch_changes_no_decision(held: Checkpoint, manifest: Path, batch: int) -> None:
    usual_batches = judged(cascade(held, 0.5), manifest)
    for name, clip in judged(cascade(held, 0.5), manifest, batch).items():
        other = usual_batches[name]
        assert (clip.decision, clip.text, clip.passed) == (other.decision, other.text, other.passed)
        assert clip.p_speech == pytest.approx(other.p_speech, abs=1e-5)


def test_decoding_is_what_generate_does_greedily() -> None:
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    with torch.no_grad():
        for parameter in whisper.parameters():
            parameter.mul_(4)  # weights so large say something else of every clip
    hidden = 3 * torch.randn(8, 50, 64, generator=torch.Generator().manual_seed(0))
    special = [token for token in range(256, whisper.config.vocab_size) if token != tokenizer.end]
    config = GenerationConfig(
        max_new_tokens=40, do_sample=False, num_beams=1, pad_token_id=tokenizer.end, eos_token_id=tokenizer.end
    )
    config.suppress_tokens, config.decoder_start_token_id = special, tokenizer.prompt[0]
    generate = super(
        type(whisper).__mro__[1], whisper
    ).generate  # transformers' greedy search, without Whisper's own long-form logic
    prompt = torch.tensor(tokenizer.prompt).repeat(len(hidden), 1)
    ids = generate(
        encoder_outputs=BaseModelOutput(last_hidden_state=hidden), decoder_input_ids=prompt, generation_config=config
    )
    rows = [row[len(tokenizer.prompt) :].tolist() for row in ids]
    wanted = [tokenizer.text(cut(row)) for row in rows]
    assert [each.text for each in decode(whisper, hidden, tokenizer, 40).transcriptions] == wanted
    assert 0 < sum(cut(row) == row for row in rows) < len(rows)
    assert len(set(wanted)) > 1


@pytest.mark.parametrize("unit", [[7], [1, 2], [1, 1, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]])
def test_a_loop_is_cut_to_two_units_and_shorter_repetition_stays(unit: list[int]) -> None:
    begin, most = [90, 91], max(4, 11 // len(unit))
    assert cut([*begin, *unit * most]) == [*begin, *unit * most]
    for more in (1, 9):
        assert cut([*begin, *unit * (most + more + 1)]) == [*begin, *unit * 2]
    loop = Loop()
    stops = [loop.add(token) for token in (*begin, *unit * 30)]
    assert stops.index(True) + 1 == len(begin) + max(5 * len(unit), 12)


def test_decoding_stops_at_a_loop() -> None:
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    calls: list[int] = []
    whisper.model.decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        whisper.proj_out.weight.zero_()  # every token is as likely: the first is taken, for ever
    (each,) = decode(whisper, torch.zeros(1, 50, 64), tokenizer, 60).transcriptions
    assert len(calls) == 12
    assert each.text == tokenizer.text([0, 0])


def test_a_clip_that_is_done_waits_for_the_others_and_changes_no_more() -> None:
    whisper, tokenizer = load_whisper("tiny", "random", 0)
    chance = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in whisper.parameters():
            parameter.mul_(4)
        whisper.model.decoder.embed_tokens.weight[tokenizer.end].normal_(
            0, 0.1, generator=chance
        )  # so that some end soon
    hidden = 3 * torch.randn(8, 50, 64, generator=chance)
    together = decode(whisper, hidden, tokenizer, 40).transcriptions
    alone = [decode(whisper, hidden[n : n + 1], tokenizer, 40).transcriptions[0] for n in range(len(hidden))]
    assert [each.text for each in together] == [each.text for each in alone]
    assert [each.confidence for each in together] == pytest.approx([each.confidence for each in alone], rel=1e-4)
    assert len({len(each.text) for each in alone}) > 1


def test_text_and_confidence_are_those_of_naive_decoding_without_a_cache(held: Checkpoint, manifest: Path) -> None:
    whisper, tokenizer = held.detector.whisper, held.tokenizer
    for row in data.rows(data.read(manifest), "test")[:6]:
        samples = torch.from_numpy(data.samples(Sounds(manifest.parent).pcm(row)))[None, :16_000]
        with torch.inference_mode():
            hidden = held.detector.encoded(LogMel(80)(samples))
            each = decode(whisper, hidden, tokenizer, 60).transcriptions[0]
            ids, told = list(tokenizer.prompt), []
            while len(told) < 60 and ids[-1] != tokenizer.end:
                logits = whisper.proj_out(
                    whisper.model.decoder(torch.tensor([ids]), encoder_hidden_states=hidden).last_hidden_state
                )[0, -1]
                logits[257:] = -torch.inf
                shares = logits.softmax(-1)
                ids.append(int(shares.argmax()))
                told.append(float(shares.max()))
        assert each.text == tokenizer.text(ids[4:])
        assert each.confidence == pytest.approx(float(np.exp(np.mean(np.log(told)))), rel=1e-4)


def test_a_damaged_copy_of_a_checkpoint_is_refused(held: Checkpoint, manifest: Path, tmp_path: Path) -> None:
    checkpoint.write(tmp_path / "copy", held)
    checkpoint.read(tmp_path / "copy")
    file = tmp_path / "copy/head.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    answer = command("evaluate", tmp_path, "--manifest", manifest, "--checkpoint", tmp_path / "copy")
    assert answer.code == 1
    assert "its weights are not those it was written with" in answer.err
