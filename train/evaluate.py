"""One evaluation: the gate's threshold from dev, the cascade over a split, scores, predictions, figures, a page."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.core import exclusions
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.corpora import lexicon as lexicons
from pipeline.engine.progress import Bar
from train import checkpoint, confusions, data, metrics, report, sampler, scores, thresholds
from train.cascade import Cascade, Cost
from train.classes import cascade_of
from train.classifier import Classifier
from train.data import Manifest, Prediction, Sounds
from train.features import RATE_HZ
from train.folder import locked, write_json
from train.log import LOG
from train.model import Detector
from train.scores import Scorer
from train.system import System, check_given, name_of, system_of
from train.text import NOISE, KeywordMatcher, Rule, check_lexicon
from train.thresholds import Threshold

DEFAULT_PER_HOUR = (1.0, 10.0)


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line; see `evaluate --help`."""

    manifest: Path
    checkpoint: Path | None = None
    model: str | None = None
    split: str = "test"
    out: Path | None = None
    threshold: float | None = None
    lost_speech: float | None = None
    score_threshold: float | None = None
    per_hour: tuple[float, ...] = ()
    gate: bool = True
    curve: bool = True
    tolerance: float = 0.0
    decision: Rule = "text"
    window: str | None = None
    max_tokens: int | None = None
    batch: int = 32
    lexicon: Path | None = None
    seed: int = 0
    audio: bool | None = None
    allow_overlap: bool = False
    write_false_alarms: Path | None = None
    write_exclusions: Path | None = None
    crop_noise: bool | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Chosen:
    """The thresholds of the gate and of the score (None where clips are not scored), and what decides by them.

    dev: the clips of dev as they decide on it; empty where it was not heard.
    """

    gate: Threshold
    score: Threshold | None
    matcher: KeywordMatcher
    dev: list[Prediction]


def evaluate(say: Callable[[str], None], *, as_json: bool, **values: Any) -> str:
    """Evaluates a system on a split, writes the answer to a folder, and returns it as text or as JSON."""
    options = Options(**values)
    check_given(options.checkpoint, options.model)
    folder = (options.checkpoint or Path("runs") / name_of(str(options.model)) / "x").parent
    out = options.out or folder / f"evaluate-{options.split}"
    with locked(out):
        return _evaluate(options, out, as_json, say)


def _evaluate(options: Options, out: Path, as_json: bool, say: Callable[[str], None]) -> str:
    system, manifest = system_of(options), data.read(options.manifest)
    check_lexicon(system.lexicon, manifest.provenance.recipe.get("lexicon"), options.manifest)
    rows = data.rows(manifest, options.split, "there is nothing to judge")
    corpora = system.training.get("noise_corpora", ())  # noise of others chooses no threshold
    dev = [
        row for row in data.rows(manifest, "dev") if row.noise_label != NOISE or not corpora or row.corpus in corpora
    ]
    cautions, measures = _overlaps(rows, dev, system, manifest, options, say), data.measures(manifest, options.split)
    sounds, scorer = Sounds(options.manifest.parent), Scorer(system.lexicon.keywords, options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matcher = KeywordMatcher(system.lexicon, options.tolerance, options.decision)
    has_scores = system.lexicon.spotter is not None and bool(system.lexicon.spotter.scored)
    is_scored = matcher.needs_scores or (options.curve and has_scores and options.decision != "text-exact")
    cascade = cascade_of(
        system.detector,
        system.tokenizer,
        matcher,
        system.window,
        None,
        system.max_tokens,
        device,
        options.curve,
        is_scored,
    )
    chosen = _choose(dev, cascade, sounds, scorer, options, system)
    if options.split == "dev" and (chosen.gate.chosen or (options.curve and dev)):
        cautions.append(
            "the gate's threshold or the operating points were chosen on dev, the very split that is judged"
        )
    if measures:
        known = np.isfinite(list(measures.values())).any(axis=0).sum()
        say(f"measures of {known:,} of {len(rows):,} clips lie beside the manifest: scores by quarters of each")
    score_lines = [f"score   {chosen.score.source}"] if chosen.score else []
    for line in (f"gate    {chosen.gate.source}", *score_lines, *(f"caution {caution}" for caution in cautions)):
        say(line)
    cascade = replace(cascade, threshold=chosen.gate.value, matcher=chosen.matcher)
    cascade.run([np.zeros(RATE_HZ, np.float32)], ["silence"])  # the first call of anything is slow, and is not counted
    cascade.cost = Cost()
    clips = _predictions(rows, cascade, sounds, options, system.crops(options.crop_noise))

    origin = _origin(manifest, system, options, chosen)
    answer = origin | {"cautions": cautions} | scores.report(clips, scorer, measures)
    cautions += report.one_sided(answer["four_class"])
    answer |= {"false_alarms": confusions.report(clips, scorer, system.lexicon)}
    answer |= _curves(clips, scorer, chosen, options)
    if options.tolerance:
        answer["exact_matching"] = _exact_matching(clips, scorer, replace(chosen.matcher, tolerance=0.0))
    answer["cost"] = _cost(cascade)
    answer["kept_back"] = report.kept_back(data.frame_of(manifest, options.split))
    _keep(chosen, manifest, system, options, say)
    (out / data.METRICS).unlink(missing_ok=True)  # it is written last: where it is, the rest belongs to it
    data.write_predictions(out / data.PREDICTIONS, clips, origin)
    report.write_figures(out / "figures", answer)
    try:
        log = options.checkpoint and options.checkpoint.parent / LOG
        report.write_page(out, answer, clips, manifest, options.audio, log)
    except PrepError as error:  # a font that is not installed, for one: the numbers are there all the same
        say(f"caution the page could not be written: {error}")
    write_json(out / data.METRICS, answer)
    say(f"-> {out}")
    if options.write_false_alarms is not None:
        say(confusions.write(options.write_false_alarms, clips, scorer, system.lexicon))
    return json.dumps(answer, ensure_ascii=False, allow_nan=False) if as_json else report.screen(answer)


def _overlaps(
    rows: Sequence[Row],
    dev: Sequence[Row],
    system: System,
    manifest: Manifest,
    options: Options,
    say: Callable[[str], None],
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
    if options.write_exclusions is not None:
        say(exclusions.write(options.write_exclusions, {row.speech_id or row.id: "trained on" for row in learnt}))
    if learnt:
        fault = (
            f"{len(learnt):,} of {len(rows):,} clips of the split {options.split} hold recordings that the checkpoint"
            " was trained on"
        )
        if not options.allow_overlap:
            raise PrepError(
                f"{manifest.path}: {fault} ({learnt[0].id} for one): scores would say nothing of new recordings;"
                " take another split or manifest,"
                " write them with --write-exclusions for prep filter --exclude,"
                " or give --allow-overlap to judge them all the same"
            )
        cautions.append(fault)
    if chosen_by:
        cautions.append(f"{len(chosen_by):,} of {len(rows):,} clips are of the dev split that chose the checkpoint")
    if learnt_dev and options.threshold is None:
        cautions.append(f"{len(learnt_dev):,} of {len(dev):,} clips of dev, which chose the threshold, were trained on")
    if outside := {
        split: count for split, counts in system.noise.items() if (count := counts.get(scores.OUT_OF_DOMAIN))
    }:
        where = ", ".join(f"{split} {count:,}" for split, count in outside.items())
        cautions.append(
            f"{scores.OUT_OF_DOMAIN}, called out of domain, is in the noise of the training ({where} clips)"
        )
    return cautions


def _predictions(
    rows: Sequence[Row], cascade: Cascade, sounds: Sounds, options: Options, crop: bool
) -> list[Prediction]:
    """The prediction for each row, in the order of the rows. crop: noise clips are as long as utterances."""
    crops = sampler.crops(rows, cascade.window, options.seed) if crop else {}
    each = cascade.predictions(rows, sounds, options.batch, crops)
    by_id = {clip.id: clip for clip in Bar("evaluate", len(rows), each)}
    return [by_id[row.id] for row in rows]


def _choose(
    rows: Sequence[Row], cascade: Cascade, sounds: Sounds, scorer: Scorer, options: Options, system: System
) -> Chosen:
    """The thresholds: those given, else chosen on the rows of dev, else kept in the checkpoint.

    PrepError where decisions need a threshold of the score and there is none.
    """
    crop = system.crops(options.crop_noise)
    if isinstance(system.detector, Classifier):
        clips = _predictions(rows, cascade, sounds, options, crop) if rows and options.curve else []
        return Chosen(thresholds.of_classifier(options.threshold), None, cascade.matcher, clips)
    has_head = system.detector.head is not None
    gate = thresholds.gate_before(options.threshold, system.kept, has_head=has_head, wanted=options.gate)
    score = thresholds.score_before(options.score_threshold, system.kept) if cascade.scored else None
    choosing = gate.open or (score is not None and score.open)
    if options.lost_speech is not None and not (gate.open and rows):
        raise PrepError(
            "--lost-speech chooses the gate's threshold on dev: it needs a dev split, a head, no --threshold"
        )
    clips = _predictions(rows, cascade, sounds, options, crop) if rows and (choosing or options.curve) else []
    if clips and gate.open:
        on_dev = thresholds.gate(clips, options.lost_speech)
        gate = gate if not on_dev.chosen and system.kept.get("gate") is not None else on_dev
    clips = [replace(clip, passed=thresholds.passes(clip, gate.value)) for clip in clips]
    if clips and score is not None and score.open:
        on_dev = thresholds.score(clips, scorer, options.per_hour or DEFAULT_PER_HOUR)
        score = score if on_dev.value is None and score.value is not None else on_dev
    matcher = thresholds.decides(cascade.matcher, score)
    return Chosen(gate, score, matcher, [_decided(clip, matcher) for clip in clips])


def _decided(clip: Prediction, matcher: KeywordMatcher) -> Prediction:
    """The clip with the decisions of a matcher."""
    values = dict(zip(matcher.calls, clip.scores, strict=False))
    ungated = matcher.decision(clip.ungated_text, values) if clip.ungated_decision is not None else None
    return replace(clip, decision=matcher.decision(clip.text, values), ungated_decision=ungated)


def _keep(chosen: Chosen, manifest: Manifest, system: System, options: Options, say: Callable[[str], None]) -> None:
    """Keeps the thresholds that dev chose in the checkpoint, where it ran as it was trained and had not learnt dev."""
    as_trained = options.lexicon is None and options.window is None and options.max_tokens is None
    picked = {"gate": chosen.gate, "score": chosen.score}
    new = {name: each for name, each in picked.items() if each is not None and each.chosen}
    learnt = system.recordings is None or data.overlap(data.rows(manifest, "dev"), system.recordings["train"])
    if options.checkpoint is None or not new or not as_trained or learnt:
        return
    values = {**system.kept, **{name: each.value for name, each in new.items()}, "manifest": manifest.path.name}
    sources = {**system.kept.get("sources", {}), **{name: each.source for name, each in new.items()}}
    try:
        checkpoint.keep(options.checkpoint, values | {"sources": sources})
    except OSError as error:
        say(f"caution the thresholds could not be kept in {options.checkpoint} ({error}): give them to detect by hand")
    else:
        say(f"kept    thresholds in {options.checkpoint}: {', '.join(new)}; detect and evaluate without dev use them")


def _origin(manifest: Manifest, system: System, options: Options, chosen: Chosen) -> dict[str, Any]:
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
            "crop_noise": system.crops(options.crop_noise),
            "seed": options.seed,
        },
        "gate": {"threshold": chosen.gate.value, "source": chosen.gate.source, "dev": chosen.gate.dev},
        "code": checkpoint.code_version(),
        "versions": checkpoint.versions(),
    }


def _curves(clips: Sequence[Prediction], scorer: Scorer, chosen: Chosen, options: Options) -> dict[str, Any]:
    """The trade-offs of this split by the gate and by the score, and what points that dev chose cost on it."""
    rates, hours = options.per_hour or DEFAULT_PER_HOUR, scores.negative_hours(clips, scorer)
    score = None
    if chosen.score is not None:
        score = {"threshold": chosen.score.value, "source": chosen.score.source, "dev": chosen.score.dev}
        score |= {"curve": None, "operating_points": []}
    if not options.curve:
        return {"curve": None, "operating_points": [], "score": score}
    points = scores.trade_off(clips, scorer)
    curve = {"score": "p_speech" if clips[0].p_speech is not None else "confidence"}
    if clips[0].is_classified:
        curve = {"score": "probability of the calls"}
    answer = {"curve": curve | {"points": [asdict(point) for point in points]}, "operating_points": [], "score": score}
    if score is not None:
        score["curve"] = scores.detection(clips, scorer)
    if chosen.dev:
        both = scores.trade_off(chosen.dev, scorer), points
        answer["operating_points"] = thresholds.operating_points(chosen.dev, both, hours, scorer, rates)
        if score is not None:
            both = tuple(
                metrics.curve(*scores.loudness(each, scorer), scores.negative_hours(each, scorer))
                for each in (chosen.dev, clips)
            )
            score["operating_points"] = thresholds.operating_points(chosen.dev, both, hours, scorer, rates)
    return answer


def _exact_matching(clips: Sequence[Prediction], scorer: Scorer, matcher: KeywordMatcher) -> dict[str, Any]:
    """The scores of exact matching, beside those of tolerant matching."""
    exact = [_decided(clip, matcher) for clip in clips]
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
    spent = cost.encode_s + cost.decode_s + (cost.score_s if cascade.matcher.needs_scores else 0.0)
    on_gpu = cascade.device.type == "cuda"
    decodes = isinstance(detector, Detector)
    is_known = decodes and (cascade.ungated or cost.decoded == cost.clips)
    without_gate = (spent + cost.spared_s) / cost.seconds if is_known else None
    return {
        "device": torch.cuda.get_device_name() if on_gpu else f"CPU, {torch.get_num_threads()} threads",
        "parameters": sum(parameter.numel() for parameter in detector.parameters()),
        "parameters_added": detector.added_parameters(),
        "clips": cost.clips,
        "decoded": cost.decoded,
        "decoder_skipped": 1 - cost.decoded / cost.clips if decodes else None,
        "encode_s": cost.encode_s,
        "decode_s": cost.decode_s,
        "score_s": cost.score_s,
        "real_time_factor": spent / cost.seconds,
        "real_time_factor_without_gate": without_gate,
    }
