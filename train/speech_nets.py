"""Networks on samples (wav2vec 2.0, HuBERT, XLS-R): time means in which no clip depends on the padding of another.

The plain classes of transformers normalise over padding, and take the last of all hidden states before the final layer
norm; here the norm is over the samples of a clip, and the last state is the one that the encoder gives.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class RealGroupNorm(nn.GroupNorm):
    """A group norm of one channel a group over the first `frames` of each clip; [clips, channels, frames], float32."""

    frames: Tensor | None = None  # of each clip, set before every use

    def forward(self, hidden: Tensor) -> Tensor:
        """The normalised hidden states; behind the end of a clip they are 0."""
        if self.frames is None:
            return super().forward(hidden)
        with torch.autocast(hidden.device.type, enabled=False):
            hidden, count = hidden.float(), self.frames[:, None, None].float()
            real = (torch.arange(hidden.shape[-1], device=hidden.device) < self.frames[:, None])[:, None].float()
            centred = (hidden - (hidden * real).sum(-1, keepdim=True) / count) * real
            variance = centred.square().sum(-1, keepdim=True) / count
            scaled = centred * (variance + self.eps).rsqrt() * self.weight[:, None] + self.bias[:, None]
        return scaled * real


def adapt(net: Any) -> None:
    """Puts RealGroupNorm in place of the one group norm that wav2vec2-Base has; the names of the weights stay."""
    for layer in net.base_model.feature_extractor.conv_layers:
        norm = getattr(layer, "layer_norm", None)
        if isinstance(norm, nn.GroupNorm):
            own = RealGroupNorm(norm.num_groups, norm.num_channels, norm.eps)
            own.weight, own.bias = norm.weight, norm.bias
            layer.layer_norm = own


def layer_means(net: Any, samples: Tensor, sizes: Tensor) -> Tensor:
    """The mean over the real frames of each layer, [clips, layers + 1, width]; the last alone without a weighted sum.

    samples: [clips, window] as Normalised gives them; sizes: samples of each clip.
    """
    sizes = sizes.clamp(min=400, max=samples.shape[1])
    config, base = net.config, net.base_model
    for layer in base.feature_extractor.conv_layers:
        if isinstance(getattr(layer, "layer_norm", None), RealGroupNorm):
            layer.layer_norm.frames = (sizes - config.conv_kernel[0]) // config.conv_stride[0] + 1
    mask = (torch.arange(samples.shape[1], device=samples.device) < sizes[:, None]).long()
    out = base(samples, attention_mask=mask, output_hidden_states=config.use_weighted_layer_sum)
    states = [out.last_hidden_state]
    if config.use_weighted_layer_sum:
        states = [*out.hidden_states[:-1], out.last_hidden_state]
    hidden = torch.stack(states, dim=1)
    count = net._get_feat_extract_output_lengths(sizes)
    real = (torch.arange(hidden.shape[2], device=hidden.device) < count[:, None]).to(hidden.dtype)
    return (hidden * real[:, None, :, None]).sum(dim=2) / count[:, None, None].to(hidden.dtype)


def logits(net: Any, means: Tensor) -> Tensor:
    """The logits of classes, [clips, classes]. means: what `layer_means` gives; all from there on is linear in them."""
    if net.config.use_weighted_layer_sum:
        shares = functional.softmax(net.layer_weights, dim=-1)
        pooled = (means * shares[:, None]).sum(dim=1)
    else:
        pooled = means[:, -1]
    return net.classifier(net.projector(pooled))
