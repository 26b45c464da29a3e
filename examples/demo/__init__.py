"""A demo corpus in the true formats, made in seconds: four roots to run the whole pipeline on without a download."""

from pipeline.demo.corpora import ROOTS, make

__all__ = ["ROOTS", "make"]
