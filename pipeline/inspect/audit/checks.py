"""All checks of an audit, run on a manifest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pipeline.core.errors import ManifestError
from pipeline.core.manifest import SCHEMA_VERSION, Manifest, provenance, read_columns
from pipeline.inspect.audit import CHECKS, Audit, Clear, Finding, Options, Outcome, Unable, chain, columns, near
from pipeline.share import pack

# the columns of the rows that the checks read
COLUMNS = tuple(dict.fromkeys((*near.COLUMNS, *columns.COLUMNS, *chain.COLUMNS)))


def read(path: Path) -> Manifest:
    """The manifest at this path, or that of a pack, with the columns that the checks read.

    ManifestError where it is neither.
    """
    if pack.is_pack(path) or provenance(path).schema_version < SCHEMA_VERSION:
        return pack.read_any(path)
    return Manifest(read_columns(path, COLUMNS), provenance(path), path)


def audit(manifest: Manifest, options: Options | None = None) -> Audit:
    """The outcome of each check that the options name, the worst check first.

    A check that needs a shard which is missing or damaged is `Unable`; no check raises an error for it.
    """
    options = options or Options()
    frame, folder = manifest.frame, manifest.path.parent
    outcomes: list[Outcome] = []
    for check in CHECKS:
        if check not in options.checks:
            continue
        try:
            match check:
                case "near":
                    outcomes.append(near.check(frame, folder, options))
                case "chain":
                    outcomes += chain.check(frame, folder, options)
                case "domain":
                    outcomes.append(columns.domain(frame, manifest.provenance.logical_hash, options.checkpoint))
                case "balance":
                    outcomes.append(columns.balance(frame))
                case "transcript":
                    outcomes.append(columns.transcripts(frame))
                case _:
                    outcomes.append(columns.leaks(frame, check))
        except ManifestError as error:
            outcomes.append(Unable(check, str(error)))
    findings = [replace(o, fails=o.check in options.fail_on) for o in outcomes if isinstance(o, Finding)]
    return Audit(
        tuple(sorted(findings, key=lambda finding: not finding.fails)),
        tuple(o for o in outcomes if isinstance(o, Clear)),
        tuple(o for o in outcomes if isinstance(o, Unable)),
    )
