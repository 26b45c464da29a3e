"""`evaluate paper` as typed: its tables counted again, what could not be run, gone on with, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sklearn import metrics as reference
from train_samples import Answer, Clip, command, made, noise, predictions, usual

from train import evaluate as evaluating
from train import paper, paper_tables

RECIPE = """
options = { noise_corpora = ["cochlscene"] }
[[system]]
name = "HuBERT-Large"
tables = ["I"]
preset = "train-superb"
options = { arch = "hubert" }
paper = { I = { accuracy = 95.32, parameters = 310 } }
[[system]]
name = "Whisper, vanilla"
tables = ["II"]
options = { model = "./nowhere" }
[[system]]
name = "Whisper, multitask"
tables = ["I", "II", "III"]
preset = "train-paper"
paper = { I = { accuracy = 98.54 }, II = { accuracy = 88.48, f1 = 0.89 }, III = { in_domain = 98.43 } }
[clips]
II = { all = 547, saveme = 202, helpme = 145, noise = 200 }
[tiny]
whisper = { model = "tiny", init = "random", steps = 2, save_every = 2, batch = 4, window = "auto", max_tokens = 60 }
classifiers = { model = "tiny", init = "random", steps = 2, save_every = 2, batch = 4 }
[unknown]
"rate" = "taken from the preset"
"""


def run(folder: Path, *more: object) -> Answer:
    return command(
        "evaluate", folder, "paper", "mine.toml", "--manifest", "mixed.parquet", "--out", "t", "--tiny", *more
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with recordings, and its tables, made by a command that was stopped after one system."""
    folder = tmp_path_factory.mktemp("paper")
    own = [Clip(f"own/{n}", "test", transcript=text, corpus="recordings") for n, text in enumerate(("살려줘", "네"))]
    outside = noise("test/out", "test", corpus="ms-snsd")
    made(folder, [*usual(2, 1, 2), *own, noise("own/noise", "test", corpus="recordings"), outside])
    (folder / "mine.toml").write_text(RECIPE, "utf-8")
    judge, calls = evaluating.evaluate, []

    def stopped(*words: Any, **values: Any) -> str:
        calls.append(values["out"].parent.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return judge(*words, **values)

    with pytest.MonkeyPatch.context() as here:
        here.setattr(paper.evaluating, "evaluate", stopped)
        assert run(folder).code != 0
        assert not (folder / "t/tables.md").exists()
        answer = run(folder)
    assert answer.code == 0, answer.err
    assert calls == ["hubert-large", "whisper-vanilla", "whisper-multitask", "whisper-vanilla", "whisper-multitask"]
    assert answer.err.count("complete, 2 steps; nothing to do") == 2
    assert answer.out.strip() == (folder / "t/tables.md").read_text("utf-8").strip()
    return folder


def test_the_tables_are_those_of_the_predictions(folder: Path) -> None:
    answer = json.loads((folder / "t/tables.json").read_text("utf-8"))
    (two,) = [row for row in answer["tables"]["II"] if row["clips"]]
    clips = predictions(folder / "t/whisper-multitask/evaluate-test")
    own = [clip for clip in clips if clip.corpus == "recordings"]
    truth, decided = [str(clip.truth) for clip in own], [clip.decision for clip in own]
    assert two["clips"] == 3
    assert two["noise_apart"]["accuracy"]["value"] == pytest.approx(reference.accuracy_score(truth, decided))
    plain = [[label if label != "noise" else "others" for label in labels] for labels in (truth, decided)]
    assert two["noise_as_others"]["accuracy"]["value"] == pytest.approx(reference.accuracy_score(*plain))
    assert two["noise_as_others"]["largest_class"] == pytest.approx(2 / 3)
    one = {row["name"]: row for row in answer["tables"]["I"]}
    assert {row["speech_alone"]["clips"] for row in one.values()} == {6}
    assert {row["noise_as_others"]["clips"] for row in one.values()} == {8}
    assert one["HuBERT-Large"]["parameters"] < 50_000
    (three,) = answer["tables"]["III"]
    stopped = [not clip.passed for clip in clips if clip.corpus == "cochlscene"]
    assert three["in_domain"]["accuracy"]["value"] == sum(stopped) / len(stopped)
    assert (three["in_domain"]["clips"], three["out_of_domain"]["clips"]) == (2, 1)
    assert [matrix["name"] for matrix in answer["figure_3"]] == ["Whisper, multitask"]
    assert (folder / "t/figure-3.png").read_bytes().startswith(b"\x89PNG")


def test_what_was_not_run_and_what_the_paper_does_not_say_stand_below(folder: Path) -> None:
    text = (folder / "t/tables.md").read_text("utf-8")
    assert "A trial: small random networks" in text
    assert "- Table II, Whisper, vanilla: ./nowhere: no checkpoint" in text or "./nowhere: no such folder" in text
    assert "- Table II, Whisper, multitask: 88.48 % is 484/547" in text
    assert "one constant answer is right on 36.9 % (202" in text
    assert "- rate: taken from the preset" in text
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    assert ["HuBERT-Large", "95.32", "left out", "6"] in [line[:4] for line in lines]
    assert ["*one constant answer*", "-", "others", "8"] in [line[:4] for line in lines]
    assert ["Whisper, vanilla", "-", "-", "0", "-", "-", "-"] in lines


def test_a_system_alone_and_faults_of_a_recipe(folder: Path, tmp_path: Path) -> None:
    answer = run(folder, "--only", "Whisper", "--json")
    assert answer.code == 1
    assert (
        "--only Whisper: mine.toml has no such system: HuBERT-Large, Whisper, vanilla, Whisper, multitask" in answer.err
    )
    found = run(folder, "--only", "HuBERT-Large", "--json").json()
    assert [len(found["tables"][name]) for name in ("I", "II", "III")] == [1, 0, 0]
    faulty = folder / "faulty.toml"
    faulty.write_text('[[system]]\nname = "x"\ntables = ["IV"]\n', "utf-8")
    answer = command("evaluate", folder, "paper", "faulty.toml", "--manifest", "mixed.parquet")
    assert answer.code == 1
    assert "faulty.toml: system.0.tables.0: Input should be 'I', 'II' or 'III'" in answer.err
    faulty.write_text(
        '[[system]]\nname = "x"\ntables = ["I"]\npreset = "train-paper"\noptions = { lrr = 1 }\n', "utf-8"
    )
    answer = command("evaluate", folder, "paper", "faulty.toml", "--manifest", "mixed.parquet")
    assert 'x: train-paper: unknown option "lrr": did you mean "lr"?' in answer.err


def test_the_shipped_recipe_is_the_papers_tables() -> None:
    plan = paper.read("paper-tables")
    accuracies = {system.name: system.paper["I"]["accuracy"] for system in plan.system if "I" in system.tables}
    assert list(accuracies.values()) == [80.44, 81.52, 82.28, 94.30, 95.32, 95.20, 98.54]
    assert all(
        paper._options(system, plan, tiny=tiny) or not system.preset for system in plan.system for tiny in (0, 1)
    )
    lines = paper_tables.arithmetic(plan)
    assert "Table II, Whisper, fine-tuned: 65.03 % is no k/547" in lines
    assert any("89.7 % (16,149" in line for line in lines)
    counts = {system.name: paper_tables.parameters(system) for system in plan.system}
    assert counts["XLSR300M"] == 315_702_148
