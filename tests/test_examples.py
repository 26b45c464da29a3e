"""The examples run as they stand, on the demo corpus; what a notebook types works as the documentation has it."""

from __future__ import annotations

import runpy
import shutil
from pathlib import Path

import pytest
from pinned import Ended

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def demo(typed_demo: tuple[Path, Ended], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which `prep demo` was typed."""
    folder = tmp_path_factory.mktemp("demo")
    shutil.copytree(typed_demo[0], folder, dirs_exist_ok=True)
    return folder


@pytest.mark.parametrize("name", ["first_set", "edit_labels"])
def test_an_example_runs(
    name: str, demo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(demo)
    runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
    printed = capsys.readouterr().out
    assert {"first_set": "int16", "edit_labels": "edited from"}[name] in printed
