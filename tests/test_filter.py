"""Filter: each rule keeps and drops at its bound, says what decided, and opens nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import PrepError, RecipeError
from pipeline.core.frame import from_rows, logical_hash, rows, values
from pipeline.core.row import Row
from pipeline.corpora.lexicon import Lexicon, shipped
from pipeline.stages import Plan, filter

HELD = shipped()
CLAIM = Row(
    "aihub/Training/1",
    "aihub",
    "train",
    "g1",
    "speech",
    "@aihub/Training/1",
    "살려 주세요 ",
    scenario="도움요청",
    noise_label="speech",
)
SOURCE: dict[str, Any] = {"rate_hz": 16_000, "frames": 48_000, "source_rate_hz": 44_100, "source_pcm_hash": "a"}
SPOKEN = replace(CLAIM, **SOURCE, level_full_dbfs=-25.0, peak_dbfs=-3.0, clipped_share=0.0, zero_share=0.1)
QUIET: dict[str, Any] = {"kind": "noise", "noise_label": "noise", "transcript": None, "scenario": None}
NOISE = replace(
    SPOKEN,
    id="cochlscene/Bus_1",
    corpus="cochlscene",
    source="@cochlscene/Bus_1",
    group="u1",
    source_pcm_hash="n",
    **QUIET,
)
FREE: dict[str, Any] = {"dev_share": 0.0}


def filtered(*listed: Row, seed: int = 0, words: Lexicon = HELD, **options: Any) -> Plan:
    plan = filter.plan(from_rows(listed, Row), filter.Options(**(FREE | options)), seed, words)
    assert len(plan.kept) + len(plan.drops) == len(listed)  # law 1, whatever else is looked at
    assert not len(plan)
    return plan


def reason(row: Row, **options: Any) -> str | None:
    return (values(filtered(row, **options).drops["reason"]) or [None])[0]


@pytest.mark.parametrize(
    ("change", "options", "told"),
    [
        ({}, {}, None),
        ({"scenario": "실외"}, {}, "scenario"),
        ({"scenario": "실외"}, {"scenarios": ("실외",)}, None),
        ({"scenario": "강제추행(성범죄)"}, {"scenarios": ("성추행(성범죄)",)}, None),
        ({"scenario": None}, {"scenarios": ()}, None),
        ({"split": "test"}, {"splits": ("train",)}, "split"),
        ({"frames": 4_800}, {"min_s": 0.3}, None),
        ({"frames": 4_799}, {"min_s": 0.3}, "too_short"),
        ({"frames": 480_000}, {"max_s": 30.0}, None),
        ({"frames": 480_001}, {"max_s": 30.0}, "too_long"),
        ({"source_rate_hz": 8_000}, {}, None),
        ({"source_rate_hz": 7_999}, {}, "low_rate"),
        ({"level_full_dbfs": None}, {}, "silent"),
        ({"level_full_dbfs": -70.0, "peak_dbfs": -50.0}, {}, None),
        ({"level_full_dbfs": -70.1}, {}, "too_quiet"),
        ({"clipped_share": 0.05}, {}, None),
        ({"clipped_share": 0.050001}, {}, "clipped"),
        ({"peak_dbfs": 20.0, "level_full_dbfs": 6.0}, {}, None),
        ({"peak_dbfs": 90.3, "level_full_dbfs": 66.0}, {}, "impossible"),
        ({"peak_dbfs": 41.0, "level_full_dbfs": 6.0}, {"max_peak_dbfs": 45.0}, None),
        ({"peak_dbfs": 14.0, "level_full_dbfs": -25.0}, {}, None),  # 0.17 of the energy
        ({"peak_dbfs": 20.0, "level_full_dbfs": -25.0}, {}, "one_sample"),
        ({"dc_dbfs": -31.0}, {}, None),
        ({"dc_dbfs": -30.9}, {}, "dc"),
        ({"dc_dbfs": -30.9}, {"max_dc_db": 0.0}, None),
        ({"zero_share": 0.9}, {}, None),
        ({"zero_share": 0.91}, {}, "digital_zero"),
        ({"transcript": None}, {}, "no_transcript"),
        ({"transcript": None}, {"transcript": False}, None),
        ({}, {"where": "frames > 48000"}, "where"),
        ({}, {"where": "labels['gender'] = '여성'"}, "where"),
        ({"labels": {"gender": "여성"}}, {"where": "labels['gender'] = '여성'"}, None),
    ],
)
def test_a_rule_decides_at_its_bound(change: dict[str, Any], options: dict[str, Any], told: str | None) -> None:
    assert reason(replace(SPOKEN, **change), **options) == told


@pytest.mark.parametrize("change", [{"frames": 48_000_000}, {"scenario": None}, {"transcript": None}])
def test_noise_is_bound_by_no_rule_of_speech(change: dict[str, Any]) -> None:
    assert reason(replace(NOISE, **change)) is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frames": 1_600}, "0.100 s, shorter than 0.3 s"),
        ({"level_full_dbfs": -81.25}, "level -81.2 dBFS, lower than -70.0 dBFS"),
        ({"clipped_share": 0.25}, "0.2500 of the samples clipped, more than 0.05"),
        ({"scenario": "실외"}, "scenario 실외 is not kept"),
        ({"source_rate_hz": 4_000}, "4000 Hz, lower than 8000 Hz"),
    ],
)
def test_a_drop_says_the_value_that_decided(change: dict[str, Any], said: str) -> None:
    assert values(filtered(replace(SPOKEN, **change)).drops["detail"]) == [said]


def test_a_row_is_dropped_once_by_the_first_rule_that_it_breaks() -> None:
    assert reason(replace(SPOKEN, split="test", scenario="실외", frames=1), splits=("train",)) == "split"


@pytest.mark.parametrize(
    ("transcript", "keyword"),
    [("살려 주세요 ", "saveme"), ("누가 좀 도와주세요", "helpme"), ("개조심해", "others"), (None, None)],
)
def test_the_keyword_is_of_the_transcript_not_of_the_scenario(transcript: str | None, keyword: str | None) -> None:
    row = replace(SPOKEN, transcript=transcript, scenario="폭력범죄")
    assert values(filtered(row, transcript=False).kept["keyword"]) == [keyword]


def test_a_transcript_of_nothing_but_space_is_none() -> None:
    assert reason(replace(SPOKEN, transcript="  ")) in ("no_transcript", None)
    assert values(filtered(replace(SPOKEN, transcript="  "), transcript=False).kept["keyword"]) == [None]


# ---- dev, and leaks between splits


def many(count: int = 400) -> list[Row]:
    return [
        replace(SPOKEN, id=f"aihub/{n}", source=f"@aihub/{n}", group=f"g{n // 2}", source_pcm_hash=f"h{n}")
        for n in range(count)
    ]


def splits(found: Plan) -> dict[str, str]:
    return dict(zip(found.kept["id"], found.kept["split"], strict=True))


def test_dev_is_a_share_of_the_groups_of_train_whole() -> None:
    found = splits(filtered(*many(), dev_share=0.2))
    assert list(found.values()).count("dev") / 400 == pytest.approx(0.2, abs=0.07)
    assert all(found[f"aihub/{n}"] == found[f"aihub/{n + 1}"] for n in range(0, 400, 2))


def test_dev_depends_on_the_seed_and_on_the_group_alone() -> None:
    whole, part = splits(filtered(*many(), dev_share=0.2)), splits(filtered(*many()[100:300][::-1], dev_share=0.2))
    assert part == {row_id: split for row_id, split in whole.items() if row_id in part}
    assert splits(filtered(*many(), dev_share=0.2, seed=1)) != whole
    more = splits(filtered(*many(), dev_share=0.3))
    assert {row_id for row_id, split in whole.items() if split == "dev"} < {
        row_id for row_id, split in more.items() if split == "dev"
    }


def test_a_corpus_with_a_dev_split_keeps_its_own() -> None:
    own = [replace(row, split="dev" if n < 10 else "train") for n, row in enumerate(many(100))]
    assert splits(filtered(*own, dev_share=0.5)) == {row.id: row.split for row in own}


def test_an_empty_dev_split_is_told() -> None:
    assert "its dev split is empty" in " ".join(filtered(SPOKEN, dev_share=0.01).notes)


def test_a_scenario_that_no_row_has_is_said() -> None:
    notes = filtered(SPOKEN, scenarios=(SPOKEN.scenario, "지진")).notes
    assert f"no row has the scenario 지진; there are {SPOKEN.scenario}" in notes


@pytest.mark.parametrize("column", ["group", "source_pcm_hash"])
def test_what_is_in_two_splits_stays_in_the_more_protected_one(column: str) -> None:
    twin = replace(
        SPOKEN, id="aihub/Validation/2", source="@aihub/Validation/2", split="test", group="g2", source_pcm_hash="b"
    )
    found = filtered(SPOKEN, replace(twin, **{column: getattr(SPOKEN, column)}))
    assert values(found.kept["id"]) == ["aihub/Validation/2"]
    assert values(found.drops["reason"]) == ["group_in_two_splits" if column == "group" else "audio_in_two_splits"]
    assert "is in test too, where it stays" in found.drops["detail"][0]


def test_groups_of_two_corpora_are_two_groups() -> None:
    assert len(filtered(SPOKEN, replace(NOISE, split="test", group=SPOKEN.group)).kept) == 2


def test_identical_audio_in_one_split_is_no_leak() -> None:
    assert len(filtered(SPOKEN, replace(SPOKEN, id="aihub/3", source="@aihub/3")).kept) == 2


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(("train", "dev", "test")), st.integers(0, 4), st.integers(0, 4)),
        min_size=1,
        max_size=12,
    )
)
def test_no_group_and_no_audio_is_ever_in_two_splits(told: list[tuple[str, int, int]]) -> None:
    listed = [
        replace(SPOKEN, id=f"aihub/{n}", source=f"@{n}", split=split, group=f"g{group}", source_pcm_hash=f"h{sound}")
        for n, (split, group, sound) in enumerate(told)
    ]
    kept = list(rows(filtered(*listed, dev_share=0.3).kept, Row))
    for column in ("group", "source_pcm_hash"):
        assert len({(getattr(row, column), row.split) for row in kept}) == len({getattr(row, column) for row in kept})


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(12)))
def test_the_order_of_rows_does_not_matter(order: list[int]) -> None:
    listed = many(12)
    assert logical_hash(filtered(*[listed[n] for n in order], dev_share=0.4).kept) == logical_hash(
        filtered(*listed, dev_share=0.4).kept
    )


# ---- options


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"scenarios": ("도움요쳥",)}, 'unknown scenario "도움요쳥": did you mean "도움요청"?'),
        ({"splits": ("val",)}, 'unknown split "val"'),
        ({"min_s": -1}, "greater than or equal to 0"),
        ({"max_s": float("nan")}, "max_s"),
        ({"min_level_dbfs": 3}, "less than or equal to 0"),
        ({"dev_share": 1}, "less than 1"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_options_out_of_bounds_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="validation error") as caught:
        filter.Options(**options)
    assert said in str(caught.value)


def test_no_upper_bound_is_refused_by_its_name_not_by_a_condition_that_nobody_gave() -> None:
    with pytest.raises(ValueError, match="max_s"):
        filter.Options(max_s=float("inf"))


def test_a_condition_that_does_not_run_is_quoted() -> None:
    with pytest.raises(RecipeError, match="where: 'frame > 3' does not run"):
        filtered(SPOKEN, where="frame > 3")


@pytest.mark.parametrize("where", ["kind = 'it''s'", "id = 'a\"b'", "scenario = '%s'", "transcript <> '{}'"])
def test_quotes_and_percents_in_a_condition_are_its_own(where: str) -> None:
    filtered(SPOKEN, where=where)


def test_mixtures_are_refused() -> None:
    with pytest.raises(PrepError, match="these are mixtures already"):
        filtered(replace(SPOKEN, kind="mixture"))


KINDS = {"call": "저기요 살려주세요", "guarded": "도와줘서 고마워", "near": "살려고 그래", "other": "오늘 날씨"}


def talk(kind: str, count: int = 200, split: str = "train") -> list[Row]:
    row = replace(SPOKEN, transcript=KINDS[kind], split=split)
    names = [f"{split}/{kind}/{n}" for n in range(count)]
    return [replace(row, id=name, source=f"@{name}", group=name, source_pcm_hash=name) for name in names]


def test_speech_of_train_without_a_call_is_kept_by_kind_and_share() -> None:
    listed = [row for kind in KINDS for row in talk(kind)]
    of_test = [*talk("other", split="test"), replace(SPOKEN, id="alone")]
    found = filtered(*listed, *of_test, others=("other=0.25", "near=0", "guarded=1"))
    counts = {kind: sum(f"train/{kind}/" in name for name in values(found.kept["id"])) for kind in KINDS}
    assert (counts["call"], counts["guarded"], counts["near"]) == (200, 200, 0)
    assert 30 <= counts["other"] <= 70
    assert {"alone", *(row.id for row in of_test)} <= set(values(found.kept["id"])), "calls and test stay"
    assert set(values(found.drops["reason"])) == {"others"}
    details = {f"speech of train: others, {share}" for share in ("near=0", "other=0.25")}
    assert set(values(found.drops["detail"])) == details


def test_a_larger_share_keeps_what_a_smaller_one_keeps() -> None:
    some, more = (set(values(filtered(*talk("other"), others=(f"other={share}",)).kept["id"])) for share in (0.2, 0.6))
    assert some < more


@pytest.mark.parametrize(
    ("others", "fault"),
    [
        (("othr=0.5",), 'expected a kind of call, guarded, near, other: did you mean "other"'),
        (("other=2",), "a share from 0 to 1"),
        (("other",), "a share from 0 to 1"),
        (("other=0.5", "other=0.1"), "a kind is named twice"),
    ],
)
def test_shares_that_say_nothing_are_refused(others: tuple[str, ...], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        filter.Options(others=others)
