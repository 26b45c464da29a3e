"""A set proved: level by level, each at more cost than the one before, what of it holds and what does not."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.archives import Root, Roots
from pipeline.archives.spans import over_file
from pipeline.archives.tars import PLAIN, tar_members
from pipeline.audio import render
from pipeline.audio.codec import FLAC_HEADER_BYTES, HEADER_BYTES, pcm_hash, shape
from pipeline.audio.dsp import Pcm16
from pipeline.audio.shards import AGAIN, AUDIO_FOLDER, Reader, member_name
from pipeline.core import frame as frames
from pipeline.core import keys, manifest
from pipeline.core.errors import CorruptMember, ManifestError, PrepError, SourceError
from pipeline.core.files import below
from pipeline.core.manifest import Manifest
from pipeline.core.row import Drop, Place, Row
from pipeline.engine.run import Step
from pipeline.engine.workers import Workers, map_chunks
from pipeline.share import pack as packs
from pipeline.share.laws import Finding, broken_laws
from pipeline.share.locate import Located, Start, by_name, locate, open_roots, recordings_of
from pipeline.share.pack import Altered, Pack, is_nameless
from pipeline.stages import resample
from pipeline.stages.rebuild import resampled
from pipeline.stages.store import Store

if TYPE_CHECKING:
    import pandas as pd

LEVELS = ("schema", "references", "headers", "hashes", "recompute")
IDENTICAL, WITHIN, DIFFERENT = "identical", "within_1_lsb", "different"
_CLIPS_A_TASK, _FILES_A_TASK = 500, 100


class Unable(PrepError):
    """Something cannot be checked at all; the message says what is needed for it."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a level found: how many rows were looked at, and what does not hold."""

    level: str
    rows: int
    findings: Sequence[Finding]
    notes: Sequence[str] = ()

    def verdicts(self) -> dict[str, int]:
        """How many of the rows have each verdict; a row without a finding is identical."""
        counts = Counter(finding.verdict for finding in self.findings)
        verdicts = dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
        if self.level not in ("hashes", "recompute"):
            return verdicts
        return {IDENTICAL: self.rows - len({finding.what for finding in self.findings})} | verdicts


@dataclass(frozen=True, eq=False)
class Subject:
    """The set that is verified, and who does the work. frame: the rows to look at. noise: the rows of their noise."""

    manifest: Manifest
    pack: Pack | None
    frame: pd.DataFrame
    noise: pd.DataFrame
    roots: Roots
    workers: Workers
    start: Start

    @property
    def folder(self) -> Path:
        """The folder of the manifest, beside which its audio lies."""
        return self.manifest.path.parent

    @property
    def has_audio(self) -> bool:
        """Whether audio lies beside the rows."""
        return self.pack is None and bool(frames.present(self.frame, "pcm_hash").any())

    @cached_property
    def recordings(self) -> list[Row]:
        """The recordings that the rows and their noise were made from."""
        return recordings_of(frames.concat([self.frame, self.noise], Row))

    @cached_property
    def open_roots(self) -> dict[str, Root]:
        """The roots of the recordings, as far as they can be read. Unable where one is not known."""
        try:
            return open_roots({row.corpus for row in self.recordings}, self.roots)
        except PrepError as error:
            raise Unable(str(error)) from None

    @cached_property
    def named(self) -> tuple[dict[str, Place], list[str]]:
        """(source -> where a recording of its name lies, notes)."""
        return by_name(self.recordings, self.open_roots)

    @cached_property
    def located(self) -> Located:
        """Where the recordings lie, each decoded and compared."""
        return locate(self.recordings, self.open_roots, self.workers, self.start)


def verify(
    path: Path, roots: Roots, workers: Workers, start: Start, level: str | None = None, sample: int | None = None
) -> Iterator[Checked]:
    """The findings of each level in turn, as soon as it is done, for the manifest or pack at a path.

    level: the last one; None: as far as it goes without the corpora. sample: how many rows to look at, always the same.
    Unable where something cannot be checked at all.
    """
    if not path.exists():
        raise Unable(f"{path}: no such manifest or pack")
    try:
        pack = packs.read(path) if packs.is_pack(path) else None
        whole = pack.manifest if pack else manifest.read(path)
    except Altered as error:
        yield Checked(LEVELS[0], 0, [Finding(path.name, "changed", str(error))])
        return
    except ManifestError as error:
        raise Unable(str(error)) from None
    frame = whole.frame
    if sample is not None and sample < len(frame):
        frame = frames.pick(frame, np.sort(keys.order(0, "verify", frames.values(frame["id"]))[:sample]))
    names = [name for name in frames.codes(frame["noise_id"])[1] if name is not None]
    noise = frames.pick(whole.frame, frames.among(whole.frame["id"], names))
    subject = Subject(whole, pack, frame, noise, roots, workers, start)
    checks = (check_schema, check_references, check_headers, check_hashes, check_recompute)
    last = level or ("hashes" if subject.has_audio else "references")
    for check in checks[: LEVELS.index(last) + 1]:
        yield check(subject)


def check_schema(subject: Subject) -> Checked:
    """Whether the rows are those that were written, and keep the laws of every set. It looks at all rows."""
    return Checked("schema", len(subject.manifest), broken_laws(subject.manifest, subject.pack))


# ---- references: whether everything is where it should be


def check_references(subject: Subject) -> Checked:
    """Whether shards are there, with a member of each row's name, place and size; of a pack: recordings by name."""
    if not subject.has_audio:
        named, notes = subject.named
        remedy = "--level hashes looks for its samples under other names"
        lost = [row.source for row in subject.recordings if row.source not in named]
        nameless = [source for source in lost if is_nameless(source, subject.pack)]
        lost = [source for source in lost if source not in set(nameless)]
        if nameless:
            notes = [*notes, f"{len(nameless):,} recordings have no name in the pack: --level hashes looks for them"]
        absent = {s: Drop(s, "", "absent", f"no file is named as {s} is; {remedy}") for s in lost}
        return Checked("references", len(subject.frame), _by_row(subject.frame, absent), notes)
    findings: list[Finding] = []
    progress = subject.start("references", len(subject.frame))
    for part, owner in {"": "id", "speech_": "speech_id", "noise_": "noise_id"}.items():
        columns = [owner, f"{part}offset", f"{part}bytes"]
        there = frames.pick(subject.frame[[f"{part}shard", *columns]], frames.present(subject.frame, f"{part}shard"))
        for shard, own in there.groupby(f"{part}shard"):
            clips = list(zip(*(frames.values(own[name]) for name in columns), strict=True))
            findings += _shard_findings(subject.folder / AUDIO_FOLDER / str(shard), clips)
            progress(Step(len(own), 0.0))
    return Checked("references", len(subject.frame), findings)


def _shard_findings(path: Path, clips: Sequence[tuple[str, int, int]]) -> Iterator[Finding]:
    """What does not hold of a shard. clips: id, offset and bytes of those that lie in it by their rows."""
    shard = f"{AUDIO_FOLDER}/{path.name}"
    if not path.exists():
        yield Finding(path.name, "missing", f"{shard} is not there; {len(clips):,} rows lie in it: {AGAIN}")
        return
    try:
        members = {member.name: (member.offset, member.size) for member in tar_members(over_file(str(path)))}
    except SourceError as error:
        yield Finding(path.name, "damaged", f"{shard}: {error}")
        return
    for row_id, offset, size in clips:
        there = members.get(member_name(row_id))
        if there != (offset, size):
            lies = f"{there[1]} bytes at {there[0]}" if there else "nowhere in it"
            because = f"its row says {shard}, {size} bytes at {offset}; its member lies {lies}"
            yield Finding(row_id, "misplaced", because)


# ---- headers: whether lengths and rates are right, without decoding


def check_headers(subject: Subject) -> Checked:
    """Whether the header of each stored clip has the length and rate of its row; of a pack: those of recordings."""
    if subject.has_audio:
        clips = frames.ordered(frames.pick(subject.frame, frames.present(subject.frame, "shard")), ("shard", "offset"))
        findings = _map(
            "headers", header_findings, frames.rows(clips, Row), clips, _CLIPS_A_TASK, subject, subject.folder
        )
        return Checked("headers", len(subject.frame), findings)
    named, _ = subject.named
    here = [row for row in subject.recordings if row.source in named]
    progress, odd = subject.start("headers", len(here)), {}
    files = ((row, named[row.source]) for row in here)
    faults = map_chunks(header_faults, files, _FILES_A_TASK, subject.workers, subject.open_roots)
    for row, fault in zip(here, faults, strict=True):
        progress(Step(1, 0.0))
        if fault:
            odd[row.source] = Drop(row.source, "", "header", f"{row.source} in {named[row.source].container}: {fault}")
    return Checked("headers", len(subject.frame), _by_row(subject.frame, odd))


def header_findings(rows: Sequence[Row], folder: Path) -> list[Finding | None]:
    """What the header of each stored clip says against its row. Runs in a worker."""
    findings: list[Finding | None] = []
    with ExitStack() as stack:
        opened: dict[str | None, int] = {}
        for row in rows:
            path = folder / AUDIO_FOLDER / (row.shard or "")
            try:
                if row.shard not in opened:
                    path = below(folder / AUDIO_FOLDER, row.shard or "")
                    opened[row.shard] = stack.enter_context(open(path, "rb")).fileno()
            except ManifestError as error:
                findings.append(Finding(path.name, "missing", str(error)))
                continue
            except OSError as error:
                findings.append(Finding(path.name, "missing", f"{AUDIO_FOLDER}/{path.name}: {error.strerror}"))
                continue
            stored = shape(os.pread(opened[row.shard], FLAC_HEADER_BYTES, row.offset or 0))
            expected = (row.frames, row.rate_hz, 1)
            because = f"stored are (frames, Hz, channels) {stored or 'no FLAC'}, its row says {expected}"
            findings.append(None if stored == expected else Finding(row.id, "header", because))
    return findings


def header_faults(files: Sequence[tuple[Row, Place]], roots: Mapping[str, Root]) -> list[str]:
    """What the header of each recording says against its row; empty where it says nothing. Runs in a worker."""
    faults = []
    for row, place in files:
        expected = (row.source_frames, row.source_rate_hz, row.source_channels)
        try:
            # the first bytes do; but a file that is compressed is read whole, for it is checked by its sum
            few = replace(place, size=min(place.size, HEADER_BYTES)) if place.method == PLAIN else place
            there = None if place.is_piece else shape(roots[place.root].read(few))  # a header says nothing of a piece
        except (CorruptMember, SourceError) as error:
            faults.append(str(error))
            continue
        differs = f"its header says {there} frames, Hz and channels, the set was made from {expected}"
        faults.append("" if there in (None, expected) else differs)
    return faults


# ---- hashes: whether the samples are the right ones


def check_hashes(subject: Subject) -> Checked:
    """Whether the samples of each row have its hash; of a pack: those of its recordings, under whatever name."""
    if not subject.has_audio:
        wrong = _by_row(subject.frame, _wrong(subject.located))
        return Checked("hashes", len(subject.frame), wrong, _notes(subject.located, subject.pack))
    clips = frames.pick(subject.frame, frames.present(subject.frame, "pcm_hash"))
    clips = frames.ordered(clips, ("shard", "offset", "noise_id"))
    findings = _map("hashes", hash_findings, frames.rows(clips, Row), clips, _CLIPS_A_TASK, subject, subject.folder)
    whole = subject.manifest.frame[["id", "pcm_hash"]]
    own = frames.pick(whole, frames.among(whole["pcm_hash"], [f.digest for f in findings if f.digest]))
    owners = dict(zip(frames.values(own["pcm_hash"]), frames.values(own["id"]), strict=True))
    findings = [
        replace(f, because=f"it holds the sound of {owners[f.digest]}") if f.digest in owners else f for f in findings
    ]
    return Checked("hashes", len(subject.frame), findings)


def hash_findings(rows: Sequence[Row], folder: Path) -> list[Finding | None]:
    """Whether the samples of each row, stored or rendered, have its hash. Runs in a worker."""
    reader = Reader(folder)
    findings: list[Finding | None] = []
    for row in rows:
        try:
            digest = pcm_hash(reader.pcm(row), row.rate_hz or 0)
        except (ManifestError, ValueError, OSError) as error:
            findings.append(Finding(row.id, "damaged", str(error)))
            continue
        because = f"its samples have the hash {digest}, its row says {row.pcm_hash}"
        findings.append(None if digest == row.pcm_hash else Finding(row.id, DIFFERENT, because, digest))
    return findings


# ---- recompute: whether the samples come out of the recordings again


def check_recompute(subject: Subject) -> Checked:
    """Whether each row, rendered again from its recordings, has its hash; else what differs from the samples stored."""
    frame, located, wrong = subject.frame, subject.located, _wrong(subject.located)
    findings = _by_row(frame, wrong)
    here = frames.pick(frame, frames.present(frame, "pcm_hash") & ~frames.among(frame["source"], wrong))
    noise = {row.id: row for row in frames.rows(subject.noise, Row)}
    usable = {row_id for row_id, row in noise.items() if row.source not in wrong}
    has_noise = ~frames.present(here, "noise_id") | frames.among(here["noise_id"], usable)
    silent = frames.pick(here[["id", "noise_id"]], ~has_noise)
    for row_id, name in zip(frames.values(silent["id"]), frames.values(silent["noise_id"]), strict=True):
        why = wrong[noise[name].source].detail if name in noise else "it is no row of the set"
        findings.append(Finding(row_id, DIFFERENT, f"its noise {name} cannot be rendered: {why}"))
    here = frames.pick(here, has_noise)
    parts = ((row, noise.get(row.noise_id or "")) for row in frames.rows(here, Row))
    jobs = ((row, located.places[row.source], n, located.places[n.source] if n else None) for row, n in parts)
    options = resample.Options.of(subject.manifest.provenance.recipe, "resample")
    shared = (subject.folder, subject.roots, options, subject.has_audio)
    differing = _map("recompute", render_findings, jobs, here, _FILES_A_TASK, subject, *shared)
    versions = manifest.other_versions(subject.manifest.provenance)
    blame = ", ".join(f"{name} {mine} here, {its} where it was made" for name, mine, its in versions)
    findings += [replace(f, because=f"{f.because}; {blame}") if blame else f for f in differing]
    return Checked(
        "recompute", len(frame), sorted(findings, key=lambda finding: finding.what), _notes(located, subject.pack)
    )


def render_findings(
    jobs: Sequence[tuple[Row, Place, Row | None, Place | None]],
    folder: Path,
    roots: Roots,
    options: resample.Options,
    has_audio: bool,
) -> list[Finding | None]:
    """What does not come out the same, for each job. Runs in a worker.

    jobs: a row, the place of its recording, the row of its noise and the place of that.
    """
    store, reader = Store(folder, roots), Reader(folder)
    noises: dict[str, Pcm16] = {}
    findings: list[Finding | None] = []
    for row, place, noise, noise_place in jobs:
        try:
            pcm = store.once(row.source, partial(resampled, row, place, options, store))
            if noise is not None:
                if noise.id not in noises:
                    noises[noise.id] = resampled(noise, noise_place, options, store)
                pcm = render.mixture(row, pcm, noises[noise.id])
        except (CorruptMember, SourceError) as error:
            findings.append(Finding(row.id, DIFFERENT, str(error)))
            continue
        except ValueError:
            because = "noise_start, gain_db or noise_gain_db of its row cannot be those it was made with"
            findings.append(Finding(row.id, DIFFERENT, because))
            continue
        digest = pcm_hash(pcm, row.rate_hz or 0)
        if digest == row.pcm_hash:
            findings.append(None)
        elif has_audio:
            findings.append(_difference(row, pcm, reader))
        else:
            because = f"rendered here it has the hash {digest}, its row says {row.pcm_hash}"
            findings.append(Finding(row.id, DIFFERENT, because))
    return findings


def _difference(row: Row, pcm: Pcm16, reader: Reader) -> Finding:
    """How the samples that were rendered differ from those that are stored."""
    try:
        stored = reader.pcm(row)
    except (ManifestError, OSError) as error:
        because = f"rendered here it has another hash than its row says, and its audio cannot be read: {error}"
        return Finding(row.id, DIFFERENT, because)
    if len(stored) != len(pcm):
        return Finding(row.id, DIFFERENT, f"rendered here it has {len(pcm)} frames, stored are {len(stored)}")
    apart = np.abs(stored.astype(np.int32) - pcm)
    count, most = int(np.count_nonzero(apart)), int(apart.max(initial=0))
    if most == 0:
        because = "what is stored comes out again from the recordings, but its row names another hash"
        return Finding(row.id, DIFFERENT, because)
    first = f"by {most} at most, the first at frame {int(np.argmax(apart > 0))}"
    because = f"{count:,} of {len(pcm):,} samples differ from those stored, {first}"
    return Finding(row.id, WITHIN if most == 1 else DIFFERENT, because)


# ---- what several levels do


def _map(
    level: str,
    work: Callable[..., list[Finding | None]],
    items: Iterable[Any],
    frame: pd.DataFrame,
    size: int,
    subject: Subject,
    *shared: Any,
) -> list[Finding]:
    """The findings of work over items, one for each row of the frame; each finding once, sorted by what it is of."""
    seconds = frames.numbers(frame["frames"]) / frames.numbers(frame["rate_hz"])
    progress, findings = subject.start(level, len(frame)), set()
    results = map_chunks(work, items, size, subject.workers, *shared)
    for finding, duration_s in zip(results, seconds.tolist(), strict=True):
        progress(Step(1, duration_s))
        if finding:
            findings.add(finding)
    return sorted(findings, key=lambda finding: (finding.what, finding.because))


def _by_row(frame: pd.DataFrame, faults: Mapping[str, Drop]) -> list[Finding]:
    """A finding for each row that was made from one of these recordings. faults: source -> what is wrong with it."""
    own = frames.pick(frame[["id", "source"]], frames.among(frame["source"], faults))
    pairs = zip(frames.values(own["id"]), frames.values(own["source"]), strict=True)
    return [Finding(row_id, faults[source].reason, faults[source].detail) for row_id, source in pairs]


def _wrong(located: Located) -> dict[str, Drop]:
    """source -> what is wrong with the recording of that name; one that lies under another name alone is not wrong."""
    return located.missing | located.displaced


def _notes(located: Located, pack: Pack | None) -> list[str]:
    """What could not be read, and how many recordings lie under other names than those that the pack holds."""
    count = sum(not is_nameless(source, pack) for source in located.moved)
    moved = [f"{count:,} recordings lie under other names and were known by their samples"] if count else []
    return [*located.notes, *moved]
