"""Corpus preparation for call-for-help detection: ingest, filter, resample, mix, manifest."""

__version__ = "0.1.0"
