"""Hostile corpora: each ends in rows, drops or one clear error, in seconds, in little memory, without a traceback."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
import sys
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import DEVNULL, Popen, run

import numpy as np
import pytest
from command import drops, rows
from containers import crc_of_ogg
from sounds import encoded, voice

MOST_MB, MOST_S = 1_000, 60  # of CPU time
SPEECH = encoded(voice(1.0))


def table(root: Path, *names: str) -> None:
    """A corpus with these recordings in its table, and a good one."""
    root.mkdir(exist_ok=True)
    (root / "good.wav").write_bytes(SPEECH)
    (root / "t.csv").write_text("file,text\ngood.wav,살려주세요\n" + "".join(f"{name},도와주세요\n" for name in names))


def ingested(folder: Path, root: Path) -> str:
    """What `prep ingest recordings` says, run on its own, so that its memory and time are its own."""
    with (folder / "said").open("wb") as said:
        words = [sys.executable, "-W", "ignore", "-c", OWN_PEAK, "ingest", "recordings", str(root), "--jobs", "1"]
        process = Popen(words, cwd=folder, stdin=DEVNULL, stdout=said, stderr=said, env={**os.environ, **PATHS})
    begun = time.monotonic()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = (folder / "said").read_text()
    assert "Traceback" not in text, text
    assert process.returncode in (0, 1), text
    text, _, peak_kb = text.rpartition("peak ")
    assert int(peak_kb) < MOST_MB * 1024, f"{int(peak_kb) / 1024:.0f} MB"
    assert used.ru_utime + used.ru_stime < MOST_S, f"{time.monotonic() - begun:.0f} s"
    return text


# ru_maxrss would count what this process held when it started the other one
OWN_PEAK = """
import atexit, re, sys
peak = lambda: re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1]
atexit.register(lambda: print("peak", peak(), file=sys.stderr))
from pipeline.cli.main import main
main()
"""
PATHS = {"PYTHONPATH": str(Path(__file__).parents[1])}


def flac_of(frames: int, root: Path) -> None:
    """A FLAC whose header states so many frames."""
    data = bytearray(encoded(voice(1.0), container="FLAC"))
    bits = int.from_bytes(data[18:26], "big") >> 36 << 36 | frames
    data[18:26] = bits.to_bytes(8, "big")
    table(root, "bad.flac")
    (root / "bad.flac").write_bytes(data)


def silent_flac(root: Path) -> None:
    """Half an hour of silence at 96 kHz in two channels, which FLAC packs into almost nothing."""
    import soundfile as sf

    table(root, "bad.flac")
    block = np.zeros((96_000 * 60, 2), np.int16)
    with sf.SoundFile(root / "bad.flac", "w", 96_000, 2, "PCM_16") as file:
        for _ in range(30):
            file.write(block)


def bomb(name: str, head: bytes, block: bytes, count: int) -> Callable[[Path], None]:
    """A zip whose one member unpacks to `count` blocks."""

    def made(root: Path) -> None:
        table(root, f"z/{name}")
        with zipfile.ZipFile(root / "z.zip", "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w") as file:
            file.write(head)
            for _ in range(count):
                file.write(block)

    return made


def csv_bomb(root: Path) -> None:
    root.mkdir()
    bomb("t.csv", b"file,text\n", b"a.wav,x\n" * 100_000, 300)(root)
    (root / "t.csv").unlink()


def gz_bomb(root: Path) -> None:
    root.mkdir()
    (root / "good.wav").write_bytes(SPEECH)
    line = json.dumps({"audio_filepath": "good.wav", "duration": 1.0, "text": "x"}).encode() + b"\n"
    with gzip.open(root / "cuts.jsonl.gz", "wb", 1) as file:
        for _ in range(300):
            file.write(line * 10_000)


def many_members(root: Path) -> None:
    """A zip of more than a million empty members, written record by record."""
    table(root)
    count, directory = 1_200_000, bytearray()
    with (root / "z.zip").open("wb") as file:
        at = 0
        for number in range(count):
            name = b"%07d" % number
            local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, len(name), 0) + name
            directory += struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, *[0] * 7, len(name), *[0] * 5, at) + name
            file.write(local)
            at += len(local)
        file.write(directory)
        file.write(struct.pack("<4sQHHIIQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, count, count, len(directory), at))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, at + len(directory), 1))
        file.write(struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def links(root: Path) -> None:
    """Links that multiply: each leads to the folder above."""
    table(root)
    for name in "abc":
        (root / name).mkdir()
        for link in "xyz":
            (root / name / link).symlink_to("..")


def deep_folders(root: Path) -> None:
    table(root)
    before = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(1_500):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(before)


def deep_zips(root: Path) -> None:
    table(root)
    data = b"x"
    for _ in range(1_500):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a.zip", data)
        data = packed.getvalue()
    (root / "a.zip").write_bytes(data)


def long_number(root: Path) -> None:
    """A tar whose extended header has a number of 5,000 digits."""
    table(root)
    head = tarfile.TarInfo("x")
    record = b"size=" + b"9" * 5_000 + b"\n"
    record = b"%d %s" % (len(record) + 5, record)
    head.type, head.size = tarfile.XHDTYPE, len(record)
    data = head.tobuf(tarfile.USTAR_FORMAT) + record + bytes(-len(record) % 512)
    (root / "t.tar").write_bytes(data + tarfile.TarInfo("y").tobuf(tarfile.USTAR_FORMAT) + bytes(1024))


def wide_json(root: Path) -> None:
    """One line of JSON with a million names."""
    root.mkdir()
    (root / "good.wav").write_bytes(SPEECH)
    value = {"audio_filepath": "good.wav"} | {f"name{number}": number for number in range(1_000_000)}
    (root / "m.jsonl").write_text(json.dumps(value))


def ogg_of(frames: int, root: Path) -> None:
    """A Vorbis file whose last page states so many frames."""
    data = bytearray(encoded(voice(1.0), container="OGG", subtype="VORBIS"))
    last = data.rfind(b"OggS")
    data[last + 6 : last + 14] = frames.to_bytes(8, "little")
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = crc_of_ogg(bytes(data[last:])).to_bytes(4, "little")
    table(root, "bad.ogg")
    (root / "bad.ogg").write_bytes(data)


def wav_of(root: Path) -> None:
    """A WAV whose header states 65,535 channels at 4 GHz."""
    data = bytearray(SPEECH)
    data[22:28] = struct.pack("<HI", 0xFFFF, 0xFFFFFFFF)
    table(root, "bad.wav")
    (root / "bad.wav").write_bytes(data)


HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {  # what is made, and what is said of it
    "flac of 34 G frames": (lambda root: flac_of((1 << 36) - 1, root), "truncated"),
    "flac of 2 G frames": (lambda root: flac_of(2_000_000_000, root), "truncated"),
    "flac of unknown length": (lambda root: flac_of(0, root), "2 kept"),
    "silent flac": (silent_flac, "too_large"),
    "wav in a zip": (bomb("bad.wav", SPEECH[:44], bytes(1 << 20), 300), "too_large"),
    "csv in a zip": (csv_bomb, "would unpack to 240,000,010"),
    "gz": (gz_bomb, "unpack to more than"),
    "a million members": (many_members, "set PREP_MOST_FILES="),
    "links": (links, "1 kept"),
    "deep folders": (deep_folders, "1 kept"),
    "deep zips": (deep_zips, "archives in archives, more than 8 deep"),
    "long number": (long_number, "a damaged tar header"),
    "wide json": (wide_json, "recordings:"),
    "ogg of 2**62 frames": (lambda root: ogg_of(1 << 62, root), "2 kept"),
    "wav of 65,535 channels": (wav_of, "bad"),
}


SLOW = ("silent flac", "wav in a zip", "a million members", "wide json", "deep folders")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in HOSTILE])
def test_a_hostile_corpus_ends_in_drops_or_one_error(name: str, tmp_path: Path) -> None:
    make, said = HOSTILE[name]
    make(tmp_path / "corpus")
    text = ingested(tmp_path, tmp_path / "corpus")
    run(["rm", "-rf", tmp_path / "corpus"], check=True)  # Python, and so pytest, cannot remove the deepest
    if (tmp_path / "manifests/recordings.parquet").exists():
        assert "recordings/good.wav" in rows(tmp_path, "recordings")
        text += str(drops(tmp_path, "recordings"))
    assert said in text, text
