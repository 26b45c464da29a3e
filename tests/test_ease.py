"""What people do in their first week: a manifest is replaced aloud, drops are listed, a wrong corpus is recognised."""

from __future__ import annotations

import errno
from pathlib import Path

import click
import pytest
from command import done, prep
from corpus_samples import WAV, aihub, write
from sounds import encoded, hiss, voice

from pipeline.cli import endings
from pipeline.cli.main import COMMANDS
from pipeline.cli.main import prep as prep_group
from pipeline.stages import mix
from train import cli


@pytest.fixture
def ingested(tmp_path: Path) -> Path:
    table = b"file,text,split\na.wav,x,train\nb.wav,y,train\nc.wav,,train\n"
    sounds = {"a.wav": encoded(voice(1.0)), "b.wav": encoded(voice(0.2, seed=1)), "c.wav": encoded(hiss(1.0))}
    write(tmp_path / "set", {"t.csv": table, **sounds})
    done(tmp_path, "ingest", "recordings", "set", "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    return tmp_path


def test_drops_are_listed_with_what_decided(ingested: Path) -> None:
    path = "manifests/filtered.parquet"
    out = done(ingested, "drops", path).out
    assert "recordings/b.wav" in out
    assert "too_short" in out
    assert "0.200 s, shorter than 0.3 s" in out
    answer = done(ingested, "drops", path, "--reason", "too_long", "--json").json()
    assert answer == {"manifest": "filtered.parquet", "count": 0, "drops": []}
    shown = prep(ingested, "show", "manifests/filtered.drops.parquet").err
    assert "prep drops manifests/filtered.parquet lists them" in shown
    assert done(ingested, "drops", "manifests/filtered.drops.parquet", "--limit", 1).out == out


def test_a_manifest_that_is_made_anew_otherwise_is_replaced_with_a_sentence(ingested: Path) -> None:
    assert done(ingested, "filter", "--dev-share", 0).err == ""
    said = done(ingested, "filter", "--dev-share", 0, "--min-s", 0.1).err
    assert said == "manifests/filtered.parquet: replaces one made with other options (min_s 0.3, now 0.1)\n"
    done(ingested, "resample", "--jobs", 1)
    said = done(ingested, "resample", "--jobs", 1, "--out", "manifests/filtered.parquet").err
    assert "manifests/filtered.parquet: replaces a manifest of prep filter" in said


def test_every_help_fits_80_columns_and_shows_no_mark_of_its_paragraphs() -> None:
    ours = {name: prep_group.get_command(click.Context(prep_group), name) for name in COMMANDS} | {"prep": prep_group}
    trains = {"train": cli.train_command, "evaluate": cli.evaluate_command, "detect": cli.detect_command}
    for name, command in (ours | trains | cli.evaluate_command.commands).items():
        assert command is not None
        lines = command.get_help(click.Context(command, info_name=name, terminal_width=80)).splitlines()
        assert not [line for line in lines if len(line) > 80 or "\b" in line or "\\b" in line], name
        joined = " ".join(" ".join(line.removesuffix(" \\").split()) for line in lines)
        examples = (command.help or "").partition("Example:")[2].strip("\n").split("\n\n")[0].splitlines()
        assert all(" ".join(example.split()) in joined for example in examples), name


def test_a_root_that_holds_another_corpus_says_which(tmp_path: Path) -> None:
    write(tmp_path / "a", aihub())
    refused = prep(tmp_path, "ingest", "cochlscene", "a").err
    assert f"It looks like aihub: prep ingest aihub {tmp_path / 'a'}" in refused
    write(tmp_path / "b", {"x.wav": WAV})
    assert "It looks like" not in prep(tmp_path, "ingest", "cochlscene", "b").err


@pytest.mark.parametrize("snr", ["200", "-61", "0:200", "inf"])
def test_an_snr_that_16_bits_do_not_hold_is_refused(snr: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        mix.Options(snr_db=(snr,))


def test_a_recipe_in_another_folder_finds_the_shipped_lexicon(tmp_path: Path) -> None:
    recipe = 'lexicon = "{}"\n[ingest]\ncorpora = ["aihub"]\n'
    (tmp_path / "r.toml").write_text(recipe.format("lexicon.toml"))
    assert "no fault" in done(tmp_path, "check", "r.toml").out
    (tmp_path / "r.toml").write_text(recipe.format("mine.toml"))
    assert "mine.toml: no such lexicon there; those that come with prep are in" in prep(tmp_path, "check", "r.toml").err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError(errno.EIO, "Input", "m/.half-a.parquet-12-0123abcd"), "m/a.parquet: Input. On."),
        (PermissionError(errno.EACCES, "Permission denied", "m/a.parquet"), "m/a.parquet: Permission denied"),
    ],
)
def test_a_file_that_cannot_be_written_is_named_by_its_own_name(
    error: OSError, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit), endings.endings("prep", " On."):
        raise error
    assert capsys.readouterr().err == f"prep: {line}\n"
