"""What a pack holds, what it must never hold, and how small it is."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from command import done, prep
from conftest import Built

from pipeline.core import frame as frames
from pipeline.core import manifest, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.share import pack
from pipeline.share.encode import decode, encode

SPEECH = Row(
    "aihub/Training/1", "aihub", "train", "a" * 32, "speech", "@aihub/Training/화재/1", "살려주세요", "saveme", "화재"
)
HASH = {"pcm_hash": "1" * 32, "source_pcm_hash": "a" * 32, "source_pcm_crc": 7}
MEASURED = {
    "rate_hz": 16_000,
    "frames": 16_000,
    "source_rate_hz": 44_100,
    "source_channels": 1,
    "source_frames": 44_100,
}
LEVELS = {
    "level_full_dbfs": -23.4561,
    "level_active_dbfs": -20.0,
    "activity": 0.613721,
    "gain_db": 0.0,
    "noise_label": "speech",
}
SPEECH = replace(SPEECH, source_format="WAV PCM_16", clipped_share=0.0, zero_share=0.1, **HASH, **MEASURED, **LEVELS)
NOISE = replace(
    SPEECH, id="cochlscene/n", corpus="cochlscene", group="user1", kind="noise", source="@cochlscene/Train/Bus/n"
)
NOISE = replace(
    NOISE, transcript=None, keyword=None, scenario=None, scene="Bus", pcm_hash="2" * 32, source_pcm_hash="b" * 32
)
MIXED = replace(
    SPEECH, id="aihub/Training/1_snr20_0", kind="mixture", speech_id="aihub/Training/1", speech_pcm_hash="3" * 32
)
MIXED = replace(
    MIXED,
    noise_id=NOISE.id,
    noise_source=NOISE.source,
    noise_pcm_hash=NOISE.pcm_hash,
    noise_start=5,
    scene="Bus",
    variant=0,
)
MIXED = replace(
    MIXED, snr_db=20.0, snr_definition="active", snr_active_db=19.9999, snr_full_db=14.2, noise_gain_db=-3.21
)


def written(folder: Path, *rows: Row, recipe: Any = None) -> Path:
    """A manifest of these rows."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest.write(
        folder / "set.parquet",
        frames.from_rows(rows, Row),
        frames.from_rows([], Drop),
        Provenance("mix", recipe or {}, 0),
    )
    return folder / "set.parquet"


def packed(path: Path) -> Path:
    """Its pack."""
    return pack.write(manifest.read(path), pack.path_of(path)).path


def every_text(path: Path) -> str:
    """All that a Parquet file says: its values, column names and metadata."""
    table = pq.read_table(path)
    said = [str(value) for name in table.column_names for value in table.column(name).to_pylist()]
    return "\n".join([*said, *(value.decode("utf-8", "replace") for value in (table.schema.metadata or {}).values())])


# ---- what is in it


def test_a_public_set_comes_back_whole(built: Built, tmp_path: Path) -> None:
    held = manifest.read(built.path("cochlscene"))
    made = pack.write(held, tmp_path / "cochlscene.pack.parquet")
    again = pack.read(made.path)
    assert frames.logical_hash(again.manifest.frame) == held.provenance.logical_hash
    assert (again.manifest.provenance, again.left_out) == (held.provenance, ())


def test_all_but_what_is_left_out_comes_back(built: Built, tmp_path: Path) -> None:
    held = manifest.read(built.path("mixed"))
    again = pack.read(pack.write(held, tmp_path / "m.pack.parquet").path)
    left = {item.column for item in again.left_out}
    assert left == {"transcript", "labels", "scenario", "scene", "group", "id", "source"}
    for name in set(held.frame.columns) - left - set(frames.UNHASHED):
        assert frames.values(again.manifest.frame[name]) == frames.values(held.frame[name])
    assert {item.corpus for item in again.terms} == {"aihub", "cochlscene", "ms-snsd", "recordings"}
    assert all(item.licence and item.attribution for item in again.terms)


@pytest.mark.parametrize(
    "odd",
    [
        replace(MIXED, level_full_dbfs=-23.45612345),
        replace(MIXED, pcm_hash="not a hash"),
        replace(MIXED, pcm_hash="A" * 32),
        replace(MIXED, id="another id"),
        replace(MIXED, noise_id="nowhere"),
        replace(MIXED, noise_source="@elsewhere"),
        replace(MIXED, scene=None),
        replace(MIXED, scene="Park"),
        replace(MIXED, group="speaker"),
        replace(MIXED, frames=15_999),
        replace(MIXED, frames=None),
        replace(MIXED, noise_start=None, source_pcm_hash=None),
    ],
)
def test_unusual_values_survive(odd: Row) -> None:
    given = [odd, NOISE, replace(SPEECH, id="aihub/Training/2")]
    assert list(frames.rows(decode(*encode(frames.from_rows(given, Row))), Row)) == given


def test_a_set_without_mixtures_survives() -> None:
    for given in ([SPEECH], [NOISE], []):
        assert list(frames.rows(decode(*encode(frames.from_rows(given, Row))), Row)) == given


def test_a_row_takes_at_most_150_bytes(tmp_path: Path) -> None:
    """Incompressible are three hashes and the levels; ids and sources differ in a few digits."""
    rng, rows = np.random.default_rng(0), [NOISE]
    for n in range(4000):
        digits, sizes = f"{rng.integers(10**6):06d}{n}", rng.integers(20_000, 400_000)
        hashes = {name: rng.bytes(16).hex() for name in ("pcm_hash", "source_pcm_hash", "speech_pcm_hash")}
        levels = {
            name: round(float(rng.normal(-25, 5)), 4)
            for name in ("level_full_dbfs", "level_active_dbfs", "peak_dbfs", "snr_full_db")
        }
        names = {
            "id": f"aihub/Training/{digits}_snr20_0",
            "speech_id": f"aihub/Training/{digits}",
            "source": f"@aihub/Training/화재/{digits}",
        }
        lengths = {
            "source_frames": int(sizes),
            "frames": int((2 * sizes * 16_000 + 44_100) // 88_200),
            "source_pcm_crc": int(rng.integers(2**32)),
        }
        rows.append(replace(MIXED, group=hashes["source_pcm_hash"], **names, **lengths, **hashes, **levels))
    path = written(tmp_path, *rows)
    made = pack.write(manifest.read(path), pack.path_of(path))
    assert made.bytes / made.rows < 100


READERS = {  # library -> the columns of a file by name, values as Python has them
    "pandas": lambda path: pd.read_parquet(path, dtype_backend="pyarrow").to_dict("list"),
    "duckdb": lambda path: duckdb.read_parquet(str(path)).to_arrow_table().to_pydict(),
    "polars": lambda path: pl.read_parquet(path).to_dict(as_series=False),
}


@pytest.mark.parametrize("library", sorted(READERS))
def test_a_pack_opens_in_other_libraries_with_the_values_of_the_set(library: str, built: Built, tmp_path: Path) -> None:
    path = pack.write(manifest.read(built.path("mixed")), tmp_path / "m.pack.parquet", named=["recordings"]).path
    columns, rows = READERS[library](path), list(manifest.read(built.path("mixed")).rows())
    there = {name: [not pd.isna(value) for value in columns[name]] for name in ("tail", "noise_row", "snr_db")}
    for n, row in enumerate(rows):
        assert columns["stem"][n] + (columns["tail"][n] if there["tail"][n] else "") == row.id
        assert (columns["split"][n], columns["source"][n], columns["frames"][n]) == (row.split, row.source, 0)
        assert (bytes(columns["pcm_hash"][n]).hex(), columns["source_pcm_crc"][n]) == (row.pcm_hash, row.source_pcm_crc)
        assert there["noise_row"][n] == (row.noise_id is not None) == there["snr_db"][n]
        if there["noise_row"][n]:
            assert columns["stem"][int(columns["noise_row"][n])] == row.noise_id
            assert columns["snr_db"][n] / 100 == row.snr_db


# ---- what must not be in it


def test_no_transcript_no_label_no_path_and_no_speaker_is_in_a_pack(built: Built, tmp_path: Path) -> None:
    said = every_text(pack.write(manifest.read(built.path("mixed")), tmp_path / "m.pack.parquet").path)
    for corpus in ("aihub", "recordings"):
        texts = {str(text) for text in frames.codes(manifest.read(built.path(corpus)).frame["transcript"])[1] if text}
        assert texts
        assert not [text for text in texts if text in said]
    speakers = {
        str(name)
        for name in frames.codes(manifest.read(built.path("recordings")).frame["group"])[1]
        if len(str(name)) < 32
    }
    assert speakers
    assert not [name for name in speakers if f"\n{name}\n" in said]
    held = manifest.read(built.path("aihub")).frame
    classes = {str(name) for name in frames.codes(held["scenario"])[1]}  # they are in the names of the recordings
    values = {value for labels in frames.values(held["labels"]) for value in labels.values()} - classes
    telling = {value for value in values if len(value) > 3 and not value[0].isdigit()}
    assert len(telling) > 5
    assert not [value for value in telling if value in said]
    for path in (built.folder, built.corpora, Path.home()):
        assert str(path) not in said


def test_a_recipe_that_quotes_a_transcript_is_left_out_with_it(tmp_path: Path) -> None:
    recipe = {"filter": {"where": "transcript = '살려주세요'", "splits": ["train"]}, "mix": {"snr_db": [20.0]}}
    held = pack.read(packed(written(tmp_path, SPEECH, recipe=recipe)))
    assert "살려주세요" not in every_text(tmp_path / "set.pack.parquet")
    assert held.manifest.provenance.recipe["filter"]["splits"] == ["train"]
    assert held.manifest.provenance.recipe["mix"] == {"snr_db": [20.0]}
    assert ("aihub", "recipe", 1) in {(item.corpus, item.column, item.rows) for item in held.left_out}


@pytest.mark.parametrize(
    ("rule", "secret"),
    [
        ("transcript IS NULL OR transcript NOT LIKE '%개조심%'", "개조심"),  # in no row: the rule has dropped them
        ("length(transcript)>2 and\nTRANSCRIPT<>'물지마'", "물지마"),
        ("'물지마' <> transcript", "물지마"),
        ("labels['gender'] = '여성'", "여성"),
        ("\"group\" <> '김민지'", "김민지"),
    ],
)
def test_a_rule_that_quotes_what_it_drops_is_left_out(rule: str, secret: str, tmp_path: Path) -> None:
    held = pack.read(packed(written(tmp_path / "own", SPEECH, recipe={"filter": {"where": rule}})))
    assert secret not in every_text(tmp_path / "own/set.pack.parquet")
    assert ("aihub", "recipe") in {(item.corpus, item.column) for item in held.left_out}
    public = pack.read(packed(written(tmp_path / "public", NOISE, recipe={"filter": {"where": rule}})))
    assert public.manifest.provenance.recipe == {"filter": {"where": rule}}


def test_a_rule_that_quotes_nothing_stays(tmp_path: Path) -> None:
    recipe = {"filter": {"where": "transcript IS NOT NULL AND peak_dbfs < -1"}, "mix": {"where": "scenario = '화재'"}}
    assert pack.read(packed(written(tmp_path, SPEECH, recipe=recipe))).manifest.provenance.recipe == recipe


def test_groups_that_may_be_names_go_by_a_hash_and_still_hold_together(tmp_path: Path) -> None:
    own = replace(SPEECH, corpus="recordings", id="recordings/1", source="@recordings/1", group="김민지")
    other = replace(own, id="recordings/2", source="@recordings/2", source_pcm_hash="c" * 32)
    alone = replace(own, id="recordings/3", source="@recordings/3", group="d" * 32, source_pcm_hash="d" * 32)
    groups = frames.values(pack.read(packed(written(tmp_path, own, other, alone, NOISE))).manifest.frame["group"])
    assert groups == ["user1", *2 * [f"group-{'a' * 16}"], "d" * 32]
    assert "김민지" not in every_text(tmp_path / "set.pack.parquet")


def test_the_command_says_what_is_left_out_and_why(built: Built, tmp_path: Path) -> None:
    ended = done(tmp_path, "pack", built.path("mixed"), "--out", "m.pack.parquet")
    assert "bytes a row" in ended.out
    assert "left out: transcript (" in ended.out
    assert "because transcripts of aihub may not be passed on. NIA terms of use (AI-Hub)" in ended.out
    assert "because a file may be named after a person; it goes by the hash of the recording" in ended.out
    named = done(tmp_path, "pack", built.path("mixed"), "--out", "m.pack.parquet", "--allow", "names:recordings")
    assert "see that they hold nothing private" in named.out
    told = done(tmp_path, "pack", built.path("mixed"), "--out", "m.pack.parquet", "--json").json()
    assert told["bytes_per_row"] == round((tmp_path / "m.pack.parquet").stat().st_size / told["rows"], 1)


@pytest.mark.parametrize(
    ("allowed", "said"),
    [
        (
            "transcripts:aihub",
            "transcripts of aihub may not be passed on. NIA terms of use (AI-Hub): For Korean nationals",
        ),
        ("labels:aihub", "labels of aihub may not be passed on"),
        ("audio:cochlscene", "a pack holds no audio"),
        ("transcripts", "expected KIND:CORPUS"),
        ("transcript:aihub", 'did you mean "transcripts"'),
        ("transcripts:aihb", 'did you mean "aihub"'),
    ],
)
def test_what_is_forbidden_cannot_be_allowed(allowed: str, said: str, built: Built, tmp_path: Path) -> None:
    ended = prep(tmp_path, "pack", built.path("mixed"), "--out", "m.pack.parquet", "--allow", allowed)
    assert ended.code == 1
    assert said in ended.err
    assert not (tmp_path / "m.pack.parquet").exists()


def test_what_is_public_needs_no_allowing(built: Built, tmp_path: Path) -> None:
    ended = done(tmp_path, "pack", built.path("mixed"), "--out", "m.pack.parquet", "--allow", "labels:cochlscene")
    assert "nothing to do" in ended.err


def test_an_edit_of_what_is_left_out_is_refused_and_one_of_what_is_not_is_packed(built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path / "set")
    mixed = manifest.read(tmp_path / "set/manifests/mixed.parquet")
    spoken = frames.present(mixed.frame, "transcript")
    for column, packs in (("keyword", True), ("transcript", False)):
        edited = frames.choose(spoken, "others", mixed.frame[column])
        saved = mixed.save(
            mixed.path.with_name(f"{column}.parquet"), frames.with_columns(mixed.frame, **{column: edited})
        )
        ended = prep(tmp_path, "pack", saved.path, "--out", f"{column}.pack.parquet")
        assert (ended.code == 0) == packs == (tmp_path / f"{column}.pack.parquet").exists()
        assert packs or "transcript was edited by hand and may not be passed on" in ended.err


# ---- reading it


def test_a_manifest_and_a_pack_are_told_apart(tmp_path: Path) -> None:
    path = written(tmp_path, MIXED, NOISE)
    made = packed(path)
    assert (pack.is_pack(made), pack.is_pack(path), pack.is_pack(tmp_path / "none"), pack.is_pack(Path(__file__))) == (
        True,
        False,
        False,
        False,
    )
    assert [row.id for row in pack.read_any(made).rows()] == [row.id for row in pack.read_any(path).rows()]
    with pytest.raises(ManifestError, match="not a pack: make one"):
        pack.read(path)
    with pytest.raises(ManifestError, match="no such pack"):
        pack.read(tmp_path / "none.pack.parquet")
    assert "a pack already" in prep(tmp_path, "pack", made).err
    assert "that is the manifest itself" in prep(tmp_path, "pack", path, "--out", path).err


def test_a_pack_that_was_changed_or_is_of_a_later_prep_is_refused(tmp_path: Path) -> None:
    made = packed(written(tmp_path, MIXED, NOISE))
    table, held = parquet.read(made)
    parquet.write(made, frames.with_columns(table, keyword="helpme"), held)
    with pytest.raises(pack.Altered, match="not those that were packed"):
        pack.read(made)
    parquet.write(made, table, {**held, "pack": {**held["pack"], "version": 99}})
    with pytest.raises(ManifestError, match="of a later prep"):
        pack.read(made)
    parquet.write(made, table, {**held, "pack": {**held["pack"], "codings": ["runes"]}})
    with pytest.raises(ManifestError, match="does not know: upgrade"):
        pack.read(made)


def test_the_same_set_packs_to_the_same_bytes(tmp_path: Path) -> None:
    first, second = (packed(written(tmp_path / name, MIXED, NOISE)).read_bytes() for name in "ab")
    assert first == second


def test_drops_are_told_as_counts_alone(built: Built, tmp_path: Path) -> None:
    made = pack.write(manifest.read(built.path("filtered")), tmp_path / "f.pack.parquet").path
    drops = manifest.read(built.path("filtered")).drops
    assert sum(pack.read(made).dropped.values()) == len(drops) > 0
    assert not [row_id for row_id in drops["id"] if row_id in json.dumps(parquet.metadata(made))]
