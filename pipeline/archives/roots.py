"""Roots: named folders of recordings, their files and the bytes of each, and where each root lies on this machine."""

from __future__ import annotations

import gc
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from pipeline.archives.listing import Archive, Archives, Entry, Walk, archive_names, archives_of, contents, with_path
from pipeline.archives.names import archive_part, base, is_audio, levels, suffix
from pipeline.archives.spans import Spans, over_file
from pipeline.archives.tars import PLAIN
from pipeline.archives.zips import STORED, member_bytes, most_unpacked
from pipeline.core import texts
from pipeline.core.errors import CorruptMember, RecipeError, SourceError, did_you_mean
from pipeline.core.row import Place

ENVIRONMENT_PREFIX = "PREP_ROOT_"
FILE_NAME = "prep.toml"
_EXAMPLE = 'Expected, for example:\n[roots]\naihub = "/data/aihub170"'


@dataclass(frozen=True)
class Root:
    """A named folder, or a single archive, which counts as a folder that holds nothing else.

    tolerant: archives that cannot be read are passed over and named in `faults`; without it they are an error.
    aliases: files that are listed under further names. origin: who named the path: the command line,
    `PREP_ROOT_AIHUB` or `prep.toml`.
    """

    name: str
    path: Path
    tolerant: bool = False
    aliases: tuple[Entry, ...] = ()
    origin: str = field(default="", compare=False)

    def __reduce__(self) -> tuple[type[Root], tuple[object, ...]]:
        # a worker process opens its own files
        return Root, (self.name, self.path, self.tolerant, self.aliases, self.origin)

    def checked(self) -> Root:
        """The root itself. SourceError where neither a folder nor an archive lies at its path."""
        _ = self._base
        return self

    def entries(self) -> tuple[Entry, ...]:
        """Every file, sorted by name; two files of one name are both there, sorted by size and CRC.

        SourceError, of a root that is not tolerant: it is empty or missing, or archives cannot be read: one line each.
        """
        return self._entries

    def recordings(self) -> list[Entry]:
        """The files whose suffix is that of a recording, and those without any suffix, which may be one."""
        return [entry for entry in self._entries if is_audio(entry.name) or not suffix(entry.name)]

    @property
    def faults(self) -> list[str]:
        """A line for each archive or file that cannot be read, without the path of the root."""
        return [fault.removeprefix(f"{self._base}/") for fault in self._walk.faults]

    def with_names(self, places: Iterable[tuple[str, Place]]) -> Root:
        """The same root, where these recordings, which lie under other names, are listed under their own names as well.

        places: (source, place), such as `@aihub/Training/화재/12`. An adapter reads a source's name as it reads a
        file's, so it finds the label that belongs to the recording.
        """
        names = [(source.partition("/")[2], place) for source, place in places]
        return replace(self, aliases=tuple(Entry(n if is_audio(n) else f"{n}.wav", place) for n, place in names))

    def read(self, place: Place, is_text: bool = False) -> bytes:
        """The file's bytes, checked where the archive holds a checksum. Needs no listing.

        is_text: a table or a label, which may not unpack to as much as a recording may.
        CorruptMember: this file is damaged, truncated, encrypted or packed by an unknown method.
        SourceError: the archive as a whole, or the root, cannot be read.
        """
        spans = self._spans(place.container)
        if (
            is_text
            and place.size > (most := most_unpacked(place.packed, is_text))
            and place.method not in (PLAIN, STORED)
        ):
            what = f"{base(place.container)} holds it in {place.packed:,} bytes, which would unpack to {place.size:,}"
            raise CorruptMember("too_large", f"{what}, more than {most:,}; if that is right, unpack the archive")
        if place.method != PLAIN:
            return member_bytes(spans, place)
        data = spans.pread(place.offset, place.size)
        if len(data) < place.size:
            raise CorruptMember("truncated", f"{place.container}: {len(data):,} of {place.size:,} bytes are there")
        return data

    @cached_property
    def _entries(self) -> tuple[Entry, ...]:
        collects = gc.isenabled()
        gc.disable()  # a collection would walk a growing heap of entries again and again: a quarter of the time
        try:
            walk = self._walk
            if not self.tolerant and walk.faults:
                raise SourceError("\n".join(walk.faults))
            if not self.tolerant and not walk.entries:
                raise SourceError(f"{self.path}: holds no files. Check the path of root {self.name}.")
            return tuple(
                sorted(
                    [*walk.entries, *self.aliases],
                    key=lambda e: (e.name, e.place.size, e.place.crc or 0, e.place.container, e.place.offset),
                )
            )
        finally:
            if collects:
                gc.enable()

    @cached_property
    def _walk(self) -> Walk:
        walk = Walk(self.name, self._base)
        if self._base == str(self.path):
            walk.everything()
        else:
            walk.archives("", archive_names(self._base, like=self.path.name))
        return walk

    @cached_property
    def _base(self) -> str:
        """The folder that containers count from. SourceError where there is none."""
        parent = self.path.parent
        if any("\ud800" <= letter <= "\udfff" for letter in str(self.path)):
            raise SourceError(f"{self.path}: the name of this folder, or of one above it, is not UTF-8: rename it")
        if self.path.is_dir():
            return str(self.path)
        if self.path.exists() and archive_part(self.path.name):
            return str(parent)
        if self.path.exists():
            remedy = f"Give root {self.name} a folder or an archive: --root {self.name}=DIR"
            raise SourceError(f"{self.path}: neither a folder nor a zip or tar. {remedy}")
        given = f"(root {self.name}, from {self.origin})" if self.origin else f"(root {self.name})"
        if not parent.is_dir():
            raise SourceError(f"{self.path}: does not exist, nor does {parent} {given}. Is the disk mounted?")
        beside = sorted(item.name for item in parent.iterdir())
        near = " or ".join(get_close_matches(self.path.name, beside, n=3))
        hint = f"Did you mean {near}?" if near else f"In {parent} there are: {', '.join(beside[:10]) or 'no files'}."
        raise SourceError(f"{self.path}: does not exist {given}. {hint}")

    def _spans(self, container: str) -> Spans:
        if container in self._opened:
            return self._opened[container]
        *outer, last = levels(container)
        if not outer and not archive_part(last):
            return over_file(f"{self._base}/{last}")  # loose files are many: none is kept
        try:
            return self._opened.setdefault(container, self._archive(container).spans)
        except SourceError as error:
            raise SourceError(with_path(f"{self._base}/{container}", error)) from error

    def _archive(self, container: str) -> Archive:
        """The archive at the container, an archive inside an archive inside a folder."""
        outer, mark, _ = container.rpartition("!")
        *_, last = levels(container)
        if mark:
            return contents(self.name, outer, self._archive(outer)).archives.archive(last)
        folder, _, name = f"{self._base}/{last}".rpartition("/")
        if folder not in self._archives:
            self._archives[folder] = archives_of(folder, archive_names(folder))
        return self._archives[folder].archive(name)

    @cached_property
    def _opened(self) -> dict[str, Spans]:
        return {}

    @cached_property
    def _archives(self) -> dict[str, Archives]:
        return {}


@dataclass(frozen=True)
class Roots(Mapping[str, Root]):
    """The roots whose path somebody gave, by name: `roots["aihub"]`."""

    roots: Mapping[str, Root]

    @classmethod
    def find(cls, flags: Mapping[str, str], environ: Mapping[str, str], folder: Path) -> Roots:
        """The roots given by flags, else by the environment, else by `prep.toml` in the folder.

        flags: name -> path. SourceError: `prep.toml` cannot be read or does not have the expected form.
        """
        given = [_root(name, path, "the command line") for name, path in flags.items()]
        roots = _from_file(folder / FILE_NAME) | _from_environment(environ) | {root.name: root for root in given}
        return cls(dict(sorted(roots.items())))

    def on_this_machine(self) -> Roots:
        """The same roots, each where this machine's own environment or `prep.toml` says, where those name it."""
        own = _from_file(Path.cwd() / FILE_NAME) | _from_environment(os.environ)
        return Roots({name: own.get(name, root) for name, root in self.roots.items()})

    def where(self, name: str) -> Path | None:
        """The path given for the root, whether anything is there or not; None where nobody gave one."""
        root = self.roots.get(_canonical(name))
        return root.path if root else None

    def origin(self, name: str) -> str | None:
        """Who gave the path: the command line, `PREP_ROOT_AIHUB` or `prep.toml`; None where nobody did."""
        root = self.roots.get(_canonical(name))
        return root.origin if root else None

    def __getitem__(self, name: str) -> Root:
        """The root, the same one each time. SourceError: nobody gave its path, or nothing is there."""
        name = _canonical(name)
        root = self.roots.get(name)
        if root is None:
            key = ENVIRONMENT_PREFIX + name.upper().replace("-", "_")
            near = did_you_mean(name, self.roots) if self.roots else ""
            raise SourceError(
                f'nobody said where root "{name}" lies{near}. Type --root {name}=DIR, or set {key}=DIR, '
                f'or write under [roots] in {FILE_NAME}: {name} = "DIR"'
            )
        return root.checked()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _canonical(name) in self.roots

    def __iter__(self) -> Iterator[str]:
        return iter(self.roots)

    def __len__(self) -> int:
        return len(self.roots)


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def _root(name: str, path: str, origin: str) -> Root:
    return Root(_canonical(name), Path(os.path.abspath(Path(path).expanduser())), origin=origin)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Root]:
    """The roots that variables such as PREP_ROOT_AIHUB name; an empty value counts as none."""
    keys = sorted(key for key, value in environ.items() if key.startswith(ENVIRONMENT_PREFIX) and value)
    roots = [_root(key.removeprefix(ENVIRONMENT_PREFIX), environ[key], key) for key in keys]
    return {root.name: root for root in roots}


def _from_file(path: Path) -> dict[str, Root]:
    """The [roots] table of the file; relative paths count from the file's folder."""
    try:
        table = texts.from_toml(texts.read(path)).get("roots", {})
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SourceError(f"{path}: cannot be read ({error}). {_EXAMPLE}") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise SourceError(f"{path}: [roots] must give a path in quotes for each name. {_EXAMPLE}")
    roots = [_root(name, str(path.parent / Path(value).expanduser()), FILE_NAME) for name, value in table.items()]
    return {root.name: root for root in roots}


def find_roots(paths: Mapping[str, str | Path], known: Sequence[str]) -> Roots:
    """The roots at these paths, by name, and those that the environment and prep.toml in the working folder name.

    known: names of the corpora. RecipeError names each root that is of none of them.
    """
    names = [_canonical(name) for name in paths]
    faults = [f'--root {n}: unknown corpus "{n}"{did_you_mean(n, known)}' for n in names if n not in known]
    if faults:
        raise RecipeError(faults)
    return Roots.find({name: str(path) for name, path in paths.items()}, os.environ, Path.cwd())


def remember(name: str, roots: Roots, say: Callable[[str], None]) -> None:
    """Writes where a root lies into prep.toml in the working folder, for later commands, and says so.

    The rest of the file stays as it is. Where the file has a form that this cannot edit, it says what to write.
    """
    path, where = Path(FILE_NAME), roots.where(name)
    text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
    before = tomllib.loads(text).get("roots", {})
    if where is None or str(before.get(name, "")) == str(where):
        return
    entry = f"{name} = {json.dumps(str(where), ensure_ascii=False)}"
    line = re.compile(rf"^[ \t]*\"?{re.escape(name)}\"?[ \t]*=.*$", re.MULTILINE)
    if name in before:
        text = line.sub(lambda _: entry, text, count=1)
    elif header := re.search(r"^[ \t]*\[roots\][^\n]*\n", text, re.MULTILINE):
        text = f"{text[: header.end()]}{entry}\n{text[header.end() :]}"
    else:
        text = f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}[roots]\n{entry}\n"
    if tomllib.loads(text)["roots"].get(name) != str(where):
        say(f'the next commands do not know where {name} is: write under [roots] in prep.toml: {name} = "{where}"')
        return
    path.write_text(text, encoding="utf-8")
    instead = f", no longer {before[name]}" if name in before else ""
    say(f"prep.toml: {name} = {where}{instead} (remembered for the next commands)")
