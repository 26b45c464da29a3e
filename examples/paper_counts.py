"""Which six classes of AI-Hub did the paper use? A set's clips counted beside the published numbers.

The paper (arXiv 2501.11631) names neither its six classes nor its rule. It says that they have 186 K training and 18 K
test clips, and how many of these are spoken with the keywords `saveme` and `helpme`. AI-Hub's Validation is taken as
its test set. `prep paper-counts manifests/aihub.parquet` runs this file; in a notebook:

    counts(prep.load("manifests/aihub.parquet").frame, lexicon.shipped(), ["화재", "도움요청"])
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from pipeline.core.errors import PrepError
from pipeline.corpora.aihub import CLASSES
from pipeline.corpora.lexicon import Lexicon

# Clips of each class in Validation, from public listings. Nobody published those of 태풍-강풍 and 지진.
_LISTED = (757, 3383, 2012, 4538, 5603, 1354, 9620, 8600, 5289, 1020, 3485, None, None, 1059, 2865, 1132)
VALIDATION = {name: count for name, count in zip(CLASSES, _LISTED, strict=True) if count is not None}
UNCOUNTED = [name for name in CLASSES if name not in VALIDATION]
VALIDATION_CLIPS = sum(VALIDATION.values())
TRAINING_LABELS, TRAINING_CLIPS = 447_065, 441_519  # rows of labels; those with a recording of one of the sixteen
PAPER_TEST_CLIPS = 55_000  # of all classes
PAPER_SIX = {"train": 186_000, "test": 18_000}
ROUNDING = 500  # the paper counts in thousands: 17,500 to 18,500 read as 18 K
KEYWORDS = {"saveme train": 5_250, "saveme test": 338, "helpme train": 2_720, "helpme test": 1_513}
SURE, NEVER = ("도움요청",), ("실내", "실외")  # calls for help are in it, ordinary sounds not
WHOLE = 0.9  # share of the published clips from which on a set's own counts can speak for the corpus
NEAREST = 10


def counts(rows: pd.DataFrame, lexicon: Lexicon, recipe: Sequence[str]) -> dict[str, Any]:
    """What `prep paper-counts --json` answers: AI-Hub clips of a set by class, and the choices that fit the paper.

    rows: with the columns id, corpus, split, scenario, transcript, speech_id. recipe: the classes that a recipe keeps.
    `own` says whether the set's own counts decided, `unknown` how many choices hold a class whose count nobody
    published, `misfit` of a choice is the sum over the four keyword counts of |ln(clips / published)|, 0 where all
    agree. `train` and `misfit` of a choice are None where only published counts decide: these are of Validation alone.
    PrepError where no row of AI-Hub has a class.
    """
    classes = _classes(rows, lexicon)
    train, test = sum(item["train"] for item in classes), sum(item["test"] for item in classes)
    own = train >= WHOLE * TRAINING_CLIPS and test >= WHOLE * VALIDATION_CLIPS
    choices = list(_choices(classes, own, recipe))
    fits = sorted(filter(_fits, choices), key=lambda c: (c["misfit"] or 0.0, abs(c["test"] - PAPER_SIX["test"])))
    answer = {
        "classes": classes,
        "train": train,
        "test": test,
        "own": own,
        "fits": fits,
        "nearest": [] if fits else sorted(choices, key=_distance)[:NEAREST],
        "unknown": 0 if own else _choices_with_an_uncounted_class(),
        "recipe": [name for name in CLASSES if name in recipe],
        "recipe_fits": any(choice["recipe"] for choice in fits),
    }
    return answer | {"sentences": list(_sentences(answer))}


def _classes(rows: pd.DataFrame, lexicon: Lexicon) -> list[dict[str, Any]]:
    """Clips of each class. A clip in several mixtures counts once; dev counts as train, from which it was carved."""
    ours = rows[rows["corpus"].to_numpy() == "aihub"]
    if not ours["scenario"].notna().any():
        raise PrepError(
            "no row of AI-Hub with its class is in this set: give the manifest that prep ingest aihub wrote, not a pack"
        )
    codes, transcripts = pd.factorize(ours["transcript"], use_na_sentinel=False)
    keywords = [lexicon.keyword(None if pd.isna(text) else text) for text in transcripts]
    clips = pd.DataFrame(
        {
            "clip": ours["speech_id"].fillna(ours["id"]).to_numpy(),
            "scenario": ours["scenario"].to_numpy(),
            "split": np.where(ours["split"].to_numpy() == "test", "test", "train"),
            "keyword": np.array(keywords, dtype=object)[codes],
        }
    ).drop_duplicates()
    by_split = clips.groupby(["scenario", "split"])["clip"].nunique().to_dict()
    by_keyword = clips.groupby(["scenario", "keyword", "split"])["clip"].nunique().to_dict()
    return [
        {
            "name": name,
            "train": by_split.get((name, "train"), 0),
            "test": by_split.get((name, "test"), 0),
            "published_test": VALIDATION.get(name),
            "keywords": {f"{key} {split}": n for (scenario, key, split), n in by_keyword.items() if scenario == name},
        }
        for name in CLASSES
    ]


def _choices(classes: Sequence[dict[str, Any]], own: bool, recipe: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Every six classes with the sure one and without those that never are, whose counts are known."""
    by_name = {item["name"]: item for item in classes}
    free = [name for name in CLASSES if name not in SURE + NEVER and (own or name in VALIDATION)]
    for some in combinations(free, 6 - len(SURE)):
        six = [name for name in CLASSES if name in some + SURE]
        choice = {"classes": six, "train": None, "test": sum(VALIDATION.get(name, 0) for name in six), "misfit": None}
        if own:
            clips = {key: sum(by_name[name]["keywords"].get(key, 0) for name in six) for key in KEYWORDS}
            misfit = sum(abs(math.log((clips[key] + 1) / (count + 1))) for key, count in KEYWORDS.items())
            choice |= {side: sum(by_name[name][side] for name in six) for side in ("train", "test")}
            choice |= {"misfit": round(misfit, 4)}
        yield choice | {"recipe": set(six) == set(recipe)}


def _fits(choice: dict[str, Any]) -> bool:
    """Whether a choice reads as 186 K and 18 K; where its training clips are not known, as 18 K."""
    return all(choice[side] is None or abs(choice[side] - clips) <= ROUNDING for side, clips in PAPER_SIX.items())


def _distance(choice: dict[str, Any]) -> float:
    """How far a choice is from both counts of the paper, as the larger of the two shares."""
    return max(abs(choice[side] / clips - 1) for side, clips in PAPER_SIX.items() if choice[side] is not None)


def _choices_with_an_uncounted_class() -> int:
    """How many choices with a class of unknown count may sum to 18 K.

    The classes whose counts nobody published hold together what is left of the paper's 55 K test clips.
    """
    known = [name for name in VALIDATION if name not in SURE + NEVER]
    left = PAPER_TEST_CLIPS - VALIDATION_CLIPS
    possible = 0
    for many in range(1, len(UNCOUNTED) + 1):
        least = left - ROUNDING if many == len(UNCOUNTED) else 0
        for some in combinations(known, 6 - len(SURE) - many):
            rest = PAPER_SIX["test"] - sum(VALIDATION[name] for name in some + SURE)
            possible += math.comb(len(UNCOUNTED), many) * (least - ROUNDING <= rest <= left + 2 * ROUNDING)
    return possible


def _sentences(answer: dict[str, Any]) -> Iterator[str]:
    tolerance, many = f"within {ROUNDING} of 18,000 test clips", len(answer["fits"])
    train, test = answer["train"] / TRAINING_CLIPS, answer["test"] / PAPER_TEST_CLIPS
    if answer["own"]:
        yield f"This is the whole corpus, or nearly ({train:.1%} of its training clips): its own counts decide."
        yield f"{many} choices of six fit, {tolerance} and of 186,000 training clips; the best by keywords first."
        yield f"The paper has 422 K of {TRAINING_CLIPS:,} known training clips, and does not say what it left out."
    else:
        small = f"This set holds {train:.2%} of the training clips and {test:.2%} of the test clips of the corpus"
        yield f"{small}: neither its own counts nor its keywords can decide anything."
        yield f"By the published counts of Validation {many} choices fit, {tolerance}."
        yield f"{answer['unknown']} more cannot be ruled out: they hold {' or '.join(UNCOUNTED)}, which nobody counted."
    yield f"Only choices with {', '.join(SURE)} and without {', '.join(NEVER)} were tried."
    kept = ", ".join(answer["recipe"])
    if len(answer["recipe"]) != 6:
        yield f"The recipe keeps {len(answer['recipe'])} classes, not six: {kept or 'none'}."
    else:
        yield f"The recipe keeps {kept}: {'one' if answer['recipe_fits'] else 'none'} of those that fit."


def lines(answer: dict[str, Any]) -> Iterator[str | Sequence[Sequence[Any]]]:
    """The answer of `counts` for a person: sentences, and tables with the names of the columns first."""
    keywords = {key: sum(item["keywords"].get(key, 0) for item in answer["classes"]) for key in KEYWORDS}
    totals = {"name": "all", "train": answer["train"], "test": answer["test"], "published_test": VALIDATION_CLIPS}
    rows = [
        (
            item["name"],
            item["train"],
            item["test"],
            "unknown" if item["published_test"] is None else item["published_test"],
            *(item["keywords"].get(key, 0) for key in KEYWORDS),
        )
        for item in [*answer["classes"], totals | {"keywords": keywords}]
    ]
    choices = [
        (
            ", ".join(choice["classes"]),
            "unknown" if choice["train"] is None else choice["train"],
            choice["test"],
            "unknown" if choice["misfit"] is None else f"{choice['misfit']:.3f}",
            "this one" if choice["recipe"] else "",
        )
        for choice in answer["fits"] or answer["nearest"]
    ]
    yield from ([("class", "train", "test", "Validation, published", *KEYWORDS), *rows], "")
    yield f"published: Training {TRAINING_LABELS:,} labels, {TRAINING_CLIPS:,} clips"
    yield "the paper: 422 K and 55 K; of six classes 186 K and 18 K, saveme 5,250 and 338, helpme 2,720 and 1,513"
    if choices:
        title = "fits" if answer["fits"] else "none fits; nearest"
        yield from ("", [(title, "train", "test", "misfit of keywords", "recipe"), *choices])
    yield from ("", *answer["sentences"])
