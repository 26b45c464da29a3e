"""How commands print their answers: as JSON for machines, or as sentences and tables for a person."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any
from unicodedata import east_asian_width

import click

from pipeline.cli.endings import echo
from pipeline.core.errors import inert

AS_JSON = click.option("--json", "as_json", is_flag=True, help="answer in JSON")
Table = Sequence[Sequence[Any]]  # rows of cells, the names of the columns first


def emit(answer: Any, as_json: bool, lines: Callable[[], Iterable[str | Table]] | None = None) -> None:
    """Prints an answer on stdout.

    answer: what JSON holds: a dict, a list or a dataclass. lines: gives what a person reads instead, sentences and
    tables (lists of rows, the names of the columns first); without it, the answer's own method `lines` gives them.
    """
    if as_json:
        value = asdict(answer) if is_dataclass(answer) and not isinstance(answer, type) else answer
        echo(json.dumps(value, ensure_ascii=False, default=_to_json))
    else:
        for line in (lines or answer.lines)():
            echo(line if isinstance(line, str) else "\n".join(table(line)))


def _to_json(value: Any) -> Any:
    """A dataclass, a path, or a number of NumPy, as JSON has them."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return value.item() if hasattr(value, "item") else str(value)


def table(rows: Table, rule: bool = True, right: Sequence[bool] | None = None) -> list[str]:
    """Rows of cells as lines of text, the names of the columns first, each column as wide as it needs to be.

    Whole numbers have thousands separated, others two decimals. Columns of numbers stand to the right, or those that
    `right` says. Hangul takes two columns of a terminal a letter. rule: draws a line below the names of the columns.

    >>> print("\\n".join(table([("scene", "rows"), ("화재", 1200), ("fire", 7)])))
    scene   rows
    -----  -----
    화재   1,200
    fire       7
    """
    head, *body = rows
    cells = [[str(name) for name in head], *([_cell(value) for value in row] for row in body)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    if rule:
        cells.insert(1, ["-" * width for width in widths])
    if right is None:
        numbers = [
            [row[n] is None or (isinstance(row[n], int | float) and not isinstance(row[n], bool)) for row in body]
            for n in range(len(head))
        ]
        right = [bool(body) and all(column) for column in numbers]
    lines = []
    for row in cells:
        padded = []
        for text, width, to_right in zip(row, widths, right, strict=True):
            space = " " * (width - _width(text))
            padded.append(space + text if to_right else text + space)
        lines.append("  ".join(padded).rstrip())
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return inert(str(value))
    return f"{value:,}" if isinstance(value, int) else f"{value:,.2f}"


def _width(text: str) -> int:
    return sum(2 if east_asian_width(letter) in "WF" else 1 for letter in text)
