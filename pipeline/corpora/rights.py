"""What the licences of a set's sources allow: whose recordings are in it, and what of it may be passed on.

COLUMNS is the one list of what is kept back: every way out (export, pack, report, evaluation page) asks `redacted`.
A group and a name of a recording go by the hash of a recording's samples. So the pseudonym is the same in every file
that is made of a set, and it cannot be found by guessing names: whoever wants to know it needs the recording itself.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
SAID = ("transcripts", "labels")  # those of them that columns hold
COLUMNS = {  # what is kept back -> the columns that hold it: values go, `group` and names go by a pseudonym
    "transcripts": ("transcript",),
    "labels": ("labels", "scenario", "scene", "group"),
    "names": ("id", "source", "speech_id", "noise_id", "noise_source"),
}
_DIGITS = 16  # hex digits of a hash in a pseudonym
_TAIL = re.compile(r"_snr[-+.0-9a-z]*_[0-9]+")  # of the id of a mixture, after that of its speech
_WITHHELD = "(left out: it quotes a transcript, label or name of {corpus})"
_QUOTES = {  # SQL (`where`) that names such a column and holds a literal
    "transcripts": re.compile(r"(?is)(?=.*\btranscript\b).*['$]"),
    "labels": re.compile(r"(?is)(?=.*(\blabels\b|\"group\")).*['$]"),
    "names": re.compile(r"(?is)(?=.*\b(id|source|speech_id|noise_id|noise_source)\b).*['$]"),
}
_PSEUDONYM = {  # SQL of the pseudonym of a group; rows without a hash are numbered
    "group": f"""concat('group-', coalesce(
        substr(min(source_pcm_hash) OVER (PARTITION BY corpus, "group"), 1, {_DIGITS}),
        CAST(dense_rank() OVER (ORDER BY corpus, "group") AS VARCHAR)))""",
    "is_one": """coalesce("group" = source_pcm_hash
        OR "group" = min(source_pcm_hash) OVER (PARTITION BY corpus, "group"), false)""",
}
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
        manifest.of_metadata(path, parquet.metadata(path))


def shareable_audio(rows: pd.DataFrame, free: Collection[str] = ()) -> NDArray[np.bool_]:
    """bool [rows]: whether the audio of each row may be passed on: that of its speech and that of its noise.

    free: corpora whose recordings only stand in for it, and may.
    """
    may = np.ones(len(rows), dtype=np.bool_)
    for name, own in _sources(rows).items():
        may &= ~own | (name in free or terms_of(name).audio)
    return may


def redacted(
    rows: pd.DataFrame, kinds: Iterable[str] = tuple(COLUMNS), named: Collection[str] = ()
) -> tuple[pd.DataFrame, list[LeftOut]]:
    """(the rows without what their corpus's licence forbids to pass on, what was left out).

    kinds: keys of COLUMNS. named: corpora whose names of recordings stay. `keyword` stays: it is the user's own class
    label. What a corpus says in `scene` of noise goes into mixtures, by the noise's licence. Groups and names go by
    pseudonyms; those of a part of a set may be others than those of the whole, so rows are picked afterwards.
    """
    left: list[LeftOut] = []
    for kind in kinds:
        names = pseudonyms(rows) if kind == "names" else {}
        for column in COLUMNS[kind]:
            for name, own in sorted(_owners(rows, column).items()):
                if may_share(name, kind) or not own.any() or (kind == "names" and name in named):
                    continue
                instead, given = _instead(rows, column, own, names)
                if given.any():
                    rows = frames.with_columns(rows, **{column: frames.choose(given, instead, rows[column])})
                    left.append(LeftOut(name, column, int(given.sum()), _why(terms_of(name), kind, column)))
    return rows, left


def _instead(
    rows: pd.DataFrame, column: str, own: NDArray[np.bool_], names: Mapping[str, str]
) -> tuple[Any, NDArray[np.bool_]]:
    """(what stands in a column instead of its values, bool [rows]: where that is another value)."""
    given = own & frames.present(rows, column)
    if column == "labels":
        return {}, given & (rows[column].list.len().to_numpy(np.int64, na_value=0) > 0)
    if column == "group":
        groups = sql.derive(rows, **_PSEUDONYM)
        given &= ~frames.equal(groups["is_one"], True) & frames.differs(groups["group"], rows["group"])
        return groups["group"], given
    if column in COLUMNS["names"]:
        instead = renamed(rows[[column]], names)[column]
        return instead, given & frames.differs(instead, rows[column])
    return None, given


def _why(source: Terms, kind: str, column: str) -> str:
    """Why a column is left out, with the licence quoted."""
    if column == "group":
        return f"a group may be a speaker's name; it goes by the hash of one of its recordings. {source.refusal(kind)}"
    if kind == "names":
        return f"a file may be named after a person; it goes by the hash of the recording. {source.refusal(kind)}"
    return source.refusal(kind)


def may_share(name: str, kind: str) -> bool:
    """Whether this kind (of KINDS, or the `names` of recordings) of a corpus may be passed on."""
    if kind != "names":
        return terms_of(name).may_share(kind)
    try:
        return corpora.find(name).SHARE_NAMES
    except corpora.UnknownCorpus:
        return False


def pseudonyms(rows: pd.DataFrame) -> dict[str, str]:
    """id or source -> what it goes by, for every recording in the rows whose name is kept back.

    `recordings/3f9a0c...`: the beginning of the hash of its samples, and for a mixture the end of its id.
    """
    noise = _noise_owners(rows)
    closed = {name for name in {*_owners(rows, "corpus"), *noise} if not may_share(name, "names")}
    names: dict[str, str] = {}
    owner: dict[str, str] = {}  # pseudonym -> whose it is
    if not closed:
        return names

    def put(name: str, wanted: str) -> str:
        """The pseudonym of a name: the wanted one, or with a number where another name has it."""
        free = wanted
        while name not in names and owner.setdefault(free, name) != name:
            free = f"{wanted}-{int(free.removeprefix(wanted).lstrip('-') or 1) + 1}"
        return names.setdefault(name, free)

    columns = ["source", "id", "corpus", "speech_id", "source_pcm_hash"]
    own = frames.pick(rows[columns], frames.among(rows["corpus"], closed))
    for source, row_id, corpus, speech_id, digest in sorted(_cells(own, columns), key=lambda cells: cells[:2]):
        stem = put(source, f"@{corpus}/{(digest or 'unnamed')[:_DIGITS]}").removeprefix("@")
        stem = put(speech_id, stem) if speech_id else stem
        tail = row_id.removeprefix(speech_id or row_id)
        put(row_id, stem + tail if _TAIL.fullmatch(tail) else stem)
    columns = ["noise_source", "noise_id", "noise_pcm_hash"]  # noise need not be a row of the set
    for name in sorted(closed & noise.keys()):
        for source, row_id, digest in sorted(set(_cells(frames.pick(rows[columns], noise[name]), columns)), key=str):
            stem = put(source, f"@{name}/noise-{(digest or 'unnamed')[:_DIGITS]}").removeprefix("@")
            if row_id:
                put(row_id, stem)
    return names


def _cells(rows: pd.DataFrame, columns: list[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(frames.values(rows[name]) for name in columns), strict=True)


def renamed(rows: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    """The rows with other ids and sources. names: id or source -> what stands instead; others stay."""
    there = [name for name in COLUMNS["names"] if name in rows.columns and names]
    columns = {name: [names.get(value, value) for value in frames.each(rows[name])] for name in there}
    return frames.with_columns(rows, **columns)


def redacted_recipe(
    recipe: Mapping[str, Any], rows: pd.DataFrame, kinds: Iterable[str] = tuple(COLUMNS), named: Collection[str] = ()
) -> tuple[Mapping[str, Any], list[LeftOut]]:
    """(the recipe, without texts in it that quote what may not be passed on (`where` may), what was left out).

    What a rule quotes may be in no row, for it may be what the rule drops: so a literal beside such a column is enough.
    """
    left: list[LeftOut] = []
    kinds = list(kinds)
    for name in sorted(_sources(rows)):
        own = frames.equal(rows["corpus"], name)
        for kind in [kind for kind in kinds if not may_share(name, kind)]:
            if kind == "names" and name in named:
                continue
            words: set[str] = {f"{name}/"} if kind == "names" else set()
            if kind == "transcripts":
                transcripts = frames.codes(frames.pick(rows[["transcript"]], own)["transcript"])[1]
                words = {text.strip() for text in transcripts if text and text.strip()}
            quoting = [t for t in _texts(recipe) if _QUOTES[kind].match(t) or any(word in t for word in words)]
            if quoting:
                recipe = _replaced(recipe, dict.fromkeys(quoting, _WITHHELD.format(corpus=name)))
                left.append(LeftOut(name, "recipe", len(quoting), terms_of(name).refusal(kind)))
    return recipe, left


def _texts(value: Any) -> Iterator[str]:
    """Every text in nested options."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _replaced(value: Any, instead: Mapping[str, str]) -> Any:
    """Nested options with other texts in place of these."""
    if isinstance(value, Mapping):
        return {key: _replaced(inner, instead) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_replaced(inner, instead) for inner in value]
    return instead.get(value, value) if isinstance(value, str) else value


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
    _, left = redacted(rows, SAID)
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
    """corpus -> bool [rows], whose value the column holds: a mixture's scene is that of its noise."""
    if column in ("noise_id", "noise_source"):
        return _noise_owners(rows)
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
