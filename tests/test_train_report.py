"""The page of an evaluation: what its first lines say of a model that says one thing, of few clips and of training."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from test_report import Page
from test_train_kept_back import judged

from pipeline.core import manifest
from pipeline.core.frame import from_rows
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.inspect.report import html
from train import report

COUNTS = {"helpme": 21, "saveme": 20, "others": 21, "noise": 3}


@pytest.fixture(autouse=True)
def _no_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(html, "font_faces", lambda text: "")  # which takes seconds


def page(folder: Path, decide: Callable[[Row], str], log: Path | None = None) -> tuple[Page, str]:
    """The page of an evaluation of COUNTS clips that were decided so, and its first lines as text."""
    rows = [
        Row(f"cochlscene/{label}{n}", "cochlscene", "train", f"g{n}", "speech", f"@cochlscene/{label}{n}")
        for label, count in COUNTS.items()
        for n in range(count)
    ]
    table = from_rows(rows, Row)
    table["keyword"] = [None if "noise" in row.id else row.id.split("/")[1].rstrip("0123456789") for row in rows]
    table["scene"] = ["Bus" if row.id.endswith("e1") else "Car" for row in rows]
    manifest.write(folder / "mixed.parquet", table, from_rows([], Drop), Provenance("filter", {}, 0))
    answer, clips = judged(folder, decide)
    answer["cautions"] += report.one_sided(answer["four_class"])
    report.write_page(folder, answer, clips, manifest.read(folder / "mixed.parquet"), None, log)
    made = Page((folder / report.PAGE).read_text(encoding="utf-8"))
    head = made.text[made.text.index("<h1>") : made.text.index("<nav")]
    return made, " ".join(re.sub("<[^>]+>", " ", head).split())


def test_a_model_that_always_says_the_same_is_not_praised(tmp_path: Path) -> None:
    _, head = page(tmp_path, lambda row: "saveme")
    assert "all 65 clips are decided as saveme: no score here tells more" in head
    assert "Calls recognised 20 of 41 0 missed, 21 taken for another call" in head
    assert "helpme recall 0 % 0 of 21 recognised precision – never decided" in head
    assert "saveme recall 100 % 20 of 20 recognised precision 31 % 20 of 65" in head


def test_a_class_that_is_never_decided_is_said(tmp_path: Path) -> None:
    _, head = page(tmp_path, lambda row: "others" if row.keyword == "helpme" else row.keyword or "noise")
    assert "helpme is never decided, though 21 of 65 clips are helpme" in head
    assert "saveme is never" not in head
    assert "precision 100" in head


def test_of_few_clips_there_is_no_share_no_interval_and_no_bar(tmp_path: Path) -> None:
    made, _ = page(tmp_path, lambda row: row.keyword or "noise")
    scenes = {row[0]: row for row in made.tables["Scores by Scene"]}
    assert scenes["Bus"][2] == "n = 3: too few"
    assert scenes["Car"][2].startswith("100.0")
    rows = [row for name in ("Scene", "Keyword", "Corpus") for row in made.tables[f"Scores by {name}"]]
    assert made.text.count('class="kept"') == sum("too few" not in row[2] for row in rows)
    assert [row[2] for row in made.tables["Scores by Keyword"] if row[0] == "noise"] == ["n = 3: too few"]


def test_the_loss_of_training_and_of_dev_is_drawn_from_the_log_of_the_run(tmp_path: Path) -> None:
    entries = [{"step": n, "loss": 9.0 / n if n != 7 else None} for n in range(1, 1001)]
    entries.append({"step": 1, "dev_loss": 5.0})
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps(entry) + "\n" for entry in entries) + '{"step": 10', encoding="utf-8")
    made, _ = page(tmp_path, lambda row: "saveme", log)
    section = made.text[made.text.index('id="training"') : made.text.index('id="cost"')]
    paths = re.findall(r'class="line"[^>]* d="([^"]+)"', section)
    assert [path.count("L") + 1 for path in paths] == [report.MOST_POINTS, 1]
    assert "judged here" in section  # the checkpoint is of step 1
    assert 'id="training"' not in page(tmp_path, lambda row: "saveme", tmp_path / "none.jsonl")[0].text
    log.write_text("no log\n[]\n", encoding="utf-8")
    assert 'id="training"' not in page(tmp_path, lambda row: "saveme", log)[0].text
