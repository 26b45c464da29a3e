"""What goes beside a pack for those who did not make it: LICENSES.md for people, Croissant (JSON-LD 1.0) for programs.

croissant.json holds the context that the specification prescribes, and the meaning of the columns in few words.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from pipeline.core import files, parquet
from pipeline.core.manifest import Manifest
from pipeline.corpora import rights
from pipeline.corpora.rights import Terms
from pipeline.share import pack as packs
from pipeline.share.encode import DECIMALS, FORMS

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
_TEXTS = json.loads(Path(__file__).with_name("croissant.json").read_text(encoding="utf-8"))
COLUMNS: dict[str, str] = _TEXTS["columns"]  # column -> its meaning; manifests/schema.md says more
_TYPES = {"string": "sc:Text", "int64": "sc:Integer", "int32": "sc:Integer", "double": "sc:Float"}


def write(path: Path) -> list[Path]:
    """Writes LICENSES.md and NAME.croissant.json beside a pack; returns their paths. The same pack, the same files."""
    whole = packs.read(path).manifest
    name = path.name.removesuffix(".parquet").removesuffix(".pack")
    licences, dataset = path.with_name("LICENSES.md"), path.with_name(f"{name}.croissant.json")
    described = json.dumps(_dataset(name, whole), ensure_ascii=False, indent=2)
    for place, text in ((licences, licences_text(name, whole)), (dataset, f"{described}\n")):
        with files.replacing(place) as half:
            half.write_text(text, encoding="utf-8")
    return [licences, dataset]


def licences_text(name: str, whole: Manifest) -> str:
    """What may be done with a set, and the licence and attribution of each of its sources, as Markdown."""
    sentences = [f"* {sentence}" for sentence in rights.sentences(whole.frame)]
    parts = [f"# Licences of the sources of {name}", "\n".join(sentences)]
    for item in rights.terms(whole.frame):
        facts = {
            "In": f"{item.rows:,} rows",
            "Licence": f"{item.licence}, {item.licence_url}" if item.licence_url.startswith("http") else item.licence,
            "Attribution": item.attribution,
            "Terms": item.restrictions,
            "Homepage": item.homepage,
            "To get it": item.download,
        }
        parts.append("\n".join([f"## {item.title}", "", *(f"* {key}: {value}" for key, value in facts.items())]))
    return "\n\n".join(parts) + "\n"


def _dataset(name: str, whole: Manifest) -> dict[str, Any]:
    """The Croissant description of the pack that a manifest was read from."""
    pack, sources = whole.path, rights.terms(whole.frame)
    count = f"{len(whole):,} rows of {', '.join(item.corpus for item in sources)}, without their audio."
    file = {
        "@type": "cr:FileObject",
        "@id": pack.name,
        "name": pack.name,
        "contentUrl": pack.name,
        "encodingFormat": "application/x-parquet",
        "contentSize": f"{pack.stat().st_size} B",
        "sha256": sha256(pack.read_bytes()).hexdigest(),
    }
    return {
        "@context": _TEXTS["context"],
        "@type": "sc:Dataset",
        "name": name,
        "conformsTo": CONFORMS_TO,
        "description": " ".join([count, f"prep rebuild {pack.name} makes it.", *rights.sentences(whole.frame)]),
        "license": _addresses(sources, "licence_url") or [item.licence for item in sources],
        "url": next(iter(_addresses(sources, "homepage")), pack.name),
        "isBasedOn": _addresses(sources, "homepage"),
        "citeAs": " ".join(item.attribution for item in sources),
        "creditText": " ".join(item.attribution for item in sources),
        "version": "1.0.0",
        "identifier": whole.provenance.logical_hash,
        "distribution": [file],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "rows", "name": "rows", "field": list(_fields(pack))}],
    }


def _addresses(sources: Sequence[Terms], field: str) -> list[str]:
    addresses = dict.fromkeys(str(getattr(item, field)) for item in sources)
    return [address for address in addresses if address.startswith("http")]


def _fields(pack: Path) -> Iterator[dict[str, Any]]:
    """The columns of the file that lie there as the set has them, or as whole numbers of a small unit."""
    frame, metadata = parquet.read(pack)
    forms = metadata["pack"]["codings"]
    units = {name: digits for name, digits in DECIMALS.items() if f"decimals {name}" in forms}
    encoded = {name for form in forms for name in FORMS[form].decode} - set(units)
    for name, dtype in frame.dtypes.items():
        if name in COLUMNS and name not in encoded:
            unit = f", in units of {10 ** -units[name]:.{units[name]}f}" if name in units else ""
            yield {
                "@type": "cr:Field",
                "@id": f"rows/{name}",
                "name": name,
                "description": f"{COLUMNS[name]}{unit}",
                "dataType": _TYPES[str(dtype.pyarrow_dtype)],
                "source": {"fileObject": {"@id": pack.name}, "extract": {"column": name}},
            }
