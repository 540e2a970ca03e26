"""Reward data from simulated episodes: `python -m experiments.simulation.reward_data --out DIR --split train`.

Each episode has a source (clean, noisy or interrupted expert, random motion, or a cloned policy, whole or half-trained)
and a task that it tries. A clip shows it whole and, for some episodes, another one shows it cut short. Each clip is labelled
with the true level of its own task and of other tasks of the scene, from the simulator's state at its last frame. The
layout of the folder is documented in `reward_models.data.reward_data`.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import tyro
from tqdm import tqdm

from experiments.run_folder import new_folder
from experiments.simulation.demonstrations import ENV_IDS, SceneName
from experiments.simulation.reward_episodes import (
    EpisodeTruth,
    RewardDataConfig,
    env_and_arm,
    play_episode,
)
from experiments.workers import prepare, worker_pool
from roboreward_gym._cli import run_program
from roboreward_gym.errors import InvalidSetting, RoboRewardError
from roboreward_gym.types import LEVELS
from robots.catalogue import SCENES
from robots.conventions import CONTROL_HZ, LANDMARKS
from robots.sim.mujoco_arm import MujocoArm

FRAMES = 8
"""Frames per clip: what RoboReward's protocol takes from any episode of four seconds or more."""
KEPT = (0.2, 0.3, 0.5, 0.7)
"""Parts of an episode that a cut clip shows, as RoboReward's clips do (its shortest, 10 %, has fewer frames than a clip needs)."""
CUT_SOURCES = ("expert", "noisy", "policy")
CUT_PROBABILITY = 0.55
"""How often an episode of these sources is also shown cut short."""

SEED_OFFSET: Mapping[str, int] = {
    "train": 100_000_000,
    "validation": 200_000_000,
    "test": 300_000_000,
}
SCENE_OFFSET: Mapping[SceneName, int] = {s: 50_000_000 * i for i, s in enumerate(SCENES)}
SEEDS_PER_SCENE = 50_000_000
"""Each split and scene has a block of this many seeds for itself."""

Job = tuple[RewardDataConfig, SceneName, int]


@dataclass(frozen=True, eq=False)
class LabelledClip:
    """What one clip adds to the folder.

    Attributes:
        frames: `(8, H, W, 3)` uint8.
        dense: `(4, K, 4)` float32 labels of the landmarks.
        meta: Its row of `clips.jsonl`, without its number.
        examples: Its rows of `examples.jsonl`, without its number.
    """

    frames: np.ndarray
    dense: np.ndarray
    meta: dict[str, Any]
    examples: list[dict[str, Any]]


class MissingPolicy(RoboRewardError, ValueError):
    """Cloned episodes were asked for without policies for both scenes."""


def make_clips(config: RewardDataConfig, scene: SceneName, seed: int) -> list[LabelledClip]:
    """Play one episode and label its clips: the whole one and, by chance, one that is cut short."""
    source, task, truth = play_episode(config, scene, seed)
    rng = np.random.default_rng([seed, 1])
    total = len(truth.captions)
    lengths = {1.0: total}
    kept = float(rng.choice(KEPT))
    is_cut = source in CUT_SOURCES and rng.random() < CUT_PROBABILITY
    if is_cut and round(kept * total) >= FRAMES:
        lengths[kept] = round(kept * total)
    _, arm = env_and_arm(config, scene)
    clips = []
    for part, length in lengths.items():
        at = np.linspace(0, length - 1, FRAMES).round().astype(int)
        meta = {
            "episode": f"{scene}-{config.split}-{seed}",
            "seed": seed,
            "scene": scene,
            "split": config.split,
            "source": source,
            "kept": part,
            "fps": CONTROL_HZ,
            "frame_times_s": [round(float(i) / CONTROL_HZ, 3) for i in at],
            "caption": truth.captions[length - 1],
        }
        examples = list(_examples(config, rng, truth, task, source, length))
        frames = _render(arm, truth.qpos[at])
        clips.append(LabelledClip(frames, truth.landmarks[at[1::2]], meta, examples))
    return clips


def _examples(
    config: RewardDataConfig,
    rng: np.random.Generator,
    truth: EpisodeTruth,
    task: str,
    source: str,
    length: int,
) -> Iterator[dict[str, Any]]:
    """The clip's own task, and others: first those with progress, because most others have none."""
    level = {t: levels[length - 1] for t, levels in truth.levels.items()}
    if task in level:
        if length < len(truth.captions):
            kind = "truncated"
        else:
            success = source == "expert" and level[task] == LEVELS[-1]
            kind = "original" if success else "organic"
        yield {"task": task, "level": level[task], "kind": kind}
    others = [str(t) for t in rng.permutation([t for t in level if t != task])]
    others.sort(key=lambda t: level[t] == LEVELS[0])  # stable: a random order within each group
    for other in others[: config.counterfactuals]:
        yield {"task": other, "level": level[other], "kind": "counterfactual"}


def _render(arm: MujocoArm, qpos: np.ndarray) -> np.ndarray:
    """Render `(N, nq)` joint positions to `(N, H, W, 3)` uint8; the episode's look is still set."""
    frames = []
    for positions in qpos:
        arm.data.qpos[:] = positions
        mujoco.mj_forward(arm.model, arm.data)
        frames.append(arm.camera())
    return np.stack(frames)


class FrameFile:
    """A `.npy` file that grows by one row at a time; its header is right once it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._shape: tuple[int, ...] | None = None
        self._rows = 0

    def append(self, row: np.ndarray) -> None:
        """Add one uint8 row; every row has the shape of the first."""
        if self._shape is None:
            self._shape = row.shape
            self._write_header()
        if row.shape != self._shape:
            raise ValueError(f"Rows must have the shape {self._shape}, got {row.shape}.")
        self._file.write(np.ascontiguousarray(row).tobytes())
        self._rows += 1

    def __enter__(self) -> "FrameFile":
        return self

    def __exit__(self, *exc_info: object) -> None:
        if self._shape is not None:
            self._file.seek(0)
            self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        # NumPy pads the header so that the first axis can grow in place.
        header = {
            "descr": "|u1",
            "fortran_order": False,
            "shape": (self._rows, *(self._shape or ())),
        }
        np.lib.format.write_array_header_1_0(self._file, header)


def episode_jobs(config: RewardDataConfig) -> list[Job]:
    """Arguments of `make_clips` for each episode; no two splits or scenes share a seed.

    Raises:
        InvalidSetting: The episodes reach beyond the seeds of their split and scene.
    """
    if config.first < 0 or config.first + config.episodes > SEEDS_PER_SCENE:
        raise InvalidSetting(
            f"Episodes {config.first} to {config.first + config.episodes} would take seeds of another split "
            f"or scene. Choose first >= 0 and first + episodes <= {SEEDS_PER_SCENE}."
        )
    start = SEED_OFFSET[config.split] + config.first
    return [
        (config, scene, start + i + SCENE_OFFSET[scene])
        for i in range(config.episodes)
        for scene in ENV_IDS
    ]


def _run_job(job: Job) -> list[LabelledClip]:
    return make_clips(*job)


def collect(config: RewardDataConfig) -> None:
    """Play all episodes and write the folder.

    Raises:
        MissingPolicy: Policies are given, but not both kinds for both scenes.
        InvalidSetting: The episodes reach beyond the seeds of their split and scene.
        RunFolderError: The folder exists.
    """
    if config.policy and not len(config.policy) == len(config.half_trained) == len(ENV_IDS):
        raise MissingPolicy(
            f"policy and half_trained need {len(ENV_IDS)} folders each, one per scene."
        )
    jobs = episode_jobs(config)
    new_folder(config.out)
    with worker_pool(config.workers) as pool:
        episodes = pool.imap(_run_job, jobs, chunksize=2)
        progress = tqdm(episodes, total=len(jobs), desc=f"{config.split} episodes")
        write_clips(config.out, asdict(config), progress)


def write_clips(
    out: Path, config: Mapping[str, Any], episodes: Iterable[list[LabelledClip]]
) -> None:
    """Write the clips of all episodes into a folder; `clips.jsonl` comes last, so a folder with it is whole."""
    clips, examples, dense = [], [], []
    with FrameFile(out / "frames.npy") as frames:
        for clip in (clip for episode in episodes for clip in episode):
            frames.append(clip.frames)
            dense.append(clip.dense)
            examples += [{"clip": len(clips), **example} for example in clip.examples]
            clips.append({"clip": len(clips), **clip.meta})
    np.save(out / "dense.npy", np.stack(dense).astype(np.float32))
    (out / "landmarks.json").write_text(json.dumps(list(LANDMARKS)))
    (out / "config.json").write_text(json.dumps(config, default=str, indent=2))
    for name, rows in (("examples", examples), ("clips", clips)):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    """Command line."""
    prepare(threads=1)
    collect(tyro.cli(RewardDataConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
