"""Samples as a page shows them: a FLAC to play and a spectrogram to look at, both as data URIs."""

from __future__ import annotations

import base64
import struct
import zlib
from dataclasses import dataclass

import matplotlib
import numpy as np
from numpy.typing import NDArray

from pipeline.audio.codec import flac

EXCERPT_S = 5.0  # more of a clip is not put on a page
BUDGET_BYTES = 2_600_000  # of FLAC on one page: with base64, fonts and pictures it stays under 5 MB
WINDOW_S, COLUMNS, LINES = 0.032, 240, 96
RANGE_DB = 70.0  # shown below the loudest
COLOURS = 40


@dataclass(frozen=True, slots=True)
class Sound:
    """An excerpt. player: FLAC, or None where the page is full. picture: PNG. seconds: shown; whole_s: of the clip."""

    player: str | None
    picture: str
    seconds: float
    whole_s: float
    bytes: int


def excerpt(pcm: NDArray[np.int16], rate_hz: int, room: int) -> Sound:
    """The first seconds of a clip; without a player where its FLAC does not fit into so many bytes."""
    part = pcm[: round(EXCERPT_S * rate_hz)]
    data = flac(part, rate_hz)
    fits = len(data) <= room
    player = _uri("audio/flac", data) if fits else None
    return Sound(
        player,
        _uri("image/png", png(spectrogram(part, rate_hz))),
        len(part) / rate_hz,
        len(pcm) / rate_hz,
        len(data) * fits,
    )


def spectrogram(pcm: NDArray[np.int16], rate_hz: int) -> NDArray[np.uint8]:
    """uint8 [lines, columns], 0 to COLOURS - 1: dB below the loudest, the highest frequency on top, 0 to half the rate."""
    size = round(WINDOW_S * rate_hz)
    wave = np.pad(pcm.astype(np.float64), (0, max(0, size - len(pcm))))
    starts = np.linspace(0, len(wave) - size, COLUMNS).astype(np.int64)
    frames = wave[starts[:, None] + np.arange(size)] * np.hanning(size)
    power = np.abs(np.fft.rfft(frames, axis=1)) ** 2
    edges = np.linspace(0, power.shape[1], LINES + 1).astype(np.int64)
    lines = np.maximum.reduceat(power, edges[:-1], axis=1).T[::-1]
    level = 10 * np.log10(np.maximum(lines, 1e-3)) - 10 * np.log10(max(float(lines.max()), 1e-3))
    return np.asarray(np.rint(np.clip(1 + level / RANGE_DB, 0, 1) * (COLOURS - 1)).astype(np.uint8))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """An 8-bit palette PNG in the colours of magma; no time, no program named in it."""
    palette = (matplotlib.colormaps["magma"](np.linspace(0, 1, COLOURS))[:, :3] * 255).round().astype(np.uint8)
    height, width = pixels.shape
    scan = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"PLTE", palette.tobytes()), (b"IDAT", zlib.compress(scan, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
