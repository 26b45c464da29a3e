"""Seconds of computing for an hour of stream and for a device-day: rendering a scene, voice activity, windows, detect.

    python -m benchmarks.stream_speed manifests/test.scene.parquet [--hours 1] [--model openai/whisper-base]

A device that computes 86,400 s a day on one core is never behind. The lines of detect are with one thread.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from train import cli, data
from train.detect import Listening, Options, Stats, lines, listener
from train.features import RATE_HZ
from train.system import system_of
from train.text import Rule
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
    each_hour = (time.process_time() - began) / hours
    print(f"{name:<40}{each_hour:8.1f} CPU s an hour {24 * each_hour:9,.0f} a day   {count / hours:9,.0f} an hour")


def voiced(stream: Iterator[np.ndarray]) -> Iterator[float]:
    """The probability of voice of each chunk."""
    voice = Voice()
    for block in stream:
        for start in range(0, len(block) // CHUNK * CHUNK, CHUNK):
            yield voice.push(data.samples(block[start : start + CHUNK]))


def heard(scene: data.Scene, hours: float, model: str, kind: str, rule: str) -> Iterator[object]:
    """Each event of a Whisper that nobody trained; at a threshold of the score of -4."""
    words = ["--model", model, "--decision", rule, "--score-threshold", "-4", "--windows", kind]
    given = cli.detect_command.make_context("detect", words).params
    options = Options(**{name: value for name, value in given.items() if name != "files"})
    listening = Listening(kind, options.seconds, options.hop, options.refractory)
    cascade = listener(system_of(options, "auto"), listening, options)
    return lines(cascade, blocks(scene, hours), "scene", listening, Stats())


def main() -> None:
    """Prints a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("scene", type=Path)
    ask.add_argument("--hours", type=float, default=1.0)
    ask.add_argument("--model", help="a Whisper, by folder or hub name: also the cost of detect")
    asked = ask.parse_args()
    scene = data.scene(asked.scene)
    hours = sum(map(len, blocks(scene, asked.hours))) / RATE_HZ / 3600
    timed("rendering, blocks of 10 s", blocks(scene, hours), hours)
    timed("voice activity, chunks", voiced(blocks(scene, hours)), hours)
    for kind in ("vad", "both", "hop"):
        cut = windows(blocks(scene, hours), kind, 5 * RATE_HZ, RATE_HZ, None if kind == "hop" else Voice())
        timed(f"windows: {kind}", cut, hours)
    torch.set_num_threads(1)
    for rule in get_args(Rule) if asked.model else ():
        timed(f"detect --decision {rule}, all", heard(scene, hours, asked.model, "vad", rule), hours)


if __name__ == "__main__":
    main()
