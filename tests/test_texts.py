"""Texts of strangers: within bounds, and every fault of theirs in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from command import prep

from pipeline.core import texts
from pipeline.core.errors import PrepError

RECIPE = '[ingest]\ncorpora = ["aihub"]\n'


@pytest.mark.parametrize("text", ['{"a":' * 5000 + "1" + "}" * 5000, "[" * 150 + "]" * 150, "9" * 5000, '{"a"'])
def test_json_that_is_too_deep_or_too_large_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"nested|digits|delimiter"):
        texts.from_json(text)
    assert texts.from_json("[" * 50 + "]" * 50)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 3000 + "]" * 3000,
        RECIPE + "seed = " + "9" * 5000,
        'lexicon = "a\\u0000b"\n' + RECIPE,
        'exclude = "a\\u0000b"\n' + RECIPE,
        'lexicon = "/dev/zero"\n' + RECIPE,
        'exclude = "pipe"\n' + RECIPE,
        'lexicon = "pipe"\n' + RECIPE,
        RECIPE + "[[example]]\nrow = {labels = " + "[" * 500 + "]" * 500 + "}\n",
    ],
)
def test_a_recipe_of_a_stranger_ends_in_one_message(text: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "r.toml").write_text(text)
    ended = prep(tmp_path, "check", "r.toml")
    assert ended.code == 1
    assert "r.toml" in ended.err or "pipe" in ended.err or "/dev/zero" in ended.err


def test_a_text_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"a" * (texts.MOST_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    os.mkfifo(tmp_path / "pipe")
    for name in ("long", "bytes", "pipe", "nowhere"):
        with pytest.raises((OSError, ValueError, PrepError)):
            texts.read(tmp_path / name)
    (tmp_path / "marked").write_bytes("\ufeff가".encode())
    assert texts.read(tmp_path / "marked") == "가"
