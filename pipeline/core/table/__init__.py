"""Table: methods over the functions of core.frame and core.sql, for rooms that do not use frames yet. What is new goes there."""

from pipeline.core import sql
from pipeline.core.frame import LABELS, UNHASHED, release, schema
from pipeline.core.table.table import Table

__all__ = ["LABELS", "UNHASHED", "Table", "release", "schema", "sql"]
