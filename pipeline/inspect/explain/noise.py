"""What mix did: the noise that was drawn, where it was cut, how loud it was made, and what came out."""

from __future__ import annotations

from collections.abc import Iterator

from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.inspect.explain.page import Fact, Page, dbfs, stored
from pipeline.inspect.explain.search import Book
from pipeline.stages import mix
from pipeline.stages.mix import Drawn

MOST = 8  # mixtures listed of a clip


def facts(page: Page) -> Iterator[Fact]:
    """Of the mixture that was named, or of those that the clip is in."""
    if len(page.named):
        yield from _mixture(page.named, page.book)
    elif not len(page.mixtures):
        yield Fact("kept", "as it is, mixed with nothing")
    elif page.mixtures.equal("speech_id", page.clip).any():
        listed = list(page.mixtures.part(0, MOST).rows(Row))
        for row in listed:
            yield Fact("mixture", f"{row.id}: {row.noise_id} at {_decibels(row.snr_db)}, {row.snr_definition}")
        if len(page.mixtures) > len(listed):
            yield Fact("mixture", f"... {len(page.mixtures):,} in all")
    else:
        yield from _drawn_often(page)


def _drawn_often(page: Page) -> Iterator[Fact]:
    """Of a recording of noise: how often it was drawn."""
    told = page.mixtures.query("SELECT split, snr_db, count(*) FROM rows GROUP BY 1, 2 ORDER BY 1, 2")
    by_split = page.mixtures.query("SELECT split, count(*), count(DISTINCT speech_id) FROM rows GROUP BY 1 ORDER BY 1")
    for split, count, speech in by_split:
        yield Fact("drawn", f"into {count:,} mixtures of {speech:,} utterances of {split}")
    if len(told) <= MOST:
        yield Fact("at", ", ".join(f"{_decibels(snr)} {count:,}" for _, snr, count in told))
    yield Fact("for example", ", ".join(page.mixtures.part(0, 3).column("id")))


def _mixture(named: Table, book: Book) -> Iterator[Fact]:
    row = next(iter(named.rows(Row)))
    options = mix.Options.model_validate(book.made.recipe.get("mix") or {})
    noise = book.rows("kind", "noise")
    drawn = (
        mix.redrawn(named, noise, options, book.made.seed)
        if noise.among("corpus", _corpora(noise, options)).any()
        else None
    )
    yield Fact("mixture", row.id)
    yield Fact("noise", f"{row.noise_id} ({row.scene}), {row.noise_source}")
    yield from _draw(row, drawn)
    yield from _levels(row, drawn)
    yield Fact("parts", f"speech {row.speech_pcm_hash}, noise {row.noise_pcm_hash}")
    yield from stored(row, book)


def _corpora(noise: Table, options: mix.Options) -> set[str]:
    """The corpora whose noise may be drawn: those of the options, else all that are there."""
    named = {mix.weight_of(value)[0] for value in options.noise or ()}
    return named or {str(name) for name in noise.codes("corpus")[1]}


def _draw(row: Row, drawn: Drawn | None) -> Iterator[Fact]:
    if drawn is None or drawn.noise_id != row.noise_id:
        again = (
            "none of them is in this manifest"
            if drawn is None
            else f"drawn again from this manifest's noise it would be {drawn.noise_id}"
        )
        yield Fact("drawn", f"from other noise than this manifest holds ({again})")
    else:
        yield Fact(
            "drawn",
            f"one of {drawn.pool:,} recordings of {row.split}; the draw of this utterance and copy {row.variant}: {drawn.draw:.6f}",
        )
    if row.noise_start is None or row.rate_hz is None or row.frames is None:
        return
    cut = f"from frame {row.noise_start:,} ({row.noise_start / row.rate_hz:.3f} s), {row.frames:,} frames"
    if drawn is not None and drawn.noise_id == row.noise_id:
        cut += f" of {drawn.noise_frames:,}{', looped' if row.noise_start + row.frames > drawn.noise_frames else ''}"
        if row.noise_start in drawn.starts:
            tried = drawn.starts.index(row.noise_start) + 1
            cut += (
                "; the first crop drawn"
                if tried == 1
                else f"; crop {tried} of those drawn, the ones before were silent"
            )
    yield Fact("crop", cut)


def _levels(row: Row, drawn: Drawn | None) -> Iterator[Fact]:
    asked, tag = _decibels(row.snr_db), row.id.removeprefix(f"{row.speech_id}_snr").rpartition("_")[0]
    if "to" in tag:
        asked += f", drawn from {tag.replace('to', ' to ')} dB{f' (the draw: {drawn.snr_draw:.6f})' if drawn else ''}"
    yield Fact("SNR asked", f"{asked}, by the definition {row.snr_definition}")
    yield Fact(
        "SNR realised",
        f"active {_decibels(row.snr_active_db, 4)}, full {_decibels(row.snr_full_db, 4)}, in the samples as stored",
    )
    alike = "" if not row.gain_db else ": both were attenuated alike, their sum passed full scale"
    yield Fact("gains", f"speech {row.gain_db} dB, noise {row.noise_gain_db} dB{alike}")
    active = f"{dbfs(row.level_active_dbfs)} in {row.activity:.1%} of it" if row.activity is not None else "none"
    yield Fact("levels", f"{dbfs(row.level_full_dbfs)} (RMS), peak {dbfs(row.peak_dbfs)}; active speech in it {active}")


def _decibels(value: float | None, digits: int = 2) -> str:
    return "unknown" if value is None else f"{round(value, digits):g} dB" if digits < 4 else f"{value:.{digits}f} dB"
