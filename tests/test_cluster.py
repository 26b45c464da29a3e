"""A run whose Dask workers or scheduler go: what it says at once, what it waits for, how it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from command import done, prep
from corpus_samples import write
from sounds import encoded, voice

pytest.importorskip("distributed")
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    cluster = LocalCluster(n_workers=0, threads_per_worker=1, dashboard_address=None)
    print(cluster.scheduler_address, flush=True)
    for line in sys.stdin:
        cluster.scale(int(line))
"""


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A scheduler without workers, whose address is the first line that it writes; a number on its input starts so
    many."""
    (tmp_path / "cluster.py").write_text(CLUSTER)
    started = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    yield started
    with suppress(ProcessLookupError):
        os.killpg(started.pid, signal.SIGKILL)
    started.communicate()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Forty recordings, which make twenty tasks of two."""
    table = "file,transcript,split\n" + "".join(f"{n}.wav,살려주세요,train\n" for n in range(40))
    return write(
        tmp_path / "own", {"t.csv": table.encode()} | {f"{n}.wav": encoded(voice(1.0, seed=n)) for n in range(40)}
    )


def test_no_worker_is_told_at_once_waited_for_and_a_scheduler_that_goes_ends_the_run_in_one_line(
    tmp_path: Path, corpus: Path, cluster: subprocess.Popen[str]
) -> None:
    assert cluster.stdout is not None
    assert cluster.stdin is not None
    address = cluster.stdout.readline().strip()
    ingest = ("ingest", "recordings", str(corpus), "--shard-clips", "2", "--scheduler", address)
    ended = prep(tmp_path, *ingest, "--wait-s", "0")
    start = f"no worker is connected to {address}; start one: dask worker {address} --nthreads 1"
    kept = "What is done is kept: the same command again goes on from here"
    assert (ended.code, ended.err) == (1, f"prep: {start}. {kept}\n")

    run = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *ingest],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert run.stderr is not None
    assert run.stderr.readline() == f"{start}. Waiting for one\n"
    assert run.poll() is None
    cluster.stdin.write("1\n")
    cluster.stdin.flush()
    assert run.stderr.readline() == f"a worker is connected to {address} again: the work goes on\n"
    os.kill(cluster.pid, signal.SIGKILL)
    _, error = run.communicate(timeout=600)
    gone = f"the Dask scheduler at {address} is gone: start it again (dask scheduler), and its workers"
    assert (run.returncode, error) == (1, f"prep: {gone}. {kept}\n")
    assert " 40 kept" in done(tmp_path, *ingest[:-2], "--jobs", 1).out
    assert not list((tmp_path / "manifests/.work").glob(".half-*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scheduler", "tcp://x:1", "--shard", "1/2"), "--scheduler and --shard both share out the work"),
        (("--wait-s", "3"), "--wait-s says how long to wait for Dask workers: it needs --scheduler"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    tmp_path: Path, corpus: Path, options: tuple[str, ...], said: str
) -> None:
    ended = prep(tmp_path, "ingest", "recordings", corpus, *options)
    assert ended.code == 1
    assert said in ended.err
