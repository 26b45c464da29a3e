"""The documentation is true: the site builds without a warning, and every command and option that it names exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import click
import pytest

from pipeline.cli.main import prep

ROOT = Path(__file__).parents[1]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "recipes/README.md",
    ROOT / "manifests/README.md",
]
PROGRAMS = {
    "prep": lambda: prep,
    "train": lambda: _train("train"),
    "evaluate": lambda: _train("evaluate"),
    "detect": lambda: _train("detect"),
}
LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)")


def _train(name: str) -> click.Command:
    pytest.importorskip("torch")
    command: click.Command = getattr(import_module("train.cli"), f"{name}_command")
    return command


def typed(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours in the page's blocks of code."""
    for block in re.findall(r"(?:^```\w*\n(.*?)^```|((?:^    .*\n)+))", page.read_text(encoding="utf-8"), re.M | re.S):
        for line in "".join(block).replace("\\\n", " ").splitlines():
            for part in line.split("&&"):
                words = (
                    shlex.split(part, comments=True) if part.count("'") % 2 == 0 and part.count('"') % 2 == 0 else []
                )
                if words and words[0] in PROGRAMS:
                    yield words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_and_option_exists(page: Path) -> None:
    for words in typed(page):
        command = PROGRAMS[words[0]]()
        rest = words[1:]
        while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
            sub = command.get_command(click.Context(command), rest[0])
            if sub is None and not command.invoke_without_command:
                pytest.fail(f"{page.name}: {' '.join(words)}: there is no command {rest[0]}")
            if sub is None:
                break
            command, rest = sub, rest[1:]
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        named = {word.split("=")[0] for word in rest if word.startswith("--")}
        assert named <= known | {"--help", "--version"}, f"{page.name}: {' '.join(words)}"


def test_the_pages_name_commands_at_all() -> None:
    assert sum(1 for page in PAGES for _ in typed(page)) > 40


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_is_dead(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        assert link.startswith(("http://", "https://", "mailto:")) or (page.parent / link).exists(), (
            f"{page.name}: {link}"
        )


def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(tmp_path / "site"),
    ]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    page = (tmp_path / "site/api.html").read_text(encoding="utf-8")
    for name in ("ingest", "filter", "resample", "mix", "run", "load"):
        assert f'id="pipeline.api.{name}"' in page or f'id="pipeline.{name}"' in page
