"""Levels, crops, loops and sums: against arithmetic, against an independent P.56, and against the standard done sample
by sample."""

from __future__ import annotations

import math
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import reference
import soundfile as sf
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pyvoicebox import v_activlev
from sounds import hiss, voice

from pipeline import demo
from pipeline.audio import dsp

CARRIED = sorted((Path(demo.__file__).parent / "speech").glob("*.ogg"))[::5]
RATES_HZ = (8_000, 16_000, 44_100, 48_000)
LIMITS = settings(max_examples=40, deadline=None)


def tone(
    seconds: float, rate_hz: int = 16_000, level_dbfs: float = -20.0, pitch_hz: float = 440.0
) -> NDArray[np.float32]:
    """A sine whose RMS is at the level."""
    at = np.arange(round(seconds * rate_hz)) / rate_hz
    return np.asarray(math.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(2 * np.pi * pitch_hz * at), np.float32)


def active(samples: NDArray[np.float32], rate_hz: int = 16_000) -> dsp.ActiveLevel:
    found = dsp.active_level(samples, rate_hz)
    assert found is not None
    return found


@pytest.mark.parametrize("rate_hz", RATES_HZ)
@pytest.mark.parametrize("share", [0.2, 0.6, 1.0])
def test_active_level_is_that_of_the_standard_done_sample_by_sample(rate_hz: int, share: float) -> None:
    for seed, level_dbfs in enumerate((-12.0, -26.0, -45.0)):
        samples = voice(4.0 + seed / 7, rate_hz, seed, level_dbfs, share)
        level_dbfs, activity = reference.p56(samples, rate_hz)
        assert active(samples, rate_hz).level_dbfs == pytest.approx(level_dbfs, abs=0.01)
        assert active(samples, rate_hz).activity == pytest.approx(activity, abs=0.003)


@pytest.mark.parametrize("path", CARRIED, ids=lambda path: path.stem)
def test_active_level_of_speech_agrees_with_another_package(path: Path) -> None:
    """pyvoicebox-sap puts its thresholds 3 dB apart, relative to the level (the standard: 6 dB, powers of two), so the
    two
    interpolate differently; and it appends silence to every signal, so here both are given some."""
    spoken, rate_hz = sf.read(path, dtype="float32")
    samples = np.concatenate([spoken, np.zeros(rate_hz // 2, np.float32)])
    level_db = float(np.squeeze(v_activlev(samples.astype(np.float64), rate_hz, "d")[0]))
    assert active(samples, rate_hz).level_dbfs == pytest.approx(level_db, abs=0.06)


@pytest.mark.parametrize("rate_hz", RATES_HZ)
def test_a_second_of_tone_in_four_of_silence_has_the_level_of_the_tone(rate_hz: int) -> None:
    silence = np.zeros(4 * rate_hz, np.float32)
    samples = np.concatenate([silence[: 2 * rate_hz], tone(1.0, rate_hz), silence[: 2 * rate_hz]])
    found = active(samples, rate_hz)
    hangover = 10 * math.log10(1.0 + 0.2 + 0.1)  # the tone, the hangover, and the envelope that takes its time to fall
    assert -20.0 - hangover <= found.level_dbfs <= -20.0 - 10 * math.log10(1.2) + 0.1
    assert level_dbfs(samples) == pytest.approx(-20.0 - 10 * math.log10(5), abs=0.01)
    assert found.activity == pytest.approx(1.25 / 5, abs=0.01)


def level_dbfs(samples: NDArray[np.float32]) -> float:
    return dsp.db(dsp.power(samples))


def test_silence_has_no_level() -> None:
    for samples in (np.zeros(0, np.float32), np.zeros(16_000, np.float32), np.full(16_000, 0.25, np.float32)):
        assert dsp.active_level(samples, 16_000) is None
        assert dsp.power(samples) == 0.0


def test_a_full_scale_sine_is_at_minus_three_dbfs() -> None:
    assert level_dbfs(tone(1.0, level_dbfs=-3.0103)) == pytest.approx(-3.0103, abs=1e-3)


@LIMITS
@given(st.floats(-0.5, 0.5), st.integers(0, 5))
def test_a_constant_offset_moves_no_level(offset: float, seed: int) -> None:
    samples = voice(1.5, seed=seed)
    shifted = samples + np.float32(offset)
    assert level_dbfs(shifted) == pytest.approx(level_dbfs(samples), abs=2e-3)
    assert active(shifted).level_dbfs == pytest.approx(active(samples).level_dbfs, abs=2e-3)


@LIMITS
@given(st.integers(-6, 2), st.integers(0, 5))
def test_active_level_scales_exactly_with_powers_of_two(exponent: int, seed: int) -> None:
    samples = voice(1.5, seed=seed, level_dbfs=-30.0)
    moved = active(samples * np.float32(2.0**exponent)).level_dbfs - active(samples).level_dbfs
    assert moved == pytest.approx(20 * math.log10(2) * exponent, abs=1e-6)


@LIMITS
@given(st.floats(-40, 20), st.integers(0, 5))
def test_levels_scale_with_gain(gain_db: float, seed: int) -> None:
    """P.56's thresholds stand still while the signal moves, so its level follows within its interpolation error."""
    samples = voice(1.5, seed=seed, level_dbfs=-30.0)
    moved = samples * np.float32(10 ** (gain_db / 20))
    assert level_dbfs(moved) == pytest.approx(level_dbfs(samples) + gain_db, abs=1e-4)
    assert active(moved).level_dbfs == pytest.approx(active(samples).level_dbfs + gain_db, abs=0.15)


@LIMITS
@given(st.integers(1, 20_000), st.integers(0, 3))
def test_a_level_never_counts_what_lies_beyond_the_samples(frames: int, seed: int) -> None:
    samples = voice(2.0, seed=seed)[:frames]
    if not np.var(samples.astype(np.float64)) > 0:
        return
    assert level_dbfs(samples) == pytest.approx(reference.rms_db(samples), abs=1e-3)
    found = dsp.active_level(samples, 16_000)
    if found is not None:
        assert 0 < found.activity <= 1
        assert (
            found.level_dbfs >= reference.rms_db(samples) - 16 / frames * 10 / math.log(10) - 1e-3
        )  # active time is at most the whole


@pytest.mark.parametrize(
    ("frames", "rate_hz", "to_hz", "out"), [(44_100, 44_100, 16_000, 16_000), (8_000, 8_000, 16_000, 16_000)]
)
def test_resampling_keeps_duration_and_a_tone(frames: int, rate_hz: int, to_hz: int, out: int) -> None:
    found = dsp.resample(tone(frames / rate_hz, rate_hz), rate_hz, to_hz)
    assert found.shape == (out,)
    assert found.dtype == np.float32
    middle = slice(out // 10, -out // 10)
    assert np.abs(found[middle] - tone(out / to_hz, to_hz)[middle]).max() < 1e-3


def test_resampling_to_the_same_rate_changes_nothing() -> None:
    samples = voice(0.5)
    assert np.array_equal(dsp.resample(samples, 16_000, 16_000), samples)


@pytest.mark.parametrize("channels", [1, 2, 3, 6])
def test_mono_is_the_mean_of_the_channels(channels: int) -> None:
    samples = np.random.default_rng(0).uniform(-1, 1, (100, channels)).astype(np.float32)
    assert dsp.mono(samples) == pytest.approx(samples.astype(np.float64).mean(axis=1), abs=1e-6)


def test_opposite_channels_cancel() -> None:
    sound = voice(0.2)
    assert not dsp.mono(np.stack([sound, -sound], axis=1)).any()


@LIMITS
@given(st.lists(st.integers(-32_768, 32_767), min_size=1, max_size=200))
def test_sixteen_bits_come_back_as_they_were(values: list[int]) -> None:
    pcm = np.array(values, np.int16)
    assert np.array_equal(dsp.quantised(pcm.astype(np.float32) / np.float32(32_768)), pcm)


@LIMITS
@given(st.floats(-2.0, 2.0, width=32))
@example(np.nextafter(np.float32(1 - 2**-16), np.float32(0)))
@example(1 - 2**-16)
@example(-1.0)
def test_what_fits_is_rounded_and_nothing_that_would_wrap_fits(value: float) -> None:
    samples = np.array([value], np.float32)
    if dsp.fits(samples):
        assert abs(int(dsp.quantised(samples)[0]) - value * 32_768) <= 0.5
    else:
        assert not -1.0 <= value < 1 - 2**-16


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_sample_that_is_no_number_fits_nowhere(value: float) -> None:
    assert not dsp.fits(np.array([0.0, value], np.float32))


@LIMITS
@given(st.data())
def test_a_crop_is_that_of_the_plain_definition(data: st.DataObject) -> None:
    noise = (hiss(0.2, seed=data.draw(st.integers(0, 3))) * 32_768).astype(np.int16)[
        : data.draw(st.integers(640, 3_200))
    ]
    start, frames = data.draw(st.integers(0, len(noise) - 1)), data.draw(st.integers(0, 12_000))
    found, wanted = dsp.crop(noise, start, frames, 16_000), reference.cropped(noise, start, frames, 16_000)
    assert found.shape == wanted.shape == (frames,)
    assert np.abs(found.astype(int) - wanted).max(initial=0) <= 1  # float32 against float64 in the seam


@LIMITS
@given(st.integers(640, 4_000), st.integers(0, 20_000), st.data())
def test_a_crop_holds_nothing_but_noise(length: int, frames: int, data: st.DataObject) -> None:
    noise = np.full(
        length, 1_000, np.int16
    )  # in step with itself everywhere, so a seam may add to it but never fall below
    found = dsp.crop(noise, data.draw(st.integers(0, length - 1)), frames, 16_000)
    assert len(found) == frames
    assert (found >= 1_000).all()
    assert (found <= 1_415).all()


def test_the_seam_of_a_loop_has_the_power_of_the_rest() -> None:
    seams, rest = [], []
    for seed in range(200):
        loop = dsp.looped((hiss(0.3, seed=seed) * 32_768).astype(np.int16), 16_000).astype(np.float64)
        seams.append(np.mean(loop[:320] ** 2))
        rest.append(np.mean(loop[320:] ** 2))
    assert 10 * math.log10(np.mean(seams) / np.mean(rest)) == pytest.approx(0.0, abs=0.3)


def test_the_seam_of_a_loop_does_not_click() -> None:
    slow = (np.sin(2 * np.pi * np.arange(16_000) / 3_001.7) * 12_000).astype(
        np.int16
    )  # the wave does not close: a plain repeat jumps
    twice = dsp.crop(slow, 0, 40_000, 16_000).astype(int)
    plain = np.resize(slow, 40_000).astype(int)
    assert np.abs(np.diff(plain)).max() > 3_000
    assert np.abs(np.diff(twice)).max() < 120  # 25 a sample from the wave, and the 20 ms fade between two levels


@pytest.mark.parametrize("frames", [0, 1, 639])
def test_noise_too_short_to_loop_is_refused(frames: int) -> None:
    with pytest.raises(ValueError, match=r"too few|outside"):
        dsp.crop(np.ones(frames, np.int16), 0, 16_000, 16_000)


@pytest.mark.parametrize("start", [-1, 1_000, 5_000])
def test_a_start_outside_the_noise_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        dsp.crop(np.ones(1_000, np.int16), start, 10, 16_000)


@LIMITS
@given(st.floats(-30, 0), st.floats(-30, 0), st.integers(0, 5))
def test_a_mixture_is_the_rounded_sum_of_its_parts(gain_db: float, noise_gain_db: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    speech, noise = (rng.integers(-16_000, 16_000, 500).astype(np.int16) for _ in range(2))
    found = dsp.mix(speech, noise, gain_db, noise_gain_db)
    exact = speech * 10 ** (gain_db / 20) + noise * 10 ** (noise_gain_db / 20)
    assert found.dtype == np.int16
    assert np.abs(found - exact).max() <= 0.5 + 0.01  # float32


def test_a_mixture_that_would_clip_is_refused() -> None:
    loud = np.array([20_000, -20_000], np.int16)
    with pytest.raises(ValueError, match="full scale"):
        dsp.mix(loud, loud, 0.0, 0.0)
    assert dsp.mix(loud, -loud, 0.0, 0.0).tolist() == [0, 0]


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_the_length_after_resampling_is_known_before_it(rate_hz: int) -> None:
    lengths = np.array([1, 2, 3, 7, 99, 100, 101, 44_099, 44_100, 44_101])
    told = dsp.frames_at(lengths, np.full(len(lengths), rate_hz), 16_000)
    made = [len(dsp.resample(np.zeros(length, np.float32), rate_hz, 16_000)) for length in lengths]
    assert told.tolist() == made


def test_a_long_recording_is_measured_in_parts_as_it_would_be_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    sound = voice(70.0, 8_000, seed=3)
    pcm = dsp.quantised(sound)
    assert np.array_equal(pcm, np.rint(sound * np.float32(dsp.FULL_SCALE)).astype(np.int16))
    whole = dsp.slow(pcm[None], 8_000), dsp.active_level(pcm, 8_000)
    monkeypatch.setattr(dsp, "_WINDOWS", 7)
    monkeypatch.setattr(dsp, "_GROUPS", 3)
    slow, active = dsp.slow(pcm[None], 8_000), dsp.active_level(pcm, 8_000)
    assert slow == whole[0]
    assert active.level_dbfs == pytest.approx(whole[1].level_dbfs, abs=1e-9)
    assert active.activity == pytest.approx(whole[1].activity, abs=1e-9)


def test_measures_of_a_long_recording_take_little_more_memory_than_it_has() -> None:
    pcm = np.zeros(20_000_000, np.int16)
    pcm[::7] = 1_000
    sound = pcm.astype(np.float32) / dsp.FULL_SCALE
    tracemalloc.start()
    dsp.slow(pcm[None], 16_000)
    dsp.active_level(pcm, 16_000)
    dsp.quantised(sound)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 3 * pcm.nbytes
