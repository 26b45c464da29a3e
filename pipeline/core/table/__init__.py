"""Columns in memory: rows in, rows out, selected, sorted, hashed. With parquet.py and manifest.py the only user of pyarrow.

    columns.py  what a table says: values, arrays, truth values a row
    table.py    Table: the tables that are made of tables
    forms.py    dataclasses as columns: which column a field makes, values in, values out
    sql.py      the DuckDB side: conditions and statements over the rows, with no way out
    digest.py   identity: the hash of the values
    packed.py   hex digits as bytes and back, files as a column

The other rooms know the names below and Table's methods, none of the files.
"""

from pipeline.core.table.digest import UNHASHED
from pipeline.core.table.forms import LABELS, release, schema
from pipeline.core.table.table import Table

__all__ = ["LABELS", "UNHASHED", "Table", "release", "schema"]
