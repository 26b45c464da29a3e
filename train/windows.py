"""The windows of a stream: where somebody speaks, at a fixed hop, or both; and when a call in a window is.

A window of voice begins 0.5 s before its onset, because a call that lost its beginning is lost, ends when nobody speaks
for 0.6 s, and is cut where it is too long, with 2 s of overlap, the longest phrase. A fixed hop hears all of a stream,
also noise in which no voice is found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PrepError
from train import data
from train.features import RATE_HZ
from train.voice import CHUNK, Voice

Pcm = NDArray[np.int16]
Kind = Literal["vad", "hop", "both"]
LEAD, TAIL = RATE_HZ // 2, round(0.3 * RATE_HZ)  # kept before an onset and after the end of voice
PAUSE = round(0.6 * RATE_HZ)  # a window of voice ends where nobody speaks for so long
OVERLAP = 2 * RATE_HZ  # of the parts of a long one
NEAR = RATE_HZ // 2  # a call that begins this near to an onset begins there
CALL = RATE_HZ  # about how long a call is, where no voice says so
_FORGET = 60 * RATE_HZ


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a stream.

    start: its first sample, counted from the start of the stream; pcm: int16 [samples]. voices: spans of voice in it,
    in samples of the stream. known: how many samples of the stream it took to make it. fresh: how many of its last
    samples no window at a fixed hop had before.
    """

    start: int
    pcm: Pcm
    voices: tuple[tuple[int, int], ...] = ()
    known: int = 0
    fresh: int = 0

    @property
    def end(self) -> int:
        """The sample after its last."""
        return self.start + len(self.pcm)


def windows(blocks: Iterator[Pcm], kind: Kind, length: int, hop: int, voice: Voice | None) -> Iterator[Window]:
    """The windows of a stream, each as soon as it is known; little memory, whatever the length of the stream.

    length: samples of a window at a fixed hop, and of the longest one of voice. hop: samples from one to the next, at
    most length. voice: needed for `vad` and `both`; with `hop` it says where voices are in a window. Samples at the end
    that are in no window at a fixed hop make a last, shorter one. So they do where the stream has a fault, which is
    raised afterwards.
    """
    cutter, fault = _Cutter(kind, length, hop, voice), None
    try:
        for block in blocks:
            yield from cutter.push(block)
    except (PrepError, OSError) as error:
        fault = error
    yield from cutter.finish()
    if fault is not None:
        raise fault


class _Cutter:
    """A stream while it is cut. at: how many of its samples were looked at. open: where the window of voice begins."""

    def __init__(self, kind: Kind, length: int, hop: int, voice: Voice | None) -> None:
        self._kind, self._length, self._hop, self._voice = kind, length, hop, voice
        self._overlap = min(OVERLAP, length // 2)
        self._buffer, self._first, self._at = np.zeros(0, np.int16), 0, 0
        self._open: int | None = None
        self._voiced: list[tuple[int, int]] = []  # windows of voice, the latest last
        self._next, self._heard = 0, 0  # where the next window at a fixed hop begins, and where the latest ended

    def push(self, block: Pcm) -> Iterator[Window]:
        """The windows that are known with these samples."""
        self._buffer = np.concatenate([self._buffer, block])
        while self._first + len(self._buffer) - self._at >= CHUNK:
            yield from self._step(CHUNK)
        low = self._at - LEAD - CHUNK if self._open is None else self._open
        low = max(self._first, min(low, self._next) if self._kind != "vad" else low)
        self._buffer, self._first = self._buffer[low - self._first :], low

    def finish(self) -> Iterator[Window]:
        """The windows of what is left at the end of the stream."""
        if rest := self._first + len(self._buffer) - self._at:
            yield from self._step(rest)
        if self._open is not None:
            yield from self._of_voice(self._open, self._at)
        if self._kind != "vad" and self._at > self._heard and not self._is_covered(self._next, self._at):
            yield self._window(self._next, self._at)

    def _step(self, count: int) -> Iterator[Window]:
        """The windows that are known with `count` more samples, at most a chunk."""
        if self._voice is not None:
            chunk = np.zeros(CHUNK, np.float32)
            chunk[:count] = data.samples(self._buffer[self._at - self._first :][:count])
            self._voice.push(chunk)
        self._at += count
        if self._kind != "hop":
            yield from self._by_voice()
        while self._kind != "vad" and self._at >= self._next + self._length:
            if not self._is_covered(self._next, self._next + self._length):
                yield self._window(self._next, self._next + self._length)
            self._heard = self._next + self._length
            self._next += self._hop

    def _by_voice(self) -> Iterator[Window]:
        assert self._voice is not None
        if not self._voice.spans:
            return
        begin, end = self._voice.spans[-1]
        if self._open is None and end >= self._at:
            self._open = max(0, begin - LEAD)
        if self._open is None:
            return
        if self._at - end >= PAUSE:
            yield from self._of_voice(self._open, end + TAIL)
            self._open = None
        elif self._at - self._open >= self._length:
            yield from self._of_voice(self._open, self._open + self._length)
            self._open += self._length - self._overlap

    def _of_voice(self, start: int, end: int) -> Iterator[Window]:
        """A window of voice, unless the one before has all of its voice."""
        assert self._voice is not None
        voiced = self._voice.between(start, end)
        if voiced and not (self._voiced and voiced[-1][1] <= self._voiced[-1][1]):
            self._voiced = [each for each in self._voiced if each[1] > self._at - _FORGET]
            self._voiced.append((start, min(end, self._at)))
            yield self._window(*self._voiced[-1])

    def _is_covered(self, start: int, end: int) -> bool:
        """Whether windows of voice, the one that is open too, have more than half of these samples."""
        spans = [*self._voiced, (self._open, self._at)] if self._open is not None else self._voiced
        covered, at = 0, start
        for begin, stop in spans:
            covered += max(0, min(end, stop) - max(at, begin))
            at = max(at, stop)
        return self._kind == "both" and covered > (end - start) / 2

    def _window(self, start: int, end: int) -> Window:
        voices = self._voice.between(start, end) if self._voice is not None else ()
        pcm = self._buffer[start - self._first : end - self._first].copy()
        return Window(start, pcm, voices, self._at, max(0, end - max(start, self._heard)))


def placed(window: Window, share: tuple[float, float] = (0.0, 1.0)) -> tuple[int, int]:
    """When something is said in a window: its first sample in the stream, and the sample after its last.

    share: where in the text of the window it begins and ends, 0 to 1; the text is spread evenly over the voice, and the
    beginning is moved to an onset that is near. Without voice it is taken to have ended in the middle of what is fresh.
    """
    if not window.voices:
        end = window.end - window.fresh // 2
        return max(window.start, end - CALL), end
    lengths = np.array([stop - begin for begin, stop in window.voices])
    before = np.cumsum(lengths) - lengths  # how much voice is before each span

    def time(place: float) -> int:
        span = max(0, int(np.searchsorted(before, place)) - 1)
        return min(window.voices[span][1], window.voices[span][0] + round(place - before[span]))

    begin, end = (place * float(lengths.sum()) for place in share)
    onset = int(np.abs(before[before < end] - begin).argmin()) if end > 0 else 0
    return window.voices[onset][0] if abs(before[onset] - begin) <= NEAR else time(begin), time(end)
