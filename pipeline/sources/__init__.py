"""Named roots, and bytes out of folders, zips, split zips, tars and pieces of them; nothing is unpacked to disk."""

from pipeline.sources.contents import Entry
from pipeline.sources.root import Root
from pipeline.sources.roots import Roots

__all__ = ["Entry", "Root", "Roots"]
