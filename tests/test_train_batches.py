"""Who takes part, in which order, and that no draw depends on workers, processes or other rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from train_samples import Clip, made, noise, usual

from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import ManifestError, PrepError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from train import data
from train.augment import Waves, spans
from train.batches import Batches, loader
from train.data import Sounds
from train.examples import UNTAUGHT, check, noise_classes, select
from train.features import window_of
from train.options import Options
from train.pretrained import load_whisper
from train.sampler import by_window, crops, parts, shuffled, stretches
from train.text import Tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_whisper("tiny", "random", 0)[1]


def steps(manifest: Path, tokenizer: Tokenizer, options: Options, split: str = "train") -> Batches:
    rows = data.rows(data.read(manifest), split)
    found = select(rows, tokenizer, noise_classes(rows, options.noise_classes), options)
    return Batches(found.examples, Sounds(manifest.parent), tokenizer, options, 80)


def options(**given: object) -> Options:
    return Options.model_validate({"batch": 4, "max_tokens": 60} | given)


def ids(made_steps: Batches, epoch: int) -> list[list[str]]:
    return [
        [made_steps.examples[n].row.id for n in batch]
        for batch in shuffled(made_steps.examples, epoch, made_steps.options).batches
    ]


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(tmp_path: Path, tokenizer: Tokenizer) -> None:
    batches = steps(made(tmp_path, usual()), tokenizer, options())
    first, second = ids(batches, 0), ids(batches, 1)
    assert (
        sorted(name for batch in first for name in batch)
        == sorted(name for batch in second for name in batch)
        == sorted(example.row.id for example in batches.examples)
    )
    assert first != second
    assert first == ids(batches, 0)


def test_each_part_of_a_batch_holds_the_clips_of_one_window(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = [Clip(f"clip{n}", seconds=seconds) for n, seconds in enumerate((1.0, 9.5, 0.4, 9.1, 2.2, 1.0, 9.9, 2.0))]
    batches = steps(made(tmp_path, clips), tokenizer, options(task="single", batch=8))
    assert [tuple(part.samples.shape) for part in batches.parts(0)] == [
        (3, 16_000),
        (1, 32_000),
        (1, 48_000),
        (3, 160_000),
    ]
    whole = steps(made(tmp_path, clips), tokenizer, options(task="single", batch=8, window="30"))
    assert [tuple(part.samples.shape) for part in whole.parts(0)] == [(8, 480_000)]


@pytest.mark.parametrize("size", [1, 3, 5, 100])
@pytest.mark.parametrize("window", ["auto", "30"])
def test_scored_clips_are_whole_and_in_batches_of_one_window(
    tmp_path: Path, tokenizer: Tokenizer, size: int, window: str
) -> None:
    clips = [Clip(f"clip{n}", seconds=0.3 + 0.7 * n) for n in range(9)] + [noise(f"n{n}", seconds=n) for n in (1, 4)]
    given = options(batch=size, window=window, balance=True)
    batches = steps(made(tmp_path, clips), tokenizer, given)
    scored = Batches(batches.examples, batches.sounds, tokenizer, given, 80, by_window)
    parts = [scored.parts(step) for step in range(scored.per_epoch)]
    assert all(len(each) == 1 and each[0].clips <= size for each in parts)
    frames = sorted(count for (part,) in parts for count in part.sizes.tolist())
    assert frames == sorted(example.frames for example in batches.examples)
    for (part,) in parts:
        assert {window_of(count, window) for count in part.sizes.tolist()} == {part.samples.shape[1]}
    assert sum(part.totals.clips for (part,) in parts) == len(batches.examples)


def test_a_batch_holds_the_samples_and_the_targets_of_its_rows(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = {clip.id: clip for clip in usual()}
    by_pcm = {clip.pcm.tobytes(): clip for clip in clips.values()}
    batches = steps(made(tmp_path, list(clips.values())), tokenizer, options())
    for step in range(batches.per_epoch):
        found = []
        for batch in batches.parts(step):
            said = [tokenizer.text(row[row >= 0].tolist()) for row in batch.labels]
            for n, size in enumerate(batch.sizes.tolist()):
                clip = by_pcm[(batch.samples[n, :size] * 32768).numpy().astype("i2").tobytes()]
                found.append(clip.id)
                assert not batch.samples[n, size:].any()
                assert batch.noise_class[n] == (clip.kind == "noise")
                assert (
                    n in batch.text_index.tolist() and bool(batch.labels[batch.text_index.tolist().index(n), 0] >= 0)
                ) == (clip.kind != "noise")
                if clip.transcript:
                    assert said[batch.text_index.tolist().index(n)] == clip.transcript
        assert sorted(found) == sorted(ids(batches, 0)[step])
        assert (
            sum(int((part.labels >= 0).sum()) for part in batches.parts(step)) == batches.parts(step)[0].totals.tokens
        )


def test_the_shares_of_several_processes_are_the_whole_batch(tmp_path: Path, tokenizer: Tokenizer) -> None:
    batches = steps(made(tmp_path, usual(train=3)), tokenizer, options(batch=5))
    for step in range(batches.per_epoch):
        batches.rank, batches.world = 0, 1
        whole = batches.parts(step)[0].totals
        batches.world = 3
        shares = []
        for batches.rank in range(3):
            shares.append(batches.parts(step))
        assert len({len(parts) for parts in shares}) == 1
        every = [part for parts in shares for part in parts]
        assert {part.totals for part in every} == {whole}
        assert sum(int((part.noise_class != UNTAUGHT).sum()) for part in every) == whole.clips
        assert sum(int((part.labels != UNTAUGHT).sum()) for part in every) == whole.tokens


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(tmp_path: Path, tokenizer: Tokenizer, workers: int) -> None:
    given = options(spec_augment=True, crop_noise=True, balance=True, augment=("gain", "filter"))
    batches = steps(made(tmp_path, usual()), tokenizer, given)
    batches.waves = Waves(given.augment, None)
    direct = [part for step in range(2, 6) for part in batches.parts(step)]
    made_ahead = [part for parts in loader(batches, range(2, 6), workers, pinned=False) for part in parts]
    for one, two in zip(direct, made_ahead, strict=True):
        assert torch.equal(one.samples, two.samples)
        assert torch.equal(one.spans, two.spans)
        assert torch.equal(one.labels, two.labels)


def test_a_balanced_epoch_gives_every_label_the_same_share(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = (
        [Clip(f"s{n}") for n in range(2)]
        + [Clip(f"o{n}", transcript="안녕") for n in range(10)]
        + [noise(f"n{n}") for n in range(12)]
    )
    batches = steps(made(tmp_path, clips), tokenizer, options(balance=True))
    found = Counter(name[0] for batch in ids(batches, 0) for name in batch)
    assert found == {"s": 8, "o": 8, "n": 8}
    each = Counter(name for batch in ids(batches, 0) for name in batch)
    assert each["s0"] == each["s1"] == 4
    assert max(each[f"n{n}"] for n in range(12)) == 1


def test_cropped_noise_is_as_long_as_speech_and_moves_with_the_epoch(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = [Clip("a", seconds=1.0), Clip("b", seconds=1.7), *(noise(f"n{n}", seconds=4.0) for n in range(6))]
    batches = steps(made(tmp_path, clips), tokenizer, options(crop_noise=True))
    first, second = (stretches(batches.examples, epoch, batches.options) for epoch in (0, 1))
    lengths = {example.row.id: count for example, count in zip(batches.examples, first[:, 1].tolist(), strict=True)}
    assert (lengths["a"], lengths["b"]) == (16_000, 27_200)
    assert {lengths[f"n{n}"] for n in range(6)} <= {16_000, 27_200}
    assert (first.sum(1) <= [example.frames for example in batches.examples]).all()
    assert not np.array_equal(first, second)
    rows = [example.row for example in batches.examples]
    scored = by_window(batches.examples, 3, batches.options).stretches
    assert np.array_equal(scored, first)  # as evaluate has them
    assert crops(rows, "auto", 0) == {
        row.id: (*heard,) for row, heard in zip(rows, first.tolist(), strict=True) if row.kind == "noise"
    }
    assert np.array_equal(first[:, 0] > 0, [example.row.kind == "noise" for example in batches.examples])


def test_what_augments_a_clip_depends_on_its_name_and_the_epoch_alone() -> None:
    wave = np.linspace(-0.5, 0.5, 16_000, dtype="f4")
    changing = Waves(("gain", "filter"), None)
    found = [changing.changed(wave, 0, "row", epoch, 0) for epoch in range(8)]
    np.random.default_rng(1)
    again = [changing.changed(wave, 0, "row", epoch, 0) for epoch in reversed(range(8))]
    assert all(np.array_equal(one, two) for one, two in zip(found, reversed(again), strict=True))
    assert len({one.tobytes() for one in found}) > 3
    assert np.array_equal(spans(16_000, 80, 0, "row", 1), spans(16_000, 80, 0, "row", 1))
    assert not np.array_equal(spans(16_000, 80, 0, "row", 1), spans(16_000, 80, 0, "row", 2))


def test_spec_augment_masks_no_more_than_it_says() -> None:
    for epoch in range(50):
        found = spans(8_000, 80, 0, "row", epoch)
        assert (found[:, 1] <= 5).all()
        assert ((found[:, 0] + found[:, 1]) <= 50).all()
        assert ((found[:, 2] + found[:, 3]) <= 80).all()


def test_the_room_needs_impulse_responses(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match="--augment room needs impulse responses there"):
        Waves(("room",), str(tmp_path))


def test_rows_that_teach_nothing_are_left_out_with_a_reason(tmp_path: Path, tokenizer: Tokenizer) -> None:
    clips = [
        Clip("long", seconds=30.5),
        Clip("silent", transcript=None),
        Clip("wordy", transcript="가" * 30),
        Clip("fine"),
        noise("n", seconds=31),
    ]
    rows = data.rows(data.read(made(tmp_path, clips)), "train")
    multi = select(rows, tokenizer, ["speech", "noise"], options())
    assert multi.left_out == {"speech longer than 30 s": 1, "transcript longer than 60 tokens": 1}
    assert [(example.row.id, example.targets is None, example.frames) for example in multi.examples] == [
        ("fine", False, 24_000),
        ("silent", True, 24_000),
        ("n", True, 480_000),
    ]
    single = select(rows, tokenizer, [], options(task="single"))
    assert [example.row.id for example in single.examples] == ["fine"]
    assert single.left_out["noise"] == single.left_out["no transcript"] == 1


def test_noise_may_be_taught_to_say_nothing(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = data.rows(data.read(made(tmp_path, [Clip("a"), noise("n")])), "train")
    for task in ("multi", "single"):
        found = {
            example.row.id: example.targets
            for example in select(rows, tokenizer, ["speech", "noise"], options(task=task, noise_text="empty")).examples
        }
        assert found["n"] == (*tokenizer.prompt[1:], tokenizer.end)
    assert {
        example.row.id: example.targets for example in select(rows, tokenizer, ["speech", "noise"], options()).examples
    }["n"] is None


def test_scenes_are_classes_of_their_own_and_unknown_ones_teach_the_head_nothing(
    tmp_path: Path, tokenizer: Tokenizer
) -> None:
    given = options(noise_classes="scenes")
    rows = data.rows(data.read(made(tmp_path, [Clip("a"), noise("n"), noise("m", scene="Cafe")])), "train")
    classes = noise_classes(rows, "scenes")
    assert classes == ["speech", "Bus", "Cafe"]
    found = {example.row.id: example.noise_class for example in select(rows, tokenizer, classes, given).examples}
    assert found == {"a": 0, "n": 1, "m": 2}
    alone = [row for row in rows if row.id != "m"]
    assert [
        example.noise_class for example in select(alone, tokenizer, noise_classes(alone, "scenes"), given).examples
    ] == [
        0,
        1,
    ]
    other = data.rows(data.read(made(tmp_path / "other", [noise("x", scene="Park")])), "train")
    assert select(other, tokenizer, classes, given).examples[0].noise_class == UNTAUGHT


def test_a_head_with_one_class_to_learn_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = data.rows(data.read(made(tmp_path, [Clip("a"), Clip("b")])), "train")
    with pytest.raises(PrepError, match=r"2 rows of speech and 0 of noise.*train with --task single"):
        check(select(rows, tokenizer, ["speech", "noise"], options()).examples, options(), "train")
    check(select(rows, tokenizer, [], options(task="single")).examples, options(task="single"), "train")


def test_nothing_to_transcribe_is_refused(tmp_path: Path, tokenizer: Tokenizer) -> None:
    rows = data.rows(data.read(made(tmp_path, [Clip("a", transcript=None), noise("n")])), "train")
    with pytest.raises(PrepError, match="no row of the train split has a transcript"):
        check(select(rows, tokenizer, ["speech", "noise"], options()).examples, options(), "train")
    check(
        select(rows, tokenizer, ["speech", "noise"], options(text_weight=0)).examples, options(text_weight=0), "train"
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_one_clear_fault(tmp_path: Path, tokenizer: Tokenizer, workers: int) -> None:
    manifest = made(tmp_path, usual())
    batches = steps(manifest, tokenizer, options())
    shard = tmp_path / "audio/mixed.tar"
    whole = bytearray(shard.read_bytes())
    whole[5_000::4_000] = bytes(b ^ 255 for b in whole[5_000::4_000])
    shard.write_bytes(whole)
    with pytest.raises(ManifestError, match=r"mixed\.tar|the audio is damaged"):
        list(loader(batches, range(batches.per_epoch), workers, pinned=False))


def test_a_manifest_that_was_not_resampled_is_refused(tmp_path: Path) -> None:
    path = made(tmp_path, [Clip("a")])
    row = replace(next(data.read(path).rows()), rate_hz=44_100)
    manifest.write(path, frames.from_rows([row], Row), frames.from_rows([], Drop), Provenance("ingest", {}, 0))
    with pytest.raises(PrepError, match=r"a is at 44100 Hz, expected 16000: run prep resample \(and prep mix\) first"):
        data.rows(data.read(path), "train")
    with pytest.raises(ManifestError):
        data.read(tmp_path / "absent.parquet")


def cost(windows: list[int], split: list[list[int]], overhead: int) -> int:
    return sum(overhead + max(windows[n] for n in part) * len(part) for part in split)


def test_parts_of_like_windows_cost_least() -> None:
    """Against every way to cut the sorted windows."""
    chance = np.random.default_rng(0)
    for overhead in (0, 3, 10, 1000):
        windows = chance.integers(1, 9, 9).tolist()
        found = parts(windows, overhead)
        assert sorted(n for part in found for n in part) == [*range(9)]
        order = np.argsort(windows, kind="stable").tolist()
        cuts = [[0, *(n + 1 for n in range(8) if mask >> n & 1), 9] for mask in range(256)]
        every = [[order[a:b] for a, b in pairwise(cut)] for cut in cuts]
        assert cost(windows, found, overhead) == min(cost(windows, split, overhead) for split in every)
    assert parts([3, 1, 3, 2], 0) == [[1], [3], [0, 2]]
    assert len(parts([3, 1, 3, 2], 100)) == 1
