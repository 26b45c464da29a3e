"""Texts that strangers write: read within bounds, and parsed so that every fault of theirs is a ValueError."""

from __future__ import annotations

import errno
import json
import tomllib
from pathlib import Path
from typing import Any

from pipeline.core import files

MOST_BYTES = 16 << 20  # of a text that is read whole
MOST_LEVELS = 100  # of tables in one another


def read(path: Path, most_bytes: int = MOST_BYTES) -> str:
    """The text of a file, in UTF-8 with or without a byte order mark.

    ManifestError where it is a pipe or the like; OSError where it cannot be read, or has more bytes;
    ValueError where it is no such text, or its name none.
    """
    with open(files.regular(path), "rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise OSError(errno.EFBIG, f"more than {most_bytes >> 20} MB, too long for a text of this kind", str(path))
    return data.decode("utf-8-sig")


def from_json(text: str | bytes) -> Any:
    """What a text in JSON says. ValueError where it is none, or nested deeper than MOST_LEVELS."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES >> 20} MB of JSON")
    return _parsed(json.loads, text)


def from_toml(text: str) -> dict[str, Any]:
    """The same of a text in TOML."""
    values: dict[str, Any] = _parsed(tomllib.loads, text)
    return values


def _parsed(parse: Any, text: str | bytes) -> Any:
    try:
        value = parse(text)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels") from None
    if _is_deeper(value, MOST_LEVELS):
        raise ValueError(f"nested deeper than {MOST_LEVELS} levels")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(part, levels - 1) for part in parts if isinstance(part, dict | list))
