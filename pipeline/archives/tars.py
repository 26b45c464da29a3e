"""Tar archives: ustar, PAX and GNU headers. Members are named and located, never unpacked.

The standard library's tarfile is not used: it lists one half of two joined tars and stops at a damaged header, both
without an error, and takes 2.5 times the time.
"""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import dirname
from typing import NamedTuple

from pipeline.archives.names import CP949_FIRST, UTF8_FIRST, decoded, is_utf8, tidy
from pipeline.archives.spans import Spans, described, refuse_too_many
from pipeline.archives.zips import Member
from pipeline.core.errors import SourceError

PLAIN = -1  # the method of bytes that lie as they are

_BLOCK = 512
_OCTAL = 8
_MOST_DIGITS = 20
_LARGEST_EXTENDED = 1 << 20  # of a header that describes the next one: names, numbers
_AHEAD = 4096  # headers of small members lie close together: one read serves several
_LONGEST_PADDING = 16 << 20
_HARD, _SYMBOLIC = b"1", b"2"
_SKIPPED = frozenset((b"3", b"4", b"5", b"6", b"D", b"V"))
_PAX, _GLOBAL_PAX, _GNU_NAME, _GNU_LINK, _SPARSE, _VOLUME = b"x", b"g", b"L", b"K", b"S", b"M"
_BEFORE = frozenset((_PAX, b"X", _GLOBAL_PAX, _GNU_NAME, _GNU_LINK))


class _Header(NamedTuple):
    """One member as the tar describes it. is_utf8: by the format its name is; link: its target, empty for a file."""

    name: bytes
    is_utf8: bool
    kind: bytes
    link: bytes
    data_at: int
    size: int


def is_tar(spans: Spans) -> bool:
    """Whether the file begins like a tar (its header may be damaged all the same), or is an empty tar."""
    head = spans.pread(0, 2 * _BLOCK)
    is_empty = len(head) == 2 * _BLOCK and not any(head) and spans.size <= _LONGEST_PADDING and spans.size % _BLOCK == 0
    return head[257:262] == b"ustar" or _sum_is_right(head[:_BLOCK]) or is_empty


def tar_members(spans: Spans) -> list[Member]:
    """The files in the tar, in its order; links to files in it become those files under another name.

    SourceError: not a tar, truncated, damaged, sparse or of several volumes.
    """
    headers: list[_Header] = []
    for header in _headers(spans):
        headers.append(header)
        refuse_too_many(len(headers))
    is_all_utf8 = all(header.is_utf8 or is_utf8(header.name) for header in headers)
    files: dict[str, _Header] = {}
    members = []
    for header in headers:
        encodings = UTF8_FIRST if header.is_utf8 or is_all_utf8 else CP949_FIRST
        name = tidy(decoded(header.name, encodings))
        target = header
        if header.link:
            link = decoded(header.link, encodings)
            target = files.get(tidy(link if header.kind == _HARD else f"{dirname(name)}/{link}"), header)
        if target.link or name[-1:] in ("", "/"):
            continue
        files[name] = target
        members.append(Member(name, target.data_at, target.size, target.size, PLAIN, None))
    return members


def _headers(spans: Spans) -> Iterator[_Header]:
    """Files and links. A header that only describes the next one is merged into it."""
    at, ahead, ahead_at, has_ended = 0, b"", 0, False
    pax: dict[bytes, bytes] = {}
    everywhere: dict[bytes, bytes] = {}
    while at < spans.size:
        if not ahead_at <= at <= ahead_at + len(ahead) - _BLOCK:
            ahead, ahead_at = spans.pread(at, _AHEAD), at
        head = ahead[at - ahead_at : at - ahead_at + _BLOCK]
        if not any(head):
            at, has_ended = _after_padding(spans, at), True
            continue
        has_ended = False
        if not _sum_is_right(head):
            if at == 0:
                raise SourceError(f"no archive but {described(spans)}. Download it again.")
            what = "cut off" if len(head) < _BLOCK else "damaged (wrong checksum)"
            raise SourceError(
                f"the tar header at byte {at:,} is {what}: the file is truncated or damaged. Download it again."
            )
        kind, records = head[156:157], everywhere | pax
        size = _size(head, records if kind not in _BEFORE else {})
        data_at = at + _BLOCK
        at = data_at + -(-size // _BLOCK) * _BLOCK
        if missing := max(0, data_at + size - spans.size):
            name = decoded(_name(head, records))
            raise SourceError(f"truncated in the middle of {name}: {missing:,} bytes are missing. Download it again.")
        if kind in _BEFORE and size > _LARGEST_EXTENDED:
            raise SourceError(f"a damaged tar header: {size:,} bytes that describe one member. Download it again.")
        if kind == _GLOBAL_PAX:
            everywhere |= _extended(kind, spans.pread(data_at, size))
        elif kind in _BEFORE:
            pax |= _extended(kind, spans.pread(data_at, size))
        else:
            pax = {}
            if kind not in _SKIPPED:
                yield _member(head, kind, records, data_at, size)
    if not has_ended:
        raise SourceError(
            "a tar without its end mark: it is truncated. Download it again. "
            "If you are sure that it is whole, give it the mark: truncate -s +1024 FILE"
        )


def _member(head: bytes, kind: bytes, records: dict[bytes, bytes], data_at: int, size: int) -> _Header:
    name = _name(head, records)
    if kind in (_SPARSE, _VOLUME) or any(key.startswith(b"GNU.sparse") for key in records):
        raise SourceError(
            f"{decoded(name)}: stored as a sparse file or over several tar volumes, which cannot be read in place. "
            "Unpack this tar."
        )
    link = records.get(b"linkpath", _text(head[157:257])) if kind in (_HARD, _SYMBOLIC) else b""
    is_unicode = bool(records.get(b"path")) and records.get(b"hdrcharset") != b"BINARY"
    return _Header(name, is_unicode, kind, link, data_at, size)


def _name(head: bytes, records: dict[bytes, bytes]) -> bytes:
    if long_name := records.get(b"path") or records.get(b"gnu name"):
        return long_name
    name, prefix = _text(head[:100]), _text(head[345:500]) if head[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _size(head: bytes, records: dict[bytes, bytes]) -> int:
    field = head[124:136]
    if field[0] & 0x80:  # GNU: a binary number where twelve octal digits are too few
        return int.from_bytes(field[1:], "big")
    return _number(records[b"size"], 10) if b"size" in records else _number(field.strip(b" \0") or b"0", _OCTAL)


def _number(digits: bytes, base: int) -> int:
    if not digits.isdigit() or len(digits) > _MOST_DIGITS or (base == _OCTAL and digits.strip(b"01234567")):
        raise SourceError(
            f"a damaged tar header: {digits[:_MOST_DIGITS]!r} where a number should be. Download it again."
        )
    return int(digits, base)


def _sum_is_right(head: bytes) -> bool:
    field = head[148:156].strip(b" \0")
    if len(head) < _BLOCK or not field or field.strip(b"01234567"):
        return False
    return int(field, 8) == sum(head) - sum(head[148:156]) + 8 * ord(" ")


def _extended(kind: bytes, data: bytes) -> dict[bytes, bytes]:
    """What a header before the member gives: a GNU long name or link, or PAX records `length key=value`."""
    if kind in (_GNU_NAME, _GNU_LINK):
        return {b"gnu name" if kind == _GNU_NAME else b"linkpath": _text(data)}
    records, at = {}, 0
    while data[at : at + 1].strip(b"\0"):
        digits, _, _ = data[at : at + 20].partition(b" ")
        length = _number(digits, 10)
        key, _, value = data[at + len(digits) + 1 : at + length - 1].partition(b"=")
        records[key] = value
        at += max(length, 1)
    return records


def _after_padding(spans: Spans, at: int) -> int:
    """The next block that is not all zeros: where tars were joined another one starts, else the end of the file."""
    limit = at + _LONGEST_PADDING
    while at < spans.size:
        if at >= limit:
            raise SourceError(
                f"only zeros from byte {limit - _LONGEST_PADDING:,} on, more than padding: an unfinished download. "
                "Finish it."
            )
        block = spans.pread(at, _AHEAD)
        if any(block):
            filled = next(i for i, byte in enumerate(block) if byte)
            return at + filled // _BLOCK * _BLOCK
        at += len(block)
    return spans.size
