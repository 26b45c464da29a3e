"""Recordings from other tools' manifests: there and back again, and manifests as users of those tools have them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from command import done, drops, prep
from corpus_samples import WAV, write
from exported import odd_set, rows
from lhotse import CutSet, Recording, RecordingSet, SupervisionSegment, SupervisionSet
from sounds import encoded, voice
from test_corpora import CONTAINERS

from pipeline.archives import Root
from pipeline.archives.names import is_audio
from pipeline.core.row import Place
from pipeline.corpora import Listing, own, recordings

Files = Mapping[str, bytes]
NOWHERE = Place("", "", 0, 0, 0, -1)
SOUND = encoded(voice(1.0))


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_set(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def claims(tmp_path: Path) -> Callable[..., Listing]:
    """What the adapter claims of files, read as a form or as it finds them."""

    def of(files: Files, form: str | None = None) -> Listing:
        root = Root("recordings", write(tmp_path / "root", files))
        return recordings.clips(root, own.facts("recordings", {"form": form}))

    return of


def reasons(found: Listing) -> dict[str, str]:
    return {drop.id.removeprefix("recordings/"): drop.reason for drop in found.drops}


def lines(*told: dict[str, Any]) -> bytes:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in told).encode()


# ---- there and back again


@pytest.mark.parametrize("form", ["lhotse", "nemo", "kaldi"])
def test_a_set_comes_back_with_its_ids_transcripts_labels_splits_and_samples(
    form: str, odd: Path, tmp_path: Path
) -> None:
    done(odd, "export", "manifests/mixed.parquet", "--to", form, "--own-use", "--out", tmp_path / "out")
    answer = done(tmp_path, "ingest", "recordings", "out", "--from", form, "--jobs", 1, "--json").json()
    assert (answer["kept"], answer["dropped"]) == (14, 0)
    done(tmp_path, "resample", "manifests/recordings.parquet", "--jobs", 1)
    before, after = rows(odd / "manifests/mixed.parquet"), rows(tmp_path / "manifests/resampled.parquet")
    assert after.keys() == before.keys()
    for row_id, row in before.items():
        back = after[row_id]
        for column in (
            "split",
            "group",
            "transcript",
            "scene",
            "scenario",
            "noise_label",
            "frames",
            "rate_hz",
            "pcm_hash",
        ):
            assert getattr(back, column) == getattr(row, column), (row_id, column)
        more = {"snr_db": str(row.snr_db), "noise_id": row.noise_id} if row.kind == "mixture" else {}
        assert back.labels.items() >= {**row.labels, **more}.items()
        assert back.labels == row.labels or row.kind == "mixture"
        assert back.kind == ("noise" if row.kind == "noise" else "speech")


def test_groups_of_several_corpora_stay_apart_when_they_come_back(claims: Callable[..., Listing]) -> None:
    own = {
        "source": "@x/a",
        "kind": "speech",
        "noise_label": "speech",
        "pcm_hash": "0",
        "split": "train",
        "group": "user1",
    }
    told = [
        {"audio_filepath": f"wav/{c}.wav", "id": f"{c}/a", "corpus": c} | own
        for c in ("aihub", "cochlscene", "recordings")
    ]
    found = claims({"train.jsonl": lines(*told)} | {f"wav/{c['corpus']}.wav": WAV for c in told})
    assert {clip.key: clip.group for clip in found.clips} == {
        "aihub/a": "aihub/user1",
        "cochlscene/a": "cochlscene/user1",
        "a": "user1",
    }


def test_virtual_mixtures_of_lhotse_come_back_as_drops_that_say_what_to_do(odd: Path, tmp_path: Path) -> None:
    done(odd, "export", "manifests/virtual.parquet", "--to", "lhotse", "--own-use", "--out", tmp_path / "out")
    done(tmp_path, "ingest", "recordings", "out", "--jobs", 1)
    lost = drops(tmp_path, "recordings")
    mixed = [row_id for row_id, row in rows(odd / "manifests/virtual.parquet").items() if row.kind == "mixture"]
    assert {row_id: reason for row_id, (reason, _) in lost.items() if reason == "mixed_cut"} == dict.fromkeys(
        mixed, "mixed_cut"
    )
    assert all("save_audios" in lost[row_id][1] for row_id in mixed)


# ---- what others' manifests say


def recording(folder: Path, name: str) -> Recording:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(SOUND)
    return Recording.from_file(folder / name, recording_id=Path(name).stem)


def spoken(name: str, length: float = 1.0, **more: Any) -> SupervisionSegment:
    return SupervisionSegment(f"{name}-1", name, 0.0, length, 0, **more)


@pytest.mark.parametrize("end", [".jsonl", ".jsonl.gz"])
def test_cuts_that_lhotse_wrote_on_another_machine_are_read(
    end: str, tmp_path: Path, claims: Callable[..., Listing]
) -> None:
    elsewhere = tmp_path / "elsewhere/data"
    held = RecordingSet.from_recordings(recording(elsewhere, f"wav/{name}.wav") for name in ("a", "b"))
    said = SupervisionSet.from_segments(
        [spoken("a", text="살려주세요", speaker="spk0", gender="F", custom={"room": "office"})]
    )
    CutSet.from_manifests(held, said).to_file(elsewhere / f"my_cuts_dev{end}")
    files = {
        f"my_cuts_dev{end}": (elsewhere / f"my_cuts_dev{end}").read_bytes(),
        "wav/a.wav": SOUND,
        "wav/b.wav": SOUND,
    }
    found = claims(files)
    by_text = {clip.text: clip for clip in found.clips}
    assert (by_text["살려주세요"].split, by_text["살려주세요"].kind, by_text["살려주세요"].group) == (
        "dev",
        "speech",
        "spk0",
    )
    assert by_text["살려주세요"].labels == {"gender": "F", "room": "office", "stated_s": "1.0"}
    assert (by_text[None].kind, by_text[None].split) == ("noise", "dev")
    assert found.drops == []


def test_recordings_and_supervisions_that_lhotse_wrote_are_joined(
    tmp_path: Path, claims: Callable[..., Listing]
) -> None:
    root = tmp_path / "root"
    held = RecordingSet.from_recordings(recording(root, f"wav/{name}.wav") for name in ("a", "b", "c"))
    said = [spoken("a", text="살려주세요"), spoken("b", 0.4, text="도와주세요"), spoken("gone", text="구해주세요")]
    held.to_file(root / "train_recordings.jsonl.gz")
    SupervisionSet.from_segments(said).to_file(root / "train_supervisions.jsonl.gz")
    found = claims({}, "lhotse")
    assert {clip.key: clip.text for clip in found.clips} == {"a-1": "살려주세요", "b-1": "도와주세요", "c": None}
    assert {clip.key: (clip.place.begin_s, clip.place.end_s) for clip in found.clips if clip.place.is_piece} == {
        "b-1": (0.0, 0.4)
    }
    assert {clip.split for clip in found.clips} == {"train"}
    assert reasons(found) == {"gone-1": "no_recording"}


def test_cuts_that_are_not_of_a_plain_file_are_drops(tmp_path: Path, claims: Callable[..., Listing]) -> None:
    root = tmp_path / "root"
    whole = [recording(root, f"wav/{n}.wav").to_cut().with_id(f"cut{n}") for n in range(6)]
    noise = recording(root, "wav/noise.wav").to_cut()
    command = replace(whole[4].recording.sources[0], type="command", source="cat wav/4.wav")
    odd = [
        whole[0].truncate(offset=0.2, duration=0.5, preserve_id=True),
        whole[1].perturb_speed(1.1, affix_id=False),
        whole[2].mix(noise, snr=10, preserve_id="left"),
        whole[3].pad(2.0, preserve_id=True),
        replace(whole[4], recording=replace(whole[4].recording, sources=[command])),
        whole[5].truncate(duration=1.0 - 1 / 16_000, preserve_id=True),
    ]
    CutSet.from_cuts(odd).to_file(root / "cuts_test.jsonl")
    found = claims({})
    assert [(clip.key, clip.place.begin_s, clip.place.end_s) for clip in found.clips] == [
        ("cut0", 0.2, 0.7),
        ("cut5", None, None),  # a frame less is how seconds are rounded
    ]
    expected = {"cut1": "transformed", "cut2": "mixed_cut", "cut3": "mixed_cut", "cut4": "not_a_file"}
    assert reasons(found) == expected | {"wav/4.wav": "no_label"}
    assert all(
        len(drop.detail) > 20 and drop.detail.startswith(("cuts_test.jsonl, line", "wav/4")) for drop in found.drops
    )


def test_lines_of_nemo_are_read_with_what_else_they_say(claims: Callable[..., Listing]) -> None:
    told = {
        "audio_filepath": "/mnt/x/wav/a.wav",
        "duration": 3.2,
        "text": "살려주세요",
        "speaker": "s",
        "label": "SaveMe",
        "age": 71,
    }
    found = claims({"train_manifest.json": lines(told), "wav/a.wav": WAV})
    (clip,) = found.clips
    assert (clip.key, clip.text, clip.split, clip.kind, clip.group) == (
        "mnt/x/wav/a.wav",
        "살려주세요",
        "train",
        "speech",
        "s",
    )
    assert clip.labels == {"label": "SaveMe", "age": "71", "stated_s": "3.2"}


def test_lines_of_nemo_that_cannot_be_used_are_drops(claims: Callable[..., Listing]) -> None:
    manifest = lines(
        {"audio_filepath": "wav/a.wav", "duration": 1.0, "offset": 0.0, "text": "x"},
        {"audio_filepath": "wav/b.wav", "duration": 1.0, "offset": 2.5, "text": "x"},
        {"audio_filepath": "wav/gone.wav", "duration": 1.0, "text": "x"},
        {"audio_filepath": "wav/a.wav", "duration": 1.0, "text": "y", "id": "again"},
        {"audio_filepath": "wav/c.wav", "id": "again"},
        {"audio_filepath": "wav/d.wav", "split": "later"},
        {"duration": 1.0},
    )
    found = claims({"train.jsonl": manifest + b"not json\n"} | {f"wav/{name}.wav": WAV for name in "abcdef"})
    assert [clip.key for clip in found.clips] == ["wav/a.wav", "wav/b-0002500-0003500"]
    assert reasons(found) == {
        "wav/gone.wav": "no_audio",
        "again": "duplicate_id",
        "again#2": "duplicate_id",
        "wav/d.wav": "unknown_split",
        "train.jsonl:7": "bad_line",
        "train.jsonl:8": "bad_line",
        "wav/e.wav": "no_label",
        "wav/f.wav": "no_label",
    }


def test_pieces_of_one_recording_are_clips_of_one_group(claims: Callable[..., Listing]) -> None:
    manifest = lines(
        {"audio_filepath": "talks/a.wav", "offset": 0, "duration": 1.5, "text": "하나"},
        {"audio_filepath": "talks/a.wav", "offset": 1.5, "duration": 2.5, "text": "둘"},
        {"audio_filepath": "talks/a.wav", "offset": 1.5, "duration": 2.5, "text": "again"},
        {"audio_filepath": "talks/b.wav", "offset": -1, "duration": 2.5, "text": "x"},
    )
    found = claims({"train.jsonl": manifest, "talks/a.wav": WAV, "talks/b.wav": WAV})
    assert [(clip.key, clip.text, clip.group) for clip in found.clips] == [
        ("talks/a-0000000-0001500", "하나", "talks/a.wav"),
        ("talks/a-0001500-0004000", "둘", "talks/a.wav"),
    ]
    assert found.clips[1].labels == {"piece_of": "talks/a.wav", "begin_s": "1.5", "end_s": "4"}
    assert reasons(found) == {"talks/a-0001500-0004000#2": "duplicate_id", "talks/b.wav": "bad_line"}


def test_lines_of_another_form_than_lhotses_are_drops(claims: Callable[..., Listing]) -> None:
    odd: list[dict[str, Any]] = [
        {"type": "MonoCut", "id": "a", "recording": "wav/a.wav"},
        {
            "type": "MonoCut",
            "id": "b",
            "start": "soon",
            "recording": {"sources": [{"type": "file", "source": "b.wav"}]},
        },
        {"type": "MixedCut", "id": "c", "tracks": ["d", 3]},
        {"type": "MonoCut"},
    ]
    good = {"sources": [{"type": "file", "source": "wav/a.wav"}], "sampling_rate": 16_000, "num_samples": 16_000}
    found = claims({"cuts.jsonl": lines(*odd, {"type": "MonoCut", "id": "e", "recording": good}), "wav/a.wav": WAV})
    assert [clip.key for clip in found.clips] == ["e"]
    assert reasons(found) == {f"cuts.jsonl:{number}": "bad_line" for number in (1, 2, 3, 4)}


def test_a_recording_without_an_id_is_a_drop(claims: Callable[..., Listing]) -> None:
    recording = {"sources": [{"type": "file", "source": "wav/a.wav"}], "sampling_rate": 16_000, "num_samples": 16_000}
    found = claims({"recordings.jsonl": lines(recording, recording | {"id": "f"}), "wav/a.wav": WAV})
    assert [clip.key for clip in found.clips] == ["f"]
    assert reasons(found) == {"recordings.jsonl:1": "bad_line"}


KALDI = {
    "data/train/wav.scp": b"s1-a wav/a b.wav\ns1-b\twav/b.wav\ns2-c cat wav/c.wav |\ns2-d\n",
    "data/train/text": "s1-a 살려주세요  빨리\ns2-c x\n".encode(),
    "data/train/utt2spk": b"s1-a s1\ns1-b s1-b\ns2-c s2\ns2-d s2\n",
    "data/dev/wav.scp": b"long wav/long.wav\nwhole wav/whole.wav\n",
    "data/dev/segments": b"u1 long 0.5 1.5\nu2 whole 0 3.20\nu3 none 0 1\nu4 long\n",
    "data/dev/reco2dur": b"long 9.0\nwhole 3.2\n",
    "data/dev/text": "u2 도와주세요\n".encode(),
    **{f"wav/{name}.wav": WAV for name in ("a b", "b", "c", "long", "whole")},
}


def test_kaldi_directories_are_read_each_as_a_split(claims: Callable[..., Listing]) -> None:
    found = claims(KALDI)
    assert {clip.key: (clip.split, clip.kind, clip.text, clip.group) for clip in found.clips} == {
        "s1-a": ("train", "speech", "살려주세요  빨리", "s1"),
        "s1-b": ("train", "noise", None, None),
        "u1": ("dev", "noise", None, "wav/long.wav"),
        "u2": ("dev", "speech", "도와주세요", None),
    }
    assert reasons(found) == {
        "s2-c": "pipe",
        "s2-d": "bad_line",
        "u3": "no_recording",
        "u4": "bad_line",
        "wav/c.wav": "no_label",
    }


def test_a_recording_that_is_longer_than_its_manifest_states_is_flagged(tmp_path: Path) -> None:
    manifest = lines(*({"audio_filepath": f"wav/{n}.wav", "duration": n, "text": "x"} for n in (1.0, 0.25)))
    write(tmp_path / "c", {"test.jsonl": manifest, "wav/1.0.wav": SOUND, "wav/0.25.wav": SOUND})
    done(tmp_path, "ingest", "recordings", "c", "--jobs", 1)
    flags = {row.id: row.labels.get("longer_s") for row in rows(tmp_path / "manifests/recordings.parquet").values()}
    assert flags == {"recordings/wav/1.0.wav": None, "recordings/wav/0.25.wav": "0.750"}


# ---- the laws of adapters

SAMPLES: dict[str, Files] = {
    "nemo": {
        "n/train.jsonl": lines(
            {"audio_filepath": "wav/녹음 1.wav", "text": "x"}, {"audio_filepath": "wav/b.wav", "offset": 1}
        ),
        **{f"n/wav/{name}.wav": WAV for name in ("녹음 1", "b", "c")},
        "n/README.md": b"...",
    },
    "kaldi": KALDI,
}


@pytest.mark.parametrize("form", SAMPLES)
@pytest.mark.parametrize("hold", CONTAINERS, ids=lambda hold: hold.__name__)
def test_the_container_changes_no_clip_and_no_reason(
    form: str, hold: Callable[..., None], tmp_path: Path, claims: Callable[..., Listing]
) -> None:
    plain = claims(SAMPLES[form])
    (tmp_path / "held").mkdir()
    hold(tmp_path / "held", SAMPLES[form])
    root = Root("recordings", tmp_path / "held")
    held = recordings.clips(root)
    assert [replace(clip, place=NOWHERE) for clip in held.clips] == [
        replace(clip, place=NOWHERE) for clip in plain.clips
    ]
    assert Counter(drop.reason for drop in held.drops) == Counter(drop.reason for drop in plain.drops)
    assert [recordings.places(root)[clip.source] for clip in held.clips] == [clip.place for clip in held.clips]


@pytest.mark.parametrize("form", SAMPLES)
def test_every_recording_is_a_clip_a_drop_or_named_by_one(form: str, claims: Callable[..., Listing]) -> None:
    found = claims(SAMPLES[form])
    taken = {clip.place.container for clip in found.clips}
    rest = [name for name in SAMPLES[form] if is_audio(name) and name not in taken]
    assert rest
    for name in rest:
        assert any(name.rpartition("/")[2] in drop.detail for drop in found.drops), name
    assert not [name for name in found.ignored if is_audio(name)]


# ---- which manifest


def test_a_table_comes_first_and_another_manifest_beside_it_is_noted(claims: Callable[..., Listing]) -> None:
    both = {
        "metadata.csv": b"file,text\na.wav,x\n",
        "train.jsonl": lines({"audio_filepath": "a.wav", "text": "y"}),
        "a.wav": WAV,
    }
    found = claims(both)
    assert [clip.text for clip in found.clips] == ["x"]
    assert "a manifest of nemo is there too: --from nemo reads that" in found.notes
    assert [clip.text for clip in claims(both, "nemo").clips] == ["y"]


def test_two_tools_manifests_must_be_told_apart(tmp_path: Path) -> None:
    files = {"train.jsonl": lines({"audio_filepath": "a.wav", "text": "y"}), "wav.scp": b"utt a.wav\n", "a.wav": SOUND}
    write(tmp_path / "c", files)
    ended = prep(tmp_path, "ingest", "recordings", "c")
    assert ended.code == 1
    assert "manifests of nemo and of kaldi are under the root; expected one: type --from nemo" in ended.err
    done(tmp_path, "ingest", "recordings", "c", "--from", "kaldi", "--jobs", 1)
    done(tmp_path, "resample", "manifests/recordings.parquet", "--jobs", 1)
    assert list(rows(tmp_path / "manifests/resampled.parquet")) == ["recordings/utt"]


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (
            ["aihub", "c", "--from", "nemo"],
            1,
            "only recordings are read from another tool's manifest: prep ingest recordings DIR --from nemo",
        ),
        (["recordings", "c", "--from", "esp"], 2, "'esp' is not one of 'lhotse', 'nemo', 'kaldi'"),
        (
            ["recordings", "c", "--from", "kaldi"],
            1,
            "no manifest of kaldi under the root: found a.wav, train.jsonl; expected a data directory",
        ),
        (
            ["recordings", "c", "--from", "nemo"],
            1,
            "none of 1 files that train.jsonl names lies under the root: it names b.wav; found a.wav",
        ),
        (["recordings", "d"], 1, "or a manifest of Lhotse, NeMo or Kaldi"),
        (["recordings", "e", "--from", "lhotse"], 1, "cuts.jsonl.gz"),
    ],
)
def test_a_mistake_gets_one_clear_message(typed: list[str], code: int, said: str, tmp_path: Path) -> None:
    write(tmp_path / "c", {"train.jsonl": lines({"audio_filepath": "b.wav"}), "a.wav": WAV})
    write(tmp_path / "d", {"a.wav": WAV})
    write(tmp_path / "e", {"cuts.jsonl.gz": b"\x1f\x8bbroken", "a.wav": WAV})
    ended = prep(tmp_path, "ingest", *typed)
    assert said in ended.err
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert not (tmp_path / "manifests/recordings.parquet").exists()
