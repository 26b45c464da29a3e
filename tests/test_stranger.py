"""A stranger's manifest and recipe: names that lead out of a folder, and conditions that never end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from command import done, prep
from exported import odd_set, rows

from pipeline.core import conditions, manifest, sql
from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError, RecipeError
from pipeline.core.files import below
from pipeline.core.row import Row

NAMES = [
    "../../x",
    "/tmp/prep-was-here",
    "..",
    "a/../../b",
    "x\0y",
    "x\ny",
    "길" * 120,
    "~/x",
    "-rf",
    ".hidden",
    "a\\..\\b",
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_set(tmp_path_factory.mktemp("odd"))


def tree(folder: Path, without: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if without not in path.parents and path != without}


@pytest.mark.parametrize("form", ["csv", "hf", "kaldi", "lhotse", "nemo", "webdataset"])
def test_no_name_in_a_manifest_makes_an_export_write_outside_its_folder(form: str, odd: Path, tmp_path: Path) -> None:
    first = next(row for row in rows(odd / "manifests/mixed.parquet").values() if row.kind == "speech" or row.shard)
    made = [replace(first, id=f"recordings/{name}", split=name, group=name, scene=name) for name in NAMES]
    made.append(replace(first, id="/", split="", group=""))
    old = manifest.read(odd / "manifests/mixed.parquet")
    path = tmp_path / "home/manifests/bad.parquet"
    path.parent.mkdir(parents=True)
    (path.parent / "audio").symlink_to(odd / "manifests/audio")
    manifest.write(path, frames.from_rows(made, Row), old.drops, old.provenance)
    out = tmp_path / "home/deep/out"
    before = tree(tmp_path, out)
    ended = prep(tmp_path / "home", "export", path, "--to", form, "--own-use", "--out", out)
    assert ended.code == 0, ended.err
    assert tree(tmp_path, out) - before <= {out.parent}
    assert not Path("/tmp/prep-was-here").exists()
    assert len([file for file in out.rglob("*") if file.is_file()]) >= 3


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a//b", "", ".", "x\0"])
def test_a_shard_is_never_read_outside_the_folder_of_the_audio(name: str, odd: Path, tmp_path: Path) -> None:
    before = manifest.read(odd / "manifests/mixed.parquet")
    row = replace(next(row for row in before.rows() if row.shard), id="recordings/a", shard=name)
    path = tmp_path / "manifests/bad.parquet"
    path.parent.mkdir()
    manifest.write(path, frames.from_rows([row], Row), before.drops, before.provenance)
    ended = prep(tmp_path, "export", path, "--to", "nemo", "--own-use", "--out", tmp_path / "out")
    assert ended.code == 1
    assert "names no file below" in ended.err


def test_a_name_below_a_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert below(tmp_path, "a/b.tar") == tmp_path / "a/b.tar"
    with pytest.raises(ManifestError, match="names no file below"):
        below(tmp_path, "a/../../b")


ROWS = frames.from_rows([Row(str(n), "a", "test", "g", "speech", "@a") for n in range(3)], Row)


@pytest.mark.parametrize(
    "condition",
    [
        "(SELECT count(*) FROM range(100000000000)) > 0",
        "(WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT count(*) FROM t) > 0",
    ],
)
def test_a_condition_that_does_not_end_is_stopped_and_says_so(condition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "WHERE_S", 0.5)
    with pytest.raises(RecipeError, match=r"did not end within 0\.5 s|out of memory|Out of Memory"):
        sql.where(ROWS, condition)


def test_a_condition_that_gives_several_answers_a_row_is_refused_in_words() -> None:
    with pytest.raises(RecipeError, match=r"is not one condition: it gives .* answers a row"):
        sql.where(ROWS, "COLUMNS(*)::varchar <> 'x'")


def test_a_condition_after_one_that_was_stopped_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as short:
        short.setattr(sql, "WHERE_S", 0.3)
        with pytest.raises(RecipeError):
            sql.where(ROWS, "(SELECT count(*) FROM range(100000000000)) > 0")
    assert sql.where(ROWS, "id <> '1'").tolist() == [True, False, True]


def test_no_module_of_a_strangers_folder_is_run(tmp_path: Path) -> None:
    """Python looks for what a new process loads in the working folder first: `multiprocessing.py`, `struct.py`."""
    (tmp_path / "corpus").mkdir()
    for number in range(4):
        soundfile.write(tmp_path / f"corpus/{number}.wav", np.sin(np.arange(8_000) * (number + 1) / 9) / 4, 16_000)
    (tmp_path / "corpus/table.csv").write_text("file,text\n" + "".join(f"{n}.wav,a\n" for n in range(4)))
    for name in ("multiprocessing", "json", "struct", "numpy", "pyarrow"):
        (tmp_path / f"{name}.py").write_text(f'open(r"{tmp_path}/ran-{name}", "w")\n')
    done(tmp_path, "ingest", "recordings", "corpus", "--jobs", 2, "--shard-clips", 2)
    conditions.end()  # the one of tests before this was started elsewhere
    done(tmp_path, "filter", "--where", "frames > 0", "--min-s", 0)
    conditions.end()
    assert not list(tmp_path.glob("ran-*"))
