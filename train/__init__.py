"""Training and judging a call-for-help detector: multitask Whisper, its gated cascade, the cascade on a stream.

Never here: how recordings become manifests, which is `pipeline`.
"""

from importlib import import_module
from typing import Any


def __getattr__(name: str) -> Any:
    """`train.predictions`, loaded at its first use: the help of the commands loads neither NumPy nor pandas."""
    if name == "predictions":
        return import_module("train.data").predictions
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
