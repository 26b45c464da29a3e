"""Split zips: `NAME.z01`, `NAME.z02`, ..., `NAME.zip`, where every offset counts from the start of its own disk."""

from __future__ import annotations

from pipeline.archives.names import base
from pipeline.archives.spans import Spans
from pipeline.archives.zips import Record, data_at, is_member_at, sampled
from pipeline.core.errors import SourceError

_DESCRIPTOR_BYTES = (0, 12, 16, 20, 24)  # what may stand between a member's data and the next member


def offsets_over_disks(spans: Spans, rows: list[Record], starts: tuple[int, ...], directory_at: int) -> list[int]:
    """Each member's offset in the virtual file; starts: where each disk begins in it; directory_at: where the members end.

    SourceError names a disk that is too short or of another archive.
    """
    by_disk = _by_disk(rows)
    if by_disk and max(by_disk) >= len(starts):
        raise SourceError(
            f"its directory speaks of disk {max(by_disk) + 1}, but the set has {len(starts)}. Download the .zip again."
        )
    for number, members in by_disk.items():
        offsets = sampled([starts[number] + row.offset for row in members])
        if 2 * sum(not is_member_at(spans, offset) for offset in offsets) > len(offsets):
            raise SourceError(_strangers(spans, starts, number, number + 1))
    begins = [(number, starts[number] + members[0].offset) for number, members in by_disk.items()]
    ends = [
        _end_at(spans, starts[number] + members[-1].offset, members[-1].packed) for number, members in by_disk.items()
    ]
    for (number, _), end, (following, begin) in zip(
        begins, ends, [*begins[1:], (len(starts) - 1, directory_at)], strict=True
    ):
        if end > begin:
            raise SourceError(_strangers(spans, starts, number, max(following, number + 1)))
    return [starts[row.disk] + row.offset for row in rows]


def _end_at(spans: Spans, offset: int, packed: int) -> int:
    """Where the member at the offset ends; the offset itself where no member is, which is for its reader to tell."""
    return data_at(spans, offset) + packed if is_member_at(spans, offset) else offset


def _by_disk(rows: list[Record]) -> dict[int, list[Record]]:
    """The records of each disk, by offset."""
    found: dict[int, list[Record]] = {}
    for row in sorted(rows, key=lambda row: (row.disk, row.offset)):
        found.setdefault(row.disk, []).append(row)
    return found


def _strangers(spans: Spans, starts: tuple[int, ...], first: int, after: int) -> str:
    disks = [spans.cut(start, end - start) for start, end in zip(starts, (*starts[1:], spans.size), strict=True)][
        first:after
    ]
    names = " or ".join(f"{base(disk.path)} ({disk.size:,} bytes)" for disk in disks)
    return f"disk {names} does not fit the others: it is cut short, damaged or of another archive. Download it again."


def offsets_after_joining(spans: Spans, rows: list[Record]) -> list[int]:
    """Each member's offset in a split zip whose disks somebody joined with `cat`: the offsets still count from the disks.

    A disk's first member starts where the last member of the disk before it ends, which tells where the disk began.
    SourceError where that leads nowhere.
    """
    origins: dict[int, int] = {}
    after = 0
    for number, members in _by_disk(rows).items():
        first = after if origins else members[0].offset
        begins = [first + gap for gap in _DESCRIPTOR_BYTES if is_member_at(spans, first + gap)]
        if not begins:
            raise SourceError(
                "the last disk of a split zip (.z01 ... .zip) without the others, or joined with them in a way that cannot "
                "be undone. Put all disks as downloaded into one folder, or join them with: zip -s 0 NAME.zip --out joined.zip"
            )
        origins[number] = begins[0] - members[0].offset
        after = data_at(spans, origins[number] + members[-1].offset) + members[-1].packed
    return [origins[row.disk] + row.offset for row in rows]
