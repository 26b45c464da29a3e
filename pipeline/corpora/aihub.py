"""AI-Hub 170, emergency speech and sound (위급상황 음성/음향): Korean calls for help in sixteen kinds of situation.

A recording `4.폭력범죄_393886_label.wav` and its label `4.폭력범죄_393886.json` are paired by split and last run of digits.
Every clip is speech: `audioType` says "voice" of everything, so only the transcript tells whether somebody speaks.
The recordings are already cut; `area` is kept as a label and never cropped by.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pipeline.corpora import Claims
from pipeline.corpora._aihub_labels import BadLabel, Label, label_name, parse
from pipeline.corpora._aihub_names import CLASSES, class_of, class_of_folder, file_name, splits_of
from pipeline.corpora._inventory import Tally
from pipeline.corpora._listing import (
    base,
    container,
    duplicates,
    ignored_note,
    is_audio,
    kinds_of,
    largest_first,
    sample,
    stem,
    suffix,
)
from pipeline.errors import CorruptMember, SourceError
from pipeline.row import Clip, Drop

if TYPE_CHECKING:
    from pipeline.row import Place
    from pipeline.sources import Entry, Root

NAME = "aihub"
TITLE = "AI-Hub 170, emergency speech and sound (위급상황 음성/음향)"
HOMEPAGE = "https://aihub.or.kr/aihubdata/data/view.do?dataSetSn=170"
LICENCE = "NIA terms of use (AI-Hub)"
LICENCE_URL = "https://aihub.or.kr/intrcn/guid/usagepolicy.do"
ATTRIBUTION = (
    "이 데이터는 과학기술정보통신부의 재원으로 한국지능정보사회진흥원의 지원을 받아 구축된 "
    '"위급상황 음성/음향"을 활용하여 제작된 데이터입니다.'
)
SHARE_AUDIO = False
SHARE_TRANSCRIPTS = False
SHARE_LABELS = False
RESTRICTIONS = (
    "For Korean nationals approved by NIA; not to be shown, provided, transferred, lent or sold to anyone else, "
    "neither recordings nor transcripts nor labels; derived work carries the attribution."
)
DOWNLOAD = "Apply at the homepage, then: aihubshell -mode d -datasetkey 170 -aihubapikey KEY"

SPLITS = {"Training": "train", "Validation": "test"}  # AI-Hub withholds its own test set
AREA_ROUNDING_S = 0.01  # times in the labels have two decimals
AREA_SLACK_S = 0.5
_EXPECTED = (
    "expected Training and Validation (also 1.Training, TS_, VL_, ...) holding [원천]4.폭력범죄_1/4.폭력범죄_393886_label.wav "
    "and [라벨]4.폭력범죄/4.폭력범죄_393886.json, as folders, zips or tars; give the folder that holds both"
)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


class _File(NamedTuple):
    """A recording or a label whose split and id are known. named, folder: the class each names, None where none."""

    entry: Entry
    named: str | None
    folder: str | None

    @property
    def class_name(self) -> str | None:
        return self.named or self.folder


@dataclass(frozen=True, slots=True)
class _Listing:
    """Files by key, `Training/757631`, the one to take first."""

    audio: dict[str, list[_File]]
    labels: dict[str, list[_File]]
    drops: list[Drop]
    ignored: list[str]


@dataclass(slots=True)
class _Oddities:
    """Keys of clips that were kept although something about them is odd."""

    conflicts: list[str] = field(default_factory=list)
    unknown_classes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    annotated_twice: list[str] = field(default_factory=list)
    not_annotated: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        said = [
            (self.conflicts, "clips whose names disagree on the class: the file name was believed, see the label class_conflict"),
            (
                self.annotated_twice,
                "labels with more than one annotation: the first transcript counts, the rest is in labels ending in _2",
            ),
            (self.not_annotated, "labels without any annotation: kept, with neither transcript nor labels"),
        ]
        unknown = [
            (keys, f'clips of a class that is none of the sixteen, "{name}"')
            for name, keys in sorted(self.unknown_classes.items())
        ]
        return [f"{len(keys):,} {words} ({sample(keys)})" for keys, words in [*said, *unknown] if keys]


def places(root: Root) -> dict[str, Place]:
    listing = _listing(root)
    return {_source(key, files[0]): files[0].entry.place for key, files in listing.audio.items()}


def clips(root: Root) -> Claims:
    listing = _listing(root)
    if not listing.labels:
        raise SourceError(
            f"{NAME}: found recordings but no label (.json) whose name gives a split and an id under the root; {_EXPECTED}"
        )
    tally = Tally(label_name)
    labels, drops = _read_labels(root, listing, tally)
    odd = _Oddities()
    kept: list[Clip] = []
    for key in sorted(labels):
        found = _clip(key, listing.audio[key][0], listing.labels[key][0], labels[key], odd)
        if isinstance(found, Clip):
            kept.append(found)
        else:
            drops.append(found)
    _refuse_other_corpus(kept)
    drops += listing.drops + _orphans(listing) + _repeats(listing)
    inventory = tally.inventory(container(entry) for entry in root.entries())
    notes = odd.notes() + _both_splits(listing) + ignored_note(listing.ignored)
    return Claims(kept, sorted(drops, key=lambda drop: drop.id), inventory, notes, listing.ignored)


def flags(labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
    """`area_past_end` where the marked area ends after the recording, `longer_than_area` where the recording is longer by over 0.5 s.

    Each is "yes" or absent; neither is told where `area_start_s` or `area_end_s` is no number.
    """
    start_s, end_s = (_number(labels.get(name, "")) for name in ("area_start_s", "area_end_s"))
    length_s = frames / rate_hz
    found: dict[str, str] = {}
    if end_s is not None and end_s > length_s + AREA_ROUNDING_S:
        found["area_past_end"] = "yes"
    if end_s is not None and start_s is not None and length_s > end_s - start_s + AREA_SLACK_S:
        found["longer_than_area"] = "yes"
    return found


def _number(text: str) -> float | None:
    """The number a label begins with, "3.2s" included."""
    found = _NUMBER.match(text.strip())
    return float(found[0]) if found else None


def _listing(root: Root) -> _Listing:
    """Every file under the root, put where it belongs; SourceError where not one is a recording of this corpus."""
    listing = _Listing(defaultdict(list), defaultdict(list), [], [])
    for entry in root.entries():
        if is_audio(entry.name):
            _put(entry, listing.audio, listing.drops)
        elif suffix(entry.name) == ".json":
            _put(entry, listing.labels, listing.drops)
        else:
            listing.ignored.append(entry.name)
    if not listing.audio:
        names = [entry.name for entry in root.entries()]
        raise SourceError(
            f"{NAME}: no recording whose name gives a split and an id among {len(names):,} files under the root "
            f"({kinds_of(names)}), such as {sample(names)}; {_EXPECTED}"
        )
    audio = {key: _ranked(files, None) for key, files in listing.audio.items()}
    labels = {key: _ranked(files, audio.get(key)) for key, files in listing.labels.items()}
    return _Listing(audio, labels, listing.drops, listing.ignored)


def _put(entry: Entry, files: dict[str, list[_File]], drops: list[Drop]) -> None:
    """The entry under its key, or a Drop where its path gives no split or its name no id."""
    folder = entry.name.rpartition("/")[0]
    name = file_name(stem(entry.name))
    splits = splits_of(folder) or splits_of(stem(entry.name))
    if len(splits) != 1:
        found = "both Training and Validation" if splits else "neither Training nor Validation"
        drops.append(Drop(f"{NAME}/{entry.name}", "ingest", "unknown_split", f"{entry.name}: its path names {found}"))
    elif not name.id:
        drops.append(Drop(f"{NAME}/{entry.name}", "ingest", "bad_name", f"{entry.name}: no id at the end of its name"))
    else:
        files[f"{min(splits)}/{name.id}"].append(_File(entry, class_of(name.words), class_of_folder(folder)))


def _ranked(files: list[_File], partners: list[_File] | None) -> list[_File]:
    """The file to take, then the rest: of its partner's class, named `..._label` (that is the cut recording), most bytes."""
    if len(files) == 1:
        return files
    wanted = partners[0].class_name if partners else None
    order = {id(entry): n for n, entry in enumerate(largest_first(file.entry for file in files))}
    return sorted(
        files, key=lambda f: (wanted not in (None, f.class_name), "_label" not in stem(f.entry.name), order[id(f.entry)])
    )


def _source(key: str, audio: _File) -> str:
    """`@aihub/Training/도움요청/757631`; the class is the file name's, else the folder's."""
    split, _, digits = key.partition("/")
    return f"@{NAME}/{split}/{audio.class_name or '-'}/{digits}"


def _read_labels(root: Root, listing: _Listing, tally: Tally) -> tuple[dict[str, Label], list[Drop]]:
    """The label of each key that also has a recording, read in the order in which they lie on disk, and those that are none."""
    labels: dict[str, Label] = {}
    drops: list[Drop] = []
    wanted = [(files[0].entry, key) for key, files in listing.labels.items() if key in listing.audio]
    for entry, key in sorted(wanted, key=lambda pair: (pair[0].place.container, pair[0].place.offset, pair[0].name)):
        try:
            labels[key] = parse(root.read(entry.place), tally)
        except (BadLabel, CorruptMember) as error:
            drops.append(_drop(key, "bad_label", f"{base(entry.name)} {error}"))
    return labels, drops


def _clip(key: str, audio: _File, label_file: _File, label: Label, odd: _Oddities) -> Clip | Drop:
    """The clip, its class by the first of: its file name, its folder, the label's, category_02."""
    said = label.labels.get("category_02", "")
    declared = class_of(said) or said.strip() or None
    scenario = audio.class_name or label_file.class_name or declared
    if scenario is None:
        return _drop(key, "unknown_class", f"{base(audio.entry.name)}: neither its name, its folder nor its label names a class")
    labels = label.labels | _conflict(scenario, audio, label_file, declared)
    if "class_conflict" in labels:
        odd.conflicts.append(key)
    if scenario not in CLASSES:
        odd.unknown_classes[scenario].append(key)
    if label.annotations != 1:
        (odd.annotated_twice if label.annotations else odd.not_annotated).append(key)
    split = SPLITS[key.partition("/")[0]]
    return Clip(key, _source(key, audio), audio.entry.place, split, "speech", None, label.text, scenario, None, labels)


def _conflict(scenario: str, audio: _File, label_file: _File, declared: str | None) -> dict[str, str]:
    """`class_conflict`: each class named by something else than what decided, where it is another."""
    named = {
        "folder": audio.folder,
        "label name": label_file.named,
        "label folder": label_file.folder,
        "category_02": declared,
    }
    others = [f"{what}: {name}" for what, name in named.items() if name is not None and name != scenario]
    return {"class_conflict": ", ".join(others)} if others else {}


def _refuse_other_corpus(kept: list[Clip]) -> None:
    """SourceError where there are clips, and not one is of a class of this corpus: AI-Hub's other corpora look alike."""
    found = {clip.scenario for clip in kept if clip.scenario}
    if found and not found & set(CLASSES):
        raise SourceError(
            f"{NAME}: this looks like another AI-Hub corpus: its classes are {sample(found)}; expected {', '.join(CLASSES)}"
        )


def _orphans(listing: _Listing) -> list[Drop]:
    """A Drop for each recording without a label and each label without a recording, of the same split and id."""
    no_label = [
        _drop(key, "no_label", f"{base(files[0].entry.name)}: no label (.json) in {key.partition('/')[0]} has its id")
        for key, files in listing.audio.items()
        if key not in listing.labels
    ]
    no_audio = [
        _drop(key, "no_audio", f"{base(files[0].entry.name)}: no recording in {key.partition('/')[0]} has its id")
        for key, files in listing.labels.items()
        if key not in listing.audio
    ]
    return no_label + no_audio


def _repeats(listing: _Listing) -> list[Drop]:
    """A Drop for each further recording and each further label of one key, numbered through."""
    drops: list[Drop] = []
    for key in sorted(listing.audio.keys() | listing.labels.keys()):
        audio, labels = listing.audio.get(key, []), listing.labels.get(key, [])
        if len(audio) > 1:
            drops += duplicates(f"{NAME}/{key}", audio[0].entry, [file.entry for file in audio[1:]])
        if len(labels) > 1:
            drops += duplicates(
                f"{NAME}/{key}", labels[0].entry, [file.entry for file in labels[1:]], first=max(2, len(audio) + 1)
            )
    return drops


def _both_splits(listing: _Listing) -> list[str]:
    """One sentence where ids occur in Training and in Validation."""
    ids = {split: {key.partition("/")[2] for key in listing.audio if key.startswith(split)} for split in SPLITS}
    both = ids["Training"] & ids["Validation"]
    return (
        [f"{len(both):,} ids occur in Training and in Validation, and are kept as different clips ({sample(both)})"]
        if both
        else []
    )


def _drop(key: str, reason: str, detail: str) -> Drop:
    return Drop(f"{NAME}/{key}", "ingest", reason, detail)
