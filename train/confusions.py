"""False alarms of an evaluation by kind, the file that hands them on, and the rows that training takes from it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pipeline.core import frame as frames
from pipeline.core import texts
from pipeline.core.errors import PrepError, sample
from pipeline.core.row import Row
from pipeline.corpora import near
from pipeline.corpora.lexicon import Lexicon
from train import scores
from train.data import Manifest, Prediction
from train.folder import write_text
from train.scores import Scorer
from train.text import NOISE

MOST_PHRASES = 20  # that are listed
KEYS = ("negative_clips", "negative_hours", "false_alarms", "per_hour", "per_hour_upper_95")  # of a kind


def kind_of(clip: Prediction, lexicon: Lexicon) -> str:
    """What a clip without a call is: `noise`, `noise like speech`, or a kind of speech; `guarded: GUARD` of those."""
    if clip.truth == NOISE:
        return "noise like speech" if clip.speech_like else NOISE
    kind, guard = near.kind(clip.transcript, lexicon)
    return f"{kind}: {guard}" if guard else kind


def report(clips: Sequence[Prediction], scorer: Scorer, lexicon: Lexicon) -> dict[str, Any]:
    """The false alarms by what the clip truly is, the most frequent kinds first, and by what was heard.

    heard: keyword and phrase of the call, which is None where a score or a classifier decided without a phrase.
    """
    parts: dict[str, list[Prediction]] = {}
    for clip in clips:
        if clip.truth not in (None, *scorer.calls):
            parts.setdefault(kind_of(clip, lexicon), []).append(clip)
    by_kind = []
    for kind, part in sorted(parts.items()):
        alarms = scores.alarms(part, scorer, f"kind {kind}")
        by_kind.append({"value": kind, **{key: alarms[key] for key in KEYS}})
    heard = Counter((clip.decision, _phrase(clip, lexicon)) for clip in false_alarms(clips, scorer))
    return {
        "by_kind": sorted(by_kind, key=lambda each: -each["false_alarms"]),
        "heard": [
            {"keyword": keyword, "phrase": phrase, "false_alarms": count}
            for (keyword, phrase), count in sorted(heard.items(), key=lambda each: (-each[1], str(each[0])))
        ][:MOST_PHRASES],
    }


def _phrase(clip: Prediction, lexicon: Lexicon) -> str | None:
    """The phrase in what was decoded that makes the decision."""
    calls = lexicon.decision(clip.text).calls
    return next((call.phrase for call in calls if call.keyword == clip.decision), None)


def false_alarms(clips: Sequence[Prediction], scorer: Scorer) -> list[Prediction]:
    """The clips without a call that a call was heard in."""
    return [clip for clip in clips if clip.truth not in (None, *scorer.calls) and scorer.is_alarm(clip)]


def write(path: Path, clips: Sequence[Prediction], scorer: Scorer, lexicon: Lexicon) -> str:
    """Writes the ids of the false alarms, one a line, and says how many they are.

    Speech with a call among its words is left out: its label is `others` by the rule of the data, but it is a call.
    """
    alarms = false_alarms(clips, scorer)
    ids = [clip.id for clip in alarms if kind_of(clip, lexicon) != near.CALL]
    write_text(path, "".join(f"{each}\n" for each in ids))
    left = f"; left out: {len(alarms) - len(ids):,} with a call among other words" if len(alarms) > len(ids) else ""
    return f"alarms  {len(ids):,} false alarms -> {path}{left}"


# ---- hard negatives of a training


def read(path: Path, manifest: Manifest, lexicon: Lexicon) -> frozenset[str]:
    """The hard negatives in a file: ids of rows of train and dev, one a line.

    PrepError, with the ids, where they are of test, of calls, or of no row of the manifest.
    """
    try:
        ids = list(dict.fromkeys(line for line in texts.read(path).split("\n") if line))
    except (OSError, ValueError) as error:
        raise PrepError(f"{path}: cannot be read as ids, one a line ({error})") from None
    if not ids:
        raise PrepError(f"{path}: no id in it: there is no hard negative to learn from")
    frame = manifest.frame
    rows = {row.id: row for row in frames.rows(frames.pick(frame, frames.among(frame["id"], ids)), Row)}
    faults = {
        f"not in {manifest.path}": [each for each in ids if each not in rows],
        "of a split that no training may see, which is neither train nor dev: take the false alarms of train (evaluate"
        " --split train --allow-overlap --write-false-alarms FILE)": [
            row.id for row in rows.values() if row.split not in ("train", "dev")
        ],
        "calls, not negatives": [row.id for row in rows.values() if row.keyword in lexicon.keywords[:-1]],
    }
    for fault, found in faults.items():
        if found:
            raise PrepError(f"{path}: {len(found):,} of {len(ids):,} ids are {fault}: {sample(found)}")
    return frozenset(ids)


def moved(ids: Collection[str], train: Sequence[Row], dev: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """(train with the rows of dev that are hard negatives, dev without all rows of their groups)."""
    hard = [row for row in dev if row.id in ids]
    groups = {(row.corpus, row.group) for row in hard}
    return [*train, *hard], [row for row in dev if (row.corpus, row.group) not in groups]
