"""A LeRobot policy under DSRL with a reward model: `python -m benchmarks.lerobot_policy`.

The whole way with the real programs: scripted demonstrations of the drawer, a LeRobot data set of them, `lerobot-train`
with LeRobot's own diffusion policy, and `experiments.run --policy lerobot:…` with roboreward-nano as the only reward, once
per seed. What is finished stays in `--folder` and is not done again. Needs the extra `lerobot`.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.base_policy import LEROBOT, fingerprint
from experiments.config import get_config
from experiments.phases import open_run, run
from experiments.results import provenance
from experiments.simulation.demonstrations import DemonstrationConfig, record
from experiments.workers import prepare
from policies.demos import Demos
from policies.lerobot_policy.observations import resize
from reward_models.data.lerobot_writer import CAMERA, write_dataset
from roboreward_gym._cli import run_program
from roboreward_gym.episode import Episode

RESULTS = Path(__file__).parent / "results" / "lerobot_policy.json"
EXPERIMENT = "drawer-nano"
TASKS = ("open the left drawer", "open the right drawer", "open the right drawer")
"""What is demonstrated, without a label that the policy sees. The right drawer twice as often, but not where it is open at the
start, which makes half of each."""
IMAGE_SIZE = (72, 96)
"""Height and width [px] of the images in the data set: ResNet-18 at this size trains on one core."""
TRAINING = {
    "policy.type": "diffusion",
    "policy.device": "cpu",
    "policy.use_amp": "true",
    "policy.push_to_hub": "false",
    # From scratch, because the Hub is not needed then; batch norm would suffer from the small batches.
    "policy.pretrained_backbone_weights": "null",
    "policy.use_group_norm": "true",
    "policy.down_dims": "[96,192]",
    "policy.n_obs_steps": "1",
    "policy.horizon": "8",
    "policy.n_action_steps": "8",
    "policy.drop_n_last_frames": "0",
    "policy.do_mask_loss_for_padding": "true",
    # Where there is little signal left the error of a predicted action counts in full, that of predicted noise hardly:
    # in a short training the modes of the demonstrations separate sooner.
    "policy.prediction_type": "sample",
    # The first actions to one drawer and to the other differ by 0.28 of half their range and by 1.7 of their standard
    # deviations. With ranges a short training plays their mean and ignores the noise.
    "policy.normalization_mapping": '{"VISUAL": "MEAN_STD", "STATE": "MIN_MAX", "ACTION": "MEAN_STD"}',
    "policy.clip_sample_range": "4.0",
    "policy.optimizer_lr": "1e-3",
    "policy.scheduler_warmup_steps": "100",
    "batch_size": "32",
    "num_workers": "1",
    "log_freq": "100",
    "save_freq": "300",
}
"""Options of `lerobot-train`; all others as LeRobot has them."""


@dataclass(frozen=True)
class Config:
    """Make the figures of `benchmarks/results/lerobot_policy.json`."""

    folder: Path = Path("runs/lerobot-policy")
    """Demonstrations, data set, policy and runs."""
    demonstrations: int = 500
    """Scripted episodes to clone."""
    steps: int = 1200
    """Optimiser steps of `lerobot-train`."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the fine-tuning runs."""
    evaluation_episodes: int = 100
    """Start states on which the base policy and the fine-tuned one are compared."""


def episodes(demos: Demos) -> Iterator[Episode]:
    """The demonstrations as episodes; the last action of each is left out, because what it led to was not recorded."""
    start = 0
    for end in demos.episode_ends.tolist():
        if end - start > 1:
            yield Episode(
                frames=resize(np.asarray(demos.images[start:end]), IMAGE_SIZE),
                states=np.asarray(demos.states[start:end]),
                actions=np.asarray(demos.actions[start : end - 1]),
                env_rewards=np.zeros(end - start - 1, np.float32),
                terminated=False,
                truncated=True,
                task=demos.task,
                fps=demos.fps,
            )
        start = end


def make_dataset(config: Config) -> Path:
    """Record the demonstrations and write them as a LeRobot data set."""
    demos, dataset = config.folder / "demonstrations", config.folder / "dataset"
    if not demos.exists():
        record(
            DemonstrationConfig(
                demos, "drawer", TASKS, config.demonstrations, detours=0.1, idle=4, workers=1
            )
        )
    if not (dataset / "meta" / "info.json").exists():
        partial = dataset.with_name("dataset.partial")
        write_dataset(partial, episodes(Demos.load(demos)), camera=CAMERA, use_videos=False)
        partial.rename(dataset)
    return dataset


def train(config: Config, dataset: Path) -> Path:
    """Clone the data set with the command `lerobot-train`, or go on with it; returns the folder of the policy."""
    out = config.folder / "training"
    last = out / "checkpoints" / "last" / "pretrained_model"
    finished = out / "checkpoints" / f"{config.steps:06}" / "pretrained_model"
    if finished.exists():
        return finished
    if last.exists():
        words = [f"--config_path={last / 'train_config.json'}", "--resume=true"]
    else:
        words = [f"--{name}={value}" for name, value in TRAINING.items()]
        words += [f"--dataset.repo_id=local/{dataset.name}", f"--dataset.root={dataset}"]
        words += [f"--output_dir={out}", f"--steps={config.steps}"]
    command = [sys.executable, "-m", "lerobot.scripts.lerobot_train", *words]
    subprocess.run(command, env={**os.environ, "HF_HUB_OFFLINE": "1"}, check=True)
    return finished


def fine_tune(config: Config, policy: Path, seed: int) -> dict[str, Any]:
    """One run of `experiments.run drawer-nano --policy lerobot:…`; returns its record."""
    experiment = dataclasses.replace(
        get_config(EXPERIMENT, seed=seed),
        policy=f"{LEROBOT}{policy}",
        base_episodes=config.evaluation_episodes,
        final_episodes=config.evaluation_episodes,
    )
    path = config.folder / f"{EXPERIMENT}-seed{seed}"
    resume = (path / "config.json").exists()
    return run(experiment, open_run(experiment, path, resume=resume)).record


def main(config: Config) -> None:
    """Do what is left to do, and write the figures."""
    prepare(threads=1)
    policy = train(config, make_dataset(config))
    records = [fine_tune(config, policy, seed) for seed in config.seeds]
    figures = {
        "base": [record["base_success"] for record in records],
        "final": [record["final_success"] for record in records],
        "kept": [record["improved"] for record in records],
        "seeds": list(config.seeds),
        "experiment": EXPERIMENT,
        "reward_model": records[0]["reward_model"],
        "evaluation_episodes": config.evaluation_episodes,
        "training_episodes": get_config(EXPERIMENT).training_episodes,
        "algorithm": get_config(EXPERIMENT).dsrl.algorithm,
        "demonstrations": config.demonstrations,
        "optimiser_steps": config.steps,
        "lerobot": version("lerobot"),
        "policy": TRAINING["policy.type"],
        "policy_sha256": fingerprint(f"{LEROBOT}{policy}"),
        **provenance(),
    }
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    for seed, base, final in zip(config.seeds, figures["base"], figures["final"], strict=True):
        print(f"seed {seed}: {base:.0%} -> {final:.0%}")


if __name__ == "__main__":
    run_program(lambda: main(tyro.cli(Config, description=__doc__)))
