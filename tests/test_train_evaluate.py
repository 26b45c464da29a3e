"""`evaluate` as typed: its numbers counted again from its predictions, its threshold, its refusals, `compare`."""

from __future__ import annotations

import html
import json
import math
import os
import re
import shutil
import socket
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import jiwer
import pandas as pd
import pytest
from scipy import stats
from sklearn import metrics as reference
from train_samples import TINY, Clip, command, made, noise, predictions, usual

import train
from pipeline.core import exclusions, measures
from pipeline.core import frame as frames
from pipeline.core.errors import ManifestError
from pipeline.core.measures import Measures
from pipeline.corpora import lexicon
from train import data, report, scores
from train.data import Prediction
from train.folder import locked
from train.scores import Scorer

CALLS = ("helpme", "saveme")


def more() -> list[Clip]:
    """Beside the usual: noise out of domain, a clip longer than 30 s, speech without a transcript."""
    outside = [
        noise(f"test/out{n}", "test", 3.0, "ms-snsd", "Babble", speech_like="yes" if n else "no") for n in range(2)
    ]
    return [
        *usual(6, 3, 4),
        *outside,
        noise("test/long", "test", 31.0, "ms-snsd"),
        Clip("test/untold", "test", transcript=None),
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest, a multitask and a single-task run, and their evaluations."""
    folder = tmp_path_factory.mktemp("made")
    made(folder, more())
    for task in ("multi", "single"):
        words = ("--manifest", "mixed.parquet", "--out", f"runs/{task}", *TINY, "--task", task)
        assert (
            command("train", folder, *words, "--steps", 60, "--lr", 3e-3, "--batch", 8, "--interpolation", 0).code == 0
        )
        words = ("--manifest", "mixed.parquet", "--checkpoint", f"runs/{task}/last")
        assert command("evaluate", folder, *words, "--write-false-alarms", f"{task}.txt").code == 0
    return folder


@pytest.fixture(scope="module")
def answer(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "runs/multi/evaluate-test/metrics.json").read_text())


@pytest.fixture(scope="module")
def clips(folder: Path) -> list[Prediction]:
    return predictions(folder / "runs/multi/evaluate-test")


def test_there_is_a_line_for_every_clip_in_the_manifests_order(folder: Path, clips: list[Prediction]) -> None:
    rows = data.rows(data.read(folder / "mixed.parquet"), "test")
    assert [clip.id for clip in clips] == [row.id for row in rows]
    assert [clip.truth for clip in clips] == ["noise" if row.kind == "noise" else row.keyword for row in rows]
    assert {clip.id for clip in clips if clip.cut} == {"test/long"}
    assert next(clip.seconds for clip in clips if clip.cut) == 30


def test_predictions_open_as_a_frame_with_arrow_types(folder: Path, clips: list[Prediction], tmp_path: Path) -> None:
    frame = train.predictions(folder / "runs/multi/evaluate-test")
    assert list(frame.columns) == [field.name for field in fields(Prediction)]
    assert all(isinstance(dtype, pd.ArrowDtype) for dtype in frame.dtypes)
    assert isinstance(frame.index, pd.RangeIndex)
    assert frame["id"].tolist() == [clip.id for clip in clips]
    by_truth = frame.groupby("truth")["passed"].sum()
    assert by_truth["noise"] == sum(clip.passed for clip in clips if clip.truth == "noise")
    assert train.predictions(folder / "runs/multi/evaluate-test/predictions.parquet").equals(frame)
    for path, message in {
        tmp_path / "none": "none: no predictions of this version .no such file.: run evaluate again",
        folder / "mixed.parquet": "no predictions of this version .lacks the columns .*run evaluate again",
    }.items():
        with pytest.raises(ManifestError, match=message):
            train.predictions(path)


@pytest.mark.parametrize("name", ["three_class", "four_class"])
def test_the_class_scores_are_those_of_the_predictions(
    answer: dict[str, Any], clips: list[Prediction], name: str
) -> None:
    known = [clip for clip in clips if clip.truth and (name == "four_class" or clip.truth != "noise")]
    truth, decided = [str(clip.truth) for clip in known], [clip.decision for clip in known]
    labels = ["helpme", "saveme", "others", "noise"]
    assert answer[name]["clips"] == len(known) == (19 if name == "four_class" else 12)
    assert answer[name]["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, decided))
    scored = [label for label in labels[: 4 if name == "four_class" else 3] if label in truth]
    wanted = reference.f1_score(truth, decided, labels=scored, average="macro", zero_division=0)
    assert answer[name]["macro_f1"]["value"] == pytest.approx(wanted)
    assert answer[name]["confusion"] == reference.confusion_matrix(truth, decided, labels=labels).tolist()
    score = answer[name]["accuracy"]
    assert score["low"] <= score["value"] <= score["high"]


def test_alarms_and_misses_are_counted_by_hand(answer: dict[str, Any], clips: list[Prediction]) -> None:
    negatives = [clip for clip in clips if clip.truth in ("noise", "others")]
    hours = sum(clip.seconds for clip in negatives) / 3600
    false = sum(clip.decision in CALLS for clip in negatives)
    found = answer["alarms"]
    assert found["negative_hours"] == pytest.approx(hours)
    assert hours * 3600 == pytest.approx(4 * 1.8 + 4 * 2 + 2 * 3 + 30)
    assert found["false_alarms"] == false
    assert found["per_hour"]["value"] == pytest.approx(false / hours)
    assert found["per_hour_upper_95"] == pytest.approx(stats.chi2.ppf(0.95, 2 * false + 2) / 2 / hours)
    calls = [clip for clip in clips if clip.truth in CALLS]
    assert (found["calls"], found["missed"]) == (8, sum(clip.decision not in CALLS for clip in calls))
    assert found["wrong_call"] == sum(clip.decision in CALLS and clip.decision != clip.truth for clip in calls)


def test_false_alarms_are_listed_by_kind_on_the_page_and_in_a_file_of_ids(
    folder: Path, answer: dict[str, Any], clips: list[Prediction]
) -> None:
    false = [clip for clip in clips if clip.truth in ("others", "noise") and clip.decision in CALLS]
    kinds = answer["false_alarms"]["by_kind"]
    assert sum(each["false_alarms"] for each in kinds) == answer["alarms"]["false_alarms"] == len(false)
    assert {each["value"]: each["negative_clips"] for each in kinds} == {"noise": 6, "noise like speech": 1, "other": 4}
    assert (folder / "multi.txt").read_text().split("\n")[:-1] == [clip.id for clip in false]
    page = (folder / "runs/multi/evaluate-test" / report.PAGE).read_text()
    assert '<th scope="row">noise like speech</th>' in page


def test_noise_is_scored_in_domain_and_out_of_it_apart(answer: dict[str, Any], clips: list[Prediction]) -> None:
    parts = {
        "in_domain": [clip for clip in clips if clip.corpus == "cochlscene"],
        "out_of_domain": [clip for clip in clips if clip.corpus == "ms-snsd"],
        "out_of_domain_speech_like": [clip for clip in clips if clip.id == "test/out1"],
    }
    speech = [clip for clip in clips if clip.truth in (*CALLS, "others")]
    for name, part in parts.items():
        assert answer["noise"][name]["clips"] == len(part)
        assert answer["noise"][name]["accuracy"]["value"] == pytest.approx(
            sum(not clip.passed for clip in part) / len(part)
        )
        truth = [1] * len(part) + [0] * len(speech)
        wanted = reference.f1_score(truth, [int(not clip.passed) for clip in (*part, *speech)])
        assert answer["noise"][name]["f1"]["value"] == pytest.approx(wanted)


def test_the_character_error_rate_is_jiwers(answer: dict[str, Any], clips: list[Prediction]) -> None:
    pairs = [(clip.text, clip.transcript) for clip in clips if clip.text is not None and clip.transcript]
    wanted = jiwer.cer([lexicon.normalised(true) for _, true in pairs], [lexicon.normalised(said) for said, _ in pairs])
    assert answer["cer"]["decoded"]["value"] == pytest.approx(wanted)
    assert answer["cer"]["decoded"]["clips"] == len(pairs)


def test_the_threshold_is_that_of_dev_and_written_down(
    folder: Path, answer: dict[str, Any], clips: list[Prediction]
) -> None:
    assert (
        command(
            "evaluate",
            folder,
            "--manifest",
            "mixed.parquet",
            "--checkpoint",
            "runs/multi/last",
            "--split",
            "dev",
            "--no-gate",
        ).code
        == 0
    )
    dev = predictions(folder / "runs/multi/evaluate-dev")
    threshold = answer["gate"]["threshold"]
    right = (
        sum(clip.p_speech >= threshold for clip in dev if clip.truth != "noise") / 9,
        sum(clip.p_speech < threshold for clip in dev if clip.truth == "noise") / 3,
    )
    assert (answer["gate"]["dev"]["speech_passed"], answer["gate"]["dev"]["noise_stopped"]) == (
        pytest.approx(right[0]),
        pytest.approx(right[1]),
    )
    assert "chosen on dev" in answer["gate"]["source"]
    assert [clip.passed for clip in clips] == [clip.p_speech >= threshold for clip in clips]


def test_the_curve_is_what_each_threshold_would_do(answer: dict[str, Any], clips: list[Prediction]) -> None:
    negatives = [clip for clip in clips if clip.truth in ("noise", "others")]
    for point in answer["curve"]["points"]:
        alarms = sum(clip.ungated_decision in CALLS and clip.p_speech >= point["threshold"] for clip in negatives)
        assert point["false_alarms"] == alarms
    assert [point["dev_per_hour"] for point in answer["operating_points"]] == [1.0, 10.0]


def test_an_operating_point_that_dev_cannot_tell_is_refused_with_what_is_missing(answer: dict[str, Any]) -> None:
    for point in (*answer["operating_points"], *answer["score"]["operating_points"]):
        needed = {1.0: "3 h", 10.0: "0.3 h"}[point["dev_per_hour"]]
        assert point["refused"] == (
            f"{point['dev_per_hour']:g} per hour needs {needed} of negatives and 200 clips of other speech,"
            " dev has 0.0032 h and 3"
        )
        assert (point["threshold"], point["miss_rate"]) == (None, None)
    assert [(one["per_hour"], one["miss_rate"]) for one in answer["score"]["curve"]["at"]] == [
        (0.1, None),
        (1.0, None),
        (10.0, None),
    ]
    assert answer["score"]["curve"]["at"][1]["hours_needed"] == pytest.approx(3, abs=0.01)


def test_the_curve_of_the_score_is_what_each_threshold_would_do(
    answer: dict[str, Any], clips: list[Prediction]
) -> None:
    calls = [max(clip.scores) if clip.passed else -math.inf for clip in clips if clip.truth in CALLS]
    others = [max(clip.scores) if clip.passed else -math.inf for clip in clips if clip.truth in ("noise", "others")]
    truth = [1] * len(calls) + [0] * len(others)
    area = reference.roc_auc_score(truth, [max(value, -1e9) for value in (*calls, *others)])
    curve = answer["score"]["curve"]
    assert curve["area"]["value"] == pytest.approx(area)
    for point in curve["points"]:
        alarms = round(point["per_hour"] * curve["negative_hours"])
        limit = sorted([*others, -math.inf], reverse=True)[alarms]
        assert point["miss_rate"]["value"] == pytest.approx(sum(value <= limit for value in calls) / len(calls))
        assert 0 <= point["miss_rate"]["low"] <= point["miss_rate"]["value"] <= point["miss_rate"]["high"] <= 1


@pytest.mark.parametrize("rule", ["score", "both"])
def test_the_score_decides_by_the_threshold_that_is_given(folder: Path, tmp_path: Path, rule: str) -> None:
    words = ("--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--no-gate", "--decision", rule)
    before = json.loads((folder / "runs/multi/last/made.json").read_text())
    free = command("evaluate", folder, *words, "--score-threshold", -999, "--out", tmp_path / "x")
    assert free.code == 0, free.err
    for clip in predictions(tmp_path / "x"):
        loudest = CALLS[clip.scores.index(max(clip.scores))]
        assert clip.decision == loudest or (rule == "both" and clip.decision in CALLS)
    assert command("evaluate", folder, *words, "--score-threshold", 0, "--out", tmp_path / "x").code == 0
    found = predictions(tmp_path / "x")
    by_text = {clip.id: clip for clip in predictions(folder / "runs/multi/evaluate-test")}
    assert {clip.decision for clip in found} - {"noise", "others"} == (
        {by_text[clip.id].ungated_decision for clip in found} & set(CALLS) if rule == "both" else set()
    )
    assert json.loads((folder / "runs/multi/last/made.json").read_text()) == before


def test_exact_labels_are_judged_without_scores(folder: Path, clips: list[Prediction], tmp_path: Path) -> None:
    words = ("--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--decision", "text-exact")
    exact = command("evaluate", folder, *words, "--out", tmp_path / "x", "--json").json()
    assert exact["score"] is None
    matched = [lexicon.shipped().keyword(clip.text) or "noise" for clip in clips]
    assert [clip.decision for clip in predictions(tmp_path / "x")] == matched


def test_thresholds_of_dev_travel_with_the_checkpoint(folder: Path, answer: dict[str, Any], tmp_path: Path) -> None:
    kept = json.loads((folder / "runs/multi/last/made.json").read_text())["thresholds"]
    assert kept["gate"] == answer["gate"]["threshold"]
    assert kept["score"] == answer["score"]["threshold"]
    assert kept["manifest"] == "mixed.parquet"
    shutil.copytree(folder / "runs/multi/last", tmp_path / "last")
    made(tmp_path, [clip for clip in more() if clip.split == "test"])
    words = ("--manifest", "mixed.parquet", "--checkpoint", "last", "--decision", "score", "--out", "x", "--json")
    held = command("evaluate", tmp_path, *words).json()
    assert (held["gate"]["threshold"], held["score"]["threshold"]) == (kept["gate"], kept["score"])
    assert "kept in the checkpoint (chosen on dev of mixed.parquet)" in held["score"]["source"]
    made_json = json.loads((tmp_path / "last/made.json").read_text())
    (tmp_path / "last/made.json").write_text(json.dumps(made_json | {"thresholds": {}}))
    bare = command("evaluate", tmp_path, *words)
    assert (bare.code, len(bare.err.splitlines())) == (1, 1)
    assert "--decision score: no threshold, for no dev split to choose one on: give --score-threshold" in bare.err


def test_the_gate_may_be_chosen_at_a_limit_on_lost_speech(folder: Path, tmp_path: Path) -> None:
    words = ("--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--out", tmp_path / "x", "--lost-speech")
    before = (folder / "runs/multi/last/made.json").read_bytes()
    gate = command("evaluate", folder, *words, 0.34, "--json").json()["gate"]
    (folder / "runs/multi/last/made.json").write_bytes(before)
    assert gate["dev"]["by"] == "highest that stops at most 34 % of speech"
    assert gate["dev"]["speech_passed"] >= 0.66
    few = command("evaluate", folder, *words, 0.05)
    assert (few.code, len(few.err.splitlines())) == (1, 1)
    assert "--lost-speech 0.05: dev has 9 clips of speech, 20 are needed to know such a share" in few.err
    both = command("evaluate", folder, *words, 0.34, "--threshold", 0.5)
    assert (both.code, "it needs a dev split, a head, no --threshold" in both.err) == (1, True)


def test_parts_add_up_to_the_whole(answer: dict[str, Any]) -> None:
    assert sum(part["clips"] for part in answer["by"]["keyword"]) == answer["four_class"]["clips"]
    assert sum(part["false_alarms"] for part in answer["by"]["corpus"]) == answer["alarms"]["false_alarms"]
    assert [part["value"] for part in answer["by"]["snr_db"]] == ["10"]


def test_the_cost_says_what_the_gate_spares(answer: dict[str, Any], clips: list[Prediction]) -> None:
    cost = answer["cost"]
    assert cost["decoder_skipped"] == pytest.approx(1 - sum(clip.passed for clip in clips) / len(clips))
    assert cost["parameters_added"] == 64 * 2 + 2
    assert cost["real_time_factor_without_gate"] >= cost["real_time_factor"] > 0


def test_pictures_and_tables_are_there(folder: Path) -> None:
    names = sorted(path.name for path in (folder / "runs/multi/evaluate-test/figures").iterdir())
    assert names == [
        "by_snr.png",
        "confusion_four_class.png",
        "confusion_three_class.png",
        "score.png",
        "trade_off.png",
    ]
    answer = command(
        "evaluate",
        folder,
        "--manifest",
        "mixed.parquet",
        "--checkpoint",
        "runs/multi/last",
        "--no-curve",
        "--tolerance",
        0.4,
        "--out",
        "x",
    )
    assert "1 clips are longer than 30 s: their first 30 s were judged" in answer.out
    assert "1 clips of speech have no keyword" in answer.out
    held = json.loads((folder / "x/metrics.json").read_text())
    assert held["curve"] is None
    assert held["exact_matching"]["decisions_changed_by_tolerance"] >= 0


def test_a_model_without_a_head_has_no_gate(folder: Path) -> None:
    held = json.loads((folder / "runs/single/evaluate-test/metrics.json").read_text())
    assert held["gate"]["threshold"] is None
    assert held["cost"]["decoder_skipped"] == 0
    assert held["noise"]["in_domain"]["accuracy"]["value"] is None
    assert held["curve"]["score"] == "confidence"


def test_compare_shows_runs_side_by_side_with_paired_differences(folder: Path, clips: list[Prediction]) -> None:
    runs = ("runs/single/evaluate-test", "runs/multi/evaluate-test")
    answer = command("evaluate", folder, "compare", *runs)
    assert answer.code == 0, answer.err
    assert "as in Table II " in answer.out
    assert "multi (multi) - single (single)" in answer.out
    answer = command("evaluate", folder, "compare", *runs, "--json").json()
    one, two = (run["accuracy"]["value"] for run in answer["runs"])
    found = answer["differences"][0]["accuracy"]
    assert found["value"] == pytest.approx(two - one)
    assert found["low"] <= found["value"] <= found["high"]
    same = command("evaluate", folder, "compare", runs[0], runs[0], "--json").json()["differences"][0]
    assert {key: same["miss_rate"][key] for key in ("value", "low", "high")} == {"value": 0, "low": 0, "high": 0}


def test_the_same_evaluation_twice_is_the_same_but_for_the_clock(folder: Path, answer: dict[str, Any]) -> None:
    again = command(
        "evaluate", folder, "--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--out", "again", "--json"
    ).json()
    assert {name: value for name, value in again.items() if name != "cost"} == {
        name: value for name, value in answer.items() if name != "cost"
    }


def test_faults_are_one_message(folder: Path, tmp_path: Path) -> None:
    made(tmp_path, [Clip("a"), noise("n")])
    made(tmp_path, usual(), name="other", recipe={"lexicon": "0" * 32})
    last = folder / "runs/multi/last"
    for words, message in {
        (
            "--manifest",
            "mixed.parquet",
            "--checkpoint",
            last,
        ): "no rows in the split test (rows by split: train 2): there is nothing to judge",
        ("--manifest", "other.parquet", "--checkpoint", last): "its keywords were labelled with another lexicon",
        ("--manifest", "mixed.parquet"): "which model? give --checkpoint runs/NAME/best, or --model",
        ("--manifest", "mixed.parquet", "--checkpoint", last.parent): f"did you mean {last.parent / 'best'}?",
        ("compare", folder / "runs/multi"): "did you mean",
        (
            "compare",
            folder / "runs/multi/evaluate-test",
            folder / "runs/multi/evaluate-dev",
        ): "were judged on different splits",
    }.items():
        answer = command("evaluate", tmp_path, *words)
        assert (answer.code, message in answer.err) == (1, True), answer.err


def test_one_class_alone_and_no_dev_are_judged_for_what_they_are(folder: Path, tmp_path: Path) -> None:
    made(tmp_path, [Clip(f"{n}", "test") for n in range(3)])
    answer = command(
        "evaluate",
        tmp_path,
        "--manifest",
        "mixed.parquet",
        "--checkpoint",
        folder / "runs/multi/last",
        "--out",
        "x",
        "--json",
    )
    held = answer.json()
    kept = json.loads((folder / "runs/multi/last/made.json").read_text())["thresholds"]["gate"]
    source = f"threshold {kept:.4f}, kept in the checkpoint (chosen on dev of mixed.parquet)"
    assert held["gate"] == {"threshold": kept, "source": source, "dev": None}
    assert held["alarms"]["per_hour"]["value"] is None
    assert held["alarms"]["per_hour_upper_95"] is None
    assert held["noise"]["all"]["accuracy"]["value"] is None
    assert math.isfinite(held["three_class"]["accuracy"]["value"])
    assert (
        "- (no negative audio)"
        in command(
            "evaluate",
            tmp_path,
            "--manifest",
            "mixed.parquet",
            "--checkpoint",
            folder / "runs/multi/last",
            "--out",
            "x",
        ).out
    )


def test_the_page_shows_the_scores_and_confusions_that_were_written(folder: Path, answer: dict[str, Any]) -> None:
    page = (folder / "runs/multi/evaluate-test/report.html").read_text(encoding="utf-8")
    plain = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page[page.index("</style>") :])).split())
    assert f"{100 * answer['four_class']['accuracy']['value']:.1f}" in plain
    alarms = answer["alarms"]
    right = alarms["calls"] - alarms["missed"] - alarms["wrong_call"]
    assert f"Calls recognised {right} of {alarms['calls']} {alarms['missed']} missed" in plain
    for label, counts in zip(answer["four_class"]["labels"], answer["four_class"]["confusion"], strict=True):
        assert f"{label} {' '.join(map(str, counts))}" in plain
    assert page.count('class="chart"') == 4  # two trade-offs, by SNR, and training


def test_the_worst_mistakes_are_mistakes_surest_first(clips: list[Prediction]) -> None:
    groups = dict(report.worst(clips, CALLS))
    assert groups
    for kind, found in groups.items():
        assert len(found) <= report.WORST
        for clip in found:
            assert clip.truth != clip.decision
            assert (clip.truth in CALLS) == (kind != "False alarms")
            assert (clip.decision in CALLS) == (kind != "Missed calls")
    calls = [
        replace(clips[0], id=f"{n}", truth="saveme", decision="noise", passed=False, p_speech=n / 10)
        for n in (3, 1, 2, 4)
    ]
    assert [clip.id for clip in report.worst([*calls, replace(calls[1], id="1_snr20_0")], CALLS)[0][1]] == [
        "1",
        "2",
        "3",
    ]


def test_the_page_keeps_to_the_licence_unless_told_otherwise(folder: Path, clips: list[Prediction]) -> None:
    wrong = {clip.id for _, found in report.worst(clips, CALLS) for clip in found if clip.corpus == "aihub"}
    assert wrong
    page = (folder / "runs/multi/evaluate-test/report.html").read_text(encoding="utf-8")
    body = page[page.index("</style>") :]
    assert not [row_id for row_id in wrong if f'aria-label="Play {row_id}"' in body]
    assert not [
        clip.transcript for clip in clips if clip.transcript and clip.corpus == "aihub" and clip.transcript in body
    ]
    words = ("--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--out", "loud", "--with-audio")
    assert command("evaluate", folder, *words).code == 0
    loud = (folder / "loud/report.html").read_text(encoding="utf-8")
    assert all(f'aria-label="Play {row_id}"' in loud for row_id in wrong)
    assert "NIA terms of use" in loud[loud.index('class="warning"') : loud.index("<nav")]


def test_compare_writes_a_page_of_the_runs(folder: Path) -> None:
    runs = ("runs/single/evaluate-test", "runs/multi/evaluate-test")
    assert command("evaluate", folder, "compare", *runs, "--out", "two.html").code == 0
    page = (folder / "two.html").read_text(encoding="utf-8")
    answer = command("evaluate", folder, "compare", *runs, "--json").json()
    assert "multi (multi) - single (single)" in page
    assert all(f"{100 * run['accuracy']['value']:.1f}" in page for run in answer["runs"])
    assert page.count('class="chart"') == 2


def test_runs_of_one_name_are_told_apart_by_their_folders(folder: Path) -> None:
    shutil.copytree(folder / "runs/multi/evaluate-test", folder / "runs/multi/again")
    two = command("evaluate", folder, "compare", "runs/multi/evaluate-test", "runs/multi/again", "--json").json()
    assert [run["name"] for run in two["runs"]] == ["multi (multi) evaluate-test", "multi (multi) again"]
    assert two["differences"][0]["name"] == "multi (multi) again - multi (multi) evaluate-test"


# ---- judged on what it was chosen on, or learnt


def renamed(clips: list[Clip], splits: dict[str, str]) -> list[Clip]:
    """The clips with other splits; those of no split named are left out. Their sound is the same."""
    return [replace(clip, split=splits[clip.split]) for clip in clips if clip.split in splits]


def test_a_test_split_that_was_trained_on_is_refused_unless_allowed(folder: Path, tmp_path: Path) -> None:
    last = folder / "runs/multi/last"
    made(tmp_path, renamed(more(), {"train": "test", "dev": "dev", "test": "train"}))
    words = ("--manifest", "mixed.parquet", "--checkpoint", last, "--out", "x")
    answer = command("evaluate", tmp_path, *words)
    assert (answer.code, len(answer.err.splitlines())) == (1, 1)
    assert (
        "mixed.parquet: 24 of 24 clips of the split test hold recordings that the checkpoint was trained on"
        " (train/0/0 for one): scores would say nothing of new recordings; take another split or manifest,"
        " write them with --write-exclusions for prep filter --exclude, or give --allow-overlap to judge them all the"
        " same"
    ) in answer.err
    assert not (tmp_path / "x").exists()
    answer = command("evaluate", tmp_path, *words, "--allow-overlap", "--write-exclusions", "leave.txt")
    assert answer.code == 0, answer.err
    assert len(exclusions.read(tmp_path / "leave.txt")) == 24
    caution = "24 of 24 clips of the split test hold recordings that the checkpoint was trained on"
    assert f"caution {caution}\n" in answer.err  # and names none of them, for it stands on the page
    assert f"caution: {caution}" in answer.out
    assert caution in json.loads((tmp_path / "x/metrics.json").read_text())["cautions"]
    page = html.unescape((tmp_path / "x/report.html").read_text(encoding="utf-8"))
    assert caution in page
    compared = command("evaluate", tmp_path, "compare", "x", "x", "--out", "page.html")
    assert (
        f"caution: multi (multi) x: {caution}" in compared.out or f"caution: multi (multi): {caution}" in compared.out
    )
    assert caution in html.unescape((tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", ["speech", "noise"])
def test_one_recording_of_training_among_others_is_enough(folder: Path, tmp_path: Path, kind: str) -> None:
    learnt = [clip for clip in more() if clip.split == "train" and (clip.kind == "noise") == (kind == "noise")][:1]
    made(tmp_path, [*[clip for clip in more() if clip.split != "train"], *renamed(learnt, {"train": "test"})])
    words = ("--manifest", "mixed.parquet", "--checkpoint", folder / "runs/multi/last", "--out", "x")
    answer = command("evaluate", tmp_path, *words)
    assert (answer.code, "1 of 21 clips of the split test" in answer.err) == (1, True), answer.err


def test_a_model_of_one_task_did_not_learn_the_noise_that_it_left_out(folder: Path, tmp_path: Path) -> None:
    noises = [clip for clip in more() if clip.split == "train" and clip.kind == "noise"]
    made(tmp_path, [*[clip for clip in more() if clip.split != "train"], *renamed(noises, {"train": "test"})])
    words = ("--manifest", "mixed.parquet", "--checkpoint", folder / "runs/single/last", "--out", "x")
    assert command("evaluate", tmp_path, *words).code == 0


def test_to_judge_the_training_split_itself_is_refused(folder: Path) -> None:
    words = ("--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--split", "train", "--out", "t")
    answer = command("evaluate", folder, *words)
    assert (answer.code, "24 of 24 clips of the split train hold recordings" in answer.err) == (1, True)


def test_a_checkpoint_given_as_a_model_learnt_what_it_learnt(folder: Path) -> None:
    words = ("--manifest", "mixed.parquet", "--model", "runs/multi/last", "--split", "train", "--out", "t")
    answer = command("evaluate", folder, *words)
    assert (answer.code, "24 of 24 clips of the split train hold recordings" in answer.err) == (1, True)


def test_a_threshold_chosen_on_the_split_that_is_judged_is_said(folder: Path, tmp_path: Path) -> None:
    words = (
        "--manifest",
        "mixed.parquet",
        "--checkpoint",
        "runs/multi/last",
        "--split",
        "dev",
        "--out",
        tmp_path / "x",
    )
    chosen = "the gate's threshold or the operating points were chosen on dev, the very split that is judged"
    of_dev = "12 of 12 clips are of the dev split that chose the checkpoint"
    answer = command("evaluate", folder, *words)
    assert answer.code == 0, answer.err
    for caution in (chosen, of_dev):
        assert f"caution: {caution}" in answer.out
        assert caution in html.unescape((tmp_path / "x/report.html").read_text(encoding="utf-8"))
    given = command("evaluate", folder, *words, "--threshold", 0.5, "--no-curve")
    assert (chosen in given.out, of_dev in given.out) == (False, True)
    of_test = command("evaluate", folder, *words[:4], "--out", tmp_path / "y").out
    assert not [line for line in of_test.splitlines() if "caution" in line and "dev" in line]


def test_a_dev_split_that_was_trained_on_is_said(folder: Path, tmp_path: Path) -> None:
    made(tmp_path, renamed(more(), {"train": "dev", "test": "test"}))
    words = ("--manifest", "mixed.parquet", "--checkpoint", folder / "runs/multi/last", "--out", "x")
    answer = command("evaluate", tmp_path, *words)
    assert "caution: 24 of 24 clips of dev, which chose the threshold, were trained on" in answer.out


def test_a_checkpoint_that_does_not_say_what_it_learnt_is_judged_with_a_caution(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "runs/multi/last", tmp_path / "old")
    (tmp_path / "old/recordings.safetensors").unlink()
    metadata = json.loads((tmp_path / "old/made.json").read_text())
    del metadata["files"]["recordings.safetensors"]
    (tmp_path / "old/made.json").write_text(json.dumps(metadata))
    made(tmp_path, usual(0, 2, 2))
    words = ("--checkpoint", tmp_path / "old", "--out", tmp_path / "x")
    answer = command("evaluate", tmp_path, "--manifest", "mixed.parquet", *words)
    assert (
        "caution: the checkpoint does not say which recordings it was trained on: these may be among them" in answer.out
    )
    answer = command("evaluate", folder, "--manifest", "mixed.parquet", *words, "--split", "train")
    assert (answer.code, "24 of 24 clips of the split train" in answer.err) == (1, True)


# ---- one evaluation a folder


def test_two_evaluations_at_once_in_one_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    words = ("--manifest", "mixed.parquet", "--checkpoint", "runs/multi/last", "--out", tmp_path / "x")
    with locked(tmp_path / "x"):
        answer = command("evaluate", folder, *words)
    holder = f"process {os.getpid()} on {socket.gethostname()}"
    assert (answer.code, len(answer.err.splitlines())) == (1, 1)
    assert f"x: {holder} is at work here: wait for it to end, or give another --out" in answer.err
    assert not (tmp_path / "x").exists()


def test_an_evaluation_that_is_cut_short_leaves_no_answer_of_another(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--manifest", "mixed.parquet", "--out", tmp_path / "x", "--checkpoint")
    assert command("evaluate", folder, *words, "runs/multi/last").code == 0
    monkeypatch.setattr(report, "write_figures", lambda *_: (_ for _ in ()).throw(OSError("no space")))
    assert command("evaluate", folder, *words, "runs/single/last").code == 1
    assert not (tmp_path / "x/metrics.json").exists()
    answer = command("evaluate", folder, "compare", tmp_path / "x")
    assert (answer.code, "no metrics.json there" in answer.err) == (1, True)


# ---- measures


def test_measures_beside_the_manifest_are_conditions(folder: Path, tmp_path: Path) -> None:
    """Eight clips with measures that are known, two equal ones among them, one that is stale and one without any."""
    clips = [Clip(f"{n}", "test", seconds=0.5 + 0.1 * n) for n in range(6)] + [noise(f"n{n}", "test") for n in range(4)]
    manifest = made(tmp_path, clips)
    voiced = {"0": 0.1, "1": 0.2, "2": 0.3, "3": 0.3, "4": 0.9, "5": 0.8, "n0": 0.0, "n1": 0.0, "n2": 0.5}
    rows = [
        Measures(row.id, "stale" if row.id == "n2" else str(row.pcm_hash), voiced[row.id], noise_floor_dbfs=-60.0)
        for row in data.rows(data.read(manifest), "test")
        if row.id in voiced
    ]
    measures.write(manifest, frames.from_rows(rows, Measures), {})
    words = ("--manifest", manifest, "--checkpoint", folder / "runs/multi/last", "--out", "x")
    answer = command("evaluate", tmp_path, *words)
    assert answer.code == 0, answer.err
    assert "measures of 8 of 10 clips lie beside the manifest" in answer.err
    by = json.loads((tmp_path / "x/metrics.json").read_text())["by"]
    assert [(part["value"], part["clips"]) for part in by["voiced_share"]] == [
        ("0", 2),
        ("0.1 to 0.2", 2),
        ("0.3", 2),
        ("0.8 to 0.9", 2),
    ]
    assert [(part["value"], part["clips"]) for part in by["noise_floor_dbfs"]] == [("-60", 8)]
    assert by["pitch_hz"] == []
    decided = {clip.id: clip.decision == clip.truth for clip in predictions(tmp_path / "x")}
    assert by["voiced_share"][3]["accuracy"]["value"] == (decided["4"] + decided["5"]) / 2
    assert re.search(r"^voiced_share +clips +accuracy, 4 classes", answer.out, re.MULTILINE)
    assert "pitch_hz" not in answer.out
    page = (tmp_path / "x/report.html").read_text(encoding="utf-8")
    assert "Voiced share" in page
    assert ">0.1 to 0.2</th>" in page
    assert "Pitch, Hz" not in page
    measures.measures_path(manifest).unlink()
    command("evaluate", tmp_path, *words)
    assert "voiced_share" not in json.loads((tmp_path / "x/metrics.json").read_text())["by"]


def test_the_decision_noise_is_counted_by_what_led_to_it(answer: dict[str, Any], clips: list[Prediction]) -> None:
    four, decided = answer["four_class"], answer["decided_noise"]
    for label, counts in zip(four["labels"], four["confusion"], strict=True):
        own = [clip for clip in clips if clip.truth == label and clip.decision == "noise"]
        assert decided[label]["stopped"] == sum(not clip.passed for clip in own)
        assert decided[label]["nothing_said"] == sum(clip.passed and not clip.text for clip in own)
        assert sum(decided[label].values()) == counts[-1] == len(own)


def test_silence_of_a_model_without_a_head_is_no_gate(clips: list[Prediction]) -> None:
    base = replace(clips[0], truth="noise", corpus="cochlscene", passed=True, p_speech=None)
    silent = [replace(base, decision=decision) for decision in ("noise", "others")]
    found = scores.report(silent, Scorer(("saveme", "others"), 0), {})
    assert found["decided_noise"]["noise"] == {"stopped": 0, "nothing_said": 1}
    assert found["noise"]["in_domain"]["accuracy"]["value"] is None
    assert found["noise"]["in_domain"]["nothing_said"]["value"] == 0.5
    assert (found["four_class"]["accuracy"]["value"], found["noise_as_others"]["accuracy"]["value"]) == (0.5, 1.0)


def test_a_mixed_set_is_scored_corpus_by_corpus(answer: dict[str, Any], clips: list[Prediction]) -> None:
    parts = {part["value"]: part["four_class"] for part in answer["by"]["corpus"]}
    assert set(parts) == {"aihub", "cochlscene", "ms-snsd"}
    for corpus, found in parts.items():
        own = [clip for clip in clips if clip.corpus == corpus and clip.truth]
        labels = ["helpme", "saveme", "others", "noise"]
        truth, decided = [str(clip.truth) for clip in own], [clip.decision for clip in own]
        assert found["confusion"] == reference.confusion_matrix(truth, decided, labels=labels).tolist()
    assert "F1 helpme" in report.screen(answer)


def test_noise_is_cut_to_the_length_of_utterances_where_training_cut_it(folder: Path) -> None:
    here = ("--manifest", "mixed.parquet", "--no-curve", "--threshold", 0.5)
    cropped = (*here, "--checkpoint", "runs/multi/last", "--crop-noise", "--out", "runs/cropped")
    assert command("evaluate", folder, *cropped).code == 0
    found = {clip.id: clip.seconds for clip in predictions(folder / "runs/cropped")}
    whole = {clip.id: clip.seconds for clip in predictions(folder / "runs/multi/evaluate-test")}
    speech = {whole[clip.id] for clip in predictions(folder / "runs/cropped") if clip.truth != "noise"}
    changed = {name for name in found if found[name] != whole[name]}
    assert changed
    assert all("noise" in name or "out" in name or "long" in name for name in changed)
    assert {found[name] for name in changed} <= speech
    answer = command("evaluate", folder, "compare", "runs/cropped", "runs/multi/evaluate-test")
    assert answer.code == 1
    assert "run evaluate again with --crop-noise, or --no-crop-noise, for both" in answer.err


def test_noise_out_of_domain_that_was_learnt_from_is_a_caution(tmp_path: Path) -> None:
    made(tmp_path, [*usual(2, 1, 1), noise("train/out", corpus="ms-snsd"), noise("test/out", "test", corpus="ms-snsd")])
    run = ("--manifest", "mixed.parquet", "--out", "run", *TINY, "--steps", 1)
    assert command("train", tmp_path, *run).code == 0
    answer = command("evaluate", tmp_path, "--manifest", "mixed.parquet", "--checkpoint", "run/last", "--no-curve")
    assert answer.code == 0
    assert "caution: ms-snsd, called out of domain, is in the noise of the training (train 1 clips)" in answer.out
