"""Names: what the name of a file says about it, how bytes become text, how containers are spelled."""

from __future__ import annotations

import re
from typing import NamedTuple
from unicodedata import is_normalized, normalize

UTF8_FIRST = ("utf-8", "cp949", "cp437")
CP949_FIRST = ("cp949", "utf-8", "cp437")
AUDIO_SUFFIXES = frozenset((".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".aac")) | frozenset(
    (".aif", ".aiff", ".au", ".wma", ".w64", ".caf", ".amr", ".3gp")
)
AUDIO_SUFFIXES |= frozenset((".wave", ".aifc", ".snd", ".sph", ".voc", ".mp4", ".webm"))
AUDIO_SUFFIXES |= frozenset((".mov", ".m4b", ".3g2", ".mka", ".mkv"))
RAW_SUFFIXES = (".pcm", ".raw")  # samples without a header, of a rate that somebody states

_ORDINARY = frozenset(("wav", "json", "flac", "ogg", "mp3", "m4a", "csv", "tsv", "txt"))
_PIECE = re.compile(r"(?P<whole>.+\.(?:zip|tar))\.(?:part(?P<offset>\d+)|(?P<index>\d{3}))$", re.IGNORECASE | re.DOTALL)
_DISK = re.compile(r"(?P<stem>.+)\.z(?P<number>\d{2,})$", re.IGNORECASE | re.DOTALL)
_JUNK = re.compile(r"(?:^|/)(?:\.|__MACOSX(?:/|$)|Thumbs\.db$|ehthumbs\.db$|desktop\.ini$)|\.tmp$|~$", re.IGNORECASE)
_INCOMPLETE = re.compile(r"\.(?:crdownload|aria2|part|partial|!ut|!qb|opdownload|filepart)$", re.IGNORECASE)
_FOREIGN = re.compile(
    r"(?<!\.json)(?<!\.jsonl)\.(?:7z(?:\.\d+)?|rar|alz|egg|gz|tgz|bz2|tbz2?|xz|txz|zst|lzh|cab)$", re.IGNORECASE
)
_ODD_PATH = re.compile(r"^/|//|(?:^|/)\.\.?(?:/|$)")


class Part(NamedTuple):
    """What the name of an archive's file says.

    kind: "whole", "piece" (`A.zip.part300`, `A.zip.003`) or "disk" (`A.z01`). archive: name of the whole archive, for a
    disk without the suffix `.zip`. number: of the piece or, from 1, of the disk.
    """

    kind: str
    archive: str
    number: int


def archive_part(name: str) -> Part | None:
    """Which archive the file is, or is a part of; None for any other file."""
    if name[-4:].lower() in (".zip", ".tar"):
        return Part("whole", name, 0)
    if piece := _PIECE.match(name):
        return Part("piece", piece["whole"], int(piece["offset"] or piece["index"]))
    if disk := _DISK.match(name):
        return Part("disk", disk["stem"], int(disk["number"]))
    return None


def is_ordinary(name: str) -> bool:
    """A quick yes for nearly all files: they are neither archive nor junk, and their path is tidy."""
    return (
        name[name.rfind(".") + 1 :] in _ORDINARY
        and name[0] not in "./"
        and not ("/." in name or "//" in name or "__" in name or "\\" in name)
    )


def is_junk(name: str) -> bool:
    """Hidden files, what operating systems leave behind, and temporary files."""
    return _JUNK.search(name) is not None


def is_incomplete_download(name: str) -> bool:
    """What browsers and download tools call a file that is still on its way."""
    return _INCOMPLETE.search(name) is not None


def is_audio(name: str) -> bool:
    """Whether the suffix is that of a recording; whether the file decodes is found out by ingest."""
    return suffix(name) in AUDIO_SUFFIXES


def is_raw(name: str) -> bool:
    """Whether the suffix is that of samples without a header."""
    return suffix(name) in RAW_SUFFIXES


def base(name: str) -> str:
    """File name without its folders."""
    return name.rpartition("/")[2]


def parts(name: str) -> tuple[str, str, str]:
    """Folder, stem and lower-case suffix of a path, in one pass."""
    folder, _, last = name.rpartition("/")
    head, dot, tail = last.rpartition(".")
    return (folder, head, f".{tail.lower()}") if dot and head else (folder, last, "")


def suffix(name: str) -> str:
    """`.wav`: lower case, with the dot; "" where there is none."""
    return parts(name)[2]


def stem(name: str) -> str:
    """File name without folders and suffix."""
    return parts(name)[1]


def without_suffix(name: str) -> str:
    """`a/b.zip` -> `a/b`: the folder that the archive stands for."""
    return name[: name.rindex(".")]


def nfc(name: str) -> str:
    """The name in NFC, as every name inside this project is."""
    return name if name.isascii() or is_normalized("NFC", name) else normalize("NFC", name)


def decoded(raw: bytes, encodings: tuple[str, ...] = UTF8_FIRST) -> str:
    """The bytes as text in the first encoding that takes them; cp437, the last, takes all."""
    for encoding in encodings[:-1]:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    return raw.decode(encodings[-1])


def is_utf8(raw: bytes) -> bool:
    """Whether the bytes are valid UTF-8. One Hangul syllable in cp949 may be so by accident: look at many names."""
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


def readable(name: str) -> str:
    """A name that the system gave us, where undecodable bytes are surrogates, as text in NFC."""
    try:
        name.encode()
    except UnicodeEncodeError:
        name = decoded(name.encode("utf-8", "surrogateescape"))
    return nfc(name)


def tidy(name: str) -> str:
    """A member's name as a path below the archive: no leading `/` or `./`, no `..`."""
    if _ODD_PATH.search(name) is None:
        return name
    kept: list[str] = []
    for part in name.split("/"):
        if part == "..":
            kept = kept[:-1]
        elif part not in ("", "."):
            kept.append(part)
    return "/".join(kept)


def escaped(name: str) -> str:
    """The name with `!` as %21, so that `!` can stand between an archive and the archive inside it.

    A byte of a name on disk that is not UTF-8, which the system gives as a surrogate, is spelled %udcb0.
    """
    name = re.sub("%(?=2[15]|udc[89a-f])", "%25", name).replace("!", "%21")
    return re.sub("[\udc80-\udcff]", lambda match: f"%u{ord(match[0]):04x}", name)


def inside(container: str, name: str) -> str:
    """The container `name` inside the container: `a.tar!b.zip`."""
    return f"{container}!{escaped(name)}"


def levels(container: str) -> list[str]:
    """`a.tar!b.zip` -> ["a.tar", "b.zip"], each as it is spelled on disk or in the archive."""

    def plain(match: re.Match[str]) -> str:
        return {"21": "!", "25": "%"}.get(match[1]) or chr(int(match[1][1:], 16))

    return [re.sub("%(2[15]|udc[89a-f][0-9a-f])", plain, level) for level in container.split("!")]


def folder_name(container: str) -> str:
    """The folder that a container stands for, in NFC: `a.tar!b.zip` -> `a/b`."""
    return "/".join(readable(without_suffix(level)) for level in levels(container))


def fault(name: str) -> str:
    """Why a file of this name stops a listing, and what to do about it; empty where it does not."""
    if is_incomplete_download(name):
        return "an unfinished download. Finish it, or delete it."
    if foreign := _FOREIGN.search(name):
        kind = foreign[0][foreign[0].rindex(".") :].lower()
        return f"{kind} archives are not read in place. Unpack it or repack it as zip or tar, then delete it."
    return ""
