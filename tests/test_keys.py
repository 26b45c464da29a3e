"""Identity and chance: the same for the same names, everywhere; draws move only for those whom a change concerns."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core import keys

NAMES = [f"aihub/Training/{n}" for n in range(20_000)]
NOISE = [f"cochlscene/Bus_user{n:04d}" for n in range(50)]


def word(count: int = 20_000, seed: int = 0) -> np.ndarray:
    return keys.words(seed, "mix", NAMES[:count])[:, 1]


def chosen(candidates: list[str], seed: int = 0) -> list[str]:
    return [candidates[index] for index in keys.choose(word(seed=seed), candidates)]


def test_identities_are_golden() -> None:
    """Were these to change, no manifest made before could be made again."""
    assert keys.fingerprint("mix", "도움요청", 1, {"b": 1.5, "a": None}) == "9b1375d35c121122094ff2145521f51b"
    assert keys.words(7, "mix", ["aihub/Training/1"])[0, :2].tolist() == [7412173161814693114, 16272100419111630679]
    assert keys.rng(7, "mix", "x", 0).integers(0, 1_000_000, 3).tolist() == [752878, 684488, 807237]
    assert keys.choose(word(4), NOISE).tolist() == [37, 37, 32, 45]


def test_equal_parts_have_equal_fingerprints_in_another_process() -> None:
    code = "from pipeline.core.keys import fingerprint; print(fingerprint('mix', {'b': [1, 2], 'a': '살려'}))"
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True, capture_output=True, text=True
    )
    assert ran.stdout.strip() == keys.fingerprint("mix", {"a": "살려", "b": [1, 2]})


@given(
    st.lists(st.one_of(st.text(), st.integers(), st.none(), st.booleans()), max_size=4), st.lists(st.text(), max_size=4)
)
def test_other_parts_have_other_fingerprints(one: list[object], other: list[object]) -> None:
    same = [(type(a), a) for a in one] == [(type(b), b) for b in other]
    assert (keys.fingerprint(*one) == keys.fingerprint(*other)) is same


def test_a_draw_depends_on_its_name_alone() -> None:
    some = NAMES[:100]
    whole = dict(zip(some, keys.draws(3, "mix", some).tolist(), strict=True))
    fewer = some[::-7]
    assert dict(zip(fewer, keys.draws(3, "mix", fewer).tolist(), strict=True)) == {name: whole[name] for name in fewer}


@pytest.mark.parametrize(("seed", "purpose"), [(1, "mix"), (0, "dev"), (-1, "mix"), (2**80, "mix")])
def test_another_seed_or_purpose_draws_something_else(seed: int, purpose: str) -> None:
    assert not np.isin(keys.words(seed, purpose, NAMES[:100]), keys.words(0, "mix", NAMES[:100])).any()


def test_draws_are_even_and_independent() -> None:
    drawn = keys.draws(0, "mix", NAMES)
    assert drawn.shape == (20_000, keys.DRAWS_PER_NAME)
    assert ((drawn >= 0) & (drawn < 1)).all()
    assert np.abs(drawn.mean(axis=0) - 0.5).max() < 0.01
    assert np.abs(np.corrcoef(drawn.T) - np.eye(keys.DRAWS_PER_NAME)).max() < 0.03


def test_the_largest_word_is_still_below_one() -> None:
    assert keys.unit(np.array([2**64 - 1], np.uint64))[0] < 1.0


@pytest.mark.parametrize("count", [1, 2, 10, 50])
def test_each_candidate_is_chosen_about_as_often(count: int) -> None:
    counts = np.bincount(keys.choose(word(), NOISE[:count]), minlength=count)
    assert counts.sum() == 20_000
    assert np.abs(counts * count / 20_000 - 1).max() < 3.5 / np.sqrt(keys.POINTS)  # the worst of fifty


@pytest.mark.parametrize("count", [1, 4, 20, 49])
@pytest.mark.parametrize("seed", [0, 1])
def test_one_more_candidate_takes_its_share_and_only_for_itself(count: int, seed: int) -> None:
    before, after = chosen(NOISE[:count], seed), chosen([*NOISE[:count], "ms-snsd/noise_test/Babble_1"], seed)
    moved = [new for old, new in zip(before, after, strict=True) if old != new]
    assert set(moved) == {"ms-snsd/noise_test/Babble_1"}
    assert len(moved) / len(before) == pytest.approx(1 / (count + 1), rel=3.5 / np.sqrt(keys.POINTS))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 30), st.data())
def test_losing_a_candidate_moves_only_those_who_had_it(count: int, data: st.DataObject) -> None:
    lost = data.draw(st.sampled_from(NOISE[:count]))
    left = [name for name in NOISE[:count] if name != lost]
    if left:
        after = chosen(left)
        assert all(new == old for old, new in zip(chosen(NOISE[:count]), after, strict=True) if old != lost)


@settings(max_examples=20, deadline=None)
@given(st.permutations(NOISE[:12]))
def test_the_order_of_candidates_does_not_matter(candidates: list[str]) -> None:
    assert chosen(candidates) == chosen(NOISE[:12])


def test_any_two_names_stand_in_the_same_order_whatever_the_others_are() -> None:
    names = [f"clip {n}" for n in range(200)]
    drawn = [names[n] for n in keys.order(3, "sample", names)]
    assert sorted(drawn) == sorted(names)
    assert drawn != names
    assert [names[::3][n] for n in keys.order(3, "sample", names[::3])] == [
        name for name in drawn if name in set(names[::3])
    ]
