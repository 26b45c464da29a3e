"""Prints the table of benchmarks: `make bench`, or `python -m benchmarks [NAME ...]` for some of them."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from benchmarks import material, others, stages  # noqa: E402 - one BLAS thread, set before NumPy is loaded

SPEECH, NOISE = 400, 40
ALL = {
    "stages": stages.stages,
    "chain": stages.chain,
    "workers": stages.workers,
    "labels": others.labels,
    "archives": others.archives,
    "virtual": others.virtual,
    "memory": others.memory,
}

if __name__ == "__main__":
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = Path(name)
        material.recordings(folder / "recs", SPEECH, NOISE)
        print(f"{'ours / reference: how many times as fast':<62}{'ratio':>7}")
        for chosen in sys.argv[1:] or ALL:
            ALL[chosen](folder)
