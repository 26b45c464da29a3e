"""What a person keeps back: no name, place or word of one's own recordings in anything that is made to be passed on."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import done, prep
from exported import odd_set
from kept_back import FREE, SECRETS, leaks, leaks_of, planted
from test_corpora_outside import adapter

from pipeline import corpora
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.row import Row
from pipeline.corpora import rights

FORMS = ("csv", "hf", "kaldi", "lhotse", "nemo", "webdataset")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with mixed.parquet, and adapter.py of `generous`, which lets its audio alone be passed on."""
    folder = tmp_path_factory.mktemp("kept")
    path = adapter(folder, "generous")
    text = path.read_text(encoding="utf-8")
    for name in ("SHARE_TRANSCRIPTS", "SHARE_LABELS"):
        text = text.replace(f"\n{name} = True", f"\n{name} = False")
    path.write_text(text.replace("\nSHARE_NAMES = True", "\nSHARE_NAMES = False"), encoding="utf-8")
    planted(folder, "generous")
    return folder


@pytest.fixture(autouse=True)
def nothing_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpora, "_loaded", {})


@pytest.mark.parametrize("form", FORMS)
def test_an_export_that_may_be_passed_on_holds_no_secret(form: str, folder: Path, tmp_path: Path) -> None:
    typed = ("export", "mixed.parquet", "--to", form, "--corpus", "adapter.py", "--json", "--out")
    told = done(folder, *typed, tmp_path / "free", "--shareable")
    assert leaks_of(tmp_path / "free", SECRETS) == {}
    assert leaks((told.out + told.err).encode(), SECRETS) == set()
    assert told.json()["rows"] > 4
    own = done(folder, *typed, tmp_path / "own", "--own-use", *(("--audio", "copy") if form == "webdataset" else ()))
    assert set().union(*leaks_of(tmp_path / "own", SECRETS).values()) == set(SECRETS), own.out  # the search finds them
    assert set().union(*leaks_of(tmp_path / "free", FREE).values()) >= {"public noise"}
    refused = prep(folder, *typed, tmp_path / "none")
    assert refused.code == 1
    assert leaks((refused.out + refused.err).encode(), SECRETS) == set()


def test_a_pack_and_what_lies_beside_it_hold_no_secret(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.pack.parquet"
    told = done(folder, "pack", "mixed.parquet", "--out", out, "--croissant", "--corpus", "adapter.py", "--json")
    assert leaks_of(tmp_path, SECRETS) == {}
    assert leaks((told.out + told.err).encode(), SECRETS) == set()
    named = done(folder, "pack", "mixed.parquet", "--out", out, "--allow", "names:recordings")
    assert set().union(*leaks_of(tmp_path, SECRETS).values()) == {"path", "speaker"}  # the files are named after both
    assert "the names of your own recordings are in the pack" in named.out


@pytest.mark.parametrize("option", [(), ("--redact",)], ids=["by licence", "redacted"])
def test_a_page_and_its_numbers_hold_no_secret(option: tuple[str, ...], folder: Path, tmp_path: Path) -> None:
    before = planted(tmp_path, "generous", "before")
    frame = manifest.read(before).frame
    changed = frames.with_columns(frame, scene="비밀골목", keyword="helpme", level_full_dbfs=-20.0)
    part = frames.pick(changed, ~frames.equal(changed["split"], "test"))
    manifest.write(before, part, manifest.read(before).drops, manifest.provenance(before))
    typed = ("report", "mixed.parquet", "--corpus", "adapter.py", "--json", "--baseline", before)
    told = done(folder, *typed, "--out", tmp_path / "out/free.html", *(option or ["--listen"]))
    assert leaks_of(tmp_path / "out", SECRETS) == {}
    assert leaks((told.out + told.err).encode(), SECRETS) == set()
    assert set().union(*leaks_of(tmp_path / "out", FREE).values()) >= {"keyword"}
    if not option:
        done(folder, *typed, "--out", tmp_path / "all/all.html", "--with-audio")
        assert set().union(*leaks_of(tmp_path / "all", SECRETS).values()) == set(SECRETS) - {"label"}


def test_pseudonyms_are_the_same_in_every_file_and_split(folder: Path, tmp_path: Path) -> None:
    for form in ("csv", "hf"):
        typed = ("export", "mixed.parquet", "--to", form, "--corpus", "adapter.py", "--out", tmp_path / form)
        done(folder, *typed, "--shareable")
    corpora.load(folder / "adapter.py")
    whole = manifest.read(folder / "mixed.parquet").frame
    shown, _ = rights.redacted(whole)
    pairs = {"group": {}, "source": {}, "id": {}, "speech_id": {}, "noise_id": {}}
    for old, new in zip(frames.rows(whole, Row), frames.rows(shown, Row), strict=True):
        for name, known in pairs.items():
            assert known.setdefault((old.corpus, getattr(old, name)), getattr(new, name)) == getattr(new, name)
    names = [*pairs["id"].values()]
    assert len({*names}) == len(names) == len(whole)  # two clips, two names
    assert {row.noise_id for row in frames.rows(shown, Row) if row.noise_id} <= {*names}
    assert {row.speech_id for row in frames.rows(shown, Row) if row.speech_id} <= {*names}
    assert rights.redacted(shown)[1] == []  # nothing is left to be kept back
    packed, _ = rights.redacted(whole, rights.SAID)
    assert frames.values(packed["group"]) == frames.values(shown["group"])
    table = (tmp_path / "csv/mixed.csv").read_text(encoding="utf-8-sig")
    assert all(name in table for name in names)


def test_the_pseudonym_of_a_group_comes_from_sound_and_not_from_its_name(folder: Path) -> None:
    """Who knows all names of a class cannot try them."""
    whole = manifest.read(folder / "mixed.parquet").frame
    whole = frames.pick(whole, frames.equal(whole["corpus"], "recordings"))
    other = frames.with_columns(whole, group=[f"{group} other" for group in frames.values(whole["group"])])
    assert frames.values(rights.redacted(other)[0]["group"]) == frames.values(rights.redacted(whole)[0]["group"])


def test_own_recordings_are_rebuilt_under_their_names_from_a_pack_that_has_none(tmp_path: Path) -> None:
    odd = odd_set(tmp_path / "odd")
    for name in ("mixed", "virtual"):
        there = tmp_path / name
        done(odd, "pack", f"manifests/{name}.parquet", "--out", there / "p.pack.parquet")
        words = {"path": "녹음.v2", "other": "rec 000", "speaker": "spk"}
        assert leaks_of(there, words) == {}
        root = ("--root", f"recordings={odd / 'corpus'}", "--jobs", 1)
        rebuilt = done(there, "rebuild", "p.pack.parquet", *root, "--json").json()
        assert (rebuilt["same"], rebuilt["dropped"], rebuilt["moved"]) == (True, 0, 0)
        assert manifest.read(there / "manifests/p.parquet").frame["id"].str.contains("rec 000").any()
        checked = done(there, "verify", "p.pack.parquet", *root, "--level", "recompute")
        assert "have no name in the pack: --level hashes looks for them" in checked.out
        assert "under other names" not in checked.out
        assert "the same rows" in done(there, "diff", odd / f"manifests/{name}.parquet", "p.pack.parquet").out
