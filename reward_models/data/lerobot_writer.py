"""Writing of our episodes as a LeRobot data set (v3); needs the extra `lerobot`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from roboreward_gym.episode import Episode
from roboreward_gym.errors import EpisodeFileError
from roboreward_gym.rewards import RewardMap, as_reward_map
from roboreward_gym.types import LEVELS

CAMERA = "observation.images.top"


def write_dataset(
    folder: Path,
    episodes: Iterable[Episode],
    *,
    reward_map: str | RewardMap | None = None,
    robot_type: str | None = None,
    camera: str = CAMERA,
    use_videos: bool = True,
) -> LeRobotDataset:
    """Write episodes as a LeRobot data set (v3).

    A row per frame: observation, the action executed after it, and the reward of that action. After
    the last frame nothing was done, but it shows the outcome, so it gets a row too, whose action
    repeats the one before, as LeRobot itself fills up chunks of actions.

    Args:
        folder: New folder.
        episodes: All with the same frame rate and shapes.
        reward_map: Turns each episode's score into `next.reward` of its last step, as
            `VLMRewardWrapper` does, with `next.success` for level 5. None leaves both out; the
            environment's own reward is in `env_reward` in any case.
        robot_type: Noted in the metadata.
        camera: Name of the feature with the frames.
        use_videos: Encode frames as video, else as PNG.

    Raises:
        EpisodeFileError: No episodes, different shapes or rates, or no readable score to map.
    """
    dataset: LeRobotDataset | None = None
    features: dict[str, Any] = {}
    for number, episode in enumerate(episodes):
        rows = _rows(episode, number, camera, reward_map)
        described = _features(rows[0], camera, use_videos=use_videos)
        if dataset is None:
            features = described
            fps = _whole_fps(episode.fps)
            dataset = LeRobotDataset.create(
                f"local/{folder.name}",
                fps,
                features,
                root=folder,
                robot_type=robot_type,
                use_videos=use_videos,
                # Without it LeRobot tries torchcodec, and complains for 60 lines where FFmpeg is missing.
                video_backend="pyav",
            )
        if described != features or episode.fps != dataset.meta.fps:
            raise EpisodeFileError(
                f"Episode {number} has other shapes or another rate than the first one. Write it to a data set of its own."
            )
        for row in rows:
            dataset.add_frame(row)
        dataset.save_episode()
    if dataset is None:
        raise EpisodeFileError("There are no episodes to write. Pass at least one.")
    dataset.finalize()
    return dataset


def _rows(
    episode: Episode, number: int, camera: str, reward_map: str | RewardMap | None
) -> list[dict[str, Any]]:
    steps = len(episode)
    rewards = np.zeros(steps + 1, np.float32)
    success = False
    if reward_map is not None:
        score = episode.score
        if score is None or score.level is None:
            raise EpisodeFileError(
                f"Episode {number} has no readable score to make a reward of: {score}. "
                "Score it first, or leave out reward_map."
            )
        rewards[steps - 1] = as_reward_map(reward_map)(score)
        success = score.level == LEVELS[-1]
    rows = []
    for t in range(steps + 1):
        row = {
            "observation.state": np.asarray(episode.states[t], np.float32),
            camera: episode.frames[t],
            "action": np.asarray(episode.actions[min(t, steps - 1)], np.float32),
            "env_reward": np.array([episode.env_rewards[t] if t < steps else 0.0], np.float32),
            "next.done": np.array([t >= steps - 1]),
            "task": episode.task,
        }
        if reward_map is not None:
            row["next.reward"] = rewards[t : t + 1]
            row["next.success"] = np.array([success and t >= steps - 1])
        rows.append(row)
    return rows


def _features(row: dict[str, Any], camera: str, *, use_videos: bool) -> dict[str, Any]:
    features = {}
    for name, value in row.items():
        if name == "task":
            continue
        image = name == camera
        dtype = ("video" if use_videos else "image") if image else str(value.dtype)
        names = ["height", "width", "channels"] if image else None
        features[name] = {"dtype": dtype, "shape": value.shape, "names": names}
    return features


def _whole_fps(fps: float) -> int:
    if fps != round(fps):
        raise EpisodeFileError(f"LeRobot takes a whole number of frames per second, not {fps}.")
    return round(fps)
