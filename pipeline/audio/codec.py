"""Bytes to samples and back, and the identity of a sound. The only user of soundfile."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b, md5
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import soundfile as sf
from isal import isal_zlib
from numpy.typing import NDArray

from pipeline.audio import containers
from pipeline.audio.containers import NO_SIZE, Bytes, data_chunk
from pipeline.core.errors import CorruptMember

# libsndfile's encodings of at most 16 bits, and the other integer ones; all others are read as float32
_INT16 = frozenset(
    {"PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "IMA_ADPCM", "MS_ADPCM", "GSM610", "ALAC_16", "DPCM_8", "DPCM_16"}
)
_INT32 = frozenset({"PCM_24", "PCM_32", "ALAC_20", "ALAC_24", "ALAC_32"})
COMPRESSION = 0.0  # of 0 to 1: as small as 0.5 within 1 % for speech in noise at 16 kHz, and a sixth faster
ROUNDED_S = 0.1  # how far after the end of its recording a piece may end
MOST_BYTES = 400_000_000  # of the samples of one recording: 3.5 hours at 16 kHz, 38 minutes of stereo at 44.1 kHz
LOWEST_HZ, HIGHEST_HZ = 1_000, 1_000_000  # of recordings, those of bats among them
_AT_ONCE = 1 << 22  # frames
HEADER_BYTES = 4096  # the first bytes of a recording, in which `shape` finds what it looks for
FLAC_HEADER_BYTES = 42  # mark, block header, STREAMINFO (RFC 9639, 8.2)
_OTHER_SAMPLES = "its samples are not those of which it states the checksum (MD5)"
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


def decode(data: bytes, most_bytes: int = MOST_BYTES) -> Recording:
    """The recording in a file's bytes; of recordings joined in one file all of them, one after another.

    most_bytes: bound on the samples as they are decoded. CorruptMember: empty, truncated, corrupt, not_audio,
    not_finite, too_large, unsupported.
    """
    if not data:
        raise CorruptMember("empty", "the file has no bytes")
    if not (data := data[containers.begin(data) :]):
        raise CorruptMember("truncated", "the file ends within its ID3 tag")
    parts = containers.parts(data)
    if len(parts) < 2:
        return _decoded(data, parts[0] if parts else containers.Part(0, len(data)), most_bytes)
    recordings = []
    for part in parts:
        recordings.append(_decoded(data, part, most_bytes))
        most_bytes -= recordings[-1].pcm.nbytes
        _refuse_other(recordings[-1], recordings[0])
    return Recording(np.concatenate([one.pcm for one in recordings]), recordings[0].rate_hz, recordings[0].format)


def _decoded(data: bytes, part: containers.Part, most_bytes: int) -> Recording:
    """One recording in these bytes."""
    if part.patch:
        at, gone, instead = part.patch
        data = data[part.start : at] + instead + data[at + gone : part.stop]
    elif (part.start, part.stop) != (0, len(data)):
        data = data[part.start : part.stop]
    fault = part.fault
    if wrong := containers.contradiction(data):
        raise CorruptMember("corrupt", wrong)
    try:
        with sf.SoundFile(io.BytesIO(data)) as file:
            _refuse_header(file)
            kind = _kind(file)
            pcm = _plain_wav(data, file) if kind == "int16" else None
            pcm = _read(file, kind, most_bytes) if pcm is None else pcm
            recording = Recording(pcm, file.samplerate, f"{file.format} {file.subtype}")
            promised = file.frames if file.frames < _UNKNOWN_FRAMES else 0
    except sf.LibsndfileError as error:  # its text has an address in memory, error_string has none
        raise _undecodable(data, error.error_string, fault) from None
    except RuntimeError as error:
        raise _undecodable(data, str(error), fault) from None
    if recording.pcm.nbytes > most_bytes:
        raise too_large(most_bytes)
    if fault:
        raise CorruptMember("truncated", f"{fault}, after {len(pcm)} frames")
    if len(pcm) < promised:
        raise CorruptMember("truncated", f"its header promises {promised} frames, {len(pcm)} are there")
    if not len(pcm):
        raise CorruptMember("empty", f"{recording.format} without a single frame")
    if kind == "float32" and not np.isfinite(pcm).all():
        raise CorruptMember("not_finite", f"{recording.format} with NaN or infinite samples")
    stated = containers.flac_md5(data)
    if stated and md5(_flac_bytes(recording), usedforsecurity=False).digest() != stated:
        raise CorruptMember("corrupt", _OTHER_SAMPLES)
    return recording


def _flac_bytes(recording: Recording) -> bytes | memoryview:
    """The samples of a FLAC as its checksum counts them: in as many bytes as they need (RFC 9639, 8.2)."""
    pcm = np.ascontiguousarray(recording.pcm)
    if recording.format == "FLAC PCM_24":
        return pcm.view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    return (pcm >> 8).astype(np.int8).data if recording.format == "FLAC PCM_S8" else pcm.data


def _kind(file: sf.SoundFile) -> str:
    return "int16" if file.subtype in _INT16 else "int32" if file.subtype in _INT32 else "float32"


def _read(file: sf.SoundFile, kind: str, most_bytes: int) -> NDArray[Any]:
    """The samples, [frames, channels]: those that are there, whatever the header says, and few more than the bound."""
    most = most_bytes // (file.channels * np.dtype(kind).itemsize) + 1
    if file.frames <= min(most, _AT_ONCE):
        return cast("NDArray[Any]", file.read(file.frames, dtype=kind, always_2d=True))
    pcm = np.empty((min(file.frames, most), file.channels), kind)  # memory is taken as it is written
    count = 0
    _read_on(file)
    while count < len(pcm) and len(block := file.read(out=pcm[count : count + _AT_ONCE])):
        count += len(block)
    return pcm[:count]


def _read_on(file: sf.SoundFile) -> None:
    """Has soundfile read block after block: it would seek to each, and what an MP3 decoder kept of the last be lost."""
    file.seekable = lambda: False


def too_large(most_bytes: int) -> CorruptMember:
    """What ends a recording with more bytes of samples than the bound."""
    return CorruptMember(
        "too_large", f"more than {most_bytes:,} bytes of samples; --max-mb of prep ingest is the bound"
    )


def _refuse_header(file: sf.SoundFile) -> None:
    """CorruptMember for a container whose length cannot be checked, and for what no recording says of itself."""
    if file.format not in containers.READABLE:
        expected = ", ".join(sorted(containers.READABLE - {"WAVEX"}))
        raise CorruptMember("unsupported", f"{file.format}: whether it is whole cannot be known; expected {expected}")
    refuse_rate(file.samplerate)


def refuse_rate(rate_hz: int) -> None:
    """CorruptMember for a rate that no recorder has."""
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise CorruptMember(
            "corrupt", f"its header says {rate_hz:,} Hz; expected {LOWEST_HZ:,} to {HIGHEST_HZ:,} samples a second"
        )


def _refuse_other(recording: Recording, first: Recording) -> None:
    """CorruptMember where a recording cannot follow another one in the same file."""
    shape, expected = ((one.rate_hz, one.pcm.shape[1], one.format) for one in (recording, first))
    if shape != expected:
        raise CorruptMember("corrupt", f"recordings of {expected} and {shape} (rate, channels, format) in one file")


def blocks(file: BinaryIO, frames: int) -> Iterator[Recording]:
    """The recording in a seekable file in blocks of at most so many frames: little memory, whatever its length.

    CorruptMember as `decode`, but only after the blocks that can be decoded.
    """
    data = containers.FileBytes(file)
    if not len(data):
        raise CorruptMember("empty", "the file has no bytes")
    if begin := containers.begin(data):
        file = cast(BinaryIO, _Window(file, containers.Part(begin, len(data))))
        data = containers.FileBytes(file)
    if not len(data):
        raise CorruptMember("truncated", "the file ends within its ID3 tag")
    first = None
    for part in containers.parts(data) or [containers.Part(0, len(data))]:
        for block in _blocks(cast(BinaryIO, _Window(file, part)), part.fault, frames):
            first = first or block
            _refuse_other(block, first)
            yield block


def _blocks(window: BinaryIO, fault: str, frames: int) -> Iterator[Recording]:
    """The blocks of one recording. fault: what of it is lost by its container."""
    data, count, promised, digest = containers.FileBytes(window), 0, 0, md5(usedforsecurity=False)
    if wrong := containers.contradiction(data):
        raise CorruptMember("corrupt", wrong)
    stated = containers.flac_md5(data)
    window.seek(0)
    try:
        with sf.SoundFile(window) as sound:
            _refuse_header(sound)
            kind = _kind(sound)
            promised = sound.frames if sound.frames < _UNKNOWN_FRAMES else 0
            _read_on(sound)
            while size := min(frames, promised - count) if promised else frames:
                if not len(pcm := sound.read(size, dtype=kind, always_2d=True)):
                    break
                if kind == "float32" and not np.isfinite(pcm).all():
                    raise CorruptMember("not_finite", f"{sound.format} {sound.subtype} holds NaN or infinite samples")
                block = Recording(pcm, sound.samplerate, f"{sound.format} {sound.subtype}")
                yield block
                count += len(pcm)
                digest.update(_flac_bytes(block) if stated else b"")
    except sf.LibsndfileError as error:  # its text holds an address in memory, error_string does not
        raise _undecodable(data, error.error_string, fault) from None
    except RuntimeError as error:
        raise _undecodable(data, str(error), fault) from None
    if fault:
        raise CorruptMember("truncated", fault)
    if count < promised:
        raise CorruptMember("truncated", f"its header promises {promised} frames, {count} are there")
    if not count:
        raise CorruptMember("empty", "a recording without a single frame")
    if stated not in (b"", digest.digest()):
        raise CorruptMember("corrupt", _OTHER_SAMPLES)


class _Window(io.RawIOBase):
    """The bytes of one recording in a file as a file of its own, with its patch."""

    def __init__(self, file: BinaryIO, part: containers.Part) -> None:
        at, gone, instead = part.patch or (part.stop, 0, b"")
        self._file, self._at = file, 0
        self._spans: list[tuple[int, int | bytes]] = [  # (length, where it lies in the file, or the bytes themselves)
            (at - part.start, part.start),
            (len(instead), instead),
            (part.stop - at - gone, at + gone),
        ]

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        size = sum(length for length, _ in self._spans)
        self._at = max(0, {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: size}[whence] + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        count, begin = 0, 0
        for length, source in self._spans:
            skip = self._at + count - begin
            wanted = min(length - skip, len(buffer) - count)
            begin += length
            if skip < 0 or wanted <= 0:
                continue
            if isinstance(source, bytes):
                data = source[skip : skip + wanted]
            else:
                self._file.seek(source + skip)
                data = self._file.read(wanted)
            buffer[count : count + len(data)] = data
            count += len(data)
        self._at += count
        return count


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
    at, size = data_chunk(data)
    count = file.frames * file.channels
    if (
        data[:4] != b"RIFF"
        or file.subtype != "PCM_16"
        or not at
        or at % 2
        or size != 2 * count
        or at + size > len(data)
    ):
        return None
    return np.frombuffer(data, "<i2", count, at).reshape(-1, file.channels)


def _undecodable(data: Bytes, error: str, fault: str) -> CorruptMember:
    if data[28:33] == b"\x7fFLAC":
        return CorruptMember("unsupported", "FLAC in Ogg is not decoded: write it as a file of FLAC alone")
    if fault:
        return CorruptMember("truncated", fault)
    mark = data[:4].decode("latin-1")
    if mark in ("RIFF", "RF64", "fLaC", "OggS") and len(data) < 4096:
        return CorruptMember("truncated", f"the file ends after {len(data)} bytes, within its header")
    if containers.parts(data) or mark in ("RIFF", "RF64", "fLaC", "OggS"):
        mark = mark if mark.isprintable() and mark.isascii() else "MP3"
        return CorruptMember(
            "corrupt", f"{mark}: it begins as a recording and cannot be decoded to its end ({error.strip()})"
        )
    start = data[:60].decode("utf-8", "replace").split("\n")[0]
    return CorruptMember("not_audio", f"not a recording that can be decoded: starts with {start!r} ({error.strip()})")


def shape(head: bytes) -> tuple[int, int, int] | None:
    """(frames, rate in Hz, channels) of a recording by its first bytes; None where they do not say, or are no WAV or
    FLAC.

    Of our own FLAC FLAC_HEADER_BYTES are enough, of a WAV HEADER_BYTES nearly always.
    """
    if head.startswith(b"fLaC") and len(head) >= FLAC_HEADER_BYTES and not head[4] & 0x7F:
        bits = int.from_bytes(head[18:26], "big")  # 20 of rate, 3 of channels less one, 5 of sample size, 36 of frames
        frames = bits & ((1 << 36) - 1)
        return (frames, bits >> 44, (bits >> 41 & 7) + 1) if frames else None
    (format_at, _), (data_at, size) = data_chunk(head, b"fmt "), data_chunk(head, b"data")
    if head[:4] != b"RIFF" or not format_at or format_at + 14 > len(head) or not data_at or size in NO_SIZE:
        return None
    _, channels, rate_hz, _, bytes_a_frame = struct.unpack_from("<HHIIH", head, format_at)
    return (size // bytes_a_frame, rate_hz, channels) if bytes_a_frame else None


def library() -> tuple[str, list[str]]:
    """(name and version of the library that decodes, the container formats that it knows)."""
    return f"libsndfile {sf.__libsndfile_version__}", sorted(containers.READABLE.intersection(sf.available_formats()))


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
