"""Classifiers as typed: each network learns, resumes, is judged, compared and listened with, as Whisper is."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from train_samples import Answer, Clip, command, made, noise, predictions

from train import archs, checkpoint, data, examples, loop, scores, text
from train import run as run_module
from train.batches import Batches
from train.classes import cascade_of
from train.classifier import Classifier
from train.data import Sounds
from train.options import Options
from train.scores import Scorer
from train.text import KeywordMatcher

ARCHS = ("efficientnet", "cnn6", "ast", "wav2vec2", "hubert", "xlsr")
PICTURES = ARCHS[:3]
CLASSES = ["helpme", "saveme", "others", "noise"]
WORDS = ("살려 주세요.", "도와주세요", "안녕하세요")


def clips(split: str, count: int) -> list[Clip]:
    """Of each keyword and of noise so many, all of half a second."""
    spoken = [
        Clip(f"{split}/{k}/{n}", split, transcript=text, seconds=0.5, snr_db=10.0)
        for k, text in enumerate(WORDS)
        for n in range(count)
    ]
    return spoken + [noise(f"{split}/noise/{n}", split, seconds=0.5) for n in range(count)]


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [*clips("train", 4), *clips("dev", 2), *clips("test", 2)]
    return made(tmp_path_factory.mktemp("made"), rows)


def train(folder: Path, manifest: Path, arch: str, *more: object) -> Answer:
    window = ("--window", 1) if arch in PICTURES else ()
    own = ("--arch", arch, "--model", "tiny", "--init", "random", "--lr", 5e-3, *window, *more)
    return command("train", folder, "--manifest", manifest, "--out", "run", "--batch", 16, *own)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize("arch", ARCHS)
def test_sixteen_clips_are_learnt_and_judged_so(arch: str, manifest: Path, tmp_path: Path) -> None:
    pace = ("--steps", 80, "--lr", 1e-2) if arch in ("efficientnet", "cnn6") else ("--steps", 60)
    answer = train(tmp_path, manifest, arch, *pace)
    assert answer.code == 0, answer.err
    assert "of them in the head ['helpme', 'saveme', 'others', 'noise']" in answer.err
    steps = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert [line["loss"] for line in steps if "loss" in line][-1] < 0.1
    judged = ("--manifest", manifest, "--checkpoint", "run/last", "--split", "train", "--allow-overlap", "--json")
    found = command("evaluate", tmp_path, *judged).json()
    assert found["four_class"]["accuracy"]["value"] == 1
    assert found["gate"]["source"] == "none: the likeliest class decides"
    assert found["cost"]["decoder_skipped"] is None
    for clip in predictions(tmp_path / "run/evaluate-train"):
        own = clip.probabilities[("helpme", "saveme", "others", "noise").index(str(clip.truth))]
        assert own > 0.6
        assert (clip.decision, clip.passed, clip.text) == (clip.truth, clip.truth != "noise", None)
        assert clip.p_speech == pytest.approx(1 - clip.probabilities[3])


@pytest.mark.parametrize("arch", [*ARCHS, "xlsr --lora 2"])
def test_a_killed_run_goes_on_to_the_same_weights(
    arch: str, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arch, *adapters = arch.split()
    more = ("--steps", 6, "--save-every", 3, "--batch", 6, "--class-weights", *adapters)
    for name in ("whole", "cut"):
        (tmp_path / name).mkdir()
    assert train(tmp_path / "whole", manifest, arch, *more).code == 0
    steps = loop.loader

    def until_five(*values: Any, **named: Any) -> Any:
        for parts in steps(*values, **named):
            if parts[0].totals.step == 5 and values[0].plan.__name__ == "shuffled":
                os.kill(os.getpid(), signal.SIGKILL)
            yield parts

    with monkeypatch.context() as here:
        here.setattr(loop, "loader", until_five)
        killed = multiprocessing.get_context("fork").Process(
            target=train, args=(tmp_path / "cut", manifest, arch, *more)
        )
        killed.start()
        killed.join(120)
    assert killed.exitcode == -signal.SIGKILL
    answer = train(tmp_path / "cut", manifest, arch, *more)
    assert "resumed from step 3" in answer.err
    one, two = (weights(tmp_path / name / "run/last") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    first = archs.load(Options(arch=arch, model="tiny", init="random"), CLASSES).state_dict()
    assert any(not torch.equal(first[name], one[name]) for name in first)


@pytest.mark.parametrize("arch", ARCHS)
def test_what_a_clip_scores_depends_on_no_other(arch: str, tmp_path: Path) -> None:
    """Clips of several windows, judged together and each alone; a norm over a batch learns from them in one pass."""
    rows = [Clip(str(n), transcript=WORDS[n % 3], seconds=seconds) for n, seconds in enumerate((0.4, 1, 1.7, 2, 3.2))]
    path = made(tmp_path, rows)
    own, lexicon = Options(arch=arch, model="tiny", init="random", batch=8), text.read_lexicon(None)
    classifier, _ = run_module._network(["helpme", "saveme", "others"], own)
    cascade = cascade_of(classifier, None, KeywordMatcher(lexicon), own.window, None, 0, torch.device("cpu"))
    found = data.rows(data.read(path), "train")
    batches = Batches(examples.select(found, None, classifier.classes, own).examples, Sounds(tmp_path), None, own, 0)
    assert len(batches.parts(0)) == (1 if arch in ("efficientnet", "cnn6") else 3)  # windows of 1, 2 and 4 s
    together = {clip.id: clip.probabilities for clip in cascade.predictions(found, batches.sounds, 8)}
    for row in found:
        (alone,) = cascade.predictions([row], batches.sounds, 8)
        assert alone.probabilities == pytest.approx(together[row.id], abs=1e-5)
    names = {example.frames: example.row.id for example in batches.examples}
    with torch.inference_mode():
        for part in batches.parts(0):  # the passes of a training step, with the norms of evaluation
            for size, each in zip(part.sizes.tolist(), classifier.logits(part.samples, part.sizes), strict=True):
                assert each.softmax(-1).tolist() == pytest.approx(together[names[size]], abs=1e-5)


@pytest.fixture(scope="module")
def run(manifest: Path) -> Path:
    """The folder of a run of AST that learnt the clips, and its evaluation."""
    folder = manifest.parent
    assert train(folder, manifest, "ast", "--steps", 40).code == 0
    answer = command("evaluate", folder, "--manifest", manifest, "--checkpoint", "run/best")
    assert answer.code == 0, answer.err
    assert "decoder skipped" not in answer.out
    assert "CER" not in answer.out
    return folder / "run"


def test_evaluations_of_classifiers_are_compared(run: Path) -> None:
    answer = command("evaluate", run, "compare", "evaluate-test", "evaluate-test", "--out", "c.html")
    assert answer.code == 0, answer.err
    assert "run (ast)" in answer.out
    assert (run / "c.html").is_file()
    assert (run / "evaluate-test/report.html").is_file()


def test_a_classifier_listens(run: Path) -> None:
    quiet = np.zeros(8000, np.int16)
    call = Clip("train/0/0", transcript=WORDS[0], seconds=0.5).pcm
    soundfile.write(run / "a.wav", np.concatenate([quiet, quiet, call, quiet]), 16_000)
    found = command(
        "detect", run, "a.wav", "--checkpoint", "best", "--windows", "hop", "--seconds", 0.5, "--hop", 0.5, "--all"
    )
    assert found.code == 0, found.err
    lines = [json.loads(line) for line in found.out.splitlines()]
    assert [line["keyword"] for line in lines if line["event"]] == ["saveme"]
    assert lines[2]["event"]
    assert 0.5 < lines[2]["confidence"] <= 1
    assert lines[2]["text"] is None
    none = command("detect", run, "a.wav", "--checkpoint", "best", "--windows", "hop", "--seconds", 1, "--threshold", 1)
    assert (none.code, none.out) == (0, "")
    long = command("detect", run, "a.wav", "--checkpoint", "best", "--windows", "hop")
    assert (long.code, long.out) == (1, "")
    assert "--seconds 5: the network hears at most 1 s: give --seconds 1" in long.err


def test_what_is_of_no_use_for_a_classifier_is_refused(run: Path, manifest: Path, tmp_path: Path) -> None:
    for given in (("--max-tokens", 3), ("--window", 30), ("--no-gate",), ("--decision", "text-exact")):
        answer = command("evaluate", run.parent, "--manifest", manifest, "--checkpoint", "run/best", *given)
        assert answer.code == 1
        assert f"{given[0]}: of no use for a classifier, which has neither gate nor text" in answer.err
    for given, words in {
        ("--arch", "ast", "--task", "single"): "task: of no use with arch ast",
        ("--arch", "cnn6", "--layers", "sum"): "layers: of no use with arch cnn6",
        ("--arch", "xlsr", "--window", 5): "window 5: arch xlsr takes auto",
        ("--arch", "ast", "--window", 31): "window 31: arch ast takes auto, or seconds from 1 to 30",
        ("--arch", "ast", "--balance", "--class-weights"): "class_weights and balance do the same: give one of them",
        ("--class-weights",): "class_weights: of no use with arch whisper",
    }.items():
        answer = command("train", tmp_path, "--manifest", manifest, "--out", "no", *given)
        assert (answer.code, "Traceback" in answer.err) == (1, False)
        assert words in answer.err


def test_noise_is_a_class_of_its_own_or_other_speech(manifest: Path) -> None:
    rows = data.rows(data.read(manifest), "train")
    lexicon = ["helpme", "saveme", "others"]
    for noise_as, classes, place in (("noise", [*lexicon, "noise"], 3), ("others", lexicon, 2)):
        options = Options(arch="wav2vec2", noise_as=noise_as)
        selected = examples.select(rows, None, classes, options).examples
        assert {each.noise_class for each in selected if each.row.noise_label == "noise"} == {place}


def test_the_loss_of_parts_adds_up_to_that_of_the_step_with_weights_by_hand(manifest: Path, run: Path) -> None:
    detector = checkpoint.read(run / "best").detector
    assert isinstance(detector, Classifier)
    detector.weigh({0: 1, 1: 2, 2: 2, 3: 5})
    assert detector.weights is not None
    assert detector.weights.tolist() == pytest.approx([2.5, 1.25, 1.25, 0.5])
    rows = data.rows(data.read(manifest), "train")
    options = Options(arch="ast", window="1", batch=16)
    selected = examples.select(rows, None, detector.classes, options).examples
    batches = [
        Batches(selected, Sounds(manifest.parent), None, options, 0, rank=rank, world=world)
        for rank, world in ((0, 1), (0, 2), (1, 2))
    ]
    with torch.inference_mode():
        whole, *halves = (sum(float(detector(part)["class"]) for part in each.parts(0)) for each in batches)
        (part,) = batches[0].parts(0)
        shares = torch.log_softmax(detector.eval().logits(part.samples, part.sizes).double(), -1)
    picked = [-shares[n, k] * detector.weights[k] for n, k in enumerate(part.noise_class.tolist())]
    assert whole == pytest.approx(float(sum(picked)) / 16, abs=1e-5)
    assert sum(halves) == pytest.approx(whole, abs=1e-5)


def test_three_classes_hold_noise_as_other_speech() -> None:
    base = dict.fromkeys(data.Prediction.__slots__)
    base |= {
        "corpus": "c",
        "seconds": 1.0,
        "passed": True,
        "cut": False,
        "speech_like": False,
        "probabilities": (),
        "confidence": 0.5,
    }
    pairs = [("saveme", "saveme"), ("noise", "noise"), ("noise", "others"), ("others", "noise"), ("helpme", "noise")]
    clips = [
        data.Prediction(**{**base, "id": str(n), "group": str(n), "truth": truth, "decision": decision})
        for n, (truth, decision) in enumerate([*pairs, ("noise", "saveme")])
    ]
    found = scores.report(clips, Scorer(["helpme", "saveme", "others"], 0), {})
    assert found["noise_as_others"]["confusion"] == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 1, 3, 0], [0, 0, 0, 0]]
    assert found["noise_as_others"]["accuracy"]["value"] == pytest.approx(4 / 6)
    assert found["noise_as_others"]["largest_class"] == pytest.approx(4 / 6)
    assert found["noise_as_others"]["balanced_accuracy"]["value"] == pytest.approx((0 + 1 + 3 / 4) / 3)
    assert found["four_class"]["accuracy"]["value"] == pytest.approx(2 / 6)
    assert found["cer"]["cascade"]["clips"] == 0


def test_the_score_of_a_classifier_is_the_probability_of_all_calls(run: Path) -> None:
    clips = predictions(run / "evaluate-test")
    for clip in clips:
        assert scores.call_score(clip, ["helpme", "saveme"]) == pytest.approx(sum(clip.probabilities[:2]))


def test_with_a_threshold_a_call_is_what_is_likely_enough(run: Path) -> None:
    trained = checkpoint.read(run / "best")
    made = partial(cascade_of, trained.detector, None, KeywordMatcher(trained.lexicon), "1")
    for threshold, keyword in ((None, "noise"), (0.5, "saveme"), (0.6, "noise")):
        output = made(threshold, 0, torch.device("cpu"))._output([0.2, 0.31, 0.04, 0.45], 0.0)
        assert (output.keyword, output.passed, output.p_speech) == (keyword, keyword != "noise", 0.55)


@pytest.mark.parametrize("arch", ["ast", "wav2vec2", "xlsr"])
def test_gradient_checkpointing_runs_layers_twice_for_the_same_gradients(arch: str, manifest: Path) -> None:
    gradients, runs = [], []
    own = {"window": "1"} if arch == "ast" else {"freeze": "features"}
    for checkpointing in (False, True):
        options = Options(arch=arch, model="tiny", init="random", gradient_checkpointing=checkpointing, **own)
        classifier, _ = run_module._network(["helpme", "saveme", "others", "noise"], options)
        assert isinstance(classifier, Classifier)
        calls: list[int] = []
        base = classifier.net.base_model
        layer = (base.layers if hasattr(base, "layers") else base.encoder.layers)[1]
        inner = layer.attention
        inner.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        rows = data.rows(data.read(manifest), "train")
        found = examples.select(rows, None, classifier.classes, options).examples
        classifier.train()
        for part in Batches(found, Sounds(manifest.parent), None, options, 0).parts(0):
            classifier(part)["class"].backward()
        gradients.append([p.grad.clone() for p in classifier.learnable() if p.grad is not None])
        runs.append(len(calls))
    assert runs[1] == 2 * runs[0]
    assert all(torch.allclose(one, two, atol=1e-7) for one, two in zip(*gradients, strict=True))


def test_gradient_checkpointing_without_effect_is_refused() -> None:
    for given in ({"arch": "cnn6"}, {"arch": "whisper"}, {"arch": "xlsr", "freeze": "encoder"}):
        with pytest.raises(ValueError, match="gradient_checkpointing: of no use with arch"):
            Options(gradient_checkpointing=True, **given)
