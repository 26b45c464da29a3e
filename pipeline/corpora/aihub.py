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
from typing import TYPE_CHECKING

from pipeline.archives.names import base
from pipeline.core.errors import CorruptMember, SourceError, sample
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Claims, _aihub_files
from pipeline.corpora._aihub_files import (
    EXPECTED,
    SPLITS,
    File,
    Listing,
    both_splits,
    drop,
    listed,
    orphans,
    repeats,
    source,
)
from pipeline.corpora._aihub_labels import BadLabel, Label, label_name, parse
from pipeline.corpora._aihub_names import CLASSES as CLASSES
from pipeline.corpora._aihub_names import class_of as class_of
from pipeline.corpora._inventory import Tally
from pipeline.corpora._listing import container, ignored_note

if TYPE_CHECKING:
    from pipeline.archives import Root
    from pipeline.core.row import Place

NAME = _aihub_files.NAME
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

AREA_ROUNDING_S = 0.01  # times in the labels have two decimals
AREA_SLACK_S = 0.5
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


@dataclass(slots=True)
class _Oddities:
    """Keys of clips that were kept although something about them is odd."""

    conflicts: list[str] = field(default_factory=list)
    unknown_classes: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    annotated_twice: list[str] = field(default_factory=list)
    not_annotated: list[str] = field(default_factory=list)

    def notes(self) -> list[str]:
        said = [
            (
                self.conflicts,
                "clips whose names disagree on the class: the file name was believed, see the label class_conflict",
            ),
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
    """Where each recording with a known split and id lies."""
    found = listed(root)
    return {source(key, files[0]): files[0].entry.place for key, files in found.audio.items()}


def clips(root: Root) -> Claims:
    """Recordings joined with their labels, which are all read once; the rest as drops."""
    found = listed(root)
    if not found.labels:
        raise SourceError(
            f"{NAME}: found recordings but no label (.json) whose name gives a split and an id under the root; {EXPECTED}"
        )
    tally = Tally(label_name)
    labels, drops = _read_labels(root, found, tally)
    odd = _Oddities()
    kept: list[Clip] = []
    for key in sorted(labels):
        clip = _clip(key, found.audio[key][0], found.labels[key][0], labels[key], odd)
        if isinstance(clip, Clip):
            kept.append(clip)
        else:
            drops.append(clip)
    _refuse_other_corpus(kept)
    drops += found.drops + orphans(found) + repeats(found)
    inventory = tally.inventory(container(entry) for entry in root.entries())
    notes = odd.notes() + both_splits(found) + ignored_note(found.ignored)
    return Claims(kept, sorted(drops, key=lambda drop: drop.id), inventory, notes, found.ignored)


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


def _read_labels(root: Root, listing: Listing, tally: Tally) -> tuple[dict[str, Label], list[Drop]]:
    """The label of each key that also has a recording, read in the order in which they lie on disk, and those that are none."""
    labels: dict[str, Label] = {}
    drops: list[Drop] = []
    wanted = [(files[0].entry, key) for key, files in listing.labels.items() if key in listing.audio]
    for entry, key in sorted(wanted, key=lambda pair: (pair[0].place.container, pair[0].place.offset, pair[0].name)):
        try:
            labels[key] = parse(root.read(entry.place), tally)
        except (BadLabel, CorruptMember) as error:
            drops.append(drop(key, "bad_label", f"{base(entry.name)} {error}"))
    return labels, drops


def _clip(key: str, audio: File, label_file: File, label: Label, odd: _Oddities) -> Clip | Drop:
    """The clip, its class by the first of: its file name, its folder, the label's, category_02."""
    said = label.labels.get("category_02", "")
    declared = class_of(said) or said.strip() or None
    scenario = audio.class_name or label_file.class_name or declared
    if scenario is None:
        return drop(
            key, "unknown_class", f"{base(audio.entry.name)}: neither its name, its folder nor its label names a class"
        )
    labels = label.labels | _conflict(scenario, audio, label_file, declared)
    if "class_conflict" in labels:
        odd.conflicts.append(key)
    if scenario not in CLASSES:
        odd.unknown_classes[scenario].append(key)
    if label.annotations != 1:
        (odd.annotated_twice if label.annotations else odd.not_annotated).append(key)
    split = SPLITS[key.partition("/")[0]]
    return Clip(key, source(key, audio), audio.entry.place, split, "speech", None, label.text, scenario, None, labels)


def _conflict(scenario: str, audio: File, label_file: File, declared: str | None) -> dict[str, str]:
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
