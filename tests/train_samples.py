"""Small manifests with audio, made on the spot, and the commands of `train` run on them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from pipeline.audio.codec import flac, pcm_hash
from pipeline.audio.shards import writing
from pipeline.core import frame as frames
from pipeline.core import keys, manifest
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.corpora import lexicon as lexicons
from train import cli, data
from train.data import Prediction

ROOT = Path(__file__).parents[1]
RATE_HZ = 16_000


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip to make: noise, or something with a pitch that says `transcript`."""

    id: str
    split: str = "train"
    kind: str = "mixture"
    transcript: str | None = "살려주세요"
    seconds: float = 1.5
    corpus: str = "aihub"
    scene: str | None = None
    scenario: str | None = None
    snr_db: float | None = None
    labels: dict[str, str] = field(default_factory=dict)

    @property
    def pcm(self) -> NDArray[np.int16]:
        frames = round(self.seconds * RATE_HZ)
        wave = keys.rng(0, "clip", self.id).normal(0, 300, frames)
        if self.kind != "noise":
            pitch = 200 + 97 * (sum(map(ord, self.transcript or "")) % 8)  # what is said can be heard
            wave += 8000 * np.sin(2 * np.pi * pitch * np.arange(frames) / RATE_HZ) * np.hanning(frames)
        return wave.astype(np.int16)


def noise(
    id: str, split: str = "train", seconds: float = 2.0, corpus: str = "cochlscene", scene: str = "Bus", **labels: str
) -> Clip:
    return Clip(id, split, "noise", None, seconds, corpus, scene, labels=labels)


def usual(train: int = 4, dev: int = 2, test: int = 3) -> list[Clip]:
    """Of each split so many of: saveme, helpme, others, noise."""
    clips = []
    for split, count in (("train", train), ("dev", dev), ("test", test)):
        for n in range(count):
            words = ("살려 주세요.", "도와주세요", "안녕하세요")
            clips += [
                Clip(f"{split}/{k}/{n}", split, transcript=text, seconds=1.2 + 0.3 * k, snr_db=10.0)
                for k, text in enumerate(words)
            ]
            clips.append(noise(f"{split}/noise/{n}", split))
    return clips


def made(folder: Path, clips: Sequence[Clip], name: str = "mixed", recipe: dict[str, Any] | None = None) -> Path:
    """Writes the clips to a shard and a manifest beside it."""
    lexicon = lexicons.shipped()
    rows = []
    with writing(folder / "audio" / f"{name}.tar") as shard:
        for clip in clips:
            pcm = clip.pcm
            offset, size = shard.put(clip.id.replace("/", "-"), flac(pcm, RATE_HZ))
            rows.append(_row(clip, pcm, lexicon.keyword(clip.transcript), f"{name}.tar", offset, size))
    options = {"lexicon": lexicons.identity(lexicon)} | (recipe or {})
    manifest.write(
        folder / f"{name}.parquet",
        frames.from_rows(rows, Row),
        frames.from_rows([], Drop),
        Provenance("mix", options, 0),
    )
    return folder / f"{name}.parquet"


def _row(clip: Clip, pcm: NDArray[np.int16], keyword: str | None, shard: str, offset: int, size: int) -> Row:
    return Row(
        id=clip.id,
        corpus=clip.corpus,
        split=clip.split,
        group=clip.id,
        kind=clip.kind,
        source=f"@{clip.corpus}/{clip.id}",
        transcript=clip.transcript,
        keyword=keyword,
        scenario=clip.scenario,
        scene=clip.scene,
        noise_label="noise" if clip.kind == "noise" else "speech",
        labels=clip.labels,
        shard=shard,
        offset=offset,
        bytes=size,
        rate_hz=RATE_HZ,
        frames=len(pcm),
        pcm_hash=pcm_hash(pcm, RATE_HZ),
        snr_db=clip.snr_db,
    )


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command said."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        assert not self.code, self.err
        return json.loads(self.out)


def command(name: str, folder: Path, *arguments: object, stdin: bytes = b"") -> Answer:
    """Runs `train`, `evaluate` or `detect` in a folder, in this process: loading torch anew takes longer than most."""
    torch.set_num_threads(1)
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    code = 0
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        here.setattr(sys, "argv", [name, *map(str, arguments)])
        here.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        here.setattr(sys, "stdout", out)
        here.setattr(sys, "stderr", err)
        try:
            getattr(cli, name)()
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
    return Answer(code, *(stream.buffer.getvalue().decode() for stream in (out, err)))


def apart(name: str, folder: Path, *arguments: object) -> Answer:
    """The same in a process of its own."""
    done = subprocess.run(started(name, *arguments), cwd=folder, env=environment(), capture_output=True, timeout=600)
    return Answer(done.returncode, done.stdout.decode(), done.stderr.decode())


def started(name: str, *arguments: object) -> list[str]:
    """The words that start a command."""
    return [sys.executable, "-c", f"from train.cli import {name}; {name}()", *map(str, arguments)]


def environment() -> dict[str, str]:
    """One thread, so that sums are added in one order; and no way to a hub."""
    return {
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "PATH": "/usr/bin:/bin",
        "PYTHONIOENCODING": "utf-8",
    }


def predictions(folder: Path) -> list[Prediction]:
    """The predictions that evaluate wrote, in their order."""
    return list(frames.rows(data.predictions(folder), Prediction))


TINY = ("--model", "tiny", "--init", "random", "--batch", 4, "--lr", 1e-3, "--max-tokens", 60)
