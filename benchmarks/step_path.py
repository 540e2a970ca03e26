"""Which functions of the package one step of the wrappers passes, and in how many files.

    python -m benchmarks.step_path

A short episode whose frames an environment renders is scored by a model that needs no time. Each function of
`roboreward_gym` that a step calls is counted once; comprehensions and lambdas are parts of the function that they stand in.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import gymnasium as gym
import numpy as np

import roboreward_gym
from roboreward_gym import (
    Clip,
    FrameCapture,
    ProgressScore,
    VLMRewardVectorWrapper,
    VLMRewardWrapper,
)

PACKAGE = Path(roboreward_gym.__file__).parent
STEPS = 4


class ConstantModel:
    """Scores every clip alike."""

    def score(self, clips: Sequence[Clip]) -> list[ProgressScore]:
        """Level 3 for each."""
        return [ProgressScore(3, np.full(5, 0.2)) for _ in clips]


class Painted(gym.Env[np.ndarray, Any]):
    """Ends each episode after `STEPS` steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 (as in Gymnasium)
    render_mode = "rgb_array"
    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin."""
        super().reset(seed=seed)
        self.steps = 0
        return np.zeros(1, np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Count."""
        self.steps += 1
        return np.zeros(1, np.float32), 0.0, False, self.steps == STEPS, {}

    def render(self) -> np.ndarray:
        """A frame that changes."""
        return np.full((8, 8, 3), self.steps, np.uint8) + np.eye(8, dtype=np.uint8)[..., None]


def functions_of(call: Callable[[], object]) -> list[tuple[str, str]]:
    """File and name of each function of the package that a call passes, in the order of their first calls."""
    found: dict[tuple[str, str], None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        code = frame.f_code
        path = Path(code.co_filename)
        if (
            event == "call"
            and path.parent == PACKAGE
            and "<" not in code.co_qualname.rpartition(".")[2]
        ):
            found[path.stem, code.co_qualname] = None

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return list(found)


def last_step(env: Any, action: Any) -> list[tuple[str, str]]:
    """The functions of the step that ends an episode."""
    env.reset(seed=0)
    for _ in range(STEPS - 1):
        env.step(action)
    return functions_of(lambda: env.step(action))


def report(name: str, found: list[tuple[str, str]]) -> None:
    """Print one row, and the functions."""
    files = sorted({file for file, _ in found})
    print(f"{name}: {len(found)} functions in {len(files)} files ({', '.join(files)})")
    for file, function in found:
        print(f"    {file}: {function}")


def main() -> None:
    """Count the steps of both wrappers."""
    dense: dict[str, Any] = {"score_every": 2, "shaping": "potential"}
    for title, settings in (("", {}), (", dense rewards", dense)):
        env = VLMRewardWrapper(Painted(), ConstantModel(), "wait for the end", **settings)
        report(f"the step that ends an episode{title}", last_step(env, 0))
        envs = VLMRewardVectorWrapper(
            gym.vector.SyncVectorEnv([lambda: FrameCapture(Painted())] * 2),
            ConstantModel(),
            "wait for the end",
            **settings,
        )
        report(
            f"the same in a vector with FrameCapture{title}", last_step(envs, np.zeros(2, np.int64))
        )


if __name__ == "__main__":
    main()
