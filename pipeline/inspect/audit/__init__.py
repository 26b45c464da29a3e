"""What is wrong with a set for judging a model on it: leaks between splits, and classes told by something else than the sound meant.

`findings(manifest.read("manifests/mixed.parquet"))` lists what was found, worst first; `audited` says also what was clear and
what could not be checked. A check is a file here; `near` and `chain` listen to the audio that lies beside the manifest.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Manifest
from pipeline.engine import workers as crew
from pipeline.engine.workers import Crew
from pipeline.inspect.audit import balance, chain, leaks, near
from pipeline.inspect.audit.listen import NEEDED, Ears
from pipeline.inspect.audit.outcome import Clear, Finding, Outcome, Unable

CHECKS = ("group", "source", "noise", "pcm", "near", "chain", "balance", "transcript")  # worst first
HEARD = ("near", "chain")  # those that listen to stored audio
FAIL_ON = ("group", "source", "noise", "pcm")
COLUMNS = tuple(
    dict.fromkeys((*NEEDED, *leaks.NEEDED, *balance.NEEDED, *chain.NEEDED))
)  # of the rows, all that the checks look at

__all__ = [
    "CHECKS",
    "COLUMNS",
    "FAIL_ON",
    "HEARD",
    "Audit",
    "Clear",
    "Finding",
    "Options",
    "Unable",
    "audited",
    "findings",
]


def _silent(what: str, steps: int) -> Callable[[int], object]:
    return lambda done: None


@dataclass(frozen=True, slots=True)
class Options:
    """fail_on: checks whose findings fail the audit. checks: those that are done. sample: at most so many recordings are listened
    to, 0 for all, None for what each check takes by itself. progress: see Ears.
    """

    fail_on: Collection[str] = FAIL_ON
    checks: Collection[str] = CHECKS
    sample: int | None = None
    crew: Crew = field(default_factory=crew.Alone)
    progress: Callable[[str, int], Callable[[int], object]] = _silent


@dataclass(frozen=True, slots=True)
class Audit:
    """What became of each check, findings that fail first."""

    findings: tuple[Finding, ...]
    clear: tuple[Clear, ...]
    unable: tuple[Unable, ...]

    @property
    def fails(self) -> bool:
        """Whether a check that the audit is to fail by has found something."""
        return any(finding.fails for finding in self.findings)


def findings(held: Manifest, options: Options | None = None) -> list[Finding]:
    """What the checks found, worst first."""
    return list(audited(held, options or Options()).findings)


def audited(held: Manifest, options: Options) -> Audit:
    """Every check asked for, worst first."""
    outcomes = [outcome for check in CHECKS if check in options.checks for outcome in _outcomes(held, check, options)]
    found = sorted((o for o in outcomes if isinstance(o, Finding)), key=lambda finding: not finding.fails)
    clear = tuple(o for o in outcomes if isinstance(o, Clear))
    return Audit(tuple(found), clear, tuple(o for o in outcomes if isinstance(o, Unable)))


def _outcomes(held: Manifest, check: str, options: Options) -> list[Outcome]:
    rows, fails = held.table, check in options.fail_on
    ears = Ears(held.path.parent, options.crew, options.sample, options.progress)
    try:
        match check:
            case "near":
                return [near.checked(rows, ears, fails)]
            case "chain":
                return chain.checked(rows, ears, fails)
            case "balance":
                return [balance.checked(rows, fails)]
            case "transcript":
                return [leaks.transcripts(rows, fails)]
            case _:
                return [leaks.checked(rows, next(leak for leak in leaks.LEAKS if leak.check == check), fails)]
    except ManifestError as error:  # a shard is missing or damaged
        return [Unable(check, str(error))]
