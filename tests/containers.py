"""Writes containers for the tests: zips with every quirk, split zips, tars, pieces.

Own code, independent of the reader.
"""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

FULL32 = 0xFFFFFFFF
Files = Mapping[str, bytes]


@dataclass(frozen=True)
class Style:
    """How a zip is written. flagged: names carry the UTF-8 flag; descriptor: sizes come after the data, as in a stream.

    unicode_field: the plain name is `??.wav`, Info-ZIP's extra field holds the true one.
    """

    encoding: str = "utf-8"
    flagged: bool = True
    form: str = "NFC"
    method: int = 8
    descriptor: bool = False
    unicode_field: bool = False
    zip64: bool = False
    encrypted: bool = False
    comment: bytes = b""
    prefix: bytes = b""


UTF8 = Style()
STORED = Style(method=0)
CP949 = Style(encoding="cp949", flagged=False)


class _Disks:
    """Bytes over disks of a bounded size; `room` starts a new disk where a record would not fit whole."""

    def __init__(self, limit: int | None) -> None:
        self.disks = [bytearray()]
        self.limit = limit

    def room(self, size: int) -> tuple[int, int]:
        if self.limit is not None and self.limit - len(self.disks[-1]) < size:
            self.disks.append(bytearray())
        return len(self.disks) - 1, len(self.disks[-1])

    def write(self, data: bytes) -> None:
        while self.limit is not None and len(self.disks[-1]) + len(data) > self.limit:
            room = self.limit - len(self.disks[-1])
            self.disks[-1] += data[:room]
            self.disks.append(bytearray())
            data = data[room:]
        self.disks[-1] += data


def zip_bytes(files: Files, style: Style = UTF8) -> bytes:
    """A zip in one file."""
    out = _Disks(None)
    out.write(style.prefix)
    _write(out, files, style)
    return bytes(out.disks[0])


def split_zip(files: Files, stem: str, disk_bytes: int, style: Style = UTF8) -> dict[str, bytes]:
    """File name -> bytes of a split zip: `stem.z01`, ..., `stem.zip`, each of at most `disk_bytes` (at least 200)."""
    out = _Disks(disk_bytes)
    out.write(b"PK\x07\x08")
    _write(out, files, style)
    names = [f"{stem}.z{number:02d}" for number in range(1, len(out.disks))] + [f"{stem}.zip"]
    return dict(zip(names, map(bytes, out.disks), strict=True))


def _write(out: _Disks, files: Files, style: Style) -> None:
    base = len(style.prefix)
    central = [_member(out, name, data, style, base) for name, data in files.items()]
    disk, at = out.room(46)
    for record in central:
        out.write(record)
    _end(out, disk, at - base, len(central), sum(map(len, central)), style)


def _member(out: _Disks, name: str, data: bytes, style: Style, base: int) -> bytes:
    """Writes the member; its central directory record."""
    raw = normalize(style.form, name).encode(style.encoding)
    packed = data if style.method != 8 else zlib.compress(data, 6, -15)
    crc, sizes = zlib.crc32(data), (len(packed), len(data))
    flags = 0x800 * style.flagged | 0x8 * style.descriptor | 0x1 * style.encrypted
    extra = b""
    if style.unicode_field:
        text, raw = raw, raw.decode(style.encoding).encode("ascii", "replace")
        extra = struct.pack("<HHBI", 0x7075, 5 + len(text), 1, zlib.crc32(raw)) + text
    local_sums = (0, 0, 0) if style.descriptor else (crc, *sizes)
    disk, at = out.room(30 + len(raw) + len(extra))
    out.write(
        struct.pack("<4s5H3I2H", b"PK\3\4", 20, flags, style.method, 0, 0x5821, *local_sums, len(raw), len(extra))
        + raw
        + extra
    )
    out.write(packed)
    if style.descriptor:
        out.write(struct.pack("<4s3I", b"PK\7\x08", crc, *sizes))
    offset = at - base
    if style.zip64:
        extra += struct.pack("<HHQQQ", 1, 24, len(data), len(packed), offset)
        sizes, offset = (FULL32, FULL32), FULL32
    fields = (20, 20, flags, style.method, 0, 0x5821, crc, *sizes, len(raw), len(extra), 0, disk, 0, 0, offset)
    return struct.pack("<4s6H3I5H2I", b"PK\1\2", *fields) + raw + extra


def _end(out: _Disks, disk: int, at: int, count: int, size: int, style: Style) -> None:
    if style.zip64:
        own_disk, own_at = out.room(56)
        out.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, own_disk, disk, count, count, size, at))
        last, _ = out.room(20 + 22)
        out.write(struct.pack("<4sIQI", b"PK\6\7", own_disk, own_at - len(style.prefix), last + 1))
        at = size = FULL32
    last, _ = out.room(22 + len(style.comment))
    out.write(
        struct.pack("<4s4H2IH", b"PK\5\6", last, disk, *[count & 0xFFFF] * 2, size, at, len(style.comment))
        + style.comment
    )


def tar_bytes(files: Files, form: str = "NFC", encoding: str = "utf-8", kind: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar; kind: tarfile.USTAR_FORMAT, GNU_FORMAT or PAX_FORMAT."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=kind, encoding=encoding) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(normalize(form, name))
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def pieces(name: str, data: bytes, size: int) -> dict[str, bytes]:
    """`name.part<byte offset>` -> bytes, in the order of text, which is the wrong one."""
    return {f"{name}.part{at}": data[at : at + size] for at in sorted(range(0, len(data), size), key=str)}


def write(folder: Path, files: Files) -> Path:
    """Writes the files below the folder, whose path comes back."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def crc_of_ogg(page: bytes) -> int:
    """CRC-32 of an Ogg page, whose own field is zero (RFC 3533): polynomial 0x04C11DB7, no reflection."""
    crc = 0
    for byte in page:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & FULL32
    return crc
