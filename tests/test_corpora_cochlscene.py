"""The CochlScene adapter: nesting, names, splits, groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from corpus_samples import WAV, cochlscene, write

from pipeline.archives import Root
from pipeline.core.errors import SourceError
from pipeline.corpora import Listing, find

Files = Mapping[str, bytes]


@pytest.fixture
def claims(tmp_path: Path) -> Callable[[Files], Listing]:
    return lambda files: find("cochlscene").clips(Root("cochlscene", write(tmp_path, files)))


def reasons(found: Listing) -> dict[str, str]:
    return {drop.id: drop.reason for drop in found.drops}


def test_a_clip_holds_what_its_name_says(claims: Callable[[Files], Listing]) -> None:
    (clip,) = claims({"CochlScene/Train/Park/Park_user0807_14976869_001.wav": WAV}).clips
    assert clip.key == "Park_user0807_14976869_001"
    assert clip.source == "@cochlscene/Train/Park/Park_user0807_14976869_001"
    assert (clip.split, clip.kind, clip.group, clip.scene) == ("train", "noise", "user0807", "Park")
    assert (clip.text, clip.scenario, dict(clip.labels)) == (None, None, {})


@pytest.mark.parametrize(
    ("folder", "split"),
    [("Train", "train"), ("TRAIN", "train"), ("Val", "dev"), ("Valid", "dev"), ("validation", "dev"), ("Test", "test")],
)
@pytest.mark.parametrize("above", ["", "CochlScene/", "CochlScene/CochlScene/", "download/scenes v1/CochlScene/"])
def test_the_split_is_the_folders_at_any_depth(
    above: str, folder: str, split: str, claims: Callable[[Files], Listing]
) -> None:
    (clip,) = claims({f"{above}{folder}/Bus/Bus_user0001_14700001_000.wav": WAV}).clips
    assert clip.split == split


def test_segments_of_a_user_share_a_group(claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene() | cochlscene(segment=1) | cochlscene(user=2))
    assert [clip.group for clip in found.clips] == ["user0001", "user0001", "user0002"]


@pytest.mark.parametrize("name", ["Bus_0001.wav", "Bus_user0001_000.wav", "noise.wav", "Bus_userX_14700001_000.wav"])
def test_a_name_that_does_not_parse_is_a_drop(name: str, claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene() | {f"CochlScene/Train/Bus/{name}": WAV})
    assert reasons(found) == {f"cochlscene/CochlScene/Train/Bus/{name}": "bad_name"}


@pytest.mark.parametrize("folder", ["Bus", "Extra/Bus", "Train/Test/Bus"])
def test_a_folder_that_names_no_split_or_two_is_a_drop(folder: str, claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene() | {f"{folder}/Bus_user0009_14700009_000.wav": WAV})
    assert reasons(found) == {f"cochlscene/{folder}/Bus_user0009_14700009_000.wav": "unknown_split"}


def test_a_clip_in_another_scenes_folder_is_its_names_scene_and_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims({"CochlScene/Train/Cafe/Bus_user0001_14700001_000.wav": WAV})
    (clip,) = found.clips
    assert (clip.scene, clip.source) == ("Bus", "@cochlscene/Train/Bus/Bus_user0001_14700001_000")
    assert clip.labels == {"scene_conflict": "folder: Cafe"}
    assert any("1 clips lie in another scene's folder" in note for note in found.notes)


def test_an_unknown_scene_is_kept_and_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene(scene="Library"))
    assert [clip.scene for clip in found.clips] == ["Library"]
    assert any("none of the thirteen" in note for note in found.notes)


def test_a_clip_copied_into_another_split_is_taken_once_and_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene() | {"CochlScene/Test/Bus/Bus_user0001_14700001_000.wav": WAV + b"longer"})
    assert [clip.split for clip in found.clips] == ["test"]
    assert reasons(found) == {"cochlscene/Bus_user0001_14700001_000#2": "duplicate_id"}
    assert any("more than one split" in note for note in found.notes)


def test_a_user_in_two_splits_is_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene() | cochlscene("Test", segment=1))
    assert any("1 users have clips in more than one split (user0001)" in note for note in found.notes)


def test_files_that_are_no_recordings_are_named(claims: Callable[[Files], Listing]) -> None:
    found = claims(cochlscene() | {"CochlScene/README.md": b"x"})
    assert found.ignored == ["CochlScene/README.md"]
    assert found.notes == [
        "1 files are neither recordings nor labels and were passed over (.md 1): CochlScene/README.md"
    ]


def test_a_root_of_other_recordings_is_told_what_was_expected(claims: Callable[[Files], Listing]) -> None:
    with pytest.raises(
        SourceError,
        match=r"no recording of this corpus among 1 files \(.wav 1\), such as a/b.wav; expected CochlScene/Train",
    ):
        claims({"a/b.wav": WAV})
