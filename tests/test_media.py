"""Recordings as phones make them: decoded by PyAV where it is installed, named with what to install where it is not."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest
from command import done, drops, prep, rows
from corpus_samples import write
from sounds import encoded, voice

from pipeline.audio import media
from pipeline.core import errors
from pipeline.core.errors import CorruptMember
from train import streams

KINDS = {
    "a.m4a": ("ipod", "aac", 44_100, "MP4 AAC"),
    "a.3gp": ("3gp", "aac", 16_000, "MP4 AAC"),
    "a.aac": ("adts", "aac", 16_000, "AAC AAC"),
    "a.webm": ("webm", "libopus", 48_000, "WEBM OPUS"),
    "a.amr": ("amr", "libopencore_amrnb", 8_000, "AMR AMRNB"),
}
SECONDS = 1.5


def sound(name: str, channels: int = 1) -> bytes:
    """A tone of 400 Hz, at half of full scale."""
    av = pytest.importorskip("av")
    form, codec, rate_hz, _ = KINDS[name]
    out, layout = io.BytesIO(), "mono" if channels == 1 else "stereo"
    wave = 0.5 * np.sin(2 * np.pi * 400 * np.arange(int(SECONDS * rate_hz)) / rate_hz)
    with av.open(out, "w", format=form) as file:
        stream = file.add_stream(codec, rate=rate_hz)
        stream.layout = layout
        frame = av.AudioFrame.from_ndarray(np.tile(wave.astype(np.float32), (channels, 1)), "fltp", layout)
        frame.rate, frame.pts = rate_hz, 0
        encoder = stream.codec_context
        encoder.open()
        fit = av.AudioResampler(encoder.format, layout, rate_hz, frame_size=encoder.frame_size or 160)
        for part in (*fit.resample(frame), *fit.resample(None), None):
            file.mux(stream.encode(part))
    return out.getvalue()


@pytest.mark.parametrize("name", KINDS)
def test_what_a_phone_records_is_decoded(name: str) -> None:
    *_, rate_hz, form = KINDS[name]
    recording = media.decode(sound(name))
    assert (recording.rate_hz, recording.format, recording.pcm.dtype) == (rate_hz, form, np.float32)
    assert abs(len(recording.pcm) / rate_hz - SECONDS) < (0.001 if form.startswith("MP4") else 0.15)
    middle = recording.pcm[len(recording.pcm) // 4 : -len(recording.pcm) // 4, 0]
    assert np.sqrt(2 * np.mean(middle**2)) == pytest.approx(0.5, rel=0.2)
    blocks = list(media.blocks(io.BytesIO(sound(name)), 4096))
    assert np.array_equal(np.concatenate([block.pcm for block in blocks]), recording.pcm)


def test_channels_stay_and_other_recordings_go_to_libsndfile() -> None:
    assert media.decode(sound("a.m4a", channels=2)).pcm.shape[1] == 2
    assert media.decode(encoded(voice(0.5))).format == "WAV PCM_16"
    assert [media.container(head) for head in (b"RIFF....WAVE", b"\xff\xfb\x90\x00", b"", b"ID3\x04")] == [None] * 4


@pytest.mark.parametrize(("part", "reason"), [(0.6, "truncated"), (0.0, "corrupt")])
def test_one_that_is_cut_off_is_no_recording(part: float, reason: str) -> None:
    whole = sound("a.m4a")
    with pytest.raises(CorruptMember) as caught:
        media.decode(whole[: max(40, int(part * len(whole)))])
    assert caught.value.reason == reason
    with pytest.raises(CorruptMember) as caught:
        media.decode(whole, most_bytes=10_000)
    assert caught.value.reason == "too_large"


def test_samples_without_a_header_have_the_stated_rate_and_a_header_counts_all_the_same() -> None:
    recording = media.raw(np.arange(5, dtype="<i2").tobytes() + b"\1", 8_000)
    assert (recording.pcm.tolist(), recording.rate_hz) == ([[0], [1], [2], [3], [4]], 8_000)
    assert media.raw(encoded(voice(0.5), rate_hz=16_000), 8_000).rate_hz == 16_000
    with pytest.raises(CorruptMember, match="no samples"):
        media.raw(b"\1", 8_000)


def test_without_pyav_one_line_says_what_to_install_and_with_it_the_same_command_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phone = sound("a.m4a")
    files = {"set/t.csv": b"file,text\na.m4a,x\nb.wav,y\n", "set/a.m4a": phone, "set/b.wav": encoded(voice(1.0))}
    write(tmp_path, files)
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "av", None)
        out = done(tmp_path, "ingest", "recordings", "set", "--jobs", 1).out
        line = "an MP4, as phones record: to decode it, pip install '.[media]' in the project's folder"
        assert out.count(line) == 1
        assert drops(tmp_path, "recordings") == {"recordings/a.m4a": ("needs_media", line)}
        with pytest.raises(errors.PrepError, match="to decode it, pip install"):
            list(streams.recording(tmp_path / "set/a.m4a"))
    done(tmp_path, "ingest", "recordings", "--jobs", 1)
    row = rows(tmp_path, "recordings")["recordings/a.m4a"]
    assert (row.source_format, row.source_frames) == ("MP4 AAC", round(SECONDS * 44_100))
    assert '"av"' in prep(tmp_path, "show", "manifests/recordings.parquet", "--json").out
    assert sum(map(len, streams.recording(tmp_path / "set/a.m4a"))) == SECONDS * 16_000


def test_who_installed_a_wheel_is_told_the_packages_of_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors.to_install("media") == "pip install '.[media]' in the project's folder"
    monkeypatch.setattr(errors, "__file__", "/site-packages/pipeline/core/errors.py")
    monkeypatch.setattr(
        errors, "requires", lambda name: ["numpy>=2", "av>=14; extra == 'media'", 'x; extra == "report"']
    )
    assert errors.to_install("media") == "pip install 'av>=14', the extra [media]"
    assert errors.to_install("none") == "install the extra [none]"


def many(form: str, codec: str, seconds: float, tracks: int = 1, **options: str) -> bytes:
    """A tone at 16 kHz in so many tracks."""
    av = pytest.importorskip("av")
    out, wave = io.BytesIO(), np.sin(np.arange(round(seconds * 16_000)) / 7).astype(np.float32)
    with av.open(out, "w", format=form, options=options) as file:
        streams = [file.add_stream(codec, rate=16_000, layout="mono") for _ in range(tracks)]
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(wave[None], "fltp", "mono")
            frame.rate, frame.pts = 16_000, 0
            for part in (frame, None):
                file.mux(stream.encode(part))
    return out.getvalue()


def reason_of(data: bytes) -> str:
    with pytest.raises(CorruptMember) as caught:
        media.decode(data)
    with pytest.raises(CorruptMember):
        list(media.blocks(io.BytesIO(data), 4096))
    return caught.value.reason


@pytest.mark.parametrize(("form", "options"), [("matroska", {}), ("mp4", {"movflags": "frag_keyframe+empty_moov"})])
@pytest.mark.parametrize("part", [0.5, 0.9, 1.0])
def test_a_matroska_or_an_mp4_in_fragments_that_is_cut_off_is_truncated(
    form: str, options: dict[str, str], part: float
) -> None:
    data = many(form, "aac", 4.0, **options)
    assert len(media.decode(data).pcm) >= 64_000
    assert reason_of(data[: int(part * len(data)) - 1]) == "truncated"


def test_of_two_tracks_none_is_chosen_and_no_rate_changes_in_the_middle() -> None:
    assert reason_of(many("mp4", "aac", 1.0, tracks=2)) == "unsupported"
    assert reason_of(sound("a.aac") + sound("a.aac", channels=2)) == "corrupt"


def test_an_mp4_that_states_far_less_than_it_holds_is_not_cut_to_that() -> None:
    data = many("mp4", "aac", 2.0)
    at = data.find(b"mdhd") + 20
    assert reason_of(data[:at] + (100).to_bytes(4, "big") + data[at + 4 :]) == "truncated"


def test_a_tag_in_front_hides_no_recording() -> None:
    data = sound("a.aac")
    tagged = b"ID3\3\0\0\0\0\1\0" + bytes(128) + data
    assert np.array_equal(media.decode(tagged).pcm, media.decode(data).pcm)
    assert sum(len(block.pcm) for block in media.blocks(io.BytesIO(tagged), 4096)) == len(media.decode(data).pcm)
