"""Voice activity: what is voice to the model, and that it costs little memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pipeline.core import keys
from pipeline.core.errors import PrepError
from train.voice import CHUNK, Voice

S = 16_000


def test_without_the_extra_it_says_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(PrepError, match=r"needs the package onnxruntime: pip install '\.\[detect\]'"):
        Voice()


def test_a_chunk_is_judged_with_the_samples_before_it() -> None:
    """Bursts of vowel-like sound are voice, hiss and silence are none; the state carries over from chunk to chunk."""
    pytest.importorskip("onnxruntime")
    voice, rng = Voice(), keys.rng(0, "vowel")
    t = np.arange(4 * S) / S
    pitch = 120 + 20 * np.sin(2 * np.pi * 3 * t)
    source = np.sign(np.sin(2 * np.pi * np.cumsum(pitch) / S)) * 0.2
    for formant in (700, 1200, 2600):
        pole = np.exp(-np.pi * 100 / S + 2j * np.pi * formant / S)
        out = np.zeros(len(source) + 2)
        a1, a2 = 2 * pole.real, -(abs(pole) ** 2)
        for n in range(len(source)):
            out[n + 2] = source[n] + a1 * out[n + 1] + a2 * out[n]
        source = out[2:] / np.abs(out).max() * 0.3
    syllables = source * np.clip(np.sin(2 * np.pi * 2 * t), 0, 1)
    hiss = rng.normal(0, 0.01, 4 * S)
    pcm = (np.concatenate([hiss, syllables + hiss, hiss]) + 0).astype(np.float32)
    shares = np.array([voice.push(pcm[n : n + CHUNK]) for n in range(0, len(pcm) - CHUNK, CHUNK)])
    within = shares[4 * S // CHUNK : 8 * S // CHUNK]
    assert within.max() > 0.5 > max(shares[: 3 * S // CHUNK])
    assert all(4 * S - CHUNK <= begin < end <= 8.5 * S for begin, end in voice.spans)
    quiet = Voice()  # as from a microphone far away: the level is no matter
    again = np.array([quiet.push(pcm[n : n + CHUNK] / 50) for n in range(0, len(pcm) - CHUNK, CHUNK)])
    assert np.abs(again - shares).max() < 0.02
    assert quiet.spans == voice.spans
