"""Where the roots lie: --root before PREP_ROOT_NAME before prep.toml; every mistake is reported with what to type."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from containers import write, zip_bytes

from pipeline.archives import Root, Roots
from pipeline.core.errors import SourceError


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("flag", "env", "toml", "data/aihub170", "data/cochlscene"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def find(folder: Path, flags: dict[str, str] | None = None, environ: dict[str, str] | None = None) -> Roots:
    return Roots.find(flags or {}, environ or {}, folder)


def test_a_flag_comes_before_the_environment_and_that_before_the_file(folders: Path) -> None:
    (folders / "prep.toml").write_text('[roots]\naihub = "toml"\n')
    flags, environ = {"aihub": str(folders / "flag")}, {"PREP_ROOT_AIHUB": str(folders / "env"), "HOME": "/"}
    assert find(folders, flags, environ)["aihub"] == Root("aihub", folders / "flag")
    assert find(folders, {}, environ)["aihub"] == Root("aihub", folders / "env")
    assert find(folders)["aihub"] == Root("aihub", folders / "toml")
    assert [find(folders, *given).origin("aihub") for given in ((flags, environ), ({}, environ), ({}, {}))] == [
        "the command line",
        "PREP_ROOT_AIHUB",
        "prep.toml",
    ]


def test_paths_in_the_file_count_from_the_file(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folders / "prep.toml").write_text('\ufeff[roots]\naihub = "data/aihub170"\n', encoding="utf-8")
    monkeypatch.chdir(folders / "flag")
    assert find(folders).where("aihub") == folders / "data/aihub170"
    assert find(folders, {"aihub": "../env"}).where("aihub") == folders / "env"


def test_a_dash_in_a_name_is_an_underscore_in_the_environment(folders: Path) -> None:
    roots = find(folders, {}, {"PREP_ROOT_MS_SNSD": str(folders / "env")})
    assert roots["ms-snsd"] == roots["ms_snsd"] == Root("ms-snsd", folders / "env")
    assert list(roots) == ["ms-snsd"]
    assert "ms-snsd" in roots


def test_an_empty_variable_is_no_answer(folders: Path) -> None:
    assert find(folders, {}, {"PREP_ROOT_AIHUB": ""}).where("aihub") is None


def test_a_root_nobody_named_is_told_with_what_to_type(folders: Path) -> None:
    with pytest.raises(SourceError) as caught:
        find(folders)["ms-snsd"]
    message = str(caught.value)
    assert 'nobody said where root "ms-snsd" lies' in message
    assert "--root ms-snsd=DIR" in message
    assert "PREP_ROOT_MS_SNSD=DIR" in message
    assert 'ms-snsd = "DIR"' in message


def test_a_misspelt_root_is_noticed(folders: Path) -> None:
    with pytest.raises(SourceError, match='did you mean "aihb"'):
        find(folders, {"aihb": str(folders)})["aihub"]


def test_a_folder_that_is_not_there_is_told_with_its_neighbours(folders: Path) -> None:
    with pytest.raises(
        SourceError, match=r"data/aihub: does not exist \(root aihub, from the command line\)\. Did you mean aihub170\?"
    ):
        find(folders, {"aihub": str(folders / "data/aihub")})["aihub"]
    with pytest.raises(SourceError, match=r"there are: aihub170, cochlscene"):
        find(folders, {"aihub": str(folders / "data/xyz")})["aihub"]
    with pytest.raises(SourceError, match=r"nor does .*gone .*Is the disk mounted\?"):
        find(folders, {"aihub": str(folders / "gone/x")})["aihub"]


def test_where_answers_for_what_is_not_there(folders: Path) -> None:
    roots = find(folders, {"aihub": str(folders / "gone")})
    assert roots.where("aihub") == folders / "gone"
    assert (roots.where("cochlscene"), roots.origin("cochlscene")) == (None, None)


@pytest.mark.parametrize("text", ["[roots\n", "roots = 3\n", '[roots]\naihub = ["a"]\n', '[roots.aihub]\npath = "a"\n'])
def test_a_bad_file_is_one_clear_message(folders: Path, text: str) -> None:
    (folders / "prep.toml").write_text(text)
    with pytest.raises(SourceError, match=r'(?s)prep\.toml: .*Expected, for example:\n\[roots\]\naihub = "'):
        find(folders)


def test_a_file_without_roots_names_none(folders: Path) -> None:
    (folders / "prep.toml").write_text("[other]\nx = 1\n")
    assert len(find(folders)) == 0


def test_roots_travel_to_workers(folders: Path) -> None:
    (folders / "flag/a.wav").write_bytes(b"1")
    roots = find(folders, {"aihub": str(folders / "flag")})
    root = roots["aihub"]
    root.entries()
    assert pickle.loads(pickle.dumps(roots))["aihub"] == root
    assert len(pickle.dumps(root)) < 400
    assert roots["aihub"] is root


def test_home_is_found(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folders))
    assert find(folders, {"aihub": "~/flag"})["aihub"] == Root("aihub", folders / "flag")


def test_a_tolerant_root_lists_what_can_be_read_and_names_the_rest(tmp_path: Path) -> None:
    write(
        tmp_path,
        {"a.wav": b"1", "d/good.zip": zip_bytes({"b.wav": b"2", "README": b""}), "d/bad.zip": b"PK", "x.7z": b""},
    )
    with pytest.raises(SourceError, match=r"d/bad\.zip"):
        Root("r", tmp_path).entries()
    root = Root("r", tmp_path, tolerant=True)
    assert [entry.name for entry in root.entries()] == ["a.wav", "d/good/README", "d/good/b.wav"]
    assert [fault.split(":")[0] for fault in root.faults] == ["x.7z", "d/bad.zip"]
    assert Root("r", write(tmp_path / "empty", {".DS_Store": b""}), tolerant=True).entries() == ()


def test_files_without_a_suffix_may_be_recordings(tmp_path: Path) -> None:
    root = Root("r", write(tmp_path, {"a.WAV": b"1", "b": b"2", "c.txt": b"3"}))
    assert [entry.name for entry in root.recordings()] == ["a.WAV", "b"]


def test_a_recording_under_another_name_is_listed_under_its_own_as_well(tmp_path: Path) -> None:
    root = Root("aihub", write(tmp_path, {"moved.wav": b"1"}))
    (entry,) = root.entries()
    known = pickle.loads(pickle.dumps(root.with_names([("@aihub/Training/화재/12", entry.place)])))
    assert [(found.name, found.place) for found in known.entries()] == [
        ("Training/화재/12.wav", entry.place),
        ("moved.wav", entry.place),
    ]


def test_a_bound_on_files_that_is_no_number_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(b"x")
    monkeypatch.setenv("PREP_MOST_FILES", "many")
    with pytest.raises(SourceError, match='PREP_MOST_FILES="many": expected a number of files'):
        Root("recordings", tmp_path).entries()
    monkeypatch.setenv("PREP_MOST_FILES", "0")
    with pytest.raises(SourceError, match="the bound is 0; if they are meant, set PREP_MOST_FILES=1"):
        Root("recordings", tmp_path).entries()
