"""The adapter for recordings of one's own: tables as people save them, names as people spell them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from unicodedata import normalize

import pytest
from corpus_samples import WAV, recordings, write
from pipeline.demo.containers import zipped

from pipeline.archives import Root
from pipeline.core.errors import SourceError
from pipeline.core.row import Clip
from pipeline.corpora import Listing, find

Files = Mapping[str, bytes]


@pytest.fixture
def claims(tmp_path: Path) -> Callable[[Files], Listing]:
    return lambda files: find("recordings").clips(Root("recordings", write(tmp_path, files)))


@pytest.fixture
def clip(claims: Callable[[Files], Listing]) -> Callable[[str], Clip]:
    """The clip that a table of one line makes of `a.wav`."""
    return lambda table: claims(recordings(table, "a.wav")).clips[0]


def reasons(found: Listing) -> dict[str, str]:
    return {drop.id: drop.reason for drop in found.drops}


def test_a_clip_holds_what_its_line_says(clip: Callable[[str], Clip]) -> None:
    found = clip(
        "file,transcript,label,speaker,split,place,microphone\na.wav,살려주세요,saveme,spk0,train,office,TS-905E\n"
    )
    assert (found.key, found.source) == ("a.wav", "@recordings/a.wav")
    assert (found.split, found.kind, found.group, found.text, found.scene) == (
        "train",
        "speech",
        "spk0",
        "살려주세요",
        "office",
    )
    assert found.labels == {"label": "saveme", "microphone": "TS-905E"}


@pytest.mark.parametrize("coded", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("name", ["metadata.csv", "목록.TSV", "list.txt", "sub/table.csv"])
def test_the_table_is_found_whatever_its_name_encoding_and_delimiter(
    name: str, delimiter: str, coded: str, claims: Callable[[Files], Listing]
) -> None:
    table = f"파일{delimiter}text\r\na.wav{delimiter}살려주세요\r\n".encode(coded)
    (clip,) = claims({name: table, "a.wav": WAV}).clips
    assert (clip.key, clip.text) == ("a.wav", "살려주세요")


@pytest.mark.parametrize(
    ("heading", "role"),
    [
        *((heading, "text") for heading in ("transcript", "Text", "SENTENCE", "note")),
        *((heading, "label") for heading in ("label", "class", "keyword")),
        *((heading, "group") for heading in ("speaker", "Speaker ID", "client-id")),
        *((heading, "scene") for heading in ("scene", "place", "environment", "noise")),
    ],
)
def test_columns_go_by_several_names(heading: str, role: str, clip: Callable[[str], Clip]) -> None:
    found = clip(f"file,{heading}\na.wav,value\n")
    assert (found.labels["label"] if role == "label" else getattr(found, role)) == "value"


@pytest.mark.parametrize("heading", ["file", "Path", "filename", "audio", "wav", "file_name", "File Name"])
def test_the_file_column_goes_by_several_names(heading: str, clip: Callable[[str], Clip]) -> None:
    assert clip(f"{heading},text\na.wav,x\n").key == "a.wav"


def test_of_two_columns_for_one_role_the_likelier_is_taken_and_the_other_is_a_label(
    clip: Callable[[str], Clip],
) -> None:
    found = clip("path,file,sentence,note\nelsewhere,a.wav,살려주세요,windy\n")
    assert (found.key, found.text) == ("a.wav", "살려주세요")
    assert found.labels == {"path": "elsewhere", "note": "windy"}


def test_a_table_may_have_a_hundred_thousand_columns(clip: Callable[[str], Clip]) -> None:
    count = 100_000
    names = ",".join(f"c{n}" for n in range(count))
    assert len(clip(f"file,{names}\na.wav,{','.join('1' * count)}\n").labels) == count


@pytest.mark.parametrize(
    ("heading", "cells", "kind"),
    [
        ("label", "noise", "noise"),
        ("label", "Noise", "noise"),
        ("label", "saveme", "speech"),
        ("label", "", "noise"),
        ("transcript", "살려주세요", "speech"),
        ("transcript", "", "noise"),
        ("transcript,label", "살려주세요,noise", "noise"),
        ("transcript,label", ",others", "speech"),
        ("kind,label", "noise,saveme", "noise"),
        ("kind,label", "Speech,noise", "speech"),
        ("place", "office", "noise"),
    ],
)
def test_a_recording_is_noise_unless_something_says_that_somebody_speaks(
    heading: str, cells: str, kind: str, clip: Callable[[str], Clip]
) -> None:
    assert clip(f"file,{heading}\na.wav,{cells}\n").kind == kind


@pytest.mark.parametrize(
    ("cell", "split"),
    [
        ("train", "train"),
        ("Training", "train"),
        ("dev", "dev"),
        ("val", "dev"),
        ("VALID", "dev"),
        ("validation", "dev"),
        ("test", "test"),
    ],
)
def test_splits_go_by_several_names(cell: str, split: str, clip: Callable[[str], Clip]) -> None:
    assert clip(f"file,set\na.wav,{cell}\n").split == split


def test_without_a_split_a_recording_is_test_and_that_is_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims(recordings("file\na.wav\n", "a.wav"))
    assert [clip.split for clip in found.clips] == ["test"]
    assert found.notes == ["1 lines of metadata.csv give no split and count as test"]


@pytest.mark.parametrize(("line", "reason"), [("a.wav,later,x", "unknown_split"), ("a.wav,train,music", "bad_line")])
def test_a_split_or_kind_that_is_none_is_a_drop(line: str, reason: str, claims: Callable[[Files], Listing]) -> None:
    found = claims(recordings(f"file,split,kind\n{line}\nb.wav,test,noise\n", "a.wav", "b.wav"))
    assert reasons(found) == {"recordings/a.wav": reason}


@pytest.mark.parametrize(
    "cell",
    [
        "wav/녹음 1.wav",
        normalize("NFD", "wav/녹음 1.wav"),
        "wav\\녹음 1.wav",
        "./wav/녹음 1.wav",
        "WAV/녹음 1.WAV",
        "wav/녹음 1",
        "wav/녹음 1.flac",
        "data/wav/녹음 1.wav",
        " wav/녹음 1.wav ",
    ],
)
@pytest.mark.parametrize("on_disk", ["NFC", "NFD"])
def test_a_file_is_found_however_its_cell_is_spelled(
    cell: str, on_disk: str, claims: Callable[[Files], Listing]
) -> None:
    form = "NFD" if on_disk == "NFD" else "NFC"
    (clip,) = claims(
        {"data/metadata.csv": f"file\n{cell}\n".encode(), normalize(form, "data/wav/녹음 1.wav"): WAV}
    ).clips
    assert clip.key == normalize("NFC", cell).strip().replace("\\", "/").removeprefix("./")


def test_a_path_from_another_machine_is_found_by_its_end(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        recordings("file\n/home/kim/set/wav/a.wav\nD:\\\\set\\\\wav\\\\b.wav\n", "wav/a.wav", "wav/b.wav", "b.wav")
    )
    assert [(clip.key, clip.place.container) for clip in found.clips] == [
        ("/home/kim/set/wav/a.wav", "wav/a.wav"),
        ("D:/set/wav/b.wav", "wav/b.wav"),
    ]


def test_the_exact_spelling_wins_over_the_looser(claims: Callable[[Files], Listing]) -> None:
    found = claims(recordings("file\na.wav\nA.wav\na.flac\n", "a.wav", "A.wav", "a.flac"))
    assert sorted(clip.place.container for clip in found.clips) == ["A.wav", "a.flac", "a.wav"]


@pytest.mark.parametrize("cell", ["a", "A.WAV"])
def test_a_cell_that_fits_two_files_is_a_drop_that_names_them(cell: str, claims: Callable[[Files], Listing]) -> None:
    others = ("a.wav", "a.flac") if cell == "a" else ("a.wav", "A.wav")
    found = claims(recordings(f"file\n{cell}\nb.wav\n", *others, "b.wav"))
    assert reasons(found) == {f"recordings/{cell}": "ambiguous_name"}
    assert all(name in found.drops[0].detail for name in others)


def test_missing_unlisted_and_repeated_recordings_are_drops(claims: Callable[[Files], Listing]) -> None:
    found = claims(recordings("file,text\na.wav,x\ngone.wav,x\na.wav,y\nA.WAV,z\n", "a.wav", "more.wav"))
    assert [clip.text for clip in found.clips] == ["x"]
    assert reasons(found) == {
        "recordings/gone.wav": "no_audio",
        "recordings/a.wav#2": "duplicate_id",
        "recordings/A.WAV": "duplicate_id",
        "recordings/more.wav": "no_label",
    }


def test_a_line_with_too_many_cells_is_a_drop_and_one_with_too_few_is_not(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        recordings("file,text,label\na.wav,살려주세요, 빨리,saveme\nb.wav,도와주세요\n\n,x,y\n", "a.wav", "b.wav")
    )
    assert [(clip.key, clip.text) for clip in found.clips] == [("b.wav", "도와주세요")]
    assert reasons(found) == {"recordings/a.wav": "bad_line", "recordings/line 5": "bad_line"}
    assert "metadata.csv, line 2: 4 cells where 3 were expected" in next(
        d.detail for d in found.drops if d.id.endswith("a.wav")
    )


def test_quoted_cells_hold_delimiters_and_line_breaks(clip: Callable[[str], Clip]) -> None:
    assert clip('file,text\na.wav,"살려주세요, 빨리\n제발"\n').text == "살려주세요, 빨리\n제발"


def test_a_heading_may_go_on_in_the_next_line(clip: Callable[[str], Clip]) -> None:
    found = clip('file,"said\nby",text\na.wav,me,살려주세요\n')
    assert (found.text, found.labels) == ("살려주세요", {"said\nby": "me"})


def test_a_spreadsheet_programs_first_line_on_the_delimiter_is_passed_over(clip: Callable[[str], Clip]) -> None:
    assert clip("sep=;\r\nfile;text\r\na.wav;살려주세요\r\n").text == "살려주세요"


def test_the_table_may_lie_in_an_archive_with_one_folder_in_it(claims: Callable[[Files], Listing]) -> None:
    inside = {"recordings/metadata.csv": b"file\nwav/a.wav\n", "recordings/wav/a.wav": WAV}
    (clip,) = claims({"recordings.zip": zipped(inside)}).clips
    assert clip.key == "wav/a.wav"


def test_a_speaker_in_two_splits_is_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims(recordings("file,speaker,split\na.wav,s1,train\nb.wav,s1,test\n", "a.wav", "b.wav"))
    assert found.notes == [
        "1 speakers are in more than one split (s1)",
        "prep filter keeps such a speaker in test before dev before train, and will drop 1 clips for it",
    ]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.wav": WAV}, r"no table among 1 files \(.wav 1\), such as a.wav; expected one .csv"),
        (
            {"a.wav": WAV, "t.csv": b"name,text\nb,x\n"},
            r"no column for the file in t.csv \(first line 'name,text'\); expected",
        ),
        ({"a.wav": WAV, "t.csv": b""}, r"no column for the file in t.csv"),
        (
            {"a.wav": WAV, "t.csv": b"file\na.wav\n", "u.tsv": b"file\na.wav\n"},
            "2 files could be the table: t.csv, u.tsv; --table NAME says which",
        ),
        ({"a.wav": WAV, "t.csv": b"file,x,x\na.wav,1,2\n"}, "two columns are called x"),
        ({"a.wav": WAV, "t.csv": b'file,text\na.wav,"x\n'}, "t.csv, line 2: .*look for a quotation mark"),
        ({"a.wav": WAV, "t.csv": b"file,text,text\na.wav,x,y\n"}, "two columns are called transcript; rename one"),
        (
            {"a.wav": WAV, "t.csv": b"file,text\na.wav," + b"x" * 200_000},
            "t.csv, line 2: a cell of more than 131,072 letters, .*; shorten it, or leave the column out",
        ),
        (
            {"a.wav": WAV, "t.csv": b'file,text\na.wav,"' + b"x" * 200_000},
            "t.csv, line 2: a cell of more than 131,072 letters, .*; look for a quotation mark that is not closed",
        ),
        (
            {"a.wav": WAV, "t.csv": b"file," + b"x" * 200_000 + b"\na.wav,x\n"},
            "t.csv: its first line has 200,005 letters; expected the names of its columns; .*--table NAME says which",
        ),
        (
            {"a.wav": WAV, "t.csv": b"file\nb.wav\n"},
            "none of 1 files that t.csv names lies under the root: it names b.wav; found a.wav",
        ),
        ({"a.wav": WAV, "t.csv": b"file\n"}, "it names nothing; found a.wav"),
        ({"t.csv": b"file\na.wav\n"}, "found no recordings"),
        ({"a.wav": WAV, "t.csv": b"file\n\x80\xff"}, "t.csv is neither UTF-8 nor cp949 text; save it as UTF-8"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_clear_error(
    files: dict[str, bytes], said: str, claims: Callable[[Files], Listing]
) -> None:
    with pytest.raises(SourceError, match=f"^recordings: .*{said}"):
        claims(files)
