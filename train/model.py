"""Whisper with a noise head, a linear layer on the mean over time of the encoder's output; and the two losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import WhisperForConditionalGeneration

from pipeline.core import keys
from train.batches import Batch
from train.examples import UNTAUGHT
from train.features import LogMel, masked, real_positions
from train.options import Options


class Detector(nn.Module):
    """Whisper and, where `classes` is not empty, the noise head over them (speech is class 0).

    pool: "real" averages the positions of the clip itself, "all" those of the padding too.
    """

    def __init__(self, whisper: WhisperForConditionalGeneration, classes: Sequence[str], pool: str = "real") -> None:
        super().__init__()
        self.whisper = whisper
        self.classes = tuple(classes)
        self.pool = pool
        self.head = nn.Linear(whisper.config.d_model, len(classes)) if classes else None
        self.log_mel = LogMel(whisper.config.num_mel_bins)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a share of a part of a step, by name."""
        mel = masked(self.log_mel(batch.samples), batch.spans)
        return losses(*self.logits(mel, batch.sizes, batch.text_index, batch.inputs), batch)

    def logits(self, mel: Tensor, sizes: Tensor, text_index: Tensor, inputs: Tensor) -> tuple[Tensor | None, Tensor]:
        """(noise logits [clips, classes] or None, text logits [texts, tokens, vocabulary]).

        text_index: the clips that are decoded.
        """
        hidden = self.encoded(mel)
        decoded = self.whisper.model.decoder(
            input_ids=inputs, encoder_hidden_states=hidden.index_select(0, text_index), use_cache=False
        )
        return self.noise_logits(hidden, sizes), self.whisper.proj_out(decoded.last_hidden_state)

    def encoded(self, mel: Tensor) -> Tensor:
        """The encoder's output, [clips, frames / 2, width]; mel: [clips, bands, frames], frames even, at most 3000.

        Whisper's own encoder refuses any length but 30 s. A shorter one has the same positions, from the first on.
        """
        encoder = self.whisper.model.encoder
        hidden = functional.gelu(encoder.conv1(mel))
        hidden = functional.gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        hidden = functional.dropout(hidden, encoder.dropout, self.training)
        for layer in encoder.layers:
            hidden = layer(hidden, None)
        return encoder.layer_norm(hidden)

    def noise_logits(self, hidden: Tensor, sizes: Tensor) -> Tensor | None:
        """[clips, classes] from the encoder's output and each clip's number of samples; None without a head."""
        if self.head is None:
            return None
        return self.head(time_mean(hidden, sizes) if self.pool == "real" else hidden.mean(dim=1))

    def learnable(self) -> list[nn.Parameter]:
        """The parameters that are trained, in the order of the optimizer."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def added_parameters(self) -> int:
        """How many parameters the head adds."""
        return sum(p.numel() for p in self.head.parameters()) if self.head is not None else 0


def time_mean(hidden: Tensor, sizes: Tensor) -> Tensor:
    """Mean over the real positions of each clip, [clips, width]; sizes: samples of each clip."""
    positions = torch.arange(hidden.shape[1], device=hidden.device)
    real = (positions < real_positions(sizes)[:, None]).to(hidden.dtype)
    return (hidden * real[..., None]).sum(dim=1) / real.sum(dim=1, keepdim=True)


def losses(noise_logits: Tensor | None, text_logits: Tensor, batch: Batch) -> dict[str, Tensor]:
    """Cross-entropies of a share of a part of a step; over all of them they add up to the mean of the whole step.

    noise: over clips that have a noise class. text: over target tokens. Each is 0 where a step has none.
    """
    text = functional.cross_entropy(
        text_logits.float().flatten(0, 1), batch.labels.flatten(), ignore_index=UNTAUGHT, reduction="sum"
    )
    noise = text.new_zeros(())
    if noise_logits is not None:
        noise = functional.cross_entropy(
            noise_logits.float(), batch.noise_class, ignore_index=UNTAUGHT, reduction="sum"
        )
    return {"noise": noise / max(batch.totals.clips, 1), "text": text / max(batch.totals.tokens, 1)}


def total(losses: Mapping[str, Any], options: Options) -> Any:
    """noise_weight * L_noise + text_weight * L_seq2seq; of a classifier its one loss."""
    weights = {"noise": options.noise_weight, "text": options.text_weight, "class": 1.0}
    return sum(weights[name] * loss for name, loss in losses.items())


def interpolate(parameters: Sequence[Tensor], before: Sequence[Tensor], keep: float) -> None:
    """Sets the parameters to keep * before + (1 - keep) * parameters: the paper's "momentum update" after a step.

    AdamW's moments stay as they are: they follow the gradients, which are taken at the interpolated weights.
    """
    with torch.no_grad():
        for now, old in zip(parameters, before, strict=True):
            now.mul_(1.0 - keep).add_(old, alpha=keep)


def seed_torch(seed: int, *names: object) -> None:
    """Seeds torch's generators by name; what they give then depends on nothing that was drawn before.

    torch.manual_seed gives the same numbers, but takes a millisecond for devices that are not there.
    """
    number = int(keys.fingerprint(seed, *names)[:12], 16)
    torch.default_generator.manual_seed(number)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(number)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(number)
