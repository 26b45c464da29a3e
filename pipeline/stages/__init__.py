"""A stage is a file here: its plan, its work, its options, the columns that it reads and fills.

A build goes through `ingest`, `filter`, `resample` and `mix`. `seek`, `rebuild` and `recompute` make a set out of a
pack. This file holds what all stages share: Plan, Job, and how the jobs of a plan lie in columns.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from importlib import import_module
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from pipeline.core import frame as frames
from pipeline.core.row import Drop, Place, Row
from pipeline.stages.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")
ORDER = ("ingest", "filter", "resample", "mix")


class Options(BaseModel):
    """Options of a stage: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Stage(Protocol):
    """A module that opens audio: its `plan` sees all rows and draws, its `work` does one job and draws nothing.

    READS: the columns of a row that the work sees. FILLS: the columns that it sets; all others are carried over from
    the plan, so that a changed label redoes no audio. DEPENDS: the columns of the plan which, with NAME, VERSION and
    the options, name the result of a shard; they determine all that READS holds. PLANNED: options that shape the plan
    alone, not the work.
    """

    NAME: str
    VERSION: int
    PLANNED: frozenset[str]
    DEPENDS: tuple[str, ...]
    READS: tuple[str, ...]
    FILLS: tuple[str, ...]

    def stores(self, options: Any) -> bool:
        """Whether the work puts audio into the store."""
        ...

    def work(self, job: Job, options: Any, store: Store) -> Row | Drop:
        """The row of the job with FILLS set, or a drop. A CorruptMember that it raises becomes a drop too."""
        ...


def find(name: str) -> Stage:
    """The module of the stage with this name."""
    return cast(Stage, import_module(f"pipeline.stages.{name}"))


@dataclass(frozen=True, slots=True)
class Noise:
    """Where the noise of a mixture lies, stored and decoded, and where the crops to try begin.

    shard, offset, bytes: of the stored recording. pool: name of the decoded noise of a shard, in which this recording
    begins at the frame `begin` and has `frames` of them. starts: frames of the recording, in the order in which they
    are tried.
    """

    shard: str
    offset: int
    bytes: int
    pool: str = ""
    begin: int = 0
    frames: int = 0
    starts: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a plan: all that the work of a stage sees.

    row: the columns that the stage reads (READS); the others are None. place: where the recording lies, for a stage
    that opens it. noise: for a mixture. quality: of soxr, for speech that is resampled as it is mixed.
    """

    row: Row
    place: Place | None = None
    noise: Noise | None = None
    quality: str | None = None


_PLACE = {f"at_{f.name}": f.name for f in fields(Place)}  # column of a plan -> field
_NOISE = {f"at_noise_{name}": name for name in ("shard", "offset", "bytes", "frames")}
_NOISE |= {"at_pool": "pool", "at_noise": "begin", "starts": "starts"}


def with_places(frame: DataFrame, places: Sequence[Place]) -> DataFrame:
    """The frame with the columns at_* that say where the recording of each row lies on this machine."""
    columns = frames.from_rows(places, Place)
    return frames.with_columns(frame, **{column: columns[name] for column, name in _PLACE.items()})


def jobs(plan: Any, stage: Stage) -> Iterator[Job]:
    """The jobs of a part of a plan. plan: an Arrow table, for this runs in workers."""
    reads = [name for name in stage.READS if name in plan.column_names]
    quality = plan.column("at_quality").to_pylist() if "at_quality" in plan.column_names else repeat(None)
    rows = frames.rows(plan.select(reads), Row)
    places, noises = _parts(plan, _PLACE, Place), _parts(plan, _NOISE, Noise)
    columns = zip(rows, places, noises, quality, strict=False)  # None for what is not there is repeated for ever
    for row, place, noise, soxr in columns:
        yield Job(row, place, noise, soxr)


def _parts(plan: Any, columns: dict[str, str], kind: type[T]) -> Iterator[T | None]:
    """The values of these columns of a plan as dataclass values; None where the first of them is null or not there."""
    first, *_ = columns
    if first not in plan.column_names:
        return repeat(None)
    there = {column: name for column, name in columns.items() if column in plan.column_names}
    known = plan.column(first).is_valid().to_pylist()
    values = frames.rows(plan.select(list(there)).rename_columns(list(there.values())), kind)
    return (value if is_known else None for value, is_known in zip(values, known, strict=True))


@dataclass(frozen=True, eq=False)
class Plan:
    """What a stage will do. No audio was opened for it, and all chance is in it.

    jobs: one job a line. beside: frames whose columns stand beside those of the jobs, each with the position of its row
    for every job, int64 [jobs]; they are joined a part at a time, so that millions of mixtures fit into memory. kept:
    rows that pass as they are. drops: rows that end here. notes: sentences for a person. pools: noise to decode before
    the work begins, name -> (shard, (offset, bytes) of its clips).
    """

    jobs: DataFrame
    beside: Sequence[tuple[DataFrame, NDArray[np.int64]]] = ()
    kept: DataFrame = field(default_factory=lambda: frames.from_rows([], Row))
    drops: DataFrame = field(default_factory=lambda: frames.from_rows([], Drop))
    notes: Sequence[str] = ()
    pools: Mapping[str, tuple[str, Sequence[tuple[int, int]]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.jobs)

    def table(self, at: NDArray[np.int64] | None = None, names: Container[str] | None = None, fills: Any = None) -> Any:
        """The jobs at these positions, or all, as an Arrow table of their own; all columns, or those of these names.

        fills: an Arrow table of as many rows, whose columns stand in place of those of the plan.
        """
        at = np.arange(len(self)) if at is None else at
        *beside, jobs = self._tables
        parts = [(table, positions[at]) for table, (_, positions) in zip(beside, self.beside, strict=True)]
        parts.append((jobs, at))
        return frames.joined(parts if fills is None else [*parts, (fills, np.arange(len(at)))], names)

    @cached_property
    def _tables(self) -> list[Any]:
        """The frames beside the jobs, then the jobs, as Arrow tables: their columns are looked up for every shard."""
        return [frames.to_arrow(frame) for frame in (*(frame for frame, _ in self.beside), self.jobs)]

    def ordered(self, by: Sequence[str]) -> Plan:
        """The same with the jobs in the order of these columns."""
        order = frames.order(self.table(names=by), by)
        if order is None:
            return self
        beside = [(frame, positions[order]) for frame, positions in self.beside]
        return replace(self, jobs=frames.pick(self.jobs, order), beside=beside)
