"""Exports as typed: what may leave, the folder that is whole or absent, messages. Readers: test_exports_read.py."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from command import done, prep
from conftest import Built
from exported import odd_set, rows

from pipeline import export as exports
from pipeline.audio.shards import Reader
from pipeline.core.row import Row

FORMS = ("csv", "hf", "kaldi", "lhotse", "nemo", "webdataset")
REPOSITORY = Path(__file__).parents[1]
Broken = Callable[[type[BaseException]], None]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return odd_set(tmp_path_factory.mktemp("odd"))


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Broken:
    """Sound that fails at the fourth clip."""

    def at_the_fourth(error: type[BaseException]) -> None:
        packed, read = Reader.packed, []

        def failing(reader: Reader, row: Row) -> bytes:
            read.append(row.id)
            if len(read) == 4:
                raise error(28, "No space left on device")
            return packed(reader, row)

        monkeypatch.setattr(Reader, "packed", failing)

    return at_the_fourth


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_the_formats_are_found_by_their_file_names() -> None:
    assert tuple(exports.names()) == FORMS
    assert all(exports.find(name).__doc__ for name in FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_help_names_every_format(form: str, tmp_path: Path) -> None:
    assert f"\n  {form} " in done(tmp_path, "export", "--help").out


# ---- what may leave


@pytest.mark.parametrize("form", FORMS)
def test_what_a_licence_forbids_is_refused_until_it_is_said_what_for(form: str, built: Built, tmp_path: Path) -> None:
    ended = prep(built.folder, "export", "manifests/mixed.parquet", "--to", form, "--out", tmp_path / "x")
    assert ended.code == 1
    for said in (
        "aihub: NIA terms of use",
        "For Korean nationals approved by NIA",
        "recordings:",
        "--own-use",
        "--shareable",
    ):
        assert said in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", FORMS)
def test_nothing_forbidden_is_in_a_shareable_export(form: str, built: Built, tmp_path: Path) -> None:
    out = tmp_path / "x"
    told = done(
        built.folder, "export", "manifests/mixed.parquet", "--to", form, "--shareable", "--out", out, "--json"
    ).json()
    held = rows(built.path("mixed"))
    free = {row_id for row_id, row in held.items() if row.corpus in ("cochlscene", "ms-snsd")}
    shut = [row for row in held.values() if row.id not in free]
    assert shut
    assert told["rows"] == (len(held) if form == "csv" else len(free))
    assert {item["corpus"] for item in told["left_out"]} == {"aihub", "recordings"}
    everything = b"\n".join(contents(out).values())
    for secret in {row.transcript for row in shut if row.transcript and len(row.transcript) > 2}:
        assert secret.encode() not in everything
    if form != "csv":  # which tells, of every clip, what is the user's own: id, class, hashes
        assert not [row.id for row in shut if row.id.encode() in everything]
    readme = (out / "README.md").read_text("utf-8")
    assert "## Left out" in readme
    assert "CC BY-SA 3.0" in readme
    assert "Not to be passed on" not in readme


def test_an_export_for_own_use_holds_all_and_says_that_it_must_stay(built: Built, tmp_path: Path) -> None:
    ended = done(
        built.folder, "export", "manifests/mixed.parquet", "--to", "nemo", "--own-use", "--out", tmp_path / "x"
    )
    assert "own use:" in ended.err
    assert len(list((tmp_path / "x").rglob("*.flac"))) == len(rows(built.path("mixed")))
    readme = (tmp_path / "x/README.md").read_text("utf-8")
    assert "**Not to be passed on.**" in readme
    assert "For Korean nationals approved by NIA" in readme
    assert "위급상황 음성/음향" in readme  # the attribution that derived work carries
    assert (tmp_path / "x/.gitignore").read_text() == "*\n"


def test_a_set_that_may_be_passed_on_is_exported_without_a_word_more(built: Built, tmp_path: Path) -> None:
    ended = done(built.folder, "export", "manifests/cochlscene.parquet", "--to", "csv", "--out", tmp_path / "x")
    assert ended.err == ""
    assert not (tmp_path / "x/.gitignore").exists()
    assert "CC BY-SA 3.0" in (tmp_path / "x/README.md").read_text("utf-8")


def test_shards_that_hold_what_is_forbidden_are_not_linked_to(built: Built, tmp_path: Path) -> None:
    mixed = ("export", "manifests/mixed.parquet", "--to", "webdataset", "--shareable", "--out", tmp_path / "x")
    assert (
        "--audio link: the shards hold clips that may not be passed on"
        in prep(built.folder, *mixed, "--audio", "link").err
    )
    done(built.folder, *mixed)
    assert list((tmp_path / "x").glob("*.tar"))


# ---- the folder


@pytest.mark.parametrize("form", [form for form in FORMS if form != "webdataset"])
def test_an_export_has_the_same_bytes_wherever_and_whenever_it_is_made(form: str, odd: Path, tmp_path: Path) -> None:
    for name in ("a", "b/deep"):
        done(odd, "export", "manifests/virtual.parquet", "--to", form, "--own-use", "--out", tmp_path / name)
    assert contents(tmp_path / "a") == contents(tmp_path / "b/deep")
    everything = b"\n".join(contents(tmp_path / "a").values())
    assert str(tmp_path).encode() not in everything
    assert str(odd).encode() not in everything


def test_without_a_name_the_folder_lies_beside_the_manifest(odd: Path) -> None:
    ended = done(odd, "export", "manifests/mixed.parquet", "--to", "csv", "--own-use")
    assert "-> manifests/mixed-csv" in ended.out
    assert (odd / "manifests/mixed-csv/mixed.csv").exists()
    done(odd, "export", "manifests/mixed.parquet", "--to", "csv", "--shareable")
    assert (odd / "manifests/mixed-csv-shareable/mixed.csv").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
@pytest.mark.parametrize("before", [False, True], ids=["nothing before", "an export before"])
@pytest.mark.parametrize("form", ["hf", "lhotse", "nemo", "webdataset"])
def test_an_export_that_is_broken_off_leaves_what_was_there(
    form: str, before: bool, error: type[BaseException], odd: Path, tmp_path: Path, broken: Broken
) -> None:
    typed = ("export", "manifests/mixed.parquet", "--to", form, "--own-use", "--out", tmp_path / "x")
    typed += ("--audio", "copy") if form == "webdataset" else ()
    if before:
        done(odd, *typed)
    held = contents(tmp_path)
    broken(error)
    ended = prep(odd, *typed)
    assert ended.code == (130 if error is KeyboardInterrupt else 1)
    assert "was not written" in ended.err
    assert contents(tmp_path) == held
    assert [path.name for path in tmp_path.iterdir()] == (["x"] if before else [])


def test_what_a_killed_export_left_is_cleared_by_the_next(odd: Path, tmp_path: Path) -> None:
    (tmp_path / ".half-x/audio").mkdir(parents=True)
    (tmp_path / ".half-x/audio/old.flac").write_bytes(b"fLaC")
    done(odd, "export", "manifests/mixed.parquet", "--to", "nemo", "--own-use", "--out", tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert not (tmp_path / "x/audio/old.flac").exists()


def test_an_export_takes_only_the_place_of_an_earlier_one_of_the_same(odd: Path, tmp_path: Path) -> None:
    def typed(form: str, name: str = "mixed") -> tuple[object, ...]:
        return ("export", f"manifests/{name}.parquet", "--to", form, "--own-use", "--out", tmp_path / "x")

    done(odd, *typed("csv"))
    first = contents(tmp_path)
    done(odd, *typed("csv"))
    assert contents(tmp_path) == first
    for other in (typed("nemo"), typed("csv", "virtual")):
        ended = prep(odd, *other)
        assert ended.code == 1
        assert "holds another export (csv of mixed.parquet); name another folder with --out" in ended.err
    (tmp_path / "x/notes.txt").write_text("mine")
    assert "1 file was added to this export since; move what is not of it away" in prep(odd, *typed("csv")).err
    assert (tmp_path / "x/notes.txt").read_text() == "mine"


def test_a_folder_of_other_things_is_left_alone(odd: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.doc").write_text("years of work")
    ended = prep(odd, "export", "manifests/mixed.parquet", "--to", "csv", "--own-use", "--out", tmp_path)
    assert ended.code == 1
    assert "holds other things than an export; name another with --out" in ended.err
    assert contents(tmp_path) == {"thesis.doc": b"years of work"}


def test_a_disk_without_room_is_seen_before_anything_is_written(
    odd: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 1000, 1000))
    ended = prep(odd, "export", "manifests/mixed.parquet", "--to", "kaldi", "--own-use", "--out", tmp_path / "x")
    assert ended.code == 1
    assert (
        "are needed for the audio of this export, 0 MB are free; make room, or name a place on another disk"
        in ended.err
    )
    assert not list(tmp_path.iterdir())


def test_a_dry_run_says_the_size_and_writes_nothing(odd: Path, tmp_path: Path) -> None:
    typed = ("export", "manifests/mixed.parquet", "--to", "kaldi", "--own-use", "--out", tmp_path / "x")
    told = done(odd, *typed, "--dry-run", "--json").json()
    assert not list(tmp_path.iterdir())
    done(odd, *typed)
    assert told["audio_bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.wav"))
    assert "nothing written" in done(odd, *typed, "--dry-run").out


# ---- mistakes


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["mixed.parquet", "--to", "lotse"], 1, 'unknown format "lotse": did you mean "lhotse"?'),
        (["mixed.parquet"], 2, "Missing option '--to'"),
        (["none.parquet", "--to", "csv"], 1, "none.parquet: no such manifest"),
        (["recordings.parquet", "--to", "nemo", "--own-use"], 1, "9 of 9 rows have no stored audio: run prep resample"),
        (
            ["mixed.parquet", "--to", "nemo", "--shareable"],
            1,
            "not one of 14 rows can be exported: audio of recordings may not be passed on",
        ),
        (["mixed.parquet", "--to", "nemo", "--shareable", "--own-use"], 1, "an export is for the one or for the other"),
        (
            ["mixed.parquet", "--to", "nemo", "--own-use", "--audio", "link"],
            1,
            "only --to webdataset has two ways to hold audio",
        ),
        (["virtual.parquet", "--to", "webdataset", "--own-use"], 1, "--audio copy renders them into new ones"),
        (
            ["mixed.parquet", "--to", "csv", "--own-use", "--out", "mixed.parquet"],
            1,
            "mixed.parquet: a file; --out names the folder",
        ),
    ],
)
def test_a_mistake_gets_one_clear_message(typed: list[str], code: int, said: str, odd: Path) -> None:
    before = contents(odd)
    ended = prep(odd / "manifests", "export", *typed)
    assert said in ended.err
    assert ended.code == code
    assert ended.out == ""
    assert contents(odd) == before


def test_a_damaged_shard_is_named_and_nothing_is_written(odd: Path, tmp_path: Path) -> None:
    shutil.copytree(odd / "manifests", tmp_path / "manifests")
    for shard in (tmp_path / "manifests/audio").glob("*.tar"):
        shard.write_bytes(bytes(shard.stat().st_size))
    ended = prep(tmp_path, "export", "manifests/mixed.parquet", "--to", "nemo", "--own-use", "--out", "x")
    assert ended.code == 1
    assert "the shard is damaged" in ended.err
    assert not (tmp_path / "x").exists()


def test_the_answer_in_json_is_all_that_is_on_stdout(odd: Path, tmp_path: Path) -> None:
    told = json.loads(
        done(
            odd, "export", "manifests/mixed.parquet", "--to", "csv", "--own-use", "--out", tmp_path / "x", "--json"
        ).out
    )
    assert (told["format"], told["rows"], told["left_out"]) == ("csv", 14, [])
    assert told["folder"] == str(tmp_path / "x")


@pytest.mark.parametrize("path", ["manifests/README.md", "recipes/README.md"])
def test_what_the_folders_tell_a_collaborator_to_type_exists(path: str, tmp_path: Path) -> None:
    text = (REPOSITORY / path).read_text("utf-8")
    typed = [words.split() for words in re.findall(r"(?:^ {4}|`)prep ([a-z][^`\n#]*)", text, re.M)]
    assert len(typed) > 8
    for name, *words in typed:
        told = done(tmp_path, name, "--help").out
        assert [word for word in words if word.startswith("--") and word not in told] == [], (name, words)
    for name in re.findall(r"\]\(([^)#:]+)\)|`((?:recipes/)?[a-z-]+\.toml)`", text):
        place = name[0] or name[1].removeprefix("recipes/")
        assert place in ("prep.toml", "recipe.toml") or (REPOSITORY / path).parent.joinpath(place).exists(), place


def test_audio_is_refused_where_it_would_do_nothing(built: Built, tmp_path: Path) -> None:
    words = ("export", "manifests/mixed.parquet", "--to", "nemo", "--own-use", "--audio", "copy")
    answer = prep(built.folder, *words, "--out", tmp_path / "x")
    assert answer.code == 1
    assert "--audio copy: only --to webdataset has two ways to hold audio; leave --audio out of --to nemo" in answer.err
    assert not (tmp_path / "x").exists()


def test_a_licence_without_an_address_is_named_once(built: Built, tmp_path: Path) -> None:
    done(built.folder, "export", "manifests/recordings.parquet", "--to", "csv", "--own-use", "--out", tmp_path / "mine")
    assert "\n* Licence: (your own)\n" in (tmp_path / "mine/README.md").read_text(encoding="utf-8")
