"""The same names and the same bytes, whatever the files lie in."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from unicodedata import normalize

import pytest
from containers import CP949, FULL32, STORED, UTF8, Style, pieces, split_zip, tar_bytes, write, zip_bytes
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pipeline.archives.listing as listing_module
from pipeline.archives import Root
from pipeline.archives import spans as spans_module
from pipeline.archives.names import is_utf8

FILES = {
    "a/강도범죄_1_label.wav": b"RIFF" + bytes(range(256)) * 40,
    "a/강도범죄_2_label.wav": b"x" * 5000,
    "도움요청/empty.wav": b"",
    "top.json": '{"note": "살려주세요"}'.encode(),
}


def read_all(path: Path) -> dict[str, bytes]:
    """Name -> bytes of everything under the path, read as a worker does: by another Root and a pickled Place."""
    entries = Root("r", path).entries()
    worker = pickle.loads(pickle.dumps(Root("r", path)))
    found = {entry.name: worker.read(pickle.loads(pickle.dumps(entry.place))) for entry in entries}
    assert len(found) == len(entries)
    return found


def below(folder: str, files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {f"{folder}/{name}": data for name, data in files.items()}


CONTAINERS: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "folder": lambda files: below("X", files),
    "folder with NFD names": lambda files: {normalize("NFD", name): data for name, data in below("X", files).items()},
    "zip": lambda files: {"X.zip": zip_bytes(files)},
    "stored zip": lambda files: {"X.zip": zip_bytes(files, STORED)},
    "zip with cp949 names": lambda files: {"X.zip": zip_bytes(files, CP949)},
    "zip with unflagged UTF-8 names": lambda files: {"X.zip": zip_bytes(files, Style(flagged=False))},
    "zip with NFD names": lambda files: {"X.zip": zip_bytes(files, Style(form="NFD"))},
    "zip written as a stream": lambda files: {"X.zip": zip_bytes(files, Style(descriptor=True))},
    "zip64": lambda files: {"X.zip": zip_bytes(files, Style(zip64=True))},
    "zip64 after a program": lambda files: {"X.zip": zip_bytes(files, Style(zip64=True, prefix=b"MZ" + b"\0" * 999))},
    "zip with a comment": lambda files: {"X.zip": zip_bytes(files, Style(comment=b"PK\5\6 not the end" * 9))},
    "zip after a program": lambda files: {"X.zip": zip_bytes(files, Style(prefix=b"MZ" + b"\0" * 999))},
    "zip in capitals": lambda files: {"X.ZIP": zip_bytes(files)},
    "split zip": lambda files: split_zip(files, "X", 700),
    "stored split zip": lambda files: split_zip(files, "X", 1024, STORED),
    "split zip64": lambda files: split_zip(files, "X", 400, Style(zip64=True, method=0)),
    "split zip written as a stream": lambda files: split_zip(files, "X", 512, Style(descriptor=True)),
    "split zip in capitals": lambda files: {name.upper(): data for name, data in split_zip(files, "X", 512).items()},
    "split zip joined": lambda files: {"X.zip": b"".join(split_zip(files, "X", 700, STORED).values())},
    "split zip joined beside its disks": lambda files: (lambda disks: disks | {"X.zip": b"".join(disks.values())})(
        split_zip(files, "X", 700)
    ),
    "split stream joined": lambda files: {
        "X.zip": b"".join(split_zip(files, "X", 700, Style(descriptor=True)).values())
    },
    "split zip64 joined": lambda files: {
        "X.zip": b"".join(split_zip(files, "X", 400, Style(zip64=True, method=0)).values())
    },
    "tar": lambda files: {"X.tar": tar_bytes(files)},
    "GNU tar": lambda files: {"X.tar": tar_bytes(files, kind=tarfile.GNU_FORMAT)},
    "ustar with NFD names": lambda files: {"X.tar": tar_bytes(files, "NFD", kind=tarfile.USTAR_FORMAT)},
    "tar with cp949 names": lambda files: {"X.tar": tar_bytes(files, encoding="cp949", kind=tarfile.GNU_FORMAT)},
    "two tars joined": lambda files: {
        "X.tar": tar_bytes(dict(list(files.items())[:1])) + tar_bytes(dict(list(files.items())[1:]))
    },
    "pieces in a folder": lambda files: pieces("X.zip", zip_bytes(files, CP949), 90),
    "pieces numbered from 1": lambda files: numbered(zip_bytes(files), ".part{}", 1),
    "pieces numbered from 0": lambda files: numbered(zip_bytes(files), ".part{}", 0),
    "pieces .001": lambda files: numbered(zip_bytes(files), ".{:03d}", 1),
    "a tar called zip": lambda files: {"X.zip": tar_bytes(files)},
}
NESTED: dict[str, Callable[[dict[str, bytes]], dict[str, bytes]]] = {
    "folders": lambda files: below("X/Y", files),
    "tar of pieces": lambda files: {"X.tar": tar_bytes(pieces("Y.zip", zip_bytes(files, CP949), 90))},
    "zip in a tar": lambda files: {"X.tar": tar_bytes({"Y.zip": zip_bytes(files)})},
    "zip in a stored zip": lambda files: {"X.zip": zip_bytes({"Y.zip": zip_bytes(files)}, STORED)},
    "split zip in a tar": lambda files: {"X.tar": tar_bytes(split_zip(files, "Y", 512))},
    "tar in a split zip": lambda files: split_zip({"Y.tar": tar_bytes(files)}, "X", 3000, STORED),
    "pieces of a zip in pieces of a tar": lambda files: pieces(
        "X.tar", tar_bytes(pieces("Y.zip", zip_bytes(files), 700)), 999
    ),
}


def numbered(data: bytes, suffix: str, first: int) -> dict[str, bytes]:
    return {"X.zip" + suffix.format(k + first): data[at : at + 60] for k, at in enumerate(range(0, len(data), 60))}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_every_container_holds_the_same_names_and_bytes(tmp_path: Path, kind: str) -> None:
    assert read_all(write(tmp_path, CONTAINERS[kind](FILES))) == below("X")


@pytest.mark.parametrize("kind", NESTED)
def test_an_archive_in_an_archive_is_a_folder_in_a_folder(tmp_path: Path, kind: str) -> None:
    assert read_all(write(tmp_path, NESTED[kind](FILES))) == below("X/Y")


@pytest.mark.parametrize("kind", [kind for kind in CONTAINERS if "folder" not in kind])
def test_a_root_may_be_the_archive_itself(tmp_path: Path, kind: str) -> None:
    files = CONTAINERS[kind](FILES)
    write(tmp_path, files | {"beside.wav": b"not in this root", "other.zip": b"nor this"})
    for name in sorted(files):
        assert read_all(tmp_path / name) == below("X")


NAME = st.lists(
    st.text(st.sampled_from("aZ09 _-()%!#[].가각힣도움요청살려화재éñ"), min_size=1, max_size=9)
    .map(lambda text: normalize("NFC", text).strip(". "))
    .filter(bool),
    min_size=1,
    max_size=3,
).map(lambda parts: "/".join(parts) + ".wav")
MEMBERS = st.dictionaries(
    NAME, st.binary(max_size=400) | st.binary(max_size=40).map(lambda d: d * 30), min_size=1, max_size=6
).filter(lambda files: not any(f"{name}/" in other for name in files for other in files))
EVERY = CONTAINERS | {f"nested {name}": make for name, make in NESTED.items()}


@settings(max_examples=60, deadline=None)
@given(MEMBERS, st.sampled_from(sorted(EVERY)))
def test_any_files_come_back_from_any_container(files: dict[str, bytes], kind: str) -> None:
    if "cp949" in kind or "pieces" in kind:
        files = {name.replace("é", "e").replace("ñ", "n"): data for name, data in files.items()}
        # 청 in cp949 is û in UTF-8: an archive of such names alone is read as UTF-8
        assume(all(name.isascii() for name in files) or not all(is_utf8(name.encode("cp949")) for name in files))
    with TemporaryDirectory() as folder:
        found = read_all(write(Path(folder), EVERY[kind](files)))
    assert found == below("X/Y" if kind.startswith("nested") else "X", files)


@settings(max_examples=30, deadline=None)
@given(
    MEMBERS,
    st.integers(200, 2000),
    st.sampled_from([UTF8, STORED, Style(zip64=True), Style(descriptor=True, method=0)]),
)
def test_a_split_zip_may_be_cut_anywhere(files: dict[str, bytes], disk_bytes: int, style: Style) -> None:
    with TemporaryDirectory() as folder:
        assert read_all(write(Path(folder), split_zip(files, "X", disk_bytes, style))) == below("X", files)


def test_entries_do_not_depend_on_the_container(tmp_path: Path) -> None:
    listings = []
    for number, kind in enumerate(CONTAINERS):
        root = Root("r", write(tmp_path / str(number), CONTAINERS[kind](FILES)))
        listings.append([(entry.name, entry.place.size) for entry in root.entries()])
    assert all(listing == listings[0] for listing in listings)


def test_the_place_of_a_stored_member_tells_where_it_lies(tmp_path: Path) -> None:
    write(tmp_path, {"d/X.zip": zip_bytes({"one.wav": b"12345", "two.wav": b"678"}, STORED)})
    _, two = Root("r", tmp_path).entries()
    place = two.place
    assert (place.container, place.method, place.packed, place.size) == ("d/X.zip", 0, 3, 3)
    assert place.stamp == (tmp_path / "d/X.zip").stat().st_mtime_ns
    assert place.offset == 30 + len("one.wav") + 5
    assert place.crc is not None


def test_a_plain_file_has_a_stamp_and_no_crc(tmp_path: Path) -> None:
    path = write(tmp_path, {"one.wav": b"12345"}) / "one.wav"
    os.utime(path, ns=(5, 7_000_000_123))
    place = Root("r", tmp_path).entries()[0].place
    assert (place.method, place.crc, place.stamp, place.size, place.offset) == (-1, None, path.stat().st_mtime_ns, 5, 0)


@pytest.mark.parametrize("kind", ["zip", "stored zip", "split zip", "tar"])
def test_a_member_costs_one_read(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"a.wav": b"a" * 100, "b.wav": b"b" * 100}
    root = Root("r", write(tmp_path, CONTAINERS[kind](files)))
    entries = root.entries()
    root.read(entries[0].place)
    reads = []
    real = os.pread
    monkeypatch.setattr(spans_module.os, "pread", lambda *a: reads.append(a) or real(*a))
    assert root.read(entries[1].place) == b"b" * 100
    assert len(reads) == 1


def test_a_directory_is_read_once_in_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, {"X.zip": zip_bytes(FILES), "T.tar": tar_bytes({"Y.zip": zip_bytes(FILES)})})
    first = Root("r", tmp_path).entries()
    monkeypatch.setattr(listing_module, "members", lambda archive: pytest.fail("read again"))
    assert Root("r", tmp_path).entries() == first
    assert [Root("r", tmp_path).read(entry.place) for entry in first]


def test_a_replaced_archive_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path, {"X.zip": zip_bytes({"one.wav": b"1"})}) / "X.zip"
    assert read_all(tmp_path) == {"X/one.wav": b"1"}
    path.unlink()
    path.write_bytes(zip_bytes({"two.wav": b"22"}))
    assert read_all(tmp_path) == {"X/two.wav": b"22"}


def test_a_moved_corpus_reads_by_the_same_places(tmp_path: Path) -> None:
    before = write(
        tmp_path / "before", {"X.tar": tar_bytes(pieces("Y.zip", zip_bytes(FILES), 99))} | split_zip(FILES, "S", 700)
    )
    places = {entry.name: entry.place for entry in Root("r", before).entries()}
    after = before.rename(tmp_path / "after")
    assert {name: Root("r", after).read(place) for name, place in places.items()} == below("X/Y") | below("S")


def test_exclamation_and_percent_signs_in_names_are_not_separators(tmp_path: Path) -> None:
    inner = {"b!.zip": zip_bytes({"살려!.wav": b"1"}), "c%21.zip": zip_bytes({"d.wav": b"2"})}
    write(tmp_path, {"a!b.tar": tar_bytes(inner), "a": b"", "100%!.wav": b"3", "a%21.zip": zip_bytes({"e.wav": b"4"})})
    assert read_all(tmp_path) == {
        "a!b/b!/살려!.wav": b"1",
        "a!b/c%21/d.wav": b"2",
        "100%!.wav": b"3",
        "a%21/e.wav": b"4",
        "a": b"",
    }


def test_two_files_of_one_name_are_both_listed_whatever_holds_them(tmp_path: Path) -> None:
    big, small = {"a.wav": b"longer"}, {"a.wav": b"s"}
    orders = []
    for number, (first, second) in enumerate([(big, small), (small, big)]):
        root = Root("r", write(tmp_path / str(number), below("X", first) | {"X.zip": zip_bytes(second)}))
        orders.append([root.read(entry.place) for entry in root.entries()])
    assert orders == [[b"s", b"longer"]] * 2


def test_the_joined_file_stands_for_its_pieces(tmp_path: Path) -> None:
    data = zip_bytes(FILES)
    assert read_all(write(tmp_path, pieces("X.zip", data, 90) | {"X.zip": data})) == below("X")


def test_junk_of_operating_systems_is_left_out(tmp_path: Path) -> None:
    junk = {
        ".DS_Store": b"",
        "__MACOSX/._a.wav": b"",
        "a/._x.wav": b"",
        "a/Thumbs.db": b"",
        "desktop.ini": b"",
        ".git/x.7z": b"",
    }
    write(tmp_path, junk | {"X.zip": zip_bytes({"d/": b""} | junk | FILES), "Y.tar": tar_bytes(junk | FILES)})
    assert read_all(tmp_path) == below("X") | below("Y")


def test_info_zip_unicode_names_are_believed_only_with_their_checksum(tmp_path: Path) -> None:
    good = zip_bytes({"도움.wav": b"1"}, Style(flagged=False, unicode_field=True))
    bad = good.replace(struct.pack("<I", zlib.crc32(b"??.wav")), b"\0\0\0\0")
    assert read_all(write(tmp_path / "good", {"X.zip": good})) == {"X/도움.wav": b"1"}
    assert read_all(write(tmp_path / "bad", {"X.zip": bad})) == {"X/??.wav": b"1"}


def test_a_short_cp949_name_that_happens_to_be_utf8_is_read_as_its_neighbours(tmp_path: Path) -> None:
    assert "징".encode("cp949").decode("utf-8") != "징"
    write(tmp_path, {"X.zip": zip_bytes({"징.wav": b"1", "도움요청.wav": b"2"}, CP949)})
    assert sorted(read_all(tmp_path)) == ["X/도움요청.wav", "X/징.wav"]


def test_folder_names_in_cp949_bytes_are_read(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/" + "도움요청".encode("cp949")
    Path(os.fsdecode(raw)).mkdir()
    Path(os.fsdecode(raw + b"/1.wav")).write_bytes(b"1")
    Path(os.fsdecode(raw + b"/2.zip")).write_bytes(zip_bytes({"a.wav": b"2"}))
    assert read_all(tmp_path) == {"도움요청/1.wav": b"1", "도움요청/2/a.wav": b"2"}


def test_member_names_never_leave_their_archive(tmp_path: Path) -> None:
    files = {"../up.wav": b"1", "/abs.wav": b"2", "./dot.wav": b"3", "a\\b.wav": b"4", "c/../d.wav": b"5"}
    write(tmp_path, {"X.zip": zip_bytes(files)})
    assert sorted(read_all(tmp_path)) == ["X/a/b.wav", "X/abs.wav", "X/d.wav", "X/dot.wav", "X/up.wav"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    write(tmp_path, {"real/a.wav": b"1", "root/b.wav": b"2"})
    (tmp_path / "root/linked").symlink_to(tmp_path / "real")
    (tmp_path / "root/a.wav").symlink_to(tmp_path / "real/a.wav")
    (tmp_path / "root/self").symlink_to(tmp_path / "root/self")
    (tmp_path / "real/back").symlink_to(tmp_path / "root")
    assert read_all(tmp_path / "root") == {"a.wav": b"1", "b.wav": b"2", "linked/a.wav": b"1"}


def test_links_in_a_tar_are_their_targets(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "X.tar", "w") as tar:
        (tmp_path / "f").write_bytes(b"sound")
        tar.add(tmp_path / "f", "d/a.wav")
        for name, kind, target in (
            ("e/hard.wav", tarfile.LNKTYPE, "d/a.wav"),
            ("e/soft.wav", tarfile.SYMTYPE, "../d/a.wav"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info)
    (tmp_path / "f").unlink()
    assert read_all(tmp_path) == {"X/d/a.wav": b"sound", "X/e/hard.wav": b"sound", "X/e/soft.wav": b"sound"}


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_in_a_tar_are_read(tmp_path: Path, kind: int) -> None:
    files = {"도움요청/" * 40 + "끝.wav": b"1", "n" * 150 + ".wav": b"2"}
    assert read_all(write(tmp_path, {"X.tar": tar_bytes(files, kind=kind)})) == below("X", files)


def test_an_empty_pax_path_leaves_the_name_of_the_header(tmp_path: Path) -> None:
    info = tarfile.TarInfo("a.wav")
    info.pax_headers = {"path": ""}
    with tarfile.open(tmp_path / "X.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    assert read_all(tmp_path) == {"X/a.wav": b""}


def test_a_tar_size_may_be_binary(tmp_path: Path) -> None:
    data = bytearray(tar_bytes({"a.wav": b"12345"}))
    data[124:136] = b"\x80" + (5).to_bytes(11, "big")
    data[148:156] = b" " * 8
    data[148:156] = b"%06o\0 " % sum(data[:512])
    assert read_all(write(tmp_path, {"X.tar": bytes(data)})) == {"X/a.wav": b"12345"}


def test_a_directory_offset_that_was_never_told_is_found(tmp_path: Path) -> None:
    data = zip_bytes(FILES)
    write(tmp_path, {"X.zip": data[:-6] + b"\xff" * 4 + data[-2:]})
    assert read_all(tmp_path) == below("X")


def test_an_empty_archive_beside_others_is_no_fault(tmp_path: Path) -> None:
    write(tmp_path, {"E.zip": zip_bytes({}), "E.tar": tar_bytes({}), "a.wav": b"1"})
    assert read_all(tmp_path) == {"a.wav": b"1"}


@pytest.mark.parametrize("style", [Style(zip64=True), Style()])
def test_a_zip_of_more_than_65535_files_is_read_with_and_without_zip64(tmp_path: Path, style: Style) -> None:
    files = {f"{n}.wav": b"" for n in range(65_540)}
    write(tmp_path, {"X.zip": zip_bytes(files, style)})
    assert {entry.name for entry in Root("r", tmp_path).entries()} == {f"X/{name}" for name in files}


@pytest.mark.parametrize("is_zip64", [True, False])
def test_a_zip_beyond_four_gibibytes_is_read(tmp_path: Path, is_zip64: bool) -> None:
    """Without zip64, as a well-known archiver writes it, the offsets have lost their upper bits."""
    at = 4 << 30
    (head, first), (tail, second) = (halves({name: name.encode()}) for name in ("a.wav", "b.wav"))
    offset = b"\xff" * 4 if is_zip64 else bytes(4)
    extra = struct.pack("<HHQ", 1, 8, at) if is_zip64 else b""
    second = second[:30] + struct.pack("<H", len(extra)) + second[32:42] + offset + second[46:] + extra
    directory, directory_at = first + second, at + len(tail)
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 2, 2, len(directory), FULL32 if is_zip64 else len(tail), 0)
    if is_zip64:
        locator = struct.pack("<4sIQI", b"PK\6\7", 0, directory_at + len(directory), 1)
        end = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2, 2, len(directory), directory_at) + locator + end
    with (tmp_path / "X.zip").open("wb") as out:  # sparse: takes no room on the disk
        out.write(head)
        out.seek(at)
        out.write(tail + directory + end)
    assert read_all(tmp_path) == {"X/a.wav": b"a.wav", "X/b.wav": b"b.wav"}


def halves(files: dict[str, bytes]) -> tuple[bytes, bytes]:
    """The members and the central directory of a stored zip."""
    data = zip_bytes(files, STORED)
    return data[: data.index(b"PK\1\2")], data[data.index(b"PK\1\2") : data.index(b"PK\5\6")]


def test_many_threads_and_few_handles_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans_module, "_handle", lru_cache(maxsize=1)(lambda path, stamp: spans_module._Handle(path)))
    write(tmp_path, {f"{n}.zip": zip_bytes({"a.wav": bytes([n]) * 3000}, STORED) for n in range(8)})
    root = Root("r", tmp_path)
    places = [entry.place for entry in root.entries()] * 50
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(root.read, places)) == [bytes([n]) * 3000 for n in range(8)] * 50


@pytest.mark.skipif(shutil.which("zip") is None, reason="Info-ZIP's zip is not installed")
@pytest.mark.parametrize("flags", [[], ["-0"], ["-fz"]])
def test_what_info_zip_splits_is_read(tmp_path: Path, flags: list[str]) -> None:
    files = {f"d/{n}.wav": os.urandom(30_000) for n in range(12)} | {"도움.wav": b"1" * 9}
    source = write(tmp_path / "source", files)
    (tmp_path / "split").mkdir()
    command = ["zip", "-q", "-r", "-s", "64k", *flags, str(tmp_path / "split/X.zip"), "."]
    subprocess.run(command, cwd=source, check=True)
    assert len(list((tmp_path / "split").iterdir())) > 5
    assert read_all(tmp_path / "split") == below("X", files)
    disks = [*sorted((tmp_path / "split").glob("X.z[0-9]*")), tmp_path / "split/X.zip"]
    write(tmp_path / "joined", {"X.zip": b"".join(disk.read_bytes() for disk in disks)})
    assert read_all(tmp_path / "joined") == below("X", files)


MAKE_CORPORA = Path(__file__).parents[2] / "shared/tools/make-corpora"


@pytest.mark.skipif(not MAKE_CORPORA.exists(), reason="the maker of stand-in corpora is not beside this checkout")
def test_stand_in_corpora_unpacked_to_folders_have_the_same_names_and_bytes(tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, str(MAKE_CORPORA), str(tmp_path / "made"), "--clips-per-class", "2"],
        check=True,
        capture_output=True,
    )
    for corpus in ("aihub170", "cochlscene", "ms-snsd", "recordings"):
        found = read_all(tmp_path / "made" / corpus)
        assert read_all(write(tmp_path / "unpacked" / corpus, found)) == found
