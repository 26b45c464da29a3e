"""What the licences of a set's sources allow: whose recordings are in it, and what of it may be passed on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline import corpora
from pipeline.core import frame as frames
from pipeline.core import manifest, parquet, sql
from pipeline.core.errors import ManifestError, PrepError, did_you_mean
from pipeline.corpora.own import note

if TYPE_CHECKING:
    import pandas as pd

manifest.WATCHERS.append(note)  # whoever reads a manifest knows the corpora of one's own that are in it
KINDS = ("audio", "transcripts", "labels")  # what a licence may forbid to pass on
COLUMNS = {"transcripts": ("transcript",), "labels": ("labels", "scenario", "scene")}  # what a corpus's own labels say
UNKNOWN = "(not known here)"


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


def terms(rows: pd.DataFrame) -> list[Terms]:
    """The terms of each source whose recordings are in the rows, by name; mixtures count for speech and for noise."""
    return [terms_of(name, int(own.sum())) for name, own in sorted(_sources(rows).items())]


def terms_of(name: str, rows: int = 0) -> Terms:
    """The terms of a corpus. Without an adapter on this machine its licence is unknown: nothing may be passed on."""
    try:
        c = corpora.find(name)
    except corpora.UnknownCorpus:
        why = "this machine has no adapter of it, so nothing of it may be passed on; --corpus FILE loads an adapter"
        no = UNKNOWN
        return Terms(
            name, f"{name} {no}", no, no, no, no, why, no, audio=False, transcripts=False, labels=False, rows=rows
        )
    texts = (c.TITLE, c.HOMEPAGE, c.LICENCE, c.LICENCE_URL, c.ATTRIBUTION, c.RESTRICTIONS, c.DOWNLOAD)
    return Terms(name, *texts, c.SHARE_AUDIO, c.SHARE_TRANSCRIPTS, c.SHARE_LABELS, rows)


def note_file(path: Path) -> None:
    """Makes the corpora of one's own known that are in a manifest or a pack; nothing for another file."""
    with suppress(ManifestError):
        manifest.note(parquet.metadata(path))


def shareable_audio(rows: pd.DataFrame) -> NDArray[np.bool_]:
    """bool [rows]: whether the audio of each row may be passed on: that of its speech and that of its noise."""
    may = np.ones(len(rows), dtype=np.bool_)
    for name, own in _sources(rows).items():
        may &= ~own | terms_of(name).audio
    return may


def redacted(
    rows: pd.DataFrame, kinds: Iterable[str] = ("transcripts", "labels")
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """(the rows without what their corpus's licence forbids to pass on, what was left out).

    `keyword` stays: it is the user's own class label. What a corpus says in `scene` of noise goes into mixtures, by the
    noise's licence.
    """
    left: list[LeftOut] = []
    for kind in kinds:
        for column in COLUMNS.get(kind, ()):
            for name, own in sorted(_owners(rows, column).items()):
                source = terms_of(name)
                given = own & frames.present(rows, column)
                if column == "labels":
                    given &= rows[column].list.len().to_numpy(np.int64, na_value=0) > 0
                if not source.may_share(kind) and given.any():
                    nothing: dict[str, str] | None = {} if column == "labels" else None
                    rows = frames.with_columns(rows, **{column: frames.choose(given, nothing, rows[column])})
                    left.append(LeftOut(name, column, int(given.sum()), source.refusal(kind)))
    return rows, left


def refuse(kind: str, name: str) -> None:
    """PrepError with the licence quoted where a corpus does not let this kind be passed on."""
    if kind not in KINDS:
        raise PrepError(f'"{kind}" is nothing that a licence speaks of{did_you_mean(kind, KINDS)}')
    corpora.find(name)  # a name that somebody typed may be misspelt
    if not terms_of(name).may_share(kind):
        raise PrepError(terms_of(name).refusal(kind))


def owned_by(rows: pd.DataFrame, column: str, name: str) -> NDArray[np.bool_]:
    """bool [rows]: where what a column says is of this corpus; a mixture's scene is that of its noise."""
    return _owners(rows, column).get(name, np.zeros(len(rows), dtype=np.bool_))


def sentences(rows: pd.DataFrame) -> list[str]:
    """What may be done with these rows, in plain words: with their audio, mixtures, transcripts and labels."""
    if not len(rows):
        return ["There are no rows."]
    sources = terms(rows)
    closed = " and ".join(source.corpus for source in sources if not source.audio)
    free = int(shareable_audio(rows).sum())
    if free == len(rows):
        audio = f"The audio of all {_rows(free)} may be passed on, with the attribution."
    elif free:
        rest = f"of {len(rows) - free:,} it may not, for it holds {closed}"
        audio = f"The audio of {_rows(free)} may be passed on, with the attribution; {rest}."
    else:
        audio = f"The audio of all {_rows(len(rows))} may not be passed on, for it holds {closed}."
    _, left = redacted(rows)
    if left:
        texts = ", ".join(f"{item.column} of {_rows(item.rows)} ({item.corpus})" for item in left)
        manifest = f"The manifest itself may not be passed on: it holds {texts}. prep pack writes one without them."
    else:
        manifest = (
            "Nothing that the rows say is forbidden to pass on: they hold no transcript and no label of a corpus that "
            "forbids it."
        )
    alike = [
        f"What is made of {source.corpus} and passed on goes under the same licence: {source.licence}."
        for source in sources
        if source.audio and _is_share_alike(source)
    ]
    return [audio, *_on_mixtures(rows), manifest, *alike]


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _on_mixtures(rows: pd.DataFrame) -> Iterator[str]:
    """A sentence for each pair of a speech corpus and a noise corpus in mixtures."""
    noise = "regexp_extract(noise_source, '^@([^/]+)/', 1)"
    pairs = f"SELECT corpus, {noise}, count(*) FROM rows WHERE kind = 'mixture' GROUP BY 1, 2 ORDER BY 1, 2"
    for speech, added, count in sql.query(rows, pairs):
        both = [terms_of(name) for name in dict.fromkeys((speech, added))]
        closed = [source.corpus for source in both if not source.audio]
        alike = [source.licence for source in both if _is_share_alike(source)]
        hold = "mixture holds" if count == 1 else "mixtures hold"
        bound = f"{count:,} {hold} speech of {speech} and noise of {added}: the terms of both bind; their audio may"
        if closed:
            yield f"{bound} not be passed on, because of {' and '.join(closed)}."
        else:
            yield f"{bound} be passed on{f', under the same licence ({alike[0]})' if alike else ''}."


def _is_share_alike(source: Terms) -> bool:
    return "BY-SA" in source.licence


def _sources(rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """corpus -> bool [rows], where a row holds recordings of it: as its own, or as the noise in it."""
    sources = _owners(rows, "corpus")
    for name, own in _noise_owners(rows).items():
        sources[name] = sources[name] | own if name in sources else own
    return sources


def _owners(rows: pd.DataFrame, column: str) -> dict[str, NDArray[np.bool_]]:
    """corpus -> bool [rows], whose label the column holds: a mixture's scene is that of its noise."""
    of_row, names = frames.codes(rows["corpus"])
    owners = {str(name): of_row == number for number, name in enumerate(names)}
    if column == "scene":
        mixed = frames.equal(rows["kind"], "mixture")
        owners = {name: own & ~mixed for name, own in owners.items()}
        for name, own in _noise_owners(rows).items():
            owners[name] = owners[name] | own if name in owners else own
    return owners


def _noise_owners(rows: pd.DataFrame) -> dict[str, NDArray[np.bool_]]:
    """corpus -> bool [rows], whose noise is in a mixture: the first word of its source, `@cochlscene/Train/...`."""
    codes, sources = frames.codes(rows["noise_source"])
    names = [(source or "").removeprefix("@").partition("/")[0] for source in sources]
    number = {name: n for n, name in enumerate(dict.fromkeys(names))}
    of_row = np.array([number[name] for name in names], dtype=np.int64)[codes]
    return {name: of_row == n for name, n in number.items() if name}
