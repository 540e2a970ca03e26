"""Simulated successes in the published RoboReward layout: `python -m experiments.simulation.published_data --out DIR`.

Scripted experts of varying care play one task of the scene each; the episodes whose final level is 5 are kept. Beside the split folder lies
`truth.jsonl` with the true level of every task at every frame (`reward_models.data.truth`). `roboreward augment
--source simulator:DIR` makes a reward data set of it, and its labels can be compared with the truth.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
import tyro
from tqdm import tqdm

from experiments.run_folder import new_folder
from experiments.simulation.demonstrations import ENV_IDS, SceneName
from experiments.simulation.reward_data import SCENE_OFFSET, SEED_OFFSET
from experiments.simulation.reward_episodes import (
    EpisodeTruth,
    RewardDataConfig,
    env_and_arm,
    play_episode,
)
from experiments.workers import prepare, worker_pool
from reward_models.data import truth
from reward_models.data.card import card
from reward_models.data.example import Example, Frames, Video
from reward_models.data.published_writer import write_examples
from reward_models.data.simulator import LICENCE
from reward_models.data.video_file import VideoFormat
from roboreward_gym._cli import run_program
from robots.catalogue import TASKS
from robots.conventions import CONTROL_HZ

OBJECTS: Mapping[SceneName, tuple[str, ...]] = {entry.scene: entry.objects for entry in TASKS}
SUCCESS = 5
BATCH = 4
"""Episodes that a process plays before it is looked at how many were successes."""


@dataclass(frozen=True)
class PublishedDataConfig:
    """What to record."""

    out: Path
    """Folder to write; must not exist yet."""
    episodes: int = 100
    """Successes per scene."""
    split: Literal["train", "validation", "test"] = "train"
    """Seeds, colours and camera poses of the test split are held out from the two others."""
    first: int = 0
    """Number of the first episode of the split."""
    video: VideoFormat = VideoFormat()  # noqa: RUF009 - frozen
    """How videos are written."""
    workers: int = 2
    """Processes; the result does not depend on it."""


Recorded = tuple[str, str, np.ndarray, truth.EpisodeTruth]
"""Subset, task, `(T, H, W, 3)` uint8 frames, truth."""


def record(scene: SceneName, split: str, seed: int) -> Recorded | None:
    """Play one episode; None if it is not a success."""
    config = RewardDataConfig(Path(), split=split)  # ty: ignore[invalid-argument-type]
    _, task, known = play_episode(config, scene, seed)
    if known.levels.get(task, [0])[-1] != SUCCESS:
        return None
    env, arm = env_and_arm(config, scene)
    frames = []
    for qpos in known.qpos:
        arm.data.qpos[:] = qpos
        mujoco.mj_forward(arm.model, arm.data)
        frames.append(arm.camera())
    about = _truth(f"{scene}-{split}-{seed}", scene, env.tasks, known)
    return f"sim_{scene}", task, np.stack(frames), about


def _truth(
    name: str, scene: SceneName, tasks: tuple[str, ...], known: EpisodeTruth
) -> truth.EpisodeTruth:
    done = tuple(task for task in tasks if task not in known.levels)
    return truth.EpisodeTruth(name, OBJECTS[scene], dict(known.levels), known.captions, done)


def _record(job: tuple[SceneName, str, int]) -> Recorded | None:
    return record(*job)


def successes(config: PublishedDataConfig) -> Iterator[Recorded]:
    """Record episodes in the order of their seeds until there are enough of each scene."""
    with worker_pool(config.workers) as pool:
        for scene in ENV_IDS:
            seed = SEED_OFFSET[config.split] + SCENE_OFFSET[scene] + config.first
            found = 0
            while found < config.episodes:
                # A few at a time: the pool would play all that it is given.
                jobs = [(scene, config.split, seed + i) for i in range(BATCH * config.workers)]
                seed += len(jobs)
                for recorded in pool.imap(_record, jobs):
                    if recorded is not None and found < config.episodes:
                        found += 1
                        yield recorded


def collect(config: PublishedDataConfig) -> None:
    """Write the split folder, the truth and the data card."""
    new_folder(config.out)
    truths: list[truth.EpisodeTruth] = []

    def examples() -> Iterator[Example]:
        bar = tqdm(successes(config), total=2 * config.episodes, desc="successes")
        for subset, task, frames, known in bar:
            truths.append(known)
            yield Example(
                video=Video(known.source_episode, partial(Frames, frames, CONTROL_HZ)),
                task=task,
                reward=SUCCESS,
                subset=subset,
                source_episode=known.source_episode,
                kind="original",
                original_task=task,
                licence=LICENCE,
            )

    split = config.split.replace("validation", "val")
    rows = write_examples(config.out, split, examples(), config.video)
    truth.write_truths(config.out / truth.TRUTH, truths)
    firsts = (SEED_OFFSET[config.split] + SCENE_OFFSET[s] + config.first for s in ENV_IDS)
    text = card(
        "Simulated successes", {split: rows}, {}, {"task and reward": "the simulator's state"},
        " and ".join(f"{first} and up" for first in firsts), "MuJoCo, a simulated WidowX 250S",
        made="`python -m experiments.simulation.published_data`; the level of every task at every frame is in `truth.jsonl`",
    )  # fmt: skip
    (config.out / "README.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Command line."""
    prepare(threads=1)
    collect(tyro.cli(PublishedDataConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
