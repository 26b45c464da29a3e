"""Manifests: read as they are by what researchers use, the same bytes each time, whole or absent."""

from __future__ import annotations

import json
import os
from dataclasses import fields, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import drops, held, rows
from conftest import Built

from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.core.sql import query

MADE = Provenance("ingest", {"ingest": {"corpora": ["aihub"]}}, 0)
ROW = Row(
    "aihub/Training/1",
    "aihub",
    "train",
    "g",
    "speech",
    "@aihub/Training/1",
    "살려주세요",
    labels={"gender": "여성", "a": "b"},
    frames=16_000,
)
ROWS = [ROW, replace(ROW, id="aihub/Training/0", source="@aihub/Training/0", transcript=None, peak_dbfs=-3.25)]
DROPS = [Drop("aihub/Training/9", "ingest", "truncated", "it ends early")]
SCHEMA = Path(__file__).parents[1] / "manifests/schema.md"
NAMED = [
    "id",
    "corpus",
    "split",
    "group",
    "kind",
    "source",
    "transcript",
    "keyword",
    "scenario",
    "scene",
    "noise_label",
    "labels",
    "shard",
    "offset",
    "bytes",
    "rate_hz",
    "frames",
    "pcm_hash",
    "source_rate_hz",
    "source_channels",
    "source_format",
    "source_pcm_hash",
    "level_full_dbfs",
    "level_active_dbfs",
    "activity",
    "peak_dbfs",
    "clipped_share",
    "zero_share",
    "dc_dbfs",
    "speech_id",
    "noise_id",
    "noise_start",
    "snr_db",
    "snr_definition",
    "snr_active_db",
    "snr_full_db",
    "gain_db",
    "noise_gain_db",
    "variant",
]


def written(folder: Path, listed: list[Row] = ROWS) -> Path:
    manifest.write(folder / "m.parquet", frames.from_rows(listed, Row), frames.from_rows(DROPS, Drop), MADE)
    return folder / "m.parquet"


def test_rows_and_drops_come_back_in_the_stable_order(tmp_path: Path) -> None:
    found = manifest.read(written(tmp_path))
    assert list(found.rows()) == ROWS[::-1]
    assert list(frames.rows(found.drops, Drop)) == DROPS
    assert (len(found), found.provenance.stage, found.provenance.recipe) == (2, "ingest", MADE.recipe)


def test_the_same_rows_make_the_same_bytes_whatever_their_order(tmp_path: Path) -> None:
    one, other = written(tmp_path / "a"), written(tmp_path / "b", ROWS[::-1])
    assert one.read_bytes() == other.read_bytes()
    assert manifest.drops_path(one).read_bytes() == manifest.drops_path(other).read_bytes()


def test_the_same_rows_in_pieces_make_the_same_bytes(tmp_path: Path) -> None:
    """Rows come from as many shards as there are; the file must not show it."""
    count = 70_000  # more than a row group, and than a page
    numbers = np.arange(count)
    whole = frames.with_columns(
        frames.pick(frames.from_rows([ROW], Row), np.zeros(count, np.int64)),
        id=[f"aihub/{n:06d}" for n in numbers],
        source=[f"@aihub/{n:06d}" for n in numbers],
        group=[f"g{n * 7919 % 10_007}" for n in numbers],
        frames=numbers,
        transcript=[None if n % 3 else f"살려주세요 {n}" for n in numbers],
    )
    drops = frames.from_rows(DROPS, Drop)
    for name, size in (("whole", count), ("pieces", 997), ("others", 500), ("halves", 35_000)):
        parts = [frames.pick(whole, numbers[start : start + size]) for start in range(0, count, size)]
        manifest.write(tmp_path / f"{name}.parquet", frames.concat(parts, Row), drops, MADE)
    names = ("whole", "pieces", "others", "halves")
    assert len({(tmp_path / f"{name}.parquet").read_bytes() for name in names}) == 1


@pytest.mark.parametrize("column", ["transcript", "split", "frames"])
def test_another_row_makes_another_hash(column: str, tmp_path: Path) -> None:
    value = {"transcript": "x", "split": "dev", "frames": 3}[column]
    one, other = written(tmp_path / "a"), written(tmp_path / "b", [replace(ROW, **{column: value}), ROWS[1]])
    assert manifest.read(one).provenance.logical_hash != manifest.read(other).provenance.logical_hash


def test_all_columns_that_were_promised_are_there(built: Built) -> None:
    assert set(NAMED) <= set(pq.read_schema(built.path("mixed")).names)


def test_every_column_is_documented() -> None:
    told = SCHEMA.read_text(encoding="utf-8")
    assert [f.name for f in fields(Row) if f"`{f.name}`" not in told] == []


@pytest.mark.parametrize("name", ["aihub", "filtered", "resampled", "mixed"])
def test_pandas_duckdb_and_polars_read_the_same_rows(name: str, built: Built) -> None:
    path, wanted = built.path(name), list(rows(built.folder, name).values())
    ids = [row.id for row in wanted]
    assert pd.read_parquet(path)["id"].tolist() == ids
    assert pl.read_parquet(path)["id"].to_list() == ids
    with duckdb.connect() as session:
        assert [found for (found,) in session.execute("SELECT id FROM read_parquet(?)", [str(path)]).fetchall()] == ids
        listed = session.execute(
            "SELECT id, transcript FROM read_parquet(?) WHERE transcript IS NOT NULL", [str(path)]
        ).fetchall()
    assert listed == [(row.id, row.transcript) for row in wanted if row.transcript is not None]


@pytest.mark.filterwarnings("ignore")  # what Hugging Face's packages warn of is theirs
def test_hugging_face_datasets_reads_the_rows(built: Built, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.Dataset.from_parquet(str(built.path("mixed")), cache_dir=str(tmp_path))
    wanted = list(rows(built.folder, "mixed").values())
    assert found["id"][:] == [row.id for row in wanted]
    assert {pair["key"]: pair["value"] for pair in found[0]["labels"]} == dict(wanted[0].labels)


def test_types_are_explicit_also_where_a_column_is_empty(tmp_path: Path) -> None:
    form = pq.read_schema(written(tmp_path))
    assert pa.types.is_string(form.field("noise_id").type)
    assert pa.types.is_int64(form.field("noise_start").type)
    assert pa.types.is_float64(form.field("snr_db").type)
    assert not form.field("id").nullable


def test_provenance_is_canonical_json_of_versions_and_hashes_alone(tmp_path: Path) -> None:
    told = json.loads(pq.read_schema(written(tmp_path)).metadata[b"prep"])
    assert sorted(told) == sorted(f.name for f in fields(Provenance))
    assert {"prep", "numpy", "soxr", "soundfile", "pyarrow"} <= set(told["versions"])
    assert told["schema_version"] == manifest.SCHEMA_VERSION


@pytest.mark.parametrize("nth", [1, 2])
def test_a_write_that_fails_leaves_the_old_manifest_or_none(
    nth: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path)
    before, real, left = path.read_bytes(), os.replace, nth

    def failing(*args: str) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise OSError(28, "No space left on device")
        real(*args)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="No space left"):
        written(tmp_path, ROWS[:1])
    assert path.read_bytes() == before
    assert [found.name for found in sorted(tmp_path.iterdir())] == ["m.drops.parquet", "m.parquet"]


def _damaged(path: Path, how: str) -> None:
    whole = path.read_bytes()
    table = pq.read_table(path)
    if how == "cut":
        path.write_bytes(whole[:-100])
    elif how == "text":
        path.write_text("id,corpus\n")
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "foreign":
        pq.write_table(pa.table({"id": ["a"]}), path)
    elif how == "lacks a column":
        pq.write_table(table.drop_columns(["frames"]), path)
    elif how == "wrong type":
        pq.write_table(
            table.set_column(table.column_names.index("frames"), "frames", pa.array(["many"] * len(table))), path
        )
    elif how == "later schema":
        told = json.loads(table.schema.metadata[b"prep"]) | {"schema_version": manifest.SCHEMA_VERSION + 1}
        pq.write_table(table.replace_schema_metadata({b"prep": json.dumps(told)}), path)
    elif how == "unknown provenance":
        told = json.loads(table.schema.metadata[b"prep"]) | {
            "schema_version": manifest.SCHEMA_VERSION + 1,
            "signed_by": "x",
        }
        pq.write_table(table.replace_schema_metadata({b"prep": json.dumps(told)}), path)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", "no such manifest"),
        ("cut", "m.parquet"),
        ("text", "m.parquet"),
        ("empty", "m.parquet"),
        ("foreign", "m.parquet"),
        ("lacks a column", "frames"),
        ("wrong type", "expected int64"),
        ("later schema", "upgrade"),
        ("unknown provenance", "upgrade"),
    ],
)
def test_what_is_no_manifest_of_ours_is_refused_by_name(how: str, said: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    _damaged(path, how)
    with pytest.raises(ManifestError) as caught:
        list(manifest.read(path).rows())
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ManifestError, match=str(tmp_path)):
        manifest.read(tmp_path)


def test_missing_drops_are_named(tmp_path: Path) -> None:
    path = written(tmp_path)
    manifest.drops_path(path).unlink()
    with pytest.raises(ManifestError, match="drops"):
        _ = manifest.read(path).drops


def test_drops_say_stage_reason_and_sentence(built: Built) -> None:
    for name in ("aihub", "filtered", "mixed"):
        for row_id, stage, reason, detail in query(
            held(built.folder, name).drops, "SELECT id, stage, reason, detail FROM rows"
        ):
            assert stage in ("ingest", "filter", "resample", "mix")
            assert reason.replace("_", "").isalpha()
            assert reason == reason.lower()
            assert detail
            assert row_id in drops(built.folder, name)
