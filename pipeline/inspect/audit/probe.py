"""A simple probe: how well a class is told from features, in folds that keep groups together. Ridge regression on binned features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core import keys

FOLDS = 5
BINS = 6
RIDGE = 3.0
DRAWS = 200  # bootstrap draws of groups, for the interval


@dataclass(frozen=True, slots=True)
class Told:
    """Balanced accuracy (mean of the classes' recalls), the bounds of its 95 % interval (bootstrap over groups), and chance."""

    accuracy: float
    low: float
    high: float
    chance: float

    def figures(self) -> dict[str, float]:
        """For machines."""
        names = ("accuracy", "low", "high", "chance")
        return {name: round(float(getattr(self, name)), 4) for name in names}


def binned(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each feature [rows, features] as BINS columns of 0 and 1, cut at its quantiles; features of one value fall away."""
    columns = []
    for values in features.T:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1]))
        places = np.searchsorted(edges, values, side="left")
        for place in np.unique(places)[1:]:
            columns.append(places == place)
    return np.column_stack(columns).astype(np.float64) if columns else np.zeros((len(features), 0))


def told(columns: NDArray[np.float64], classes: NDArray[np.int64], groups: NDArray[np.int64], names: list[str]) -> Told:
    """How well the class [rows] is told from the columns [rows, columns]. groups: int64 [rows], index into names."""
    kinds = int(classes.max()) + 1
    right = _predicted(columns, classes, _folds(names)[groups], kinds) == classes
    hits, totals = np.zeros((len(names), kinds)), np.zeros((len(names), kinds))
    np.add.at(hits, (groups, classes), right)
    np.add.at(totals, (groups, classes), 1)
    drawn = keys.rng(0, "audit bootstrap").multinomial(len(names), np.full(len(names), 1 / len(names)), DRAWS)
    with np.errstate(invalid="ignore", divide="ignore"):
        spread = np.nanmean((drawn @ hits) / (drawn @ totals), axis=1)
    accuracy = float((hits.sum(axis=0) / totals.sum(axis=0)).mean())
    low, high = np.quantile(spread, (0.025, 0.975))
    return Told(accuracy, float(low), float(high), 1 / kinds)


def _folds(names: list[str]) -> NDArray[np.int64]:
    """The fold of each group, by its name: groups in keyed order are dealt out one by one."""
    order = keys.order(0, "audit fold", names)
    folds = np.empty(len(names), dtype=np.int64)
    folds[order] = np.arange(len(names)) % FOLDS
    return folds


def _predicted(
    columns: NDArray[np.float64], classes: NDArray[np.int64], folds: NDArray[np.int64], kinds: int
) -> NDArray[np.int64]:
    """The class of each row as told by those of the other folds; every class weighs the same."""
    found = np.zeros(len(classes), dtype=np.int64)
    wanted = np.eye(kinds)[classes]
    for fold in range(FOLDS):
        train, test = folds != fold, folds == fold
        weights = 1 / np.maximum(1, wanted[train].sum(axis=0))[classes[train]]
        weights *= len(weights) / weights.sum()
        middle = np.average(columns[train], axis=0, weights=weights)
        goal = np.average(wanted[train], axis=0, weights=weights)
        x, y = columns[train] - middle, wanted[train] - goal
        gram = x.T @ (x * weights[:, None]) + RIDGE * np.eye(columns.shape[1])
        slopes = np.linalg.solve(gram, x.T @ (y * weights[:, None]))
        found[test] = ((columns[test] - middle) @ slopes + goal).argmax(axis=1)
    return found
