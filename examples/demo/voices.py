"""The synthetic speech that the project carries, see speech/ORIGIN.md."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.audio.codec import decode, floats

RATE_HZ = 44_100
TEST_VOICES = frozenset({"hf_alpha", "jf_gongitsune", "jf_nezumi"})  # nobody calls in two splits
_FOLDER = files("pipeline.demo") / "speech"

Samples = NDArray[np.float32]
Chance = np.random.Generator  # noqa: TID251  the type of what keys.rng gives; nothing is drawn from it here


@dataclass(frozen=True, slots=True, order=True)
class Phrase:
    """One carried file: what it says, in which voice."""

    text: str
    voice: str
    file: str


@cache
def phrases() -> tuple[Phrase, ...]:
    """All of them, sorted by text and voice."""
    with (_FOLDER / "index.csv").open(encoding="utf-8") as table:
        return tuple(sorted(Phrase(line["text"], line["voice"], line["file"]) for line in csv.DictReader(table)))


def saying(text: str, split: str) -> list[Phrase]:
    """The phrases with this text in the voices of "train" or "test", sorted."""
    return [
        phrase for phrase in phrases() if phrase.text == text and (phrase.voice in TEST_VOICES) == (split == "test")
    ]


@cache
def spoken(phrase: Phrase) -> Samples:
    """float32 [frames] at RATE_HZ."""
    recording = decode((_FOLDER / phrase.file).read_bytes())
    return dsp.resample(dsp.mono(floats(recording)), recording.rate_hz, RATE_HZ)


def utterance(rng: Chance, phrase: Phrase) -> Samples:
    """The phrase with pitch and pace varied, quiet before and after it, at a drawn level; float32 [frames], RATE_HZ."""
    voice = dsp.resample(spoken(phrase), RATE_HZ, round(RATE_HZ * rng.uniform(0.9, 1.12)))
    lead, tail = (np.zeros(round(rng.uniform(0.1, 0.9) * RATE_HZ), np.float32) for _ in range(2))
    wave: Samples = np.concatenate([lead, voice, tail])
    wave *= np.float32(rng.uniform(0.25, 0.85) / max(dsp.peak(wave), 1e-6))
    wave += np.float32(2e-4) * rng.standard_normal(len(wave), dtype=np.float32)
    return wave
