"""What is added to the speech, and how loud."""

from __future__ import annotations

import math
import re
from typing import Literal

from pydantic import Field, field_validator

from pipeline import corpora
from pipeline.core.errors import did_you_mean
from pipeline.stages import Options as StageOptions

_RANGE = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*:\s*(-?\d+(?:\.\d+)?)\s*")


class Options(StageOptions):
    """What is added to the speech, and how loud."""

    snr_db: tuple[float | str, ...] = Field(
        (20.0,),
        min_length=1,
        description="SNR in dB: each utterance is mixed at each; LOW:HIGH is drawn evenly",
        json_schema_extra={"flag": "--snr"},
    )
    copies: int = Field(1, ge=1, le=1000, description="variants of each utterance, each with noise of its own")
    noise: tuple[str, ...] | None = Field(
        None,
        description="corpora to take noise from, NAME or NAME=WEIGHT (default: cochlscene if there, else all that have noise)",
    )
    definition: Literal["active", "full"] = Field(
        "active", description="level of speech: ITU-T P.56 active level, or RMS of the whole clip"
    )
    keep: tuple[str, ...] = Field(
        ("recordings",), description="corpora whose recordings hold their own noise and are kept as they are"
    )
    virtual: bool = Field(
        False, description="store no audio: the reader renders each mixture from its row, the same samples"
    )
    floor_dbfs: float = Field(-70.0, le=0, description="noise crops quieter than this are drawn again")

    @field_validator("snr_db")
    @classmethod
    def _numbers_or_ranges(cls, values: tuple[float | str, ...]) -> tuple[float | str, ...]:
        return tuple(dict.fromkeys(_snr(value) for value in values))

    @field_validator("keep")
    @classmethod
    def _known_corpora(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in corpora.names():
                raise ValueError(f'unknown corpus "{name}"{did_you_mean(name, corpora.names())}')
        return names

    @field_validator("noise")
    @classmethod
    def _weighted(cls, values: tuple[str, ...] | None) -> tuple[str, ...] | None:
        names = [weight_of(value)[0] for value in values or ()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'"{name}" is named {names.count(name)} times, expected each corpus once')
        return values


def _snr(value: float | str) -> float | str:
    """A number, or `LOW:HIGH` in one spelling."""
    if not isinstance(value, str):
        return _finite(value, value)
    if found := _RANGE.fullmatch(value):
        low, high = (float(bound) for bound in found.groups())
        if low < high:
            return f"{low:g}:{high:g}"
    try:
        return _finite(float(value), value)
    except ValueError:
        raise ValueError(f'found "{value}", expected a number of dB, or LOW:HIGH such as 5:20') from None


def _finite(number: float, told: object) -> float:
    if not math.isfinite(number):
        raise ValueError(f'found "{told}", expected a finite number of dB')
    return float(number)


def weight_of(value: str) -> tuple[str, float]:
    """(corpus, weight) of `cochlscene` or `cochlscene=3`."""
    name, _, weight = value.partition("=")
    try:
        number = float(weight or 1)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise ValueError(f'found "{value}", expected NAME or NAME=WEIGHT with a weight above 0')
    return name, number
