"""Simulators that step many environments at once without being vector environments of Gymnasium."""

from typing import Any

import gymnasium as gym

from roboreward_gym.errors import InvalidSetting


class BatchedEnv(gym.vector.VectorEnv):
    """A `gym.Env` whose every array is a batch, such as those of Isaac Lab, as a vector environment.

    Its `metadata["autoreset_mode"]` must say when ended environments are reset; with same-step
    autoreset the last observations must be in the infos, as `final_obs` (Isaac Lab:
    `compute_final_obs=True` in the environment's configuration).

    Args:
        env: Its `unwrapped` has a number `num_envs`.

    Raises:
        InvalidSetting: It is another environment, or its metadata has no autoreset mode.
    """

    def __init__(self, env: Any) -> None:
        inner = env.unwrapped
        if not isinstance(getattr(inner, "num_envs", None), int):
            raise InvalidSetting(
                f"{type(env).__name__} is not a vector environment. Use VLMRewardWrapper for a single "
                "one, or make several with gym.make_vec."
            )
        if "autoreset_mode" not in (env.metadata or {}):
            raise InvalidSetting(
                f"{type(inner).__name__} does not say when it resets an environment whose episode "
                "ended. Set env.unwrapped.metadata['autoreset_mode'] to the member of "
                "gymnasium.vector.AutoresetMode that is true of it."
            )
        self.env = env
        self.num_envs = inner.num_envs
        self.metadata, self.spec = env.metadata, env.spec
        self.render_mode = env.render_mode
        self.observation_space, self.action_space = env.observation_space, env.action_space
        self.single_observation_space = getattr(
            inner, "single_observation_space", env.observation_space
        )
        self.single_action_space = getattr(inner, "single_action_space", env.action_space)

    @property
    def unwrapped(self) -> Any:
        """The simulator itself, which libraries for it ask for."""
        return self.env.unwrapped

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> Any:
        """Reset all environments."""
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> Any:
        """Step all environments."""
        return self.env.step(actions)

    def render(self) -> Any:
        """Return what the simulator renders."""
        return self.env.render()

    def close_extras(self, **kwargs: Any) -> None:
        """Close the simulator."""
        self.env.close()
