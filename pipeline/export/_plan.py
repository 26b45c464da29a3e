"""An export, from the question whether it may be made to the folder that holds it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.audio.shards import Reader
from pipeline.core.errors import PrepError
from pipeline.core.manifest import Manifest
from pipeline.core.table import Table
from pipeline.corpora import rights
from pipeline.corpora.rights import LeftOut
from pipeline.export import _folder
from pipeline.export._formats import find, names
from pipeline.export._job import Job
from pipeline.export._notice import readme

Use = Literal["", "own", "shareable"]  # what for: not said, for the user alone, to be passed on


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """An export to be made. left: what the licences keep out of it. links: clips are read in the shards where they lie."""

    form: str
    rows: Table
    left: Sequence[LeftOut]
    use: Use
    source: Manifest
    links: bool
    size: int

    @property
    def seconds(self) -> float:
        """How much sound it is."""
        return float(self.rows.query("SELECT coalesce(sum(frames / rate_hz), 0) FROM rows")[0][0])


def planned(held: Manifest, form: str, use: Use, audio: str | None = None) -> Export:
    """What would be exported. PrepError where licences forbid it, there is no sound yet, or no row is left.

    audio: "copy" or "link", None for what the format does by itself.
    """
    chosen = find(form)
    links = _links(form, use, audio)
    if chosen.SOUND:
        _refuse_unheard(held.table)
    rows, left = _allowed(held.table, use, chosen.SOUND)
    if not len(rows):
        why = "; ".join(item.why for item in left) or "it has none"
        raise PrepError(f"{held.path}: not one of {len(held):,} rows can be exported: {why}")
    return Export(form, rows, left, use, held, links, chosen.size(rows, links))


def check(export: Export, folder: Path) -> None:
    """PrepError where the folder is taken by anything but an earlier export of the same, or its disk is too small."""
    _folder.refuse(folder, _identity(export))
    _folder.check_disk(folder, export.size)


def written(export: Export, folder: Path, advance: Callable[[int], None]) -> None:
    """The export in its folder, whole or not at all; an earlier one of the same manifest and format gives way."""
    check(export, folder)
    chosen = find(export.form)
    with _folder.replacing(folder, _identity(export)) as half:
        reader = Reader(export.source.path.parent)
        job = Job(export.rows, reader, half, folder, export.source.path.stem, export.links, advance)
        chosen.write(job)
        reader.close()
        (half / "README.md").write_text(
            readme(chosen.card(job), export.rows, export.left, export.use), encoding="utf-8"
        )
        if export.use == "own":
            (half / ".gitignore").write_text("*\n", encoding="utf-8")  # not into a repository by oversight


def _identity(export: Export) -> dict[str, object]:
    """What the folder says that it is."""
    told = {"format": export.form, "manifest": export.source.path.name, "use": export.use or "unrestricted"}
    return told | {"rows": len(export.rows), "logical_hash": export.source.provenance.logical_hash}


def _links(form: str, use: Use, audio: str | None) -> bool:
    if audio == "link" and not find(form).LINKS:
        able = ", ".join(name for name in names() if find(name).LINKS)
        raise PrepError(
            f"--audio link: {form} cannot read clips inside the shards where they lie (only {able} can): leave it out"
        )
    if audio == "link" and use == "shareable":
        raise PrepError(
            "--audio link: the shards hold clips that may not be passed on; with --shareable those that may are copied"
        )
    return find(form).LINKS and audio != "copy" and use != "shareable"


def _refuse_unheard(rows: Table) -> None:
    unheard = ~(rows.present("shard") | rows.present("noise_shard"))
    if unheard.any():
        raise PrepError(
            f"{int(unheard.sum()):,} of {len(rows):,} rows have no stored audio: run prep resample, or of a pack prep rebuild, and "
            "export what it writes (--to csv needs no audio)"
        )


def _allowed(rows: Table, use: Use, sound: bool) -> tuple[Table, list[LeftOut]]:
    """The rows that may be exported for this use, and what is left out of them. PrepError where it must be said and was not."""
    if use == "own":
        return rows, []
    left = _unheard(rows) if sound else []
    kept = rows.where(rights.shareable_audio(rows)) if left else rows
    kept, columns = rights.redacted(kept)
    left += columns
    if left and not use:
        raise PrepError(_choice(rows, left))
    return kept, left


def _unheard(rows: Table) -> list[LeftOut]:
    """Whose audio may not be passed on, and how many rows hold it."""
    if bool(np.all(rights.shareable_audio(rows))):
        return []
    return [LeftOut(t.corpus, "audio", t.rows, t.refusal("audio")) for t in rights.terms(rows) if not t.audio]


def _choice(rows: Table, left: Sequence[LeftOut]) -> str:
    who = {item.corpus for item in left}
    said = [f"{t.corpus}: {t.licence}: {t.restrictions}" for t in rights.terms(rows) if t.corpus in who]
    return "\n".join(
        [
            "this set holds what its licences forbid to pass on; say what the export is for:",
            *said,
            "--own-use     all of it, to train or judge on your own machines: the folder says that it must not be passed on",
            "--shareable   only what may be passed on: rows whose audio may not are left out, and so are such transcripts and labels",
        ]
    )
