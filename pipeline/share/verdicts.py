"""What verifying finds: of a row, a shard or the whole set, and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.core.errors import PrepError

LEVELS = ("schema", "references", "headers", "hashes", "recompute")
IDENTICAL, WITHIN, DIFFERENT = "identical", "within_1_lsb", "different"


class Unable(PrepError):
    """Something cannot be checked at all: says what is needed for it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that does not hold. what: a row's id, a shard, a column. verdict: a word for counting; because: a sentence.

    digest: hash of the samples that were found instead, where there are some.
    """

    what: str
    verdict: str
    because: str
    digest: str = ""


@dataclass(frozen=True, slots=True)
class Checked:
    """What a level came to: how many rows were looked at, and what does not hold."""

    level: str
    rows: int
    findings: Sequence[Finding]
    notes: Sequence[str] = ()

    def verdicts(self) -> dict[str, int]:
        """How many of the rows for each verdict; what has no finding is identical."""
        counts = Counter(finding.verdict for finding in self.findings)
        same = (
            {IDENTICAL: self.rows - len({finding.what for finding in self.findings})}
            if self.level in ("hashes", "recompute")
            else {}
        )
        return same | dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
