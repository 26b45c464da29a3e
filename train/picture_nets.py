"""Networks on pictures: each clip is seen in a window of its own, whole seconds, however long its neighbours are.

CNN6 and EfficientNet normalise over a batch, so clips of several windows go through them in one pass: behind the window
of a clip every map is 0, as at the edge of a picture, and means and norms leave it out. AST sees one window at a time.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

PATCH = 16  # frames and bands of a patch of AST


class Frames:
    """How many frames of the maps of a pass each clip has, at the scale where the pass is; None means all.

    axis: of time, in maps [clips, channels, ...].
    """

    def __init__(self, net: nn.Module, axis: int) -> None:
        self.axis, self.counts, self._pad = axis, None, 0
        self.counts: Tensor | None
        for module in net.modules():
            if isinstance(module, RealBatchNorm | RealMean):
                module.frames = self
            elif isinstance(module, nn.ZeroPad2d | nn.AvgPool2d) or getattr(module, "kernel_size", (1, 1)) != (1, 1):
                module.register_forward_pre_hook(self._blank)
                module.register_forward_hook(self._scale)

    def real(self, maps: Tensor) -> Tensor | None:
        """1 in the window of each clip, 0 behind it, [clips, 1, ...]; None where all clips fill the maps."""
        if self.counts is None or maps.shape[self.axis] == 1:
            return None
        real = torch.arange(maps.shape[self.axis], device=maps.device) < self.counts[:, None]
        return real[:, None, :, None].float() if self.axis == 2 else real[:, None, None, :].float()

    def _blank(self, module: nn.Module, inputs: tuple[Tensor]) -> tuple[Tensor] | None:
        real = None if self._pad else self.real(inputs[0])  # what is padded was blanked before
        return None if real is None else (inputs[0] * real,)

    def _scale(self, module: Any, inputs: tuple[Tensor], maps: Tensor) -> None:
        if self.counts is None or inputs[0].shape[self.axis] == 1:
            return
        if isinstance(module, nn.ZeroPad2d):
            left, right, top, bottom = module.padding
            self._pad = top + bottom if self.axis == 2 else left + right
            return
        size, step = module.kernel_size, module.stride
        size, step = ((each if isinstance(each, int) else each[self.axis - 2]) for each in (size, step))
        if step > 1:
            self.counts = (self.counts + self._pad - size) // step + 1
        self._pad = 0


class RealBatchNorm(nn.BatchNorm2d):
    """A batch norm whose mean and variance are over the frames of each clip alone, in float32."""

    frames: Frames

    def forward(self, maps: Tensor) -> Tensor:
        """maps: [clips, channels, ...]."""
        real = self.frames.real(maps) if self.training else None
        if real is None:
            return super().forward(maps)
        with torch.autocast(maps.device.type, enabled=False):
            maps, count = maps.float(), real.sum() * maps.shape[5 - self.frames.axis]
            mean = (maps * real).sum((0, 2, 3)) / count
            centred = maps - mean[:, None, None]
            variance = (centred * real).square().sum((0, 2, 3)) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1), self.momentum)
                self.num_batches_tracked += 1
            scale = (variance + self.eps).rsqrt() * self.weight
            return centred * scale[:, None, None] + self.bias[:, None, None]


class RealMean(nn.AdaptiveAvgPool2d):
    """The mean over bands and the frames of each clip, [clips, channels, 1, 1]."""

    frames: Frames

    def forward(self, maps: Tensor) -> Tensor:
        """maps: [clips, channels, ...]."""
        real = self.frames.real(maps)
        if real is None:
            return super().forward(maps)
        return (maps * real).sum((2, 3), keepdim=True) / (real.sum((2, 3), keepdim=True) * maps.shape[2])


def adapt(net: Any) -> None:
    """Puts norms and means over real frames in place of those of EfficientNet; the names of the weights stay."""
    for parent in list(net.modules()):
        for name, module in parent.named_children():
            if isinstance(module, nn.BatchNorm2d):
                own = RealBatchNorm(module.num_features, module.eps, module.momentum)
                own.load_state_dict(module.state_dict())
                setattr(parent, name, own)
            elif isinstance(module, nn.AdaptiveAvgPool2d):
                setattr(parent, name, RealMean(1))
    net.efficientnet.pooler = RealMean(1)  # the same mean as the plain pooler, for maps of any size
    net.frames = Frames(net, axis=3)


def positions(net: Any, frames: int) -> Tensor:
    """AST's table of positions for so many frames, [1, tokens, width], as its authors fit it.

    A shorter one is cut from the middle in time, a longer one is interpolated.
    """
    config, table = net.config, net.audio_spectrogram_transformer.embeddings.position_embeddings
    bands = (config.num_mel_bins - PATCH) // config.frequency_stride + 1
    times, wanted = ((count - PATCH) // config.time_stride + 1 for count in (config.max_length, frames))
    if times == wanted:
        return table
    places = table[:, 2:].reshape(1, bands, times, -1)
    start = (times - wanted) // 2
    if wanted < times:
        places = places[:, :, start : start + wanted]
    else:
        places = functional.interpolate(places.permute(0, 3, 1, 2), (bands, wanted), mode="bilinear")
        places = places.permute(0, 2, 3, 1)
    return torch.cat([table[:, :2], places.reshape(1, bands * wanted, -1)], dim=1)


def ast_logits(net: Any, picture: Tensor) -> Tensor:
    """The logits of AST, [clips, classes], for pictures [clips, frames, bands] of any length."""
    name = "audio_spectrogram_transformer.embeddings.position_embeddings"
    return torch.func.functional_call(net, {name: positions(net, picture.shape[1])}, picture).logits
