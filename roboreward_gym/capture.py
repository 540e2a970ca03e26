"""Filming inside each environment of a vector, where an end can still be seen before its reset."""

from typing import Any, SupportsFloat

import gymnasium as gym
from gymnasium.core import ActType, ObsType

from roboreward_gym.portable import record_arguments
from roboreward_gym.recording import Camera, FrameFunction

CAPTURED = "roboreward/captured"
"""In the `info` of a reset: the environment films itself, and how many frames it holds at most."""

FILM = "roboreward/film"
"""In the `info` of the step that ends an episode: its `Film`. Taken out by the vector wrapper."""


class FrameCapture(
    gym.Wrapper[ObsType, ActType, ObsType, ActType], gym.utils.RecordConstructorArgs
):
    """Films each episode where it happens and hands the film over when it ends.

    The outermost wrapper of each environment of a vector, outside of the time limit, with
    `VLMRewardVectorWrapper` around the vector. A vector environment that resets in the same step
    leaves no other chance to see the end, and one of processes is sent each film once instead of
    each frame. It knows no judge, so none is loaded in a worker process.

    Args:
        env: One environment.
        frame_source: As of `VLMRewardWrapper`.
        max_frames: Most frames of an episode that are held; longer ones are thinned evenly.

    >>> envs = gym.make_vec(
    ...     "CartPole-v1", num_envs=2, vectorization_mode="sync", wrappers=[FrameCapture]
    ... )
    """

    def __init__(
        self,
        env: gym.Env[ObsType, ActType],
        *,
        frame_source: str | FrameFunction = "render",
        max_frames: int = 256,
    ) -> None:
        record_arguments(self, frame_source=frame_source, max_frames=max_frames)
        super().__init__(env)
        self._camera = Camera(frame_source, max_frames)
        self._max_frames = max_frames

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[ObsType, dict[str, Any]]:
        """Reset the environment and film its first frame."""
        self._camera.stop()
        observation, info = self.env.reset(seed=seed, options=options)
        self._camera.start(self.env, observation)
        return observation, {**info, CAPTURED: float(self._max_frames)}

    def step(self, action: ActType) -> tuple[ObsType, SupportsFloat, bool, bool, dict[str, Any]]:
        """Step and film; at the end of the episode the film is in `info`.

        Raises:
            NoFrames: The environment cannot be filmed.
        """
        film = self._camera.take(self.env)
        observation, reward, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        self._camera.record(film, self.env, observation, final=ended)
        if ended:
            info = {**info, FILM: film}
        return observation, reward, terminated, truncated, info
