"""One file a stage. What a stage is; which there are.

A build goes through `ingest`, `filter`, `resample`, `mix`. `seek`, `rebuild` and `recompute` are what a pack is made into a set by.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

from pipeline.core.row import Place, Row
from pipeline.core.table import Table
from pipeline.stages.store import Store

if TYPE_CHECKING:
    from pandas import DataFrame

ORDER = ("ingest", "filter", "resample", "mix")


class Options(BaseModel):
    """Options of a stage: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


@dataclass(frozen=True, slots=True)
class Noise:
    """Where the noise of a mixture lies, stored and decoded, and where the crops to try begin.

    shard, offset, bytes: of the stored recording. pool: name of the decoded noise of a shard, in which this recording begins at
    the frame `begin` and has `frames` of them. starts: frames of the recording, in the order in which they are tried.
    """

    shard: str
    offset: int
    bytes: int
    pool: str = ""
    begin: int = 0
    frames: int = 0
    starts: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """One job of a plan, all that the work of a stage sees of it.

    row: the columns that the stage reads (READS); the others are null or empty. place: where its recording lies, for a stage
    that opens it. noise: for a mixture. quality: of soxr, for speech that is resampled as it is mixed.
    """

    row: Row
    place: Place | None = None
    noise: Noise | None = None
    quality: str = ""

    @property
    def id(self) -> str:
        """Id of the row."""
        return self.row.id


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a stage will do: no audio was opened for it, and it holds all chance.

    jobs: one job a line. kept: rows that pass as they are. drops: rows that end here. notes: sentences for a person.
    """

    jobs: DataFrame
    kept: DataFrame
    drops: DataFrame
    notes: Sequence[str] = ()


class Stage(Protocol):
    """A stage that opens audio: its plan is a table, one job a line, and its work knows no chance.

    DEPENDS: the plan's columns on which the work depends; with NAME, VERSION and the options they name its result. The
    plan's other columns are carried along, so a changed label redoes no audio. Made: the columns that the work fills.
    PLANNED: options that shape the plan alone, not the work.
    """

    NAME: str
    VERSION: int
    PLANNED: set[str]
    DEPENDS: tuple[str, ...]
    Made: type

    def stores(self, options: Any) -> bool:
        """Whether the work puts audio into the store."""
        ...

    def jobs(self, plan: Table) -> Iterator[Any]:
        """The plan's lines."""
        ...

    def work(self, job: Any, options: Any, store: Store) -> Any:
        """One job done: Made or Drop. CorruptMember becomes a Drop too."""
        ...


def find(name: str) -> Stage:
    """The stage's module."""
    return cast(Stage, import_module(f"pipeline.stages.{name}"))
