"""Who takes part, in which order, and that no draw depends on workers, processes or other rows."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from train_samples import Clip, made, noise, usual

from pipeline.core import keys
from pipeline.core.errors import ManifestError, PrepError
from pipeline.core.row import Row
from train import data
from train.augment import Waves, spans
from train.batches import Steps, loader, order, parted, stretches
from train.data import Sounds
from train.examples import UNTAUGHT, check, chosen, noise_classes
from train.model import whisper_of
from train.options import Options
from train.text import Texts


@pytest.fixture(scope="module")
def texts() -> Texts:
    return whisper_of("tiny", "random", 0)[1]


def steps(manifest: Path, texts: Texts, options: Options, split: str = "train") -> Steps:
    rows = data.opened(manifest).rows(split)
    found = chosen(rows, texts, noise_classes(rows, options.noise_classes), options)
    return Steps(found.examples, Sounds(manifest.parent), texts, options, 80)


def options(**told: object) -> Options:
    return Options.model_validate({"batch": 4, "max_tokens": 60} | told)


def ids(made_steps: Steps, epoch: int) -> list[list[str]]:
    return [
        [made_steps.examples[n].row.id for n in batch]
        for batch in order(made_steps.examples, epoch, made_steps.options)
    ]


def test_an_epoch_holds_every_row_once_in_an_order_of_its_own(tmp_path: Path, texts: Texts) -> None:
    held = steps(made(tmp_path, usual()), texts, options())
    first, second = ids(held, 0), ids(held, 1)
    assert (
        sorted(name for batch in first for name in batch)
        == sorted(name for batch in second for name in batch)
        == sorted(example.row.id for example in held.examples)
    )
    assert first != second
    assert first == ids(held, 0)


def test_a_batch_goes_in_parts_of_like_length(tmp_path: Path, texts: Texts) -> None:
    clips = [Clip(f"clip{n}", seconds=1.0 if n % 2 else 9.5) for n in range(8)]
    held = steps(made(tmp_path, clips), texts, options(task="single", batch=8))
    assert [tuple(part.samples.shape) for part in held.parts(0)] == [(4, 16_000), (4, 160_000)]
    whole = steps(made(tmp_path, clips), texts, options(task="single", batch=8, window="30"))
    assert [tuple(part.samples.shape) for part in whole.parts(0)] == [(8, 480_000)]


def test_parts_are_the_cheapest_of_all() -> None:
    """Against every way to cut the sorted clips."""
    chance = keys.rng(0, "parts")
    for _ in range(20):
        windows = [16_000 * int(seconds) for seconds in chance.integers(1, 12, size=7)]
        ordered = sorted(windows)

        def cost(cuts: tuple[int, ...], ordered: list[int] = ordered) -> float:
            bounds = [0, *cuts, len(ordered)]
            return sum(3.0 + (end - start) * ordered[end - 1] / 16_000 for start, end in itertools.pairwise(bounds))

        cheapest = min(cost(cuts) for count in range(7) for cuts in itertools.combinations(range(1, 7), count))
        parts = parted(windows, 3.0)
        assert sorted(place for part in parts for place in part) == list(range(7))
        assert sum(3.0 + len(part) * max(windows[place] for place in part) / 16_000 for part in parts) == pytest.approx(
            cheapest
        )


def test_a_batch_holds_the_samples_and_the_targets_of_its_rows(tmp_path: Path, texts: Texts) -> None:
    clips = {clip.id: clip for clip in usual()}
    by_pcm = {clip.pcm.tobytes(): clip for clip in clips.values()}
    held = steps(made(tmp_path, list(clips.values())), texts, options())
    for step in range(held.per_epoch):
        found = []
        for batch in held.parts(step):
            said = [texts.text(row[row >= 0].tolist()) for row in batch.labels]
            for n, size in enumerate(batch.sizes.tolist()):
                clip = by_pcm[(batch.samples[n, :size] * 32768).numpy().astype("i2").tobytes()]
                found.append(clip.id)
                assert not batch.samples[n, size:].any()
                assert batch.noise_class[n] == (clip.kind == "noise")
                assert (n in batch.spoken.tolist() and bool(batch.labels[batch.spoken.tolist().index(n), 0] >= 0)) == (
                    clip.kind != "noise"
                )
                if clip.transcript:
                    assert said[batch.spoken.tolist().index(n)] == clip.transcript
        assert sorted(found) == sorted(ids(held, 0)[step])
        assert sum(int((part.labels >= 0).sum()) for part in held.parts(step)) == held.parts(step)[0].whole.tokens


def test_the_shares_of_several_processes_are_the_whole_batch(tmp_path: Path, texts: Texts) -> None:
    held = steps(made(tmp_path, usual(train=3)), texts, options(batch=5))
    for step in range(held.per_epoch):
        held.rank, held.world = 0, 1
        whole = held.parts(step)[0].whole
        held.world = 3
        shares = []
        for held.rank in range(3):
            shares.append(held.parts(step))
        assert len({len(parts) for parts in shares}) == 1
        every = [part for parts in shares for part in parts]
        assert {part.whole for part in every} == {whole}
        assert sum(int((part.noise_class != UNTAUGHT).sum()) for part in every) == whole.clips
        assert sum(int((part.labels != UNTAUGHT).sum()) for part in every) == whole.tokens


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(tmp_path: Path, texts: Texts, workers: int) -> None:
    told = options(spec_augment=True, crop_noise=True, balance=True, augment=("gain", "filter"))
    held = steps(made(tmp_path, usual()), texts, told)
    held.waves = Waves(told.augment, None)
    direct = [part for step in range(2, 6) for part in held.parts(step)]
    made_ahead = [part for parts in loader(held, range(2, 6), workers, pinned=False) for part in parts]
    for one, two in zip(direct, made_ahead, strict=True):
        assert torch.equal(one.samples, two.samples)
        assert torch.equal(one.spans, two.spans)
        assert torch.equal(one.labels, two.labels)


def test_a_balanced_epoch_gives_every_label_the_same_share(tmp_path: Path, texts: Texts) -> None:
    clips = (
        [Clip(f"s{n}") for n in range(2)]
        + [Clip(f"o{n}", transcript="안녕") for n in range(10)]
        + [noise(f"n{n}") for n in range(12)]
    )
    held = steps(made(tmp_path, clips), texts, options(balance=True))
    found = Counter(name[0] for batch in ids(held, 0) for name in batch)
    assert found == {"s": 8, "o": 8, "n": 8}
    each = Counter(name for batch in ids(held, 0) for name in batch)
    assert each["s0"] == each["s1"] == 4
    assert max(each[f"n{n}"] for n in range(12)) == 1


def test_cropped_noise_is_as_long_as_speech_and_moves_with_the_epoch(tmp_path: Path, texts: Texts) -> None:
    clips = [Clip("a", seconds=1.0), Clip("b", seconds=1.7), *(noise(f"n{n}", seconds=4.0) for n in range(6))]
    held = steps(made(tmp_path, clips), texts, options(crop_noise=True))
    first, second = (stretches(held.examples, epoch, held.options) for epoch in (0, 1))
    lengths = {example.row.id: count for example, count in zip(held.examples, first[:, 1].tolist(), strict=True)}
    assert (lengths["a"], lengths["b"]) == (16_000, 27_200)
    assert {lengths[f"n{n}"] for n in range(6)} <= {16_000, 27_200}
    assert (first.sum(1) <= [example.frames for example in held.examples]).all()
    assert not np.array_equal(first, second)
    assert np.array_equal(first[:, 0] > 0, [example.row.kind == "noise" for example in held.examples])


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


def test_rows_that_teach_nothing_are_left_out_with_a_reason(tmp_path: Path, texts: Texts) -> None:
    clips = [
        Clip("long", seconds=30.5),
        Clip("silent", transcript=None),
        Clip("wordy", transcript="가" * 30),
        Clip("fine"),
        noise("n", seconds=31),
    ]
    rows = data.opened(made(tmp_path, clips)).rows("train")
    multi = chosen(rows, texts, ["speech", "noise"], options())
    assert multi.left_out == {"speech longer than 30 s": 1, "transcript longer than 60 tokens": 1}
    assert [(example.row.id, example.targets is None, example.frames) for example in multi.examples] == [
        ("fine", False, 24_000),
        ("silent", True, 24_000),
        ("n", True, 480_000),
    ]
    single = chosen(rows, texts, [], options(task="single"))
    assert [example.row.id for example in single.examples] == ["fine"]
    assert single.left_out["noise"] == single.left_out["no transcript"] == 1


def test_noise_may_be_taught_to_say_nothing(tmp_path: Path, texts: Texts) -> None:
    rows = data.opened(made(tmp_path, [Clip("a"), noise("n")])).rows("train")
    for task in ("multi", "single"):
        found = {
            example.row.id: example.targets
            for example in chosen(rows, texts, ["speech", "noise"], options(task=task, noise_text="empty")).examples
        }
        assert found["n"] == (*texts.prompt[1:], texts.end)
    assert {
        example.row.id: example.targets for example in chosen(rows, texts, ["speech", "noise"], options()).examples
    }["n"] is None


def test_scenes_are_classes_of_their_own_and_unknown_ones_teach_the_head_nothing(tmp_path: Path, texts: Texts) -> None:
    told = options(noise_classes="scenes")
    rows = data.opened(made(tmp_path, [Clip("a"), noise("n"), noise("m", scene="Cafe")])).rows("train")
    classes = noise_classes(rows, "scenes")
    assert classes == ["speech", "Bus", "Cafe"]
    found = {example.row.id: example.noise_class for example in chosen(rows, texts, classes, told).examples}
    assert found == {"a": 0, "n": 1, "m": 2}
    alone = [row for row in rows if row.id != "m"]
    assert [example.noise_class for example in chosen(alone, texts, noise_classes(alone, "scenes"), told).examples] == [
        0,
        1,
    ]
    other = data.opened(made(tmp_path / "other", [noise("x", scene="Park")])).rows("train")
    assert chosen(other, texts, classes, told).examples[0].noise_class == UNTAUGHT


def test_a_head_with_one_class_to_learn_is_refused(tmp_path: Path, texts: Texts) -> None:
    rows = data.opened(made(tmp_path, [Clip("a"), Clip("b")])).rows("train")
    with pytest.raises(PrepError, match=r"2 rows of speech and 0 of noise.*train with --task single"):
        check(chosen(rows, texts, ["speech", "noise"], options()).examples, options(), "train")
    check(chosen(rows, texts, [], options(task="single")).examples, options(task="single"), "train")


def test_nothing_to_transcribe_is_refused(tmp_path: Path, texts: Texts) -> None:
    rows = data.opened(made(tmp_path, [Clip("a", transcript=None), noise("n")])).rows("train")
    with pytest.raises(PrepError, match="no row of the train split has a transcript"):
        check(chosen(rows, texts, ["speech", "noise"], options()).examples, options(), "train")
    check(chosen(rows, texts, ["speech", "noise"], options(text_weight=0)).examples, options(text_weight=0), "train")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_one_clear_fault(tmp_path: Path, texts: Texts, workers: int) -> None:
    manifest = made(tmp_path, usual())
    held = steps(manifest, texts, options())
    shard = tmp_path / "audio/mixed.tar"
    whole = bytearray(shard.read_bytes())
    whole[5_000::4_000] = bytes(b ^ 255 for b in whole[5_000::4_000])
    shard.write_bytes(whole)
    with pytest.raises(ManifestError, match=r"mixed\.tar|the audio is damaged"):
        list(loader(held, range(held.per_epoch), workers, pinned=False))


def test_a_manifest_that_was_not_resampled_is_refused(tmp_path: Path) -> None:
    manifest = made(tmp_path, [Clip("a")])
    held = data.opened(manifest)
    data.write(tmp_path / "x.parquet", [next(held.manifest.rows())], Row, {})
    with pytest.raises(ManifestError):
        data.opened(tmp_path / "absent.parquet")
