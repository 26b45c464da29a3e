"""One evaluation: the gate's threshold from dev, the cascade over a split, scores, predictions, figures, a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Lexicon
from train import checkpoint, data, metrics, report, scores
from train.cascade import Cascade, Cost
from train.data import Manifest, Prediction, Recordings, Sounds
from train.features import RATE_HZ
from train.folder import locked, write_json
from train.model import Detector
from train.pretrained import check_tokens, load_whisper
from train.scores import Scorer
from train.text import NOISE, KeywordMatcher, Rule, Tokenizer, check_lexicon, read_lexicon

DEFAULT_THRESHOLD = 0.5
DEFAULT_PER_HOUR = (1.0, 10.0)
DEFAULT_TOKENS = 48


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line; see `evaluate --help`."""

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
    decision: Rule
    window: str | None
    max_tokens: int | None
    batch: int
    lexicon: Path | None
    seed: int
    audio: bool | None
    allow_overlap: bool


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """What is evaluated: a checkpoint of `train`, or a Whisper without a head. origin: which weights it has."""

    name: str
    detector: Detector
    tokenizer: Tokenizer
    lexicon: Lexicon
    window: str
    max_tokens: int
    origin: dict[str, Any]
    recordings: Recordings | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """The threshold of the gate and how it was chosen.

    source: a sentence on the choice. dev: what the threshold does on dev. operating: for each rate of false alarms per
    hour the threshold that keeps to it on dev.
    """

    threshold: float | None
    source: str
    dev: dict[str, Any] | None = None
    operating: dict[float, float] = field(default_factory=dict)


def evaluate(say: Callable[[str], None], *, as_json: bool, **values: Any) -> str:
    """Evaluates a system on a split, writes the answer to a folder, and returns it as text or as JSON."""
    options = Options(**values)
    if (options.checkpoint is None) == (options.model is None):
        raise PrepError(
            "who is to be judged? give --checkpoint runs/NAME/best,"
            " or --model openai/whisper-tiny for one without a head"
        )
    folder = (options.checkpoint or Path("runs") / _name_of(str(options.model)) / "x").parent
    out = options.out or folder / f"evaluate-{options.split}"
    with locked(out):
        return _evaluate(options, out, as_json, say)


def _evaluate(options: Options, out: Path, as_json: bool, say: Callable[[str], None]) -> str:
    system, manifest = system_of(options), data.read(options.manifest)
    check_lexicon(system.lexicon, manifest.provenance.recipe.get("lexicon"), options.manifest)
    rows, dev = data.rows(manifest, options.split, "there is nothing to judge"), data.rows(manifest, "dev")
    cautions, measures = _overlaps(rows, dev, system, manifest, options), data.measures(manifest, options.split)
    sounds, scorer = Sounds(options.manifest.parent), Scorer(system.lexicon.keywords, options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matcher = KeywordMatcher(system.lexicon, options.tolerance, options.decision)
    cascade = Cascade(
        system.detector, system.tokenizer, matcher, system.window, None, system.max_tokens, device, options.curve
    )
    gate = _gate(dev, cascade, sounds, scorer, options)
    if options.split == "dev" and (gate.dev or gate.operating):
        cautions.append(
            "the gate's threshold or the operating points were chosen on dev, the very split that is judged"
        )
    if measures:
        known = np.isfinite(list(measures.values())).any(axis=0).sum()
        say(f"measures of {known:,} of {len(rows):,} clips lie beside the manifest: scores by quarters of each")
    for line in (f"gate    {gate.source}", *(f"caution {caution}" for caution in cautions)):
        say(line)
    cascade = replace(cascade, threshold=gate.threshold)
    cascade.run([np.zeros(RATE_HZ, np.float32)], ["silence"])  # the first call of anything is slow, and is not counted
    cascade.cost = Cost()
    clips = _predictions(rows, cascade, sounds, options.batch)

    origin = _origin(manifest, system, options, gate)
    answer = origin | {"cautions": cautions} | scores.report(clips, scorer, measures)
    answer |= _thresholds(clips, scorer, gate, options)
    if options.tolerance:
        answer["exact_matching"] = _exact_matching(clips, scorer, replace(matcher, tolerance=0.0))
    answer["cost"] = _cost(cascade)
    (out / data.METRICS).unlink(missing_ok=True)  # it is written last: where it is, the rest belongs to it
    data.write_predictions(out / data.PREDICTIONS, clips, origin)
    report.write_figures(out / "figures", answer)
    report.write_page(out, answer, clips, manifest, options.audio)
    write_json(out / data.METRICS, answer)
    say(f"-> {out}")
    return json.dumps(answer, ensure_ascii=False, allow_nan=False) if as_json else report.screen(answer)


def _name_of(model: str) -> str:
    return Path(model).resolve().name if Path(model).is_dir() else Path(model).name


def _overlaps(
    rows: Sequence[Row], dev: Sequence[Row], system: System, manifest: Manifest, options: Options
) -> list[str]:
    """Cautions on clips that the checkpoint learnt from or was chosen by.

    PrepError where the split that is judged holds recordings of its training, unless --allow-overlap is given.
    """
    cautions = []
    learnt, learnt_dev, chosen_by = [], [], []
    if system.recordings is not None:
        learnt, learnt_dev = (data.overlap(each, system.recordings["train"]) for each in (rows, dev))
        chosen_by = data.overlap(rows, system.recordings["dev"])
    elif system.origin["trained_on"] == manifest.provenance.logical_hash:
        learnt = list(rows) if options.split == "train" else []
    elif options.checkpoint is not None:
        cautions.append("the checkpoint does not say which recordings it was trained on: these may be among them")
    if learnt:
        fault = (
            f"{len(learnt):,} of {len(rows):,} clips of the split {options.split} hold recordings that the checkpoint"
            f" was trained on ({learnt[0].id} for one)"
        )
        if not options.allow_overlap:
            raise PrepError(
                f"{manifest.path}: {fault}: scores would say nothing of new recordings; take another split or manifest,"
                " or give --allow-overlap to judge them all the same"
            )
        cautions.append(fault)
    if chosen_by:
        cautions.append(f"{len(chosen_by):,} of {len(rows):,} clips are of the dev split that chose the checkpoint")
    if learnt_dev and options.threshold is None:
        cautions.append(f"{len(learnt_dev):,} of {len(dev):,} clips of dev, which chose the threshold, were trained on")
    return cautions


def system_of(options: Options) -> System:
    """The system to evaluate. PrepError where it cannot be read."""
    if options.checkpoint is None:
        name = str(options.model)
        whisper, tokenizer = load_whisper(name, "pretrained", 0)
        detector, lexicon = Detector(whisper, ()), read_lexicon(options.lexicon)
        origin = {"weights_hash": checkpoint.weights_hash(detector), "step": 0, "trained_on": None}
        window, max_tokens = options.window or "30", options.max_tokens or DEFAULT_TOKENS
        check_tokens(name, whisper, max_tokens)
        recordings = checkpoint.read_recordings(Path(name))  # the folder may be one of ours
        return System(_name_of(name), detector, tokenizer, lexicon, window, max_tokens, origin, recordings)
    trained = checkpoint.read(options.checkpoint)
    metadata = trained.metadata
    lexicon = trained.lexicon if options.lexicon is None else read_lexicon(options.lexicon)
    window, max_tokens = options.window or metadata.window, options.max_tokens or int(metadata.options["max_tokens"])
    check_tokens(str(options.checkpoint), trained.detector.whisper, max_tokens)
    origin = {"weights_hash": metadata.weights_hash, "step": metadata.step, "trained_on": metadata.manifest_hash}
    name = f"{options.checkpoint.resolve().parent.name} ({metadata.options['task']})"
    return System(name, trained.detector, trained.tokenizer, lexicon, window, max_tokens, origin, trained.recordings)


def _predictions(rows: Sequence[Row], cascade: Cascade, sounds: Sounds, batch: int) -> list[Prediction]:
    """The prediction for each row, in the order of the rows."""
    each = cascade.predictions(rows, sounds, batch)
    bar = tqdm(each, total=len(rows), unit=" clips", disable=None, leave=False, dynamic_ncols=True)
    by_id = {clip.id: clip for clip in bar}
    return [by_id[row.id] for row in rows]


def _gate(dev: Sequence[Row], cascade: Cascade, sounds: Sounds, scorer: Scorer, options: Options) -> Gate:
    """The gate: with the threshold that is given, or one chosen on dev; off for a model without a head."""
    if cascade.detector.head is None:
        fixed = Gate(None, "none: the model has no noise head; every clip is decoded")
    elif not options.gate:
        fixed = Gate(None, "off (--no-gate); every clip is decoded")
    elif options.threshold is not None:
        fixed = Gate(options.threshold, f"threshold {options.threshold:g}, given")
    else:
        fixed = Gate(DEFAULT_THRESHOLD, f"threshold {DEFAULT_THRESHOLD:g}, for no dev split to choose one on")
    choosing = fixed.threshold is not None and options.threshold is None
    if not dev or not (choosing or options.curve):
        return fixed

    clips = _predictions(dev, cascade, sounds, options.batch)
    operating: dict[float, float] = {}
    points = scores.trade_off(clips, scorer) if options.curve else []
    if points and points[-1].per_hour is not None:  # None: dev has no negatives
        rates = options.per_hour or DEFAULT_PER_HOUR
        operating = {rate: metrics.lowest_threshold(points, rate) for rate in rates}
    if not choosing:
        return replace(fixed, operating=operating)
    speech = [clip.p_speech for clip in clips if clip.truth != NOISE and clip.p_speech is not None]
    noise = [clip.p_speech for clip in clips if clip.truth == NOISE and clip.p_speech is not None]
    if not speech or not noise:
        reason = f"dev has {len(speech)} clips of speech and {len(noise)} of noise, both are needed to choose one"
        return Gate(DEFAULT_THRESHOLD, f"threshold {DEFAULT_THRESHOLD:g}, for {reason}", None, operating)
    threshold = metrics.balanced_threshold(speech, noise)
    passed = sum(share >= threshold for share in speech) / len(speech)
    stopped = sum(share < threshold for share in noise) / len(noise)
    source = (
        f"threshold {threshold:.4f}, chosen on dev ({len(dev)} clips; {passed:.1%} of speech pass,"
        f" {stopped:.1%} of noise are stopped)"
    )
    counts = {"speech_clips": len(speech), "noise_clips": len(noise), "speech_passed": passed, "noise_stopped": stopped}
    return Gate(threshold, source, counts | {"by": "largest mean of speech passed and noise stopped"}, operating)


def _origin(manifest: Manifest, system: System, options: Options, gate: Gate) -> dict[str, Any]:
    """What the answer depends on."""
    return {
        "name": system.name,
        "manifest": manifest.path.name,
        "manifest_hash": manifest.provenance.logical_hash,
        "split": options.split,
        "checkpoint": system.origin,
        "lexicon_hash": lexicons.identity(system.lexicon),
        "phrases_hash": lexicons.identity_of_phrases(system.lexicon),
        "keywords": system.lexicon.keywords,
        "options": {
            "window": system.window,
            "max_tokens": system.max_tokens,
            "tolerance": options.tolerance,
            "decision": options.decision,
            "seed": options.seed,
        },
        "gate": {"threshold": gate.threshold, "source": gate.source, "dev": gate.dev},
        "code": checkpoint.code_version(),
        "versions": checkpoint.versions(),
    }


def _thresholds(clips: Sequence[Prediction], scorer: Scorer, gate: Gate, options: Options) -> dict[str, Any]:
    """The trade-off curve of this split, and what the operating points that were chosen on dev cost on it."""
    if not options.curve:
        return {"curve": None, "operating_points": []}
    points = scores.trade_off(clips, scorer)
    operating_points = []
    for rate, threshold in sorted(gate.operating.items()):
        here = next(point for point in points if point.threshold >= threshold)
        hours = here.false_alarms / here.per_hour if here.per_hour else None
        bound = metrics.poisson_upper(here.false_alarms) / hours if hours else None
        costs = asdict(replace(here, threshold=threshold))
        operating_points.append({"dev_per_hour": rate, **costs, "per_hour_upper_95": bound})
    score = "p_speech" if clips[0].p_speech is not None else "confidence"
    return {
        "curve": {"score": score, "points": [asdict(point) for point in points]},
        "operating_points": operating_points,
    }


def _exact_matching(clips: Sequence[Prediction], scorer: Scorer, matcher: KeywordMatcher) -> dict[str, Any]:
    """The scores of exact matching, beside those of tolerant matching."""
    exact = [replace(clip, decision=matcher.decision(clip.text)) for clip in clips]
    labelled = [clip for clip in exact if clip.truth is not None]
    speech = [clip for clip in labelled if clip.truth != NOISE]
    return {
        "decisions_changed_by_tolerance": sum(
            one.decision != other.decision for one, other in zip(clips, exact, strict=True)
        ),
        "three_class": scores.classes(speech, scorer, scorer.keywords, "exact"),
        "alarms": scores.alarms(labelled, scorer, "exact alarms"),
    }


def _cost(cascade: Cascade) -> dict[str, Any]:
    """Time and counts of the split. real_time_factor: seconds of computing for a second of audio, without reading."""
    cost, detector = cascade.cost, cascade.detector
    spent = cost.encode_s + cost.decode_s
    on_gpu = cascade.device.type == "cuda"
    without_gate = (spent + cost.spared_s) / cost.seconds if cascade.ungated or cost.decoded == cost.clips else None
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "parameters": sum(parameter.numel() for parameter in detector.parameters()),
        "parameters_added": detector.added_parameters(),
        "clips": cost.clips,
        "decoded": cost.decoded,
        "decoder_skipped": 1 - cost.decoded / cost.clips,
        "encode_s": cost.encode_s,
        "decode_s": cost.decode_s,
        "real_time_factor": spent / cost.seconds,
        "real_time_factor_without_gate": without_gate,
    }
