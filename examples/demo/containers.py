"""Writes the containers that corpora are delivered in: zips with old Korean names, zips cut into disks or pieces, tars
of pieces.

All of it in memory and for the demo corpus only. The same members give the same bytes: names sorted, one fixed date.
"""

from __future__ import annotations

import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Literal
from unicodedata import normalize

_DATE = (2023 - 1980) << 9 | 1 << 5 | 1  # 1 January 2023, as MS-DOS counts
_UTF_8_NAMES = 0x800
_STORED, _DEFLATED = 0, 8
_DISK_MARK = b"PK\x07\x08"  # begins the first disk of a split zip


@dataclass(frozen=True, slots=True)
class Style:
    """How names and data go into a zip.

    encoding: of names, "utf-8" (flagged) or "cp949" (unflagged, as old Windows tools wrote). stored: not deflated.
    """

    encoding: str = "utf-8"
    form: Literal["NFC", "NFD"] = "NFC"
    stored: bool = False


@dataclass(frozen=True, slots=True)
class _Member:
    """One member's bytes as they go into the archive, and what the directory repeats of them."""

    name: bytes
    fields: bytes
    packed: bytes

    @property
    def local(self) -> bytes:
        return struct.pack("<4s", b"PK\x03\x04") + self.fields + self.name

    def central(self, disk: int, offset: int) -> bytes:
        return (
            struct.pack("<4sH", b"PK\x01\x02", 20)
            + self.fields
            + struct.pack("<HHHII", 0, disk, 0, 0, offset)
            + self.name
        )


def zipped(members: Mapping[str, bytes], style: Style = Style()) -> bytes:
    """A zip of these members."""
    (only,) = split_zipped(members, 1 << 40, style)
    return only


def split_zipped(members: Mapping[str, bytes], disk_bytes: int, style: Style = Style()) -> list[bytes]:
    """The disks of a split zip, `.z01`, `.z02`, ..., and `.zip` last; one disk, an ordinary zip, where that is enough.

    A header lies on one disk whole, a member's data may go on to the next. Offsets count from the beginning of a disk.
    """
    packed = [_member(name, members[name], style) for name in sorted(members)]
    size = sum(len(member.local) + len(member.packed) for member in packed)
    disks = [bytearray(_DISK_MARK if size > disk_bytes else b"")]
    directory = b""
    for member in packed:
        _room_for(member.local, disks, disk_bytes)
        directory += member.central(len(disks) - 1, len(disks[-1]))
        disks[-1] += member.local
        _pour(member.packed, disks, disk_bytes)
    _room_for(directory + bytes(22), disks, disk_bytes)
    last, count = len(disks) - 1, len(packed)
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", last, last, count, count, len(directory), len(disks[-1]), 0)
    disks[-1] += directory + end
    return [bytes(disk) for disk in disks]


def tarred(members: Mapping[str, bytes]) -> bytes:
    """A tar of these members, in the order given."""
    out = BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, BytesIO(data))
    return out.getvalue()


def pieces(name: str, data: bytes, piece_bytes: int) -> dict[str, bytes]:
    """`NAME.part<offset>` -> bytes; in the order of their names as text, which is not that of their offsets."""
    cut = {f"{name}.part{start}": data[start : start + piece_bytes] for start in range(0, len(data), piece_bytes)}
    return dict(sorted(cut.items()))


def _member(name: str, data: bytes, style: Style) -> _Member:
    raw = normalize(style.form, name).encode(style.encoding)
    packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = data if style.stored else packer.compress(data) + packer.flush()
    method = _STORED if style.stored else _DEFLATED
    flags = _UTF_8_NAMES if style.encoding == "utf-8" else 0
    fields = struct.pack(
        "<HHHHHIIIHH", 20, flags, method, 0, _DATE, zlib.crc32(data), len(packed), len(data), len(raw), 0
    )
    return _Member(raw, fields, packed)


def _room_for(block: bytes, disks: list[bytearray], disk_bytes: int) -> None:
    """A new disk where the block would not lie whole on the present one."""
    if len(disks[-1]) + len(block) > disk_bytes:
        disks.append(bytearray())


def _pour(data: bytes, disks: list[bytearray], disk_bytes: int) -> None:
    """The data onto the disks, as many as it takes."""
    while data:
        room = disk_bytes - len(disks[-1])
        disks[-1] += data[:room]
        data = data[room:]
        if data:
            disks.append(bytearray())
