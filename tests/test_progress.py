"""Progress where stderr is no terminal."""

from __future__ import annotations

import pytest

from pipeline.engine.progress import Bar


@pytest.mark.parametrize("by", ["update", "iteration"])
def test_without_a_terminal_a_line_a_minute_says_how_far_it_is(
    by: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 10_000, 25))  # s; the bar reads it once when it begins, and once a clip
    monkeypatch.setattr("pipeline.engine.progress.time.monotonic", lambda: float(next(clock)))
    if by == "update":
        with Bar("ingest own", 8) as bar:
            for _ in range(8):
                bar.update(1)
    else:
        assert list(Bar("ingest own", 8, "abcdefgh")) == list("abcdefgh")
    assert capsys.readouterr().err.splitlines() == [
        "ingest own: 3 of 8 clips, 0.0 a second",
        "ingest own: 6 of 8 clips, 0.0 a second",
    ]


def test_nothing_is_said_where_nothing_is_wanted_and_a_bar_where_one_is(capsys: pytest.CaptureFixture[str]) -> None:
    Bar("a", 2, shown=False).update(2)
    assert capsys.readouterr().err == ""
    with Bar("a", 2, shown=True) as bar:
        bar.update(2)
    assert "0/2" in capsys.readouterr().err
