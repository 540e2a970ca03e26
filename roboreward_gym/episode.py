"""The one thing that is saved to disk: demonstrations, replay, videos and reward data start here."""

import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from roboreward_gym.errors import EpisodeFileError, InvalidClip
from roboreward_gym.types import Clip, ProgressScore

FORMAT = "roboreward-episode-1"
ARRAYS = ("frames", "states", "actions", "env_rewards")

# What a file that is cut short, damaged, or something else altogether makes NumPy and json raise.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    KeyError,
    AttributeError,
    TypeError,
    ValueError,
    NotImplementedError,  # a flag of the archive that only damage sets
    OSError,  # a place in the file that is not there
)


@dataclass(frozen=True, eq=False)
class Episode:
    """One episode, as it was executed.

    Attributes:
        frames: `(T+1, H, W, 3)` uint8 RGB, the reset frame first.
        states: `(T+1, D)` float32 state of the robot.
        actions: `(T, A)` float32, the actions that were *executed*.
        env_rewards: `(T,)` float32 of the environment, kept apart from any score.
        terminated: The environment reached an end of its own.
        truncated: The time limit, or another outer stop, ended the episode.
        task: The instruction that the robot was given.
        fps: Control rate in [Hz].
        seed: Seed of the reset, if known.
        score: What a reward model answered, once one has.
        invalid: Why the episode must not be scored or learned from, such as a fault of the robot;
            None for one that may.
    """

    frames: np.ndarray
    states: np.ndarray
    actions: np.ndarray
    env_rewards: np.ndarray
    terminated: bool
    truncated: bool
    task: str
    fps: float
    seed: int | None = None
    score: ProgressScore | None = None
    invalid: str | None = None

    def __post_init__(self) -> None:
        steps = len(self.actions)
        for name, length in (("frames", steps + 1), ("states", steps + 1), ("env_rewards", steps)):
            if len(getattr(self, name)) != length:
                raise EpisodeFileError(
                    f"{steps} actions need {length} {name}, got {len(getattr(self, name))}. "
                    "An episode holds the reset frame and one more per step."
                )
        if steps == 0:
            raise EpisodeFileError("The episode has no executed action. Record at least one step.")
        for name, dimensions in (("states", 2), ("actions", 2), ("env_rewards", 1)):
            if getattr(self, name).ndim != dimensions:
                raise EpisodeFileError(
                    f"{name} must have {dimensions} dimensions, got shape "
                    f"{getattr(self, name).shape}. Put time first."
                )
        for name in ("states", "actions"):
            if not np.isfinite(getattr(self, name)).all():
                raise EpisodeFileError(
                    f"The {name} contain NaN or infinity. Record the episode again."
                )
        if self.invalid is not None and self.score is not None:
            raise EpisodeFileError(
                f"An invalid episode ({self.invalid}) cannot have a score, which would say nothing about the "
                "policy. Leave score out."
            )
        try:
            Clip(self.frames, self.task, self.fps)
        except InvalidClip as error:
            raise EpisodeFileError(f"An episode has to be a clip as well. {error}") from error

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def clip(self) -> Clip:
        """What a reward model sees of this episode."""
        return Clip(self.frames, self.task, self.fps)

    def save(self, path: Path) -> None:
        """Write one compressed `.npz`, without pickle; the file appears whole or not at all."""
        meta: dict[str, Any] = {
            "format": FORMAT,
            "terminated": self.terminated,
            "truncated": self.truncated,
            "task": self.task,
            "fps": self.fps,
            "seed": self.seed,
            "score": score_to_json(self.score),
            "invalid": self.invalid,
        }
        header = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        arrays = {name: getattr(self, name) for name in ARRAYS}
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as file:
            np.savez_compressed(file, meta=header, **arrays)
        partial.replace(path)

    @classmethod
    def load(cls, path: Path) -> "Episode":
        """Read what `save` wrote.

        Raises:
            EpisodeFileError: The file is cut short or is not an episode.
        """
        # Opened here, because NumPy leaves the files it opened open where they are damaged.
        with path.open("rb") as file:
            try:
                with np.load(file, allow_pickle=False) as data:
                    meta = json.loads(bytes(data["meta"]))
                    arrays = {name: data[name] for name in ARRAYS}
                if meta.pop("format") != FORMAT:
                    raise EpisodeFileError(f"It was written by another version than {FORMAT!r}.")
                return cls(**arrays, **{**meta, "score": score_from_json(meta["score"])})
            except UNREADABLE as error:
                raise EpisodeFileError(
                    f"{path} holds no readable episode ({type(error).__name__}: {error}). "
                    "Delete the file and record it again."
                ) from error


def score_to_json(score: ProgressScore | None) -> dict[str, Any] | None:
    """A score as JSON; None for no score."""
    if score is None:
        return None
    probabilities = None if score.probabilities is None else [float(p) for p in score.probabilities]
    return {
        "level": None if score.level is None else int(score.level),
        "probabilities": probabilities,
        "off_format": float(score.off_format),
        "text": score.text,
        "manifest": dict(score.manifest),
    }


def score_from_json(data: dict[str, Any] | None) -> ProgressScore | None:
    """Read what `score_to_json` gave."""
    if data is None:
        return None
    fields: dict[str, Any] = dict(data)
    if fields["probabilities"] is not None:
        fields["probabilities"] = np.asarray(fields["probabilities"])
    return ProgressScore(**fields)
