"""Is the noise head better than what comes free? The same clips by energy, a voice detector and Whisper's no-speech."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from train import data, metrics, report, sampler
from train.cascade import padded, waves_of
from train.compare import Evaluation, as_written, signed
from train.compare import read as read_evaluation
from train.data import Sounds
from train.features import LogMel
from train.pretrained import load_whisper
from train.scores import IN_DOMAIN, OUT_OF_DOMAIN
from train.text import NOISE
from train.voice import CHUNK, Voice

NO_SPEECH = ("<|nospeech|>", "<|nocaptions|>")  # the name in newer checkpoints, and in older ones
SILENCE = 1e-12  # mean square: -120 dBFS
TOGETHER = 16  # clips that go through Whisper at a time
HEAD = "noise head"

Wave = NDArray[np.float32]
Measure = Callable[[Sequence[Wave]], list[float]]  # of clips of one window: the higher, the more it is speech


@dataclass(frozen=True, slots=True)
class Gate:
    """Decisions of a detector on the clips of the split, with the threshold that dev chose.

    speech: bool [clips]; scores: float64 [clips], the higher the more it is speech; rule: the decision in words.
    """

    name: str
    rule: str
    speech: NDArray[np.bool_]
    scores: NDArray[np.float64]


def gates(say: Callable[[str], None], run: Path, manifest: Path, model: str | None, *, as_json: bool) -> str:
    """Scores of the noise head of an evaluation and of other detectors on its clips, as text or as JSON.

    run: a folder that evaluate wrote. model: a Whisper whose no-speech probability is taken, None for none. PrepError
    where the evaluation has no head, is of another manifest, or there is no dev split to choose thresholds on.
    """
    with as_written(run):
        return _gates(say, run, manifest, model, as_json=as_json)


def _gates(say: Callable[[str], None], run: Path, manifest: Path, model: str | None, *, as_json: bool) -> str:
    evaluation = read_evaluation(run)
    answer, source = evaluation.answer, data.read(manifest)
    if answer["manifest_hash"] != source.provenance.logical_hash:
        raise PrepError(f"{run}: judged on {answer['manifest']}, not on {manifest}: give --manifest that one")
    if any(clip.p_speech is None for clip in evaluation.clips):
        raise PrepError(
            f"{run}: its model has no noise head: give an evaluation of one that was trained with --task multi"
        )
    rows = {split: data.rows(source, split, "thresholds are chosen on dev") for split in ("dev", answer["split"])}
    rule, clips = f"p_speech from {answer['gate']['threshold']:.4g}", evaluation.clips
    head = np.array([clip.passed for clip in clips]), np.array([float(clip.p_speech or 0.0) for clip in clips])
    found, left_out = [Gate(HEAD, rule, *head)], {}
    measures = {
        "energy": lambda: _level,
        "voice detector": _voice,
        "Whisper no-speech": lambda: _no_speech(model),
    }
    for name, ready in measures.items():
        try:
            measure = ready()
        except PrepError as error:
            left_out[name] = str(error)
            continue
        say(f"{name}: {len(rows['dev']):,} clips of dev, {len(rows[answer['split']]):,} of {answer['split']}")
        values = [_measured(part, measure, Sounds(manifest.parent), answer["options"]) for part in rows.values()]
        found.append(_chosen(name, rows["dev"], *values))
    result = _scores(evaluation, found) | {"left_out": left_out}
    return json.dumps(result, ensure_ascii=False, allow_nan=False) if as_json else screen(result)


def _level(waves: Sequence[Wave]) -> list[float]:
    """The RMS level of each, dBFS, at least that of silence."""
    powers = [float(np.mean(np.square(wave, dtype=np.float64))) for wave in waves]
    return [10 * float(np.log10(max(power, SILENCE))) for power in powers]


def _voice() -> Measure:
    """The highest probability of voice that Silero gives in a clip."""
    Voice()  # a PrepError where the extra is missing

    def measure(waves: Sequence[Wave]) -> list[float]:
        highest = []
        for wave in waves:
            voice, whole = Voice(), np.pad(wave, (0, -len(wave) % CHUNK))
            highest.append(max(voice.push(chunk) for chunk in whole.reshape(-1, CHUNK)))
        return highest

    return measure


def _no_speech(model: str | None) -> Measure:
    """1 - p(no speech) of the first token that Whisper would decode."""
    if model is None:
        raise PrepError("give --model openai/whisper-tiny or another Whisper")
    whisper, tokenizer = load_whisper(model, "pretrained", 0)
    vocabulary = tokenizer.hf.get_vocab()
    token = next((vocabulary[name] for name in NO_SPEECH if name in vocabulary), None)
    if token is None:
        raise PrepError(f"{model}: its tokenizer has none of {', '.join(NO_SPEECH)}")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    whisper.to(device).eval()
    log_mel = LogMel(whisper.config.num_mel_bins).to(device)
    start = torch.tensor([[tokenizer.prompt[0]]], device=device)

    @torch.inference_mode()
    def measure(waves: Sequence[Wave]) -> list[float]:
        shares: list[float] = []
        for first in range(0, len(waves), TOGETHER):
            samples, _ = padded(waves[first : first + TOGETHER], "30")  # as Whisper is meant to hear
            logits = whisper(log_mel(samples.to(device)), decoder_input_ids=start.expand(len(samples), 1)).logits
            shares += (1 - logits[:, 0].double().softmax(-1)[:, token]).tolist()
        return shares

    return measure


def _measured(rows: Sequence[Row], measure: Measure, sounds: Sounds, options: Mapping[str, Any]) -> NDArray[np.float64]:
    """The measure of each row, heard as the evaluation heard it."""
    window, values = str(options["window"]), np.zeros(len(rows))
    crops = sampler.crops(rows, window, options["seed"]) if options.get("crop_noise") else {}
    for part, waves in waves_of(rows, sounds, window, TOGETHER, crops):
        values[part] = measure(waves)
    return values


def _chosen(name: str, dev: Sequence[Row], on_dev: NDArray[np.float64], values: NDArray[np.float64]) -> Gate:
    """The detector with the threshold and the direction that tell speech from noise best on dev."""
    noise = np.array([row.noise_label == NOISE for row in dev])
    if noise.all() or not noise.any():
        raise PrepError("dev has speech alone, or noise alone: no threshold can be chosen on it")
    tried = []
    for sign in (1.0, -1.0):
        yes, no = sign * on_dev[~noise], sign * on_dev[noise]
        threshold = metrics.balanced_threshold(yes, no, float(yes.mean() + no.mean()) / 2)
        tried.append(((yes >= threshold).mean() + (no < threshold).mean(), sign, threshold))
    _, sign, threshold = max(tried)
    rule = f"speech {'from' if sign > 0 else 'up to'} {sign * threshold:.6g}"
    return Gate(name, rule, sign * values >= threshold, sign * values)


def _scores(evaluation: Evaluation, found: Sequence[Gate]) -> dict[str, Any]:
    """Scores of each detector with intervals, and the paired difference of the head to it."""
    clips, seed = evaluation.clips, int(evaluation.answer["options"]["seed"])
    truth = ["noise" if clip.truth == NOISE else "speech" for clip in clips]
    groups = [f"{clip.corpus}/{clip.group}" for clip in clips]
    is_noise = np.array([each == "noise" for each in truth])
    counts = {
        gate.name: metrics.confusion(truth, ["speech" if yes else "noise" for yes in gate.speech], ["speech", "noise"])
        for gate in found
    }

    def share(gate: Gate, members: NDArray[np.bool_], name: str) -> dict[str, Any]:
        own = np.flatnonzero(members)
        holds = np.array([[float(not gate.speech[n]), 1.0] for n in own]).reshape(-1, 2)
        return asdict(metrics.share(holds, [groups[n] for n in own], seed, f"{gate.name} {name}"))

    rows = []
    for gate in found:
        row: dict[str, Any] = {"name": gate.name, "rule": gate.rule, "area": area(gate.scores, ~is_noise)}
        balanced = metrics.interval(counts[gate.name], groups, metrics.balanced_accuracy, seed, f"balanced {gate.name}")
        row["balanced_accuracy"] = asdict(balanced)
        row["speech_stopped"] = share(gate, ~is_noise, "speech")
        for name, corpus in (("in_domain", IN_DOMAIN), ("out_of_domain", OUT_OF_DOMAIN)):
            row[name] = share(gate, is_noise & np.array([clip.corpus == corpus for clip in clips]), name)
        both = np.stack([counts[HEAD], counts[gate.name]], axis=1)
        difference: metrics.Statistic = lambda pair: (  # noqa: E731
            metrics.balanced_accuracy(pair[..., 0, :, :]) - metrics.balanced_accuracy(pair[..., 1, :, :])
        )
        row["head_better_by"] = (
            None
            if gate.name == HEAD
            else asdict(metrics.interval(both, groups, difference, seed, f"difference {gate.name}"))
        )
        rows.append(row)
    return {"name": evaluation.name, "clips": len(clips), "noise": int(is_noise.sum()), "detectors": rows}


def area(scores: NDArray[np.float64], speech: NDArray[np.bool_]) -> float | None:
    """How often a clip of speech scores above one of noise, equal ones half: the area under the ROC curve.

    >>> area(np.array([0.1, 0.4, 0.4, 0.9]), np.array([False, False, True, True]))
    0.875
    """
    yes, no = np.sort(scores[speech]), np.sort(scores[~speech])
    if not len(yes) or not len(no):
        return None
    below = np.searchsorted(no, yes, side="left") + np.searchsorted(no, yes, side="right")
    return float(below.sum() / 2 / len(yes) / len(no))


def screen(result: Mapping[str, Any]) -> str:
    """A table of the detectors, and why some are left out."""
    rows = []
    for row in result["detectors"]:
        area_ = "-" if row["area"] is None else f"{row['area']:.3f}"
        shares = [
            report.percent(row[key]) for key in ("balanced_accuracy", "in_domain", "out_of_domain", "speech_stopped")
        ]
        rows.append((row["name"], row["rule"], area_, *shares, signed(row["head_better_by"])))
    head = (
        *("detector", "rule, chosen on dev", "area", "balanced accuracy", "noise stopped, in domain", "out of domain"),
        *("speech stopped", "head better by"),
    )
    lines = [
        f"{result['name']}: {result['clips']:,} clips, {result['noise']:,} of them noise",
        report.text_table(head, rows),
    ]
    lines += [f"left out: {name}: {reason}" for name, reason in result["left_out"].items()]
    return "\n\n".join(lines)
