"""PushT of gym-pusht in short episodes, for `python -m reward_models.nano.teach`: needs `pip install gym-pusht`.

`PushTShort-v0` differs from `gym_pusht/PushT-v0` in where an episode begins and how long it lasts: the T has nearly the
angle of its outline and lies `offset` pixels beside it, and there are 32 steps of 0.1 s. The environment ends an episode by
itself at a coverage of 95 %. Its pictures, physics, observation and action are those of gym-pusht.
"""

from collections.abc import Callable
from typing import Any

import gym_pusht  # noqa: F401
import gymnasium as gym
import numpy as np

ID = "PushTShort-v0"
STEPS = 32
"""Steps of an episode, of 0.1 s each."""
CENTRE = np.array([0.0, 45.0])
"""Centre of mass of the T in its own frame, in [px]."""
GOAL = np.array([256.0, 256.0])
GOAL_ANGLE = np.pi / 4
BEHIND = 95.0
"""How far from the centre of the T the pusher starts a push, in [px]: beyond its longest side."""
TURNING = 70.0
"""How far beside the centre of the T it is pushed to turn it, in [px/rad]."""
HELD = 8
"""Steps for which a random target is held: the pusher reaches it."""


class NearOutline(gym.Wrapper):
    """Begins each episode beside the outline.

    Args:
        env: PushT with `state` observations.
        offset: Least and largest distance from the outline at the start, in [px].
        turn: Largest difference to the angle of the outline, in [rad].
    """

    def __init__(
        self, env: gym.Env, offset: tuple[float, float] = (70.0, 130.0), turn: float = 0.15
    ) -> None:
        super().__init__(env)
        self._offset, self._turn = tuple(offset), turn

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Draw a start; the pusher stands on the side of the T that it can push from, or anywhere around."""
        gym.Env.reset(self.unwrapped, seed=seed)
        rng = self.unwrapped.np_random
        distance, direction = rng.uniform(*self._offset), rng.uniform(-np.pi, np.pi)
        block = GOAL + distance * np.array([np.cos(direction), np.sin(direction)])
        angle = GOAL_ANGLE + rng.uniform(-self._turn, self._turn)
        around = rng.uniform(-np.pi, np.pi)
        agent = centre(block, angle) + 110 * np.array([np.cos(around), np.sin(around)])
        # PushT moves the T to this place first and then turns it about its centre of mass, not about its own origin.
        state = [*np.clip(agent, 30, 482), *(centre(block, angle) - CENTRE), angle]
        return self.env.reset(options={**(options or {}), "reset_to_state": state})


def make(
    offset: tuple[float, float] = (70.0, 130.0), turn: float = 0.15, **settings: Any
) -> gym.Env:
    """Make PushT without its own time limit, beginning beside the outline."""
    env = gym.make("gym_pusht/PushT-v0", max_episode_steps=-1, disable_env_checker=True, **settings)
    return NearOutline(env, offset, turn)


def centre(position: np.ndarray, angle: float) -> np.ndarray:
    """Centre of mass of the T in the picture's frame, in [px]."""
    c, s = np.cos(angle), np.sin(angle)
    return np.asarray(position) + np.array([[c, -s], [s, c]]) @ CENTRE


def wander(env: gym.Env, rng: np.random.Generator) -> Callable[[Any], np.ndarray]:
    """Go to random places around the T, one every 0.8 s."""
    step, target = 0, np.zeros(2)

    def act(observation: np.ndarray) -> np.ndarray:
        nonlocal step, target
        if step % HELD == 0:
            target = np.clip(
                centre(observation[2:4], observation[4]) + rng.uniform(-130, 130, 2), 20, 492
            )
        step += 1
        return target.astype(np.float32)

    return act


def push(env: gym.Env, rng: np.random.Generator) -> Callable[[Any], np.ndarray]:
    """Go around the T to its far side, then push it towards the outline, a little beside the middle."""
    beside = rng.normal(0, 4, 2)

    def act(observation: np.ndarray) -> np.ndarray:
        agent, middle = observation[:2], centre(observation[2:4], observation[4])
        way = centre(GOAL, GOAL_ANGLE) - middle
        distance = float(np.linalg.norm(way))
        if distance < 4:
            return agent.astype(np.float32)
        ahead = way / distance
        # A push beside the middle turns the T as well.
        missing = (GOAL_ANGLE - observation[4] + np.pi) % (2 * np.pi) - np.pi
        middle = middle - (TURNING * missing) * np.array([-ahead[1], ahead[0]]) + beside
        off = agent - middle
        along, across = off @ ahead, off - (off @ ahead) * ahead
        if along < 0 and np.linalg.norm(across) < 20:
            target = agent + ahead * min(distance + 6, 30) - 0.7 * across
        elif along < -50:
            target = middle - BEHIND * ahead
        else:  # around it
            turned = np.array([-ahead[1], ahead[0]])
            side = turned if off @ turned > 0 else -turned
            target = middle + BEHIND * (side - 0.9 * ahead)
        return np.clip(target, 20, 492).astype(np.float32)

    return act


gym.register(ID, entry_point=make, max_episode_steps=STEPS)
