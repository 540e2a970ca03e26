"""What deferred scoring saves, and what it leaves behind: waiting, the exit status with a score pending, and memory.

Run as `python -m benchmarks.deferred_scoring`; it records `exit_status_pending` and
`memory_mb_after_120_deferred_episodes` in `benchmarks/results/foundations.json`, and in
`benchmarks/results/side_by_side.json` how long the step that ends an episode takes, beside scoring that waits.
"""

import gc
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.foundations import record
from benchmarks.side_by_side import record_row
from roboreward_gym import Clip, ProgressScore, VLMRewardVectorWrapper, VLMRewardWrapper
from roboreward_gym.shaping import Scoring

ROOT = Path(__file__).resolve().parents[1]
EPISODES = 120
STEPS = 60
PENDING = "pending"
SCORE_S = 0.5
HOMING_S = 1.0
ROUNDS = 5


class Noise(gym.Env[np.ndarray, Any]):
    """Shows noise, 60 frames of 256x192 an episode: 9 MB."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012
    observation_space = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)
    render_mode = "rgb_array"

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self._steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Do nothing, and end after 60 steps."""
        self._steps += 1
        return np.zeros(1, np.float32), 0.0, False, self._steps == STEPS, {}

    def render(self) -> np.ndarray:
        """Noise."""
        return self.np_random.integers(0, 256, (192, 256, 3), np.uint8)


class Three:
    """Always level 3."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score each clip."""
        return [ProgressScore(3) for _ in clips]


class Slow(Three):
    """Takes its time, as a model of some billion parameters does."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Score each clip, later."""
        time.sleep(SCORE_S)
        return super().score(clips)


def ending_step_ms(scoring: Scoring) -> float:
    """Median wall time of the step that ends an episode."""
    env = VLMRewardWrapper(Noise(), Slow(), "lift the cup", scoring=scoring)
    times = []
    for _ in range(ROUNDS):
        env.reset(seed=0)
        for _ in range(STEPS):
            begin = time.perf_counter()
            env.step(0)
        times.append(1e3 * (time.perf_counter() - begin))
    env.reset()  # the last score is waited for
    return round(median(times), 3)


def waiting_row() -> None:
    """The step that ends an episode, with both ways of scoring."""
    ours, theirs = ending_step_ms("deferred"), ending_step_ms("immediate")
    record_row(
        f"step that ends an episode, score of {SCORE_S} s",
        "scoring that waits",
        "",
        {"ratio": round(theirs / ours, 1), "ours_ms": ours, "peer_ms": theirs, "clock": "wall"},
        goal=10.0,
        command="python -m benchmarks.deferred_scoring",
    )


class Arm(Noise):
    """Drives back to its start for a second when it is reset, as an arm does."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Drive back."""
        time.sleep(HOMING_S)
        return super().reset(seed=seed, options=options)


def waited_ms(scoring: Scoring) -> float:
    """Median wall time that the robot waits for a score: the ending step and the reset, less what they take without one."""
    env = VLMRewardWrapper(Arm(), Slow(), "lift the cup", scoring=scoring)
    bare = Arm()
    env.reset(seed=0), bare.reset(seed=0)
    waits = []
    for _ in range(ROUNDS):
        for _ in range(STEPS - 1):
            env.step(0)
        waits.append(_ending_s(env) - _ending_s(bare))
    return round(1e3 * median(waits), 1)


def _ending_s(env: gym.Env[Any, Any]) -> float:
    begin = time.perf_counter()
    env.step(0)
    env.reset()
    return time.perf_counter() - begin


def robot_row() -> None:
    """What an arm waits for, which drives back to its start after each episode."""
    ours, theirs = waited_ms("deferred"), waited_ms("immediate")
    record_row(
        f"robot waits for a score of {SCORE_S} s, reset takes {HOMING_S} s",
        "scoring that waits",
        "",
        {
            # Below a tenth of a millisecond there is nothing to compare.
            "ratio": round(theirs / max(ours, 0.1), 1),
            "ours_ms": ours,
            "peer_ms": theirs,
            "clock": "wall",
        },
        goal=10.0,
        command="python -m benchmarks.deferred_scoring",
    )


def leave_pending() -> None:
    """Play one episode with roboreward-nano as the reward model, and end while it scores."""
    env = VLMRewardWrapper(
        Noise(), "roboreward-nano?abstain=never", "lift the cup", scoring="deferred"
    )
    env.reset(seed=0)
    info: dict[str, Any] = {}
    while "roboreward/pending" not in info:
        info = env.step(0)[4]
    print(PENDING, flush=True)


def exit_status_pending() -> int:
    """Exit status of a process that ends while a score is pending in torch."""
    command = [sys.executable, "-m", "benchmarks.deferred_scoring", PENDING]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if PENDING not in ended.stdout:
        raise RuntimeError(f"No score was pending when the process ended. {ended.stderr}")
    return ended.returncode


def resident_mb() -> float:
    """Memory of this process in [MB]."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() / 1e6


def memory_mb() -> dict[str, float]:
    """Memory before, and after 120 deferred episodes in two environments whose scores nobody reads."""
    envs = VLMRewardVectorWrapper(
        gym.vector.SyncVectorEnv([Noise, Noise]), Three(), "lift the cup", scoring="deferred"
    )
    envs.reset(seed=0)
    before, ended = resident_mb(), 0
    while ended < EPISODES:
        infos = envs.step(np.zeros(2, int))[4]
        ended += int(infos.get("_roboreward/pending", np.zeros(2)).sum())
    gc.collect()
    after = resident_mb()
    envs.close()
    return {"before": round(before, 1), "after": round(after, 1)}


def main() -> None:
    """Measure all and record it."""
    waiting_row()
    robot_row()
    status, memory = exit_status_pending(), memory_mb()
    print(f"exit status {status}; memory {memory['before']} -> {memory['after']} MB")
    record(exit_status_pending=status, memory_mb_after_120_deferred_episodes=memory)


if __name__ == "__main__":
    leave_pending() if PENDING in sys.argv else main()
