"""Checkpoints: folders of transformers with the head, the lexicon and what they were made from beside the weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import WhisperFeatureExtractor

from pipeline import __version__
from pipeline.core import keys
from pipeline.core.errors import ManifestError, PrepError
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Lexicon
from train.folder import replacing_folder, settle
from train.model import Detector, load_whisper
from train.text import Tokenizer, lexicon_as_toml

FORMAT = 1
METADATA, HEAD, LEXICON, STATE = "made.json", "head.safetensors", "lexicon.toml", "state.pt"


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a checkpoint was made from and how far it is. It holds no time, no host, no path."""

    manifest: str
    manifest_hash: str
    recipe: Mapping[str, Any]
    options: Mapping[str, Any]
    lexicon_hash: str
    classes: Sequence[str]
    pool: str
    window: str
    step: int = 0
    epoch: float = 0.0
    dev: Mapping[str, Any] = field(default_factory=dict)
    weights_hash: str = ""
    code: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A checkpoint in memory."""

    detector: Detector
    tokenizer: Tokenizer
    lexicon: Lexicon
    metadata: Metadata


def code_version() -> str:
    """Version of the project and a hash of the code of `train`."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return f"{__version__}+{keys.fingerprint([path.read_text(encoding='utf-8') for path in sources])[:12]}"


def versions() -> dict[str, str]:
    """Versions of the packages that decide the weights."""
    return {"prep": __version__, "torch": str(torch.__version__), "transformers": transformers.__version__}


def weights_hash(detector: torch.nn.Module) -> str:
    """32 hex digits of the parameters by name, whatever file they lie in."""
    digest = blake2b(digest_size=16)
    for name, value in sorted(detector.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def write(folder: Path, checkpoint: Checkpoint, state: Mapping[str, Any] | None = None) -> None:
    """Writes a checkpoint as a folder, whole or not at all. state: what a run needs to go on from it."""
    detector = checkpoint.detector
    with replacing_folder(folder) as half:
        detector.whisper.save_pretrained(half)
        checkpoint.tokenizer.hf.save_pretrained(half)
        WhisperFeatureExtractor(feature_size=detector.whisper.config.num_mel_bins).save_pretrained(half)
        if detector.head is not None:
            tensors = {name: value.contiguous() for name, value in detector.head.state_dict().items()}
            save_file(tensors, half / HEAD, {"classes": json.dumps(detector.classes)})
        (half / LEXICON).write_text(lexicon_as_toml(checkpoint.lexicon), encoding="utf-8")
        metadata = json.dumps(asdict(checkpoint.metadata), ensure_ascii=False, indent=2, sort_keys=True)
        (half / METADATA).write_text(metadata + "\n", encoding="utf-8")
        if state is not None:
            torch.save(dict(state), half / STATE)


def read_metadata(folder: Path) -> Metadata:
    """The metadata of a checkpoint. PrepError where the folder is not a checkpoint of `train`."""
    settle(folder)
    try:
        values = json.loads((folder / METADATA).read_text(encoding="utf-8"))
    except FileNotFoundError:
        inner = [name for name in ("best", "last") if (folder / name / METADATA).is_file()]
        hint = "; a checkpoint is the folder best/ or last/ of a run of `train`"
        if inner:
            hint = f": did you mean {folder / inner[0]}?"
        raise PrepError(f"{folder}: no checkpoint ({METADATA} is missing){hint}") from None
    except (OSError, ValueError) as error:
        raise PrepError(f"{folder / METADATA}: cannot be read ({error})") from None
    if values.get("format") != FORMAT:
        raise PrepError(
            f"{folder}: written in format {values.get('format')}, this version reads {FORMAT}:"
            " train again, or use that version"
        )
    return Metadata(**values)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. PrepError where it is none, or where its weights are not those that were written."""
    metadata = read_metadata(folder)
    whisper, tokenizer = load_whisper(str(folder), "pretrained", 0)
    detector = Detector(whisper, metadata.classes, metadata.pool)
    if detector.head is not None:
        try:
            detector.head.load_state_dict(load_file(folder / HEAD))
        except (OSError, SafetensorError) as error:
            raise PrepError(f"{folder / HEAD}: the noise head cannot be read ({error})") from None
    if weights_hash(detector) != metadata.weights_hash:
        raise PrepError(f"{folder}: its weights are not those it was written with: the copy is damaged or was changed")
    return Checkpoint(detector, tokenizer, lexicons.read(folder / LEXICON), metadata)


def read_state(folder: Path) -> dict[str, Any]:
    """What a run needs to go on from a checkpoint. ManifestError where it cannot be read."""
    try:
        return dict(torch.load(folder / STATE, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError) as error:
        raise ManifestError(f"{folder / STATE}: cannot be read ({error}); give another --out to begin anew") from None
