"""Options in TOML files: anybody's by their path, those that come with the project by their name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.core import texts
from pipeline.core.errors import RecipeError, did_you_mean

SHIPPED = next(
    path for path in (Path(__file__).parents[1] / "recipes", Path(__file__).parents[2] / "recipes") if path.is_dir()
)


def find(path: str, what: str, known: Iterable[str]) -> Path:
    """The file: the path as given, else the shipped one by that name. RecipeError where there is none.

    what: what it should be, a `recipe`; known: names of the shipped ones.
    """
    given = Path(path)
    if given.is_file():
        return given
    shipped = SHIPPED / (given.name if given.suffix == ".toml" else f"{given.name}.toml")
    if shipped.is_file() and given.parent.name in ("", "recipes"):
        return shipped
    raise RecipeError([f"{path}: no such {what}{did_you_mean(given.stem, known)}"])


def read(path: Path) -> dict[str, Any]:
    """What the file says. RecipeError where it is not TOML."""
    try:
        return texts.from_toml(texts.read(path))
    except ValueError as error:
        raise RecipeError([f"{str(path)[:200]}: not TOML: {error}"]) from None
