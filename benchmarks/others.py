"""Labels, archives, virtual mixtures, memory."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import soundfile as sf

from benchmarks.measure import line, ratio
from benchmarks.stages import Bench
from pipeline.archives import Root
from pipeline.audio.codec import decode
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.row import Row
from pipeline.corpora import find as corpus
from pipeline.engine import steps as build
from pipeline.stages import filter, mix, resample

LABELS = 40_000


def labels(folder: Path) -> None:
    """JSON labels in a deflated zip, joined to as many recordings, against zipfile and json alone."""
    root = folder / "labels" / "Training"
    if not root.exists():
        root.mkdir(parents=True)
        _aihub(root)

    def ours() -> None:

        corpus("aihub").clips(Root("aihub", folder / "labels"))

    def theirs() -> None:
        with zipfile.ZipFile(root / "[라벨]14.도움요청.zip") as archive:
            for name in archive.namelist():
                json.loads(archive.read(name).decode("utf-8-sig"))

    line(f"{LABELS:,} labels read, joined, counted / zipfile, json", ratio(ours, theirs, 3), ">= 1")


def _aihub(root: Path) -> None:
    note = {"audio": {"fileName": "", "duration": 3.2, "sampleRate": "44.1kHz", "recodingType": "스튜디오"}}
    with (
        zipfile.ZipFile(root / "[라벨]14.도움요청.zip", "w", zipfile.ZIP_DEFLATED) as jsons,
        zipfile.ZipFile(root / "[원천]14.도움요청_1.zip", "w") as wavs,
    ):
        for number in range(LABELS):
            said = {"categories": {"category_01": "일반(위급)", "category_02": "도움요청"}, "note": "살려주세요"}
            said |= {"area": {"start": 0.1, "end": 3.2}, "audioType": "voice"}
            held = note | {"annotations": [said | {"gender": "여성", "dialect": "표준어"}]}
            jsons.writestr(f"14.도움요청_{number + 100_000}.json", json.dumps(held, ensure_ascii=False, indent=1))
            wavs.writestr(f"14.도움요청_{number + 100_000}_label.wav", b"RIFF")


def archives(folder: Path) -> None:
    """Recordings of a tenth of a second out of a stored zip, opened for their headers: mostly the cost of an access."""
    path = folder / "short.zip"
    if not path.exists():
        data = io.BytesIO()
        sf.write(data, np.zeros(4410, np.int16), 44_100, format="WAV")
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(5_000):
                archive.writestr(f"{number:05d}.wav", data.getvalue())

    def ours() -> None:
        root = Root("recordings", path)
        for entry in root.entries():
            decode(root.read(entry.place))

    def theirs() -> None:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                sf.read(io.BytesIO(archive.read(name)), dtype="int16")

    line("5,000 short wavs out of a zip / zipfile, soundfile", ratio(ours, theirs, 3), ">= 1")


def virtual(folder: Path) -> None:
    """Mixtures rendered by the reader, one worker, against those that peers make on the fly from the same FLAC."""
    from audiomentations import AddBackgroundNoise
    from lhotse import CutSet, Recording

    bench = Bench(folder)
    setting = bench.setting("virtual")
    rows = build.run(build.ingest_step("recordings", setting, None, 0), setting).rows.frame
    kept = build.filter_step([rows], filter.Options(dev_share=0), bench.recipe.lexicon, None, 0).plan.kept
    stored = build.run(build.resample_step(kept, resample.Options(), setting, None, 0), setting).rows.frame
    mixing = mix.Options(noise=("recordings",), keep=(), virtual=True)
    step = build.run(build.mix_step(stored, mixing, {}, None, 0), setting)
    path = setting.folder / "virtual.parquet"
    manifest.write(path, step.rows, step.drops, manifest.Provenance("mix", {}, 0))
    mixtures = [row for row in manifest.read(path).rows() if row.kind == "mixture"]
    loose = folder / "loose"
    shutil.rmtree(loose, ignore_errors=True)
    reader = Reader(setting.folder)
    for row in frames.rows(stored, Row):
        (loose / row.kind).mkdir(parents=True, exist_ok=True)
        sf.write(loose / row.kind / f"{Path(row.id).stem}.flac", reader.pcm(row), 16_000)
    speech, noise = (
        CutSet.from_cuts(Recording.from_file(f).to_cut() for f in sorted((loose / k).iterdir()))
        for k in ("speech", "noise")
    )
    mixed = list(speech.mix(noise, snr=20, mix_prob=1.0, seed=0))
    add = AddBackgroundNoise(sounds_path=loose / "noise", min_snr_db=20, max_snr_db=20, p=1.0)

    def ours() -> None:
        own = Reader(setting.folder)
        for row in mixtures:
            own.audio(row)

    def audiomentations() -> None:
        for file in sorted((loose / "speech").iterdir()):
            add(sf.read(file, dtype="float32")[0], sample_rate=16_000)

    line(
        f"{len(mixtures)} virtual mixtures / Lhotse on the fly",
        ratio(ours, lambda: [cut.load_audio() for cut in mixed], 3),
        ">= 1",
    )
    line(f"{len(mixtures)} virtual mixtures / audiomentations", ratio(ours, audiomentations, 3), ">= 1")


def memory(folder: Path) -> None:
    """Peak memory of prep ingest and resample, one process, at 1,000 and at 20,000 clips."""
    peaks = {}
    for count in (1_000, 20_000):
        root = folder / f"many-{count}"
        if not root.exists():
            _many(root, count)
        out = folder / f"many-{count}-out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        code = (
            "import sys\nfrom pipeline.cli.main import main\nsys.argv = sys.argv[1:]\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "lines = [line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')]\n"
            "print(lines[0], file=sys.stderr)"
        )
        steps = (["ingest", "recordings", str(root)], ["filter"], ["resample"])
        found = []
        for step in steps:
            told = ["--jobs", "1"] if step[0] != "filter" else []
            ran = subprocess.run(
                [sys.executable, "-c", code, "prep", *step, *told], cwd=out, capture_output=True, text=True, check=True
            )
            found.append(int(ran.stderr.split()[-1]) / 1024)
        peaks[count] = found
    for n, name in enumerate(("ingest", "filter", "resample")):
        small, large = peaks[1_000][n], peaks[20_000][n]
        more, row = large - small, (large - small) * 2**20 / 19_000
        print(
            f"{name + ': peak memory at 20,000 clips less at 1,000':<62}{more:>7.1f} MiB of {large:.0f}: "
            f"{row:.0f} bytes a row"
        )


def _many(root: Path, count: int) -> None:
    """One second, linked under many names."""
    (root / "wav").mkdir(parents=True)
    first = root / "wav/000000.wav"
    sf.write(first, (np.random.default_rng(0).normal(0, 0.1, 44_100)).astype("f4"), 44_100, subtype="PCM_16")
    for number in range(1, count):
        os.link(first, root / f"wav/{number:06d}.wav")
    lines = "".join(f"wav/{number:06d}.wav,살려주세요,train\n" for number in range(count))
    (root / "metadata.csv").write_text("file,transcript,split\n" + lines, encoding="utf-8")
