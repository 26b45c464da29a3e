"""README.md of an export: what it is and how to load it, whose recordings are in it, and what may be done with them."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.core.table import Table
from pipeline.corpora import rights
from pipeline.corpora.rights import LeftOut, Terms

_OWN = """\
**Not to be passed on.** This folder was exported with `--own-use`: it holds audio, transcripts or labels that the licences
named below forbid to pass on. Do not copy it to others, do not upload it. What may be passed on: `prep export --shareable`,
or, audio-free and enough to rebuild every sample, `prep pack`.
"""


def readme(card: str, rows: Table, left: Sequence[LeftOut], use: str) -> str:
    """The whole text. card: what the format says of itself."""
    parts = [card.rstrip() + "\n"]
    if use == "own" and any(not (t.audio and t.transcripts and t.labels) for t in rights.terms(rows)):
        parts.append(_OWN)
    if left:
        lines = [f"* {item.column} of {item.corpus}, {item.rows:,} rows: {item.why}" for item in left]
        parts.append("## Left out\n\n" + "\n".join(lines) + "\n")
    parts.append("## Sources and licences\n\n" + "\n\n".join(_source(t) for t in rights.terms(rows)) + "\n")
    return "\n".join(parts)


def _source(t: Terms) -> str:
    may = [kind for kind in rights.KINDS if t.may_share(kind)]
    return "\n".join(
        [
            f"### {t.title} (`{t.corpus}`, {t.rows:,} rows)",
            "",
            f"* Homepage: {t.homepage}",
            f"* Licence: {t.licence}" + (f" ({t.licence_url})" if t.licence_url != t.licence else ""),
            f"* Attribution: {t.attribution}",
            f"* Restrictions: {t.restrictions}",
            f"* May be passed on: {', '.join(may) or 'nothing'}",
        ]
    )
