"""What each network takes of samples at 16 kHz: pictures for AST, CNN6 and EfficientNet, normalised samples for others.

A picture is as long as the window of its clip, and what follows is silence. All in float32.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn
from transformers.audio_utils import mel_filter_bank

from train.features import HOP, RATE_HZ, LogMel

FRAME = 400  # samples of a frame of Kaldi's filter bank: 25 ms
KALDI_FLOOR = 1.192092955078125e-07
MEAN, DOUBLE_STD = -4.2677393, 9.1379  # of the filter bank on AudioSet, as AST was trained: 2 x 4.5689974
PRE_EMPHASIS = 0.97
LEAST = 400  # samples that the networks on samples need: one frame of theirs


class FilterBank(nn.Module):
    """Kaldi's log filter bank as ASTFeatureExtractor has it: samples to [clips, frames, bands], to within 2e-4.

    A frame is each 10 ms of the window; those behind the end of a clip are 0 before the normalisation.
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, bands: int) -> None:
        super().__init__()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # 128 bands leave the lowest without a bin of the transform; AST has it so
            filters = mel_filter_bank(257, bands, 20, RATE_HZ // 2, RATE_HZ, None, "kaldi", True)
        self.register_buffer("filters", torch.from_numpy(filters.copy()).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(FRAME, periodic=False), persistent=False)

    @torch.no_grad()
    def forward(self, samples: Tensor, sizes: Tensor) -> Tensor:
        """samples: float32 [clips, window], zeros after the end of each clip; sizes: samples of each clip."""
        with torch.autocast(samples.device.type, enabled=False):
            frames = nn.functional.pad(samples.float(), (0, FRAME - HOP)).unfold(1, FRAME, HOP)
            frames = frames - frames.mean(dim=-1, keepdim=True)
            first = frames[..., :1] * (1 - PRE_EMPHASIS)
            frames = torch.cat([first, frames[..., 1:] - PRE_EMPHASIS * frames[..., :-1]], dim=-1)
            power = torch.fft.rfft(frames * self.hann, 512).abs().square()
            bank = (power @ self.filters).clamp(min=KALDI_FLOOR).log()
        real = (sizes.clamp(min=FRAME) - FRAME) // HOP + 1
        is_real = torch.arange(frames.shape[1], device=samples.device) < real[:, None]
        return (bank * is_real[..., None] - MEAN) / DOUBLE_STD


class PannsLogMel(nn.Module):
    """The log-mel of PANNs, dB, [clips, 1, frames, 64], of 16 kHz in place of 32 kHz.

    PANNs take 1024 samples at 32 kHz each 320. The same frame at 16 kHz is 512 samples each 160, with a quarter of the
    power and only the lower half of the spectrum; in the 52 bands below 7 kHz nothing differs but the resampling. The
    9 bands above 8 kHz lie at the floor of -100 dB, which the published weights never heard.
    """

    filters: Tensor
    hann: Tensor

    def __init__(self, bands: int = 64) -> None:
        super().__init__()
        filters = mel_filter_bank(513, bands, 50.0, 14_000.0, 2 * RATE_HZ, norm="slaney", mel_scale="slaney")[:257]
        self.register_buffer("filters", torch.from_numpy(filters.copy()).float(), persistent=False)
        self.register_buffer("hann", torch.hann_window(512), persistent=False)

    @torch.no_grad()
    def forward(self, samples: Tensor, sizes: Tensor) -> Tensor:
        """samples: float32 [clips, window], a whole number of hops; the window is continued with silence."""
        frames = samples.shape[1] // HOP
        with torch.autocast(samples.device.type, enabled=False):
            padded = nn.functional.pad(samples.float(), (0, 512))
            spectrum = torch.stft(padded, 512, HOP, window=self.hann, return_complex=True)[..., :frames]
            power = 4 * spectrum.abs().square().transpose(1, 2)
            return 10 * (power @ self.filters).clamp(min=1e-10).log10()[:, None]


class Picture(nn.Module):
    """Whisper's log-mel of 128 bands as a picture of three equal channels, [clips, 3, 128, frames].

    The paper gives no picture. Three channels, so that the first layer of ImageNet's weights fits.
    """

    def __init__(self, bands: int = 128) -> None:
        super().__init__()
        self.log_mel = LogMel(bands)

    def forward(self, samples: Tensor, sizes: Tensor) -> Tensor:
        """samples: float32 [clips, window]."""
        return self.log_mel(samples)[:, None].expand(-1, 3, -1, -1)


class Normalised(nn.Module):
    """Samples with mean 0 and variance 1 over each clip, zeros behind it, as `do_normalize` of transformers has them.

    normalise: whether the checkpoint was trained on such samples; else they stay as they are.
    """

    def __init__(self, normalise: bool = True) -> None:
        super().__init__()
        self.normalise = normalise

    @torch.no_grad()
    def forward(self, samples: Tensor, sizes: Tensor) -> Tensor:
        """samples: float32 [clips, window], sizes: samples of each clip. Result: [clips, at least LEAST]."""
        samples = nn.functional.pad(samples.float(), (0, max(0, LEAST - samples.shape[1])))
        if not self.normalise:
            return samples
        real = (torch.arange(samples.shape[1], device=samples.device) < sizes[:, None]).float()
        count = sizes[:, None].float()
        centred = (samples - (samples * real).sum(1, keepdim=True) / count) * real
        return centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
