"""An adapter of a corpus that the package does not know: wav files in any folders, and a table `clips.csv` above them.

    id,words,speaker,split
    a0001,살려주세요,s1,train

Copy this file, change it to what your corpus looks like, and type: prep ingest my-corpus DIR --corpus my_corpus.py
"""

from __future__ import annotations

import csv
from typing import NamedTuple

from pipeline.archives import Entry, Root
from pipeline.archives.names import base, is_audio, stem
from pipeline.core.row import Clip, Drop
from pipeline.corpora import Listing
from pipeline.corpora.adapter import by_key, duplicates, listing, no_recordings

NAME = "my-corpus"
TITLE = "My corpus, calls for help read aloud"
HOMEPAGE = "https://example.org/my-corpus"
LICENCE = "CC BY 4.0"
LICENCE_URL = "https://creativecommons.org/licenses/by/4.0/"
ATTRIBUTION = "My corpus (2025), CC BY 4.0."
SHARE_AUDIO = True  # each says whether the licence lets it be passed on
SHARE_TRANSCRIPTS = True
SHARE_LABELS = True
SHARE_NAMES = True  # False where the names of files may name a person
RESTRICTIONS = "May be passed on, also changed, with the attribution."
DOWNLOAD = "Download my-corpus.zip from the homepage; it is read as it is."


class File(NamedTuple):
    """A recording, and the id of the clip that it holds."""

    entry: Entry
    key: str


def clips(root: Root) -> Listing:
    """Every recording with what the table says of it; recordings and lines that lack the other are drops."""
    files = by_key(File(entry, stem(entry.name)) for entry in root.entries() if is_audio(entry.name))
    table = next((entry for entry in root.entries() if base(entry.name) == "clips.csv"), None)
    if table is None or not files:
        raise no_recordings(root, NAME, "expected wav files and a table clips.csv: id, words, speaker, split")
    lines = {line["id"]: line for line in csv.DictReader(root.read(table.place).decode("utf-8-sig").splitlines())}
    kept: list[Clip] = []
    drops: list[Drop] = []
    for key, of_key in files.items():
        drops += duplicates(f"{NAME}/{key}", [file.entry for file in of_key])
        if key not in lines:
            drops.append(Drop(f"{NAME}/{key}", "ingest", "no_label", f"{key}: no line of clips.csv has this id"))
            continue
        line, place = lines.pop(key), of_key[0].entry.place
        speaker, words = line["speaker"] or None, line["words"] or None
        kept.append(Clip(key, f"@{NAME}/{key}", place, line["split"], "speech" if words else "noise", speaker, words))
    drops += [Drop(f"{NAME}/{key}", "ingest", "no_audio", f"{key}: no recording has this id") for key in lines]
    return listing(kept, drops, [e.name for e in root.entries() if not is_audio(e.name) and e != table])
