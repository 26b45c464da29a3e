"""The cascade of the paper's Fig. 2: log-mel, encoder, noise head, gate; what passes is decoded and gets a keyword."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from train import data, sampler, timing
from train.data import Prediction, Sounds
from train.decode import Transcription, decode
from train.features import RATE_HZ, LogMel, longest, window_of
from train.model import Detector
from train.spotting import Phrases, scores
from train.text import NOISE, KeywordMatcher, Tokenizer


@dataclass(frozen=True, slots=True)
class Output:
    """What the cascade makes of a clip.

    transcription: None where the gate stopped the clip. ungated: the transcription without the gate, if asked for.
    encode_s, decode_s: the share of the clip in the time of its batch. keyword: the decision of a classifier, which has
    no transcription.
    """

    p_speech: float | None
    probabilities: tuple[float, ...]
    passed: bool
    transcription: Transcription | None
    ungated: Transcription | None
    encode_s: float
    decode_s: float
    keyword: str | None = None

    @property
    def confidence(self) -> float | None:
        """How sure the decoder is of its text, a classifier of the likeliest class; None where the gate stopped."""
        if self.keyword is not None:
            return max(self.probabilities)
        return self.transcription.confidence if self.transcription else None


@dataclass(slots=True)
class Cost:
    """Seconds and counts over all batches. score_s: for the scores of the clips that passed.

    spared_s: the time to decode the stopped clips, where that was tried.
    """

    clips: int = 0
    decoded: int = 0
    seconds: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    score_s: float = 0.0
    spared_s: float = 0.0


@dataclass(slots=True, eq=False)
class Cascade:
    """A detector with a gate. It runs on batches of clips of one window each, so no clip depends on its neighbours.

    threshold: the least p_speech that passes the gate, None for no gate. ungated: also decodes what the gate stopped,
    apart, to know what other thresholds would do. scored: also scores the keywords of all that is decoded.
    """

    detector: Detector
    tokenizer: Tokenizer
    matcher: KeywordMatcher
    window: str
    threshold: float | None
    max_tokens: int
    device: torch.device
    ungated: bool = False
    scored: bool = False
    cost: Cost = field(default_factory=Cost)
    _log_mel: LogMel = field(init=False)
    _phrases: Phrases | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.detector.to(self.device).eval()
        self._log_mel = LogMel(self.detector.whisper.config.num_mel_bins).to(self.device)

        if self.scored or self.matcher.needs_scores:
            vocabulary = int(self.detector.whisper.config.vocab_size)
            self._phrases = Phrases.of(self.matcher.lexicon, self.tokenizer, vocabulary)

    def predictions(
        self, rows: Sequence[Row], sounds: Sounds, batch: int, crops: Mapping[str, tuple[int, int]] | None = None
    ) -> Iterator[Prediction]:
        """The prediction for each row, in order of length: the window of a clip depends on its own length alone.

        crops: (first sample, samples) of the clips, by id, that are not heard from their start to their end.
        """
        crops = crops or {}
        for part, waves in waves_of(rows, sounds, self.window, batch, crops):
            for n, wave, output in zip(part, waves, self.run(waves, [rows[n].id for n in part]), strict=True):
                yield self._prediction(replace(rows[n], frames=len(wave)) if rows[n].id in crops else rows[n], output)

    def run(self, waves: Sequence[NDArray[np.float32]], names: Sequence[str]) -> list[Output]:
        """The output for each clip. waves: float32 [frames], at most 30 s each and all of one window.

        PrepError with the name of a clip for which the model gives no number.
        """
        began = self._now()
        hidden, probabilities = self._encoded(waves)
        for n, shares in enumerate(probabilities):
            check_number(names[n], "p_speech", shares[0])
        gate = self.threshold if probabilities else None
        passed = [gate is None or probabilities[n][0] >= gate for n in range(len(waves))]
        encoded = self._now()
        texts, score_s = self._decoded(hidden, [n for n, through in enumerate(passed) if through])
        decoded = self._now()
        stopped = [n for n, through in enumerate(passed) if self.ungated and not through]
        spared, more_s = self._decoded(hidden, stopped)
        for n, text in (texts | spared).items():
            check_number(names[n], "confidence", text.confidence)
            for keyword, score in text.scores.items():
                check_number(names[n], f"a score of {keyword},", score.value)
        cost = self.cost
        cost.clips += len(waves)
        cost.decoded += len(texts)
        cost.seconds += sum(len(wave) for wave in waves) / RATE_HZ
        cost.encode_s += encoded - began
        cost.decode_s += decoded - encoded - score_s
        cost.score_s += score_s
        cost.spared_s += self._now() - decoded - more_s
        return [
            Output(
                p_speech=probabilities[n][0] if probabilities else None,
                probabilities=tuple(probabilities[n]) if probabilities else (),
                passed=passed[n],
                transcription=texts.get(n),
                ungated=(texts | spared).get(n) if self.ungated else None,
                encode_s=(encoded - began) / len(waves),
                decode_s=(decoded - encoded - score_s) / len(texts) if n in texts else 0.0,
            )
            for n in range(len(waves))
        ]

    def attention(self, wave: NDArray[np.float32], text: Transcription) -> NDArray[np.float64]:
        """How much each token of a clip's text, and the end of it, attends to each position of the encoder."""
        hidden, _ = self._encoded([wave])
        with self._precision():
            return timing.attention(self.detector.whisper, hidden, self.tokenizer, text.tokens, len(wave))

    def _encoded(self, waves: Sequence[NDArray[np.float32]]) -> tuple[Tensor, list[list[float]]]:
        """(output of the encoder, probabilities of the head for each clip; none without a head)."""
        samples, sizes = padded(waves, self.window)
        with torch.inference_mode(), self._precision():
            hidden = self.detector.encoded(self._log_mel(samples.to(self.device)))
            logits = self.detector.noise_logits(hidden, sizes.to(self.device))
        return hidden, [] if logits is None else logits.double().softmax(dim=-1).tolist()

    def _decoded(self, hidden: Tensor, places: list[int]) -> tuple[dict[int, Transcription], float]:
        """(the transcription of the clips at these places, seconds for scores); the decoder is not called for none."""
        if not places:
            return {}, 0.0
        whisper, watched = self.detector.whisper, self._phrases.first if self._phrases else ()
        with self._precision():
            decoded = decode(whisper, hidden[places], self.tokenizer, self.max_tokens, watched)
            texts, began = decoded.transcriptions, self._now()
            if self._phrases:
                each = scores(whisper, hidden[places], decoded, self._phrases)
                texts = [replace(text, scores=own) for text, own in zip(texts, each, strict=True)]
        return dict(zip(places, texts, strict=True)), self._now() - began

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _prediction(self, row: Row, output: Output) -> Prediction:
        text, ungated = output.transcription, output.ungated
        values = (
            {keyword: score.value for keyword, score in (text or ungated).scores.items()} if text or ungated else {}
        )
        frames = row.frames or 0
        return Prediction(
            id=row.id,
            corpus=row.corpus,
            split=row.split,
            group=row.group,
            kind=row.kind,
            truth=NOISE if row.noise_label == NOISE else row.keyword,
            transcript=row.transcript,
            scenario=row.scenario,
            scene=row.scene,
            snr_db=row.snr_db,
            speech_like=row.labels.get("speech_like") == "yes",
            seconds=min(frames, longest(self.window)) / RATE_HZ,
            cut=frames > longest(self.window),
            p_speech=output.p_speech,
            probabilities=output.probabilities,
            passed=output.passed,
            text=text.text if text else None,
            confidence=output.confidence,
            decision=self.matcher.decision(text.text if text else None, values),
            scores=tuple(values.get(keyword, -math.inf) for keyword in self.matcher.calls) if values else (),
            ungated_text=ungated.text if ungated else None,
            ungated_confidence=ungated.confidence if ungated else None,
            ungated_decision=self.matcher.decision(ungated.text, values) if ungated else None,
            encode_ms=output.encode_s * 1000,
            decode_ms=output.decode_s * 1000,
        )


def waves_of(
    rows: Sequence[Row], sounds: Sounds, window: str, batch: int, crops: Mapping[str, tuple[int, int]]
) -> Iterator[tuple[list[int], list[NDArray[np.float32]]]]:
    """(places of rows of one window, at most `batch`; what is heard of each, float32 [frames]), the shortest first.

    crops: (first sample, samples) of the clips, by id, that are not heard from their start to their end.
    """
    stretches = [crops.get(row.id, (0, min(row.frames or 0, longest(window)))) for row in rows]
    for alike in sampler.alike([window_of(count, window) for _, count in stretches]):
        alike.sort(key=lambda n: (stretches[n][1], rows[n].id))
        for first in range(0, len(alike), batch):
            part = alike[first : first + batch]
            heard = [(data.samples(sounds.pcm(rows[n])), *stretches[n]) for n in part]
            yield part, [samples[begin : begin + count] for samples, begin, count in heard]


def padded(waves: Sequence[NDArray[np.float32]], window: str) -> tuple[Tensor, Tensor]:
    """(samples of clips of one window, [clips, window], 0 behind the end of each; how many of them each has)."""
    samples = torch.zeros(len(waves), window_of(max(len(wave) for wave in waves), window))
    for row, wave in zip(samples, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return samples, torch.tensor([len(wave) for wave in waves])


def check_number(name: str, score: str, value: float) -> None:
    """PrepError with the name of the clip where a score is no number."""
    if not math.isfinite(value):
        raise PrepError(
            f"{name}: the model gives {score} {value}, which is no number: its training diverged, or it is damaged"
        )
