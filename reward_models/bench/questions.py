"""What a reward model is asked in a benchmark: videos with tasks and true levels, from any labelled data.

`--data` takes folders of simulated reward data, folders in the published RoboReward layout, and `KIND:PATH` of any reader
of `reward_models.data.sources`. Rows that show the same video share a `video`; rows that are not independent share a `unit`.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from reward_models.data.example import Example, Skipped
from reward_models.data.published import METADATA, SPLIT_FOLDERS
from reward_models.data.reward_data import RewardData, Split
from reward_models.data.sampling import proportional_sample
from reward_models.data.sources import ReadOptions, read_source
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import Clip


class InvalidBenchmark(RoboRewardError, ValueError):
    """Data that nothing can be measured on."""


@dataclass(frozen=True)
class Question:
    """One labelled pair of a video and a task.

    Attributes:
        key: Name of the question, the same in every run on the same data.
        video: Questions with the same video have the same one.
        unit: Questions that are not independent have the same one: they share a source episode or a video.
        subset: Macro errors are plain means over subsets.
        kind: How the pair came about, such as `counterfactual`.
        task: The task.
        level: True level, 1..5.
    """

    key: str
    video: str
    unit: str
    subset: str
    kind: str
    task: str
    level: int


@dataclass(frozen=True, eq=False)
class Questions:
    """Questions and their videos.

    Attributes:
        rows: The questions.
        read: Decodes the video of a question; raises a `RoboRewardError` if it cannot be read.
        skipped: What of the data is no question, and why.
    """

    rows: tuple[Question, ...]
    read: Callable[[Question], Clip]
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if not self.rows:
            why = "; ".join(f"{s.where}: {s.why}" for s in self.skipped[:3])
            raise InvalidBenchmark(
                f"There is no labelled example in the data{f' ({why})' if why else ''}. Name a folder or a table "
                "with videos, tasks and levels."
            )

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def subsets(self) -> list[str]:
        """Subset of each question."""
        return [row.subset for row in self.rows]

    def sample(self, limit: int | None, seed: int) -> "Questions":
        """Draw `limit` questions in proportion from every subset; all of them without a limit."""
        chosen = proportional_sample(self.subsets, limit or len(self.rows), seed)
        return replace(self, rows=tuple(self.rows[i] for i in chosen))

    def of_task(self, task: str | None) -> "Questions":
        """Keep the questions of one task; None if there is no other.

        Raises:
            InvalidBenchmark: There is no such task, or none is named and there are several.
        """
        known = sorted({row.task for row in self.rows})
        if (task is None and len(known) > 1) or (task is not None and task not in known):
            raise InvalidBenchmark(
                f"Name one of the {len(known)} tasks of the data with --task: {'; '.join(known[:20])}."
            )
        rows = tuple(row for row in self.rows if task in (None, row.task))
        return replace(self, rows=rows)

    def fingerprint(self) -> str:
        """SHA-256 of all that an answer may depend on, levels included."""
        digest = hashlib.sha256()
        for row in self.rows:
            digest.update(repr(row).encode())
        return digest.hexdigest()


def open_questions(data: Sequence[str], split: Split = "test") -> Questions:
    """Open labelled data: folders of reward data, published layouts, or `KIND:PATH`.

    Raises:
        InvalidBenchmark: No labelled example.
        InvalidData: A folder of reward data that is incomplete.
        InvalidSource: There is nothing there, or not what its kind promises.
    """
    folders = [Path(source) for source in data if _is_reward_data(source)]
    parts = [from_reward_data(RewardData.open(folders, split))] if folders else []
    for source in data:
        if not _is_reward_data(source):
            parts.append(from_source(_with_kind(source), split))
    return parts[0] if len(parts) == 1 else _join(parts)


def from_reward_data(data: RewardData) -> Questions:
    """Ask about the clips of simulated reward data; the unit is the episode."""
    rows, places = [], {}
    for i, example in enumerate(data.examples):
        info = data.clips[example.clip]
        video = f"{info.episode}-{info.kept:g}"
        key = f"{i}-{video}"
        places[key] = example.clip
        rows.append(
            Question(
                key=key,
                video=f"{example.clip}-{video}",
                unit=info.episode,
                subset=data.subsets[i],
                kind=example.kind,
                task=example.task,
                level=example.level,
            )
        )
    return Questions(tuple(rows), lambda row: data.clip(places[row.key], row.task))


def from_source(source: str, split: str | None = None) -> Questions:
    """Ask about all labelled examples of `KIND:PATH`."""
    options = ReadOptions(split=_published_split(source, split))
    examples: list[Example] = []
    skipped: list[Skipped] = []
    for item in read_source(source, options):
        if isinstance(item, Skipped):
            skipped.append(item)
        elif item.reward is None:
            skipped.append(Skipped(item.video.where, "no_level", "the example has no level"))
        else:
            examples.append(item)
    videos = [_video_name(example) for example in examples]
    episodes = [f"{e.subset}/{e.source_episode}" for e in examples]
    units = _units(episodes, videos)
    rows, found = [], {}
    for i, example in enumerate(examples):
        key = f"{i}-{example.video.where.rpartition('/')[2]}"
        found[key] = example
        rows.append(
            Question(
                key=key,
                video=videos[i],
                unit=units[i],
                subset=example.subset,
                kind=example.kind,
                task=example.task,
                level=int(example.reward or 0),
            )
        )
    return Questions(
        tuple(rows), lambda row: found[row.key].video.read().clip(row.task), tuple(skipped)
    )


def _is_reward_data(source: str) -> bool:
    return (Path(source) / "clips.jsonl").is_file() or (
        Path(source).is_dir() and not _is_published(Path(source))
    )


def _is_published(folder: Path) -> bool:
    return any((folder / part / METADATA).is_file() for part in ("", *SPLIT_FOLDERS))


def _with_kind(source: str) -> str:
    if ":" not in source and not Path(source).exists():
        raise InvalidBenchmark(
            f"There is nothing at {source}. Name a folder of reward data, a folder in the published layout, or "
            "KIND:PATH, such as csv:videos.csv."
        )
    return f"published:{source}" if Path(source).is_dir() else source


def _published_split(source: str, split: str | None) -> str | None:
    """The published layout calls its validation split `val`, or `validation`; other sources have one split only."""
    kind, _, path = source.partition(":")
    if kind != "published":
        return None
    return "val" if split == "validation" and not (Path(path) / split).is_dir() else split


def _video_name(example: Example) -> str:
    """Hash of the file, because copies of one video have several names; else where the recording lies."""
    if example.video.file is None:
        return example.video.where
    return hashlib.sha256(example.video.file.read_bytes()).hexdigest()


def _units(episodes: Sequence[str], videos: Sequence[str]) -> list[str]:
    """Name of the group of each row: rows that share an episode or a video, directly or through others, are one group."""
    if not episodes:
        return []
    _, episode = np.unique(episodes, return_inverse=True)
    _, video = np.unique(videos, return_inverse=True)
    nodes = episode.max() + 1 + video.max() + 1
    links = coo_array((np.ones(len(episode)), (episode, episode.max() + 1 + video)), (nodes, nodes))
    _, group = connected_components(links, directed=False)
    first: dict[int, str] = {}
    return [first.setdefault(int(group[e]), episodes[i]) for i, e in enumerate(episode)]


def _join(parts: Sequence[Questions]) -> Questions:
    """Put several sources together; each keeps its own videos."""
    rows, owner = [], {}
    for number, part in enumerate(parts):
        for row in part.rows:
            key = f"{number}-{row.key}"
            owner[key] = (part, row)
            rows.append(
                replace(row, key=key, video=f"{number}-{row.video}", unit=f"{number}-{row.unit}")
            )

    def read(row: Question) -> Clip:
        part, original = owner[row.key]
        return part.read(original)

    skipped = tuple(s for part in parts for s in part.skipped)
    return Questions(tuple(rows), read, skipped)
