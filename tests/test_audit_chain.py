"""The chain's probe: classes that differ in nothing but the recording chain are told, those of one chain are not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt
from sklearn.linear_model import Ridge
from sklearn.metrics import balanced_accuracy_score
from sounds import hiss, voice

from pipeline.audio.codec import flac
from pipeline.audio.shards import writing
from pipeline.core import manifest
from pipeline.core.frame import from_rows
from pipeline.core.manifest import Provenance
from pipeline.core.row import Drop, Row
from pipeline.inspect.audit import Clear, Finding, Options, chain, checks
from pipeline.inspect.audit.chain import Probes, Score
from pipeline.inspect.audit.listening import TRACE_NAMES, traces

RATE_HZ, CLIPS = 16_000, 160
Pcm = NDArray[np.float64]
Chain = Callable[[Pcm], Pcm]


def content(n: int) -> Pcm:
    """A clip whose class its sound does not tell: a voice in a room, of any length."""
    level = -26.0 - n % 7
    return np.asarray(
        voice(1.0 + n % 4 * 0.25, seed=n, level_dbfs=level)
        + hiss(1.0 + n % 4 * 0.25, seed=n + 7_000, level_dbfs=level - 35)
    )


def lowpassed(samples: Pcm) -> Pcm:
    return np.asarray(sosfilt(butter(8, 3_400, fs=RATE_HZ, output="sos"), samples))


def raised(samples: Pcm) -> Pcm:
    """With the hiss of a worse microphone."""
    return samples + hiss(len(samples) / RATE_HZ, seed=len(samples) % 997, level_dbfs=-48)


CHAINS: dict[str, tuple[str, Chain]] = {
    "low-passed": ("band", lowpassed),
    "hissing": ("floor", raised),
    "with DC": ("dc", lambda x: x + 0.003),
    "of 8 bits": ("steps", lambda x: np.rint(x * 128) / 128),
    "padded": ("zeros", lambda x: np.concatenate([x, np.zeros(len(x) // 4)])),
    "cut short": ("length", lambda x: x[: RATE_HZ // 2]),
}


def made(folder: Path, chain: Chain, label: str = "noise_label", clips: int = CLIPS) -> manifest.Manifest:
    """Clips of two classes, of which one went through the chain; four clips a group, both classes in each corpus."""
    folder.mkdir(exist_ok=True)
    rows = []
    with writing(folder / "audio/s.tar") as shard:
        for n in range(clips):
            odd = n // 4 % 2 == 1
            samples = chain(content(n)) if odd else content(n)
            pcm = np.clip(np.rint(samples * 32_768), -32_768, 32_767).astype(np.int16)
            offset, size = shard.put(f"ms-snsd/{n}", flac(pcm, RATE_HZ))
            row = Row(f"ms-snsd/{n}", "ms-snsd", "train", f"g{n // 4}", "speech", f"@ms-snsd/{n}", noise_label="speech")
            row = replace(
                row, shard="s.tar", offset=offset, bytes=size, rate_hz=RATE_HZ, frames=len(pcm), clipped_share=0.0
            )
            row = replace(row, source_format="WAV PCM_16", source_rate_hz=RATE_HZ, source_channels=1)
            rows.append(
                replace(
                    row, **{label: ("noise", "speech")[odd] if label == "noise_label" else ("saveme", "helpme")[odd]}
                )
            )
    manifest.write(folder / "set.parquet", from_rows(rows, Row), from_rows([], Drop), Provenance("resample", {}, 0))
    return manifest.read(folder / "set.parquet")


def outcomes_of(source: manifest.Manifest) -> list[Finding | Clear]:
    answer = checks.audit(source, Options(checks=("chain",)))
    return [*answer.findings, *answer.clear]


@pytest.mark.parametrize("name", sorted(CHAINS))
def test_a_chain_of_its_own_is_told_far_above_chance_and_named(tmp_path: Path, name: str) -> None:
    trace, through = CHAINS[name]
    (finding,) = outcomes_of(made(tmp_path, through))
    assert isinstance(finding, Finding)
    assert not finding.fails
    assert finding.figures["all"]["low"] > 0.85
    best = next(iter(finding.figures["alone"]))
    assert trace in (best, *(n for n, score in finding.figures["alone"].items() if score["accuracy"] > 0.85))
    assert finding.figures["without_best"]["accuracy"] <= finding.figures["all"]["accuracy"]
    assert f"Without {best}, " in finding.detail
    assert f"{trace} " in finding.detail.split("\n")[0]


def test_one_chain_is_told_no_better_than_by_chance(tmp_path: Path) -> None:
    (clear,) = outcomes_of(made(tmp_path, lambda x: x))
    assert isinstance(clear, Clear)
    assert clear.figures["all"]["low"] <= 0.5 <= clear.figures["all"]["high"] + 0.1
    assert "cannot be told apart by the recording chain alone" in clear.detail


def test_keywords_are_asked_too_and_their_length_is_left_to_the_words(tmp_path: Path) -> None:
    (outcome,) = outcomes_of(made(tmp_path / "length", CHAINS["cut short"][1], "keyword"))
    assert "length" not in outcome.figures["alone"]
    (finding,) = outcomes_of(made(tmp_path / "band", lowpassed, "keyword"))
    assert isinstance(finding, Finding)
    assert finding.detail.startswith(
        "the keywords can be told apart by the recording chain alone (length left out: it belongs to the words)"
    )


def test_what_only_corpora_tell_is_said(tmp_path: Path) -> None:
    source = made(tmp_path, lowpassed)
    rows = [replace(row, corpus="aihub" if row.noise_label == "speech" else "cochlscene") for row in source.rows()]
    (finding,) = outcomes_of(manifest.Manifest(from_rows(rows, Row), source.provenance, source.path))
    assert "No corpus holds both (noise: cochlscene; speech: aihub)" in finding.detail


def test_too_few_clips_say_nothing(tmp_path: Path) -> None:
    (clear,) = outcomes_of(made(tmp_path, lowpassed, clips=24))
    assert (
        clear.detail
        == "too little to compare: it takes two classes of 20 rows and 5 groups to tell one chain from another"
    )


def of_low(low: float) -> Score:
    return Score(low + 0.06, low, low + 0.12, 0.5)


@pytest.mark.parametrize(("low", "kind"), [(0.47, Clear), (0.54, Clear), (0.56, Finding)])
def test_only_what_is_surely_above_chance_by_the_margin_is_a_finding(low: float, kind: type) -> None:
    by_kind = {"band": of_low(0.56), "dc": of_low(0.54), "floor": of_low(0.47)}
    probes = Probes(of_low(low), by_kind, of_low(0.5), of_low(0.5))
    outcome = chain.conclusion("noise_label", 400, {"noise": ["a"], "speech": ["a"]}, probes)
    assert isinstance(outcome, kind)
    assert kind is Clear or "The best traces, each alone: band 0.62 (" in outcome.detail
    assert "dc 0.60" not in outcome.detail


def test_traces_are_those_planted() -> None:
    def of(samples: Pcm, name: str) -> float:
        return float(traces(np.rint(samples * 32_768).astype(np.int16), RATE_HZ)[TRACE_NAMES.index(name)])

    noise = hiss(2.0, level_dbfs=-40).astype(np.float64)
    assert of(noise, "log_seconds") == pytest.approx(np.log(2))
    assert of(noise, "floor_db") == pytest.approx(-40, abs=1.5)
    assert (of(noise + 0.01, "dc"), of(noise, "dc")) == (pytest.approx(np.arcsinh(327.68), abs=0.05), 0.0)
    assert of(lowpassed(noise), "edge_khz") < 4.6 < 7.5 < of(noise, "edge_khz")
    assert of(np.rint(noise * 256) / 256, "coarse_share") == 1.0
    assert of(noise, "coarse_share") == 0.0
    assert of(np.r_[noise, np.zeros(32_000)], "zero_share") == pytest.approx(0.5, abs=0.02)
    assert of(np.zeros(16_000), "floor_db") == -120.0


def test_the_probe_is_scikit_learns_ridge_on_the_same_folds() -> None:
    rng = np.random.default_rng(3)
    classes = rng.integers(0, 3, 600)
    features = rng.standard_normal((600, 4)) + classes[:, None] * [0.5, 0.0, -0.3, 0.0]
    groups, names = np.arange(600) // 5, [f"g{n}" for n in range(120)]
    columns, folds = chain.binned(features), chain.folds_of(names)[groups]
    predicted = np.zeros(600, dtype=int)
    for fold in range(chain.FOLDS):
        train = folds != fold
        weights = (train.sum() / 3 / np.bincount(classes[train]))[classes[train]]
        model = Ridge(alpha=chain.RIDGE).fit(columns[train], np.eye(3)[classes[train]], sample_weight=weights)
        predicted[~train] = model.predict(columns[~train]).argmax(axis=1)
    score = chain.score(columns, classes, groups, names)
    assert score.accuracy == pytest.approx(balanced_accuracy_score(classes, predicted))
    assert score.low < score.accuracy < score.high
    assert score.low > score.chance == 1 / 3


def test_a_group_that_is_known_by_itself_tells_nothing_of_others() -> None:
    """Every group has features of its own and one class: rows of it in another fold would give the class away."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(100), 10)
    features, classes = rng.standard_normal((100, 20))[groups], rng.integers(0, 2, 100)[groups]
    score = chain.score(chain.binned(features), classes, groups, [f"g{n}" for n in range(100)])
    assert score.low < 0.55
