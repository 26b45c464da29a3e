"""What strangers wrote is inert: no command lets a terminal obey it, or a browser run it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from command import done, prep

from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import inert
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row

EVIL = "\x1b[2J\x1b]0;mine\x07\x9b31m\u202egpj.exe\u2066<script>alert(1)</script>\r\u200f"
ACTIVE = [chr(n) for n in (*range(9), *range(11, 32), *range(127, 160), 0x200F, 0x202E, 0x2066)]
COMMANDS = (
    ("show", "a.parquet"),
    ("show", "a.parquet", "--json"),
    ("explain", "recordings/0", "a.parquet"),
    ("explain", "recordings/0", "a.parquet", "--json"),
    ("explain", "recordings/lost", "a.parquet"),
    ("explain", EVIL, "a.parquet"),
    ("audit", "a.parquet", "--no-near", "--jobs", "1"),
    ("diff", "a.parquet", "b.parquet"),
    ("rights", "a.parquet"),
    ("verify", "a.parquet", "--level", "schema", "--jobs", "1"),
    ("verify", f"{EVIL}.parquet"),
    ("lexicon", EVIL),
    ("filter", "a.parquet", "--where", f"transcript <> '{EVIL}' AND"),
    ("report", "a.parquet", "--json", "--out", "a.html", "--with-audio"),
    ("drops", "a.parquet"),
    ("show", f"--{EVIL}", "a.parquet"),
    ("clean", f"{EVIL}"),
    ("export", "a.parquet", "--to", "csv", "--shareable", "--out", f"{EVIL.replace('/', '')}.csv"),
    ("doctor", "--root", f"recordings={EVIL}"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two manifests in which every text is hostile."""
    folder = tmp_path_factory.mktemp("evil")
    plain = Row(
        "recordings/0", "recordings", "train", EVIL, "speech", f"@recordings/{EVIL}", EVIL, "saveme", EVIL, EVIL
    )
    plain = replace(plain, labels={EVIL: EVIL}, source_format=EVIL, source_pcm_hash="a" * 32, noise_label="speech")
    plain = replace(plain, frames=16_000, rate_hz=16_000, source_rate_hz=16_000, source_frames=16_000)
    rows = [replace(plain, id=f"recordings/{n}", split=split) for n, split in enumerate(("train", "test", "dev"))]
    drops = [Drop("recordings/lost", "ingest", "corrupt", f"{EVIL} is no recording")]
    made = Provenance("filter", {"filter": {"where": f"transcript <> '{EVIL}'"}}, 0)
    for name, changed in (("a", EVIL), ("b", f"{EVIL}!")):
        table = frames.from_rows([replace(row, transcript=changed) for row in rows], Row)
        manifest.write(folder / f"{name}.parquet", table, frames.from_rows(drops, Drop), made)
    return folder


@pytest.mark.parametrize("typed", COMMANDS, ids=lambda typed: inert(" ".join(typed))[:40])
def test_no_command_passes_on_what_a_terminal_obeys(folder: Path, typed: tuple[str, ...]) -> None:
    ended = prep(folder, *typed)
    assert not [hex(ord(letter)) for letter in ACTIVE if letter in ended.out + ended.err]
    assert "Traceback" not in ended.out + ended.err


def test_json_stands_for_the_same_text(folder: Path) -> None:
    answer = json.loads(done(folder, "explain", "recordings/0", "a.parquet", "--json").out)
    assert EVIL in _texts(answer)


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []


def test_a_page_runs_nothing(folder: Path) -> None:
    done(folder, "report", "a.parquet", "--out", "a.html", "--with-audio")
    page = (folder / "a.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
