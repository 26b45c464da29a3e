"""Checkpoints: folders of transformers with the head, the lexicon and what they were made from beside the weights."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import torch
import transformers
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import WhisperFeatureExtractor

from pipeline import __version__
from pipeline.core import keys, texts
from pipeline.core.errors import ManifestError, PrepError
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Lexicon
from train import archs, lora
from train.archs import ARCHS
from train.classifier import Classifier
from train.data import Recordings
from train.folder import replacing_folder, settle, write_text
from train.model import Detector
from train.pretrained import check_regular, check_tokens, load_whisper, not_finite, one_line
from train.text import Tokenizer, lexicon_as_toml

FORMAT = 1
METADATA, LEXICON, STATE = "made.json", "lexicon.toml", "state.pt"
HEAD, RECORDINGS = "head.safetensors", "recordings.safetensors"
MOST_BESIDE = 256 << 20  # bytes of a file beside the weights
COVERED = ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", HEAD, RECORDINGS)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a checkpoint was made from and how far it is. It holds no time, no host, no path.

    files: hashes of the files beside the weights that decide what the checkpoint answers. thresholds: of the gate and
    of the score, with what chose them, as `evaluate` kept them. noise: clips with noise of each corpus, by split.
    """

    manifest: str
    manifest_hash: str
    recipe: Mapping[str, Any]
    options: Mapping[str, Any]
    lexicon_hash: str
    classes: Sequence[str]
    pool: Literal["real", "all"]
    window: str
    step: int = 0
    epoch: float = 0.0
    dev: Mapping[str, Any] = field(default_factory=dict)
    weights_hash: str = ""
    code: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    thresholds: Mapping[str, Any] = field(default_factory=dict)
    noise: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    format: int = FORMAT

    @property
    def arch(self) -> str:
        """The network."""
        return str(self.options.get("arch", "whisper"))

    def differences(self, other: Metadata) -> list[str]:
        """What distinguishes the run of another checkpoint from that of this one; empty for checkpoints of one run."""
        names = sorted(self.options.keys() | other.options.keys())
        changed = [
            f"{name} {other.options.get(name)!r}, now {self.options.get(name)!r}"
            for name in names
            if self.options.get(name) != other.options.get(name)
        ]
        if other.manifest_hash != self.manifest_hash:
            changed.append(f"manifest {other.manifest_hash[:12]}, now {self.manifest_hash[:12]}")
        if other.lexicon_hash != self.lexicon_hash:
            changed.append("another lexicon")
        if other.code != self.code or dict(other.versions) != dict(self.versions):
            changed.append(f"code {other.code} {dict(other.versions)}, now {self.code} {dict(self.versions)}")
        return changed


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint in memory. recordings: of the splits that it was trained on and chosen by, None if not known."""

    detector: Detector | Classifier
    tokenizer: Tokenizer | None
    lexicon: Lexicon
    metadata: Metadata
    recordings: Recordings | None = None


def code_version() -> str:
    """Version of the project and a hash of the code of `train`."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return f"{__version__}+{keys.fingerprint([path.read_text(encoding='utf-8') for path in sources])[:12]}"


def versions() -> dict[str, str]:
    """Versions of the packages that decide the weights."""
    return {"prep": __version__, "torch": str(torch.__version__), "transformers": transformers.__version__}


def weights_hash(detector: torch.nn.Module) -> str:
    """32 hex digits of the parameters by name, whatever file they lie in; adapters count as added to them."""
    digest = blake2b(digest_size=16)
    for name, value in sorted(lora.merged(detector).items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write(folder: Path, checkpoint: Checkpoint, state: Mapping[str, Any] | None = None) -> None:
    """Writes a checkpoint as a folder, whole or not at all. state: what a run needs to go on from it.

    PrepError where the disk does not take it; the checkpoint that was there before is whole then.
    """
    detector, metadata = checkpoint.detector, checkpoint.metadata
    try:
        with replacing_folder(folder) as half:
            if isinstance(detector, Classifier):
                archs.save(detector.net, half)
            else:
                _write_whisper(half, detector, checkpoint.tokenizer)
            if checkpoint.recordings is not None:
                hashes = {split: torch.from_numpy(values) for split, values in checkpoint.recordings.items()}
                save_file(hashes, half / RECORDINGS)
            (half / LEXICON).write_text(lexicon_as_toml(checkpoint.lexicon), encoding="utf-8")
            values = asdict(metadata) | {"files": _file_hashes(half)}
            (half / METADATA).write_text(_json(values), encoding="utf-8")
            if state is not None:
                torch.save(dict(state), half / STATE)
            for path in half.iterdir():  # safetensors writes for the owner alone; a colleague reads the rest, too
                path.chmod((half / METADATA).stat().st_mode)
    except (OSError, SafetensorError, RuntimeError) as error:  # torch and safetensors have their own for a full disk
        before = "the one before is whole" if folder.exists() else "there is none before it"
        raise PrepError(
            f"{folder}: the checkpoint of step {metadata.step} could not be written ({one_line(error)}); {before};"
            " make room, then the same command goes on"
        ) from None


def keep(folder: Path, thresholds: Mapping[str, Any]) -> None:
    """Writes thresholds into the metadata of a checkpoint; nothing else of it changes. OSError where it cannot."""
    metadata = replace(read_metadata(folder / METADATA), thresholds=thresholds)
    write_text(folder / METADATA, _json(asdict(metadata)))


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False) + "\n"


def _file_hashes(folder: Path) -> dict[str, str]:
    """Hashes of the files of COVERED that are there, by name."""
    there = [folder / name for name in COVERED if (folder / name).is_file()]
    return {path.name: blake2b(path.read_bytes(), digest_size=16).hexdigest() for path in there}


def _write_whisper(folder: Path, detector: Detector, tokenizer: Tokenizer) -> None:
    detector.whisper.save_pretrained(folder)
    tokenizer.hf.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=detector.whisper.config.num_mel_bins).save_pretrained(folder)
    if detector.head is not None:
        tensors = {name: value.contiguous() for name, value in detector.head.state_dict().items()}
        save_file(tensors, folder / HEAD, {"classes": json.dumps(detector.classes)})


def read_metadata(path: Path) -> Metadata:
    """The metadata in a file made.json or options.json. PrepError where it is not one of this version."""
    try:
        values = texts.from_json(texts.read(path))
        written = values.get("format")
        if written == FORMAT:
            return TypeAdapter(Metadata).validate_python(values)
    except ValidationError as error:
        fault = error.errors()[0]
        place = ".".join(map(str, fault["loc"]))
        raise PrepError(f"{path}: {place}: {fault['msg']}: not as `train` wrote it; copy it again") from None
    except (OSError, ValueError, AttributeError) as error:
        raise PrepError(f"{path}: cannot be read ({one_line(error)}): copy it again") from None
    raise PrepError(
        f"{path.parent}: written in format {written}, this version reads {FORMAT}: train again, or use that version"
    )


def metadata_of(folder: Path) -> Metadata:
    """The metadata of a checkpoint. PrepError where the folder is not a checkpoint of `train`."""
    settle(folder)
    if not (folder / METADATA).is_file():
        inner = [name for name in ("best", "last") if (folder / name / METADATA).is_file()]
        hint = "; a checkpoint is the folder best/ or last/ of a run of `train`"
        if inner:
            hint = f": did you mean {folder / inner[0]}?"
        raise PrepError(f"{folder}: no checkpoint ({METADATA} is missing){hint}")
    check_regular(folder)
    metadata = read_metadata(folder / METADATA)
    if metadata.arch not in ("whisper", *ARCHS):
        raise PrepError(f"{folder / METADATA}: a network {metadata.arch!r}, which this version does not know")
    max_tokens, task = metadata.options.get("max_tokens"), metadata.options.get("task")
    if not isinstance(max_tokens, int) or max_tokens < 1 or task not in ("multi", "single"):
        raise PrepError(f"{folder / METADATA}: options lack max_tokens or task: not as `train` wrote it; copy it again")
    values = [metadata.thresholds.get(name) for name in ("gate", "score")]
    window = metadata.window
    is_window = window == "auto" or (window.replace(".", "", 1).isdecimal() and 1 <= float(window) <= 30)
    sources = metadata.thresholds.get("sources", {})
    if not is_window or not all(v is None or isinstance(v, int | float) for v in values) or type(sources) is not dict:
        raise PrepError(f"{folder / METADATA}: window or thresholds are not as `train` wrote them; copy it again")
    return metadata


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. PrepError where it is none, or where its files are not those that were written."""
    metadata = metadata_of(folder)
    detector: Detector | Classifier
    if metadata.arch == "whisper":
        detector, tokenizer = _read_whisper(folder, metadata)
    else:
        net, tokenizer = archs.read(metadata.arch, folder, metadata.classes), None
        detector = Classifier(metadata.arch, net, metadata.classes, window=metadata.window)
    if weights_hash(detector) != metadata.weights_hash:
        raise PrepError(f"{folder}: its weights are not those it was written with: the copy is damaged or was changed")
    if isinstance(detector, Detector) and detector.head is not None:
        with safe_open(folder / HEAD, "pt") as file:
            classes = (file.metadata() or {}).get("classes")
        if classes != json.dumps(detector.classes):
            raise PrepError(f"{folder / HEAD}: its classes are {classes}, {METADATA} says {list(detector.classes)}")
    recordings, hashes = read_recordings(folder), _file_hashes(folder)
    if changed := [name for name, digest in metadata.files.items() if hashes.get(name) != digest]:
        raise PrepError(f"{folder / changed[0]}: not as it was written with the weights: copy the checkpoint again")
    if bad := not_finite(detector):
        raise PrepError(f"{folder}: {bad[0]} holds weights that are no numbers: the training diverged; take another")
    lexicon = lexicons.read(folder / LEXICON)
    if lexicons.identity(lexicon) != metadata.lexicon_hash:
        raise PrepError(f"{folder / LEXICON}: not the lexicon of this checkpoint: it was changed; copy it again")
    return Checkpoint(detector, tokenizer, lexicon, metadata, recordings)


def _read_whisper(folder: Path, metadata: Metadata) -> tuple[Detector, Tokenizer]:
    """The Whisper of a checkpoint with its noise head, and its tokenizer."""
    whisper, tokenizer = load_whisper(str(folder), "pretrained", 0)
    check_tokens(str(folder), whisper, int(metadata.options["max_tokens"]))
    detector = Detector(whisper, metadata.classes, metadata.pool)
    if detector.head is not None:
        try:
            detector.head.load_state_dict(_tensors(folder / HEAD))
        except RuntimeError as error:
            raise PrepError(f"{folder / HEAD}: not the noise head of this checkpoint ({one_line(error)})") from None
    return detector, tokenizer


def read_recordings(folder: Path) -> Recordings | None:
    """The recordings that a checkpoint was trained on and chosen by; None where its folder does not say so."""
    path = folder / RECORDINGS
    if not path.is_file():
        return None
    hashes = _tensors(path)
    if hashes.keys() != {"train", "dev"} or any(values.dtype != torch.int64 for values in hashes.values()):
        raise PrepError(f"{path}: not the recordings of a checkpoint: copy the checkpoint again")
    return {split: values.numpy() for split, values in hashes.items()}


def _tensors(path: Path) -> dict[str, torch.Tensor]:
    if path.is_file() and path.stat().st_size > MOST_BESIDE:
        raise PrepError(f"{path}: more than {MOST_BESIDE >> 20} MB, which no head and no list of recordings has")
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise PrepError(f"{path}: cannot be read ({one_line(error)}): copy the checkpoint again") from None


def read_state(folder: Path, metadata: Metadata, parameters: Sequence[torch.Tensor]) -> dict[str, Any]:
    """What a run needs to go on from a checkpoint. ManifestError where it is damaged or of another checkpoint.

    parameters: those that are trained, in the order of the optimizer.
    """
    path, remedy = folder / STATE, "give another --out to begin anew"
    try:
        state = dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises anything on a file that is damaged or something else
        raise ManifestError(f"{path}: no state of a run that can be read ({type(error).__name__}); {remedy}") from None
    best, skipped = state.get("best"), state.get("skipped")
    is_number = isinstance(best, float) and math.isfinite(best)
    fits = state.get("weights_hash") == metadata.weights_hash and isinstance(skipped, int)
    if not fits or not (best is None or is_number) or not _is_of(state.get("optimizer"), parameters):
        raise ManifestError(f"{path}: not the state of the checkpoint of step {metadata.step} beside it; {remedy}")
    return state


def _is_of(optimizer: Any, parameters: Sequence[torch.Tensor]) -> bool:
    """Whether this is the state of an AdamW of these parameters; torch itself crashes on moments of another shape."""
    try:
        (group,), moments = optimizer["param_groups"], optimizer["state"]
        return list(group["params"]) == list(range(len(parameters))) and all(
            moments[n][name].shape == parameter.shape and bool(torch.isfinite(moments[n][name]).all())
            for n, parameter in enumerate(parameters)
            for name in ("exp_avg", "exp_avg_sq")
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return False
