"""A small set with all that makes an export hard, as stored and as virtual mixtures; its exports; what a row holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from command import done
from numpy.typing import NDArray
from sounds import encoded, hiss, voice

from pipeline.audio.shards import Reader
from pipeline.core import manifest
from pipeline.core.row import Row

TABLE = """file,transcript,label,speaker,split,place,microphone
wav/rec 000.wav,"살려주세요, ""빨리"" 좀",saveme,spk 0,train,office,TS-905E
wav/rec%001.wav,=1+1 <s> 도와  주세요,helpme,spk 0,train,사무실,"a, b"
wav/loud!.wav,도와주세요,helpme,spk 1,dev,office,TS-905E
wav/녹음.v2.wav,안녕하세요,others,spk-1,test,office,
wav/offset.wav,살려줘,saveme,spk-1-2,test,office,
wav/long.wav,,noise,,train,outdoor,
wav/short.wav,,noise,,train,outdoor,
wav/dev.wav,,noise,,dev,outdoor,
wav/test.wav,,noise,,test,restroom,
"""
FILES = {
    "wav/rec 000.wav": encoded(voice(2.0)),
    "wav/rec%001.wav": encoded(voice(1.5, seed=1)),
    "wav/loud!.wav": encoded(voice(1.7, seed=2, level_dbfs=-10.0)),
    "wav/녹음.v2.wav": encoded(voice(1.6, 44_100, 3), 44_100),
    "wav/offset.wav": encoded(voice(1.4, seed=4) + np.float32(0.01)),
    "wav/long.wav": encoded(hiss(5.0, seed=5)),
    "wav/short.wav": encoded(hiss(0.8, seed=6)),
    "wav/dev.wav": encoded(hiss(0.9, seed=7)),
    "wav/test.wav": encoded(hiss(4.0, seed=8)),
}


def odd_set(folder: Path) -> Path:
    """`manifests/mixed.parquet` and `virtual.parquet` of recordings with odd names, loud speech, noise shorter than the
    speech."""
    for name, data in FILES.items():
        path = folder / "corpus" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    (folder / "corpus/metadata.csv").write_text(TABLE, encoding="utf-8")
    done(folder, "ingest", "recordings", "corpus", "--jobs", 1)
    done(folder, "filter", "--dev-share", 0, "--min-s", 0.5)
    done(folder, "resample", "--jobs", 1)
    mixing = ("mix", "--noise", "recordings", "--keep", "aihub", "--snr", -3, "--snr", 15, "--jobs", 1)
    done(folder, *mixing)
    done(folder, *mixing, "--virtual", "--out", "manifests/virtual.parquet")
    return folder


def rows(path: Path) -> dict[str, Row]:
    """The rows of a manifest by id."""
    return {row.id: row for row in manifest.read(path).rows()}


def samples(path: Path) -> dict[str, NDArray[np.int16]]:
    """The samples of each row of a manifest."""
    reader = Reader(path.parent)
    return {row.id: reader.pcm(row) for row in manifest.read(path).rows()}
