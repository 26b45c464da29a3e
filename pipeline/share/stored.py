"""Verifying the audio that lies beside a manifest: that it is there, is whole, and is what the rows say. Needs no corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.archives.spans import over_file
from pipeline.archives.tars import tar_members
from pipeline.audio.codec import pcm_hash
from pipeline.audio.shards import AGAIN, AUDIO_FOLDER, Reader, member_name
from pipeline.core.errors import ManifestError, SourceError
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.engine import workers as crews
from pipeline.engine.run import Progress, Step
from pipeline.engine.workers import Crew
from pipeline.share.headers import FLAC_BYTES, shape
from pipeline.share.verdicts import DIFFERENT, Finding

CHUNK = 500
_PARTS = {
    "shard": "id",
    "speech_shard": "speech_id",
    "noise_shard": "noise_id",
}  # where sound may lie -> whose it is there


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Rows to check, and the folder of their manifest."""

    folder: Path
    rows: Table


def references(folder: Path, rows: Table, progress: Progress) -> list[Finding]:
    """Whether each shard is there and holds, at each row's place, a member of the row's name and size."""
    found: list[Finding] = []
    for shard, held in _shards(rows):
        found += _shard(folder / AUDIO_FOLDER / shard, shard, held)
        progress(Step(len(held), 0.0))
    return found


def _shards(rows: Table) -> Iterator[tuple[str, Table]]:
    """Each shard that the rows name, with the columns id, offset, bytes of what they say lies in it."""
    for column, whose in _PARTS.items():
        prefix = column.removesuffix("shard")
        there = rows.where(rows.present(column))
        codes, names = there.codes(column)
        order = np.argsort(codes, kind="stable")
        ends = np.cumsum(np.bincount(codes, minlength=len(names)))
        held = there.only([whose, f"{prefix}offset", f"{prefix}bytes"]).renamed(
            **{whose: "id", f"{prefix}offset": "offset", f"{prefix}bytes": "bytes"}
        )
        for name, start, end in zip(names, np.append(0, ends)[:-1].tolist(), ends.tolist(), strict=True):
            yield str(name), held.take(order[start:end])


def _shard(path: Path, shard: str, held: Table) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(shard, "missing", f"{AUDIO_FOLDER}/{shard} is not there; {len(held):,} rows lie in it: {AGAIN}")
        return
    try:
        members = {member.name: (member.offset, member.size) for member in tar_members(over_file(str(path)))}
    except SourceError as error:
        yield Finding(shard, "damaged", f"{AUDIO_FOLDER}/{shard}: {error}")
        return
    for row_id, offset, size in zip(held.strings("id"), held.column("offset"), held.column("bytes"), strict=True):
        there = members.get(member_name(row_id))
        if there != (offset, size):
            said = f"{size} bytes at {offset}"
            lies = f"{there[1]} bytes at {there[0]}" if there else "nowhere in it"
            yield Finding(row_id, "misplaced", f"its row says {AUDIO_FOLDER}/{shard}, {said}; its member lies {lies}")


def headers(part: Part) -> list[Finding]:
    """Whether the FLAC header of each stored clip has the row's rate and length. Runs in a worker."""
    found: list[Finding] = []
    for shard, held in _by_shard(part.rows):
        try:
            handle = os.open(part.folder / AUDIO_FOLDER / shard, os.O_RDONLY)
        except OSError as error:
            found.append(Finding(shard, "missing", f"{AUDIO_FOLDER}/{shard}: {error.strerror}"))
            continue
        for row_id, offset, frames, rate_hz in zip(
            *(held.column(name) for name in ("id", "offset", "frames", "rate_hz")), strict=True
        ):
            told = shape(os.pread(handle, FLAC_BYTES, offset))
            if told != (frames, rate_hz, 1):
                because = f"stored are (frames, Hz, channels) {tuple(told) if told else 'no FLAC'}, its row says {(frames, rate_hz, 1)}"
                found.append(Finding(row_id, "header", because))
        os.close(handle)
    return found


def _by_shard(rows: Table) -> Iterator[tuple[str, Table]]:
    """The rows of each shard."""
    held = rows.where(rows.present("shard"))
    codes, names = held.codes("shard")
    for code, name in enumerate(names):
        yield str(name), held.where(codes == code)


def hashes(part: Part) -> list[Finding]:
    """Whether the samples of each row, stored or rendered, have its hash. Runs in a worker."""
    reader, found = Reader(part.folder), []
    for row in part.rows.rows(Row):
        try:
            digest = pcm_hash(reader.pcm(row), row.rate_hz or 0)
        except (ManifestError, ValueError, OSError) as error:
            found.append(Finding(row.id, "damaged", str(error)))
            continue
        if digest != row.pcm_hash:
            found.append(
                Finding(row.id, DIFFERENT, f"its samples have the hash {digest}, its row says {row.pcm_hash}", digest)
            )
    return found


def each(
    work: Callable[[Part], list[Finding]], folder: Path, rows: Table, crew: Crew, progress: Progress
) -> list[Finding]:
    """What `headers` or `hashes` finds in all rows, in parts by shard; sorted."""
    rows = rows.where(rows.present("pcm_hash")).ordered(("shard", "offset", "noise_id"))
    parts = (Part(folder, part) for part in rows.parts(CHUNK))
    found: list[Finding] = []
    for part, findings in crews.results(parts, work, crew):
        found += findings
        progress(Step(len(part.rows), float((part.rows.numbers("frames") / part.rows.numbers("rate_hz")).sum())))
    return sorted(set(found), key=lambda finding: (finding.what, finding.because))


def whose(findings: list[Finding], rows: Table) -> list[Finding]:
    """The findings, each told whose samples were found, where they are those of another row."""
    digests = {finding.digest for finding in findings if finding.digest}
    if not digests:
        return findings
    own = rows.where(rows.among("pcm_hash", digests))
    names = dict(zip(own.column("pcm_hash"), own.column("id"), strict=True))
    return [
        Finding(f.what, f.verdict, f"it holds the sound of {names[f.digest]}", f.digest) if f.digest in names else f
        for f in findings
    ]
