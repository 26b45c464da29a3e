"""What a zip in one file holds: its members, wherever in the file the zip starts."""

from __future__ import annotations

from pipeline.archives.disks import offsets_after_joining, offsets_over_disks
from pipeline.archives.spans import Spans
from pipeline.archives.zips import Member, Record, end_record, is_member_at, records, sampled
from pipeline.core.errors import SourceError

_UNTOLD = 0xFFFFFFFF  # an offset left to a zip64 record that `zip -fz -` then does not write
_WRAP = 1 << 32  # where zips of more than 4 GiB written without zip64 start their offsets again


def zip_members(spans: Spans, starts: tuple[int, ...] = (0,)) -> list[Member]:
    """The files in the zip, in the order of its directory; starts: where each of its disks begins in the virtual file.

    SourceError: truncated, damaged, its beginning or a disk missing, not a zip.
    """
    end = end_record(spans, starts)
    directory_at = end.at - end.size
    if directory_at < 0:
        raise SourceError(_headless(-directory_at))
    rows = records(spans.pread(directory_at, end.size), end)
    if end.disk == 0:
        offsets = _offsets(spans, rows, 0 if end.offset == _UNTOLD else directory_at - end.offset)
    elif len(starts) > 1:
        offsets = offsets_over_disks(spans, rows, starts, directory_at)
    else:
        offsets = offsets_after_joining(spans, rows)
    return [
        Member(row.name, offset, row.packed, row.size, row.method, row.crc)
        for row, offset in zip(rows, offsets, strict=True)
        if row.name[-1:] not in ("/", "\\")
    ]


def _headless(missing_bytes: int) -> str:
    return (
        f"the beginning of the zip is missing, {missing_bytes:,} bytes at least (its first piece?). "
        "Put it beside the rest, or download it again."
    )


def _offsets(spans: Spans, rows: list[Record], prefix: int) -> list[int]:
    """prefix: how much later the directory lies than the end record says, as when a program stands before the zip."""
    if prefix < 0:
        raise SourceError(_headless(-prefix))
    offsets = _unwrapped(rows) if prefix and prefix % _WRAP == 0 else [prefix + row.offset for row in rows]
    wrong = [offset for offset in sampled(offsets) if not is_member_at(spans, offset)]
    if 2 * len(wrong) > len(sampled(offsets)):  # one bad member is a Drop, a shuffled archive is not
        raise SourceError(
            f"no member where the zip's directory says, as at byte {wrong[0]:,}: its pieces were joined in the wrong order, "
            "or it is damaged. Join the pieces in numeric order, or download it again."
        )
    return offsets


def _unwrapped(rows: list[Record]) -> list[int]:
    """Offsets that were cut to 32 bits: members lie in the directory's order, so a step back is another 4 GiB."""
    offsets, wraps, previous = [], 0, -1
    for row in rows:
        wraps += _WRAP if row.offset <= previous else 0
        previous = row.offset
        offsets.append(wraps + row.offset)
    return offsets
