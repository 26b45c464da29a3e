"""What files say of themselves, checked: the provenance of a manifest, and what a pack says besides.

Loaded when a file is read, for pydantic takes a while.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

T = TypeVar("T")


class _Edited(BaseModel):
    model_config = ConfigDict(extra="allow")
    columns: list[str]


class _Ingest(BaseModel):
    model_config = ConfigDict(extra="allow")
    corpora: list[str] = []
    own: dict[str, dict[str, Any]] = {}
    stand_ins: dict[str, dict[str, Any]] = {}


class Recipe(BaseModel):
    """What every reader of a manifest may take for granted of its recipe; who needs a stage's options checks them."""

    model_config = ConfigDict(extra="allow")
    ingest: _Ingest | None = None
    filter: dict[str, Any] | None = None
    resample: dict[str, Any] | None = None
    mix: dict[str, Any] | None = None
    edited: _Edited | None = None
    lexicon: str | None = None


def checked(kind: type[T], values: Mapping[str, Any]) -> T:
    """The values as this dataclass; unknown ones are left out. ValueError names the first that is of another type.

    Of a dataclass with a `recipe` and `inputs`, these are looked into.
    """
    try:
        made = TypeAdapter(kind).validate_json(json.dumps(values), strict=True)
        Recipe.model_validate(getattr(made, "recipe", {}), strict=True)
    except ValidationError as error:
        fault = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}") from None
    for name in getattr(made, "inputs", {}):
        if {*name} & {*"/\0"}:
            raise ValueError(f"inputs: {name[:80]!r} names no file")
    return made
