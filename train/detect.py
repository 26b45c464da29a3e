"""The cascade on a stream: what it hears in each window, one event for each call, one JSON object a line."""

from __future__ import annotations

import json
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PrepError, inert
from train import data, streams, thresholds
from train.cascade import Cascade
from train.classes import cascade_of
from train.classifier import Classifier
from train.decode import Transcription
from train.features import RATE_HZ, STRIDE, longest
from train.system import System, check_given, system_of
from train.text import KeywordMatcher, Rule, Score
from train.voice import Voice
from train.windows import NEAR, Kind, Window, placed, windows

Pcm = NDArray[np.int16]
_FORGET = 60 * RATE_HZ  # events that ended so long before a window are forgotten


@dataclass(frozen=True, slots=True)
class Listening:
    """How a stream is listened to: which windows, how long (s), and how long after a call there is no other (s)."""

    windows: Kind
    seconds: float
    hop: float
    refractory: float

    def __post_init__(self) -> None:
        if self.hop > self.seconds:
            raise PrepError(
                f"--hop {self.hop:g} is longer than --seconds {self.seconds:g}:"
                " audio between two windows would never be heard"
            )


@dataclass(slots=True)
class Events:
    """Decides which calls are events. However many windows hold a call, it is one event.

    Where a window may hold earlier events, the first calls in it are those. Of the others none is an event that begins
    less than the refractory time before or after one.
    """

    refractory: int  # samples
    before: list[tuple[int, int]] = field(default_factory=list)  # where each began, and where it surely had begun

    def new(self, window: Window, calls: Sequence[tuple[int, int]]) -> list[int]:
        """Which of the calls in a window, in their order, are events. calls: first sample and sample after the last."""
        self.before = [each for each in self.before if each[1] > window.start - _FORGET - self.refractory]
        known = sum(window.start < surely <= window.end + NEAR for _, surely in self.before)
        new = []
        for number, (begin, end) in enumerate(calls):
            if number >= known and all(abs(begin - earlier) >= self.refractory for earlier, _ in self.before):
                self.before.append((begin, begin + NEAR if window.voices else end))
                new.append(number)
        return new


@dataclass(slots=True)
class Stats:
    """What listening took. latencies: seconds from the end of each event's call until it was known, computing too.

    computing_s: without the time in which samples were read.
    """

    seconds: float = 0.0
    windows: int = 0
    computing_s: float = 0.0
    latencies: list[float] = field(default_factory=list)

    def line(self, source: str) -> str:
        """All of it as a sentence."""
        factor = self.computing_s / self.seconds
        text = f"stats   {source}: {self.seconds:.1f} s in {self.computing_s:.1f} s, real-time factor {factor:.3f}"
        text += f"; {self.windows} windows, {len(self.latencies)} events"
        if self.latencies:
            text += f"; latency {np.median(self.latencies):.2f} s, at most {max(self.latencies):.2f} s"
        return text


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line; see `detect --help`."""

    checkpoint: Path | None
    model: str | None
    lexicon: Path | None
    window: str | None
    stdin: bool
    mic: bool
    rate: int | None
    channels: int | None
    windows: Kind | None
    seconds: float
    hop: float
    refractory: float
    threshold: float | None
    score_threshold: float | None
    tolerance: float
    decision: Rule
    all: bool
    stats: bool
    max_tokens: int | None = None


def detect(say: Callable[[str], None], files: Sequence[Path], **values: Any) -> None:
    """Prints the events of each file, or of the stream, as they come."""
    options = Options(**values)
    if (bool(files), options.stdin, options.mic).count(True) != 1:
        raise PrepError("what is to be listened to? give FILE ..., or --stdin, or --mic")
    if not options.stdin and (options.rate or options.channels):
        raise PrepError("--rate and --channels describe the samples of --stdin: files say them themselves")
    check_given(options.checkpoint, options.model)
    kind = options.windows or usual_windows(say)
    listening = Listening(kind, options.seconds, options.hop, options.refractory)
    cascade = listener(system_of(options, "auto"), listening, options)
    if sys.stdout is None:
        raise PrepError("standard output is closed: there is nowhere to print events to")
    if options.stdin and sys.stdin is None:
        raise PrepError("standard input is closed: pipe 16-bit PCM, or a WAV of it, into --stdin")
    sources = [(str(path), streams.recording(path)) for path in files]
    if options.stdin:
        sources = [("stdin", streams.pipe(sys.stdin.buffer, "standard input", options.rate, options.channels))]
    elif options.mic:
        sources = [("mic", streams.microphone(say))]
    for source, blocks in sources:
        stats = Stats()
        try:
            for line in lines(cascade, blocks, source, listening, stats):
                if line["event"] or options.all:
                    sys.stdout.write(inert(json.dumps(line, ensure_ascii=False, allow_nan=False)) + "\n")
                    sys.stdout.flush()
        finally:
            if options.stats and stats.seconds:
                say(stats.line(source))


def listener(system: System, listening: Listening, options: Any, *, gated: bool = True) -> Cascade:
    """The cascade that listens, with the thresholds that are given or kept in the checkpoint.

    PrepError where it has none and needs one, or where windows are too long for the network. gated: whether noise is
    stopped before the decoder.
    """
    check_seconds(listening, system.window)
    matcher = KeywordMatcher(system.lexicon, options.tolerance, options.decision)
    matcher = thresholds.decides(matcher, thresholds.score_before(options.score_threshold, system.kept))
    if isinstance(system.detector, Classifier):
        gate = thresholds.of_classifier(options.threshold, thresholds.GATE)
    else:
        has_head = system.detector.head is not None
        gate = thresholds.gate_before(options.threshold, system.kept, has_head=has_head, wanted=gated)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return cascade_of(system.detector, system.tokenizer, matcher, system.window, gate.value, system.max_tokens, device)


def check_seconds(listening: Listening, window: str) -> None:
    """PrepError where windows of the stream are longer than the network hears."""
    most = longest(window) / RATE_HZ
    if listening.seconds > most:
        raise PrepError(
            f"--seconds {listening.seconds:g}: the network hears at most {most:g} s: give --seconds {most:g}"
        )


def usual_windows(say: Callable[[str], None]) -> Kind:
    """The windows where none are asked for: those of voice, if the extra for it is installed."""
    try:
        Voice()
    except PrepError as error:
        say(f"caution {error}; until then windows at a fixed hop, and times that may be a second off")
        return "hop"
    return "vad"


def lines(
    cascade: Cascade, blocks: Iterator[Pcm], source: str, listening: Listening, stats: Stats
) -> Iterator[dict[str, Any]]:
    """Each window of a stream as a JSON object, as it comes; stats grow. PrepError where the stream has no sample."""
    length, hop, refractory = (round(s * RATE_HZ) for s in (listening.seconds, listening.hop, listening.refractory))
    try:
        voice = Voice()
    except PrepError:
        if listening.windows != "hop":
            raise
        voice = None
    events, matcher = Events(refractory), cascade.matcher
    for window in windows(_counted(blocks, stats), listening.windows, length, hop, voice):
        began = time.perf_counter()
        name = f"{source}, {window.start / RATE_HZ:g} to {window.end / RATE_HZ:g} s"
        output = cascade.run([data.samples(window.pcm)], [name])[0]
        heard = output.transcription
        text, scores = (heard.text, heard.scores) if heard else (None, {})
        decision, places = output.keyword or matcher.decision(text), calls_in(text, scores, matcher)
        if output.keyword in matcher.calls:  # a classifier says no more than that
            places = [(decision, (0.0, 1.0))]
        calls = [(keyword, *when(cascade, window, heard, share)) for keyword, share in places]
        new = events.new(window, [(begin, end) for _, begin, end in calls])
        stats.windows += 1
        stats.latencies += [(window.known - calls[n][2]) / RATE_HZ + time.perf_counter() - began for n in new]
        for keyword, begin, end in [calls[n] for n in new] or calls[:1] or [(decision, None, None)]:
            yield {
                "source": source,
                "event": bool(new),
                "start": _seconds(begin),
                "end": _seconds(end),
                "keyword": keyword,
                "calls": [keyword for keyword, _, _ in calls],
                "text": text,
                "p_speech": output.p_speech,
                "confidence": output.confidence,
                "scores": {keyword: score.value for keyword, score in scores.items()},
                "window_start": _seconds(window.start),
                "window_end": _seconds(window.end),
            }
    if not stats.seconds:
        raise PrepError(f"{source}: ended without a sample")


def when(cascade: Cascade, window: Window, heard: Transcription | None, share: tuple[float, float]) -> tuple[int, int]:
    """When a call in a window begins and ends, in samples of the stream. share: where in the text it is, 0 to 1.

    It begins where its first token is spoken and ends where the next one is. Without tokens it is placed by the voice.
    """
    if heard is None or not heard.tokens:
        return placed(window, share)
    text = cascade.tokenizer.text(heard.tokens)
    ends = [len(cascade.tokenizer.text(heard.tokens[:count])) for count in range(1, len(heard.tokens))]
    first, last = (bisect(ends, place * len(text) + off) for place, off in zip(share, (0.5, -0.5), strict=True))
    seen = cascade.attention(data.samples(window.pcm), heard)
    begin = int(seen[first].argmax())
    end = begin + int(seen[last + 1, begin:].argmax())
    return window.start + begin * STRIDE, window.start + end * STRIDE


def calls_in(
    text: str | None, scores: Mapping[str, Score], matcher: KeywordMatcher
) -> list[tuple[str, tuple[float, float]]]:
    """The calls in what was decoded, in order: the keyword of each, and where in the text it is, from 0 to 1."""
    calls = _calls_of_text(text, matcher)
    loud = matcher.loud({keyword: score.value for keyword, score in scores.items()})
    if matcher.rule == "score":
        calls = [call for call in calls if call[0] in loud]
    more = [keyword for keyword in loud if keyword not in dict(calls)]
    calls += [(keyword, (scores[keyword].begin, scores[keyword].end)) for keyword in more]
    return sorted(calls, key=lambda call: call[1])


def _calls_of_text(text: str | None, matcher: KeywordMatcher) -> list[tuple[str, tuple[float, float]]]:
    calls, keyword = matcher.spotted(text).calls, matcher.decision(text)
    if not calls:  # within the tolerance: the whole text
        return [(keyword, (0.0, 1.0))] if keyword in matcher.calls else []
    spotter = matcher.lexicon.spotter
    is_whole = spotter is None or matcher.lexicon.keyword(text) != matcher.lexicon.other
    length = calls[0].end if is_whole else len(spotter.spoken(text or ""))
    return [(call.keyword, (call.start / length, call.end / length)) for call in calls]


def _seconds(sample: int | None) -> float | None:
    return None if sample is None else round(sample / RATE_HZ, 4)


def _counted(blocks: Iterator[Pcm], stats: Stats) -> Iterator[Pcm]:
    """The blocks; their seconds are counted, and the time that passes outside of their reading is computing."""
    while True:
        block = next(blocks, None)
        if block is None:
            return
        stats.seconds += len(block) / RATE_HZ
        began = time.perf_counter()
        yield block
        stats.computing_s += time.perf_counter() - began
