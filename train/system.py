"""What is judged or listened with: a checkpoint of `train`, or a Whisper without a head."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.core.errors import PrepError
from pipeline.corpora import lexicon as lexicons
from pipeline.corpora.lexicon import Lexicon
from train import checkpoint
from train.classes import check_options
from train.classifier import Classifier
from train.data import Recordings
from train.model import Detector
from train.pretrained import check_tokens, load_whisper
from train.text import Tokenizer, read_lexicon

DEFAULT_TOKENS = 48


@dataclass(frozen=True, slots=True, eq=False)
class System:
    """A model with all that it needs to decide.

    origin: which weights it has. kept: thresholds that an earlier evaluation kept in the checkpoint. training: options
    of its training. noise: clips with noise of each corpus that it learnt from and was chosen by, by split.
    """

    name: str
    detector: Detector | Classifier
    tokenizer: Tokenizer | None
    lexicon: Lexicon
    window: str
    max_tokens: int
    origin: dict[str, Any]
    recordings: Recordings | None = None
    kept: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    noise: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def crops(self, crop_noise: bool | None) -> bool:
        """Whether noise clips are cut to the length of utterances: as in training, unless the option says it."""
        return bool(self.training.get("crop_noise")) if crop_noise is None else crop_noise


def name_of(model: str) -> str:
    """What a model is called: the name of its folder, or of its repository."""
    return Path(model).resolve().name if Path(model).is_dir() else Path(model).name


def check_given(checkpoint_folder: Path | None, model: str | None) -> None:
    """PrepError unless one of the two is given."""
    if (checkpoint_folder is None) == (model is None):
        raise PrepError(
            "which model? give --checkpoint runs/NAME/best, or --model openai/whisper-tiny for one without a head"
        )


def system_of(options: Any, window: str = "30") -> System:
    """The checkpoint or model of a command. PrepError where it cannot be read.

    options: those of `evaluate` or of `detect`. window: what a model hears where the options do not say it.
    """
    if options.checkpoint is None:
        name = str(options.model)
        whisper, tokenizer = load_whisper(name, "pretrained", 0)
        detector, lexicon = Detector(whisper, ()), read_lexicon(options.lexicon)
        origin = {"weights_hash": checkpoint.weights_hash(detector), "step": 0, "trained_on": None}
        window, max_tokens = options.window or window, options.max_tokens or DEFAULT_TOKENS
        check_tokens(name, whisper, max_tokens)
        recordings = checkpoint.read_recordings(Path(name))  # the folder may be one of ours
        return System(name_of(name), detector, tokenizer, lexicon, window, max_tokens, origin, recordings)
    trained = checkpoint.read(options.checkpoint)
    metadata = trained.metadata
    lexicon = trained.lexicon if options.lexicon is None else read_lexicon(options.lexicon)
    window, max_tokens = options.window or metadata.window, options.max_tokens or int(metadata.options["max_tokens"])
    task = metadata.options["task"]
    if isinstance(trained.detector, Classifier):
        task = metadata.arch
        check_options(options)
        if [*lexicon.keywords] != [*trained.detector.classes[: len(lexicon.keywords)]]:
            raise PrepError(
                f"the lexicon has the keywords {', '.join(lexicon.keywords)}, the classifier the classes"
                f" {', '.join(trained.detector.classes)}: leave --lexicon out"
            )
    else:
        check_tokens(str(options.checkpoint), trained.detector.whisper, max_tokens)
    origin = {"weights_hash": metadata.weights_hash, "step": metadata.step, "trained_on": metadata.manifest_hash}
    name = f"{options.checkpoint.resolve().parent.name} ({task})"
    kept = dict(metadata.thresholds)
    if lexicons.identity_of_phrases(lexicon) != lexicons.identity_of_phrases(trained.lexicon):
        kept.pop("score", None)
    model = name, trained.detector, trained.tokenizer, lexicon, window, max_tokens, origin
    return System(*model, trained.recordings, kept, metadata.options, metadata.noise)
