"""Corpora from outside the package: from a file or installed, in worker processes too, and on machines without them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from command import done, prep, rows
from corpus_samples import write
from sounds import encoded, voice

from pipeline import corpora
from pipeline.core.errors import PrepError

EXAMPLE = Path(__file__).parents[1] / "examples/my_corpus.py"
TABLE = "id,words,speaker,split\n" + "".join(f"a{n},살려주세요,s{n},train\n" for n in range(4))


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_loaded", {})


def adapter(folder: Path, name: str = "other", **changes: str) -> Path:
    """A file with the example's adapter under another name, some of its lines changed."""
    text = EXAMPLE.read_text(encoding="utf-8").replace('NAME = "my-corpus"', f'NAME = "{name}"')
    for old, new in changes.items():
        assert f"\n{old} = " in text
        text = text.replace(f"\n{old} = ", f"\n{new} = ")
    return write(folder, {"adapter.py": text.encode()}) / "adapter.py"


def test_a_file_is_run_once_and_found_by_its_name(tmp_path: Path) -> None:
    path = adapter(tmp_path)
    assert "other" not in corpora.names()
    loaded = corpora.load(path)
    assert corpora.load(str(path)) is loaded is corpora.find("other")
    assert "other" in corpora.names()
    assert corpora.loaded() == (str(path),)


def test_what_an_adapter_leaves_out_is_filled_in(tmp_path: Path) -> None:
    corpus = corpora.load(EXAMPLE)
    assert corpus.flags({"area_end_s": "9"}, 1, 1) == {}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"TITLE": "TITEL", "SHARE_AUDIO": "SHARED"}, r"expected TITLE \(a text\), SHARE_AUDIO \(True or False\)"),
        ({"LICENCE": "import_of_nothing; from nowhere import LICENCE; x"}, "cannot be loaded"),
    ],
)
def test_a_file_that_is_no_adapter_is_refused_with_what_it_lacks(
    changes: dict[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(PrepError, match=f"adapter.py: .*{message}"):
        corpora.load(adapter(tmp_path, **changes))
    assert corpora.loaded() == ()


@pytest.mark.parametrize("name", ["Other", "my corpus", "a/b", "my_corpus"])
def test_a_name_that_could_not_be_in_a_source_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(PrepError, match=f'lower-case letters, digits and hyphens, found "{name}"'):
        corpora.load(adapter(tmp_path, name))


def test_no_corpus_takes_the_place_of_another(tmp_path: Path) -> None:
    with pytest.raises(PrepError, match='there is another corpus called "aihub"; give this one another NAME'):
        corpora.load(adapter(tmp_path / "a", "aihub"))
    corpora.load(adapter(tmp_path / "b"))
    with pytest.raises(PrepError, match='another corpus called "other"'):
        corpora.load(adapter(tmp_path / "c"))


@pytest.mark.parametrize("path", ["gone.py", "."])
def test_a_path_that_is_no_file_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(PrepError, match="no Python file; expected an adapter of a corpus"):
        corpora.load(tmp_path / path)


def test_an_installed_package_names_its_corpora_by_entry_points(tmp_path: Path) -> None:
    adapter(tmp_path, "installed").rename(tmp_path / "their_adapter.py")
    entry_points = f"[{corpora.ENTRY_POINTS}]\ninstalled = their_adapter\nbroken = not_there\n"
    metadata = b"Metadata-Version: 2.1\nName: their-corpora\nVersion: 1.0\n"
    write(tmp_path / "their_corpora-1.0.dist-info", {"METADATA": metadata, "entry_points.txt": entry_points.encode()})
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from pipeline import corpora\n"
        "print([name for name in corpora.names() if name in ('installed', 'broken')], 'their_adapter' in sys.modules)\n"
        "print(corpora.find('installed').TITLE)\n"
        "try: corpora.find('broken')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[:2] == ["['broken', 'installed'] False", "My corpus, calls for help read aloud"]
    assert "PrepError not_there, installed as corpus broken: cannot be loaded (ModuleNotFoundError" in ran.stdout


def test_workers_load_the_file_too_and_a_machine_without_it_reads_the_manifest(tmp_path: Path) -> None:
    """`flags` is called in the workers: it shows that they have the adapter.

    What it gave before a change is not kept.
    """
    path = adapter(tmp_path)
    flags = '\n\ndef flags(labels, frames, rate_hz):\n    return {"measured_s": f"{frames / rate_hz:g}"}\n'
    path.write_text(path.read_text(encoding="utf-8") + flags, encoding="utf-8")
    sounds = {f"set/wav/a{n}.wav": encoded(voice(1.0, seed=n)) for n in range(4)}
    write(tmp_path, {"set/clips.csv": TABLE.encode(), **sounds})
    corpora.load(path)
    done(tmp_path, "ingest", "other", "set", "--jobs", 2, "--shard-clips", 2)
    made = rows(tmp_path, "other")
    assert {name: row.labels for name, row in made.items()} == {f"other/a{n}": {"measured_s": "1"} for n in range(4)}
    corpora._loaded.clear()
    path.write_text(path.read_text(encoding="utf-8").replace("measured_s", "length_s"), encoding="utf-8")
    corpora.load(path)
    done(tmp_path, "ingest", "other", "set", "--jobs", 1, "--shard-clips", 2)
    assert [row.labels for row in rows(tmp_path, "other").values()] == [{"length_s": "1"}] * 4
    corpora._loaded.clear()
    (tmp_path / "prep.toml").unlink()
    assert len(rows(tmp_path, "other")) == 4
    assert json.loads(done(tmp_path, "show", "manifests/other.parquet", "--json").out)["rows"] == 4
    rights = done(tmp_path, "rights", "manifests/other.parquet").out
    assert "The audio of all 4 rows may not be passed on, for it holds other." in rights
    assert "this machine has no adapter of it, so nothing of it may be passed on" in rights
    packed = done(tmp_path, "pack", "manifests/other.parquet")
    assert "transcript" in packed.out
    explained = done(tmp_path, "explain", "other/a1", "manifests/other.parquet").out
    assert "other (not known here)" in explained
    ended = prep(tmp_path, "ingest", "other", "set")
    assert (ended.code, 'unknown corpus "other"' in ended.err) == (1, True)


def test_prep_toml_remembers_the_file_of_an_adapter(tmp_path: Path) -> None:
    path = adapter(tmp_path)
    write(tmp_path, {"set/clips.csv": TABLE.encode(), **{f"set/wav/a{n}.wav": encoded(voice(1.0)) for n in range(4)}})
    done(tmp_path, "ingest", "other", "set", "--corpus", path, "--jobs", 1)
    for _ in range(2):  # as another process does, which has loaded nothing
        corpora._loaded.clear()
        assert "other" in done(tmp_path, "corpora").out
    corpora._loaded.clear()
    done(tmp_path, "ingest", "other", "--jobs", 2, "--shard-clips", 2)
    moved = path.rename(tmp_path / "moved.py")
    corpora._loaded.clear()
    assert "adapter.py: no Python file" in prep(tmp_path, "ingest", "other", "--jobs", 1).err
    assert f"the adapter of other is {moved}" in done(tmp_path, "ingest", "other", "--corpus", moved, "--jobs", 1).err
    corpora._loaded.clear()
    assert len(rows(tmp_path, "other")) == 4
