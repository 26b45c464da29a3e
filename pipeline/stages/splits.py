"""Splits: a dev split carved from train, and what may not be in two: groups, recordings, identical audio."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core import frame as frames
from pipeline.core import keys
from pipeline.core.row import Drop
from pipeline.corpora.lexicon import Lexicon

if TYPE_CHECKING:
    from pandas import DataFrame

SPLITS = ("train", "dev", "test")  # least protected first: where two share something, the later one keeps it


def in_two_splits(frame: DataFrame, by: str) -> NDArray[np.bool_]:
    """bool [rows]: where the row's value of this column is in another split too. Null is in none.

    frame: with the columns `split` and `by`. A value of `group` counts within its corpus alone, and needs `corpus` too.
    """
    values, splits = _values(frame, by), frames.codes(frame["split"])[0]
    count = int(values.max(initial=-1)) + 1
    lowest, highest = np.full(count, len(frame)), np.full(count, -1)
    np.minimum.at(lowest, values, splits)
    np.maximum.at(highest, values, splits)
    return np.asarray((lowest < highest)[values] & frames.present(frame, by))


def apart(frame: DataFrame, by: str, stage: str) -> tuple[NDArray[np.bool_], DataFrame]:
    """(bool [rows]: which rows stay so that no value of this column is in two splits, drops of the others).

    frame: needs id, corpus, split and the column. A value stays in its most protected split: test before dev before
    train.
    """
    values, (splits, names) = _values(frame, by), frames.codes(frame["split"])
    rank = np.array([SPLITS.index(name) for name in names] or [0], dtype=np.int64)[splits]
    highest = np.zeros(int(values.max(initial=-1)) + 1, dtype=np.int64)
    np.maximum.at(highest, values, rank)
    lost = (rank < highest[values]) & frames.present(frame, by)
    reason, what = ("group_in_two_splits", "group") if by == "group" else ("audio_in_two_splits", "identical audio")
    drops = [
        Drop(row_id, stage, reason, f"its {what} is in {SPLITS[split]} too, where it stays")
        for row_id, split in zip(frames.each(frame["id"][lost]), highest[values[lost]], strict=True)
    ]
    return ~lost, frames.from_rows(drops, Drop)


def _values(frame: DataFrame, by: str) -> NDArray[np.int64]:
    """int64 [rows]: a number for each value of the column."""
    values = frame[by].factorize(use_na_sentinel=False)[0].astype(np.int64)
    if by != "group":
        return values
    corpora, names = frames.codes(frame["corpus"])
    return values * max(1, len(names)) + corpora


# ---- dev


def dev_draw(seed: int, corpus: str, groups: Iterable[str]) -> NDArray[np.float64]:
    """The draw of each group of a corpus without a dev split, float64 [groups] in [0, 1); below dev_share it is dev."""
    return keys.draws(seed, f"dev {corpus}", groups)[:, 0]


def with_dev(
    rows: DataFrame, keep: NDArray[np.bool_], share: float, seed: int, lexicon: Lexicon | None = None
) -> tuple[Any, list[str]]:
    """(the column `split`, with a keyed share of the groups of train in dev where a corpus has no dev split; notes).

    keep: bool [rows], the rows that count. lexicon: dev takes as many clips, each keyword among them; without it each
    group is drawn by itself.
    """
    notes = []
    codes, splits = frames.codes(rows["split"])
    corpora = sorted(set(frames.codes(rows["corpus"][keep])[1]))
    moved = np.zeros(len(rows), dtype=np.bool_)
    for corpus in corpora if share else []:
        own = keep & frames.equal(rows["corpus"], corpus)
        train = own & frames.equal(rows["split"], "train")
        if (own & frames.equal(rows["split"], "dev")).any() or not train.any():
            continue
        group_codes, groups = frames.codes(rows["group"][train])
        drawn = dev_draw(seed, corpus, groups)
        if lexicon is not None:
            texts, spoken = frames.codes(rows["transcript"][train])
            keywords = [lexicon.keyword(text) or "" for text in spoken]
            names = sorted(set(keywords))
            counts = np.zeros((len(groups), len(names)), np.int64)
            np.add.at(counts, (group_codes, np.array([names.index(keyword) for keyword in keywords])[texts]), 1)
            chosen = _balanced(counts, drawn, share)
        else:
            chosen = drawn < share
        moved[train] = chosen[group_codes]
        notes.append(
            f"{corpus}: {int(chosen.sum())} of {len(groups)} groups of train became dev "
            f"(dev_share {share}), {moved[train].sum() / train.sum():.1%} of its clips"
        )
        if not chosen.any():
            notes[-1] += ": its dev split is empty; raise dev_share if you need one"
    return frames.spread(np.where(moved, len(splits), codes), [*splits, "dev"]), notes


def _balanced(counts: NDArray[np.int64], order: NDArray[np.float64], share: float) -> NDArray[np.bool_]:
    """bool [groups]: the groups that make a dev of this share of the clips, with each class that two groups have.

    counts: clips of each group and class, [groups, classes]. order: draw of each group; groups are tried in it, those
    of the rarest class first. A class never leaves train, and a group that would make dev half as large again as its
    share is taken only where a class has no smaller one.
    """
    dev, taken, left = np.zeros(len(counts), np.bool_), np.zeros(counts.shape[1]), counts.sum(axis=0)
    most = 1.5 * share * counts.sum()
    by_draw = np.argsort(order, kind="stable")
    by_size = by_draw[np.argsort(counts[by_draw].sum(axis=1), kind="stable")]
    for kind in np.argsort(left, kind="stable"):
        wanted = max(1, round(share * counts[:, kind].sum()))
        for tried, bound in ((by_draw, most), (by_size, np.inf)):
            for group in tried:
                if taken[kind] >= (wanted if bound == most else 1):
                    break
                own = counts[group]
                fits = not dev[group] and own[kind] and taken.sum() + own.sum() <= bound
                if fits and (left[own > 0] > own[own > 0]).all():
                    dev[group] = True
                    taken, left = taken + own, left - own
    return dev
