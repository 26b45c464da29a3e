"""Fresh noise in every epoch: the mixing options of the manifest, drawn anew for (seed, row, epoch)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.audio import dsp
from pipeline.core import keys
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.stages import jobs_of, mix
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
        self._options = mix.Options.of(recipe, "mix")
        self._seed = seed
        self.rows = {row.id: row for row in data.rows(resampled, "train")}
        self._draw(0)
        mixtures = [row.id for row in data.rows(mixed, "train") if row.kind == "mixture"]
        missing = [name for name in mixtures if name not in self._place]
        if missing:
            raise PrepError(
                f"{NEEDS}: {speech} lacks those of {len(missing)} mixtures, {missing[0]} for one:"
                " was it made before the other?"
            )

    def pcm(self, row: Row, epoch: int) -> NDArray[np.int16] | None:
        """The samples of a mixture for this epoch, int16 [frames].

        None where all crops of noise drawn were silent, and for a mixture of dev, which keeps the noise that it has.
        """
        if epoch != self._epoch:
            self._draw(epoch)
        if row.id not in self._place:
            return None
        job = next(jobs_of(self._plan.jobs.table(np.array([self._place[row.id]])), mix))
        mixture, speech = job.row, self.rows[job.row.speech_id or ""]
        level_db = speech.level_active_dbfs if mixture.snr_definition == "active" else speech.level_full_dbfs
        if job.noise is None or mixture.frames is None or mixture.snr_db is None or level_db is None:
            return None
        noise = self.sounds.pcm(self.rows[mixture.noise_id or ""])
        crop = dsp.first_audible(noise, job.noise.starts, mixture.frames, data.RATE_HZ, self._options.floor_dbfs)
        if crop is None:
            return None
        return dsp.mix_at_snr(self.sounds.pcm(speech), crop.pcm, level_db, crop.level_dbfs, mixture.snr_db)[0]

    def _draw(self, epoch: int) -> None:
        """Plans the epoch. Its seed depends on nothing else, so workers and batches change no draw."""
        seed = int(keys.fingerprint(self._seed, "remix", epoch)[:12], 16)
        self._plan = mix.plan(self._frame, self._options, seed, resampled="")
        ids = self._plan.jobs.table(names=("id",)).column("id").to_pylist()
        self._place = {name: index for index, name in enumerate(ids)}
        self._epoch = epoch
