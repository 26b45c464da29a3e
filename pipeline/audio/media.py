"""Recordings that libsndfile does not decode: samples without a header, and what phones record, by PyAV.

PyAV (the extra [media]) is loaded when the first such recording is decoded. All others go to `codec`.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from importlib import import_module
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import codec, containers
from pipeline.audio.codec import MOST_BYTES, Recording
from pipeline.core.errors import CorruptMember, to_install

NEEDS = "needs_media"  # the reason of a drop where PyAV is not installed
_HEADERS = (b"RIFF", b"RF64", b"fLaC", b"OggS", b"NIST")  # of files that somebody gave the suffix of raw samples
_MAGIC = ((b"\x1a\x45\xdf\xa3", "WEBM"), (b"#!AMR", "AMR"), (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"))
_TIMED = ("WEBM", "WMA")  # they say in one place how long all of it is
_LATE_S = 0.1  # shorter than the container says: cut off


def container(head: bytes) -> str | None:
    """What a file is by its first 12 bytes, of those that are decoded by PyAV: MP4, AAC, AMR, WEBM, WMA; else None."""
    if head[4:8] == b"ftyp":
        return "MP4"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # ADTS: layer 0, which MP3 does not have
        return "AAC"
    return next((name for magic, name in _MAGIC if head.startswith(magic)), None)


def decode(data: bytes, most_bytes: int = MOST_BYTES) -> Recording:
    """The recording in a file's bytes, of any container that is known here. CorruptMember as codec.decode, and NEEDS.

    pcm is float32 where PyAV decodes: what these encodings hold.
    """
    begin = containers.begin(data)
    kind = container(data[begin : begin + 12])
    if kind is None:
        return codec.decode(data, most_bytes)
    parts: list[Recording] = []
    size = 0
    for part in _frames(io.BytesIO(data), kind):
        parts.append(part)
        size += part.pcm.nbytes
        if size > most_bytes:
            raise codec.too_large(most_bytes)
    return Recording(np.concatenate([part.pcm for part in parts]), parts[0].rate_hz, parts[0].format)


def blocks(file: BinaryIO, frames: int) -> Iterator[Recording]:
    """The recording in a seekable file, of any container, in blocks; those of codec have at most so many frames."""
    data = containers.FileBytes(file)
    begin = containers.begin(data)
    kind = container(data[begin : begin + 12])
    file.seek(0)
    yield from codec.blocks(file, frames) if kind is None else _frames(file, kind)


def raw(data: bytes, rate_hz: int) -> Recording:
    """The recording in a file of mono 16-bit little-endian samples; half a sample at the end is not counted.

    A file that has a header all the same is decoded by it. CorruptMember as `decode`.
    """
    if data[:4] in _HEADERS:
        return decode(data)
    if len(data) < 2:
        raise CorruptMember("empty", "the file has no samples")
    return Recording(np.frombuffer(data, "<i2", len(data) // 2).reshape(-1, 1), rate_hz, "RAW PCM_16")


def _frames(file: BinaryIO, kind: str) -> Iterator[Recording]:
    """What PyAV decodes, frame by frame, without what an encoder added at the end. CorruptMember after what is there.

    An MP4 says how long it is: what is later is filling, and what is missing was cut off.
    """
    fault = containers.cut_off(containers.FileBytes(file), kind)
    file.seek(0)
    try:
        av = import_module("av")
    except ModuleNotFoundError:
        what = f"an {kind}, as phones record" if kind[0] in "AM" else f"a {kind}"
        raise CorruptMember(NEEDS, f"{what}: to decode it, {to_install('media')}") from None
    count, there, promised, shape, filling = 0, 0, None, (0, 0), 0
    try:
        with av.open(file, mode="r") as opened:
            streams = opened.streams.audio
            if not streams:
                raise CorruptMember("no_audio_track", f"an {kind} without sound")
            if len(streams) > 1:
                what = (
                    f"an {kind} with {len(streams)} tracks of sound: write the one that is meant to a file of its own"
                )
                raise CorruptMember("unsupported", what)
            stream = streams[0]
            name, resampler = f"{kind} {stream.codec_context.name.upper()}", av.AudioResampler(format="fltp")
            for decoded in opened.decode(stream):
                for frame in resampler.resample(decoded):
                    pcm = cast("NDArray[Any]", frame.to_ndarray()).T
                    shape = (frame.sample_rate, pcm.shape[1]) if not there else shape
                    if (frame.sample_rate, pcm.shape[1]) != shape:
                        raise CorruptMember("corrupt", f"an {kind} whose rate or channels change in the middle")
                    codec.refuse_rate(frame.sample_rate)
                    if not there and kind == "MP4" and stream.duration:
                        promised = round(float(stream.duration * stream.time_base) * shape[0])
                    there, filling = there + len(pcm), max(filling, len(pcm))
                    pcm = pcm if promised is None else pcm[: max(0, promised - count)]
                    count += len(pcm)
                    if not np.isfinite(pcm).all():
                        raise CorruptMember("not_finite", f"{name} with NaN or infinite samples")
                    if len(pcm):
                        yield Recording(np.ascontiguousarray(pcm, np.float32), shape[0], name)
            known_s = opened.duration if kind in _TIMED and len(opened.streams) == 1 else None
            promised = round(known_s * shape[0] / 1_000_000) if known_s else promised
    except av.FFmpegError as error:
        if fault:
            raise CorruptMember("truncated", fault) from None
        raise CorruptMember("corrupt", f"an {kind} that cannot be decoded to its end ({error.strerror})") from None
    if not count:
        raise CorruptMember("empty", f"an {kind} without a single frame")
    late = _LATE_S * shape[0]
    if promised is not None and (promised - count > late or (kind == "MP4" and there - promised > late + 2 * filling)):
        raise CorruptMember("truncated", f"its header promises {promised} frames, {there} are there")
    if fault:
        raise CorruptMember("truncated", fault)
