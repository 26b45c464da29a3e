"""One evaluation: the gate's threshold from dev, the cascade over a split, scores, predictions, figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pipeline.core.errors import PrepError
from pipeline.core.files import replacing
from pipeline.core.row import Row
from pipeline.corpora.lexicon import Lexicon
from train import checkpoint, data, figures, keywords, metrics, report, scores, tables
from train.cascade import Cascade, Cost, Judged
from train.data import Held, Sounds
from train.features import RATE_HZ
from train.keywords import NOISE, Finder
from train.model import Detector, whisper_of
from train.scores import Judge
from train.text import Texts

PREDICTIONS, METRICS = "predictions.parquet", "metrics.json"
DEFAULT_THRESHOLD = 0.5
DEFAULT_PER_HOUR = (1.0, 10.0)
DEFAULT_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; see `evaluate --help`."""

    manifest: Path
    checkpoint: Path | None
    model: str | None
    split: str
    out: Path | None
    threshold: float | None
    per_hour: tuple[float, ...]
    gate: bool
    curve: bool
    tolerance: float
    window: str | None
    max_tokens: int | None
    batch: int
    lexicon: Path | None
    seed: int
    audio: bool | None


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """Who is judged: a checkpoint, or a Whisper as it comes."""

    name: str
    detector: Detector
    texts: Texts
    lexicon: Lexicon
    window: str
    max_tokens: int
    made: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """The gate's threshold, where it comes from, and what dev says of it; operating points: dev's threshold for each rate asked."""

    threshold: float | None
    source: str
    dev: dict[str, Any] | None
    operating: dict[float, float]


def evaluate(say: Callable[[str], None], *, as_json: bool, **told: Any) -> str:
    """Judges, writes the answer, and gives it as text."""
    asked = Asked(**told)
    subject, held = _subject(asked), data.opened(asked.manifest)
    keywords.check(subject.lexicon, held.recipe.get("lexicon"), asked.manifest)
    rows = _rows(held, asked.split)
    out = asked.out or _out(asked)
    sounds, judge = Sounds(asked.manifest.parent), Judge(subject.lexicon.keywords, asked.seed)
    cascade = _cascade(subject, asked)
    gate = _gate(held, cascade, sounds, judge, asked)
    say(f"gate    {gate.source}")
    cascade = replace(cascade, threshold=gate.threshold, ungated=asked.curve, cost=Cost())
    _warm(cascade)
    clips = _judged(rows, cascade, sounds, asked)
    made = _made(held, subject, asked, gate)
    told_all = (
        made
        | scores.report(clips, judge)
        | _thresholds(clips, judge, gate, asked)
        | _keywords(clips, judge, subject, asked)
    )
    told_all |= {"cost": _cost(cascade, subject)}
    _write(out, clips, told_all, made)
    report.write(out / report.PAGE, report.page(told_all, clips, held, asked.audio))
    say(f"-> {out}")
    return json.dumps(told_all, ensure_ascii=False) if as_json else tables.screen(told_all)


def _subject(asked: Asked) -> Subject:
    """Who is judged. PrepError unless exactly one of checkpoint and model is named."""
    if (asked.checkpoint is None) == (asked.model is None):
        raise PrepError(
            "who is to be judged? give --checkpoint runs/NAME/best, or --model openai/whisper-tiny for one without a head"
        )
    if asked.checkpoint is not None:
        held = checkpoint.read(asked.checkpoint)
        words = held.lexicon if asked.lexicon is None else keywords.read(asked.lexicon)
        window, tokens = asked.window or held.made.window, asked.max_tokens or int(held.made.options["max_tokens"])
        made = {"weights_hash": held.made.weights_hash, "step": held.made.step, "trained_on": held.made.manifest_hash}
        task = str(held.made.options["task"])
        return Subject(
            f"{asked.checkpoint.resolve().parent.name} ({task})", held.detector, held.texts, words, window, tokens, made
        )
    whisper, texts = whisper_of(str(asked.model), "pretrained", 0)
    detector = Detector(whisper, ())
    made = {"weights_hash": checkpoint.weights_hash(detector), "step": 0, "trained_on": None}
    name = Path(str(asked.model)).name
    return Subject(
        name,
        detector,
        texts,
        keywords.read(asked.lexicon),
        asked.window or "30",
        asked.max_tokens or DEFAULT_TOKENS,
        made,
    )


def _rows(held: Held, split: str) -> list[Row]:
    rows = held.rows(split)
    if not rows:
        codes, names = held.table.codes("split")
        there = ", ".join(
            f"{name} {int((codes == n).sum())}" for n, name in sorted(enumerate(names), key=lambda item: str(item[1]))
        )
        raise PrepError(
            f"{held.path}: no rows in the split {split} (rows by split: {there or 'none'}): there is nothing to judge"
        )
    return rows


def _out(asked: Asked) -> Path:
    if asked.checkpoint is not None:
        return asked.checkpoint.parent / f"evaluate-{asked.split}"
    return Path("runs") / Path(str(asked.model)).name / f"evaluate-{asked.split}"


def _cascade(subject: Subject, asked: Asked) -> Cascade:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finder = Finder(subject.lexicon, asked.tolerance)
    return Cascade(subject.detector, subject.texts, finder, subject.window, None, subject.max_tokens, device)


def _judged(rows: Sequence[Row], cascade: Cascade, sounds: Sounds, asked: Asked) -> list[Judged]:
    """Every row's fate, in the rows' order."""
    bar = tqdm(
        cascade.judged(rows, sounds, asked.batch),
        total=len(rows),
        unit=" clips",
        disable=None,
        leave=False,
        dynamic_ncols=True,
    )
    found = {clip.id: clip for clip in bar}
    return [found[row.id] for row in rows]


def _warm(cascade: Cascade) -> None:
    """One clip of silence through all of it, not counted: the first call of anything is slow."""
    cascade.heard([np.zeros(RATE_HZ, np.float32)])
    cascade.cost = Cost()


def _gate(held: Held, cascade: Cascade, sounds: Sounds, judge: Judge, asked: Asked) -> Gate:
    """The gate: as told, or chosen on dev; off for a model without a head."""
    has_head, dev = cascade.detector.head is not None, held.rows("dev")
    choosing = has_head and asked.gate and asked.threshold is None
    if not dev or not (choosing or asked.curve):
        return _fixed(has_head, asked, "no dev split to choose one on", {})
    clips = _judged(dev, replace(cascade, ungated=asked.curve, cost=Cost()), sounds, asked)
    operating = _operating(clips, judge, asked) if asked.curve else {}
    speech = [clip.p_speech for clip in clips if clip.truth != NOISE and clip.p_speech is not None]
    noise = [clip.p_speech for clip in clips if clip.truth == NOISE and clip.p_speech is not None]
    if not choosing or not speech or not noise:
        return _fixed(
            has_head,
            asked,
            f"dev has {len(speech)} clips of speech and {len(noise)} of noise, both are needed to choose one",
            operating,
        )
    threshold = metrics.balanced_threshold(speech, noise)
    passed = sum(share >= threshold for share in speech) / len(speech)
    stopped = sum(share < threshold for share in noise) / len(noise)
    told = {"speech_clips": len(speech), "noise_clips": len(noise), "speech_passed": passed, "noise_stopped": stopped}
    source = f"threshold {threshold:.4f}, chosen on dev ({len(dev)} clips; {passed:.1%} of speech pass, {stopped:.1%} of noise are stopped)"
    return Gate(threshold, source, told | {"by": "largest mean of speech passed and noise stopped"}, operating)


def _fixed(has_head: bool, asked: Asked, reason: str, operating: dict[float, float]) -> Gate:
    if not has_head:
        return Gate(None, "none: the model has no noise head; every clip is decoded", None, operating)
    if not asked.gate:
        return Gate(None, "off (--no-gate); every clip is decoded", None, operating)
    if asked.threshold is not None:
        return Gate(asked.threshold, f"threshold {asked.threshold:g}, given", None, operating)
    return Gate(DEFAULT_THRESHOLD, f"threshold {DEFAULT_THRESHOLD:g}, for {reason}", None, operating)


def _operating(clips: Sequence[Judged], judge: Judge, asked: Asked) -> dict[float, float]:
    """For each rate of false alarms per hour, the lowest threshold that keeps to it on dev; none where dev has no negatives."""
    points = scores.trade_off(clips, judge)
    if points[-1].per_hour is None:
        return {}
    return {rate: metrics.lowest_threshold(points, rate) for rate in asked.per_hour or DEFAULT_PER_HOUR}


def _made(held: Held, subject: Subject, asked: Asked, gate: Gate) -> dict[str, Any]:
    """What the answer depends on."""
    return {
        "name": subject.name,
        "manifest": held.path.name,
        "manifest_hash": held.identity,
        "split": asked.split,
        "checkpoint": subject.made,
        "lexicon_hash": keywords.identity(subject.lexicon),
        "keywords": subject.lexicon.keywords,
        "options": {
            "window": subject.window,
            "max_tokens": subject.max_tokens,
            "tolerance": asked.tolerance,
            "seed": asked.seed,
        },
        "gate": {"threshold": gate.threshold, "source": gate.source, "dev": gate.dev},
        "code": checkpoint.code_version(),
        "versions": checkpoint.versions(),
    }


def _thresholds(clips: Sequence[Judged], judge: Judge, gate: Gate, asked: Asked) -> dict[str, Any]:
    """The trade-off curve of this split, and what the operating points chosen on dev come to on it."""
    if not asked.curve:
        return {"curve": None, "operating_points": []}
    points = scores.trade_off(clips, judge)
    chosen = []
    for rate, threshold in sorted(gate.operating.items()):
        found = next(point for point in points if point.threshold >= threshold)
        hours = found.false_alarms / found.per_hour if found.per_hour else None
        bound = metrics.poisson_upper(found.false_alarms) / hours if hours else None
        chosen.append({"dev_per_hour": rate, **asdict(replace(found, threshold=threshold)), "per_hour_upper_95": bound})
    score = "p_speech" if clips[0].p_speech is not None else "confidence"
    return {"curve": {"score": score, "points": [asdict(point) for point in points]}, "operating_points": chosen}


def _keywords(clips: Sequence[Judged], judge: Judge, subject: Subject, asked: Asked) -> dict[str, Any]:
    """What tolerant matching changed; nothing where matching was exact."""
    if not asked.tolerance:
        return {}
    exact = Finder(subject.lexicon)
    strict = [replace(clip, decision=exact.decision(clip.text)) for clip in clips]
    changed = sum(now.decision != then.decision for now, then in zip(clips, strict, strict=True))
    known = [clip for clip in strict if clip.truth is not None]
    speech = [clip for clip in known if clip.truth != NOISE]
    told = {
        "three_class": scores.classes(speech, judge, judge.keywords, "exact"),
        "alarms": scores.alarms(known, judge, "exact alarms"),
    }
    return {"exact_matching": {"decisions_changed_by_tolerance": changed, **told}}


def _cost(cascade: Cascade, subject: Subject) -> dict[str, Any]:
    """Time and counts of the split judged. real-time factor: seconds of computing a second of audio, reading excluded."""
    cost = cascade.cost
    spent = cost.encode_s + cost.decode_s
    return {
        "device": torch.cuda.get_device_name()
        if cascade.device.type == "cuda"
        else f"CPU, {torch.get_num_threads()} threads",
        "parameters": sum(parameter.numel() for parameter in subject.detector.parameters()),
        "parameters_added": subject.detector.added_parameters(),
        "clips": cost.clips,
        "decoded": cost.decoded,
        "decoder_skipped": 1 - cost.decoded / cost.clips,
        "encode_s": cost.encode_s,
        "decode_s": cost.decode_s,
        "real_time_factor": spent / cost.seconds,
        "real_time_factor_without_gate": (spent + cost.spared_s) / cost.seconds
        if cascade.ungated or cost.decoded == cost.clips
        else None,
    }


def _write(out: Path, clips: Sequence[Judged], told: dict[str, Any], made: dict[str, Any]) -> None:
    data.write(out / PREDICTIONS, clips, Judged, made)
    for name, figure in figures.drawn(told):
        path = out / "figures" / f"{name}.png"
        with replacing(path) as half:
            figures.save(figure, half)
    checkpoint.write_json(out / METRICS, told)  # last: where it is, the rest is
