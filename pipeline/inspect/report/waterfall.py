"""What was dropped, stage by stage, and why: from the drops of a manifest and of those that it was made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pipeline.core import manifest, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.row import Drop
from pipeline.core.table import Table

STAGES = ("ingest", "filter", "resample", "mix")
_CLIP = "regexp_replace(id, '_snr[^_/]*_[0-9]+$', '')"  # the clip that a dropped mixture was to be made of


@dataclass(frozen=True, slots=True)
class Lost:
    """How many rows ended at a stage for one reason, and the id of one of them."""

    stage: str
    reason: str
    rows: int
    example: str


@dataclass(frozen=True, slots=True, eq=False)
class Lineage:
    """What was dropped on the way, as far as it is told in the same folder; the names of the files that are not there.

    unmixed: the clips that mixtures dropped by mix were to be made of.
    """

    lost: tuple[Lost, ...]
    unmixed: frozenset[str]
    missing: tuple[str, ...]


def lineage(held: Manifest, packed: Mapping[str, int] | None = None) -> Lineage:
    """The drops of the manifest and of each one that it was made from, found by name and told by hash.

    packed: what a pack says of its own drops, `filter scenario` -> 240.
    """
    found: list[Table] = []
    missing: list[str] = []
    waiting: list[tuple[Path, Provenance]] = [(held.path, held.provenance)]
    while waiting:
        path, made = waiting.pop(0)
        if packed is None or path != held.path:
            try:
                found.append(parquet.read(manifest.drops_path(path))[0].as_kind(Drop))
            except ManifestError:
                missing.append(manifest.drops_path(path).name)
        for name, digest in sorted(made.inputs.items()):
            before = held.path.with_name(f"{name}.parquet")
            origin = _origin(before, digest)
            if origin is None:
                missing.append(before.name)
            else:
                waiting.append((before, origin))
    drops = Table.joined(found, Drop)
    lost = [
        Lost(*line)
        for line in drops.query("SELECT stage, reason, count(*), min(id) FROM rows GROUP BY 1, 2 ORDER BY 3 DESC, 2")
    ]
    lost += [_counted(name, rows) for name, rows in sorted((packed or {}).items(), key=lambda item: -item[1])]
    unmixed = frozenset(name for (name,) in drops.query(f"SELECT DISTINCT {_CLIP} FROM rows WHERE stage = 'mix'"))
    return Lineage(tuple(lost), unmixed, tuple(missing))


def _counted(name: str, rows: int) -> Lost:
    """What a pack says: `filter scenario` and a number."""
    stage, _, reason = name.partition(" ")
    return Lost(stage, reason, rows, "")


def _origin(path: Path, digest: str) -> Provenance | None:
    """The provenance of the manifest with this hash, if it is at this place."""
    try:
        found = manifest.provenance(path)
    except ManifestError:
        return None
    return found if found.logical_hash == digest else None


def waterfall(held: Manifest, road: Lineage) -> dict[str, Any]:
    """Clips before and after each stage, and the rows that mix made of them. Every stage: in = kept + dropped."""
    lost: dict[str, list[Lost]] = {}
    for one in road.lost:
        lost.setdefault(one.stage, []).append(one)
    whole = not road.missing  # else a stage without drops may be one whose drops are not here
    before_mix = [stage for stage in STAGES[:-1] if stage in lost or (whole and stage in held.provenance.recipe)]
    gone = {stage: sum(one.rows for one in lost.get(stage, [])) for stage in before_mix}
    clips = _clips(held.table, road.unmixed)
    entering, stages = clips + sum(gone.values()), []
    for stage in before_mix:
        left = entering - gone[stage]
        stages.append(
            {
                "stage": stage,
                "in": entering,
                "dropped": gone[stage],
                "kept": left,
                "reasons": _told(lost.get(stage, [])),
            }
        )
        entering = left
    return {"clips": clips + sum(gone.values()), "stages": stages, "mix": _mix(held.table, clips, lost.get("mix", []))}


def _told(lost: Sequence[Lost]) -> list[dict[str, Any]]:
    return [asdict(one) for one in lost]


def _clips(table: Table, unmixed: frozenset[str]) -> int:
    """How many clips came out of the stages before mix: whatever was mixed or was to be, and whatever was not."""
    mixed = table.query("SELECT count(DISTINCT speech_id) FROM rows WHERE kind = 'mixture'")[0][0]
    others = table.query("SELECT count(*) FROM rows WHERE kind <> 'mixture'")[0][0]
    still_there = set(table.where(table.among("speech_id", unmixed)).column("speech_id")) if unmixed else set()
    return int(mixed) + len(unmixed - still_there) + int(others)


def _mix(table: Table, clips: int, lost: Sequence[Lost]) -> dict[str, Any] | None:
    """What mix made; None where nothing was mixed."""
    mixtures = table.query("SELECT count(*) FROM rows WHERE kind = 'mixture'")[0][0]
    if not mixtures and not lost:
        return None
    dropped = sum(one.rows for one in lost)
    kept = {"mixtures": mixtures, "others": len(table) - mixtures, "dropped": dropped, "kept": len(table)}
    return {"stage": "mix", "clips": clips, "in": len(table) + dropped, "reasons": _told(lost)} | kept
