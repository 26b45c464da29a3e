"""False alarms by kind, the file of their ids, and what training makes of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from train_samples import TINY, Clip, command, made, noise, usual

from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.corpora import lexicon as lexicons
from train import confusions, data, sampler
from train.data import Prediction
from train.examples import Example
from train.options import Options
from train.scores import Scorer

LEXICON = lexicons.shipped()
SCORER = Scorer(LEXICON.keywords, 0)


def clip(
    id: str, truth: str, transcript: str | None, decision: str, text: str | None = None, **more: object
) -> Prediction:
    values = dict.fromkeys(Prediction.__dataclass_fields__)
    values |= {"corpus": "aihub", "split": "train", "group": id, "kind": "mixture", "speech_like": False}
    values |= {"seconds": 36.0, "cut": False, "probabilities": (), "passed": True, "scores": ()}
    values |= {"id": id, "truth": truth, "transcript": transcript, "decision": decision, "text": text}
    return Prediction(**values | more)


CLIPS = [
    clip("call", "saveme", "살려주세요", "saveme", "살려주세요"),
    clip("among", "others", "저기요 살려주세요", "saveme", "저기요 살려주세요"),
    clip("thanks", "others", "도와줘서 고마워", "helpme", "도와줘"),
    clip("near", "others", "살려고 그래", "others", "살려고 그래"),
    clip("near2", "others", "살려고 그래", "saveme", "살려고"),
    clip("talk", "others", "오늘 날씨가 좋네요", "others", "오늘 날씨가 좋네요"),
    clip("bus", "noise", None, "noise"),
    clip("babble", "noise", None, "helpme", "도와줘", speech_like=True),
    clip("unknown", None, None, "helpme", "도와줘"),  # type: ignore[arg-type]
]


def test_false_alarms_are_counted_by_what_the_clip_truly_is() -> None:
    answer = confusions.report(CLIPS, SCORER, LEXICON)
    counts = {each["value"]: (each["false_alarms"], each["negative_clips"]) for each in answer["by_kind"]}
    assert counts == {
        "call": (1, 1),
        "guarded: ending": (1, 1),
        "near": (1, 2),
        "noise like speech": (1, 1),
        "noise": (0, 1),
        "other": (0, 1),
    }
    assert [each["false_alarms"] for each in answer["by_kind"]] == [1, 1, 1, 1, 0, 0], "the most frequent first"
    near = next(each for each in answer["by_kind"] if each["value"] == "near")
    assert near["negative_hours"] == 0.02
    assert near["per_hour"]["value"] == 50


def test_what_was_heard_is_the_phrase_of_the_decision_or_none_where_a_score_decided() -> None:
    answer = confusions.report(CLIPS, SCORER, LEXICON)
    assert answer["heard"] == [
        {"keyword": "helpme", "phrase": "도와줘", "false_alarms": 2},
        {"keyword": "saveme", "phrase": "살려주세요", "false_alarms": 1},
        {"keyword": "saveme", "phrase": None, "false_alarms": 1},
    ]


def test_the_file_holds_the_false_alarms_but_for_calls_among_words(tmp_path: Path) -> None:
    line = confusions.write(tmp_path / "hard.txt", CLIPS, SCORER, LEXICON)
    assert (tmp_path / "hard.txt").read_text().split() == ["thanks", "near2", "babble"]
    assert "3 false alarms" in line
    assert "left out: 1 with a call" in line


# ---- training


@pytest.mark.parametrize("balance", [False, True])
def test_a_hard_negative_comes_so_many_times_in_an_epoch_at_places_of_its_own(balance: bool) -> None:
    rows = [
        Row(id=f"{n}", corpus="x", split="train", group="", kind="speech", source="", frames=16000) for n in range(40)
    ]
    rows = [replace(row, keyword="others" if n % 2 else "saveme") for n, row in enumerate(rows)]
    plain = [Example(row, None, 0) for row in rows]
    hard = [replace(example, times=3 if n == 7 else 1) for n, example in enumerate(plain)]
    options = Options(batch=4, balance=balance)
    before, after = (sampler.shuffled(each, 0, options).batches for each in (plain, hard))
    counts = Counter(index for batch in after for index in batch)
    assert counts[7] == 3
    assert sum(counts.values()) == 42
    assert len({n for n, batch in enumerate(after) if 7 in batch}) > 1
    if not balance:
        assert [index for batch in after for index in batch if index != 7] == [
            index for batch in before for index in batch if index != 7
        ], "the order of the others is what it was"
    assert np.array_equal(sampler.shuffled(hard, 0, options).stretches[:, 1], np.full(40, 16000))


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    return made(folder, [*usual(), Clip("dev/more", "dev", transcript="안녕하세요"), noise("field/1", "field")])


@pytest.mark.parametrize(
    ("ids", "fault"),
    [
        (
            "test/2/0\ntrain/2/0\n",
            "1 of 2 ids are of a split that no training may see.*: test/2/0",
        ),
        ("train/2/0\nfield/1\n", "field/1"),
        ("train/2/0\ntrain/0/0\n", "1 of 2 ids are calls, not negatives: train/0/0"),
        ("nobody\n", "1 of 1 ids are not in .*mixed.parquet: nobody"),
        ("\n", "no id in it"),
        (b"\xff\xfe\n", "cannot be read as ids, one a line"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_by_its_id(
    manifest: Path, tmp_path: Path, ids: str | bytes, fault: str
) -> None:
    path = tmp_path / "hard.txt"
    path.write_bytes(ids if isinstance(ids, bytes) else ids.encode())
    with pytest.raises(PrepError, match=fault):
        confusions.read(path, data.read(manifest), LEXICON)


def test_rows_of_dev_that_are_learnt_from_leave_dev_with_their_groups(manifest: Path) -> None:
    opened = data.read(manifest)
    train, dev = data.rows(opened, "train"), data.rows(opened, "dev")
    same_group = [replace(row, group="speaker") if row.id in ("dev/2/0", "dev/2/1") else row for row in dev]
    more, rest = confusions.moved({"dev/2/0", "train/2/0"}, train, same_group)
    assert [row.id for row in more[len(train) :]] == ["dev/2/0"]
    assert {row.id for row in dev} - {row.id for row in rest} == {"dev/2/0", "dev/2/1"}


def test_train_says_what_it_learns_from_and_knows_other_ids_in_the_same_file(manifest: Path) -> None:
    folder, ids = manifest.parent, [f"train/{kind}/{n}" for kind in ("2", "noise") for n in range(4)]
    (folder / "hard.txt").write_text("".join(f"{each}\n" for each in ids))
    words = ("--manifest", "mixed.parquet", *TINY, "--out", "runs/a", "--steps", 1, "--hard-negatives", "hard.txt")
    trained = command("train", folder, *words, "--hard-weight", 4)
    assert "8 hard negatives, each 4 times an epoch\n" in trained.err
    assert ", 10 an epoch" in trained.err, "16 clips and three times 8 more, 4 in a step"
    (folder / "hard.txt").write_text("".join(f"{each}\n" for each in ids[:-1]))
    assert "holds a run that was begun otherwise" in command("train", folder, *words, "--hard-weight", 4).err
    assert "hard_weight needs hard_negatives" in command("train", folder, *words[:-2], "--hard-weight", 4).err
