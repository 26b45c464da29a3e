"""Windows by arithmetic: where they begin and end, that nothing is lost, and when a call in one is."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from train_samples import ROOT, environment

from train.voice import CHUNK, Voice
from train.windows import LEAD, OVERLAP, PAUSE, TAIL, Kind, Window, placed, windows

S = 16_000


class Loud:
    """Voice activity by arithmetic: voice is where the samples are not 0."""

    def __init__(self) -> None:
        self.at, self.spans = 0, []

    def push(self, chunk: np.ndarray) -> None:
        begin, self.at = self.at, self.at + len(chunk)
        if chunk.any():
            if self.spans and begin - self.spans[-1][1] < S // 10:
                begin = self.spans.pop()[0]
            self.spans.append((begin, self.at))

    between = Voice.between


def stream(seconds: float, *spoken: tuple[float, float], block: int = 3200) -> list[np.ndarray]:
    """Blocks of a stream; what is spoken is not 0."""
    pcm = np.zeros(round(seconds * S), np.int16)
    for begin, end in spoken:
        pcm[round(begin * S) : round(end * S)] = 1000
    return np.split(pcm, range(block, len(pcm), block))


def cut(blocks: list[np.ndarray], kind: Kind, seconds: float = 5.0, hop: float = 1.0) -> list[Window]:
    return list(windows(iter(blocks), kind, round(seconds * S), round(hop * S), Loud()))


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 60), st.integers(1, 12), st.integers(1, 12), st.lists(st.integers(0, 60), max_size=6))
def test_windows_are_the_same_however_the_stream_is_cut(total: int, length: int, hop: int, cuts: list[int]) -> None:
    hop = min(hop, length)
    stream = np.arange(total, dtype=np.int16)
    pieces = iter(np.split(stream, sorted(min(cut, total) for cut in cuts)))
    found = list(windows(pieces, "hop", length, hop, None))
    assert [window.start for window in found] == [hop * n for n in range(len(found))]
    for window in found:
        assert window.pcm.tolist() == stream[window.start : window.start + length].tolist()
    assert {sample for window in found for sample in window.pcm.tolist()} == set(range(total))
    assert all(len(window.pcm) == length for window in found[:-1])
    assert sum(window.fresh for window in found) == total


@pytest.mark.parametrize("kind", ["vad", "hop", "both"])
def test_windows_do_not_depend_on_the_size_of_blocks(kind: Kind) -> None:
    spoken = [(1.0, 2.0), (2.5, 3.0), (9.0, 24.0), (29.5, 30.0)]
    found = [
        [(w.start, w.end, w.voices, w.pcm.tobytes()) for w in cut(stream(30, *spoken, block=block), kind)]
        for block in (777, 3200, 10**6)
    ]
    assert found[0] == found[1] == found[2]


def test_a_window_of_voice_has_half_a_second_before_it_and_ends_after_a_pause() -> None:
    """Voice that goes on within the pause is in the same window; what nobody says is in none."""
    found = cut(stream(30, (5.0, 6.0), (6.4, 7.0), (20.0, 20.5)), "vad")
    assert [(w.start, w.end) for w in found] == [
        (pytest.approx(5.0 * S - LEAD, abs=CHUNK), pytest.approx(7.0 * S + TAIL, abs=CHUNK)),
        (pytest.approx(20.0 * S - LEAD, abs=CHUNK), pytest.approx(20.5 * S + TAIL, abs=CHUNK)),
    ]
    assert [len(w.voices) for w in found] == [2, 1]
    assert found[0].known == pytest.approx(7.0 * S + PAUSE, abs=CHUNK)


def test_long_speech_is_cut_with_the_overlap_of_the_longest_phrase() -> None:
    found = cut(stream(40, (3.0, 30.0)), "vad")
    assert all(w.end - w.start == 5 * S for w in found[:-1])
    assert all(one.end - other.start == OVERLAP for one, other in pairwise(found))
    assert found[0].start <= 3 * S - LEAD + CHUNK
    assert found[-1].end >= 30 * S


def test_a_phrase_of_two_seconds_is_whole_in_some_window_wherever_it_is() -> None:
    spoken = [(3.0, 19.7), (21.0, 22.0)]
    for kind in ("vad", "hop", "both"):
        found = cut(stream(30, *spoken), kind)
        for begin in np.arange(3.0, 17.6, 0.1):
            assert any(w.start <= begin * S and (begin + 2) * S <= w.end for w in found), (kind, begin)


def test_both_hears_at_a_fixed_hop_what_no_voice_is_in() -> None:
    spoken = [(10.0, 16.0)]
    by_voice, by_hop, both = (cut(stream(40, *spoken), kind) for kind in ("vad", "hop", "both"))
    assert {w.start for w in by_voice} <= {w.start for w in both}
    assert len(by_voice) < len(both) < len(by_voice) + len(by_hop)
    for begin in np.arange(0, 38.4, 0.1):
        if not 8.5 < begin < 15:
            assert any(w.start <= begin * S and (begin + 1.2) * S <= w.end for w in both), begin


def test_two_hours_take_no_more_memory_than_ten_minutes() -> None:
    """Somebody speaks three seconds of seven. Peaks of two processes are compared."""
    code = (
        "import resource, sys; import numpy as np; from test_train_windows import S, Loud, windows\n"
        "second = np.zeros(S, np.int16)\n"
        "blocks = (second + (n % 7 < 3) for n in range(int(sys.argv[1])))\n"
        "most = max(len(w.pcm) for w in windows(blocks, 'both', 5 * S, S, Loud()))\n"
        "print(most, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for seconds in (600, 7200):
        path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
        words = [sys.executable, "-c", code, str(seconds)]
        done = subprocess.run(words, env=environment() | path, capture_output=True, check=True, timeout=600)
        most, peak_kb = map(int, done.stdout.split())
        assert most == 5 * S
        peaks.append(peak_kb)
    assert peaks[1] - peaks[0] < 4_000


def test_when_a_call_is_goes_by_the_voice_and_the_place_in_the_text() -> None:
    window = Window(0, np.zeros(5 * S, np.int16), ((S, 2 * S), (3 * S, 4 * S)))
    assert placed(window) == (S, 4 * S)
    assert placed(window, (0.5, 1.0)) == (3 * S, 4 * S)  # an onset is near
    assert placed(window, (0.0, 0.5)) == (S, 2 * S)
    assert placed(window, (0.4, 0.5)) == (pytest.approx(1.8 * S, abs=1), 2 * S)
    still = Window(10 * S, np.zeros(5 * S, np.int16), (), 15 * S, S)
    assert placed(still) == (pytest.approx(13.5 * S), pytest.approx(14.5 * S))
