"""Exports: a manifest in the form that another tool reads. One file a format, found by its file name; "_" begins a part of one.

A format is given rows that may leave, a reader of their sound and an empty folder; the folder appears whole or not at all.
Write another by writing another file. No tool that reads an export is imported here: the forms are documented ones.
"""

from pipeline.export._formats import find, names
from pipeline.export._plan import Export, Use, check, planned, written

__all__ = ["Export", "Use", "check", "find", "names", "planned", "written"]
