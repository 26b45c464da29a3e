"""prep rights: in plain words, what may be done with a set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from command import done, held, prep
from conftest import Built
from test_rights import MIXED, NOISE, OWN, SPEECH, table

from pipeline.corpora import rights

CLEAN = replace(MIXED, id="ms-snsd/m", corpus="ms-snsd", transcript=None, scenario=None)


def test_a_mixture_is_bound_by_both_licences() -> None:
    said = " ".join(rights.sentences(table(SPEECH, NOISE, MIXED)))
    assert "The audio of 1 row may be passed on, with the attribution; of 2 it may not, for it holds aihub." in said
    bound = "1 mixture holds speech of aihub and noise of cochlscene: the terms of both bind"
    assert f"{bound}; their audio may not be passed on" in said


def test_shareable_speech_with_share_alike_noise_goes_under_its_licence() -> None:
    said = " ".join(rights.sentences(table(CLEAN, NOISE)))
    assert "The audio of all 2 rows may be passed on" in said
    bound = "1 mixture holds speech of ms-snsd and noise of cochlscene: the terms of both bind"
    assert f"{bound}; their audio may be passed on, under" in said
    assert "What is made of cochlscene and passed on goes under the same licence: CC BY-SA 3.0." in said


def test_what_the_rows_say_and_may_not_be_passed_on_is_counted() -> None:
    said = " ".join(rights.sentences(table(SPEECH, MIXED, NOISE, OWN)))
    assert "transcript of 2 rows (aihub)" in said
    assert "transcript of 1 row (recordings)" in said
    assert "prep pack writes one without them" in said
    assert "Nothing that the rows say is forbidden" in " ".join(
        rights.sentences(rights.redacted(table(SPEECH, MIXED, NOISE, OWN))[0])
    )


def test_own_recordings_alone_may_not_be_passed_on() -> None:
    assert "The audio of all 1 row may not be passed on, for it holds recordings." in rights.sentences(table(OWN))
    assert rights.sentences(table()) == ["There are no rows."]


def test_the_command_names_each_source_with_its_attribution(built: Built) -> None:
    told = done(built.folder, "rights", built.path("mixed"))
    for name in ("aihub", "cochlscene", "ms-snsd", "recordings"):
        assert rights.terms_of(name).attribution in told.out
    answer = done(built.folder, "rights", built.path("mixed"), "--json").json()
    assert (
        answer["audio"]["may_be_passed_on"] + answer["audio"]["may_not"]
        == answer["rows"]
        == len(held(built.folder, "mixed"))
    )
    assert answer["audio"]["may_be_passed_on"] == int(rights.shareable_audio(held(built.folder, "mixed").frame).sum())


def test_a_pack_has_the_rights_of_its_set_and_may_itself_be_passed_on(built: Built, tmp_path: Path) -> None:
    done(tmp_path, "pack", built.path("mixed"), "--out", tmp_path / "m.pack.parquet")
    whole = done(tmp_path, "rights", built.path("mixed"), "--json").json()
    packed = done(tmp_path, "rights", "m.pack.parquet", "--json").json()
    assert (packed["audio"], packed["sources"]) == (whole["audio"], whole["sources"])
    assert any("Nothing that the rows say is forbidden" in said for said in packed["said"])
    assert any("The manifest itself may not be passed on" in said for said in whole["said"])


def test_what_is_no_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("seed = 0\n")
    ended = prep(tmp_path, "rights", "x.toml")
    assert (ended.code, "x.toml" in ended.err) == (1, True)
