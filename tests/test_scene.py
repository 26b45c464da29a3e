"""Scenes: who is in them, when, how loud, and that they are the same however they are made and read."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import reference
import soundfile as sf
from command import done, prep
from sounds import corpus, encoded, hiss, voice

from pipeline import api
from pipeline.audio.scenes import Piece, Renderer, Scene
from pipeline.audio.shards import Reader
from pipeline.core import frame as frames
from pipeline.core import manifest
from pipeline.core.errors import PrepError
from pipeline.core.row import Row
from pipeline.corpora import lexicon
from pipeline.stages import scene as scene_stage

RATE_HZ = 16_000
OPTIONS = {"hours": 0.1, "minutes": 2.4, "calls_per_hour": 100, "speech_per_hour": 50, "confusable_per_hour": 50}
CONFUSABLE = "labels['near'] = 'yes'"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Speech and noise of three splits, as resample stores them. One call in four lies inside a sentence."""
    folder = tmp_path_factory.mktemp("scene")
    files, lines = {}, [["file", "transcript", "speaker", "split", "near", "label", "call_start", "call_end", "place"]]
    for split in ("train", "dev", "test"):
        for n in range(4):
            pad, name = np.zeros(RATE_HZ // 2, np.float32), f"{split}_call{n}.wav"
            files[name] = encoded(np.concatenate([pad, voice(1.0, seed=len(files), active=0.95), pad]))
            inside = ["", "", ""] if n else ["helpme", "0.75", "1.25"]
            lines.append([name, "살려주세요" if n else "그만 도와주세요 네", f"{split}{n}", split, "no", *inside, ""])
        for n, near in enumerate(("yes", "no", "no")):
            name = f"{split}_speech{n}.wav"
            files[name] = encoded(voice(2.0 + n, seed=len(files)))
            lines.append([name, "오늘 날씨가 좋다", f"{split}o{n}", split, near, "", "", "", ""])
        for n, place in enumerate(("bus", "bus", "street")):
            name = f"{split}_hum{n}.wav"
            files[name] = encoded(hiss(5.0 + n, seed=len(files), level_dbfs=-30 - 5 * n))
            lines.append([name, "", f"{split}n{n}", split, "", "noise", "", "", place])
    text = io.StringIO()
    csv.writer(text).writerows(lines)
    corpus(folder / "corpus", files | {"index.csv": text.getvalue().encode()})
    done(folder, "ingest", "recordings", folder / "corpus", "--jobs", 1)
    done(folder, "filter")
    done(folder, "resample", "--jobs", 1)
    return folder


@pytest.fixture(scope="module")
def scene(folder: Path) -> Scene:
    return api.scene(folder / "manifests/resampled.parquet", confusable=CONFUSABLE, snr_db=[20, "0:10"], **OPTIONS)


def pieces(scene: Scene) -> list[Piece]:
    return list(frames.rows(scene.frame, Piece))


def rows(folder: Path) -> dict[str, Row]:
    return {row.id: row for row in manifest.read(folder / "manifests/resampled.parquet").rows()}


def test_only_clips_of_the_split_are_in_it_each_of_its_kind(folder: Path, scene: Scene) -> None:
    known = rows(folder)
    for piece in pieces(scene):
        row = known[piece.source_id]
        assert row.split == "test"
        is_call = row.keyword == "saveme" or "call_start" in row.labels
        near = row.labels.get("near") == "yes"
        expected = "noise" if row.kind == "noise" else "call" if is_call else "confusable" if near else "speech"
        assert piece.kind == expected
        keyword = "helpme" if "call_start" in row.labels else "saveme"
        assert piece.keyword == (keyword if is_call else None)
    assert scene.truth["kind"].value_counts().to_dict() == {"call": 10, "speech": 5, "confusable": 5}


def test_utterances_lie_apart_and_within_recordings_of_the_length_asked_for(scene: Scene) -> None:
    assert [scene.seconds(name) for name in scene.recordings] == [144.0, 144.0, 72.0]
    for name in scene.recordings:
        spans = [(p.start, p.start + p.frames) for p in pieces(scene) if p.recording == name and p.kind != "noise"]
        edges = [0, *(edge for span in sorted(spans) for edge in span), round(scene.seconds(name) * RATE_HZ)]
        assert min(np.diff(edges)[::2]) >= 2 * RATE_HZ


def test_the_snr_of_what_is_rendered_is_that_asked_for_by_another_meter(folder: Path, scene: Scene) -> None:
    for name in scene.recordings:
        own = [piece for piece in pieces(scene) if piece.recording == name]
        whole = np.concatenate(list(scene.blocks(name))) / 32_768
        noise = Renderer(own, Reader(folder / "manifests")).samples(0, len(whole), utterances=False) / 32_768
        for piece in (piece for piece in own if piece.kind != "noise"):
            part = slice(piece.start, piece.start + piece.frames)
            clean = whole[part] - noise[part]
            snr = reference.p56(clean, RATE_HZ)[0] - reference.rms_db(noise[part])
            assert snr == pytest.approx(piece.snr_db, abs=0.11)
            assert snr == pytest.approx(piece.snr_active_db, abs=0.02)
    asked = {piece.snr_db for piece in pieces(scene) if piece.kind != "noise"}
    assert 20 in asked
    assert all(snr == 20 or 0 <= snr <= 10 for snr in asked)


def test_noise_has_one_level_and_one_place_and_no_hole(scene: Scene, folder: Path) -> None:
    known = rows(folder)
    for name in scene.recordings:
        noise = [p for p in pieces(scene) if p.recording == name and p.kind == "noise"]
        assert len({known[piece.source_id].scene for piece in noise}) == 1
        quiet = Renderer(noise, Reader(folder / "manifests")).samples(0, round(scene.seconds(name) * RATE_HZ))
        levels = [reference.rms_db(second / 32_768) for second in quiet.reshape(-1, RATE_HZ)]
        assert np.ptp(levels) < 1.5
        assert np.mean(levels) == pytest.approx(-50, abs=0.2)


def test_true_times_are_those_of_the_voice_or_of_the_label(scene: Scene) -> None:
    """The voice begins half a second after its clip; where labels say when the call is, it is then."""
    starts = {(piece.recording, piece.begin): piece for piece in pieces(scene) if piece.kind == "call"}
    for piece in starts.values():
        at = (piece.begin - piece.start) / RATE_HZ, (piece.end - piece.start) / RATE_HZ
        expected = (0.75, 1.25) if piece.keyword == "helpme" else (0.5, 1.5)
        assert at == pytest.approx(expected, abs=0.001 if piece.keyword == "helpme" else 0.12)
    table = list(csv.DictReader(io.StringIO(scene.path.with_suffix(".csv").read_text("utf-8"))))
    calls = [line for line in table if line["kind"] == "call"]
    assert {(line["recording"], round(float(line["start"]) * RATE_HZ)) for line in calls} == set(starts)
    assert list(table[0]) == ["recording", "start", "end", "keyword", "kind", "snr_db", "source_id"]


def test_a_call_in_a_sentence_is_one_by_the_phrases_of_the_lexicon(folder: Path) -> None:
    """Without a label that says when it is, all of the speech is."""
    rows = frames.with_columns(manifest.read(folder / "manifests/resampled.parquet").frame, labels={})
    _, recordings, _ = scene_stage.plan(rows, scene_stage.Options(speech_per_hour=0), 0, lexicon.shipped())
    calls = {(p.source_id.split("/")[-1], p.keyword, p.begin) for p in next(recordings) if p.kind == "call"}
    assert calls >= {("test_call0.wav", "helpme", None), ("test_call1.wav", "saveme", None)}


def test_blocks_of_any_size_are_the_same_samples(scene: Scene, tmp_path: Path) -> None:
    name = scene.recordings[-1]
    whole = np.concatenate(list(scene.blocks(name)))
    assert len(whole) == 72 * RATE_HZ
    for size in (RATE_HZ // 5, 70_001, 10**7):
        assert np.array_equal(np.concatenate(list(scene.blocks(name, size))), whole)
    for path in (tmp_path / "x.wav", tmp_path / "x.flac"):
        scene.write(name, path)
        assert np.array_equal(sf.read(path, dtype="int16")[0], whole)
    with pytest.raises(PrepError, match=r"expected a name that ends in \.wav or \.flac"):
        scene.write(name, tmp_path / "x.mp3")


def test_two_workers_and_another_order_of_rows_make_the_same_bytes(folder: Path, scene: Scene) -> None:
    before = [path.read_bytes() for path in (scene.path, scene.path.with_suffix(".csv"))]
    source = manifest.read(folder / "manifests/resampled.parquet")
    turned = manifest.Manifest(frames.pick(source.frame, np.arange(len(source))[::-1]), source.provenance, source.path)
    for given, jobs in ((source, 2), (turned, 1)):
        made = api.scene(given, confusable=CONFUSABLE, snr_db=[20, "0:10"], jobs=jobs, **OPTIONS)
        assert [path.read_bytes() for path in (made.path, made.path.with_suffix(".csv"))] == before


def test_a_clip_less_changes_no_other_choice(folder: Path, scene: Scene) -> None:
    source = manifest.read(folder / "manifests/resampled.parquet")
    gone = next(piece.source_id for piece in pieces(scene) if piece.kind == "call")
    fewer = frames.pick(source.frame, ~frames.equal(source.frame["id"], gone))
    less = manifest.Manifest(fewer, source.provenance, source.path)
    out = folder / "manifests/less.scene.parquet"
    made = api.scene(less, confusable=CONFUSABLE, snr_db=[20, "0:10"], out=out, **OPTIONS)
    said = [[p for p in pieces(each) if p.kind != "noise"] for each in (scene, made)]
    for one, other in zip(*said, strict=True):
        assert (one.recording, one.kind, one.snr_db) == (other.recording, other.kind, other.snr_db)
        assert one.source_id in (other.source_id, gone)


def test_the_command_answers_like_a_stage_and_writes_what_can_be_heard(folder: Path) -> None:
    words = ("--hours", 0.05, "--calls-per-hour", 60, "--speech-per-hour", 0, "--out", "manifests/a.scene.parquet")
    answer = done(folder, "scene", *words, "--sound", "listen", "--jobs", 1, "--json").json()
    assert {name: answer[name] for name in ("stage", "in", "kept", "dropped", "manifest")} == {
        "stage": "scene", "in": 3, "kept": 3, "dropped": 0, "manifest": "manifests/a.scene.parquet",
    }  # fmt: skip
    made = Scene(folder / "manifests/a.scene.parquet")
    assert np.array_equal(
        sf.read(folder / "listen/test-00000.flac", dtype="int16")[0], np.concatenate(list(made.blocks("test-00000")))
    )
    assert json.loads(json.dumps(made.provenance))["recipe"]["scene"]["calls_per_hour"] == 60


def test_loud_utterances_become_drops_and_all_of_them_a_fault(folder: Path) -> None:
    words = ("--hours", 0.05, "--speech-per-hour", 0, "--calls-per-hour", 60, "--out", "manifests/b.scene.parquet")
    answer = done(folder, "scene", *words, "--snr", 10, "--snr", 60, "--jobs", 1, "--json").json()
    assert answer["kept"] + answer["dropped"] == answer["in"] == 3
    assert answer["reasons"] == {"too_loud": answer["dropped"]}
    assert answer["dropped"]
    ended = prep(folder, "scene", *words, "--snr", 60, "--jobs", 1)
    assert (ended.code, "not one of 3 utterances fits" in ended.err) == (1, True)


def test_clean_keeps_the_sound_of_a_scene_and_explain_looks_past_it(folder: Path, tmp_path: Path, scene: Scene) -> None:
    for path in sorted((folder / "manifests").rglob("*")):
        if (
            path.is_file() and path.name.startswith(("test.scene", "resampled-", "recordings."))
        ) or path.suffix == ".tar":
            copy = tmp_path / "manifests" / path.relative_to(folder / "manifests")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    done(tmp_path, "clean", "--yes", "--unfinished")
    copied = Scene(tmp_path / "manifests/test.scene.parquet")
    assert sum(map(len, copied.blocks(copied.recordings[0]))) == 144 * RATE_HZ
    assert "test_call1.wav" in done(folder, "explain", "test_call1.wav").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--split", "tset"), 'no rows in the split tset: did you mean "test"?'),
        (("--confusable-per-hour", 1), "has what --confusable asks for"),
        (("--calls-per-hour", 9000), "are longer than test-00000: ask for fewer an hour, or a smaller --gap-s"),
        (("--snr", "loud"), '--snr: found "loud", expected a number of dB'),
        (("--out", "manifests/x.parquet"), "expected a name NAME.scene.parquet in manifests"),
        (("manifests/filtered.parquet",), "give the manifest of prep resample"),
    ],
)
def test_what_cannot_be_is_one_message(folder: Path, words: tuple[object, ...], message: str) -> None:
    ended = prep(folder, "scene", "--hours", 0.1, *words)
    assert (ended.code, message in ended.err) == (1, True), ended.err


def test_a_manifest_is_no_scene_and_an_unknown_recording_is_named(folder: Path, scene: Scene) -> None:
    with pytest.raises(PrepError, match="no scene: expected a file that prep scene wrote"):
        Scene(folder / "manifests/resampled.parquet")
    with pytest.raises(PrepError, match='no recording "test-00009": did you mean'):
        next(scene.blocks("test-00009"))
