"""One clip's life, from the archive it lies in to the mixtures made of it; or where it ended, and why."""

from pipeline.inspect.explain.search import Book, Found, books, found, near
from pipeline.inspect.explain.tell import Chapter, Life, life, lying, text

__all__ = ["Book", "Chapter", "Found", "Life", "books", "found", "life", "lying", "near", "text"]
