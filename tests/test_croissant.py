"""What lies beside a pack: Croissant that its own library accepts and reads the rows by; the licences for people."""

from __future__ import annotations

import json
import logging
from dataclasses import fields
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from command import done, held
from conftest import Built

from pipeline.core import parquet
from pipeline.core.frame import UNHASHED
from pipeline.core.row import Row
from pipeline.share import croissant

CODED = {"stem", "tail", "noise_row"}  # columns of a pack that no manifest has


@pytest.fixture(scope="module")
def beside(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pack of the mixed manifest and what goes beside it."""
    folder = tmp_path_factory.mktemp("pack")
    done(folder, "pack", built.path("mixed"), "--out", folder / "mixed.pack.parquet", "--allow", "names:recordings")
    assert croissant.write(folder / "mixed.pack.parquet") == [folder / "LICENSES.md", folder / "mixed.croissant.json"]
    return folder


def described(beside: Path) -> Any:
    return json.loads((beside / "mixed.croissant.json").read_text(encoding="utf-8"))


@pytest.mark.filterwarnings("ignore")  # what the library's own packages warn of is theirs
def test_mlcroissant_finds_no_fault_and_reads_the_rows(
    beside: Path, built: Built, caplog: pytest.LogCaptureFixture
) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(str(beside / "mixed.croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors
    assert [w for w in issues.warnings if "datePublished" not in w] == []  # a date would make each writing another file
    assert "not standard" not in caplog.text
    records = list(dataset.records("rows"))
    rows = list(held(built.folder, "mixed").rows())
    assert len(records) == len(rows)
    for record, row in zip(records, rows, strict=True):
        assert (record["rows/stem"] + (record["rows/tail"] or b"")).decode() == row.id
        assert (record["rows/split"].decode(), record["rows/source"].decode()) == (row.split, row.source)
        if row.snr_db is not None:
            assert record["rows/snr_db"] / 100 == pytest.approx(row.snr_db)


def test_every_field_is_a_column_of_the_file_and_says_what_it_means(beside: Path) -> None:
    told = described(beside)
    lying = list(parquet.read(beside / "mixed.pack.parquet")[0].columns)
    listed = told["recordSet"][0]["field"]
    assert {field["source"]["extract"]["column"] for field in listed} <= set(lying)
    assert all(field["description"] for field in listed)
    units = {field["name"]: field["description"] for field in listed}
    assert units["snr_db"].endswith("in units of 0.01")
    assert {"stem", "tail", "split", "kind", "corpus", "keyword", "source", "snr_db"} <= set(units)


def test_every_column_has_a_meaning_but_for_hashes_and_places() -> None:
    known = {f.name for f in fields(Row)} - UNHASHED
    assert set(croissant.COLUMNS) - CODED <= known
    lacking = known - set(croissant.COLUMNS)
    assert all(name.endswith(("_hash", "_id", "_source")) or name == "labels" for name in lacking)


def test_the_file_is_told_by_its_hash(beside: Path) -> None:
    told = described(beside)["distribution"][0]
    whole = (beside / "mixed.pack.parquet").read_bytes()
    assert (told["sha256"], told["contentUrl"]) == (sha256(whole).hexdigest(), "mixed.pack.parquet")
    assert told["contentSize"] == f"{len(whole)} B"


def test_the_same_pack_gives_the_same_files(beside: Path) -> None:
    before = {path.name: path.read_bytes() for path in sorted(beside.iterdir())}
    croissant.write(beside / "mixed.pack.parquet")
    assert {path.name: path.read_bytes() for path in sorted(beside.iterdir())} == before


def test_each_source_has_its_licence_and_attribution_in_both(beside: Path, built: Built) -> None:
    licences = (beside / "LICENSES.md").read_text(encoding="utf-8")
    told = described(beside)
    for text in ("NIA terms of use", "한국지능정보사회진흥원", "CC BY-SA 3.0", "Il-Young Jeong"):
        assert text in licences
    assert "https://aihub.or.kr/intrcn/guid/usagepolicy.do" in told["license"]
    assert "https://creativecommons.org/licenses/by-sa/3.0/" in told["license"]
    assert "한국지능정보사회진흥원" in told["citeAs"]
    assert "may not be passed on" in told["description"]


def test_neither_holds_a_transcript_or_a_path_of_this_machine(beside: Path, built: Built) -> None:
    spoken = {row.transcript for row in held(built.folder, "mixed").rows() if row.transcript}
    assert spoken
    for name in ("LICENSES.md", "mixed.croissant.json"):
        text = (beside / name).read_text(encoding="utf-8")
        assert not [words for words in spoken if words in text]
        assert str(beside) not in text
        assert str(built.corpora) not in text
