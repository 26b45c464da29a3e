"""Packs: a set without its audio, in one small file: its rows, how they were made, the terms of every source.

What the licence of a corpus forbids to pass on is left out, and the pack says what and why. So that rows can still be told to
belong together where a group is a person's name, such groups go by the hash of one of their recordings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.core import manifest, parquet
from pipeline.core.errors import ManifestError
from pipeline.core.manifest import Manifest, Provenance
from pipeline.core.table import UNHASHED, Table
from pipeline.corpora import rights
from pipeline.corpora.rights import LeftOut, Terms
from pipeline.share.encode import FEW, decode, encode

VERSION = 1
SUFFIX = ".pack.parquet"
_MARK = "pack"  # the key in a file's metadata by which a pack is known
_WITHHELD = "(left out: it quotes a transcript or label of {corpus})"
_QUOTES = {  # SQL (`where`) that names such a column and holds a literal
    "transcripts": re.compile(r"(?is)(?=.*\btranscript\b).*['$]"),
    "labels": re.compile(r"(?is)(?=.*(\blabels\b|\"group\")).*['$]"),
}


class Altered(ManifestError):
    """A pack whose rows are not those that were packed."""


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """A pack in memory. manifest: the rows, what was left out null, and the provenance of the set that was packed.

    dropped: stage and reason -> how many rows had ended there. hashes: column -> hash of its values in the set itself, by
    which a set that was built again is compared column by column.
    """

    manifest: Manifest
    left_out: tuple[LeftOut, ...]
    terms: tuple[Terms, ...]
    dropped: Mapping[str, int]
    hashes: Mapping[str, str]


@dataclass(frozen=True, slots=True, eq=False)
class Packed:
    """What was written. noiseless: mixtures whose noise is no row of the set, so that they cannot be rebuilt from it."""

    path: Path
    rows: int
    bytes: int
    left_out: tuple[LeftOut, ...]
    terms: tuple[Terms, ...]
    noiseless: int


def is_pack(path: str | Path) -> bool:
    """Whether a pack lies there; by the file's footer alone."""
    try:
        return _MARK in parquet.metadata(Path(path))
    except ManifestError:
        return False


def read(path: str | Path) -> Pack:
    """The pack at this path. ManifestError where it is missing, damaged, no pack, or of a later version; Altered."""
    place = Path(path)
    if not place.exists():
        raise ManifestError(f"{place}: no such pack")
    table, held = parquet.read(place)
    if _MARK not in held:
        raise ManifestError(f"{place}: not a pack: make one of a manifest with prep pack {place.name}")
    told = held[_MARK]
    if told["version"] > VERSION or held["schema_version"] > manifest.SCHEMA_VERSION:
        raise ManifestError(f"{place}: a pack of a later prep (version {told['version']}): upgrade this one")
    rows = Table.of_frame(decode(table.frame, told["codings"]))
    if rows.digest() != told["rows_hash"]:
        raise Altered(f"{place}: its rows are not those that were packed: it is damaged or was changed; get it again")
    made = Provenance(**{key: value for key, value in held.items() if key != _MARK})
    left, terms = (LeftOut(**item) for item in told["left_out"]), (Terms(**item) for item in told["terms"])
    return Pack(Manifest(rows, made, place), tuple(left), tuple(terms), told["dropped"], told["hashes"])


def opened(path: str | Path) -> Manifest:
    """The manifest at this path, or that of the pack, whichever it is."""
    return read(path).manifest if is_pack(path) else manifest.read(path)


def path_of(source: Path) -> Path:
    """Where the pack of a manifest goes by default: `mixed.parquet` has `mixed.pack.parquet`."""
    return source.with_name(f"{source.stem}{SUFFIX}")


def write(held: Manifest, path: Path) -> Packed:
    """Packs a manifest: everything but its audio and what the licences of its sources forbid to pass on."""
    hashes = {name: held.table.only([name]).digest() for name in held.table.names if name not in UNHASHED}
    terms = tuple(rights.terms(held.frame))
    recipe, quoted = _recipe(held.provenance.recipe, held.table, terms)
    rows, named = _pseudonyms(held.table, terms)
    redacted, left = rights.redacted(rows.frame)
    rows = Table.of_frame(redacted)
    left_out = (*left, *named, *quoted)
    told = {
        "version": VERSION,
        "rows_hash": rows.without(*UNHASHED).digest(),
        "left_out": [asdict(item) for item in left_out],
        "terms": [asdict(item) for item in terms],
        "dropped": _dropped(held),
        "hashes": hashes,
    }
    encoded, told["codings"] = encode(rows.frame)
    made = asdict(replace(held.provenance, recipe=recipe))
    parquet.write_small(path, Table.of_frame(encoded), {**made, _MARK: told}, FEW)
    noiseless = rows.present("noise_id") & (rows.places_in(rows, "noise_id", "id") < 0)
    return Packed(path, len(rows), path.stat().st_size, left_out, terms, int(noiseless.sum()))


def _dropped(held: Manifest) -> dict[str, int]:
    """`filter scenario` -> 240; nothing where the drops are not there."""
    try:
        counts = Table.of_frame(held.drops).query(
            "SELECT concat(stage, ' ', reason), count(*) FROM rows GROUP BY 1 ORDER BY 1"
        )
    except ManifestError:
        return {}
    return {str(reason): int(count) for reason, count in counts}


def _pseudonyms(rows: Table, terms: Iterable[Terms]) -> tuple[Table, list[LeftOut]]:
    """The rows, groups of corpora whose labels may not be passed on under the hash of one of their recordings."""
    left = []
    for name in [item.corpus for item in terms if not item.labels]:
        told = rows.derived(
            held='min(source_pcm_hash) OVER (PARTITION BY corpus, "group")', same='"group" = source_pcm_hash'
        )
        named = rows.equal("corpus", name) & ~told.flags("same")
        if named.any():
            rows = rows.replaced("group", named, told.renamed(held="group"))
            why = f"a group may be a speaker's name; it goes by the hash of one of its recordings. {rights.terms_of(name).refusal('labels')}"
            left.append(LeftOut(name, "group", int(named.sum()), why))
    return rows, left


def _recipe(recipe: Mapping[str, Any], rows: Table, terms: Sequence[Terms]) -> tuple[Mapping[str, Any], list[LeftOut]]:
    """The recipe, without texts in it that quote what may not be passed on (`where` may).

    What a rule quotes may stand in no row, for it may be what the rule drops: so a literal beside such a column is enough.
    """
    left = []
    for item in terms:
        own = rows.where(rows.equal("corpus", item.corpus))
        for kind in [kind for kind in _QUOTES if not item.may_share(kind)]:
            spoken = (
                {text.strip() for text in own.codes("transcript")[1] if text and text.strip()}
                if kind == "transcripts"
                else set()
            )
            found = [
                text for text in _texts(recipe) if _QUOTES[kind].match(text) or any(words in text for words in spoken)
            ]
            if found:
                recipe = _without(recipe, set(found), _WITHHELD.format(corpus=item.corpus))
                left.append(LeftOut(item.corpus, "recipe", len(found), item.refusal(kind)))
    return recipe, left


def _texts(value: Any) -> list[str]:
    """Every text in nested options."""
    if isinstance(value, Mapping):
        return [text for held in value.values() for text in _texts(held)]
    if isinstance(value, list | tuple):
        return [text for held in value for text in _texts(held)]
    return [value] if isinstance(value, str) else []


def _without(value: Any, texts: set[str], instead: str) -> Any:
    if isinstance(value, Mapping):
        return {key: _without(held, texts, instead) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_without(held, texts, instead) for held in value]
    return instead if isinstance(value, str) and value in texts else value


def told(packed: Packed) -> dict[str, Any]:
    """What was written, as plain values."""
    held = asdict(packed) | {"path": str(packed.path), "bytes_per_row": round(packed.bytes / max(1, packed.rows), 1)}
    return dict(json.loads(json.dumps(held, ensure_ascii=False)))
