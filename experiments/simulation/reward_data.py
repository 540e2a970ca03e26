"""Simulated episodes for training and testing a judge: `python -m experiments.simulation.reward_data --out DIR --split train`.

Per episode: a source (clean, noisy or interrupted expert, random motion, or a cloned policy, whole or half-trained),
a command it tries, and the truth about *every* command of the scene from the simulator's state. The clip is shown
whole and, for some episodes, cut short. The layout of the folder is in `reward_models.data.reward_data`.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import gymnasium as gym
import mujoco
import numpy as np
import torch
import tyro
from tqdm import tqdm

from experiments.run_folder import new_folder
from experiments.simulation.demonstrations import ENV_IDS, SceneName
from experiments.workers import prepare, worker_pool
from policies.policy import DiffusionPolicy
from roboreward_gym._cli import run_program
from roboreward_gym.errors import RoboRewardError
from robots.conventions import ACTION_DIM, CONTROL_HZ, LANDMARKS
from robots.sim.experts import ScriptedExpert, Style
from robots.sim.mujoco_arm import MujocoArm
from robots.widowx import Observation, WidowXEnv, widowx

FRAMES = 8
"""Frames per clip: what RoboReward's protocol takes from any episode of four seconds or more."""
HORIZON: Mapping[SceneName, int] = {"toy": 40, "drawer": 24}
SEED_OFFSET: Mapping[str, int] = {
    "train": 100_000_000,
    "validation": 200_000_000,
    "test": 300_000_000,
}
SCENE_OFFSET: Mapping[SceneName, int] = {"toy": 0, "drawer": 50_000_000}
KEPT = (0.2, 0.3, 0.5, 0.7)
"""Parts of an episode that a cut clip shows, as RoboReward's clips do (its shortest, 10 %, is fewer frames than we film)."""
SCRIPTED: Mapping[str, float] = {"expert": 0.27, "noisy": 0.4, "interrupted": 0.27, "random": 0.06}
CLONED: Mapping[str, float] = {"policy": 0.6, "half_trained": 0.4}


@dataclass(frozen=True)
class RewardDataConfig:
    """What to collect."""

    out: Path
    """Folder to write; must not exist yet."""
    split: Literal["train", "validation", "test"] = "train"
    """Seeds, colours and camera poses of the test split are held out from the two others."""
    episodes: int = 1600
    """Episodes per scene."""
    first: int = 0
    """Number of the first episode of the split, so that a second collection does not repeat the first."""
    policy: tuple[Path, ...] = ()
    """Folders of cloned policies, one per scene in the order toy, drawer; given: only they act."""
    half_trained: tuple[Path, ...] = ()
    """Likewise, from early in their training."""
    layout: Literal["any", "sides"] = "any"
    """Where toys and targets lie for the scripted sources: anywhere, or as in the experiments."""
    counterfactuals: int = 3
    """Commands asked of each clip beside its own, chosen so that low and high levels both occur."""
    workers: int = 2
    """Processes; the result does not depend on it."""


@dataclass(frozen=True, eq=False)
class Truth:
    """What the simulator knew at each of T+1 moments."""

    snapshots: np.ndarray  # (T+1, nq) float64
    landmarks: np.ndarray  # (T+1, K, 4) float32
    levels: Mapping[str, list[int]]  # by command, T+1 each
    captions: list[str]


class MissingPolicy(RoboRewardError, ValueError):
    """Cloned episodes were asked for without policies for both scenes."""


class RandomMotion:
    """Smooth random actions."""

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng, self._action = rng, np.zeros(ACTION_DIM)

    def act(self) -> np.ndarray:
        """Action `(7,)`."""
        kick = self._rng.normal(0.0, [0.5, 0.5, 0.5, 0.1, 0.1, 0.2, 0.6])
        self._action = np.clip(0.75 * self._action + kick, -1.0, 1.0)
        return self._action.astype(np.float32)


class ClonedPolicy:
    """Plays the chunks of a diffusion policy from random noise, sometimes wilder than it was trained on."""

    def __init__(self, policy: DiffusionPolicy, rng: np.random.Generator) -> None:
        self._policy, self._rng, self._chunk = policy, rng, []
        self._scale = np.float32(rng.choice([1.0, 1.0, 1.5]))

    def act(self, observation: Observation) -> np.ndarray:
        """Action `(7,)`."""
        if not self._chunk:
            shape = (1, self._policy.chunk, ACTION_DIM)
            noise = torch.from_numpy(self._scale * self._rng.standard_normal(shape, np.float32))
            features = self._policy.encode(observation["image"][None], observation["state"][None])
            self._chunk = list(self._policy.decode(features, noise)[0].numpy())
        return self._chunk.pop(0)


def styled(source: str, rng: np.random.Generator) -> Style:
    """How an expert of this source works."""
    speed = rng.uniform(0.7, 1.0)
    if source == "noisy":
        return Style(speed, rng.uniform(0.003, 0.03), rng.uniform(0.0, 0.3), drop_probability=0.3)
    stop = rng.uniform(0.1, 0.95) if source == "interrupted" else 1.0
    return Style(speed, 0.004, 0.03, stop_after=stop)


def play(config: RewardDataConfig, scene: SceneName, seed: int) -> tuple[str, str, Truth]:
    """Run one episode; returns its source, its command and the truth about it."""
    rng = np.random.default_rng(seed)
    chances = CLONED if config.policy else SCRIPTED
    source = str(rng.choice(list(chances), p=list(chances.values())))
    env, arm = _stage(config, scene)
    task = str(rng.choice(env.commands))
    observation, _ = env.reset(seed=seed, options={} if config.policy else {"task": task})
    if config.policy:
        task = env.task
        folders = config.policy if source == "policy" else config.half_trained
        cloned = ClonedPolicy(_policy(folders[tuple(ENV_IDS).index(scene)]), rng)
    elif source == "random":
        actor = RandomMotion(rng)
    else:
        actor = ScriptedExpert(env, task, rng, styled(source, rng))
    moments = [_moment(env, arm)]
    steps = HORIZON[scene] + (16 if "both" in task else 0)
    for _ in range(steps):
        observation, *_ = env.step(cloned.act(observation) if config.policy else actor.act())
        moments.append(_moment(env, arm))
    snapshots, landmarks, levels, captions = zip(*moments, strict=True)
    by_task = {t: [level[t] for level in levels] for t in env.commands if env.scene.askable(t)}
    return source, task, Truth(np.stack(snapshots), np.stack(landmarks), by_task, list(captions))


def _moment(env: WidowXEnv, arm: MujocoArm) -> tuple[np.ndarray, np.ndarray, dict[str, int], str]:
    levels = {task: env.level(task) for task in env.commands}
    return arm.data.qpos.copy(), env.scene.landmarks(), levels, env.scene.caption()


def _stage(config: RewardDataConfig, scene: SceneName) -> tuple[WidowXEnv, MujocoArm]:
    """The environment of a scene and the arm whose simulation is replayed for the camera."""
    look = "test" if config.split == "test" else "train"
    layout = "sides" if config.policy else config.layout
    env = _env(scene, look, layout, image=bool(config.policy))
    if not isinstance(env.arm, MujocoArm):
        raise TypeError(f"Expected a simulated arm, got {type(env.arm).__name__}.")
    return env, env.arm


@cache
def _env(scene: SceneName, look: str, layout: str, *, image: bool) -> WidowXEnv:
    more: dict[str, Any] = {"layout": layout} if scene == "toy" else {}
    return widowx(gym.make(ENV_IDS[scene], look=look, image=image, **more))


@cache
def _policy(folder: Path) -> DiffusionPolicy:
    return DiffusionPolicy.load(folder)


def clips_of(
    config: RewardDataConfig, scene: SceneName, seed: int
) -> list[tuple[np.ndarray, np.ndarray, dict[str, Any], list[dict[str, Any]]]]:
    """Frames `(8, H, W, 3)`, dense labels `(4, K, 4)`, metadata and examples of each clip of one episode."""
    source, task, truth = play(config, scene, seed)
    rng = np.random.default_rng([seed, 1])
    total = len(truth.captions)
    lengths = {1.0: total}
    kept = float(rng.choice(KEPT))
    if (
        source in ("expert", "noisy", "policy")
        and rng.random() < 0.55
        and round(kept * total) >= FRAMES
    ):
        lengths[kept] = round(kept * total)
    _, arm = _stage(config, scene)
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
        examples = list(_examples(config, rng, truth, task, source, length, total))
        clips.append(
            (_pictures(arm, truth.snapshots[at]), truth.landmarks[at[1::2]], meta, examples)
        )
    return clips


def _examples(
    config: RewardDataConfig,
    rng: np.random.Generator,
    truth: Truth,
    task: str,
    source: str,
    length: int,
    total: int,
) -> Iterator[dict[str, Any]]:
    """The clip's own command, and others: first those with progress, because most others have none."""
    level = {t: levels[length - 1] for t, levels in truth.levels.items()}
    if task in level:
        success = source == "expert" and level[task] == 5
        kind = "truncated" if length < total else "original" if success else "organic"
        yield {"task": task, "level": level[task], "kind": kind}
    others = [str(t) for t in rng.permutation([t for t in level if t != task])]
    others.sort(key=lambda t: level[t] == 1)  # stable: a random order within each group
    for other in others[: config.counterfactuals]:
        yield {"task": other, "level": level[other], "kind": "counterfactual"}


def _pictures(arm: Any, snapshots: np.ndarray) -> np.ndarray:
    """Render `(N, nq)` snapshots to `(N, H, W, 3)`; the episode's look is still set."""
    frames = []
    for qpos in snapshots:
        arm.data.qpos[:] = qpos
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
            raise ValueError(f"Expected rows of shape {self._shape}, got {row.shape}.")
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


def jobs_of(config: RewardDataConfig) -> list[tuple[RewardDataConfig, SceneName, int]]:
    """Arguments of `clips_of` for each episode; no two splits or scenes share a seed."""
    start = SEED_OFFSET[config.split] + config.first
    return [
        (config, scene, start + i + SCENE_OFFSET[scene])
        for i in range(config.episodes)
        for scene in ENV_IDS
    ]


def _work(arguments: tuple[RewardDataConfig, SceneName, int]) -> list[Any]:
    return clips_of(*arguments)


def collect(config: RewardDataConfig) -> None:
    """Play all episodes and write the folder; `clips.jsonl` comes last, so a folder with it is whole."""
    if config.policy and not len(config.policy) == len(config.half_trained) == len(ENV_IDS):
        raise MissingPolicy(
            f"Expected {len(ENV_IDS)} folders for policy and for half_trained, one per scene."
        )
    new_folder(config.out)
    jobs = jobs_of(config)
    clips, examples, dense = [], [], []
    with (
        FrameFile(config.out / "frames.npy") as frames,
        worker_pool(config.workers) as pool,
    ):
        for episode in tqdm(
            pool.imap(_work, jobs, chunksize=2), total=len(jobs), desc=f"{config.split} episodes"
        ):
            for pictures, labels, meta, asked in episode:
                frames.append(pictures)
                examples += [{"clip": len(clips), **example} for example in asked]
                clips.append({"clip": len(clips), **meta})
                dense.append(labels)
    np.save(config.out / "dense.npy", np.stack(dense).astype(np.float32))
    (config.out / "landmarks.json").write_text(json.dumps(list(LANDMARKS)))
    (config.out / "config.json").write_text(json.dumps(asdict(config), default=str, indent=2))
    for name, rows in (("examples", examples), ("clips", clips)):
        (config.out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    """Command line."""
    prepare(threads=1)
    collect(tyro.cli(RewardDataConfig, description=__doc__))


if __name__ == "__main__":
    run_program(main)
