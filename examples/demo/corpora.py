"""The four demo roots: what is said and heard in each, which defects are planted, in which containers it all lies."""

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pipeline.demo.containers import Style, pieces, split_zipped, tarred, zipped
from pipeline.demo.scenes import SCENES, scene
from pipeline.demo.voices import RATE_HZ, Chance, Samples, saying, utterance

from pipeline.audio import dsp
from pipeline.core.keys import rng
from pipeline.corpora import own

COCHL_SCENES = tuple(SCENES)[:13]
COCHL_CLIPS = {"Train": 3, "Val": 1, "Test": 1}
COCHL_DISK_BYTES = 16_000_000
SNSD_NOISES = {
    "noise_train": ("AirConditioner", "Babble", "Munching", "NeighborSpeaking", "ShuttingDoor", "Typing"),
    "noise_test": ("AirConditioner", "Babble", "Munching", "Neighbor", "ShuttingDoor", "Typing"),
}
SNSD_RATE_HZ = 16_000
CALLS = ("살려주세요", "도와주세요", "살려줘", "도와줘", "사람 살려", "누가 좀 도와주세요")
TALK = ("무엇을 도와드릴까요", "불을 꺼 주세요", "오늘 날씨가 좋네요", "감사합니다", "커피 한 잔 주세요", "안녕하세요")
SPELLINGS = {
    "살려주세요": ("살려주세요", "살려 주세요 ", "살려주세요."),
    "도와주세요": ("도와주세요", "도와 주세요", "도와주세요  "),
    "누가 좀 도와주세요": ("누가 좀 도와주세요", "누가 좀 도와 주세요 "),
}


@dataclass(frozen=True, slots=True)
class Situation:
    """One AI-Hub class: its number and name, category_01, what is said in it in turn, and how many clips each split
    has."""

    number: int
    name: str
    category: str
    says: tuple[str, ...]
    clips: tuple[int, int]

    @property
    def label(self) -> str:
        """`4.폭력범죄`, as in the names of its files."""
        return f"{self.number}.{self.name}"


SITUATIONS = (
    Situation(
        2, "강도범죄", "치안안전", ("도와주세요", "살려주세요", "여기 앉으세요", "살려줘", "사람이 참 많네요"), (9, 4)
    ),
    Situation(
        3, "절도범죄", "치안안전", ("경찰 불러주세요", "도와줘", "사람이 참 많네요", "커피 한 잔 주세요"), (9, 4)
    ),
    Situation(
        4, "폭력범죄", "치안안전", ("살려주세요", "살려줘", "경찰 불러주세요", "사람 살려", "여기 앉으세요"), (9, 4)
    ),
    Situation(5, "화재", "소방안전", ("집에 불이 났어요", "살려주세요", "불을 꺼 주세요", "구해주세요"), (9, 4)),
    Situation(6, "갇힘", "소방안전", ("거기 누구 없어요", "도와주세요", "누가 좀 도와주세요", "구해주세요"), (9, 4)),
    Situation(14, "도움요청", "일반(위급)", CALLS + TALK, (18, 8)),
    Situation(15, "실내", "일반(정상)", TALK, (6, 3)),
)
ROOTS = {
    "aihub": "aihub170",
    "cochlscene": "cochlscene",
    "ms-snsd": "ms-snsd",
    "recordings": "recordings",
}  # corpus -> folder
SPLITS = (("Training", "train"), ("Validation", "test"))
FACTS = """\
title = "{} of the demo, synthetic"
licence = "Apache-2.0"
licence_url = "https://www.apache.org/licenses/LICENSE-2.0"
attribution = "the demo of call-for-help-prep; its speech is synthetic"
share_audio = true
"""


def make(out: Path, seed: int = 0) -> None:
    """Writes the four ROOTS under `out`, about 100 MB; the same seed, the same bytes.

    A few files are broken on purpose, so that the demo has something to drop: see `_plant`.
    """
    _aihub(out / ROOTS["aihub"] / "위급상황 음성_음향", seed)
    _write(out / ROOTS["aihub"], {own.BESIDE: FACTS.format("Speech").encode()})
    _cochlscene(out / ROOTS["cochlscene"], seed)
    _ms_snsd(out / ROOTS["ms-snsd"], seed)
    _recordings(out / ROOTS["recordings"], seed)


def _aihub(folder: Path, seed: int) -> None:
    ids = [str(n) for n in rng(seed, "aihub", "ids").permutation(np.arange(60_000, 1_250_000, 7))[:1_000]]
    for site, split in SPLITS:
        for situation in SITUATIONS:
            count = situation.clips[split == "test"]
            audio, labels = _situation(situation, split, [ids.pop() for _ in range(count)], seed)
            _plant(situation, split, audio, labels, ids.pop())
            _contain(folder / site, site, situation, audio, labels)


def _situation(
    situation: Situation, split: str, ids: list[str], seed: int
) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Recordings and labels of one class in one split, by file name."""
    audio: dict[str, bytes] = {}
    labels: dict[str, bytes] = {}
    for n, digits in enumerate(ids):
        chance = rng(seed, "aihub", digits)
        stem = f"{situation.label}_{digits}"
        note, sound = _heard(situation, split, n, chance)
        rate_hz = 48_000 if n == 5 else RATE_HZ
        sound = dsp.resample(sound, RATE_HZ, rate_hz)
        audio[f"{stem}_label.wav"] = wav(_stereo(sound) if n % 3 == 1 else sound, rate_hz, 4 if n == 2 else 2)
        labels[f"{stem}.json"] = _label(situation, stem, note, len(sound) / rate_hz, chance, mark=n % 4 == 1)
    return audio, labels


def _heard(situation: Situation, split: str, n: int, chance: Chance) -> tuple[str | None, Samples]:
    """Transcript and sound of the n-th clip of a class; every third one indoors is a room in which nobody speaks."""
    if situation.name == "실내" and n % 3 == 2:
        return (None if split == "train" else ""), scene(chance, "Cafe", 4.0)
    text = situation.says[n % len(situation.says)]
    spellings = SPELLINGS.get(text, (text,))
    known = saying(text, split)
    return spellings[n % len(spellings)], utterance(chance, known[int(chance.integers(len(known)))])


def _label(situation: Situation, stem: str, note: str | None, length_s: float, chance: Chance, mark: bool) -> bytes:
    """The label JSON; a room has no speaker to describe, and without a transcript there is no `note`. mark: begins with
    a BOM."""
    start_s = round(float(chance.uniform(0, 3)), 2)
    annotation = {
        "audio_id": stem,
        "categories": {
            "category_01": situation.category,
            "category_02": situation.name,
            "category_03": f"{situation.number:02d}_{situation.name}_상황",
        },
        "area": {"start": start_s, "end": round(start_s + length_s, 2)},
        "audioType": "voice",
    }
    if situation.name != "실내":
        people = {"gender": ("남성", "여성"), "generation": ("청소년", "성인", "노인"), "dialect": ("표준어", "경상도")}
        annotation |= {key: str(chance.choice(values)) for key, values in people.items()}
    if note is not None:
        annotation["note"] = note
    audio = {
        "fileName": stem,
        "fileSize": 0,
        "duration": round(length_s, 2),
        "sampleRate": "44.1kHz",
        "bitRate": "705k",
        "recodingType": "스튜디오",
    }
    return json.dumps({"audio": audio, "annotations": [annotation]}, ensure_ascii=False, indent=1).encode(
        "utf-8-sig" if mark else "utf-8"
    )


def _plant(situation: Situation, split: str, audio: dict[str, bytes], labels: dict[str, bytes], digits: str) -> None:
    """Defects that people met in the real corpus: orphans on both sides, cut recordings and labels, an error page."""
    stem, recording, label = f"{situation.label}_{digits}", min(audio), min(labels)
    match situation.name, split:
        case "강도범죄", "train":
            audio[f"{stem}_label.wav"] = audio[recording]
        case "절도범죄", "test":
            labels[f"{stem}.json"] = labels[label]
        case "폭력범죄", "train":
            audio[recording] = audio[recording][: len(audio[recording]) // 2]
        case "갇힘", "train":
            labels[label] = labels[label][:200]
        case "도움요청", "test":
            audio[recording] = b"<html><body>502 Bad Gateway</body></html>"


def _contain(
    folder: Path, site: str, situation: Situation, audio: Mapping[str, bytes], labels: Mapping[str, bytes]
) -> None:
    """Each class in another of the containers that exist in the wild."""
    source, tag = f"[원천]{situation.label}_1", f"[라벨]{situation.label}"
    match situation.name:
        case "강도범죄":
            nfd = Style(form="NFD")
            _write(folder, {f"{source}.zip": zipped(audio, nfd), f"{tag}.zip": zipped(labels, nfd)})
        case "폭력범죄":
            _write(folder / source, audio)
            _write(folder / tag, labels)
        case "화재":
            order = {"Training": "1.Training", "Validation": "2.Validation"}[site]
            held = {"원천데이터 ": (source, audio, 400_000), "": (tag, labels, 500)}
            for words, (name, members, size) in held.items():
                parts = pieces(f"{name}.zip", zipped(members, Style("cp949")), size)
                _write(folder, {f"{order} {words}{situation.name}.tar": tarred(parts)})
        case "갇힘":
            _write(folder, {f"{source} (15).zip": zipped(audio, Style(stored=True)), f"{tag}.zip": zipped(labels)})
        case "실내":
            _write(
                folder,
                pieces(f"{source}.zip", zipped(audio, Style(stored=True)), 500_000) | {f"{tag}.zip": zipped(labels)},
            )
        case _:
            old = Style("cp949")
            _write(folder, {f"{source}.zip": zipped(audio, old), f"{tag}.zip": zipped(labels, old)})


def _cochlscene(folder: Path, seed: int) -> None:
    """A split zip, as it is delivered; one user a clip, but for the first two of each scene's training clips."""
    members: dict[str, bytes] = {}
    user = 0
    for name in COCHL_SCENES:
        for split, count in COCHL_CLIPS.items():
            for n in range(count):
                segment = 1 if split == "Train" and n == 1 else 0
                user += 1 - segment
                stem = f"{name}_user{user:04d}_{14_700_000 + 37 * user}_{segment:03d}"
                sound = scene(rng(seed, "cochlscene", stem), name, 10.0)
                members[f"CochlScene/{split}/{name}/{stem}.wav"] = wav(sound, RATE_HZ)
    *disks, last = split_zipped(members, COCHL_DISK_BYTES, Style(stored=True))
    _write(folder, {f"CochlScene.z{n:02d}": disk for n, disk in enumerate(disks, 1)} | {"CochlScene.zip": last})


def _ms_snsd(folder: Path, seed: int) -> None:
    for split, names in SNSD_NOISES.items():
        for name in names:
            chance = rng(seed, "ms-snsd", split, name)
            heard = "NeighborSpeaking" if name == "Neighbor" else name
            sound = dsp.resample(scene(chance, heard, chance.uniform(6.0, 9.0)), RATE_HZ, SNSD_RATE_HZ)
            _write(folder / split, {f"{name}_1.wav": wav(sound, SNSD_RATE_HZ)})


def _recordings(folder: Path, seed: int) -> None:
    """Seventeen field recordings, 24-bit, with a table as a spreadsheet program saves it."""
    said = [("살려주세요", "saveme")] * 6 + [("도와주세요", "helpme")] * 5 + [("", "noise")] * 6
    places = {"office": "Elevator", "restroom": "Restroom", "outdoor": "Street"}
    lines: list[dict[str, str]] = []
    for n, (text, label) in enumerate(said):
        place = tuple(places)[n % 3]
        name = f"wav/rec {n:03d}.wav"
        sound, voice = _recorded(rng(seed, "recordings", n), text, places[place], n)
        _write(folder, {name: wav(sound, RATE_HZ, 3)})
        lines.append(
            {"file": name, "transcript": text, "label": label, "speaker": voice, "split": "test", "place": place}
        )
    table = StringIO()
    writer = csv.DictWriter(table, list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    facts = f"{FACTS.format('Field recordings')}noisy = true\n"
    _write(folder, {"metadata.csv": table.getvalue().encode("utf-8-sig"), own.BESIDE: facts.encode()})


def _recorded(chance: Chance, text: str, place: str, n: int) -> tuple[Samples, str]:
    """Speech 20 dB or so above a place, and its voice; or five seconds of the place and nobody."""
    if not text:
        return scene(chance, place, 5.0), ""
    known = saying(text, "test")
    phrase = known[n % len(known)]
    sound = utterance(chance, phrase)
    return sound * np.float32(0.9) + np.float32(0.1) * scene(chance, place, len(sound) / RATE_HZ)[
        : len(sound)
    ], phrase.voice


def _stereo(sound: Samples) -> Samples:
    return np.stack([sound, sound * np.float32(0.8)], axis=1)


def wav(sound: NDArray[np.float32], rate_hz: int, sample_bytes: int = 2) -> bytes:
    """WAV bytes of float32 [frames] or [frames, channels] within full scale, as integers of 2, 3 or 4 bytes."""
    bits = 8 * sample_bytes
    scaled = np.rint(sound.astype(np.float64) * (2 ** (bits - 1) - 1)).astype("<i4" if sample_bytes > 2 else "<i2")
    raw = scaled.tobytes() if sample_bytes != 3 else scaled.ravel().view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    out = BytesIO()
    with wave.open(out, "wb") as file:
        file.setparams((1 if sound.ndim == 1 else sound.shape[1], sample_bytes, rate_hz, 0, "NONE", ""))
        file.writeframes(raw)
    return out.getvalue()


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
