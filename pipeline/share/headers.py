"""What the first bytes of a recording say of it: WAV and FLAC. For a quick look at many; nothing here decodes."""

from __future__ import annotations

import struct
from typing import NamedTuple

HEAD_BYTES = 4096
FLAC_BYTES = 42  # mark, block header, STREAMINFO (RFC 9639, 8.2)
_FMT = struct.Struct("<HHIIH")
_UNTOLD = (0, 0xFFFFFFFF, 0x7FFFFFFF, 0x80000000, 0x7FFFF000, 0xFFFFF000)  # sizes that writers to a pipe leave


class Shape(NamedTuple):
    """Length, rate and channels."""

    frames: int
    rate_hz: int
    channels: int


def shape(head: bytes) -> Shape | None:
    """What the header says; None where it does not tell, or is none of a WAV or FLAC."""
    if head.startswith(b"fLaC"):
        return _flac(head)
    if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
        return _wav(head)
    return None


def _flac(head: bytes) -> Shape | None:
    if len(head) < FLAC_BYTES or head[4] & 0x7F:
        return None
    told = int.from_bytes(head[18:26], "big")  # 20 bits rate, 3 channels less one, 5 bits a sample less one, 36 frames
    frames = told & ((1 << 36) - 1)
    return Shape(frames, told >> 44, (told >> 41 & 7) + 1) if frames else None


def _wav(head: bytes) -> Shape | None:
    at, align, rate_hz, channels = 12, 0, 0, 0
    while at + 8 <= len(head):
        size = int.from_bytes(head[at + 4 : at + 8], "little")
        if head[at : at + 4] == b"fmt " and at + 24 <= len(head):
            _, channels, rate_hz, _, align = _FMT.unpack_from(head, at + 8)
        if head[at : at + 4] == b"data":
            return Shape(size // align, rate_hz, channels) if align and size not in _UNTOLD else None
        at += 8 + size + size % 2
    return None
