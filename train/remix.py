"""Fresh noise in every epoch: the mixing options of the manifest, drawn anew for (seed, row, epoch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.stages import mix
from pipeline.stages.resample import Sound
from train import data
from train.data import Manifest, Sounds

NEEDS = "--remix mixes anew, and needs the speech and the noise before they were mixed"


class Remix:
    """The mixtures of a manifest, mixed again with noise that is drawn for the epoch.

    Speech, noise and their splits come from one manifest of prep resample.
    """

    def __init__(self, mixed: Manifest, speech: Path, seed: int) -> None:
        """speech: path of the manifest of prep resample. PrepError where one of the two cannot be used."""
        recipe = mixed.provenance.recipe
        if "mix" not in recipe:
            raise PrepError(f"{NEEDS}: {mixed.path} holds no mixtures; make it with prep mix")
        if not speech.is_file():
            raise PrepError(f"{NEEDS}: no {speech}; name the manifest of prep resample with --speech")
        resampled = data.read(speech)
        self.sounds = Sounds(speech.parent)
        self._frame = data.frame_of(resampled, "train")
        self._options = mix.Options.model_validate(recipe["mix"])
        self._seed = seed
        self._rows = {row.id: row for row in data.rows(resampled, "train")}
        self._draw(0)
        mixtures = [row.id for row in data.rows(mixed, "train") if row.kind == "mixture"]
        missing = [name for name in mixtures if name not in self._place]
        if missing:
            raise PrepError(
                f"{NEEDS}: {speech} lacks those of {len(missing)} mixtures, {missing[0]} for one:"
                " was it made before the other?"
            )

    def pcm(self, row: Row, epoch: int) -> NDArray[np.int16] | None:
        """The samples of a mixture for this epoch, int16 [frames]; None where all crops of noise drawn were silent."""
        if epoch != self._epoch:
            self._draw(epoch)
        mixture = next(iter(mix.jobs(self._jobs.take(np.array([self._place[row.id]]))))).mixture
        speech = self._rows[mixture.speech_id]
        noise = self.sounds.pcm(self._rows[mixture.noise_id])
        crop = data.noise_crop(noise, mixture.starts, mixture.frames, self._options.floor_dbfs)
        if crop is None:
            return None
        levels = speech.gain_db or 0.0, speech.level_full_dbfs, speech.level_active_dbfs, speech.activity
        return mix.mixed(mixture, Sound(self.sounds.pcm(speech), *levels), *crop)[0]

    def _draw(self, epoch: int) -> None:
        """Plans the epoch. Its seed depends on nothing else, so workers and batches change no draw."""
        seed = int(keys.fingerprint(self._seed, "remix", epoch)[:12], 16)
        self._jobs = mix.plan(Table.of_frame(self._frame), self._options, seed, resampled="").jobs
        self._place = {name: index for index, name in enumerate(self._jobs.column("id"))}
        self._epoch = epoch
