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
Arch = Literal["whisper", "efficientnet", "cnn6", "ast", "wav2vec2", "hubert", "xlsr"]
SPEECH = ("wav2vec2", "hubert", "xlsr")  # they take samples of any length; the other classifiers a picture
BATCH_NORMS = ("efficientnet", "cnn6")  # they normalise over a batch, so a step is one pass
_CLASSIFIER = {"interpolation": 0.0}  # the paper names it for Whisper alone
DEFAULTS: Mapping[str, Mapping[str, Any]] = {  # of each arch, where they are others than Whisper's
    "whisper": {},
    "efficientnet": _CLASSIFIER | {"model": "google/efficientnet-b0"},
    "cnn6": _CLASSIFIER | {"model": "Cnn6_mAP=0.343.pth"},
    "ast": _CLASSIFIER | {"model": "MIT/ast-finetuned-audioset-10-10-0.4593"},
    "wav2vec2": _CLASSIFIER | {"model": "facebook/wav2vec2-base"},
    "hubert": _CLASSIFIER | {"model": "facebook/hubert-large-ll60k"},
    "xlsr": _CLASSIFIER | {"model": "facebook/wav2vec2-xls-r-300m"},
}
OF_WHISPER = ("task", "noise_classes", "noise_weight", "text_weight", "noise_text", "pool")
OF_WHISPER += ("spec_augment", "max_tokens")
OF_CLASSIFIERS = ("noise_as", "class_weights")


class Options(BaseModel):
    """What is trained and how. The same options on the same manifest give the same weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    arch: Arch = Field("whisper", description="the network: Whisper with a noise head, or a classifier of keywords")
    model: str = Field(
        "openai/whisper-tiny",
        description="checkpoint of the network: a folder, a hub name, or `tiny` (a small shape without weights; the"
        " default is the published one of the network",
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
    window: str = Field(
        "auto",
        description="seconds that the network hears: `auto`, each clip's own length in whole seconds; for Whisper also"
        " 30; for efficientnet, cnn6 and ast also a number, the same for every clip",
    )
    noise_as: Literal["noise", "others"] = Field(
        "noise", description="for classifiers, noise is a class of its own, or belongs to the keyword of other speech"
    )
    noise_corpora: tuple[str, ...] = Field(
        (), description="corpora whose noise is learnt from, such as cochlscene; none named means all"
    )
    class_weights: bool = Field(False, description="for classifiers, all classes count alike in the loss")
    layers: Literal["last", "sum"] = Field(
        "last", description="for wav2vec2, hubert and xlsr, the last layer, or a learnt sum of all as in SUPERB"
    )
    freeze: Literal["nothing", "features", "encoder"] = Field(
        "nothing", description="the part that keeps its weights; features are the convolutions of wav2vec2 and its like"
    )
    gradient_checkpointing: bool = Field(
        False, description="for ast, wav2vec2, hubert and xlsr, half the memory for a third more time: layers run twice"
    )
    lora: int | None = Field(
        None,
        ge=1,
        le=1024,
        description="for wav2vec2, hubert and xlsr, learn adapters of this rank and the head alone; checkpoints hold"
        " them added to the weights",
    )
    lr: float = Field(1e-4, gt=0, le=10, description="peak learning rate of AdamW")
    weight_decay: float = Field(
        0.01, ge=0, le=10, description="weight decay of AdamW, on every weight that learns: biases and norms too"
    )
    schedule: Literal["cosine", "constant"] = Field("cosine", description="the learning rate after the warm-up")
    warmup: int = Field(0, ge=0, le=MOST, description="steps of linear warm-up before it")
    batch: int = Field(32, ge=1, le=65_536, description="clips in a step, over all processes")
    epochs: float = Field(10, gt=0, le=100_000, description="passes over the training rows")
    steps: int | None = Field(None, ge=1, le=MOST, description="stop after so many steps (the cosine ends there)")
    interpolation: float = Field(
        0.5, ge=0, lt=1, description="share of the old weights that each step keeps; 0 is plain AdamW"
    )
    clip_norm: float = Field(1.0, ge=0, le=1e6, description="gradients are scaled down to this norm; 0 leaves them")
    hard_negatives: str | None = Field(
        None, description="file with ids of rows of train or dev, one a line, that evaluate --write-false-alarms wrote"
    )
    hard_weight: int = Field(3, ge=1, le=1000, description="how often each of them comes in an epoch")
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

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, values: Any) -> Any:
        """The values, with the defaults of their arch below them."""
        return {**DEFAULTS.get(values.get("arch", "whisper"), {}), **values} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _for_arch(self) -> Options:
        """ValueError for an option without effect on this network."""
        whisper, speech = self.arch == "whisper", self.arch in SPEECH
        useless = OF_CLASSIFIERS if whisper else OF_WHISPER
        changed = [name for name in useless if getattr(self, name) != type(self).model_fields[name].default]
        changed += ["layers"] * (self.layers != "last" and not speech)
        checkpoints = (speech or self.arch == "ast") and self.freeze != "encoder"
        changed += ["gradient_checkpointing"] * (self.gradient_checkpointing and not checkpoints)
        changed += ["lora"] * (self.lora is not None and not (speech and self.freeze != "encoder"))
        changed += ["freeze features"] * (self.freeze == "features" and not speech)
        if changed:
            frozen = " and a frozen encoder" if self.freeze == "encoder" else ""
            raise ValueError(f"{', '.join(changed)}: of no use with arch {self.arch}{frozen}")
        seconds = self.window.replace(".", "", 1).isdigit() and 1 <= float(self.window) <= 30
        fits, also = (self.window == "30", " or 30") if whisper else (seconds, ", or seconds from 1 to 30")
        if self.window != "auto" and (speech or not fits):
            raise ValueError(f"window {self.window}: arch {self.arch} takes auto{'' if speech else also}")
        if self.class_weights and self.balance:
            raise ValueError("class_weights and balance do the same: give one of them")
        return self

    @model_validator(mode="after")
    def _together(self) -> Options:
        if self.task == "single" and not self.text_weight:
            raise ValueError("task single with text_weight 0 has nothing to learn: raise text_weight")
        if self.task == "multi" and not (self.noise_weight or self.text_weight):
            raise ValueError("noise_weight and text_weight are both 0: there is nothing to learn")
        if "room" in self.augment and not self.impulse_responses:
            raise ValueError("augment room needs impulse_responses: a folder of WAV or FLAC files")
        if self.hard_negatives is None and self.hard_weight != type(self).model_fields["hard_weight"].default:
            raise ValueError("hard_weight needs hard_negatives: a file that evaluate --write-false-alarms wrote")
        return self

    def canonical(self) -> dict[str, Any]:
        """Every option with its value, as checkpoints carry it: file names without their folders."""
        values = self.model_dump(mode="json")
        files = ("speech", "impulse_responses", "hard_negatives")
        return values | {key: Path(values[key]).name for key in files if values[key]}


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
