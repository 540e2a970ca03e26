"""TensorBoard: the real writer."""

from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.tracking import tensorboard_log


def test_numbers_of_an_episode_are_written_and_the_rest_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    at_exit: list[Callable[[], None]] = []
    monkeypatch.setattr("atexit.register", at_exit.append)
    log = tensorboard_log(tmp_path)
    log({"episode": 3, "phase": "learning", "reward": 0.25, "q": None})
    for close in at_exit:
        close()
    (events,) = (tmp_path / "tensorboard").iterdir()
    written = events.read_bytes()
    assert b"reward" in written
    assert b"phase" not in written
    assert b"learning" not in written
