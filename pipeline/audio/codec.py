"""Bytes to samples and back, and the identity of a sound. The only user of soundfile."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile as sf
from isal import isal_zlib
from numpy.typing import NDArray

from pipeline.core.errors import CorruptMember

# libsndfile's encodings of at most 16 bits, and the other integer ones; all others are read as float32
_INT16 = frozenset(
    {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "ALAC_16", "DPCM_8", "DPCM_16"}
)
_INT32 = frozenset({"PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32"})
COMPRESSION = 0.0  # of 0 to 1: as small as 0.5 within 1 % for speech in noise at 16 kHz, and a sixth faster
ROUNDED_S = 0.1  # how far after the end of its recording a piece may end
_UNKNOWN_FRAMES = 2**48  # of a stream whose writer did not know its length; libsndfile says 2**63 - 1
HEADER_BYTES = 4096  # the first bytes of a recording, in which `shape` finds what it looks for
FLAC_HEADER_BYTES = 42  # mark, block header, STREAMINFO (RFC 9639, 8.2)
_UNCLOSED_RIFF = (8).to_bytes(4, "little")  # libsndfile then takes all bytes after the header for samples
# sizes that programs leave in a WAV header when they write to a pipe, and cannot know how much will follow
_NO_SIZE = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFF000)
_UNKNOWN_FRAMES = 2**48  # of a stream whose writer did not know its length, libsndfile says 2**63 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A decoded file.

    pcm: [frames, channels], int16, int32 (24 bits in the upper three bytes) or float32, whichever the file has. format:
    container and encoding, `WAV PCM_16`.
    """

    pcm: NDArray[Any]
    rate_hz: int
    format: str


def decode(data: bytes) -> Recording:
    """The recording in a file's bytes. CorruptMember: empty, truncated, corrupt, not_audio, not_finite."""
    if not data:
        raise CorruptMember("empty", "the file has no bytes")
    try:
        with sf.SoundFile(io.BytesIO(data)) as file:
            kind = "int16" if file.subtype in _INT16 else "int32" if file.subtype in _INT32 else "float32"
            pcm = _plain_wav(data, file) if kind == "int16" else None
            pcm = file.read(dtype=kind, always_2d=True) if pcm is None else pcm
            recording = Recording(pcm, file.samplerate, f"{file.format} {file.subtype}")
            promised = file.frames
    except sf.LibsndfileError as error:  # its text has an address in memory, error_string has none
        raise _undecodable(data, error.error_string) from None
    except RuntimeError as error:
        raise _undecodable(data, str(error)) from None
    if missing := _missing_bytes(data):
        raise CorruptMember(
            "truncated", f"the file ends {missing} bytes before its header says it does, after {len(pcm)} frames"
        )
    if len(pcm) < promised:
        raise CorruptMember("truncated", f"its header promises {promised} frames, {len(pcm)} are there")
    if not len(pcm) and _never_closed(data):
        return decode(data[:4] + _UNCLOSED_RIFF + data[8:])
    if not len(pcm):
        raise CorruptMember("empty", f"{recording.format} without a single frame")
    if kind == "float32" and not np.isfinite(pcm).all():
        raise CorruptMember("not_finite", f"{recording.format} with NaN or infinite samples")
    return recording


def blocks(file: BinaryIO, frames: int) -> Iterator[Recording]:
    """The recording in a seekable file in blocks of at most so many frames: little memory, whatever its length.

    CorruptMember as `decode`, but only after the blocks that can be decoded.
    """
    data, count, promised = _FileBytes(file), 0, 0
    if not len(data):
        raise CorruptMember("empty", "the file has no bytes")
    file.seek(0)
    try:
        with sf.SoundFile(file) as sound:
            kind = "int16" if sound.subtype in _INT16 else "int32" if sound.subtype in _INT32 else "float32"
            promised = sound.frames if sound.frames < _UNKNOWN_FRAMES else 0
            while len(pcm := sound.read(frames, dtype=kind, always_2d=True)):
                if kind == "float32" and not np.isfinite(pcm).all():
                    raise CorruptMember("not_finite", f"{sound.format} {sound.subtype} holds NaN or infinite samples")
                yield Recording(pcm, sound.samplerate, f"{sound.format} {sound.subtype}")
                count += len(pcm)
    except sf.LibsndfileError as error:  # its text holds an address in memory, error_string does not
        raise _undecodable(data, error.error_string) from None
    except RuntimeError as error:
        raise _undecodable(data, str(error)) from None
    if missing := _missing_bytes(data):
        raise CorruptMember("truncated", f"the file ends {missing} bytes before its header says it does")
    if count < promised:
        raise CorruptMember("truncated", f"its header promises {promised} frames, {count} are there")
    if not count and _never_closed(data):
        yield from blocks(cast(BinaryIO, _Reopened(file)), frames)
    elif not count:
        raise CorruptMember("empty", "a recording without a single frame")


class _FileBytes:
    """The bytes of a file, read where they are looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __len__(self) -> int:
        return self._file.seek(0, io.SEEK_END)

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(len(self))
        self._file.seek(start)
        return self._file.read(max(0, stop - start))


class _Reopened(io.RawIOBase):
    """A WAV file that was never closed, with a header by which all bytes after it are samples."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        at = self._file.tell()
        data = bytearray(self._file.read(len(buffer)))
        for place, byte in enumerate(_UNCLOSED_RIFF, 4):
            if at <= place < at + len(data):
                data[place - at] = byte
        buffer[: len(data)] = bytes(data)
        return len(data)


def cut(recording: Recording, begin_s: float, end_s: float | None, channel: int | None = None) -> Recording:
    """The piece of a recording between two times, to the nearest frame, of one channel (from 0) or of all (None).

    CorruptMember: `outside` where it does not lie in the recording, `no_channel` where there is no such channel. An end
    up to 0.1 s after that of the recording is taken for it, for tables of segments are rounded.
    """
    rate_hz, (frames, channels) = recording.rate_hz, recording.pcm.shape
    begin, end = round(begin_s * rate_hz), frames if end_s is None else round(end_s * rate_hz)
    if not 0 <= begin < min(end, frames) or end - frames > ROUNDED_S * rate_hz:
        until = "its end" if end_s is None else f"{end_s:g} s"
        raise CorruptMember(
            "outside",
            f"the piece from {begin_s:g} s to {until} does not lie in a recording of {frames / rate_hz:.3f} s",
        )
    if channel is not None and channel >= channels:
        raise CorruptMember(
            "no_channel", f"channel {channel} is meant (the first is 0), and the recording has {channels}"
        )
    which = slice(None) if channel is None else slice(channel, channel + 1)
    return Recording(recording.pcm[begin : min(end, frames), which], rate_hz, recording.format)


def _plain_wav(data: bytes, file: sf.SoundFile) -> NDArray[np.int16] | None:
    """The samples of a plain 16-bit WAV, int16 [frames, channels], without a copy; None for any other file."""
    at, size = _chunk(data, b"data")
    count = file.frames * file.channels
    if file.subtype != "PCM_16" or not at or at % 2 or size != 2 * count or at + size > len(data):
        return None
    return np.frombuffer(data, "<i2", count, at).reshape(-1, file.channels)


def _undecodable(data: bytes | _FileBytes, error: str) -> CorruptMember:
    if data[:4] in (b"RIFF", b"RF64", b"fLaC", b"OggS"):
        if len(data) < 4096:
            return CorruptMember("truncated", f"the file ends after {len(data)} bytes, within its header")
        return CorruptMember(
            "corrupt",
            f"{data[:4].decode()}: it begins as a recording and cannot be decoded to its end ({error.strip()})",
        )
    start = data[:60].decode("utf-8", "replace").split("\n")[0]
    return CorruptMember("not_audio", f"not a recording that can be decoded: starts with {start!r} ({error.strip()})")


def _missing_bytes(data: bytes | _FileBytes) -> int:
    """How many bytes the data chunk of a WAV promises beyond the end of the file; 0 for other formats."""
    at, size = _chunk(data, b"data")
    return 0 if size in _NO_SIZE else max(0, at + size - len(data))


def _never_closed(data: bytes | _FileBytes) -> bool:
    """Whether a WAV was never closed: it has no samples by its header, and yet bytes follow."""
    at, size = _chunk(data, b"data")
    return (
        0 < at < len(data)
        and size == 0
        and int.from_bytes(data[4:8], "little") + 8 < len(data)
        and data[4:8] != _UNCLOSED_RIFF
    )


def _chunk(data: bytes | _FileBytes, name: bytes) -> tuple[int, int]:
    """Where a chunk of a WAV begins and how many bytes its header says it has; (0, 0) where there is none."""
    at = 12
    while data[:4] == b"RIFF" and data[8:12] == b"WAVE" and at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == name:
            return at + 8, size
        at += 8 + size + size % 2
    return 0, 0


def shape(head: bytes) -> tuple[int, int, int] | None:
    """(frames, rate in Hz, channels) of a recording by its first bytes; None where they do not say, or are no WAV or
    FLAC.

    Of our own FLAC FLAC_HEADER_BYTES are enough, of a WAV HEADER_BYTES nearly always.
    """
    if head.startswith(b"fLaC") and len(head) >= FLAC_HEADER_BYTES and not head[4] & 0x7F:
        bits = int.from_bytes(head[18:26], "big")  # 20 of rate, 3 of channels less one, 5 of sample size, 36 of frames
        frames = bits & ((1 << 36) - 1)
        return (frames, bits >> 44, (bits >> 41 & 7) + 1) if frames else None
    (format_at, _), (data_at, size) = _chunk(head, b"fmt "), _chunk(head, b"data")
    if not format_at or format_at + 14 > len(head) or not data_at or size in _NO_SIZE:
        return None
    _, channels, rate_hz, _, bytes_a_frame = struct.unpack_from("<HHIIH", head, format_at)
    return (size // bytes_a_frame, rate_hz, channels) if bytes_a_frame else None


def library() -> tuple[str, list[str]]:
    """(name and version of the library that decodes, the container formats that it knows)."""
    return f"libsndfile {sf.__libsndfile_version__}", sorted(sf.available_formats())


def floats(recording: Recording) -> NDArray[np.float32]:
    """The samples as float32 [frames, channels], full scale 1.0."""
    if recording.pcm.dtype == np.float32:
        return recording.pcm
    scale = 2.0**-15 if recording.pcm.dtype == np.int16 else 2.0**-31
    return np.asarray(recording.pcm.astype(np.float32) * np.float32(scale))


def pcm_hash(pcm: NDArray[Any], rate_hz: int) -> str:
    """The identity of a sound, 32 hex digits: BLAKE2b-128 of the little-endian samples, channels interleaved.

    The rate, channel count and sample type follow the samples as ASCII: `16000 1 int16`.
    """
    samples = np.ascontiguousarray(pcm)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    digest = blake2b(samples.data if samples.size else b"", digest_size=16)
    digest.update(f"{rate_hz} {channels} {samples.dtype.name}".encode())
    return digest.hexdigest()


def pcm_crc(pcm: NDArray[Any]) -> int:
    """CRC-32 of the samples, little-endian, channels interleaved.

    It is no identity, but it takes a hundredth of the time, and notices a recording that was replaced.
    """
    return int(isal_zlib.crc32(np.ascontiguousarray(pcm).data))


def flac(pcm: NDArray[np.int16], rate_hz: int) -> bytes:
    """FLAC bytes of mono 16-bit samples, lossless."""
    out = io.BytesIO()
    sf.write(out, pcm, rate_hz, format="FLAC", subtype="PCM_16", compression_level=COMPRESSION)
    return out.getvalue()


def write(path: Path, blocks: Iterable[NDArray[np.int16]], rate_hz: int, form: str) -> None:
    """Writes mono 16-bit samples that come in blocks, as `WAV` or `FLAC`: little memory, whatever their length."""
    with sf.SoundFile(path, "w", rate_hz, 1, "PCM_16", format=form) as file:
        for block in blocks:
            file.write(block)


def unflac(data: bytes) -> NDArray[np.int16]:
    """The samples in FLAC bytes that `flac` made, int16 [frames]. CorruptMember where they are damaged."""
    try:
        pcm, _ = sf.read(io.BytesIO(data), dtype="int16")
    except (sf.LibsndfileError, RuntimeError) as error:
        raise CorruptMember("corrupt", f"no FLAC clip of ours: {error}") from None
    return np.asarray(pcm)
