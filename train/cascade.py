"""The cascade of the paper's Fig. 2: log-mel, encoder once, noise head, gate; what passes is decoded and given a keyword."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.core.row import Row
from train import data
from train.data import Sounds
from train.decode import Said, decoded
from train.features import LONGEST, RATE_HZ, LogMel, window_of
from train.keywords import NOISE, Finder
from train.model import Detector
from train.text import Texts


@dataclass(frozen=True, slots=True)
class Judged:
    """One clip's fate, and what is known of it: a line of predictions.parquet.

    truth: its keyword, `noise`, or None where nobody said. seconds: how much was heard (at most 30 s); cut: whether that
    was not all. p_speech: the head's probability of speech, None without a head; probabilities: of every class of the
    head. passed: whether it passed the gate. text, confidence: None where it did not. decision: keyword or `noise`. The
    ungated columns say what would have been without the gate (None where that was not asked). encode_ms, decode_ms: its
    share of its batch's time.
    """

    id: str
    corpus: str
    split: str
    group: str
    kind: str
    truth: str | None
    transcript: str | None
    scenario: str | None
    scene: str | None
    snr_db: float | None
    speech_like: bool
    seconds: float
    cut: bool
    p_speech: float | None
    probabilities: tuple[float, ...]
    passed: bool
    text: str | None
    confidence: float | None
    decision: str
    ungated_text: str | None
    ungated_confidence: float | None
    ungated_decision: str | None
    encode_ms: float
    decode_ms: float


@dataclass(frozen=True, slots=True)
class Heard:
    """What the cascade makes of some samples. said: None where the gate stopped them; ungated: what would have been."""

    p_speech: float | None
    probabilities: tuple[float, ...]
    passed: bool
    said: Said | None
    ungated: Said | None
    encode_s: float
    decode_s: float


@dataclass(slots=True)
class Cost:
    """Seconds and counts, added up over batches. spared_s: what decoding the stopped clips takes, where that was tried."""

    clips: int = 0
    decoded: int = 0
    seconds: float = 0.0
    encode_s: float = 0.0
    decode_s: float = 0.0
    spared_s: float = 0.0


@dataclass
class Cascade:
    """The cascade with everything fixed. A clip passes where p_speech >= threshold; without a head, or with threshold None, all pass.

    ungated: decode what was stopped as well, apart, so that the trade-off of any threshold is known.
    """

    detector: Detector
    texts: Texts
    finder: Finder
    window: str
    threshold: float | None
    max_tokens: int
    device: torch.device
    ungated: bool = False
    cost: Cost = field(default_factory=Cost)

    def __post_init__(self) -> None:
        self.detector.to(self.device).eval()
        self._log_mel = LogMel(self.detector.whisper.config.num_mel_bins).to(self.device)

    def judged(self, rows: Sequence[Row], sounds: Sounds, batch: int) -> Iterator[Judged]:
        """Each row's fate, in order of window and length: a clip's window depends on its own length alone."""
        frames = [min(row.frames or 0, LONGEST) for row in rows]
        order = sorted(range(len(rows)), key=lambda n: (frames[n], rows[n].id))
        for part in _alike(order, [window_of(count, self.window) for count in frames], batch):
            waves = [data.samples(sounds.pcm(rows[n]))[:LONGEST] for n in part]
            for n, heard in zip(part, self.heard(waves), strict=True):
                yield self._fate(rows[n], heard)

    def heard(self, waves: Sequence[NDArray[np.float32]]) -> list[Heard]:
        """What is made of these samples, float32 [frames] each, at most 30 s and all of one window."""
        sizes = torch.tensor([len(wave) for wave in waves], device=self.device)
        start = self._now()
        hidden, shares = self._encoded(waves, sizes)
        passed = self._passed(shares, len(waves))
        encoded = self._now()
        said = self._said(hidden, passed)
        done = self._now()
        spared = self._said(hidden, [not through for through in passed]) if self.ungated else {}
        self._count(waves, len(said), encoded - start, done - encoded, self._now() - done)
        return [
            Heard(
                p_speech=shares[n][0] if shares else None,
                probabilities=tuple(shares[n]) if shares else (),
                passed=passed[n],
                said=said.get(n),
                ungated=(said | spared).get(n) if self.ungated else None,
                encode_s=(encoded - start) / len(waves),
                decode_s=(done - encoded) / len(said) if n in said else 0.0,
            )
            for n in range(len(waves))
        ]

    def _encoded(self, waves: Sequence[NDArray[np.float32]], sizes: Tensor) -> tuple[Tensor, list[list[float]]]:
        """(encoder's output, the head's probabilities of each clip; none without a head)."""
        length = window_of(max(len(wave) for wave in waves), self.window)
        samples = torch.zeros(len(waves), length)
        for row, wave in zip(samples, waves, strict=True):
            row[: len(wave)] = torch.from_numpy(wave)
        with torch.inference_mode(), self._precision():
            hidden = self.detector.encoded(self._log_mel(samples.to(self.device)))
            logits = self.detector.noise_logits(hidden, sizes)
        return hidden, [] if logits is None else logits.double().softmax(dim=-1).tolist()

    def _passed(self, shares: Sequence[Sequence[float]], clips: int) -> list[bool]:
        if not shares or self.threshold is None:
            return [True] * clips
        return [share[0] >= self.threshold for share in shares]

    def _said(self, hidden: Tensor, wanted: Sequence[bool]) -> dict[int, Said]:
        """What the decoder says of the wanted clips, by place; it is not called where none is."""
        places = [n for n, want in enumerate(wanted) if want]
        if not places:
            return {}
        with self._precision():
            said = decoded(self.detector.whisper, hidden[places], self.texts, self.max_tokens)
        return dict(zip(places, said, strict=True))

    def _precision(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def _count(
        self, waves: Sequence[NDArray[np.float32]], said: int, encode_s: float, decode_s: float, spared_s: float
    ) -> None:
        self.cost.clips += len(waves)
        self.cost.decoded += said
        self.cost.seconds += sum(len(wave) for wave in waves) / RATE_HZ
        self.cost.encode_s += encode_s
        self.cost.decode_s += decode_s
        self.cost.spared_s += spared_s

    def _fate(self, row: Row, heard: Heard) -> Judged:
        said, ungated = heard.said, heard.ungated
        frames = row.frames or 0
        return Judged(
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
            seconds=min(frames, LONGEST) / RATE_HZ,
            cut=frames > LONGEST,
            p_speech=heard.p_speech,
            probabilities=heard.probabilities,
            passed=heard.passed,
            text=said.text if said else None,
            confidence=said.confidence if said else None,
            decision=self.finder.decision(said.text if said else None),
            ungated_text=ungated.text if ungated else None,
            ungated_confidence=ungated.confidence if ungated else None,
            ungated_decision=self.finder.decision(ungated.text) if ungated else None,
            encode_ms=heard.encode_s * 1000,
            decode_ms=heard.decode_s * 1000,
        )


def _alike(order: Sequence[int], windows: Sequence[int], batch: int) -> Iterator[list[int]]:
    """The items in order, in batches of one window each."""
    part: list[int] = []
    for n in order:
        if part and (len(part) == batch or windows[part[0]] != windows[n]):
            yield part
            part = []
        part.append(n)
    if part:
        yield part
