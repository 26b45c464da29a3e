"""Checkpoints: plain transformers folders with the head, the lexicon and what they were made from beside the weights."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from pipeline.core.files import TEMPORARY, halves, replacing, sync
from pipeline.corpora import lexicon
from pipeline.corpora.lexicon import Lexicon
from train import keywords
from train.model import Detector, whisper_of
from train.text import Texts

FORMAT = 1
MADE, HEAD, LEXICON, STATE = "made.json", "head.safetensors", "lexicon.toml", "state.pt"
_OLD = ".old-"  # what a folder was called while the new one took its place


@dataclass(frozen=True, slots=True)
class Made:
    """What a checkpoint was made from and how far it is. No time, no host, no path."""

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
    texts: Texts
    lexicon: Lexicon
    made: Made


def code_version() -> str:
    """Version of the project and a hash of the code of `train`."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return f"{__version__}+{keys.fingerprint([path.read_text(encoding='utf-8') for path in sources])[:12]}"


def versions() -> dict[str, str]:
    """Versions of what decides the weights."""
    return {"prep": __version__, "torch": str(torch.__version__), "transformers": transformers.__version__}


def weights_hash(detector: torch.nn.Module) -> str:
    """32 hex digits: the parameters by name, whatever file they lie in."""
    whole = blake2b(digest_size=16)
    for name, value in sorted(detector.state_dict().items()):
        whole.update(f"{name} {tuple(value.shape)}\n".encode())
        whole.update(value.detach().cpu().contiguous().numpy().tobytes())
    return whole.hexdigest()


def write(folder: Path, held: Checkpoint, state: Mapping[str, Any] | None = None) -> None:
    """The checkpoint as a folder, whole or not at all; state: what a run needs to go on from it."""
    with replacing_folder(folder) as half:
        held.detector.whisper.save_pretrained(half)
        held.texts.tokenizer.save_pretrained(half)
        WhisperFeatureExtractor(feature_size=held.detector.whisper.config.num_mel_bins).save_pretrained(half)
        if held.detector.head is not None:
            tensors = {name: value.contiguous() for name, value in held.detector.head.state_dict().items()}
            save_file(tensors, half / HEAD, {"classes": json.dumps(held.detector.classes)})
        (half / LEXICON).write_text(keywords.as_toml(held.lexicon), encoding="utf-8")
        made = json.dumps(asdict(held.made), ensure_ascii=False, indent=2, sort_keys=True)
        (half / MADE).write_text(made + "\n", encoding="utf-8")
        if state is not None:
            torch.save(dict(state), half / STATE)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A folder to write in, that takes `folder`'s name when the block ends well. The old one stays until the new is in place."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    half = folder.parent / f"{TEMPORARY}{folder.name}-{os.getpid()}-{secrets.token_hex(4)}"
    half.mkdir()
    try:
        yield half
        for path in sorted(half.iterdir()):
            sync(path)
        sync(half)
        settle(folder)
        old = folder.with_name(_OLD + folder.name)
        if folder.exists():
            folder.rename(old)
        half.rename(folder)
        sync(folder.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(half, ignore_errors=True)


def settle(folder: Path) -> None:
    """Puts right what a kill between two renames leaves: the old folder takes its name again, or goes."""
    old = folder.with_name(_OLD + folder.name)
    if old.is_dir():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def clean(run: Path) -> None:
    """Removes what interrupted runs left half-written in a run's folder, and settles its checkpoints."""
    for name in ("last", "best"):
        settle(run / name)
    for half in halves(run):
        shutil.rmtree(half) if half.is_dir() else half.unlink()


def made_of(folder: Path) -> Made:
    """What a checkpoint says of itself. PrepError where the folder is not one of ours."""
    settle(folder)
    try:
        told = json.loads((folder / MADE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        inner = [name for name in ("best", "last") if (folder / name / MADE).is_file()]
        hint = (
            f": did you mean {folder / inner[0]}?"
            if inner
            else "; a checkpoint is the folder best/ or last/ of a run of `train`"
        )
        raise PrepError(f"{folder}: no checkpoint ({MADE} is missing){hint}") from None
    except (OSError, ValueError) as error:
        raise PrepError(f"{folder / MADE}: cannot be read ({error})") from None
    if told.get("format") != FORMAT:
        raise PrepError(
            f"{folder}: written in format {told.get('format')}, this version reads {FORMAT}: train again, or use that version"
        )
    return Made(**told)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in a folder. PrepError where it is not one, or where its weights are not those it was written with."""
    made = made_of(folder)
    whisper, texts = whisper_of(str(folder), "pretrained", 0)
    detector = Detector(whisper, made.classes, made.pool)
    if detector.head is not None:
        detector.head.load_state_dict(_head(folder / HEAD))
    if weights_hash(detector) != made.weights_hash:
        raise PrepError(f"{folder}: its weights are not those it was written with: the copy is damaged or was changed")
    return Checkpoint(detector, texts, lexicon.read(folder / LEXICON), made)


def _head(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise PrepError(f"{path}: the noise head cannot be read ({error})") from None


def state_of(folder: Path) -> dict[str, Any]:
    """What a run needs to go on from a checkpoint."""
    try:
        return dict(torch.load(folder / STATE, map_location="cpu", weights_only=True))
    except (OSError, RuntimeError, EOFError) as error:
        raise ManifestError(f"{folder / STATE}: cannot be read ({error}); give another --out to begin anew") from None


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """A mapping as indented JSON, whole or not at all."""
    with replacing(path) as half:
        half.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
