"""Run by `make build` in an environment that holds the wheel, numpy and gymnasium, and nothing else.

It proves that the plugin needs neither the checkout nor a heavy library, that it works on an
environment that has nothing to do with robots, and that asking for the shipped reward model says what
to install.
"""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

HEAVY = ("torch", "transformers", "diffusers", "mujoco", "cv2", "PIL", "matplotlib", "tqdm", "tyro")
CHECKOUT_ONLY = ("robots", "policies", "experiments", "benchmarks", "tests")


class Lamp(gym.Env):
    """The picture is as bright as the actions so far; ends after four steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 5}  # noqa: RUF012 - gymnasium's way
    action_space = gym.spaces.Discrete(2)
    observation_space = gym.spaces.Box(0, 1, (1,), np.float32)
    render_mode = "rgb_array"

    def reset(self, **kwargs: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Switch off."""
        super().reset(**kwargs)
        self.steps, self.light = 0, 0
        return np.zeros(1, np.float32), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Switch on a little more, or not; the reward of its own is a decoy."""
        self.steps, self.light = self.steps + 1, self.light + int(action)
        return np.full(1, self.light / 4, np.float32), 99.0, False, self.steps == 4, {}

    def render(self) -> np.ndarray:
        """An evenly lit picture."""
        return np.full((32, 48, 3), 50 * self.light, np.uint8)


def scored_reward(action: int) -> float:
    """Reward of an episode of one action, by a reward model that goes by the light in the last frame."""
    from roboreward_gym import Clip, ProgressScore, VLMRewardWrapper

    class LightMeter:
        def score(self, clips: list[Clip]) -> list[ProgressScore]:
            return [ProgressScore(level=1 + int(c.frames[-1].mean()) // 50) for c in clips]

    env = VLMRewardWrapper(Lamp(), LightMeter(), "light the lamp")
    env.reset(seed=0)
    rewards = [float(env.step(action)[1]) for _ in range(4)]
    assert rewards[:3] == [0.0, 0.0, 0.0], rewards
    return rewards[-1]


def message_of_missing_extra() -> str:
    """What the plugin says when the shipped model is asked for without its libraries."""
    from roboreward_gym import VLMRewardWrapper
    from roboreward_gym.errors import RoboRewardError

    try:
        env = VLMRewardWrapper(Lamp(), "roboreward-nano", "light the lamp")
        env.reset()
        for _ in range(4):
            env.step(1)
    except (RoboRewardError, ImportError) as error:
        return str(error)
    raise AssertionError("A model was loaded, where a message had to name the extra to install.")


def readme_example() -> str:
    """The first example of the README, which promises to run from the wheel alone."""
    text = Path("README.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]


def main() -> None:
    """Fails by an assertion."""
    installed = [name for name in (*HEAVY, *CHECKOUT_ONLY) if importlib.util.find_spec(name)]
    assert not installed, f"The environment is not bare: {installed} are installed."
    assert scored_reward(1) == 1.0
    assert scored_reward(0) == 0.0
    example: dict[str, Any] = {}
    exec(compile(readme_example(), "README.md", "exec"), example)
    assert example["terminated"], "The example of the README did not play an episode to its end."
    message = message_of_missing_extra()
    assert ".[models]" in message, message
    loaded = [name for name in HEAVY if name in sys.modules]
    assert not loaded, loaded
    print(f"bare wheel: ok on Python {sys.version_info.major}.{sys.version_info.minor}")


if __name__ == "__main__":
    main()
