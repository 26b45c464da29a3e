"""CochlScene: thirteen everyday scenes, ten seconds each, recorded by 831 people.

`CochlScene/Train/Park/Park_user0807_14976869_001.wav`: scene, user, submission, segment. Segments of one submission are
nearly the same recording, so the group is the user.
"""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archives.names import base, is_audio, stem
from pipeline.core.errors import sample
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Listing
from pipeline.corpora.adapter import by_key, duplicates, listing, no_recordings, notes_on

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

NAME = "cochlscene"
TITLE = "CochlScene, acoustic scenes"
HOMEPAGE = "https://zenodo.org/records/7080122"
LICENCE = "CC BY-SA 3.0"
LICENCE_URL = "https://creativecommons.org/licenses/by-sa/3.0/"
ATTRIBUTION = (
    "CochlScene: Acquisition of acoustic scene data using crowdsourcing (Il-Young Jeong and Jeongsoo Park, 2022), "
    "CC BY-SA 3.0."
)
SHARE_AUDIO = True
SHARE_TRANSCRIPTS = True
SHARE_LABELS = True
SHARE_NAMES = True
RESTRICTIONS = "May be passed on, also changed, with the attribution and under the same licence."
DOWNLOAD = (
    "CochlScene.z01 ... CochlScene.zip from the homepage (54 GB), read as they are: no need to join or unpack them."
)

SCENES = (
    *("Bus", "Cafe", "Car", "CrowdedIndoor", "Elevator", "Kitchen", "Park"),
    *("ResidentialArea", "Restaurant", "Restroom", "Street", "Subway", "SubwayStation"),
)
FOLDERS = {"train": "Train", "val": "Val", "valid": "Val", "validation": "Val", "test": "Test"}
SPLITS = {"Train": "train", "Val": "dev", "Test": "test"}
_EXPECTED = (
    "expected CochlScene/Train/Park/Park_user0807_14976869_001.wav and the like under Train, Val and Test, "
    "unpacked or as CochlScene.z01 ... CochlScene.zip"
)
_FILE_NAME = re.compile(r"(?P<scene>[^_]+)_(?P<user>user\d+)_(?P<submission>\d+)_(?P<segment>\d+)", re.IGNORECASE)
_SCENES = {scene.lower(): scene for scene in SCENES}


class _File(NamedTuple):
    """A recording; `folder` is the scene its folder names, None where that is no scene."""

    entry: Entry
    key: str
    split: str
    scene: str
    folder: str | None
    user: str

    @property
    def is_misplaced(self) -> bool:
        """Whether its folder names another scene than its own name."""
        return self.folder is not None and self.folder != self.scene


def clips(root: Root) -> Listing:
    """Recordings, and what their names say of them."""
    read: list[_File] = []
    drops: list[Drop] = []
    ignored: list[str] = []
    for entry in root.entries():
        file = _read_name(entry) if is_audio(entry.name) else None
        if file is None:
            ignored.append(entry.name)
        elif isinstance(file, Drop):
            drops.append(file)
        else:
            read.append(file)
    if not read:
        raise no_recordings(root, NAME, _EXPECTED, FOLDERS)
    files = by_key(read)
    for key, of_key in files.items():
        drops += duplicates(f"{NAME}/{key}", [file.entry for file in of_key])
    taken = [of_key[0] for of_key in files.values()]
    users: dict[str, set[str]] = defaultdict(set)
    for file in taken:
        users[file.user].add(file.split)
    misplaced = [file.key for file in taken if file.is_misplaced]
    unknown = [file.key for file in taken if file.scene not in SCENES]
    in_splits = [key for key, of_key in files.items() if len({file.split for file in of_key}) > 1]
    notes = notes_on(
        (
            (
                misplaced,
                "clips lie in another scene's folder: the file name was believed, see the label scene_conflict",
            ),
            (unknown, "clips are of a scene that is none of the thirteen"),
            (in_splits, "clips lie in more than one split: the largest copy was taken"),
            ([user for user, splits in users.items() if len(splits) > 1], "users have clips in more than one split"),
        )
    )
    clips = []
    for (
        file
    ) in taken:  # of the scene in its own name, since files move between folders more easily than they change names
        source = f"@{NAME}/{file.split}/{file.scene}/{file.key}"
        labels = {"scene_conflict": f"folder: {file.folder}"} if file.is_misplaced else {}
        split, place = SPLITS[file.split], file.entry.place
        clips.append(Clip(file.key, source, place, split, "noise", file.user, scene=file.scene, labels=labels))
    return listing(clips, drops, ignored, notes)


def _read_name(entry: Entry) -> _File | Drop:
    """What the path of a recording says, or the Drop that it ends in."""
    key = stem(entry.name)
    name = _FILE_NAME.fullmatch(key)
    if not name:
        detail = f"{base(entry.name)}: expected a name like Park_user0807_14976869_001"
        return Drop(f"{NAME}/{entry.name}", "ingest", "bad_name", detail)
    folders = entry.name.lower().split("/")[:-1]
    splits = {FOLDERS[folder] for folder in folders if folder in FOLDERS}
    if len(splits) != 1:
        what = f"expected it in one of the folders Train, Val, Test, found {sample(splits) or 'none of them'}"
        return Drop(f"{NAME}/{entry.name}", "ingest", "unknown_split", f"{base(entry.name)}: {what}")
    scene = _SCENES.get(name["scene"].lower(), name["scene"])
    folder = next((_SCENES[folder] for folder in reversed(folders) if folder in _SCENES), None)
    return _File(entry, key, splits.pop(), scene, folder, name["user"].lower())
