"""MS-SNSD, the Microsoft scalable noisy speech dataset: noise recordings, and clean speech without transcripts.

Its two halves name the same noise differently (Neighbor, NeighborSpeaking), and some noise is people speaking:
the label `speech_like` says so, so that false alarms on it can be counted apart.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archives.names import is_audio, stem
from pipeline.core.row import Clip
from pipeline.corpora import Listing
from pipeline.corpora.adapter import by_key, duplicates, listing, no_recordings

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

NAME = "ms-snsd"
TITLE = "MS-SNSD, Microsoft scalable noisy speech dataset"
HOMEPAGE = "https://github.com/microsoft/MS-SNSD"
LICENCE = (
    "noise: CC0 1.0 (Freesound), CC BY-SA 3.0 (DEMAND); "
    "clean speech: ODbL 1.0 (PTDB-TUG), terms of Edinburgh's 56 speakers"
)
LICENCE_URL = "https://github.com/microsoft/MS-SNSD#dataset-licenses"
ATTRIBUTION = (
    "A scalable noisy speech dataset and online subjective test framework (Reddy et al., Interspeech 2019); "
    "noise: Freesound, DEMAND; clean speech: PTDB-TUG, Edinburgh 56 speaker dataset."
)
SHARE_AUDIO = True
SHARE_TRANSCRIPTS = True
SHARE_LABELS = True
SHARE_NAMES = True
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


class _File(NamedTuple):
    entry: Entry
    key: str  # `noise_test/Neighbor_1`


def clips(root: Root) -> Listing:
    """Recordings, and what their names say of them. Mixtures of them lie in other folders and are passed over."""
    read: list[_File] = []
    ignored: list[str] = []
    for entry in root.entries():
        folder = next((part for part in reversed(entry.name.lower().split("/")[:-1]) if part in FOLDERS), None)
        if folder and is_audio(entry.name):
            read.append(_File(entry, f"{folder}/{stem(entry.name)}"))
        else:
            ignored.append(entry.name)
    if not read:
        raise no_recordings(root, NAME, _EXPECTED, FOLDERS)
    files = by_key(read)
    drops = [
        drop for key, of_key in files.items() for drop in duplicates(f"{NAME}/{key}", [file.entry for file in of_key])
    ]
    missing = [folder for folder in FOLDERS[:2] if not any(key.startswith(f"{folder}/") for key in files)]
    notes = [f"no recordings in {folder}" for folder in missing]
    clips = []
    for key, of_key in files.items():
        folder, _, name = key.partition("/")
        kind, _, split = folder.partition("_")
        source, place = f"@{NAME}/{key}", of_key[0].entry.place
        if kind == "clean":
            clips.append(Clip(key, source, place, split, "speech", key))
            continue
        spelled = _NUMBER.sub("", name)
        scene = SCENES.get(spelled, spelled)
        labels = {"speech_like": "yes" if scene in SPEECH_LIKE else "no"}
        clips.append(Clip(key, source, place, split, "noise", key, scene=scene, labels=labels))
    return listing(clips, drops, ignored, notes)
