"""A set proved: level by level, each at more cost than the one before, what of it holds and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pipeline.archives import Roots
from pipeline.core import keys, manifest
from pipeline.core.errors import ManifestError, PrepError
from pipeline.core.manifest import Manifest
from pipeline.core.row import Place, Row
from pipeline.core.table import Table
from pipeline.engine.workers import Crew
from pipeline.share import laws, opening, pack, recomputed, stored
from pipeline.share.finding import Found, Lack, Start, Wanted, by_name, found, readable_roots, wanted
from pipeline.share.listing import Readable
from pipeline.share.pack import Pack
from pipeline.share.recomputed import Scope
from pipeline.share.verdicts import DIFFERENT, LEVELS, Checked, Finding, Unable
from pipeline.stages import resample


@dataclass(frozen=True, slots=True)
class Asked:
    """What is to be checked: up to which level (None: as far as it goes without the corpora), of how many rows (None: all)."""

    level: str | None = None
    sample: int | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A manifest or pack to verify, and by whom. rows: those that are looked at."""

    held: Manifest
    pack: Pack | None
    rows: Table
    roots: Roots
    crew: Crew
    start: Start

    @property
    def aloud(self) -> bool:
        """Whether there is audio beside it."""
        return self.pack is None and bool(self.rows.present("pcm_hash").any())

    @cached_property
    def wants(self) -> list[Wanted]:
        """The recordings that the rows were made from, those of their noise included."""
        return wanted(Table.joined([self.rows, self.noise], Row))

    @cached_property
    def noise(self) -> Table:
        """The rows of the noise in the mixtures that are looked at."""
        names = {str(name) for name in self.rows.codes("noise_id")[1] if name is not None}
        return self.held.table.where(self.held.table.among("id", names)) if names else self.held.table.part(0, 0)

    @cached_property
    def found(self) -> Found:
        """Where its recordings lie, each decoded and compared."""
        return found(self.wants, self._readable(), opening.looking(self.roots, self.crew, self.start))

    @cached_property
    def named(self) -> tuple[dict[str, Place], list[str]]:
        """(source -> where a recording of its name lies, notes)."""
        told = Found(roots=self._readable())
        return by_name(self.wants, told), told.notes

    def _readable(self) -> dict[str, Readable]:
        try:
            return readable_roots({want.corpus for want in self.wants}, self.roots)
        except PrepError as error:
            raise Unable(str(error)) from None


def subject(path: Path, asked: Asked, roots: Roots, crew: Crew, start: Start) -> Subject:
    """What lies at the path, and the rows of it to look at: all, or a keyed sample."""
    if not path.exists():
        raise Unable(f"{path}: no such manifest or pack")
    try:
        held_pack = pack.read(path) if pack.is_pack(path) else None
        held = held_pack.manifest if held_pack else manifest.read(path)
    except pack.Altered:
        raise
    except ManifestError as error:
        raise Unable(str(error)) from None
    rows = held.table
    if asked.sample is not None and asked.sample < len(rows):
        order = keys.order(0, "verify", rows.strings("id"))
        rows = rows.take(np.sort(order[: asked.sample]))
    return Subject(held, held_pack, rows, roots, crew, start)


def verified(of: Subject, asked: Asked) -> Iterator[Checked]:
    """Each level in turn, as it ends. Unable where a level cannot be checked at all."""
    last = asked.level or ("hashes" if of.aloud else "references")
    for level in LEVELS[: LEVELS.index(last) + 1]:
        yield _CHECKS[level](of)


def _schema(of: Subject) -> Checked:
    return Checked("schema", len(of.held), laws.schema(of.held, of.pack))


def _references(of: Subject) -> Checked:
    if of.aloud:
        findings = stored.references(of.held.path.parent, of.rows, of.start("references", len(of.rows)))
        return Checked("references", len(of.rows), findings)
    named, notes = of.named
    lacks = {
        want.source: Lack("absent", _UNNAMED.format(source=want.source))
        for want in of.wants
        if want.source not in named
    }
    return Checked("references", len(of.rows), _by_row(of.rows, lacks), notes)


_UNNAMED = "no file is named as {source} is; --level hashes looks for its samples under other names"


def _headers(of: Subject) -> Checked:
    if of.aloud:
        progress = of.start("headers", int(of.rows.present("pcm_hash").sum()))
        return Checked(
            "headers", len(of.rows), stored.each(stored.headers, of.held.path.parent, of.rows, of.crew, progress)
        )
    named, _ = of.named
    odd = opening.headers(of.wants, named, of.roots, of.crew, of.start)
    lacks = {
        source: Lack(finding.verdict, f"{source} in {named[source].container}: {finding.because}")
        for source, finding in odd.items()
    }
    return Checked("headers", len(of.rows), _by_row(of.rows, lacks))


def _hashes(of: Subject) -> Checked:
    if of.aloud:
        progress = of.start("hashes", int(of.rows.present("pcm_hash").sum()))
        findings = stored.each(stored.hashes, of.held.path.parent, of.rows, of.crew, progress)
        return Checked("hashes", len(of.rows), stored.whose(findings, of.held.table))
    return Checked("hashes", len(of.rows), _by_row(of.rows, _wrong(of)), _moved(of))


def _wrong(of: Subject) -> dict[str, Lack]:
    """source -> what is wrong with the recording of that name; one that lies under another name alone is not wrong."""
    return dict(of.found.lacks) | dict(of.found.displaced)


def _moved(of: Subject) -> list[str]:
    count = len(of.found.moved)
    return [
        *of.found.notes,
        *([f"{count:,} recordings lie under other names and were known by their samples"] if count else []),
    ]


def _recompute(of: Subject) -> Checked:
    wrong = _wrong(of)
    findings = _by_row(of.rows, wrong)
    here = of.rows.where(of.rows.present("pcm_hash") & ~of.rows.among("source", wrong))
    lost = {
        row_id: source
        for row_id, source in zip(of.noise.column("id"), of.noise.column("source"), strict=True)
        if source in wrong
    }
    known = {str(row_id) for row_id in of.noise.strings("id")}
    unknown = {str(name) for name in here.codes("noise_id")[1] if name is not None and name not in known}
    findings += [
        Finding(
            str(row_id),
            DIFFERENT,
            f"its noise {name} cannot be rendered: {wrong[lost[name]].detail if name in lost else 'it is no row of the set'}",
        )
        for row_id, name in zip(
            *(here.where(here.among("noise_id", {*lost, *unknown})).column(c) for c in ("id", "noise_id")), strict=True
        )
    ]
    here = here.where(~here.among("noise_id", {*lost, *unknown}))
    options = resample.Options(**of.held.provenance.recipe.get("resample", {}))
    scope = Scope(of.roots, options, of.found.where, of.held.path.parent, of.aloud, _versions(of.held))
    findings += recomputed.findings(here, of.noise, scope, of.crew, of.start("recompute", len(here)))
    return Checked("recompute", len(of.rows), sorted(findings, key=lambda finding: finding.what), _moved(of))


def _versions(held: Manifest) -> str:
    """`soxr 1.0.0 here, 0.5.0 where it was made`: the packages that may be to blame."""
    differ = manifest.other_versions(held.provenance)
    return ", ".join(f"{name} {here} here, {there} where it was made" for name, here, there in differ)


def _by_row(rows: Table, lacks: Mapping[str, Lack]) -> list[Finding]:
    """A finding for each row that was made from one of these recordings."""
    own = rows.where(rows.among("source", lacks))
    named: Sequence[tuple[str, str]] = list(zip(own.column("id"), own.column("source"), strict=True))
    return [Finding(row_id, lacks[source].reason, lacks[source].detail) for row_id, source in named]


_CHECKS = {
    "schema": _schema,
    "references": _references,
    "headers": _headers,
    "hashes": _hashes,
    "recompute": _recompute,
}
