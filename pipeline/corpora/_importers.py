"""Manifests of other tools, line by line: Kaldi's data directories, NeMo's JSON lines, Lhotse's cuts and recordings.

Each reader knows which files are its manifests and what their lines say; which recording a line means is for
`recordings` to find. A line that `prep export` wrote comes back with its id, its labels and its group.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple
from unicodedata import normalize

import orjson

from pipeline.archives.zips import most_unpacked
from pipeline.core.errors import CorruptMember, SourceError
from pipeline.corpora import FORMS
from pipeline.corpora._table import LONGEST_S, Line, Piece, channel_of, split_of

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

Fault = tuple[str, str]  # reason and detail of a Drop

CELLS = ("split", "speaker", "transcript", "scenario", "scene", "kind")  # what becomes a field of a clip, not a label
OWN = ("id", "corpus", "source", "kind", "noise_label", "pcm_hash")  # all of them are in a line of `prep export`
MIXED = ("snr_db", "snr_definition", "snr_active_db", "snr_full_db", "speech_id", "noise_id")  # labels of a mixture
DEEPEST = 4  # folders between the root and a manifest
_GZIP = b"\x1f\x8b"
_LONGEST_LINE = 16 << 20


class Importer(NamedTuple):
    """A reader of one tool's manifests. files: names of the manifests under a root; lines: all that they say."""

    expected: str
    files: Callable[[Root], list[str]]
    lines: Callable[[Root], Iterator[Line]]


class Record(NamedTuple):
    """A line of a file that holds one JSON object a line. value: None where the line is no object."""

    name: str
    number: int
    value: dict[str, Any] | None


def forms(root: Root) -> list[str]:
    """The tools whose manifests are under the root."""
    return [form for form in FORMS if IMPORTERS[form].files(root)]


def _shallow(root: Root, *endings: str) -> list[Entry]:
    """Files with one of these endings, not far below the root, by name."""
    return [e for e in root.entries() if e.name.lower().endswith(endings) and e.name.count("/") <= DEEPEST]


def _texts(root: Root, entry: Entry, is_whole: bool = True) -> Iterator[str]:
    """The lines of a file, NFC; only a newline ends one. SourceError where it cannot be read.

    is_whole: all of them are wanted, so what unpacks to far more than text does is refused before the first.
    """
    try:
        raw = root.read(entry.place, is_text=True)
        if is_whole and raw[:2] == _GZIP:
            _refuse_bomb(raw)
        with gzip.open(BytesIO(raw)) if raw[:2] == _GZIP else BytesIO(raw) as file:
            while line := file.readline(_LONGEST_LINE):
                if len(line) == _LONGEST_LINE:
                    raise OSError(f"a line of {_LONGEST_LINE:,} bytes or more")
                yield normalize("NFC", line.decode("utf-8-sig").rstrip("\r\n"))
    except (CorruptMember, OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise SourceError(f"recordings: {entry.name} cannot be read ({error}); expected text in UTF-8") from None


def _refuse_bomb(packed: bytes) -> None:
    """OSError where gzipped text unpacks to more than text does."""
    most, count = most_unpacked(len(packed), is_text=True), 0
    with gzip.open(BytesIO(packed)) as file:
        while block := file.read(1 << 20):
            count += len(block)
            if count > most:
                raise OSError(f"{len(packed):,} bytes unpack to more than {most:,}; if that is right, unpack it")


def _records(root: Root, entries: Sequence[Entry], names: Sequence[str]) -> list[Record]:
    """The JSON objects of the named ones of these files, one a line; blank lines are passed over."""
    return [
        Record(entry.name, number, _object(text))
        for entry in entries
        if entry.name in names
        for number, text in enumerate(_texts(root, entry), 1)
        if text.strip()
    ]


def _first(root: Root, entry: Entry) -> dict[str, Any]:
    """The first JSON object of a file; empty where its first line is none, or the file cannot be read."""
    with suppress(SourceError):
        return next((_object(text) or {} for text in _texts(root, entry, is_whole=False) if text.strip()), {})
    return {}


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = json.loads(text, parse_constant=lambda word: None)  # NaN, as Python writes it, is no JSON
            json.dumps(value, ensure_ascii=False).encode()  # half a letter, "\\ud800", is no text
        except (ValueError, RecursionError):
            return None
    return value if isinstance(value, dict) else None


def _no_object(record: Record) -> Line:
    key, where = f"{record.name}:{record.number}", f"{record.name}, line {record.number}"
    fault = ("bad_line", "no JSON object with an id or a path; expected one a line")
    return Line(key, (), record.name.rpartition("/")[0], where, fault=fault)


def _line(record: Record, key: str, paths: Sequence[str], values: Mapping[str, Any], fault: Fault | None) -> Line:
    """A line out of its scalar values, under our names or the tool's own; what has no name of ours becomes a label."""
    own = all(name in values for name in OWN)
    given = {name: str(value) for name, value in values.items() if isinstance(value, str | int | float)}
    exact = given if own else {"transcript"}
    given = {name: text if name in exact else text.strip() for name, text in given.items() if text.strip()}
    group = given.pop("group", None)
    cells = {name: given.pop(name) for name in CELLS if name in given}
    if own:
        key = given["id"]
        if group is not None:
            cells["speaker"] = group if given["corpus"] == "recordings" else f"{given['corpus']}/{group}"
        # what was measured is measured again, so only labels and the recipe of a mixture come back
        given = {name: text for name, text in given.items() if name.startswith("label.") or name in MIXED}
    if "split" not in cells and (split := split_of(record.name)):
        cells["split"] = split
    labels = {name.removeprefix("label."): text for name, text in given.items()}
    folder, where = record.name.rpartition("/")[0], f"{record.name}, line {record.number}"
    return Line(key.removeprefix("recordings/") or key, tuple(paths), folder, where, cells, labels, fault)


# Kaldi

_KALDI_MAPS = (
    *("wav.scp", "text", "utt2spk", "utt2dur", "reco2dur", "reco2file_and_channel"),
    *("utt2labels", "utt2lang", "spk2gender"),
)
_ARK = re.compile(r"\.ark(:\d+)?(\[[\d:,]+\])?$")
_ROUNDING_S = 0.01  # Kaldi's times are written with two decimals


def _kaldi_folders(root: Root) -> list[dict[str, Entry]]:
    """Name -> file, of each directory that has a wav.scp."""
    folders: dict[str, dict[str, Entry]] = {}
    for entry in root.entries():
        folder, _, name = entry.name.rpartition("/")
        if name in (*_KALDI_MAPS, "segments", "spk2utt"):
            folders.setdefault(folder, {})[name] = entry
    return [files for _, files in sorted(folders.items()) if "wav.scp" in files]


def _kaldi_files(root: Root) -> list[str]:
    return sorted(entry.name for files in _kaldi_folders(root) for entry in files.values())


def _kaldi_lines(root: Root) -> Iterator[Line]:
    """Every utterance of every directory: a line of segments where there are any, else of wav.scp."""
    for files in _kaldi_folders(root):
        maps = {name: dict(_pairs(root, files[name])) for name in _KALDI_MAPS if name in files}
        listed, sides = files.get("segments", files["wav.scp"]), _sides(maps)
        for number, (utterance, rest) in enumerate(_pairs(root, listed), 1):
            record = Record(listed.name, number, None)
            if "segments" not in files:
                line = _utterance(record, utterance, rest, maps, None)
                yield line.of(Piece(channel=sides[utterance])) if utterance in sides and not line.fault else line
                continue
            recording, *times = rest.split()
            path = maps["wav.scp"].get(recording, "")
            piece = _times(times)
            fault = None
            if not path:
                fault = ("no_recording", f"no recording {recording} is in wav.scp")
            elif piece is None:
                what = "an utterance, a recording, a start and an end, and maybe a channel, from 0"
                fault = ("bad_line", f"expected {what}")
            line = _utterance(record, utterance, path, maps, fault)
            if piece and piece.channel is None:
                piece = piece._replace(channel=sides.get(recording))
            if piece and _is_whole(piece, maps.get("reco2dur", {}).get(recording)):
                piece = None if piece.channel is None else Piece(channel=piece.channel)
            yield line if piece is None or line.fault else line.of(piece)


def _pairs(root: Root, entry: Entry) -> Iterator[tuple[str, str]]:
    """(first word, the rest of the line); only spaces and tabs part them, and only a newline ends a line."""
    for text in _texts(root, entry):
        words = text.strip(" \t\r").replace("\t", " ", 1).split(" ", 1)
        if words[0]:
            yield words[0], words[1].strip() if len(words) > 1 else ""


def _sides(maps: Mapping[str, Mapping[str, str]]) -> dict[str, int]:
    """The channel of each recording that shares its file with another, where reco2file_and_channel says it."""
    users = Counter(maps["wav.scp"].values())
    named = {recording: rest.split()[-1:] for recording, rest in maps.get("reco2file_and_channel", {}).items()}
    sides = {
        name: channel_of(*word) for name, word in named.items() if word and users[maps["wav.scp"].get(name, "")] > 1
    }
    return {name: side for name, side in sides.items() if side is not None}


def _times(times: Sequence[str]) -> Piece | None:
    """The piece that start, end (-1: the recording's own) and maybe a channel mean; None where they mean none."""
    try:
        start, end, channel = float(times[0]), float(times[1]), channel_of(times[2]) if len(times) > 2 else None
    except (IndexError, ValueError):
        return None
    if (len(times) > 2 and channel is None) or not (
        0 <= start < end < LONGEST_S or (end == -1 and 0 <= start < LONGEST_S)
    ):
        return None
    return Piece(start, None if end == -1 else end, channel)


def _is_whole(piece: Piece, length: str | None) -> bool:
    """Whether a segment is its whole recording; length: of the recording in s, where reco2dur gives it."""
    if piece.begin_s != 0 or piece.end_s is None:
        return piece.begin_s == 0
    try:
        return length is not None and abs(piece.end_s - float(length)) <= _ROUNDING_S
    except ValueError:
        return False


def _utterance(
    record: Record, utterance: str, path: str, maps: Mapping[str, Mapping[str, str]], fault: Fault | None
) -> Line:
    """An utterance with what the maps of its directory say of it."""
    values = _object(maps.get("utt2labels", {}).get(utterance, "")) or {}  # `prep export` writes this file
    values.setdefault("transcript", maps.get("text", {}).get(utterance, ""))
    if language := maps.get("utt2lang", {}).get(utterance):
        values["language"] = language
    speaker = maps.get("utt2spk", {}).get(utterance)
    if speaker and speaker != utterance:  # an utterance that is its own speaker: none is known
        values.setdefault("speaker", speaker)
    if "pcm_hash" not in values and utterance in maps.get("utt2dur", {}):
        values["stated_s"] = maps["utt2dur"][utterance]
    if fault is None and not path:
        fault = ("bad_line", "no path is given")
    elif fault is None and _ARK.search(path):
        what = f"its audio is in an archive of Kaldi ({path[:80]})"
        fault = ("kaldi_archive", f"{what}: write each as a file, wav-copy scp:wav.scp scp:OUT, and name that")
    elif fault is None and path.endswith("|"):
        what = f"its audio is what a command prints ({path[:80]})"
        fault = ("pipe", f"{what}: nothing is run here; write it to a file and name that")
    return _line(record, utterance, () if not path or path.endswith("|") else (path,), values, fault)


# NeMo

_MOST_JSON = 50  # .json files that are looked into: more of them are labels of single recordings
_PATHS = ("audio_filepath", "audio_filename", "file_name")  # the last is of folders of Hugging Face
_SUB = re.compile(r"-sub\d+(?=\.\w+$)")
_SAID = ("text", "transcript", "transcription", "sentence")
_SPEAKERS = ("speaker", "speaker_id", "client_id")


def _nemo_entries(root: Root) -> list[Entry]:
    """Files that may be manifests of NeMo."""
    entries = _shallow(root, ".jsonl", ".json", ".jsonl.gz", ".json.gz")
    if len(entries) <= _MOST_JSON:
        return entries
    return [entry for entry in entries if ".jsonl" in entry.name.lower()][:_MOST_JSON]


def _nemo_files(root: Root) -> list[str]:
    return [entry.name for entry in _nemo_entries(root) if any(name in _first(root, entry) for name in _PATHS)]


def _nemo_lines(root: Root) -> Iterator[Line]:
    """Every line of every manifest. Where several stretches of a file are named each is a piece, also the one at 0."""
    records = _records(root, _nemo_entries(root), _nemo_files(root))
    values = [record.value or {} for record in records]
    paths = [next((str(value[name]) for name in _PATHS if value.get(name)), "") for value in values]
    # several stretches of a file are in a tar once, and its second line names a-sub1.wav
    paths = [_SUB.sub("", path) if _shard(value) else path for path, value in zip(paths, values, strict=True)]
    stretches = [_stretch(value) for value in values]
    pieces = Counter(path for path, _ in {*zip(paths, stretches, strict=True)})
    for record, path, stretch in zip(records, paths, stretches, strict=True):
        yield _nemo_line(record, path, stretch, pieces[path])


def _shard(value: Mapping[str, Any]) -> str:
    """`audio_3`, the tar of NeMo that a line names; "" where it is of a file of its own (-1)."""
    shard = value.get("shard_id")
    return f"audio_{shard}" if isinstance(shard, int) and shard >= 0 else ""


def _stretch(value: Mapping[str, Any]) -> Piece | None:
    """The piece that offset and duration mean, of a channel; None where they are no such times."""
    try:
        begin, length = float(value.get("offset") or 0), float(value.get("duration") or 0)
    except (TypeError, ValueError):
        return None
    if not (0 <= begin < LONGEST_S and 0 <= length < LONGEST_S):
        return None
    return Piece(begin, begin + length if length else None, _only(value.get("channel_selector", value.get("channel"))))


def _nemo_line(record: Record, path: str, stretch: Piece | None, pieces: int) -> Line:
    """One line; pieces: how many different stretches of its file the manifests name."""
    value = record.value
    if value is None:
        return _no_object(record)
    fault = None if path else ("bad_line", "no audio_filepath")
    if stretch is None:
        fault = ("bad_line", f"offset {value.get('offset')}, duration {value.get('duration')}: expected seconds")
    key = str(value.get("id") or path or f"{record.name}:{record.number}")
    selector = value.get("channel_selector")
    if selector not in (None, "average") and _only(selector) is None:
        fault = ("several_channels", f"channel_selector {selector}: one channel is cut out, or all are averaged")
    piece = None if fault else stretch
    if piece and not (piece.begin_s or (pieces > 1 and piece.end_s is not None)):
        piece = None if piece.channel is None else Piece(channel=piece.channel)
    if piece and not value.get("id"):
        key = piece.key(path)
    text_name = next((name for name in _SAID if name in value), "text")
    taken = {*_PATHS, "offset", "duration", "id", text_name, "channel_selector", "shard_id"}
    taken |= set() if _only(value.get("channel")) is None else {"channel"}
    speaker_name = next((name for name in _SPEAKERS if value.get(name) not in (None, "")), "speaker")
    values = {name: item for name, item in value.items() if name not in {*taken, speaker_name}}
    values |= {"transcript": value[text_name]} if text_name in value else {}
    values |= {"speaker": value[speaker_name]} if speaker_name in value else {}
    if all(name in value for name in OWN):
        values["id"] = value["id"]
    elif "duration" in value:
        values["stated_s"] = value["duration"]
    where = f"{_shard(value)}/{path}" if _shard(value) else path
    line = _line(record, key.removeprefix("/"), (where,) if path else (), values, fault)
    return line.of(piece) if piece else line


def _only(value: object) -> int | None:
    """The one channel that a value names, alone or in a list; None where it names none, or several."""
    values = value if isinstance(value, list) else [value]
    return None if len(values) != 1 or isinstance(values[0], bool) else channel_of(values[0])


# Lhotse

_SAVE = "in Lhotse: cuts.trim_to_supervisions().save_audios(DIR), then the cuts that it gives"


def _lhotse_entries(root: Root) -> list[Entry]:
    return _shallow(root, ".jsonl", ".jsonl.gz")


def _lhotse_files(root: Root) -> list[str]:
    """The manifests to read: cuts where there are any, for they hold the rest; else recordings and supervisions."""
    kinds = {entry.name: _kind(_first(root, entry)) for entry in _lhotse_entries(root)}
    cuts = [name for name, kind in kinds.items() if kind == "cut"]
    if cuts or "recording" not in kinds.values():
        return cuts
    return [name for name, kind in kinds.items() if kind in ("recording", "supervision")]


def _kind(value: Mapping[str, Any]) -> str:
    if "tracks" in value or str(value.get("type", "")).endswith("Cut"):
        return "cut"
    if "sources" in value and "sampling_rate" in value:
        return "recording"
    return "supervision" if "recording_id" in value and "start" in value else ""


def _lhotse_lines(root: Root) -> Iterator[Line]:
    """Every cut; or every supervision with its recording, and the recordings without one."""
    records = _records(root, _lhotse_entries(root), _lhotse_files(root))
    if any(_kind(record.value or {}) == "cut" for record in records):
        for record in records:
            yield _parsed(_cut, record)
        return
    recordings: dict[str, Record] = {}
    supervisions: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        value = record.value or {}
        kind = _kind(value)
        if kind == "supervision":
            supervisions[str(value["recording_id"])].append(record)
        elif kind == "recording" and "id" in value:
            recordings[str(value["id"])] = record
        elif kind == "recording" or record.value is None:
            yield _no_object(record)
    for name, spoken in supervisions.items():
        for record in spoken:
            yield _parsed(_supervision, record, name, recordings.get(name))
    for name, record in recordings.items():
        if name not in supervisions:
            yield _parsed(_supervision, record, name, record)


def _parsed(parse: Callable[..., Line], record: Record, *more: Any) -> Line:
    """The line that `parse` makes of the record, or a line with a fault where the record is not of Lhotse's form."""
    try:
        return parse(record, *more)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return replace(_no_object(record), fault=("bad_line", f"not of the form that Lhotse writes ({error!r})"))


def _cut(record: Record) -> Line:
    value = record.value
    if value is None or "id" not in value:
        return _no_object(record)
    if value.get("type") == "MixedCut" or "tracks" in value:
        recordings = [track.get("cut", {}).get("recording", {}) for track in value.get("tracks", [])]
        paths = [path for recording in recordings for path in _sources(recording)]
        fault = ("mixed_cut", f"a MixedCut is no recording: save it as one, {_SAVE}")
        return _line(record, str(value["id"]), paths, {}, fault)
    recording = value.get("recording") or {}
    supervisions = [item for item in value.get("supervisions") or [] if isinstance(item, dict)]
    values = _values(value.get("custom") or {}, supervisions, recording)
    line = _line(record, str(value["id"]), _sources(recording), values, _lhotse_fault(value, recording))
    return _stretch_of(line, value, recording)


def _supervision(record: Record, name: str, of: Record | None) -> Line:
    """A supervision, with the record of its recording; where both are one record, the whole recording without words."""
    value, recording = record.value or {}, (of.value if of else None) or {}
    if not recording:
        fault: Fault | None = ("no_recording", f"no recording {name} is in the recordings' manifest")
        return _line(record, str(value.get("id", name)), (), _values(value.get("custom") or {}, [value], {}), fault)
    if record is of:
        return _line(record, name, _sources(recording), {}, _lhotse_fault({}, recording))
    values = _values(value.get("custom") or {}, [value], recording)
    fault = _lhotse_fault(value, recording)
    line = _line(record, str(value.get("id", name)), _sources(recording), values, fault)
    return _stretch_of(line, value, recording)


def _lhotse_fault(value: Mapping[str, Any], recording: Mapping[str, Any]) -> Fault | None:
    """Why a cut, or a supervision, is not of one plain file."""
    if not recording:
        return "no_audio", "it has no recording"
    sources = recording.get("sources") or []
    if len(sources) != 1:
        return "several_sources", f"its recording is in {len(sources)} files; expected one"
    if sources[0].get("type") != "file":
        return "not_a_file", f"its recording is of the type {sources[0].get('type')}; expected a file"
    if recording.get("transforms"):
        return "transformed", f"its recording is changed as it is read (transforms): save it as it sounds, {_SAVE}"
    there, wanted = _channels(value, recording)
    if not wanted or wanted - there:
        return "no_channel", f"it is of channel {sorted(wanted)}, its recording has {sorted(there)}"
    if 1 < len(wanted) < len(there):
        return "several_channels", f"it is {len(wanted)} of {len(there)} channels: save it as it sounds, {_SAVE}"
    spoken = [item for item in value.get("supervisions") or [] if isinstance(item, dict) and "channel" in item]
    if any(_channels(item, recording)[1] != wanted for item in spoken):
        return "several_channels", f"its supervisions are of channels of their own: save each as a cut, {_SAVE}"
    return None


def _channels(value: Mapping[str, Any], recording: Mapping[str, Any]) -> tuple[set[int], set[int]]:
    """(the channels of a recording, those that a cut or supervision means: all where it names none)."""
    sources = recording.get("sources") or [{}]
    there = set(recording.get("channel_ids") or sources[0].get("channels") or [0])
    channel = value.get("channel")
    return there, there if channel is None else set(channel) if isinstance(channel, list) else {channel}


def _stretch_of(line: Line, value: Mapping[str, Any], recording: Mapping[str, Any]) -> Line:
    """The line as a piece, where a cut or a supervision is more than a frame away from the whole recording."""
    rate_hz, start = recording.get("sampling_rate", 0), float(value.get("start") or 0.0)
    seconds = recording.get("num_samples", 0) / rate_hz if rate_hz else 0.0
    length = float(value.get("duration") or seconds)
    there, wanted = _channels(value, recording)
    channel = sorted(there).index(min(wanted)) if len(wanted) < len(there) else None
    if line.fault:
        return line
    if rate_hz and abs(start) * rate_hz < 1 and abs(length - seconds) * rate_hz < 1.5:
        return line if channel is None else line.of(Piece(channel=channel))
    return line.of(Piece(start, start + length, channel))


def _sources(recording: Mapping[str, Any]) -> list[str]:
    return [str(source["source"]) for source in recording.get("sources") or [] if source.get("type") == "file"]


def _values(
    custom: Mapping[str, Any], supervisions: Sequence[Mapping[str, Any]], recording: Mapping[str, Any]
) -> dict[str, Any]:
    """Values under our names: what all supervisions say together, and the custom ones."""
    more = {name: value for item in supervisions for name, value in (item.get("custom") or {}).items()}
    plain = {name: item[name] for item in supervisions for name in ("gender", "language") if item.get(name)}
    values = {**plain, **more, **custom}
    if words := " ".join(str(item["text"]) for item in supervisions if item.get("text")):
        values["transcript"] = words
    if not all(name in values for name in OWN) and "num_samples" in recording:
        values["stated_s"] = recording["num_samples"] / (recording.get("sampling_rate") or 1)
    speakers = {str(item["speaker"]) for item in supervisions if item.get("speaker")}
    if len(speakers) == 1:
        values["speaker"] = speakers.pop()
    return values


IMPORTERS = {
    "kaldi": Importer("a data directory with wav.scp, whose lines are an id and a path", _kaldi_files, _kaldi_lines),
    "lhotse": Importer(
        "cuts.jsonl(.gz), or recordings.jsonl(.gz) and supervisions.jsonl(.gz)", _lhotse_files, _lhotse_lines
    ),
    "nemo": Importer(
        "a .json or .jsonl file of one JSON object a line, each with `audio_filepath`", _nemo_files, _nemo_lines
    ),
}
