"""A difference as a terminal shows it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.inspect.diff.found import Blind, Difference, Example
from pipeline.inspect.show import table_text

WIDEST = 60  # letters of a value in a table


def text(found: Difference) -> str:
    """The difference for a terminal."""
    parts = [_verdict(found)]
    if found.columns:
        rows = [(c.column, c.rows, *_example(e)) for c in found.columns for e in c.examples]
        shown = [("", "", *row[2:]) if n and rows[n - 1][0] == row[0] else row for n, row in enumerate(rows)]
        parts.append(
            table_text(
                ("column", "rows", "for example", "in A", "in B", "alike"),
                [tuple(str(v) for v in row) for row in shown],
            )
        )
    for title, ids, count in (
        ("added", found.examples_added, found.added),
        ("removed", found.examples_removed, found.removed),
    ):
        if count:
            parts.append(f"{title}: {', '.join(ids)}{', ...' if count > len(ids) else ''}")
    if found.swapped:
        pairs = [
            f"{one} and {other} have changed places: each has the sound that the other had"
            for one, other in found.examples_swapped
        ]
        parts.append(
            "\n".join([*pairs, *([f"... {found.swapped} such pairs in all"] if found.swapped > len(pairs) else [])])
        )
    if found.moved:
        told = [(m.to, m.stage, m.reason, m.rows, m.example, m.detail) for m in found.moved]
        parts.append(table_text(("in B", "stage", "reason", "rows", "for example", "as the drops say"), told))
    if found.options:
        parts.append(
            table_text(("made with", "in A", "in B"), [(o.name, _short(o.old), _short(o.new)) for o in found.options])
        )
    if found.not_comparable:
        parts.append("\n".join(_blind_lines(found.not_comparable)))
    return "\n\n".join([*parts, *found.notes])


def _blind_lines(blind: Sequence[Blind]) -> Iterator[str]:
    """What cannot be compared, under each reason once."""
    for pack, why in dict.fromkeys((item.pack, item.why) for item in blind):
        columns = ", ".join(
            f"{item.column} ({item.rows:,} rows)" for item in blind if (item.pack, item.why) == (pack, why)
        )
        yield f"not comparable, for {pack} was made without it: {columns}\n  {why}"


def _verdict(found: Difference) -> str:
    head = f"A  {found.a}: {found.rows_a:,} rows\nB  {found.b}: {found.rows_b:,} rows\n"
    if found.alike:
        return f"{head}the same rows{', as far as they can be compared' if found.not_comparable else ''}"
    return f"{head}{found.added:,} added, {found.removed:,} removed, {found.changed:,} changed, {found.same:,} the same"


def _example(example: Example) -> tuple[str, str, str, str]:
    return example.id, _short(example.old), _short(example.new), f"{example.rows:,} rows" if example.rows > 1 else ""


def _plain(value: Any) -> str:
    if value is None:
        return "(none)"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(value: Any) -> str:
    """A value as a table shows it."""
    told = _plain(value)
    return told if len(told) <= WIDEST else f"{told[: WIDEST - 3]}..."
