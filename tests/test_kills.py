"""Every command killed at a drawn moment and typed again leaves what an undisturbed run leaves (tests/kills.py)."""

from __future__ import annotations

import kills
import pytest


@pytest.mark.slow
def test_a_command_killed_anywhere_and_typed_again_leaves_the_same_bytes() -> None:
    assert kills.main(seed=11, count=2 * len(kills.COMMANDS)) == 0
