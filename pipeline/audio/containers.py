"""What a container says of its own length: recordings joined in one file, bytes that are missing, bytes left over.

A decoder stops at the end that it knows, and says nothing of what follows or is lost. Nothing is decoded here.
"""

from __future__ import annotations

import functools
import io
import re
import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

# libsndfile's containers whose length can be checked here; it reads others, of which half a file passes for a whole one
READABLE = frozenset({"WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG", "MP3"})
# sizes that programs leave in a header when they write to a pipe, and cannot know how much will follow
NO_SIZE = frozenset(
    (0, 0x7FFFF000, 0xFFFFF000, *range(0x7FFFFF00, 0x80000100), *range(0xFFFFFF00, 1 << 32))  # some less a header
)
NO_SIZE_64 = 1 << 62
_TO_THE_END = (1 << 64) - 1  # as the size of the samples of a CAF, the last of its chunks
_WAVES = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">"}  # mark of a WAV -> order of its bytes
_UNPACKED, _EXTENSIBLE = (1, 3), 0xFFFE  # format tags of integers and floats, and of one that says so further on
_UNCLOSED = (8).to_bytes(4, "little")  # libsndfile then takes all bytes after the header of a WAV for samples
LEFT_BYTES = 4096  # that may follow the end of a recording: tags and padding
_CHUNK_NAME = re.compile(rb"[A-Za-z0-9_ ]{4}")
_W64_DATA = bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
_W64_FORMAT = bytes.fromhex("666d7420f3acd3118cd100c04f8edb8a")
_FLAC_FRAME = re.compile(rb"\xff[\xf8\xf9]")
_CRC8 = tuple(
    functools.reduce(lambda crc, _: (crc << 1 ^ 7 if crc & 0x80 else crc << 1) & 0xFF, range(8), byte)
    for byte in range(256)
)
_OGG_SOUNDS = (b"\x01vorbis", b"OpusHead", b"\x7fFLAC", b"Speex   ")
_FLAC_HZ = dict(enumerate((88_200, 176_400, 192_000, 8_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 96_000), 1))
_FLAC_STARTS = (b"fLaC\x00\x00\x00\x22", b"fLaC\x80\x00\x00\x22")  # with the header of STREAMINFO


class FileBytes:
    """The bytes of a file, read where they are looked at."""

    _AHEAD = 1 << 16

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._size = file.seek(0, io.SEEK_END)
        self._at, self._near = 0, b""

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, part: slice) -> bytes:
        start, stop, _ = part.indices(self._size)
        if not self._at <= start <= stop <= self._at + len(self._near):
            self._file.seek(start)
            self._at, self._near = start, self._file.read(max(self._AHEAD, stop - start))
        return self._near[start - self._at : max(start, stop) - self._at]

    def find(self, wanted: bytes, start: int = 0) -> int:
        """The first position of these bytes from `start` on; -1 where they are not there."""
        while start < self._size:
            near = self[start : start + self._AHEAD]
            if (at := near.find(wanted)) >= 0:
                return start + at
            start += max(1, len(near) - len(wanted) + 1)
        return -1


Bytes = bytes | FileBytes


class Part(NamedTuple):
    """One recording in a file: its bytes are [start, stop). fault: what of it is lost, in words; empty where nothing.

    patch: (where, how many bytes go, what stands instead): a header that lacks a length gets the right one.
    """

    start: int
    stop: int
    fault: str = ""
    patch: tuple[int, int, bytes] | None = None


def parts(data: Bytes) -> list[Part]:
    """The recordings that lie one after another in a file: one mostly; none where its container is not known."""
    mark, kind = data[:4], data[8:12]
    if mark in _WAVES and kind == b"WAVE":
        waves = _chunked(data, mark, 12, f"{_WAVES[mark]}4sI")
        return [wave._replace(patch=(wave.start, 4, b"RF64")) for wave in waves] if mark == b"BW64" else waves
    if mark == b"FORM" and kind in (b"AIFF", b"AIFC"):
        return _chunked(data, mark, 12, ">4sI")
    if mark == b"caff":
        return _chunked(data, mark, 8, ">4sQ")
    if mark == b"riff":
        return _w64(data)
    if mark == b".snd" and len(data) >= 24:
        begin, size = struct.unpack(">II", data[4:12])
        return [_bounded(data, begin, len(data) - begin if size in NO_SIZE else size)]
    if mark == b"NIST":
        return _nist(data)
    if mark == b"OggS":
        return _ogg(data)
    if mark == b"fLaC":
        return _flac(data)
    return _mp3(data) if _mp3_frame(mark) else []


def cut_off(data: Bytes, kind: str) -> str:
    """What an MP4 or a WEBM lacks at its end by the sizes of its outermost boxes or elements; empty where nothing."""
    at = begin(data)
    while kind in ("MP4", "WEBM") and at + 8 <= len(data):
        head = data[at : at + 20]
        if kind == "MP4":
            size = int.from_bytes(head[:4], "big")
            size = int.from_bytes(head[8:16], "big") if size == 1 else size
            if size < 8:
                break
        else:
            name, width = (9 - byte.bit_length() for byte in (head[0], head[min(9 - head[0].bit_length(), 19)]))
            value = int.from_bytes(head[name : name + width], "big") & (1 << 7 * width) - 1
            if name > 4 or width > 8 or value == (1 << 7 * width) - 1:  # a live stream does not know its size
                break
            size = name + width + value
        at += size
    return _missing(at - len(data)) if at > len(data) else ""


def begin(data: Bytes) -> int:
    """Where the recording begins: after the ID3v2 tags that stand in front of it, whatever its container is."""
    at = 0
    while size := _id3_bytes(data[at : at + 10]):
        at += size
    return min(at, len(data))


def contradiction(data: Bytes) -> str:
    """What in the header of a WAV cannot be: a frame of other bytes than its channels have; empty where nothing."""
    order = _WAVES.get(data[:4], "<")
    at, size = data_chunk(data, b"fmt ")
    if data[:4] == b"riff":
        at, size = data[:4096].find(_W64_FORMAT) + 24, 16
    if not at or min(size, len(data) - at) < 16:
        return ""
    tag, channels, _, _, frame, bits = struct.unpack(f"{order}HHIIHH", data[at : at + 16])
    if tag == _EXTENSIBLE:
        tag = int.from_bytes(data[at + 24 : at + 26], "little")
    if tag not in _UNPACKED or frame == channels * -(-bits // 8):
        return ""
    return f"its header says that a frame has {frame} bytes, and that it is {channels} x {bits} bits"


def data_chunk(data: Bytes, name: bytes = b"data") -> tuple[int, int]:
    """Where a chunk of a WAV begins and how many bytes its header says it has; (0, 0) where there is none."""
    at, order = 12, "big" if data[:4] == b"RIFX" else "little"
    while data[:4] in _WAVES and data[8:12] == b"WAVE" and at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], order)  # type: ignore[arg-type]
        if data[at : at + 4] == name:
            return at + 8, size
        at += 8 + size + size % 2
    return 0, 0


def _bounded(data: Bytes, begin: int, size: int) -> Part:
    """The one recording whose samples are these bytes, after which no more may follow."""
    end = begin + size
    if end > len(data):
        return Part(0, len(data), _missing(end - len(data)))
    return Part(0, end, _left(data, end))


def _missing(count: int) -> str:
    return f"the file ends {count} bytes before its header says it does"


def _left(data: Bytes, end: int) -> str:
    count = len(data) - end - _id3_bytes(data[end : end + 10])
    return f"{count} bytes follow the end that its header states" if count > LEFT_BYTES else ""


def _chunked(data: Bytes, mark: bytes, first: int, header: str) -> list[Part]:
    """WAV, AIFF and CAF: chunks of a name and a size; another file may follow the last one.

    libsndfile does not know that a BW64 is an RF64, nor that the last chunk of a CAF may have no size.
    """
    done: list[Part] = []
    start, at, form, samples = 0, first, struct.Struct(header), (b"data", b"SSND")
    wide, has_samples, fault = 0, False, ""
    while at + form.size <= len(data):
        name, size = form.unpack(data[at : at + form.size])
        if name == mark and has_samples:
            done.append(Part(start, at, fault))
            start, at, wide, has_samples, fault = at, at + first, 0, False, ""
            continue
        if not _CHUNK_NAME.fullmatch(name):
            break
        at += form.size
        if name == b"ds64":
            wide = int.from_bytes(data[at + 8 : at + 16], "little")
        if name in samples and not has_samples:
            has_samples = True
            size = wide or size
            known = data[start + 4 : start + 8]  # its size: bytes may follow what a WAV that was never closed knows of
            is_longer = int.from_bytes(known, "little") + 8 < len(data) - start and known != _UNCLOSED
            if mark == b"RIFF" and not size and at < len(data) and is_longer:
                return [*done, Part(start, len(data), "", (start + 4, 4, _UNCLOSED))]
            if mark == b"caff" and size == _TO_THE_END:
                return [*done, Part(start, len(data), "", (at - 8, 8, (len(data) - at).to_bytes(8, "big")))]
            if (size in NO_SIZE and not wide) or size >= NO_SIZE_64:
                return [*done, Part(start, len(data))]
            if at + size > len(data):
                return [*done, Part(start, len(data), _missing(at + size - len(data)))]
        elif name in samples:
            fault = "it has two chunks of samples"
        at += size + (size % 2 if mark != b"caff" else 0)
    return [*done, Part(start, len(data), fault or (_left(data, at) if has_samples else ""))]


def _w64(data: Bytes) -> list[Part]:
    at = 40
    while at + 24 <= len(data):
        size = int.from_bytes(data[at + 16 : at + 24], "little")
        if data[at : at + 16] == _W64_DATA:
            return [_bounded(data, at + 24, size - 24)] if 24 <= size < NO_SIZE_64 else [Part(0, len(data))]
        at += max(24, size + -size % 8)
    return [Part(0, len(data))]


def _nist(data: Bytes) -> list[Part]:
    """SPHERE: a header in text says how many samples of how many bytes there are."""
    fields = dict(re.findall(rb"^(\w+) -i (\d{1,12})$", data[:4096], re.MULTILINE))
    size = data[8:16].strip()
    if not size.isdigit() or not {b"sample_count", b"channel_count", b"sample_n_bytes"} <= fields.keys():
        return [Part(0, len(data))]
    count, channels, width = (int(fields[name]) for name in (b"sample_count", b"channel_count", b"sample_n_bytes"))
    return [_bounded(data, int(size), count * channels * width)]


def _flac(data: Bytes) -> list[Part]:
    begins = [0]
    at = data.find(b"fLaC", 4)
    while at >= 0:
        if data[at : at + 8] in _FLAC_STARTS:
            begins.append(at)
        at = data.find(b"fLaC", at + 4)
    ends = [*begins[1:], len(data)]
    return [_one_flac(data, start, stop) for start, stop in zip(begins, ends, strict=True)]


def _one_flac(data: Bytes, start: int, stop: int) -> Part:
    """A FLAC: the frame count of its header against what its last frame says."""
    head = data[start : start + 42]
    if head[:8] not in _FLAC_STARTS or len(head) < 42:
        return Part(start, stop)
    bits = int.from_bytes(head[18:26], "big")
    promised = bits & (1 << 36) - 1
    near = max(start + 42, stop - (int.from_bytes(head[15:18], "big") or 1 << 17) - LEFT_BYTES)
    tail = data[near:stop]
    ends = [end for match in _FLAC_FRAME.finditer(tail) if (end := _flac_end(tail[match.start() :][:16], head))]
    if promised in ends:
        return Part(start, stop)
    if promised:
        there = f"its last frame ends at {ends[-1]}" if ends else "no frame of its rate and channels lies near its end"
        return Part(start, stop, f"its header promises {promised} frames, {there}")
    return Part(start, stop, "", (start + 18, 8, (bits | ends[-1]).to_bytes(8, "big"))) if ends else Part(start, stop)


def flac_md5(data: Bytes) -> bytes:
    """The checksum that a FLAC states of its samples; empty where there is none."""
    head = data[:42]
    return head[26:42].strip(b"\0") and head[26:42] if head[:8] in _FLAC_STARTS else b""


def _flac_end(head: bytes, stream: bytes) -> int:
    """How many frames there are up to the end of the FLAC frame that begins like this; 0 where none does.

    RFC 9639, 9.1. stream: the first bytes of the file, with STREAMINFO.
    """
    if len(head) < 16 or head[3] & 1 or head[3] >> 4 > 10:
        return 0
    channels = (stream[20] >> 1 & 7) + 1
    if (2 if head[3] >> 4 > 7 else (head[3] >> 4) + 1) != channels:
        return 0
    # ones in front: none of a number in one byte, else as many as bytes, as in UTF-8
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    more = max(0, ones - 1)
    number = head[4] & 0x7F >> ones
    for byte in head[5 : 5 + more]:
        number = number << 6 | byte & 0x3F
    at, code, rate = 5 + more, head[2] >> 4, head[2] & 15
    width = {6: 1, 7: 2}.get(code, 0)
    size = int.from_bytes(head[at : at + width], "big") + 1 if width else 192 if code == 1 else 0
    size = size or (576 << code - 2 if 2 <= code <= 5 else 256 << code - 8 if code >= 8 else 0)
    at += width + {12: 1, 13: 2, 14: 2}.get(rate, 0)
    crc = 0
    for byte in head[:at]:
        crc = _CRC8[crc ^ byte]
    stated = int.from_bytes(stream[18:21], "big") >> 4
    if not size or rate == 15 or crc != head[at] or _FLAC_HZ.get(rate, stated) != stated:
        return 0
    return (number if head[1] & 1 else number * int.from_bytes(stream[8:10], "big")) + size


def _ogg(data: Bytes) -> list[Part]:
    """Chained streams, each of pages that count from 0; the last page of each says that it is the last."""
    done: list[Part] = []
    start, at, is_head, fault = 0, 0, True, ""
    open_streams: dict[bytes, int] = {}  # serial number -> number of its next page
    ends: dict[bytes, int] = {}  # serial number -> how far its last page says that it goes
    sounds: set[bytes] = set()  # serial numbers of the streams of sound of this link
    while (page := data.find(b"OggS", at)) >= 0:
        fault = fault or (f"{page - at} bytes between its pages are none" if page > at else "")
        head = data[page : page + 27 + 255]
        if len(head) < 27 or len(head) < 27 + head[26]:
            break
        flags, serial, number = head[5], head[14:18], int.from_bytes(head[18:22], "little")
        if flags & 2 and not is_head:
            done.append(Part(start, page, fault or _open(open_streams)))
            start, fault, open_streams, ends, sounds = page, "", {}, {}, set()
        is_head = bool(flags & 2)
        if not is_head and number != open_streams.get(serial, number):
            fault = fault or f"page {number} comes where page {open_streams[serial]} should be"
        open_streams[serial] = number + 1
        if flags & 4:
            del open_streams[serial]
        until, lengths = int.from_bytes(head[6:14], "little", signed=True), head[27 : 27 + head[26]]
        at = page + len(lengths) + 27
        if is_head and data[at : at + 8].startswith(_OGG_SOUNDS):
            sounds.add(serial)
        if serial in sounds and lengths.strip(b"\xff"):  # a packet ends on this page
            if until < ends.get(serial, 0) or len(sounds) > 1:
                what = (
                    "it has two streams of sound at once" if len(sounds) > 1 else f"it ends at {until}, before the last"
                )
                fault = fault or f"page {number}: {what}"
            ends[serial] = until
        at += sum(lengths)
        if at > len(data):
            return [*done, Part(start, len(data), _missing(at - len(data)).replace("its header", "its last page"))]
    return [*done, Part(start, len(data), fault or _open(open_streams) or _left(data, at))]


def _open(streams: dict[bytes, int]) -> str:
    return "it ends before the page that is marked as its last" if streams else ""


def _id3_bytes(head: bytes) -> int:
    """The bytes of the ID3v2 tag that begins like this; 0 where none does."""
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    size = sum((byte & 0x7F) << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
    return 10 + size + (10 if head[5] & 0x10 else 0)


_MP3_KBIT = {
    (3, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (3, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (3, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_MP3_HZ = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def _mp3_frame(head: bytes) -> int:
    """The bytes of the MPEG audio frame that begins like this (ISO 11172-3, 13818-3); 0 where none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return 0
    version, layer, rate, bits = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 2 & 3, head[2] >> 4
    if version == 1 or layer == 4 or rate == 3 or not 0 < bits < 15:
        return 0
    kbit = _MP3_KBIT[(3, layer) if version == 3 else (2, min(layer, 2))][bits - 1]
    hz, padding = _MP3_HZ[version][rate], head[2] >> 1 & 1
    if layer == 1:
        return (12_000 * kbit // hz + padding) * 4
    return (72_000 if layer == 3 and version != 3 else 144_000) * kbit // hz + padding


def _mp3_promised(head: bytes) -> int | None:
    """How many frames follow one that holds a Xing, Info or VBRI header; None for a frame of sound."""
    channels, version = head[3] >> 6, head[1] >> 3 & 3
    at = 4 + {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[version == 3, channels == 3]
    if head[at : at + 4] in (b"Xing", b"Info"):
        return int.from_bytes(head[at + 8 : at + 12], "big") if head[at + 7] & 1 else 0
    return int.from_bytes(head[50:54], "big") if head[36:40] == b"VBRI" else None


def _mp3_count(head: bytes, count: int) -> bytes:
    """A frame that only says how many frames follow: without one, the decoder guesses by the first one's bit rate."""
    for bits in (9, 14):
        own = bytes([head[0], head[1] | 1, head[2] & 0x0D | bits << 4, head[3]])
        length = _mp3_frame(own)
        if length >= 60:
            break
    is_mpeg1, is_mono = head[1] >> 3 & 3 == 3, head[3] >> 6 == 3
    side = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}[is_mpeg1, is_mono]
    return (own + bytes(side) + b"Info\0\0\0\1" + count.to_bytes(4, "big")).ljust(length, b"\0")


def _mp3(data: Bytes) -> list[Part]:
    """Frames one after another, among them tags. A frame count, or a tag, in the middle begins another recording."""
    done: list[Part] = []
    start = at = count = 0
    promised = first = 0  # frames that this recording says it has, 0 where it does not say; where its first one lies
    header, kind, fault = (0, 0), b"", ""  # where the frame lies that says so, and its bytes; of what sound all are

    def close(stop: int) -> None:
        short = f"its header promises {promised} frames, {count} are there" if count < promised - 1 else ""
        patch = None
        if done and count == 1 and not promised:  # some coders count one frame too few
            done[-1] = done[-1]._replace(stop=stop)
            return
        if count and count > promised + 1:
            patch = (*(header if header[1] else (first, 0)), _mp3_count(data[first : first + 4], count))
        done.append(Part(start, stop, fault or short, patch))

    while at < len(data):
        head = data[at : at + 64]
        skip = _mp3_tag_bytes(head)
        length = 0 if skip else _mp3_frame(head)
        if skip:
            if count and head[:3] == b"ID3":
                close(at)
                start, count, promised, header, fault = at, 0, 0, (0, 0), ""
            at += skip
            continue
        if not length:
            after = next(_mp3_frames_from(data, at + 1), len(data))
            fault = fault or (f"{after - at} bytes between its frames are none" if after < len(data) else "")
            fault = fault or (_left(data, at) if any(data[at : at + LEFT_BYTES]) else "")
            at = after
            continue
        stated = _mp3_promised(head)
        sound = bytes([head[1] & 0x1E, head[2] & 0x0C, head[3] >> 6 == 3])  # version, layer, rate, mono or not
        needs = head[4:5] if head[1] & 1 else head[6:7]  # how many bytes of the frames before: none in a first one
        is_first = promised and count >= promised and needs == b"\0"
        if count and (stated is not None or sound != kind or is_first):
            close(at)
            start, count, promised, header, fault = at, 0, 0, (0, 0), ""
        if at + length > len(data):
            fault = fault or _missing(at + length - len(data)).replace("its header", "its last frame")
        first, kind = (first, kind) if count else (at, sound)
        if stated is None:
            count += 1
        else:
            promised, header = stated, (at, length)
        at += length
    close(len(data))
    return done


def _mp3_tag_bytes(head: bytes) -> int:
    """The bytes of a tag among frames: ID3v2, ID3v1 or APE; 0 where none begins like this."""
    if head[:3] == b"TAG":
        return 227 if head[:4] == b"TAG+" else 128
    if head[:8] == b"APETAGEX":
        is_header = bool(head[23] & 0x20) if len(head) > 23 else False
        return 32 + (int.from_bytes(head[12:16], "little") if is_header else 0)
    return _id3_bytes(head)


def _mp3_frames_from(data: Bytes, at: int) -> Iterator[int]:
    """Where frames begin from here on: such that another one follows."""
    while (at := data.find(b"\xff", at)) >= 0:
        length = _mp3_frame(data[at : at + 4])
        if length and _mp3_frame(data[at + length : at + length + 4]):
            yield at
        at += 1
