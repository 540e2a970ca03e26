"""Every episode of a run on disk: what the reward model saw and said, and what the learner needs of it.

With these a finished run is scored by another reward model and learned again without the robot (`experiments.rescore`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from policies.player import EpisodeRecord
from roboreward_gym.episode import UNREADABLE, score_from_json, score_to_json
from roboreward_gym.errors import EpisodeFileError
from roboreward_gym.types import Clip, ProgressScore
from roboreward_gym.wrapper import VLMRewardWrapper
from robots.disk import naming

FORMAT = "played-episode-1"
PLAYED = "played"
"""Folder of a run's episodes; `training/` and `final/` are in it, and `base/` where it is not shared."""


@dataclass(frozen=True, eq=False)
class PlayedEpisode:
    """One episode that was played, scored and maybe learned from.

    Attributes:
        clip: What the reward model saw.
        score: What it said; None for nothing.
        record: What the learner saw, with the truth among its `logged` numbers if it is known.
        phase: `warm_up`, `learning`, `validation` or `evaluation`.
    """

    clip: Clip
    score: ProgressScore | None
    record: EpisodeRecord
    phase: str

    @classmethod
    def last_of(cls, env: VLMRewardWrapper, record: EpisodeRecord, phase: str) -> "PlayedEpisode":
        """The episode that `env` has played last.

        Raises:
            EpisodeFileError: It has no frames.
        """
        if env.last_clip is None:
            raise EpisodeFileError("No episode has ended that could be saved. Play one first.")
        return cls(env.last_clip, env.last_score, record, phase)

    def save(self, path: Path) -> None:
        """Write one compressed `.npz`, without pickle; the file appears whole or not at all."""
        clip, record = self.clip, self.record
        meta = {
            "format": FORMAT,
            "task": clip.task,
            "fps": clip.fps,
            "num_frames": clip.num_frames,
            "phase": self.phase,
            "terminated": record.terminated,
            "truncated": record.truncated,
            "seed": record.seed,
            "logged": record.logged,
            "score": score_to_json(self.score),
        }
        arrays: dict[str, Any] = {
            "meta": np.frombuffer(json.dumps(meta).encode(), np.uint8),
            "frames": clip.frames,
            "features": record.features.numpy(),
            "noise": record.noise.numpy(),
            "actions": record.actions.numpy(),
            "executed": record.executed,
            "rewards": record.rewards,
        }
        if clip.indices is not None:
            arrays["indices"] = np.asarray(clip.indices)
        partial = path.with_name(f"{path.name}.partial")
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                np.savez_compressed(file, **arrays)
            partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "PlayedEpisode":
        """Read what `save` wrote.

        Raises:
            EpisodeFileError: The file is cut short or something else.
        """
        with path.open("rb") as file:  # opened here: NumPy leaves a damaged file open
            try:
                with np.load(file, allow_pickle=False) as data:
                    return cls._from(json.loads(bytes(data["meta"])), dict(data))
            except UNREADABLE as error:
                raise EpisodeFileError(
                    f"{path} holds no readable episode ({type(error).__name__}: {error}). Delete the file."
                ) from error

    @classmethod
    def _from(cls, meta: dict[str, Any], data: dict[str, np.ndarray]) -> "PlayedEpisode":
        if meta["format"] != FORMAT:
            raise ValueError(f"it was written by another version than {FORMAT!r}")
        record = EpisodeRecord(
            features=torch.from_numpy(data["features"]),
            noise=torch.from_numpy(data["noise"]),
            actions=torch.from_numpy(data["actions"]),
            executed=data["executed"],
            rewards=data["rewards"],
            terminated=meta["terminated"],
            truncated=meta["truncated"],
            seed=meta["seed"],
            logged=meta["logged"],
        )
        indices, count = data.get("indices"), meta["num_frames"]
        clip = Clip(data["frames"], meta["task"], meta["fps"], indices=indices, num_frames=count)
        return cls(clip, score_from_json(meta["score"]), record, meta["phase"])


def training_path(run: Path, number: int) -> Path:
    """File of training episode `number` of the run in folder `run`."""
    return run / PLAYED / "training" / f"{number:06d}.npz"
