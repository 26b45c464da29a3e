"""The means over time of a frozen encoder's layers, computed once for each clip: its linear head needs no more.

All behind the encoder is linear up to the mean over time, so training on these means is training on the samples. They
are float32, without autocast, and kept in parts that are written whole or not at all: what was cut off goes on. A part
is named by all that its numbers depend on, so means of other weights, clips or code are never taken for these.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.core.files import halves, replacing
from pipeline.engine.progress import Bar
from train.batches import Batches
from train.cascade import padded, waves_of
from train.checkpoint import Metadata, weights_hash
from train.classifier import Classifier
from train.folder import write_json
from train.options import SPEECH, Options

PART = 2000  # clips in a file: 200 MB of a network of 300 M parameters
ENCODED = 32  # clips that go through the encoder at a time
FOLDER, MADE = "means", "made.json"


def is_exact(options: Options) -> bool:
    """Whether a clip has the same means in every epoch: a frozen encoder on samples that nothing changes."""
    changes = options.crop_noise or options.remix or options.augment
    return options.arch in SPEECH and options.freeze == "encoder" and not changes


class Means:
    """The means of clips in the parts of a folder, by the place of the clip. Each process opens the files for itself.

    shape: (clips, layers, width).
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int]) -> None:
        self.folder, self.shape = folder, shape
        self._parts: dict[int, NDArray[np.float32]] = {}

    def __reduce__(self) -> tuple[type[Means], tuple[Path, tuple[int, int, int]]]:
        return Means, (self.folder, self.shape)

    def __getitem__(self, places: Sequence[int]) -> NDArray[np.float32]:
        """float32 [places, layers, width]. PrepError where a part was removed or damaged since the run began."""
        means = np.empty((len(places), *self.shape[1:]), np.float32)
        for n, place in enumerate(places):
            part, row = divmod(place, PART)
            if part not in self._parts:
                if not self.is_whole(part):
                    raise PrepError(f"{self.path(part)}: no longer whole: type the same again, it is computed anew")
                self._parts[part] = np.load(self.path(part), mmap_mode="r")
            means[n] = self._parts[part][row]
        return means

    def path(self, part: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{part:05d}.npy"

    def ranges(self) -> list[range]:
        """The places of the clips of each part."""
        return [range(start, min(start + PART, self.shape[0])) for start in range(0, self.shape[0], PART)]

    def is_whole(self, part: int) -> bool:
        """Whether the file of a part is there, of its full length and shape."""
        try:
            shape = np.load(self.path(part), mmap_mode="r").shape
        except (OSError, ValueError):
            return False
        return bool(shape == (len(self.ranges()[part]), *self.shape[1:]))


def attach(
    batches: Batches, classifier: Classifier, metadata: Metadata, place: Path, device: torch.device, say: Any
) -> None:
    """Lets the batches give means, float32 [clips, layers, width], in place of samples; computes those not in `place`.

    place: the folder of the means of all runs that share them. say: shows a line. PrepError on a full disk.
    """
    config = classifier.net.config
    layers = config.num_hidden_layers + 1 if config.use_weighted_layer_sum else 1
    made = {
        "encoder": weights_hash(classifier.net.base_model),
        "config": keys.fingerprint(
            {key: value for key, value in config.to_diff_dict().items() if key not in ("id2label", "label2id")}
        ),
        "manifest": metadata.manifest_hash,
        "clips": keys.fingerprint([(one.row.id, one.row.pcm_hash, one.frames) for one in batches.examples]),
        "shape": [len(batches.examples), layers, int(config.hidden_size)],
        "dtype": "float32",
        "code": metadata.code,
        "versions": dict(metadata.versions),
    }
    means = Means(place / keys.fingerprint(made)[:16], (made["shape"][0], layers, made["shape"][2]))
    missing = [part for part in range(len(means.ranges())) if not means.is_whole(part)]
    if missing:
        clips = sum(len(means.ranges()[part]) for part in missing)
        means.folder.mkdir(parents=True, exist_ok=True)
        for half in halves(means.folder):
            half.unlink()
        needed, free = clips * layers * means.shape[2] * 4, shutil.disk_usage(means.folder).free
        if needed > free:
            raise PrepError(
                f"{means.folder}: the means of {clips:,} clips take {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are"
                " free: make room, or give --means a folder on another disk"
            )
        write_json(means.folder / MADE, made)
        say(f"means   of {clips:,} clips by the frozen encoder, once, {needed / 1e9:.2f} GB: {means.folder}")
        _write(means, missing, batches, classifier.to(device), say)
    else:
        say(f"means   of {means.shape[0]:,} clips are in {means.folder}")
    batches.means = means


def _write(
    means: Means, missing: Sequence[int], batches: Batches, classifier: Classifier, say: Callable[[str], None]
) -> None:
    """Writes the missing parts."""
    ranges = means.ranges()
    bar = Bar("means", sum(len(ranges[part]) for part in missing))
    for part in missing:
        with replacing(means.path(part)) as half:
            written = open_memmap(half, "w+", np.float32, (len(ranges[part]), *means.shape[1:]))
            for rows, values in _encoded(ranges[part], batches, classifier):
                if not np.isfinite(values).all():
                    raise PrepError(
                        f"{batches.examples[ranges[part][rows[0]]].row.id} or a clip near it: the encoder gives means"
                        " that are no numbers: its weights are damaged"
                    )
                written[rows] = values
                bar.update(len(rows))
            written.flush()
            del written
    bar.close()


@torch.inference_mode()
def _encoded(
    places: range, batches: Batches, classifier: Classifier
) -> Iterator[tuple[list[int], NDArray[np.float32]]]:
    """(rows in the part, their means) for the clips at these places, those of one window together."""
    classifier.eval()
    device, window = next(classifier.parameters()).device, batches.options.window
    rows = [batches.examples[place].row for place in places]
    for part, waves in waves_of(rows, batches.sounds, window, ENCODED, {}):
        samples, sizes = padded(waves, window)
        yield part, classifier.means(samples.to(device), sizes.to(device)).float().cpu().numpy()
