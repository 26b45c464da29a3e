"""What columns tell of a set: leaks planted and found, balance, the command's answers."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import prep
from conftest import Built
from scipy.stats.contingency import association

from pipeline.core import manifest
from pipeline.core.errors import PrepError
from pipeline.core.frame import from_rows
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.inspect.audit import Finding, Options, checks, columns

CHECKS = ("group", "source", "noise", "pcm", "domain", "balance", "transcript")
KEYWORDS, SCENES = ("saveme", "helpme", "others"), ("Bus", "Cafe", "Park")


def mixture(n: int, split: str, **columns: Any) -> Row:
    """The n-th mixture, of a speaker, a clip and a noise of its own."""
    row = Row(
        f"aihub/{n}_snr20_0",
        "aihub",
        split,
        f"speaker {n}",
        "mixture",
        f"@aihub/{n}",
        transcript=f"words {n}",
        keyword=KEYWORDS[n % 3],
        scene=SCENES[n // 3 % 3],
        noise_label="speech",
        pcm_hash=f"mix {n}",
        source_pcm_hash=f"source {n}",
        speech_id=f"aihub/{n}",
        speech_pcm_hash=f"speech {n}",
        noise_id=f"cochlscene/{n}",
        noise_source=f"@cochlscene/{n}",
        noise_pcm_hash=f"noise {n}",
        snr_db=20.0,
    )
    return replace(row, **columns)


def noise(n: int, split: str, **columns: Any) -> Row:
    """The n-th noise."""
    return replace(
        Row(
            f"cochlscene/{n}",
            "cochlscene",
            split,
            f"user {n}",
            "noise",
            f"@cochlscene/{n}",
            noise_label="noise",
            pcm_hash=f"noise {n}",
        ),
        **columns,
    )


CLEAN = [mixture(n, "train" if n < 90 else "test") for n in range(180)]


def written(folder: Path, rows: list[Row], name: str = "set") -> manifest.Manifest:
    path = folder / f"{name}.parquet"
    manifest.write(path, from_rows(rows, Row), from_rows([], Drop), Provenance("mix", {}, 0))
    return manifest.read(path)


def findings(folder: Path, rows: list[Row], *wanted: str) -> dict[str, Finding]:
    answer = checks.audit(written(folder, rows), Options(checks=wanted or CHECKS))
    return {finding.check: finding for finding in answer.findings}


def test_a_clean_set_gives_no_finding(tmp_path: Path) -> None:
    answer = checks.audit(written(tmp_path, CLEAN), Options(checks=CHECKS))
    assert (answer.findings, answer.unable, answer.fails) == ((), (), False)
    assert [clear.check for clear in answer.clear] == [*CHECKS]


@pytest.mark.parametrize(
    ("planted", "check", "text"),
    [
        (
            mixture(900, "test", group="speaker 3"),
            "group",
            "aihub speaker 3: train 1 row (aihub/3_snr20_0), test 1 row (aihub/900_snr20_0)",
        ),
        (
            mixture(900, "test", source="@aihub/3"),
            "source",
            "@aihub/3: train 1 row (aihub/3_snr20_0), test 1 row (aihub/900_snr20_0)",
        ),
        (
            mixture(900, "test", speech_id="aihub/3"),
            "source",
            "aihub/3: train 1 row (aihub/3_snr20_0), test 1 row (aihub/900_snr20_0)",
        ),
        (
            mixture(900, "test", noise_source="@cochlscene/3"),
            "noise",
            "@cochlscene/3: train 1 row (aihub/3_snr20_0), test 1 row",
        ),
        (
            mixture(900, "dev", noise_id="cochlscene/3"),
            "noise",
            "cochlscene/3: train 1 row (aihub/3_snr20_0), dev 1 row",
        ),
        (
            noise(3, "test", pcm_hash="other"),
            "noise",
            "@cochlscene/3: train 1 row (aihub/3_snr20_0), test 1 row (cochlscene/3)",
        ),
        (mixture(900, "test", noise_source="@aihub/3"), "noise", "@aihub/3: train 1 row"),
        (mixture(900, "test", pcm_hash="mix 3"), "pcm", "mix 3: train 1 row"),
        (mixture(900, "test", source_pcm_hash="source 3"), "pcm", "source 3: train 1 row"),
        (mixture(900, "test", speech_pcm_hash="speech 3"), "pcm", "speech 3: train 1 row"),
        (mixture(900, "test", noise_pcm_hash="noise 3"), "pcm", "noise 3: train 1 row"),
        (
            noise(900, "test", pcm_hash="speech 3"),
            "pcm",
            "speech 3: train 1 row (aihub/3_snr20_0), test 1 row (cochlscene/900)",
        ),
    ],
)
def test_a_planted_leak_is_found_and_named_and_no_other(tmp_path: Path, planted: Row, check: str, text: str) -> None:
    answer = findings(tmp_path, [*CLEAN, planted], "group", "source", "noise", "pcm")
    assert list(answer) == [check]
    assert (answer[check].fails, answer[check].rows, answer[check].figures["leaking"]) == (True, 2, 1)
    assert answer[check].examples[0].startswith(text)


def test_two_splits_within_one_corpus_are_a_leak_and_two_corpora_are_none(tmp_path: Path) -> None:
    other = mixture(900, "test", group="speaker 3", corpus="recordings")
    assert not findings(tmp_path, [*CLEAN, other], "group")


def test_the_worst_leaks_are_named_and_all_are_counted(tmp_path: Path) -> None:
    rows = [mixture(900 + n, "test", group=f"speaker {n % 20}") for n in range(25)]
    answer = findings(tmp_path, [*CLEAN, *rows], "group")["group"]
    assert (answer.figures["leaking"], answer.rows, len(answer.examples)) == (20, 45, 4)
    assert "test 2 rows" in answer.examples[0]
    assert (
        "20 groups (speakers, submissions, field recordings) are in more than one split (train, test), in 45 rows"
        in answer.detail
    )


def test_shared_transcripts_are_counted_and_fail_nothing(tmp_path: Path) -> None:
    rows = [
        mixture(900, "test", transcript="Words, 3!"),
        mixture(901, "test", transcript="살려 주세요."),
        mixture(902, "train", transcript="살려주세요"),
    ]
    answer = findings(tmp_path, [*CLEAN, *rows], "transcript")["transcript"]
    assert (answer.fails, answer.rows, answer.figures["shared"]) == (False, 4, 2)
    assert "2 of 181 transcripts" in answer.detail
    assert "살려 주세요.: train 1, test 1" in answer.examples


def test_cramers_v_is_scipys_where_chance_is_small() -> None:
    counts = np.random.default_rng(0).integers(2_000, 9_000, (3, 7))
    assert columns.cramers_v(counts) == pytest.approx(association(counts, method="cramer"), abs=1e-3)
    assert columns.cramers_v(np.array([[7, 5], [6, 8]])) == 0.0  # 26 draws of chance


def test_a_label_that_a_scene_tells_is_named(tmp_path: Path) -> None:
    rows = [
        replace(row, scene="Bus" if row.keyword == "saveme" else "Park") if row.split == "test" else row
        for row in CLEAN
    ]
    answer = findings(tmp_path, rows, "balance")["balance"]
    assert not answer.fails
    assert "keyword by scene in test V 0.99 (strong)" in answer.detail
    assert "in train" not in answer.detail
    assert "test: 1 of 2 scenes with saveme only: Bus" in answer.examples


def test_a_label_that_the_snr_tells_is_named(tmp_path: Path) -> None:
    rows = [
        replace(row, snr_db=(-5.0 if row.keyword == "helpme" and row.id[6] in "13579" else 5.0 * (row.id[6] in "1379")))
        for row in CLEAN
    ]
    answer = findings(tmp_path, rows, "balance")["balance"]
    assert "keyword by SNR in train" in answer.detail
    assert any("helpme only: -5.0 dB" in example for example in answer.examples)


def test_the_columns_that_are_read_are_all_that_the_checks_look_at(built: Built) -> None:
    whole = manifest.read(built.path("mixed"))
    assert set(checks.COLUMNS) < set(whole.frame.columns)
    some = manifest.Manifest(manifest.read_columns(whole.path, checks.COLUMNS), whole.provenance, whole.path)
    assert checks.audit(some, Options()) == checks.audit(whole, Options())


def test_the_stand_ins_fail_on_the_copy_that_is_planted_in_them_alone(built: Built) -> None:
    ended = prep(built.folder, "audit", "manifests/mixed.parquet", "--jobs", 1, "--json")
    answer = ended.json()
    assert (ended.code, answer["fails"], answer["unable"]) == (1, True, [])
    assert [finding["check"] for finding in answer["findings"] if finding["fails"]] == ["near"]
    assert {"group", "source", "noise", "pcm"} <= {clear["check"] for clear in answer["clear"]}


def test_exit_1_where_a_check_that_fails_finds_something(tmp_path: Path) -> None:
    written(tmp_path, [*CLEAN, mixture(900, "test", group="speaker 3")])
    ended = prep(tmp_path, "audit", "set.parquet", "--no-near", "--checks", "group,transcript")
    assert ended.code == 1
    assert ended.out.splitlines()[0] == "set.parquet: 181 rows (train 90, test 91)"
    assert ended.out.splitlines()[2].startswith(
        "FAILS    group: 1 group (speaker, submission, field recording) is in more than one split"
    )
    assert "         - aihub speaker 3: train 1 row" in ended.out
    assert ended.out.splitlines()[-1] == "fails by group"
    assert prep(tmp_path, "audit", "set.parquet", "--checks", "group,pcm", "--fail-on", "pcm").code == 0
    assert prep(tmp_path, "audit", "set.parquet", "--checks", "group", "--fail-on", "none").code == 0


def test_exit_2_where_nothing_could_be_checked(tmp_path: Path) -> None:
    ended = prep(tmp_path, "audit", "absent.parquet")
    assert (ended.code, ended.out, ended.err) == (2, "", "prep: absent.parquet: no such manifest\n")


def test_what_cannot_be_heard_is_said_and_is_exit_2_where_it_was_to_fail(tmp_path: Path) -> None:
    answer = checks.audit(written(tmp_path, CLEAN), Options(checks=("near", "chain")))
    assert [(unable.check, unable.detail.split(":")[0]) for unable in answer.unable] == [
        ("near", "no audio is stored beside this manifest"),
        ("chain", "no audio is stored beside this manifest"),
    ]
    assert prep(tmp_path, "audit", "set.parquet", "--fail-on", "near").code == 2
    assert prep(tmp_path, "audit", "set.parquet", "--fail-on", "group").code == 0


def test_a_shard_that_is_gone_is_said(tmp_path: Path) -> None:
    rows = [
        mixture(n, "test" if n % 2 else "train", shard="gone.tar", offset=0, bytes=9, rate_hz=16_000, frames=9)
        for n in range(60)
    ]
    answer = checks.audit(written(tmp_path, rows), Options(checks=("near", "chain")))
    assert [unable.check for unable in answer.unable] == ["near", "chain"]
    assert all("gone.tar: no such shard" in unable.detail for unable in answer.unable)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--fail-on", "groups"), 'unknown check "groups": did you mean "group"?'),
        (("--checks", "nearly"), 'unknown check "nearly": did you mean "near"?'),
        (("--no-near", "--fail-on", "near"), "--fail-on near: that check is left out"),
    ],
)
def test_a_check_that_is_none_is_a_usage_error(tmp_path: Path, words: tuple[str, ...], text: str) -> None:
    written(tmp_path, CLEAN)
    ended = prep(tmp_path, "audit", "set.parquet", *words)
    assert ended.code == 2
    assert text in ended.err


OUTSIDE = [
    noise(900, "train", id="ms-snsd/1", corpus="ms-snsd", group="a", source="@ms-snsd/1"),
    mixture(901, "dev", noise_source="@ms-snsd/2"),
    noise(902, "test", id="ms-snsd/3", corpus="ms-snsd", group="b", source="@ms-snsd/3"),
]


def test_noise_of_the_out_of_domain_test_is_found_in_train_and_dev(tmp_path: Path) -> None:
    found = findings(tmp_path, [*CLEAN, *OUTSIDE], "domain")["domain"]
    assert "train 1, dev 1" in found.detail
    assert found.rows == 2
    assert found.figures == {"learnt": {"train": 1, "dev": 1}}
    assert not findings(tmp_path, [*CLEAN, OUTSIDE[2]], "domain")


@pytest.mark.parametrize(
    ("made", "outcome"),
    [
        ({"noise": {"train": {"ms-snsd": 17, "cochlscene": 9}, "dev": {}}}, "runs/best: train 17."),
        ({"noise": {"train": {"cochlscene": 9}, "dev": {}}}, "no noise of ms-snsd, .* in the training of .*runs/best"),
        ({}, "was trained on a.parquet .0123.*, not on this manifest"),
        ({"manifest_hash": ""}, "the splits train and dev of this manifest: train 1"),
    ],
)
def test_the_training_of_a_checkpoint_says_what_is_out_of_its_domain(
    tmp_path: Path, made: dict[str, Any], outcome: str
) -> None:
    rows = written(tmp_path, [*CLEAN, OUTSIDE[0]])
    own = {"manifest": "a.parquet", "manifest_hash": "0123456789abcdef", **made}
    own["manifest_hash"] = own["manifest_hash"] or rows.provenance.logical_hash
    folder = tmp_path / "runs/best"
    folder.mkdir(parents=True)
    (folder / "made.json").write_text(json.dumps(own), "utf-8")
    answer = checks.audit(rows, Options(checks=("domain",), checkpoint=folder))
    (one,) = (*answer.findings, *answer.clear, *answer.unable)
    assert re.search(outcome, one.detail), one.detail


def test_a_checkpoint_that_is_none_is_said(tmp_path: Path) -> None:
    rows = written(tmp_path, CLEAN)
    with pytest.raises(PrepError, match=r"nowhere/made.json: cannot be read .* folder best/ or last/"):
        checks.audit(rows, Options(checks=("domain",), checkpoint=tmp_path / "nowhere"))
    (tmp_path / "made.json").write_text("[]", "utf-8")
    with pytest.raises(PrepError, match=r"made.json: no manifest_hash there"):
        checks.audit(rows, Options(checks=("domain",), checkpoint=tmp_path))
