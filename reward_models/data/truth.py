"""What only a simulator knows about its episodes: the true level of every task at every frame, in `truth.jsonl`.

The file lies beside the split folders of a data set in the published layout, a line per source episode:
`source_episode`, `objects` (in view), `levels` (task -> level at each frame), `captions` (state in words at each frame) and
`done_at_start` (tasks whose goal was already true).

Tasks that the simulator does not score are understood if they are made of those that it does:

- `A and B`: perfect if both are, else the mean of both levels, rounded down, in 1..4: the simulator's own rule for tasks
  about two drawers;
- `A and leave the gripper open|closed`: a minor requirement; if A is perfect and the gripper is not so, the level is 4.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from reward_models.data.example import InvalidSource
from reward_models.data.side_file import read_side_file
from roboreward_gym.types import LEVELS

TRUTH = "truth.jsonl"
GRIPPER = "leave the gripper "
PERFECT = LEVELS[-1]


def plain(task: str) -> str:
    """Return a task as it is compared: lower case, single spaces, no full stop.

    >>> plain(" Put the duck on the  towel. ")
    'put the duck on the towel'
    """
    return " ".join(task.lower().split()).rstrip(".!")


@dataclass(frozen=True)
class EpisodeTruth:
    """One line of the file.

    Attributes:
        source_episode: As in the metadata.
        objects: What can be seen.
        levels: Level at each of T frames, by task.
        captions: The state in words, at each of T frames.
        done_at_start: Tasks whose goal was true from the start.
    """

    source_episode: str
    objects: tuple[str, ...]
    levels: Mapping[str, Sequence[int]]
    captions: Sequence[str]
    done_at_start: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        lengths = {len(self.captions), *(len(levels) for levels in self.levels.values())}
        if len(lengths) != 1 or not self.captions:
            raise InvalidSource(
                f"The truth about {self.source_episode} has {sorted(lengths)} moments; it must have one "
                "number of them for captions and all tasks."
            )

    def level(self, task: str, frame: int) -> int | None:
        """Return the true level of a task at a frame, or None for a task that the simulator does not know."""
        levels = [self._part(part, frame) for part in plain(task).split(" and ")]
        known = [level for level in levels if level is not None]
        if len(known) < len(levels):
            return None
        tasks = [level for level in known if level > 0]
        if not tasks:
            return None
        level = tasks[0]
        for other in tasks[1:]:
            both = level == other == PERFECT
            level = PERFECT if both else max(1, min(PERFECT - 1, (level + other) // 2))
        missed = UNMET in known and level == PERFECT
        return level - 1 if missed else level

    def _part(self, part: str, frame: int) -> int | None:
        """Level of a task; `MET` or `UNMET` for a minor requirement; None if it is unknown."""
        if part.startswith(GRIPPER):
            state = part.removeprefix(GRIPPER)
            if state not in ("open", "closed"):
                return None
            return MET if f"the gripper is {state}" in self.captions[frame] else UNMET
        levels = self.levels.get(part)
        return None if levels is None else int(levels[frame])


MET, UNMET = 0, -1


def write_truths(path: Path, truths: Sequence[EpisodeTruth]) -> None:
    """Write the file."""
    path.write_text("".join(json.dumps(asdict(t)) + "\n" for t in truths), encoding="utf-8")


def read_truths(folder: Path) -> dict[str, EpisodeTruth]:
    """Read the truth of all episodes of a simulated data set.

    Raises:
        InvalidSource: There is no such file, it is damaged, or it has two lines about one episode.
    """
    return read_side_file(
        folder if folder.is_file() else folder / TRUTH,
        _truth,
        key="source_episode",
        advice="Only simulated data sets have such a file: make one with "
        "python -m experiments.simulation.published_data, or choose other roles.",
    )


def _truth(row: Mapping[str, Any]) -> EpisodeTruth:
    return EpisodeTruth(
        source_episode=row["source_episode"],
        objects=tuple(row["objects"]),
        levels=row["levels"],
        captions=row["captions"],
        done_at_start=tuple(row.get("done_at_start", ())),
    )
