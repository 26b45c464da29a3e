"""One row to hear and to look at in a notebook: a player, a picture.

What it needs beyond prep is loaded when it is called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.core.errors import PrepError, to_install
from pipeline.core.row import Row

if TYPE_CHECKING:
    from numpy.typing import NDArray

WINDOW_S = 0.025  # of the spectrogram
LOWEST_DB = -100.0  # below full scale; quieter is drawn alike


def player(row: Row, samples: NDArray[np.int16]) -> Any:
    """An IPython player of int16 [frames] at the row's rate, not normalised.

    PrepError where IPython is not installed.
    """
    try:
        display = import_module("IPython.display")
    except ImportError:
        raise PrepError("play needs IPython, which every notebook has: pip install ipython") from None
    return display.Audio(samples.astype(np.float32) / 2**15, rate=row.rate_hz, normalize=False)


def figure(row: Row, samples: NDArray[np.int16]) -> Any:
    """A matplotlib figure of int16 [frames]: waveform above (full scale is 1), spectrogram below (dB below full scale).

    PrepError where matplotlib is not installed.
    """
    try:
        figures = import_module("matplotlib.figure")
    except ImportError:
        raise PrepError(f"plot needs matplotlib: {to_install('report')}") from None
    rate_hz = row.rate_hz or 1
    wave = samples.astype(np.float32) / 2**15
    picture = figures.Figure(figsize=(9, 4), layout="constrained")
    snr = f", SNR {row.snr_db:g} dB ({row.snr_definition}) with {row.noise_id}" if row.snr_db is not None else ""
    picture.suptitle(f"{row.id}{snr}", fontsize="medium")
    above, below = picture.subplots(2, sharex=True)
    above.plot(np.arange(len(wave)) / rate_hz, wave, linewidth=0.5)
    above.set_ylabel("amplitude")
    window = min(len(wave), max(2, round(WINDOW_S * rate_hz)))
    below.specgram(wave + 1e-9, NFFT=window, Fs=rate_hz, noverlap=window * 3 // 4, vmin=LOWEST_DB)
    below.set_ylabel("frequency (kHz)")
    below.yaxis.set_major_formatter(lambda hz, _: f"{hz / 1000:g}")
    below.set_xlabel("seconds")
    return picture
