"""The client process of `benchmarks.ros_faults`: swings the arm in short episodes until a signal ends it.

What happens is printed as JSON lines with the date [s]: `reset`, `step`, `invalid` (a fault in an episode), `refused` (no
episode could begin), `interrupted`, `ended`.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

import robots  # noqa: F401 - registers the environments
from experiments.robot import Robot, RobotOptions
from experiments.robot_episodes import KeepScores, ScoreWhileRetreating
from reward_models.judges.null import ConstantReward
from roboreward_gym.errors import RobotFaultEpisode
from roboreward_gym.types import RewardModel
from roboreward_gym.wrapper import VLMRewardWrapper
from robots.errors import ArmUnavailable, CameraError, DiskError, MotionRefused
from robots.signals import end_on_signals
from robots.widowx import widowx
from robots.xs.arm import XsArm

ENV_ID = "robots:WidowXToyOnTowelRos-v0"
PAUSE_S = 1.5
"""After a stop, so that the motion of the next reset is not taken for motion that went on."""
SWING = np.array([0.0, 0.9, 0.0, 0.0, 0.0, 0.0])


def say(event: str, **facts: Any) -> None:
    """Print one event."""
    # One write, so that a signal cannot come between a line and its end.
    sys.stdout.write(json.dumps({"event": event, "at": time.time(), **facts}) + "\n")
    sys.stdout.flush()


def make(folder: Path, reward_model: RewardModel | str, *, simulated_clock: bool) -> gym.Env:
    """The environment as an experiment makes it."""
    options = RobotOptions(robot="ros2", simulated_clock=simulated_clock)
    env = Robot(folder, options).make(ENV_ID)
    return KeepScores(
        VLMRewardWrapper(env, ScoreWhileRetreating(reward_model, env), ending="unchanged")
    )


def swing(env: gym.Env, seed: int) -> None:
    """Play one episode of swinging from side to side."""
    env.reset(seed=seed)
    say("reset")
    step, ended = 0, False
    while not ended:
        direction = 1.0 if step % 10 < 5 else -1.0
        action = np.append(direction * SWING, direction)  # the gripper opens and closes
        _, reward, terminated, truncated, _ = env.step(action)
        ended = terminated or truncated
        step += 1
        say("step", step=step, **({"reward": reward} if ended else {}))


def report(env: gym.Env) -> None:
    """Say how well the clock was kept and whether images were lost."""
    arm = widowx(env).arm
    if isinstance(arm, XsArm):
        lost = getattr(getattr(arm, "link", None), "images_lost", None)
        clock = arm.clock
        say("report", hz=clock.hz, lateness_p95_ms=clock.lateness_ms(95), periods=clock.periods,
            overruns=clock.overruns, images=arm.images.received, images_lost=lost)  # fmt: skip


def main(folder: Path, episodes: int, reward_model: str, clock: str) -> int:
    """Swing until `episodes` valid ones are done, or until a signal ends it in an orderly way."""
    end_on_signals()
    model = ConstantReward() if reward_model == "constant" else reward_model
    env = make(folder, model, simulated_clock=clock == "simulated")
    done = 0
    try:
        while done < episodes:
            try:
                swing(env, seed=done)
            except RobotFaultEpisode as error:
                say("invalid", reason=str(error))
                time.sleep(PAUSE_S)
            except (ArmUnavailable, CameraError, MotionRefused) as error:
                say("refused", reason=str(error))
                time.sleep(PAUSE_S)
            except DiskError as error:
                say("refused", reason=str(error))
                break
            else:
                done += 1
                report(env)
    except KeyboardInterrupt:
        say("interrupted")
    finally:
        env.close()
        say("ended")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:5]))
