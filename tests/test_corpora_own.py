"""Corpora of one's own: many beside each other, each with its name, licence and root, from ingest to rebuild."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from command import done, drops, held, prep, rows
from corpus_samples import write
from sounds import encoded, hiss, voice

import pipeline as prep_api
from pipeline import corpora
from pipeline.core.errors import PrepError, RecipeError
from pipeline.corpora import own

FREE = 'name = "street"\nlicence = "CC0-1.0"\nattribution = "Kim"\nshare_audio = true\nshare_labels = true\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two corpora of speech with the same file names, and noise with a corpus.toml."""
    table = "file,transcript,speaker,split\na.wav,살려주세요,s1,train\nb.wav,여기예요,s2,test\n"
    for n, name in enumerate(("one", "two")):
        sounds = {f"{key}.wav": encoded(voice(1.0, seed=10 * n + k)) for k, key in enumerate("ab")}
        write(tmp_path / name, {"metadata.csv": table.encode(), **sounds})
    noise = {f"{key}.wav": encoded(hiss(2.0, seed=k)) for k, key in enumerate("ab")}
    lines = b"file,label,split\na.wav,noise,train\nb.wav,noise,test\n"
    write(tmp_path / "street", {"metadata.csv": lines, "corpus.toml": FREE.encode(), **noise})
    return tmp_path


def ingested(folder: Path, *second: object) -> Path:
    """The three corpora ingested in `folder/work`."""
    work = folder / "work"
    done(work, "ingest", "recordings", folder / "one", "--name", "one", "--licence", "by contract", "--jobs", 1)
    done(work, "ingest", "recordings", folder / "two", "--name", "two", "--jobs", 1, *second)
    done(work, "ingest", "recordings", folder / "street", "--jobs", 1)
    return work


def test_many_corpora_of_ones_own_go_through_every_stage_a_pack_and_a_rebuild_elsewhere(folder: Path) -> None:
    work = ingested(folder)
    assert tomllib.loads((work / "prep.toml").read_text())["corpora"] == {
        "one": {"licence": "by contract"},
        "two": {},
        "street": {"licence": "CC0-1.0", "attribution": "Kim", "share_audio": True, "share_labels": True},
    }
    filtered = done(work, "filter", "--dev-share", 0, "--json").json()
    assert (filtered["in"], filtered["kept"]) == (6, 6)
    done(work, "resample", "--jobs", 2, "--shard-clips", 2)
    mixed = done(work, "mix", "--snr", 10, "--jobs", 1).out
    assert "4 mixtures; 2 rows of noise stay as they are" in mixed
    assert {name.split("/")[0] for name in rows(work, "mixed")} == {"one", "two", "street"}
    rights = done(work, "rights", "manifests/mixed.parquet").out
    assert "by contract" in rights
    assert "Kim" in rights
    done(work, "pack", "manifests/mixed.parquet")
    there = folder / "there"
    paths = [part for name in ("one", "two", "street") for part in ("--root", f"{name}={folder / name}")]
    own._noted.clear()
    rebuilt = done(there, "rebuild", work / "manifests/mixed.pack.parquet", *paths, "--jobs", 1)
    assert "the same set" in rebuilt.out
    own._noted.clear()
    assert "by contract" in done(there, "rights", "manifests/mixed.parquet").out
    own._noted.clear()
    done(there, "verify", work / "manifests/mixed.pack.parquet", *paths, "--jobs", 1)


def test_a_corpus_that_holds_its_own_noise_is_kept_as_it_is_and_only_where_that_is_stated(folder: Path) -> None:
    work = ingested(folder, "--noisy")
    done(work, "filter", "--dev-share", 0)
    done(work, "resample", "--jobs", 1)
    mixed = done(work, "mix", "--snr", 10, "--jobs", 1)
    assert "2 mixtures; 2 rows of noise and 2 of speech that are kept stay as they are" in mixed.out
    assert {row.kind for row in rows(work, "mixed").values() if row.corpus == "two"} == {"speech"}
    done(work, "ingest", "two", "--no-noisy", "--jobs", 1)
    assert tomllib.loads((work / "prep.toml").read_text())["corpora"]["two"] == {}


def test_another_folder_under_the_name_of_a_corpus_is_refused_before_any_work(folder: Path) -> None:
    work = folder / "work"
    done(work, "ingest", "recordings", folder / "one", "--jobs", 1)
    before = held(work, "recordings").provenance.logical_hash
    refused = prep(work, "ingest", "recordings", folder / "two", "--jobs", 1)
    assert refused.code == 1
    assert f"recordings is the corpus in {folder / 'one'} (prep.toml): name this one" in refused.err
    assert held(work, "recordings").provenance.logical_hash == before
    done(work, "filter", "--dev-share", 0)
    (folder / "one").rename(folder / "moved")
    done(work, "ingest", "recordings", folder / "moved", "--jobs", 1)
    assert held(work, "recordings").provenance.logical_hash == before
    for replaced, message in (
        (folder / "street", "all 2 recordings of recordings are others than those that were ingested"),
        (write(folder / "new", {"t.csv": b"file\nc.wav\n", "c.wav": b""}), "none of 2 recordings of recordings"),
    ):
        refused = prep(work, "resample", "--jobs", 1, "--root", f"recordings={replaced}")
        assert (refused.code, message in refused.err) == (1, True), refused.err
        assert not (work / "manifests/resampled.parquet").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--name", "aihub"), 'another corpus is called "aihub"'),
        (("--name", "filtered"), "manifests/filtered.parquet is what a stage writes"),
        (("--name", "My Calls"), 'name "My Calls"; expected lower-case letters, digits and hyphens'),
        (("--share-audio",), "share_audio needs a licence"),
    ],
)
def test_a_name_or_fact_that_cannot_be_is_refused(words: tuple[str, ...], message: str, folder: Path) -> None:
    refused = prep(folder, "ingest", "recordings", "one", *words)
    assert (refused.code, message in refused.err) == (1, True), refused.err
    assert not (folder / "manifests").exists()
    assert not (folder / "prep.toml").exists()


def test_a_fault_of_corpus_toml_names_file_key_and_the_nearest(folder: Path) -> None:
    (folder / "one/corpus.toml").write_text('license = "MIT"\n')
    refused = prep(folder, "ingest", "recordings", "one")
    assert 'one/corpus.toml: unknown key "license": did you mean "licence"?' in refused.err
    (folder / "one/corpus.toml").write_text("licence =\n")
    assert "one/corpus.toml: cannot be read" in prep(folder, "ingest", "recordings", "one").err


def test_facts_come_back_from_prep_toml_and_the_rest_of_the_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prep.toml").write_text('# mine\n[corpora.a]\nlicence = "old"\n\n[roots]\nb = "x"\n')
    stated = own.facts("a", {"licence": '"CC" \\ 0', "noisy": True})
    own.remember(stated, pytest.fail)
    own.remember(own.facts("b"), pytest.fail)
    assert own.remembered() == {"a": stated, "b": own.facts("b")}
    assert (tmp_path / "prep.toml").read_text().startswith("# mine\n[corpora.a]\n")
    assert tomllib.loads((tmp_path / "prep.toml").read_text())["roots"] == {"b": "x"}
    (tmp_path / "prep.toml").write_text("corpora = { a = { noisy = true } }\n")
    say: list[str] = []
    own.remember(stated, say.append)
    assert "write into prep.toml:\n[corpora.a]" in say[0]


def test_other_corpora_have_no_facts(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match="only recordings of one's own have that: prep ingest recordings DIR --name x"):
        prep_api.ingest("aihub", tmp_path, name="x")
    with pytest.raises(RecipeError, match='unknown key "licnece": did you mean "licence"'):
        prep_api.ingest("recordings", tmp_path, facts={"licnece": "x"})


def test_a_recipe_and_a_manifest_carry_the_facts_and_the_plain_corpus_none(folder: Path) -> None:
    work = ingested(folder)
    stated = held(work, "one").provenance.recipe["ingest"]
    assert (stated["corpora"], stated["own"]) == (["one"], {"one": {"licence": "by contract"}})
    done(work, "ingest", "recordings", folder / "one", "--jobs", 1)
    assert "own" not in held(work, "recordings").provenance.recipe["ingest"]
    recipe = work / "all.toml"
    recipe.write_text('[ingest]\ncorpora = ["one", "street"]\n[filter]\ndev_share = 0\n[resample]\n[mix]\n')
    done(work, "run", recipe, "--jobs", 1)
    made = held(work, "all").provenance.recipe["ingest"]
    assert (made["corpora"], made["own"]["street"]["attribution"]) == (["one", "street"], "Kim")
    assert drops(work, "all") == {}
    assert "one" not in corpora.others()


def test_a_folder_of_a_stranger_runs_no_adapter_that_came_with_it(tmp_path: Path) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('it ran')\n")
    for path in ("evil.py", "./evil.py", "/proc/self/cwd/evil.py"):
        (tmp_path / "prep.toml").write_text(f'[adapters]\nstrange = "{path}"\n')
        ended = prep(tmp_path, "ingest", "strange", tmp_path)
        assert ended.code == 1
        assert f"type --corpus {path} once, if you trust that program" in ended.err
