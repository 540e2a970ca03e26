"""Every episode on disk as soon as it ends, the invalid ones too: on a robot there is no second take."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym.episode import Episode
from roboreward_gym.errors import NoEpisode, RobotFaultEpisode
from roboreward_gym.types import ProgressScore

INDEX = "episodes.jsonl"
INVALID_KEPT = "the episode was abandoned before its end"

Observation = dict[str, np.ndarray]


class RecordEpisodes(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Writes each episode to a folder where it ends, and marks one that a fault has spoiled.

    Put it inside of the reward wrapper, so that an episode is safe before it is scored. The index
    `episodes.jsonl` has a line for each, also for one that was spoiled before its first step.

    Args:
        env: Its observations hold `image` and `state`, and its info the executed `action`.
        folder: Made if it is missing; numbering goes on from what is in it.
    """

    def __init__(self, env: gym.Env[Observation, np.ndarray], folder: Path) -> None:
        super().__init__(env)
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        index = folder / INDEX
        self._number = len(index.read_text().splitlines()) if index.exists() else 0
        self._frames: list[np.ndarray] = []
        self._states: list[np.ndarray] = []
        self._actions: list[np.ndarray] = []
        self._rewards: list[float] = []
        self._seed: int | None = None
        self._open = False
        self.last_path: Path | None = None
        """File of the episode that ended last; None if it had no step."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; one that has not ended is kept as invalid."""
        self._abandon(INVALID_KEPT)
        observation, info = self.env.reset(seed=seed, options=options)
        self._frames, self._states = [observation["image"]], [observation["state"]]
        self._actions, self._rewards = [], []
        self._seed, self._open = seed, True
        return observation, info

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Step and note it.

        Raises:
            RobotFaultEpisode: From the environment; the episode is on disk, with the reason.
        """
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except RobotFaultEpisode as error:
            self._abandon(str(error))
            raise
        self._frames.append(observation["image"])
        self._states.append(observation["state"])
        self._actions.append(info["action"])
        self._rewards.append(float(reward))
        if terminated or truncated:
            self._write(terminated=terminated, truncated=truncated, invalid=None)
        return observation, float(reward), terminated, truncated, info

    def attach_score(self, score: ProgressScore, path: Path | None = None) -> None:
        """Write the score of an episode into its file.

        Args:
            score: Of a reward model.
            path: The episode's file; by default that of the last one.
        """
        path = path or self.last_path
        if path is None:
            raise NoEpisode(
                "No episode has ended that a score could be attached to. Finish one, or pass its path."
            )
        replace(Episode.load(path), score=score).save(path)

    def close(self) -> None:
        """Keep an episode that was interrupted, as invalid, and close the environment."""
        self._abandon(INVALID_KEPT)
        super().close()

    def _abandon(self, reason: str) -> None:
        if self._open:
            self._write(terminated=False, truncated=False, invalid=reason)

    def _write(self, *, terminated: bool, truncated: bool, invalid: str | None) -> None:
        self._open = False
        self.last_path = None
        task = str(self.env.get_wrapper_attr("task"))
        if self._actions:
            self.last_path = self._folder / f"episode-{self._number:06d}.npz"
            Episode(
                frames=np.stack(self._frames[: len(self._actions) + 1]),
                states=np.stack(self._states[: len(self._actions) + 1]),
                actions=np.stack(self._actions),
                env_rewards=np.asarray(self._rewards, np.float32),
                terminated=terminated,
                truncated=truncated,
                task=task,
                fps=float(self.env.metadata["render_fps"]),
                seed=self._seed,
                invalid=invalid,
            ).save(self.last_path)
        line = {
            "episode": self._number,
            "file": None if self.last_path is None else self.last_path.name,
            "task": task,
            "seed": self._seed,
            "steps": len(self._actions),
            "invalid": invalid,
        }
        with (self._folder / INDEX).open("a") as file:
            file.write(json.dumps(line) + "\n")
        self._number += 1
