"""Options of a training run: the paper's protocol by default, then a preset in TOML, then the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.core import presets
from pipeline.core.errors import RecipeError, did_you_mean
from pipeline.core.presets import SHIPPED

MOST = 10**9  # steps, and seeds


class Options(BaseModel):
    """What is trained and how. The same options on the same manifest give the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    model: str = Field(
        "openai/whisper-tiny",
        description="Whisper checkpoint: a folder, a hub name, or `tiny` (carried by the project)",
    )
    init: Literal["pretrained", "random"] = Field(
        "pretrained", description="weights of the checkpoint, or random weights in its shape"
    )
    task: Literal["multi", "single"] = Field(
        "multi", description="noise head and transcription, or transcription alone"
    )
    noise_classes: Literal["binary", "scenes"] = Field(
        "binary", description="the head tells speech from noise, or from each scene"
    )
    noise_weight: float = Field(1.0, ge=0, le=1e6, description="weight of the noise head's cross-entropy")
    text_weight: float = Field(1.0, ge=0, le=1e6, description="weight of the transcript's cross-entropy")
    noise_text: Literal["masked", "empty"] = Field(
        "masked",
        description="noise has no transcript: leave it out of the transcript's loss, or teach the decoder empty text",
    )
    pool: Literal["real", "all"] = Field(
        "real", description="positions that the head averages: those of the clip, or the padding too"
    )
    window: Literal["auto", "30"] = Field(
        "auto", description="seconds that the encoder sees: as long as the clips, or Whisper's 30"
    )
    freeze: Literal["nothing", "encoder"] = Field("nothing", description="the part that keeps its weights")
    lr: float = Field(1e-4, gt=0, le=10, description="peak learning rate of AdamW")
    weight_decay: float = Field(0.01, ge=0, le=10, description="weight decay of AdamW")
    warmup: int = Field(0, ge=0, le=MOST, description="steps of linear warm-up before the cosine")
    batch: int = Field(32, ge=1, le=65_536, description="clips in a step, over all processes")
    epochs: float = Field(10, gt=0, le=100_000, description="passes over the training rows")
    steps: int | None = Field(None, ge=1, le=MOST, description="stop after so many steps (the cosine ends there)")
    interpolation: float = Field(
        0.5, ge=0, lt=1, description="share of the old weights that each step keeps; 0 is plain AdamW"
    )
    clip_norm: float = Field(1.0, ge=0, le=1e6, description="gradients are scaled down to this norm; 0 leaves them")
    balance: bool = Field(False, description="each keyword and noise in equal shares of an epoch")
    crop_noise: bool = Field(
        False, description="cut each noise clip to the length of an utterance, so that its length tells nothing"
    )
    remix: bool = Field(False, description="fresh noise for every utterance in every epoch")
    speech: str | None = Field(None, description="manifest with the speech without noise, for --remix")
    spec_augment: bool = Field(False, description="mask random stretches of time and bands of the log-mel")
    augment: tuple[Literal["gain", "filter", "room"], ...] = Field(
        (), description="audiomentations on the waveform: gain, filter, room"
    )
    impulse_responses: str | None = Field(None, description="folder of impulse responses, for --augment room")
    best: Literal["loss", "macro_f1"] = Field("loss", description="dev score that chooses the best checkpoint")
    save_every: int | None = Field(None, ge=1, le=MOST, description="steps between checkpoints (default: each epoch)")
    max_tokens: int = Field(48, ge=1, le=440, description="longest transcript, in tokens")
    seed: int = Field(0, ge=-MOST, le=MOST, description="seed of every draw")

    @model_validator(mode="after")
    def _together(self) -> Options:
        if self.task == "single" and not self.text_weight:
            raise ValueError("task single with text_weight 0 has nothing to learn: raise text_weight")
        if self.task == "multi" and not (self.noise_weight or self.text_weight):
            raise ValueError("noise_weight and text_weight are both 0: there is nothing to learn")
        if "room" in self.augment and not self.impulse_responses:
            raise ValueError("augment room needs impulse_responses: a folder of WAV or FLAC files")
        return self

    def canonical(self) -> dict[str, Any]:
        """Every option with its value, as checkpoints carry it: file names without their folders."""
        values = self.model_dump(mode="json")
        return values | {key: Path(values[key]).name for key in ("speech", "impulse_responses") if values[key]}


def read(preset: str | None, given: Mapping[str, Any]) -> Options:
    """The options of a preset, overridden by those that are given. RecipeError names every fault.

    preset: a TOML file, or the name of one that comes with the project.
    """
    values: dict[str, Any] = {}
    if preset:
        values = presets.read(
            presets.find(preset, "preset", [path.name for path in sorted(SHIPPED.glob("train-*.toml"))])
        )
    try:
        return Options.model_validate(values | dict(given))
    except ValidationError as error:
        raise RecipeError(
            [f"{preset}: {_sentence(fault)}" if preset else _sentence(fault) for fault in error.errors()]
        ) from None


def _sentence(fault: Any) -> str:
    """A fault that pydantic reports: what was found, what was expected."""
    key = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        return f'unknown option "{key}"{did_you_mean(key, Options.model_fields)}'
    if fault["type"] == "value_error":
        return str(fault["ctx"]["error"])
    return f"{key}: found {fault['input']!r}, expected: {fault['msg'].removeprefix('Input should be ')}"
