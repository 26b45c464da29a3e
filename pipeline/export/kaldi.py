"""Kaldi: a data directory for each split, sorted as in the C locale; audio as 16-bit WAV, for Kaldi reads FLAC through pipes only."""

from __future__ import annotations

import io
import json
import re
import wave
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.export._job import Job, each, file_name, seconds

SAYS = "<split>/ with wav.scp, text, utt2spk, spk2utt, utt2dur; audio as loose WAV"
SOUND = True
LINKS = False
WITHOUT_TEXT = "_no_text"  # Kaldi wants words for every utterance of a directory or for none
_HEADER = 44  # bytes of a WAV header
_WORD = re.compile(
    r"[\s%!\x00-\x20\x7f]"
)  # what may not be in an id; `!` stands between speaker and id, below all that is left
_SYMBOLS = ("<s>", "</s>", "#0")  # that Kaldi keeps for itself


def size(rows: Table, links: bool) -> int:
    """16 bits a sample, and a header."""
    return int(rows.query(f"SELECT coalesce(sum(frames * 2 + {_HEADER}), 0) FROM rows")[0][0])


def write(job: Job) -> None:
    """`<split>/` for clips with a transcript, `<split>_no_text/` for the others; `audio/`."""
    for split, rows in job.splits():
        spoken = rows.present("transcript")
        for folder, part in ((split, rows.where(spoken)), (f"{split}{WITHOUT_TEXT}", rows.where(~spoken))):
            if len(part):
                _directory(job, folder, part)


def _directory(job: Job, folder: str, rows: Table) -> None:
    held: dict[str, list[str]] = defaultdict(list)
    spoken: dict[str, list[str]] = defaultdict(list)
    for row, told in each(rows):
        path = file_name(row.id, ".wav")
        job.put(path, wav(job.reader.pcm(row), row.rate_hz or 0))
        job.advance(1)
        speaker, utterance = names(row)
        spoken[speaker].append(utterance)
        held["wav.scp"].append(f"{utterance} {path}")
        held["utt2spk"].append(f"{utterance} {speaker}")
        held["utt2dur"].append(f"{utterance} {seconds(row)!r}")
        held["utt2labels"].append(f"{utterance} {_json(told)}")
        if row.transcript is not None:
            held["text"].append(f"{utterance} {_words(row.transcript)}".rstrip())
    for name, lines in held.items():
        job.put(f"{folder}/{name}", _sorted(lines))
    job.put(f"{folder}/spk2utt", _sorted(f"{name} {' '.join(sorted(found))}" for name, found in spoken.items()))


def names(row: Row) -> tuple[str, str]:
    """(speaker, utterance): ids without spaces; sorted by utterance they are sorted by speaker too.

    Where no speaker is known, each utterance is its own speaker, as Kaldi has it.
    """
    own = _id(row.id)
    if row.group == row.source_pcm_hash:
        return own, own
    speaker = _id(f"{row.corpus}/{row.group}")
    return speaker, f"{speaker}!{own}"


def _id(name: str) -> str:
    return _WORD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), name)


def _words(text: str) -> str:
    """One line of words; `utt2labels` has the transcript to the letter."""
    for symbol in _SYMBOLS:
        text = text.replace(symbol, " ")
    return " ".join(text.split())


def _json(told: dict[str, Any]) -> str:
    return json.dumps(told, ensure_ascii=False, separators=(",", ":"))


def _sorted(lines: Iterable[str]) -> bytes:
    """Sorted by the first word: by code point, which in UTF-8 is by byte."""
    return "".join(f"{line}\n" for line in sorted(lines, key=lambda line: line.split(" ", 1)[0])).encode()


def wav(pcm: NDArray[np.int16], rate_hz: int) -> bytes:
    """WAV bytes of mono 16-bit samples, with the plain header of 44 bytes."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm.astype("<i2").tobytes())
    return out.getvalue()


def card(job: Job) -> str:
    """What the directories hold, and where to stand."""
    first = next(job.splits())[0]
    return f"""# {job.name}: {len(job.rows):,} clips for Kaldi

A data directory for each split, `<split>{WITHOUT_TEXT}` for its clips without a transcript (noise); `utils/validate_data_dir.sh
--no-feats` passes them, the latter with `--no-text`. Paths in `wav.scp` count from this folder: run Kaldi here, or put the
folder before them:

    sed -i "s|^\\(\\S* \\)|\\1$PWD/|" {first}/wav.scp

An utterance is `<speaker>!<id>`, or `<id>` where no speaker is known; spaces, `%` and `!` are written `%20`, `%25`, `%21`.
`utt2labels` says in JSON what else the manifest says of each: split, classes, labels, SNR.

```python
from lhotse.kaldi import load_kaldi_data_dir
recordings, supervisions, _ = load_kaldi_data_dir("{first}", sampling_rate=16000)
```
"""
