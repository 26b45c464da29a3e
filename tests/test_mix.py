"""Mixing: what is drawn, what comes out, what is lost; on sounds of every odd kind."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import reference
from command import chain, done, drops, held, prep, rows
from odd import ALL_PASS, NOISE, SPEECH, USELESS
from pandas import DataFrame
from sounds import corpus, encoded, hiss, voice

from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core.errors import PrepError
from pipeline.core.frame import equal, from_rows, ordered, pick
from pipeline.core.row import Row
from pipeline.stages import Plan, mix

SNRS = ("--snr", -5, "--snr", 20, "--snr", "0:10", "--copies", 2)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which all odd sounds were mixed at three SNRs, two copies each."""
    folder = tmp_path_factory.mktemp("odd")
    chain(folder, corpus(folder / "corpus", SPEECH | NOISE), *SNRS, filtering=ALL_PASS)
    return folder


@pytest.fixture(scope="module")
def resampled(tmp_path_factory: pytest.TempPathFactory) -> DataFrame:
    """Rows of thirty utterances in three splits and twelve noises, without any audio: enough to plan with."""
    splits = ("train", "dev", "test")
    speech = [_row(f"aihub/{split}/{n}", split, "aihub", frames=32_000 + n) for split in splits for n in range(10)]
    named = [(name, split, n) for name in ("cochlscene", "ms-snsd") for split in splits for n in range(6)]
    noise = [_row(f"{name}/{split}/{n}", split, name, "noise", 160_000) for name, split, n in named]
    return ordered(from_rows(speech + noise, Row))


def _row(row_id: str, split: str, name: str, kind: str = "speech", frames: int = 32_000) -> Row:
    claims = Row(row_id, name, split, row_id, kind, f"@{row_id}", noise_label=kind)
    stored = replace(
        claims, shard=f"{kind}.tar", offset=512, bytes=1_000, rate_hz=16_000, frames=frames, pcm_hash=row_id
    )
    return replace(stored, level_full_dbfs=-30.0, level_active_dbfs=-28.0, activity=0.6, gain_db=0.0)


def planned(resampled: DataFrame, seed: int = 0, **options: object) -> list[Row]:
    return list(frames.rows(mix.plan(resampled, mix.Options(**options), seed, "").jobs.table(), Row))  # type: ignore[arg-type]


def noise_ids(plan: Plan) -> list[str]:
    return plan.jobs.table(names=("noise_id",)).column("noise_id").to_pylist()


def mixtures(folder: Path, name: str = "mixed") -> list[Row]:
    return [row for row in rows(folder, name).values() if row.kind == "mixture"]


def parts(folder: Path, row: Row) -> tuple[np.ndarray, np.ndarray]:
    """(speech, noise) in a stored mixture: the stored speech at its gain, and all else."""
    path = folder / "manifests/mixed.parquet"
    speech = reference.stored(path, rows(folder, "resampled")[row.speech_id or ""])
    clean = speech * 10 ** ((row.gain_db or 0.0) / 20) / 32_768
    return clean, reference.stored(path, row) / 32_768 - clean


def test_every_utterance_is_mixed_at_every_snr_in_every_copy(mixed: Path) -> None:
    speech = [row for row in rows(mixed, "resampled").values() if row.kind == "speech"]
    ended = len(mixtures(mixed)) + sum(reason == "snr_off" for reason, _ in drops(mixed, "mixed").values())
    assert ended == 6 * len(speech)
    assert drops(mixed, "resampled")["ms-snsd/clean_test/opposite_channels"][0] == "silent"
    assert {row.variant for row in mixtures(mixed)} == {0, 1}
    assert {row.id.rsplit("_", 2)[1] for row in mixtures(mixed)} == {"snr-5", "snr20", "snr0to10"}


def test_snr_that_came_out_is_that_of_the_stored_samples_and_near_the_request(mixed: Path) -> None:
    for row in mixtures(mixed):
        speech, noise = parts(mixed, row)
        assert row.snr_active_db == pytest.approx(
            reference.p56(speech, 16_000)[0] - reference.rms_db(noise), abs=0.02
        ), row.id
        assert row.snr_full_db == pytest.approx(reference.rms_db(speech) - reference.rms_db(noise), abs=0.02), row.id
        assert row.snr_active_db == pytest.approx(row.snr_db, abs=0.1), row.id


def test_levels_of_a_mixture_are_those_of_its_stored_samples(mixed: Path) -> None:
    for row in mixtures(mixed):
        speech, noise = parts(mixed, row)
        assert row.level_full_dbfs == pytest.approx(reference.rms_db(speech + noise), abs=0.001)
        assert row.level_active_dbfs == pytest.approx(reference.p56(speech, 16_000)[0], abs=0.01)
        assert row.peak_dbfs == pytest.approx(20 * np.log10(np.abs(speech + noise).max()), abs=0.001)


def test_nothing_clips_and_nothing_passes_the_ceiling(mixed: Path) -> None:
    attenuated = [row for row in mixtures(mixed) if row.gain_db != 0]
    assert attenuated, "loud speech at -5 dB must have been attenuated, or this test sees nothing"
    for row in mixtures(mixed):
        samples = reference.stored(mixed / "manifests/mixed.parquet", row).astype(int)
        assert np.abs(samples).max() <= 32_768 * 10 ** (-0.1 / 20) + 0.5
        assert (row.gain_db or 0.0) <= 0.0
        assert row.gain_db == 0.0 or np.abs(samples).max() == pytest.approx(32_768 * 10 ** (-0.1 / 20), rel=1e-3)


def test_a_mixture_is_as_long_as_its_utterance_and_keeps_its_words(mixed: Path) -> None:
    speech = rows(mixed, "resampled")
    for row in mixtures(mixed):
        whole = speech[row.speech_id or ""]
        for column in ("frames", "split", "group", "transcript", "source", "labels"):
            assert getattr(row, column) == getattr(whole, column)
        assert row.speech_pcm_hash == whole.pcm_hash
        assert row.noise_pcm_hash == speech[row.noise_id or ""].pcm_hash
        assert row.scene == speech[row.noise_id or ""].scene
        assert row.noise_label == "speech"


def test_noise_stays_as_examples_of_noise(mixed: Path) -> None:
    before = {row.id: row for row in rows(mixed, "resampled").values() if row.kind == "noise"}
    assert {row_id: row for row_id, row in rows(mixed, "mixed").items() if row.kind == "noise"} == before
    assert {row.noise_label for row in before.values()} == {"noise"}


def test_every_snr_of_a_copy_has_the_same_noise_from_the_same_start(mixed: Path) -> None:
    seen: dict[tuple[str | None, int | None], set[tuple[str | None, int | None]]] = {}
    for row in mixtures(mixed):
        seen.setdefault((row.speech_id, row.variant), set()).add((row.noise_id, row.noise_start))
    assert {len(crops) for crops in seen.values()} == {1}
    assert len({crop for crops in seen.values() for crop in crops}) > len(NOISE)  # starts differ


def test_samples_read_by_the_reader_are_those_in_the_tar(mixed: Path) -> None:
    reader = Reader(mixed / "manifests")
    for row in rows(mixed, "mixed").values():
        assert np.array_equal(reader.pcm(row), reference.stored(mixed / "manifests/mixed.parquet", row))
        assert reader.audio(row).rate_hz == 16_000
        assert len(reader.pcm(row)) == row.frames


def test_full_definition_counts_the_whole_clip(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "c", {"clean_test/pauses.wav": encoded(voice(4.0, active=0.15)), **NOISE})
    chain(tmp_path, folder, "--snr", 10, "--definition", "full")
    (row,) = mixtures(tmp_path)
    assert row.snr_definition == "full"
    assert row.snr_full_db == pytest.approx(10, abs=0.1)
    assert (row.snr_active_db or 0) > 11  # pauses make the same mixture easier than it says


def test_an_snr_beyond_sixteen_bits_is_dropped_and_says_so(tmp_path: Path) -> None:
    spoken = {name: encoded(voice(3.0, level_dbfs=level)) for name, level in (("quiet", -60.0), ("loud", -15.0))}
    folder = corpus(tmp_path / "c", {f"clean_test/{name}.wav": data for name, data in spoken.items()} | NOISE)
    chain(tmp_path, folder, "--snr", 60, filtering=ALL_PASS)
    assert [row.speech_id for row in mixtures(tmp_path)] == ["ms-snsd/clean_test/loud"]
    reason, detail = drops(tmp_path, "mixed")["ms-snsd/clean_test/quiet_snr60_0"]
    assert reason == "snr_off"
    assert "60.0 dB asked for" in detail


@pytest.mark.parametrize(
    ("name", "reason"), [("noise_test/Opposite_1.wav", "silent_noise"), ("noise_test/Tiny_1.wav", "short_noise")]
)
def test_noise_that_cannot_be_mixed_loses_rows_by_a_true_reason(name: str, reason: str, tmp_path: Path) -> None:
    """Its own row stays: as an example of noise it may still be of use."""
    both = {"noise_test/Hum_1.wav": encoded(hiss(5.0)), name: USELESS[name]}
    folder = corpus(tmp_path / "c", {"clean_test/a.wav": encoded(voice(3.0))} | both)
    chain(tmp_path, folder, "--copies", 8, filtering=ALL_PASS)
    found = drops(tmp_path, "mixed")
    assert {told for told, _ in found.values()} <= {reason}
    assert len(mixtures(tmp_path)) + len([row_id for row_id in found if "clean_test" in row_id]) == 8


def test_the_silent_half_of_a_noise_is_drawn_again(tmp_path: Path) -> None:
    half = np.concatenate([hiss(4.0), np.zeros(64_000, np.float32)])
    folder = corpus(tmp_path / "c", {"clean_test/a.wav": encoded(voice(1.0)), "noise_test/Half_1.wav": encoded(half)})
    chain(tmp_path, folder, "--copies", 40)
    starts = [row.noise_start or 0 for row in mixtures(tmp_path)]
    assert max(starts) < 64_000
    lost = [reason for reason, _ in drops(tmp_path, "mixed").values()]
    assert len(starts) + len(lost) == 40
    assert set(lost) <= {"silent_noise"}
    assert len(lost) <= 8  # four silent crops in a row have a chance of about 1 in 20


def test_a_loud_mixture_keeps_its_snr_when_attenuated(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path / "c", {"clean_test/loud.wav": encoded(np.clip(voice(3.0, level_dbfs=-9.0), -0.99, 0.99)), **NOISE}
    )
    chain(tmp_path, folder, "--snr", -10, filtering=ALL_PASS)
    (row,) = mixtures(tmp_path)
    assert (row.gain_db or 0) < -3
    assert row.snr_active_db == pytest.approx(-10, abs=0.1)


def test_virtual_mixtures_render_the_samples_that_stored_ones_hold(mixed: Path) -> None:
    done(mixed, "mix", *SNRS, "--jobs", 1, "--virtual", "--out", "manifests/virtual.parquet")
    reader, virtual, stored = Reader(mixed / "manifests"), rows(mixed, "virtual"), rows(mixed, "mixed")
    assert list(virtual) == list(stored)
    for row_id, row in virtual.items():
        for column in (
            "pcm_hash",
            "snr_active_db",
            "snr_full_db",
            "gain_db",
            "noise_gain_db",
            "peak_dbfs",
            "level_full_dbfs",
        ):
            assert getattr(row, column) == getattr(stored[row_id], column)
        assert np.array_equal(reader.pcm(row), reader.pcm(stored[row_id]))


# ---- plans: chance, without audio


def test_noise_is_of_the_utterances_own_split(resampled: DataFrame) -> None:
    for row in planned(resampled, copies=5):
        assert (row.noise_id or "").split("/")[1] == row.split


def test_a_split_without_noise_loses_its_utterances_by_name_and_no_others(resampled: DataFrame) -> None:
    dev_noise = equal(resampled["kind"], "noise") & equal(resampled["split"], "dev")
    plan = mix.plan(pick(resampled, ~dev_noise), mix.Options(), 0, "")
    assert list(plan.drops["reason"]) == ["no_noise"] * 10
    assert "no noise of" in plan.drops["detail"][0]
    assert len(plan) == 20


def test_cochlscene_is_the_noise_where_it_is_there_and_the_choice_is_told(resampled: DataFrame) -> None:
    plan = mix.plan(resampled, mix.Options(), 0, "")
    assert {row_id.split("/")[0] for row_id in noise_ids(plan)} == {"cochlscene"}
    assert "cochlscene" in " ".join(plan.notes)
    rest = pick(resampled, ~equal(resampled["corpus"], "cochlscene"))
    assert {row_id.split("/")[0] for row_id in noise_ids(mix.plan(rest, mix.Options(), 0, ""))} == {"ms-snsd"}


def test_weights_are_shares_of_the_draws(resampled: DataFrame) -> None:
    taken = [
        (row.noise_id or "").split("/")[0] for row in planned(resampled, copies=60, noise=("cochlscene=3", "ms-snsd"))
    ]
    assert taken.count("cochlscene") / len(taken) == pytest.approx(0.75, abs=0.04)


def test_a_range_is_drawn_evenly_and_fixed_by_the_seed(resampled: DataFrame) -> None:
    drawn = [row.snr_db or 0.0 for row in planned(resampled, copies=60, snr_db=("5:15",))]
    assert min(drawn) >= 5
    assert max(drawn) <= 15
    assert np.mean(drawn) == pytest.approx(10, abs=0.3)
    assert drawn == [row.snr_db for row in planned(resampled, copies=60, snr_db=("5:15",))]
    assert drawn != [row.snr_db for row in planned(resampled, seed=1, copies=60, snr_db=("5:15",))]


def test_starts_are_spread_over_the_noise_and_leave_room_for_the_utterance(resampled: DataFrame) -> None:
    plan = mix.plan(resampled, mix.Options(copies=60), 0, "").jobs.table()
    starts = np.array(plan.column("starts").to_pylist())
    room = 160_000 - plan.column("frames").to_numpy()
    assert (starts >= 0).all()
    assert (starts <= room[:, None]).all()
    assert (starts / room[:, None]).mean(axis=0) == pytest.approx(0.5, abs=0.03)
    assert (starts != starts[:, :1])[:, 1:].any(axis=1).all()


def test_more_copies_and_more_snrs_leave_those_there_as_they_are(resampled: DataFrame) -> None:
    few = {row.id: row for row in planned(resampled, copies=2, snr_db=(20.0,))}
    many = {row.id: row for row in planned(resampled, copies=5, snr_db=(0.0, 20.0, "5:10"))}
    assert few.items() <= many.items()
    assert len(many) == 30 * 5 * 3


def test_ids_are_unique_and_an_snr_named_twice_is_mixed_once(resampled: DataFrame) -> None:
    made = [row.id for row in planned(resampled, copies=3, snr_db=(20.0, "20", "5:10", "5.0:10"))]
    assert len(made) == len(set(made)) == 30 * 3 * 2


def test_another_seed_draws_other_noise(resampled: DataFrame) -> None:
    one, other = planned(resampled), planned(resampled, seed=1)
    assert [row.id for row in one] == [row.id for row in other]
    assert sum(a.noise_id != b.noise_id for a, b in zip(one, other, strict=True)) > 15


def test_kept_corpora_pass_as_they_are(resampled: DataFrame) -> None:
    mine = frames.choose(np.arange(len(resampled)) % 2 == 0, "recordings", resampled["corpus"])
    rows = frames.with_columns(resampled, corpus=mine)
    kept = int((frames.equal(rows["kind"], "noise") | frames.equal(rows["corpus"], "recordings")).sum())
    plan = mix.plan(rows, mix.Options(noise=("cochlscene",), keep=("recordings",)), 0, "")
    assert len(plan.kept) == kept
    assert len(plan) == len(rows) - kept > 0
    with pytest.raises(PrepError, match=r"nothing to mix: all .* of aihub, whose recordings are kept .* --keep none"):
        mix.plan(resampled, mix.Options(keep=("aihub",)), 0, "")


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "abc", "5:2", "5:", "1e999"])
def test_an_snr_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        mix.Options(snr_db=(value,))


@pytest.mark.parametrize("weight", ["=0", "=-1", "=nan", "=inf", "=x"])
def test_a_weight_that_is_none_is_refused(weight: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        mix.Options(noise=(f"cochlscene{weight}",))


def test_a_corpus_of_noise_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="cochlscene"):
        mix.Options(noise=("cochlscene", "cochlscene=2"))


def test_without_any_noise_it_says_what_to_do(tmp_path: Path) -> None:
    folder = corpus(
        tmp_path / "c", {"clean_test/a.wav": encoded(voice(1.0)), "clean_test/b.wav": encoded(voice(1.0, seed=1))}
    )
    done(tmp_path, "ingest", "ms-snsd", folder, "--jobs", 1)
    done(tmp_path, "filter", "--no-transcript", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    ended = prep(tmp_path, "mix", "--jobs", 1)
    assert ended.code == 1
    assert "no noise to mix with: ingest a corpus of noise" in ended.err


def test_a_mixed_set_can_be_mixed_no_further(mixed: Path) -> None:
    """Its mixtures have no clean samples to add noise to: they must not come out as if they had."""
    ended = prep(mixed, "resample", "manifests/mixed.parquet", "--jobs", 1, "--out", "manifests/again.parquet")
    assert ended.code == 1 or not [row for row in rows(mixed, "again").values() if row.kind == "mixture"]
    assert held(mixed, "mixed").provenance.stage == "mix"
