"""What must outlive any change of the code, seen from the command line alone: hashes, names, files, answers, options.

No module of the project is named here: the commands are found where pyproject.toml says they are. What is pinned lies
in tests/golden. After a change that is meant, `GOLDEN=write python -m pytest -n 0 tests/test_golden.py` writes its
JSON files anew. The Parquet files there were written by an earlier prep: later code must read them as they are.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import soundfile
from pinned import GOLDEN, Ended, columns, flags, golden, help_of, keys, pinned, said, scripts, typed

CORPORA = {"aihub": "aihub170", "cochlscene": "cochlscene", "ms-snsd": "ms-snsd", "recordings": "recordings"}
SHARDS = ("--jobs", 1, "--shard-clips", 100)  # as recipes/demo.toml has it: what the demo has done is found and taken
STAMP_NS = 1_600_000_000_000_000_000
WITHOUT_EXIT = {"doctor"}  # it looks at this machine, and may find it wanting

STAGES = {
    **{f"ingest {name}": ("ingest", name, f"demo-corpus/{folder}", *SHARDS) for name, folder in CORPORA.items()},
    "filter": ("filter", "--dev-share", 0.2, "--jobs", 1),
    "resample": ("resample", *SHARDS),
    "mix": ("mix", "--snr", 20, "--snr", 10, "--noise", "cochlscene", *SHARDS),
}
DEMO, PACK, MIXED = "manifests/demo.parquet", "manifests/demo.pack.parquet", "manifests/mixed.parquet"
RECORDINGS = "manifests/recordings.pack.parquet"
FORMS = ("csv", "hf", "kaldi", "lhotse", "nemo", "webdataset")
# What is typed, without --json: in this order, each in the folder that those before it left.
ANSWERS: dict[str, tuple[object, ...]] = {
    "demo": ("demo", "--jobs", 1),
    **STAGES,
    "ingest --dry-run": ("ingest", "recordings", "--dry-run"),
    "mix --dry-run": ("mix", "--dry-run"),
    "run": ("run", "demo", "--jobs", 1),
    "run --dry-run": ("run", "demo", "--dry-run"),
    "gather": ("gather", "demo"),
    "plan": ("plan", "demo"),
    "plan of another seed": ("plan", "demo", "--seed", 1),
    "status": ("status",),
    "check": ("check", "demo"),
    "lexicon": ("lexicon", "저기요 살려주세요", "도와줘서 고마워", ""),
    "lexicon of examples": ("lexicon",),
    "lexicon --near": ("lexicon", "--near", "manifests/demo.parquet"),
    "check with faults": ("check", "faulty.toml"),
    "show": ("show", DEMO),
    "drops": ("drops", DEMO),
    "report": ("report", DEMO, "--out", "demo.html", "--baseline", "manifests/filtered.parquet"),
    "audit": ("audit", DEMO, "--jobs", 1),
    "audit --checks": (
        "audit",
        DEMO,
        "--checks",
        "group,source,noise,pcm,balance,transcript",
        "--fail-on",
        "transcript",
    ),
    "audit of no manifest": ("audit", "manifests/none.parquet"),
    "explain mixture": ("explain", "{mixture}", DEMO),
    "explain speech": ("explain", "{speech}"),
    "explain noise": ("explain", "{noise}", DEMO),
    "explain drop": ("explain", "{drop}", DEMO),
    "explain nothing": ("explain", "no such id", DEMO),
    "diff same": ("diff", DEMO, DEMO),
    "diff other": ("diff", DEMO, "manifests/filtered.parquet"),
    "diff of no manifest": ("diff", DEMO, "manifests/none.parquet"),
    "paper-counts": ("paper-counts", "manifests/aihub.parquet"),
    "rights": ("rights", DEMO),
    "pack": ("pack", DEMO),
    "pack --croissant": ("pack", DEMO, "--out", "beside/demo.pack.parquet", "--croissant"),
    "pack --allow": ("pack", DEMO, "--allow", "transcripts:aihub"),
    "pack recordings": ("pack", "manifests/recordings.parquet"),
    "verify manifest": ("verify", DEMO, "--jobs", 1),
    "verify recompute": ("verify", DEMO, "--level", "recompute", "--sample", 20, "--jobs", 1),
    "verify pack": ("verify", PACK, "--level", "references", "--jobs", 1),
    "verify lacking": ("verify", "bare/demo.parquet", "--level", "references", "--jobs", 1),
    "rebuild": ("rebuild", RECORDINGS, "--out", "again/r.parquet", "--jobs", 1),
    "rebuild lacking": ("rebuild", RECORDINGS, "--root", "recordings=half", "--out", "lacking/r.parquet", "--jobs", 1),
    "rebuild of nothing": ("rebuild", RECORDINGS, "--root", "recordings=bare", "--out", "none/r.parquet", "--jobs", 1),
    "rights of a pack": ("rights", PACK),
    "show of a pack": ("show", PACK),
    **{f"export {form}": ("export", DEMO, "--to", form, "--shareable", "--dry-run") for form in FORMS},
    "export written": ("export", "manifests/ms-snsd.parquet", "--to", "csv", "--own-use"),
    "export without a use": ("export", DEMO, "--to", "csv"),
    "migrate": ("migrate", DEMO),
    "measure": ("measure", "manifests/recordings.parquet", "--jobs", 1),
    "scene": ("scene", "--hours", 0.02, "--calls-per-hour", 60, "--speech-per-hour", 60, "--jobs", 1),
    "corpora": ("corpora",),
    "doctor": ("doctor",),
    "an unknown option": ("show", "--none", DEMO),
    "an unknown command": ("shw", DEMO),
}
FAULTY = 'seed = "x"\n[ingest]\ncorpora = ["aihb"]\n[filter]\nmin_sec = 1\n'


@dataclass(frozen=True, slots=True)
class Demo:
    """The folder of the demo and of all that was asked of it.

    files: what `prep demo` left in manifests/. ended: how each of ANSWERS ended.
    """

    folder: Path
    files: list[str]
    ended: dict[str, Ended]

    def manifest(self, name: str = "demo") -> Path:
        """A manifest by its name, `demo`, `demo.drops`."""
        return self.folder / f"manifests/{name}.parquet"


def prep(folder: Path, *words: object) -> Ended:
    """`prep WORDS` in the folder, which must end well."""
    ended = typed(folder, "prep", *words)
    assert ended.code == 0, f"prep {words}: exit {ended.code}\n{ended.out}\n{ended.err}"
    return ended


@pytest.fixture(scope="module")
def demo(typed_demo: tuple[Path, Ended], tmp_path_factory: pytest.TempPathFactory) -> Demo:
    """The demo made once, one process at work, and all of ANSWERS asked of it in their order."""
    folder = tmp_path_factory.mktemp("golden")
    shutil.copytree(typed_demo[0], folder, dirs_exist_ok=True)
    (folder / "faulty.toml").write_text(FAULTY, encoding="utf-8")
    ended = {"demo": typed_demo[1]}
    assert ended["demo"].code == 0, ended["demo"]
    left = sorted(path for path in (folder / "manifests").rglob("*") if path.is_file() and path.name != "lock")
    made = Demo(folder, [path.relative_to(folder).as_posix() for path in left], ended)
    _stamp(folder / "demo-corpus")
    _beside(made)
    ids = _examples(made)
    for name, words in list(ANSWERS.items())[1:]:
        ended[name] = typed(folder, "prep", *(str(word).format(**ids) for word in words), "--json")
    return made


def _stamp(folder: Path) -> None:
    """Gives every file the same time of change: it is part of the name of what ingest commits."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            os.utime(path, ns=(STAMP_NS, STAMP_NS))


def _beside(demo: Demo) -> None:
    """bare/demo.parquet: the manifest and its drops, without audio. half: the recordings, but for one."""
    (demo.folder / "bare").mkdir()
    for name in ("demo", "demo.drops"):
        shutil.copy(demo.manifest(name), demo.folder / f"bare/{name}.parquet")
    shutil.copytree(demo.folder / "demo-corpus/recordings", demo.folder / "half")
    next(path for path in sorted((demo.folder / "half/wav").iterdir())).unlink()


def digest(*words: object) -> str:
    """128 bits of these words, one a line."""
    return blake2b("\n".join(map(str, words)).encode(), digest_size=16).hexdigest()


def _examples(demo: Demo) -> dict[str, str]:
    """An id of each kind: {mixture}, the {speech} and the {noise} that it is made of, a {drop}."""
    rows = pq.read_table(demo.manifest(), columns=["id", "kind", "speech_id", "noise_id"]).to_pylist()
    mixture = min((row for row in rows if row["kind"] == "mixture"), key=lambda row: str(row["id"]))
    drops = sorted(pq.read_table(demo.manifest("demo.drops"), columns=["id"]).column("id").to_pylist())
    return {"mixture": mixture["id"], "speech": mixture["speech_id"], "noise": mixture["noise_id"], "drop": drops[0]}


# ---- 1: the demo


def test_the_demo_is_the_same_to_the_sample(demo: Demo) -> None:
    """To the sample, in shards and commits of the same names. Those of ingest are of the corpora with STAMP_NS."""
    rows = sorted(pq.read_table(demo.manifest()).to_pylist(), key=lambda row: str(row["id"]))
    found = {
        "rows": len(rows),
        "pcm_hash": digest(*(f"{row['id']} {row['pcm_hash']}" for row in rows)),
        "samples": digest(*(f"{row['id']} {_samples(demo, row)}" for row in rows)),
        "files": [name for name in demo.files if "/ingest-" not in name],
        "ingest": sorted(path.name for path in _stamped(demo)),
    }
    assert found == golden("demo", found)


def test_every_manifest_says_the_same_of_itself(demo: Demo) -> None:
    """Hashes of rows and drops, the canonical recipe, the hashes of what was read; not the versions of packages."""
    names = ("demo", *CORPORA, "filtered", "resampled", "mixed")
    found = {
        name: {key: value for key, value in said(demo.manifest(name)).items() if key != "versions"} for name in names
    }
    assert found == golden("manifests", found)
    assert all(said(demo.manifest(f"{name}.drops"))["drops_hash"] == found[name]["drops_hash"] for name in names)


def _stamped(demo: Demo) -> list[Path]:
    """What ingest committed after the corpora had got their time of change."""
    return [path for path in _commits(demo.folder) if path.relative_to(demo.folder).as_posix() not in demo.files]


def _commits(folder: Path) -> list[Path]:
    return sorted((folder / "manifests/.work").glob("ingest-*.parquet"))


def _samples(demo: Demo, row: dict[str, Any]) -> str:
    """The hash of a row's stored audio, opened here with soundfile alone: int16, at the row's offset in its shard."""
    with (demo.folder / "manifests/audio" / row["shard"]).open("rb") as file:
        file.seek(row["offset"])
        pcm, rate_hz = soundfile.read(io.BytesIO(file.read(row["bytes"])), dtype="int16")
    assert (len(pcm), rate_hz) == (row["frames"], row["rate_hz"])
    return blake2b(pcm.tobytes(), digest_size=16).hexdigest()


# ---- 2: what an earlier prep wrote


@pytest.fixture
def earlier(demo: Demo, tmp_path: Path) -> Path:
    """A folder with the manifest and the pack that an earlier prep wrote, and this demo's corpora."""
    (tmp_path / "manifests").mkdir()
    for name in ("demo", "demo.drops", "demo.pack"):
        shutil.copy(GOLDEN / f"{name}.parquet", tmp_path / f"manifests/{name}.parquet")
    (tmp_path / "demo-corpus").symlink_to(demo.folder / "demo-corpus")
    roots = [f'{name} = "demo-corpus/{folder}"' for name, folder in CORPORA.items()]
    (tmp_path / "prep.toml").write_text("\n".join(["[roots]", *roots]), encoding="utf-8")
    return tmp_path


def test_an_earlier_manifest_is_that_of_this_demo(demo: Demo, earlier: Path) -> None:
    assert json.loads(prep(earlier, "diff", DEMO, demo.manifest(), "--json").out)["same_rows"]
    (earlier / "manifests/audio").symlink_to(demo.folder / "manifests/audio")
    assert json.loads(prep(earlier, "verify", DEMO, "--level", "recompute", "--sample", 20, "--jobs", 1, "--json").out)[
        "holds"
    ]
    assert json.loads(prep(earlier, "show", DEMO, "--json").out)["rows"] == 270


def test_an_earlier_pack_is_rebuilt_to_the_same_set(demo: Demo, earlier: Path) -> None:
    assert json.loads(prep(earlier, "verify", PACK, "--level", "hashes", "--jobs", 1, "--json").out)["holds"]
    answer = json.loads(prep(earlier, "rebuild", PACK, "--out", "again/demo.parquet", *SHARDS, "--json").out)
    assert answer["same"]
    assert answer["logical_hash"] == answer["packed_hash"] == said(demo.manifest())["logical_hash"]
    columns = ["id", "pcm_hash", "frames"]
    again = pq.read_table(earlier / "again/demo.parquet", columns=columns).sort_by("id")
    first = pq.read_table(demo.manifest(), columns=columns).sort_by("id")
    assert again.equals(first)


def test_a_pack_of_today_holds_what_the_earlier_one_held(demo: Demo, earlier: Path) -> None:
    assert json.loads(prep(earlier, "diff", PACK, demo.folder / PACK, "--json").out)["same_rows"]
    now, then = (
        {key: value for key, value in said(path).items() if key != "versions"}
        for path in (demo.folder / PACK, earlier / PACK)
    )
    assert then.pop("schema_version") <= now.pop("schema_version")
    for stage, options in then["recipe"].items():  # options that came later have their defaults
        if isinstance(options, dict):
            now["recipe"][stage] = {name: now["recipe"][stage][name] for name in options}
    now["recipe"]["mix"]["keep"] = then["recipe"]["mix"]["keep"]  # what corpus.toml states now was the default then
    for facts in (now["pack"], then["pack"]):  # its licence, which was unknown then
        facts["terms"] = [source for source in facts["terms"] if source["corpus"] != "recordings"]
        facts["left_out"] = [item for item in facts["left_out"] if item["corpus"] != "recordings"]
    for each in (now, then):  # the names of one's own recordings, and how a group goes by another one
        del each["pack"]["rows_hash"], each["pack"]["codings"]
    assert now == then


def test_the_work_of_an_earlier_prep_is_not_done_again(demo: Demo, earlier: Path) -> None:
    """The commits of two corpora are taken as they are: one that is made anew says how long it took, and differs."""
    commits = {path.name: path.read_bytes() for path in sorted(GOLDEN.glob("ingest-*.parquet"))}
    assert len(commits) == 3
    (earlier / "manifests/.work").mkdir()
    for name, held in commits.items():
        (earlier / "manifests/.work" / name).write_bytes(held)
    for corpus in ("aihub", "recordings"):
        prep(earlier, "ingest", corpus, *SHARDS)
        assert (
            said(earlier / f"manifests/{corpus}.parquet")["logical_hash"] == said(demo.manifest(corpus))["logical_hash"]
        )
    assert {path.name: path.read_bytes() for path in _commits(earlier)} == commits


# ---- 3: answers


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_the_same_keys(name: str, demo: Demo) -> None:
    ended = demo.ended[name]
    assert ended.code != "bug", ended.out
    found = {"exit": ended.code, "keys": keys(ended.out)}
    wanted = pinned("json_keys", name, found)
    if name not in WITHOUT_EXIT:
        assert found["exit"] == wanted["exit"], ended
    assert found["keys"] == wanted["keys"]


def test_every_command_that_answers_in_json_was_asked() -> None:
    """So that a command that is new is pinned as well."""
    options = {name: _options(name) for name in _commands()}
    asked = {str(words[0]) for words in ANSWERS.values()} | {"measure"}  # its answer is pinned in test_measure
    assert {name for name, flags in options.items() if "--json" in flags} <= asked


# ---- 4: columns


@pytest.mark.parametrize(
    "path",
    [
        DEMO,
        MIXED,
        "manifests/filtered.parquet",
        "manifests/aihub.parquet",
        "manifests/demo.drops.parquet",
        PACK,
        "{ingest}",
        "{mix}",
    ],
)
def test_a_file_has_the_same_columns(path: str, demo: Demo) -> None:
    """Names, Arrow types, whether null may be there, in their order; keys of the metadata, and of what it says."""
    place = demo.folder / path.format(
        **{stage: next(n for n in demo.files if f".work/{stage}-" in n) for stage in ("ingest", "mix")}
    )
    found = {
        "columns": columns(place),
        "metadata": sorted(key.decode() for key in pq.read_metadata(place).metadata if key != b"ARROW:schema"),
        "prep": sorted(said(place)),
    }
    assert found == pinned("columns", path, found)


# ---- 5: commands and options


def test_no_command_and_no_option_has_vanished() -> None:
    found = {f"prep {name}": _options(name) for name in _commands()} | {"prep": flags(help_of("prep"))}
    found |= {name: flags(help_of(name)) for name in scripts() if name != "prep"} | {
        "evaluate compare": flags(help_of("evaluate", "compare"))
    }
    wanted = golden("options", found)
    assert set(wanted) <= set(found)
    assert {
        name: sorted(set(flags) - set(found[name])) for name, flags in wanted.items() if set(flags) - set(found[name])
    } == {}


def _commands() -> list[str]:
    """The commands of prep, as its help lists them."""
    return re.findall(r"^  ([a-z][a-z-]*)  ", help_of("prep").partition("Options:")[2], re.MULTILINE)


def _options(command: str) -> list[str]:
    return flags(help_of("prep", command))
