"""What is stated of corpora of one's own: name, licence, layout, whether they hold their own noise. No adapter.

Facts come from the command line, else from `corpus.toml` beside the recordings, else from `prep.toml` in the working
folder, which remembers them. A manifest carries them in its recipe, so that they are known wherever it is read.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pipeline.archives.roots import FILE_NAME
from pipeline.core import expressions, texts
from pipeline.core.errors import RecipeError, SourceError, did_you_mean

RECORDINGS = "recordings"  # the corpus of one's own that nobody named
BESIDE = "corpus.toml"
_RESERVED = ("filtered", "resampled", "mixed")  # manifests of stages lie beside manifests of corpora
ROLES = ("file", "transcript", "label", "speaker", "split", "scene", "kind", "begin", "end", "length", "channel")
_OWN = "(your own)"
TERMS = ("licence", "share_audio", "share_transcripts", "share_labels")  # what decides what may be passed on


class Facts(BaseModel):
    """One corpus of one's own. What is not stated is taken as not to be passed on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(RECORDINGS, pattern="^[a-z0-9]+(-[a-z0-9]+)*$", description="ids of its rows begin with it")
    title: str = Field("Recordings of one's own, with a table", min_length=1, description="what it is")
    homepage: str = Field(_OWN, min_length=1, description="where one reads of it")
    licence: str = Field(_OWN, min_length=1, description="licence of the recordings")
    licence_url: str = Field(_OWN, min_length=1, description="where the licence is")
    attribution: str = Field(_OWN, min_length=1, description="whom to name")
    restrictions: str = Field(
        "Whatever the speakers agreed to; taken as not to be passed on, since nothing here can know.",
        min_length=1,
        description="one sentence on what may be done with it",
    )
    download: str = Field(
        "Record them; put a table with a column `file` beside them, or a manifest of Lhotse, NeMo or Kaldi.",
        min_length=1,
        description="how one comes by it",
    )
    share_audio: bool = Field(False, description="the licence lets the recordings be passed on")
    share_transcripts: bool = Field(False, description="the licence lets the transcripts be passed on")
    share_labels: bool = Field(False, description="the licence lets the labels be passed on")
    noisy: bool = Field(False, description="the recordings hold their own noise: prep mix keeps them as they are")
    form: Literal["lhotse", "nemo", "kaldi"] | None = Field(None, description="the tool whose manifest lists them")
    audio_dir: str | None = Field(None, min_length=1, description="folder below DIR that names in the table begin at")
    columns: dict[str, str] = Field(default_factory=dict, description="role -> heading of a column, or its number")
    tables: tuple[str, ...] = Field(
        (),
        description="tables that list the recordings, below DIR, where several could",
        json_schema_extra={"flag": "--table"},
    )
    transcripts: str | None = Field(
        None,
        min_length=1,
        description="suffix of the text file of each recording, instead of a table: txt; json with --column",
    )
    speaker: str | None = Field(
        None, min_length=1, description="regular expression of the speaker in a recording's name"
    )
    pcm_rate_hz: int | None = Field(
        None,
        ge=1000,
        le=384_000,
        description="rate of .pcm and .raw files without a header, mono, 16 bits, Hz",
        json_schema_extra={"flag": "--pcm-rate"},
    )

    @field_validator("columns")
    @classmethod
    def _known_roles(cls, columns: dict[str, str]) -> dict[str, str]:
        for role in columns:
            if role not in ROLES:
                raise ValueError(f'"{role}" is no role of a column{did_you_mean(role, ROLES)}')
        return columns

    @field_validator("speaker")
    @classmethod
    def _expression(cls, expression: str | None) -> str | None:
        return expression and expressions.checked(expression)

    def stated(self) -> dict[str, Any]:
        """What differs from the defaults, without the name."""
        return self.model_dump(mode="json", exclude_defaults=True, exclude={"name"})


DEFAULT = Facts.model_validate({})
_in_use: dict[str, Facts] = {}  # of the work under way
_noted: dict[str, Facts] = {}  # of the manifests that were read
_stand_ins: dict[str, Facts] = {}  # of the work under way: corpora whose recordings here are others, made to be free


def known() -> dict[str, Facts]:
    """Name -> facts of the corpora of one's own: of the work under way, of prep.toml, of manifests that were read."""
    return {**_noted, **remembered(), **_in_use}


def remembered() -> dict[str, Facts]:
    """The corpora that prep.toml in the working folder remembers. SourceError where it has another form."""
    return _in_file(*_file())[0]


def adapters() -> dict[str, str]:
    """Name -> Python file, of the adapters that prep.toml in the working folder remembers.

    Only those by the whole path that --corpus wrote: a prep.toml that came with a stranger's folder knows no such path,
    and may not run a program that came with it.
    """
    return {name: file for name, file in named_adapters().items() if file == os.path.realpath(file)}


def named_adapters() -> dict[str, str]:
    """The same with those that are not run."""
    return _in_file(*_file())[1]


def _file() -> tuple[str, int, int]:
    """Path, time and size of prep.toml in the working folder; time and size are 0 where there is none."""
    path = os.path.abspath(FILE_NAME)
    try:
        status = os.stat(path)
    except OSError:
        return path, 0, 0
    return path, status.st_mtime_ns, status.st_size


@cache
def _in_file(path: str, stamp: int, size: int) -> tuple[dict[str, Facts], dict[str, str]]:
    """(corpora, adapters) of the file. stamp, size: of it, so that a file that was changed is read again."""
    content = _toml(Path(path)) if stamp else {}
    tables, files = content.get("corpora", {}), content.get("adapters", {})
    if not isinstance(tables, dict) or not isinstance(files, dict):
        raise SourceError(f"{path}: [corpora] must be tables such as [corpora.kspon], [adapters] names of files")
    known = {name: facts(name, table, where=f"{path} [corpora.{name}]") for name, table in tables.items()}
    return known, {str(name): str(file) for name, file in files.items()}


def remember_adapter(name: str, file: str, say: Callable[[str], None]) -> None:
    """Writes where the adapter of a corpus is into prep.toml, so that later commands need no --corpus."""
    before = named_adapters().get(name)
    if before == file:
        return
    path, entry = Path(FILE_NAME), f"{name} = {_as_toml(file)}\n"
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    if before is not None:
        text = text.replace(f"{name} = {_as_toml(before)}\n", entry)
    elif header := re.search(r"(?m)^[ \t]*\[adapters\][^\n]*\n", text):
        text = f"{text[: header.end()]}{entry}{text[header.end() :]}"
    else:
        text = f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[adapters]\n{entry}"
    if tomllib.loads(text).get("adapters", {}).get(name) != file:
        say(f"the next commands need --corpus {file}, or in prep.toml under [adapters]: {entry}".rstrip())
        return
    path.write_text(text, encoding="utf-8")
    say(f"prep.toml: the adapter of {name} is {file} (remembered for the next commands)")


def facts(name: str, *stated: Mapping[str, Any], where: str = "") -> Facts:
    """The facts of a corpus, the later ones before the earlier. RecipeError names every fault. where: of the values."""
    values = {key: value for table in stated for key, value in table.items() if value is not None}
    try:
        made = Facts.model_validate({**values, "name": name})
    except ValidationError as error:
        raise RecipeError([_readable(fault, where or name) for fault in error.errors()]) from None
    faults = [
        f"{where or name}: {flag} needs a licence: say with --licence, or licence = in {BESIDE}, under which one"
        for flag in ("share_audio", "share_transcripts", "share_labels")
        if getattr(made, flag) and made.licence == _OWN
    ]
    if faults:
        raise RecipeError(faults)
    return made


def _readable(fault: Any, where: str) -> str:
    key = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return f'{where}: unknown key "{key}"{did_you_mean(key, Facts.model_fields)}'
    if fault["loc"] == ("name",):
        return f'{where}: name "{fault["input"]}"; expected lower-case letters, digits and hyphens'
    return f"{where}: {key}: found {fault['input']!r}, expected: {fault['msg'].removeprefix('Input should be ')}"


def beside(root: Path) -> dict[str, Any]:
    """What corpus.toml beside the recordings states; empty where there is none."""
    path = root / BESIDE
    return _toml(path) if path.is_file() else {}


def stand_ins(places: Mapping[str, Path | None]) -> list[Facts]:
    """What corpus.toml states in the roots of corpora that are not one's own: the recordings there only stand in.

    A manifest carries it, and its pages play what it lets be passed on. Nothing else of the corpus's licence changes.
    """
    tables = {name: beside(root) for name, root in places.items() if root is not None}
    return [facts(name, table, where=str(places[name])) for name, table in tables.items() if table]


def resolved(corpus: str, root: Path | None, name: str | None, given: Mapping[str, Any]) -> Facts:
    """The facts of a corpus that is to be ingested: those given, else of corpus.toml, else of prep.toml.

    corpus: `recordings`, or the name of a corpus of one's own. root: where it lies. name: given to it now.
    """
    table = beside(root) if root else {}
    called = table.pop("name", corpus)
    called = name or (called if corpus == RECORDINGS else corpus)
    here = {**remembered(), **_in_use}  # not what a manifest of somebody else, read before, says of his corpus
    before = here[called].stated() if called in here else {}
    return facts(called, before, table, given, where=str(root / BESIDE) if root and table else f"corpus {called}")


def _toml(path: Path) -> dict[str, Any]:
    try:
        return texts.from_toml(texts.read(path))
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error})") from error


def refuse_name(name: str, others: Iterable[str]) -> None:
    """RecipeError where a corpus of one's own may not have this name. others: corpora that are not one's own."""
    if name in others:
        raise RecipeError([f'--name {name}: another corpus is called "{name}"; give this one another name'])
    if name in _RESERVED:
        raise RecipeError([f"--name {name}: manifests/{name}.parquet is what a stage writes; give another name"])


@contextmanager
def in_use(corpora: Iterable[Facts], standing_in: Iterable[Facts] = ()) -> Iterator[None]:
    """Within the block these facts hold, whatever prep.toml says. standing_in: see `stand_ins`."""
    before = dict(_in_use), dict(_stand_ins)
    _in_use.update({each.name: each for each in corpora})
    _stand_ins.update({each.name: each for each in standing_in})
    try:
        yield
    finally:
        for table, values in zip((_in_use, _stand_ins), before, strict=True):
            table.clear()
            table.update(values)


def use(corpus: Facts) -> None:
    """Lets these facts hold in this process: that of a worker."""
    if known().get(corpus.name) != corpus:
        _in_use[corpus.name] = corpus


def note(recipe: Mapping[str, Any]) -> None:
    """Makes the corpora of a manifest's recipe known, where neither the work under way nor prep.toml states them."""
    ingest = recipe.get("ingest", {})
    for name in ingest.get("corpora", ()):
        _noted.pop(name, None)
    for name, stated in ingest.get("own", {}).items():
        known_here = {key: value for key, value in stated.items() if key in Facts.model_fields}
        _noted[name] = facts(name, known_here)


def stated(names: Iterable[str]) -> dict[str, Any]:
    """`{"own": {"kspon": {...}}}`: what a recipe carries of these corpora; empty where nothing is stated of any."""
    here, names = known(), list(names)
    own = {name: here[name].stated() for name in names if name in here}
    own = {name: table for name, table in own.items() if table or name != RECORDINGS}
    standing_in = {name: _stand_ins[name].stated() for name in names if name in _stand_ins}
    return {key: tables for key, tables in (("own", own), ("stand_ins", standing_in)) if tables}


def remember(corpus: Facts, say: Callable[[str], None]) -> None:
    """Writes the facts into prep.toml in the working folder, for later commands; nothing where nothing is stated.

    The rest of the file stays as it is. Where the file has a form that this cannot edit, it says what to write.
    """
    table = corpus.stated()
    if remembered().get(corpus.name, None if table or corpus.name != RECORDINGS else DEFAULT) == corpus:
        return
    path = Path(FILE_NAME)
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    heading = f"[corpora.{corpus.name}]"
    lines = "".join(f"{key} = {_as_toml(value)}\n" for key, value in table.items())
    block = re.compile(rf"^[ \t]*{re.escape(heading)}[^\n]*\n(?:(?![ \t]*\[)[^\n]*\n?)*", re.MULTILINE)
    end = "" if not text or text.endswith("\n") else "\n"
    text = (
        block.sub(lambda _: f"{heading}\n{lines}", text, count=1)
        if block.search(text)
        else f"{text}{end}{heading}\n{lines}"
    )
    try:
        written = tomllib.loads(text)["corpora"][corpus.name] == table
    except (tomllib.TOMLDecodeError, KeyError, TypeError):
        written = False
    if not written:
        say(f"the next commands do not know {corpus.name}: write into prep.toml:\n{heading}\n{lines}".rstrip())
        return
    path.write_text(text, encoding="utf-8")


def _as_toml(value: Any) -> str:
    """A text, number, truth value, list or flat table as TOML has it."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{json.dumps(key)} = {_as_toml(item)}' for key, item in value.items())}}}"
    return json.dumps(value, ensure_ascii=False)
