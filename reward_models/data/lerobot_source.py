"""LeRobot data sets as examples: each episode by its `episode_index`, without a label unless its rows have one."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from reward_models.data.example import Example, InvalidSource, Item, Skipped, Video
from reward_models.data.lerobot_folder import InvalidDataSet
from reward_models.data.lerobot_reader import LeRobotEpisodes
from reward_models.data.sources import ReadOptions
from reward_models.data.video_file import all_frames
from roboreward_gym.types import LEVELS

SUCCESS = "next.success"


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Yield every episode: a success where `next.success` says so at its end, else without a reward.

    Raises:
        InvalidSource: No data set, or several cameras and none named.
    """
    try:
        episodes = LeRobotEpisodes.open(path, options.camera)
    except InvalidDataSet as error:
        raise InvalidSource(str(error).replace("--camera", "--read.camera")) from error
    return (_episode(path, episodes, index, options) for index in episodes.indices)


def _episode(path: Path, episodes: LeRobotEpisodes, index: int, options: ReadOptions) -> Item:
    name = f"{path.name}_episode_{index:06d}"
    try:
        task = options.task or episodes.task(index)
        source = episodes.source(index)
    except InvalidDataSet as error:
        return Skipped(name, "no_task", str(error).replace("--task", "--read.task"))
    success = _succeeded(episodes, index)
    if success is False:
        return Skipped(name, "failed_episode", "it is marked as a failure, and of no known level")
    return Example(
        video=Video(f"{path}#{index}", partial(all_frames, source)),
        task=task,
        reward=LEVELS[-1] if success else None,
        subset=options.subset or path.name,
        source_episode=name,
        kind="original",
        original_task=task,
        licence=options.licence or "",
    )


def _succeeded(episodes: LeRobotEpisodes, index: int) -> bool | None:
    """Whether an episode ended in success; None if its rows do not tell."""
    try:
        ended = episodes.folder.rows(index, [SUCCESS])[SUCCESS][-1].as_py()
        return None if ended is None else bool(ended)
    except (OSError, ValueError, KeyError, IndexError):
        return None
