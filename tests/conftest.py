"""Stand-in corpora that another program makes, and the stages run on them, once for all tests."""

from __future__ import annotations

import fcntl
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

for _name in (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
):  # as the command line sets them, before NumPy is loaded
    os.environ.setdefault(_name, "1")

import pytest  # noqa: E402 - the environment must be set before anything loads NumPy
from command import done  # noqa: E402
from pinned import Ended, typed  # noqa: E402

from pipeline.cli.machine import example  # noqa: E402
from pipeline.corpora import own  # noqa: E402

MAKER = Path(__file__).parents[2] / "shared/tools/make-corpora"
ROOTS = {"aihub": "aihub170", "cochlscene": "cochlscene", "ms-snsd": "ms-snsd", "recordings": "recordings"}
SHARD_CLIPS = 20

example("demo")  # it lives beside the package here, in it where it is installed


@dataclass(frozen=True, slots=True)
class Built:
    """A folder of manifests, the corpora they were made from, and what each stage answered."""

    folder: Path
    corpora: Path
    answers: dict[str, Any]

    def path(self, name: str) -> Path:
        """Where a manifest lies."""
        return self.folder / f"manifests/{name}.parquet"


@pytest.fixture(autouse=True)
def _no_roots_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("PREP_")]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _no_corpora_from_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_noted", {})
    monkeypatch.setattr(own, "_in_use", {})


@pytest.fixture(scope="session")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that make-corpora filled: four corpora and expected.json."""
    if not MAKER.exists():
        pytest.skip("the maker of stand-in corpora is not beside this repository")
    return once(
        tmp_path_factory,
        "stand-ins",
        lambda out: subprocess.run(
            [sys.executable, MAKER, out, "--clips-per-class", "2", "--scenes-per-class", "1"],
            check=True,
            capture_output=True,
        ),
    )


@pytest.fixture(scope="session")
def built(stand_ins: Path, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Every stage run on the stand-ins, in one process; each worker of pytest has a copy."""
    shared = once(
        tmp_path_factory,
        "built",
        lambda out: (out / "answers").write_bytes(pickle.dumps(build(out / "folder", stand_ins, jobs=1).answers)),
    )
    folder = tmp_path_factory.mktemp("built") / "folder"
    shutil.copytree(shared / "folder", folder)
    return Built(folder, stand_ins, pickle.loads((shared / "answers").read_bytes()))


@pytest.fixture(scope="session")
def typed_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Ended]:
    """A folder in which `prep demo --jobs 1 --json` was typed, and how it ended. Only to be read, or copied."""

    def make(out: Path) -> None:
        (out / "ended").write_bytes(pickle.dumps(typed(out / "folder", "prep", "demo", "--jobs", 1, "--json")))

    shared = once(tmp_path_factory, "demo", make)
    return shared / "folder", pickle.loads((shared / "ended").read_bytes())


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Any]) -> Path:
    """A folder that all workers of pytest share: the first that needs it makes it, the others wait."""
    base = factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, draft = base / f"shared-{name}", base / f"draft-{name}"
    with open(base / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            make(draft)
            draft.rename(folder)
    return folder


def build(folder: Path, corpora: Path, jobs: int) -> Built:
    """Every stage run on corpora, in a folder."""
    common = ("--json", "--jobs", jobs, "--shard-clips", SHARD_CLIPS)
    answers = {name: done(folder, "ingest", name, corpora / below, *common).json() for name, below in ROOTS.items()}
    answers["filtered"] = done(folder, "filter", "--json", "--jobs", jobs).json()
    answers["resampled"] = done(folder, "resample", *common).json()
    answers["mixed"] = done(folder, "mix", "--snr", 20, "--snr", "0:10", "--keep", "recordings", *common).json()
    return Built(folder, corpora, answers)


# Further cases of what a quick test shows, and measurements over hours of sound: `make test-slow` runs them.
SLOW = {
    "test_api.py::test_a_recipe_in_slices_and_gathered": (),
    "test_archives.py::test_stand_in_corpora_unpacked_to_folders_have_the_same_names_and_bytes": (),
    "test_audit_chain.py::test_a_chain_of_its_own_is_told_far_above_chance_and_named": (
        "of 8 bits",
        "padded",
        "with DC",
    ),
    "test_cli.py::test_a_folder_of_any_name_is_remembered_for_the_next_commands": (
        *("with space", "new#hash", "it's", 'quo"te'),
    ),
    "test_cli.py::test_each_example_in_the_help_runs_as_typed": ("gather",),
    "test_demo.py::test_the_same_seed_gives_the_same_bytes": (),
    "test_engine.py::test_a_run_killed_again_and_again_ends_in_the_same_bytes": ("group",),
    "test_joined.py::test_a_manifest_of_joined_rows_has_the_bytes_of_one_of_a_frame": ("70000",),
    "test_laws.py::test_a_corpus_held_in_another_way_makes_the_same_bytes": ("cochlscene-zipped again",),
    "test_laws.py::test_a_damaged_shard_is_noticed_and_made_again": ("gone", "zeroed"),
    "test_laws.py::test_a_run_that_fails_at_any_rename_or_sync_is_finished_by_the_next": (
        *("killed-replace", "killed-fsync", "disk full-fsync"),
    ),
    "test_laws.py::test_damaged_working_files_are_noticed_and_made_again": ("zeroed",),
    "test_laws.py::test_one_more_noise_among_many_takes_its_share_and_moves_no_other": ("1",),
    "test_laws.py::test_two_workers_make_the_same_bytes": (),
    "test_rebuild.py::test_any_layout_of_the_corpora_gives_the_same_set": ("unpacked", "zipped again"),
    "test_train_classifier.py::test_sixteen_clips_are_learnt_and_judged_so": (
        *("xlsr", "hubert", "wav2vec2", "efficientnet", "ast"),
    ),
    "test_train_classifier.py::test_a_killed_run_goes_on_to_the_same_weights": (
        *("efficientnet", "ast", "wav2vec2", "hubert", "xlsr", "xlsr --lora 2"),
    ),
    "test_train_detect.py::test_a_closed_stream_is_one_line": (),
    "test_train_evaluate.py::test_the_score_decides_by_the_threshold_that_is_given": ("both",),
    "test_train_pretrained.py::test_a_model_that_lies_otherwise_is_taken": (
        *("without the model's prefix", "suppressed tokens that it lacks", "output beside the embedding"),
    ),
    "test_train_run.py::test_a_file_that_cannot_be_written_to_its_end_is_one_line": ("1", "1000", "2000"),
    "test_train_run.py::test_a_killed_run_goes_on_to_bit_equal_weights": ("2",),
    "test_train_run.py::test_two_processes_learn_what_one_does": (),
    "test_train_streams.py::test_a_long_recording_takes_no_more_memory_than_a_short_one": (),
    "test_train_windows.py::test_two_hours_take_no_more_memory_than_ten_minutes": (),
}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the cases of SLOW as slow; without cases, all of a test."""
    for item in items:
        name, _, case = item.nodeid.removeprefix("tests/").partition("[")
        if name in SLOW and (not SLOW[name] or case.removesuffix("]") in SLOW[name]):
            item.add_marker(pytest.mark.slow)
