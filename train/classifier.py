"""A network that gives a clip one of the keywords, with its front, and the loss that it learns by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from train import archs, picture_nets, speech_nets
from train.archs import ARCHS
from train.batches import Batch
from train.examples import UNTAUGHT
from train.features import GRAIN, HOP
from train.fronts import FilterBank, Normalised, PannsLogMel, Picture


class Classifier(nn.Module):
    """A network over classes: the keywords of the lexicon and, where noise is a class of its own, noise as the last.

    frozen: nothing, the convolutions of a network on samples (`features`), or all but the head (`encoder`); with
    adapters all but those and the head. weights:
    how much a clip of each class counts. window: seconds that every clip is seen in, or "auto", each in its own.
    """

    weights: Tensor | None

    def __init__(
        self, arch: str, net: Any, classes: Sequence[str], frozen: str = "nothing", window: str = "auto"
    ) -> None:
        super().__init__()
        self.window = window
        self.arch, self.net, self.classes, self.frozen = ARCHS[arch], net, tuple(classes), frozen
        self.register_buffer("weights", None, persistent=False)
        self.front: nn.Module
        if self.arch.samples:
            self.front = Normalised()
        elif arch == "ast":
            self.front = FilterBank(net.config.num_mel_bins)
        else:
            self.front = PannsLogMel() if arch == "cnn6" else Picture()
        adapted = any("lora_" in name for name, _ in net.named_parameters())
        if self.arch.samples and (frozen != "nothing" or adapted):
            net.freeze_feature_encoder()
        if frozen == "encoder" or adapted:
            for name, parameter in net.named_parameters():
                parameter.requires_grad_(name.startswith(archs.HEAD) or "lora_" in name)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The cross-entropy of a share of a part of a step; over all of them they add up to the mean of the step."""
        if batch.samples.ndim == 3:  # means of layers, see cached.py
            logits = speech_nets.logits(self.net, batch.samples)
        else:
            logits = self.logits(batch.samples, batch.sizes)
        loss = functional.cross_entropy(
            logits.float(),
            batch.noise_class,
            weight=self.weights,
            ignore_index=UNTAUGHT,
            reduction="sum",
        )
        return {"class": loss / max(batch.totals.clips, 1)}

    def logits(self, samples: Tensor, sizes: Tensor) -> Tensor:
        """The logits, [clips, classes]. samples: float32 [clips, window], 0 behind the end; sizes: samples of each.

        The window is that of the longest clip, of all of them for AST.
        """
        if self.arch.samples:
            return speech_nets.logits(self.net, self.means(samples, sizes))
        picture = self.front(samples, sizes)
        if self.arch.name == "ast":
            return picture_nets.ast_logits(self.net, picture)
        own = (sizes.clamp(1, samples.shape[1]) + GRAIN - 1) // GRAIN * GRAIN // HOP
        is_one = self.window != "auto" or bool((own == samples.shape[1] // HOP).all())
        self.net.frames.counts = None if is_one else own
        answer = self.net(picture)
        return answer if isinstance(answer, Tensor) else answer.logits

    def means(self, samples: Tensor, sizes: Tensor) -> Tensor:
        """The mean over time of each layer that the head takes, [clips, layers, width], of a network on samples."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.frozen != "encoder"):
            return speech_nets.layer_means(self.net, self.front(samples, sizes), sizes)

    def train(self, mode: bool = True) -> Classifier:
        """Training mode; a frozen encoder stays in evaluation mode, without dropout and with the norms it has."""
        super().train(mode)
        if self.frozen == "encoder":
            (self.net.base_model if hasattr(self.net, "base_model") else self.net).eval()
        return self

    def learnable(self) -> list[nn.Parameter]:
        """The parameters that a training changes, in the order of the optimizer."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def weigh(self, counts: Mapping[int, int]) -> None:
        """Lets all classes count alike in the loss. counts: clips of each class; a clip counts 1 on average."""
        clips = torch.tensor([counts.get(n, 0) for n in range(len(self.classes))])
        self.weights = clips.sum() / (len(self.classes) * clips.clamp(min=1).float())

    def added_parameters(self) -> int:
        """How many parameters the head has."""
        return sum(p.numel() for name, p in self.net.named_parameters() if name.startswith(archs.HEAD))
