"""The table beside recordings of one's own: which file it is, how it is encoded and cut, which column means what."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from io import StringIO
from posixpath import normpath
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import normalize

from pipeline.archives.names import is_audio, suffix
from pipeline.core.errors import CorruptMember, SourceError, sample
from pipeline.corpora.adapter import kinds_of

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.corpora.own import Facts

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
# Headings of a piece's begin, end and length in a recording, with or without a unit after them: `start_ms`.
TIMES = {
    "begin": "onset start begin start_time begin_time segment_start xmin tmin 시작",
    "end": "end stop end_time stop_time segment_end xmax tmax 끝",
    "length": "duration length",
}
UNITS = {"": "", "_s": "", "_sec": "", "_seconds": "", "_ms": "_ms", "_msec": "_ms"}
COUNTS = ("_frame", "_frames", "_sample", "_samples")  # of what rate, a table does not say
CHANNELS = {"left": 0, "l": 0, "a": 0, "right": 1, "r": 1, "b": 1}
SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "val", "valid", "validation"), "dev"),
    "test": "test",
}
KINDS = ("speech", "noise")
LABELS = ("saveme", "helpme", "others", "noise")  # the known ones, compared without regard to case
SUFFIXES = (".csv", ".tsv", ".txt")
DELIMITERS = ",\t;|"
LONGEST_S = 1e9  # no recording has a time past it, and milliseconds of larger ones may be no number
DEEPEST = 2  # folders between the root and the table: an archive, and the one folder that archives like to hold
_SEPARATOR = re.compile(r"\Asep=.\r?\n", re.IGNORECASE)  # how spreadsheet programs name the delimiter to each other
_EXPECTED = (
    "expected one .csv, .tsv or .txt at the root or one level below, in UTF-8 or cp949, whose first line names its "
    "columns, one of them for the file (file, path, filename, file_name, audio); the rest may be transcript, label, "
    "speaker, split, scene, ... (name others with --column file=HEADING); or a manifest of Lhotse, NeMo or Kaldi"
)


class Piece(NamedTuple):
    """What of a recording is meant: between these times in s (end None: to its end), of this channel (None: of all)."""

    begin_s: float | None = None
    end_s: float | None = None
    channel: int | None = None

    def key(self, path: str) -> str:
        """The key of the piece of the recording at this path, its times in ms: `talks/a-0001500-0004000-c1`."""
        times = "" if self.begin_s is None else f"-{round(self.begin_s * 1000):07d}"
        times += "" if self.begin_s is None else "-end" if self.end_s is None else f"-{round(self.end_s * 1000):07d}"
        return (path.rpartition(".")[0] or path) + times + ("" if self.channel is None else f"-c{self.channel}")


@dataclass(frozen=True, slots=True)
class Line:
    """What one line of a table, or of another tool's manifest, says of a recording.

    key: the clip's key. paths: the files that it names, the recording first. folder: of the table, "" or `a/b`.
    where: `train.jsonl, line 3`. cells: split, kind, speaker, transcript, scenario and scene, as far as given.
    labels: everything else. fault: reason and detail of the Drop that the line ends in. piece: what is meant, where it
    is not the whole recording.
    """

    key: str
    paths: tuple[str, ...]
    folder: str
    where: str
    cells: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    fault: tuple[str, str] | None = None
    piece: Piece | None = None

    def of(self, piece: Piece) -> Line:
        """The same line, of a piece of the recording. Labels say where it lies; none states the length."""
        own = {name: f"{value:g}" for name, value in piece._asdict().items() if value is not None}
        labels = {name: value for name, value in self.labels.items() if name != "stated_s"}
        return replace(self, piece=piece, labels={**labels, "piece_of": self.paths[0].lstrip("/"), **own})


def read(root: Root, facts: Facts, hint: Callable[[Root], str]) -> tuple[list[str], list[Line]]:
    """(names of the tables under the root, their lines). SourceError: none, several, or one is unreadable.

    Several are read where they are stated, or where they lie side by side and their names say splits that differ; what
    has no split of its own is then of the split in the name of its table. hint: what to type where no table is there.
    """
    corpus, possible = facts.name, {entry.name: entry for entry in _possible(root)}
    if unknown := set(facts.tables) - {*possible}:
        raise SourceError(f"{corpus}: no table {sample(unknown)} (--table); there are {sample(possible) or 'none'}")
    texts = {name: read_text(root, possible[name], corpus) for name in facts.tables or possible}
    tables = {name: heading for name, text in texts.items() if (heading := _heading(text, facts.columns))}
    if not tables or len(tables) < len(facts.tables):
        for name, text in texts.items():
            if (length := len(text.partition("\n")[0])) > csv.field_size_limit():
                what = f"its first line has {length:,} letters; expected the names of its columns; is it a table?"
                raise SourceError(f"{corpus}: {name}: {what} --table NAME says which file is")
        first = {name: text.lstrip().partition("\n")[0].strip()[:80] for name, text in texts.items()}
        shown = ", ".join(f"{name} (first line {line!r})" for name, line in sorted(first.items())[:3])
        columns = ", ".join(f"--column {role}={heading}" for role, heading in facts.columns.items())
        names = [entry.name for entry in root.entries()]
        what = f"no table among {len(names):,} files ({kinds_of(names)}), such as {sample(names)}"
        if texts:
            what = f"no column for the file{f' nor all that {columns} names' if columns else ''} in {shown}"
        otherwise = hint(root) + _column_of_files(root, texts) or _table_to_write(names)
        raise SourceError(f"{corpus}: {what}; {f'expected one: {otherwise}' if otherwise else _EXPECTED}")
    depth = min(name.count("/") for name in tables)
    nearest = sorted(facts.tables or (name for name in tables if name.count("/") == depth))
    splits = {name: split_of(name) or "" for name in nearest}
    if len(nearest) > 1 and not facts.tables and ("" in splits.values() or len({*splits.values()}) < len(splits)):
        what = f"{len(nearest)} files could be the table: {sample(nearest)}"
        raise SourceError(f"{corpus}: {what}; --table NAME says which, once or more: a name like train.tsv is a split")
    lines = []
    for name in nearest:
        stated = {"split": splits[name]} if splits[name] and (len(nearest) > 1 or facts.tables) else {}
        own = _lines(root, name, texts[name], *tables[name], corpus)
        lines += [replace(line, cells={**stated, **line.cells}) for line in own] if stated else own
    return nearest, lines


def _table_to_write(names: Sequence[str]) -> str:
    """What to do where recordings have neither table nor text: save a spreadsheet as CSV, or write such a table."""
    if sheets := [name for name in names if suffix(name) in (".xlsx", ".xls", ".ods", ".numbers")]:
        return f"{sheets[0]} may be one: save it there as CSV UTF-8"
    deep = next((name for name in names if is_audio(name) and "/" in name), None)
    if deep is None or any(suffix(name) in SUFFIXES for name in names):
        return ""
    folder = deep.split("/")[-2]
    return (
        "a table.csv at the root, a line for each recording, the first `file,transcript,label,speaker,split` or some "
        f"of these; where folders are classes, the lines `file,label` and `{deep},{folder}`"
    )


def _column_of_files(root: Root, texts: Mapping[str, str]) -> str:
    """What to type where a table has a column of recordings under another heading, or no headings."""
    recordings = {entry.name.rpartition("/")[2] for entry in root.entries() if is_audio(entry.name)}
    recordings |= {without_suffix(name) for name in recordings}
    for text in texts.values():
        for delimiter in DELIMITERS:
            rows = [line.split(delimiter) for line in text.splitlines()[:2]]
            for place, cell in ((n, cell) for row in rows[::-1] for n, cell in enumerate(row)):
                if cell.strip(' "').rpartition("/")[2] in recordings:
                    heading = "" if cell in rows[0] or place >= len(rows[0]) else rows[0][place].strip(' "')
                    return (
                        f"recordings are named in column {heading or place + 1}: --column file={heading or place + 1}"
                    )
    return ""


def without_suffix(name: str) -> str:
    """`a/b.wav` -> `a/b`."""
    return name[: -len(suffix(name))] if suffix(name) else name


def split_of(name: str) -> str | None:
    """The split among the words of a file's or a folder's name: `cuts_train.jsonl.gz`, `data/dev_no_text/wav.scp`."""
    words = [word for part in reversed(name.casefold().split("/")) for word in re.split(r"[^a-z]+", part)]
    return next((word for word in words if word in SPLITS), None)


def is_there(root: Root) -> bool:
    """Whether some file under the root reads as a table with a column for the file."""
    for entry in _possible(root):
        try:
            if _heading(read_text(root, entry, ""), {}):
                return True
        except SourceError:
            continue
    return False


def _possible(root: Root) -> list[Entry]:
    return [entry for entry in root.entries() if suffix(entry.name) in SUFFIXES and entry.name.count("/") <= DEEPEST]


def read_text(root: Root, entry: Entry, corpus: str) -> str:
    """The file as NFC text: UTF-8 with or without BOM, UTF-16 with BOM, else cp949."""
    try:
        raw = root.read(entry.place, is_text=True)
    except CorruptMember as error:
        raise SourceError(f"{corpus}: the table {entry.name} cannot be read: {error}") from error
    encodings = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp949")
    for encoding in encodings:
        try:
            return _SEPARATOR.sub("", normalize("NFC", raw.decode(encoding)))
        except UnicodeDecodeError:
            continue
    raise SourceError(f"{corpus}: {entry.name} is neither UTF-8 nor cp949 text; save it as UTF-8")


def _heading(text: str, stated: Mapping[str, str]) -> tuple[str, tuple[str, ...], bool] | None:
    """Delimiter, columns and whether the first line names them; None where there is no column for the file.

    stated: role -> heading of its column, before any other; numbers from 1 where the table has no headings. Of several
    delimiters the one that makes the most columns counts.
    """
    line = next((line for line in text.splitlines() if line.strip()), "")
    start = text[text.find(line) :]  # a heading in quotation marks may go on in the next line
    cut = []
    for delimiter in DELIMITERS:
        with suppress(csv.Error):  # a cell too long for a heading
            cut.append((delimiter, next(csv.reader(StringIO(start, newline=""), delimiter=delimiter), [])))
    if not cut:
        return None
    if stated and all(column.isdecimal() for column in stated.values()):
        delimiter, cells = max(cut, key=lambda pair: len(pair[1]))
        columns = [f"column_{n}" for n, _ in enumerate(cells, 1)]
        if "file" not in stated or any(not 1 <= int(column) <= len(columns) for column in stated.values()):
            return None
        for role, column in stated.items():
            columns[int(column) - 1] = role
        return delimiter, tuple(columns), False
    known = {_plain(stated["file"])} if "file" in stated else {*COLUMNS["file"].split()}
    wanted = {_plain(heading) for heading in stated.values()}
    fitting = [pair for pair in cut if {*map(_plain, pair[1])} & known and wanted <= {*map(_plain, pair[1])}]
    if not fitting:
        return None
    delimiter, headings = max(fitting, key=lambda pair: len(pair[1]))
    # a heading's role, if it is the likeliest for one, else itself; `column_3` for a blank one
    plain = [_plain(heading) for heading in headings]
    columns = [heading.strip() or f"column_{n}" for n, heading in enumerate(headings, 1)]
    for role, spellings in COLUMNS.items():
        best = next((spelling for spelling in spellings.split() if spelling in plain and spelling not in wanted), None)
        if best is not None and role not in stated:
            columns = [role if spelling == best else name for name, spelling in zip(columns, plain, strict=True)]
    for role, heading in stated.items():
        columns = [f"{name}_" if name == role else name for name in columns]
        columns[plain.index(_plain(heading))] = role
    return delimiter, tuple(columns), True


def _plain(heading: str) -> str:
    return re.sub(r"[\s-]+", "_", heading.strip()).casefold()


def _lines(
    root: Root, name: str, text: str, delimiter: str, columns: tuple[str, ...], has_heading: bool, corpus: str
) -> list[Line]:
    """The lines after the heading that are not blank."""
    twice = [column for column, count in Counter(columns).items() if count > 1]
    if twice:
        raise SourceError(f"{corpus}: {name}: two columns are called {sample(twice)}; rename one")
    columns = _with_times(columns, f"{corpus}: {name}")
    file = StringIO(text, newline="")
    if delimiter == "|":  # as in LJ Speech: a quotation mark is a letter like any other
        reader = csv.reader(file, delimiter=delimiter, quoting=csv.QUOTE_NONE)
    else:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except csv.Error as error:
        where, what = f"{corpus}: {name}, line {reader.line_num}", str(error)
        if "limit" in what:
            what = f"a cell of more than {csv.field_size_limit():,} letters, which is no name and no transcript"
        is_quoted = '"' in text
        remedy = "look for a quotation mark that is not closed" if is_quoted else "shorten it, or leave the column out"
        raise SourceError(f"{where}: {what}; {remedy}") from error
    rows = rows[1:] if has_heading else rows
    at = next((n for n, column in enumerate(columns) if _plain(column) == "channel"), None)
    if at is not None and _are_channels({row[at].strip() for _, row in rows if len(row) > at}, f"{corpus}: {name}"):
        columns = (*columns[:at], "@channel", *columns[at + 1 :])
    at = columns.index("file")
    if any(len(row) > at and row[at] != row[at].strip() for _, row in rows):  # a few names do begin with a space
        there = {entry.name.rpartition("/")[2] for entry in root.entries()}
        outer = {name for name in there if name != name.strip()}
    else:
        outer = set()
    return [line_of(name, number, row, columns, outer) for number, row in rows]


def _with_times(columns: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The columns, those that bound a piece in time called @begin, @end and @length, with `_ms` for milliseconds.

    `offset` is an end beside `onset` and a begin beside `duration`, as different tools have it. SourceError for bounds
    that do not say where a piece lies.
    """
    plain = [_plain(column) for column in columns]
    words = {word: role for role, spellings in TIMES.items() for word in spellings.split()}
    words["offset"] = "end" if any(heading.startswith("onset") for heading in plain) else "begin"
    bounds: dict[str, tuple[int, str]] = {}
    for n, heading in enumerate(plain):
        for unit, name in UNITS.items():
            if role := words.get(heading.removesuffix(unit)):
                bounds.setdefault(role, (n, f"@{role}{name}"))
        counted = next((unit for unit in COUNTS if heading.endswith(unit)), None)
        if counted and words.get(heading.removesuffix(counted)) in ("begin", "end"):
            raise SourceError(
                f"{where}: the column {columns[n]} is no time: at which rate it counts is not known; give seconds"
            )
    if "begin" not in bounds and "end" not in bounds:
        return columns
    if "begin" not in bounds or not {"end", "length"} & bounds.keys():
        given = columns[next(iter(bounds.values()))[0]]
        raise SourceError(
            f"{where}: the column {given} bounds a piece of a recording on one side; expected a begin and an end, or a "
            "begin and a duration, in seconds; if it is no time within the recording, give it another name"
        )
    names = {n: name for role, (n, name) in bounds.items() if role != "length" or "end" not in bounds}
    return tuple(names.get(n, column) for n, column in enumerate(columns))


def _are_channels(values: set[str], where: str) -> bool:
    """Whether a column numbers channels; elsewhere it is a label, as `telephone` is.

    SourceError where they seem to be counted from 1: the same numbers, counted from 0, mean other channels.
    """
    numbers = {value.casefold(): channel_of(value) for value in values if value}
    if not any(number is not None for number in numbers.values()):
        return False
    if 0 not in numbers.values() and any(value.isdigit() for value in numbers):
        raise SourceError(
            f"{where}: the column channel has {', '.join(sorted(numbers))} and no 0; channels count from 0: "
            "subtract 1, or write left and right"
        )
    return True


def channel_of(value: object) -> int | None:
    """The channel that a number, or a word such as `left`, means; None where it means none."""
    text = str(value).strip().casefold()
    return int(text) if text.isdecimal() and len(text) < 4 else CHANNELS.get(text)


def _seconds(text: str, unit: str) -> float:
    """Seconds out of `1.5`, `1,5` or `00:01:02.5`; ValueError for anything else."""
    *larger, last = text.split(":")
    value = sum((int(part) * 60**n for n, part in enumerate(reversed(larger), 1)), float(last.replace(",", ".")))
    if not 0 <= value < LONGEST_S or len(larger) > 2:
        raise ValueError(text)
    return value / 1000 if unit else value


def _piece(given: dict[str, str]) -> Piece | None:
    """The piece that a line means, taken out of its cells; None for the whole recording.

    ValueError says what is none.
    """
    times: dict[str, float] = {}
    for role in TIMES:
        for unit in ("", "_ms"):
            if text := given.pop(f"@{role}{unit}", ""):
                try:
                    times[role] = _seconds(text, unit)
                except ValueError:
                    what = "give the column another name if it is no time within the recording"
                    raise ValueError(f'{role} "{text}"; expected seconds; {what}') from None
    text = given.pop("@channel", "")
    channel = channel_of(text) if text else None
    if text and channel is None:
        raise ValueError(f'channel "{text}"; expected a number from 0, left or right')
    begin_s = times.get("begin", 0.0)
    end_s = begin_s + times["length"] if "length" in times else times.get("end")
    if end_s is not None and end_s <= begin_s:
        raise ValueError(f"a piece from {begin_s:g} s to {end_s:g} s; expected an end after its begin")
    if not times:
        return None if channel is None else Piece(channel=channel)
    return Piece(begin_s, end_s, channel)


def line_of(name: str, number: int, row: list[str], columns: tuple[str, ...], outer: Collection[str] = ()) -> Line:
    """A short line ends in blank cells; in a long one a delimiter is not quoted, so the cells cannot be told apart.

    outer: names of files that do begin or end with white space.
    """
    given = {column: cell.strip() for column, cell in zip(columns, row, strict=False) if cell.strip()}
    cells = {role: given[role] for role in COLUMNS if role in given}
    if "transcript" in cells:
        cells["transcript"] = row[columns.index("transcript")].lstrip()  # to the letter, but for a space after a comma
    labels = {column: text for column, text in given.items() if column not in COLUMNS}
    if label := cells.pop("label", ""):
        labels["label"] = label.casefold() if label.casefold() in LABELS else label
    path = cells.pop("file", "")
    if path and (whole := row[columns.index("file")]).replace("\\", "/").rpartition("/")[2] in outer:
        path = whole
    fault, piece = None, None
    try:
        piece = _piece(labels)
    except ValueError as error:
        fault = ("bad_line", str(error))
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
    where = f"{name}, line {number}"
    if piece is None or not path:
        return Line(key, (path,) if path else (), folder, where, cells, labels, fault)
    return Line(piece.key(key), (key,), folder, where, cells, labels, fault).of(piece)
