"""A classifier where the cascade stands: its likeliest class is the decision; it has no gate and no text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from train import speech_nets
from train.cascade import Cascade, Output, check_number, padded
from train.classifier import Classifier
from train.data import Prediction
from train.features import RATE_HZ
from train.text import NOISE


@dataclass(slots=True, eq=False)
class Classes(Cascade):
    """A classifier on batches of clips.

    threshold: the least probability of a call, all keywords that raise an alarm together, that is a call; None takes
    the likeliest class.
    """

    def __post_init__(self) -> None:
        self.detector.to(self.device).eval()

    def run(self, waves: Sequence[NDArray[np.float32]], names: Sequence[str]) -> list[Output]:
        """The output for each clip. waves: float32 [frames], none longer than the window, all of one window."""
        began = self._now()
        samples, sizes = padded(waves, self.window)
        with torch.inference_mode(), self._precision():
            logits = self.detector.logits(samples.to(self.device), sizes.to(self.device))
        probabilities = logits.double().softmax(dim=-1).tolist()
        seconds = self._now() - began
        self.cost.clips += len(waves)
        self.cost.seconds += sum(len(wave) for wave in waves) / RATE_HZ
        self.cost.encode_s += seconds
        for name, each in zip(names, probabilities, strict=True):
            check_number(name, "the probability of a class", each[0])
        return [self._output(each, seconds / len(waves)) for each in probabilities]

    def of_means(self, rows: Sequence[Row], means: NDArray[np.float32]) -> list[Prediction]:
        """The prediction for each row. means: of the layers of a frozen encoder, float32 [rows, layers, width]."""
        with torch.inference_mode(), self._precision():
            logits = speech_nets.logits(self.detector.net, torch.from_numpy(means).to(self.device))
        probabilities = logits.double().softmax(dim=-1).tolist()
        return [self._prediction(row, self._output(each, 0.0)) for row, each in zip(rows, probabilities, strict=True)]

    def _output(self, probabilities: Sequence[float], seconds: float) -> Output:
        classes, calls = self.detector.classes, len(self.matcher.calls)
        allowed = range(len(classes))
        if self.threshold is not None:
            is_call = sum(probabilities[:calls]) >= self.threshold
            allowed = range(calls) if is_call else range(calls, len(classes))
        keyword = classes[max(allowed, key=lambda n: probabilities[n])]
        return Output(
            p_speech=1 - probabilities[-1] if classes[-1] == NOISE else None,
            probabilities=tuple(probabilities),
            passed=keyword != NOISE,
            transcription=None,
            ungated=None,
            encode_s=seconds,
            decode_s=0.0,
            keyword=keyword,
        )

    def _prediction(self, row: Row, output: Output) -> Prediction:
        return replace(Cascade._prediction(self, row, output), decision=str(output.keyword))


def cascade_of(detector: Any, *options: Any, **more: Any) -> Cascade:
    """The cascade for a detector: that of Whisper, or that of a classifier. options: those of Cascade."""
    return (Classes if isinstance(detector, Classifier) else Cascade)(detector, *options, **more)


def check_options(options: Any) -> None:
    """PrepError for an option of evaluate or detect that has no effect on a classifier."""
    usual = {"window": None, "max_tokens": None, "tolerance": 0.0, "gate": True, "decision": "text"}
    usual |= {"score_threshold": None, "lost_speech": None}
    given = [name for name, value in usual.items() if getattr(options, name, value) != value]
    if given:
        flags = ", ".join("--no-gate" if name == "gate" else f"--{name.replace('_', '-')}" for name in given)
        raise PrepError(f"{flags}: of no use for a classifier, which has neither gate nor text")
