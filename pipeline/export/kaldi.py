"""Kaldi: a data directory for each split, sorted as in the C locale.

Audio is 16-bit WAV, for Kaldi reads FLAC through pipes only.
"""

from __future__ import annotations

import io
import json
import re
import wave
from collections import defaultdict

import pandas as pd

from pipeline.audio.dsp import Pcm16
from pipeline.core import frame, sql
from pipeline.core.row import Row
from pipeline.export._base import Job, facts, file_name, seconds

SOUND = True
LINKS = False
WITHOUT_TEXT = "_no_text"  # Kaldi wants words for every utterance of a directory or for none
_HEADER = 44  # bytes of a WAV header
# What may not be in an id. `!` stands between speaker and id: it is below all that is left.
_NOT_IN_ID = re.compile(r"[\s%!\x00-\x20\x7f]")
_SYMBOLS = ("<s>", "</s>", "#0")  # that Kaldi keeps for itself


def size(rows: pd.DataFrame, links: bool) -> int:
    """16 bits a sample, and a header."""
    return int(sql.query(rows, f"SELECT coalesce(sum(frames * 2 + {_HEADER}), 0) FROM rows")[0][0])


def write(job: Job) -> str:
    """`<split>/` for clips with a transcript, `<split>_no_text/` for the others; `audio/`."""
    for split, rows in job.splits():
        has_text = frame.present(rows, "transcript")
        for folder, where in ((split, has_text), (f"{split}{WITHOUT_TEXT}", ~has_text)):
            if where.any():
                _directory(job, folder, frame.pick(rows, where))
    return job.card("kaldi", without_text=WITHOUT_TEXT)


def _directory(job: Job, folder: str, rows: pd.DataFrame) -> None:
    lines, utterances = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for row in frame.rows(rows, Row):
        path = file_name(row.id, ".wav")
        job.put(path, wav(job.reader.pcm(row), row.rate_hz or 0))
        job.advance(1)
        speaker, utterance = names(row)
        utterances[speaker].append(utterance)
        lines["wav.scp"].append(f"{utterance} {path}")
        lines["utt2spk"].append(f"{utterance} {speaker}")
        lines["utt2dur"].append(f"{utterance} {seconds(row)!r}")
        lines["utt2labels"].append(f"{utterance} {json.dumps(facts(row), ensure_ascii=False, separators=(',', ':'))}")
        if row.transcript is not None:  # one line of words; utt2labels has the transcript to the letter
            text = re.sub("|".join(_SYMBOLS), " ", row.transcript)
            lines["text"].append(" ".join([utterance, *text.split()]))
    lines["spk2utt"] = [f"{speaker} {' '.join(sorted(own))}" for speaker, own in utterances.items()]
    for name, listed in lines.items():  # sorted by the first word: by code point, which in UTF-8 is by byte
        listed.sort(key=lambda line: line.split(" ", 1)[0])
        job.put(f"{folder}/{name}", "".join(f"{line}\n" for line in listed).encode())


def names(row: Row) -> tuple[str, str]:
    """(speaker, utterance): ids without spaces; sorted by utterance they are sorted by speaker too.

    Where no speaker is known, each utterance is its own speaker, as Kaldi has it.
    """
    own, speaker = (
        _NOT_IN_ID.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), name)
        for name in (row.id, f"{row.corpus}/{row.group}")
    )
    return (own, own) if row.group == row.source_pcm_hash else (speaker, f"{speaker}!{own}")


def wav(pcm: Pcm16, rate_hz: int) -> bytes:
    """WAV bytes of mono 16-bit samples, with the plain header of 44 bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return out.getvalue()
