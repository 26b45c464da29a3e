"""What ingest, filter and resample did with a clip: what was measured, the rules, the split, the keyword, the stored audio."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.core.row import Row
from pipeline.core.table import Table
from pipeline.corpora import lexicon
from pipeline.corpora.lexicon import Lexicon
from pipeline.inspect.explain.page import Fact, Page, dbfs, stored
from pipeline.stages import filter


def ingested(page: Page) -> Iterator[Fact]:
    """What the corpus claims, and what ingest measured."""
    row = page.one()
    claims = {"class": row.scenario, "transcript": row.transcript}
    if row.kind != "mixture":  # there the scene is that of the noise
        claims["scene"] = row.scene
    yield from (Fact(about, said) for about, said in claims.items() if said is not None)
    if row.labels:
        yield Fact("labels", ", ".join(f"{key} {value}" for key, value in row.labels.items()))
    if row.source_frames and row.source_rate_hz:
        form = f"{row.source_format}, {row.source_rate_hz:,} Hz, channels {row.source_channels}"
        yield Fact("recording", f"{row.source_frames / row.source_rate_hz:.3f} s, {row.source_frames:,} frames, {form}")
    if page.book.made.stage in ("ingest", "filter"):
        yield Fact("level", f"{dbfs(row.level_full_dbfs)} (RMS), peak {dbfs(row.peak_dbfs)}")
    yield Fact("samples", f"{row.clipped_share or 0:.4%} at full scale, {row.zero_share or 0:.4%} digital zero")
    yield Fact("pcm hash", str(row.source_pcm_hash))
    unknown = " (nobody knows who speaks: the hash of its samples)" if row.group == row.source_pcm_hash else ""
    yield Fact("group", f"{row.group}{unknown}")


def ruled(page: Page, pages: Sequence[Page]) -> list[filter.Verdict]:
    """What the rules say of the row as ingest left it; without that row, only those that a later one can tell."""
    options = filter.Options.model_validate(page.book.made.recipe.get("filter") or {})
    measured = _measured(page, pages)
    if measured is not None:
        return filter.verdicts(measured, options)
    if not len(page.held()):
        return []
    later = page.held().copied(frames="source_frames", rate_hz="source_rate_hz")
    later = later.filled(kind="noise" if page.one().noise_label == "noise" else "speech")
    return [verdict for verdict in filter.verdicts(later, options) if verdict.rule not in filter.OF_LEVEL]


def _measured(page: Page, pages: Sequence[Page]) -> Table | None:
    """The clip's row as ingest left it; filter changes nothing of what the rules look at but the split."""
    held = [other.row for other in pages if other.book.made.stage == "ingest" and len(other.row)]
    if not held and page.book.made.stage == "filter" and len(page.row):
        held = [page.row]
    return held[0] if held else None


def filtered(page: Page, pages: Sequence[Page], words: Lexicon | None) -> Iterator[Fact]:
    """Why it is in its split, and what gave its keyword."""
    row, made = page.one(), page.book.made
    share = filter.Options.model_validate(made.recipe.get("filter") or {}).dev_share
    before = [other.one().split for other in pages if other.book.made.stage == "ingest" and len(other.row)]
    draw = float(filter.dev_draw(made.seed, row.corpus, [row.group])[0])
    if row.split == "dev" and draw < share and before != ["dev"]:
        yield Fact("split", f"dev, carved from train: the draw of its group, {draw:.4f}, is below dev_share {share}")
    elif row.split == "train" and draw >= share:
        yield Fact(
            "split", f"train, as the corpus has it: the draw of its group, {draw:.4f}, is not below dev_share {share}"
        )
    else:
        yield Fact("split", f"{row.split}, as the corpus has it")
    if _measured(page, pages) is None:
        yield Fact(
            "not told",
            f"the rules {' and '.join(filter.OF_LEVEL)}: the level that ingest measured is not in this manifest",
        )
    if row.keyword is not None:
        yield Fact("keyword", _keyword(row, made.recipe.get("lexicon"), words))


def _keyword(row: Row, identity: object, words: Lexicon | None) -> str:
    spelling = lexicon.normalised(row.transcript or "")
    if words is None or lexicon.identity(words) != identity:
        return f'{row.keyword}, for "{spelling}", by a lexicon that is not at hand: name it with --lexicon'
    if spelling in words.spellings:
        return f'{row.keyword}: "{spelling}" stands under it in the lexicon'
    return f'{row.keyword}: "{spelling}" stands nowhere in the lexicon'


def resampled(page: Page) -> Iterator[Fact]:
    """How it is stored at the new rate."""
    row = page.one()
    if not len(page.row):
        yield Fact(
            "audio",
            f"resampled to {row.rate_hz:,} Hz as it was mixed, not stored alone; hash of its samples {row.speech_pcm_hash}",
        )
        return
    if row.rate_hz and row.frames:
        attenuated = f", attenuated by {-row.gain_db:.4f} dB, or it would have passed full scale" if row.gain_db else ""
        yield Fact(
            "audio", f"{row.frames / row.rate_hz:.3f} s, {row.frames:,} frames at {row.rate_hz:,} Hz{attenuated}"
        )
    active = (
        f"; active speech {dbfs(row.level_active_dbfs)} in {row.activity:.1%} of it" if row.activity is not None else ""
    )
    yield Fact("level", f"{dbfs(row.level_full_dbfs)} (RMS), peak {dbfs(row.peak_dbfs)}{active}")
    yield from stored(row, page.book)
