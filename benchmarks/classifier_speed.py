"""Examples per second and peak memory of a classifier, here and by the plain recipe of transformers, at equal loss.

    python benchmarks/classifier_speed.py [--arch wav2vec2] [--shape real] [--clips 512] [--batch 32] [--steps 100]

The plain recipe is the Trainer on Wav2Vec2ForSequenceClassification or its like: the feature extractor in a collator
that pads to the longest clip of the batch, bf16 where there is a GPU. Both start from the same random weights (but for
the head) and take as many steps on the same rows in orders of their own, made up: speech of 0.5 to 20 s (median 3.4 s,
as in AI-Hub), and a quarter noise of 10 s. Two settings: fine-tuned behind the convolutions, and a frozen encoder under
a weighted sum of layers, whose means train computes once. Losses are means over the first and the last tenth of the
steps: where they fall alike, the two learn alike. On a CPU seconds are those of the process, whatever else runs there.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers
from accelerate import Accelerator
from transformers import Trainer, TrainerCallback, TrainingArguments, Wav2Vec2FeatureExtractor

from pipeline.audio.codec import flac, pcm_hash
from pipeline.audio.shards import writing
from pipeline.core import frame as frames
from pipeline.core import manifest as manifests
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.corpora import lexicon as lexicons
from train import archs, cached, data, loop, run
from train.archs import ARCHS
from train.data import Sounds
from train.examples import Example
from train.log import LOG, Log
from train.options import Options

RATE_HZ = 16_000
WORDS = {"saveme": "살려주세요", "helpme": "도와주세요", "others": "안녕하세요"}
CLASSES = ("helpme", "saveme", "others", "noise")
ON_GPU = torch.cuda.is_available()
WORKERS = 8 if ON_GPU else 0


def made(folder: Path, clips: int) -> Path:
    """A manifest of made-up clips: a tone under an envelope whose pitch says the keyword, and noise."""
    rows, lexicon = [], lexicons.shipped()
    with writing(folder / "audio" / "a.tar") as shard:
        for n in range(clips):
            chance = np.random.default_rng(n)
            word = None if n % 4 == 3 else list(WORDS.values())[n % 3]
            seconds = 10.0 if word is None else float(np.clip(3.4 * np.exp(0.9 * chance.normal()), 0.5, 20))
            wave = chance.normal(0, 300, int(seconds * RATE_HZ))
            if word is not None:
                pitch = 200 + 150 * (n % 3)
                wave += 8000 * np.sin(2 * np.pi * pitch * np.arange(len(wave)) / RATE_HZ) * np.hanning(len(wave))
            pcm = wave.astype(np.int16)
            offset, size = shard.put(f"{n:06d}", flac(pcm, RATE_HZ))
            rows.append(
                Row(
                    id=f"made/{n:06d}",
                    corpus="made",
                    split="train",
                    group=str(n),
                    kind="noise" if word is None else "speech",
                    source=f"@made/{n:06d}",
                    transcript=word,
                    keyword=lexicon.keyword(word) if word else None,
                    noise_label="noise" if word is None else "speech",
                    shard="a.tar",
                    offset=offset,
                    bytes=size,
                    rate_hz=RATE_HZ,
                    frames=len(pcm),
                    pcm_hash=pcm_hash(pcm, RATE_HZ),
                )
            )
    options = {"lexicon": lexicons.identity(lexicon)}
    path = folder / "made.parquet"
    manifests.write(path, frames.from_rows(rows, Row), frames.from_rows([], Drop), Provenance("resample", options, 0))
    return path


class Collator:
    """What tutorials write: the feature extractor on the raw clips of a batch, padded to the longest."""

    def __init__(self, sounds: Sounds, masked: bool) -> None:
        self.sounds, self.extract = sounds, Wav2Vec2FeatureExtractor(return_attention_mask=masked)

    def __call__(self, examples: list[Example]) -> dict[str, torch.Tensor]:
        """input_values [clips, samples], attention_mask where the model takes one, labels [clips]."""
        clips = [data.samples(self.sounds.pcm(example.row)) for example in examples]
        inputs = self.extract(clips, sampling_rate=RATE_HZ, padding=True, return_tensors="pt")
        return {**inputs, "labels": torch.tensor([example.noise_class for example in examples])}


class Clock(TrainerCallback):
    """When each step ended."""

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer."""
        self.ends.append(now())


def now() -> float:
    """Seconds: of the clock on a GPU, of computing on a CPU."""
    if ON_GPU:
        torch.cuda.synchronize()
    return time.perf_counter() if ON_GPU else time.process_time()


def figures(ends: Sequence[float], losses: Sequence[float], batch: int) -> dict[str, Any]:
    """Of a run: examples/s after the first fifth of the steps, peak memory on a GPU since `forget`, losses at its ends.

    ends: when each step ended.
    """
    tenth, first = max(1, len(losses) // 10), len(ends) // 5
    return {
        "examples_per_s": batch * (len(ends) - 1 - first) / (ends[-1] - ends[first]),
        "peak_gb": torch.cuda.max_memory_allocated() / 1e9 if ON_GPU else None,
        "steps": len(losses),
        "loss": [float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))],
    }


def forget() -> None:
    """Frees what the run before left."""
    gc.collect()
    if ON_GPU:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def plain(
    kind: str, model: Path, examples: Sequence[Example], sounds: Sounds, options: Options, steps: int
) -> dict[str, Any]:
    """The figures of the plain recipe."""
    forget()
    frozen = options.freeze == "encoder"
    net = getattr(transformers, kind).from_pretrained(
        model, use_weighted_layer_sum=frozen, layerdrop=0.0, apply_spec_augment=False
    )
    net.freeze_base_model() if frozen else net.freeze_feature_encoder()
    if frozen:
        torch.nn.init.zeros_(net.layer_weights)
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=options.batch,
            max_steps=steps,
            learning_rate=options.lr,
            lr_scheduler_type="constant",
            max_grad_norm=options.clip_norm,
            weight_decay=options.weight_decay,
            bf16=ON_GPU,
            dataloader_num_workers=WORKERS,
            logging_steps=1,
            save_strategy="no",
            report_to=[],
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=not ON_GPU,
        )
        collate = Collator(sounds, net.config.feat_extract_norm == "layer")
        trainer = Trainer(net, arguments, train_dataset=list(examples), data_collator=collate, callbacks=[clock])
        trainer.train()
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return figures(clock.ends, losses, options.batch)


def ours(manifest: Path, options: Options) -> dict[str, Any]:
    """The same of `train`; with a frozen encoder also the seconds for its means."""
    forget()
    ends, step = [], Log.step
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        current = run.setup(manifest, folder, options, None, WORKERS, lambda _: None)
        assert current is not None
        current.dev, current.save_every = None, 10**9
        full = len(current.train.examples) // options.batch * options.batch
        current.train = replace(current.train, examples=current.train.examples[:full])
        accelerator = Accelerator(mixed_precision="bf16" if ON_GPU else "no")
        answer: dict[str, Any] = {}
        if cached.is_exact(options):
            current.workers, began = 0, now()
            place = folder / cached.FOLDER
            cached.attach(current.train, current.detector, current.metadata, place, accelerator.device, lambda _: None)
            answer["means_s"] = now() - began
            answer["means_clips_per_s"] = full / answer["means_s"]
        with patch.object(Log, "step", lambda *values: (step(*values), ends.append(now()))):
            loop.train(current, accelerator)
        lines = [json.loads(line) for line in (folder / LOG).read_text().splitlines()]
    return answer | figures(ends, [line["loss"] for line in lines], options.batch)


def main() -> None:
    """Prints a table, and writes the numbers where --json names a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", choices=["wav2vec2", "hubert", "xlsr"], default="wav2vec2")
    parser.add_argument("--shape", choices=["real", "tiny"], default="real" if ON_GPU else "tiny")
    parser.add_argument("--clips", type=int, default=512)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--lr", type=float, default=1e-4 if ON_GPU else 3e-3, help="so that the loss falls")
    parser.add_argument(
        "--epochs", type=float, default=34, help="over which the means pay: SUPERB's steps on 186,000 clips"
    )
    parser.add_argument("--overheads", type=int, nargs="*", default=[], help="seconds of loop.OVERHEAD to try on a GPU")
    parser.add_argument("--json", type=Path, help="file to write")
    given = parser.parse_args()
    arch = ARCHS[given.arch]
    found: dict[str, Any] = {"arch": given.arch, "shape": given.shape, "batch": given.batch, "torch": torch.__version__}
    found["device"] = torch.cuda.get_device_name() if ON_GPU else f"CPU, {torch.get_num_threads()} threads, by its time"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest, model = made(folder, given.clips), folder / "model"
        torch.manual_seed(0)
        net = archs.build(arch, arch.real if given.shape == "real" else arch.tiny, CLASSES)
        found["parameters"] = sum(parameter.numel() for parameter in net.parameters())
        model.mkdir()
        archs.save(net, model)
        del net
        common = {"arch": given.arch, "model": str(model), "batch": given.batch, "lr": given.lr}
        common |= {"schedule": "constant", "steps": given.steps}
        settings = {
            "fine-tuned": Options(**common, freeze="features"),
            "frozen": Options(**common, freeze="encoder", layers="sum", weight_decay=0.0),
        }
        for setting, options in settings.items():
            mine = ours(manifest, options)
            rows = data.rows(data.read(manifest), "train")
            examples = [Example(row, None, CLASSES.index(row.keyword or "noise")) for row in rows]
            theirs = plain(str(arch.kind), model, examples, Sounds(manifest.parent), options, given.steps)
            if setting == "fine-tuned" and given.overheads:
                found["overheads"] = {}
                for seconds in given.overheads:
                    loop.OVERHEAD = seconds * RATE_HZ
                    found["overheads"][seconds] = ours(manifest, options)["examples_per_s"]
            found[setting] = {
                "train": mine,
                "plain": theirs,
                "times": mine["examples_per_s"] / theirs["examples_per_s"],
            }
            if "means_s" in mine:
                for key, epochs in (("times_here", given.steps * given.batch / given.clips), ("times", given.epochs)):
                    spent = 1 / mine["means_clips_per_s"] + epochs / mine["examples_per_s"]
                    found[setting][f"{key}_with_means"] = epochs / theirs["examples_per_s"] / spent
            if given.json:  # what is measured is not lost where the rest takes too long
                given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(
        f"{given.arch}, {given.shape} shape, {found['parameters']:,} parameters, {found['device']}: {given.steps} steps"
        f" of {given.batch} clips each"
    )
    for setting in settings:
        for who in ("plain", "train"):
            own = found[setting][who]
            memory = f"{own['peak_gb']:7.2f} GB" if ON_GPU else ""
            losses = " -> ".join(f"{loss:.3f}" for loss in own["loss"])
            print(f"{setting:<12}{who:<7}{own['examples_per_s']:10.1f} examples/s {memory}   loss {losses}")
        means = ", without the means" if "means_s" in found[setting]["train"] else ""
        print(f"{setting:<12}{'':<7}{found[setting]['times']:10.2f} times as fast{means}")
    frozen = found["frozen"]
    print(
        f"means: {frozen['train']['means_clips_per_s']:.1f} clips/s, once; with them these {given.steps} steps are"
        f" {frozen['times_here_with_means']:.1f} times as fast, and {given.epochs:g} epochs, by these rates,"
        f" {frozen['times_with_means']:.1f} times"
    )


if __name__ == "__main__":
    main()
