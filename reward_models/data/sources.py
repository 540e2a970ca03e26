"""Where examples come from: `KIND:PATH` names a reader and what it reads."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from reward_models.data.example import InvalidSource, Item
from roboreward_gym.errors import InvalidSetting, UnknownName

PROGRESS_THRESHOLDS = (10.0, 40.0, 70.0, 100.0)
"""Progress in percent from which on an episode of RoboArena has level 2, 3, 4 and 5. The authors' own are not public; a
level 5 means full success here, as 13 % of its episodes have 100 and 16 % of their rows are labelled 5."""


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read; what does not apply to a kind of source is ignored there."""

    camera: str | None = None
    """Camera, or key of the images; needed where a source has several and none is known as the main one."""
    task: str | None = None
    """Task of episodes that have none of their own."""
    fps: float | None = None
    """Frames per second of recordings that do not tell, in [Hz]."""
    split: str | None = None
    """Split of the source to read; all of them by default."""
    subset: str | None = None
    """Name of the subset, instead of the source's own."""
    licence: str | None = None
    """Licence of the videos, where the source does not tell."""
    progress_thresholds: tuple[float, float, float, float] = PROGRESS_THRESHOLDS
    """RoboArena: progress in percent from which on the level is 2, 3, 4 and 5."""

    def __post_init__(self) -> None:
        bounds = (0.0, *self.progress_thresholds, 100.0)
        if len(bounds) != 6 or any(a > b for a, b in itertools.pairwise(bounds)):
            raise InvalidSetting(
                f"The four progress thresholds must increase within 0..100, not {self.progress_thresholds}."
            )
        if self.fps is not None and not 0 < self.fps <= 1000:
            raise InvalidSetting(f"The frame rate must lie in (0, 1000] Hz, not {self.fps}.")


Reader = Callable[[Path, ReadOptions], Iterator[Item]]

READERS: Mapping[str, str] = {
    "published": "reward_models.data.published:read",
    "rlds": "reward_models.data.rlds:read",
    "lerobot": "reward_models.data.lerobot_source:read",
    "roboarena": "reward_models.data.roboarena:read",
    "simulator": "reward_models.data.simulator:read",
    "csv": "reward_models.data.video_table:read",
}
"""Kind -> function that reads it; modules are imported when they are needed."""


def read_source(source: str, options: ReadOptions = ReadOptions()) -> Iterator[Item]:
    """Read `KIND:PATH`, for example `rlds:data/bridge_dataset/1.0.0`.

    Raises:
        UnknownName: No such kind.
        InvalidSource: Nothing there, or not what the kind promises.
    """
    kind, colon, path = source.partition(":")
    if not colon or not path:
        raise InvalidSource(
            f"{source!r} is not KIND:PATH. Kinds: {', '.join(READERS)}; for example csv:videos.csv."
        )
    if kind not in READERS:
        raise UnknownName("kind of source", kind, READERS)
    if not Path(path).exists():
        raise InvalidSource(f"There is nothing at {path}.")
    module, function = READERS[kind].split(":")
    return getattr(import_module(module), function)(Path(path), options)
