"""Zip archives: the end record, the central directory, and the bytes of a member."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from isal import isal_zlib  # on 3 MB of speech: inflates 455 MB/s (zlib 201), CRC-32 33 GB/s (zlib 5.6)

from pipeline.archives.names import CP949_FIRST, UTF8_FIRST, decoded, is_utf8
from pipeline.archives.sniff import described
from pipeline.archives.spans import Spans
from pipeline.core.errors import CorruptMember, SourceError
from pipeline.core.row import Place

STORED, DEFLATED = 0, 8

_LOCAL = struct.Struct("<4s2xHH4x12xHH")
_LOCAL_MARK = b"PK\x03\x04"
LOCAL_BYTES = _LOCAL.size
_CENTRAL = struct.Struct("<4s4xHH4xIIIHHHH6xI")
_CENTRAL_MARK = b"PK\x01\x02"
_END = struct.Struct("<4sHHHHIIH")
_END_MARK = b"PK\x05\x06"
_LOCATOR = struct.Struct("<4sIQI")
_LOCATOR_MARK = b"PK\x06\x07"
_END64 = struct.Struct("<4s12xIIQQQQ")
_END64_MARK = b"PK\x06\x06"
_LONGEST_COMMENT = 0xFFFF
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_SAMPLES = 16
_LARGEST_EXPANSION = 1032  # of deflate, RFC 1951: 258 bytes out of 2 bits
_ENCRYPTED, _UTF8 = 0x1, 0x800
_ZIP64_FIELD, _UNICODE_PATH_FIELD = 0x0001, 0x7075
_USUAL_HEADER_BYTES = LOCAL_BYTES + 482  # read along with the data, so that name and extra fields cost no second read
_METHODS = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "AES encryption"}


class Member(NamedTuple):
    """One file in an archive. offset: of its local header (zip) or its data (tar) in the archive's virtual file."""

    name: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int | None


class Record(NamedTuple):
    """A central directory record. offset: of the local header, on its disk."""

    name: str
    disk: int
    offset: int
    packed: int
    size: int
    method: int
    crc: int


@dataclass(frozen=True, slots=True)
class End:
    """The end record. disk: its own number, from 0; offset: of the central directory, on its disk; at: of the record itself."""

    disk: int
    directory_disk: int
    entries: int
    size: int
    offset: int
    at: int


def end_record(spans: Spans, starts: tuple[int, ...] = (0,)) -> End:
    """The end record; starts: where each disk begins in the virtual file. SourceError where there is none."""
    plain = _plain_end(spans)
    return _zip64(spans, plain.at, starts) or plain


def last_disk(spans: Spans) -> int:
    """The number of the disk, from 0, if the file is the last disk of a split zip; 0 for a zip in one file.

    A split zip whose disks somebody joined is in one file: its directory lies there whole, but not where it is told.
    """
    plain = _plain_end(spans)
    if plain.disk == 0:
        return 0
    try:
        end = end_record(spans)
    except SourceError:  # the zip64 end record lies on an earlier disk
        return plain.disk
    at = end.at - end.size
    is_joined = at >= 0 and (end.directory_disk < end.disk or at != end.offset)
    return 0 if is_joined else end.disk


def _plain_end(spans: Spans) -> End:
    """The end record without zip64."""
    tail = spans.pread(max(0, spans.size - _END.size), _END.size)
    if not (tail.startswith(_END_MARK) and tail.endswith(b"\0\0")):
        longest = _END.size + _LONGEST_COMMENT
        tail = spans.pread(max(0, spans.size - longest), longest)
    inside = _last_end(tail)
    if inside < 0:
        raise SourceError(_no_end(spans))
    _, disk, directory_disk, _, entries, size, offset, _ = _END.unpack_from(tail, inside)
    return End(disk, directory_disk, entries, size, offset, spans.size - len(tail) + inside)


def _last_end(tail: bytes) -> int:
    """Where the end record starts: the last one whose comment fills the rest, else the last one, else -1."""
    limit = len(tail) - _END.size + len(_END_MARK)
    last = inside = tail.rfind(_END_MARK, 0, max(limit, 0))
    while inside >= 0:
        if inside + _END.size + int.from_bytes(tail[inside + 20 : inside + 22], "little") == len(tail):
            return inside
        inside = tail.rfind(_END_MARK, 0, inside + len(_END_MARK) - 1)
    return last


def _no_end(spans: Spans) -> str:
    if spans.pread(0, 2) == b"PK":
        return (
            f"a zip without its end ({spans.size:,} bytes found): it is truncated, its last piece is missing, or its pieces were "
            "joined in the wrong order. Join the pieces in numeric order, or download it again."
        )
    return f"no archive but {described(spans)}. Download it again."


def _zip64(spans: Spans, end_at: int, starts: tuple[int, ...]) -> End | None:
    """The zip64 end record, None where the archive has none. Its locator stands right before the end record."""
    locator = spans.pread(end_at - _LOCATOR.size, _LOCATOR.size) if end_at >= _LOCATOR.size else b""
    if not locator.startswith(_LOCATOR_MARK):
        return None
    _, disk, offset, _ = _LOCATOR.unpack(locator)
    told = starts[disk] + offset if disk < len(starts) else -1
    for at in (told, end_at - _LOCATOR.size - _END64.size):  # the second where something was put before the archive
        record = spans.pread(at, _END64.size) if at >= 0 else b""
        if record.startswith(_END64_MARK) and len(record) == _END64.size:
            _, own_disk, directory_disk, _, entries, size, start = _END64.unpack(record)
            return End(own_disk, directory_disk, entries, size, start, at)
    raise SourceError("a zip64 archive without its zip64 end record: it is damaged. Download it again.")


def records(directory: bytes, end: End) -> list[Record]:
    """The central directory's records in its order. SourceError where it is damaged or does not match the end record."""
    rows: list[Record] = []
    undecided: list[tuple[int, bytes]] = []
    at, unpack, add = 0, _CENTRAL.unpack_from, rows.append
    while at < len(directory):
        try:
            mark, flags, method, crc, packed, size, name_n, extra_n, comment_n, disk, offset = unpack(directory, at)
        except struct.error:
            mark = b""
        if mark != _CENTRAL_MARK:
            raise SourceError(_damaged(len(rows), end))
        at += _CENTRAL.size + name_n
        raw, extra = directory[at - name_n : at], directory[at : at + extra_n]
        at += extra_n + comment_n
        if extra_n and (_FULL32 in (packed, size, offset) or disk == _FULL16):
            size, packed, offset, disk = _zip64_values(extra, size, packed, offset, disk)
        name = raw.decode() if raw.isascii() and not extra_n else _told_name(raw, flags, extra)
        if name is None:
            undecided.append((len(rows), raw))
        add(Record(name or "", disk, offset, packed, size, method, crc))
    if at != len(directory) or end.entries not in (
        len(rows),
        len(rows) & _FULL16,
        _FULL16,
    ):  # 16 bits wrap or stick at full
        raise SourceError(_damaged(len(rows), end))
    return _with_decided_names(rows, undecided)


def _damaged(read: int, end: End) -> str:
    return (
        f"the zip's central directory is damaged ({read:,} of {end.entries:,} entries could be read), or its pieces were "
        "joined in the wrong order. Join the pieces in numeric order, or download it again."
    )


def _zip64_values(extra: bytes, size: int, packed: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """size, packed, offset, disk, each taken from the zip64 extra field where the record itself is too narrow for it."""
    field = _extra_field(extra, _ZIP64_FIELD)
    values = [size, packed, offset]
    for index, value in enumerate(values):
        if value == _FULL32 and len(field) >= 8:
            values[index], field = int.from_bytes(field[:8], "little"), field[8:]
    if disk == _FULL16 and len(field) >= 4:
        disk = int.from_bytes(field[:4], "little")
    return values[0], values[1], values[2], disk


def _extra_field(extra: bytes, wanted: int) -> bytes:
    """The data of the extra field with that id; empty where there is none."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == wanted:
            return extra[at + 4 : at + 4 + size]
        at += 4 + size
    return b""


def _told_name(raw: bytes, flags: int, extra: bytes) -> str | None:
    """The name where the archive tells its encoding: by flag, or by Info-ZIP's field, which holds the CRC of the plain name."""
    field = _extra_field(extra, _UNICODE_PATH_FIELD) if extra else b""
    if not flags & _UTF8 and len(field) > 5 and int.from_bytes(field[1:5], "little") == isal_zlib.crc32(raw):
        raw, flags = field[5:], _UTF8
    try:
        return raw.decode() if flags & _UTF8 else None
    except UnicodeDecodeError:
        return None


def _with_decided_names(rows: list[Record], undecided: list[tuple[int, bytes]]) -> list[Record]:
    """The rows, with the names whose encoding nobody told. UTF-8 only where every such name in the archive is UTF-8:
    a short cp949 name can be valid UTF-8 by accident.
    """
    encodings = UTF8_FIRST if all(is_utf8(raw) for _, raw in undecided) else CP949_FIRST
    for index, raw in undecided:
        rows[index] = rows[index]._replace(name=decoded(raw, encodings))
    return rows


def is_member_at(spans: Spans, offset: int) -> bool:
    """Whether a member's local header stands at the offset."""
    return offset >= 0 and spans.pread(offset, len(_LOCAL_MARK)) == _LOCAL_MARK


def data_at(spans: Spans, offset: int) -> int:
    """Where the data of the member at `offset` starts, past its local header. SourceError where there is no local header."""
    head = spans.pread(offset, LOCAL_BYTES)
    if not head.startswith(_LOCAL_MARK) or len(head) < LOCAL_BYTES:
        raise SourceError(
            f"no member starts at byte {offset:,} of the zip, where its directory says one does. Download it again."
        )
    name_n, extra_n = _LOCAL.unpack(head)[-2:]
    return offset + LOCAL_BYTES + int(name_n) + int(extra_n)


def sampled(offsets: list[int]) -> list[int]:
    """Some of them, spread evenly, the first always among them."""
    return offsets[:: max(1, len(offsets) // _SAMPLES)]


def member_bytes(spans: Spans, place: Place) -> bytes:
    """The member's bytes, size and CRC-32 checked: one read, header and data together. CorruptMember where they are not right."""
    block = spans.pread(place.offset, _USUAL_HEADER_BYTES + place.packed)
    if len(block) < LOCAL_BYTES:
        raise CorruptMember(
            "truncated", f"{_named(place)} starts at byte {place.offset:,}, but the archive has {spans.size:,}"
        )
    mark, flags, method, name_n, extra_n = _LOCAL.unpack_from(block)
    if mark != _LOCAL_MARK:
        raise CorruptMember("corrupt", f"{_named(place)}: no member starts at byte {place.offset:,}")
    if flags & _ENCRYPTED:
        raise CorruptMember(
            "encrypted", f"{_named(place)} at byte {place.offset:,} is encrypted; repack the archive without a password"
        )
    start = LOCAL_BYTES + name_n + extra_n
    if start + place.packed > len(block):
        block += spans.pread(place.offset + len(block), start + place.packed - len(block))
    data = block[start : start + place.packed]
    if len(data) < place.packed:
        raise CorruptMember("truncated", f"{_named(place)} at byte {place.offset:,} runs past the end of the archive")
    return _checked(place, _unpacked(place, data, method))


def _unpacked(place: Place, data: bytes, method: int) -> bytes:
    if method != place.method:
        raise CorruptMember(
            "corrupt", f"{_named(place)} at byte {place.offset:,}: header and central directory name different methods"
        )
    if method == STORED:
        return data
    if method != DEFLATED:
        name = _METHODS.get(method, f"method {method}")
        raise CorruptMember(
            "unsupported",
            f"{_named(place)} at byte {place.offset:,} is packed with {name}; repack with deflate or stored",
        )
    if place.size > _LARGEST_EXPANSION * (len(data) + 1):
        raise CorruptMember(
            "corrupt", f"{_named(place)} at byte {place.offset:,} cannot hold the {place.size:,} bytes it claims"
        )
    try:
        return isal_zlib.decompressobj(-15).decompress(data, place.size + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # isal's stubs call the class an instance
        raise CorruptMember("corrupt", f"{_named(place)} at byte {place.offset:,} does not inflate: {error}") from error


def _checked(place: Place, data: bytes) -> bytes:
    if len(data) != place.size:
        raise CorruptMember(
            "corrupt", f"{_named(place)} at byte {place.offset:,} has not the {place.size:,} bytes it should have"
        )
    if isal_zlib.crc32(data) != place.crc:
        raise CorruptMember("corrupt", f"{_named(place)} at byte {place.offset:,} fails its CRC-32 check")
    return data


def _named(place: Place) -> str:
    return f"a member of {place.container}"
