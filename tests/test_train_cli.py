"""The command lines: help without torch, presets without faults, the demonstration's model and its files."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest
from train_samples import ROOT, command, environment

from pipeline.core.errors import RecipeError
from pipeline.corpora.lexicon import Lexicon
from train import cli, options
from train.text import KeywordMatcher, lexicon_as_toml, read_lexicon
from train.tiny import make

WORDS = Lexicon({"살려주세요": "saveme", "도와주세요": "helpme", "도와줘": "helpme"}, "others")


@pytest.mark.parametrize("name", ["train", "evaluate", "detect"])
def test_help_loads_neither_torch_nor_numpy(name: str) -> None:
    loaded = "print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    code = f"import sys\nfrom train import cli\ntry:\n    cli.{name}()\nexcept SystemExit:\n    {loaded}"
    done = subprocess.run([sys.executable, "-c", code, "--help"], env=environment(), capture_output=True, check=True)
    assert done.stdout.decode().splitlines()[-1] == "[]"
    assert "Example:" in done.stdout.decode()


def test_every_option_of_a_run_is_on_the_command_line() -> None:
    assert set(options.Options.model_fields) < {parameter.name for parameter in cli.train_command.params}


@pytest.mark.parametrize("preset", sorted(path.name for path in options.SHIPPED.glob("train-*.toml")))
def test_presets_are_without_fault(preset: str) -> None:
    assert options.read(preset, {}).seed == 0


def test_the_papers_preset_is_the_default_but_for_what_it_says(tmp_path: Path) -> None:
    told = options.read("train-paper", {}).canonical()
    assert {name for name, value in options.Options().canonical().items() if told[name] != value} == {"pool", "window"}
    assert options.read("train-paper", {"lr": 1e-5}).lr == 1e-5


def test_every_fault_of_a_preset_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('lr = -1.0\nwindw = "auto"\ntask = "both"\n')
    with pytest.raises(RecipeError) as caught:
        options.read(str(tmp_path / "mine.toml"), {})
    text = str(caught.value)
    assert "lr: found -1.0, expected: greater than 0" in text
    assert 'unknown option "windw": did you mean "window"?' in text
    assert "task: found 'both', expected: 'multi' or 'single'" in text


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--larning-rate", ""), ("--learning-rate", "--lr"), ("--batch-size", "--batch"), ("--num-workers", "--workers")],
)
def test_a_word_that_is_no_option_is_a_usage_error_which_names_what_was_meant(
    typed: str, meant: str, tmp_path: Path
) -> None:
    answer = command("train", tmp_path, typed, 1)
    assert answer.code == 2
    assert f"Did you mean '{meant}'" in answer.err or not meant


def test_the_examples_in_the_help_are_commands_that_exist() -> None:
    for group, name in (
        (cli.train_command, "train"),
        (cli.evaluate_command, "evaluate"),
        (cli.detect_command, "detect"),
    ):
        examples = [
            line.split("| ")[-1].split()
            for line in (group.help or "").splitlines()
            if f"{name} " in line and " --" in line
        ]
        assert examples
        for words in examples:
            known = {flag for parameter in group.params for flag in (*parameter.opts, *parameter.secondary_opts)}
            assert {word for word in words if word.startswith("--")} <= known
    assert isinstance(cli.evaluate_command.commands["compare"], click.Command)


def test_the_files_of_tiny_are_those_that_its_script_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(make, "HERE", tmp_path)
    make.main()
    for path in sorted(tmp_path.iterdir()):
        held = json.loads((Path(make.__file__).parent / path.name).read_text())
        assert {k: v for k, v in json.loads(path.read_text()).items() if k != "transformers_version"} == {
            k: v for k, v in held.items() if k != "transformers_version"
        }


@pytest.mark.parametrize(
    ("text", "exact", "tolerant"),
    [
        ("살려 주세요!", "saveme", "saveme"),
        ("살려조세요", "others", "saveme"),  # one vowel of eleven letters
        ("도와줘", "helpme", "helpme"),
        ("감사합니다", "others", "others"),
        ("", "noise", "noise"),
        ("...", "noise", "noise"),
        (None, "noise", "noise"),
    ],
)
def test_texts_become_keywords(text: str | None, exact: str, tolerant: str) -> None:
    assert KeywordMatcher(WORDS).decision(text) == exact
    assert KeywordMatcher(WORDS, tolerance=0.2).decision(text) == tolerant


@pytest.mark.parametrize(
    ("text", "spotted", "exact"),
    [
        ("살려주세요", "saveme", "saveme"),
        ("저기요 살려주세요", "saveme", "others"),
        ("도와주세요 살려주세요", "helpme", "others"),
        ("도와줘서 고마워", "others", "others"),
        ("...", "noise", "noise"),
    ],
)
def test_a_phrase_decides_among_words_unless_the_whole_text_is_asked_for(text: str, spotted: str, exact: str) -> None:
    shipped = read_lexicon(None)
    assert KeywordMatcher(shipped).decision(text) == spotted
    assert KeywordMatcher(shipped, rule="text-exact").decision(text) == exact == (shipped.keyword(text) or "noise")


def test_tolerance_does_not_overrule_a_guard() -> None:
    matcher = KeywordMatcher(read_lexicon(None), tolerance=0.4)
    assert matcher.decision("살려줘서") == "others"
    assert KeywordMatcher(read_lexicon(None), 0.4, "text-exact").decision("살려줘서") == "saveme"


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("lexicon*.toml")), ids=lambda path: path.stem)
def test_the_phrases_of_a_lexicon_in_a_checkpoint_read_back_the_same(path: Path, tmp_path: Path) -> None:
    (tmp_path / "lexicon.toml").write_text(lexicon_as_toml(read_lexicon(path)), encoding="utf-8")
    back = read_lexicon(tmp_path / "lexicon.toml")
    assert back == read_lexicon(path)
    assert back.spotter is not None
    assert back.example_faults() == []


def test_a_lexicon_in_a_checkpoint_reads_back_the_same(tmp_path: Path) -> None:
    odd = Lexicon({**WORDS.spellings, "help": 'help "me"'}, "others")
    (tmp_path / "lexicon.toml").write_text(lexicon_as_toml(odd), encoding="utf-8")
    assert read_lexicon(tmp_path / "lexicon.toml") == odd


def test_the_loop_is_read_on_a_screen_and_a_half() -> None:
    tree = ast.parse((ROOT / "train/loop.py").read_text(encoding="utf-8"))
    train = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "train")
    assert train.end_lineno - train.lineno < 75
