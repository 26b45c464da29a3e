"""Scenes: long recordings that exist as rows alone, rendered in blocks: clips of noise in a chain, utterances over it.

A scene is a table of pieces, `test.scene.parquet`; the audio of its clips lies in `audio/` beside it, as prep resample
stored it. Never here: what lies where, which `stages.scene` draws.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.audio import codec, dsp
from pipeline.audio.dsp import Pcm16, Samples
from pipeline.audio.shards import Reader
from pipeline.core import files, parquet
from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError, PrepError, did_you_mean

if TYPE_CHECKING:
    from pandas import DataFrame

SUFFIX = ".scene.parquet"
NOISE = "noise"
BLOCK_S = 10


@dataclass(frozen=True, slots=True)
class Piece:
    """A clip in a recording of a scene.

    recording: its name. kind: `noise`, `call`, `confusable` or `speech`. source_id: its row in the manifest. start:
    frame of the recording at which the clip begins; frames: how many of it are there. gain_db: of the clip. keyword:
    of a call. begin, end: frames of the recording between which the call, or the speech, is. snr_db: asked for;
    snr_active_db: what came out. shard, offset, bytes: where the clip is stored.
    """

    recording: str
    kind: str
    source_id: str
    start: int
    frames: int
    rate_hz: int
    shard: str
    offset: int
    bytes: int
    gain_db: float | None = None
    keyword: str | None = None
    begin: int | None = None
    end: int | None = None
    snr_db: float | None = None
    snr_active_db: float | None = None


class Renderer:
    """The samples of one recording. pieces: of noise and of utterances; reader: of the audio of their clips."""

    def __init__(self, pieces: Sequence[Piece], reader: Reader) -> None:
        ordered = sorted(pieces, key=lambda piece: piece.start)
        self.noise = [piece for piece in ordered if piece.kind == NOISE]
        self.utterances = [piece for piece in ordered if piece.kind != NOISE]
        ends = [0, *(piece.start + piece.frames for piece in self.noise)]
        if not ends[-1] or any(piece.start > end for piece, end in zip(self.noise, ends, strict=False)):
            raise ManifestError(f"{ordered[0].recording}: its noise has a gap or no length: make the scene again")
        self.frames = self.noise[-1].start + self.noise[-1].frames
        self.stored = lru_cache(maxsize=16)(reader.stored)
        fade = round(dsp.FADE_S * self.noise[0].rate_hz)
        self._fade = np.sin((np.arange(fade, dtype=np.float32) + np.float32(0.5)) * np.float32(math.pi / 2 / fade))

    def samples(self, begin: int, end: int, utterances: bool = True) -> Samples:
        """The sum of all clips between two frames, float32, full scale 2**15: the same in blocks of any size.

        Neighbours in the chain of noise overlap by an equal-power crossfade of 20 ms. utterances: whether they are in.
        """
        total = np.zeros(end - begin, np.float32)
        for pieces in (self.noise, self.utterances) if utterances else (self.noise,):
            first = bisect_right(pieces, begin, key=lambda piece: piece.start + piece.frames)
            for piece in pieces[first : bisect_left(pieces, end, key=lambda piece: piece.start)]:
                low, high = max(begin, piece.start), min(end, piece.start + piece.frames)
                part = slice(low - piece.start, high - piece.start)
                total[low - begin : high - begin] += self._clip(piece)[part]
        return total

    def _clip(self, piece: Piece) -> Samples:
        """The samples of a clip with its gain, float32 [frames]; of noise with its fades."""
        pcm = self.stored(piece.shard, piece.offset, piece.bytes)[: piece.frames]
        if len(pcm) < piece.frames:
            what = f"{piece.source_id}: the clip has {len(pcm)} frames, the scene says {piece.frames}"
            raise ManifestError(f"{what}: the audio is of another build: make the scene again")
        clip = pcm * np.float32(dsp.gain(piece.gain_db or 0.0))
        fade = len(self._fade)
        if piece.kind == NOISE and piece.start > 0:
            clip[:fade] *= self._fade[: len(clip)]
        if piece.kind == NOISE and piece.start + piece.frames < self.frames:
            clip[-fade:] *= self._fade[::-1]
        return clip


class Scene:
    """A scene that `prep scene` wrote: its recordings, the times of what is said in them, and their samples in blocks.

    path: the file. provenance: what it was made from. ManifestError where the file is missing or no scene.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.frame, self.provenance = parquet.read_kind(self.path, Piece)
        except ManifestError as error:
            if not self.path.exists():
                raise
            why = str(error).removeprefix(f"{path}: ")
            what = f"no scene: expected a file that prep scene wrote, NAME{SUFFIX}"
            raise ManifestError(f"{path}: {what} ({why})") from None
        speech = ~frames.equal(self.frame["kind"], NOISE)
        times = [np.where(speech, frames.numbers(self.frame[name]), 0) for name in ("begin", "end")]
        if self.frame["rate_hz"].nunique() != 1 or not np.all(times[0] <= times[1]):
            raise ManifestError(f"{path}: no scene: it has no one rate, or speech without times; make it again")

    @cached_property
    def recordings(self) -> list[str]:
        """The names of the recordings, in their order."""
        return sorted(frames.codes(self.frame["recording"])[1])

    @cached_property
    def rate_hz(self) -> int:
        """The rate of all recordings."""
        return int(self.frame["rate_hz"].iloc[0])

    @property
    def truth(self) -> DataFrame:
        """What is said when, a row for each utterance: recording, start, end (s), keyword, kind, snr_db, source_id."""
        speech = frames.pick(self.frame, ~frames.equal(self.frame["kind"], NOISE))
        times = {name: frames.numbers(speech[at]) / self.rate_hz for name, at in (("start", "begin"), ("end", "end"))}
        columns = ["recording", "start", "end", "keyword", "kind", "snr_db", "source_id"]
        return frames.with_columns(speech.drop(columns=["start", "end"]), **times)[columns]

    def seconds(self, recording: str) -> float:
        """How long a recording is."""
        return self._renderer(recording).frames / self.rate_hz

    def blocks(self, recording: str, frames: int | None = None) -> Iterator[Pcm16]:
        """The samples of a recording in blocks of int16 [frames], 10 s if not given: little memory at any length.

        ManifestError where there is no such recording, or the audio of its clips is missing or damaged.
        """
        whole = self._renderer(recording)
        size = frames or BLOCK_S * self.rate_hz
        for begin in range(0, whole.frames, size):
            yield np.rint(whole.samples(begin, min(begin + size, whole.frames))).astype(np.int16)

    def write(self, recording: str, path: str | Path) -> None:
        """Writes a recording as a sound file to listen to, 16-bit WAV or FLAC by the suffix of the path."""
        form = Path(path).suffix.removeprefix(".").upper()
        if form not in ("WAV", "FLAC"):
            raise PrepError(f"{path}: expected a name that ends in .wav or .flac")
        with files.replacing(Path(path)) as half:
            codec.write(half, self.blocks(recording), self.rate_hz, form)

    def _renderer(self, recording: str) -> Renderer:
        own = frames.equal(self.frame["recording"], recording)
        if not own.any():
            raise ManifestError(f'{self.path}: no recording "{recording}"{did_you_mean(recording, self.recordings)}')
        pieces: list[Any] = list(frames.rows(frames.pick(self.frame, own), Piece))
        return Renderer(pieces, Reader(self.path.parent))
