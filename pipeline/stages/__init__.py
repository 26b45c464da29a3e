"""One file a stage. What a stage is; which there are.

A build goes through `ingest`, `filter`, `resample`, `mix`. `seek`, `rebuild` and `recompute` are what a pack is made into a set by.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, Protocol, cast

from pydantic import BaseModel, ConfigDict

from pipeline.core.table import Table
from pipeline.stages.store import Store

ORDER = ("ingest", "filter", "resample", "mix")


class Options(BaseModel):
    """Options of a stage: frozen, and no key that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Job(Protocol):
    """One line of a plan."""

    @property
    def id(self) -> str: ...


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

    def jobs(self, plan: Table) -> Iterator[Job]:
        """The plan's lines."""
        ...

    def work(self, job: Any, options: Any, store: Store) -> Any:
        """One job done: Made or Drop. CorruptMember becomes a Drop too."""
        ...


def find(name: str) -> Stage:
    """The stage's module."""
    return cast(Stage, import_module(f"pipeline.stages.{name}"))
