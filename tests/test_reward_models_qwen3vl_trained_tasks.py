"""nano knows thirteen tasks of two simulated scenes, and warns when it is asked about another one."""

import json
import logging
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

from reward_models.nano import WEIGHTS
from reward_models.nano.tasks import TASKS
from reward_models.qwen3vl import trained_tasks
from reward_models.qwen3vl.roboreward import RoboReward
from reward_models.qwen3vl.trained_tasks import TrainedTasks
from roboreward_gym.errors import WeightsError
from roboreward_gym.registry import load_reward_model
from robots.widowx import widowx
from tests.tiny_vlm import SMALL_CLIPS, probabilities_of, random_clip, write_tiny_checkpoint

ENVS = {"toy": "robots:WidowXToyOnTowel-v0", "drawer": "robots:WidowXDrawer-v0"}


@pytest.fixture(autouse=True)
def _nobody_has_warned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained_tasks, "_warned", set())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "trained_tasks.json").write_text(json.dumps({"drawer": ["open the left drawer"]}))
    return tmp_path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def test_the_listed_tasks_are_those_of_the_simulated_scenes() -> None:
    assert sum(map(len, TASKS.values())) == 13
    for scene, env_id in ENVS.items():
        env = widowx(gym.make(env_id, image=False))
        assert set(TASKS[scene]) == set(env.tasks)
        env.close()


def test_the_list_lies_beside_the_shipped_weights() -> None:
    shipped = json.loads((WEIGHTS / trained_tasks.FILE).read_text(encoding="utf-8"))
    assert shipped == {scene: list(tasks) for scene, tasks in TASKS.items()}


def test_nano_warns_once_about_a_task_that_it_does_not_know(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nano = load_reward_model("roboreward-nano")
    nano.score([random_clip(4, task="Put the duck on the towel", size=(64, 64))])
    assert warnings(caplog) == []
    nano.score([random_clip(4, task="balance the pole", size=(64, 64))])
    nano.score([random_clip(4, task="reach the goal", size=(64, 64))])
    (message,) = warnings(caplog)
    assert "roboreward-nano was not trained on the task 'balance the pole'" in message
    assert "open both drawers" in message


@pytest.mark.parametrize("task", ["open the left drawer", "Open The LEFT drawer"])
def test_a_known_task_draws_no_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    TrainedTasks(folder, "small").warn_about(task)
    assert warnings(caplog) == []


@pytest.mark.parametrize("task", ["open the left drawer.", " open the left drawer", "open it"])
def test_other_words_draw_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture, task: str
) -> None:
    TrainedTasks(folder, "small").warn_about(task)
    assert len(warnings(caplog)) == 1


def test_each_model_warns_for_itself(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("small", "other", "small"):
        TrainedTasks(folder, name).warn_about("paint the wall")
    assert [message.split()[0] for message in warnings(caplog)] == ["small", "other"]


def test_a_warning_changes_no_score(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = write_tiny_checkpoint(tmp_path / "tiny")
    clip = random_clip(4, task="paint the wall")
    (before,) = RoboReward(checkpoint, protocol=SMALL_CLIPS, off_format_limit=1.0).score([clip])
    assert warnings(caplog) == []  # a checkpoint that lists no tasks may be asked anything
    (checkpoint / "trained_tasks.json").write_text(json.dumps({"drawer": ["open the left drawer"]}))
    (after,) = RoboReward(checkpoint, protocol=SMALL_CLIPS, off_format_limit=1.0).score([clip])
    assert len(warnings(caplog)) == 1
    assert after.level == before.level
    np.testing.assert_array_equal(probabilities_of(after), probabilities_of(before))


def test_a_corrupt_list_is_an_error(folder: Path) -> None:
    (folder / "trained_tasks.json").write_text('{"drawer": [')
    with pytest.raises(WeightsError, match="not JSON"):
        TrainedTasks(folder, "small")
