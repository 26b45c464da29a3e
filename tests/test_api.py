"""The public functions: the notebook as it is documented, the same files as the commands, scripts with workers."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from hashlib import md5
from pathlib import Path

import numpy as np
import pytest
from command import done
from sounds import corpus, encoded, hiss, voice

import pipeline as prep
from pipeline.core.errors import ManifestError, PrepError, RecipeError
from pipeline.engine.run import Unfinished

REPOSITORY = Path(__file__).parents[1]
FILES = {
    "clean_test/a.wav": encoded(voice(1.0)),
    "clean_test/b.wav": encoded(voice(1.5, seed=1)),
    "noise_test/Hum_1.wav": encoded(hiss(3.0)),
    "noise_test/Bus_1.wav": encoded(hiss(2.0, seed=1)),
}
SCRIPT = """
import pipeline as prep
print("once")
clips = prep.ingest("ms-snsd", {root!r}, jobs=2, shard_clips=1)
print(len(clips))
"""


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus; the working folder is empty beside it."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return corpus(tmp_path / "corpus", FILES)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: md5(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.parquet"))}


def test_the_stages_one_after_the_other(root: Path) -> None:
    clips = prep.ingest("ms-snsd", root)
    mixed = prep.mix(prep.resample(prep.filter(clips, transcript=False)), snr_db=[20, "0:15"], seed=0)
    assert sorted(row.kind for row in mixed.rows()) == ["mixture"] * 4 + ["noise"] * 2
    assert mixed.provenance.recipe["mix"]["snr_db"] == [20.0, "0:15"]
    assert [row.id for row in prep.load("manifests/mixed.parquet").rows()] == [row.id for row in mixed.rows()]


def test_the_notebook_as_it_is_documented(root: Path) -> None:
    clips = prep.ingest("ms-snsd", root)
    kept = prep.filter(clips, min_s=0.3, transcript=False, dev_share=0)
    mixed = prep.mix(prep.resample(kept), snr_db=[20, "0:15"], seed=0)
    assert sorted(mixed.frame["kind"]) == ["mixture"] * 4 + ["noise"] * 2
    assert abs(mixed.frame["snr_db"][0] - mixed.frame["snr_active_db"][0]) <= 0.1
    assert len(mixed.drops) == 0
    samples = mixed.audio(mixed.frame["id"][0])
    assert samples.dtype == np.int16
    assert len(samples) == mixed.frame["frames"][0]


def test_the_commands_write_the_same_files(root: Path, tmp_path: Path) -> None:
    prep.ingest("ms-snsd", root)
    prep.filter("manifests/ms-snsd.parquet", transcript=False, dev_share=0)
    prep.resample("manifests/filtered.parquet")
    prep.mix("manifests/resampled.parquet", snr_db=[10])
    typed = tmp_path / "typed"
    done(typed, "ingest", "ms-snsd", root, "--jobs", 1)
    done(typed, "filter", "--no-transcript", "--dev-share", 0)
    done(typed, "resample", "--jobs", 1)
    done(typed, "mix", "--snr", 10, "--jobs", 1)
    assert digests(Path("manifests")) == digests(typed / "manifests")


def test_a_later_stage_writes_beside_the_manifest_that_goes_in(root: Path) -> None:
    clips = prep.ingest("ms-snsd", root, folder="sets")
    assert clips.path == Path("sets/ms-snsd.parquet")
    assert prep.filter(clips, transcript=False).path == Path("sets/filtered.parquet")
    assert prep.filter(clips, transcript=False, out="sets/kept.parquet").path == Path("sets/kept.parquet")


def test_a_recipe_in_slices_and_gathered(root: Path) -> None:
    Path("r.toml").write_text(
        '[ingest]\ncorpora = ["ms-snsd"]\n[filter]\ntranscript = false\ndev_share = 0.0\n[resample]\n[mix]\n'
    )
    names = []
    whole = prep.run("r.toml", roots={"ms-snsd": root}, report=lambda step: names.append(step.name))
    assert names == ["ingest ms-snsd", "filter", "resample", "mix"]
    assert whole.path == Path("manifests/r.parquet")
    assert not any(stage.to_do() for stage in prep.plan("r.toml", roots={"ms-snsd": root}))
    assert [stage.known for stage in prep.plan("r.toml", folder="none", roots={"ms-snsd": root})] == [
        True,
        False,
        False,
    ]
    with pytest.raises(Unfinished):
        prep.gather("r.toml", folder="other", roots={"ms-snsd": root})
    for _ in range(3):
        for number in (1, 2):
            try:
                prep.run("r.toml", folder="other", roots={"ms-snsd": root}, shard=(number, 2))
            except Unfinished:
                continue
    prep.gather("r.toml", folder="other", roots={"ms-snsd": root})
    assert digests(Path("other")) == digests(Path("manifests"))


def test_faults_of_options_are_named_all_at_once(root: Path) -> None:
    clips = prep.ingest("ms-snsd", root)
    with pytest.raises(RecipeError) as fault:
        prep.filter(clips, min_sec=1, max_s=-1)
    assert fault.value.faults[0] == "max_s: found -1, expected: greater than 0"
    assert 'unknown key "min_sec": did you mean "min_s"?' in fault.value.faults
    with pytest.raises(PrepError, match="not one of 4 rows is left"):
        prep.filter(clips, min_s=20)
    with pytest.raises(RecipeError, match='unknown corpus "aihb": did you mean "aihub"'):
        prep.resample(clips, roots={"aihb": "."})
    with pytest.raises(PrepError, match=r"the audio of manifests/ms-snsd.parquet lies beside it"):
        prep.mix(clips, out="elsewhere/mixed.parquet")
    with pytest.raises(ManifestError, match="no such manifest"):
        prep.load("manifests/none.parquet")
    with pytest.raises(TypeError):
        prep.ingest("ms-snsd", root, job=2)


def test_what_came_out_is_logged_and_bars_are_shown_where_wanted(
    root: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.INFO, logger="pipeline"):
        prep.ingest("ms-snsd", root, progress=True)
    assert "4 in         4 kept         0 dropped" in caplog.text
    assert "ingest ms-snsd" in capsys.readouterr().err
    prep.ingest("ms-snsd", folder="silent", progress=False)
    assert capsys.readouterr() == ("", "")


def test_a_script_with_workers_needs_no_guard(root: Path) -> None:
    Path("script.py").write_text(SCRIPT.format(root=str(root)))
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run([sys.executable, "script.py"], env=environ, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["once", "4"]


def test_a_set_is_judged_passed_on_and_built_again(root: Path) -> None:
    clips = prep.ingest("ms-snsd", root)
    mixed = prep.mix(prep.resample(prep.filter(clips, transcript=False)))
    assert not prep.audit(mixed, checks=["group", "noise"]).fails
    assert prep.diff(mixed, "manifests/mixed.parquet").same_rows
    assert prep.diff(clips, mixed).added == 2
    mixture = next(row.id for row in mixed.rows() if row.kind == "mixture")
    assert prep.explain(mixture, ["manifests/mixed.parquet"])["mixture"] == mixture
    packed = prep.pack(mixed)
    assert packed.path == Path("manifests/mixed.pack.parquet")
    assert [path.name for path in prep.croissant(packed.path)] == ["LICENSES.md", "mixed.croissant.json"]
    assert prep.load(packed.path).provenance.logical_hash == mixed.provenance.logical_hash
    again = prep.rebuild(packed.path, folder="again")
    assert (len(again.rows), len(again.drops)) == (len(mixed), 0)
    levels: list[str] = []
    assert all(
        not checked.findings for checked in prep.verify("again/mixed.parquet", report=lambda c: levels.append(c.level))
    )
    assert levels == ["schema", "references", "headers", "hashes"]
    folder = prep.export_to(mixed, "csv")
    assert folder == Path("manifests/mixed-csv")
    assert (folder / "README.md").exists()
    with pytest.raises(PrepError, match="that is the manifest itself"):
        prep.pack(mixed, mixed.path)
    with pytest.raises(PrepError, match="a page is no manifest"):
        prep.report(mixed, "page.parquet")


def test_no_public_name_is_that_of_a_package() -> None:
    packages = {path.name for path in (REPOSITORY / "pipeline").iterdir() if path.is_dir()}
    assert not packages & set(prep.__all__)
    assert set(prep.__all__) <= set(dir(prep))
    assert all(getattr(prep, name).__doc__ for name in prep.__all__)
    with pytest.raises(AttributeError):
        _ = prep.no_such_name  # type: ignore[attr-defined]
