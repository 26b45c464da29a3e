"""Each stage against a bare loop of the C calls that it cannot avoid; the chain against Lhotse and against librosa."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
import soxr
from pandas import DataFrame

from benchmarks.measure import line, ratio
from pipeline.archives import Roots
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import keys, manifest
from pipeline.core.row import Drop
from pipeline.corpora import find as corpus
from pipeline.corpora.lexicon import shipped
from pipeline.engine import run as engine
from pipeline.engine import steps as build
from pipeline.engine.recipe import Recipe, read
from pipeline.engine.run import Setting
from pipeline.engine.workers import open_workers
from pipeline.stages import Plan, filter, find, ingest, mix, resample

RECIPE = """[ingest]
corpora = ["recordings"]
[filter]
dev_share = 0.0
[resample]
[mix]
noise = ["recordings"]
keep = []
"""


class Bench:
    """A folder of recordings, and ours and theirs on it."""

    def __init__(self, folder: Path, jobs: int = 1) -> None:
        self.folder, self.jobs = folder, jobs
        self.files = sorted((folder / "recs/wav").glob("*.wav"))
        (folder / "bench.toml").write_text(RECIPE)
        self.recipe: Recipe = read(folder / "bench.toml")
        self.roots = Roots.find({"recordings": str(folder / "recs")}, {}, folder)

    def setting(self, name: str) -> Setting:
        """A fresh folder to work in."""
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        return Setting(out, self.roots, open_workers(self.jobs), shard_clips=100)

    def chain(self) -> None:
        """ingest, filter, resample and mix, as prep run does them, manifest written."""
        setting = self.setting("chain")
        done = build.run_all(self.recipe, setting, None, build.silent, lambda step: None)
        setting.workers.stop()
        drops = frames.concat([step.drops for step in done], Drop)
        made = manifest.Provenance("mix", self.recipe.canonical(), 0)
        manifest.write(setting.folder / "chain.parquet", done[-1].rows, drops, made)

    def speech(self) -> tuple[list[Path], list[Path]]:
        """The files of speech and those of noise."""
        last = [path for path in self.files if sf.info(path).frames == 441_000]
        return [path for path in self.files if path not in set(last)], last


def stages(folder: Path) -> None:
    """The three lines of the stages."""
    bench = Bench(folder)
    setting = bench.setting("stages")
    clips = corpus("recordings").clips(bench.roots["recordings"]).clips
    ingesting = ingest.plan("recordings", clips)

    def fresh(plan: Plan, name: str, options: Any) -> Any:
        for path in [*setting.folder.glob(f"audio/{name}-*"), *setting.folder.glob(f".work/{name}-*")]:
            path.unlink()
        return engine.run(find(name), options, plan, setting, lambda step: None)

    line(
        "ingest / read, hash",
        ratio(lambda: fresh(ingesting, "ingest", ingest.Options()), lambda: [_read_hash(f) for f in bench.files]),
        ">= 0.85",
    )
    rows = build.filter_step(
        [fresh(ingesting, "ingest", ingest.Options()).rows.frame], filter.Options(dev_share=0), shipped(), None, 0
    ).plan.kept
    resampling = resample.plan(rows, build.places(rows, setting))
    options = resample.Options()
    line(
        "resample / read, soxr HQ, FLAC",
        ratio(lambda: fresh(resampling, "resample", options), lambda: _resample(bench.files)),
        ">= 0.85",
    )
    stored = fresh(resampling, "resample", options).rows.frame
    chosen = mix.Options(noise=("recordings",), keep=())
    planned = mix.plan(stored, chosen, 0, keys.fingerprint("bench"))
    flacs = _flacs(setting.folder, frames.pick(stored, frames.equal(stored["kind"], "speech")))
    line(
        "mix / FLAC decode, add, FLAC encode",
        ratio(lambda: fresh(planned, "mix", chosen), lambda: _mix(flacs)),
        ">= 0.85",
    )


def _read_hash(path: Path) -> None:
    _hash(sf.read(path, dtype="int16")[0])


def _flac(samples: np.ndarray) -> bytes:
    out = io.BytesIO()
    sf.write(out, samples, 16_000, format="FLAC", subtype="PCM_16", compression_level=0.0)
    return out.getvalue()


def _resample(files: list[Path]) -> None:
    for path in files:
        samples, rate = sf.read(path, dtype="float32")
        _flac(soxr.resample(samples, rate, 16_000))


def _flacs(folder: Path, rows: DataFrame) -> list[bytes]:
    reader = Reader(folder)
    columns = zip(*(frames.values(rows[name]) for name in ("shard", "offset", "bytes")), strict=True)
    return [os.pread(reader._file(shard).fileno(), size, offset) for shard, offset, size in columns]


def _mix(flacs: list[bytes]) -> None:
    noise = np.random.default_rng(0).integers(-1000, 1000, 16_000 * 10).astype(np.int16)
    for data in flacs:
        pcm, _ = sf.read(io.BytesIO(data), dtype="int16")
        _flac(pcm + noise[: len(pcm)])


def chain(folder: Path) -> None:
    """The chain against the two that a researcher would write otherwise; then two workers against one."""
    bench = Bench(folder)
    line("ingest, resample, mix / Lhotse resample, mix, save", ratio(bench.chain, lambda: _lhotse(bench), 3), ">= 3.5")
    line(
        "  the C calls alone that it cannot avoid / Lhotse",
        ratio(lambda: _bare(bench), lambda: _lhotse(bench), 3),
        "the limit",
    )
    line("  ingest, resample, mix / those C calls alone", ratio(bench.chain, lambda: _bare(bench), 3), "-")
    line(
        "ingest, resample, mix / librosa, audiomentations, soundfile",
        ratio(bench.chain, lambda: _librosa(bench), 1),
        ">= 5",
    )


def _bare(bench: Bench) -> None:
    """What the chain cannot avoid and nothing else: no level, no SNR, no manifest, no crash safety. Each recording is
    read
    and hashed once, resampled, hashed; noise stored; speech and noise added, hashed, stored."""
    speech, noise = bench.speech()
    with (bench.folder / "bare.tar").open("wb") as out:
        sounds = [_at_16_khz(path) for path in noise]
        for pcm in sounds:
            out.write(_flac(pcm))
        for number, path in enumerate(speech):
            pcm = _at_16_khz(path)
            mixed = pcm + sounds[number % len(sounds)][: len(pcm)]
            _hash(mixed)
            out.write(_flac(mixed))


def _at_16_khz(path: Path) -> np.ndarray:
    """int16 samples of a recording, at 44.1 and at 16 kHz hashed."""
    pcm, rate = sf.read(path, dtype="int16")
    _hash(pcm)
    resampled = soxr.resample(pcm * np.float32(2.0**-15), rate, 16_000)
    small = np.rint(resampled * np.float32(32767)).astype(np.int16)
    _hash(small)
    return small


def _hash(pcm: np.ndarray) -> None:
    blake2b(pcm.data, digest_size=16).digest()


def workers(folder: Path) -> None:
    """Two worker processes against one, from start-up to the manifest, on thirty times as many mixtures: half a minute
    of one."""
    one, two = Bench(folder, jobs=1), Bench(folder, jobs=2)
    for bench in (one, two):
        bench.recipe = replace(bench.recipe, mix=bench.recipe.mix.model_copy(update={"copies": 30}))  # type: ignore[union-attr]
    line("thirty copies, two workers / one", ratio(two.chain, one.chain, 2), ">= 1.8")


def _lhotse(bench: Bench) -> None:
    import torch
    from lhotse import CutSet, Recording

    torch.set_num_threads(1)
    out = bench.folder / "lhotse"
    shutil.rmtree(out, ignore_errors=True)
    speech, noise = (
        CutSet.from_cuts(Recording.from_file(path).to_cut() for path in paths).resample(16_000)
        for paths in bench.speech()
    )
    mixed = speech.mix(noise, snr=20, mix_prob=1.0, seed=0, preserve_id="left")
    list(mixed.save_audios(out, format="flac", num_jobs=1, progress_bar=False))


def _librosa(bench: Bench) -> None:
    import librosa
    from audiomentations import AddBackgroundNoise

    out = bench.folder / "librosa"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    speech, noise = bench.speech()
    add = AddBackgroundNoise(sounds_path=noise, min_snr_db=20, max_snr_db=20, p=1.0)
    for path in speech:
        samples, _ = librosa.load(path, sr=16_000)
        sf.write(out / f"{path.stem}.flac", add(samples, sample_rate=16_000), 16_000)
