"""Streams of 16 kHz mono samples in blocks: recordings of any format, a pipe, the microphone.

A stream is read once, as it comes: what passes full scale when it is resampled is clipped.
"""

from __future__ import annotations

import queue
import shutil
import subprocess
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import codec, dsp, media
from pipeline.audio.codec import Recording
from pipeline.core.errors import CorruptMember, PrepError, to_install
from train.features import RATE_HZ

Pcm = NDArray[np.int16]
BLOCK_FRAMES = 1 << 14  # read of a recording at a time: what is lost before a fault is at most so long
_PIPE_S = 0.2  # read from a pipe at a time
RATES_HZ = (1000, 768_000)  # of what is listened to
_QUEUE_S = 30  # of the microphone, before samples are lost
_FORMATS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"FORM": "AIFF", b"RIFX": "RIFX", b"caff": "CAF", b".snd": "AU"}
_FORMATS |= {b"\x1aE\xdf\xa3": "Matroska or WebM", b"#!AM": "AMR", b"wvpk": "WavPack", b"riff": "W64"}
_FORMATS |= dict.fromkeys((b"ID3\x02", b"ID3\x03", b"ID3\x04"), "MP3")
_PCM, _EXTENSIBLE = 1, 0xFFFE  # formats of a WAV
_ENDLESS = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFF000)  # sizes of what is written into a pipe


def recording(path: Path) -> Iterator[Pcm]:
    """A recording of any rate and channels in blocks of int16 [frames], decoded and resampled as prep does.

    What libsndfile does not know (m4a, webm) is decoded by PyAV (the extra [media]), else by ffmpeg, where one is
    installed. PrepError where it cannot
    be read, after the blocks that can be.
    """
    try:
        with path.open("rb") as file:
            if file.seekable():
                yield from _resampled(media.blocks(file, BLOCK_FRAMES), str(path))
            else:
                yield from pipe(file, str(path))
    except FileNotFoundError:
        raise PrepError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise PrepError(f"{path}: a folder; expected recordings") from None
    except CorruptMember as error:
        if error.reason not in ("not_audio", media.NEEDS):
            raise PrepError(f"{path}: {error.detail}") from None
        yield from _by_ffmpeg(path, error.detail)


def _by_ffmpeg(path: Path, detail: str) -> Iterator[Pcm]:
    """What ffmpeg makes of a file. PrepError where it is not installed, or does not know the format either."""
    if not shutil.which("ffmpeg"):
        raise PrepError(f"{path}: {detail}; ffmpeg, which would be tried next, is not installed")
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", f"file:{path}", "-vn", "-f", "wav", "-c:a", "pcm_s16le", "-"]
    with TemporaryFile() as messages, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages) as process:
        try:
            yield from pipe(cast(BinaryIO, process.stdout), str(path))
        except BaseException:  # whoever listens has stopped, or the sound is no sound
            process.kill()
            raise
        if process.wait():
            messages.seek(0)
            fault = messages.read().decode("utf-8", "replace").strip().splitlines() or ["it failed"]
            raise PrepError(f"{path}: ffmpeg: {fault[-1]}")


def pipe(stream: BinaryIO, name: str, rate_hz: int | None = None, channels: int | None = None) -> Iterator[Pcm]:
    """What comes through a pipe, in blocks as they come: 16-bit WAV by its header, else samples without one.

    rate_hz, channels: of 16-bit little-endian samples without a header, 16,000 and 1 if not given. PrepError where it
    begins as a file of another format, where its header says another rate than is given, or where it ends in a frame.
    """
    head = stream.read(8)
    form = "MP4" if head[4:] == b"ftyp" else _FORMATS.get(head[:4])
    if form is not None:
        raise PrepError(
            f"{name}: begins as {form}, which is not read from a pipe: give the file, or decode it,"
            " as by ffmpeg -i pipe: -f s16le -ar 16000 -ac 1 -"
        )
    size: int | None = None
    if head[:4] in (b"RIFF", b"RF64"):
        *of_header, size = _wav_header(stream, name)
        for flag, given, meant in zip(("--rate", "--channels"), (rate_hz, channels), of_header, strict=True):
            if given not in (None, meant):
                raise PrepError(f"{name}: {flag} {given}, but its header says {meant}: leave {flag} out")
        (rate_hz, channels), head = of_header, b""
    frames = _frames(stream, name, rate_hz or RATE_HZ, channels or 1, head, size)
    yield from _resampled(frames, name)


def _wav_header(stream: BinaryIO, name: str) -> tuple[int, int, int | None]:
    """(rate in Hz, channels, bytes of samples or None for all that follow) of a WAV, after its first eight bytes."""
    is_wav, form = stream.read(4) == b"WAVE", b""
    while is_wav and len(part := stream.read(8)) == 8:
        size = int.from_bytes(part[4:], "little")
        if part[:4] == b"data":
            kind, channels, rate_hz, bits = (
                int.from_bytes(form[at : at + n], "little") for at, n in ((0, 2), (2, 2), (4, 4), (14, 2))
            )
            if kind not in (_PCM, _EXTENSIBLE) or bits != 16 or not rate_hz or not channels:
                raise PrepError(f"{name}: a WAV of format {kind}, {bits} bits: from a pipe only 16-bit PCM is read")
            return rate_hz, channels, None if size in _ENDLESS else size
        content = stream.read(size + size % 2)
        form = content if part[:4] == b"fmt " else form
    raise PrepError(f"{name}: begins as a WAV, but its header has no samples: expected 16-bit PCM")


def _frames(
    stream: BinaryIO, name: str, rate_hz: int, channels: int, rest: bytes, size: int | None
) -> Iterator[Recording]:
    """16-bit little-endian samples as they come. size: bytes of samples, None for all that follow."""
    wide, taken = 2 * channels, 0
    block_bytes = max(1, round(_PIPE_S * rate_hz)) * wide
    while size is None or taken < size:
        block = stream.read(block_bytes if size is None else min(block_bytes, size - taken))
        if not block and not rest:
            break
        taken, rest = taken + len(block), rest + block
        whole = len(rest) // wide * wide
        if whole:
            yield Recording(np.frombuffer(rest[:whole], "<i2").reshape(-1, channels), rate_hz, "PCM_16")
        rest = rest[whole:]
        if not block:
            break
    if rest:
        raise PrepError(f"{name}: ends within a frame: expected {channels} x 16 bits a frame")
    if size is not None and taken < size:
        raise PrepError(f"{name}: the stream ends {size - taken} bytes before its header says it does")


def _resampled(blocks: Iterator[Recording], name: str) -> Iterator[Pcm]:
    """Blocks of a recording as 16 kHz mono, int16 [frames], what passes full scale clipped; then its fault."""
    resampler, fault = None, None
    try:
        for block in blocks:
            if not RATES_HZ[0] <= block.rate_hz <= RATES_HZ[1]:
                raise PrepError(f"{name}: at {block.rate_hz:,} Hz, expected {RATES_HZ[0]:,} to {RATES_HZ[1]:,}")
            resampler = resampler or dsp.Resampler(block.rate_hz, RATE_HZ)
            yield _clipped(resampler.push(dsp.mono(codec.floats(block))))
    except (CorruptMember, PrepError) as error:
        fault = error
    if resampler is not None:
        yield _clipped(resampler.push(np.zeros(0, np.float32), is_last=True))
    if fault is not None:
        raise fault


def _clipped(samples: NDArray[np.float32]) -> Pcm:
    return dsp.quantised(samples if dsp.fits(samples) else np.clip(samples, -1.0, 1 - 1 / dsp.FULL_SCALE))


def microphone(say: Any) -> Iterator[Pcm]:
    """Blocks from the default microphone until Ctrl-C. PrepError where there is none.

    Where the detector is more than 30 s behind the sound, samples are lost; silence takes their place, so that times
    stay true. say: is called with a sentence on that.
    """
    try:
        sound: Any = import_module("sounddevice")
    except (ModuleNotFoundError, OSError):  # OSError: the package is there, the library PortAudio is not
        raise PrepError(
            f"--mic needs the package sounddevice and PortAudio: {to_install('mic')}; or pipe a recorder into --stdin"
        ) from None
    waiting = Waiting(round(_QUEUE_S / _PIPE_S))
    form = {"channels": 1, "dtype": "int16", "blocksize": round(_PIPE_S * RATE_HZ)}
    try:
        with sound.InputStream(RATE_HZ, callback=lambda block, *_: waiting.put(block[:, 0].copy()), **form):
            while True:
                lost, block = waiting.get()
                if lost:
                    say(f"mic: {lost / RATE_HZ:.1f} s of sound were lost: this machine is too slow for these windows")
                    yield np.zeros(lost, np.int16)
                yield block
    except sound.PortAudioError as error:
        raise PrepError(f"--mic: no microphone at 16 kHz ({error}); pipe a recorder into --stdin") from None


class Waiting:
    """Blocks between a thread that records and one that listens: at most so many, those that come then are lost."""

    def __init__(self, most: int) -> None:
        self._queue: queue.Queue[tuple[int, Pcm]] = queue.Queue(most)
        self._lost = 0  # only the thread that records counts

    def put(self, block: Pcm) -> None:
        """Takes a block, or counts its samples as lost. Never waits."""
        try:
            self._queue.put_nowait((self._lost, block))
            self._lost = 0
        except queue.Full:
            self._lost += len(block)

    def get(self) -> tuple[int, Pcm]:
        """(how many samples were lost before the next block, the block). Waits for it."""
        return self._queue.get()
