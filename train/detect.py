"""The cascade on a stream: windows with a hop, events with a refractory time, one JSON object a line."""

from __future__ import annotations

import json
import queue
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.core.errors import PrepError
from train import checkpoint, data
from train.cascade import Cascade
from train.features import RATE_HZ
from train.text import KeywordMatcher, Rule

Pcm = NDArray[np.int16]
_BLOCK_BYTES = RATE_HZ // 5 * 2  # read from a pipe at a time: 0.2 s
_HEADERS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "Ogg"}


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a stream. start: its first sample, counted from the start of the stream; pcm: int16 [samples]."""

    start: int
    pcm: Pcm


def windows(blocks: Iterator[Pcm], length: int, hop: int) -> Iterator[Window]:
    """The windows of a stream, each as soon as its last sample is there: window k starts at sample k * hop.

    At the end, samples that are in no window yet make a last, shorter one. So they do where the stream has a fault,
    which is raised afterwards. length, hop: samples, hop at most length.
    """
    buffer, start, end, fault = np.zeros(0, np.int16), 0, 0, None
    try:
        for block in blocks:
            buffer = np.concatenate([buffer, block])
            while len(buffer) >= length:
                yield Window(start, buffer[:length].copy())
                end = start + length
                buffer, start = buffer[hop:], start + hop
    except (PrepError, OSError) as error:
        fault = error
    if start + len(buffer) > end:
        yield Window(start, buffer)
    if fault is not None:
        raise fault


@dataclass(slots=True)
class Events:
    """Decides which windows are events: a call, unless another event started less than the refractory time before."""

    calls: Sequence[str]
    refractory: int  # samples
    latest: int | None = None  # start of the latest event

    def is_new(self, window: Window, decision: str) -> bool:
        """Whether this window is an event; windows come in order."""
        if decision not in self.calls or (self.latest is not None and window.start - self.latest < self.refractory):
            return False
        self.latest = window.start
        return True


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line; see `detect --help`."""

    checkpoint: Path
    stdin: bool
    mic: bool
    seconds: float
    hop: float
    refractory: float
    threshold: float
    tolerance: float
    decision: Rule
    windows: bool


def detect(files: Sequence[Path], **values: Any) -> None:
    """Prints the events of each file, or of the stream, as they come."""
    options = Options(**values)
    if (bool(files), options.stdin, options.mic).count(True) != 1:
        raise PrepError("what is to be listened to? give FILE ..., or --stdin, or --mic")
    if options.hop > options.seconds:
        raise PrepError(
            f"--hop {options.hop:g} is longer than --seconds {options.seconds:g}:"
            " audio between two windows would never be heard"
        )
    trained = checkpoint.read(options.checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    matcher = KeywordMatcher(trained.lexicon, options.tolerance, options.decision)
    tokens = int(trained.metadata.options["max_tokens"])
    cascade = Cascade(
        trained.detector, trained.tokenizer, matcher, trained.metadata.window, options.threshold, tokens, device
    )
    if sys.stdout is None:
        raise PrepError("standard output is closed: there is nowhere to print events to")
    for path in files:
        listen(cascade, data.recording(path), str(path), options)
    if options.stdin:
        if sys.stdin is None:
            raise PrepError("standard input is closed: pipe 16-bit little-endian mono PCM at 16 kHz into --stdin")
        listen(cascade, pipe(sys.stdin.buffer), "stdin", options)
    elif options.mic:
        listen(cascade, microphone(), "mic", options)


def listen(cascade: Cascade, blocks: Iterator[Pcm], source: str, options: Options) -> None:
    """Prints the events of one stream, or every window of it. PrepError where the stream holds no sample."""
    length, hop, refractory = (round(s * RATE_HZ) for s in (options.seconds, options.hop, options.refractory))
    events, window = Events(cascade.matcher.calls, refractory), None
    for window in windows(blocks, length, hop):
        line = _line(source, window, cascade, events)
        if line["event"] or options.windows:
            sys.stdout.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")
            sys.stdout.flush()
    if window is None:
        raise PrepError(f"{source}: ended without a sample")


def _line(source: str, window: Window, cascade: Cascade, events: Events) -> dict[str, Any]:
    """One window as a JSON object: start and end in seconds of the stream, decision, text, probabilities."""
    start, end = (round(place / RATE_HZ, 4) for place in (window.start, window.start + len(window.pcm)))
    output = cascade.run([data.samples(window.pcm)], [f"{source}, {start:g} to {end:g} s"])[0]
    text = output.transcription
    decision = cascade.matcher.decision(text.text if text else None)
    return {
        "source": source,
        "event": events.is_new(window, decision),
        "start": start,
        "end": end,
        "keyword": decision,
        "calls": [call.keyword for call in cascade.matcher.spotted(text.text if text else None).calls],
        "text": text.text if text else None,
        "p_speech": output.p_speech,
        "confidence": text.confidence if text else None,
    }


def pipe(stream: BinaryIO) -> Iterator[Pcm]:
    """16-bit little-endian mono PCM at 16 kHz, in blocks as they come.

    PrepError where it ends within a sample, or begins as a file of another format does.
    """
    rest, kind = b"", "16-bit little-endian mono PCM at 16 kHz"
    first = True
    while block := stream.read(_BLOCK_BYTES):
        if first and block[:4] in _HEADERS:
            raise PrepError(f"standard input begins as a {_HEADERS[block[:4]]} file: expected {kind} without a header")
        first, rest = False, rest + block
        whole = len(rest) // 2 * 2
        yield np.frombuffer(rest[:whole], "<i2").astype(np.int16)
        rest = rest[whole:]
    if rest:
        raise PrepError(f"standard input ends within a sample: expected {kind}")


def microphone() -> Iterator[Pcm]:
    """Blocks from the default microphone until Ctrl-C. PrepError where there is none."""
    try:
        sound: Any = import_module("sounddevice")
    except (ModuleNotFoundError, OSError):  # OSError: the package is there, the library PortAudio is not
        raise PrepError(
            "--mic needs the package sounddevice and PortAudio: pip install sounddevice;"
            " or pipe a recorder into --stdin"
        ) from None
    blocks: queue.Queue[Pcm] = queue.Queue()

    def put(block: Any, *_: Any) -> None:
        blocks.put(block[:, 0].copy())

    try:
        with sound.InputStream(RATE_HZ, channels=1, dtype="int16", callback=put):
            while True:
                yield blocks.get()
    except sound.PortAudioError as error:
        raise PrepError(f"--mic: no microphone at 16 kHz ({error}); pipe a recorder into --stdin") from None
