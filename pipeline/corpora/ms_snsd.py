"""MS-SNSD, the Microsoft scalable noisy speech dataset: noise recordings, and clean speech without transcripts.

Its two halves name the same noise differently (Neighbor, NeighborSpeaking), and some noise is people speaking:
the label `speech_like` tells, so that false alarms on it can be counted apart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pipeline.archives.names import is_audio, stem
from pipeline.core.errors import SourceError, sample
from pipeline.core.row import Clip
from pipeline.corpora import Claims, no_flags
from pipeline.corpora._listing import above, duplicates, ignored_note, kinds_of, largest_first

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.core.row import Place

NAME = "ms-snsd"
TITLE = "MS-SNSD, Microsoft scalable noisy speech dataset"
HOMEPAGE = "https://github.com/microsoft/MS-SNSD"
LICENCE = "noise: CC0 1.0 (Freesound), CC BY-SA 3.0 (DEMAND); clean speech: ODbL 1.0 (PTDB-TUG), terms of Edinburgh's 56 speakers"
LICENCE_URL = "https://github.com/microsoft/MS-SNSD#dataset-licenses"
ATTRIBUTION = (
    "A scalable noisy speech dataset and online subjective test framework (Reddy et al., Interspeech 2019); "
    "noise: Freesound, DEMAND; clean speech: PTDB-TUG, Edinburgh 56 speaker dataset."
)
SHARE_AUDIO = True
SHARE_TRANSCRIPTS = True
SHARE_LABELS = True
RESTRICTIONS = (
    "May be passed on, also changed; what comes from DEMAND and PTDB-TUG with attribution and under the same licence."
)
DOWNLOAD = "git clone https://github.com/microsoft/MS-SNSD, or the zip that the homepage offers, read as it is."

FOLDERS = ("noise_train", "noise_test", "clean_train", "clean_test")
SCENES = {
    "Neighbor": "NeighborSpeaking",
    "AirportAnnouncement": "AirportAnnouncements",
}  # test's spelling; a typo in one file name
SPEECH_LIKE = frozenset({"Babble", "NeighborSpeaking", "AirportAnnouncements"})
_EXPECTED = (
    "expected noise_train/AirConditioner_1.wav, noise_test/Babble_1.wav and the like, at any depth, unpacked or zipped"
)
_NUMBER = re.compile(r"[_ ]\d+$")

flags = no_flags


def places(root: Root) -> dict[str, Place]:
    """Where each recording lies."""
    files, _ = _listing(root)
    return {f"@{NAME}/{key}": found[0].place for key, found in files.items()}


def clips(root: Root) -> Claims:
    """Recordings, their claims read off their names."""
    files, ignored = _listing(root)
    kept = [_clip(key, files[key][0].place) for key in sorted(files)]
    drops = [drop for key in sorted(files) for drop in duplicates(f"{NAME}/{key}", files[key][0], files[key][1:])]
    return Claims(kept, drops, None, _notes(files) + ignored_note(ignored), ignored)


def _listing(root: Root) -> tuple[Mapping[str, list[Entry]], list[str]]:
    """Recordings by key, `noise_test/Neighbor_1`, the one to take first; names of all else. SourceError where none is of this corpus."""
    files: dict[str, list[Entry]] = defaultdict(list)
    ignored: list[str] = []
    for entry in root.entries():
        folder = _folder(entry.name)
        if folder and is_audio(entry.name):
            files[f"{folder}/{stem(entry.name)}"].append(entry)
        else:
            ignored.append(entry.name)
    if not files:
        raise SourceError(
            f"{NAME}: no recording among {len(ignored):,} files ({kinds_of(ignored)}), such as {sample(ignored)}; "
            f"{_EXPECTED}{above(root, FOLDERS)}"
        )
    return {key: largest_first(found) for key, found in files.items()}, ignored


def _folder(name: str) -> str | None:
    """The deepest of FOLDERS on the way to a file; mixtures made from them lie elsewhere and are no part of the corpus."""
    return next((part for part in reversed(name.lower().split("/")[:-1]) if part in FOLDERS), None)


def _clip(key: str, place: Place) -> Clip:
    folder, _, name = key.partition("/")
    kind, _, split = folder.partition("_")
    if kind == "clean":
        return Clip(key, f"@{NAME}/{key}", place, split, "speech", key)
    spelled = _NUMBER.sub("", name)
    scene = SCENES.get(spelled, spelled)
    labels = {"speech_like": "yes" if scene in SPEECH_LIKE else "no"}
    return Clip(key, f"@{NAME}/{key}", place, split, "noise", key, None, None, scene, labels)


def _notes(files: Mapping[str, list[Entry]]) -> list[str]:
    missing = [folder for folder in FOLDERS[:2] if not any(key.startswith(f"{folder}/") for key in files)]
    return [f"no recordings in {folder}" for folder in missing]
