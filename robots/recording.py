"""Every episode on disk as soon as it ends, the invalid ones too: on a robot there is no second take."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from roboreward_gym.episode import Episode
from roboreward_gym.errors import NoEpisode, RobotFaultEpisode
from roboreward_gym.types import ProgressScore
from robots.disk import naming

INDEX = "episodes.jsonl"
RATINGS = "ratings.jsonl"
RESERVE = "reserve.partial"
MIN_EPISODE_BYTES = 10_000_000
"""Room for the first episode, whose size nobody knows: 50 frames of 192x256 pixels are 7 MB before compression."""
INVALID_KEPT = "the episode was abandoned before its end"

Observation = dict[str, np.ndarray]


class RecordEpisodes(gym.Wrapper[Observation, np.ndarray, Observation, np.ndarray]):
    """Writes each episode to a folder where it ends, and marks one that a fault has spoiled.

    Put it inside of the reward wrapper, so that an episode is safe before it is scored. The index
    `episodes.jsonl` has a line for each, also for one that was spoiled before its first step; `ratings.jsonl`
    has a line for each rating, of which the last one about an episode counts. While an episode is played its
    place on the disk is taken by a file of its size: a disk that is full ends the program before, not after it.

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
        self._reserved = 0
        self.last_path: Path | None = None
        """File of the episode that ended last; None if it had no step."""
        self.last_number = self._number - 1
        """Number of the episode that ended last."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Begin an episode; one that has not ended is kept as invalid.

        Raises:
            DiskError: There is no place for an episode; nothing has moved.
        """
        self._abandon(INVALID_KEPT)
        self._reserve()
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
            score: Score of a reward model.
            path: The episode's file; by default that of the last one.
        """
        path = path or self.last_path
        if path is None:
            raise NoEpisode(
                "No episode has ended that a score could be attached to. Finish one, or pass its path."
            )
        with naming(path):
            replace(Episode.load(path), score=score).save(path)

    def attach_rating(self, level: int | None, number: int | None = None) -> None:
        """Write a person's rating of an episode.

        Args:
            level: 1..5, or None for unknown.
            number: The episode's; by default that of the last one.
        """
        number = self.last_number if number is None else number
        write_rating(self._folder, number, level)

    def close(self) -> None:
        """Keep an episode that was interrupted, as invalid, and close the environment."""
        try:
            self._abandon(INVALID_KEPT)
        finally:  # an arm goes to sleep whatever the disk does
            (self._folder / RESERVE).unlink(missing_ok=True)
            super().close()

    def _reserve(self) -> None:
        """Take the place of an episode on the disk: as much as the largest so far, with its frames uncompressed."""
        path = self._folder / RESERVE
        with naming(path), path.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(self._reserved, MIN_EPISODE_BYTES))

    def _abandon(self, reason: str) -> None:
        if self._open:
            self._write(terminated=False, truncated=False, invalid=reason)

    def _write(self, *, terminated: bool, truncated: bool, invalid: str | None) -> None:
        self._open = False
        self.last_path, self.last_number = None, self._number
        task = str(self.env.get_wrapper_attr("task"))
        (self._folder / RESERVE).unlink(missing_ok=True)
        if self._actions:
            self.last_path = self._folder / f"episode-{self._number:06d}.npz"
            frames = np.stack(self._frames[: len(self._actions) + 1])
            self._reserved = max(self._reserved, frames.nbytes)
            with naming(self.last_path):
                Episode(
                    frames=frames,
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
        _append(self._folder / INDEX, line)
        self._number += 1


def write_rating(folder: Path, number: int, level: int | None) -> None:
    """Add a person's rating of an episode to a folder of episodes.

    Args:
        folder: Folder of a `RecordEpisodes`.
        number: The episode's.
        level: 1..5, or None for unknown.
    """
    _append(folder / RATINGS, {"episode": number, "level": level})


def read_ratings(folder: Path) -> dict[int, int | None]:
    """The ratings of a folder of episodes by number: the last one of each counts."""
    path = folder / RATINGS
    lines = path.read_text().splitlines() if path.exists() else []
    return {line["episode"]: line["level"] for line in map(json.loads, lines)}


def _append(path: Path, line: dict[str, Any]) -> None:
    with naming(path), path.open("a") as file:
        file.write(json.dumps(line) + "\n")
