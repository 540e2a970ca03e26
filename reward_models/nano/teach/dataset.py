"""From recorded episodes to a data set in the published layout, resumable after each episode."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from reward_models.data.example import Example, Frames, Kind, Video
from reward_models.data.published import METADATA
from reward_models.data.published_writer import FileNames, Row, row_of, stem_of, write_metadata
from reward_models.data.video_file import VideoFormat, cut, video_of, write_video
from reward_models.json_lines import append_row, cut_unfinished_line, parse_row, read_lines
from reward_models.nano.teach.config import TeachConfig
from reward_models.nano.teach.episodes import EpisodePlayer, Recorded
from reward_models.nano.teach.levels import InvalidLevel, Levels
from roboreward_gym.errors import WeightsError
from roboreward_gym.types import LEVELS

JOURNAL = "episodes.jsonl"
"""A line for each finished episode: its split, its number, its rows, who played, and the levels at each frame."""
SETTINGS = "settings.json"
EPISODES_A_SPLIT = 10_000_000
"""Seeds of the splits lie so far apart, and those of two runs with different seeds three times as far."""
FEWEST_OF_A_LEVEL = 0.02


@dataclass(frozen=True, eq=False)
class Episode:
    """A whole episode of the data set.

    Attributes:
        video: Its recording.
        levels: Level of each task at each frame; empty where it is not known.
    """

    video: Video
    levels: tuple[Levels, ...]


def read_episodes(folder: Path, split: str) -> list[Episode]:
    """Read the whole episodes of a split."""
    lines, _ = read_lines(folder / JOURNAL)
    return [
        Episode(video_of(folder / split / row["rows"][0]["file_name"]), tuple(row["levels"]))
        for row in map(parse_row, lines)
        if row["split"] == split
    ]


def collect(config: TeachConfig) -> Path:
    """Play what is missing and write the data set; returns its folder.

    Raises:
        WeightsError: The folder was begun with other settings.
        InvalidLevel: The environment says no level, or always the same one.
        InvalidSetting: The environment cannot be made, or does not repeat itself.
        NoFrames: It gives no pictures.
        OutputError: The folder cannot be written.
    """
    folder = config.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    _check_settings(folder / SETTINGS, config)
    known = _read_journal(folder / JOURNAL)
    wanted = [(s, i) for s, count in config.episodes.by_split.items() for i in range(count)]
    missing = [key for key in wanted if key not in known]
    if missing:
        player = EpisodePlayer(config)
        player.check_seeds(_seed(config, *wanted[0]))
        names = FileNames(f"{k[0]}/{r['file_name']}" for k in known for r in known[k])
        for split, number in tqdm(missing, desc="episodes", unit="episode"):
            played = player.play(_seed(config, split, number))
            rows = _write(played, config, folder, (split, number), names)
            known[split, number] = rows
            line = {"split": split, "number": number, "rows": rows, "policy": played.policy, "levels": played.levels}  # fmt: skip
            append_row(folder / JOURNAL, line)
        player.env.close()
    for split, count in config.episodes.by_split.items():
        rows = [row for number in range(count) for row in known[split, number]]
        check_levels([int(row["reward"]) for row in rows], split)
        if not (folder / split / METADATA).is_file():
            write_metadata(folder / split, rows)
    return folder


def check_levels(levels: Sequence[int], split: str) -> None:
    """Refuse data that cannot teach a difference, and say what hardly occurs.

    Raises:
        InvalidLevel: All levels are the same.
    """
    counts = Counter(levels)
    shown = ", ".join(f"{level}: {counts[level]}" for level in LEVELS)
    if len(counts) < 2:
        raise InvalidLevel(
            f"All {len(levels)} clips of the split {split} have the level {levels[0]}, so there is nothing to learn. Let "
            "somebody play who comes further (--policy my.module:policy), begin nearer to the goal (--env-options), or "
            "choose other --thresholds. Delete the folder `data` first."
        )
    rare = [str(n) for n in LEVELS if counts[n] < FEWEST_OF_A_LEVEL * len(levels)]
    tqdm.write(f"{split}: {len(levels)} clips, by level {shown}")
    if rare:
        tqdm.write(f"{split}: level {', '.join(rare)} hardly occurs and will hardly be recognised.")


def choose_prefixes(
    levels: Sequence[int | None], count: int, rng: np.random.Generator
) -> list[int]:
    """Choose beginnings of an episode, of different levels as far as it goes, so that all levels become about as frequent.

    Args:
        levels: Level at each frame; None where it is not known.
        count: How many.
        rng: Draws them.

    Returns:
        Numbers of frames, each at least 2 and less than all.
    """
    by_level: dict[int, list[int]] = {}
    for index, level in enumerate(levels[:-1]):
        if level is not None and index >= max(1, len(levels) // 8):
            by_level.setdefault(level, []).append(index + 1)
    others = [level for level in by_level if level != levels[-1]]
    order = [int(level) for level in rng.permutation(others)]
    order += [level for level in by_level if level == levels[-1]]
    return [int(rng.choice(by_level[level])) for level in order[:count]]


def _write(
    played: Recorded, config: TeachConfig, folder: Path, key: tuple[str, int], names: FileNames
) -> list[Row]:
    """Write the videos of an episode; returns a row for each video and task."""
    split, number = key
    seed = _seed(config, split, number)
    height, width = (side - side % 2 for side in played.frames.shape[1:3])
    form = VideoFormat(width, height, fps=0)
    subset = _plain(config.env)
    episode, rng = f"{subset}_{seed}", np.random.default_rng((seed, 1))
    whole, rows = None, []
    for count, task, level, kind in examples_of(played, config, rng):
        stem = f"{split}/{subset}/{stem_of(subset, episode)}"
        name = names.truncated(stem, level) if kind == "truncated" else names.whole(stem)
        path = folder / name
        if whole is None:
            write_video(path, Frames(played.frames, played.fps), form)
            whole = path
        else:
            cut(whole, path, count)
        example = Example(
            video=video_of(path),
            task=task,
            reward=level,
            subset=subset,
            source_episode=episode,
            kind=kind,
            original_task=task if kind != "counterfactual" else None,
            kept=count / len(played.frames),
            checked_by="environment",
        )
        rows.append(row_of(example, name.removeprefix(f"{split}/")))
    return rows


def examples_of(
    played: Recorded, config: TeachConfig, rng: np.random.Generator
) -> Iterator[tuple[int, str, int, Kind]]:
    """Yield number of frames, task, level and kind of each example of an episode, the whole one first."""
    last = played.levels[-1]
    own = config.task if config.task in last else next(iter(last))
    total = len(played.frames)
    for task in (own, *(task for task in last if task != own)):
        yield total, task, last[task], "organic" if task == own else "counterfactual"
    history = [levels.get(own) for levels in played.levels]
    for count in choose_prefixes(history, config.episodes.prefixes, rng):
        level = history[count - 1]
        assert level is not None  # chosen so
        yield count, own, level, "organic" if level == LEVELS[-1] else "truncated"


def _seed(config: TeachConfig, split: str, number: int) -> int:
    place = list(config.episodes.by_split).index(split)
    return (3 * config.seed + place) * EPISODES_A_SPLIT + number


def _plain(name: str) -> str:
    """Name of a subset: that of the environment, as a folder may be called."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in name.rpartition(":")[2])


def _check_settings(path: Path, config: TeachConfig) -> None:
    """Write what the data depend on, or refuse to mix them with others."""
    names = ("env", "level", "task", "thresholds", "policy", "env_options", "frame_source", "fps", "seed")  # fmt: skip
    settings = {name: getattr(config, name) for name in names} | {
        "episodes": asdict(config.episodes)
    }
    now: Mapping[str, Any] = json.loads(json.dumps(settings))
    if not path.is_file():
        path.write_text(json.dumps(now, indent=2) + "\n", encoding="utf-8")
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := sorted(name for name in now if before.get(name) != now[name]):
        raise WeightsError(
            f"The data in {path.parent} were begun with other values of {', '.join(changed)}. Choose another --out, or "
            "delete the folder."
        )


def _read_journal(path: Path) -> dict[tuple[str, int], list[Row]]:
    """Read the finished episodes; a line that an interruption left half written is dropped from the file."""
    cut_unfinished_line(path)
    lines, _ = read_lines(path)
    rows = map(parse_row, lines)
    return {(row["split"], row["number"]): row["rows"] for row in rows}
