"""What a file that should be an archive really is, in words for a message."""

from __future__ import annotations

from pipeline.archives.spans import Spans

QUOTED_CHARACTERS = 80
_HEAD_BYTES = 512
_MAGIC = {
    b"PK\x03\x04": "a zip",
    b"PK\x07\x08": "the first disk of a split zip",
    b"\x1f\x8b": "gzip data",
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"\x28\xb5\x2f\xfd": "zstd data",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"ALZ\x01": "an alz archive",
    b"EGGA": "an egg archive",
    b"RIFF": "a wav file",
    b"fLaC": "a flac file",
    b"%PDF": "a PDF document",
}


def described(spans: Spans) -> str:
    """`a web page or message that says "<html>..."`, `gzip data`, `only zeros`, or `unknown data`."""
    head = spans.pread(0, _HEAD_BYTES)
    for magic, words in _MAGIC.items():
        if head.startswith(magic):
            return words
    if not head.strip(b"\0"):
        return "only zeros (a download that was never filled in)"
    if head[257:262] == b"ustar":
        return "a tar whose first header is damaged"
    quote = quoted(head)
    return f'a text, a web page or an error message perhaps: "{quote}"' if quote else "unknown data"


def quoted(head: bytes) -> str:
    """The first printable characters of a text; empty where the bytes are no text."""
    for encoding in ("utf-8-sig", "cp949"):
        try:
            text = head.decode(encoding, "strict" if len(head) < _HEAD_BYTES else "ignore")
        except UnicodeDecodeError:
            continue
        line = " ".join(text.split())
        if line and line.isprintable():
            return line[:QUOTED_CHARACTERS]
    return ""
