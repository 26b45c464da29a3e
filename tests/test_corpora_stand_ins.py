"""The adapters on stand-ins that another program builds, against what that program says a right ingest finds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline import corpora
from pipeline.archives import Root
from pipeline.corpora import Listing

MAKER = Path(__file__).parents[2] / "shared/tools/make-corpora"
pytestmark = pytest.mark.skipif(
    not MAKER.exists(), reason="the maker of stand-in corpora is not beside this repository"
)

FOLDERS = {"aihub": "aihub170", "cochlscene": "cochlscene", "ms-snsd": "ms-snsd", "recordings": "recordings"}
# Defects of the labels, by the words of expected.json; the others are in the recordings, and not for adapters to find.
REASONS = {"wav without label": "no_label", "label without wav": "no_audio", "label is not JSON": "bad_label"}
FIELDS = {
    "split": "split",
    "scenario": "scenario",
    "scene": "scene",
    "group": "group",
    "note": "text",
    "transcript": "text",
}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stand-ins")
    subprocess.run(
        [sys.executable, str(MAKER), str(out), "--seed", "3", "--clips-per-class", "6"], check=True, capture_output=True
    )
    return out


def expected(stand_ins: Path, name: str) -> dict[str, dict[str, Any]]:
    truth: dict[str, dict[str, Any]] = json.loads((stand_ins / "expected.json").read_text("utf-8"))[name]
    return truth


def claims(stand_ins: Path, name: str) -> Listing:
    return corpora.find(name).clips(Root(name, stand_ins / FOLDERS[name]))


@pytest.mark.parametrize("name", corpora.names())
def test_clips_are_the_expected_rows_and_those_whose_recording_is_broken(name: str, stand_ins: Path) -> None:
    truth = expected(stand_ins, name)
    broken = {key for key, why in truth["drops"].items() if why not in REASONS}
    assert {clip.key for clip in claims(stand_ins, name).clips} == set(truth["rows"]) | broken


@pytest.mark.parametrize("name", corpora.names())
def test_drops_are_the_expected_ones_with_their_reasons(name: str, stand_ins: Path) -> None:
    truth = expected(stand_ins, name)["drops"]
    found = {drop.id: drop.reason for drop in claims(stand_ins, name).drops}
    assert found == {f"{name}/{key}": REASONS[why] for key, why in truth.items() if why in REASONS}


@pytest.mark.parametrize("name", corpora.names())
def test_each_clip_says_what_is_expected_of_it(name: str, stand_ins: Path) -> None:
    truth = expected(stand_ins, name)["rows"]
    for clip in claims(stand_ins, name).clips:
        for word, field in FIELDS.items():
            if word in truth.get(clip.key, {}):
                assert (clip.key, getattr(clip, field)) == (clip.key, truth[clip.key][word] or None)
        if "label" in truth.get(clip.key, {}):
            assert clip.labels["label"] == truth[clip.key]["label"]


@pytest.mark.parametrize("name", corpora.names())
def test_nothing_about_them_is_odd(name: str, stand_ins: Path) -> None:
    found = claims(stand_ins, name)
    assert (found.notes, found.ignored) == ([], [])
