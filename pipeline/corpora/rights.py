"""What the licences of a set's sources allow: whose recordings are in it, and what of it may be passed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.core.errors import PrepError, did_you_mean
from pipeline.core.table import Table

KINDS = ("audio", "transcripts", "labels")  # what a licence may forbid to pass on
COLUMNS = {
    "transcripts": ("transcript",),
    "labels": ("labels", "scenario", "scene"),
}  # what the corpus's own labels say


@dataclass(frozen=True, slots=True)
class Terms:
    """One source of a set, and its terms. rows: how many rows hold recordings of it, as speech or as noise."""

    corpus: str
    title: str
    homepage: str
    licence: str
    licence_url: str
    attribution: str
    restrictions: str
    download: str
    audio: bool
    transcripts: bool
    labels: bool
    rows: int

    def may_share(self, kind: str) -> bool:
        """Whether the licence lets this kind (`audio`, `transcripts`, `labels`) be passed on."""
        return {"audio": self.audio, "transcripts": self.transcripts, "labels": self.labels}[kind]

    def refusal(self, kind: str) -> str:
        """Why this kind is not passed on, with the licence quoted."""
        return f"{kind} of {self.corpus} may not be passed on. {self.licence}: {self.restrictions}"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What was taken out of a set before it is passed on: a column of the rows of a corpus, and why."""

    corpus: str
    column: str
    rows: int
    why: str


def terms(rows: Table) -> list[Terms]:
    """The terms of each source whose recordings are in the rows, by name; mixtures count for speech and for noise."""
    return [terms_of(name, int(own.sum())) for name, own in sorted(_sources(rows).items())]


def terms_of(name: str, rows: int = 0) -> Terms:
    """The terms of a corpus. PrepError where there is none of that name."""
    c = corpora.find(name)
    share = (c.SHARE_AUDIO, c.SHARE_TRANSCRIPTS, c.SHARE_LABELS)
    return Terms(
        name, c.TITLE, c.HOMEPAGE, c.LICENCE, c.LICENCE_URL, c.ATTRIBUTION, c.RESTRICTIONS, c.DOWNLOAD, *share, rows
    )


def shareable_audio(rows: Table) -> NDArray[np.bool_]:
    """bool [rows]: whether the audio of each row may be passed on: that of its speech and that of its noise."""
    may = np.ones(len(rows), dtype=np.bool_)
    for name, own in _sources(rows).items():
        may &= ~own | terms_of(name).audio
    return may


def redacted(rows: Table, kinds: Iterable[str] = ("transcripts", "labels")) -> tuple[Table, list[LeftOut]]:
    """(the rows without what their corpus's licence forbids to pass on, what was left out).

    `keyword` stays: it is the user's own class label. What a corpus says in `scene` of noise goes into mixtures, by the
    noise's licence.
    """
    left: list[LeftOut] = []
    for kind in kinds:
        for column in COLUMNS.get(kind, ()):
            for name, own in sorted(_owners(rows, column).items()):
                held = own & rows.filled_in(column)
                if not terms_of(name).may_share(kind) and held.any():
                    rows = rows.blanked(column, held)
                    left.append(LeftOut(name, column, int(held.sum()), terms_of(name).refusal(kind)))
    return rows, left


def refuse(kind: str, name: str) -> None:
    """PrepError with the licence quoted where a corpus does not let this kind be passed on."""
    if kind not in KINDS:
        raise PrepError(f'"{kind}" is nothing that a licence speaks of{did_you_mean(kind, KINDS)}')
    if not terms_of(name).may_share(kind):
        raise PrepError(terms_of(name).refusal(kind))


def sentences(rows: Table) -> list[str]:
    """What may be done with these rows, in plain words: of their audio, their mixtures, their transcripts and labels."""
    if not len(rows):
        return ["There are no rows."]
    return [*_of_audio(rows), *_of_mixtures(rows), *_of_words(rows), *_alike(rows)]


def _of_audio(rows: Table) -> Iterator[str]:
    free = int(shareable_audio(rows).sum())
    held = len(rows) - free
    if not held:
        yield f"The audio of all {_rows(free)} may be passed on, with the attribution."
        return
    because = " and ".join(item.corpus for item in terms(rows) if not item.audio)
    if free:
        yield f"The audio of {_rows(free)} may be passed on, with the attribution; of {held:,} it may not, for it holds {because}."
    else:
        yield f"The audio of all {_rows(held)} may not be passed on, for it holds {because}."


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _of_mixtures(rows: Table) -> Iterator[str]:
    mixed = rows.where(rows.equal("kind", "mixture"))
    noise = "regexp_extract(noise_source, '^@([^/]+)/', 1)"
    for speech, added, count in (
        mixed.query(f"SELECT corpus, {noise}, count(*) FROM rows GROUP BY 1, 2 ORDER BY 1, 2") if len(mixed) else ()
    ):
        both = [terms_of(name) for name in dict.fromkeys((speech, added))]
        closed = [item.corpus for item in both if not item.audio]
        alike = [item.licence for item in both if _share_alike(item)]
        hold = "mixture holds" if count == 1 else "mixtures hold"
        told = f"{count:,} {hold} speech of {speech} and noise of {added}: the terms of both bind"
        if closed:
            yield f"{told}; their audio may not be passed on, because of {' and '.join(closed)}."
        else:
            yield f"{told}; their audio may be passed on{f', under the same licence ({alike[0]})' if alike else ''}."


def _of_words(rows: Table) -> Iterator[str]:
    _, left = redacted(rows)
    if not left:
        yield "Nothing that the rows say is forbidden to pass on: no transcript and no label of a corpus that forbids it is in them."
        return
    told = ", ".join(f"{item.column} of {_rows(item.rows)} ({item.corpus})" for item in left)
    yield f"The manifest itself may not be passed on: it holds {told}. prep pack writes one without them."


def _alike(rows: Table) -> Iterator[str]:
    for item in terms(rows):
        if item.audio and _share_alike(item):
            yield f"What is made of {item.corpus} and passed on goes under the same licence: {item.licence}."


def _share_alike(item: Terms) -> bool:
    return "BY-SA" in item.licence


def held_by(rows: Table, column: str, name: str) -> NDArray[np.bool_]:
    """bool [rows]: where what a column says is of this corpus; a mixture's scene is that of its noise."""
    return _owners(rows, column).get(name, np.zeros(len(rows), dtype=np.bool_))


def _sources(rows: Table) -> dict[str, NDArray[np.bool_]]:
    """corpus -> bool [rows], where a row holds recordings of it: as its own, or as the noise in it."""
    found: dict[str, NDArray[np.bool_]] = {}
    for owners in (_owners(rows, "corpus"), _noise_owners(rows)):
        for name, own in owners.items():
            found[name] = found[name] | own if name in found else own
    return found


def _owners(rows: Table, column: str) -> dict[str, NDArray[np.bool_]]:
    """corpus -> bool [rows], whose label the column holds: a mixture's scene is that of its noise."""
    own = {str(name): rows.equal("corpus", str(name)) for name in rows.codes("corpus")[1]}
    if column != "scene":
        return own
    mixed = rows.equal("kind", "mixture")
    held = {name: where & ~mixed for name, where in own.items()}
    for name, where in _noise_owners(rows).items():
        held[name] = held.get(name, np.zeros(len(rows), dtype=np.bool_)) | where
    return held


def _noise_owners(rows: Table) -> dict[str, NDArray[np.bool_]]:
    """corpus -> bool [rows], whose noise is in a mixture: the first word of its source, `@cochlscene/Train/...`."""
    codes, sources = rows.codes("noise_source")
    names = [str(source).removeprefix("@").partition("/")[0] if source is not None else "" for source in sources]
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    of_row = np.array([number[name] for name in names], dtype=np.int64)[codes] if len(codes) else codes
    return {name: of_row == n for name, n in number.items() if name}
