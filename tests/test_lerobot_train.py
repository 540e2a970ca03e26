"""The real command `lerobot-train`: finds our policy, clones our data set, and weighs it by the progress of a reward model."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lerobot", reason="needs the extra `lerobot`")

import torch

from policies.lerobot_plugin.modeling_roboreward_dit import RoboRewardDiTPolicy
from reward_models.data.lerobot_writer import write_dataset
from reward_models.lerobot_plugin import compute_rabc_weights
from roboreward_gym import Episode, ProgressScore
from tests.lerobot_marks import LEROBOT

ROOT = Path(__file__).resolve().parents[1]
STEPS = 4
pytestmark = [*LEROBOT, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture(scope="module")
def my_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lerobot") / "my_set"
    write_dataset(folder, [an_episode(seed) for seed in range(3)], reward_map="progress")
    return folder


def an_episode(seed: int, steps: int = 12) -> Episode:
    rng = np.random.default_rng(seed)
    grey = np.linspace(0, 255, steps + 1).astype(np.uint8)[:, None, None, None]
    return Episode(
        frames=np.broadcast_to(grey, (steps + 1, 96, 128, 3)).copy(),
        states=rng.normal(size=(steps + 1, 7)).astype(np.float32),
        actions=rng.uniform(-1, 1, (steps, 7)).astype(np.float32),
        env_rewards=np.zeros(steps, np.float32),
        terminated=False,
        truncated=True,
        task="open the drawer",
        fps=5.0,
        score=ProgressScore(4),
    )


def install(folder: Path) -> Path:
    """Do what `pip install ./policies/lerobot_plugin/distribution` does, without building a wheel."""
    home = ROOT / "policies/lerobot_plugin/distribution"
    project = tomllib.loads((home / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    name, version = project["name"], project["version"]
    about = folder / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    shutil.copy(home / f"{name}.py", folder)
    return folder


def lerobot_train(
    folder: Path, out: Path, *more: str, **environment: str
) -> tuple[str, RoboRewardDiTPolicy]:
    """Run the command for a few steps; return what it logged and the policy that it saved."""
    command = [
        str(Path(sys.executable).with_name("lerobot-train")),
        "--policy.type=roboreward_dit",
        "--policy.push_to_hub=false",
        "--policy.device=cpu",
        *("--policy.width=32", "--policy.layers=1", "--policy.maps=4", "--policy.warm_up=1"),
        "--dataset.repo_id=local/my_set",
        f"--dataset.root={folder}",
        f"--output_dir={out}",
        *(f"--steps={STEPS}", "--batch_size=4", "--num_workers=0", "--log_freq=1"),
        *more,
    ]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    saved = out / f"checkpoints/{STEPS:06}/pretrained_model"
    return done.stderr, RoboRewardDiTPolicy.from_pretrained(saved)


def test_our_policy_is_cloned_from_our_data_set_with_and_without_weights(
    my_set: Path, tmp_path: Path
) -> None:
    progress = tmp_path / "progress.parquet"
    asked = ["--dataset", str(my_set), "--model", "clock:2", "--out", str(progress)]
    assert compute_rabc_weights.main(asked) == 0

    flag = "--policy.discover_packages_path=policies.lerobot_plugin"
    _, cloned = lerobot_train(my_set, tmp_path / "plain", flag)
    said, weighed = lerobot_train(
        my_set,
        tmp_path / "weighed",
        "--sample_weighting.type=rabc",
        f"--sample_weighting.progress_path={progress}",
        PYTHONPATH=str(install(tmp_path / "site-packages")),
    )
    assert "Loaded 39 frame progress values" in said
    assert "sample_weight_mean_weight" in said
    states = [policy.state_dict() for policy in (cloned, weighed)]
    assert states[0].keys() == states[1].keys()
    # The ranges are those of the data; the same seed, so that only the weights tell them apart.
    ranges = [key for key in states[0] if "normalizer" in key]
    assert ranges
    assert all(torch.equal(states[0][key], states[1][key]) for key in ranges)
    assert any(not torch.equal(states[0][key], states[1][key]) for key in states[0])
    batch = {
        "observation.images.top": torch.zeros(1, 3, 96, 128),
        "observation.state": torch.zeros(1, 7),
    }
    for policy in (cloned, weighed):
        actions = policy.predict_action_chunk(batch, torch.zeros(1, 8, 7))
        assert actions.abs().max() <= 1.0
