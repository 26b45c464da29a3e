"""The command line: examples that run, errors word by word, nothing written where nothing was to be written."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from command import chain, done, prep, rows
from conftest import ROOTS, Built
from sounds import corpus, encoded, hiss, voice

from pipeline.cli.main import COMMANDS

REPOSITORY = Path(__file__).parents[1]
STAGES = ("ingest", "filter", "resample", "mix")
FILES = {
    "clean_test/a.wav": encoded(voice(1.0)),
    "clean_test/b.wav": encoded(voice(1.5, seed=1)),
    "noise_test/Hum_1.wav": encoded(hiss(3.0)),
}


@pytest.fixture(scope="module")
def worked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every stage has run; its corpus lies beside the manifests."""
    folder = tmp_path_factory.mktemp("worked")
    chain(folder, corpus(folder / "corpus", FILES))
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file but the lock, with its bytes."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


# ---- help


def test_help_names_every_command() -> None:
    out = done(Path.cwd(), "--help").out
    for name in COMMANDS:
        assert re.search(rf"^  {name} ", out, re.M), name


def test_a_bare_prep_is_no_success_in_disguise() -> None:
    ended = prep(Path.cwd())
    assert ended.code == 2
    assert "Usage: prep" in ended.out + ended.err


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_an_example_and_says_what_it_does(name: str) -> None:
    out = done(Path.cwd(), name, "--help").out
    assert "Example:" in out
    assert examples(name)


def examples(name: str) -> list[str]:
    """The lines under Example: in a command's help."""
    text = done(Path.cwd(), name, "--help").out.split("Example:")[1].split("Options:")[0]
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()  # a line that ends in a backslash goes on
    return [line.strip() for line in lines if line.strip().startswith("prep ")]


PLACES = {
    "/data/aihub170": "aihub170",
    "/data/cochlscene": "cochlscene",
    "/data/ms-snsd": "ms-snsd",
    "/data/recordings": "recordings",
}


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "demo"])  # test_demo runs that
def test_each_example_in_the_help_runs_as_typed(name: str, built: Built, tmp_path: Path) -> None:
    shutil.copytree(built.folder, tmp_path, dirs_exist_ok=True)
    others = [
        word for corpus_name, below in ROOTS.items() for word in ("--root", f"{corpus_name}={built.corpora / below}")
    ]
    for line in examples(name):
        typed = [str(built.corpora / PLACES[word]) if word in PLACES else word for word in shlex.split(line)[1:]]
        typed = [
            re.sub(r"=/data/(\S+)$", lambda found: f"={built.corpora / PLACES['/data/' + found[1]]}", word)
            for word in typed
        ]
        more = others if name in ("run", "gather", "plan") else []
        if "--jobs" in done(tmp_path, typed[0], "--help").out:  # to start workers takes longer than their work
            more = [*more, "--jobs", "1"]
        if name == "gather":  # of what slices have done
            done(tmp_path, "run", typed[1], *more)
        ended = prep(tmp_path, *typed, *more)
        if name == "filter":  # the stand-ins have few of each class: an example may keep none, and must say so
            assert ended.code == 0 or "is left" in ended.err
        else:
            assert ended.code == 0, f"{line}: {ended.err}"


def test_commands_and_options_in_the_readme_exist() -> None:
    blocks = re.findall(
        r"^(?: {4}|\s*\$ )?((?:\S+=\S+ )*prep [a-z][^\n]*)", (REPOSITORY / "README.md").read_text("utf-8"), re.M
    )
    typed = [shlex.split(command, comments=True) for line in blocks for command in line.rstrip("\\").split("&&")]
    told = {name: done(Path.cwd(), name, "--help").out for name in COMMANDS}
    commands = [words[words.index("prep") + 1 :] for words in typed if "prep" in words]
    assert commands, "a README without a command to type"
    for name, *words in commands:
        assert name in COMMANDS
        assert [word for word in words if word.startswith("--") and word.split("=")[0] not in told[name]] == []


# ---- errors, read word by word


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        (["ingest", "aihu", "."], 1, 'prep: unknown corpus "aihu": did you mean "aihub"?'),
        (["ingest", "aihub"], 1, 'prep: nobody said where root "aihub" lies'),
        (
            ["ingest", "aihub"],
            1,
            'Type --root aihub=DIR, or set PREP_ROOT_AIHUB=DIR, or write under [roots] in prep.toml: aihub = "DIR"',
        ),
        (
            ["ingest", "aihub", "--root", "aihub"],
            1,
            "--root aihub: expected NAME=DIR, such as --root aihub=/data/aihub170",
        ),
        (["corpora", "--root", "aihub"], 1, "--root aihub: expected NAME=DIR"),
        (["ingest", "aihub", "nowhere"], 1, "does not exist (root aihub, from the command line)"),
        (["filter"], 1, "manifests: no corpus was ingested yet: type, for example, prep ingest aihub DIR"),
        (["resample"], 1, "prep: manifests/filtered.parquet: no such manifest yet: run prep filter first"),
        (["mix"], 1, "prep: manifests/resampled.parquet: no such manifest yet: run prep resample first"),
        (["mix", "manifests/none.parquet"], 1, "prep: manifests/none.parquet: no such manifest"),
        (["show", "manifests/none.parquet"], 1, "prep: manifests/none.parquet: no such manifest"),
        (["mix", "--snr", "loud"], 1, '--snr: found "loud", expected a number of dB, or LOW:HIGH such as 5:20'),
        (["mix", "--copies", "0"], 1, "--copies: found 0, expected: greater than or equal to 1"),
        (["mix", "--snr", "nan"], 1, "--snr: "),
        (["filter", "--max-s", "-1"], 1, "--max-s: found -1.0, expected: greater than 0"),
        (["filter", "--min-level-dbfs", "3"], 1, "--min-level-dbfs: found 3.0"),
        (["filter", "--scenarios", "도움요쳥"], 1, 'unknown scenario "도움요쳥": did you mean "도움요청"?'),
        (["filter", "--lexicon", "none.toml"], 1, "none.toml: no such lexicon"),
        (["resample", "--rate", "100"], 1, "--rate: found 100, expected: greater than or equal to 8000"),
        (["resample", "--quality", "best"], 2, "'best' is not one of 'QQ', 'LQ', 'MQ', 'HQ', 'VHQ'"),
        (["resample", "--jobs", "0"], 2, "Invalid value for '--jobs'"),
        (["resample", "--no-such"], 2, "No such option"),
        (["mix", "--num-workers", "2"], 2, "No such option '--num-workers'. Did you mean '--jobs'?"),
        (["export", "a.parquet", "--format", "csv"], 2, "Did you mean '--to'?"),
        (["no-such"], 2, "no such command"),
        (["run", "papr"], 1, 'prep: papr: no such recipe: did you mean "paper"?'),
        (["run", "paper"], 1, 'nobody said where root "ms-snsd" lies'),
        (["check", "none.toml"], 1, "none.toml: no such recipe"),
    ],
)
def test_a_mistake_gets_one_clear_message_and_its_exit_code(
    typed: list[str], code: int, said: str, tmp_path: Path
) -> None:
    ended = prep(tmp_path, *typed)
    assert said in ended.err
    assert ended.code == code
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_every_missing_root_of_a_recipe_is_told_at_once(tmp_path: Path) -> None:
    ended = prep(tmp_path, "run", "paper")
    for name in ("aihub", "cochlscene", "ms-snsd"):
        assert f'root "{name}"' in ended.err


def test_every_fault_of_the_options_is_told_at_once(tmp_path: Path) -> None:
    ended = prep(tmp_path, "filter", "--max-s", "-1", "--dev-share", "2", "--splits", "trian")
    for said in ("--max-s", "--dev-share", "trian"):
        assert said in ended.err


def test_another_corpus_under_a_root_is_refused_with_what_was_expected(worked: Path, tmp_path: Path) -> None:
    ended = prep(tmp_path, "ingest", "cochlscene", worked / "corpus")
    assert ended.code == 1
    assert "cochlscene" in ended.err
    assert "expected" in ended.err


def test_rows_that_come_twice_are_refused(worked: Path) -> None:
    ended = prep(
        worked,
        "filter",
        "manifests/ms-snsd.parquet",
        "manifests/ms-snsd.parquet",
        "--no-transcript",
        "--out",
        "manifests/twice.parquet",
    )
    assert ended.code == 1
    assert "ms-snsd/" in ended.err
    assert not (worked / "manifests/twice.parquet").exists()


def test_audio_stays_beside_its_manifest(worked: Path, tmp_path: Path) -> None:
    ended = prep(worked, "mix", "--out", tmp_path / "mixed.parquet")
    assert ended.code == 1
    assert "the audio of manifests/resampled.parquet lies beside it; name a file in manifests" in ended.err


def test_an_archive_that_is_an_error_page_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/download.tar").write_text("<html><body>502 Bad Gateway</body></html>")
    ended = prep(tmp_path, "ingest", "aihub", "data")
    assert ended.code == 1
    assert "download.tar" in ended.err


def test_a_bug_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("ours")

    monkeypatch.setattr("pipeline.stages.ingest.plan", broken)
    with pytest.raises(ZeroDivisionError):
        prep(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "corpus", FILES))


# ---- answers


@pytest.mark.parametrize(
    "typed", [["filter", "--no-transcript", "--dev-share", "0"], ["resample"], ["mix"]], ids=lambda typed: typed[0]
)
def test_a_stage_answers_with_one_line(typed: list[str], worked: Path) -> None:
    out = done(worked, *typed, "--jobs", 1).out
    assert re.search(rf"^{typed[0]} +[\d,]+ in +[\d,]+ kept +[\d,]+ dropped", out, re.M)
    assert "-> manifests/" in out


@pytest.mark.parametrize(
    "typed",
    [["ingest", "ms-snsd", "corpus"], ["filter", "--no-transcript", "--dev-share", "0"], ["resample"], ["mix"]],
    ids=lambda t: t[0],
)
def test_json_is_all_that_is_on_stdout(typed: list[str], worked: Path) -> None:
    told = done(worked, *typed, "--jobs", 1, "--json").json()
    assert told["in"] == told["kept"] + told["dropped"]
    assert isinstance(told["reasons"], dict)
    assert told["manifest"]


@pytest.mark.parametrize(
    "typed", [["show", "manifests/mixed.parquet"], ["corpora"], ["check", "paper"]], ids=lambda typed: typed[0]
)
def test_the_other_commands_answer_in_json_too(typed: list[str], worked: Path) -> None:
    assert done(worked, *typed, "--json").json()
    assert done(worked, *typed).out


def test_faults_of_a_recipe_in_json_are_still_no_success(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("sead = 1\n")
    ended = prep(tmp_path, "check", "mine.toml", "--json")
    assert ended.code == 1
    assert len(json.loads(ended.out)["faults"]) == 2


def test_show_counts_what_is_there(worked: Path) -> None:
    told = done(worked, "show", "manifests/mixed.parquet", "--json").json()
    assert told["rows"] == len(rows(worked, "mixed")) == sum(item["rows"] for item in told["by"]["split"])
    assert told["hours"] == pytest.approx(
        sum((row.frames or 0) / 16_000 for row in rows(worked, "mixed").values()) / 3600, abs=1e-4
    )
    text = done(worked, "show", "manifests/mixed.parquet").out
    for said in ("ms-snsd", "snr_db", told["provenance"]["logical_hash"], "[mix]"):
        assert said in text


# ---- what is not written


@pytest.mark.parametrize(
    "typed",
    [
        ["ingest", "ms-snsd", "corpus"],
        ["filter", "--no-transcript"],
        ["resample", "--rate", "8000"],
        ["mix", "--snr", "3"],
        ["run", "mine.toml"],
    ],
    ids=lambda typed: typed[0],
)
@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
def test_a_dry_run_says_what_would_be_done_and_writes_nothing(typed: list[str], more: list[str], worked: Path) -> None:
    (worked / "mine.toml").write_text(
        '[ingest]\ncorpora = ["ms-snsd"]\n[filter]\ntranscript = false\n[resample]\n[mix]\nnoise = ["ms-snsd"]\n'
    )
    before = contents(worked)
    ended = done(worked, *typed, "--jobs", 1, "--dry-run", *more)
    assert contents(worked) == before
    assert ended.out
    if more:
        for line in ended.out.splitlines():
            json.loads(line)


def test_help_and_check_and_corpora_write_nothing(tmp_path: Path) -> None:
    for typed in (["--help"], ["check", "paper"], ["corpora"], ["filter", "--help"]):
        done(tmp_path, *typed)
    assert list(tmp_path.iterdir()) == []


def test_a_stage_that_keeps_nothing_is_an_error_and_leaves_the_manifest_before(worked: Path) -> None:
    before = (worked / "manifests/filtered.parquet").read_bytes()
    ended = prep(worked, "filter", "--min-s", "29", "--no-transcript")
    assert ended.code == 1
    assert "filter: not one of 3 rows is left (too_short 3)" in ended.err
    assert (worked / "manifests/filtered.parquet").read_bytes() == before


# ---- roots


def test_a_root_is_told_by_flag_then_environment_then_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("flag", 1.0), ("environment", 2.0), ("file", 3.0)):
        corpus(tmp_path / name, {"noise_test/A_1.wav": encoded(hiss(seconds))})
    (tmp_path / "prep.toml").write_text('[roots]\nms-snsd = "file"\n')

    def seconds(*more: object) -> float:
        done(tmp_path, "ingest", "ms-snsd", "--jobs", 1, *more)
        return next((row.frames or 0) / 16_000 for row in rows(tmp_path, "ms-snsd").values())

    assert seconds() == 3.0
    monkeypatch.setenv("PREP_ROOT_MS_SNSD", str(tmp_path / "environment"))
    assert seconds() == 2.0
    assert seconds("--root", f"ms-snsd={tmp_path / 'flag'}") == 1.0


@pytest.mark.parametrize("name", ["plain", "with space", "it's", 'quo"te', "한국어", "back\\slash", "new#hash"])
def test_a_folder_of_any_name_is_remembered_for_the_next_commands(name: str, tmp_path: Path) -> None:
    folder = corpus(tmp_path / name, {"noise_test/A_1.wav": encoded(hiss(1.0))})
    done(tmp_path, "ingest", "ms-snsd", folder, "--jobs", 1)
    done(tmp_path, "ingest", "ms-snsd", "--jobs", 1)
    done(tmp_path, "filter")
    done(tmp_path, "resample", "--jobs", 1)


TOML = [
    "",
    "# mine\n",
    "[roots]\n",
    "[roots] # mine\nother = '/x'\n",
    "[other]\na = 1\n[roots]\naihub = 'x'\n",
    "[roots]\naihub='x'",
]


@pytest.mark.parametrize("text", TOML)
def test_what_prep_toml_holds_stays_there(text: str, tmp_path: Path) -> None:
    (tmp_path / "prep.toml").write_text(text)
    done(tmp_path, "ingest", "ms-snsd", corpus(tmp_path / "c", {"noise_test/A_1.wav": encoded(hiss(1.0))}), "--jobs", 1)
    told = (tmp_path / "prep.toml").read_text()
    for line in text.splitlines():
        assert line in told
    done(tmp_path, "ingest", "ms-snsd", "--jobs", 1)


def test_corpora_says_where_each_root_is_and_who_told(worked: Path) -> None:
    told = {item["name"]: item for item in done(worked, "corpora", "--json").json()}
    assert set(told) == set(ROOTS)
    where = told["ms-snsd"]
    assert (where["root"], where["root_told_by"], where["root_exists"]) == (str(worked / "corpus"), "prep.toml", True)
    assert told["aihub"]["share"] == {"audio": False, "transcripts": False, "labels": False}
    assert "not known; say --root aihub=DIR, PREP_ROOT_AIHUB=DIR, or write prep.toml" in done(worked, "corpora").out


# ---- endings


def test_korean_comes_out_whatever_the_locale(built: Built) -> None:
    typed = [sys.executable, "-c", "from pipeline.cli.main import main; main()", "show", str(built.path("mixed"))]
    environ = {"PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = subprocess.run(typed, cwd=REPOSITORY, capture_output=True, env=environ, check=True)
    assert "도움요청" in ran.stdout.decode("utf-8")


def test_a_closed_pipe_is_no_traceback(built: Built) -> None:
    command = f"{sys.executable} -c 'from pipeline.cli.main import main; main()' show {built.path('mixed')} | head -n 1"
    ran = subprocess.run(["bash", "-c", command], cwd=REPOSITORY, capture_output=True, check=True, text=True)
    assert "Traceback" not in ran.stderr


def test_ctrl_c_is_no_traceback_and_the_same_command_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = corpus(tmp_path / "corpus", FILES)
    with monkeypatch.context() as patched:
        patched.setattr("pipeline.stages.store.decode", _interrupted)
        ended = prep(tmp_path, "ingest", "ms-snsd", folder, "--jobs", 1)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    assert not (tmp_path / "manifests/ms-snsd.parquet").exists()
    done(tmp_path, "ingest", "ms-snsd", folder, "--jobs", 1)
    assert len(rows(tmp_path, "ms-snsd")) == 3


def _interrupted(*_: object) -> None:
    raise KeyboardInterrupt


INTERRUPTED = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts what runs behind it with Ctrl-C ignored
from pipeline.engine import workers
from pipeline.cli.main import main
real = workers.results
def results(*args):
    for item in real(*args):
        os.kill(os.getpid(), signal.SIGINT)
        yield item
workers.results = results
if __name__ == "__main__":
    main()
"""


def test_ctrl_c_ends_a_pool_of_workers_too(tmp_path: Path) -> None:
    folder = corpus(tmp_path / "corpus", FILES)
    (tmp_path / "typed.py").write_text(INTERRUPTED)
    typed = [
        sys.executable,
        str(tmp_path / "typed.py"),
        "ingest",
        "ms-snsd",
        str(folder),
        "--jobs",
        "2",
        "--shard-clips",
        "1",
    ]
    environ = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    ran = subprocess.run(typed, cwd=tmp_path, capture_output=True, text=True, timeout=600, env=environ, check=False)
    assert ran.returncode in (130, -signal.SIGINT)
    assert "Traceback" not in ran.stderr
    done(tmp_path, "ingest", "ms-snsd", folder, "--jobs", 1, "--shard-clips", 1)
    assert len(rows(tmp_path, "ms-snsd")) == 3


def test_a_shard_named_in_the_answer_is_a_tar_beside_the_manifest(worked: Path) -> None:
    row = next(row for row in rows(worked, "mixed").values() if row.kind == "mixture")
    with tarfile.open(fileobj=io.BytesIO((worked / "manifests/audio" / str(row.shard)).read_bytes())) as tar:
        assert tar.getnames()


def test_a_command_that_is_mistyped_is_answered_with_the_one_that_was_meant(tmp_path: Path) -> None:
    ended = prep(tmp_path, "mixx", "--snr", 20)
    assert ended.code == 2
    assert 'no such command "mixx": did you mean "mix"?' in ended.err


def test_the_help_lists_every_command_once() -> None:
    told = done(Path.cwd(), "--help").out.splitlines()
    assert [
        line.split()[0] for line in told if line.startswith("  ") and line.split()[0] in COMMANDS and line[2] != " "
    ] == list(COMMANDS)


# ---- a corpus from outside


def test_a_corpus_of_ones_own_is_named_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In every stage, in worker processes, and by a recipe; without the file the corpus is unknown."""
    adapter = tmp_path / "my_corpus.py"
    text = (REPOSITORY / "examples/my_corpus.py").read_text("utf-8")
    adapter.write_text(text.replace("import csv\n", "import csv\nimport pandas\n"), encoding="utf-8")
    monkeypatch.setattr("pipeline.corpora._loaded", {})
    folder = corpus(tmp_path / "mine", {f"{name}.wav": encoded(voice(1.0, seed=n)) for n, name in enumerate("ab")})
    (folder / "noise.wav").write_bytes(encoded(hiss(2.0)))
    table = "id,words,speaker,split\na,살려주세요,s1,test\nb,불이야,s2,test\nnoise,,,test\n"
    (folder / "clips.csv").write_text(table, encoding="utf-8")
    own = ("--corpus", adapter)
    done(tmp_path, "ingest", "my-corpus", folder, "--jobs", 2, "--shard-clips", 1, *own)
    done(tmp_path, "filter", *own)
    done(tmp_path, "resample", "--jobs", 1, *own)
    done(tmp_path, "mix", "--jobs", 1, *own)
    assert {row.corpus for row in rows(tmp_path, "mixed").values()} == {"my-corpus"}
    recipe = '[ingest]\ncorpora = ["my-corpus"]\n[resample]\n[mix]\n'
    (tmp_path / "mine.toml").write_text(recipe, encoding="utf-8")
    done(tmp_path, "run", "mine.toml", "--jobs", 1, "--root", f"my-corpus={folder}", *own)
    assert rows(tmp_path, "mine").keys() == rows(tmp_path, "mixed").keys()
    assert "my-corpus" in done(tmp_path, "corpora", *own).out
    monkeypatch.setattr("pipeline.corpora._loaded", {})
    (tmp_path / "prep.toml").unlink()  # which remembers the file
    assert 'unknown corpus "my-corpus"' in prep(tmp_path, "ingest", "my-corpus", folder).err
    assert prep(tmp_path, "ingest", "my-corpus", folder, "--corpus", "none.py").code == 1
    done(tmp_path, "show", "manifests/mixed.parquet")
