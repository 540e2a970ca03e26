"""Progress of every frame of a LeRobot data set, for reward-aligned behaviour cloning.

`python -m reward_models.lerobot_plugin.compute_rabc_weights --dataset DIR --out FILE.parquet` scores
prefixes of each episode and writes the columns that `lerobot-train` reads with
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

from reward_models.data.lerobot_reader import LeRobotEpisodes
from reward_models.model_options import check_chosen
from reward_models.protocol.frames import thinned_indices, wanted_indices
from reward_models.scoring.log import OutputUnwritable
from reward_models.video.recording import MAX_BYTES, Recording, RecordingSource
from roboreward_gym._cli import run_program
from roboreward_gym.registry import load_reward_model
from roboreward_gym.types import LEVELS, RewardModel

FEWEST_FRAMES = 2
"""One frame shows no change, and most reward models refuse it."""


@dataclass(frozen=True)
class ProgressConfig:
    """Which data set, which reward model, and how many prefixes to score."""

    dataset: Path
    """Folder of a LeRobot data set (v2.0 to v3)."""
    out: Path
    """Parquet file to write."""
    model: str = ""
    """Name of the reward model; without it the error lists them and for whom each is."""
    camera: str | None = None
    """Which camera, if there are several."""
    num_samples: int = 8
    """Prefixes of each episode that are scored; progress at the frames between is interpolated."""


def prefix_lengths(num_frames: int, num_samples: int) -> np.ndarray:
    """`(n,)` increasing numbers of frames, n at most `num_samples`, the last one all of them."""
    shortest = min(FEWEST_FRAMES, num_frames)
    return np.unique(np.linspace(shortest, num_frames, num_samples).round().astype(int))


def read_for_prefixes(
    source: RecordingSource, num_samples: int, max_bytes: int = MAX_BYTES
) -> Recording:
    """Read an episode so that each of its prefixes has the frames that the protocol samples of it."""

    def thinning(num_frames: int, fps: float, most: int) -> np.ndarray:
        lengths = prefix_lengths(num_frames, num_samples).tolist()
        wanted = [wanted_indices(length, fps) for length in lengths]
        return np.unique(np.concatenate([thinned_indices(num_frames, fps, most), *wanted]))

    return source.read(max_bytes, thinning)


def episode_progress(
    reward_model: RewardModel, recording: Recording, task: str, num_samples: int
) -> np.ndarray:
    """Progress of each frame, as a reward model sees the episode up to there.

    Args:
        reward_model: What scores.
        recording: The episode, from `read_for_prefixes`.
        task: Its task.
        num_samples: How many prefixes to score.

    Returns:
        `(num_frames,)` float32 in [0, 1]; NaN next to a prefix whose score was unreadable, which
        LeRobot weighs neutrally.
    """
    lengths = prefix_lengths(recording.num_frames, num_samples)
    scores = reward_model.score([recording.beginning(n).clip(task) for n in lengths.tolist()])
    expected = np.array([score.expected for score in scores])
    progress = (expected - LEVELS[0]) / (LEVELS[-1] - LEVELS[0])
    frames = np.arange(recording.num_frames)
    return np.interp(frames, lengths - 1, progress).astype(np.float32)


def compute_progress(config: ProgressConfig) -> pa.Table:
    """Score all episodes: columns `index`, `episode_index`, `frame_index`, `progress_sparse`."""
    name = check_chosen(config.model)
    episodes = LeRobotEpisodes.open(config.dataset, config.camera)
    reward_model = load_reward_model(name)
    columns: dict[str, list[np.ndarray]] = {
        name: [] for name in ("index", "episode_index", "frame_index", "progress_sparse")
    }
    for number in tqdm(episodes.indices, desc="episodes"):
        recording = read_for_prefixes(episodes.source(number), config.num_samples)
        progress = episode_progress(
            reward_model, recording, episodes.task(number), config.num_samples
        )
        frame = np.arange(len(progress))
        columns["index"].append(episodes.first_row(number) + frame)
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
    try:  # before anything is scored: that takes long
        config.out.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        partial.unlink()
    except OSError as error:
        raise OutputUnwritable(
            f"Progress cannot be written to {config.out}: {error.strerror}. Choose another --out."
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
