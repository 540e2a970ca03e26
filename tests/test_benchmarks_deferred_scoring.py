"""A program may end, and go on for long, with deferred scores."""

import sys

import pytest

from benchmarks.deferred_scoring import exit_status_pending, memory_mb


@pytest.mark.slow
def test_a_process_that_ends_with_a_score_pending_in_torch_ends_in_order() -> None:
    pytest.importorskip("torch")
    assert exit_status_pending() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_scored_episodes_leave_no_memory_behind() -> None:
    found = memory_mb()
    assert found["after"] - found["before"] < 120, "120 episodes of 9 MB"
