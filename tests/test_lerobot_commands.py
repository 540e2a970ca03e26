"""From the keyboard to a policy with LeRobot's real commands, on the simulated arm: record, replay, train, roll out."""

from contextlib import closing
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

import pyarrow.parquet as pq
import torch

from policies.lerobot_plugin import export
from policies.policy import DiffusionPolicy
from robots.lerobot_plugin.features import ACTION_NAMES, STATE_NAMES
from tests.lerobot_commands import run_commands
from tests.lerobot_marks import LEROBOT

pytestmark = LEROBOT
TASK = "put the duck on the towel"
ROBOT = ["--robot.type=roboreward_widowx", "--robot.seed=5"]
QUIET = ["--play_sounds=false"]


def table(folder: Path) -> dict[str, list]:
    return pq.read_table(folder / "data/chunk-000/file-000.parquet").to_pydict()


def test_demonstrations_are_recorded_replayed_cloned_and_played(tmp_path: Path) -> None:
    folder, out = tmp_path / "my_set", tmp_path / "train"
    data = ["--dataset.repo_id=local/my_set", f"--dataset.root={folder}"]
    keyboard = ["--teleop.type=roboreward_keyboard", "--teleop.speed=1.0"]
    record = [
        *ROBOT, *keyboard, *data, *QUIET,
        f"--dataset.single_task={TASK}", "--dataset.fps=5", "--dataset.num_episodes=2",
        "--dataset.episode_time_s=2", "--dataset.reset_time_s=60", "--dataset.push_to_hub=false",
        "--dataset.rgb_encoder.vcodec=h264",
    ]  # fmt: skip
    train = [
        "--policy.type=roboreward_dit", "--policy.push_to_hub=false", "--policy.device=cpu", *data,
        *("--policy.width=32", "--policy.layers=1", "--policy.maps=4", "--policy.warm_up=1"),
        f"--output_dir={out}", *("--steps=2", "--batch_size=4", "--num_workers=0"),
    ]  # fmt: skip
    rollout = [
        "--strategy.type=base", *ROBOT, f"--task={TASK}", "--fps=5", "--duration=2", "--device=cpu",
        f"--policy.path={out}/checkpoints/last/pretrained_model",
    ]  # fmt: skip
    keys = [
        ("Recording episode 0", "w"),
        ("Reset the environment", "h"),
        ("at its start", "n"),
        ("Recording episode 1", "a"),
        ("begin teleoperate", "w"),
    ]
    status, said = run_commands(
        [
            ("record", record),
            ("replay", [*ROBOT, *data, "--dataset.episode=0", *QUIET]),
            ("teleoperate", [*ROBOT, *keyboard, "--fps=5", "--teleop_time_s=1"]),
            ("train", train),
            ("rollout", rollout),
        ],
        keys,
        tmp_path,
    )
    assert status == 0, said[-3000:]
    assert "end rollout" in said
    recorded = table(folder)
    episodes = np.array(recorded["episode_index"])
    actions, states = np.array(recorded["action"]), np.array(recorded["observation.state"])
    assert actions.shape[1] == len(ACTION_NAMES)
    assert states.shape[1] == len(STATE_NAMES)
    assert set(episodes) == {0, 1}
    first, second = actions[episodes == 0], actions[episodes == 1]
    assert first[:, 0].max() == 1.0  # the key for forward
    assert not first[:, 1].any()
    assert second[:, 1].max() == 1.0  # the key for left
    moved = states[episodes == 0]
    assert moved[-1, 0] - moved[0, 0] == pytest.approx(0.05, abs=0.02)
    # Between the two the arm went back to its start, and the scene was shuffled.
    assert states[episodes == 1][0, :3] == pytest.approx([0.24, 0.0, 0.2], abs=0.03)
    # What `experiments.run --policy` takes.
    base = tmp_path / "base"
    assert export.main([str(out / "checkpoints/last/pretrained_model"), str(base)]) == 0
    with closing(gym.make("robots:WidowXToyOnTowel-v0")) as env:
        observation, _ = env.reset(seed=0)
        policy = DiffusionPolicy.load(base)
        seen = policy.encode(observation["image"][None], observation["state"][None])
        chunk = policy.decode(seen, torch.zeros(1, policy.chunk, policy.action_dim))
        env.step(chunk[0, 0].numpy())
