"""Log-mel spectrograms of batches, on the device of the model: what WhisperFeatureExtractor computes, to within 1e-4.

A window is the stretch of audio that the encoder sees. A window of 30 s is Whisper's own. The log-mel of a shorter
window equals the first part of the log-mel at 30 s, because only padding is left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

RATE_HZ = 16_000
FFT = 400
HOP = 160  # samples between frames of the log-mel: 10 ms
STRIDE = 2 * HOP  # samples between positions of the encoder: 20 ms, because its second convolution has stride 2
LONGEST = 30 * RATE_HZ  # samples that Whisper's positions reach
GRAIN = RATE_HZ  # automatic windows are whole seconds, so that few shapes occur


def window_of(samples: int, window: str) -> int:
    """The samples in the window of a clip of so many samples: so many seconds, or with "auto" the next whole second.

    >>> window_of(16_001, "auto"), window_of(16_001, "30"), window_of(10**6, "auto")
    (32000, 480000, 480000)
    """
    return min(longest(window), max(1, -(-samples // GRAIN)) * GRAIN) if window == "auto" else longest(window)


def longest(window: str) -> int:
    """The most samples of a clip that the network hears; the rest is cut."""
    return LONGEST if window == "auto" else round(float(window) * RATE_HZ)


def real_positions(samples: Tensor) -> Tensor:
    """How many positions of the encoder belong to clips of so many samples, [clips]: ceil(samples / 320).

    Position p is centred on sample 320 p (frame 2 p of the log-mel is centred on sample 160 * 2 p). It belongs to the
    clip if that sample does.

    >>> real_positions(torch.tensor([1, 320, 321, 480_000])).tolist()
    [1, 1, 2, 1500]
    """
    return (samples.clamp(max=LONGEST) + STRIDE - 1) // STRIDE


class LogMel(nn.Module):
    """Samples [clips, window] to log-mel [clips, bands, window / 160], float32, on the device of the samples."""

    filters: Tensor
    hann: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        filters = mel_filter_bank(1 + FFT // 2, bands, 0.0, RATE_HZ / 2, RATE_HZ, norm="slaney", mel_scale="slaney")
        self.register_buffer("filters", torch.from_numpy(filters.T.copy()).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(FFT), persistent=False)

    @torch.no_grad()
    def forward(self, samples: Tensor) -> Tensor:
        """samples: float32 [clips, window] in [-1, 1), a whole number of hops, zeros after the end of each clip.

        The floor lies 8 (80 dB) below the peak of the clip, as in Whisper; padding never holds the peak. A window below
        30 s is continued with silence, because the transform would otherwise mirror the clip at the edge of the window.
        """
        frames = samples.shape[-1] // HOP
        if samples.shape[-1] < LONGEST:
            samples = nn.functional.pad(samples, (0, FFT))
        with torch.autocast(samples.device.type, enabled=False):  # bf16 would be off in the second digit
            spectrum = torch.stft(samples.float(), FFT, HOP, window=self.hann, return_complex=True)[..., :frames]
            mel = (self.filters @ spectrum.abs().square()).clamp(min=1e-10).log10()
        return (torch.maximum(mel, mel.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


def masked(mel: Tensor, spans: Tensor) -> Tensor:
    """The log-mel with spans set to 0; spans: int64 [clips, n, 4] of first frame, frames, first band, bands."""
    time, band = torch.arange(mel.shape[2], device=mel.device), torch.arange(mel.shape[1], device=mel.device)
    frame, frames, low, bands = (spans[..., n, None] for n in range(4))
    in_time = ((time >= frame) & (time < frame + frames)).any(dim=1)
    in_band = ((band >= low) & (band < low + bands)).any(dim=1)
    return mel.masked_fill(in_time[:, None, :] | in_band[:, :, None], 0.0)
