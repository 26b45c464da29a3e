"""A process that answers SQL conditions of strangers, within bounds of time and memory that the system keeps.

It is started at the first condition, answers those that follow, and is ended with whatever it is doing when one does
not end. It holds nothing but the columns that it is sent. Never here: SQL, which `core.sql` runs in it.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.core.errors import RecipeError, short

_MAIN = "from pipeline.core import sql; sql.serve()"
_process: subprocess.Popen[bytes] | None = None
_one_at_a_time = threading.Lock()


class Child:
    """The process at the other end, for one condition."""

    def __init__(self, process: subprocess.Popen[bytes], memory_mb: int) -> None:
        self._process = process
        self._mb = memory_mb

    def ask(self, request: dict[str, Any], table: pa.Table | None = None) -> dict[str, Any]:
        """What it replies. RecipeError as `core.sql.where`; EOFError where the process is gone."""
        into, out = self._process.stdin, self._process.stdout
        assert into is not None
        assert out is not None
        try:
            into.write(json.dumps(request).encode() + b"\n")
            if table is not None:
                with pa.ipc.new_stream(into, table.schema) as writer:
                    writer.write_table(table)
            into.flush()
        except BrokenPipeError:
            raise EOFError from None
        line = out.readline()
        if not line.endswith(b"\n"):
            raise EOFError
        reply: dict[str, Any] = json.loads(line)
        if "faults" in reply:
            raise RecipeError(reply["faults"])
        return reply

    def answers(self, table: pa.Table) -> NDArray[np.bool_]:
        """bool [rows]: its answers for the rows of a table."""
        count = self.ask({"mb": self._mb + 3 * table.nbytes // 2**20}, table)["bytes"]
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) < count:
            raise EOFError
        return np.frombuffer(data, np.bool_)


@atexit.register
def end() -> None:
    """Ends the process, whatever it is doing."""
    if _process is not None:
        with suppress(BrokenPipeError), _process:
            _process.kill()


@contextmanager
def asked(condition: str, seconds: float, memory_mb: int) -> Iterator[Child]:
    """The process for one condition. RecipeError where it has not ended in time, or was ended for its memory."""
    global _process
    with _one_at_a_time:
        if _process is None or _process.poll() is not None:
            end()
            _process = _started()
        process, late = _process, threading.Event()

        def stop() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timer.start()
        try:
            yield Child(process, memory_mb)
        except RecipeError:
            raise
        except EOFError:
            end()
            what = f"did not end within {seconds:g} s" if late.is_set() else f"took more than {memory_mb} MB of memory"
            raise RecipeError([f"where: {short(condition, 300)!r} {what}: make it simpler"]) from None
        except BaseException:
            end()
            raise
        finally:
            timer.cancel()


def _started() -> subprocess.Popen[bytes]:
    """The process, ready to answer, so that its start takes none of a condition's time."""
    place = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _MAIN],  # the working folder may be a stranger's: no module is loaded from it
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(place)},
        start_new_session=True,  # Ctrl-C is for the process that asks
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process
