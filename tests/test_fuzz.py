"""Well formed and false: fields of containers, archives, tables and manifests set to odd values, their checksums right.

Each outcome is rows, drops, or one clear error; from a seed, so that a case that fails can be made again.
"""

from __future__ import annotations

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from command import done, drops, prep, rows
from containers import crc_of_ogg
from sounds import corpus, encoded, hiss, voice

from pipeline.archives import Root
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import CorruptMember, SourceError
from pipeline.core.row import Row
from pipeline.corpora import recordings

SEED = 20_261_127
SOUND = voice(0.5)
ODD = (0, 1, 2, 3, 7, 127, 128, 255, 256, 32_767, 32_768, 65_535, 1 << 24, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, -1)
Field = tuple[int, int, str]  # where, bytes, "little" or "big"


def fields_of(container: str, data: bytes) -> list[Field]:
    """Where the header of a container says something in numbers."""
    little, big = "little", "big"
    at = data.find
    if container in ("WAV", "WAVEX", "RF64"):
        fmt, samples = at(b"fmt ") + 4, at(b"data") + 4
        wide = [(at(b"ds64") + n, w, little) for n, w in ((4, 4), (8, 8), (16, 8), (24, 8))] if b"ds64" in data else []
        widths = ((0, 4), (4, 2), (6, 2), (8, 4), (12, 4), (16, 2), (18, 2))
        return [(4, 4, little), *((fmt + n, w, little) for n, w in widths), (samples, 4, little), *wide]
    if container == "AIFF":
        common, samples = at(b"COMM") + 4, at(b"SSND") + 4
        widths = ((0, 4), (4, 2), (6, 4), (10, 2), (12, 2), (14, 8))
        return [(4, 4, big), *((common + n, w, big) for n, w in widths), *((samples + n, 4, big) for n in (0, 4, 8))]
    if container == "AU":
        return [(n, 4, big) for n in range(4, 24, 4)]
    if container == "CAF":
        about, samples = at(b"desc") + 4, at(b"data") + 4
        widths = ((0, 8), (8, 8), (16, 4), (20, 4), (24, 4), (28, 4), (32, 4), (36, 4))
        return [(4, 4, big), *((about + n, w, big) for n, w in widths), (samples, 8, big), (samples + 8, 4, big)]
    if container == "W64":
        return [(n, 8, little) for n in (16, 56, 72)] + [(n, 2, little) for n in (64, 66, 76, 78)]
    if container == "FLAC":
        return [(n, w, big) for n, w in ((4, 4), (8, 2), (10, 2), (12, 3), (15, 3), (18, 4), (18, 8), (22, 4), (46, 2))]
    if container == "OGG":
        pages = [n for n in range(len(data)) if data[n : n + 4] == b"OggS"]
        widths = ((4, 1), (5, 1), (6, 8), (14, 4), (18, 4), (26, 1), (27, 1), (35, 4), (40, 4))
        return [(page + n, w, little) for page in (pages[0], pages[-1]) for n, w in widths]
    return [(n, 2, big) for n in (0, 2, 40, 44, 46, 417)]  # MP3: headers of frames, and the Xing header


def with_sums(container: str, data: bytearray) -> bytes:
    """The checksums of an Ogg made right again; the other containers have none over what is changed."""
    if container == "OGG":
        starts = [n for n in range(len(data)) if data[n : n + 4] == b"OggS"]
        for start, stop in zip(starts, [*starts[1:], len(data)], strict=True):
            data[start + 22 : start + 26] = bytes(4)
            data[start + 22 : start + 26] = crc_of_ogg(bytes(data[start:stop])).to_bytes(4, "little")
    return bytes(data)


def false_recordings(count: int) -> Iterator[tuple[str, bytes]]:
    """Recordings of every container, one or two fields of each odd."""
    random = Random(SEED)
    kinds = [("WAV", "PCM_16"), ("WAVEX", "PCM_24"), ("RF64", "FLOAT"), ("AIFF", "PCM_16"), ("AU", "PCM_16")]
    kinds += [("CAF", "PCM_16"), ("W64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")]
    whole = {container: encoded(SOUND, subtype=subtype, container=container) for container, subtype in kinds}
    for number in range(count):
        container = kinds[number % len(kinds)][0]
        data = bytearray(whole[container])
        for at, width, order in random.sample(fields_of(container, bytes(data)), random.choice((1, 1, 2))):
            before = int.from_bytes(data[at : at + width], order)  # type: ignore[arg-type]
            value = random.choice((*ODD, before + 1, before - 1, 2 * before, before // 2)) % (1 << 8 * width)
            data[at : at + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
        suffix = {"WAVEX": "wav", "RF64": "wav"}.get(container, container.lower())
        yield f"f{number:03d}.{suffix}", with_sums(container, data)


def test_every_false_recording_is_a_row_or_a_drop(tmp_path: Path) -> None:
    files = dict(false_recordings(160))
    root = corpus(tmp_path / "corpus", files)
    (root / "t.csv").write_text("file,text\n" + "".join(f"{name},살려주세요\n" for name in files))
    done(tmp_path, "ingest", "recordings", root, "--jobs", 1)
    made = set(rows(tmp_path, "recordings")) | set(drops(tmp_path, "recordings"))
    assert made == {f"recordings/{name}" for name in files}


def false_zips(count: int) -> Iterator[bytes]:
    random = Random(SEED)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for number in range(3):
            method = (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED)[number % 2]
            archive.writestr(zipfile.ZipInfo(f"r{number}.wav"), encoded(SOUND), method)
    whole = packed.getvalue()
    places = {b"PK\3\4": ((4, 2), (6, 2), (8, 2), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2))}
    places[b"PK\1\2"] = ((8, 2), (10, 2), (16, 4), (20, 4), (24, 4), (28, 2), (30, 2), (32, 2), (34, 2), (42, 4))
    places[b"PK\5\6"] = ((4, 2), (6, 2), (8, 2), (10, 2), (12, 4), (16, 4), (20, 2))
    for _ in range(count):
        data = bytearray(whole)
        mark = random.choice(list(places))
        start, (at, width) = whole.find(mark), random.choice(places[mark])
        before = int.from_bytes(data[start + at : start + at + width], "little")
        value = random.choice((*ODD, before + 1, before - 1)) % (1 << 8 * width)
        data[start + at : start + at + width] = value.to_bytes(width, "little")
        yield bytes(data)


def false_tars(count: int) -> Iterator[bytes]:
    random = Random(SEED)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(3):
            info = tarfile.TarInfo(f"r{number}.wav")
            info.size = 2_044
            archive.addfile(info, io.BytesIO(encoded(SOUND)[:2_044]))
    whole = packed.getvalue()
    values = (b"", b"\0", b"7" * 11, b"9" * 11, b"\x80" + b"\xff" * 11, b"\xff" * 12, b"-1", b"../../x", b"/x", b"\x80")
    for _ in range(count):
        data = bytearray(whole)
        at, width = random.choice(
            ((0, 100), (100, 8), (124, 12), (136, 12), (156, 1), (157, 100), (257, 8), (345, 155))
        )
        value = random.choice((*values, *b"012345678xgLKSM".decode())) if at == 156 else random.choice(values)
        raw = value.encode() if isinstance(value, str) else value
        data[at : at + width] = raw[:width].ljust(width, b"\0")
        data[148:156] = b" " * 8
        data[148:156] = b"%06o\0 " % sum(data[:512])
        yield bytes(data)


@pytest.mark.parametrize(("suffix", "made"), [("zip", false_zips), ("tar", false_tars)])
def test_a_false_archive_lists_what_it_has_or_says_what_is_wrong(
    suffix: str, made: Callable[[int], Iterator[bytes]], tmp_path: Path
) -> None:
    outcomes = set()
    for number, data in enumerate(made(60)):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / f"a.{suffix}").write_bytes(data)
        root = Root("recordings", folder)
        try:
            for entry in root.entries():
                try:
                    root.read(entry.place)
                except CorruptMember:
                    outcomes.add("drop")
                else:
                    outcomes.add("file")
        except SourceError as error:
            outcomes.add("error" if str(folder) in str(error) else str(error))
    assert outcomes == {"file", "error", *(["drop"] if suffix == "zip" else [])}  # a tar has no checksums of files


WORDS = (
    "",
    " ",
    "-1",
    "nan",
    "inf",
    "1e400",
    "9" * 400,
    "0",
    "../../x",
    "/etc/passwd",
    "🙂" * 300,
    "a\tb",
    "NULL",
    "\x1b[31m",
    "‮x",
)
VALUES: tuple[Any, ...] = (None, [], {}, -1, 1e308, "x", True, [[[[]]]], {"a": {"b": []}}, "../../x", "", 1 << 62, "1")
NEMO = {
    "audio_filepath": "a.wav",
    "offset": 0.0,
    "duration": 0.4,
    "text": "살려주세요",
    "id": "u1",
    "channel_selector": 0,
}
LHOTSE = {
    "id": "c1",
    "type": "MonoCut",
    "start": 0.0,
    "duration": 0.4,
    "channel": 0,
    "recording": {
        "id": "r1",
        "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
        "sampling_rate": 16_000,
        "num_samples": 8_000,
        "duration": 0.5,
    },
    "supervisions": [{"id": "s1", "recording_id": "r1", "start": 0.0, "duration": 0.4, "channel": 0, "text": "x"}],
}


def changed(random: Random, value: Any) -> Any:
    """A JSON value, something in it odd."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        name = random.choice(list(value))
        return {**value, name: changed(random, value[name])}
    if isinstance(value, list) and value and random.random() < 0.85:
        return [changed(random, value[0]), *value[1:]]
    return random.choice(VALUES)


def false_tables(count: int) -> Iterator[tuple[str, str]]:
    """(name, text) of a table or a manifest."""
    random = Random(SEED)
    for number in range(count):
        if number % 3 == 0:
            cells = {"file": "a.wav", "start": "0", "end": "0.4", "channel": "0", "split": "test", "kind": "speech"}
            cells |= {"label": "saveme", "text": "살려주세요", "speaker": "s1"}
            cells[random.choice(list(cells))] = random.choice(WORDS)
            if random.random() < 0.3:
                del cells[random.choice(list(cells))]
            yield "t.csv", "\n".join(",".join(each) for each in (cells, cells.values()))
        else:
            yield "m.jsonl", json.dumps(changed(random, NEMO if number % 3 == 1 else LHOTSE))


def test_a_false_table_gives_clips_and_drops_or_says_what_is_wrong(tmp_path: Path) -> None:
    outcomes = set()
    for number, (name, text) in enumerate(false_tables(120)):
        folder = corpus(tmp_path / str(number), {"a.wav": encoded(SOUND), name: text.encode()})
        try:
            listing = recordings.clips(Root("recordings", folder))
        except SourceError as error:
            outcomes.add("error" if "recordings" in str(error) else str(error))
        else:
            outcomes |= {"clip"} if listing.clips else set()
            outcomes |= {"drop"} if listing.drops else set()
    assert outcomes == {"clip", "drop", "error"}


def false_rows(row: Row, count: int) -> Iterator[Row]:
    """Rows of a manifest, one field of each odd."""
    random = Random(SEED)
    numbers = (None, 0, -1, 1, 1 << 40, float("nan"), float("inf"), -1e300)
    for _ in range(count):
        field = random.choice([f for f in fields(Row) if f.name not in ("id", "corpus", "labels")])
        value = getattr(row, field.name)
        odd: Any = random.choice(WORDS)
        if isinstance(value, float) or "float" in str(field.type):
            odd = random.choice([None if n is None else float(n) for n in numbers])
        elif isinstance(value, int) or "int" in str(field.type):
            odd = random.choice([n for n in numbers if n is None or isinstance(n, int)])
        yield replace(row, **{field.name: odd})


@pytest.mark.slow
@pytest.mark.parametrize("command", ["show", "filter", "resample", "mix", "explain", "pack"])
def test_a_false_manifest_ends_in_an_answer_or_an_error(command: str, tmp_path: Path) -> None:
    files = {f"clean_test/{n}.wav": encoded(voice(1.0, seed=n)) for n in range(2)}
    root = corpus(tmp_path / "c", files | {"noise_test/Hum_1.wav": encoded(hiss(2.0))})
    done(tmp_path, "ingest", "ms-snsd", root, "--jobs", 1)
    done(tmp_path, "filter", "--no-transcript", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    source = {"filter": "ms-snsd", "resample": "filtered"}.get(command, "resampled")
    before = manifest.read(tmp_path / f"manifests/{source}.parquet")
    first, *rest = before.rows()
    more = {"explain": (first.id,), "mix": ("--snr", 20, "--jobs", 1), "resample": ("--jobs", 1)}.get(command, ())
    codes = set()
    for row in false_rows(first, 20):
        path = tmp_path / "manifests/odd.parquet"
        try:
            manifest.write(path, frames.from_rows([row, *rest], Row), before.drops, before.provenance)
        except (SourceError, ValueError, TypeError):
            continue
        ended = prep(tmp_path, command, path, *more)
        codes.add(ended.code)
        assert ended.code in (0, 1, 2), ended.err
        assert "Traceback" not in ended.err
    assert codes
