"""Recordings of one's own: a folder or an archive of them with a table that says what each holds.

    file,transcript,label,speaker,split,place
    wav/rec 000.wav,살려주세요,saveme,spk0,test,office
    wav/rec 001.wav,,noise,,test,restroom

Only the column for the file is needed. A line with times in seconds, or a channel (from 0, or left and right), means
that piece: `file,start,end,channel,transcript`, or start and duration. A recording is noise where its `kind` or its
label says so, or where nothing (neither transcript nor label) says that somebody speaks; else it is speech. Without a
split it is test, so that nothing is trained on by oversight.

Where there is no such table, a manifest of Lhotse, NeMo or Kaldi serves as one (_importers.py), with its pieces and
channels. Pieces of one recording, where no speaker is known, are a group.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from posixpath import normpath
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from pipeline.archives.names import is_audio, is_raw, nfc, suffix
from pipeline.core.errors import SourceError, sample
from pipeline.core.expressions import search
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Listing, _table, _texts
from pipeline.corpora._importers import IMPORTERS, forms
from pipeline.corpora._table import SPLITS, without_suffix
from pipeline.corpora.adapter import duplicates, listing, notes_on, preference
from pipeline.corpora.own import BESIDE, DEFAULT, Facts

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.core.row import Place
    from pipeline.corpora import Corpus
    from pipeline.corpora._table import Line, Piece

NAME = DEFAULT.name
TITLE = DEFAULT.title
HOMEPAGE = DEFAULT.homepage
LICENCE = DEFAULT.licence
LICENCE_URL = DEFAULT.licence_url
ATTRIBUTION = DEFAULT.attribution
SHARE_AUDIO = DEFAULT.share_audio
SHARE_TRANSCRIPTS = DEFAULT.share_transcripts
SHARE_LABELS = DEFAULT.share_labels
RESTRICTIONS = DEFAULT.restrictions
DOWNLOAD = DEFAULT.download
SHARE_NAMES = False  # a person chose them, and may have named the speaker or the place

KINDS = ("audio", "transcripts", "labels")  # what a licence may let be passed on
_NEAR_S = 0.05  # a length that a manifest states and the recording's own differ by less
_SUFFIX = re.compile(r"\.[^./]*$")


def named(facts: Facts) -> Corpus:
    """The adapter of a corpus of one's own under its own name, as these facts state it."""
    texts = {name.upper(): value for name, value in facts.model_dump().items() if isinstance(value, str | bool)}
    shared = [kind for kind in KINDS if getattr(facts, f"share_{kind}")]
    if shared and facts.restrictions == DEFAULT.restrictions:
        rest = "" if len(shared) == len(KINDS) else "; nothing else of it"
        texts["RESTRICTIONS"] = f"Its {', '.join(shared)} may be passed on under this licence{rest}."
    texts["SHARE_NAMES"] = facts.share_labels  # a person chose them, and may have named the speaker or the place
    functions = {"clips": partial(clips, facts=facts), "places": partial(places, facts=facts), "flags": flags}
    return cast("Corpus", SimpleNamespace(**texts, **functions))


def places(root: Root, facts: Facts = DEFAULT) -> dict[str, Place]:
    """Where each recording lies that the table names, or a manifest of another tool.

    Where no tool is stated, all are read: a manifest that cannot be read is one that ingest did not read.
    """
    of_root = [facts.form] if facts.form else forms(root)
    if not of_root:
        return {clip.source: clip.place for clip in _of_table(root, facts, []).clips}
    places: dict[str, Place] = {}
    for form in reversed(of_root):  # where two name the same recording, the first counts, and the table before all
        with suppress(SourceError):
            places |= {clip.source: clip.place for clip in _of_form(root, facts, form).clips}
    if not facts.form:
        with suppress(SourceError):
            places |= {clip.source: clip.place for clip in _of_table(root, facts, []).clips}
    return places


def clips(root: Root, facts: Facts = DEFAULT) -> Listing:
    """Recordings joined with the lines of the table, or of the one manifest of another tool; the rest as drops."""
    if facts.form:
        return _of_form(root, facts, facts.form)
    of_root = forms(root)
    if not of_root or _table.is_there(root):
        notes = [f"a manifest of {form} is there too: --from {form} reads that" for form in of_root]
        return _of_table(root, facts, notes)
    if len(of_root) > 1:
        what = f"manifests of {' and of '.join(of_root)} are under the root"
        raise SourceError(f"{facts.name}: {what}; expected one: type --from {of_root[0]}")
    return _of_form(root, facts, of_root[0])


def _of_form(root: Root, facts: Facts, form: str) -> Listing:
    """Recordings that the manifests of this tool (`lhotse`, `nemo`, `kaldi`) list; the rest as drops."""
    manifests = IMPORTERS[form].files(root)
    if not manifests:
        names = sample(entry.name for entry in root.entries())
        expected = IMPORTERS[form].expected
        raise SourceError(f"{facts.name}: no manifest of {form} under the root: found {names}; expected {expected}")
    heads = [name for name in manifests if name.endswith("wav.scp")] or manifests  # of Kaldi's, those that name files
    own = f"{facts.name}/"
    lines = [replace(line, key=line.key.removeprefix(own) or line.key) for line in IMPORTERS[form].lines(root)]
    return _listing(root, facts, manifests, lines, [f"read from {sample(heads)}"])


def flags(labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
    """`longer_s` where a recording is longer or shorter than its manifest states: a piece of it, perhaps, was meant."""
    try:
        longer_s = frames / rate_hz - float(labels["stated_s"])
    except (KeyError, ValueError):
        return {}
    return {"longer_s": f"{longer_s:.3f}"} if abs(longer_s) > _NEAR_S else {}


def _of_table(root: Root, facts: Facts, notes: Sequence[str]) -> Listing:
    if facts.transcripts:
        texts, lines = _texts.lines_beside(root, facts, _recordings(root, facts))
        if not texts:
            raise SourceError(f"{facts.name}: no file ends in .{facts.transcripts.lstrip('.')} (--transcripts)")
        return _listing(root, facts, texts, lines, notes)
    names, lines = _table.read(root, facts, _texts.hint)
    return _listing(root, facts, names, lines, [*notes, *([f"read from {sample(names)}"] if len(names) > 1 else [])])


def _recordings(root: Root, facts: Facts) -> list[Entry]:
    """The files that are recordings, those without a header where their rate is stated."""
    if facts.pcm_rate_hz is None:
        return [entry for entry in root.entries() if is_audio(entry.name)]
    return [
        replace(entry, place=replace(entry.place, pcm_rate_hz=facts.pcm_rate_hz)) if is_raw(entry.name) else entry
        for entry in root.entries()
        if is_audio(entry.name) or is_raw(entry.name)
    ]


def _listing(
    root: Root, facts: Facts, manifests: Sequence[str], lines: Sequence[Line], notes: Sequence[str]
) -> Listing:
    """The clips of these lines, which are all that the manifests say; the rest as drops.

    SourceError where not one line names a recording under the root.
    """
    recordings = _recordings(root, facts)
    lines = _apart(lines)
    stated, known_speakers = [], sum("speaker" in line.cells for line in lines)
    lines = [_with_speaker(line, facts.speaker) for line in lines] if facts.speaker else lines
    if facts.speaker and known_speakers == sum("speaker" in line.cells for line in lines):
        stated.append(f"--speaker {facts.speaker} matches no name of a recording, such as {lines[0].paths[0]}")
    if facts.pcm_rate_hz and not any(is_raw(entry.name) for entry in recordings):
        stated.append(f"--pcm-rate {facts.pcm_rate_hz} is of no use: no file ends in .pcm or .raw")
    if facts.audio_dir and not any(f"/{entry.name}".count(f"/{facts.audio_dir.strip('/')}/") for entry in recordings):
        folders = sample({entry.name.rpartition("/")[0] or "." for entry in recordings})
        raise SourceError(f"{facts.name}: no recording lies in --audio-dir {facts.audio_dir}; some lie in {folders}")
    others = {entry.name for entry in root.entries() if suffix(entry.name) and not is_raw(entry.name)}
    kept, drops, used = _matched(facts, lines, recordings, others.difference(entry.name for entry in recordings))
    names = sample(manifests)
    if not used:
        wanted = sample(path for line in lines for path in line.paths)
        there = sample(entry.name for entry in recordings) or "no recordings"
        if bare := sum(is_raw(entry.name) for entry in root.entries() if facts.pcm_rate_hz is None):
            there += f" and {bare:,} files of samples without a header (--pcm-rate 16000 states the rate of such files)"
        raise SourceError(
            f"{facts.name}: none of {len(lines):,} files that {names} names lies under the root: it names "
            f"{wanted or 'nothing'}; found {there}; expected paths from its folder, or the same folders under the root"
        )
    folder = manifests[0].rpartition("/")[0] if len(manifests) == 1 else ""
    for name in sorted({entry.name for entry in recordings} - used):
        key = name.removeprefix(f"{folder}/")
        drops.append(_drop(facts.name, key, "no_label", f"{name}: no line of {names} names it"))
    known = {*manifests, BESIDE, *(entry.name for entry in recordings)}
    ignored = [entry.name for entry in root.entries() if entry.name not in known]
    unsplit = sum("split" not in line.cells for line in lines)
    keys = {clip.key for clip in kept}
    splits: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line.key in keys and "speaker" in line.cells:
            splits[line.cells["speaker"]].add(SPLITS.get(line.cells.get("split", "test").casefold(), ""))
    spread = [speaker for speaker, of_speaker in splits.items() if len(of_speaker) > 1]
    notes = [
        *notes,
        *stated,
        *([f"{unsplit:,} lines of {names} give no split and count as test"] if unsplit else []),
        *notes_on([(spread, "speakers are in more than one split")]),
        *([_cost(kept, spread)] if spread else []),
    ]
    return listing(kept, drops, ignored, notes)


def _cost(clips: Sequence[Clip], speakers: Collection[str]) -> str:
    """What filter will do for speakers that are in more than one split."""
    order = ("train", "dev", "test")
    ranks: dict[str, list[int]] = defaultdict(list)
    for clip in clips:
        if clip.group is not None and clip.group in speakers:
            ranks[clip.group].append(order.index(clip.split))
    lost = sum(rank < max(of_speaker) for of_speaker in ranks.values() for rank in of_speaker)
    return f"prep filter keeps such a speaker in test before dev before train, and will drop {lost:,} clips for it"


def _matched(
    facts: Facts, lines: Iterable[Line], recordings: Iterable[Entry], others: Collection[str]
) -> tuple[list[Clip], list[Drop], set[str]]:
    """Clips, drops of lines and of further files of one name, and the names of all recordings that some line names.

    others: names of files that are no recordings.
    """
    names, corpus = _Names(recordings, facts.audio_dir), facts.name
    clips: list[Clip] = []
    drops: list[Drop] = []
    used: dict[tuple[str, Piece | None], str] = {}
    keys: Counter[str] = Counter()
    for line in lines:
        keys[line.key] += 1
        meant = [names.meant(line.folder, path) for path in line.paths]
        of_line = meant[0] if meant else []
        fault = line.fault or _fault(line, of_line, used.get((of_line[0], line.piece)) if of_line else None)
        if fault is None and keys[line.key] > 1:
            fault = ("duplicate_id", f"the id {line.key} came before; the first is kept")
        is_other = any(normpath(f"{line.folder}/{path}").lstrip("/") in others for path in line.paths)
        if fault and fault[0] == "no_audio" and is_other:
            fault = ("no_audio", f"{line.paths[0]} is there, but its suffix is none of a recording: make a WAV")
        if fault:
            key = line.key if keys[line.key] == 1 else f"{line.key}#{keys[line.key]}"
            drops.append(_drop(corpus, key, fault[0], f"{line.where}: {fault[1]}"))
        else:
            entries = sorted(names.entries[of_line[0]], key=preference)
            clips.append(_clip(corpus, line, entries[0].place))
            drops += duplicates(f"{corpus}/{line.key}", entries)
        for name in (name for several in meant for name in several):
            used.setdefault((name, line.piece), line.where)
    return clips, drops, {name for name, _ in used}


def _apart(lines: Sequence[Line]) -> list[Line]:
    """The lines, with the folder before a path that manifests of several folders name: `train/a.wav`, `test/a.wav`."""
    folders: dict[str, set[str]] = defaultdict(set)
    for line in lines:
        if line.paths and line.key.startswith(without_suffix(line.paths[0].lstrip("/"))):
            folders[line.key].add(line.folder)
    apart = []
    for line in lines:
        if len(folders[line.key]) > 1:
            whole = line.labels.get("piece_of")
            labels = {**line.labels, "piece_of": f"{line.folder}/{whole}"} if whole else line.labels
            line = replace(line, key=f"{line.folder}/{line.key}".lstrip("/"), labels=labels)
        apart.append(line)
    return apart


def _with_speaker(line: Line, expression: str) -> Line:
    """The line with the speaker that its recording's name holds: the first group of the expression, or all of it."""
    if not line.paths or "speaker" in line.cells:
        return line
    match = search(expression, line.paths[0], "--speaker")
    if match is None:
        return line
    return replace(line, cells={**line.cells, "speaker": next((group for group in match.groups() if group), match[0])})


def _fault(line: Line, names: Sequence[str], before: str | None) -> tuple[str, str] | None:
    """Reason and detail of the Drop that a line ends in, if it does; before: an earlier line with this recording."""
    if not names and line.paths[0].rpartition("/")[2].startswith("."):
        return "no_audio", f"{line.paths[0]} is a hidden file, which are passed over: give it another name"
    if not names and is_raw(line.paths[0]):
        return "no_audio", f"{line.paths[0]}: samples without a header: state their rate with --pcm-rate"
    if not names:
        return "no_audio", f"no recording is called {line.paths[0]}, from its folder or under the root"
    if len(names) > 1:
        remedy = "give the suffix, spell it exactly, or name its folder with --audio-dir"
        return "ambiguous_name", f"{line.paths[0]} may be any of {sample(names)}; {remedy}"
    if before:
        return "duplicate_id", f"{names[0]} was named by {before} before, which is kept"
    if line.cells.get("split", "test").casefold() not in SPLITS:
        return "unknown_split", f'split "{line.cells["split"]}"; expected train, dev or test'
    return None


def _clip(corpus: str, line: Line, place: Place) -> Clip:
    """The clip. A piece is named below its recording, so that pieces of one stand together in every order by source."""
    cells, group, source = line.cells, line.cells.get("speaker"), f"@{corpus}/{line.key}"
    if line.piece:
        place = replace(place, **line.piece._asdict())
        whole = line.labels["piece_of"]  # as the manifest spells it: the same wherever the root lies
        group, source = group or whole, f"@{corpus}/{whole}/{line.key}"
    split = SPLITS[cells.get("split", "test").casefold()]
    texts = cells.get("transcript"), cells.get("scenario"), cells.get("scene")
    words = (cells.get("kind"), line.labels.get("noise_label"), line.labels.get("label"))
    kind = next((word.casefold() for word in words if word and word.casefold() in ("noise", "speech", "mixture")), None)
    if kind is None:
        kind = "speech" if "transcript" in cells or "label" in line.labels else "noise"
    kind = "speech" if kind == "mixture" else kind
    return Clip(line.key, source, place, split, kind, group, *texts, line.labels)


def _bare(name: str) -> str:
    return _SUFFIX.sub("", name).casefold()


# How a line may spell a name, the strictest way first: exactly, in other case, without its suffix, with another suffix.
# Each is a pair: what is compared of the path in the line, and of the file's name.
_SPELLINGS: tuple[tuple[Callable[[str], str], Callable[[str], str]], ...] = (
    (str, str),
    (str.casefold, str.casefold),
    (str.casefold, _bare),
    (_bare, _bare),
)


class _Names:
    """Recordings by name. Of a path from another machine the end counts, the longest that is a name under the root."""

    def __init__(self, recordings: Iterable[Entry], audio_dir: str | None) -> None:
        self.entries: dict[str, list[Entry]] = defaultdict(list)
        for entry in recordings:
            self.entries[entry.name].append(entry)
        self._spelled: list[dict[str, list[str]]] = [{name: [name] for name in self.entries}]
        self._audio_dir = None if audio_dir is None else nfc(audio_dir.strip("/"))
        self._bare: dict[str, list[str]] | None = None

    def meant(self, folder: str, path: str) -> list[str]:
        """Names that a path may mean, sorted: those of the strictest spelling that fits any. folder: of the line.

        A path without folders that means none of them means the files of that name, wherever they lie.
        """
        path = nfc(path.replace("\\", "/"))
        folder = folder if self._audio_dir is None else self._audio_dir
        for number, (of_path, of_name) in enumerate(_SPELLINGS):
            if number == len(self._spelled):
                names: dict[str, list[str]] = defaultdict(list)
                for name in sorted(self.entries):
                    names[of_name(name)].append(name)
                self._spelled.append(names)
            for candidate in _candidates(folder, path):
                if spelled := self._spelled[number].get(of_path(candidate)):
                    return spelled
        if self._bare is None:
            self._bare = defaultdict(list)
            for name in sorted(self.entries):
                self._bare[_bare(name.rpartition("/")[2])].append(name)
        return [] if "/" in path.lstrip("./") else self._bare.get(_bare(path), [])


def _candidates(folder: str, path: str) -> Iterator[str]:
    """The path's ends, the longest first, each from the manifest's folder and from those around it.

    >>> list(_candidates("a", "/data/x.wav"))
    ['a/data/x.wav', 'data/x.wav', 'a/x.wav', 'x.wav']
    """
    parts = [part for part in path.split("/") if part not in ("", ".")]
    folders = folder.split("/") if folder else []
    for start in range(len(parts)):
        for depth in range(len(folders), -1, -1):
            yield normpath("/".join([*folders[:depth], *parts[start:]]))


def _drop(corpus: str, key: str, reason: str, detail: str) -> Drop:
    return Drop(f"{corpus}/{key}", "ingest", reason, detail)
