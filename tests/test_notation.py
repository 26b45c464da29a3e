"""Transcripts as they are delivered: the notation of ETRI and AI-Hub, event marks, control tokens; words come out."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import done, drops, prep, rows
from corpus_samples import write
from sounds import encoded, hiss, voice

from pipeline.corpora.lexicon import shipped
from pipeline.corpora.notation import has_signs, plain, without_control


@pytest.mark.parametrize(
    ("text", "spoken", "written"),
    [
        ("(70%)/(칠십 퍼센트) n/ 살려주세요", "칠십 퍼센트 살려주세요", "70% 살려주세요"),
        ("b/ 아/ 그래서 몰+ 몰라 l/", "아 그래서 몰 몰라", "아 그래서 몰 몰라"),
        ("o/ 근데 (1학년)/(일 학년) 때* 네. u/", "근데 일 학년 때 네.", "근데 1학년 때 네."),
        ("*독하게 +하다가 말았어", "독하게 하다가 말았어", "독하게 하다가 말았어"),
        ("(살려주세요)/(살려주세여)", "살려주세여", "살려주세요"),
        ("[비명] 살려주세요", "살려주세요", "살려주세요"),
        ("{웃음} 살려주세요 <noise>", "살려주세요", "살려주세요"),
        ("((살려주세요)) (())", "살려주세요", "살려주세요"),
        ("<|0.00|> 살려주세요<|1.80|>", "살려주세요", "살려주세요"),
        ("<|startoftranscript|><|ko|>살려주세요<|endoftext|>", "살려주세요", "살려주세요"),
        ("b/살려주세요, 아/.", "살려주세요, 아.", "살려주세요, 아."),
        ("[비명]", "", ""),
    ],
)
def test_the_words_come_out(text: str, spoken: str, written: str) -> None:
    assert (plain(text, "spoken"), plain(text, "written"), plain(text, "raw")) == (spoken, written, text)


@pytest.mark.parametrize(
    "text",
    ["살려주세요", " 살려  주세요. ", "n/a", "3+4", "남/여 화장실", "blood/oxygen", "(웃음) 네", "5 < 6", "a*b", "C++"],
)
def test_a_text_without_notation_comes_back_to_the_letter(text: str) -> None:
    assert plain(text) == text


def test_further_notation_is_taken_out_by_an_expression() -> None:
    assert plain("(SP:음) 살려주세요 @웃음", "spoken", [r"\(SP:[^)]*\)|@웃음"]) == "살려주세요"
    assert has_signs("@웃음 살려주세요")
    assert not has_signs("저기요, '여기' 사람 있어요... 살려주세요!")


def test_no_control_token_is_left_however_they_are_nested() -> None:
    assert "<|" not in without_control("<|a<|b|>|> <|<|<|0|>|>|>")


@pytest.fixture
def ingested(tmp_path: Path) -> Path:
    said = [
        "(살려주세요)/(살려주세여) b/",
        "[비명] 살려주세요",
        "[비명]",
        "@웃음 살려주세요",
        "엄마 살려주세요 빨리",
        "살려줘",
    ]
    table = "file\ttranscript\tkind\tsplit\n" + "".join(f"{n}.wav\t{s}\tspeech\ttrain\n" for n, s in enumerate(said))
    sounds = {f"{n}.wav": encoded(voice(1.0, seed=n)) for n in range(len(said))}
    noise = {"n.wav": encoded(hiss(1.0))}
    write(tmp_path / "set", {"t.tsv": f"{table}n.wav\t\tnoise\ttrain\n".encode(), **sounds, **noise})
    done(tmp_path, "ingest", "recordings", "set", "--jobs", 1)
    return tmp_path


def test_filter_takes_the_words_counts_them_and_warns_of_calls_that_are_others(ingested: Path) -> None:
    out = done(ingested, "filter", "--dev-share", 0, "--text", "written").out
    kept = {row.id: (row.transcript, row.keyword) for row in rows(ingested, "filtered").values() if row.kind != "noise"}
    assert kept == {
        "recordings/0.wav": ("살려주세요", "saveme"),
        "recordings/1.wav": ("살려주세요", "saveme"),
        "recordings/3.wav": ("@웃음 살려주세요", "others"),
        "recordings/4.wav": ("엄마 살려주세요 빨리", "others"),
        "recordings/5.wav": ("살려줘", "saveme"),
    }
    assert drops(ingested, "filtered")["recordings/2.wav"][0] == "no_transcript"
    assert '3 transcripts hold notation and are taken without it (--text written), such as "(살려주세요)/' in out
    assert "1 of them hold nothing else and count as no transcript" in out
    assert '1 transcripts hold a call and are others, such as "@웃음 살려주세요", beside signs' in out
    assert '1 transcripts hold a call and are others, such as "엄마 살려주세요 빨리", among other words' in out
    explained = done(ingested, "explain", "recordings/0.wav").out
    assert '"살려주세요", the transcript without notation (--text written)' in explained
    done(ingested, "verify", "manifests/filtered.parquet")
    out = done(ingested, "filter", "--dev-share", 0, "--erase", "@웃음", "--out", "manifests/b.parquet").out
    assert "beside signs" not in out
    assert rows(ingested, "b")["recordings/3.wav"].keyword == "saveme"
    assert "--erase" in prep(ingested, "filter", "--erase", "(").err


def test_a_rebuilt_set_has_the_words_of_the_packed_one(ingested: Path) -> None:
    done(ingested, "filter", "--dev-share", 0)
    done(ingested, "pack", "manifests/filtered.parquet")
    there = ingested / "there"
    out = done(there, "rebuild", ingested / "manifests/filtered.pack.parquet", "--root", "recordings=../set").out
    assert "the same set" in out
    assert shipped().keyword(rows(there, "filtered")["recordings/1.wav"].transcript) == "saveme"
