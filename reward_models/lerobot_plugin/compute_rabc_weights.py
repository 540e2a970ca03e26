"""Progress of every frame of a LeRobot data set, for reward-aligned behaviour cloning.

`python -m reward_models.lerobot_plugin.compute_rabc_weights --dataset DIR --out FILE.parquet` asks a
judge about beginnings of each episode and writes the columns that `lerobot-train` reads with
`--sample_weighting.type=rabc --sample_weighting.progress_path=FILE.parquet`.
"""

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tyro
from tqdm import tqdm

from reward_models.data.lerobot import RecordedEpisodes
from reward_models.scoring.log import OutputUnwritable
from reward_models.video.read import Footage
from roboreward_gym._cli import run_program
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import LEVELS, Clip, RewardModel

FEWEST_FRAMES = 2
"""One frame shows no change, and most judges refuse it."""


@dataclass(frozen=True)
class ProgressConfig:
    """Which data set, which judge, and how closely to look."""

    dataset: Path
    """Folder of a LeRobot data set (v3)."""
    out: Path
    """Parquet file to write."""
    model: str = "roboreward-nano"
    """Name of the judge."""
    camera: str | None = None
    """Which camera, if there are several."""
    num_samples: int = 8
    """Beginnings of each episode that are judged; the frames between are interpolated."""


def episode_progress(
    judge: RewardModel, footage: Footage, task: str, num_samples: int
) -> np.ndarray:
    """Progress of each frame, as a judge sees the episode up to there.

    Args:
        judge: Who is asked.
        footage: The episode.
        task: Its command.
        num_samples: How many beginnings to ask about.

    Returns:
        `(total,)` float32 in [0, 1]; NaN next to a beginning that the judge could not read, which
        LeRobot weighs neutrally.
    """
    kept = len(footage.frames)
    ends = np.unique(np.linspace(min(FEWEST_FRAMES, kept), kept, num_samples).round().astype(int))
    scores = judge.score([Clip(footage.frames[:end], task, footage.fps) for end in ends])
    expected = np.array([score.expected for score in scores])
    progress = (expected - LEVELS[0]) / (LEVELS[-1] - LEVELS[0])
    at = (ends - 1) * (footage.total - 1) / max(kept - 1, 1)
    return np.interp(np.arange(footage.total), at, progress).astype(np.float32)


def compute_progress(config: ProgressConfig) -> pa.Table:
    """Judge all episodes: columns `index`, `episode_index`, `frame_index`, `progress_sparse`."""
    episodes = RecordedEpisodes.open(config.dataset, config.camera)
    judge = load_reward_model(config.model)
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("index", "episode_index", "frame_index", "progress_sparse")
    }
    for number in tqdm(range(len(episodes)), desc="episodes"):
        footage, task = episodes.footage(number), episodes.task(number)
        progress = episode_progress(judge, footage, task, config.num_samples)
        frame = np.arange(len(progress))
        columns["index"].append(int(episodes.meta.episodes[number]["dataset_from_index"]) + frame)
        columns["episode_index"].append(np.full_like(frame, number))
        columns["frame_index"].append(frame)
        columns["progress_sparse"].append(progress)
    about: dict[str, Any] = {"model": config.model, "num_samples": config.num_samples}
    table = pa.table({name: np.concatenate(parts) for name, parts in columns.items()})
    return table.replace_schema_metadata({b"roboreward": json.dumps(about).encode()})


def main(argv: list[str] | None = None) -> int:
    """Write the progress of a data set."""
    config = tyro.cli(ProgressConfig, args=argv, description=__doc__)
    partial = config.out.with_name(f"{config.out.name}.partial")
    try:  # before the judge is asked: that takes long
        config.out.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise OutputUnwritable(
            f"Expected a file to write progress to, got {config.out}: {error.strerror}. Choose another --out."
        ) from error
    table = compute_progress(config)
    pq.write_table(table, partial)
    partial.replace(config.out)
    mean = float(np.nanmean(table["progress_sparse"].to_numpy()))
    unread = sum(math.isnan(value) for value in table["progress_sparse"].to_pylist())
    sys.stderr.write(f"{len(table)} frames, mean progress {mean:.3f}, {unread} unreadable.\n")
    return 0


if __name__ == "__main__":
    run_program(main)
