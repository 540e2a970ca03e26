"""The published RoboReward layout: a folder per split with `metadata.jsonl` and one folder of MP4s per subset.

A row holds `file_name`, `task`, `reward` and `gpt5_mini_check`, as published, and after them ours: `kind`,
`source_episode`, `original_task`, `kept`, `checked_by`, `licence`. What was published has only the first four; the others
are then read off the file names:

- `<subset>_originalsplit_<train|test>_index_<N>.mp4`; `_1`, `_2`, ... before the dot are copies of the same video, mostly
  with other tasks (the number says nothing about the reward);
- `..._attempt_<n>_score_<S>.mp4` shows 10, 30, 50 or 70 % of the episode for S = 1..4;
- `robo_arena/<session>_<policy letter>_<left|right>.mp4`: an episode of RoboArena, seen by one camera.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from reward_models.data.example import (
    Example,
    InvalidExample,
    InvalidSource,
    Item,
    Kind,
    Skipped,
)
from reward_models.data.sources import ReadOptions
from reward_models.data.video_file import video_of
from roboreward_gym.errors import RoboRewardError
from roboreward_gym.types import LEVELS

METADATA = "metadata.jsonl"
PUBLISHED_COLUMNS = ("file_name", "task", "reward", "gpt5_mini_check")
COLUMNS = (
    *PUBLISHED_COLUMNS,
    "kind",
    "source_episode",
    "original_task",
    "kept",
    "checked_by",
    "licence",
)  # fmt: skip
SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = (*SPLITS, "validation")
KEPT = {1: 0.1, 2: 0.3, 3: 0.5, 4: 0.7}
"""Part of an episode that a truncated video shows, by its reward: measured on the published files."""
ROBOARENA = "robo_arena"
LICENCE = "CC-BY-4.0"

_TRUNCATED = re.compile(r"_attempt_\d+_score_(\d+)$")
_COPY = re.compile(r"(_index_\d+)_\d+$")
_VIEW = re.compile(r"_(left|right|wrist)$")


def read(path: Path, options: ReadOptions) -> Iterator[Item]:
    """Yield every row of a split folder, or of all split folders in a folder.

    Raises:
        InvalidSource: No such layout, or no such split.
    """
    folders = split_folders(path, options.split)
    return (item for folder in folders for item in _read_split(folder, options))


def split_folders(path: Path, split: str | None = None) -> list[Path]:
    """Return the folders with a `metadata.jsonl`: the path itself, or the splits in it.

    Raises:
        InvalidSource: There is none.
    """
    if (path / METADATA).is_file():
        return [path]
    wanted = SPLIT_FOLDERS if split is None else (split,)
    found = [path / name for name in wanted if (path / name / METADATA).is_file()]
    if not found:
        raise InvalidSource(
            f"{path} has no {METADATA}, neither itself nor in {', '.join(wanted)}. Name the folder of a "
            "split, or the folder that holds the splits."
        )
    return found


def _read_split(folder: Path, options: ReadOptions) -> Iterator[Item]:
    rows = list(_rows(folder / METADATA))
    tasks = {
        source_of(row["file_name"]): row["task"]
        for _, row in rows
        if isinstance(row, dict) and _is_original_task(row)
    }
    seen: set[str] = set()
    if not rows:
        yield Skipped(str(folder / METADATA), "empty_split", "the split has no rows")
    for line, row in rows:
        where = f"{folder / METADATA}:{line}"
        if isinstance(row, str):
            yield Skipped(where, "unreadable_row", row)
            continue
        name = row.get("file_name")
        if isinstance(name, str) and name in seen:
            yield Skipped(where, "duplicate_row", f"the file {name} is listed twice")
            continue
        seen.add(str(name))
        try:
            yield _example(folder, row, tasks, options)
        except RoboRewardError as error:
            yield Skipped(where, "invalid_row", str(error))


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Line number, and the row or why there is none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InvalidSource(f"{path} cannot be read: {error.strerror}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield number, f"no JSON: {error}"
            continue
        yield number, row if isinstance(row, dict) else "no JSON object"


def _is_original_task(row: Mapping[str, Any]) -> bool:
    """Whether a row's task is the one that its episode was recorded for, as far as published columns tell."""
    name, reward = row.get("file_name"), row.get("reward")
    return isinstance(name, str) and (reward == LEVELS[-1] or bool(_TRUNCATED.search(name[:-4])))


def _example(
    folder: Path, row: Mapping[str, Any], tasks: Mapping[str, str], options: ReadOptions
) -> Example:
    missing = [column for column in PUBLISHED_COLUMNS[:3] if column not in row]
    if missing:
        raise InvalidExample(f"the row has no {', '.join(missing)}")
    name, reward = row["file_name"], _whole(row["reward"])
    if not isinstance(name, str) or not name.lower().endswith(".mp4"):
        raise InvalidExample(f"the file_name {name!r} is not an .mp4 file")
    file = (folder / name).resolve()
    if not file.is_relative_to(folder.resolve()) or len(Path(name).parts) != 2:
        raise InvalidExample(f"the file_name {name!r} is not SUBSET/FILE within the split's folder")
    if not file.is_file():
        raise InvalidExample(f"there is no video {name}")
    truncated = _TRUNCATED.search(Path(name).stem)
    if truncated and "kind" not in row and int(truncated[1]) != reward:
        raise InvalidExample(f"the file name says score {truncated[1]}, the row {reward}")
    subset = Path(name).parts[0]
    kind: Kind = row.get("kind") or _kind(subset, reward, truncated=bool(truncated))
    task = row["task"]
    usual = KEPT.get(reward, 1.0) if kind == "truncated" and isinstance(reward, int) else 1.0
    own = task if kind in ("original", "truncated", "organic") else tasks.get(source_of(name))
    return Example(
        video=video_of(folder / name),
        task=task,
        reward=reward,
        subset=options.subset or subset,
        source_episode=row.get("source_episode") or source_of(name),
        kind=kind,
        original_task=row.get("original_task") or own,
        kept=row.get("kept") or usual,
        check=row.get("gpt5_mini_check") or "",
        checked_by=row.get("checked_by") or ("gpt-5-mini" if row.get("gpt5_mini_check") else ""),
        licence=row.get("licence") or options.licence or LICENCE,
    )


def _whole(reward: Any) -> Any:
    """The reward as a whole number, if it is one: programs that read a column with gaps write 5.0 for 5."""
    return int(reward) if isinstance(reward, float) and reward.is_integer() else reward


def _kind(subset: str, reward: int, *, truncated: bool) -> Kind:
    if subset == ROBOARENA:
        return "organic"
    if truncated:
        return "truncated"
    return "original" if reward == LEVELS[-1] else "counterfactual"


def source_of(file_name: str) -> str:
    """Return the source episode of a published file: copies, truncated videos and other cameras have the same one.

    >>> source_of("bridge/bridge_originalsplit_train_index_7_2.mp4")
    'bridge_originalsplit_train_index_7'
    >>> source_of("bridge/bridge_originalsplit_train_index_7_attempt_1_score_3.mp4")
    'bridge_originalsplit_train_index_7'
    """
    subset, _, name = file_name.rpartition("/")
    stem = _TRUNCATED.sub("", name.removesuffix(".mp4"))
    return _VIEW.sub("", stem) if subset == ROBOARENA else _COPY.sub(r"\1", stem)
