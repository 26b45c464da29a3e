"""The table beside a set of recordings: which file it is, how it is encoded and cut, which column means what."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING
from unicodedata import normalize

from pipeline.archives.names import suffix
from pipeline.core.errors import CorruptMember, SourceError, sample
from pipeline.corpora._listing import kinds_of

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

# Each role and the headings it goes by, the likeliest first; compared in lower case, with spaces and hyphens as "_".
COLUMNS: dict[str, tuple[str, ...]] = {
    "file": (
        "file",
        "path",
        "filename",
        "file_name",
        "audio",
        "wav",
        "filepath",
        "file_path",
        "audio_path",
        "audio_file",
        "wav_path",
        "파일",
        "파일명",
    ),
    "transcript": ("transcript", "transcription", "text", "sentence", "note", "전사"),
    "label": ("label", "class", "keyword"),
    "speaker": ("speaker", "speaker_id", "client_id", "화자"),
    "split": ("split", "set", "subset"),
    "scene": ("scene", "place", "environment", "noise"),
    "kind": ("kind",),
}
SUFFIXES = (".csv", ".tsv", ".txt")
DELIMITERS = ",\t;"
DEEPEST = 2  # folders between the root and the table: an archive, and the one folder that archives like to hold
_SEPARATOR = re.compile(r"\Asep=.\r?\n", re.IGNORECASE)  # how spreadsheet programs tell each other the delimiter
_EXPECTED = (
    "expected one .csv, .tsv or .txt at the root or one level below, in UTF-8 or cp949, whose first line names its columns, "
    f"one of them for the file ({', '.join(COLUMNS['file'][:5])}); the rest may be transcript, label, speaker, split, scene, ...; "
    "or a manifest of Lhotse, NeMo or Kaldi"
)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. number: in the file, the heading is 1. cells: role or heading -> text, NFC and stripped, blank ones left out.

    fault: why the line cannot be read, "" where it can.
    """

    number: int
    cells: dict[str, str]
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """name: virtual name of the file. columns: a role, or the heading where it has none."""

    name: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def folder(self) -> str:
        """Where paths in the table begin: "" or `sub/`."""
        head, slash, _ = self.name.rpartition("/")
        return head + slash


def read(root: Root, corpus: str) -> Table:
    """The one table under the root; SourceError where there is none, or more than one, or it cannot be read."""
    texts = {entry.name: _text(root, entry, corpus) for entry in _possible(root)}
    found = {name: heading for name, text in texts.items() if (heading := _heading(text))}
    if not found:
        raise SourceError(_no_table(root, corpus, texts))
    depth = min(name.count("/") for name in found)
    nearest = [name for name in sorted(found) if name.count("/") == depth]
    if len(nearest) > 1:
        what = f"{len(nearest)} files could be the table: {sample(nearest)}"
        raise SourceError(f"{corpus}: {what}; join them into one (a column `split` can tell them apart)")
    (name,) = nearest
    delimiter, columns = found[name]
    return Table(name, columns, _lines(texts[name], delimiter, columns, f"{corpus}: {name}"))


def possible(root: Root) -> bool:
    """Whether some file under the root reads as a table with a column for the file."""
    return any(heading for entry in _possible(root) for heading in [_heading_of(root, entry)])


def _heading_of(root: Root, entry: Entry) -> tuple[str, tuple[str, ...]] | None:
    try:
        return _heading(_text(root, entry, ""))
    except SourceError:
        return None


def _possible(root: Root) -> list[Entry]:
    return [entry for entry in root.entries() if suffix(entry.name) in SUFFIXES and entry.name.count("/") <= DEEPEST]


def _no_table(root: Root, corpus: str, texts: dict[str, str]) -> str:
    if texts:
        first = {name: text.lstrip().partition("\n")[0].strip()[:80] for name, text in texts.items()}
        said = ", ".join(f"{name} (first line {line!r})" for name, line in sorted(first.items())[:3])
        return f"{corpus}: no column for the file in {said}; {_EXPECTED}"
    names = [entry.name for entry in root.entries()]
    return f"{corpus}: no table among {len(names):,} files ({kinds_of(names)}), such as {sample(names)}; {_EXPECTED}"


def _text(root: Root, entry: Entry, corpus: str) -> str:
    """The file as NFC text: UTF-8 with or without BOM, UTF-16 with BOM, else cp949."""
    try:
        raw = root.read(entry.place)
    except CorruptMember as error:
        raise SourceError(f"{corpus}: the table {entry.name} cannot be read: {error}") from error
    encodings = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp949")
    for encoding in encodings:
        try:
            return _SEPARATOR.sub("", normalize("NFC", raw.decode(encoding)))
        except UnicodeDecodeError:
            continue
    raise SourceError(f"{corpus}: {entry.name} is neither UTF-8 nor cp949 text; save it as UTF-8")


def _heading(text: str) -> tuple[str, tuple[str, ...]] | None:
    """Delimiter and columns, where the first line that is not blank names a column for the file; most columns win."""
    line = next((line for line in text.splitlines() if line.strip()), "")
    cut = [(delimiter, next(csv.reader([line], delimiter=delimiter))) for delimiter in DELIMITERS]
    fitting = [(delimiter, cells) for delimiter, cells in cut if any(_plain(cell) in COLUMNS["file"] for cell in cells)]
    if not fitting:
        return None
    delimiter, cells = max(fitting, key=lambda pair: len(pair[1]))
    return delimiter, _columns(cells)


def _columns(headings: Sequence[str]) -> tuple[str, ...]:
    """A role for each heading that is the likeliest for it, the heading itself for the rest, `column_3` for a blank one."""
    plain = [_plain(heading) for heading in headings]
    columns = [heading.strip() or f"column_{n}" for n, heading in enumerate(headings, 1)]
    for role, spellings in COLUMNS.items():
        best = next((spelling for spelling in spellings if spelling in plain), None)
        if best is not None:
            columns[plain.index(best)] = role
    return tuple(columns)


def _plain(heading: str) -> str:
    return re.sub(r"[\s-]+", "_", heading.strip()).casefold()


def _lines(text: str, delimiter: str, columns: tuple[str, ...], where: str) -> tuple[Line, ...]:
    """Lines after the heading that are not blank."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise SourceError(f"{where}: two columns are called {', '.join(twice)}; rename one")
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise SourceError(
            f"{where}, line {reader.line_num}: {error}; look for a quotation mark that is not closed"
        ) from error
    return tuple(_line(number, row, columns) for number, row in rows[1:])


def _line(number: int, row: list[str], columns: tuple[str, ...]) -> Line:
    """A short line ends in blank cells; a long one holds an unquoted delimiter, and which cell is which is not known."""
    cells = {column: cell.strip() for column, cell in zip(columns, row, strict=False) if cell.strip()}
    long = f"{len(row)} cells where {len(columns)} were expected: put quotation marks around text with delimiters in it"
    return Line(number, cells, long if len(row) > len(columns) else "")
