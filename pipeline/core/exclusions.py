"""Files of clips to leave out: an id a line, and after a tab why. Audit, verify and evaluate write them for filter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from unicodedata import normalize

from pipeline.core import files, keys, texts
from pipeline.core.errors import PrepError

_MOST_BYTES = 128 << 20  # three million ids


def read(path: Path) -> list[str]:
    """The ids in the file, sorted; blank lines and lines that begin with # are passed over. PrepError: unreadable."""
    try:
        lines = texts.read(path, _MOST_BYTES).splitlines()
    except (OSError, ValueError) as error:
        raise PrepError(f"{path}: cannot be read ({error}); expected text in UTF-8, an id a line") from None
    ids = {normalize("NFC", line.partition("\t")[0].rstrip()) for line in lines if not line.startswith("#")}
    return sorted(ids - {""})


def write(path: Path, reasons: Mapping[str, str]) -> str:
    """Writes a file of ids, and returns a sentence on it. reasons: id -> why."""
    with files.replacing(path) as half:
        lines = [f"{row_id}\t{why}\n" for row_id, why in sorted(reasons.items())]
        half.write_text("".join(["# prep filter --exclude FILE leaves these out\n", *lines]), encoding="utf-8")
    return f"{path}: {len(reasons):,} clips to leave out; prep filter --exclude {path} does it"


def identity(ids: Iterable[str]) -> str:
    """The hash of the ids, as recipes carry it."""
    return keys.fingerprint(*sorted(ids))
