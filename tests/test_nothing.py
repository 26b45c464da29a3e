"""An option whose value names nothing that is there says so: what was given, and what there is."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import done, prep
from corpus_samples import write
from sounds import encoded, hiss, voice

TABLE = "file,text,split\na.wav,살려주세요,train\nb.wav,안녕하세요,train\nc.wav,도와줘,test\nd.wav,,train\ne.wav,,test"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    sounds = {f"{name}.wav": encoded(voice(0.6, seed=n)) for n, name in enumerate("abc")}
    write(folder / "set", {"t.csv": TABLE.encode(), **sounds, "d.wav": encoded(hiss(1.0)), "e.wav": encoded(hiss(1.0))})
    done(folder, "ingest", "recordings", "set", "--jobs", 1, "--column", "transcript=text")
    done(folder, "filter", "--dev-share", 0, "--no-transcript")
    done(folder, "resample", "--jobs", 1)
    (folder / "none.txt").write_text("recordings/gone.wav\n")
    return folder


INGEST = ("ingest", "recordings", "set", "--jobs", 1, "--column", "transcript=text", "--out", "manifests/other.parquet")
FILTER = ("filter", "--dev-share", 0, "--no-transcript", "--out", "manifests/other.parquet")


@pytest.mark.parametrize(
    ("typed", "code", "said"),
    [
        ((*INGEST, "--speaker", "x+"), 0, "--speaker x+ matches no name of a recording, such as a.wav"),
        ((*INGEST, "--pcm-rate", 8000), 0, "--pcm-rate 8000 is of no use: no file ends in .pcm or .raw"),
        ((*INGEST, "--audio-dir", "wavs"), 1, "no recording lies in --audio-dir wavs; some lie in ."),
        ((*FILTER, "--scenarios", "화재"), 0, "no row has the scenario 화재; no row has any, and all pass"),
        ((*FILTER, "--erase", "z+"), 0, "--erase z+ matches no transcript"),
        ((*FILTER, "--others", "near=0.5"), 0, "--others near=0.5 is of no clip of train; there are other"),
        (
            (*FILTER, "--exclude", "none.txt"),
            0,
            "of no row here (recordings/gone.wav); rows are called recordings/a.wav",
        ),
        ((*FILTER, "--where", "split = 'dev'"), 1, "not one of 5 rows is left (where 5)"),
        (("mix", "--jobs", 1, "--keep", "aihub"), 0, "--keep aihub keeps nothing: the rows are of recordings"),
        (("mix", "--jobs", 1, "--noise", "aihub"), 1, 'no rows of noise from "aihub": known are recordings'),
        (("scene", "--hours", 0.01, "--split", "dev"), 1, "no rows in the split dev: known are test, train"),
        (
            ("scene", "--hours", 0.01, "--split", "test", "--confusable", "scene = 'Bus'"),
            1,
            "none of 1 rows of speech in the split test has what --confusable asks for",
        ),
        (("drops", "manifests/filtered.parquet", "--reason", "loud"), 0, "no drops"),
        (
            ("pack", "manifests/resampled.parquet", "--allow", "names:aihub", "--out", "x.pack.parquet"),
            0,
            "--allow names:aihub: nothing to do, no row is of aihub: the set holds recordings",
        ),
    ],
)
def test_what_applies_to_nothing_says_so(made: Path, typed: tuple[object, ...], code: int, said: str) -> None:
    ended = prep(made, *typed)
    assert said in ended.out + ended.err
    assert ended.code == code
