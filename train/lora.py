"""LoRA (Hu et al., 2021, arXiv 2106.09685) through peft: adapters learn in place of the weights of a large network.

A checkpoint holds the sums of weights and adapters, as the plain class has them, so what reads it needs no peft. A run
that goes on begins with the weights that it began with before, and takes its adapters from the state beside `last/`.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from pipeline.core.errors import PrepError, to_install
from train.model import seed_torch

ADAPTED = ("q_proj", "v_proj")  # of every attention, as in the publication
SCALE = 2  # of the adapters' share in the sum


def adapt(net: Any, rank: int, seed: int) -> None:
    """Puts adapters of this rank into a network, which then gives what it gave before. PrepError without peft."""
    try:
        import peft
    except ImportError:
        raise PrepError(f"--lora needs peft, which is not installed: {to_install('lora')}") from None
    seed_torch(seed, "lora")
    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=SCALE * rank, target_modules=list(ADAPTED)), net)


def merged(module: nn.Module) -> dict[str, Tensor]:
    """The tensors of a network by the names of the plain class, with the adapters added; all of them without any."""
    adapted = {name: part for name, part in module.named_modules() if hasattr(part, "get_delta_weight")}
    values = {}
    for name, value in module.state_dict().items():
        owner, _, last = name.partition(".base_layer.")
        if owner in adapted and last == "weight":
            value = value + adapted[owner].get_delta_weight("default").detach()
        if ".lora_" not in name:
            values[name.replace(".base_layer.", ".")] = value
    return values
