"""CochlScene: thirteen everyday scenes, ten seconds each, recorded by 831 people.

`CochlScene/Train/Park/Park_user0807_14976869_001.wav`: scene, user, submission, segment. Segments of one submission are all
but the same recording, so the group is the user.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archives.names import base, is_audio, stem
from pipeline.core.errors import SourceError, sample
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Claims, no_flags
from pipeline.corpora._listing import above, duplicates, ignored_note, kinds_of, largest_first

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root
    from pipeline.core.row import Place

NAME = "cochlscene"
TITLE = "CochlScene, acoustic scenes"
HOMEPAGE = "https://zenodo.org/records/7080122"
LICENCE = "CC BY-SA 3.0"
LICENCE_URL = "https://creativecommons.org/licenses/by-sa/3.0/"
ATTRIBUTION = "CochlScene: Acquisition of acoustic scene data using crowdsourcing (Il-Young Jeong and Jeongsoo Park, 2022), CC BY-SA 3.0."
SHARE_AUDIO = True
SHARE_TRANSCRIPTS = True
SHARE_LABELS = True
RESTRICTIONS = "May be passed on, also changed, with the attribution and under the same licence."
DOWNLOAD = (
    "CochlScene.z01 ... CochlScene.zip from the homepage (54 GB), read as they are: no need to join or unpack them."
)

SCENES = (
    "Bus",
    "Cafe",
    "Car",
    "CrowdedIndoor",
    "Elevator",
    "Kitchen",
    "Park",
    "ResidentialArea",
    "Restaurant",
    "Restroom",
    "Street",
    "Subway",
    "SubwayStation",
)
FOLDERS = {"train": "Train", "val": "Val", "valid": "Val", "validation": "Val", "test": "Test"}
SPLITS = {"Train": "train", "Val": "dev", "Test": "test"}
_EXPECTED = (
    "expected CochlScene/Train/Park/Park_user0807_14976869_001.wav and the like under Train, Val and Test, "
    "unpacked or as CochlScene.z01 ... CochlScene.zip"
)
_FILE_NAME = re.compile(r"(?P<scene>[^_]+)_(?P<user>user\d+)_(?P<submission>\d+)_(?P<segment>\d+)", re.IGNORECASE)
_SCENES = {scene.lower(): scene for scene in SCENES}

flags = no_flags


class _File(NamedTuple):
    """A recording; `folder` is the scene its folder names, None where that is no scene."""

    entry: Entry
    key: str
    split: str
    scene: str
    folder: str | None
    user: str


def places(root: Root) -> dict[str, Place]:
    """Where each recording lies."""
    files, _, _ = _listing(root)
    return {_source(found[0]): found[0].entry.place for found in files.values()}


def clips(root: Root) -> Claims:
    """Recordings, their claims read off their names."""
    files, drops, ignored = _listing(root)
    kept = [_clip(files[key][0]) for key in sorted(files)]
    for key, found in files.items():
        drops += duplicates(f"{NAME}/{key}", found[0].entry, [file.entry for file in found[1:]])
    notes = _notes(files) + ignored_note(ignored)
    return Claims(kept, sorted(drops, key=lambda drop: drop.id), None, notes, ignored)


def _listing(root: Root) -> tuple[dict[str, list[_File]], list[Drop], list[str]]:
    """Recordings by key, the one to take first; drops; names that are no recordings. SourceError where none is of this corpus."""
    files: dict[str, list[_File]] = defaultdict(list)
    drops: list[Drop] = []
    ignored: list[str] = []
    for entry in root.entries():
        found = _read_name(entry) if is_audio(entry.name) else None
        if found is None:
            ignored.append(entry.name)
        elif isinstance(found, Drop):
            drops.append(found)
        else:
            files[found.key].append(found)
    if not files:
        names = [entry.name for entry in root.entries()]
        raise SourceError(
            f"{NAME}: none of {len(names):,} files ({kinds_of(names)}) is named as its recordings are: {sample(names)}; "
            f"{_EXPECTED}{above(root, FOLDERS)}"
        )
    return {key: _ranked(found) for key, found in files.items()}, drops, ignored


def _read_name(entry: Entry) -> _File | Drop:
    """What the path of a recording tells, or the Drop it ends in."""
    key = stem(entry.name)
    found = _FILE_NAME.fullmatch(key)
    if not found:
        detail = f"{base(entry.name)}: expected a name like Park_user0807_14976869_001"
        return Drop(f"{NAME}/{entry.name}", "ingest", "bad_name", detail)
    folders = entry.name.lower().split("/")[:-1]
    splits = {FOLDERS[folder] for folder in folders if folder in FOLDERS}
    if len(splits) != 1:
        detail = f"{base(entry.name)}: expected it in one of the folders Train, Val, Test, found {sample(splits) or 'none of them'}"
        return Drop(f"{NAME}/{entry.name}", "ingest", "unknown_split", detail)
    scene = _SCENES.get(found["scene"].lower(), found["scene"])
    folder = next((_SCENES[folder] for folder in reversed(folders) if folder in _SCENES), None)
    return _File(entry, key, splits.pop(), scene, folder, found["user"].lower())


def _ranked(files: list[_File]) -> list[_File]:
    order = {id(entry): n for n, entry in enumerate(largest_first(file.entry for file in files))}
    return sorted(files, key=lambda file: order[id(file.entry)])


def _source(file: _File) -> str:
    return f"@{NAME}/{file.split}/{file.scene}/{file.key}"


def _clip(file: _File) -> Clip:
    """The clip; its scene is the one its own name gives, since files move between folders more easily than they change names."""
    labels = {"scene_conflict": f"folder: {file.folder}"} if _conflicts(file) else {}
    return Clip(
        file.key,
        _source(file),
        file.entry.place,
        SPLITS[file.split],
        "noise",
        file.user,
        None,
        None,
        file.scene,
        labels,
    )


def _conflicts(file: _File) -> bool:
    return file.folder is not None and file.folder != file.scene


def _notes(files: Mapping[str, list[_File]]) -> list[str]:
    """Clips in another scene's folder, scenes that are none of the thirteen, keys and users in several splits."""
    taken = [found[0] for found in files.values()]
    users: dict[str, set[str]] = defaultdict(set)
    for file in taken:
        users[file.user].add(file.split)
    said = [
        (
            [f.key for f in taken if _conflicts(f)],
            "clips lie in another scene's folder: the file name was believed, see the label scene_conflict",
        ),
        ([f.key for f in taken if f.scene not in SCENES], "clips are of a scene that is none of the thirteen"),
        (
            [key for key, found in files.items() if len({f.split for f in found}) > 1],
            "clips lie in more than one split: the largest copy was taken",
        ),
        ([user for user, splits in users.items() if len(splits) > 1], "users have clips in more than one split"),
    ]
    return [f"{len(keys):,} {words} ({sample(keys)})" for keys, words in said if keys]
