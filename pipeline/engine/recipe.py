"""Recipes: a TOML file to a frozen Recipe; every fault reported at once, examples executed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from pipeline import corpora
from pipeline.core import frame as frames
from pipeline.core import presets, sql
from pipeline.core.errors import PrepError, RecipeError, did_you_mean
from pipeline.core.presets import SHIPPED
from pipeline.core.row import Row
from pipeline.corpora import lexicon
from pipeline.corpora.lexicon import LEXICON, Lexicon
from pipeline.stages import Options, filter, mix, resample

M = TypeVar("M", bound=BaseModel)


class Ingest(Options):
    """[ingest] of a recipe: which corpora."""

    corpora: tuple[str, ...] = Field(min_length=1, description="corpora to ingest")

    @field_validator("corpora")
    @classmethod
    def _each_once(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'"{name}" is named {names.count(name)} times, expected each corpus once')
        return names


class Shards(Options):
    """[store] of a recipe: how the audio lies on disk."""

    shard_clips: int = Field(1000, ge=1, le=100_000, description="mean number of clips in a shard")


class Example(Options):
    """[[example]]: a row, and what filter must say of it. `prep check` executes it."""

    row: dict[str, Any] = Field(default_factory=dict)
    keyword: str | None = None
    dropped: str | None = None


TABLES: dict[str, type[Options]] = {
    "ingest": Ingest,
    "filter": filter.Options,
    "resample": resample.Options,
    "mix": mix.Options,
    "store": Shards,
}
SCALARS = {"seed": int, "lexicon": str}


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """A whole build. A stage whose table is missing is not run; `filter` is always."""

    name: str
    ingest: Ingest
    filter: filter.Options
    resample: resample.Options | None
    mix: mix.Options | None
    store: Shards
    lexicon: Lexicon
    seed: int
    examples: list[Example]

    def canonical(self) -> dict[str, Any]:
        """Every option with its value, defaults spelled out, as manifests carry it."""
        stages = {
            "ingest": self.ingest,
            "filter": self.filter,
            "resample": self.resample,
            "mix": self.mix,
            "store": self.store,
        }
        told = {name: options.model_dump(mode="json") for name, options in stages.items() if options is not None}
        return told | {"lexicon": lexicon.identity(self.lexicon)}


def find(path: str) -> Path:
    """The recipe file: the path as given, else one of the shipped ones by that name. RecipeError where there is none."""
    known = [item.stem for item in sorted(SHIPPED.glob("*.toml")) if item.name != LEXICON]
    return presets.find(path, "recipe", known)


def read(path: Path) -> Recipe:
    """The recipe in a TOML file. RecipeError holds every fault found, examples that fail included."""
    told = presets.read(path)
    faults: list[str] = []
    _check_keys(told, faults)
    seed = _scalar(told, "seed", 0, faults)
    words = _lexicon(path, _scalar(told, "lexicon", "", faults), faults)
    tables = {name: _table(name, kind, told.get(name), faults) for name, kind in TABLES.items()}
    listed = told.get("example", [])
    examples = [
        _options(f"example {n}", Example, item, faults)
        for n, item in enumerate(listed if isinstance(listed, list) else [], 1)
    ]
    _check_corpora(tables["ingest"], tables["mix"], faults)
    if tables["mix"] is not None and tables["resample"] is None and "resample" not in told:
        faults.append("[mix] needs [resample]: an empty table [resample] takes the defaults")
    condition = _condition(told.get("filter"))
    columns = _columns(examples)
    faults += [*condition, *columns]
    rules = tables["filter"]
    if isinstance(rules, filter.Options) and words is not None and not condition and not columns:
        faults += _tried_all(examples, rules, words, seed)
    if faults or words is None:
        raise RecipeError([f"{path}: {fault}" for fault in faults])
    kept = [example for example in examples if example is not None]
    return Recipe(path.stem, lexicon=words, seed=seed, examples=kept, **tables)  # type: ignore[arg-type]


def _check_keys(told: Mapping[str, Any], faults: list[str]) -> None:
    known = [*TABLES, *SCALARS, "example"]
    faults += [f'unknown key "{key}"{did_you_mean(key, known)}' for key in told if key not in known]
    if "ingest" not in told:
        faults.append('[ingest] is missing: expected, for example, corpora = ["aihub", "cochlscene"]')
    if not isinstance(told.get("example", []), list):
        faults.append("example: expected tables written [[example]]")


def _scalar(told: Mapping[str, Any], key: str, default: Any, faults: list[str]) -> Any:
    value = told.get(key, default)
    if type(value) is SCALARS[key]:
        return value
    faults.append(f"{key}: found {value!r}, expected {'a whole number' if SCALARS[key] is int else 'text in quotes'}")
    return default


def _lexicon(path: Path, name: str, faults: list[str]) -> Lexicon | None:
    place = SHIPPED / LEXICON if not name else path.parent / name
    try:
        return lexicon.read(place)
    except RecipeError as error:
        faults += error.faults
        return None


def _table(name: str, kind: type[Options], told: object, faults: list[str]) -> Options | None:
    if told is None:
        return None if name in ("ingest", "resample", "mix") else kind()
    return _options(name, kind, told, faults)


def _options(name: str, kind: type[M], told: object, faults: list[str]) -> M | None:
    if not isinstance(told, dict):
        faults.append(f"[{name}]: found {told!r}, expected a table")
        return None
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        faults += [f"[{name}] {fault}" for fault in readable(error, kind)]
        return None


def readable(error: ValidationError, kind: type[BaseModel]) -> list[str]:
    """The faults of options, each with what was found, what was expected, and what to type."""
    faults = []
    for fault in error.errors():
        key = ".".join(str(part) for part in fault["loc"] if not str(part).startswith(("function-", "float", "str")))
        if fault["type"] == "extra_forbidden":
            faults.append(f'unknown key "{key}"{did_you_mean(key, kind.model_fields)}')
        elif fault["type"] == "missing":
            faults.append(f"{key} is missing: {kind.model_fields[key].description}")
        elif fault["type"] == "value_error":
            faults.append(f"{key}: {fault['ctx']['error']!s}")
        else:
            faults.append(f"{key}: found {fault['input']!r}, expected: {fault['msg'].removeprefix('Input should be ')}")
    return list(dict.fromkeys(faults))


def _check_corpora(ingest: Options | None, mixing: Options | None, faults: list[str]) -> None:
    known = corpora.names()
    named = {"ingest] corpora": ingest.corpora if isinstance(ingest, Ingest) else ()}
    if isinstance(mixing, mix.Options):
        named["mix] noise"] = tuple(mix.weight_of(item)[0] for item in mixing.noise or ())
    for where, names in named.items():
        faults += [
            f'[{where}: unknown corpus "{name}"{did_you_mean(name, known)}' for name in names if name not in known
        ]
        faults += [
            f'[{where}: "{name}" is named more than once' for name in sorted(set(names)) if names.count(name) > 1
        ]
    if isinstance(ingest, Ingest):
        lacking = [name for name in named.get("mix] noise", ()) if name in known and name not in ingest.corpora]
        faults += [f'[mix] noise: "{name}" is not among [ingest] corpora' for name in lacking]


_ORDINARY: dict[str, Any] = {
    "id": "example",
    "corpus": "aihub",
    "split": "test",
    "group": "example",
    "kind": "speech",
    "source": "@example",
    "noise_label": "speech",
    "rate_hz": 44_100,
    "frames": 132_300,
    "source_rate_hz": 44_100,
    "source_channels": 1,
    "source_frames": 132_300,
    "source_format": "WAV PCM_16",
    "source_pcm_hash": "0" * 32,
    "source_pcm_crc": 0,
    "level_full_dbfs": -25.0,
    "peak_dbfs": -6.0,
    "clipped_share": 0.0,
    "zero_share": 0.0,
}


def _condition(told: object) -> list[str]:
    """What is wrong with the SQL condition of [filter], if there is one, whatever else is wrong with that table."""
    where = told.get("where") if isinstance(told, dict) else None
    try:
        sql.where(frames.from_rows([], Row), where if isinstance(where, str) else "true")
    except RecipeError as error:
        return [f"[filter] {fault}" for fault in error.faults]
    return []


def _columns(examples: Sequence[Example | None]) -> list[str]:
    """Columns in examples that no row has."""
    known = [f.name for f in fields(Row)]
    return [
        f'[[example]] {number}: unknown column "{name}"{did_you_mean(name, known)}'
        for number, example in enumerate(examples, 1)
        if example is not None
        for name in example.row
        if name not in known
    ]


def _tried_all(examples: Sequence[Example | None], rules: filter.Options, words: Lexicon, seed: int) -> list[str]:
    return [
        f"[[example]] {number}: {fault}"
        for number, example in enumerate(examples, 1)
        if example is not None
        for fault in _tried(example, rules, words, seed)
    ]


def _tried(example: Example, rules: filter.Options, words: Lexicon, seed: int) -> list[str]:
    """What is wrong with an example: values of another type than its columns, or another verdict than it says."""
    try:
        found = filter.plan(frames.from_rows([Row(**(_ORDINARY | example.row))], Row), rules, seed, words)
    except PrepError as error:
        return str(error).splitlines()
    except (TypeError, ValueError, OverflowError) as error:
        return [f"row {example.row}: {error}"]
    dropped, keyword = next(frames.each(found.drops["reason"]), None), next(frames.each(found.kept["keyword"]), None)
    if dropped != example.dropped:
        said = f'dropped "{example.dropped}"' if example.dropped else "kept"
        detail = f" ({found.drops['detail'][0]})" if dropped else ""
        return [f"{example.row} was {f'dropped {dropped!r}' if dropped else 'kept'}{detail}, expected {said}"]
    if example.keyword is not None and keyword != example.keyword:
        return [f'{example.row} has keyword "{keyword}", expected "{example.keyword}"']
    return []
