"""Watch the policy of a finished run play: `python -m experiments.watch runs/drawer-nano-seed0`.

Writes a video of each episode into the run folder; with `--viewer` it opens MuJoCo's viewer instead, which needs a screen.
"""

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import tyro

from experiments.config import evaluation_seeds
from experiments.evaluate import EpisodeRunner
from experiments.media import video
from experiments.phases import kept_noise_policy, policy_spec, reopen
from experiments.workers import prepare
from roboreward_gym._cli import run_program
from robots.conventions import CONTROL_HZ
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import widowx


@dataclass(frozen=True)
class WatchArgs:
    """Watch the policy of a finished run play."""

    run: tyro.conf.Positional[Path]
    """Folder of the run."""
    episodes: int = 3
    """Episodes to play, from starts of the run's evaluation."""
    base: bool = False
    """Play the base policy instead of the one that was kept."""
    viewer: bool = False
    """Open MuJoCo's viewer and write no video."""


class Viewed(gym.Wrapper):
    """Shows each step in MuJoCo's viewer, at the rate of the robot.

    Args:
        env: A simulated environment of `robots`.
    """

    def __init__(self, env: gym.Env) -> None:
        from mujoco import viewer

        super().__init__(env)
        arm = widowx(env).arm
        assert isinstance(arm, MujocoArm)
        self._viewer = viewer.launch_passive(arm.model, arm.data)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Step, show it, and wait as long as the robot would take."""
        step = self.env.step(action)
        self._viewer.sync()
        time.sleep(1 / CONTROL_HZ)
        return step

    def close(self) -> None:
        """Close the window."""
        self._viewer.close()
        super().close()


def main(args: WatchArgs) -> None:
    """Play, and print how each episode ended and where its video is."""
    prepare(threads=1)
    config, folder, _ = reopen(args.run)
    noise_policy = None if args.base else kept_noise_policy(folder)
    name = "fine-tuned" if noise_policy else "base"
    wrap = Viewed if args.viewer else None
    with closing(EpisodeRunner(policy_spec(config, noise_policy), wrap)) as runner:
        for seed in evaluation_seeds(config.seed, args.episodes):
            outcome = runner.play(seed)
            end = "success" if outcome.success else "failure"
            print(f"{name} policy, seed {seed}: {end}, predicted level {outcome.predicted:.0f}")
            if not args.viewer:
                clip, _ = runner.video
                path = folder / "watch" / f"{name}-{seed}.mp4"
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(video(clip.frames, clip.fps))
                print(f"  {path}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(WatchArgs)))
