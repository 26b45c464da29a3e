"""`evaluate --stream`: a detector on long recordings, files or a scene, judged against the times of what is said."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.core import frame as frames
from pipeline.core import texts
from pipeline.core.errors import PrepError
from pipeline.core.files import regular
from pipeline.corpora import lexicon as lexicons
from train import alarms, checkpoint, data, evaluate, streams
from train.alarms import Event, Judged, Utterance
from train.detect import Listening, Stats, lines, listener, usual_windows
from train.features import RATE_HZ
from train.folder import locked, write_json, write_text
from train.system import check_given, system_of

TOLERANCE_S = 0.5  # how far from a call an event of it may be
EVENTS, METRICS = "events.jsonl", "stream.json"
_NEEDED = ("recording", "start", "end", "keyword")
_NO_CALL = ("", "noise")


@dataclass(frozen=True, slots=True, eq=False)
class Truth:
    """What is said, and the recordings that it is said in, as streams of 16 kHz."""

    utterances: list[Utterance]
    recordings: Mapping[str, Callable[[], Iterator[NDArray[np.int16]]]]


def judge(
    say: Callable[[str], None], path: Path, how: Mapping[str, Any], values: Mapping[str, Any], as_json: bool
) -> str:
    """Listens to all recordings of a table or scene, and returns the answer as text or JSON; a folder holds both.

    path: a scene (NAME.scene.parquet), or a CSV with the columns recording (a file, from the table's folder), start,
    end (s) and keyword, which is empty or the lexicon's word for other speech where no call is said; kind and snr_db
    are used where they are there. A line without times names a recording in which nothing is said. how: fields of
    Listening. values: options of `evaluate`.
    """
    options = evaluate.Options(**values)
    check_given(options.checkpoint, options.model)
    listening = Listening(**{**how, "windows": how["windows"] or usual_windows(say)})
    system = system_of(options, "auto")
    cascade = listener(system, listening, options, gated=options.gate)
    truth = read_truth(path, system.lexicon.other)
    if unknown := sorted({each.keyword for each in truth.utterances if each.keyword} - {*system.lexicon.keywords}):
        known = ", ".join(system.lexicon.keywords)
        raise PrepError(f"{path}: the keyword {unknown[0]!r} is none of the lexicon: expected {known}, or none")
    name = f"stream-{path.name.split('.')[0]}"
    out = options.out or (options.checkpoint or Path("runs") / system.name / "x").parent / name
    with locked(out):
        events, stats = [], Stats()
        seconds: dict[str, float] = {}
        bar = tqdm(truth.recordings.items(), unit=" recordings", disable=None, leave=False, dynamic_ncols=True)
        for name, blocks in bar:
            before, known = stats.seconds, len(stats.latencies)
            found = [line for line in lines(cascade, blocks(), name, listening, stats) if line["event"]]
            seconds[name] = stats.seconds - before
            if bar.disable:  # no terminal
                say(f"heard   {name}: {seconds[name] / 60:.1f} min, {len(found)} events")
            for line, latency in zip(found, stats.latencies[known:], strict=True):
                events.append(Event(name, line["start"], line["end"], line["keyword"], line["end"] + latency))
        late = [each for each in truth.utterances if each.start > seconds[each.recording]]
        if late:
            where = f"{late[0].recording} at {late[0].start:g} s, of {seconds[late[0].recording]:g} s"
            say(f"caution {len(late):,} times are after the end of their recording and count as misses: {where}")
        verdicts = alarms.judged(events, truth.utterances, TOLERANCE_S)
        answer = {
            "name": system.name,
            "stream": path.name,
            "recordings": len(seconds),
            "checkpoint": system.origin,
            "lexicon_hash": lexicons.identity(system.lexicon),
            "options": asdict(listening) | {"decision": options.decision, "tolerance": options.tolerance},
            "threshold": cascade.threshold,
            **alarms.scores(verdicts, truth.utterances, seconds, listening.refractory),
            "cost": {
                "windows": stats.windows,
                "computing_s": stats.computing_s,
                "real_time_factor": stats.computing_s / stats.seconds,
            },
            "code": checkpoint.code_version(),
            "versions": checkpoint.versions(),
        }
        write_text(out / EVENTS, "".join(_line(each) for each in verdicts))
        write_json(out / METRICS, answer)
    say(f"-> {out}")
    return json.dumps(answer, ensure_ascii=False, allow_nan=False) if as_json else screen(answer)


def _line(judged: Judged) -> str:
    about = asdict(judged.about) if judged.about else None
    return json.dumps(asdict(judged.event) | {"verdict": judged.verdict, "about": about}, ensure_ascii=False) + "\n"


def read_truth(path: Path, other: str) -> Truth:
    """The truth in a table of times or in a scene. other: the keyword of speech that is no call.

    PrepError where it is neither, or where a line of it cannot be.
    """
    if path.suffix == ".parquet":
        scene = data.scene(path)
        if scene.rate_hz != RATE_HZ:
            raise PrepError(f"{path}: at {scene.rate_hz} Hz, expected {RATE_HZ}: make it of rows at that rate")
        utterances = list(frames.rows(scene.truth, Utterance))
        return Truth(utterances, {name: partial(scene.blocks, name) for name in scene.recordings})
    try:
        text = texts.read(path)
        rows = csv.DictReader(text.splitlines())
        lines = list(enumerate(rows, 2))
    except (OSError, ValueError, csv.Error) as error:
        raise PrepError(f"{path}: cannot be read ({error})") from None
    lacking = [name for name in _NEEDED if name not in (rows.fieldnames or ())]
    if lacking:
        raise PrepError(f"{path}: lacks the columns {', '.join(lacking)}; expected {', '.join(_NEEDED)}, or a scene")
    if twice := sorted({name for name in rows.fieldnames or () if (rows.fieldnames or []).count(name) > 1}):
        raise PrepError(f"{path}: the column {twice[0]} is there twice: leave one")
    utterances, files = [], {}
    for number, row in lines:
        if None in row or None in row.values():
            raise PrepError(f"{path}: line {number}: it has other columns than the heading: mend the line")
        if "\0" in row["recording"]:
            raise PrepError(f"{path}: line {number}: the name of its recording holds NUL, as no name does")
        files[row["recording"]] = regular(path.parent / row["recording"])
        if not row["start"] and not row["end"] and not row["keyword"]:
            continue  # a recording in which nothing is said
        try:
            start, end = float(row["start"]), float(row["end"])
            snr_db = float(row["snr_db"]) if row.get("snr_db") else None
        except (TypeError, ValueError):
            raise PrepError(f"{path}: line {number}: start, end and snr_db are no numbers") from None
        if not 0 <= start <= end < float("inf"):
            raise PrepError(f"{path}: line {number}: from {start:g} s to {end:g} s is no time")
        keyword = None if row["keyword"] in (*_NO_CALL, other) else row["keyword"]
        kind = row.get("kind") or ("call" if keyword else "speech")
        utterances.append(Utterance(row["recording"], start, end, keyword, kind, snr_db, row.get("source_id") or None))
    if not files:
        raise PrepError(f"{path}: holds no line: there is nothing to judge")
    return Truth(utterances, {name: partial(streams.recording, place) for name, place in sorted(files.items())})


def screen(answer: Mapping[str, Any]) -> str:
    """The answer as text."""
    hits, right, alarm = answer["hits"], answer["right_keyword"], answer["false_alarms"]
    kinds = ", ".join(f"{kind} {count}" for kind, count in alarm["by_kind"].items())
    covered = f" ({answer['covered']} within the refractory time)" if answer["covered"] else ""
    lines = [
        f"stream        {answer['stream']}: {answer['hours']:.2f} h, {answer['recordings']} recordings,"
        f" {answer['calls']} calls{covered}",
        f"hits          {_share(hits)}; with the right keyword {_share(right)}",
        *(f"  {snr:>4} dB     {_share(share)}" for snr, share in answer["hits_by_snr"].items()),
        f"misses        {answer['misses']}; duplicates {answer['duplicates']}",
        f"false alarms  {alarm['count']}{f' ({kinds})' if kinds else ''}: {alarm['per_hour']:.2f} an hour (at most"
        f" {alarm['per_hour_upper_95']:.2f}), {alarm['per_day']:.1f} a device-day (at most"
        f" {alarm['per_day_upper_95']:.1f})",
    ]
    if hits["count"]:
        start, latency = answer["start_error_s"], answer["latency_s"]
        lines.append(
            f"times         start off by {start['median']:.2f} s, 95 % within {start['p95']:.2f} s; known"
            f" {latency['median']:.2f} s after the end of the call, 95 % within {latency['p95']:.2f} s"
        )
    cost = answer["cost"]
    factor = f"real-time factor {cost['real_time_factor']:.4f}"
    lines.append(f"cost          {cost['windows']} windows, {cost['computing_s']:.1f} s of computing, {factor}")
    return "\n".join(lines)


def _share(share: Mapping[str, Any]) -> str:
    if not share["of"]:
        return "0 of 0"
    return f"{share['count']} of {share['of']} ({share['share']:.1%}, {share['low']:.1%} to {share['high']:.1%})"
