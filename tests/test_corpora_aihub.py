"""The AI-Hub adapter: layouts, pairing, spellings, defects."""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unicodedata import normalize

import pytest
from corpus_samples import WAV, aihub, dumped, label, write
from pipeline.demo.containers import zipped

from pipeline.archives import Root
from pipeline.cli.stages import inventory_text
from pipeline.core.errors import SourceError
from pipeline.core.row import Clip
from pipeline.corpora import Listing, find
from pipeline.corpora._aihub_labels import DISTINCT_KEPT, Tally

Files = Mapping[str, bytes]
AUDIO, LABEL = (
    "Training/[원천]4.폭력범죄_1/4.폭력범죄_393886_label.wav",
    "Training/[라벨]4.폭력범죄/4.폭력범죄_393886.json",
)


@pytest.fixture
def claims(tmp_path: Path) -> Callable[[Files], Listing]:
    return lambda files: find("aihub").clips(Root("aihub", write(tmp_path, files)))


@pytest.fixture
def clip(claims: Callable[[Files], Listing]) -> Callable[[bytes], Clip]:
    """The one clip of a corpus of one, given the bytes of its label."""
    return lambda raw: claims({AUDIO: WAV, LABEL: raw}).clips[0]


def reasons(found: Listing) -> dict[str, str]:
    return {drop.id: drop.reason for drop in found.drops}


def claimed(clip: Clip) -> tuple[str | None, Mapping[str, str]]:
    return clip.text, clip.labels


def test_a_clip_holds_what_names_and_label_say(claims: Callable[[Files], Listing]) -> None:
    (clip,) = claims(aihub("Validation", "14", "도움요청", "757631")).clips
    assert clip.key == "Validation/757631"
    assert clip.source == "@aihub/Validation/도움요청/757631"
    assert (clip.split, clip.kind, clip.group, clip.scene) == ("test", "speech", None, None)
    assert (clip.text, clip.scenario) == ("살려주세요", "도움요청")
    assert clip.labels == {
        "declared_duration_s": "2.75",
        "declared_rate": "44.1kHz",
        "declared_bit_rate": "705k",
        "recording_type": "스튜디오",
        "category_01": "치안안전",
        "category_02": "도움요청",
        "category_03": "도움요청_상황",
        "subcategory": "실내",
        "area_start_s": "1.5",
        "area_end_s": "4.25",
        "audio_type": "voice",
        "gender": "여성",
        "generation": "노인",
        "dialect": "표준어",
    }


@pytest.mark.parametrize(
    ("folder", "split"),
    [
        ("위급상황 음성_음향/Training/[원천]4.폭력범죄_1", "train"),
        ("1.Training/원천데이터/TS_4.폭력범죄_1", "train"),
        ("01.원천데이터/TS_4.폭력범죄", "train"),
        ("01.원천데이터/TS1/x", "train"),
        ("02.라벨링데이터/TL_4.폭력범죄", "train"),
        ("training", "train"),
        ("1.Training 원천데이터 화재/[원천]5.화재_1", "train"),
        ("2.Validation/02.라벨링데이터", "test"),
        ("VS_4.폭력범죄", "test"),
        ("01.vl_x", "test"),
        ("[VS]4.폭력범죄 (15)", "test"),
    ],
)
def test_the_split_is_read_from_any_part_of_the_path(
    folder: str, split: str, claims: Callable[[Files], Listing]
) -> None:
    (clip,) = claims(
        {f"{folder}/4.폭력범죄_393886_label.wav": WAV, f"{folder}/4.폭력범죄_393886.json": dumped(label())}
    ).clips
    assert clip.split == split


@pytest.mark.parametrize("folder", ["somewhere", "Training/Validation", "Test", "TSX_1", "constraints"])
def test_a_path_that_names_no_split_or_two_is_a_drop_never_a_guess(
    folder: str, claims: Callable[[Files], Listing]
) -> None:
    found = claims(aihub() | {f"{folder}/4.폭력범죄_500000_label.wav": WAV})
    assert reasons(found) == {f"aihub/{folder}/4.폭력범죄_500000_label.wav": "unknown_split"}


def test_the_split_is_read_from_a_files_own_name_where_no_folder_tells(claims: Callable[[Files], Listing]) -> None:
    (clip,) = claims({"VS_4.폭력범죄_393886_label.wav": WAV, "all/VL_4.폭력범죄_393886.json": dumped(label())}).clips
    assert (clip.key, clip.scenario) == ("Validation/393886", "폭력범죄")


def test_labels_and_recordings_are_told_apart_by_suffix_not_by_folder(claims: Callable[[Files], Listing]) -> None:
    (clip,) = claims(
        {"Training/x/4.폭력범죄_1234567.WAV": WAV, "Training/x/4.폭력범죄_1234567.JSON": dumped(label())}
    ).clips
    assert clip.key == "Training/1234567"


@pytest.mark.parametrize(
    ("number", "name", "scenario"),
    [
        ("16", "도움요청", "도움요청"),
        ("17", "실내", "실내"),
        ("1", "성폭행(성범죄)", "강제추행(성범죄)"),
        ("1", "성추행(성범죄)", "강제추행(성범죄)"),
        ("1", "강제추행 (성범죄)", "강제추행(성범죄)"),
        ("12", "태풍-강풍", "태풍-강풍"),
        ("12", "태풍_강풍", "태풍-강풍"),
        ("14", normalize("NFD", "도움요청"), "도움요청"),
    ],
)
def test_the_class_is_the_korean_name_whatever_its_number_or_spelling(
    number: str, name: str, scenario: str, claims: Callable[[Files], Listing]
) -> None:
    (clip,) = claims(aihub(number=number, name=name)).clips
    assert clip.scenario == scenario
    assert "class_conflict" not in clip.labels


def test_same_id_in_both_splits_is_two_clips_and_a_note(claims: Callable[[Files], Listing]) -> None:
    found = claims(aihub() | aihub("Validation"))
    assert [clip.key for clip in found.clips] == ["Training/393886", "Validation/393886"]
    assert any("1 ids occur in Training and in Validation" in note for note in found.notes)


def test_a_label_never_pairs_with_a_recording_of_the_other_split(claims: Callable[[Files], Listing]) -> None:
    other = aihub("Validation", digits="500000")
    found = claims(aihub() | {next(iter(other)): WAV, next(iter(aihub(digits="600000"))): WAV})
    assert reasons(found) == {"aihub/Validation/500000": "no_label", "aihub/Training/600000": "no_label"}


def test_orphans_on_either_side_are_drops(claims: Callable[[Files], Listing]) -> None:
    audio, _ = aihub(digits="500000")
    _, label_name = aihub(digits="600000")
    found = claims(aihub() | {audio: WAV, label_name: dumped(label())})
    assert reasons(found) == {"aihub/Training/500000": "no_label", "aihub/Training/600000": "no_audio"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "is not JSON"),
        (b'{"audio": {"fileName": "4.', "is not JSON"),
        (b"<html>502 Bad Gateway</html>", "it begins with '<html>502"),
        (b"[1, 2]", "not an object"),
        (b'{"error": "no such file"}', 'neither "audio" nor "annotations"'),
        (b'{"audio": {}, "annotations": ["x"]}', "a str among"),
        (b"\x80\x81\xff\xff", "neither UTF-8 nor cp949"),
        (b'{"audio": {}, "annotations": [{"note": "\\ud800"}]}', "half a character"),
        (b'{"audio": ' + b'{"a": ' * 1000 + b"1" + b"}" * 1001, "too many for a label"),
    ],
)
def test_a_label_that_is_none_is_a_drop_that_says_why(
    raw: bytes, said: str, claims: Callable[[Files], Listing]
) -> None:
    found = claims({AUDIO: WAV, LABEL: raw} | aihub(digits="500000"))
    assert reasons(found) == {"aihub/Training/393886": "bad_label"}
    assert said in found.drops[0].detail
    assert found.drops[0].detail.startswith("4.폭력범죄_393886.json ")


def test_a_label_whose_bytes_are_damaged_in_its_zip_is_a_drop(claims: Callable[[Files], Listing]) -> None:
    labels = zipped({"4.폭력범죄_393886.json": dumped(label()), "4.폭력범죄_500000.json": dumped(label())})
    at = labels.index("4.폭력범죄_393886.json".encode()) + 40
    broken = labels[:at] + bytes(8) + labels[at + 8 :]
    found = claims(
        {AUDIO: WAV, AUDIO.replace("393886", "500000"): WAV, "Training/[라벨]4.폭력범죄.zip": broken},
    )
    assert reasons(found) == {"aihub/Training/393886": "bad_label"}


@pytest.mark.parametrize("coded", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
def test_a_label_is_read_in_whatever_encoding(coded: str, clip: Callable[[bytes], Clip]) -> None:
    found = clip(json.dumps(label("빨리 도와 주세요"), ensure_ascii=False).encode(coded))
    assert found.text == "빨리 도와 주세요"
    assert found.labels["gender"] == "여성"


@pytest.mark.parametrize("as_escapes", [True, False])
def test_nfd_strings_become_nfc_even_where_escaped(as_escapes: bool, clip: Callable[[bytes], Clip]) -> None:
    raw = json.dumps(
        label(normalize("NFD", "살려주세요"), normalize("NFD", "폭력범죄")), ensure_ascii=as_escapes
    ).encode()
    found = clip(raw)
    assert found.text == "살려주세요"
    assert "class_conflict" not in found.labels


@pytest.mark.parametrize("note", [None, "", " ", "\t\n"])
def test_a_blank_note_is_no_transcript(note: str | None, clip: Callable[[bytes], Clip]) -> None:
    assert clip(dumped(label(note))).text is None


def test_a_missing_note_is_no_transcript(clip: Callable[[bytes], Clip]) -> None:
    data = label()
    del data["annotations"][0]["note"]
    assert clip(dumped(data)).text is None


def test_a_transcript_keeps_its_spaces_as_written(clip: Callable[[bytes], Clip]) -> None:
    assert clip(dumped(label("살려 주세요 "))).text == "살려 주세요 "


def test_a_line_break_or_nan_that_strict_json_forbids_loses_nothing(clip: Callable[[bytes], Clip]) -> None:
    raw = dumped(label("살려주세요\n빨리")).replace(b"\\n", b"\n").replace(b"2.75", b"NaN")
    found = clip(raw)
    assert found.text == "살려주세요\n빨리"
    assert found.labels["declared_duration_s"] == "nan"


def test_numbers_as_text_and_text_as_numbers_are_labels_alike(clip: Callable[[bytes], Clip]) -> None:
    labels = clip(dumped(label(area={"start": "1.50", "end": 4}, generation=60, dialect=True))).labels
    assert (labels["area_start_s"], labels["area_end_s"], labels["generation"], labels["dialect"]) == (
        "1.50",
        "4",
        "60",
        "true",
    )


@pytest.mark.parametrize("key", ["recodingType", "recordingType"])
def test_the_recording_type_is_found_under_both_spellings(key: str, clip: Callable[[bytes], Clip]) -> None:
    data = label()
    del data["audio"]["recodingType"]
    data["audio"][key] = "야외"
    assert clip(dumped(data)).labels["recording_type"] == "야외"


def test_a_key_nobody_has_seen_before_becomes_a_label_under_its_own_name(clip: Callable[[bytes], Clip]) -> None:
    data = label(speakerId="S17", weather={"wind": 3})
    data["version"] = "1.1"
    labels = clip(dumped(data)).labels
    assert (labels["speakerId"], labels["weather.wind"], labels["version"]) == ("S17", "3", "1.1")


def test_an_annotation_outside_a_list_counts_as_one(clip: Callable[[bytes], Clip]) -> None:
    data = label()
    data["annotations"] = data["annotations"][0]
    assert claimed(clip(dumped(data))) == claimed(clip(dumped(label())))


def test_all_annotations_are_kept_and_the_first_with_words_is_the_transcript(
    claims: Callable[[Files], Listing],
) -> None:
    data: dict[str, Any] = label("")
    data["annotations"] += label("도와주세요", gender="남성")["annotations"] + label("살려줘")["annotations"]
    found = claims({AUDIO: WAV, LABEL: dumped(data)})
    (clip,) = found.clips
    assert clip.text == "도와주세요"
    assert (clip.labels["gender"], clip.labels["gender_2"], clip.labels["note_3"]) == ("여성", "남성", "살려줘")
    assert any("1 labels with more than one annotation" in note for note in found.notes)


def test_a_label_without_annotations_is_kept_and_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims({AUDIO: WAV, LABEL: b'{"audio": {"duration": 1.0}, "annotations": []}'})
    assert (found.clips[0].text, found.clips[0].scenario) == (None, "폭력범죄")
    assert any("1 labels without any annotation" in note for note in found.notes)


def test_where_names_disagree_on_the_class_the_recordings_name_decides(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        {
            "Training/[원천]5.화재_1/4.폭력범죄_393886_label.wav": WAV,
            "Training/[라벨]6.갇힘/14.도움요청_393886.json": dumped(label(category="실내")),
        }
    )
    (clip,) = found.clips
    assert clip.scenario == "폭력범죄"
    assert clip.source == "@aihub/Training/폭력범죄/393886"
    assert clip.labels["class_conflict"] == "folder: 화재, label name: 도움요청, label folder: 갇힘, category_02: 실내"
    assert any("1 clips whose names disagree on the class" in note for note in found.notes)


def test_a_bare_number_takes_the_class_of_its_folder_then_of_its_label(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        {
            "Training/[원천]5.화재_1/100001.wav": WAV,
            "Training/labels/100001.json": dumped(label(category="화재")),
            "Training/audio/100002.wav": WAV,
            "Training/labels/100002.json": dumped(label(category="갇힘")),
        }
    )
    assert [(clip.scenario, clip.source) for clip in found.clips] == [
        ("화재", "@aihub/Training/화재/100001"),
        ("갇힘", "@aihub/Training/-/100002"),
    ]


def test_a_class_named_nowhere_is_a_drop(claims: Callable[[Files], Listing]) -> None:
    found = claims(
        aihub() | {"Training/a/100001.wav": WAV, "Training/a/100001.json": b'{"annotations": [{"note": "x"}]}'}
    )
    assert reasons(found) == {"aihub/Training/100001": "unknown_class"}


def test_a_seventeenth_class_is_kept_under_its_name_and_noted(claims: Callable[[Files], Listing]) -> None:
    found = claims(aihub() | aihub(number="17", name="침수", digits="500000"))
    assert [clip.scenario for clip in found.clips] == ["폭력범죄", "침수"]
    assert any('none of the sixteen, "침수"' in note for note in found.notes)


def test_another_corpus_of_the_same_format_is_refused(claims: Callable[[Files], Listing]) -> None:
    with pytest.raises(SourceError, match="looks like another AI-Hub corpus: its classes are 침수"):
        claims(aihub(name="침수"))


def test_of_two_recordings_with_one_id_the_larger_is_kept_and_the_drop_names_both(
    claims: Callable[[Files], Listing],
) -> None:
    again = "Training/[원천]4.폭력범죄_1 (15)/4.폭력범죄_393886_label.wav"
    found = claims(aihub() | {again: WAV + b"more"})
    (clip,) = found.clips
    (drop,) = found.drops
    assert clip.place.size == len(WAV) + 4
    assert (drop.id, drop.reason) == ("aihub/Training/393886#2", "duplicate_id")
    assert again in drop.detail
    assert AUDIO in drop.detail


def test_of_two_equally_large_the_first_name_is_kept_zipped_or_not(
    claims: Callable[[Files], Listing], tmp_path: Path
) -> None:
    twice = {AUDIO: b"a" * 50, AUDIO.replace("_1/", "_2/"): b"b" * 50}
    found = claims(twice | {LABEL: dumped(label())})
    root = Root("aihub", write(tmp_path / "zipped", {"x.zip": zipped(twice | {LABEL: dumped(label())})}))
    again = find("aihub").clips(root)
    assert Root("aihub", tmp_path).read(found.clips[0].place) == root.read(again.clips[0].place) == b"a" * 50


def test_the_cut_recording_is_taken_before_a_longer_uncut_one(claims: Callable[[Files], Listing]) -> None:
    found = claims(aihub() | {AUDIO.replace("_label.wav", ".wav"): WAV * 9})
    assert found.clips[0].place.size == len(WAV)
    assert reasons(found) == {"aihub/Training/393886#2": "duplicate_id"}


def test_where_one_id_names_two_classes_the_label_of_the_recordings_class_is_joined(
    claims: Callable[[Files], Listing],
) -> None:
    fire = aihub(number="5", name="화재", note="불이야")
    found = claims(
        aihub(note="살려주세요 " * 9) | {name: data + b"  " * name.endswith("wav") for name, data in fire.items()}
    )
    (clip,) = found.clips
    assert (clip.scenario, clip.text) == ("화재", "불이야")
    assert reasons(found) == {"aihub/Training/393886#2": "duplicate_id", "aihub/Training/393886#3": "duplicate_id"}


def test_a_browsers_copy_mark_is_not_an_id(claims: Callable[[Files], Listing]) -> None:
    (clip,) = claims(
        {"Training/4.폭력범죄_393886_label (1).wav": WAV, "Training/4.폭력범죄_393886 (2).json": dumped(label())}
    ).clips
    assert clip.key == "Training/393886"


@pytest.mark.parametrize("name", ["10.낙상.wav", "낙상_label.wav"])
def test_a_name_without_an_id_is_a_drop(name: str, claims: Callable[[Files], Listing]) -> None:
    assert reasons(claims(aihub() | {f"Training/{name}": WAV})) == {f"aihub/Training/{name}": "bad_name"}


def test_recordings_without_any_label_are_one_clear_error(claims: Callable[[Files], Listing]) -> None:
    with pytest.raises(SourceError, match=r"found recordings but no label \(\.json\)"):
        claims({AUDIO: WAV})


def test_the_training_folder_given_as_root_is_told_what_to_give(claims: Callable[[Files], Listing]) -> None:
    with pytest.raises(SourceError, match="give the folder that holds both"):
        claims({AUDIO.removeprefix("Training/"): WAV, LABEL.removeprefix("Training/"): dumped(label())})


@pytest.mark.parametrize(
    ("labels", "frames", "expected"),
    [
        ({"area_start_s": "1.0", "area_end_s": "3.0"}, 32_000, {"area_past_end": "yes"}),
        ({"area_start_s": "0.0", "area_end_s": "2.004"}, 32_000, {}),
        ({"area_start_s": "0.0", "area_end_s": "1.5"}, 32_000, {}),
        ({"area_start_s": "0.0", "area_end_s": "1.49"}, 32_000, {"longer_than_area": "yes"}),
        ({"area_start_s": "3.0 s", "area_end_s": "4.0 s"}, 32_000, {"area_past_end": "yes", "longer_than_area": "yes"}),
        ({"area_start_s": "?", "area_end_s": "1.0"}, 32_000, {}),
        ({}, 32_000, {}),
    ],
)
def test_flags_compare_the_marked_area_with_the_measured_length(
    labels: dict[str, str], frames: int, expected: dict[str, str]
) -> None:
    assert find("aihub").flags(labels, frames, 16_000) == expected


def test_the_inventory_counts_keys_types_values_categories_transcripts_and_containers(
    claims: Callable[[Files], Listing],
) -> None:
    found = claims(aihub() | aihub(digits="500000", note=None) | aihub(digits="600000", gender=1, note="도와줘"))
    inventory = found.inventory
    assert inventory is not None
    keys = {key["path"]: key for key in inventory["keys"]}
    assert keys["annotations[].gender"]["types"] == {"integer": 1, "string": 2}
    assert keys["annotations[].gender"]["commonest"] == [["여성", 2], ["1", 1]]
    assert keys["annotations[].note"]["types"] == {"null": 1, "string": 2}
    assert inventory["categories"] == [{"path": ["치안안전", "폭력범죄", "폭력범죄_상황"], "count": 3}]
    assert [(item["text"], item["count"]) for item in inventory["transcripts"]] == [
        ("", 1),
        ("도와줘", 1),
        ("살려주세요", 1),
    ]
    assert inventory["containers"] == [
        {"container": "Training/[라벨]4.폭력범죄/", "files": 3},
        {"container": "Training/[원천]4.폭력범죄_1/", "files": 3},
    ]
    assert json.loads(json.dumps(inventory))["labels"] == 3


def test_the_inventory_as_text_says_what_it_cuts(claims: Callable[[Files], Listing]) -> None:
    files = [aihub(digits=str(100_000 + n), note=f"말 {n}") for n in range(4)]
    inventory = claims({name: data for part in files for name, data in part.items()}).inventory
    assert inventory is not None
    text = inventory_text(inventory, most=3)
    assert "치안안전 > 폭력범죄 > 폭력범죄_상황" in text
    assert "... and 1 more" in text
    assert "'말 0' 1, '말 1' 1" in text


def test_values_beyond_the_bound_are_known_to_exist_but_not_counted() -> None:
    tally = Tally()
    node = tally.root.at("audio").at("fileName")
    for n in range(DISTINCT_KEPT + 5):
        node.add(str, str(n))
    (key,) = tally.inventory([])["keys"]
    assert (key["path"], key["count"]) == ("audio.fileName", DISTINCT_KEPT + 5)
    assert (key["distinct"], key["all_counted"]) == (DISTINCT_KEPT, False)


def test_a_byte_order_mark_is_no_part_of_the_label(clip: Callable[[bytes], Clip]) -> None:
    assert claimed(clip(codecs.BOM_UTF8 + dumped(label()))) == claimed(clip(dumped(label())))
