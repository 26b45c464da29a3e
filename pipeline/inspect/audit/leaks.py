"""Leaks that the columns tell: groups, source clips, noise recordings, identical audio and transcripts in two splits. Opens no audio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.core.table import Table
from pipeline.corpora.lexicon import normalised
from pipeline.inspect.audit.outcome import Clear, Finding, Outcome, counted, rank

EXAMPLES = 4
HASHES = ("pcm_hash", "speech_pcm_hash", "noise_pcm_hash", "source_pcm_hash")
NEEDED = (
    "id",
    "corpus",
    "split",
    "group",
    "kind",
    "source",
    "speech_id",
    "noise_id",
    "noise_source",
    "transcript",
    *HASHES,
)


@dataclass(frozen=True, slots=True)
class Leak:
    """What must not be in two splits. uses: SQL that gives (name, value, split, id) of each use of such a thing; name: which of
    the names it has, as 0 for its source and 1 for its id.

    one, many: what it is called. meaning: what a leak of it does. remedy: what to do.
    """

    check: str
    uses: str
    one: str
    many: str
    meaning: str
    remedy: str


_RECORDED = "What was learned of a recording in one split is asked for in another, so scores are too good."
LEAKS = (
    Leak(
        "group",
        """SELECT 0 AS name, concat(corpus, ' ', "group") AS value, split, id FROM rows""",
        "group (speaker, submission, field recording)",
        "groups (speakers, submissions, field recordings)",
        "A model may know the voice or the place instead of the words, so scores are too good.",
        "Put each group into one split: run prep filter on what prep ingest wrote, it keeps groups apart.",
    ),
    Leak(
        "source",
        "SELECT 0 AS name, source AS value, split, id FROM rows WHERE kind <> 'noise'"
        " UNION ALL SELECT 1, coalesce(speech_id, id), split, id FROM rows WHERE kind <> 'noise'",
        "source clip",
        "source clips",
        _RECORDED,
        "Mix from one manifest whose splits are apart (prep filter), rather than join manifests that were split differently.",
    ),
    Leak(
        "noise",
        "SELECT 0 AS name, noise_source AS value, split, id FROM rows WHERE noise_source IS NOT NULL"
        " UNION ALL SELECT 0, source, split, id FROM rows"
        " WHERE kind = 'noise' OR source IN (SELECT noise_source FROM rows WHERE noise_source IS NOT NULL)"
        " UNION ALL SELECT 1, coalesce(noise_id, id), split, id FROM rows WHERE noise_id IS NOT NULL OR kind = 'noise'",
        "noise recording",
        "noise recordings",
        "A detector that heard this very noise in training passes over it in the test: false alarms are counted too low.",
        "Run prep mix again: it draws noise of each row's own split.",
    ),
    Leak(
        "pcm",
        "SELECT 0 AS name, pcm_hash AS value, split, id FROM rows WHERE pcm_hash IS NOT NULL"
        " UNION ALL SELECT 0, speech_pcm_hash, split, id FROM rows WHERE speech_pcm_hash IS NOT NULL"
        " UNION ALL SELECT 0, noise_pcm_hash, split, id FROM rows WHERE noise_pcm_hash IS NOT NULL"
        " UNION ALL SELECT 1, source_pcm_hash, split, id FROM rows WHERE source_pcm_hash IS NOT NULL",
        "sound, the same to the sample,",
        "sounds, the same to the sample,",
        _RECORDED,
        "Drop all but one copy: prep filter and prep resample do, in favour of test.",
    ),
)


def checked(rows: Table, leak: Leak, fails: bool) -> Outcome:
    """Whether something of this kind is in two splits, and where."""
    leaking = (
        f"WITH uses AS ({leak.uses}), leaking AS (SELECT name, value FROM uses GROUP BY name, value HAVING min(split) <> max(split)),"
        " leaks AS (SELECT uses.* FROM uses JOIN leaking USING (name, value))"
    )
    counts = rows.query(f"{leaking} SELECT name, count(*) FROM leaking GROUP BY name ORDER BY count(*) DESC, name")
    if not counts:
        return Clear(leak.check, f"no {leak.one.rstrip(',')} is in two splits")
    name, number = counts[0]  # those with most: a thing has two names or two hashes, and may leak by one of them alone
    concerned, splits = rows.query(f"{leaking} SELECT count(DISTINCT id), list(DISTINCT split) FROM leaks")[0]
    told = rows.query(
        f"{leaking}, told AS (SELECT value, split, count(DISTINCT id) AS times, min(id) AS first FROM leaks WHERE name = {name}"
        " GROUP BY value, split), most AS (SELECT value, sum(times) AS times FROM told GROUP BY value ORDER BY 2 DESC, 1"
        f" LIMIT {EXAMPLES}) SELECT value, split, told.times, first FROM told JOIN most USING (value) ORDER BY most.times DESC, value"
    )
    places: dict[str, list[tuple[str, int, str]]] = defaultdict(list)
    for value, split, times, first in told:
        places[value].append((split, times, first))
    what = f"{counted(number, leak.one, leak.many)} {'is' if number == 1 else 'are'} in more than one split"
    detail = f"{what} ({', '.join(sorted(splits, key=rank))}), in {counted(concerned, 'row')}.\n{leak.meaning}\n{leak.remedy}"
    examples = tuple(_example(value, uses) for value, uses in places.items())
    return Finding(leak.check, fails, concerned, detail, examples, {"leaking": number})


def _example(value: str, uses: Sequence[tuple[str, int, str]]) -> str:
    """`@cochlscene/Train/...: train 12 rows (cochlscene/...), test 1 row (aihub/...)`."""
    parts = [
        f"{split} {counted(count, 'row')} ({row_id})"
        for split, count, row_id in sorted(uses, key=lambda use: rank(use[0]))
    ]
    return f"{value}: {', '.join(parts)}"


def transcripts(rows: Table, fails: bool) -> Outcome:
    """Transcripts that are in two splits, compared as the lexicon compares them; counted for each keyword."""
    check = "transcript"
    told = rows.only(["transcript", "split"]).where(rows.present("transcript"))
    if not len(told):
        return Clear(check, "no row has a transcript")
    texts, spelt = _spelt(told)
    split_codes, splits = told.codes("split")
    there = np.zeros((len(spelt), len(splits)), dtype=np.int64)
    np.add.at(there, (texts, split_codes), 1)
    shared = (there > 0).sum(axis=1) > 1
    if not shared.any():
        return Clear(check, f"none of {counted(len(spelt), 'transcript')} is in two splits")
    often = np.argsort(-there.sum(axis=1) * shared, kind="stable")[: min(EXAMPLES, int(shared.sum()))]
    names = [str(name) for name in splits]
    order = sorted(range(len(names)), key=lambda code: rank(names[code]))
    examples = tuple(
        f"{spelt[n]}: " + ", ".join(f"{names[c]} {there[n, c]:,}" for c in order if there[n, c]) for n in often
    )
    shares = {names[c]: round(float(there[shared, c].sum() / max(1, there[:, c].sum())), 4) for c in order}
    detail = (
        f"{int(shared.sum()):,} of {counted(len(spelt), 'transcript')} (without spacing and punctuation) are in more than one split: "
        + ", ".join(f"{100 * share:.0f} % of the rows of {name}" for name, share in shares.items())
        + ".\nCalls for help repeat by nature; it means that the test is of known sentences in other voices.\n"
        "For unknown sentences, report the scores of the other rows apart."
    )
    return Finding(
        check, fails, int(there[shared].sum()), detail, examples, {"shared": int(shared.sum()), "share_of_rows": shares}
    )


def _spelt(rows: Table) -> tuple[NDArray[np.int64], list[str]]:
    """(for each row the number of its transcript as the lexicon compares it, those transcripts)."""
    codes, transcripts = rows.codes("transcript")
    number: dict[str, int] = {}
    first: list[str] = []
    of_code = []
    for transcript in transcripts:
        key = normalised(str(transcript))
        if key not in number:
            number[key] = len(number)
            first.append(str(transcript).strip() or "(empty)")
        of_code.append(number[key])
    return np.array(of_code, dtype=np.int64)[codes], first
