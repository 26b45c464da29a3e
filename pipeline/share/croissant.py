"""What goes beside a pack for those who did not make it: LICENSES.md for people, Croissant (JSON-LD 1.0) for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core import files, parquet
from pipeline.core.manifest import Provenance
from pipeline.core.table import Table
from pipeline.corpora import rights
from pipeline.corpora.rights import Terms

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
# The context that the specification prescribes, https://docs.mlcommons.org/croissant/docs/croissant-spec-1.0.html
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
MEANING = {  # of columns, in few words; manifests/schema.md has more
    "id": "id of the row",
    "stem": "id of the clip; of a mixture: of the speech in it",
    "tail": "of a mixture: what follows the id of its speech, so that stem and tail are its id",
    "corpus": "corpus of the recording; of a mixture: of its speech",
    "split": "train, dev or test",
    "group": "what may not straddle splits: speaker, submission, field recording",
    "kind": "speech, noise or mixture",
    "source": "canonical name of the recording in its corpus",
    "transcript": "what is said, as the corpus has it",
    "keyword": "class of the utterance: which call for help it is, or others",
    "scenario": "situation, as the corpus has it",
    "scene": "where the noise was recorded",
    "noise_label": "what a noise detector should say: speech or noise",
    "rate_hz": "rate of the clip in the built set, Hz",
    "frames": "length of the clip at rate_hz, frames",
    "source_rate_hz": "rate of the recording, Hz",
    "source_channels": "channels of the recording",
    "source_frames": "length of the recording, frames",
    "source_format": "container and encoding of the recording",
    "source_pcm_crc": "CRC-32 of the samples of the recording",
    "level_full_dbfs": "RMS level, dBFS",
    "level_active_dbfs": "active speech level, ITU-T P.56, dBFS",
    "activity": "share of the time in which speech is active",
    "peak_dbfs": "largest magnitude, dBFS",
    "clipped_share": "share of the samples of the recording at full scale",
    "zero_share": "share of the samples of the recording that are exactly zero",
    "noise_start": "frame of the noise at which the crop begins",
    "noise_row": "number of the row of the noise in the mixture",
    "snr_db": "SNR asked for, dB",
    "snr_definition": "level of speech meant by snr_db: active or full",
    "snr_active_db": "realised SNR, speech by its active level, dB",
    "snr_full_db": "realised SNR, speech by its RMS, dB",
    "gain_db": "gain of the speech, dB",
    "noise_gain_db": "gain of the noise, dB",
    "variant": "which of the copies of the utterance",
}
MOST_DIGITS = 6  # decimals tried of a number that lies as a whole one


def written(pack: Path, table: Table, made: Provenance) -> list[Path]:
    """Writes LICENSES.md and NAME.croissant.json beside a pack; table: its rows. Says their paths. The same pack, the same files."""
    name = pack.name.removesuffix(".parquet").removesuffix(".pack")
    licences, described = pack.with_name("LICENSES.md"), pack.with_name(f"{name}.croissant.json")
    _put(licences, licences_text(name, table))
    _put(described, json.dumps(_dataset(name, pack, table, made), ensure_ascii=False, indent=2) + "\n")
    return [licences, described]


def _put(path: Path, text: str) -> None:
    with files.replacing(path) as half:
        half.write_text(text, encoding="utf-8")


def licences_text(name: str, table: Table) -> str:
    """What may be done with a set, and the licence and attribution of each of its sources; Markdown."""
    parts = [
        f"# Licences of the sources of {name}",
        "\n".join(f"* {sentence}" for sentence in rights.sentences(table.frame)),
    ]
    for item in rights.terms(table.frame):
        told = {
            "In": f"{item.rows:,} rows",
            "Licence": f"{item.licence}, {item.licence_url}" if item.licence_url.startswith("http") else item.licence,
            "Attribution": item.attribution,
            "Terms": item.restrictions,
            "Homepage": item.homepage,
            "To get it": item.download,
        }
        parts.append("\n".join([f"## {item.title}", "", *(f"* {key}: {value}" for key, value in told.items())]))
    return "\n\n".join(parts) + "\n"


def _dataset(name: str, pack: Path, table: Table, made: Provenance) -> dict[str, Any]:
    sources = rights.terms(table.frame)
    told = [
        f"{len(table):,} rows of {', '.join(item.corpus for item in sources)}, without their audio. prep rebuild {pack.name} makes it."
    ]
    held: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "name": name,
        "conformsTo": CONFORMS_TO,
        "description": " ".join([*told, *rights.sentences(table.frame)]),
        "license": _addresses(sources, "licence_url") or [item.licence for item in sources],
        "url": next(iter(_addresses(sources, "homepage")), pack.name),
        "isBasedOn": _addresses(sources, "homepage"),
        "citeAs": " ".join(item.attribution for item in sources),
        "creditText": " ".join(item.attribution for item in sources),
        "version": "1.0.0",
        "identifier": made.logical_hash,
        "distribution": [_file(pack)],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": list(_fields(pack, table))}],
    }
    return held


def _addresses(sources: Sequence[Terms], field: str) -> list[str]:
    listed = [str(getattr(item, field)) for item in sources]
    return [address for address in dict.fromkeys(listed) if address.startswith("http")]


def _file(pack: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": pack.name,
        "name": pack.name,
        "contentUrl": pack.name,
        "encodingFormat": "application/x-parquet",
        "contentSize": f"{pack.stat().st_size} B",
        "sha256": sha256(pack.read_bytes()).hexdigest(),
    }


def _fields(pack: Path, table: Table) -> Iterator[dict[str, Any]]:
    """The columns of the file that lie there as the set has them, or as whole numbers of a small unit."""
    lying, _ = parquet.read(pack)
    for column in lying.names:
        if column not in MEANING:
            continue
        meaning = _meaning(column, lying, table)
        if meaning is not None:
            yield {
                "@type": "cr:Field",
                "@id": f"rows/{column}",
                "name": column,
                "description": meaning,
                "dataType": {"string": "sc:Text", "int64": "sc:Integer", "int32": "sc:Integer", "double": "sc:Float"}[
                    lying.kind(column)
                ],
                "source": {"fileObject": {"@id": pack.name}, "extract": {"column": column}},
            }


def _meaning(column: str, lying: Table, table: Table) -> str | None:
    """What a column of the file holds; None where it is coded in a way that only prep reads."""
    if column not in table.names:
        return MEANING[column]
    if lying.kind(column) == table.kind(column):
        return None if lying.differs(table, column).any() else MEANING[column]
    if lying.kind(column) != "int32" or table.kind(column) not in ("double", "int64"):
        return None
    whole, numbers = lying.numbers(column), table.numbers(column)
    digits = (n for n in range(MOST_DIGITS + 1) if np.array_equal(np.rint(numbers * 10**n), whole, equal_nan=True))
    found = next(digits, None)
    if found is None:
        return None
    return f"{MEANING[column]}, in units of {10**-found:.{found}f}" if found else MEANING[column]
