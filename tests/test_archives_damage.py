"""What is wrong with an archive is one clear message; what is wrong with one file in it costs that file alone."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from containers import CP949, STORED, Style, pieces, split_zip, tar_bytes, write, zip_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.archives import Entry, Root
from pipeline.core.errors import CorruptMember, PrepError, SourceError

FILES = {f"도움요청_{n}.wav": bytes([65 + n]) * 300 for n in range(6)}


def refusal(path: Path) -> str:
    with pytest.raises(SourceError) as caught:
        Root("aihub", path).entries()
    return str(caught.value)


def without(files: dict[str, bytes], name: str) -> dict[str, bytes]:
    assert name in files
    return {other: data for other, data in files.items() if other != name}


def truncated(data: bytes, lost: int) -> bytes:
    return data[:-lost]


HTML = b"<!DOCTYPE html>\n<html><body><h1>502 Bad Gateway</h1></body></html>"
PIECES = pieces("N.zip", zip_bytes(FILES, CP949), 100)
DISKS = split_zip(FILES, "C", 500, STORED)
OTHER_DISKS = split_zip({f"x{n}.wav": bytes(250) for n in range(9)}, "C", 500, STORED)
TAR = tar_bytes(FILES)
LAST_PIECE = max(PIECES, key=lambda name: int(name.rsplit("part", 1)[1]))


def one_place(data: bytes) -> bytes:
    """A zip whose second directory record says all that the first one does, but for the name."""
    first = data.find(b"PK\1\2")
    second = data.find(b"PK\1\2", first + 4)
    data = data[: second + 10] + data[first + 10 : first + 28] + data[second + 28 :]
    return data[: second + 42] + data[first + 42 : first + 46] + data[second + 46 :]


BROKEN: dict[str, tuple[dict[str, bytes], str]] = {
    "truncated zip": ({"N.zip": truncated(zip_bytes(FILES), 200)}, r"N\.zip: a zip without its end .*truncated.*again"),
    "zip without its beginning": (
        {"N.zip": zip_bytes(FILES)[100:]},
        r"N\.zip: the beginning of the zip is missing, 100 bytes",
    ),
    "pieces joined as text": (
        {
            "N.zip": b"".join(
                pieces("N.zip", zip_bytes(FILES), 60)[name] for name in pieces("N.zip", zip_bytes(FILES), 60)
            )
        },
        r"N\.zip: .*wrong order.*numeric order",
    ),
    "middle pieces swapped": (
        {"N.zip": (lambda d: d[:300] + d[900:1500] + d[300:900] + d[1500:])(zip_bytes(FILES, STORED))},
        r"N\.zip: no member where the zip's directory says, as at byte .*wrong order",
    ),
    "missing piece": (
        without(PIECES, "N.zip.part300"),
        r"N\.zip: the piece at byte 300 is missing \(no N\.zip\.part300; .*\.part400",
    ),
    "missing first piece": (without(PIECES, "N.zip.part0"), r"N\.zip: the piece at byte 0 is missing"),
    "missing last piece": (without(PIECES, LAST_PIECE), r"N\.zip: a zip without its end .*last piece is missing"),
    "short piece": (
        PIECES | {"N.zip.part200": PIECES["N.zip.part200"][:50]},
        r"N\.zip: the piece at byte 250 is missing .*cut short",
    ),
    "long piece": (
        PIECES | {"N.zip.part200": bytes(150)},
        r"N\.zip: \.part300 starts before the piece ahead of it ends",
    ),
    "missing numbered piece": (
        {f"N.zip.part{n}": zip_bytes(FILES, STORED)[n * 90 : n * 90 + 90] for n in range(25) if n != 4},
        r"N\.zip: piece 4 of 24 is missing",
    ),
    "whole and pieces differ": (
        PIECES | {"N.zip": b"PK\3\4"},
        r"N\.zip: is here whole and in pieces, and their sizes differ",
    ),
    "tar of pieces with one missing": (
        {"T.tar": tar_bytes(without(PIECES, "N.zip.part300"))},
        r"T\.tar!N\.zip: the piece at byte 300 is missing",
    ),
    "missing disk": (
        without(DISKS, "C.z02"),
        r"C\.zip: C\.z02 of this split zip not found\. Put all \d disks into one folder",
    ),
    "missing disks": (without(without(DISKS, "C.z02"), "C.z01"), r"C\.zip: C\.z01, C\.z02 of this split zip not found"),
    "only the last disk": ({"C.zip": DISKS["C.zip"]}, r"C\.zip: C\.z01, C\.z02.* of this split zip not found"),
    "missing last disk": (without(DISKS, "C.zip"), r"C\.zip: the last disk of this split zip is missing"),
    "short disk": (DISKS | {"C.z02": DISKS["C.z02"][:-9]}, r"C\.zip: disk C\.z02 \(\d+ bytes\) does not fit .*again"),
    "disk of another set": (
        DISKS | {"C.z02": bytes(500)},
        r"C\.zip: disk C\.z02 \(500 bytes\) does not fit .*another archive",
    ),
    "disk twice": (DISKS | {"C.z02": DISKS["C.z03"]}, r"C\.zip: disk C\.z0\d \(\d+ bytes\) does not fit"),
    "joined without a disk": (
        {"C.zip": b"".join(without(DISKS, "C.z02").values())},
        r"C\.zip: .*split zip.* joined .*zip -s 0",
    ),
    "damaged directory": (
        {"N.zip": zip_bytes(FILES).replace(b"PK\1\2", b"PK\0\0")},
        r"N\.zip: the zip's central directory is damaged \(0 of 6 entries",
    ),
    "directory count nonsense": (
        {"N.zip": zip_bytes(FILES)[:-14] + struct.pack("<HH", 5, 5) + zip_bytes(FILES)[-10:]},
        r"N\.zip: the zip's central directory is damaged \(6 of 5 entries",
    ),
    "two names for the same bytes": (
        {"N.zip": one_place(zip_bytes(FILES))},
        r"N\.zip: two files in its directory are the same bytes of it, so one has a false name\. Pack",
    ),
    "directory size nonsense": (
        {"N.zip": zip_bytes(FILES)[:-10] + struct.pack("<I", 1 << 30) + zip_bytes(FILES)[-6:]},
        r"N\.zip: the beginning of the zip is missing",
    ),
    "tar cut in a member": (
        {"T.tar": TAR[:1736]},
        r"T\.tar: truncated in the middle of 도움요청_0\.wav: 100 bytes are missing",
    ),
    "tar cut between members": (
        {"T.tar": TAR[:2048]},
        r"T\.tar: a tar without its end mark: it is truncated.*truncate -s \+1024",
    ),
    "tar cut in padding": ({"T.tar": TAR[:1900]}, r"T\.tar: a tar without its end mark"),
    "tar cut in a header": ({"T.tar": TAR[:3172]}, r"T\.tar: the tar header at byte 3,072 is cut off"),
    "tar header damaged": (
        {"T.tar": TAR[:1024] + b"!" + TAR[1025:]},
        r"T\.tar: the tar header at byte 1,024 is damaged \(wrong checksum\)",
    ),
    "first tar header damaged": (
        {"T.tar": b"?" + TAR[1:]},
        r"T\.tar: no archive but a tar whose first header is damaged",
    ),
    "tar with a hole": ({"T.tar": TAR[:1024] + bytes(17 << 20) + TAR}, r"T\.tar: only zeros from byte 1,024 on"),
    "page saved as tar": ({"T.tar": HTML}, r'T\.tar: no archive but a text.*"<!DOCTYPE html> <html><body><h1>502 Bad'),
    "page saved as zip": (
        {"N.zip": HTML * 900},
        r'N\.zip: no archive but a text.*"<!DOCTYPE html> <html><body><h1>502 Bad',
    ),
    "Korean message saved as tar": ({"T.tar": "인증키가 없습니다".encode("cp949")}, r'T\.tar: .*"인증키가 없습니다"'),
    "page in a tar": ({"T.tar": tar_bytes({"N.zip.part0": HTML})}, r"T\.tar!N\.zip: no archive but a text"),
    "empty zip file": ({"N.zip": b""}, r"N\.zip: an empty file\. Download it again"),
    "empty tar file": ({"T.tar": b""}, r"T\.tar: an empty file"),
    "zeros saved as zip": ({"N.zip": bytes(100_000)}, r"N\.zip: no archive but only zeros"),
    "gzip called tar": ({"T.tar": b"\x1f\x8b" + bytes(2000)}, r"T\.tar: no archive but gzip data"),
    "noise called zip": ({"N.zip": bytes(range(7, 250)) * 9}, r"N\.zip: no archive but unknown data"),
    "7z": ({"N.7z": b"7z"}, r"N\.7z: \.7z archives are not read in place\. Unpack it or repack it as zip or tar"),
    "alz": ({"N.ALZ": b"ALZ"}, r"N\.ALZ: \.alz archives"),
    "gzipped tar": ({"N.tar.gz": b""}, r"N\.tar\.gz: \.gz archives"),
    "rar in a zip": ({"N.zip": zip_bytes({"a.rar": b""})}, r"N\.zip!a\.rar: \.rar archives"),
    "zip compressed in a zip": (
        {"N.zip": zip_bytes({"in.zip": zip_bytes(FILES)})},
        r"N\.zip!in\.zip: an archive compressed inside a zip.*Unpack the outer zip",
    ),
    "browser's download": (
        {"N.zip.crdownload": b"PK"},
        r"N\.zip\.crdownload: an unfinished download\. Finish it, or delete it",
    ),
    "aria2's download": ({"N.zip": b"PK", "N.zip.aria2": b""}, r"^\S*N\.zip\.aria2: an unfinished download[^\n]*$"),
    "torrent's download": ({"a.wav.!ut": b""}, r"a\.wav\.!ut: an unfinished download"),
    "zip64 without its record": (
        {"N.zip": zip_bytes(FILES, Style(zip64=True)).replace(b"PK\6\6", b"PK\0\0")},
        r"N\.zip: a zip64 archive without its zip64 end record",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_archive_is_one_clear_message(tmp_path: Path, what: str) -> None:
    files, expected = BROKEN[what]
    message = refusal(write(tmp_path, files | {"beside.wav": b"fine"}))
    assert re.search(expected, message), message
    assert message.startswith(str(tmp_path))
    assert len(message.splitlines()) == 1


def test_all_broken_archives_are_told_at_once(tmp_path: Path) -> None:
    write(tmp_path, {"a/N.zip": b"", "b.tar": HTML, "c.7z": b"", "d/T.tar": tar_bytes({"x.zip": b"", "y.zip": HTML})})
    lines = refusal(tmp_path).splitlines()
    found = [line.removeprefix(f"{tmp_path}/").split(":")[0] for line in lines]
    assert sorted(found) == ["a/N.zip", "b.tar", "c.7z", "d/T.tar!x.zip", "d/T.tar!y.zip"]


def test_an_empty_root_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path}: holds no files. Check the path of root aihub."
    write(tmp_path, {"E.zip": zip_bytes({}), ".DS_Store": b""})
    assert "holds no files" in refusal(tmp_path)


def test_a_root_that_is_not_there_or_no_archive_is_refused(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "gone")
    write(tmp_path, {"a.wav": b"1"})
    assert "neither a folder nor a zip or tar" in refusal(tmp_path / "a.wav")


def test_a_dangling_link_is_told(tmp_path: Path) -> None:
    write(tmp_path, {"a.wav": b"1"})
    (tmp_path / "b.zip").symlink_to(tmp_path / "gone.zip")
    assert re.search(r"b\.zip: a link to a file that is not there", refusal(tmp_path))


def test_an_unfinished_tar_inside_hides_nothing(tmp_path: Path) -> None:
    """A first member that is whole does not make a cut tar good."""
    assert "truncated" in refusal(write(tmp_path, {"T.tar": TAR[:2200]}))


# One member


def entry(root: Root, name: str) -> Entry:
    return next(entry for entry in root.entries() if entry.name.endswith(name))


def damaged(tmp_path: Path, data: bytes) -> tuple[CorruptMember, Root]:
    """The refusal to read `도움요청_2.wav`, after the others were read."""
    root = Root("r", write(tmp_path, {"N.zip": data}))
    for number in (0, 1, 3, 4, 5):
        assert root.read(entry(root, f"_{number}.wav").place) == FILES[f"도움요청_{number}.wav"]
    with pytest.raises(CorruptMember) as caught:
        root.read(entry(root, "_2.wav").place)
    assert "N.zip" in caught.value.detail
    return caught.value, root


def in_third(data: bytes, mark: bytes, change: Callable[[bytearray, int], None]) -> bytes:
    """The zip with a change to the third record that starts with `mark`."""
    changed, at = bytearray(data), -1
    for _ in range(3):
        at = data.index(mark, at + 1)
    change(changed, at)
    return bytes(changed)


def put(offset: int, value: bytes) -> Callable[[bytearray, int], None]:
    def change(data: bytearray, at: int) -> None:
        data[at + offset : at + offset + len(value)] = value

    return change


DIRECTORY, LOCAL = b"PK\1\2", b"PK\3\4"


@pytest.mark.parametrize(
    ("style", "mark", "change", "reason", "detail"),
    [
        (STORED, LOCAL, put(100, b"!"), "corrupt", "fails its CRC-32 check"),
        (Style(), LOCAL, put(30 + len("도움요청_2.wav".encode()), b"\xff" * 4), "corrupt", "does not inflate"),
        (Style(), DIRECTORY, put(24, struct.pack("<I", 299)), "corrupt", "has not the 299 bytes"),
        (Style(), DIRECTORY, put(24, struct.pack("<I", 301)), "corrupt", "has not the 301 bytes"),
        (
            Style(),
            DIRECTORY,
            put(24, struct.pack("<I", 1 << 31)),
            "corrupt",
            "cannot hold the 2,147,483,648 bytes it claims",
        ),
        (STORED, LOCAL, put(0, b"????"), "corrupt", "no member starts at byte"),
        (STORED, DIRECTORY, put(20, struct.pack("<I", 1 << 20)), "truncated", "runs past the end"),
        (STORED, DIRECTORY, put(42, struct.pack("<I", 1 << 20)), "truncated", "but the archive has"),
        (
            STORED,
            LOCAL,
            put(6, struct.pack("<H", 0x801)),
            "encrypted",
            "is encrypted; repack the archive without a password",
        ),
        (STORED, LOCAL, put(8, struct.pack("<H", 8)), "corrupt", "different methods"),
    ],
)
def test_a_bad_member_costs_itself_alone(
    tmp_path: Path, style: Style, mark: bytes, change: Callable[[bytearray, int], None], reason: str, detail: str
) -> None:
    error, _ = damaged(tmp_path, in_third(zip_bytes(FILES, style), mark, change))
    assert error.reason == reason
    assert detail in error.detail


def test_an_unknown_method_is_named(tmp_path: Path) -> None:
    root = Root("r", write(tmp_path, {"N.zip": zip_bytes({"a.wav": b"1"}, Style(method=9))}))
    with pytest.raises(CorruptMember, match="packed with Deflate64; repack") as caught:
        root.read(root.entries()[0].place)
    assert caught.value.reason == "unsupported"


def test_a_file_that_shrank_is_truncated(tmp_path: Path) -> None:
    path = write(tmp_path, {"a.wav": b"12345"}) / "a.wav"
    place = Root("r", tmp_path).entries()[0].place
    path.write_bytes(b"123")
    with pytest.raises(CorruptMember, match=r"a\.wav: 3 of 5 bytes"):
        Root("r", tmp_path).read(place)


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"a.wav": b"12345", "N.zip": zip_bytes(FILES)})
    places = [entry.place for entry in Root("r", tmp_path).entries()]
    for path in tmp_path.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match=r"N\.zip: is not there any more"):
        Root("r", tmp_path).read(places[0])
    with pytest.raises(SourceError, match=r"a\.wav: cannot be read"):
        Root("r", tmp_path).read(places[-1])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_damage_gives_anything_but_the_right_bytes_or_a_clear_refusal(data: st.DataObject) -> None:
    kinds = {"N.zip": zip_bytes(FILES, Style(zip64=True)), "S.zip": zip_bytes(FILES, STORED), "T.tar": TAR}
    name = data.draw(st.sampled_from(sorted(kinds)))
    harmed = bytearray(kinds[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(harmed) - 1))
        harmed[at] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        root = Root(
            "r", write(Path(folder), {name: bytes(harmed[: data.draw(st.integers(len(harmed) // 2, len(harmed)))])})
        )
        try:
            for found in root.entries():
                read_or_drop(root, found, check=name != "T.tar")
        except PrepError:
            return


def read_or_drop(root: Root, found: Entry, check: bool) -> None:
    try:
        data = root.read(found.place)
    except CorruptMember:
        return
    if check:  # a tar has no checksum over the data
        assert data in FILES.values() or data == b""
