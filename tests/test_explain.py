"""prep explain: what is told of a clip is what happened to it, from its bytes to its mixtures."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from command import Ended, done, drops, held, prep, rows
from conftest import ROOTS, Built

from pipeline.archives import Root
from pipeline.core import frame as frames
from pipeline.core import keys, manifest
from pipeline.core.row import Row
from pipeline.corpora.aihub import CLASSES


def explain(built: Built, *words: object) -> Any:
    return done(built.folder, "explain", *words, "--json").json()


def chapter(told: Any, stage: str) -> Any:
    return next(found for found in told["chapters"] if found["stage"] == stage)


def facts(told: Any, stage: str) -> dict[str, str]:
    return {fact["about"]: fact["said"] for fact in chapter(told, stage)["facts"]}


def a_mixture(built: Built, tag: str = "_snr0to10_") -> Row:
    return next(row for row in held(built.folder, "mixed").rows() if row.kind == "mixture" and tag in row.id)


def test_every_stage_that_a_mixture_went_through_is_told(built: Built) -> None:
    told = explain(built, a_mixture(built).id)
    assert [found["stage"] for found in told["chapters"]] == ["ingest", "filter", "resample", "mix"]
    assert not [found for found in told["chapters"] if found["ends"]]


def test_what_was_measured_is_what_the_maker_of_the_corpus_knows(built: Built) -> None:
    mixture = a_mixture(built)
    truth = json.loads((built.corpora / "expected.json").read_text(encoding="utf-8"))["aihub"]["rows"]
    clip = truth[str(mixture.speech_id).removeprefix("aihub/")]
    said = facts(explain(built, mixture.id), "ingest")
    assert (said["class"], said["transcript"]) == (clip["scenario"], clip["note"])
    assert f"{clip['frames']:,} frames" in said["recording"]
    assert f"{clip['rate_hz']:,} Hz, channels {clip['channels']}" in said["recording"]


@pytest.mark.parametrize(("corpus", "name"), [("aihub", "aihub"), ("cochlscene", "cochlscene")])
def test_the_bytes_lie_where_it_says(corpus: str, name: str, built: Built) -> None:
    row = next(held(built.folder, name).rows())
    told = explain(built, row.id, "--root", f"{corpus}={built.corpora / ROOTS[corpus]}")
    said = next(fact["said"] for fact in told["facts"] if fact["about"] == "bytes")
    size, offset, where = re.fullmatch(
        r"([\d,]+), (?:as they are|packed into [\d,]+), at byte ([\d,]+) of (.+)", said
    ).groups()  # type: ignore[union-attr]
    archive = Path(where)
    assert archive.exists()
    entries = Root(corpus, built.corpora / ROOTS[corpus]).entries()
    lying = [
        e
        for e in entries
        if (e.place.offset, e.place.size) == (int(offset.replace(",", "")), int(size.replace(",", "")))
    ]
    assert [
        e for e in lying if archive.name == e.place.container.rpartition("/")[2] and row.id.rpartition("/")[2] in e.name
    ]


def test_a_root_that_is_gone_is_told_and_the_rest_with_it(built: Built, tmp_path: Path) -> None:
    asked = (a_mixture(built).id, built.path("mixed"), "--root", f"aihub={tmp_path / 'gone'}")
    assert "does not exist" in next(
        fact["said"] for fact in done(tmp_path, "explain", *asked, "--json").json()["facts"] if fact["about"] == "bytes"
    )
    assert "does not exist" in prep(tmp_path, "explain", "aihub/Training/1", *asked[1:]).err


def test_without_a_root_it_says_how_to_tell_one(built: Built, tmp_path: Path) -> None:
    told = done(tmp_path, "explain", a_mixture(built).id, built.path("mixed"), "--json").json()
    assert "--root aihub=DIR" in next(fact["said"] for fact in told["facts"] if fact["about"] == "bytes")


def test_the_rules_told_are_those_that_decided(built: Built) -> None:
    dropped = drops(built.folder, "filtered")
    assert dropped
    for row_id, (reason, detail) in list(dropped.items())[:3]:
        found = chapter(explain(built, row_id), "filter")
        assert next(rule["rule"] for rule in found["rules"] if not rule["met"]) == reason
        assert [(end["reason"], end["detail"]) for end in found["ends"]] == [(reason, detail)]
        value = next(rule["value"] for rule in found["rules"] if rule["rule"] == reason)
        assert detail.startswith(value)
    kept = chapter(explain(built, a_mixture(built).id), "filter")
    assert all(rule["met"] for rule in kept["rules"])


def test_a_dropped_clip_has_no_chapter_after_its_end(built: Built) -> None:
    told = explain(built, next(iter(drops(built.folder, "filtered"))))
    assert [found["stage"] for found in told["chapters"]] == ["ingest", "filter"]


def test_a_clip_that_ingest_dropped_says_why(built: Built, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    shutil.copytree(built.corpora / "recordings", corpus)
    broken = sorted((corpus / "wav").glob("*.wav"))[0]
    broken.write_bytes(broken.read_bytes()[:30])
    done(tmp_path, "ingest", "recordings", corpus, "--jobs", 1)
    ended = done(tmp_path, "explain", f"wav/{broken.name}")
    (reason, detail), *_ = drops(tmp_path, "recordings").values()
    assert f"DROPPED       recordings/wav/{broken.name}: {reason}: {detail}" in ended.out
    assert str(broken) in ended.out


def test_the_draw_of_the_dev_split_is_told_and_is_the_one_that_was_made(built: Built, tmp_path: Path) -> None:
    ingested = [built.path(name) for name in ("aihub", "cochlscene")]
    done(tmp_path, "filter", *ingested, "--dev-share", 0.4, "--seed", 5, "--out", tmp_path / "filtered.parquet")
    by_split = {row.split: row for row in manifest.read(tmp_path / "filtered.parquet").rows() if row.corpus == "aihub"}
    for split in ("train", "dev"):
        said = facts(
            done(tmp_path, "explain", by_split[split].id, *ingested, "filtered.parquet", "--json").json(), "filter"
        )["split"]
        draw = float(keys.draws(5, "dev aihub", [by_split[split].group])[0, 0])
        assert f"{draw:.4f}" in said
        assert said.startswith("dev, carved from train" if split == "dev" else "train, as the corpus has it")
        assert (draw < 0.4) == (split == "dev")
    assert facts(explain(built, next(held(built.folder, "cochlscene").rows()).id), "filter")["split"].endswith(
        "as the corpus has it"
    )


def test_the_spelling_that_gave_the_keyword_is_told(built: Built) -> None:
    row = next(row for row in held(built.folder, "mixed").rows() if row.keyword == "helpme")
    spelling = re.sub(r"[\W_]+", "", str(row.transcript))
    assert facts(explain(built, row.id), "filter")["keyword"] == f'helpme: "{spelling}" stands under it in the lexicon'


def test_the_keyword_of_another_lexicon_is_told_only_with_that_lexicon(built: Built, tmp_path: Path) -> None:
    row = next(row for row in held(built.folder, "mixed").rows() if row.keyword == "helpme")
    (tmp_path / "own.toml").write_text(f'other = "none"\n[keywords]\ncall = ["{row.transcript}"]\n', encoding="utf-8")
    done(
        tmp_path,
        "filter",
        built.path("aihub"),
        "--lexicon",
        "own.toml",
        "--out",
        "f.parquet",
        "--splits",
        "train",
        "--splits",
        "test",
    )
    asked = (row.speech_id, built.path("aihub"), "f.parquet", "--json")
    assert "by a lexicon that is not at hand" in facts(done(tmp_path, "explain", *asked).json(), "filter")["keyword"]
    assert (
        "stands under it"
        in facts(done(tmp_path, "explain", *asked, "--lexicon", "own.toml").json(), "filter")["keyword"]
    )


@pytest.mark.parametrize("tag", ["_snr20_", "_snr0to10_"])
def test_the_noise_is_drawn_again_and_the_pool_counted(tag: str, built: Built) -> None:
    mixture = a_mixture(built, tag)
    said = facts(explain(built, mixture.id), "mix")
    pool = [
        row
        for row in held(built.folder, "mixed").rows()
        if (row.kind, row.corpus, row.split) == ("noise", "cochlscene", mixture.split)
    ]
    word = keys.words(0, "mix", [f"{mixture.speech_id}\n0"])
    assert said["noise"].startswith(str(mixture.noise_id))
    draw = f"the draw of this utterance and copy 0: {keys.unit(word)[0, 1]:.6f}"
    assert said["drawn"] == f"one of {len(pool)} recordings of {mixture.split}; {draw}"
    assert said["crop"].startswith(f"from frame {mixture.noise_start:,} ")
    assert said["crop"].endswith("the first crop drawn")
    assert (f"drawn from 0 to 10 dB (the draw: {keys.unit(word)[0, 2]:.6f})" in said["SNR asked"]) == (
        tag == "_snr0to10_"
    )
    assert f"active {mixture.snr_active_db:.4f} dB" in said["SNR realised"]
    assert f"noise {mixture.noise_gain_db} dB" in said["gains"]
    assert (said["pcm hash"], said["parts"]) == (
        mixture.pcm_hash,
        f"speech {mixture.speech_pcm_hash}, noise {mixture.noise_pcm_hash}",
    )
    assert f"{mixture.bytes:,} bytes at byte {mixture.offset:,} of manifests/audio/{mixture.shard}" in said["stored"]


def test_noise_that_another_set_gave_is_not_said_to_have_been_drawn_here(built: Built, tmp_path: Path) -> None:
    mixed = held(built.folder, "mixed")
    mixture = a_mixture(built)
    kept = frames.pick(mixed.frame, ~frames.equal(mixed.frame["id"], str(mixture.noise_id)))
    manifest.write(tmp_path / "m.parquet", kept, mixed.drops, mixed.provenance)
    assert "from other noise than this manifest holds" in done(tmp_path, "explain", mixture.id, "m.parquet").out


def test_of_noise_the_mixtures_are_counted(built: Built) -> None:
    frame = pd.read_parquet(built.path("mixed"))
    noise = frame["noise_id"].dropna().iloc[0]
    own = frame[frame["noise_id"] == noise]
    split = own["split"].iloc[0]
    assert (
        facts(explain(built, noise), "mix")["drawn"]
        == f"into {len(own):,} mixtures of {own['speech_id'].nunique():,} utterances of {split}"
    )


def test_of_speech_its_mixtures_are_listed(built: Built) -> None:
    speech = str(a_mixture(built).speech_id)
    told = done(built.folder, "explain", speech).out
    for row in rows(built.folder, "mixed").values():
        assert (f"{row.id}: {row.noise_id}" in told) == (row.speech_id == speech)


def test_a_set_that_a_recipe_made_whole_tells_all_stages(built: Built, tmp_path: Path) -> None:
    roots = [word for name, below in ROOTS.items() for word in ("--root", f"{name}={built.corpora / below}")]
    done(tmp_path, "run", "demo", *roots, "--jobs", 1, "--limit", 3, "--out", tmp_path / "demo.parquet")
    found = list(manifest.read(tmp_path / "demo.parquet").rows())
    mixture = next(row for row in found if row.kind == "mixture")
    told = done(tmp_path, "explain", mixture.id, "demo.parquet", "--json").json()
    assert [part["stage"] for part in told["chapters"]] == ["ingest", "filter", "resample", "mix"]
    assert "not stored alone" in facts(told, "resample")["audio"]
    assert "scene" not in facts(told, "ingest")  # that of a mixture is its noise's
    assert not {"silent", "too_quiet"} & {rule["rule"] for rule in chapter(told, "filter")["rules"]}
    assert facts(told, "filter")["not told"].startswith("the rules silent and too_quiet")
    drop = manifest.read(tmp_path / "demo.parquet").drops["id"][0]
    ended = done(tmp_path, "explain", drop, "demo.parquet", *roots).out
    assert "DROPPED" in ended
    assert "at byte" in ended


def test_a_change_by_hand_and_a_row_removed_by_hand_are_told(built: Built, tmp_path: Path) -> None:
    clips = held(built.folder, "aihub")
    frame = clips.frame
    frame.loc[0, "transcript"] = "다른 말"
    clips.save(tmp_path / "edited.parquet", frame.iloc[:-1])
    paths = built.path("aihub"), "edited.parquet"
    kept, removed = (done(tmp_path, "explain", frame["id"].iloc[n], *paths, "--json").json() for n in (0, -1))
    assert facts(kept, "edited")["by hand"] == "transcript in 1 rows of aihub changed, 1 rows removed"
    assert kept["row"]["transcript"] == "다른 말"
    assert [end["reason"] for end in chapter(removed, "edited")["ends"]] == ["removed"]


# ---- what was asked for


def test_an_ending_that_only_one_id_has_is_enough(built: Built) -> None:
    speech = str(a_mixture(built).speech_id)
    assert explain(built, speech.rpartition("/")[2])["id"] == speech


def refused(ended: Ended) -> str:
    assert (ended.code, ended.out) == (1, "")
    return ended.err


def test_an_id_as_macos_spells_it_is_the_same(built: Built) -> None:
    korean = next(row for row in held(built.folder, "filtered").rows() if row.scenario)
    decomposed = unicodedata.normalize("NFD", f"{korean.id}한글")
    assert "한글" in refused(prep(built.folder, "explain", decomposed))


def test_an_ending_of_several_ids_names_some(built: Built) -> None:
    err = refused(prep(built.folder, "explain", "_snr20_0"))
    count = sum(row.id.endswith("_snr20_0") for row in held(built.folder, "mixed").rows())
    assert f'{count} ids end in "_snr20_0": aihub/' in err


def test_a_mistyped_id_is_met_with_one_that_is_near(built: Built) -> None:
    mixture = a_mixture(built).id
    assert f"Did you mean {mixture}" in refused(prep(built.folder, "explain", f"{mixture}7", built.path("mixed")))
    assert "Did you mean" not in refused(prep(built.folder, "explain", "it's nothing like any id"))


def test_a_recording_that_was_never_ingested_is_said_to_be_there(built: Built, tmp_path: Path) -> None:
    clip = next(held(built.folder, "aihub").rows())
    asked = ("explain", clip.id, built.path("cochlscene"), "--root", f"aihub={built.corpora / 'aihub170'}")
    err = refused(prep(tmp_path, *asked))
    assert "a recording of that name is there" in err
    absent = refused(prep(tmp_path, "explain", "aihub/Training/1", *asked[2:]))
    assert "Nor is there a recording of that name under the roots of aihub" in absent


def test_a_sample_says_that_it_is_one(built: Built, tmp_path: Path) -> None:
    every = [word for name in CLASSES for word in ("--scenarios", name)]
    done(tmp_path, "filter", built.path("aihub"), "--limit", 1, "--out", "few.parquet", "--no-transcript", *every)
    out = set(rows(built.folder, "aihub")) - {row.id for row in manifest.read(tmp_path / "few.parquet").rows()}
    out -= set(manifest.read(tmp_path / "few.parquet").drops["id"])
    assert "it was made with --limit 1" in done(tmp_path, "explain", min(out), built.path("aihub"), "few.parquet").out


def test_without_manifests_it_says_where_it_looked(tmp_path: Path) -> None:
    assert "manifests: no manifests here" in refused(prep(tmp_path, "explain", "x"))


def test_other_files_in_the_folder_are_passed_over(built: Built, tmp_path: Path) -> None:
    (tmp_path / "manifests").mkdir()
    shutil.copy(built.path("aihub"), tmp_path / "manifests/aihub.parquet")
    (tmp_path / "manifests/notes.parquet").write_text("no")
    ended = done(tmp_path, "explain", next(held(built.folder, "aihub").rows()).id)
    assert "passed over: manifests/notes.parquet" in ended.err
    assert "not a Parquet file" in refused(prep(tmp_path, "explain", "x", "manifests/notes.parquet"))
