"""Zip archives: the end record, the central directory, where each member lies, and the bytes of a member.

A split zip is `NAME.z01`, `NAME.z02`, ..., `NAME.zip`; its offsets count from the start of each disk.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from isal import isal_zlib  # on 3 MB of speech: inflates 455 MB/s (zlib 201), CRC-32 33 GB/s (zlib 5.6)

from pipeline.archives.names import CP949_FIRST, UTF8_FIRST, base, decoded, is_utf8
from pipeline.archives.spans import Spans, described, refuse_too_many
from pipeline.core.errors import CorruptMember, SourceError
from pipeline.core.row import Place

STORED, DEFLATED = 0, 8

_LOCAL = struct.Struct("<4s2xHH4x12xHH")
_LOCAL_MARK = b"PK\x03\x04"
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
_WRAP = 1 << 32  # where zips of more than 4 GiB that were written without zip64 start their offsets again
_SAMPLES = 16
_LARGEST_EXPANSION = 1032  # of deflate, RFC 1951: 258 bytes out of 2 bits
_MOST_EXPANSION = 200  # of a recording: only silence is packed better
_ANY_BYTES = 64 << 20  # and so much is nothing to worry about
_MOST_TEXT_EXPANSION = 50  # of a table or a label
_ANY_TEXT_BYTES = 4 << 20
_ENCRYPTED, _UTF8 = 0x1, 0x800
_ZIP64_FIELD, _UNICODE_PATH_FIELD = 0x0001, 0x7075
_DESCRIPTOR_BYTES = (0, 12, 16, 20, 24)  # what may stand between a member's data and the next member
_USUAL_HEADER_BYTES = _LOCAL.size + 482  # read along with the data, so that name and extra fields cost no second read
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
    """The end record. disk: its own number, from 0; offset: of the central directory, on its disk; at: of itself."""

    disk: int
    directory_disk: int
    entries: int
    size: int
    offset: int
    at: int


def last_disk(spans: Spans) -> int:
    """The number of the disk, from 0, if the file is the last disk of a split zip; 0 for a zip in one file.

    A split zip whose disks somebody joined is in one file: its directory lies there whole, but not where the end
    record says.
    """
    plain = _plain_end(spans)
    if plain.disk == 0:
        return 0
    try:
        end = _zip64_end(spans, plain.at, (0,)) or plain
    except SourceError:  # the zip64 end record lies on an earlier disk
        return plain.disk
    at = end.at - end.size
    is_joined = at >= 0 and (end.directory_disk < end.disk or at != end.offset)
    return 0 if is_joined else end.disk


def zip_members(spans: Spans, starts: tuple[int, ...] = (0,)) -> Iterator[Member]:
    """The files in the zip, in the order of its directory; starts: where each of its disks begins in the virtual file.

    SourceError: truncated, damaged, its beginning or a disk missing, not a zip.
    """
    plain = _plain_end(spans)
    end = _zip64_end(spans, plain.at, starts) or plain
    directory_at = end.at - end.size
    if directory_at < 0:
        raise SourceError(_headless(-directory_at))
    refuse_too_many(end.size // _CENTRAL.size)
    rows = _records(spans.pread(directory_at, end.size), end)
    if end.disk == 0:
        # `zip -fz -` leaves the offset to a zip64 record that it then does not write
        offsets = _offsets(spans, rows, 0 if end.offset == _FULL32 else directory_at - end.offset)
    elif len(starts) > 1:
        offsets = _offsets_over_disks(spans, rows, starts, directory_at)
    else:
        offsets = _offsets_after_joining(spans, rows)
    if len(set(offsets)) < len(offsets):
        raise SourceError(
            "two files in its directory are the same bytes of it, so one has a false name. Pack it again."
        )
    rows.reverse()
    for offset in offsets:
        row = rows.pop()  # so that a record is gone when its member is there: archives have millions of them
        if row.name[-1:] not in ("/", "\\"):
            yield Member(row.name, offset, row.packed, row.size, row.method, row.crc)


def _plain_end(spans: Spans) -> End:
    """The end record without zip64: the last one whose comment fills the rest, else the last one at all."""
    tail = spans.pread(max(0, spans.size - _END.size), _END.size)
    if not (tail.startswith(_END_MARK) and tail.endswith(b"\0\0")):
        longest = _END.size + _LONGEST_COMMENT
        tail = spans.pread(max(0, spans.size - longest), longest)
    last = inside = tail.rfind(_END_MARK, 0, max(len(tail) - _END.size + len(_END_MARK), 0))
    while inside >= 0:
        if inside + _END.size + int.from_bytes(tail[inside + 20 : inside + 22], "little") == len(tail):
            last = inside
            break
        inside = tail.rfind(_END_MARK, 0, inside + len(_END_MARK) - 1)
    if last < 0 and spans.pread(0, 2) == b"PK":
        raise SourceError(
            f"a zip without its end ({spans.size:,} bytes found): it is truncated, its last piece is missing, or its "
            "pieces were joined in the wrong order. Join the pieces in numeric order, or download it again."
        )
    if last < 0:
        raise SourceError(f"no archive but {described(spans)}. Download it again.")
    _, disk, directory_disk, _, entries, size, offset, _ = _END.unpack_from(tail, last)
    return End(disk, directory_disk, entries, size, offset, spans.size - len(tail) + last)


def _zip64_end(spans: Spans, end_at: int, starts: tuple[int, ...]) -> End | None:
    """The zip64 end record, None where the archive has none. Its locator stands right before the end record."""
    locator = spans.pread(end_at - _LOCATOR.size, _LOCATOR.size) if end_at >= _LOCATOR.size else b""
    if not locator.startswith(_LOCATOR_MARK):
        return None
    _, disk, offset, _ = _LOCATOR.unpack(locator)
    stated = starts[disk] + offset if disk < len(starts) else -1
    for at in (stated, end_at - _LOCATOR.size - _END64.size):  # the second where something stands before the archive
        record = spans.pread(at, _END64.size) if at >= 0 else b""
        if record.startswith(_END64_MARK) and len(record) == _END64.size:
            _, own_disk, directory_disk, _, entries, size, start = _END64.unpack(record)
            return End(own_disk, directory_disk, entries, size, start, at)
    raise SourceError("a zip64 archive without its zip64 end record: it is damaged. Download it again.")


def _headless(missing_bytes: int) -> str:
    return (
        f"the beginning of the zip is missing, {missing_bytes:,} bytes at least (its first piece?). "
        "Put it beside the rest, or download it again."
    )


def _records(directory: bytes, end: End) -> list[Record]:
    """The central directory's records in its order. SourceError where it is damaged or does not match the end record.

    Names whose encoding the archive does not state are taken for UTF-8 only where all of them are valid UTF-8: a short
    cp949 name can be valid UTF-8 by accident.
    """
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
        name = raw.decode() if raw.isascii() and not extra_n else _stated_name(raw, flags, extra)
        if name is None:
            undecided.append((len(rows), raw))
        add(Record(name or "", disk, offset, packed, size, method, crc))
    counts = (len(rows), len(rows) & _FULL16, _FULL16)  # 16 bits wrap, or stay at their largest
    if at != len(directory) or end.entries not in counts:
        raise SourceError(_damaged(len(rows), end))
    encodings = UTF8_FIRST if all(is_utf8(raw) for _, raw in undecided) else CP949_FIRST
    for index, raw in undecided:
        rows[index] = rows[index]._replace(name=decoded(raw, encodings))
    return rows


def _damaged(read: int, end: End) -> str:
    return (
        f"the zip's central directory is damaged ({read:,} of {end.entries:,} entries could be read), or its pieces "
        "were joined in the wrong order. Join the pieces in numeric order, or download it again."
    )


def _zip64_values(extra: bytes, size: int, packed: int, offset: int, disk: int) -> tuple[int, int, int, int]:
    """size, packed, offset, disk, each out of the zip64 extra field where the record itself is too narrow for it."""
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


def _stated_name(raw: bytes, flags: int, extra: bytes) -> str | None:
    """The name where the archive states its encoding: by a flag, or by Info-ZIP's field with the plain name's CRC."""
    field = _extra_field(extra, _UNICODE_PATH_FIELD) if extra else b""
    if not flags & _UTF8 and len(field) > 5 and int.from_bytes(field[1:5], "little") == isal_zlib.crc32(raw):
        raw, flags = field[5:], _UTF8
    try:
        return raw.decode() if flags & _UTF8 else None
    except UnicodeDecodeError:
        return None


def _is_member_at(spans: Spans, offset: int) -> bool:
    """Whether a member's local header stands at the offset."""
    return offset >= 0 and spans.pread(offset, len(_LOCAL_MARK)) == _LOCAL_MARK


def _sampled(offsets: list[int]) -> list[int]:
    """Some of the offsets, spread evenly, the first always among them."""
    return offsets[:: max(1, len(offsets) // _SAMPLES)]


def _offsets(spans: Spans, rows: list[Record], prefix: int) -> list[int]:
    """Each member's offset in a zip in one file.

    prefix: how much later the directory lies than the end record says, as when a program stands before the zip.
    """
    if prefix < 0:
        raise SourceError(_headless(-prefix))
    offsets = [prefix + row.offset for row in rows]
    if prefix and prefix % _WRAP == 0:
        # The offsets were cut to 32 bits. Members lie in the directory's order, so each step back is another 4 GiB.
        offsets, wraps, previous = [], 0, -1
        for row in rows:
            wraps += _WRAP if row.offset <= previous else 0
            previous = row.offset
            offsets.append(wraps + row.offset)
    wrong = [offset for offset in _sampled(offsets) if not _is_member_at(spans, offset)]
    if 2 * len(wrong) > len(_sampled(offsets)):  # one bad member is a Drop, a shuffled archive is not
        raise SourceError(
            f"no member where the zip's directory says, as at byte {wrong[0]:,}: its pieces were joined in the wrong "
            "order, or it is damaged. Join the pieces in numeric order, or download it again."
        )
    return offsets


def _by_disk(rows: list[Record]) -> dict[int, list[Record]]:
    """The records of each disk, by offset."""
    of_disk: dict[int, list[Record]] = {}
    for row in sorted(rows, key=lambda row: (row.disk, row.offset)):
        of_disk.setdefault(row.disk, []).append(row)
    return of_disk


def _offsets_over_disks(spans: Spans, rows: list[Record], starts: tuple[int, ...], directory_at: int) -> list[int]:
    """Each member's offset in the virtual file; starts: where each disk begins; directory_at: where the members end.

    SourceError names a disk that is too short or of another archive.
    """
    by_disk = _by_disk(rows)
    if by_disk and max(by_disk) >= len(starts):
        raise SourceError(
            f"its directory speaks of disk {max(by_disk) + 1}, but the set has {len(starts)}. Download the .zip again."
        )
    for number, members in by_disk.items():
        offsets = _sampled([starts[number] + row.offset for row in members])
        if 2 * sum(not _is_member_at(spans, offset) for offset in offsets) > len(offsets):
            raise SourceError(_misfit(spans, starts, number, number + 1))
    begins = [(number, starts[number] + members[0].offset) for number, members in by_disk.items()]
    following = [*begins[1:], (len(starts) - 1, directory_at)]
    for (number, members), (next_number, begin) in zip(by_disk.items(), following, strict=True):
        end = last = starts[number] + members[-1].offset
        if _is_member_at(spans, last):  # else its own reader refuses it
            end = data_at(spans, last) + members[-1].packed
        if end > begin:
            raise SourceError(_misfit(spans, starts, number, max(next_number, number + 1)))
    return [starts[row.disk] + row.offset for row in rows]


def _misfit(spans: Spans, starts: tuple[int, ...], first: int, after: int) -> str:
    """The message on the disks [first, after), which do not fit the others."""
    ends = (*starts[1:], spans.size)
    disks = [spans.cut(start, end - start) for start, end in zip(starts, ends, strict=True)][first:after]
    names = " or ".join(f"{base(disk.path)} ({disk.size:,} bytes)" for disk in disks)
    return f"disk {names} does not fit the others: it is cut short, damaged or of another archive. Download it again."


def _offsets_after_joining(spans: Spans, rows: list[Record]) -> list[int]:
    """Each member's offset in a split zip whose disks somebody joined with `cat`; its offsets count from the disks.

    A disk's first member starts where the last member of the disk before it ends, so it tells where the disk began.
    SourceError where that leads nowhere.
    """
    origins: dict[int, int] = {}
    after = 0
    for number, members in _by_disk(rows).items():
        first = after if origins else members[0].offset
        begins = [first + gap for gap in _DESCRIPTOR_BYTES if _is_member_at(spans, first + gap)]
        if not begins:
            raise SourceError(
                "the last disk of a split zip (.z01 ... .zip) without the others, or joined with them in a way that "
                "cannot be undone. Put all disks as downloaded into one folder, or join them with: "
                "zip -s 0 NAME.zip --out joined.zip"
            )
        origins[number] = begins[0] - members[0].offset
        after = data_at(spans, origins[number] + members[-1].offset) + members[-1].packed
    return [origins[row.disk] + row.offset for row in rows]


def data_at(spans: Spans, offset: int) -> int:
    """Where the data of the member at `offset` starts, past its local header. SourceError where there is none."""
    head = spans.pread(offset, _LOCAL.size)
    if not head.startswith(_LOCAL_MARK) or len(head) < _LOCAL.size:
        raise SourceError(
            f"no member starts at byte {offset:,} of the zip, where its directory says one does. Download it again."
        )
    name_n, extra_n = _LOCAL.unpack(head)[-2:]
    return offset + _LOCAL.size + int(name_n) + int(extra_n)


def most_unpacked(packed: int, is_text: bool = False) -> int:
    """Into how many bytes so many packed ones may unpack: more is no recording, or no text, but a trap for memory."""
    if is_text:
        return max(_ANY_TEXT_BYTES, _MOST_TEXT_EXPANSION * packed)
    return max(_ANY_BYTES, _MOST_EXPANSION * packed)


def member_bytes(spans: Spans, place: Place) -> bytes:
    """The member's bytes, size and CRC-32 checked; header and data in one read. CorruptMember where they are wrong."""
    block = spans.pread(place.offset, _USUAL_HEADER_BYTES + place.packed)
    if len(block) < _LOCAL.size:
        raise _corrupt(place, "truncated", f"should be there, but the archive has {spans.size:,} bytes")
    mark, flags, method, name_n, extra_n = _LOCAL.unpack_from(block)
    if mark != _LOCAL_MARK:
        raise _corrupt(place, "corrupt", f"should be there, but no member starts at byte {place.offset:,}")
    if flags & _ENCRYPTED:
        raise _corrupt(place, "encrypted", "is encrypted; repack the archive without a password")
    start = _LOCAL.size + name_n + extra_n
    if start + place.packed > len(block):
        block += spans.pread(place.offset + len(block), start + place.packed - len(block))
    data = block[start : start + place.packed]
    if len(data) < place.packed:
        raise _corrupt(place, "truncated", "runs past the end of the archive")
    if method != place.method:
        raise _corrupt(place, "corrupt", "has different methods in its header and in the central directory")
    if method == DEFLATED:
        if place.size > _LARGEST_EXPANSION * (len(data) + 1):
            raise _corrupt(place, "corrupt", f"cannot hold the {place.size:,} bytes it claims")
        if place.size > (most := most_unpacked(len(data))):
            what = f"would unpack from {len(data):,} to {place.size:,} bytes, more than {most:,}"
            raise _corrupt(place, "too_large", f"{what}; if that is right, unpack the archive")
        try:
            data = isal_zlib.decompressobj(-15).decompress(data, place.size + 1)
        except isal_zlib.error as error:  # type: ignore[misc]  # isal's stubs call the class an instance
            raise _corrupt(place, "corrupt", f"does not inflate: {error}") from error
    elif method != STORED:
        name = _METHODS.get(method, f"method {method}")
        raise _corrupt(place, "unsupported", f"is packed with {name}; repack with deflate or stored")
    if len(data) != place.size:
        raise _corrupt(place, "corrupt", f"has not the {place.size:,} bytes it should have")
    if isal_zlib.crc32(data) != place.crc:
        raise _corrupt(place, "corrupt", "fails its CRC-32 check")
    return data


def _corrupt(place: Place, reason: str, what: str) -> CorruptMember:
    return CorruptMember(reason, f"a member of {place.container} at byte {place.offset:,} {what}")
