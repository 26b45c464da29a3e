"""Which clip a word names, in which manifests and drops it is, and what else it may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.audio.shards import AUDIO_FOLDER
from pipeline.core import manifest
from pipeline.core.errors import ManifestError, PrepError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop
from pipeline.core.table import Table
from pipeline.stages import ORDER

NEAR = 3  # ids named where none was found
_MIXTURE = re.compile(r"(?P<speech>.+)_snr(?P<snr>-?[\d.e+-]+(?:to-?[\d.]+)?)_(?P<copy>\d+)")


@dataclass(frozen=True)
class Book:
    """A manifest on disk, asked for a few of its rows at a time."""

    path: Path
    made: Provenance

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages that it tells of: its own, or where a recipe made it whole all up to it."""
        return (
            (self.made.stage,)
            if self.made.inputs or self.made.stage not in ORDER
            else ORDER[: ORDER.index(self.made.stage) + 1]
        )

    def shard(self, name: str) -> str:
        """Where a shard of its audio lies, and whether anything is there."""
        place = self.path.parent / AUDIO_FOLDER / name
        return f"{place}{'' if place.exists() else ' (NOT THERE)'}"

    def rows(self, column: str, value: str) -> Table:
        """The rows with this value in the column, by id."""
        if (column, value) not in self._asked:
            self._asked[column, value] = manifest.picked(self.path, column, value).ordered(("id",))
        return self._asked[column, value]

    @cached_property
    def _asked(self) -> dict[tuple[str, str], Table]:
        return {}

    @cached_property
    def drops(self) -> Table:
        """Its drops; none where they do not lie beside it."""
        try:
            return manifest.drops_of(self.path)
        except ManifestError:
            return Table.of([], Drop)

    def dropped(self, row_id: str) -> list[Drop]:
        """The drops of this id, and of the mixtures of it."""
        own = self.drops.equal("id", row_id) | self.drops.begins("id", f"{row_id}_snr")
        return list(self.drops.where(own).rows(Drop))

    @cached_property
    def ids(self) -> Table:
        """Every id that it speaks of: of rows, of the speech in them, of drops; some more than once."""
        held = manifest.columns(self.path, ["id", "speech_id"])
        speech = held.where(held.present("speech_id")).only(["speech_id"]).renamed(speech_id="id")
        return Table.joined([table.only(["id"]) for table in (held, speech, self.drops)], Drop)


@dataclass(frozen=True, slots=True)
class Found:
    """What a word names. clip: id of a recording; mixture: id of the mixture that was named, if it was one."""

    clip: str
    mixture: str | None = None


def books(paths: Iterable[Path]) -> list[Book]:
    """The manifests, in the order of their stages. ManifestError where one is none of ours."""
    held = [Book(path, manifest.provenance(path)) for path in paths]
    return sorted(held, key=lambda book: (_rank(book.made.stage), -len(book.made.inputs), str(book.path)))


def _rank(stage: str) -> int:
    return ORDER.index(stage) if stage in ORDER else len(ORDER)


def found(word: str, shelf: Sequence[Book]) -> Found | None:
    """The clip or mixture of this id, or of the one id with this ending; None where there is none. PrepError where several end so."""
    if any(_knows(book, word) for book in shelf):
        return _parted(word, shelf)
    ids = _ids(shelf)
    for ending in (f"/{word}", word):
        ends = set(ids.where(ids.ends("id", ending)).column("id"))
        if len(ends) == 1:
            return _parted(ends.pop(), shelf)
        if ends:
            several = sorted(ends)
            raise PrepError(
                f'{len(several):,} ids end in "{word}": {", ".join(several[:NEAR])}{", ..." if len(several) > NEAR else ""}'
            )
    return None


def near(word: str, shelf: Sequence[Book]) -> list[str]:
    """Ids, or endings of ids, that are a few letters from it, the nearest first; none where nothing is."""
    told, most = word.replace("'", "''"), max(2, len(word) // 5)
    away = f"least(levenshtein(id, '{told}'), levenshtein(id[-{len(word)}:], '{told}'))"
    likest = f"SELECT DISTINCT id, {away} AS away FROM rows WHERE away <= {most} ORDER BY away, id LIMIT {NEAR}"
    return [str(row_id) for row_id, _ in _ids(shelf).query(likest)]


def _ids(shelf: Sequence[Book]) -> Table:
    return Table.joined([book.ids for book in shelf], Drop)


def _knows(book: Book, word: str) -> bool:
    return bool(len(book.rows("id", word)) or len(book.rows("speech_id", word)) or book.drops.equal("id", word).any())


def _parted(row_id: str, shelf: Sequence[Book]) -> Found:
    """`aihub/Training/1_snr20_0` is a mixture of `aihub/Training/1`, unless a recording is called so."""
    mixture = _MIXTURE.fullmatch(row_id)
    if mixture is None or any(not book.rows("id", row_id).equal("kind", "mixture").all() for book in shelf):
        return Found(row_id)
    return Found(mixture["speech"], row_id)
