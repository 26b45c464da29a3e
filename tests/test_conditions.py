"""Conditions of strangers: their time and memory are bounded by the system, not by DuckDB."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from pipeline.core import conditions, sql
from pipeline.core import frame as frames
from pipeline.core.errors import RecipeError
from pipeline.core.row import Row

ROWS = frames.from_rows([Row(f"a/{n}", "a", "test", "g", "speech", "@a", frames=n) for n in range(5)], Row)


@pytest.mark.parametrize(
    "condition",
    [
        "length(repeat(id, 1000000000)) > 0",  # one call of one function: DuckDB neither stops it nor counts its memory
        "len(range(1000000000 + frames)) > 0",
        "(" * 5000 + "true" + ")" * 5000,
    ],
)
def test_a_condition_that_eats_memory_or_the_stack_is_refused(condition: str) -> None:
    with pytest.raises(RecipeError, match=r"where: .*(Memory|recursion|depth|nested|took more|parse|Parse)"):
        sql.where(ROWS, condition)
    assert sql.where(ROWS, "frames > 2").tolist() == [False, False, False, True, True]


def test_where_the_process_dies_the_next_condition_has_another() -> None:
    assert sql.where(ROWS, "true").all()
    process = conditions._process
    assert isinstance(process, subprocess.Popen)
    with conditions.asked("true", 5, 100) as child:
        process.kill()
        process.wait()
        with pytest.raises(EOFError):
            child.ask({"condition": "true", "mb": 100})
    assert sql.where(ROWS, "frames = 1").sum() == 1


def test_a_condition_is_sent_only_the_columns_that_it_names_and_those_of_all_rows_where_it_looks_at_them() -> None:
    assert np.array_equal(sql.where(ROWS, "FRAMES = 3 AND id LIKE 'a/%'"), [False, False, False, True, False])
    assert np.array_equal(sql.where(ROWS, "frames = (SELECT max(frames) FROM rows)"), [False] * 4 + [True])
    with pytest.raises(RecipeError, match="nosuch"):
        sql.where(ROWS, "nosuch > 1")
