"""Which files of the AI-Hub emergency corpus are recordings, which are labels, and which belong together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from pipeline.archives.names import AUDIO_SUFFIXES, base, parts, stem
from pipeline.core.errors import SourceError, sample
from pipeline.core.row import Drop
from pipeline.corpora._aihub_names import class_of, class_of_folder, file_name, splits_of
from pipeline.corpora._listing import duplicates, kinds_of, largest_first

if TYPE_CHECKING:
    from pipeline.archives import Entry, Root

NAME = "aihub"
SPLITS = {"Training": "train", "Validation": "test"}  # AI-Hub withholds its own test set
EXPECTED = (
    "expected Training and Validation (also 1.Training, TS_, VL_, ...) holding [원천]4.폭력범죄_1/4.폭력범죄_393886_label.wav "
    "and [라벨]4.폭력범죄/4.폭력범죄_393886.json, as folders, zips or tars; give the folder that holds both"
)


class File(NamedTuple):
    """A recording or a label whose split and id are known. named, folder: the class each names, None where none."""

    entry: Entry
    named: str | None
    folder: str | None

    @property
    def class_name(self) -> str | None:
        """The class, its own name's before its folder's."""
        return self.named or self.folder


@dataclass(frozen=True, slots=True)
class Listing:
    """Files by key, `Training/757631`, the one to take first."""

    audio: dict[str, list[File]]
    labels: dict[str, list[File]]
    drops: list[Drop]
    ignored: list[str]


def listed(root: Root) -> Listing:
    """Every file under the root, put where it belongs; SourceError where not one is a recording of this corpus."""
    found = Listing(defaultdict(list), defaultdict(list), [], [])
    for entry in root.entries():
        folder, name, suffix = parts(entry.name)
        if suffix in AUDIO_SUFFIXES:
            _put(entry, folder, name, found.audio, found.drops)
        elif suffix == ".json":
            _put(entry, folder, name, found.labels, found.drops)
        else:
            found.ignored.append(entry.name)
    if not found.audio:
        names = [entry.name for entry in root.entries()]
        raise SourceError(
            f"{NAME}: no recording whose name gives a split and an id among {len(names):,} files under the root "
            f"({kinds_of(names)}), such as {sample(names)}; {EXPECTED}"
        )
    audio = {key: _ranked(files, None) for key, files in found.audio.items()}
    labels = {key: _ranked(files, audio.get(key)) for key, files in found.labels.items()}
    return Listing(audio, labels, found.drops, found.ignored)


def _put(entry: Entry, folder: str, stem: str, files: dict[str, list[File]], drops: list[Drop]) -> None:
    """The entry under its key, or a Drop where its path gives no split or its name no id."""
    name = file_name(stem)
    splits = splits_of(folder) or splits_of(stem)
    if len(splits) != 1:
        found = "both Training and Validation" if splits else "neither Training nor Validation"
        drops.append(Drop(f"{NAME}/{entry.name}", "ingest", "unknown_split", f"{entry.name}: its path names {found}"))
    elif not name.id:
        drops.append(Drop(f"{NAME}/{entry.name}", "ingest", "bad_name", f"{entry.name}: no id at the end of its name"))
    else:
        files[f"{min(splits)}/{name.id}"].append(File(entry, class_of(name.words), class_of_folder(folder)))


def _ranked(files: list[File], partners: list[File] | None) -> list[File]:
    """The file to take, then the rest: of its partner's class, named `..._label` (that is the cut recording), most bytes."""
    if len(files) == 1:
        return files
    wanted = partners[0].class_name if partners else None
    order = {id(entry): n for n, entry in enumerate(largest_first(file.entry for file in files))}
    return sorted(
        files,
        key=lambda f: (wanted not in (None, f.class_name), "_label" not in stem(f.entry.name), order[id(f.entry)]),
    )


def source(key: str, audio: File) -> str:
    """`@aihub/Training/도움요청/757631`; the class is the file name's, else the folder's."""
    split, _, digits = key.partition("/")
    return f"@{NAME}/{split}/{audio.class_name or '-'}/{digits}"


def orphans(listing: Listing) -> list[Drop]:
    """A Drop for each recording without a label and each label without a recording, of the same split and id."""
    no_label = [
        drop(key, "no_label", f"{base(files[0].entry.name)}: no label (.json) in {key.partition('/')[0]} has its id")
        for key, files in listing.audio.items()
        if key not in listing.labels
    ]
    no_audio = [
        drop(key, "no_audio", f"{base(files[0].entry.name)}: no recording in {key.partition('/')[0]} has its id")
        for key, files in listing.labels.items()
        if key not in listing.audio
    ]
    return no_label + no_audio


def repeats(listing: Listing) -> list[Drop]:
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


def both_splits(listing: Listing) -> list[str]:
    """One sentence where ids occur in Training and in Validation."""
    ids = {split: {key.partition("/")[2] for key in listing.audio if key.startswith(split)} for split in SPLITS}
    both = ids["Training"] & ids["Validation"]
    return (
        [f"{len(both):,} ids occur in Training and in Validation, and are kept as different clips ({sample(both)})"]
        if both
        else []
    )


def drop(key: str, reason: str, detail: str) -> Drop:
    """The end of a key's way."""
    return Drop(f"{NAME}/{key}", "ingest", reason, detail)
