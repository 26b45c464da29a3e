"""Clips to leave out: a file that audit writes and filter takes; a dev split with each keyword; what a split lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import done, drops, held, prep, rows
from corpus_samples import write
from sounds import encoded, voice

from pipeline.core import exclusions
from pipeline.core.errors import PrepError
from pipeline.inspect.audit import Audit, Finding
from pipeline.stages.splits import _balanced


def test_a_file_of_ids_comes_back_without_its_reasons(tmp_path: Path) -> None:
    exclusions.write(tmp_path / "out.txt", {"b c/녹음 1.wav": "near", "a": ""})
    assert exclusions.read(tmp_path / "out.txt") == ["a", "b c/녹음 1.wav"]
    (tmp_path / "own.txt").write_bytes("\ufeffx\r\n\n# y\nx\n".encode())
    assert exclusions.read(tmp_path / "own.txt") == ["x"]
    assert exclusions.identity(["a", "b"]) == exclusions.identity(["b", "a"]) != exclusions.identity(["a"])
    with pytest.raises(PrepError, match=r"gone.txt: cannot be read"):
        exclusions.read(tmp_path / "gone.txt")


def test_of_each_near_pair_the_one_that_matters_less_is_left_out() -> None:
    pairs = [
        {"ids": ["a", "b"], "splits": ["test", "train"]},
        {"ids": ["c", "d"], "splits": ["dev", "test"]},
        {"ids": ["b", "e"], "splits": ["train", "dev"]},
        {"ids": ["f", "c"], "splits": ["train", "dev"]},
    ]
    audit = Audit((Finding("near", False, 4, "", (), {"pairs": pairs}),), (), ())
    assert set(audit.exclusions()) == {"b", "c"}
    assert audit.exclusions()["b"] == "near: it is in train, and a in test is the same recording"
    assert Audit((), (), ()).exclusions() == {}


def test_audit_finds_a_copy_writes_it_and_filter_leaves_it_out(tmp_path: Path) -> None:
    sound = voice(2.0, seed=1)
    table = "file,text,speaker,split\na.wav,살려주세요,s1,train\nb.wav,여기예요,s2,test\nc.wav,구해주세요,s3,train\n"
    files = {"a.wav": encoded(sound), "b.wav": encoded(sound * 0.5), "c.wav": encoded(voice(2.0, seed=2))}
    write(tmp_path / "set", {"t.csv": table.encode(), **files})
    done(tmp_path, "ingest", "recordings", "set", "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    stored = "manifests/resampled.parquet"
    found = prep(tmp_path, "audit", stored, "--checks", "near", "--jobs", 1, "--write-exclusions", "out.txt")
    assert found.code == 1, found.out
    assert "prep filter --exclude out.txt" in found.err
    assert exclusions.read(tmp_path / "out.txt") == ["recordings/a.wav"]
    (tmp_path / "out.txt").write_text((tmp_path / "out.txt").read_text() + "recordings/gone.wav\n")
    out = done(tmp_path, "filter", "--dev-share", 0, "--exclude", "out.txt").out
    assert "1 of 2 ids to exclude are of no row here" in out
    assert drops(tmp_path, "filtered")["recordings/a.wav"][0] == "excluded"
    assert set(rows(tmp_path, "filtered")) == {"recordings/b.wav", "recordings/c.wav"}
    ids = exclusions.read(tmp_path / "out.txt")
    assert held(tmp_path, "filtered").provenance.recipe["exclude"] == exclusions.identity(ids)
    recipe = '[ingest]\ncorpora = ["recordings"]\n[filter]\ndev_share = 0\n[resample]\n'
    (tmp_path / "r.toml").write_text('exclude = "out.txt"\n' + recipe)
    done(tmp_path, "run", "r.toml", "--jobs", 1)
    assert set(rows(tmp_path, "r")) == {"recordings/b.wav", "recordings/c.wav"}
    (tmp_path / "r.toml").write_text('exclude = "gone.txt"\n' + recipe)
    assert "exclude: gone.txt: cannot be read" in prep(tmp_path, "check", "r.toml").err


def test_verify_writes_the_clips_whose_samples_are_not_what_they_say(tmp_path: Path) -> None:
    files = {f"{name}.wav": encoded(voice(1.0, seed=n)) for n, name in enumerate("abc")}
    write(tmp_path / "set", {"t.csv": b"file,text\na.wav,x\nb.wav,y\nc.wav,z\n", **files})
    done(tmp_path, "ingest", "recordings", "set", "--jobs", 1)
    done(tmp_path, "filter", "--dev-share", 0)
    done(tmp_path, "resample", "--jobs", 1)
    row = rows(tmp_path, "resampled")["recordings/b.wav"]
    shard = tmp_path / "manifests/audio" / (row.shard or "")
    data = bytearray(shard.read_bytes())
    data[(row.offset or 0) + (row.bytes or 0) // 2] ^= 1
    shard.write_bytes(data)
    words = ("verify", "manifests/resampled.parquet", "--jobs", 1, "--write-exclusions", "out.txt")
    ended = prep(tmp_path, *words)
    assert (ended.code, "out.txt: 1 clips to leave out" in ended.err) == (1, True), ended.err
    assert exclusions.read(tmp_path / "out.txt") == ["recordings/b.wav"]


def test_a_balanced_dev_has_each_keyword_about_its_share_and_leaves_each_to_train() -> None:
    counts = np.array([[20, 0, 0]] + [[5, 1, 0]] * 30 + [[3, 0, 2]] * 3)
    for seed in range(20):
        dev = _balanced(counts, np.random.Generator(np.random.PCG64(seed)).random(len(counts)), 0.1)
        assert (counts[dev].sum(axis=0) > 0).all()
        assert (counts[~dev].sum(axis=0) > 0).all()
        assert 0.05 <= counts[dev].sum() / counts.sum() <= 0.15
    assert not _balanced(np.array([[4, 4]]), np.array([0.5]), 0.1).any()


def test_filter_says_what_a_split_lacks_and_carves_a_balanced_dev(tmp_path: Path) -> None:
    lines = [(n, ("살려주세요", "도와주세요", "네")[n % 3], f"s{n // 3}") for n in range(30)]
    table = "file,transcript,speaker,split\n" + "".join(f"{n}.wav,{text},{who},train\n" for n, text, who in lines)
    table += "t.wav,살려주세요,t,test\n"
    sounds = {f"{n}.wav": encoded(voice(0.5, seed=n)) for n in range(30)}
    write(tmp_path / "set", {"t.csv": table.encode(), "t.wav": encoded(voice(0.5, seed=99)), **sounds})
    done(tmp_path, "ingest", "recordings", "set", "--jobs", 1)
    out = done(tmp_path, "filter", "--dev-share", 0.1, "--dev", "balanced").out
    assert "recordings: 1 of 10 groups of train became dev (dev_share 0.1), 10.0% of its clips" in out
    assert "test has no helpme, others (in all splits: helpme 10, others 10)" in out
    dev = [row.keyword for row in rows(tmp_path, "filtered").values() if row.split == "dev"]
    assert sorted(map(str, dev)) == ["helpme", "others", "saveme"]
