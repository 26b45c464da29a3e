"""CNN6 of PANNs (Kong et al., 2020, arXiv 1912.10211): four convolutions of 5 x 5 on a log-mel; its published file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.core.errors import PrepError
from train.picture_nets import Frames, RealBatchNorm

CHANNELS, BANDS = (64, 128, 256, 512), 64
FRONT = ("spectrogram_extractor.", "logmel_extractor.")  # constants, computed here
OLD_HEAD = "fc_audioset."  # 527 classes of AudioSet
WHERE = "Cnn6_mAP=0.343.pth, which the authors of PANNs publish (Zenodo, record 3987831)"


class Block(nn.Module):
    """5 x 5 convolution, batch norm, ReLU, mean over 2 x 2."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 5, padding=2, bias=False)
        self.bn1 = RealBatchNorm(outputs)
        self.pool = nn.AvgPool2d(2)

    def forward(self, picture: Tensor) -> Tensor:
        """[clips, inputs, frames, bands] to [clips, outputs, frames / 2, bands / 2]."""
        return self.pool(functional.relu(self.bn1(self.conv1(picture))))


class Cnn6(nn.Module):
    """A log-mel [clips, 1, frames, 64] in dB to the logits of classes. Names of the weights as in PANNs."""

    def __init__(self, classes: int, channels: Sequence[int] = CHANNELS, dropout: bool = True) -> None:
        super().__init__()
        self.channels, self.dropout = tuple(channels), dropout
        self.bn0 = RealBatchNorm(BANDS)
        for n, (inputs, outputs) in enumerate(zip((1, *channels[:-1]), channels, strict=True), 1):
            self.add_module(f"conv_block{n}", Block(inputs, outputs))
        self.fc1 = nn.Linear(channels[-1], channels[-1])
        self.classifier = nn.Linear(channels[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        self.frames = Frames(self, axis=2)

    def forward(self, picture: Tensor) -> Tensor:
        """Logits, [clips, classes]."""
        drops = self.training and self.dropout
        hidden = self.bn0(picture.transpose(1, 3)).transpose(1, 3)  # a norm for each band
        for n in range(1, len(self.channels) + 1):
            hidden = functional.dropout(getattr(self, f"conv_block{n}")(hidden), 0.2, drops)
        real = self.frames.real(hidden)
        if real is not None:  # all is at least 0 behind a ReLU
            hidden = hidden * real
        hidden = hidden.mean(dim=3)
        mean = hidden.mean(dim=2) if real is None else hidden.sum(dim=2) / real.sum(dim=2)[..., 0]
        hidden = functional.dropout(hidden.amax(dim=2) + mean, 0.5, drops)
        hidden = functional.relu(self.fc1(hidden))
        return self.classifier(functional.dropout(hidden, 0.5, drops))


def load_panns(net: Cnn6, path: Path) -> None:
    """Takes over the published weights; the classifier keeps its own. PrepError where the file is another one."""
    if not path.is_file():
        raise PrepError(f"{path}: no such file: give --model the file {WHERE}, or --init random")
    try:
        values: Any = torch.load(path, map_location="cpu", weights_only=True)  # runs no code
        tensors = dict(values["model"])
    except Exception as error:  # torch raises anything on a file that is damaged or something else
        raise PrepError(
            f"{path}: no weights of PANNs that can be read ({type(error).__name__}): it is damaged, or holds more than"
            f" tensors, which is not read, because it could run code; give {WHERE}"
        ) from None
    tensors = {key: value for key, value in tensors.items() if not key.startswith((*FRONT, OLD_HEAD))}
    own = {key: value for key, value in net.state_dict().items() if not key.startswith("classifier.")}
    odd = sorted(own.keys() ^ tensors.keys()) or sorted(key for key in own if own[key].shape != tensors[key].shape)
    if odd:
        raise PrepError(
            f"{path}: not the weights of CNN6 ({len(odd)} tensors do not fit, {odd[0]} for one): give {WHERE}"
        )
    net.load_state_dict(tensors, strict=False)
