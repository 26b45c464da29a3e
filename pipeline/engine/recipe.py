"""Recipes: TOML files that say all options of a build. Every fault is reported at once, and examples are executed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from pipeline import corpora
from pipeline.core import exclusions, presets, sql
from pipeline.core import frame as frames
from pipeline.core.errors import PrepError, RecipeError, did_you_mean
from pipeline.core.presets import SHIPPED
from pipeline.core.row import Row
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora import own
from pipeline.corpora.lexicon import LEXICON, Lexicon
from pipeline.stages import Options, filter, ingest, mix, resample

M = TypeVar("M", bound=BaseModel)


class Ingest(ingest.Options):
    """[ingest] of a recipe: which corpora, and how they are ingested."""

    corpora: tuple[str, ...] = Field(min_length=1, max_length=200, description="corpora to ingest")

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
MOST_EXAMPLES = 200
KEYS = (*TABLES, "seed", "lexicon", "exclude", "example")


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """All options of a build. A stage whose table is missing is not run; `filter` always is."""

    name: str
    ingest: Ingest
    filter: filter.Options
    resample: resample.Options | None
    mix: mix.Options | None
    store: Shards
    lexicon: Lexicon
    seed: int
    examples: list[Example]
    exclude: Sequence[str] = ()

    def canonical(self) -> dict[str, Any]:
        """Every option with its value, defaults included, as manifests carry them."""
        tables = {name: getattr(self, name) for name in TABLES}
        values = {name: options.model_dump(mode="json") for name, options in tables.items() if options is not None}
        values["ingest"] |= own.stated(self.ingest.corpora)
        excluded = {"exclude": exclusions.identity(self.exclude)} if self.exclude else {}
        return values | {"lexicon": lexicons.identity(self.lexicon)} | excluded


def find(path: str) -> Path:
    """The recipe file at this path, else the shipped one of this name. RecipeError where there is none."""
    known = [
        item.stem
        for item in sorted(SHIPPED.glob("*.toml"))
        if not item.stem.startswith(("lexicon", "train", "paper-tables"))
    ]
    return presets.find(path, "recipe", known)


def read(path: Path) -> Recipe:
    """The recipe in a TOML file. RecipeError holds every fault, those of its examples included."""
    values = presets.read(path)
    faults = [f'unknown key "{key}"{did_you_mean(key, KEYS)}' for key in values if key not in KEYS]
    if "ingest" not in values:
        faults.append('[ingest] is missing: expected, for example, corpora = ["aihub", "cochlscene"]')
    seed, words = values.get("seed", 0), values.get("lexicon", "")
    if type(seed) is not int:
        faults.append(f"seed: found {seed!r}, expected a whole number")
        seed = 0
    lexicon = None
    if not isinstance(words, str):
        faults.append(f"lexicon: found {words!r}, expected text in quotes")
    else:
        try:
            beside = path.parent / words if words else SHIPPED / LEXICON
            shipped = SHIPPED / words if words and not beside.exists() and "/" not in words else beside
            lexicon = lexicons.read(shipped if shipped.exists() else beside)
        except RecipeError as error:
            faults += error.faults
    exclude: Sequence[str] = ()
    if isinstance(named := values.get("exclude", ""), str):
        try:
            exclude = exclusions.read(path.parent / named) if named else ()
        except PrepError as error:
            faults.append(f"exclude: {error}")
    else:
        faults.append(f"exclude: found {named!r}, expected the name of a file in quotes")
    faults += [f"{words or LEXICON}: {fault}" for fault in (lexicon.example_faults() if lexicon else [])]
    tables = {name: _options(name, kind, values.get(name), faults) for name, kind in TABLES.items()}
    for name in ("filter", "store"):
        if name not in values:
            tables[name] = TABLES[name]()
    if tables["mix"] is not None and "resample" not in values:
        faults.append("[mix] needs [resample]: an empty table [resample] takes the defaults")
    faults += _corpora_faults(tables["ingest"], tables["mix"])
    listed = values.get("example", [])
    if not isinstance(listed, list):
        faults.append("example: expected tables written [[example]]")
        listed = []
    if len(listed) > MOST_EXAMPLES:
        faults.append(f"example: {len(listed):,} of them, of which each is tried; expected at most {MOST_EXAMPLES}")
        listed = []
    examples = [_options(f"example {number}", Example, item, faults) for number, item in enumerate(listed, 1)]
    faults += _example_faults(examples, values.get("filter"), tables["filter"], lexicon, seed)
    if faults or lexicon is None:
        raise RecipeError([f"{path}: {fault}" for fault in faults])
    kept = [example for example in examples if example is not None]
    return Recipe(path.stem, lexicon=lexicon, seed=seed, examples=kept, exclude=exclude, **tables)  # type: ignore[arg-type]


def _options(name: str, kind: type[M], values: object, faults: list[str]) -> M | None:
    """A table of a recipe as options; None where it is not there, or has faults, which are added to the others."""
    if values is None:
        return None
    if not isinstance(values, dict):
        faults.append(f"[{name}]: found {values!r}, expected a table")
        return None
    try:
        return kind.model_validate(values)
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


def _corpora_faults(ingest: Options | None, mixing: Options | None) -> Iterator[str]:
    """Corpora that are unknown, named twice, or give noise without being ingested."""
    ingested = ingest.corpora if isinstance(ingest, Ingest) else None
    noise = [mix.weight_of(item)[0] for item in mixing.noise or ()] if isinstance(mixing, mix.Options) else []
    known = corpora.names()
    for where, names in (("[ingest] corpora", ingested or ()), ("[mix] noise", noise)):
        yield from (f'{where}: unknown corpus "{n}"{did_you_mean(n, known)}' for n in names if n not in known)
        yield from (f'{where}: "{n}" is named more than once' for n in sorted(set(names)) if names.count(n) > 1)
    if ingested is not None:
        absent = [name for name in noise if name in known and name not in ingested]
        yield from (f'[mix] noise: "{name}" is not among [ingest] corpora' for name in absent)


_ORDINARY: dict[str, Any] = {  # what a row of an example has where it says nothing
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
    "dc_dbfs": None,
}


def _example_faults(
    examples: Sequence[Example | None], table: object, rules: Options | None, lexicon: Lexicon | None, seed: int
) -> list[str]:
    """Examples that do not hold.

    The SQL condition of [filter] is checked first, whatever else is wrong with that table.
    """
    where = table.get("where") if isinstance(table, dict) else None
    try:
        if isinstance(where, str):
            sql.where(frames.from_rows([], Row), where)
    except RecipeError as error:
        return [f"[filter] {fault}" for fault in error.faults]
    columns = [field.name for field in fields(Row)]
    numbered = [(number, example) for number, example in enumerate(examples, 1) if example is not None]
    faults = [
        f'[[example]] {number}: unknown column "{name}"{did_you_mean(name, columns)}'
        for number, example in numbered
        for name in example.row
        if name not in columns
    ]
    if faults or not isinstance(rules, filter.Options) or lexicon is None:
        return faults
    return [
        f"[[example]] {number}: {fault}"
        for number, example in numbered
        for fault in _example_fault(example, rules, lexicon, seed)
    ]


def _example_fault(example: Example, rules: filter.Options, lexicon: Lexicon, seed: int) -> list[str]:
    """What is wrong with an example: values of another type than its columns, or another result than it says."""
    try:
        plan = filter.plan(frames.from_rows([Row(**(_ORDINARY | example.row))], Row), rules, seed, lexicon)
    except PrepError as error:
        return str(error).splitlines()
    except (TypeError, ValueError, OverflowError) as error:
        return [f"row {example.row}: {error}"]
    dropped, keyword = next(frames.each(plan.drops["reason"]), None), next(frames.each(plan.kept["keyword"]), None)
    if dropped != example.dropped:
        wanted = f'dropped "{example.dropped}"' if example.dropped else "kept"
        detail = f" ({plan.drops['detail'][0]})" if dropped else ""
        return [f"{example.row} was {f'dropped {dropped!r}' if dropped else 'kept'}{detail}, expected {wanted}"]
    if example.keyword is not None and keyword != example.keyword:
        return [f'{example.row} has keyword "{keyword}", expected "{example.keyword}"']
    return []
