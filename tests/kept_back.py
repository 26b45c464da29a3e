"""A set with planted names of persons and places, and a search for them in files of every kind and encoding."""

from __future__ import annotations

import base64
import gzip
import html
import io
import re
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unicodedata import normalize
from urllib.parse import quote

import numpy as np
import pyarrow.parquet as pq
from sounds import hiss, voice

from pipeline.audio.codec import flac, pcm_hash
from pipeline.audio.shards import member_name, writing
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row

RATE_HZ = 16_000
SECRETS = {
    "speaker": "홍길동비밀",
    "path": "김비밀의 녹음",
    "place": "비밀골목",
    "transcript": "비밀번호는 살려주세요",
    "scenario": "비밀상황",
    "label": "비밀병원",
}
FREE = {
    "public noise": "cochlscene/Bus_1",
    "keyword": "saveme",
}  # what must be there, so that the search is no vain one


def planted(folder: Path, generous: str, name: str = "mixed") -> Path:
    """`NAME.parquet` in the folder, with audio and drops: own recordings, public noise, a corpus whose audio alone may
    be passed on (generous: its name), and mixtures of them."""
    rows: list[Row] = []
    with writing(folder / "audio" / f"{name}.tar") as shard:
        for number, row in enumerate(_rows(generous)):
            wave = hiss(1.0, seed=number) if row.kind == "noise" else voice(1.0, seed=number)
            pcm = np.rint(wave * 20_000).astype(np.int16)
            digest = pcm_hash(pcm, RATE_HZ)
            place = shard.put(member_name(row.id), flac(pcm, RATE_HZ))
            heard = {"pcm_hash": digest, "source_pcm_hash": digest, "rate_hz": RATE_HZ, "source_format": "WAV PCM_16"}
            heard |= {"source_rate_hz": RATE_HZ, "source_channels": 1, "source_frames": len(pcm)}
            rows.append(replace(row, shard=f"{name}.tar", offset=place[0], bytes=place[1], frames=len(pcm), **heard))
    by_id = {row.id: row for row in rows}
    rows = [
        replace(row, noise_pcm_hash=by_id[row.noise_id].pcm_hash, source_pcm_hash=by_id[row.speech_id].pcm_hash)
        if row.noise_id and row.speech_id
        else row
        for row in rows
    ]
    path, lost = SECRETS["path"], f"recordings/{SECRETS['path']} lost"
    drops = [Drop(lost, "filter", "too_short", f"{path}/lost.wav: 0.1 s"), Drop(lost, "mix", "silent_noise", path)]
    where = {"filter": {"where": f"\"group\" <> '{SECRETS['speaker']}' AND id <> '{lost}'"}, "list": [lost]}
    made = Provenance("mix", where, 0)
    written = folder / f"{name}.parquet"
    manifest.write(written, frames.ordered(frames.from_rows(rows, Row)), frames.from_rows(drops, Drop), made)
    return written


def _rows(generous: str) -> Iterator[Row]:
    said = {"transcript": SECRETS["transcript"], "scenario": SECRETS["scenario"], "labels": {"hospital": "비밀병원"}}
    closed = {}
    for number, split in enumerate(("train", "train", "dev", "test")):
        for corpus in ("recordings", generous):
            key = f"{SECRETS['path']}/{SECRETS['speaker']} {number}"
            row = Row(f"{corpus}/{key}", corpus, split, f"{SECRETS['speaker']} {split}", "speech", f"@{corpus}/{key}")
            scene = SECRETS["place"] if number % 2 else "office"
            closed[corpus, number] = replace(row, keyword="saveme", noise_label="speech", scene=scene, **said)
        noise = Row(f"cochlscene/Bus_{number}", "cochlscene", split, f"user{number}", "noise", f"@cochlscene/B{number}")
        closed["cochlscene", number] = replace(noise, noise_label="noise", scene="Bus", labels={"user": f"u{number}"})
        own = replace(closed["recordings", number], id=f"recordings/{SECRETS['path']}/noise {number}", kind="noise")
        own = replace(own, source=f"@{own.id}", transcript=None, keyword=None, noise_label="noise")
        closed["own noise", number] = own
    yield from closed.values()
    for (_, number), speech in closed.items():
        for copy, noise in enumerate((closed["cochlscene", number], closed["own noise", number])):
            if speech.kind == "noise":
                continue
            mixed = replace(speech, id=f"{speech.id}_snr5_{copy}", kind="mixture", snr_db=5.0, variant=copy)
            added = {"noise_id": noise.id, "noise_source": noise.source, "speech_id": speech.id, "scene": noise.scene}
            levels = {"snr_definition": "active", "snr_active_db": 5.0, "snr_full_db": 4.0}
            gains = {"gain_db": -6.0, "noise_gain_db": -20.0, "noise_start": 0}
            yield replace(mixed, **added, **levels, **gains)


# ---- the search


def spellings(secret: str) -> set[bytes]:
    """The secret in every encoding in which a file may hold it."""
    found = set[bytes]()
    for text in {normalize("NFC", secret), normalize("NFD", secret)}:
        plain = text.encode()
        found |= {plain, text.encode("utf-16-le"), text.encode("utf-16-be"), text.encode("cp949", "ignore")}
        escaped = "".join(f"\\u{ord(letter):04x}" if ord(letter) > 126 else letter for letter in text)
        numbers = "".join(f"&#{ord(letter)};" if ord(letter) > 126 else letter for letter in text)
        digits = "".join(f"&#x{ord(letter):x};" if ord(letter) > 126 else letter for letter in text)
        found |= {word.encode() for word in (escaped, escaped.upper().replace("\\U", "\\u"), numbers, digits)}
        found |= {word.encode() for word in (quote(text), quote(text).lower(), plain.hex(), html.escape(text))}
        for start in range(3):  # in base64 the letters depend on where in three bytes the text begins
            coded = base64.b64encode(bytes(start) + plain)[-(-start * 4 // 3) :]
            found.add(coded[4:-4])
    return {spelling for spelling in found if len(spelling) > 5}


def leaks(data: bytes, secrets: dict[str, str]) -> set[str]:
    """Which secrets are in these bytes: plain, encoded, or within an archive, a Parquet file or a data URI."""
    found = {name for name, secret in secrets.items() if any(spelling in data for spelling in spellings(secret))}
    for inner in _inside(data):
        found |= leaks(inner, secrets)
    return found


def _inside(data: bytes) -> Iterator[bytes]:
    if data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif data[:4] == b"PAR1":
        file = pq.ParquetFile(io.BytesIO(data))
        yield repr(file.metadata.metadata).encode() + b"".join((file.metadata.metadata or {}).values())
        table = file.read()
        yield "\n".join(str(value) for column in table.columns for value in column.to_pylist()).encode()
    elif data[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif data[257:262] == b"ustar":
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                yield member.name.encode()
                if (file := archive.extractfile(member)) is not None:
                    yield file.read()
    for uri in re.findall(rb"base64,([A-Za-z0-9+/=]{40,})", data):
        yield base64.b64decode(uri)


def leaks_of(folder: Path, secrets: dict[str, str]) -> dict[str, set[str]]:
    """file -> the secrets in it or in its name."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    names = {str(path): path.relative_to(folder).as_posix().encode() for path in files}
    found = {name: leaks(path.read_bytes(), secrets) | leaks(names[name], secrets)
             for path, name in zip(files, names, strict=True)}  # fmt: skip
    return {name: secrets for name, secrets in found.items() if secrets}
