"""The table beside recordings of one's own: which file it is, how it is encoded and cut, which column means what."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from posixpath import normpath
from typing import TYPE_CHECKING
from unicodedata import normalize

from pipeline.archives.names import suffix
from pipeline.core.errors import CorruptMember, SourceError, sample
from pipeline.corpora.adapter import kinds_of

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

# Each role and the headings it goes by, the likeliest first; compared in lower case, with spaces and hyphens as "_".
COLUMNS = {
    "file": "file path filename file_name audio wav filepath file_path audio_path audio_file wav_path 파일 파일명",
    "transcript": "transcript transcription text sentence note 전사",
    "label": "label class keyword",
    "speaker": "speaker speaker_id client_id 화자",
    "split": "split set subset",
    "scene": "scene place environment noise",
    "kind": "kind",
}
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    "test": "test",
}
KINDS = ("speech", "noise")
LABELS = ("saveme", "helpme", "others", "noise")  # the known ones, compared without regard to case
SUFFIXES = (".csv", ".tsv", ".txt")
DELIMITERS = ",\t;"
DEEPEST = 2  # folders between the root and the table: an archive, and the one folder that archives like to hold
_SEPARATOR = re.compile(r"\Asep=.\r?\n", re.IGNORECASE)  # how spreadsheet programs name the delimiter to each other
_EXPECTED = (
    "expected one .csv, .tsv or .txt at the root or one level below, in UTF-8 or cp949, whose first line names its "
    "columns, one of them for the file (file, path, filename, file_name, audio); the rest may be transcript, label, "
    "speaker, split, scene, ...; or a manifest of Lhotse, NeMo or Kaldi"
)


@dataclass(frozen=True, slots=True)
class Line:
    """What one line of a table, or of another tool's manifest, says of a recording.

    key: the clip's key. paths: the files that it names, the recording first. folder: of the table, "" or `a/b`.
    where: `train.jsonl, line 3`. cells: split, kind, speaker, transcript, scenario and scene, as far as given.
    labels: everything else. fault: reason and detail of the Drop that the line ends in. piece: (begin, end) in s, where
    a piece of the recording is meant; end None: to the recording's end.
    """

    key: str
    paths: tuple[str, ...]
    folder: str
    where: str
    cells: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    fault: tuple[str, str] | None = None
    piece: tuple[float, float | None] | None = None


def read(root: Root, corpus: str) -> tuple[str, list[Line]]:
    """(name of the one table under the root, its lines). SourceError: none, several, or it is unreadable."""
    texts = {entry.name: _text(root, entry, corpus) for entry in _possible(root)}
    tables = {name: heading for name, text in texts.items() if (heading := _heading(text))}
    if not tables and texts:
        first = {name: text.lstrip().partition("\n")[0].strip()[:80] for name, text in texts.items()}
        shown = ", ".join(f"{name} (first line {line!r})" for name, line in sorted(first.items())[:3])
        raise SourceError(f"{corpus}: no column for the file in {shown}; {_EXPECTED}")
    if not tables:
        names = [entry.name for entry in root.entries()]
        what = f"no table among {len(names):,} files ({kinds_of(names)}), such as {sample(names)}"
        raise SourceError(f"{corpus}: {what}; {_EXPECTED}")
    depth = min(name.count("/") for name in tables)
    nearest = [name for name in sorted(tables) if name.count("/") == depth]
    if len(nearest) > 1:
        what = f"{len(nearest)} files could be the table: {sample(nearest)}"
        raise SourceError(f"{corpus}: {what}; join them into one (a column `split` can tell them apart)")
    (name,) = nearest
    return name, _lines(name, texts[name], *tables[name], corpus)


def is_there(root: Root) -> bool:
    """Whether some file under the root reads as a table with a column for the file."""
    for entry in _possible(root):
        try:
            if _heading(_text(root, entry, "")):
                return True
        except SourceError:
            continue
    return False


def _possible(root: Root) -> list[Entry]:
    return [entry for entry in root.entries() if suffix(entry.name) in SUFFIXES and entry.name.count("/") <= DEEPEST]


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
    fitting = [(delimiter, cells) for delimiter, cells in cut if {*map(_plain, cells)} & {*COLUMNS["file"].split()}]
    if not fitting:
        return None
    delimiter, cells = max(fitting, key=lambda pair: len(pair[1]))
    return delimiter, _columns(cells)


def _columns(headings: Sequence[str]) -> tuple[str, ...]:
    """For each heading its role, if it is the likeliest for one, else itself; `column_3` for a blank heading."""
    plain = [_plain(heading) for heading in headings]
    columns = [heading.strip() or f"column_{n}" for n, heading in enumerate(headings, 1)]
    for role, spellings in COLUMNS.items():
        best = next((spelling for spelling in spellings.split() if spelling in plain), None)
        if best is not None:
            columns[plain.index(best)] = role
    return tuple(columns)


def _plain(heading: str) -> str:
    return re.sub(r"[\s-]+", "_", heading.strip()).casefold()


def _lines(name: str, text: str, delimiter: str, columns: tuple[str, ...], corpus: str) -> list[Line]:
    """The lines after the heading that are not blank."""
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise SourceError(f"{corpus}: {name}: two columns are called {', '.join(twice)}; rename one")
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        where = f"{corpus}: {name}, line {reader.line_num}"
        raise SourceError(f"{where}: {error}; look for a quotation mark that is not closed") from error
    return [_line(name, number, row, columns) for number, row in rows[1:]]


def _line(name: str, number: int, row: list[str], columns: tuple[str, ...]) -> Line:
    """A short line ends in blank cells; in a long one a delimiter is not quoted, so the cells cannot be told apart."""
    given = {column: cell.strip() for column, cell in zip(columns, row, strict=False) if cell.strip()}
    cells = {role: given[role] for role in COLUMNS if role in given}
    labels = {column: text for column, text in given.items() if column not in COLUMNS}
    if label := cells.pop("label", ""):
        labels["label"] = label.casefold() if label.casefold() in LABELS else label
    path = cells.pop("file", "")
    fault = None
    if len(row) > len(columns):
        remedy = "put quotation marks around text with delimiters in it"
        fault = ("bad_line", f"{len(row)} cells where {len(columns)} were expected: {remedy}")
    elif not path:
        fault = ("bad_line", "no file is named")
    elif cells.get("split", "test").casefold() not in SPLITS:
        fault = ("unknown_split", f'split "{cells["split"]}"; expected train, dev or test')
    elif cells.get("kind", KINDS[0]).casefold() not in KINDS:
        fault = ("bad_line", f'kind "{cells["kind"]}"; expected speech or noise')
    key = normpath(path.replace("\\", "/")) if path else f"line {number}"
    folder = name.rpartition("/")[0]
    return Line(key, (path,) if path else (), folder, f"{name}, line {number}", cells, labels, fault)
