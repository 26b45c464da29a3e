"""Where the roots lie on this machine: --root, PREP_ROOT_NAME, prep.toml."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from pipeline.archives.root import Root
from pipeline.core.errors import SourceError, did_you_mean

ENVIRONMENT_PREFIX = "PREP_ROOT_"
FILE_NAME = "prep.toml"


@dataclass(frozen=True)
class Told:
    """Where a root lies, and who said so: `--root`, `PREP_ROOT_AIHUB` or `prep.toml`."""

    path: Path
    by: str


@dataclass(frozen=True)
class Roots(Mapping[str, Root]):
    """The roots that somebody named, by name: `roots["aihub"]`."""

    told: Mapping[str, Told]

    @classmethod
    def find(cls, flags: Mapping[str, str], environ: Mapping[str, str], folder: Path) -> Roots:
        """The roots named by flags, else by the environment, else by `prep.toml` in the folder.

        flags: name -> path. SourceError: `prep.toml` cannot be read or says something else.
        """
        told = _from_file(folder / FILE_NAME) | _from_environment(environ)
        for name, path in flags.items():
            told[_canonical(name)] = Told(_absolute(path), "--root")
        return cls(dict(sorted(told.items())))

    def seen_here(self) -> Roots:
        """The same roots as this machine tells them: by its own environment and `prep.toml` where those name one."""
        own = _from_file(Path.cwd() / FILE_NAME) | _from_environment(os.environ)
        return Roots({name: own.get(name, told) for name, told in self.told.items()})

    def where(self, name: str) -> Path | None:
        """The path told for the root, whether anything is there or not; None where nobody told one."""
        told = self.told.get(_canonical(name))
        return told.path if told else None

    def told_by(self, name: str) -> str | None:
        """Who told the path: `--root`, `PREP_ROOT_AIHUB` or `prep.toml`; None where nobody did."""
        told = self.told.get(_canonical(name))
        return told.by if told else None

    def __getitem__(self, name: str) -> Root:
        """The root, the same one each time. SourceError: nobody told it, or nothing is there."""
        if name not in self._found:
            self._found[name] = self._root(_canonical(name))
        return self._found[name]

    def _root(self, name: str) -> Root:
        told = self.told.get(name)
        if told is None:
            raise SourceError(_untold(name, self.told))
        if not told.path.exists():
            raise SourceError(_not_there(name, told))
        return Root(name, told.path)

    @cached_property
    def _found(self) -> dict[str, Root]:
        return {}

    def __reduce__(self) -> tuple[type[Roots], tuple[dict[str, Told]]]:
        return Roots, (dict(self.told),)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _canonical(name) in self.told

    def __iter__(self) -> Iterator[str]:
        return iter(self.told)

    def __len__(self) -> int:
        return len(self.told)


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-")


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(Path(path).expanduser()))


def _from_environment(environ: Mapping[str, str]) -> dict[str, Told]:
    """An empty value is no value."""
    return {
        _canonical(key.removeprefix(ENVIRONMENT_PREFIX)): Told(_absolute(environ[key]), key)
        for key in sorted(environ)
        if key.startswith(ENVIRONMENT_PREFIX) and environ[key]
    }


def _from_file(path: Path) -> dict[str, Told]:
    """The [roots] table; relative paths count from the file's folder."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8-sig")).get("roots", {})
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(f"{path}: cannot be read ({error}). {_EXAMPLE}") from error
    if not isinstance(table, dict) or not all(isinstance(value, str) for value in table.values()):
        raise SourceError(f"{path}: [roots] must give a path in quotes for each name. {_EXAMPLE}")
    return {
        _canonical(name): Told(_absolute(str(path.parent / Path(value).expanduser())), FILE_NAME)
        for name, value in table.items()
    }


_EXAMPLE = 'Expected, for example:\n[roots]\naihub = "/data/aihub170"'


def _untold(name: str, told: Mapping[str, Told]) -> str:
    key = ENVIRONMENT_PREFIX + name.upper().replace("-", "_")
    near = did_you_mean(name, told) if told else ""
    return (
        f'nobody said where root "{name}" lies{near}. Type --root {name}=DIR, or set {key}=DIR, '
        f'or write under [roots] in {FILE_NAME}: {name} = "DIR"'
    )


def _not_there(name: str, told: Told) -> str:
    parent = told.path.parent
    if not parent.is_dir():
        return f"{told.path}: does not exist, nor does {parent} (root {name}, from {told.by}). Is the disk mounted?"
    beside = sorted(item.name for item in parent.iterdir())
    near = get_close_matches(told.path.name, beside, n=3)
    hint = (
        f"Did you mean {' or '.join(near)}?"
        if near
        else f"In {parent} there are: {', '.join(beside[:10]) or 'no files'}."
    )
    return f"{told.path}: does not exist (root {name}, from {told.by}). {hint}"
