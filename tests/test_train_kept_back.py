"""What a person keeps back, on the pages of evaluations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kept_back import SECRETS, leaks, leaks_of, planted

from pipeline.core import manifest
from pipeline.core.row import Row
from pipeline.corpora import lexicon
from train import confusions, report, scores
from train.data import Prediction
from train.scores import Scorer

KEYWORDS = ["helpme", "saveme", "others"]


def judged(
    folder: Path, decide: Callable[[Row], str] = lambda row: "noise" if row.keyword else "saveme"
) -> tuple[dict[str, Any], list[Prediction]]:
    """An answer of an evaluation, and its predictions: every call is missed, if nothing else is given."""
    blank = dict.fromkeys(("p_speech", "ungated_text", "ungated_confidence", "ungated_decision"))
    clips = [
        Prediction(
            **{name: getattr(row, name) for name in ("id", "corpus", "split", "group", "kind", "transcript")},
            **{name: getattr(row, name) for name in ("scenario", "scene", "snr_db")},
            truth=row.keyword or "noise",
            **blank,
            speech_like=False,
            seconds=1.0,
            cut=False,
            probabilities=(),
            passed=True,
            text="(noise)" if row.corpus == "cochlscene" else SECRETS["transcript"],
            confidence=0.9,
            decision=decide(row),
            scores=(),
            encode_ms=1.0,
            decode_ms=1.0,
        )
        for row in manifest.read(folder / "mixed.parquet").rows()
        if row.split == "train"
    ]
    cost = {"device": "CPU", "parameters": 1, "parameters_added": 0, "clips": len(clips), "decoded": len(clips)}
    cost |= {"decoder_skipped": 0.0, "encode_s": 1.0, "decode_s": 1.0, "real_time_factor": 0.1}
    answer = {"name": "run", "manifest": "mixed.parquet", "manifest_hash": "h", "split": "train", "keywords": KEYWORDS}
    answer |= {
        "cautions": [],
        "gate": {"source": "none"},
        "checkpoint": {"weights_hash": "w", "step": 1, "trained_on": None},
    }
    answer |= {"curve": None, "operating_points": [], "score": None, "lexicon_hash": "l", "options": {}, "versions": {}}
    answer |= scores.report(clips, Scorer(KEYWORDS, 0), {})
    answer["false_alarms"] = confusions.report(clips, Scorer(KEYWORDS, 0), lexicon.shipped())
    frame = manifest.read(folder / "mixed.parquet").frame
    answer["kept_back"] = report.kept_back(frame[frame["split"] == "train"].reset_index(drop=True))
    return answer | {"cost": cost | {"real_time_factor_without_gate": None}}, clips


@pytest.mark.parametrize("audio", [None, False], ids=["by licence", "redacted"])
def test_the_page_of_an_evaluation_holds_no_secret(tmp_path: Path, audio: bool | None) -> None:
    planted(tmp_path, "unknown")
    answer, clips = judged(tmp_path)
    assert leaks(json.dumps(answer["kept_back"]).encode(), SECRETS) == {"place", "scenario"}
    report.write_page(tmp_path / "page", answer, clips, manifest.read(tmp_path / "mixed.parquet"), audio)
    compared = report.shareable(answer)["by"]  # what the page of a comparison is written from
    assert leaks(json.dumps(compared, ensure_ascii=False).encode(), SECRETS) == set()
    assert leaks_of(tmp_path / "page", SECRETS) == {}
    text = (tmp_path / "page/report.html").read_text(encoding="utf-8")
    assert "Missed calls" in text
    assert "recordings/" in text
    assert "office" not in text
    assert ">Bus<" in text
    report.write_page(tmp_path / "all", answer, clips, manifest.read(tmp_path / "mixed.parquet"), True)
    assert set().union(*leaks_of(tmp_path / "all", SECRETS).values()) == set(SECRETS) - {"label"}
