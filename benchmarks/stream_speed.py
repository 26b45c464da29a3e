"""Seconds of computing for an hour of stream: rendering a scene, voice activity, and the windows that a model hears.

    python benchmarks/stream_speed.py manifests/test.scene.parquet [--hours 1]

What the model itself costs is in the answer of evaluate --stream.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np

from train import data
from train.features import RATE_HZ
from train.voice import CHUNK, Voice
from train.windows import windows


def blocks(scene: data.Scene, hours: float) -> Iterator[np.ndarray]:
    """The recordings of a scene one after another, so many hours of them at most."""
    left = round(hours * 3600 * RATE_HZ)
    for block in chain.from_iterable(scene.blocks(name) for name in scene.recordings):
        yield block[:left]
        left -= len(block)
        if left <= 0:
            return


def timed(name: str, work: Iterable[object], hours: float) -> None:
    """Prints how long it takes to go through something."""
    began = time.process_time()
    count = sum(1 for _ in work)
    print(f"{name:<40}{(time.process_time() - began) / hours:8.1f} CPU s an hour   {count / hours:9.0f} an hour")


def voiced(stream: Iterator[np.ndarray]) -> Iterator[float]:
    """The probability of voice of each chunk."""
    voice = Voice()
    for block in stream:
        for start in range(0, len(block) // CHUNK * CHUNK, CHUNK):
            yield voice.push(data.samples(block[start : start + CHUNK]))


def main() -> None:
    """Prints a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("scene", type=Path)
    ask.add_argument("--hours", type=float, default=1.0)
    asked = ask.parse_args()
    scene = data.scene(asked.scene)
    hours = sum(map(len, blocks(scene, asked.hours))) / RATE_HZ / 3600
    timed("rendering, blocks of 10 s", blocks(scene, hours), hours)
    timed("voice activity, chunks", voiced(blocks(scene, hours)), hours)
    for kind in ("vad", "both", "hop"):
        cut = windows(blocks(scene, hours), kind, 5 * RATE_HZ, RATE_HZ, None if kind == "hop" else Voice())
        timed(f"windows: {kind}", cut, hours)


if __name__ == "__main__":
    main()
