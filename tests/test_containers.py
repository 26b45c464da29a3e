"""What is left when a decoder stops: recordings joined in one file are read whole, what is cut off is `truncated`."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from command import done, drops, rows
from sounds import encoded, voice

from pipeline.audio import containers
from pipeline.audio.codec import blocks, decode, flac, pcm_hash
from pipeline.core.errors import CorruptMember

ONE, TWO = voice(1.0, seed=1), voice(1.2, seed=2)
KINDS = [
    *[(name, "PCM_16") for name in ("WAV", "WAVEX", "RF64", "AIFF", "CAF", "FLAC", "AU", "W64", "NIST")],
    *[("WAV", "FLOAT"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")],
]
JOINED = [kind for kind in KINDS if kind[0] not in ("AU", "W64", "NIST")]


def both_ways(data: bytes) -> list[object]:
    """The samples, or the reason why there are none, as `decode` has it and as `blocks` has it."""
    answers: list[object] = []
    for read in (lambda: decode(data).pcm, lambda: np.concatenate([b.pcm for b in blocks(io.BytesIO(data), 5_000)])):
        try:
            answers.append(read())
        except CorruptMember as error:
            answers.append(error.reason)
    return answers


def same(samples: object, expected: np.ndarray) -> bool:
    """To the last bit of a float: MP3 in blocks differs there from MP3 as a whole."""
    return (
        isinstance(samples, np.ndarray)
        and samples.shape == expected.shape
        and np.allclose(samples, expected, atol=1e-6)
    )


def without_count(data: bytes) -> bytes:
    """An MP3 without its first frame, which says how many there are."""
    return data[containers._mp3_frame(data[:4]) :]


@pytest.mark.parametrize(("container", "subtype"), JOINED)
def test_recordings_joined_in_one_file_are_read_one_after_another(container: str, subtype: str) -> None:
    first, second = (encoded(sound, 16_000, subtype, container) for sound in (ONE, TWO))
    expected = np.concatenate([decode(first).pcm, decode(second).pcm])
    for samples in both_ways(first + second):
        assert same(samples, expected)


@pytest.mark.parametrize(("container", "subtype"), KINDS)
@pytest.mark.parametrize("share", [0.5, 0.9, 1.0])
def test_a_file_that_was_cut_off_is_never_taken_for_a_whole_one(container: str, subtype: str, share: float) -> None:
    data = encoded(ONE, 16_000, subtype, container)
    for answer in both_ways(data[: int(share * len(data)) - 1]):
        assert answer in (("truncated", "corrupt") if container == "FLAC" else ("truncated",))


@pytest.mark.parametrize(("container", "subtype"), JOINED)
def test_joined_recordings_of_which_the_last_is_cut_off_are_truncated(container: str, subtype: str) -> None:
    first, second = (encoded(sound, 16_000, subtype, container) for sound in (ONE, TWO))
    assert set(both_ways((first + second)[:-50])) <= {"truncated", "corrupt"}


@pytest.mark.parametrize(("container", "subtype"), KINDS)
def test_a_few_bytes_of_padding_after_the_end_are_no_sound(container: str, subtype: str) -> None:
    data = encoded(ONE, 16_000, subtype, container)
    for answer in both_ways(data + bytes(500)):
        assert same(answer, decode(data).pcm)


@pytest.mark.parametrize("container", ["WAV", "AIFF", "AU", "CAF", "W64", "NIST"])
def test_sound_after_the_end_that_a_stale_header_states_is_not_lost_without_a_word(container: str) -> None:
    data = encoded(ONE, 16_000, "PCM_16", container)
    assert both_ways(data + ONE.tobytes()) == ["truncated", "truncated"]


def test_an_ogg_that_lacks_a_page_or_its_last_one_is_truncated() -> None:
    data = encoded(voice(8.0), 16_000, "VORBIS", "OGG")
    pages = [at for at in range(len(data)) if data[at : at + 4] == b"OggS"]
    assert both_ways(data[: pages[-1]]) == ["truncated", "truncated"]
    assert both_ways(data[: pages[3]] + data[pages[4] :]) == ["truncated", "truncated"]


def test_an_mp3_that_does_not_say_how_many_frames_it_has_is_read_to_its_end() -> None:
    data = encoded(ONE, 16_000, "MPEG_LAYER_III", "MP3")
    bare = without_count(data)
    for answer in both_ways(bare):
        assert (
            len(ONE) <= len(answer) < len(ONE) + 2_000
        )  # the padding of the coder is cut off by the frame that is gone
    assert len(decode(data + bare).pcm) == len(ONE) + len(decode(bare).pcm)
    assert len(decode(b"ID3\4\0\0\0\0\2\0" + bytes(256) + data + b"TAG" + bytes(125)).pcm) == len(ONE)


def with_total(data: bytes, total: int) -> bytes:
    """A FLAC whose header says that it has so many frames."""
    bits = int.from_bytes(data[18:26], "big") >> 36 << 36 | total
    return data[:18] + bits.to_bytes(8, "big") + data[26:]


@pytest.mark.parametrize("seconds", [0.05, 1.0, 70.0])
def test_a_flac_of_unknown_length_is_read_to_its_end(seconds: float) -> None:
    pcm = np.round(np.random.default_rng(0).normal(0, 900, round(16_000 * seconds))).astype(np.int16)
    data = flac(pcm, 16_000)
    for answer in both_ways(with_total(data, 0)):
        assert np.array_equal(answer[:, 0], pcm)
    assert set(both_ways(with_total(data, 0)[:-30])) <= {"corrupt", "truncated"}


@pytest.mark.parametrize("total", [100, 16_001, 2_000_000_000, 34_000_000_000])
def test_a_flac_whose_header_states_another_length_is_truncated(total: int) -> None:
    data = with_total(encoded(ONE, 16_000, "PCM_16", "FLAC"), total)
    assert both_ways(data) == ["truncated", "truncated"]


@pytest.mark.parametrize("container", ["VOC", "MAT5", "PAF", "AVR"])
def test_a_container_whose_length_cannot_be_checked_is_refused_in_words(container: str) -> None:
    with pytest.raises(CorruptMember, match="whether it is whole cannot be known; expected AIFF, AU"):
        decode(encoded(ONE, 16_000, "PCM_16", container))


def test_recordings_of_other_rates_in_one_file_are_corrupt() -> None:
    data = encoded(ONE, 16_000, "VORBIS", "OGG") + encoded(ONE, 8_000, "VORBIS", "OGG")
    assert both_ways(data) == ["corrupt", "corrupt"]


def test_ingest_keeps_all_of_a_joined_recording_and_bounds_its_size(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    chained = encoded(ONE, 16_000, "VORBIS", "OGG") + encoded(TWO, 16_000, "VORBIS", "OGG")
    (root / "a.ogg").write_bytes(chained)
    (root / "b.ogg").write_bytes(chained[:-100])
    (root / "c.flac").write_bytes(encoded(np.zeros(700_000), 16_000, "PCM_16", "FLAC"))
    (root / "d.wav").write_bytes(encoded(np.zeros(700_000), 16_000, "PCM_16", "WAV"))
    (root / "t.csv").write_text("file,text\na.ogg,a\nb.ogg,b\nc.flac,c\nd.wav,d\n")
    done(tmp_path, "ingest", "recordings", root, "--max-mb", 1, "--jobs", 1)
    kept = rows(tmp_path, "recordings")["recordings/a.ogg"]
    assert (kept.frames, kept.source_pcm_hash) == (len(ONE) + len(TWO), pcm_hash(decode(chained).pcm, 16_000))
    lost = drops(tmp_path, "recordings")
    assert {name[-6:].strip("/"): reason for name, (reason, _) in lost.items()} == {
        "b.ogg": "truncated",
        "c.flac": "too_large",
        "d.wav": "too_large",
    }
