"""One CSV file of every column, UTF-8 with a byte order mark, so that Excel reads Korean as well as pandas does. No audio."""

from __future__ import annotations

from codecs import BOM_UTF8

from pipeline.core.table import Table
from pipeline.export._job import AT_A_TIME, Job

SAYS = "a table of every column, labels flattened; no audio (pandas, Excel)"
SOUND = False
LINKS = False
_KEYS = "SELECT DISTINCT unnest(map_keys(map_from_entries(labels))) AS key FROM rows ORDER BY key"


def size(rows: Table, links: bool) -> int:
    """No audio is written."""
    return 0


def write(job: Job) -> None:
    """`NAME.csv`: columns without any value left out, labels as columns `label.<key>`; null is an empty cell."""
    rows = job.rows.without_empty()
    keys = [key for (key,) in rows.query(_KEYS)] if "labels" in rows.names else []
    with open(job.folder / f"{job.name}.csv", "wb") as file:
        file.write(BOM_UTF8)
        for n, part in enumerate(rows.parts(AT_A_TIME)):
            _flat(part, keys).write_csv(file, heading=n == 0)
            job.advance(len(part))


def _flat(rows: Table, keys: list[str]) -> Table:
    """With a column for each key of the labels, in place of them all."""
    held = rows.labels() if keys else []
    rows = rows.only(name for name in rows.names if name != "labels")
    return rows.filled(**{f"label.{key}": [labels.get(key) for labels in held] for key in keys})


def card(job: Job) -> str:
    """How pandas reads it."""
    return f"""# {job.name}: {len(job.rows):,} rows as CSV

UTF-8 with a byte order mark, one row a clip, an empty cell where nothing is known; `label.<key>` are further labels of the
corpus. What the columns mean: `manifests/schema.md` of prep. In Excel, open it as it is.

```python
import pandas as pd
rows = pd.read_csv("{job.name}.csv")
```
"""
