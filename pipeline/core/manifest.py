"""Manifests: rows as Parquet with their provenance; read, edited, written whole, hashed. The door to training.

    >>> from pipeline import manifest                                        # doctest: +SKIP
    >>> mixed = manifest.read("manifests/mixed.parquet")                     # doctest: +SKIP
    >>> mixed.frame, mixed.drops, mixed.audio(mixed.frame.id[0])             # doctest: +SKIP

`manifests/schema.md` documents the columns. Never here: how audio is decoded or drawn; that is loaded when it is asked
for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pipeline import __version__
from pipeline.core import frame as frames
from pipeline.core import migrations, parquet
from pipeline.core.errors import ManifestError, RecipeError, sample
from pipeline.core.joined import Joined, Stacked
from pipeline.core.row import Drop, Row

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

SCHEMA_VERSION = 2
PACKAGES = ("numpy", "soxr", "soundfile", "pyarrow", "duckdb", "av")  # whose version can move a bit of the result
LABEL_COLUMNS = ("split", "group", "transcript", "keyword", "scenario", "scene", "noise_label", "labels")
EDITED = "edited"  # the stage of a manifest whose rows were changed by hand
WATCHERS: list[Callable[[Mapping[str, Any]], object]] = []  # called with the recipe of what is read
_DROPS_ORDER = ("stage", "id", "reason")


@dataclass(frozen=True, slots=True)
class Provenance:
    """What a manifest depends on: no time, no host, no path.

    stage: name of the last stage. recipe: options of every stage so far, in canonical form. inputs: logical hash of
    each manifest that was read. logical_hash: of the rows, in order (core.frame.logical_hash). drops_hash: the same of
    the drops.
    """

    stage: str
    recipe: Mapping[str, Any]
    seed: int
    inputs: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    logical_hash: str = ""
    drops_hash: str = ""
    schema_version: int = SCHEMA_VERSION


class Manifest:
    """A manifest in memory: its rows as a frame, what was dropped before them, what they were made from, where they
    lie.

    provenance: a Provenance. path: the manifest's file; the audio of its rows lies in `audio/` beside it.
    """

    def __init__(self, rows: pd.DataFrame | None, provenance: Provenance, path: Path) -> None:
        """rows: None where they are to be read from the file when they are first needed."""
        self._read_rows = rows
        self.provenance = provenance
        self.path = path

    @cached_property
    def _rows(self) -> pd.DataFrame:
        return _read(self.path, Row) if self._read_rows is None else self._read_rows

    @property
    def frame(self) -> pd.DataFrame:
        """The rows as a pandas frame with Arrow types, by source, then id. A copy: changing it does not change the
        manifest.

        `save` writes a changed frame.
        """
        return self._rows.copy(deep=False)

    @cached_property
    def _drops(self) -> pd.DataFrame:
        return read_drops(self.path)

    @property
    def drops(self) -> pd.DataFrame:
        """The rows that ended before this manifest: id, stage, reason, detail.

        ManifestError where their file is missing.
        """
        return self._drops.copy(deep=False)

    def rows(self) -> Iterator[Row]:
        """The rows as Row values, in the manifest's order."""
        return frames.rows(self._rows, Row)

    def __len__(self) -> int:
        if self._read_rows is None:
            return int(parquet.footer(self.path).num_rows)
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Manifest({self.path}: {len(self):,} rows, stage {self.provenance.stage})"

    def row(self, row_id: str) -> Row:
        """The row with this id. ManifestError where there is none."""
        where = np.flatnonzero(frames.equal(self._rows["id"], row_id))
        if not len(where):
            raise ManifestError(f"{self.path}: no row has the id {row_id!r}; .frame.id lists them")
        return next(frames.rows(frames.pick(self._rows, where[:1]), Row))

    def audio(self, row_id: str) -> NDArray[np.int16]:
        """The row's samples, int16 [frames], mono, at its rate_hz: as stored, or rendered where the row is a virtual
        mixture.

        ManifestError where there is no such row, where it has no stored audio yet, or where the audio is missing or
        damaged.
        """
        reader = import_module("pipeline.audio.shards").Reader(self.path.parent)
        samples: NDArray[np.int16] = reader.pcm(self.row(row_id))
        return samples

    def play(self, row_id: str) -> Any:
        """A player of the row's audio, for a notebook. Needs IPython; ManifestError as `audio`."""
        return import_module("pipeline.inspect.notebook").player(self.row(row_id), self.audio(row_id))

    def plot(self, row_id: str) -> Any:
        """A matplotlib figure of the row: waveform above, spectrogram below. Needs the extra [report]."""
        return import_module("pipeline.inspect.notebook").figure(self.row(row_id), self.audio(row_id))

    def save(self, path: str | Path, frame: pd.DataFrame | None = None) -> Manifest:
        """Writes the rows of a frame that was taken from this manifest and changed; returns the new manifest.

        frame: `.frame` with other labels (LABEL_COLUMNS) or with fewer rows, in any order and with any dtypes that hold
        the values; None: the rows as they are. Rows that were left out become drops (stage `edited`, reason `removed`).
        The provenance says stage `edited`, the hash of this manifest as input, and which columns were changed in how
        many rows. A frame without any change keeps its provenance and its hash.

        ManifestError names row and column of a value that its column cannot hold without loss, of a change in a column
        that was measured, and of an id that this manifest does not have; it names the folder where the audio does not
        lie beside `path`. Nothing is written then.
        """
        path = Path(path)
        rows = frames.ordered(frames.normalize(self._rows if frame is None else frame, Row))
        if path.absolute().parent != self.path.absolute().parent and frames.present(rows, "shard").any():
            raise ManifestError(f"{path}: the audio lies beside {self.path}: name a file in {self.path.parent}")
        edit, removed = _edit(self._rows, rows)
        if not edit:
            write(path, rows, self._drops, self.provenance)
            return read(path)
        before = self.provenance.logical_hash
        drops = [
            Drop(row_id, EDITED, "removed", f"left out of the frame that was saved as {path.name}")
            for row_id in removed
        ]
        made = replace(
            self.provenance,
            stage=EDITED,
            recipe={**self.provenance.recipe, EDITED: edit},
            inputs={self.path.stem: before},
        )
        write(path, rows, frames.concat([self._drops, frames.from_rows(drops, Drop)], Drop), made)
        return read(path)


def _edit(before: pd.DataFrame, after: pd.DataFrame) -> tuple[dict[str, Any], list[str]]:
    """(what was changed: `rows`, `columns`, `removed`, empty where nothing was; ids that were removed).

    ManifestError where the frame has rows that are not the manifest's, or changes in columns that were measured.
    """
    if twice := frames.duplicated_value(after["id"]):
        raise ManifestError(f"row {twice!r} is there twice: each id stands for one clip")
    where = frames.position_of(after["id"], before["id"])
    if (where < 0).any():
        unknown = frames.values(frames.pick(after[["id"]], where < 0)["id"])
        raise ManifestError(f"ids that this manifest does not have: {sample(unknown)}: rows are made by the stages")
    was = frames.pick(before, where)
    changed, columns = np.zeros(len(after), np.bool_), []
    for name in after.columns:
        other = frames.differs(was[name], after[name])
        if not other.any():
            continue
        if name not in LABEL_COLUMNS:
            n = int(np.flatnonzero(other)[0])
            raise ManifestError(
                f'row {after["id"].iloc[n]!r}, column "{name}": found {after[name].iloc[n]!r}, the manifest has '
                f"{was[name].iloc[n]!r}: what was measured or made is not edited; "
                f"columns of labels are {', '.join(LABEL_COLUMNS)}"
            )
        columns.append(name)
        changed |= other
    removed = frames.values(frames.pick(before[["id"]], ~frames.among(before["id"], frames.values(after["id"])))["id"])
    if not columns and not removed:
        return {}, []
    return {"columns": columns, "rows": int(changed.sum()), "removed": len(removed)}, removed


def read(path: str | Path) -> Manifest:
    """The manifest at this path, as of the newest schema.

    ManifestError where it is missing, not ours, or of a later schema.
    """
    return Manifest(_read(Path(path), Row), provenance(Path(path)), Path(path))


def read_columns(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Some columns of the rows alone: little memory, whatever the manifest's size. ManifestError as `read`."""
    return _read(path, Row, names)


def read_rows(path: Path, column: str, value: str) -> pd.DataFrame:
    """The rows that have this value in a column, without the others in memory. ManifestError as `read`."""
    where = frames.equal(read_columns(path, [column])[column], value)
    if provenance(path).schema_version < SCHEMA_VERSION:
        return frames.pick(_read(path, Row), where)
    footer, parts, start = parquet.footer(path), [], 0
    for group in range(footer.num_row_groups):
        stop = start + footer.row_group(group).num_rows
        if where[start:stop].any():
            rows = _conformed(path, parquet.read_table(path, frames.schema(Row).names, [group]), Row)
            parts.append(frames.pick(frames.from_arrow(rows), where[start:stop]))
        start = stop
    return frames.as_kind(frames.concat(parts, Row), Row)


def read_drops(path: Path) -> pd.DataFrame:
    """The drops of a manifest. ManifestError where they are missing."""
    return _read(drops_path(path), Drop)


def migrate(path: Path, out: Path) -> Provenance:
    """Writes a manifest of an earlier schema, and its drops, as one of the newest; returns its provenance.

    The versions of the packages that made the rows stay. ManifestError where the rows are not those that were written.
    """
    old = read(path)
    if parquet.logical_hash_of_file(path) != old.provenance.logical_hash:
        raise ManifestError(
            f"{path}: its rows are not those of its logical hash: it was changed since; nothing was written"
        )
    return _write(out, old.frame, old.drops, replace(old.provenance, schema_version=SCHEMA_VERSION))


def provenance(path: Path) -> Provenance:
    """What a manifest was made from, read from the file's footer alone. ManifestError as `read`."""
    made = _said(path)
    if made is None:
        raise ManifestError(f"{path}: a Parquet file, but not a manifest written by prep: it has no provenance")
    return made


def note(metadata: Mapping[str, Any]) -> None:
    """Lets the corpora be known that the recipe of what is read states (corpora.own)."""
    for watch in WATCHERS:
        watch(metadata.get("recipe", {}))


def drops_path(path: Path) -> Path:
    """Where the drops of a manifest lie: `mixed.parquet` has `mixed.drops.parquet`."""
    return path.with_name(f"{path.stem}.drops.parquet")


def of_drops(path: Path) -> Path:
    """The manifest whose drops lie at this path."""
    return path.with_name(f"{path.name.removesuffix('.drops.parquet')}.parquet")


def write(path: Path, rows: pd.DataFrame | Stacked, drops: pd.DataFrame, made: Provenance) -> Provenance:
    """Writes rows and drops, each in stable order, whole or not at all; returns the provenance with its hashes."""
    return _write(path, rows, drops, replace(made, versions=versions()))


def _write(path: Path, rows: pd.DataFrame | Stacked, drops: pd.DataFrame, made: Provenance) -> Provenance:
    """The drops are written first: where the manifest is, its drops are."""
    if not isinstance(rows, Stacked):
        rows = Stacked(Row, [Joined((frames.as_kind(rows, Row), None))])
    rows = rows.ordered()
    drops = frames.as_kind(frames.ordered(drops, _DROPS_ORDER), Drop)
    made = replace(made, logical_hash=rows.logical_hash(), drops_hash=frames.logical_hash(drops))
    parquet.write(drops_path(path), frames.to_arrow(drops).cast(frames.schema(Drop)), asdict(made))
    parquet.write_groups(path, rows.batches(parquet.ROWS_A_GROUP), frames.schema(Row), asdict(made))
    return made


def versions() -> dict[str, str]:
    """Versions of this project and of the packages that can move a bit of the result."""
    installed = {"prep": __version__}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def other_versions(made: Provenance) -> list[tuple[str, str, str]]:
    """(package, its version here, its version there) of those that differ from those a manifest was made with."""
    here = versions()
    there = {name: made.versions.get(name, here[name]) for name in sorted(here)}
    return [(name, here[name], there[name]) for name in there if there[name] != here[name]]


def _read(path: Path, kind: type, only: Sequence[str] | None = None) -> pd.DataFrame:
    """Rows or drops of a file, of an earlier schema too: all columns, or these.

    Columns without any value share memory.
    """
    names = frames.schema(kind).names if only is None else list(only)
    made = _said(path)
    there, needed = set(parquet.footer(path).schema.to_arrow_schema().names), frames.schema(kind)
    since = made.schema_version if made else SCHEMA_VERSION  # a file that says none lacks what the newest has
    if since < SCHEMA_VERSION:
        part = "drops" if kind is Drop else "rows"
        frame = migrations.raised(frames.from_arrow(parquet.read_table(path)), part, since, SCHEMA_VERSION)
        _refuse_lacking(path, kind, {f.name for f in needed if not f.nullable} - set(frame.columns))
        frame = frames.from_arrow(_conformed(path, frames.to_arrow(frame), kind))
        return frames.as_kind(frame, kind)[names]
    _refuse_lacking(path, kind, set(needed.names) - there)
    coded = () if only is None else ("labels",)  # keys and values are few: as codes they take a third of the memory
    return frames.concat(
        [frames.from_arrow(_conformed(path, parquet.read_table(path, names, coded=coded), kind))], kind
    )


def _conformed(path: Path, table: pa.Table, kind: type) -> pa.Table:
    try:
        return frames.conformed(table, kind)
    except ManifestError as error:
        raise ManifestError(f"{path}: {error}") from None


def _said(path: Path) -> Provenance | None:
    """What a file of rows or drops says of its making; None where it says nothing. ManifestError as `read`."""
    if not path.exists():
        raise ManifestError(f"{path}: no such manifest")
    if parquet.KEY not in (parquet.footer(path).metadata or {}):
        return None
    values = parquet.metadata(path)
    _refuse_pack(path, values)
    return of_metadata(path, values)


def of_metadata(path: Path, values: Mapping[str, Any]) -> Provenance:
    """The provenance that a file's metadata states; the corpora in its recipe are known from now on.

    ManifestError for that of a later schema, and where a value is not of its kind.
    """
    version = values.get("schema_version")
    if type(version) is int and version > SCHEMA_VERSION:
        raise ManifestError(f"{path}: schema version {version}, this prep reads up to {SCHEMA_VERSION}: upgrade it")
    try:
        made: Provenance = import_module("pipeline.core.stated").checked(Provenance, values)
        note(values)
    except (ValueError, RecipeError) as error:
        what = f"what it says of its making is not as prep writes it: {error}"
        raise ManifestError(f"{path}: {what}: get it again") from None
    return made


def _refuse_pack(path: Path, metadata: Mapping[str, Any]) -> None:
    if "pack" in metadata:
        raise ManifestError(
            f"{path}: a pack, not a manifest: prep rebuild {path.name} makes the set from your copies of the corpora"
        )


def _refuse_lacking(path: Path, kind: type, lacking: set[str]) -> None:
    if lacking and kind is Row and path.name.endswith(".drops.parquet"):
        raise ManifestError(f"{path}: the drops of {of_drops(path).name}: prep drops {of_drops(path)} lists them")
    if lacking:
        raise ManifestError(
            f"{path}: lacks the columns {', '.join(sorted(lacking))}: not a manifest of this prep; make it again"
        )
