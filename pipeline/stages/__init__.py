"""A stage is a file here: its plan, its work, its options, the columns that it reads and fills.

A build goes through `ingest`, `filter`, `resample` and `mix`. `seek`, `rebuild` and `recompute` make a set out of a
pack; `scene` lays rows into long recordings. This file holds what all stages share: Plan, Job, and how the jobs of a
plan lie in columns.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from importlib import import_module
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError
from pipeline.core.joined import Joined
from pipeline.core.row import Drop, Place, Row
from pipeline.stages.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

T = TypeVar("T")
ORDER = ("ingest", "filter", "resample", "mix")
Pools = Mapping[str, tuple[str, Sequence[tuple[int, int]]]]  # name -> (shard, (offset, bytes) of its clips)


class Options(BaseModel):
    """Options of a stage: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def of(cls, recipe: Mapping[str, Any], name: str, only: Sequence[str] = ()) -> Self:
        """The options in this table of a manifest's recipe, all or only some; where it has none, the defaults.

        ManifestError where they are none of this stage.
        """
        table = recipe.get(name) or {}
        try:
            return cls.model_validate({key: table[key] for key in only or table if key in table})
        except ValidationError as error:
            fault = error.errors()[0]
            what = f"[{name}] {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            raise ManifestError(f"the recipe in the manifest: {what}: it is of a later prep, or was changed") from None


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
    that opens it. noise: for a mixture. quality, highpass_hz: of resample, for speech that it takes as it is mixed.
    """

    row: Row
    place: Place | None = None
    noise: Noise | None = None
    quality: str | None = None
    highpass_hz: float | None = None


_PLACE = {f"at_{f.name}": f.name for f in fields(Place)}  # column of a plan -> field
_NOISE = {f"at_noise_{name}": name for name in ("shard", "offset", "bytes", "frames")}
_NOISE |= {"at_pool": "pool", "at_noise": "begin", "starts": "starts"}


def with_places(frame: DataFrame, places: Sequence[Place]) -> DataFrame:
    """The frame with the columns at_* that say where the recording of each row lies on this machine."""
    columns = frames.from_rows(places, Place)
    return frames.with_columns(frame, **{column: columns[name] for column, name in _PLACE.items()})


def jobs_of(plan: Any, stage: Stage) -> Iterator[Job]:
    """The jobs of a part of a plan, as `work` takes them. plan: an Arrow table, for this runs in workers."""
    reads = [name for name in stage.READS if name in plan.column_names]
    quality, highpass = (
        plan.column(name).to_pylist() if name in plan.column_names else repeat(None)
        for name in ("at_quality", "at_highpass")
    )
    rows = frames.rows(plan.select(reads), Row)
    places, noises = _parts(plan, _PLACE, Place), _parts(plan, _NOISE, Noise)
    # None for what is not there is repeated for ever
    yield from map(Job, rows, places, noises, quality, highpass)


def _parts(plan: Any, columns: dict[str, str], kind: type[T]) -> Iterator[T | None]:
    """The values of these columns of a plan as dataclass values; None where the first of them is null or not there."""
    first, *_ = columns
    if first not in plan.column_names:
        return repeat(None)
    there = {column: name for column, name in columns.items() if column in plan.column_names}
    known = plan.column(first).is_valid().to_pylist()
    values = frames.rows(plan.select(list(there)).rename_columns(list(there.values())), kind)
    return (value if is_known else None for value, is_known in zip(values, known, strict=True))


class Plan:
    """What a stage will do. No audio was opened for it, and all chance is in it.

    jobs: one job a line, with all columns that its row will have. kept: rows that pass as they are. drops: rows that
    end here. notes: sentences for a person. pools: noise to decode before the work begins.
    """

    def __init__(
        self,
        jobs: DataFrame | Joined,
        kept: DataFrame | None = None,
        drops: DataFrame | None = None,
        notes: Sequence[str] = (),
        pools: Pools | None = None,
    ) -> None:
        self.jobs = jobs if isinstance(jobs, Joined) else Joined((jobs, None))
        self.kept = frames.from_rows([], Row) if kept is None else kept
        self.drops = frames.from_rows([], Drop) if drops is None else drops
        self.notes = notes
        self.pools = pools or {}

    def __len__(self) -> int:
        """How many jobs there are."""
        return len(self.jobs)
