"""The samples of a row: of a recording at a new rate, of a mixture of speech and noise, and of the speech in a mixture.

Everything that needs samples of a row calls these functions: stages, readers, exports, checks, training. They take
arrays and never open a file.
"""

from __future__ import annotations

import numpy as np

from pipeline.audio import dsp
from pipeline.audio.codec import Recording, floats, pcm_crc
from pipeline.audio.dsp import Pcm16, Samples
from pipeline.core.errors import CorruptMember
from pipeline.core.row import Row


def speech(
    row: Row, recording: Recording, rate_hz: int, quality: str, highpass_hz: float | None = None
) -> tuple[Pcm16, float]:
    """(samples of a recording at this rate, mono, int16 [frames]; their gain in dB, 0.0 or less).

    row: what ingest wrote down (source_*); CorruptMember `changed` where the recording is not the one that ingest
    opened. quality: of soxr. highpass_hz: what lies under it is removed. A recording that would pass
    full scale (resampling overshoots) is attenuated to full scale minus 0.1 dB.
    """
    shape = recording.rate_hz, *recording.pcm.shape[::-1], recording.format
    expected = row.source_rate_hz, row.source_channels, row.source_frames, row.source_format
    if shape != expected:
        raise CorruptMember(
            "changed",
            f"{row.source} is {shape} (rate, channels, frames, format), ingest saw {expected}: ingest the corpus again",
        )
    if row.source_pcm_crc != pcm_crc(recording.pcm):
        raise CorruptMember("changed", f"{row.source} has other samples than ingest saw: ingest the corpus again")
    is_as_stored = recording.pcm.dtype == np.int16 and recording.pcm.shape[1] == 1 and recording.rate_hz == rate_hz
    if is_as_stored and highpass_hz is None:
        return recording.pcm[:, 0], 0.0
    samples = dsp.resample(dsp.mono(floats(recording)), recording.rate_hz, rate_hz, quality)
    if highpass_hz is not None:
        samples = dsp.highpass(samples, rate_hz, highpass_hz)
    if dsp.fits(samples):
        return dsp.quantised(samples), 0.0
    gain_db = dsp.attenuation_db(dsp.peak(samples))
    return dsp.quantised(samples * np.float32(dsp.gain(gain_db))), gain_db


def mixture(row: Row, speech: Pcm16, noise: Pcm16) -> Pcm16:
    """The samples of a mixture out of its parts, int16 [frames]: round(gain * speech + noise_gain * crop of the noise).

    row: rate_hz, noise_start, gain_db and noise_gain_db. noise: the whole recording, from which the crop begins at
    noise_start. ValueError where one of these is null, where the noise does not reach that far, or where the sum passes
    full scale.
    """
    if row.rate_hz is None or row.noise_start is None or row.gain_db is None or row.noise_gain_db is None:
        raise ValueError(f"{row.id}: rate_hz, noise_start, gain_db and noise_gain_db are needed to render a mixture")
    crop = dsp.crop(noise, row.noise_start, len(speech), row.rate_hz)
    return dsp.mix(speech, crop, row.gain_db, row.noise_gain_db)


def unmixed(row: Row, mixture: Pcm16, noise: Pcm16) -> Samples:
    """The speech in a mixture, (mixture - noise_gain * crop) / gain: the inverse of `mixture`.

    Returns float32 [frames], full scale 2**15. True to half a step of 16 bits over the gain of the speech.
    ValueError as `mixture`.
    """
    if row.rate_hz is None or row.noise_start is None or row.gain_db is None or row.noise_gain_db is None:
        raise ValueError(f"{row.id}: rate_hz, noise_start, gain_db and noise_gain_db are needed to take the noise out")
    crop = dsp.crop(noise, row.noise_start, len(mixture), row.rate_hz)
    return np.asarray((mixture - crop * np.float32(dsp.gain(row.noise_gain_db))) / np.float32(dsp.gain(row.gain_db)))
