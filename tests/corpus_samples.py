"""A small true copy of each corpus, as {path under the root: bytes}, for tests.

Adapters never open a recording, so none is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WAV = b"RIFF....WAVE no adapter looks in here"


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """The files in a folder; returns the folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def label(note: str | None = "살려주세요", category: str = "폭력범죄", **more: Any) -> dict[str, Any]:
    """The JSON of one AI-Hub label; `more` goes into its annotation."""
    annotation = {
        "audio_id": "x",
        "categories": {"category_01": "치안안전", "category_02": category, "category_03": f"{category}_상황"},
        "subCategory": "실내",
        "area": {"start": 1.5, "end": 4.25},
        "note": note,
        "audioType": "voice",
        "gender": "여성",
        "generation": "노인",
        "dialect": "표준어",
    }
    audio = {
        "fileName": "x",
        "fileSize": 0,
        "duration": 2.75,
        "sampleRate": "44.1kHz",
        "bitRate": "705k",
        "recodingType": "스튜디오",
    }
    return {"audio": audio, "annotations": [annotation | more]}


def dumped(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def aihub(
    split: str = "Training", number: str = "4", name: str = "폭력범죄", digits: str = "393886", **more: Any
) -> dict[str, bytes]:
    """One recording and its label, in the release's layout."""
    return {
        f"{split}/[원천]{number}.{name}_1/{number}.{name}_{digits}_label.wav": WAV,
        f"{split}/[라벨]{number}.{name}/{number}.{name}_{digits}.json": dumped(label(category=name, **more)),
    }


def cochlscene(split: str = "Train", scene: str = "Bus", user: int = 1, segment: int = 0) -> dict[str, bytes]:
    return {f"CochlScene/{split}/{scene}/{scene}_user{user:04d}_{14_700_000 + user}_{segment:03d}.wav": WAV}


def ms_snsd(*keys: str) -> dict[str, bytes]:
    return {f"MS-SNSD-master/{key}.wav": WAV for key in keys}


def recordings(table: str, *files: str) -> dict[str, bytes]:
    return {"metadata.csv": table.encode()} | dict.fromkeys(files, WAV)


TABLE = """file,transcript,label,speaker,split,place,microphone
wav/rec 000.wav,살려주세요,saveme,spk0,test,office,TS-905E
wav/rec 001.wav,도와주세요,helpme,spk1,test,restroom,TS-905E
wav/rec 002.wav,,noise,,test,outdoor,TS-905E
wav/없음.wav,살려주세요,saveme,spk1,test,office,TS-905E
"""
# For each corpus: clips of each split, every kind of loss that its adapter knows at least once, files that are none.
SAMPLES: dict[str, dict[str, bytes]] = {
    "aihub": {
        **aihub(),
        **aihub(digits="0500001"),
        **aihub("Validation", "14", "도움요청", "757631"),
        **aihub("Validation", "15", "실내", "393886", note=None),
        "Training/[원천]5.화재_1/5.화재_111111_label.wav": WAV,
        "Training/[라벨]5.화재/5.화재_222222.json": dumped(label(category="화재")),
        "Training/[원천]5.화재_1/5.화재_333333_label.wav": WAV,
        "Training/[라벨]5.화재/5.화재_333333.json": b'{"audio": {',
        "Training/[원천]4.폭력범죄_2/4.폭력범죄_393886_label.wav": WAV[:9],
        "Training/[원천]5.화재_1/5.화재.wav": WAV,
        "[원천]5.화재_1/5.화재_444444_label.wav": WAV,
        "Training/[라벨]5.화재/설명.txt": b"...",
    },
    "cochlscene": {
        **cochlscene(),
        **cochlscene(segment=1),
        **cochlscene("Val", "SubwayStation", 2),
        **cochlscene("Test", "ResidentialArea", 3),
        "CochlScene/Train/Bus/Bus_0001.wav": WAV,
        "CochlScene/Extra/Bus/Bus_user0009_14700009_000.wav": WAV,
        "CochlScene/old/Train/Bus/Bus_user0001_14700001_000.wav": WAV[:9],
        "CochlScene/README.md": b"...",
    },
    "ms-snsd": {
        **ms_snsd(
            "noise_train/NeighborSpeaking_1", "noise_train/Traffic_10", "noise_test/Neighbor_1", "noise_test/Babble_1"
        ),
        **ms_snsd("clean_train/clnsp1", "clean_test/clnsp2", "NoisySpeech_training/noisy1_SNRdb_0.0"),
        "copy/noise_test/Babble_1.wav": WAV[:9],
        "MS-SNSD-master/noisyspeech_synthesizer.cfg": b"...",
    },
    "my-corpus": {
        "clips.csv": "id,words,speaker,split\na1,살려주세요,s1,train\na2,,,dev\na3,x,s2,test\nb4,x,s2,test\n".encode(),
        "audio/s1/a1.wav": WAV,
        "audio/a2.wav": WAV,
        "audio/s2/a3.wav": WAV,
        "audio/old/a3.wav": WAV[:9],
        "audio/a5.wav": WAV,
        "README.md": b"...",
    },
    "recordings": recordings(TABLE, "wav/rec 000.wav", "wav/rec 001.wav", "wav/rec 002.wav", "wav/rec 003.wav"),
}
