"""The networks that can be trained as classifiers: their classes, published weights and shapes, and checked loading."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.core import texts
from pipeline.core.errors import PrepError, sample
from train import lora, picture_nets, speech_nets
from train.cnn6 import CHANNELS, Cnn6, load_panns
from train.features import RATE_HZ
from train.model import seed_torch
from train.options import BATCH_NORMS, DEFAULTS, SPEECH, Options
from train.pretrained import REMEDY, WEIGHTS, check_files, check_place, check_shape, one_line

HEAD = ("classifier.", "projector.", "layer_weights")  # what a published checkpoint may lack
UNUSED = ("masked_spec_embed",)  # a weight of pre-training that no classifier uses
SILENCE = -100.0  # dB, the floor of PANNs' log-mel

_LARGE = {  # HuBERT-Large and XLS-R 300M
    "hidden_size": 1024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "do_stable_layer_norm": True,
    "feat_extract_norm": "layer",
    "conv_bias": True,
}
_LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
_DROPOUTS = ("hidden_dropout", "attention_dropout", "activation_dropout", "feat_proj_dropout", "final_dropout")
_SMALL = _LAYERS | {  # of the networks on samples
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
    "classifier_proj_size": 16,
    **dict.fromkeys(_DROPOUTS, 0.0),
}
_SMALL_LARGE = _SMALL | {name: _LARGE[name] for name in ("do_stable_layer_norm", "feat_extract_norm", "conv_bias")}


@dataclass(frozen=True, slots=True)
class Arch:
    """A network: its class in transformers (None for CNN6), model_type, and the published and a tiny shape."""

    name: str
    kind: str | None
    model_type: str
    real: Mapping[str, Any]
    tiny: Mapping[str, Any]

    @property
    def samples(self) -> bool:
        """Whether it takes samples, not a picture."""
        return self.name in SPEECH

    @property
    def batch_norm(self) -> bool:
        """Whether it normalises over a batch, which must then go through it in one piece."""
        return self.name in BATCH_NORMS

    def config(self, values: Mapping[str, Any], classes: Sequence[str]) -> Any:
        """A configuration of transformers with these values and classes."""
        kind = getattr(transformers, str(self.kind)).config_class
        return kind(**values, **_named(classes))


ARCHS = {
    arch.name: arch
    for arch in (
        Arch(
            "efficientnet",
            "EfficientNetForImageClassification",
            "efficientnet",
            {
                "width_coefficient": 1.0,
                "depth_coefficient": 1.0,
                "hidden_dim": 1280,
                "dropout_rate": 0.2,
                "image_size": 224,
                "batch_norm_momentum": 0.1,
            },
            {
                "width_coefficient": 0.05,
                "depth_coefficient": 0.1,
                "hidden_dim": 64,
                "dropout_rate": 0.0,
                "drop_connect_rate": 0.0,
                "kernel_sizes": [3, 3, 3],
                "in_channels": [32, 16, 24],
                "out_channels": [16, 24, 40],
                "strides": [2, 2, 2],
                "num_block_repeats": [1, 1, 1],
                "expand_ratios": [1, 6, 6],
                "depthwise_padding": [],
                "batch_norm_momentum": 0.1,
            },
        ),
        Arch("cnn6", None, "cnn6", {"channels": CHANNELS}, {"channels": (4, 8, 16, 32), "dropout": False}),
        Arch(
            "ast",
            "ASTForAudioClassification",
            "audio-spectrogram-transformer",
            {},
            _LAYERS | {"num_mel_bins": 64, "frequency_stride": 16, "time_stride": 16},
        ),
        Arch("wav2vec2", "Wav2Vec2ForSequenceClassification", "wav2vec2", {}, _SMALL),
        Arch("hubert", "HubertForSequenceClassification", "hubert", _LARGE, _SMALL_LARGE),
        Arch("xlsr", "Wav2Vec2ForSequenceClassification", "wav2vec2", _LARGE, _SMALL_LARGE),
    )
}


def _named(classes: Sequence[str]) -> dict[str, Any]:
    return {"id2label": dict(enumerate(classes)), "label2id": {name: n for n, name in enumerate(classes)}}


def build(arch: Arch, values: Mapping[str, Any], classes: Sequence[str]) -> Any:
    """The network with random weights, of the shape that `values` describe."""
    if arch.kind is None:
        net = Cnn6(len(classes), **values)
        net.bn0.running_mean.fill_(SILENCE)  # bands that no recording has: their mean would come near only slowly
        return net
    net = getattr(transformers, arch.kind)(arch.config(values, classes))
    if arch.name == "efficientnet":
        _initialise(net)
    return net


def _initialise(net: nn.Module) -> None:
    """Draws EfficientNet's weights anew: with norms from N(0, 0.02), as in transformers, it learns nothing."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)


def load(options: Options, classes: Sequence[str]) -> Any:
    """The network that the options name, with a new head. PrepError in one line where it cannot be had."""
    arch, name = ARCHS[options.arch], options.model
    is_cut = arch.name == "ast" and options.window != "auto"
    frames = {"max_length": round(float(options.window) * 100)} if is_cut else {}
    own = _settings(arch, options)
    if name == "tiny" and options.init == "pretrained":
        raise PrepError("tiny has no weights, train it from random ones with --init random")
    if options.init == "random":
        seed_torch(options.seed, "weights")
        if name in ("tiny", DEFAULTS[arch.name]["model"]):
            shape = arch.tiny if name == "tiny" else arch.real
            return _ready(build(arch, {**shape, **own, **frames}, classes))
        if arch.kind is None:
            raise PrepError(f"{name}: cnn6 has one shape: for random weights leave --model out, or give --model tiny")
        return _ready(build(arch, {**_values(arch, name), **own, **frames}, classes))
    seed_torch(options.seed, "head")
    if arch.kind is None:
        net = Cnn6(len(classes))
        load_panns(net, Path(name))
        return net
    net, info = _pretrained(arch, name, classes, own)
    if faults := _faults(info, (*HEAD, *UNUSED)):
        raise PrepError(f"{name}: its weights do not fit its config.json: {faults}: {REMEDY}")
    if "layer_weights" in info["missing_keys"]:  # transformers leaves it as it finds the memory
        nn.init.zeros_(net.layer_weights)
    if is_cut:
        table = picture_nets.positions(net, frames["max_length"]).detach().clone()
        net.audio_spectrogram_transformer.embeddings.position_embeddings = nn.Parameter(table)
        net.config.max_length = frames["max_length"]
    return _ready(net)


def _settings(arch: Arch, options: Options) -> dict[str, Any]:
    """What a configuration must say, whatever the checkpoint says."""
    if arch.name == "efficientnet":
        return {"batch_norm_momentum": 0.1}  # TensorFlow's 0.99 means that only the last batch counts
    if not arch.samples:
        return {}
    # its masks come from a global generator, and layers that are left out do not go with a sum over layers
    layers = {"use_weighted_layer_sum": True, "layerdrop": 0.0} if options.layers == "sum" else {}
    return {"apply_spec_augment": False, "use_weighted_layer_sum": False} | layers


def _ready(net: Any) -> Any:
    """The network with the parts of ours in place of those of transformers that look beyond a clip."""
    if hasattr(net, "efficientnet"):
        picture_nets.adapt(net)
    if hasattr(net, "projector"):
        speech_nets.adapt(net)
        if hasattr(net.base_model, "masked_spec_embed"):
            net.base_model.masked_spec_embed.requires_grad_(False)
    return net


def _values(arch: Arch, name: str) -> dict[str, Any]:
    """The configuration of a checkpoint. PrepError where it is none of this network."""
    check_place(name, "pretrained")
    try:
        values, _ = transformers.PretrainedConfig.get_config_dict(name)
    except Exception as error:  # transformers raises anything on a folder that is damaged or of another library
        raise PrepError(f"{name}: no checkpoint that can be read ({one_line(error)}): {REMEDY}") from None
    if values.get("model_type") != arch.model_type:
        raise PrepError(
            f"{name}: config.json is of a model {values.get('model_type')!r}, --arch {arch.name} expects"
            f" {arch.model_type!r}: {REMEDY}"
        )
    check_shape(name, values, Path(name) if Path(name).is_dir() else None)
    return {key: value for key, value in values.items() if key not in ("id2label", "label2id", "architectures")}


def check_name(options: Options) -> None:
    """PrepError where the weights cannot be had, before anything else is read."""
    if options.arch != "cnn6" and options.init == "pretrained":
        check_place(options.model, options.init)


def _pretrained(
    arch: Arch, name: str, classes: Sequence[str], settings: Mapping[str, Any]
) -> tuple[Any, dict[str, Any]]:
    """(the network with the weights of a checkpoint, what did not fit)."""
    _values(arch, name)
    if Path(name).is_dir():
        check_files(Path(name))
    try:
        net, info = getattr(transformers, str(arch.kind)).from_pretrained(
            name,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **settings,
            **_named(classes),
        )
    except Exception as error:  # as above
        raise PrepError(f"{name}: no checkpoint that can be read ({one_line(error)}): {REMEDY}") from None
    return net, info


def _faults(info: Mapping[str, Any], but: Sequence[str] = ()) -> str:
    """Which tensors are missing or of another shape, beside those with one of the names `but` in them; else ""."""
    missing = sorted(key for key in info["missing_keys"] if not any(name in key for name in but))
    shapes = sorted(each for each in info["mismatched_keys"] if not any(name in each[0] for name in but))
    faults = [f"tensors missing: {len(missing)} ({sample(missing)})"] if missing else []
    faults += [f"{key} is {list(found)}, expected {list(own)}" for key, found, own in shapes[:1]]
    return "; ".join(faults)


def save(net: Any, folder: Path) -> None:
    """Writes the network to a folder, in the format of transformers where it has one."""
    tensors = lora.merged(net)
    if isinstance(net, Cnn6):
        shape = {"model_type": "cnn6", "channels": list(net.channels), "dropout": net.dropout}
        (folder / "config.json").write_text(json.dumps(shape, indent=2) + "\n", encoding="utf-8")
        save_file({name: value.contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
        return
    net.save_pretrained(folder, state_dict=tensors)
    if hasattr(net, "projector"):
        transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    elif hasattr(net, "audio_spectrogram_transformer"):
        size = {"max_length": net.config.max_length, "num_mel_bins": net.config.num_mel_bins}
        (folder / "preprocessor_config.json").write_text(
            json.dumps({"feature_extractor_type": "ASTFeatureExtractor", "sampling_rate": RATE_HZ} | size) + "\n",
            "utf-8",
        )


def read(name: str, folder: Path, classes: Sequence[str]) -> Any:
    """The network of this name that `save` wrote. PrepError where a tensor does not fit."""
    arch = ARCHS[name]
    if arch.kind is not None:
        net, info = _pretrained(arch, str(folder), classes, {})
        if faults := _faults(info):
            raise PrepError(f"{folder}: its weights do not fit its config.json: {faults}: copy it again")
        return _ready(net)
    try:
        shape = texts.from_json(texts.read(folder / "config.json"))
        net = Cnn6(len(classes), shape["channels"], shape["dropout"])
        net.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise PrepError(f"{folder}: no CNN6 that `train` wrote ({one_line(error)}): copy it again") from None
    return net
