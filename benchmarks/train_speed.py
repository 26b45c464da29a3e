"""Examples per second of a training step, here and by the plain recipe of transformers; and that both see the same
loss.

    python benchmarks/train_speed.py --manifest manifests/mixed.parquet [--model FOLDER] [--batch 8] [--steps 6]

The plain recipe: Seq2SeqTrainer, WhisperFeatureExtractor and tokenizer in the collator, every clip padded to 30 s. Both
train the same model on the same rows of speech, on the same device, without saving or scoring. Without --model: the
shape of whisper-tiny with random weights and the project's tokenizer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from transformers import (
    Seq2SeqTrainer,
    Seq2SeqTrainingArguments,
    TrainerCallback,
    WhisperConfig,
    WhisperFeatureExtractor,
)
from transformers import WhisperForConditionalGeneration as Whisper

from train import data, loop, run
from train.data import Sounds
from train.examples import Example
from train.log import LOG
from train.model import Detector
from train.options import Options
from train.pretrained import TINY, load_whisper
from train.text import Tokenizer


class Collator:
    """What tutorials write: features and labels from the raw clips of a batch."""

    def __init__(self, tokenizer: Tokenizer, sounds: Sounds, bands: int) -> None:
        self.tokenizer, self.sounds = tokenizer, sounds
        self.extract = WhisperFeatureExtractor(feature_size=bands)

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """input_features [clips, bands, 3000] and labels [clips, tokens]."""
        clips = [data.samples(self.sounds.pcm(example.row)) for example in examples]
        mel = self.extract(clips, sampling_rate=16_000, return_tensors="pt").input_features
        tokens = [torch.tensor(example.targets) for example in examples]
        return {
            "input_features": mel,
            "labels": torch.nn.utils.rnn.pad_sequence(tokens, batch_first=True, padding_value=-100),
        }


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        self.ends.append(time.perf_counter())


def plain(whisper: Whisper, examples: list[Example], collate: Collator, batch: int, steps: int) -> float:
    """Examples per second of the plain recipe, the first step left out."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        told = Seq2SeqTrainingArguments(
            folder,
            per_device_train_batch_size=batch,
            max_steps=steps,
            learning_rate=1e-4,
            lr_scheduler_type="cosine",
            bf16=torch.cuda.is_available(),
            dataloader_num_workers=8 if torch.cuda.is_available() else 0,
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            disable_tqdm=True,
        )
        Seq2SeqTrainer(whisper, told, train_dataset=examples, data_collator=collate, callbacks=[clock]).train()
    return batch * (len(clock.ends) - 1) / (clock.ends[-1] - clock.ends[0])


def ours(manifest: Path, options: Options) -> tuple[run.Run, float]:
    """(the run, its examples per second, the first step left out)."""
    with tempfile.TemporaryDirectory() as folder:
        held = run.setup(manifest, Path(folder), options, None, 8 if torch.cuda.is_available() else 0, lambda _: None)
        assert held is not None
        held.dev, held.save_every = None, 10**9
        full = len(held.train.examples) // options.batch * options.batch  # full batches alone
        held.train = replace(held.train, examples=held.train.examples[:full])
        loop.train(held, Accelerator(mixed_precision="bf16" if torch.cuda.is_available() else "no"))
        lines = [json.loads(line) for line in (held.folder / LOG).read_text().splitlines()]
    clips = np.array([options.batch * line["step"] for line in lines])
    ends = clips / np.array([line["examples_per_s"] for line in lines])
    return held, float((clips[-1] - clips[0]) / (ends[-1] - ends[0]))


def same_loss(held: run.Run, whisper: Whisper, collate: Collator) -> tuple[float, float]:
    """Loss of the same eight clips at 30 s by the plain recipe and by ours."""
    examples = held.train.examples[:8]
    steps = replace(held.train, examples=examples, options=held.options.model_copy(update={"window": "30", "batch": 8}))
    (batch,) = steps.parts(0)
    detector = Detector(whisper, ())
    with torch.inference_mode():
        theirs = float(whisper(**collate(list(examples))).loss)
        return theirs, float(detector(batch)["text"])


def main() -> None:
    """Prints a table."""
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--manifest", type=Path, required=True)
    ask.add_argument("--model", help="Whisper checkpoint (default: the shape of whisper-tiny, random weights)")
    ask.add_argument("--batch", type=int, default=8)
    ask.add_argument("--steps", type=int, default=6)
    asked = ask.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = asked.model or str(_shape_of_tiny(Path(folder)))
        told: dict[str, Any] = {
            "model": model,
            "init": "pretrained" if asked.model else "random",
            "task": "single",
            "max_tokens": 100,
        }
        told |= {"batch": asked.batch, "steps": asked.steps}
        rates = {}
        for window in ("auto", "30"):
            held, rates[f"ours, --window {window}"] = ours(asked.manifest, Options(window=window, **told))
        multi = Options(window="auto", **told | {"task": "multi"})
        rates["ours, --window auto, multitask, noise rows too"] = ours(asked.manifest, multi)[1]
        whisper, tokenizer = load_whisper(model, told["init"], 0)
        collate = Collator(tokenizer, held.train.sounds, held.train.bands)
        theirs, own = same_loss(held, whisper.eval(), collate)
        rates["plain recipe, 30 s"] = plain(whisper, list(held.train.examples), collate, asked.batch, asked.steps)
    print(f"loss of the same clips at 30 s: plain recipe {theirs:.6f}, ours {own:.6f}")
    for name, rate in rates.items():
        print(f"{name:<50}{rate:9.2f} examples/s {rate / rates['plain recipe, 30 s']:6.2f} x")


def _shape_of_tiny(folder: Path) -> Path:
    """A folder with the project's tokenizer and a configuration of the shape of whisper-tiny."""
    for path in sorted(TINY.glob("*.json")):
        shutil.copy(path, folder)
    ids = {
        name: value
        for name, value in WhisperConfig.from_pretrained(TINY).to_dict().items()
        if name.endswith("token_id")
    }
    WhisperConfig(**ids, suppress_tokens=None, begin_suppress_tokens=None).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
