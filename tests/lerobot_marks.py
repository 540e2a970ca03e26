"""Marks of the tests that import LeRobot, which takes seconds and warns of its own libraries."""

import pytest

LEROBOT = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]
