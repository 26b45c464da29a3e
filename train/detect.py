"""The cascade over a stream: windows with a hop, events with a refractory time, one JSON object a line."""

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
from train.cascade import Cascade, Heard
from train.features import RATE_HZ
from train.keywords import Finder

Pcm = NDArray[np.int16]
_BLOCK_BYTES = RATE_HZ // 5 * 2  # read from a pipe at a time: 0.2 s


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a stream. start: its first sample's place in the stream; pcm: int16 [samples]."""

    start: int
    pcm: Pcm


def windows(blocks: Iterator[Pcm], length: int, hop: int) -> Iterator[Window]:
    """Windows of a stream, each as soon as its last sample is there: the k-th starts at sample k * hop.

    At the end, samples that no window held make a last, shorter one. length, hop: samples, hop at most length.
    """
    held, start, heard = np.zeros(0, np.int16), 0, 0
    for block in blocks:
        held = np.concatenate([held, block])
        while len(held) >= length:
            yield Window(start, held[:length].copy())
            heard = start + length
            held, start = held[hop:], start + hop
    if start + len(held) > heard:
        yield Window(start, held)


@dataclass(slots=True)
class Events:
    """Which windows are events: a call, unless another event started less than the refractory time before."""

    calls: Sequence[str]
    refractory: int  # samples
    latest: int | None = None  # start of the latest event

    def new(self, window: Window, decision: str) -> bool:
        """Whether this window is an event; windows are shown in order."""
        if decision not in self.calls or (self.latest is not None and window.start - self.latest < self.refractory):
            return False
        self.latest = window.start
        return True


@dataclass(frozen=True, slots=True)
class Asked:
    """What the command line asks for; see `detect --help`."""

    checkpoint: Path
    stdin: bool
    mic: bool
    seconds: float
    hop: float
    refractory: float
    threshold: float
    tolerance: float
    windows: bool


def detect(files: Sequence[Path], **told: Any) -> None:
    """Prints the events of each file, or of the stream, as they come."""
    asked = Asked(**told)
    if (bool(files), asked.stdin, asked.mic).count(True) != 1:
        raise PrepError("what is to be listened to? give FILE ..., or --stdin, or --mic")
    if asked.hop > asked.seconds:
        raise PrepError(
            f"--hop {asked.hop:g} is longer than --seconds {asked.seconds:g}: audio between two windows would never be heard"
        )
    cascade = cascade_of(asked)
    for path in files:
        listen(cascade, iter([data.recording(path)]), str(path), asked)
    if not files:
        blocks = microphone() if asked.mic else pipe(sys.stdin.buffer)
        listen(cascade, blocks, "mic" if asked.mic else "stdin", asked)


def cascade_of(asked: Asked) -> Cascade:
    """The cascade of a checkpoint."""
    held = checkpoint.read(asked.checkpoint)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    finder, tokens = Finder(held.lexicon, asked.tolerance), int(held.made.options["max_tokens"])
    return Cascade(held.detector, held.texts, finder, held.made.window, asked.threshold, tokens, device)


def listen(cascade: Cascade, blocks: Iterator[Pcm], source: str, asked: Asked) -> None:
    """Prints what is found in one stream."""
    length, hop, refractory = (round(seconds * RATE_HZ) for seconds in (asked.seconds, asked.hop, asked.refractory))
    events = Events(cascade.finder.calls, refractory)
    for window in windows(blocks, length, hop):
        heard = cascade.heard([data.samples(window.pcm)])[0]
        decision = cascade.finder.decision(heard.said.text if heard.said else None)
        event = events.new(window, decision)
        if event or asked.windows:
            sys.stdout.write(json.dumps(line(source, window, heard, decision, event), ensure_ascii=False) + "\n")
            sys.stdout.flush()


def line(source: str, window: Window, heard: Heard, decision: str, event: bool) -> dict[str, Any]:
    """One window told: start and end in seconds of the stream, decision, text, probabilities."""
    return {
        "source": source,
        "event": event,
        "start": round(window.start / RATE_HZ, 4),
        "end": round((window.start + len(window.pcm)) / RATE_HZ, 4),
        "keyword": decision,
        "text": heard.said.text if heard.said else None,
        "p_speech": heard.p_speech,
        "confidence": heard.said.confidence if heard.said else None,
    }


def pipe(stream: BinaryIO) -> Iterator[Pcm]:
    """16-bit little-endian mono PCM at 16 kHz, in blocks as they come. PrepError where it ends within a sample."""
    rest = b""
    while block := stream.read(_BLOCK_BYTES):
        rest += block
        whole = len(rest) // 2 * 2
        yield np.frombuffer(rest[:whole], "<i2").astype(np.int16)
        rest = rest[whole:]
    if rest:
        raise PrepError("standard input ends within a sample: expected 16-bit little-endian mono PCM at 16 kHz")


def microphone() -> Iterator[Pcm]:
    """Blocks from the default microphone until Ctrl-C. PrepError where there is none."""
    try:
        sound: Any = import_module("sounddevice")
    except (ModuleNotFoundError, OSError):  # OSError: the package is there, the library PortAudio is not
        raise PrepError(
            "--mic needs the package sounddevice and PortAudio: pip install sounddevice; or pipe a recorder into --stdin"
        ) from None
    blocks: queue.Queue[Pcm] = queue.Queue()
    try:
        with sound.InputStream(
            RATE_HZ, channels=1, dtype="int16", callback=lambda block, *_: blocks.put(block[:, 0].copy())
        ):
            while True:
                yield blocks.get()
    except sound.PortAudioError as error:
        raise PrepError(f"--mic: no microphone at 16 kHz ({error}); pipe a recorder into --stdin") from None
