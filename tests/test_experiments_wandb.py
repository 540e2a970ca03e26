"""Weights & Biases: the real client, offline."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.config import get_config
from experiments.played_episode import training_path
from experiments.tracking import is_mistake, wandb_log
from tests.test_experiments_rescore import played


def line(episode: int, predicted: float, level: float) -> dict:
    scores = {"roboreward/level": predicted, "truth/level": level}
    return {"episode": episode, "phase": "learning", "reward": 0.25, **scores}


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # the client's own
def test_training_is_logged_into_the_run_folder_with_videos_and_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "drawer-nano-seed3"
    for number in range(4):
        episode = played(seed=number)
        frames = np.zeros((3, 64, 64, 3), np.uint8)
        object.__setattr__(episode.clip, "frames", frames)
        episode.save(training_path(folder, number))
    log = wandb_log(get_config("drawer-nano", seed=3), folder)
    log(line(1, 2, 2))
    log(line(0, 3, 3))  # late scores come in any order
    log(line(2, 5, 4))
    run = wandb.run
    assert (run.name, run.config["seed"]) == (folder.name, 3)
    assert run.id == json.loads((folder / "wandb.json").read_text())["id"] != folder.name
    wandb.finish()
    (stored,) = folder.rglob("*.wandb")
    media = [path for path in stored.parent.rglob("*") if path.is_file()]
    videos = sorted(path.name for path in media if path.suffix == ".mp4")
    assert len(videos) == 2, "every tenth episode, and the one that was predicted wrongly"
    (table,) = [path for path in media if path.name.endswith(".table.json")]
    rows = json.loads(table.read_text())["data"]
    assert [row[0] for row in rows] == [1, 0]
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_resumed_run_keeps_its_id_and_another_folder_of_that_name_has_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = pytest.importorskip("wandb", reason="the extra `wandb` is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    ids = []
    for person in ("a", "a", "b"):
        folder = tmp_path / person / "drawer-nano-seed0"
        folder.mkdir(parents=True, exist_ok=True)
        wandb_log(get_config("drawer-nano"), folder)
        ids.append(wandb.run.id)
        wandb.finish()
    assert ids[0] == ids[1] != ids[2]


@pytest.mark.parametrize(("predicted", "level", "wrong"), [(5, 4, True), (4, 5, True), (5, 5, False), (3, 2, False), (None, 5, False)])  # fmt: skip
def test_only_a_wrong_success_is_a_mistake(predicted: float, level: float, *, wrong: bool) -> None:
    assert is_mistake(line(0, predicted, level)) == wrong
