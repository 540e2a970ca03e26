"""Weights & Biases: the real client, offline."""

from pathlib import Path

import pytest

from experiments.config import get_config
from experiments.run import wandb_log


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the client's own
def test_training_is_logged_into_the_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "drawer-nano-seed3"
    folder.mkdir()
    log = wandb_log(get_config("drawer-nano", seed=3), folder)
    for episode in (1, 2):
        log({"episode": episode, "reward": 0.25 * episode})
    run = wandb.run
    assert (run.name, run.id, run.config["seed"]) == (folder.name, folder.name, 3)
    wandb.finish()
    assert list(folder.rglob("*.wandb"))
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
