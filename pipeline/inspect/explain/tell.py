"""A life put together: a chapter for each stage, from the manifests that hold the clip, in the order of their stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from pipeline import corpora
from pipeline.archives import Roots
from pipeline.core.errors import SourceError
from pipeline.core.row import Drop, Row
from pipeline.corpora.lexicon import Lexicon
from pipeline.inspect.explain import noise, stages
from pipeline.inspect.explain.page import Fact, Page
from pipeline.inspect.explain.search import Book, Found
from pipeline.inspect.show import table_text
from pipeline.stages.filter import Verdict


@dataclass(frozen=True, slots=True)
class Chapter:
    """What one stage did. rules: what each rule of filter says of it. ends: the drops with which it, or a mixture of it, ended here."""

    stage: str
    manifest: str
    facts: tuple[Fact, ...]
    rules: tuple[Verdict, ...] = ()
    ends: tuple[Drop, ...] = ()


@dataclass(frozen=True, slots=True)
class Life:
    """All of it. row: what is not null of the last row that is the clip, or of the mixture that was named."""

    id: str
    mixture: str | None
    facts: tuple[Fact, ...]
    chapters: tuple[Chapter, ...]
    row: dict[str, Any]


def life(told: Found, shelf: Sequence[Book], roots: Roots, words: Lexicon | None) -> Life:
    """The life of a clip in these manifests. words: the lexicon by which it may have got its keyword, where one is at hand."""
    pages = [page for book in shelf if (page := _page(book, told))]
    chapters = [chapter for page in pages for chapter in _chapters(page, pages, words)]
    rows = [table for page in pages for table in (page.held(), page.named) if len(table)]
    row = next(iter(rows[-1].rows(Row))) if rows else None
    facts = tuple(where(row.source, roots)) if row else tuple(lying(told.clip, roots))
    held = {f.name: getattr(row, f.name) for f in fields(Row) if getattr(row, f.name) is not None} if row else {}
    return Life(told.clip, told.mixture, facts, (*chapters, *_silent(shelf, pages, chapters, told)), held)


def _page(book: Book, told: Found) -> Page | None:
    row, of_it = book.rows("id", told.clip), book.rows("speech_id", told.clip)
    mixtures = of_it if len(of_it) else book.rows("noise_id", told.clip)
    named = mixtures.where(mixtures.equal("id", told.mixture or ""))
    drops = tuple(
        drop for drop in book.dropped(told.clip) if told.mixture is None or drop.id in (told.clip, told.mixture)
    )
    return Page(book, told.clip, row, mixtures, named, drops) if len(row) or len(mixtures) or drops else None


def where(source: str, roots: Roots) -> Iterator[Fact]:
    """What a recording is called, and where its bytes lie on this machine."""
    name = source.removeprefix("@").partition("/")[0]
    corpus = corpora.find(name)
    yield Fact("source", f"{source}   ({corpus.TITLE})")
    if name not in roots:
        yield Fact("bytes", f"--root {name}=DIR tells where they lie on this machine")
        return
    try:
        place = corpus.places(roots[name]).get(source)
    except SourceError as error:
        yield Fact("bytes", str(error).splitlines()[0])
        return
    if place is None:
        yield Fact(
            "bytes",
            f"nowhere under {roots.where(name)}: the corpus was moved or changed, or this is another part of it",
        )
        return
    how = "as they are" if place.method <= 0 else f"packed into {place.packed:,}"
    yield Fact("bytes", f"{place.size:,}, {how}, at byte {place.offset:,} of {roots.where(name)}/{place.container}")


def lying(row_id: str, roots: Roots) -> Iterator[Fact]:
    """Recordings that are called as an id ends, under the root of its corpus; one that names no corpus is looked for under all."""
    corpus, _, rest = row_id.partition("/")
    for name in [corpus] if corpus in roots else list(roots) if not rest else []:
        try:
            sources = list(corpora.find(name).places(roots[name]))
        except SourceError as error:
            yield Fact("root", str(error).splitlines()[0])
            continue
        for source in sources:
            if source.endswith(f"/{row_id.rpartition('/')[2]}"):
                yield from where(source, roots)


def _chapters(page: Page, pages: Sequence[Page], words: Lexicon | None) -> Iterator[Chapter]:
    """What the stages did that this manifest tells of and none before it did."""
    before = {stage for other in pages[: pages.index(page)] for stage in other.book.stages}
    for stage in page.book.stages:
        ends = tuple(drop for drop in page.drops if drop.stage == stage)
        if stage in before & {"ingest", "resample"} and not ends:  # filter and mix may go by other options here
            continue
        rules = tuple(stages.ruled(page, pages)) if stage == "filter" else ()
        facts = tuple(_facts(stage, page, pages, words))
        if facts or rules or ends:
            yield Chapter(stage, str(page.book.path), facts, rules, ends)


def _facts(stage: str, page: Page, pages: Sequence[Page], words: Lexicon | None) -> Iterator[Fact]:
    if stage == "mix" and (len(page.row) or len(page.mixtures)):
        yield from noise.facts(page)
    elif stage != "mix" and len(page.held()):
        if stage == "ingest":
            yield from stages.ingested(page)
        elif stage == "filter":
            yield from stages.filtered(page, pages, words)
        else:
            yield from stages.resampled(page)


def _silent(
    shelf: Sequence[Book], pages: Sequence[Page], chapters: Sequence[Chapter], told: Found
) -> Iterator[Chapter]:
    """Manifests of later stages that say nothing of a clip that had not ended before."""
    if not pages or any(drop.id == told.clip for chapter in chapters for drop in chapter.ends):
        return
    spoken = [page.book for page in pages]
    for book in shelf[shelf.index(spoken[0]) + 1 :]:
        if book not in spoken and book.made.stage != "ingest":
            limit = book.made.recipe.get("limit")
            why = f"it was made with --limit {limit}" if limit else "it was made from other manifests than these"
            yield Chapter(book.made.stage, str(book.path), (Fact("absent", f"neither a row nor a drop here: {why}"),))


def text(told: Life) -> str:
    """The life for a terminal."""
    head = told.id if told.mixture is None else f"{told.mixture}\nmade of {told.id}"
    parts = ["\n".join([head, *_lines(told.facts)])]
    for chapter in told.chapters:
        lines = [f"{chapter.stage}   {chapter.manifest}"]
        lines += [f"  DROPPED       {drop.id}: {drop.reason}: {drop.detail}" for drop in chapter.ends]
        if chapter.rules:
            rows = [(rule.rule, rule.value, rule.asked, "met" if rule.met else "BROKEN") for rule in chapter.rules]
            lines += [f"  {line}" for line in table_text(("rule", "found", "asked", "so"), rows).splitlines()]
        parts.append("\n".join([*lines, *_lines(chapter.facts)]))
    return "\n\n".join(parts)


def _lines(facts: Sequence[Fact]) -> list[str]:
    return [f"  {fact.about:<13} {fact.said}" for fact in facts]
