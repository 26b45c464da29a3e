"""Mixtures as training hears them: virtual ones rendered, and fresh noise by (seed, row, epoch) alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from train_samples import Clip, made, noise

from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import PrepError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.stages import mix
from train import data
from train.data import Sounds
from train.remix import Remix

SNR_DB = 10.0
OPTIONS = mix.Options(snr_db=(SNR_DB,), definition="full")


def parts(folder: Path, speech: int = 3, noises: int = 5) -> Path:
    """What prep resample leaves: speech without noise, and noise, with their levels."""
    clips = [Clip(f"s{n}", kind="speech") for n in range(speech)] + [noise(f"n{n}", seconds=3.0) for n in range(noises)]
    path = made(folder, clips, name="resampled")
    rows = [
        _levelled(row, clip)
        for row, clip in zip(
            sorted(data.rows(data.read(path), "train"), key=lambda row: row.id),
            sorted(clips, key=lambda clip: clip.id),
            strict=True,
        )
    ]
    manifest.write(path, frames.from_rows(rows, Row), frames.from_rows([], Drop), Provenance("resample", {}, 0))
    return path


def _levelled(row: Row, clip: Clip) -> Row:
    level = 10 * np.log10(np.var(clip.pcm / 32768))
    return replace(
        row,
        level_full_dbfs=round(float(level), 4),
        level_active_dbfs=round(float(level) + 3, 4),
        activity=0.5,
        gain_db=0.0,
    )


def mixed(folder: Path, resampled: Path) -> Path:
    """Mixtures of all the speech there, as prep mix would name them, and the noise."""
    rows = data.rows(data.read(resampled), "train")
    speech = [
        replace(row, id=f"{row.id}_snr10_0", kind="mixture", speech_id=row.id) for row in rows if row.kind == "speech"
    ]
    held = [*speech, *(row for row in rows if row.kind == "noise")]
    manifest.write(
        folder / "mixed.parquet",
        frames.from_rows(held, Row),
        frames.from_rows([], Drop),
        Provenance("mix", {"mix": OPTIONS.model_dump(mode="json")}, 0),
    )
    return folder / "mixed.parquet"


def heard(remix: Remix, path: Path, epoch: int) -> dict[str, np.ndarray]:
    found = {row.id: remix.pcm(row, epoch) for row in data.rows(data.read(path), "train") if row.kind == "mixture"}
    assert all(pcm is not None for pcm in found.values())
    return {name: pcm for name, pcm in found.items() if pcm is not None}


def test_noise_is_fresh_in_every_epoch_and_at_the_snr_that_was_asked_for(tmp_path: Path) -> None:
    resampled = parts(tmp_path)
    path = mixed(tmp_path, resampled)
    remix = Remix(data.read(path), resampled, 0)
    seen = set()
    for epoch in range(4):
        for name, pcm in heard(remix, path, epoch).items():
            speech = Clip(name.removesuffix("_snr10_0"), kind="speech").pcm.astype(float)
            added = pcm - speech
            assert 10 * np.log10(speech.var() / added.var()) == pytest.approx(SNR_DB, abs=0.1)
            seen.add(pcm.tobytes())
    assert len(seen) == 12


def test_a_draw_depends_on_seed_row_and_epoch_alone(tmp_path: Path) -> None:
    resampled = parts(tmp_path)
    path = mixed(tmp_path, resampled)
    first, again = Remix(data.read(path), resampled, 0), Remix(data.read(path), resampled, 0)
    forwards = [heard(first, path, epoch) for epoch in (0, 1, 2)]
    backwards = [heard(again, path, epoch) for epoch in (2, 1, 0)][::-1]
    for one, two in zip(forwards, backwards, strict=True):
        assert all(np.array_equal(pcm, two[name]) for name, pcm in one.items())
    other = heard(Remix(data.read(path), resampled, 1), path, 0)
    assert any(not np.array_equal(pcm, other[name]) for name, pcm in forwards[0].items())
    fewer = parts(tmp_path / "fewer", speech=2)
    less = mixed(tmp_path / "fewer", fewer)
    for name, pcm in heard(Remix(data.read(less), fewer, 0), less, 1).items():
        assert np.array_equal(pcm, forwards[1][name])


def test_what_it_needs_and_lacks_is_said(tmp_path: Path) -> None:
    resampled = parts(tmp_path)
    path = mixed(tmp_path, resampled)
    with pytest.raises(PrepError, match=r"resampled holds no|holds no mixtures; make it with prep mix"):
        Remix(data.read(resampled), resampled, 0)
    with pytest.raises(PrepError, match=r"no .*absent\.parquet; name the manifest of prep resample with --speech"):
        Remix(data.read(path), tmp_path / "absent.parquet", 0)
    with pytest.raises(PrepError, match="lacks those of 1 mixtures, s2_snr10_0 for one"):
        Remix(data.read(path), parts(tmp_path / "fewer", speech=2), 0)


def test_virtual_mixtures_are_rendered(tmp_path: Path) -> None:
    """By hand: round(speech + gain * noise from a start on)."""
    resampled = parts(tmp_path, 1, 1)
    rows = {row.id: row for row in data.rows(data.read(resampled), "train")}
    speech, other = rows["s0"], rows["n0"]
    row = replace(
        speech,
        id="v",
        kind="mixture",
        shard=None,
        offset=None,
        bytes=None,
        pcm_hash=None,
        speech_shard=speech.shard,
        speech_offset=speech.offset,
        speech_bytes=speech.bytes,
        noise_shard=other.shard,
        noise_offset=other.offset,
        noise_bytes=other.bytes,
        noise_start=123,
        gain_db=0.0,
        noise_gain_db=-6.0,
    )
    pcm = Clip("s0", kind="speech").pcm
    wanted = np.rint(pcm + 10 ** (-6 / 20) * noise("n0", seconds=3.0).pcm[123 : 123 + len(pcm)].astype(float))
    assert np.abs(Sounds(tmp_path).pcm(row) - wanted).max() <= 1
