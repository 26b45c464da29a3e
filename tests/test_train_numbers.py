"""Numbers that are none, or out of their range: every option of the three commands, typed or in a preset."""

from __future__ import annotations

import math
from pathlib import Path
from typing import get_args

import click
import pytest
from train_samples import command

from train import cli
from train.options import Options

NONE = ("nan", "inf", "-inf", "1e999", "-1e999")
WHOLE = ("nan", "inf", "1.5", "1e3", "99999999999999999999", "-99999999999999999999")
KINDS = {name: get_args(info.annotation) or (info.annotation,) for name, info in Options.model_fields.items()}
FLOATS = sorted(name for name, kinds in KINDS.items() if float in kinds)
INTEGERS = sorted(name for name, kinds in KINDS.items() if int in kinds)


def numbers(given: click.Command) -> list[str]:
    """The options of a command that take a number."""
    ranges = (click.FloatRange, click.IntRange, click.types.FloatParamType, click.types.IntParamType)
    return sorted(option.opts[0] for option in given.params if isinstance(option.type, ranges))


OPTIONS = [
    *(("train", flag) for flag in numbers(cli.train_command)),
    *(("evaluate", flag) for flag in numbers(cli.evaluate_command)),
    *(("detect", flag) for flag in numbers(cli.detect_command)),
]


def test_every_number_of_a_run_is_known_here() -> None:
    assert FLOATS == ["clip_norm", "epochs", "interpolation", "lr", "noise_weight", "text_weight", "weight_decay"]
    assert INTEGERS == ["batch", "hard_weight", "lora", "max_tokens", "save_every", "seed", "steps", "warmup"]
    assert ("detect", "--refractory") in OPTIONS
    assert ("evaluate", "--per-hour") in OPTIONS
    assert len(OPTIONS) >= len(FLOATS) + len(INTEGERS) + 11


@pytest.mark.parametrize(("name", "flag"), OPTIONS)
def test_no_option_takes_what_is_no_number_of_its_range(tmp_path: Path, name: str, flag: str) -> None:
    more = ("--checkpoint", "none") if name != "train" else ()
    is_float = (
        flag.lstrip("-").replace("-", "_") in FLOATS or name == "detect" or flag in ("--threshold", "--tolerance")
    )
    for value in (*(NONE if is_float or flag == "--per-hour" else WHOLE), "a"):
        answer = command(name, tmp_path, *more, flag, value)
        assert answer.code in (1, 2), (flag, value)
        assert "Traceback" not in answer.err
        key = flag.lstrip("-").replace("-", "_")
        assert flag in answer.err or f"{key}: found" in answer.err, (value, answer.err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", [*FLOATS, *INTEGERS])
def test_no_preset_holds_what_is_no_number_of_its_range(tmp_path: Path, key: str) -> None:
    for value in ("nan", "inf", "-inf", "1e400", '"a"', "-1e300", "[1]"):
        (tmp_path / "mine.toml").write_text(f"{key} = {value}\n")
        answer = command("train", tmp_path, "--preset", "mine.toml")
        assert answer.code == 1, value
        assert len(answer.err.splitlines()) == 1
        assert f"mine.toml: {key}: found " in answer.err


@pytest.mark.parametrize("name", FLOATS)
def test_every_float_has_a_largest_value(name: str) -> None:
    bounds = [vars(part) if hasattr(part, "__dict__") else {} for part in Options.model_fields[name].metadata]
    largest = [getattr(part, "le", getattr(part, "lt", None)) for part in Options.model_fields[name].metadata]
    assert any(value is not None and math.isfinite(value) for value in largest), bounds
