"""What is left when a decoder stops: recordings joined in one file are read whole, what is cut off is `truncated`."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from command import done, drops, rows
from containers import crc_of_ogg
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


def wav(*chunks: tuple[bytes, bytes], mark: bytes = b"RIFF", order: str = "<") -> bytes:
    """A WAV of these chunks."""
    body = b"WAVE" + b"".join(
        name + struct.pack(f"{order}I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks
    )
    return mark + struct.pack(f"{order}I", len(body)) + body


PCM = np.round(ONE * 32_767).astype(np.int16)


def heading(rate_hz: int = 16_000, frame: int = 2, bits: int = 16, tag: int = 1, order: str = "<") -> bytes:
    return struct.pack(f"{order}HHIIHH", tag, 1, rate_hz, 2 * rate_hz & 0xFFFFFFFF, frame, bits)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (heading(rate_hz=1), "its header says 1 Hz; expected 1,000 to 1,000,000"),
        (heading(rate_hz=(1 << 31) - 1), "says 2,147,483,647 Hz"),
        (heading(frame=0), "a frame has 0 bytes, and that it is 1 x 16 bits"),
        (heading(frame=4), "a frame has 4 bytes"),
        (heading(bits=20), "a frame has 2 bytes, and that it is 1 x 20 bits"),
        (heading(bits=3), "1 x 3 bits"),
        (heading(tag=3, bits=64), "1 x 64 bits"),
    ],
)
@pytest.mark.parametrize("mark", [b"RIFF", b"RIFX", b"W64"])
def test_a_header_that_cannot_be_true_is_corrupt(head: bytes, what: str, mark: bytes) -> None:
    data = wav((b"fmt ", head), (b"data", PCM.tobytes()))
    if mark == b"RIFX":
        swapped = struct.pack(">HHIIHH", *struct.unpack("<HHIIHH", head))
        data = wav((b"fmt ", swapped), (b"data", PCM.astype(">i2").tobytes()), mark=mark, order=">")
    if mark == b"W64":
        whole = encoded(ONE, container="W64")
        at = whole.find(b"fmt ") + 24
        data = whole[:at] + head + whole[at + 16 :]
    for read in (decode, lambda data: list(blocks(io.BytesIO(data), 5_000))):
        with pytest.raises(CorruptMember, match=what) as caught:
            read(data)
        assert caught.value.reason == "corrupt"


def test_a_wav_is_read_in_whatever_order_its_bytes_are_after_whatever_tag() -> None:
    big = wav((b"fmt ", heading(order=">")), (b"data", PCM.astype(">i2").tobytes()), mark=b"RIFX", order=">")
    sizes = struct.pack("<QQQI", 0, PCM.nbytes, len(PCM), 0)
    wide = wav((b"ds64", sizes), (b"fmt ", heading()), (b"data", PCM.tobytes()), mark=b"BW64")
    tag = b"ID3\3\0\0\0\0\x20\0" + bytes(4096)
    plain = wav((b"fmt ", heading()), (b"data", PCM.tobytes()))
    for data in (big, wide, tag + plain, tag + tag + big, plain + b"ID3\3\0\0\0\1\0\0" + bytes(1 << 14)):
        for answer in both_ways(data):
            assert np.array_equal(answer[:, 0], PCM)
    for data in (big, wide, tag + plain):
        assert both_ways(data[:-1_000]) == ["truncated", "truncated"]
    assert both_ways(tag[:-1]) == ["truncated", "truncated"]
    twice = wav((b"fmt ", heading()), (b"data", PCM[:9].tobytes()), (b"data", PCM[9:].tobytes()))
    assert both_ways(twice) == ["truncated", "truncated"]


@pytest.mark.parametrize("subtype", ["GSM610", "G721_32", "NMS_ADPCM_16"])
def test_telephone_codecs_in_which_nobody_can_seek_are_read(subtype: str) -> None:
    data = encoded(voice(1.0, 8_000), 8_000, subtype)
    whole, parts = both_ways(data)
    assert np.array_equal(whole, parts)
    assert len(whole) >= 8_000
    assert both_ways(data[:-100]) == ["truncated", "truncated"]


def test_the_last_chunk_of_a_caf_may_have_no_size() -> None:
    data = encoded(ONE, container="CAF")
    at = data.find(b"data") + 4
    samples = data[: at + 8] + data[at + 8 :][: 4 + PCM.nbytes]
    for answer in both_ways(samples[:at] + b"\xff" * 8 + samples[at + 8 :]):
        assert same(answer, decode(data).pcm)
    with pytest.raises(CorruptMember, match="caff: it begins as a recording") as caught:
        decode(samples[:at] + b"\xff" * 7 + b"\xfb" + samples[at + 8 :])
    assert caught.value.reason == "corrupt"


@pytest.mark.parametrize("stated", [0, 1, 5])
def test_an_mp3_that_states_too_few_frames_loses_none(stated: int) -> None:
    data = encoded(ONE, 16_000, "MPEG_LAYER_III", "MP3")
    at = max(data.find(b"Xing"), data.find(b"Info")) + 8
    for answer in both_ways(data[:at] + stated.to_bytes(4, "big") + data[at + 4 :]):
        assert len(ONE) <= len(answer) < len(ONE) + 2_000


def test_mp3s_of_two_rates_without_a_header_are_not_one_recording() -> None:
    one, other = (without_count(encoded(ONE, rate_hz, "MPEG_LAYER_III", "MP3")) for rate_hz in (16_000, 8_000))
    assert both_ways(one + other) == ["corrupt", "corrupt"]


def test_a_flac_that_lacks_a_frame_or_states_another_rate_is_no_recording() -> None:
    data = encoded(voice(3.0), container="FLAC")
    frames = [m.start() for m in containers._FLAC_FRAME.finditer(data)]
    frames = [at for at in frames if containers._flac_end(data[at : at + 16], data[:42])]
    for wrong in (data[: frames[3]] + data[frames[4] :], data[: frames[4]] + data[frames[3] :]):
        assert set(both_ways(wrong)) <= {"corrupt", "truncated"}
    assert both_ways(data[:26] + bytes(15) + b"\1" + data[42:]) == ["corrupt", "corrupt"]
    at_8_khz = int.from_bytes(data[18:26], "big") - (8_000 << 44)
    assert both_ways(data[:18] + at_8_khz.to_bytes(8, "big") + data[26:]) == ["truncated", "truncated"]
    for width in ("PCM_S8", "PCM_24"):
        assert all(len(answer) == len(ONE) for answer in both_ways(encoded(ONE, 16_000, width, "FLAC")))


@pytest.mark.parametrize("until", [5_000, -1, -(2**63)])
@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_whose_last_page_ends_before_the_one_before_it_is_truncated(until: int, subtype: str) -> None:
    data = bytearray(encoded(voice(3.0), 16_000, subtype, "OGG"))
    last = data.rfind(b"OggS")
    data[last + 6 : last + 14] = until.to_bytes(8, "little", signed=True)
    data[last + 22 : last + 26] = bytes(4)
    data[last + 22 : last + 26] = crc_of_ogg(bytes(data[last:])).to_bytes(4, "little")
    assert both_ways(bytes(data)) == ["truncated", "truncated"]


def test_an_ogg_of_two_sounds_at_once_and_flac_in_ogg_are_refused_in_words() -> None:
    pages = [b"OggS" + page for page in encoded(ONE, 16_000, "VORBIS", "OGG").split(b"OggS")[1:]]
    others = [b"OggS" + page for page in encoded(TWO, 16_000, "VORBIS", "OGG").split(b"OggS")[1:]]
    with pytest.raises(CorruptMember, match="two streams of sound at once"):
        decode(b"".join([pages[0], others[0], *pages[1:], *others[1:]]))
    with pytest.raises(CorruptMember, match="FLAC in Ogg is not decoded"):
        decode(b"OggS\0\2" + bytes(20) + b"\1\x33\x7fFLAC\1\0" + bytes(5_000))
