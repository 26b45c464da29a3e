"""The columns of a pack: those of Row, each in the form that takes the fewest bytes, and back again without loss.

A coding is taken only where it gives back exactly what it was given, which is tried on the very rows: so any manifest can be
packed, and what is usual in one (levels of four decimals, hashes in hex, noise that is itself a row) is packed small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pipeline.audio import dsp
from pipeline.core.errors import ManifestError
from pipeline.core.table import UNHASHED, Table

DECIMALS = {
    "level_full_dbfs": 4,
    "level_active_dbfs": 4,
    "activity": 6,
    "peak_dbfs": 4,
    "clipped_share": 6,
    "zero_share": 6,
    "snr_db": 2,
    "snr_active_db": 4,
    "snr_full_db": 4,
    "gain_db": 4,
    "noise_gain_db": 4,
}
HASHES = ("pcm_hash", "source_pcm_hash", "speech_pcm_hash", "noise_pcm_hash")
FEW = (
    "corpus",
    "split",
    "kind",
    "keyword",
    "noise_label",
    "transcript",
    "scenario",
    "scene",
    "source_format",
    "snr_definition",
    "tail",
)


class Coding(Protocol):
    """A way to say columns in fewer bytes. name: how a pack says that it was taken. columns: those of Row that it changes."""

    @property
    def name(self) -> str: ...
    @property
    def columns(self) -> Sequence[str]: ...
    def shut(self, rows: Table) -> Table | None:
        """The rows with the columns coded; None where it does not fit them."""
        ...

    def open(self, rows: Table) -> Table:
        """The rows with the columns as they were."""
        ...


@dataclass(frozen=True, slots=True)
class Decimals:
    """A number of few decimals as a whole one: -23.4561 dB is -234561."""

    column: str
    digits: int

    @property
    def name(self) -> str:
        return f"decimals {self.column}"

    @property
    def columns(self) -> Sequence[str]:
        return (self.column,)

    def shut(self, rows: Table) -> Table | None:
        numbers = rows.numbers(self.column)
        whole = np.rint(numbers * 10**self.digits)
        if not (np.abs(np.nan_to_num(whole)) < 2**31).all():
            return None
        return rows.with_numbers(self.column, whole, "int32")

    def open(self, rows: Table) -> Table:
        return rows.with_numbers(self.column, rows.numbers(self.column) / 10**self.digits)


@dataclass(frozen=True, slots=True)
class Hex:
    """A hash as its 16 bytes instead of 32 digits."""

    column: str

    @property
    def name(self) -> str:
        return f"hex {self.column}"

    @property
    def columns(self) -> Sequence[str]:
        return (self.column,)

    def shut(self, rows: Table) -> Table | None:
        return rows.with_bytes(self.column)

    def open(self, rows: Table) -> Table:
        return rows.with_hex(self.column)


@dataclass(frozen=True, slots=True)
class Frames:
    """The length by what it differs from that of the recording at the row's rate: by nothing."""

    name = "frames"
    columns = ("frames",)

    def shut(self, rows: Table) -> Table | None:
        if not all(rows.present(name).all() for name in ("frames", "source_frames", "source_rate_hz", "rate_hz")):
            return None
        return rows.filled(frames=rows.integers("frames") - self._ends(rows))

    def open(self, rows: Table) -> Table:
        return rows.filled(frames=rows.integers("frames") + self._ends(rows))

    @staticmethod
    def _ends(rows: Table) -> np.typing.NDArray[np.int64]:
        frames, rate, to = (rows.integers(name) for name in ("source_frames", "source_rate_hz", "rate_hz"))
        return dsp.frames_at(frames, rate, to)  # type: ignore[arg-type]  # a rate for each row does as well


@dataclass(frozen=True, slots=True)
class Ids:
    """The id of a mixture as that of its speech and what comes after it, `_snr20_0`."""

    name = "ids"
    columns = ("id", "speech_id")

    def shut(self, rows: Table) -> Table | None:
        told = rows.derived(
            stem="coalesce(speech_id, id)",
            tail="CASE WHEN speech_id IS NOT NULL THEN substr(id, length(speech_id) + 1) END",
        )
        return rows.without(*self.columns).beside(told)

    def open(self, rows: Table) -> Table:
        told = rows.derived(id="concat(stem, tail)", speech_id="CASE WHEN tail IS NOT NULL THEN stem END")
        return rows.without("stem", "tail").beside(told)


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a mixture as the number of its own row, which says the rest."""

    name = "noise"
    columns = ("noise_id", "noise_source", "noise_pcm_hash")

    def shut(self, rows: Table) -> Table | None:
        codes, names = rows.codes("noise_id")
        own = np.flatnonzero(rows.among("id", {str(name) for name in names if name is not None}))
        places = dict(zip(rows.take(own).column("id"), own.tolist(), strict=True))
        if (
            not own.size
            or "pcm_hash" not in rows.names
            or not {name for name in names if name is not None} <= places.keys()
        ):
            return None
        numbers = np.array([np.nan if name is None else places[name] for name in names])[codes]
        return rows.without(*self.columns).with_numbers("noise_row", numbers, "int32")

    def open(self, rows: Table) -> Table:
        noise, mixed = _noise_rows(rows)
        said = noise.renamed(id="noise_id", source="noise_source", pcm_hash="noise_pcm_hash")
        table = rows.without("noise_row").beside(said.only(self.columns))
        for name in self.columns:
            table = table.blanked(name, ~mixed)
        return table


@dataclass(frozen=True, slots=True)
class Scene:
    """The scene of a mixture, where it is that of the row of its noise."""

    name = "scene"
    columns = ("scene",)

    def shut(self, rows: Table) -> Table | None:
        return rows.blanked("scene", rows.present("noise_row")) if "noise_row" in rows.names else None

    def open(self, rows: Table) -> Table:
        noise, mixed = _noise_rows(rows)
        return rows.replaced("scene", mixed, noise)


@dataclass(frozen=True, slots=True)
class Group:
    """The group, where it is not the recording itself."""

    name = "group"
    columns = ("group",)

    def shut(self, rows: Table) -> Table | None:
        return rows.without("group").beside(rows.derived(name_of_group='nullif("group", source_pcm_hash)'))

    def open(self, rows: Table) -> Table:
        told = rows.derived(held="coalesce(name_of_group, source_pcm_hash)").renamed(held="group")
        return rows.without("name_of_group").beside(told)


def _noise_rows(rows: Table) -> tuple[Table, np.typing.NDArray[np.bool_]]:
    """(for each row that of its noise, and for rows without any the first; bool [rows]: which have noise)."""
    numbers = rows.numbers("noise_row")
    mixed = ~np.isnan(numbers)
    held = rows.only(["id", "source", "pcm_hash", "scene"] if "scene" in rows.names else ["id", "source", "pcm_hash"])
    return held.take(np.where(mixed, numbers, 0).astype(np.int64)), mixed


CODINGS: tuple[Coding, ...] = (
    *(Decimals(column, digits) for column, digits in DECIMALS.items()),
    Frames(),
    Group(),
    Noise(),
    Scene(),
    Ids(),
    *(Hex(column) for column in HASHES),
)


def shut(rows: Table) -> tuple[Table, list[str]]:
    """(the rows as a pack holds them, the names of the codings that were taken, in order)."""
    rows = rows.without(*UNHASHED)
    rows = rows.only([name for name in rows.names if name == "labels" or rows.present(name).any()])
    taken: list[str] = []
    for coding in CODINGS:
        if set(coding.columns) <= set(rows.names) and (coded := _lossless(coding, rows)) is not None:
            rows, taken = coded, [*taken, coding.name]
    return rows, taken


def _lossless(coding: Coding, rows: Table) -> Table | None:
    coded = coding.shut(rows)
    if coded is None or coding.open(coded).only(coding.columns).digest() != rows.only(coding.columns).digest():
        return None
    return coded


def opened(rows: Table, taken: Sequence[str]) -> Table:
    """Rows, from what `shut` gave. ManifestError for a coding that is not known here."""
    known = {coding.name: coding for coding in CODINGS}
    for name in reversed(taken):
        if name not in known:
            raise ManifestError(f'the pack says columns in a way ("{name}") that this prep does not know: upgrade it')
        rows = known[name].open(rows)
    return rows.as_rows()
