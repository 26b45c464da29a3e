"""Named roots, and the bytes of files in folders, zips, split zips, tars and pieces of them, where they lie.

Nothing is unpacked to disk, and no file is decoded here: what the bytes mean is for `audio` and `corpora`.
"""

from pipeline.archives.listing import Entry
from pipeline.archives.roots import Root, Roots

__all__ = ["Entry", "Root", "Roots"]
