"""Named roots, and bytes out of folders, zips, split zips, tars and pieces of them; nothing is unpacked to disk."""

from pipeline.archives.contents import Entry
from pipeline.archives.root import Root
from pipeline.archives.roots import Roots

__all__ = ["Entry", "Root", "Roots"]
