"""Audits a set on which a model is judged: leaks between splits, and labels that can be guessed without the words.

Here are the options of an audit and the answers of its checks; `checks.audit` runs the checks. Some checks read columns
alone (`columns`), others open the audio beside the manifest (`near`, `chain`, with what `listening` measures).
Nothing here changes a set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.engine.workers import Workers

CHECKS = ("group", "source", "noise", "pcm", "near", "chain", "domain", "balance", "transcript")  # the worst first
LISTENING = ("near", "chain")  # checks that open audio
FAIL_ON = ("group", "source", "noise", "pcm", "near")


@dataclass(frozen=True, slots=True)
class Finding:
    """A check that found something. fails: whether the audit fails because of it. rows: how many rows it concerns.

    detail: three lines: what was found; what it means; what to do. examples: a few cases by name. figures: the numbers.
    """

    check: str
    fails: bool
    rows: int
    detail: str
    examples: tuple[str, ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clear:
    """A check that found nothing. detail: what it looked at."""

    check: str
    detail: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unable:
    """A check that could not be done. detail: why."""

    check: str
    detail: str


Outcome = Finding | Clear | Unable


@dataclass(frozen=True, slots=True)
class Audit:
    """The outcome of each check, findings that fail the audit first."""

    findings: tuple[Finding, ...]
    clear: tuple[Clear, ...]
    unable: tuple[Unable, ...]

    @property
    def fails(self) -> bool:
        """Whether a check that the audit fails on has found something."""
        return any(finding.fails for finding in self.findings)

    def exclusions(self) -> dict[str, str]:
        """Clip -> why it is to be left out: of each pair that `near` found the one in train, else that in dev."""
        excluded: dict[str, str] = {}
        pairs = [pair for finding in self.findings if finding.check == "near" for pair in finding.figures["pairs"]]
        for pair in pairs:
            (less, split), (other, kept) = sorted(
                zip(pair["ids"], pair["splits"], strict=True), key=lambda side: rank(side[1])
            )
            if other not in excluded:
                excluded.setdefault(less, f"near: it is in {split}, and {other} in {kept} is the same recording")
        return excluded


def no_progress(what: str, steps: int) -> Callable[[int], object]:
    """Shows no progress."""
    return lambda done: None


@dataclass(frozen=True, slots=True)
class Options:
    """checks: which checks to run. fail_on: the checks that fail the audit when they find something.

    sample: the most recordings that a check opens, 0 for all, None for each check's own number. workers: to open them.
    progress: is called with the name of a part and the number of its steps, and returns a function that is called with
    the number of steps done since the last call. checkpoint: a folder that `train` wrote, which `domain` asks about.
    """

    fail_on: Collection[str] = FAIL_ON
    checks: Collection[str] = CHECKS
    sample: int | None = None
    workers: Workers = field(default_factory=Workers)
    progress: Callable[[str, int], Callable[[int], object]] = no_progress
    checkpoint: Path | None = None


def rank(split: str) -> tuple[int, str]:
    """The key that sorts splits: train, dev, test, then others by name."""
    known = ("train", "dev", "test")
    return (known.index(split) if split in known else len(known), split)


def counted(number: int, one: str, many: str = "") -> str:
    """`1 row`, `1,200 rows`.

    >>> counted(2, "copy", "copies")
    '2 copies'
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
