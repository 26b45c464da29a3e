"""A frame that goes back: what was changed by hand is written as a manifest that says so; what would lose something is
refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from command import done
from conftest import Built

import pipeline
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Manifest
from pipeline.core.row import Row

Change = Callable[[pd.DataFrame], Any]


@pytest.fixture
def mixed(built: Built, tmp_path: Path) -> Manifest:
    """The mixed set in a folder of its own, its audio beside it."""
    for path in built.path("mixed").parent.glob("mixed*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "audio").symlink_to(built.path("mixed").parent / "audio")
    return manifest.read(tmp_path / "mixed.parquet")


def test_a_frame_that_was_not_changed_keeps_hash_and_provenance(mixed: Manifest) -> None:
    again = mixed.save(mixed.path.with_name("again.parquet"), mixed.frame)
    assert again.provenance.logical_hash == mixed.provenance.logical_hash
    assert again.provenance.drops_hash == mixed.provenance.drops_hash
    assert again.provenance.stage == mixed.provenance.stage
    assert mixed.save(mixed.path.with_name("same.parquet")).provenance == again.provenance


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.sample(frac=1, random_state=3),
        lambda frame: frame.set_index(np.arange(len(frame)) * 7),
        lambda frame: frame.astype({"transcript": "str", "frames": "int64", "peak_dbfs": "float64"}),
        lambda frame: frame.assign(keyword=frame["keyword"].astype(object), split=frame["split"].astype("category")),
        lambda frame: frame.assign(labels=[dict(pairs) for pairs in frames.values(frame["labels"])]),
        lambda frame: frame[list(frame.columns)[::-1]],
        lambda frame: frame.drop(columns=[c for c in frame.columns if frame[c].isna().all()]),
        lambda frame: pd.concat([frame[frame.kind != "noise"], frame[frame.kind == "noise"]]),
    ],
    ids=["order", "index", "numpy", "objects", "dicts", "columns", "empty columns", "concat"],
)
def test_the_same_values_in_another_form_are_the_same_rows(change: Change, mixed: Manifest) -> None:
    again = mixed.save(mixed.path.with_name("again.parquet"), change(mixed.frame))
    assert again.provenance.logical_hash == mixed.provenance.logical_hash


def test_changed_labels_say_so_and_keep_the_rest(mixed: Manifest) -> None:
    frame = mixed.frame
    is_speech = frames.equal(frame["kind"], "mixture")
    frame.loc[is_speech, "keyword"] = "helpme"
    edited = mixed.save(mixed.path.with_name("edited.parquet"), frame)
    assert edited.provenance.stage == "edited"
    assert edited.provenance.inputs == {"mixed": mixed.provenance.logical_hash}
    assert edited.provenance.recipe["edited"] == {
        "columns": ["keyword"],
        "rows": int((is_speech & ~frames.equal(mixed.frame["keyword"], "helpme")).sum()),
        "removed": 0,
    }
    assert edited.provenance.recipe["mix"] == mixed.provenance.recipe["mix"]
    assert {row.keyword for row in edited.rows() if row.kind == "mixture"} == {"helpme"}
    assert frames.logical_hash(edited.frame) == edited.provenance.logical_hash != mixed.provenance.logical_hash
    assert manifest.read(mixed.path).provenance == mixed.provenance


def test_rows_that_were_left_out_are_drops(mixed: Manifest) -> None:
    kept = mixed.frame[mixed.frame["split"] != "train"]
    edited = mixed.save(mixed.path.with_name("test.parquet"), kept)
    gone = sorted(set(mixed.frame["id"]) - set(kept["id"]))
    mine = edited.drops[edited.drops["stage"] == "edited"]
    assert sorted(mine["id"]) == gone
    assert set(mine["reason"]) == {"removed"}
    assert len(edited) + len(edited.drops) == len(mixed) + len(mixed.drops)
    assert done(mixed.path.parent, "show", "test.parquet").code == 0


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("frames", 1.5, ["1.5", "whole number"]),
        ("transcript", 7, ["7", "text"]),
        ("split", None, ["null", "text"]),
        ("split", float("nan"), ["expected text"]),
        ("labels", {"gender": 3}, ["labels", "dict of text"]),
        ("labels", "여성", ["labels"]),
        ("snr_db", "20", ["'20'", "number"]),
        ("peak_dbfs", -1.0, ["measured", "-1.0"]),
        ("id", "no/such", ["no/such", "does not have"]),
    ],
)
def test_a_value_that_would_lose_something_is_refused_by_row_and_column(
    column: str, value: Any, words: list[str], mixed: Manifest
) -> None:
    frame, cells = mixed.frame, frames.values(mixed.frame[column])
    cells[1] = value
    frame[column] = pd.Series(cells, dtype=object)
    with pytest.raises(ManifestError) as caught:
        mixed.save(mixed.path.with_name("edited.parquet"), frame)
    for word in words + ([] if column == "id" else [column, str(frame["id"][1])]):
        assert word in str(caught.value)
    assert not mixed.path.with_name("edited.parquet").exists()


def test_nan_is_null_where_null_may_be(mixed: Manifest) -> None:
    frame = mixed.frame
    frame["scene"] = pd.Series([float("nan")] * len(frame))
    edited = mixed.save(mixed.path.with_name("edited.parquet"), frame)
    assert not frames.present(edited.frame, "scene").any()


def test_an_id_twice_and_another_folder_are_refused(mixed: Manifest, tmp_path: Path) -> None:
    twice = pd.concat([mixed.frame, mixed.frame.iloc[:1]])
    with pytest.raises(ManifestError, match="twice"):
        mixed.save(mixed.path.with_name("edited.parquet"), twice)
    with pytest.raises(ManifestError, match="audio lies beside"):
        mixed.save(tmp_path / "elsewhere/mixed.parquet", mixed.frame)


def test_a_changed_copy_of_the_frame_changes_no_manifest(mixed: Manifest) -> None:
    frame = mixed.frame
    frame["keyword"] = "x"
    frame.loc[0, "split"] = "dev"
    assert list(mixed.rows()) == list(manifest.read(mixed.path).rows())


def test_samples_of_a_row_by_its_id(mixed: Manifest) -> None:
    row = next(row for row in mixed.rows() if row.kind == "mixture")
    samples = mixed.audio(row.id)
    assert (samples.dtype, len(samples)) == (np.int16, row.frames)
    with pytest.raises(ManifestError, match=r"no/such"):
        mixed.audio("no/such")


def test_a_player_and_a_picture_for_a_notebook(mixed: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    row = next(row for row in mixed.rows() if row.kind == "mixture")
    figure = mixed.plot(row.id)
    assert row.id in figure.get_suptitle()
    assert [axes.get_ylabel() for axes in figure.axes][:2] == ["amplitude", "frequency (kHz)"]
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(pipeline.core.errors.PrepError, match="IPython"):  # type: ignore[attr-defined]
        mixed.play(row.id)
    assert Row.__name__ == "Row"
