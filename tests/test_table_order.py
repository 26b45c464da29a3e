"""DuckDB answers in any order it likes; a table's answers are in the order of its rows all the same."""

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.table import Table, sql

ROWS = 5_000


@pytest.fixture
def shuffled(monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table that DuckDB sees in another order, as its threads give it now and then (once in a hundred runs)."""
    numbered = sql.numbered
    order = np.random.default_rng(0).permutation(ROWS)
    monkeypatch.setattr(sql, "numbered", lambda arrow: numbered(arrow).take(pa.array(order)))
    return Table(pa.table({"n": pa.array(np.arange(ROWS))}))


def test_conditions_are_answered_in_the_order_of_the_rows(shuffled: Table) -> None:
    assert (shuffled.select("n % 7 = 3") == (np.arange(ROWS) % 7 == 3)).all()


def test_derived_columns_are_in_the_order_of_the_rows(shuffled: Table) -> None:
    assert shuffled.derived(twice="n * 2").integers("twice").tolist() == (np.arange(ROWS) * 2).tolist()
