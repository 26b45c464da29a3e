"""Older manifests: one of schema 1 opens for ever; a step makes of an older schema what it is today."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command import done, prep

from pipeline.core import frame as frames
from pipeline.core import manifest, migrations, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import SCHEMA_VERSION, Provenance
from pipeline.core.row import Drop, Row
from pipeline.core.sql import query

KEPT = Path(__file__).parent / "data/schema-1.parquet"  # made of the small corpora of prep demo, without AI-Hub's part
ROWS_HASH, DROPS_HASH = "83b49b85a95d716bda8afb97df54b413", "e266e8090e4e951c4c930cb6c3a247f0"
ROW = Row("a/1", "recordings", "train", "g", "speech", "@recordings/1", "살려주세요", scene="Park", frames=16_000)


def test_a_manifest_of_schema_1_opens_for_ever() -> None:
    held = manifest.read(KEPT)
    assert (held.provenance.schema_version, held.provenance.stage, held.provenance.logical_hash) == (
        1,
        "mix",
        ROWS_HASH,
    )
    rows = {row.id: row for row in held.rows()}
    mixture = rows["recordings/wav/rec 001.wav_snr0to20_0"]
    assert (mixture.kind, mixture.keyword, mixture.noise_id, mixture.snr_db) == (
        "mixture",
        "saveme",
        "cochlscene/Street_user0044_14701628_000",
        2.0,
    )
    assert mixture.snr_active_db == pytest.approx(mixture.snr_db, abs=0.1)
    assert query(held.drops, "SELECT stage, reason, count(*) FROM rows GROUP BY 1, 2") == [("filter", "too_short", 2)]


def test_its_logical_hash_still_verifies() -> None:
    assert parquet.logical_hash_of_file(KEPT) == ROWS_HASH
    assert frames.logical_hash(manifest.read_drops(KEPT)) == DROPS_HASH
    assert frames.logical_hash(manifest.read(KEPT).frame) == ROWS_HASH  # as long as later schemas only add columns


def test_the_kept_manifest_holds_nothing_of_ai_hub() -> None:
    assert frames.codes(manifest.read(KEPT).frame["corpus"])[1] == ["cochlscene", "recordings"]


def older(folder: Path, version: int = 0) -> Path:
    """A manifest of a schema before the first: `place` for `scene`, without a CRC, drops without a sentence."""
    path = folder / "old.parquet"
    made = Provenance(
        "ingest", {"ingest": {"corpora": ["recordings"]}}, 7, versions={"numpy": "1.0"}, schema_version=version
    )
    rows = frames.from_rows([ROW, replace(ROW, id="a/2", source="@recordings/2", scene=None)], Row)
    lacking = rows.drop(columns="source_pcm_crc").rename(columns={"scene": "place"})
    drops = frames.from_rows([Drop("a/9", "ingest", "truncated", "")], Drop).drop(columns="detail")
    told = asdict(replace(made, logical_hash=frames.logical_hash(lacking), drops_hash=frames.logical_hash(drops)))
    parquet.write(path, lacking, told)
    parquet.write(manifest.drops_path(path), drops, told)
    return path


@pytest.fixture
def a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a schema before the first would have needed."""
    steps = {
        (0, "rows"): lambda rows: rows.rename(columns={"place": "scene"}),
        (0, "drops"): lambda drops: frames.with_columns(drops, detail="nobody said"),
    }
    monkeypatch.setattr(migrations, "STEPS", steps)


@pytest.mark.usefixtures("a_step")
def test_an_older_manifest_is_read_as_one_of_today(tmp_path: Path) -> None:
    held = manifest.read(older(tmp_path))
    assert list(held.rows()) == [ROW, replace(ROW, id="a/2", source="@recordings/2", scene=None)]
    assert list(frames.rows(held.drops, Drop)) == [Drop("a/9", "ingest", "truncated", "nobody said")]
    assert frames.values(manifest.read_columns(held.path, ["scene"])["scene"]) == ["Park", None]
    assert frames.values(manifest.read_rows(held.path, "id", "a/2")["scene"]) == [None]


def test_steps_are_taken_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {
        (n, "rows"): lambda rows, n=n: frames.with_columns(rows, id=[f"{name}{n}" for name in frames.each(rows["id"])])
        for n in (3, 1, 2)
    }  # type: ignore[misc]
    monkeypatch.setattr(migrations, "STEPS", steps)
    assert frames.values(migrations.raised(frames.from_rows([ROW], Row), "rows", 1, 5)["id"]) == ["a/1123"]


def test_without_its_step_what_an_older_manifest_lacks_is_named(tmp_path: Path) -> None:
    path = older(tmp_path)
    with pytest.raises(ManifestError, match="lacks the columns detail"):
        _ = manifest.read(path).drops


@pytest.mark.usefixtures("a_step")
def test_migrate_writes_the_same_rows_and_keeps_who_made_them(tmp_path: Path) -> None:
    path = older(tmp_path)
    before, drops = list(manifest.read(path).rows()), list(frames.rows(manifest.read(path).drops, Drop))
    assert f"schema version 0 -> {SCHEMA_VERSION}" in done(tmp_path, "migrate", path).out
    held = manifest.read(path)
    assert (list(held.rows()), list(frames.rows(held.drops, Drop))) == (before, drops)
    assert held.provenance.schema_version == SCHEMA_VERSION
    assert (held.provenance.seed, held.provenance.versions) == (7, {"numpy": "1.0"})
    assert frames.logical_hash(held.frame) == held.provenance.logical_hash == parquet.logical_hash_of_file(path)
    assert {"scene", "source_pcm_crc"} <= set(pq.read_schema(path).names)


@pytest.mark.usefixtures("a_step")
def test_an_older_manifest_and_what_became_of_it_have_the_same_rows(tmp_path: Path) -> None:
    path = older(tmp_path)
    done(tmp_path, "migrate", path, "--out", tmp_path / "new.parquet")
    told = done(tmp_path, "diff", path, tmp_path / "new.parquet", "--json").json()
    assert [(option["name"], option["old"]) for option in told["options"]] == [("schema_version", 0)]


@pytest.mark.usefixtures("a_step")
def test_migrate_to_another_file_leaves_the_old_one(tmp_path: Path) -> None:
    path = older(tmp_path)
    before = path.read_bytes()
    done(tmp_path, "migrate", path, "--out", tmp_path / "new.parquet")
    assert path.read_bytes() == before
    assert len(manifest.read(tmp_path / "new.parquet")) == 2
    assert "lies beside it" in prep(tmp_path, "migrate", path, "--out", tmp_path / "elsewhere/new.parquet").err


@pytest.mark.usefixtures("a_step")
def test_migrate_refuses_rows_that_are_not_those_that_were_written(tmp_path: Path) -> None:
    path = older(tmp_path)
    arrow = pq.read_table(path)
    pq.write_table(arrow.slice(0, 1), path)
    before = path.read_bytes()
    ended = prep(tmp_path, "migrate", path)
    assert (ended.code, path.read_bytes()) == (1, before)
    assert "changed since" in ended.err


def test_the_newest_is_left_as_it_is(tmp_path: Path) -> None:
    for name in (KEPT.name, manifest.drops_path(KEPT).name):
        shutil.copy(KEPT.parent / name, tmp_path / name)
    done(tmp_path, "migrate", KEPT.name)
    before = (tmp_path / KEPT.name).read_bytes()
    assert "the newest: nothing to do" in done(tmp_path, "migrate", KEPT.name).out
    assert done(tmp_path, "migrate", KEPT.name, "--json").json() == {
        "from": SCHEMA_VERSION,
        "to": SCHEMA_VERSION,
        "manifest": KEPT.name,
    }
    other = prep(tmp_path, "migrate", KEPT.name, "--out", "other.parquet")
    assert (other.code, "is of the newest schema" in other.err, (tmp_path / "other.parquet").exists()) == (
        1,
        True,
        False,
    )
    assert (tmp_path / KEPT.name).read_bytes() == before


def test_what_is_no_manifest_is_not_migrated(tmp_path: Path) -> None:
    (tmp_path / "x.parquet").write_text("id,corpus\n")
    assert prep(tmp_path, "migrate", "x.parquet").code == 1
    assert "no such manifest" in prep(tmp_path, "migrate", "none.parquet").err


def test_a_pack_is_no_manifest_and_says_what_to_type(tmp_path: Path) -> None:
    parquet.write(
        tmp_path / "a.pack.parquet", frames.from_rows([ROW], Row), {"schema_version": 1, "pack": json.loads("{}")}
    )
    for read in (manifest.read, manifest.provenance):
        with pytest.raises(ManifestError, match=r"prep rebuild a\.pack\.parquet"):
            read(tmp_path / "a.pack.parquet")
