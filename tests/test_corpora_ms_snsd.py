"""The MS-SNSD adapter: folders at any depth, spellings, speech-like noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from corpus_samples import WAV, ms_snsd, write

from pipeline.archives import Root
from pipeline.core.errors import SourceError
from pipeline.corpora import Listing, find

Files = Mapping[str, bytes]
# corpora.md: how many files of each class the true noise_test holds
NOISE_TEST = {
    "AirConditioner": range(1, 11),
    "AirportAnnouncements": range(1, 5),
    "Babble": range(1, 9),
    "CopyMachine": range(1, 3),
    "Munching": range(1, 9),
    "Neighbor": [1, 2, 3, 4, 5, 6, 7, 9],
    "ShuttingDoor": range(1, 9),
    "Typing": range(1, 3),
    "VacuumCleaner": range(1, 2),
}


@pytest.fixture
def claims(tmp_path: Path) -> Callable[[Files], Listing]:
    return lambda files: find("ms-snsd").clips(Root("ms-snsd", write(tmp_path, files)))


def test_a_noise_clip_holds_what_its_name_says(claims: Callable[[Files], Listing]) -> None:
    (clip,) = [
        clip for clip in claims(ms_snsd("noise_test/Neighbor_1", "noise_train/Park_1")).clips if clip.split == "test"
    ]
    assert (clip.key, clip.source, clip.group) == (
        "noise_test/Neighbor_1",
        "@ms-snsd/noise_test/Neighbor_1",
        "noise_test/Neighbor_1",
    )
    assert (clip.split, clip.kind, clip.text, clip.scenario) == ("test", "noise", None, None)
    assert clip.scene == "NeighborSpeaking"
    assert clip.labels == {"speech_like": "yes"}


def test_clean_speech_is_speech_of_which_nothing_is_written(claims: Callable[[Files], Listing]) -> None:
    found = claims(ms_snsd("clean_train/clnsp1", "clean_test/clnsp1"))
    assert [(clip.key, clip.split, clip.kind, clip.text, clip.scene) for clip in found.clips] == [
        ("clean_test/clnsp1", "test", "speech", None, None),
        ("clean_train/clnsp1", "train", "speech", None, None),
    ]
    assert found.notes == ["no recordings in noise_train", "no recordings in noise_test"]


@pytest.mark.parametrize(
    ("stem", "scene", "speech_like"),
    [
        ("AirportAnnouncement_11", "AirportAnnouncements", "yes"),
        ("AirportAnnouncements_4", "AirportAnnouncements", "yes"),
        ("NeighborSpeaking_2", "NeighborSpeaking", "yes"),
        ("Babble_8", "Babble", "yes"),
        ("AirConditioner_10", "AirConditioner", "no"),
        ("Washer_DryerMachine_3", "Washer_DryerMachine", "no"),
    ],
)
def test_scenes_are_named_alike_in_both_halves(
    stem: str, scene: str, speech_like: str, claims: Callable[[Files], Listing]
) -> None:
    (clip,) = claims(ms_snsd(f"noise_train/{stem}")).clips
    assert (clip.scene, clip.labels["speech_like"]) == (scene, speech_like)


def test_twenty_of_the_fifty_one_test_noises_are_speech_like(claims: Callable[[Files], Listing]) -> None:
    keys = [f"noise_test/{scene}_{n}" for scene, numbers in NOISE_TEST.items() for n in numbers]
    clips = claims(ms_snsd(*keys)).clips
    assert len(clips) == 51
    assert sum(clip.labels["speech_like"] == "yes" for clip in clips) == 20


def test_what_lies_outside_the_four_folders_is_named_as_ignored(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        ms_snsd("noise_test/Babble_1", "noise_train/Babble_1", "NoisySpeech_training/noisy1")
        | {"noise_test/README.md": b"x"}
    )
    assert found.ignored == ["MS-SNSD-master/NoisySpeech_training/noisy1.wav", "noise_test/README.md"]
    assert found.drops == []


def test_a_second_copy_of_a_file_is_a_drop(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        ms_snsd("noise_test/Babble_1", "noise_train/Babble_1") | {"old/Noise_Test/Babble_1.wav": WAV + b"longer"}
    )
    assert [(drop.id, drop.reason) for drop in found.drops] == [("ms-snsd/noise_test/Babble_1#2", "duplicate_id")]
    assert next(clip for clip in found.clips if clip.split == "test").place.size == len(WAV) + 6


def test_a_root_of_other_recordings_is_told_what_was_expected(claims: Callable[[Files], Listing]) -> None:
    with pytest.raises(
        SourceError,
        match=r"no recording of this corpus among 1 files .*a/b.wav; expected noise_train/AirConditioner_1.wav",
    ):
        claims({"a/b.wav": WAV})


def test_one_of_its_folders_given_for_the_root_is_told_to_be_one(tmp_path: Path) -> None:
    above = tmp_path / "MS-SNSD-master"
    write(tmp_path, ms_snsd("noise_test/Babble_1"))
    with pytest.raises(
        SourceError, match=rf"noise_test is one of its folders: give the folder above it, --root ms-snsd={above}$"
    ):
        find("ms-snsd").clips(Root("ms-snsd", above / "noise_test"))
