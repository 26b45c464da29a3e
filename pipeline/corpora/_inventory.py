"""What the labels of a corpus really hold, counted while they are read: keys, types, values, categories, transcripts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pipeline.core.aligned import aligned

DISTINCT_KEPT = (
    20_000  # values counted for one key before new ones are only known to exist: ids and times are all different
)
COMMONEST_SHOWN = 50
_TYPE_NAMES = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "NoneType": "null",
    "dict": "object",
    "list": "array",
}


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the label JSON, `annotations[].categories.category_02`.

    distinct: how many different values, a lower bound where `all_counted` is false. commonest: (value, count), at most
    COMMONEST_SHOWN.
    """

    path: str
    count: int
    types: dict[str, int]
    distinct: int
    all_counted: bool
    commonest: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Inventory:
    """labels: label files read. categories: ((01, 02, 03), count). containers: (folder or archive under the root, files in it)."""

    labels: int
    keys: tuple[Key, ...]
    categories: tuple[tuple[tuple[str, ...], int], ...]
    transcripts: tuple[tuple[str, int], ...]
    containers: tuple[tuple[str, int], ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, for `--json`."""
        return {
            "labels": self.labels,
            "keys": [asdict(key) for key in self.keys],
            "categories": [{"path": list(path), "count": n} for path, n in self.categories],
            "transcripts": [{"text": text, "count": n} for text, n in self.transcripts],
            "containers": [{"container": name, "files": n} for name, n in self.containers],
        }

    def as_text(self, most: int = 20) -> str:
        """Tables for a person, at most `most` lines each; what was cut is said."""
        keys = [(key.path, key.count, _types(key), _distinct(key), _commonest(key)) for key in self.keys]
        parts = [
            _table(
                f"keys of {self.labels:,} labels",
                ("key", "count", "types", "distinct", "commonest values"),
                keys,
                len(keys),
            ),
            _table(
                "categories",
                ("count", "01 > 02 > 03"),
                [(n, " > ".join(part or "(none)" for part in path)) for path, n in self.categories],
                most,
            ),
            _table("transcripts", ("count", "note"), [(n, text or "(blank)") for text, n in self.transcripts], most),
            _table("containers", ("files", "container"), [(n, name) for name, n in self.containers], most),
        ]
        return "\n\n".join(parts)


Naming = Callable[[str], str | None]


class Node:
    """Running counts of one place in the JSON, and the places below it; visited for each leaf of each label, so it does little.

    label: what a scalar found here is called among a clip's labels, None where it is none.
    """

    __slots__ = ("below", "items", "label", "name_of", "path", "types", "uncounted", "values")

    def __init__(self, path: str, name_of: Naming) -> None:
        self.path = path
        self.label = name_of(path)
        self.name_of = name_of
        self.below: dict[str, Node] = {}
        self.items: Node | None = None
        self.types: dict[type, int] = {}
        self.values: dict[str, int] = {}
        self.uncounted = 0

    def at(self, key: str) -> Node:
        """The place of a key of the object that is here."""
        found = self.below.get(key)
        if found is None:
            found = self.below[key] = Node(f"{self.path}.{key}" if self.path else key, self.name_of)
        return found

    def item(self) -> Node:
        """The place that all items of the list that is here share."""
        if self.items is None:
            self.items = Node(f"{self.path}[]", self.name_of)
        return self.items

    def add(self, kind: type, text: str) -> None:
        """Counts a scalar, given its type and its text."""
        self.types[kind] = self.types.get(kind, 0) + 1
        seen = self.values.get(text)
        if seen is not None:
            self.values[text] = seen + 1
        elif len(self.values) < DISTINCT_KEPT:
            self.values[text] = 1
        else:
            self.uncounted += 1

    def keys(self) -> list[Key]:
        """The key of this place, where a scalar was seen in it, and all below."""
        found = [self._key()] if self.types else []
        for node in [*self.below.values(), *([self.items] if self.items else [])]:
            found += node.keys()
        return found

    def _key(self) -> Key:
        types = dict(sorted((_TYPE_NAMES.get(kind.__name__, kind.__name__), n) for kind, n in self.types.items()))
        commonest = tuple(_by_count(self.values.items())[:COMMONEST_SHOWN])
        return Key(self.path, sum(self.types.values()), types, len(self.values), not self.uncounted, commonest)


class Tally:
    """What has been counted so far; `inventory` freezes it. name_of: see Node.label, given a path in the JSON."""

    def __init__(self, name_of: Naming) -> None:
        self.labels = 0
        self.root = Node("", name_of)
        self.categories: Counter[tuple[str, ...]] = Counter()
        self.transcripts: Counter[str] = Counter()

    def inventory(self, containers: Iterable[str]) -> Inventory:
        return Inventory(
            self.labels,
            tuple(sorted(self.root.keys(), key=lambda key: key.path)),
            tuple(sorted(self.categories.items())),
            tuple(_by_count(self.transcripts.items())),
            tuple(sorted(Counter(containers).items())),
        )


def _by_count(counts: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return sorted(counts, key=lambda pair: (-pair[1], pair[0]))


def _types(key: Key) -> str:
    return ", ".join(name if n == key.count else f"{name} {n:,}" for name, n in key.types.items())


def _distinct(key: Key) -> str:
    return f"{key.distinct:,}" if key.all_counted else f"over {key.distinct:,}"


def _commonest(key: Key, most: int = 4) -> str:
    if key.distinct > most and key.commonest[0][1] == 1:
        return f"all differ, {_short(key.commonest[0][0])} ..."
    rest = " ..." if key.distinct > most else ""
    return ", ".join(f"{_short(value)} {n:,}" for value, n in key.commonest[:most]) + rest


def _short(text: str, most: int = 24) -> str:
    return repr(text) if len(text) <= most else repr(text[: most - 3]) + "..."


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]], most: int) -> str:
    """The title, then columns as wide as they need to be; numbers to the right, Hangul counted as two columns wide."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows[:most]]
    numeric = [all(isinstance(row[n], int) for row in rows) for n in range(len(head))]
    cut = [f"... and {len(rows) - most:,} more"] if len(rows) > most else []
    return "\n".join([title, *(f"  {line}" for line in [*aligned([head, *cells], numeric), *cut])])
