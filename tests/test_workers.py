"""Work in this process and in others: order, bounds, and scripts that start workers without a guard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline.core.errors import PrepError
from pipeline.engine.workers import map_chunks, open_workers, results

REPOSITORY = Path(__file__).parents[1]
UNGUARDED = """
import os, sys
from operator import itemgetter
from pipeline.engine.workers import map_chunks, open_workers
print("started", flush=True)
with open_workers(2) as workers:
    environments = list(map_chunks(itemgetter(slice(None)), range(6), 2, workers))
print(environments, __file__, os.environ.get("OMP_NUM_THREADS"))
"""


def squares(chunk: list[int], add: int) -> list[int]:
    return [number**2 + add for number in chunk]


def threads(chunk: list[str]) -> list[tuple[str | None, bool]]:
    return [(os.environ.get(name), "pandas" in sys.modules or "matplotlib" in sys.modules) for name in chunk]


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_in_the_order_of_the_items(jobs: int) -> None:
    with open_workers(jobs) as workers:
        assert list(map_chunks(squares, iter(range(23)), 5, workers, 7)) == [n**2 + 7 for n in range(23)]
        assert list(map_chunks(squares, [], 5, workers, 7)) == []


def test_items_are_taken_as_they_are_needed() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    answers = map_chunks(squares, endless(), 2, open_workers(1), 0)
    assert [next(answers) for _ in range(4)] == [1, 4, 9, 16]
    assert taken <= 12


def test_a_result_too_few_is_a_bug_and_is_said() -> None:
    with pytest.raises(AssertionError, match="0 results for 3 items"):
        list(map_chunks(_nothing, [1, 2, 3], 3, open_workers(1)))


def _nothing(chunk: list[int]) -> list[int]:
    return []


def test_workers_have_one_blas_thread_and_this_process_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with open_workers(2) as workers:
        assert set(map_chunks(threads, ["OMP_NUM_THREADS", "MKL_NUM_THREADS"], 1, workers)) == {("1", False)}
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert "MKL_NUM_THREADS" not in os.environ


def test_a_script_without_a_guard_may_use_workers(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(UNGUARDED)
    environ = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environ["PYTHONPATH"] = str(REPOSITORY)
    ran = subprocess.run([sys.executable, str(script)], env=environ, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["started", f"[0, 1, 2, 3, 4, 5] {script} None"]


def killed_at(number: int, once: Path, task: int) -> int:
    """Ends the process as the system does when memory runs out; only once where the file can be made."""
    if task == number and not once.exists():
        if once.parent.exists():
            once.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def clip(task: int, process: int) -> str:
    return f"aihub/{task}" if task == 3 else ""


def test_a_worker_that_is_killed_is_told_with_its_clip_and_its_work_is_given_to_another(tmp_path: Path) -> None:
    said: list[str] = []
    with open_workers(2, say=said.append) as workers:
        done = dict(results(iter(range(6)), partial(killed_at, 3, tmp_path / "once"), workers, clip))
    assert done == {n: n for n in range(6)}
    killed = "a worker process was killed by the system, most likely for memory while it had aihub/3"
    assert said == [f"{killed}; its work is given to another"]


def test_a_clip_that_kills_every_worker_ends_the_run_in_one_line_that_says_how_to_go_on(tmp_path: Path) -> None:
    never = tmp_path / "no folder" / "once"
    with open_workers(2) as workers, pytest.raises(PrepError) as ended:
        dict(results(iter([3, 4]), partial(killed_at, 3, never), workers, clip))
    killed = "a worker process was killed by the system, most likely for memory while it had aihub/3, 3 times"
    remedy = "Free some memory, use fewer --jobs, or leave the clip out"
    kept = "What is done is kept: the same command again goes on from here"
    assert str(ended.value) == f"{killed}. {remedy}. {kept}"


def test_a_worker_that_cannot_import_what_it_needs_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    here = f"if os.getpid() != {os.getpid()}: raise ImportError('libgomp.so.1: cannot allocate memory')"
    (tmp_path / "of_here_alone.py").write_text(f"import os\n{here}\ndef work(task): return task\n")
    monkeypatch.syspath_prepend(tmp_path)
    work = __import__("of_here_alone").work
    with open_workers(2) as workers, pytest.raises(PrepError) as ended:
        dict(results(iter([1]), work, workers))
    assert "ended by itself with exit code 1: ImportError: libgomp.so.1: cannot allocate memory" in str(ended.value)
    assert "Free some memory" not in str(ended.value)
    assert capfd.readouterr().err == ""
