"""What a file says of itself: a manifest or a pack of a stranger is read as prep writes it, or refused in words."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import prep
from exported import odd_set

from pipeline.core import frame as frames
from pipeline.core import parquet
from pipeline.core.errors import ManifestError
from pipeline.core.row import Row
from pipeline.share import pack as packs

Said = dict[str, Any]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = odd_set(tmp_path_factory.mktemp("odd"))
    assert prep(folder, "pack", "manifests/mixed.parquet", "--out", "mixed.pack.parquet").code == 0
    return folder


Change = Callable[[pa.Table], pa.Table]


def changed(path: Path, out: Path, said: Callable[[Said], Any] = dict, rows: Change | None = None) -> Path:
    """The file with another table, and other words of itself; bytes are taken as they are."""
    table = pq.read_table(path, partitioning=None)
    table = rows(table) if rows else table
    words = said(parquet.metadata(path))
    raw = words if isinstance(words, bytes) else json.dumps(words).encode()
    out.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata({b"prep": raw}), out)
    return out


def recipe(**tables: Any) -> Callable[[Said], Said]:
    return lambda said: {**said, "recipe": {**said["recipe"], **tables}}


SAID: dict[str, Callable[[Said], Any]] = {
    "too deep": lambda said: json.dumps(said).encode()[:-1] + b',"x":' + b'{"a":' * 5000 + b"1" + b"}" * 5001,
    "a list": lambda said: [],
    "no JSON": lambda said: b"\xff{",
    "a huge number": lambda said: json.dumps(said | {"seed": 7}).replace('"seed": 7', '"seed": ' + "9" * 5000).encode(),
    "NaN": lambda said: said | {"seed": float("nan")},
    "no recipe": lambda said: {key: value for key, value in said.items() if key != "recipe"},
    "recipe a text": lambda said: said | {"recipe": "x"},
    "ingest a list": recipe(ingest=[1]),
    "own a number": recipe(ingest={"corpora": ["a"], "own": {"a": 5}}),
    "stand-ins a list": recipe(ingest={"corpora": ["a"], "stand_ins": [1]}),
    "shared without a licence": recipe(ingest={"corpora": ["a"], "own": {"a": {"share_audio": True}}}),
    "edited a number": recipe(edited=5),
    "inputs with a path": lambda said: said | {"inputs": {"../../x": "a"}},
    "inputs of numbers": lambda said: said | {"inputs": {"x": 5}},
    "versions a text": lambda said: said | {"versions": "x"},
}


@pytest.mark.parametrize("how", SAID)
def test_words_of_a_manifest_that_are_none_are_refused_by_every_reader(how: str, odd: Path, tmp_path: Path) -> None:
    path = changed(odd / "manifests/mixed.parquet", tmp_path / "bad.parquet", SAID[how])
    for words in (["show", path], ["pack", path], ["explain", "x", path], ["verify", path, "--level", "schema"]):
        ended = prep(tmp_path, *words)
        assert ended.code in (1, 2)
        assert "bad.parquet" in ended.err
    assert [file.name for file in tmp_path.iterdir()] == ["bad.parquet"]


PACK: dict[str, Callable[[Said], Any]] = {
    **{f"{key} a text": lambda pack, key=key: pack | {key: "x"} for key in ("version", "left_out", "terms", "dropped")},
    "no form": lambda pack: pack | {"codings": []},
    "a form twice": lambda pack: pack | {"codings": pack["codings"] * 2},
    "forms of numbers": lambda pack: pack | {"codings": [1]},
    "no hash": lambda pack: {key: value for key, value in pack.items() if key != "rows_hash"},
    "nothing": lambda pack: None,
}


@pytest.mark.parametrize("how", PACK)
def test_words_of_a_pack_that_are_none_are_refused(how: str, odd: Path, tmp_path: Path) -> None:
    said = lambda said: said | {"pack": PACK[how](said["pack"])}  # noqa: E731
    path = changed(odd / "mixed.pack.parquet", tmp_path / "bad.pack.parquet", said)
    for words in (["rebuild", path], ["rights", path]):
        ended = prep(tmp_path, *words)
        assert ended.code == 1
        assert "bad.pack.parquet" in ended.err


def test_a_pack_without_one_of_its_columns_is_refused(odd: Path, tmp_path: Path) -> None:
    whole = odd / "mixed.pack.parquet"
    for name in pq.read_schema(whole).names:
        path = changed(whole, tmp_path / "bad.pack.parquet", rows=lambda table, name=name: table.drop([name]))
        with pytest.raises(ManifestError, match="its rows are not"):
            packs.read(path)


def put(name: str, value: Any) -> Callable[[pa.Table], pa.Table]:
    """A column of one value, or of an array."""

    def change(table: pa.Table) -> pa.Table:
        made = value if isinstance(value, pa.Array) else pa.array([value] * len(table))
        made = made.take(pa.array([0] * len(table))) if isinstance(value, pa.Array) else made
        return table.set_column(table.schema.get_field_index(name), name, made)

    return change


PAIRS = pa.list_(pa.struct([("key", pa.string()), ("value", pa.string())]))
ROWS: dict[str, Callable[[pa.Table], pa.Table]] = {
    "split twice": lambda table: table.append_column("split", table.column("split")),
    "id null": put("id", pa.nulls(1, pa.string())),
    "id numbers": put("id", 5),
    "frames of time": put("frames", pa.array([0], pa.timestamp("us"))),
    "frames beyond": put("frames", 2**63 - 1),
    "frames negative": put("frames", -1),
    "frames unsigned": put("frames", pa.array([2**64 - 1], pa.uint64())),
    "rate 0": put("rate_hz", 0),
    "level NaN": put("level_full_dbfs", float("nan")),
    "gain": put("gain_db", 1e300),
    "snr": put("snr_db", float("-inf")),
    "start": put("noise_start", -(2**63)),
    "labels twice": put("labels", pa.array([[{"key": "a", "value": "1"}, {"key": "a", "value": "2"}]], PAIRS)),
    "labels null": put("labels", pa.array([[{"key": None, "value": "1"}]], PAIRS)),
    "labels a map": put("labels", pa.array([[("a", "b")]], pa.map_(pa.string(), pa.string()))),
    "no labels": put("labels", pa.nulls(1)),
}


@pytest.mark.parametrize("how", ROWS)
def test_rows_that_no_stage_writes_are_refused_by_every_reader(how: str, odd: Path, tmp_path: Path) -> None:
    path = changed(odd / "manifests/mixed.parquet", tmp_path / "bad.parquet", rows=ROWS[how])
    for words in (["export", path, "--to", "csv", "--own-use"], ["diff", path, path], ["verify", path]):
        ended = prep(tmp_path, *words)
        assert ended.code in (1, 2)
        assert "bad.parquet" in ended.err


@pytest.mark.parametrize("how", ["dictionaries", "large texts"])
def test_the_same_rows_in_other_types_of_arrow_are_the_same_set(how: str, odd: Path, tmp_path: Path) -> None:
    def rows(table: pa.Table) -> pa.Table:
        kind = pa.dictionary(pa.int32(), pa.string()) if how == "dictionaries" else pa.large_string()
        return table.cast(pa.schema([f.with_type(kind) if f.type == pa.string() else f for f in table.schema]))

    path = changed(odd / "manifests/mixed.parquet", tmp_path / "same.parquet", rows=rows)
    shutil.copy(odd / "manifests/mixed.drops.parquet", tmp_path / "same.drops.parquet")
    ended = prep(tmp_path, "verify", path, "--level", "schema")
    assert ended.err == ""
    assert ended.code == 0


BOMB = "x" * 1_000_000
BOMBS: dict[str, Callable[[Path], None]] = {
    "rows": lambda path: pq.write_table(pa.table({"id": pa.nulls(15_000_000, pa.string())}), path),
    "a text": lambda path: pq.write_table(
        pa.table({"id": pa.DictionaryArray.from_arrays(pa.array([0] * 100_000, pa.int32()), [BOMB])}), path
    ),
    "a beginning": lambda path: pq.write_table(
        pa.table({"id": pa.array([BOMB] * 150)}), path, use_dictionary=False, column_encoding="DELTA_BYTE_ARRAY"
    ),
    "groups": lambda path: pq.write_table(pa.table({"id": ["a"] * 11_000}), path, row_group_size=1),
    "words": lambda path: pq.write_table(pa.table({"id": ["a"]}, metadata={"prep": "x" * (33 << 20)}), path),
}


@pytest.mark.parametrize("how", BOMBS)
def test_a_file_that_unpacks_to_more_than_it_can_hold_is_refused(how: str, tmp_path: Path) -> None:
    BOMBS[how](tmp_path / "bomb.parquet")
    before = pa.total_allocated_bytes()
    with pytest.raises(ManifestError, match=r"bomb\.parquet: cannot be read"):
        parquet.read_table(tmp_path / "bomb.parquet")
    assert pa.total_allocated_bytes() - before < 400e6


def test_a_pipe_beside_a_manifest_is_not_waited_for(odd: Path, tmp_path: Path) -> None:
    shutil.copytree(odd / "manifests", tmp_path / "manifests", ignore=shutil.ignore_patterns(".work"))
    (tmp_path / "manifests/mixed.drops.parquet").unlink()
    os.mkfifo(tmp_path / "manifests/mixed.drops.parquet")
    ended = prep(tmp_path, "drops", "manifests/mixed.parquet")
    assert ended.code == 1
    assert "mixed.drops.parquet" in ended.err


def test_columns_of_another_kind_stand_aside() -> None:
    rows = frames.to_arrow(frames.from_rows([Row("a", "b", "train", "g", "speech", "@a")], Row))
    assert frames.conformed(rows.append_column("more", pa.array([1])), Row).column_names == rows.column_names


def test_a_corpus_stated_under_other_terms_elsewhere_is_refused(odd: Path, tmp_path: Path) -> None:
    """Else what a person keeps back could be passed on, by the word of a stranger whose corpus has the same name."""
    mine = odd / "manifests/recordings.parquet"
    terms = {"licence": "CC0", "share_audio": True, "share_transcripts": True, "share_labels": True}
    theirs = recipe(ingest={"corpora": ["recordings"], "own": {"recordings": terms}})
    ids = pa.array([f"recordings/{n}" for n in range(len(pq.read_table(mine)))])
    path = changed(mine, tmp_path / "theirs.parquet", theirs, lambda table: table.set_column(0, "id", ids))
    shutil.copy(mine.with_name("recordings.drops.parquet"), tmp_path / "theirs.drops.parquet")
    ended = prep(tmp_path, "filter", mine, path, "--out", tmp_path / "both.parquet")
    assert ended.code == 1
    assert '"recordings" is another corpus than in the manifests before it' in ended.err
    assert not (tmp_path / "both.parquet").exists()
