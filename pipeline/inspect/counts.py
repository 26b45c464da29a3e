"""AI-Hub's counts against those that are published, and which six of its classes the paper may have used.

The paper (arXiv 2501.11631) names neither the classes nor its rule; it says 186 K training and 18 K test clips of six classes,
and how many of them call `saveme` and `helpme`. Validation is taken as its test set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from pipeline.core.errors import PrepError
from pipeline.core.table import Table
from pipeline.corpora.aihub import CLASSES
from pipeline.corpora.lexicon import Lexicon
from pipeline.inspect.show import table_text

SIX = 6
VALIDATION = dict(  # clips of each class in Validation, of public listings; None: nobody published it
    zip(
        CLASSES,
        (757, 3383, 2012, 4538, 5603, 1354, 9620, 8600, 5289, 1020, 3485, None, None, 1059, 2865, 1132),
        strict=True,
    )
)
TRAINING_LABELS, TRAINING_CLIPS = 447_065, 441_519  # rows of labels, and those with a recording of one of the sixteen
PAPER_ALL = {"train": 422_000, "test": 55_000}
PAPER_SIX = {"train": 186_000, "test": 18_000}
ROUNDING = 500  # the paper counts in thousands: 17,500 to 18,500 read as 18 K
KEYWORDS = {("saveme", "train"): 5_250, ("saveme", "test"): 338, ("helpme", "train"): 2_720, ("helpme", "test"): 1_513}
SURE, NEVER = ("도움요청",), ("실내", "실외")  # a set for calls for help has the one, and not the ordinary sounds
WHOLE = 0.9  # share of the published clips from which on a set's own counts can speak for the corpus
NEAREST = 10


@dataclass(frozen=True, slots=True)
class Class:
    """One class: clips in this set, and in Validation as published. keywords: `saveme train` -> clips."""

    name: str
    train: int
    test: int
    published_test: int | None
    keywords: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Choice:
    """Six classes, and their clips. train, misfit: None where only published counts speak, which are of Validation alone.

    misfit: the sum over the four keyword counts of |ln(clips / published)|, 0 where all are met.
    """

    classes: tuple[str, ...]
    train: int | None
    test: int
    misfit: float | None
    recipe: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """All of it. own: whether the set's own counts decided. unknown: choices with a class whose count nobody published."""

    classes: tuple[Class, ...]
    train: int
    test: int
    own: bool
    fits: tuple[Choice, ...]
    nearest: tuple[Choice, ...]
    unknown: int
    recipe: tuple[str, ...]
    recipe_fits: bool
    sentences: tuple[str, ...] = ()


def counts(rows: Table, words: Lexicon, recipe: Sequence[str]) -> Counts:
    """A set's AI-Hub clips counted and compared. recipe: the classes that a recipe keeps. PrepError where there are none."""
    classes = tuple(_classes(rows, words))
    train, test = sum(item.train for item in classes), sum(item.test for item in classes)
    own = train >= WHOLE * TRAINING_CLIPS and test >= WHOLE * _known()
    choices = list(_choices(classes, own, recipe))
    fits = sorted((choice for choice in choices if _fits(choice)), key=_rank)
    nearest = [] if fits else sorted(choices, key=_distance)[:NEAREST]
    unknown = 0 if own else _cannot_be_told()
    kept = tuple(name for name in CLASSES if name in recipe)
    recipe_fits = any(choice.recipe for choice in fits)
    told = Counts(classes, train, test, own, tuple(fits), tuple(nearest), unknown, kept, recipe_fits)
    return replace(told, sentences=tuple(_sentences(told)))


def _classes(rows: Table, words: Lexicon) -> Iterator[Class]:
    """Clips of each class; a clip that is in several mixtures counts once, dev counts as train, of which it was carved."""
    ours = rows.where(rows.equal("corpus", "aihub"))
    if not ours.present("scenario").any():
        raise PrepError(
            "no row of AI-Hub with its class is in this set: give the manifest that prep ingest aihub wrote, not a pack"
        )
    codes, transcripts = ours.codes("transcript")
    ours = ours.spread("keyword", codes, [words.keyword(transcript) for transcript in transcripts])
    side, clips = "CASE split WHEN 'test' THEN 'test' ELSE 'train' END", "count(DISTINCT coalesce(speech_id, id))"
    held = {
        (name, split): count
        for name, split, count in ours.query(f"SELECT scenario, {side}, {clips} FROM rows GROUP BY 1, 2")
    }
    said = ours.query(
        f"SELECT scenario, concat(keyword, ' ', {side}), {clips} FROM rows WHERE keyword IS NOT NULL GROUP BY 1, 2 ORDER BY 2"
    )
    for name in CLASSES:
        keywords = {spoken: count for scenario, spoken, count in said if scenario == name}
        yield Class(name, held.get((name, "train"), 0), held.get((name, "test"), 0), VALIDATION[name], keywords)


def _choices(classes: Sequence[Class], own: bool, recipe: Sequence[str]) -> Iterator[Choice]:
    """Every six with the sure class and without those that never are, whose counts are known."""
    by_name = {item.name: item for item in classes}
    free = [name for name in CLASSES if name not in SURE + NEVER and (own or VALIDATION[name] is not None)]
    for some in combinations(free, SIX - len(SURE)):
        chosen = tuple(name for name in CLASSES if name in some + SURE)
        of_recipe = set(chosen) == set(recipe)
        if own:
            six = [by_name[name] for name in chosen]
            yield Choice(
                chosen, sum(item.train for item in six), sum(item.test for item in six), _misfit(six), of_recipe
            )
        else:
            yield Choice(chosen, None, sum(VALIDATION[name] or 0 for name in chosen), None, of_recipe)


def _misfit(six: Sequence[Class]) -> float:
    found = {key: sum(item.keywords.get(" ".join(key), 0) for item in six) for key in KEYWORDS}
    return round(sum(abs(math.log((found[key] + 1) / (told + 1))) for key, told in KEYWORDS.items()), 4)


def _fits(choice: Choice) -> bool:
    """Whether a choice reads as 186 K and 18 K; where its training clips are not known, as 18 K."""
    train = choice.train is None or abs(choice.train - PAPER_SIX["train"]) <= ROUNDING
    return train and abs(choice.test - PAPER_SIX["test"]) <= ROUNDING


def _rank(choice: Choice) -> tuple[float, float]:
    return (choice.misfit or 0.0, abs(choice.test - PAPER_SIX["test"]))


def _distance(choice: Choice) -> float:
    """How far from both counts, as the larger of the two shares."""
    train = abs((choice.train or PAPER_SIX["train"]) / PAPER_SIX["train"] - 1)
    return max(train, abs(choice.test / PAPER_SIX["test"] - 1))


def _cannot_be_told() -> int:
    """Six-sets with a class of unknown count that may sum to 18 K: the unknown hold what is left of the paper's 55 K."""
    unknown = [name for name in CLASSES if VALIDATION[name] is None]
    known = [name for name in CLASSES if VALIDATION[name] is not None and name not in SURE + NEVER]
    left = PAPER_ALL["test"] - _known()
    found = 0
    for many in range(1, len(unknown) + 1):
        least = left - ROUNDING if many == len(unknown) else 0
        for some in combinations(known, SIX - len(SURE) - many):
            rest = PAPER_SIX["test"] - sum(VALIDATION[name] or 0 for name in some + SURE)
            found += math.comb(len(unknown), many) * (least - ROUNDING <= rest <= left + 2 * ROUNDING)
    return found


def _known() -> int:
    """Clips of Validation in the classes whose counts are published."""
    return sum(count for count in VALIDATION.values() if count is not None)


def _sentences(told: Counts) -> Iterator[str]:
    tolerance, many = f"within {ROUNDING} of 18,000 test clips", len(told.fits)
    if told.own:
        share = f"{told.train / TRAINING_CLIPS:.1%} of the training clips published"
        yield f"This is the whole corpus, or nearly ({share}): its own counts are compared."
        yield f"{many} choices of six fit, {tolerance} and of 186,000 training clips; those that meet the keywords best come first."
        yield f"The paper speaks of 422 K training clips in all, {TRAINING_CLIPS:,} are known: it left some out, and does not say which."
    else:
        share = f"{told.train / TRAINING_CLIPS:.2%} of the training clips and {told.test / PAPER_ALL['test']:.2%} of the test clips"
        yield f"This set holds {share} of the corpus: its own counts can fit nothing, nor can its keywords."
        yield f"By the published counts of Validation {many} choices fit, {tolerance}; those of Training are not published by class."
        yield f"{told.unknown} more cannot be ruled out: they hold 태풍-강풍 or 지진, whose counts nobody published."
    yield f"Looked at: choices with {', '.join(SURE)} and without {', '.join(NEVER)}."
    if len(told.recipe) != SIX:
        yield f"The recipe keeps {len(told.recipe)} classes, not six: {', '.join(told.recipe) or 'none'}."
    else:
        yield f"The recipe keeps {', '.join(told.recipe)}: {'one of those that fit' if told.recipe_fits else 'none of those that fit'}."


def text(told: Counts) -> str:
    """The counts for a terminal."""
    heads = [" ".join(key) for key in KEYWORDS]
    rows = [
        (item.name, item.train, item.test, _published(item), *(item.keywords.get(head, 0) for head in heads))
        for item in told.classes
    ]
    total = (
        "all",
        told.train,
        told.test,
        f"{_known():,}",
        *(sum(item.keywords.get(head, 0) for item in told.classes) for head in heads),
    )
    parts = [table_text(("class", "train", "test", "Validation, published", *heads), [*rows, total])]
    parts.append(
        "published: Training "
        f"{TRAINING_LABELS:,} labels, {TRAINING_CLIPS:,} clips; the paper: 422 K and 55 K, of six classes 186 K and 18 K,"
        " saveme 5,250 and 338, helpme 2,720 and 1,513"
    )
    listed = told.fits or told.nearest
    if listed:
        title = "fits" if told.fits else "none fits; nearest"
        parts.append(
            table_text((title, "train", "test", "misfit of keywords", "recipe"), [_line(choice) for choice in listed])
        )
    return "\n\n".join([*parts, "\n".join(told.sentences)])


def _published(item: Class) -> str:
    return "unknown" if item.published_test is None else f"{item.published_test:,}"


def _line(choice: Choice) -> tuple[str, str, int, str, str]:
    train = "unknown" if choice.train is None else f"{choice.train:,}"
    misfit = "unknown" if choice.misfit is None else f"{choice.misfit:.3f}"
    return ", ".join(choice.classes), train, choice.test, misfit, "this one" if choice.recipe else ""
