"""Exports: a manifest in the form that another tool reads, in a folder that appears whole or not at all.

One file a format, found by its file name; "_" begins what is none. A format is given rows that may leave, a reader of
their sound and an empty folder. Write another format by writing another file, and a card that says how to load it. No
tool that reads an export is imported here: the forms are documented ones.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, Literal, cast

import numpy as np
import pandas as pd

from pipeline.audio.shards import Reader
from pipeline.core import files, frame, sql, texts
from pipeline.core.errors import PrepError, did_you_mean
from pipeline.core.manifest import Manifest
from pipeline.corpora import rights
from pipeline.corpora.rights import LeftOut
from pipeline.export._base import Format, Job

Use = Literal["", "own", "shareable"]  # what an export is for: not said, for the user alone, to be passed on
MARKER = "prep-export.json"  # says that a folder is an export of ours, and of what
_OWN_USE = """\
**Not to be passed on.** This folder was exported with `--own-use`: it holds audio, transcripts or labels that the
licences named below forbid to pass on. Do not copy it to others, do not upload it. What may be passed on: `prep export
--shareable`, or, audio-free and enough to rebuild every sample, `prep pack`.
"""


def names() -> list[str]:
    """The formats, sorted: `csv`, `hf`, ..."""
    return sorted(m.name for m in iter_modules([str(Path(__file__).parent)]) if not m.name.startswith("_"))


@cache
def find(name: str) -> Format:
    """The format of that name, loaded now; PrepError where there is none."""
    if name not in names():
        raise PrepError(f'unknown format "{name}"{did_you_mean(name, names())}')
    return cast("Format", import_module(f"pipeline.export.{name}"))


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """An export to be made.

    left_out: what the licences keep out of it. links: whether clips are read in the shards where they lie, without a
    copy. size: about how many bytes of audio will be written.
    """

    form: str
    rows: pd.DataFrame
    left_out: Sequence[LeftOut]
    use: Use
    source: Manifest
    links: bool
    size: int

    @property
    def seconds(self) -> float:
        """How much sound it is."""
        return float(sql.query(self.rows, "SELECT coalesce(sum(frames / rate_hz), 0) FROM rows")[0][0])

    @property
    def identity(self) -> dict[str, object]:
        """What the marker in the folder says."""
        source = {"manifest": self.source.path.name, "logical_hash": self.source.provenance.logical_hash}
        return source | {"format": self.form, "use": self.use or "unrestricted", "rows": len(self.rows)}


def folder_of(path: Path, form: str, use: Use) -> Path:
    """Where the export of a manifest goes by default: `mixed-csv`, and apart from it `mixed-csv-shareable`."""
    return path.with_name(f"{path.stem}-{form}{'-shareable' if use == 'shareable' else ''}")


def plan(source: Manifest, form: str, use: Use, audio: str | None = None) -> Export:
    """What would be exported. PrepError where licences forbid it, there is no sound yet, or no row is left.

    audio: "copy" or "link", None for what the format does by itself.
    """
    chosen, rows = find(form), source.frame
    if audio and not chosen.LINKS:
        alone = [name for name in names() if find(name).LINKS]
        remedy = f"leave --audio out of --to {form}"
        raise PrepError(f"--audio {audio}: only --to {' and '.join(alone)} has two ways to hold audio; {remedy}")
    if audio == "link" and use == "shareable":
        why = "the shards hold clips that may not be passed on; with --shareable those that may are copied"
        raise PrepError(f"--audio link: {why}")
    links = chosen.LINKS and audio != "copy" and use != "shareable"
    silent = int((~(frame.present(rows, "shard") | frame.present(rows, "noise_shard"))).sum())
    if chosen.SOUND and silent:
        remedy = "run prep resample, or of a pack prep rebuild, and export what it writes (--to csv needs no audio)"
        raise PrepError(f"{silent:,} of {len(rows):,} rows have no stored audio: {remedy}")
    kept, left_out = (rows, []) if use == "own" else _allowed(rows, use, chosen.SOUND)
    if not len(kept):
        why = "; ".join(item.why for item in left_out) or "it has none"
        raise PrepError(f"{source.path}: not one of {len(rows):,} rows can be exported: {why}")
    return Export(form, kept, left_out, use, source, links, chosen.size(kept, links))


def _allowed(rows: pd.DataFrame, use: Use, sound: bool) -> tuple[pd.DataFrame, list[LeftOut]]:
    """(the rows that may be passed on, what is left out of them). PrepError where something is and `use` is empty."""
    left_out: list[LeftOut] = []
    shareable = rights.shareable_audio(rows)
    kept, columns = rights.redacted(rows)  # before rows are picked: pseudonyms are the same in every format
    if sound and not np.all(shareable):
        closed = [t for t in rights.terms(rows) if not t.audio]
        left_out = [LeftOut(t.corpus, "audio", t.rows, t.refusal("audio")) for t in closed]
        kept, columns = frame.pick(kept, shareable), rights.redacted(frame.pick(rows, shareable))[1]
    left_out += columns
    if left_out and not use:
        owners = {item.corpus for item in left_out}
        terms = [f"{t.corpus}: {t.licence}: {t.restrictions}" for t in rights.terms(rows) if t.corpus in owners]
        lines = [
            "this set holds what its licences forbid to pass on; say what the export is for:",
            *terms,
            "--own-use     all of it, for your own machines: the folder says that it must not be passed on",
            "--shareable   only what may be passed on: without the rows, transcripts and labels that may not",
        ]
        raise PrepError("\n".join(lines))
    return kept, left_out


def check(export: Export, folder: Path) -> None:
    """PrepError where the folder is taken by anything but an earlier export of the same, or its disk is too small."""
    _refuse(folder, export.identity)
    files.check_room(folder, export.size * 1.02, "the audio of this export")


def write(export: Export, folder: Path, advance: Callable[[int], object]) -> None:
    """The export in its folder, whole or not at all; an earlier one of the same manifest and format gives way."""
    check(export, folder)
    with _replacing(folder, export.identity) as half:
        reader = Reader(export.source.path.parent)
        job = Job(export.rows, reader, half, folder, export.source.path.stem, export.links, advance)
        card = find(export.form).write(job)
        reader.close()
        (half / "README.md").write_text(_readme(card, export), encoding="utf-8")
        if export.use == "own":
            (half / ".gitignore").write_text("*\n", encoding="utf-8")  # not into a repository by oversight


def _readme(card: str, export: Export) -> str:
    """README.md: what the format says of itself, whose recordings are in the export, what may be done with them."""
    terms = rights.terms(export.rows)
    parts = [card.rstrip() + "\n"]
    if export.use == "own" and any(not (t.audio and t.transcripts and t.labels) for t in terms):
        parts.append(_OWN_USE)
    if export.left_out:
        lines = [f"* {item.column} of {item.corpus}, {item.rows:,} rows: {item.why}" for item in export.left_out]
        parts.append("## Left out\n\n" + "\n".join(lines) + "\n")
    sources = []
    for t in terms:
        url = f" ({t.licence_url})" if t.licence_url != t.licence else ""
        may = ", ".join(kind for kind in rights.KINDS if t.may_share(kind))
        lines = [
            f"### {t.title} (`{t.corpus}`, {t.rows:,} rows)\n",
            f"* Homepage: {t.homepage}",
            f"* Licence: {t.licence}{url}",
            f"* Attribution: {t.attribution}",
            f"* Restrictions: {t.restrictions}",
            f"* May be passed on: {may or 'nothing'}",
        ]
        sources.append("\n".join(lines))
    return "\n".join([*parts, "## Sources and licences\n\n" + "\n\n".join(sources) + "\n"])


# ---- the folder


@contextmanager
def _replacing(path: Path, identity: dict[str, object]) -> Iterator[Path]:
    """An empty folder to write to; when the block ends well it takes `path`'s place, else it is removed."""
    half, old = (path.parent / f"{files.TEMPORARY}{path.name}{end}" for end in ("", "-old"))
    for left in (half, old):
        shutil.rmtree(left, ignore_errors=True)
    try:
        half.mkdir(parents=True)
        yield half
        marker = identity | {"files": _count(half) + 1}
        (half / MARKER).write_text(json.dumps(marker, ensure_ascii=False, sort_keys=True, indent=1) + "\n")
        os.sync()  # all files before the name: one call, where each of 400,000 would wait for the disk
        if path.exists():
            os.replace(path, old)
        os.replace(half, path)
    finally:
        for left in (half, old):
            shutil.rmtree(left, ignore_errors=True)


def _refuse(path: Path, identity: dict[str, object]) -> None:
    """PrepError where the path is taken by anything but an earlier export of the same, as it was written."""
    if not path.exists():
        return
    if not path.is_dir():
        raise PrepError(f"{path}: a file; --out names the folder of an export")
    if not _count(path):
        return
    try:
        marker: dict[str, Any] = dict(texts.from_json(texts.read(path / MARKER)))
    except (OSError, ValueError, TypeError):
        marker = {}
    if not marker:
        remedy = "name another with --out, or empty it"
        raise PrepError(f"{path}: a folder that holds other things than an export; {remedy}")
    if any(marker.get(key) != identity[key] for key in ("format", "manifest")):
        what = f"{marker.get('format')} of {marker.get('manifest')}"
        raise PrepError(f"{path}: holds another export ({what}); name another folder with --out, or remove it")
    more = _count(path) - int(marker.get("files", 0))
    if more > 0:
        added = "1 file was" if more == 1 else f"{more:,} files were"
        remedy = "move what is not of it away, or name another folder with --out"
        raise PrepError(f"{path}: {added} added to this export since; {remedy}")


def _count(path: Path) -> int:
    """How many files are in a folder, those below it too."""
    return sum(len(listed) for _, _, listed in os.walk(path))
