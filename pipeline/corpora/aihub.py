"""AI-Hub 170, emergency speech and sound (위급상황 음성/음향): Korean calls for help in sixteen kinds of situation.

A recording `4.폭력범죄_393886_label.wav` and its label `4.폭력범죄_393886.json` are paired by split and
last run of digits. Every clip is speech: `audioType` says "voice" of everything, so only the transcript says whether
somebody speaks. The recordings are already cut; `area` is kept as a label and never cropped by.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.archives.names import base
from pipeline.core.errors import CorruptMember, SourceError, sample
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Listing, _aihub_files
from pipeline.corpora._aihub_files import CLASSES as CLASSES
from pipeline.corpora._aihub_files import EXPECTED, SPLITS, File, Files, drop, files_of, source
from pipeline.corpora._aihub_files import class_of as class_of
from pipeline.corpora._aihub_labels import BadLabel, Label, Tally, parse
from pipeline.corpora.adapter import container, duplicates, listing, notes_on

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
SHARE_NAMES = True
RESTRICTIONS = (
    "For Korean nationals approved by NIA; not to be shown, provided, transferred, lent or sold to anyone else, "
    "neither recordings nor transcripts nor labels; derived work carries the attribution."
)
DOWNLOAD = "Apply at the homepage, then: aihubshell -mode d -datasetkey 170 -aihubapikey KEY"

AREA_ROUNDING_S = 0.01  # times in the labels have two decimals
AREA_SLACK_S = 0.5
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?", re.IGNORECASE)


def places(root: Root) -> dict[str, Place]:
    """Where each recording with a known split and id lies; opens no label."""
    return {source(files[0]): files[0].entry.place for files in files_of(root).audio.values()}


def clips(root: Root) -> Listing:
    """Recordings joined with their labels, which are all read once; the rest as drops."""
    files = files_of(root)
    if not files.labels:
        what = "found recordings but no label (.json) whose name gives a split and an id under the root"
        raise SourceError(f"{NAME}: {what}; {EXPECTED}")
    tally = Tally()
    labels, drops = _read_labels(root, files, tally)
    kept: list[Clip] = []
    for key in sorted(labels):
        clip = _clip(files.audio[key][0], files.labels[key][0], labels[key])
        if isinstance(clip, Clip):
            kept.append(clip)
        else:
            drops.append(clip)
    classes = {clip.scenario for clip in kept if clip.scenario}
    if classes and not classes & set(CLASSES):  # AI-Hub's other corpora look alike
        what = f"its classes are {sample(classes)}; expected {', '.join(CLASSES)}"
        raise SourceError(f"{NAME}: this looks like another AI-Hub corpus: {what}")
    drops += files.drops + _orphans(files) + _repeats(files)
    inventory = tally.inventory(container(entry) for entry in root.entries())
    return listing(kept, drops, files.ignored, _notes(kept, labels, files), inventory)


def flags(labels: Mapping[str, str], frames: int, rate_hz: int) -> dict[str, str]:
    """`area_past_end`: the marked area ends after the recording; `longer_than_area`: the recording is 0.5 s longer.

    Each is "yes" or absent; both are absent where `area_start_s` or `area_end_s` is no number.
    """
    numbers = [_NUMBER.match(labels.get(name, "").strip()) for name in ("area_start_s", "area_end_s")]
    start_s, end_s = (float(number[0]) if number else None for number in numbers)  # "3.2s" is 3.2
    length_s = frames / rate_hz
    flags: dict[str, str] = {}
    if end_s is not None and end_s > length_s + AREA_ROUNDING_S:
        flags["area_past_end"] = "yes"
    if end_s is not None and start_s is not None and length_s > end_s - start_s + AREA_SLACK_S:
        flags["longer_than_area"] = "yes"
    return flags


def _read_labels(root: Root, files: Files, tally: Tally) -> tuple[dict[str, Label], list[Drop]]:
    """The label of each key that has a recording, read in the order in which labels lie on disk; bad ones as drops."""
    labels: dict[str, Label] = {}
    drops: list[Drop] = []
    wanted = [several[0] for key, several in files.labels.items() if key in files.audio]
    for file in sorted(wanted, key=lambda f: (f.entry.place.container, f.entry.place.offset, f.entry.name)):
        try:
            labels[file.key] = parse(root.read(file.entry.place, is_text=True), tally)
        except (BadLabel, CorruptMember) as error:
            drops.append(drop(file.key, "bad_label", f"{base(file.entry.name)} {error}"))
    return labels, drops


def _clip(audio: File, label_file: File, label: Label) -> Clip | Drop:
    """The clip, its class by the first of: its file name, its folder, the label's name and folder, category_02.

    `class_conflict` among its labels names each class that another of them gives.
    """
    category = label.labels.get("category_02", "")
    declared = class_of(category) or category.strip() or None
    scenario = audio.class_name or label_file.class_name or declared
    if scenario is None:
        what = f"{base(audio.entry.name)}: neither its name, its folder nor its label names a class"
        return drop(audio.key, "unknown_class", what)
    classes = {
        "folder": audio.folder,
        "label name": label_file.named,
        "label folder": label_file.folder,
        "category_02": declared,
    }
    others = [f"{where}: {name}" for where, name in classes.items() if name not in (None, scenario)]
    labels = label.labels | ({"class_conflict": ", ".join(others)} if others else {})
    split, place = SPLITS[audio.key.partition("/")[0]], audio.entry.place
    return Clip(audio.key, source(audio), place, split, "speech", None, label.text, scenario, None, labels)


def _orphans(files: Files) -> list[Drop]:
    """A Drop for each recording without a label and each label without a recording, of the same split and id."""
    drops: list[Drop] = []
    for reason, lacking, has, lacks in (
        ("no_label", "label (.json)", files.audio, files.labels),
        ("no_audio", "recording", files.labels, files.audio),
    ):
        for key in has.keys() - lacks.keys():
            name, split = base(has[key][0].entry.name), key.partition("/")[0]
            drops.append(drop(key, reason, f"{name}: no {lacking} in {split} has its id"))
    return drops


def _repeats(files: Files) -> list[Drop]:
    """A Drop for each further recording and each further label of one key, numbered through."""
    drops: list[Drop] = []
    several = {key for of_key in (files.audio, files.labels) for key, some in of_key.items() if len(some) > 1}
    for key in several:
        audio = [file.entry for file in files.audio.get(key, [])]
        labels = [file.entry for file in files.labels.get(key, [])]
        drops += duplicates(f"{NAME}/{key}", audio)
        drops += duplicates(f"{NAME}/{key}", labels, first=max(2, len(audio) + 1))
    return drops


def _notes(kept: list[Clip], labels: Mapping[str, Label], files: Files) -> list[str]:
    """Clips that were kept although something about them is odd."""
    unknown: dict[str, list[str]] = defaultdict(list)
    for clip in kept:
        if clip.scenario not in CLASSES:
            unknown[str(clip.scenario)].append(clip.key)
    ids = {split: {key.partition("/")[2] for key in files.audio if key.startswith(split)} for split in SPLITS}
    return notes_on(
        (
            (
                [clip.key for clip in kept if "class_conflict" in clip.labels],
                "clips whose names disagree on the class: the file name was believed, see the label class_conflict",
            ),
            (
                [clip.key for clip in kept if labels[clip.key].annotations > 1],
                "labels with more than one annotation: the first transcript counts, the rest is in labels ending in _2",
            ),
            (
                [clip.key for clip in kept if not labels[clip.key].annotations],
                "labels without any annotation: kept, with neither transcript nor labels",
            ),
            *((unknown[name], f'clips of a class that is none of the sixteen, "{name}"') for name in sorted(unknown)),
            (
                ids["Training"] & ids["Validation"],
                "ids occur in Training and in Validation, and are kept as different clips",
            ),
        )
    )
