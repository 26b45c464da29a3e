"""Near-duplicates: a changed copy of a recording is found across splits, another take of the same words is not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soxr
from command import chain, prep
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from sounds import corpus, encoded, hiss, voice

from pipeline.audio import dsp, render
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.row import Row
from pipeline.inspect.audit import Clear, Finding, Options, checks, listening, near
from pipeline.inspect.audit.listening import Overlap

RATE_HZ = 16_000
Pcm = NDArray[np.float32]
TAKES = 24


def take(n: int) -> Pcm:
    return voice(2.0 + n % 5 * 0.4, seed=n)


def rated(samples: Pcm) -> Pcm:
    return soxr.resample(soxr.resample(samples, RATE_HZ, 44_100)[5:], 44_100, RATE_HZ)


def companded(samples: Pcm) -> Pcm:
    """Through 8-bit mu-law (G.711, continuous form)."""
    code = np.rint(np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256) * 127) / 127
    return np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255


def noisy(samples: Pcm, snr_db: float) -> Pcm:
    white = np.random.default_rng(99).standard_normal(len(samples))
    return samples + white * samples.std() * 10 ** (-snr_db / 20)


CLOTHES: dict[str, Callable[[Pcm], Pcm]] = {
    "20 dB softer": lambda x: x * 0.1,
    "6 dB louder": lambda x: x * 2,
    "0.1 s trimmed": lambda x: x[1_617:],
    "0.9 s trimmed": lambda x: x[14_401:],
    "its halves in turn": lambda x: np.concatenate([x[len(x) // 2 :], x[: len(x) // 2]]),
    "a second of it": lambda x: x[9_000:25_000],
    "begins later": lambda x: np.concatenate([np.zeros(11_113), x]),
    "44.1 kHz and back, twice": lambda x: rated(rated(x)),
    "8 kHz": lambda x: soxr.resample(soxr.resample(x, RATE_HZ, 8_000), 8_000, RATE_HZ),
    "8 bits": lambda x: np.rint(x * 128) / 128,
    "mu-law": companded,
    "noise at 30 dB": lambda x: noisy(x, 30),
    "all of it": lambda x: noisy(companded(rated(x[5_003:] * 0.3)), 30),
}
OTHERS: dict[str, Callable[[Pcm], Pcm]] = {
    "2 % faster": lambda x: soxr.resample(x, RATE_HZ, RATE_HZ / 1.02),
    "backwards": lambda x: x[::-1],
    "0.5 % slower": lambda x: soxr.resample(x, RATE_HZ, RATE_HZ * 1.005),
}


def low(samples: Pcm) -> Pcm:
    pcm = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.float32)
    return listening.lowered(pcm, RATE_HZ)


def paired(ones: list[Pcm], others: list[Pcm]) -> list[tuple[int, int, Overlap]]:
    """(one, other, how alike) of the pairs across the two lists that are one recording."""
    lows = [low(samples) for samples in (*ones, *others)]
    prints = [listening.fingerprint(samples) for samples in lows]
    splits = np.repeat([0, 1], [len(ones), len(others)])
    pairs = near.candidates(prints, splits).tolist()
    verdicts = [(one, other - len(ones), listening.overlap(lows[one], lows[other], lag)) for one, other, lag in pairs]
    return [verdict for verdict in verdicts if verdict[2].agreement >= near.AGREEMENT]


@pytest.mark.parametrize("name", sorted(CLOTHES))
def test_every_recording_is_found_in_other_clothes_and_no_other(name: str) -> None:
    takes = [take(n) for n in range(TAKES)]
    pairs = paired(takes, [CLOTHES[name](samples) for samples in takes])
    assert sorted((one, other) for one, other, _ in pairs) == [(n, n) for n in range(TAKES)]


@pytest.mark.parametrize("name", sorted(OTHERS))
def test_another_take_is_not_the_same_recording(name: str) -> None:
    takes = [take(n) for n in range(TAKES)]
    assert paired(takes, [OTHERS[name](samples) for samples in takes]) == []


def test_takes_of_other_voices_are_not_the_same_recording() -> None:
    assert paired([take(n) for n in range(TAKES)], [take(1_000 + n) for n in range(TAKES)]) == []


def test_hums_of_one_pitch_are_not_the_same_recording() -> None:
    time = np.arange(4 * RATE_HZ) / RATE_HZ
    hums = [
        0.05 * sum(np.sin(2 * np.pi * 100 * k * time + n * k) for k in range(1, 19)) + hiss(4, seed=n, level_dbfs=-60)
        for n in range(12)
    ]
    assert paired(hums[:6], hums[6:]) == []


def test_a_tone_says_nothing_and_a_low_tone_in_both_does_not_make_two_takes_one() -> None:
    time = np.arange(3 * RATE_HZ) / RATE_HZ
    tone = 0.2 * np.sin(2 * np.pi * 400 * time)
    assert listening.overlap(low(tone), low(tone[800:]), 200).agreement == 0.0
    ones = [voice(3.0, seed=n, level_dbfs=-32) + 0.1 * np.sin(2 * np.pi * 60 * time) for n in (1, 2)]
    assert listening.overlap(low(ones[0]), low(ones[1]), 0).agreement < 0.5


def test_the_same_rumble_under_two_takes_does_not_make_them_one() -> None:
    rumble = sosfilt(butter(8, 200, fs=RATE_HZ, output="sos"), np.random.default_rng(3).standard_normal(3 * RATE_HZ))
    ones = [low(voice(3.0, seed=n, level_dbfs=-40) + 0.05 * rumble / rumble.std()) for n in (1, 2)]
    assert np.corrcoef(ones)[0, 1] > 0.92  # as they are they agree
    assert listening.overlap(*ones, 0).agreement < near.AGREEMENT - 0.1


def test_offset_and_gain_of_a_copy_are_told() -> None:
    ((_, _, alike),) = paired([take(1)], [take(1)[8_000:] * 0.5])
    assert (alike.offset_s, alike.gain_db) == (pytest.approx(0.5, abs=0.001), pytest.approx(-6.02, abs=0.05))
    assert alike.seconds == pytest.approx(len(take(1)) / RATE_HZ - 0.5, abs=0.01)


def test_what_is_too_short_or_silent_has_no_prints() -> None:
    assert [len(part) for part in listening.fingerprint(np.zeros(1_000, np.float32))] == [0, 0]
    assert [len(part) for part in listening.fingerprint(np.zeros(9_000, np.float32))] == [0, 0]


def files(twins: bool) -> dict[str, bytes]:
    """Speech and noise of both splits; with twins an utterance and a noise of train are in test as changed copies."""
    contents = {f"clean_train/a{n}.wav": encoded(take(n)) for n in range(6)} | {
        f"clean_test/b{n}.wav": encoded(take(100 + n)) for n in range(4)
    }
    contents |= {f"noise_train/Hum_{n}.wav": encoded(hiss(6, seed=n)) for n in range(3)}
    contents |= {f"noise_test/Hum_{n}.wav": encoded(hiss(6, seed=50 + n)) for n in range(2)}
    if twins:
        contents["clean_test/b9.wav"] = encoded(soxr.resample(take(2)[4_000:] * 0.3, RATE_HZ, 44_100), 44_100, "PCM_24")
        contents["noise_test/Fan_9.wav"] = encoded(hiss(6, seed=1)[20_000:] * 2, subtype="ULAW")
    return contents


def mixed_set(folder: Path, twins: bool, *mixing: object) -> manifest.Manifest:
    return manifest.read(chain(folder, corpus(folder / "corpus", files(twins)), "--noise", "ms-snsd", *mixing))


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> manifest.Manifest:
    """A set that stores no clean speech of its own, with a twin of an utterance and of a noise across its splits."""
    return mixed_set(tmp_path_factory.mktemp("leaky"), True, "--snr", 5)


def near_findings(source: manifest.Manifest, **options: object) -> list[Finding]:
    return list(checks.audit(source, Options(("near",), ("near",), **options)).findings)  # type: ignore[arg-type]


def test_twins_of_a_built_set_are_found_though_only_mixtures_hold_the_speech(leaky: manifest.Manifest) -> None:
    (outcome,) = near_findings(leaky)
    pairs = [pair["ids"] for pair in outcome.figures["pairs"]]
    speech, noise = (
        ["ms-snsd/clean_train/a2", "ms-snsd/clean_test/b9"],
        ["ms-snsd/noise_train/Hum_1", "ms-snsd/noise_test/Fan_9"],
    )
    assert sorted(sorted(pair) for pair in pairs) == sorted([sorted(speech), sorted(noise)])
    assert (outcome.fails, outcome.rows) == (True, 4)
    assert "11 utterances out of their mixtures, the noise taken out" in outcome.detail
    assert not any(leaks.check in ("group", "source", "noise", "pcm") for leaks in checks.audit(leaky).findings)


def test_a_clean_set_has_none_and_a_virtual_one_is_heard_as_well(tmp_path: Path) -> None:
    clean = checks.audit(mixed_set(tmp_path / "clean", False, "--snr", 5), Options(checks=("near",)))
    assert [type(outcome) for outcome in (*clean.findings, *clean.clear)] == [Clear]
    (outcome,) = near_findings(mixed_set(tmp_path / "virtual", True, "--snr", 5, "--virtual"))
    assert len(outcome.figures["pairs"]) == 2


def test_speech_out_of_a_mixture_is_the_speech(leaky: manifest.Manifest) -> None:
    """To the rounding of the mixture, half a step, and of its gains."""
    reader = Reader(leaky.path.parent)
    known = {row.id: reader.pcm(row) for row in manifest.read(leaky.path.with_name("resampled.parquet")).rows()}
    speech_rows = [
        (row, samples)
        for row, samples in listening.sounds(frames.rows(near.recordings(leaky.frame).frame, Row), leaky.path.parent)
        if row.kind == "mixture"
    ]
    assert len(speech_rows) == 11
    for row, samples in speech_rows:
        assert np.abs(samples - known[str(row.speech_id)]).max() < 0.6 / 10 ** ((row.gain_db or 0.0) / 20)


def test_speech_is_taken_out_of_an_attenuated_mixture_at_its_own_level() -> None:
    speech, noise = (
        np.rint(samples * 32_768).astype(np.int16) for samples in (take(1), hiss(5.0, seed=1, level_dbfs=-35))
    )
    row = Row(
        "m", "c", "train", "g", "mixture", "@c/m", rate_hz=RATE_HZ, noise_start=70_000, gain_db=-4.5, noise_gain_db=3.0
    )
    mixture = dsp.mix(speech, dsp.crop(noise, 70_000, len(speech), RATE_HZ), -4.5, 3.0)
    assert np.abs(render.unmixed(row, mixture, noise) - speech).max() < 0.9  # half a step, over the gain


def test_an_utterance_in_many_mixtures_is_heard_once_where_its_noise_is_lowest(leaky: manifest.Manifest) -> None:
    mixtures = frames.pick(leaky.frame, frames.equal(leaky.frame["kind"], "mixture"))
    louder = frames.with_columns(mixtures, id=[f"{row_id}b" for row_id in mixtures["id"]], snr_db=30.0)
    twice = frames.concat([leaky.frame, louder], Row)
    every = near.recordings(twice)
    assert (every.stored, every.unmixed) == (6, 11)
    assert all(row.snr_db == 30.0 for row in frames.rows(every.frame, Row) if row.kind == "mixture")


def test_speech_whose_noise_is_stored_nowhere_is_heard_in_its_noise(leaky: manifest.Manifest) -> None:
    alone = frames.pick(leaky.frame, frames.equal(leaky.frame["kind"], "mixture"))
    every = near.recordings(alone)
    assert (every.stored, every.unmixed, every.noisy) == (0, 0, 11)
    assert every.hidden == len(set(alone["noise_pcm_hash"]))
    assert "with the noise of their mixture in them" in every.sentence()


def test_a_sample_says_what_it_misses(leaky: manifest.Manifest) -> None:
    answer = checks.audit(leaky, Options(checks=("near",), sample=8))
    (outcome,) = (*answer.findings, *answer.clear)
    assert outcome.figures["heard"] == 8
    assert "a sample of 8 was compared, so that a pair is seen with a chance of" in outcome.detail
    assert near_findings(leaky, sample=0)[0].figures["heard"] == 17


def test_workers_find_the_same(leaky: manifest.Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near, "CLIPS_A_CHUNK", 3)
    answers = [
        prep(leaky.path.parent, "audit", leaky.path, "--checks", "near", "--json", "--jobs", jobs).out
        for jobs in (1, 2)
    ]
    assert answers[0] == answers[1]
    assert prep(leaky.path.parent, "audit", leaky.path, "--checks", "near", "--fail-on", "near", "--jobs", 1).code == 1


def test_workers_that_listen_load_no_pandas() -> None:
    loaded = "import sys, pipeline.inspect.audit.listening; print(sorted(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", loaded], check=True, capture_output=True, text=True)
    assert "'numpy'" in ended.stdout
    assert not [name for name in ("pandas", "pyarrow", "duckdb", "matplotlib") if f"'{name}'" in ended.stdout]


def test_rows_of_one_split_are_not_compared(leaky: manifest.Manifest) -> None:
    rows = frames.pick(leaky.frame, frames.equal(leaky.frame["split"], "train"))
    answer = checks.audit(manifest.Manifest(rows, leaky.provenance, leaky.path), Options(checks=("near",)))
    assert [clear.detail for clear in answer.clear] == ["the recordings are all of one split: nothing to compare"]
